/* Diffusion through a medium of uneven permeability in the unit square, as PDEBench's Darcy data are made: du/dt = div(nu grad u)
   + source. n x n cell centres; nu on a face is the mean of the two cells; u = 0 at the centres of the ghost cells (half a cell
   outside the box), whose nu is that of the cell at the edge. So the box that matters is (-h/2, 1 + h/2)^2, h = 1/n, and A =
   -div(nu grad) is symmetric, positive definite, and has negative entries off the diagonal: u > 0 where source > 0.

   All linear systems have the matrix A: conjugate gradients under geometric multigrid with Galerkin coarse matrices, the count of
   iterations bounded in n, to EK_DARCY_TOLERANCE of the (preconditioned) residual. On one rank results are the same bits every
   time; on others they agree with those to about ten times this tolerance (transient: of the initial values), so that few float32
   values differ. PETSc options with the prefix darcy_ replace the linear solver: for example PETSC_OPTIONS="-darcy_pc_type gamg
   -darcy_ksp_converged_reason". */
#pragma once
#include "evenkeel/base.h"

#define EK_DARCY_TOLERANCE 1e-11

typedef struct EkDarcy_ *EkDarcy;

/* Collective on comm, which shares the grid. Error (on comm): fewer than two rows a rank. */
PetscErrorCode EkDarcyCreate(MPI_Comm comm, PetscInt n, EkDarcy *darcy);
/* nu: n x n positive values of the whole grid, x slow, the same on every rank. Collective. */
PetscErrorCode EkDarcySetCoefficient(EkDarcy darcy, const double *nu);
/* out = A u; whole grids, u on every rank, out on the first rank of comm, others may pass NULL. Collective. */
PetscErrorCode EkDarcyApply(EkDarcy darcy, const double *u, double *out);
/* Where A u = source: whole grids, source on every rank (NULL: 1 everywhere), u on the first rank, others may pass NULL.
   *iterations grows by the linear solver's. Collective. Error (on comm): no convergence, naming the reason. */
PetscErrorCode EkDarcySteady(EkDarcy darcy, const double *source, double *u, PetscInt64 *iterations);
/* The two parts of u at `time` > 0 from initial values under a constant source beta: u = kept + beta grown, with kept = e^(-time
   A) initial and grown the solution from zero under source 1. Their errors are below 1e-9 |initial| and 1e-9 |grown| (2-norms).
   Whole grids, `initial` on every rank, kept and grown on the first rank, others may pass NULL. Otherwise as above. Cost: 18
   linear solves at time 1.75 with nu as in PDEBench's data, more for shorter times. Error (on comm) besides: `time` is so short
   (times the least nu under about 0.02) that 40 do not reach these errors. */
PetscErrorCode EkDarcyTransient(EkDarcy darcy, PetscReal time, const double *initial, double *kept, double *grown,
                                PetscInt64 *iterations);
PetscErrorCode EkDarcyDestroy(EkDarcy *darcy);
