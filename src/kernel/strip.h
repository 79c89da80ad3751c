/* The inner product of matrices that are cut into strips of EK_STRIP columns, as registers hold them. */
#pragma once
#include "evenkeel/kernel.h"

#define EK_STRIP (2 * EK_LANES)

/* A of `rows` rows and K columns, a(m, k) at A[m*row + k*column]; B and C: a strip each, b and c floats between its rows. */
typedef struct {
  int          rows, K;
  const float *A;
  size_t       row, column;
  const float *B;
  size_t       b;
  float       *C;
  size_t       c;
} EkStripProduct;

/* C = A B, added to C when `accumulate`. The order of the sum over k is fixed. */
void EkStripMultiply(const EkStripProduct *product, int accumulate);
