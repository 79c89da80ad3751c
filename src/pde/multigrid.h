/* Inside the Darcy solver: geometric multigrid for a five-point operator on a square grid of any size, over the ranks of its
 * DMDA. */
#pragma once
#include <petscdmda.h>
#include <petscksp.h>

/* Makes pc one V-cycle with one Gauss-Seidel sweep down and one, reversed, up (symmetric: fit for conjugate gradients), coarse
   matrices by Galerkin projection, a direct solve on the coarsest grid. Unknowns are dm's, zero one step outside the grid.
   Collective. */
PetscErrorCode EkMultigridSetUp(DM dm, PC pc);
