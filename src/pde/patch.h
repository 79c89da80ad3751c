/* Inside the CFD solver: a rank's patch of the grid, its ghost cells, and the kernels that work on it row by row. */
#pragma once
#include "evenkeel/cfd.h"
#include <stddef.h>

/* Rows of n[1] cells along the last axis, one after another along x: in one dimension a single row along x. A row holds its
   fields side by side, so that rows for a neighbour are one piece of memory. Rows are padded so that kernels always run whole
   vectors of EK_LANES cells: no cell ever goes through a remainder loop, which a compiler might round otherwise. Two ghost cells
   at each end of a row; in two dimensions two ghost rows on each side. The ranks share the x axis: rows in two dimensions, the
   row in one. */
#define EK_GHOST  2
#define EK_LANES  8
#define EK_MARGIN 8 /* doubles before column 0 */

typedef struct {
  int       dim, fields;      /* fields: dim + 2 */
  PetscInt  n[2];             /* this rank's rows, and cells of a row */
  PetscInt  start;            /* its first row (in one dimension: cell) on the whole grid */
  PetscInt  ghost_rows;       /* on each side */
  ptrdiff_t length, stride;   /* doubles of a field's row; of a row of all fields */
  size_t    size;             /* doubles of the patch */
  PetscBool ends;             /* the ghosts at the ends of a row are copies of its own cells: */
  PetscInt  end[2][EK_GHOST]; /* of these, outwards from the edge; [0]: low end */
} EkPatch;

static inline PetscInt EkLanesUp(PetscInt n)
{
  return (n + EK_LANES - 1) & ~(PetscInt)(EK_LANES - 1);
}

/* Column 0 of field k in row i, -ghost_rows <= i < n[0] + ghost_rows. */
static inline double *EkRow(const EkPatch *patch, double *data, PetscInt i, int k)
{
  return data + (i + patch->ghost_rows) * patch->stride + k * patch->length + EK_MARGIN;
}

/* The velocity (or momentum) along an axis of the patch, and in two dimensions the one across. */
static inline int EkAlong(const EkPatch *patch, int axis)
{
  return axis + patch->dim;
}
static inline int EkAcross(const EkPatch *patch, int axis)
{
  return 5 - EkAlong(patch, axis);
}

/* ---- ghost cells (halo.c) ------------------------------------------------------------------------------ */

typedef struct EkHalo_ *EkHalo;
/* Shares the grid out and fills in the patch of this rank. Collective on comm. */
PetscErrorCode EkHaloCreate(MPI_Comm comm, int dim, const PetscInt n[2], const EkBoundary *boundary, EkPatch *patch,
                            EkHalo *halo);
/* Fills the ghosts that lie along x: two layers of all fields. Collective. */
PetscErrorCode EkHaloExchange(EkHalo halo, double *w);
/* One layer of the velocities only. */
PetscErrorCode EkHaloExchangeVelocities(EkHalo halo, double *w);
PetscErrorCode EkHaloDestroy(EkHalo *halo);
/* Fills the ghosts at the ends of row i from its own cells, where they are (patch->ends), fields [first, fields). */
void EkFillEnds(const EkPatch *patch, double *data, PetscInt i, int first);

/* ---- kernels: conserved q = (rho, E, rho u, rho v), primitive w = (rho, p, u, v), without the last in one dimension ----------
 */

/* Doubles of scratch that the kernels below need. */
size_t EkKernelScratch(const EkPatch *patch);
/* w of q, ends of rows included. Pressures of 1e-8 and below become PDEBench's floor, 1e-4, in w and in q. Where speed is given,
   speed[axis] grows to max(sound speed + |velocity along the axis|); not finite values may be passed over. */
void EkPrimitives(const EkPatch *patch, double *q, double *w, double speed[2]);
void EkPrimitivesRow(const EkPatch *patch, PetscInt i, double *q, double *w, double speed[2]);
/* q1 = q - dt * div F(w), ratio[axis] = dt/dx; w1 and speed as above, of q1. w with all ghosts. q1 may be q, or NULL if only w1
   is wanted. */
void EkEulerUpdate(const EkPatch *patch, const double ratio[2], double *w, double *q, double *q1, double *w1, double speed[2],
                   double *scratch);
/* One explicit viscous substep, along x and then along y: momenta and energy in q, velocities in w. normal[axis], across[axis]:
   coefficients times dt/dx^2. One ghost layer of w. last: the pressures and the speeds follow. */
void EkViscousUpdate(const EkPatch *patch, const double normal[2], const double across[2], PetscBool last, double *w, double *q,
                     double speed[2], double *scratch);
