#include "strip.h"
#include "vector.h"

/* Rows [m0, m0 + M): 2 M accumulators, the rest of the 16 registers for operands. */
EK_INLINE void Block(const int M, const EkStripProduct *q, int m0, int accumulate)
{
  const float *a = q->A + (size_t)m0 * q->row;
  float       *c = q->C + (size_t)m0 * q->c;
  EkVector     sum[6][2] = {{{0}}};

#pragma GCC unroll 6
  for (int m = 0; accumulate && m < M; m++) {
    sum[m][0] = Load(c + (size_t)m * q->c);
    sum[m][1] = Load(c + (size_t)m * q->c + EK_LANES);
  }
  for (int k = 0; k < q->K; k++) {
    const float   *b = q->B + (size_t)k * q->b;
    const EkVector left = Load(b), right = Load(b + EK_LANES);

#pragma GCC unroll 6
    for (int m = 0; m < M; m++) {
      const EkVector w = Splat(a[(size_t)m * q->row + (size_t)k * q->column]);

      sum[m][0] += w * left;
      sum[m][1] += w * right;
    }
  }
#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
    Store(c + (size_t)m * q->c, sum[m][0]);
    Store(c + (size_t)m * q->c + EK_LANES, sum[m][1]);
  }
}

/* Rows go in equal blocks: 20 as 4 x 5, not 6 + 6 + 6 + 2, since a block of 2 leaves the units idle. */
void EkStripMultiply(const EkStripProduct *q, int accumulate)
{
  const int blocks = (q->rows + 5) / 6;

  for (int i = 0, m = 0; i < blocks; i++) {
    const int rows = (q->rows - m) / (blocks - i);

    switch (rows) {
    case 6:
      Block(6, q, m, accumulate);
      break;
    case 5:
      Block(5, q, m, accumulate);
      break;
    case 4:
      Block(4, q, m, accumulate);
      break;
    case 3:
      Block(3, q, m, accumulate);
      break;
    case 2:
      Block(2, q, m, accumulate);
      break;
    default:
      Block(1, q, m, accumulate);
      break;
    }
    m += rows;
  }
}
