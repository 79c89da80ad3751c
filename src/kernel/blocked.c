/* Loops over blocked fields: to and from planes, pooling, normalisation. */
#include "evenkeel/kernel.h"
#include "vector.h"
#include <math.h>

#define PARTS (EK_BLOCK / EK_LANES) /* vectors of a block's lanes */

/* Sums are in double, in vectors the machine has: of those twice as long gcc makes code that goes by way of memory, six times as
 * slow. */
typedef double Wide __attribute__((vector_size(4 * sizeof(double))));
#define QUADS (EK_BLOCK / 4)

EK_INLINE EkQuad Quad(EkVector v, int half)
{
  return half ? __builtin_shufflevector(v, v, 4, 5, 6, 7) : __builtin_shufflevector(v, v, 0, 1, 2, 3);
}
EK_INLINE Wide Widen(EkVector v, int half)
{
  return __builtin_convertvector(Quad(v, half), Wide);
}

/* ---- lanes and planes --------------------------------------------------------------------------------------- */

void EkBlockFromPlanes(size_t points, int lanes, const float *planes, size_t stride, float *block, int lane)
{
  EkTranspose((size_t)lanes, points, planes, stride, 0, block + lane, EK_BLOCK);
}

void EkBlockToPlanes(size_t points, int lanes, const float *block, int lane, int accumulate, float *planes, size_t stride)
{
  EkTranspose(points, (size_t)lanes, block + lane, EK_BLOCK, accumulate, planes, stride);
}

static void MoveRow(size_t n, const float *from, int accumulate, float *to)
{
  if (accumulate) {
    for (size_t i = 0; i < n; i++) to[i] += from[i];
  } else
    memcpy(to, from, n * sizeof(float));
}

void EkBlockMoveLanes(size_t points, int lanes, const float *from, int from_lane, int accumulate, float *to, int to_lane)
{
  if (lanes == EK_BLOCK)
    MoveRow(points * EK_BLOCK, from, accumulate, to);
  else {
    for (size_t p = 0; p < points; p++)
      MoveRow((size_t)lanes, from + p * EK_BLOCK + (size_t)from_lane, accumulate, to + p * EK_BLOCK + (size_t)to_lane);
  }
}

void EkBlockClear(size_t points, float *block, int lane)
{
  for (size_t p = 0; p < points; p++) memset(block + p * EK_BLOCK + (size_t)lane, 0, (size_t)(EK_BLOCK - lane) * sizeof(float));
}

void EkBlockAddBias(size_t points, const float bias[EK_BLOCK], float *x)
{
  for (size_t p = 0; p < points; p++) {
#pragma omp simd
    for (int l = 0; l < EK_BLOCK; l++) x[p * EK_BLOCK + (size_t)l] += bias[l];
  }
}

void EkBlockSum(size_t points, int lanes, const float *x, float bias[])
{
  Wide   sum[QUADS] = {{0}};
  double total[EK_BLOCK];

  for (size_t p = 0; p < points; p++) {
    for (int h = 0; h < QUADS; h++) sum[h] += Widen(Load(x + p * EK_BLOCK + h / 2 * EK_LANES), h % 2);
  }
  memcpy(total, sum, sizeof(total));
  for (int l = 0; l < lanes; l++) bias[l] += (float)total[l];
}

/* ---- pooling ------------------------------------------------------------------------------------------------ */

/* Where the neighbours of output (i, j) begin. 1D: one row of n[0] points. */
static size_t Corner(int dim, const PetscInt n[], PetscInt i, PetscInt j)
{
  return (size_t)(dim == 1 ? 2 * j : 2 * i * n[1] + 2 * j) * EK_BLOCK;
}

void EkBlockMaxPool(int dim, const PetscInt n[], const float *x, float *y)
{
  const PetscInt rows = dim == 1 ? 1 : n[0] / 2, columns = n[dim - 1] / 2;

  for (PetscInt i = 0; i < rows; i++) {
    for (PetscInt j = 0; j < columns; j++, y += EK_BLOCK) {
      const float *from = x + Corner(dim, n, i, j);

      memcpy(y, from, EK_BLOCK * sizeof(float));
      for (int k = 1; k < (dim == 1 ? 2 : 4); k++) {
        const float *other = from + (size_t)((k >> 1) * n[dim - 1] + (k & 1)) * EK_BLOCK;

#pragma omp simd
        for (int l = 0; l < EK_BLOCK; l++) y[l] = other[l] > y[l] || other[l] != other[l] ? other[l] : y[l];
      }
    }
  }
}

void EkBlockMaxPoolBackward(int dim, const PetscInt n[], const float *x, const float *y, const float *dy, int accumulate,
                            float *dx)
{
  const PetscInt rows = dim == 1 ? 1 : n[0] / 2, columns = n[dim - 1] / 2;

  for (PetscInt i = 0; i < rows; i++) {
    for (PetscInt j = 0; j < columns; j++, y += EK_BLOCK, dy += EK_BLOCK) {
      const size_t corner = Corner(dim, n, i, j);
      float        left[EK_BLOCK]; /* gradient that has not found its point yet */

      memcpy(left, dy, sizeof(left));
      for (int k = 0; k < (dim == 1 ? 2 : 4); k++) {
        const size_t at = corner + (size_t)((k >> 1) * n[dim - 1] + (k & 1)) * EK_BLOCK;

#pragma omp simd
        for (int l = 0; l < EK_BLOCK; l++) {
          const int   here = x[at + (size_t)l] == y[l];
          const float mine = here ? left[l] : 0;

          left[l] = here ? 0 : left[l];
          dx[at + (size_t)l] = (accumulate ? dx[at + (size_t)l] : 0) + mine;
        }
      }
    }
  }
}

/* ---- normalisation ------------------------------------------------------------------------------------------ */

void EkBlockMoments(size_t points, const float *x, double sum[EK_BLOCK], double square[EK_BLOCK])
{
  Wide s[QUADS], q[QUADS];

  memcpy(s, sum, sizeof(s));
  memcpy(q, square, sizeof(q));
  for (size_t p = 0; p < points; p++) {
    for (int h = 0; h < QUADS; h++) {
      const Wide v = Widen(Load(x + p * EK_BLOCK + h / 2 * EK_LANES), h % 2);

      s[h] += v;
      q[h] += v * v;
    }
  }
  memcpy(sum, s, sizeof(s));
  memcpy(square, q, sizeof(q));
}

/* (1 - e^-2|z|) / (1 + e^-2|z|), near zero the series to z^7. */
EK_INLINE float Tanh(float z)
{
  const float a = fabsf(z), e = ExpNegative(-2.0f * a), s = z * z;
  const float small = z * (1.0f + s * (-0.333333333f + s * (0.133333333f - s * 0.053968254f)));

  return a < 0.2f ? small : copysignf((1.0f - e) / (1.0f + e), z);
}

void EkBlockNormTanh(size_t points, const EkBlockNorm *norm, const float *x, float *y)
{
  for (size_t p = 0; p < points; p++) {
#pragma omp simd
    for (int l = 0; l < EK_BLOCK; l++)
      y[p * EK_BLOCK + (size_t)l] = Tanh((x[p * EK_BLOCK + (size_t)l] - norm->mean[l]) * norm->scale[l] + norm->shift[l]);
  }
}

void EkBlockNormTanhSums(size_t points, const float mean[EK_BLOCK], const float *x, const float *y, const float *dy,
                         double sum[EK_BLOCK], double product[EK_BLOCK])
{
  Wide s[QUADS], q[QUADS];

  memcpy(s, sum, sizeof(s));
  memcpy(q, product, sizeof(q));
  for (size_t p = 0; p < points; p++) {
    for (int h = 0; h < PARTS; h++) {
      const size_t   at = p * EK_BLOCK + (size_t)h * EK_LANES;
      const EkVector value = Load(y + at), dz = Load(dy + at) * (Splat(1) - value * value);
      const EkVector moment = dz * (Load(x + at) - Load(mean + h * EK_LANES));

      for (int half = 0; half < 2; half++) {
        s[2 * h + half] += Widen(dz, half);
        q[2 * h + half] += Widen(moment, half);
      }
    }
  }
  memcpy(sum, s, sizeof(s));
  memcpy(product, q, sizeof(q));
}

void EkBlockNormTanhBackward(size_t points, const EkBlockNorm *norm, const float slope[EK_BLOCK], const float *x, const float *y,
                             const float *dy, int accumulate, float *dx)
{
  for (size_t p = 0; p < points; p++) {
    for (int h = 0; h < PARTS; h++) {
      const size_t   at = p * EK_BLOCK + (size_t)h * EK_LANES;
      const int      l = h * EK_LANES;
      const EkVector value = Load(y + at), dz = Load(dy + at) * (Splat(1) - value * value);
      const EkVector d =
          dz * Load(norm->scale + l) + (Load(x + at) - Load(norm->mean + l)) * Load(slope + l) + Load(norm->shift + l);

      Store(dx + at, accumulate ? Load(dx + at) + d : d);
    }
  }
}
