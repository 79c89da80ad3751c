/* The kernels of the fused chains on one core, beside what the core can do: whether the compiler has made vectors of them. Lines:
   name, rate or time a value, and for products the share of OpenBLAS' sgemm in the same run. Best of many short trials, in cache.
 */
#include "evenkeel/kernel.h"
#include "evenkeel/base.h"
#include <stdio.h>

#define TRIALS 60
#define CALLS  20
#define ROWS   128
#define ROW    (EK_TILE + 16)
#define BIG    512

static float        a[ROWS * ROWS], b[ROWS * ROW], c[ROWS * ROW], big[3][BIG * (BIG + 16)];
static const float *b_rows[ROWS], *c_const[ROWS];
static float       *c_rows[ROWS];

typedef struct {
  const char *name;
  int         M, K; /* rows of A and its columns; 0: pointwise */
  enum { sgemm, multiply, outer, gelu, gelu_slope, noise } what;
} Kernel;
static const Kernel kernels[] = {
    {"sgemm", BIG, BIG, sgemm},
    {"multiply_20x20", 20, 20, multiply},
    {"multiply_128x20", 128, 20, multiply},
    {"multiply_20x128", 20, 128, multiply},
    {"outer_20x20", 20, 20, outer},
    {"outer_128x20", 128, 20, outer},
    {"gelu", 0, 0, gelu},
    {"gelu_with_slope", 0, 0, gelu_slope},
    {"normal_noise", 0, 0, noise},
};

static void Call(const Kernel *k)
{
  switch (k->what) {
  case sgemm:
    EkGemm(0, 0, BIG, BIG, BIG, 1, big[0], BIG + 16, big[1], BIG + 16, 0, big[2], BIG + 16);
    break;
  case multiply:
    EkTileMultiply(k->M, k->K, EK_TILE, a, (size_t)k->K, 1, b_rows, NULL, NULL, c_rows);
    break;
  case outer:
    EkTileOuter(k->M, k->K, EK_TILE, c_const, b_rows, a, (size_t)k->K, 1);
    break;
  case gelu:
    EkGelu(ROW, b, c);
    break;
  case gelu_slope:
    EkGeluWithSlope(ROW, b, c, c + 2 * ROW);
    break;
  case noise:
    EkRowNormal(1, 0, 0, EK_TILE, c);
    break;
  }
}

/* Seconds a call. */
static double Best(const Kernel *k)
{
  const int calls = k->what == sgemm ? 1 : CALLS;
  double    best = 1e30;

  for (int trial = 0; trial < TRIALS; trial++) {
    double seconds = EkTime();

    for (int call = 0; call < calls; call++) Call(k);
    seconds = (EkTime() - seconds) / calls;
    best = seconds < best ? seconds : best;
  }
  return best;
}

int main(int argc, char **argv)
{
  double peak = 0;

  (void)argc;
  EkBlasChoose(argv);
  EkCpuSetup();
  EkRowNormal(1, 1, 0, ROWS * ROWS, a);
  EkRowNormal(1, 2, 0, ROWS * ROW, b);
  for (int i = 0; i < ROWS; i++) {
    b_rows[i] = b + i * ROW;
    c_rows[i] = c + i * ROW;
    c_const[i] = c_rows[i];
  }
  for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
    const Kernel *k = &kernels[i];
    const double  seconds = Best(k), rate = 2e-9 * k->M * k->K * (k->what == sgemm ? BIG : EK_TILE) / seconds;

    if (k->what == sgemm) peak = rate;
    if (k->M)
      printf("%-18s %9.1f GFLOP/s  %3.0f %% of sgemm\n", k->name, rate, 100 * rate / peak);
    else
      printf("%-18s %9.2f ns a value\n", k->name, 1e9 * seconds / (k->what == noise ? EK_TILE : ROW));
  }
  return 0;
}
