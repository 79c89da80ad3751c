#include "evenkeel/optim.h"
#include <math.h>
#include <string.h>

/* Eight sums side by side, whatever the machine: where a vector begins must not change the result. */
#define LANES 8

static double SumOfSquares(size_t n, const float *x)
{
  double sum[LANES] = {0}, total = 0;
  size_t i = 0;

  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < LANES; j++) sum[j] += (double)x[i + j] * x[i + j];
  }
  for (; i < n; i++) sum[i % LANES] += (double)x[i] * x[i];
  for (int j = 0; j < LANES; j++) total += sum[j];
  return total;
}

double EkGradientNorm(EkParams p)
{
  return sqrt(SumOfSquares(p->total, p->gradients));
}

void EkGradientClip(EkParams p, double most, double norm)
{
  const double factor = most / (norm + 1e-6);

  for (size_t i = 0; factor < 1 && i < p->total; i++) p->gradients[i] *= (float)factor;
}

/* |w|^2 of the entry that float i of the tensor belongs to */
static double Square(const EkTensorInfo *t, const float *w, size_t i)
{
  const size_t re = i - i % 2;

  return t->is_complex ? (double)w[re] * w[re] + (double)w[re + 1] * w[re + 1] : (double)w[i] * w[i];
}

static double AdaptiveSquares(const EkTensorInfo *t, const float *w, const float *gradient)
{
  double sum = 0;

  for (size_t i = 0; i < t->count; i++) sum += Square(t, w, i) * gradient[i] * gradient[i];
  return sum;
}

static double ClimbNorm(EkParams p, PetscBool adaptive)
{
  double sum = 0;

  for (int t = 0; t < p->n; t++) {
    const EkTensorInfo *tensor = &p->table[t];
    const float        *w = p->weights + tensor->offset, *gradient = p->gradients + tensor->offset;

    if (p->info[t].used) sum += adaptive ? AdaptiveSquares(tensor, w, gradient) : SumOfSquares(tensor->count, gradient);
  }
  return sqrt(sum);
}

PetscErrorCode EkSamClimb(EkParams p, double rho, PetscBool adaptive, float *kept, double *norm)
{
  double scale;

  PetscFunctionBegin;
  *norm = ClimbNorm(p, adaptive);
  scale = rho / (*norm + 1e-12);
  memcpy(kept, p->weights, p->total * sizeof(float));
  for (int t = 0; t < p->n; t++) {
    const EkTensorInfo *tensor = &p->table[t];
    const float        *from = kept + tensor->offset, *gradient = p->gradients + tensor->offset;
    float              *w = p->weights + tensor->offset;

    if (!p->info[t].used) continue;
    for (size_t i = 0; i < tensor->count; i++)
      w[i] = (float)(from[i] + scale * (adaptive ? Square(tensor, from, i) : 1) * gradient[i]);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkSamReturn(EkParams p, const float *kept)
{
  PetscFunctionBegin;
  for (int t = 0; t < p->n; t++) {
    const EkTensorInfo *tensor = &p->table[t];

    if (p->info[t].used) memcpy(p->weights + tensor->offset, kept + tensor->offset, tensor->count * sizeof(float));
  }
  PetscFunctionReturn(0);
}
