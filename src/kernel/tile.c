#include "evenkeel/kernel.h"
#include "vector.h"

typedef struct {
  int                 K;
  const float        *A, *bias;
  size_t              row, column;
  const float *const *B, *const *S;
  float *const *C;
} Product;

/* M rows by V vectors of columns, all in registers: 2 to 15 accumulators, the rest of the 16 for operands. */
EK_INLINE void Block(const int M, const int V, const Product *q, int m0, size_t at)
{
  EkVector     c[6][3];
  const float *a = q->A + (size_t)m0 * q->row;

#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) {
      c[m][v] = Splat(q->bias ? q->bias[m0 + m] : 0);
      if (q->S) c[m][v] += Load(q->S[m0 + m] + at + v * EK_LANES);
    }
  }
  for (int k = 0; k < q->K; k++) {
    const float *b = q->B[k] + at;
    EkVector     x[3];

#pragma GCC unroll 3
    for (int v = 0; v < V; v++) x[v] = Load(b + v * EK_LANES);
#pragma GCC unroll 6
    for (int m = 0; m < M; m++) {
      const EkVector w = Splat(a[(size_t)m * q->row + (size_t)k * q->column]);
#pragma GCC unroll 3
      for (int v = 0; v < V; v++) c[m][v] += w * x[v];
    }
  }
#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) Store(q->C[m0 + m] + at + v * EK_LANES, c[m][v]);
  }
}

/* One strip of V vectors down all rows. Rows go in equal blocks: 20 as 4 x 5, not 6 + 6 + 6 + 2, since a block of 2 leaves the
 * units idle. */
EK_INLINE void Strip(const int V, const int most, const Product *q, int M, size_t at)
{
  const int blocks = (M + most - 1) / most;

  for (int i = 0, m0 = 0; i < blocks; i++) {
    const int rows = (M - m0) / (blocks - i);

    switch (rows) {
    case 6:
      Block(6, V, q, m0, at);
      break;
    case 5:
      Block(5, V, q, m0, at);
      break;
    case 4:
      Block(4, V, q, m0, at);
      break;
    case 3:
      Block(3, V, q, m0, at);
      break;
    case 2:
      Block(2, V, q, m0, at);
      break;
    default:
      Block(1, V, q, m0, at);
      break;
    }
    m0 += rows;
  }
}

void EkTileMultiply(int M, int K, size_t n, const float *A, size_t row, size_t column, const float *const B[],
                    const float *const S[], const float *bias, float *const C[])
{
  const Product q = {K, A, bias, row, column, B, S, C};
  size_t        at = 0;

  while (n - at > 4 * EK_LANES || n - at == 2 * EK_LANES) {
    Strip(2, 6, &q, M, at);
    at += 2 * EK_LANES;
  }
  if (n - at == 4 * EK_LANES) {
    Strip(2, 6, &q, M, at);
    Strip(2, 6, &q, M, at + 2 * EK_LANES);
  } else if (n - at == 3 * EK_LANES)
    Strip(3, 4, &q, M, at);
  else if (n - at == EK_LANES)
    Strip(1, 6, &q, M, at);
}

/* Accumulators of the dot products: 4 x 5 where there are 32 vector registers; else 4 x 3, which with 3 + 1 operands fill 16. */
#define DOT_M 4
#ifdef __AVX512VL__
#define DOT_K 5
#else
#define DOT_K 3
#endif

/* M x K dot products of rows of n */
EK_INLINE void Dots(const int M, const int K, size_t n, const float *const *A, const float *const *B, float *C, size_t row,
                    size_t column)
{
  EkVector c[DOT_M][DOT_K] = {{{0}}};
  size_t   p = 0;

  for (; p + EK_LANES <= n; p += EK_LANES) {
    EkVector b[DOT_K];

#pragma GCC unroll 5
    for (int k = 0; k < K; k++) b[k] = Load(B[k] + p);
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      const EkVector a = Load(A[m] + p);
#pragma GCC unroll 5
      for (int k = 0; k < K; k++) c[m][k] += a * b[k];
    }
  }
#pragma GCC unroll 5
  for (int k = 0; k < K; k++) {
    const EkQuad total = Totals(c[0][k], c[1][k], c[2][k], c[3][k]);

#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      float sum = total[m];

      for (size_t r = p; r < n; r++) sum += A[m][r] * B[k][r];
      C[(size_t)m * row + (size_t)k * column] += sum;
    }
  }
}

EK_INLINE void DotRow(const int M, int K, size_t n, const float *const *A, const float *const *B, float *C, size_t row,
                      size_t column)
{
  int k = 0;

  for (; k + DOT_K <= K; k += DOT_K) Dots(M, DOT_K, n, A, B + k, C + (size_t)k * column, row, column);
  switch (K - k) {
  case 4:
    Dots(M, 4 < DOT_K ? 4 : 1, n, A, B + k, C + (size_t)k * column, row, column);
    break;
  case 3:
    Dots(M, 3, n, A, B + k, C + (size_t)k * column, row, column);
    break;
  case 2:
    Dots(M, 2, n, A, B + k, C + (size_t)k * column, row, column);
    break;
  case 1:
    Dots(M, 1, n, A, B + k, C + (size_t)k * column, row, column);
    break;
  }
}

void EkTileOuter(int M, int K, size_t n, const float *const A[], const float *const B[], float *C, size_t row, size_t column)
{
  int m = 0;

  for (; m + DOT_M <= M; m += DOT_M) DotRow(DOT_M, K, n, A + m, B, C + (size_t)m * row, row, column);
  switch (M - m) {
  case 3:
    DotRow(3, K, n, A + m, B, C + (size_t)m * row, row, column);
    break;
  case 2:
    DotRow(2, K, n, A + m, B, C + (size_t)m * row, row, column);
    break;
  case 1:
    DotRow(1, K, n, A + m, B, C + (size_t)m * row, row, column);
    break;
  }
}

void EkTileSum(int M, size_t n, const float *const A[], float *C)
{
  for (int m = 0; m < M; m++) {
    EkVector v = {0};
    size_t   p = 0;
    float    sum;

    for (; p + EK_LANES <= n; p += EK_LANES) v += Load(A[m] + p);
    for (sum = Total(v); p < n; p++) sum += A[m][p];
    C[m] += sum;
  }
}
