#include "evenkeel/kernel.h"
#include "vector.h"

double EkRowSum(size_t n, const float *x)
{
  double sum = 0;

#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; i++) sum += (double)x[i];
  return sum;
}

double EkRowProduct(size_t n, const float *x, float less, const float *y)
{
  double sum = 0;

#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; i++) sum += (double)((x[i] - less) * y[i]);
  return sum;
}

double EkRowSquares(size_t n, const float *x, double mean)
{
  double sum = 0;

#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; i++) sum += ((double)x[i] - mean) * ((double)x[i] - mean);
  return sum;
}

/* Eight rows of eight values. */
static void Turn(const float *from, size_t row, int accumulate, float *to, size_t column)
{
  EkVector r[EK_LANES];

#pragma GCC unroll 8
  for (int i = 0; i < EK_LANES; i++) r[i] = Load(from + (size_t)i * row);
  Transpose(r);
#pragma GCC unroll 8
  for (int i = 0; i < EK_LANES; i++, to += column) Store(to, accumulate ? Load(to) + r[i] : r[i]);
}

void EkTranspose(size_t rows, size_t columns, const float *from, size_t row, int accumulate, float *to, size_t column)
{
  const size_t eights[2] = {rows / EK_LANES * EK_LANES, columns / EK_LANES * EK_LANES};

  for (size_t i = 0; i < eights[0]; i += EK_LANES) {
    for (size_t j = 0; j < eights[1]; j += EK_LANES) Turn(from + i * row + j, row, accumulate, to + j * column + i, column);
  }
  for (size_t j = 0; j < columns; j++) {
    for (size_t i = j < eights[1] ? eights[0] : 0; i < rows; i++)
      to[j * column + i] = from[i * row + j] + (accumulate ? to[j * column + i] : 0);
  }
}
