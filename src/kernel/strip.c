#include "strip.h"
#include "vector.h"

/* A strip is VECTORS registers; ROWS rows of it are as many accumulators as hide what a product waits for its sum, the rest of
   the registers is for operands. */
#define VECTORS (EK_STRIP / EK_WIDE)
#define ROWS    (12 / VECTORS)

/* Rows [m0, m0 + M). */
EK_INLINE void Block(const int M, const EkStripProduct *q, int m0, int accumulate)
{
  const float *a = q->A + (size_t)m0 * q->row;
  float       *c = q->C + (size_t)m0 * q->c;
  EkWide       sum[ROWS][VECTORS] = {{{0}}};

#pragma GCC unroll 12
  for (int m = 0; accumulate && m < M; m++) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) sum[m][v] = LoadWide(c + (size_t)m * q->c + v * EK_WIDE);
  }
  for (int k = 0; k < q->K; k++) {
    EkWide b[VECTORS];

#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) b[v] = LoadWide(q->B + (size_t)k * q->b + v * EK_WIDE);
#pragma GCC unroll 12
    for (int m = 0; m < M; m++) {
      const EkWide w = SplatWide(a[(size_t)m * q->row + (size_t)k * q->column]);

#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++) sum[m][v] += w * b[v];
    }
  }
#pragma GCC unroll 12
  for (int m = 0; m < M; m++) {
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) StoreWide(c + (size_t)m * q->c + v * EK_WIDE, sum[m][v]);
  }
}

/* Rows go in equal blocks: 20 as 4 x 5, not 6 + 6 + 6 + 2, since a block of 2 leaves the units idle. */
void EkStripMultiply(const EkStripProduct *q, int accumulate)
{
  const int blocks = (q->rows + ROWS - 1) / ROWS;

  for (int i = 0, m = 0; i < blocks; i++) {
    const int rows = (q->rows - m) / (blocks - i);

#define CASE(M)                                                                                                                  \
  case M:                                                                                                                        \
    Block(M, q, m, accumulate);                                                                                                  \
    break;
    switch (rows) {
#if EK_WIDE == 16
      CASE(12)
      CASE(11)
      CASE(10)
      CASE(9)
      CASE(8)
      CASE(7)
#endif
      CASE(6)
      CASE(5)
      CASE(4)
      CASE(3)
      CASE(2)
    default:
      Block(1, q, m, accumulate);
      break;
    }
#undef CASE
    m += rows;
  }
}
