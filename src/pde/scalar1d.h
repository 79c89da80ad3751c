/* Inside data generation: scalar conservation laws u_t + F_x = 0 on the periodic interval [0, 1], what their sets share. */
#pragma once
#include "evenkeel/pde.h"

/* ---- the laws -------------------------------------------------------------------------------------------- */

typedef struct EkScalarLaw_ EkScalarLaw;
struct EkScalarLaw_ {
  double dx, coefficient; /* speed or diffusivity */
  /* F at n faces, n a multiple of EK_LANES. left, right: u at the face as seen from either side; below, above: the means
     of the two cells. */
  void (*flux)(const EkScalarLaw *law, PetscInt n, const double *left, const double *right, const double *below,
               const double *above, double *flux);
  /* Largest time step for u of at most `most` in magnitude. */
  double (*stable)(const EkScalarLaw *law, double most);
  PetscBool linear; /* the step does not depend on u */
};
/* F = beta u, upwind; CFL 0.4. */
EkScalarLaw EkAdvectionLaw(PetscInt nx, double beta);
/* F = u^2/2 - (nu/pi) u_x, local Lax-Friedrichs and central; a quarter of dx/max|u| and of dx^2/(2 nu/pi). */
EkScalarLaw EkBurgersLaw(PetscInt nx, double nu);

/* ---- a ring of cells over the ranks of comm ---------------------------------------------------------------- */

/* Cell means in double. MUSCL with the MC limiter, midpoint rule: second order where u is smooth. The bits do not depend on the
   number of ranks. */
typedef struct EkRing_ *EkRing;
/* Collective on comm. Error (on comm): fewer than two cells a rank. */
PetscErrorCode EkRingCreate(MPI_Comm comm, PetscInt nx, EkRing *ring);
/* whole: nx values, the same on every rank; each takes its part. */
PetscErrorCode EkRingSetState(EkRing ring, const double *whole);
/* Solves on for `duration` in steps that are even as far as the law allows and end exactly there; *steps counts them. *sound:
   every value at the end is finite as a float, and no more than 1e9 steps were needed. Collective. */
PetscErrorCode EkRingAdvance(EkRing ring, const EkScalarLaw *law, double duration, PetscInt64 *steps, PetscBool *sound);
/* whole: nx values on the first rank; others may pass NULL. Collective. */
PetscErrorCode EkRingGetState(EkRing ring, double *whole);
PetscErrorCode EkRingDestroy(EkRing *ring);

/* ---- shared by the PDEs' methods -------------------------------------------------------------------------- */

/* `tensor` (samples, frames, nx), x-coordinate, and t-coordinate, which is one longer than the data. */
PetscErrorCode EkScalarDescribe(const EkPdeSet *set, EkFileSpec *spec);
/* A solver whose draws are solved under the law of each of nfiles files. Collective on comm. */
PetscErrorCode EkScalarCreate(MPI_Comm comm, const EkPdeSet *set, int nfiles, const EkScalarLaw law[], void **solver);
/* As in EkPdeMethods. */
PetscErrorCode EkScalarSolve(void *solver, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound);
PetscErrorCode EkScalarDestroy(void **solver);
