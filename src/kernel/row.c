#include "evenkeel/kernel.h"

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
