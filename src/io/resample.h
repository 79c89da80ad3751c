/* Bilinear interpolation between grids of cell centres on one domain. Private to src/io. */
#pragma once
#include "evenkeel/base.h"

/* How each of n places of an axis lies between two of the source's: value = (1 - w) x[lower] + w x[upper]. As PyTorch's
   interpolate with align_corners = False: place i is at (i + 1/2) source/n - 1/2, not below 0, and nothing lies beyond the last
   point. */
typedef struct {
  PetscInt  n;
  PetscInt *lower, *upper;
  float    *w;
} EkResampleAxis;
PetscErrorCode EkResampleAxisCreate(PetscInt source, PetscInt n, EkResampleAxis *axis);
PetscErrorCode EkResampleAxisDestroy(EkResampleAxis *axis);

/* A plane of rows of `columns` values -> a plane of axis[0].n x axis[1].n (dim 1: axis[0].n) values. */
void EkResamplePlane(int dim, const EkResampleAxis axis[], PetscInt columns, const float *from, float *to);
