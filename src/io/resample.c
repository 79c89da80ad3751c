#include "resample.h"

PetscErrorCode EkResampleAxisCreate(PetscInt source, PetscInt n, EkResampleAxis *axis)
{
  PetscFunctionBegin;
  axis->n = n;
  PetscCall(PetscMalloc3(n, &axis->lower, n, &axis->upper, n, &axis->w));
  for (PetscInt i = 0; i < n; i++) {
    const double   at = PetscMax(0.0, ((double)i + 0.5) * (double)source / (double)n - 0.5);
    const PetscInt lower = PetscMin((PetscInt)at, source - 1);

    axis->lower[i] = lower;
    axis->upper[i] = PetscMin(lower + 1, source - 1);
    axis->w[i] = (float)(at - (double)lower);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkResampleAxisDestroy(EkResampleAxis *axis)
{
  PetscFunctionBegin;
  PetscCall(PetscFree3(axis->lower, axis->upper, axis->w));
  PetscFunctionReturn(0);
}

static float Between(const EkResampleAxis *axis, PetscInt i, const float *x)
{
  return (1 - axis->w[i]) * x[axis->lower[i]] + axis->w[i] * x[axis->upper[i]];
}

void EkResamplePlane(int dim, const EkResampleAxis axis[], PetscInt columns, const float *from, float *to)
{
  const EkResampleAxis *x = &axis[0], *y = &axis[1];

  for (PetscInt i = 0; dim == 1 && i < x->n; i++) to[i] = Between(x, i, from);
  for (PetscInt i = 0; dim == 2 && i < x->n; i++) {
    const float *lower = from + (size_t)x->lower[i] * (size_t)columns, *upper = from + (size_t)x->upper[i] * (size_t)columns;

    for (PetscInt j = 0; j < y->n; j++)
      to[(size_t)i * (size_t)y->n + (size_t)j] = (1 - x->w[i]) * Between(y, j, lower) + x->w[i] * Between(y, j, upper);
  }
}
