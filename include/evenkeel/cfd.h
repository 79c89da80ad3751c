/* Compressible Navier-Stokes in one or two dimensions on a uniform box, as PDEBench's CFD data are made: second-order MUSCL (MC
   limiter, primitive variables) with HLLC fluxes and the midpoint rule, then the viscous terms in explicit substeps, swept one
   axis after the other. Ideal gas, gamma = 5/3; no heat conduction.

     d(rho)/dt   + div(rho v)          = 0
     d(rho v)/dt + div(rho v v) + grad p = sum_b d_b(rho eta d_b v_a) + d_a(rho (zeta + eta/3) d_a v_a)      (no sum over a)
     dE/dt       + div((E + p) v)      = the work of the same terms,  E = p/(gamma-1) + rho v^2/2

   In one dimension the only axis is x, and there is no second velocity. Results are the same bit for bit on any number of ranks:
   the ranks share the x axis, every cell goes through the same vector code, and the time step is the only reduction (a maximum).
   Cost in two dimensions: about 370 flops a cell and step, 45 more a cell and viscous substep; in one dimension half of that. */
#pragma once
#include "evenkeel/base.h"

#define EK_CFD_GAMMA  (5.0 / 3.0)
#define EK_CFD_FIELDS 4 /* at most: density, pressure, Vx, Vy, the order of the files; in one dimension the first three */

/* What happens at the edges of a box. */
typedef struct {
  EkMember member;
  /* Along x and along y: the cell (0..n-1) whose value the ghost cell number `ghost` (-2, -1, n, n+1) of an axis of n cells
   * takes. */
  PetscInt (*source[2])(PetscInt ghost, PetscInt n);
} EkBoundary;
extern const EkFamily EkBoundaryFamily; /* periodic trans periodic_x */

typedef struct {
  int       dim;       /* 1 or 2 */
  PetscInt  n[2];      /* cells along x (slow axis of the files) and y; n[1] is not used in one dimension */
  PetscReal length[2]; /* of the box */
  int       boundary;  /* row of EkBoundaryFamily */
  PetscReal eta, zeta; /* kinematic shear and bulk viscosity; both 0: none */
} EkCfdSpec;

typedef struct EkCfd_ *EkCfd;

/* Collective on comm. Error (on comm): fewer than two cells a rank along x. */
PetscErrorCode EkCfdCreate(MPI_Comm comm, const EkCfdSpec *spec, EkCfd *cfd);
/* field[f], f < dim + 2: n[0] (x n[1]) values of the whole grid, the same on every rank; each takes its part. */
PetscErrorCode EkCfdSetState(EkCfd cfd, const double *const field[]);
/* Solves on for `duration`, hitting its end exactly; *steps counts the time steps. *sound: the state at the end is finite,
   density and pressure positive, and no time step fell below 1e-8. Collective. */
PetscErrorCode EkCfdAdvance(EkCfd cfd, PetscReal duration, PetscInt64 *steps, PetscBool *sound);
/* field[f]: the whole grid on the first rank of comm; others may pass NULL. Collective. */
PetscErrorCode EkCfdGetState(EkCfd cfd, double *const field[]);
PetscErrorCode EkCfdDestroy(EkCfd *cfd);
