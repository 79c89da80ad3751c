/* Inside the CFD solver: a rank's patch of the grid, its ghost cells, and the kernels that work on it row by row. */
#pragma once
#include "evenkeel/cfd.h"
#include <stddef.h>

/* One field of a patch: rows along y (contiguous), one after another along x, two ghost cells on every side. Rows are padded so
   that kernels always run whole vectors of EK_LANES cells: no cell ever goes through a remainder loop, which a compiler might
   round otherwise. */
#define EK_GHOST  2
#define EK_LANES  8
#define EK_MARGIN 8 /* doubles before column 0 */

typedef struct {
  PetscInt  global[2], start[2], n[2];
  ptrdiff_t stride; /* doubles between rows */
  size_t    size;   /* doubles a field */
} EkPatch;

static inline PetscInt EkLanesUp(PetscInt n)
{
  return (n + EK_LANES - 1) & ~(PetscInt)(EK_LANES - 1);
}

/* Column 0 of row i, -EK_GHOST <= i < n[0] + EK_GHOST. */
static inline double *EkRow(const EkPatch *patch, double *field, PetscInt i)
{
  return field + (i + EK_GHOST) * patch->stride + EK_MARGIN;
}

/* ---- ghost cells (halo.c) ------------------------------------------------------------------------------ */

typedef struct EkHalo_ *EkHalo;
/* Ghost exchange for `fields` fields at a time; fills in the patch of this rank, the same for every number of fields. Collective
 * on comm. */
PetscErrorCode EkHaloCreate(MPI_Comm comm, const PetscInt n[2], const EkBoundary *boundary, int fields, EkPatch *patch,
                            EkHalo *halo);
/* Fills two layers on each side; corners are left as they are. Collective. */
PetscErrorCode EkHaloExchange(EkHalo halo, double *const field[]);
PetscErrorCode EkHaloDestroy(EkHalo *halo);

/* ---- kernels: conserved q = (rho, rho u, rho v, E), primitive w = (rho, u, v, p) ------------------------ */

/* Doubles of scratch that the kernels below need. */
size_t EkKernelScratch(const EkPatch *patch);
/* w of q, without ghosts. Pressures of 1e-8 and below become PDEBench's floor, 1e-4, in w and in q. */
void EkPrimitives(const EkPatch *patch, double *const q[4], double *const w[4]);
/* speed[d] = max(sound speed + |velocity along d|). Not finite values may be passed over. */
void EkSpeeds(const EkPatch *patch, double *const w[4], double speed[2]);
/* out = q - dt * div F(w); ratio[d] = dt/dx_d. w with two ghost layers; out may be q. */
void EkEulerUpdate(const EkPatch *patch, const double ratio[2], double *const w[4], double *const q[4], double *const out[4],
                   double *scratch);
/* inverse = 1/rho and w's density and velocities of q. */
void EkVelocities(const EkPatch *patch, double *const q[4], double *const w[4], double *inverse);
/* One explicit viscous sweep along an axis of coefficients normal and tangential times dt/dx^2: momenta and energy in q,
   velocities in w. One ghost layer of w along that axis. */
void EkViscousSweep(const EkPatch *patch, int axis, double normal, double tangential, double *const w[4], const double *inverse,
                    double *const q[4], double *scratch);
