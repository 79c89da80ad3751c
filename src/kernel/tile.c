#include "evenkeel/kernel.h"
#include "vector.h"

typedef struct {
  int                 K;
  const float        *A, *bias;
  size_t              row, column;
  const float *const *B, *const *S;
  float *const *C;
} Product;

/* Accumulators, rows by vectors of columns, and strips that so many vectors are cut into. 32 registers: at most 6 x 4, the rest
   for operands; strips of 3 or 4. 16: 2 to 15; strips of 2, the last of 3 where their number is odd. */
#if EK_WIDE == 16
#define MOST_ROWS(V)    6
#define STRIPS(vectors) (((vectors) + 3) / 4)
#else
#define MOST_ROWS(V)    ((V) == 3 ? 4 : 6)
#define STRIPS(vectors) ((vectors) < 2 ? 1 : (vectors) / 2)
#endif

/* M rows by V vectors of columns, all in registers. */
EK_INLINE void Block(const int M, const int V, const Product *q, int m0, size_t at)
{
  EkWide       c[6][4];
  const float *a = q->A + (size_t)m0 * q->row;

#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      c[m][v] = SplatWide(q->bias ? q->bias[m0 + m] : 0);
      if (q->S) c[m][v] += LoadWide(q->S[m0 + m] + at + v * EK_WIDE);
    }
  }
  for (int k = 0; k < q->K; k++) {
    const float *b = q->B[k] + at;
    EkWide       x[4];

#pragma GCC unroll 4
    for (int v = 0; v < V; v++) x[v] = LoadWide(b + v * EK_WIDE);
#pragma GCC unroll 6
    for (int m = 0; m < M; m++) {
      const EkWide w = SplatWide(a[(size_t)m * q->row + (size_t)k * q->column]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) c[m][v] += w * x[v];
    }
  }
#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) StoreWide(q->C[m0 + m] + at + v * EK_WIDE, c[m][v]);
  }
}

/* One strip of V vectors down all rows. Rows go in equal blocks: 20 as 4 x 5, not 6 + 6 + 6 + 2, since a block of 2 leaves the
 * units idle. */
EK_INLINE void Strip(const int V, const Product *q, int M, size_t at)
{
  const int blocks = (M + MOST_ROWS(V) - 1) / MOST_ROWS(V);

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
  const size_t  vectors = n / EK_WIDE, strips = vectors ? STRIPS(vectors) : 0;

  for (size_t i = 0, done = 0; i < strips; i++) {
    const size_t V = (vectors - done) / (strips - i), at = done * EK_WIDE;

    switch (V) {
    case 4:
      Strip(4, &q, M, at);
      break;
    case 3:
      Strip(3, &q, M, at);
      break;
    case 2:
      Strip(2, &q, M, at);
      break;
    default:
      Strip(1, &q, M, at);
      break;
    }
    done += V;
  }
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
  EkWide c[DOT_M][DOT_K] = {{{0}}};
  size_t p = 0;

  for (; p + EK_WIDE <= n; p += EK_WIDE) {
    EkWide b[DOT_K];

#pragma GCC unroll 5
    for (int k = 0; k < K; k++) b[k] = LoadWide(B[k] + p);
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      const EkWide a = LoadWide(A[m] + p);
#pragma GCC unroll 5
      for (int k = 0; k < K; k++) c[m][k] += a * b[k];
    }
  }
#pragma GCC unroll 5
  for (int k = 0; k < K; k++) {
    const EkQuad total = Totals(Narrow(c[0][k]), Narrow(c[1][k]), Narrow(c[2][k]), Narrow(c[3][k]));

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
