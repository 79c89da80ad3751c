/* Compressible Navier-Stokes in two dimensions on a uniform periodic or open box, as PDEBench's CFD data are made: second-order MUSCL (MC
   limiter, primitive variables) with HLLC fluxes and the midpoint rule, then the viscous terms in explicit substeps, swept one axis
   after the other. Ideal gas, gamma = 5/3; no heat conduction.

     d(rho)/dt   + div(rho v)          = 0
     d(rho v)/dt + div(rho v v) + grad p = sum_b d_b(rho eta d_b v_a) + d_a(rho (zeta + eta/3) d_a v_a)      (no sum over a)
     dE/dt       + div((E + p) v)      = the work of the same terms,  E = p/(gamma-1) + rho v^2/2

   Results are the same bit for bit on any number of ranks: the grid is split by a DMDA, every cell goes through the same vector code, and
   the time step is the only reduction (a maximum). Cost: about 450 flops a cell and step, 45 more a cell and viscous substep. */
#pragma once
#include "evenkeel/base.h"

#define EK_CFD_GAMMA  (5.0 / 3.0)
#define EK_CFD_FIELDS 4 /* density, pressure, Vx, Vy: the order of the files */

/* What happens at the edges of a box. */
typedef struct {
  EkMember  member;
  PetscBool periodic;
  /* The cell (0..n-1) whose value the ghost cell number `ghost` (-2, -1, n, n+1) of an axis of n cells takes. */
  PetscInt (*source)(PetscInt ghost, PetscInt n);
} EkBoundary;
extern const EkFamily EkBoundaryFamily; /* periodic trans */

typedef struct {
  PetscInt  n[2];      /* cells along x (slow axis of the files) and y */
  PetscReal length[2]; /* of the box */
  int       boundary;  /* row of EkBoundaryFamily, on all sides */
  PetscReal eta, zeta; /* kinematic shear and bulk viscosity; both 0: none */
} EkCfdSpec;

typedef struct EkCfd_ *EkCfd;

/* Collective on comm. Error (on comm): fewer than two rows a rank. */
PetscErrorCode EkCfdCreate(MPI_Comm comm, const EkCfdSpec *spec, EkCfd *cfd);
/* field[f]: n[0] x n[1] values of the whole grid, the same on every rank; each takes its part. */
PetscErrorCode EkCfdSetState(EkCfd cfd, const double *const field[EK_CFD_FIELDS]);
/* Solves on for `duration`, hitting its end exactly; *steps counts the time steps. *sound: the state at the end is finite, density and
   pressure positive, and no time step fell below 1e-8. Collective. */
PetscErrorCode EkCfdAdvance(EkCfd cfd, PetscReal duration, PetscInt64 *steps, PetscBool *sound);
/* field[f]: the whole grid on the first rank of comm; others may pass NULL. Collective. */
PetscErrorCode EkCfdGetState(EkCfd cfd, double *const field[EK_CFD_FIELDS]);
PetscErrorCode EkCfdDestroy(EkCfd *cfd);
