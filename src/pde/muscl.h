/* Inside the finite-volume solvers: second-order reconstruction of faces from cells. */
#pragma once
#include "patch.h"
#include <math.h>

static inline double EkLeast(double a, double b)
{
  return a < b ? a : b;
}
static inline double EkMost(double a, double b)
{
  return a > b ? a : b;
}

/* Values at the low and high face of n cells, from the MC-limited slope: half of it is min(|a|, |b|, |a+b|/4) where the one-sided
   differences a, b agree in sign. The slope never leaves the range of the neighbours, so positive cells have positive faces. */
static inline void EkReconstruct(PetscInt n, const double *restrict below, const double *restrict at,
                                 const double *restrict above, double *restrict low, double *restrict high)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) {
    const double a = at[i] - below[i], b = above[i] - at[i], c = 0.25 * (a + b);
    const double least = EkLeast(EkLeast(fabs(a), fabs(b)), fabs(c)), half = a * b > 0 ? copysign(least, c) : 0.0;

    low[i] = at[i] - half;
    high[i] = at[i] + half;
  }
}
