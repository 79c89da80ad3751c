/* Inside the Darcy solver: what is left after a long time of something that decays. */
#pragma once
#include <petscksp.h>

#define EK_DECAY_VECTORS 40 /* most solves */

/* out = e^(-time A) v for the symmetric positive definite matrix A of a linear solver, to an error of about tolerance |v|.
   Lanczos' method with the inverse of A: one solve a step; the few slow modes that last are the first it finds, the fast ones do
   not matter, so the count of steps is bounded in the size of A. work: EK_DECAY_VECTORS + 1 vectors. *iterations grows by the
   linear solver's. Source: J. van den Eshof, M. Hochbruck, SIAM J. Sci. Comput. 27 (2006) 1438 (with the shift at zero).
   Collective. Error: no convergence of a solve, or of the method. */
PetscErrorCode EkDecay(KSP ksp, PetscReal time, PetscReal tolerance, Vec v, Vec work[], Vec out, PetscInt64 *iterations);
/* x = A^-1 b. Error: no convergence, naming the reason. Collective. */
PetscErrorCode EkLinearSolve(KSP ksp, Vec b, Vec x, PetscInt64 *iterations);
