/* ranks: 1 */
/* Kernels on blocked fields against plain loops in double. */
#include "support.h"
#include "evenkeel/kernel.h"

static float *random_floats(uint64_t seed, size_t n)
{
  EkRandom stream = EkRandomStream(seed, EK_RANDOM_TEST, 3);
  float   *x = malloc(n * sizeof(float));

  for (size_t i = 0; i < n; i++) x[i] = (float)EkNormal(&stream);
  return x;
}

/* ---- convolution ---------------------------------------------------------------------------------------------- */

static size_t points_of(const EkConvShape *s, PetscInt stride)
{
  return (size_t)((s->n[0] / stride) * (s->dim == 2 ? s->n[1] / stride : 1));
}

/* A field of `batch` samples as planes (batch, channels, points) into blocks, zeros in the other lanes; and back. */
static void to_blocks(int batch, PetscInt channels, size_t points, const float *planes, float *blocks)
{
  const size_t sample = EK_BLOCKED_CHANNELS(channels) * points;

  memset(blocks, 0, (size_t)batch * sample * sizeof(float));
  for (int b = 0; b < batch; b++) {
    for (PetscInt c = 0; c < channels; c += EK_BLOCK) {
      EkBlockFromPlanes(points, (int)(channels - c < EK_BLOCK ? channels - c : EK_BLOCK),
                        planes + (size_t)(b * channels + c) * points, points, blocks + (size_t)b * sample + (size_t)c * points,
                        0);
    }
  }
}

static void to_planes(int batch, PetscInt channels, size_t points, const float *blocks, float *planes)
{
  const size_t sample = EK_BLOCKED_CHANNELS(channels) * points;

  for (int b = 0; b < batch; b++) {
    for (PetscInt c = 0; c < channels; c += EK_BLOCK) {
      EkBlockToPlanes(points, (int)(channels - c < EK_BLOCK ? channels - c : EK_BLOCK),
                      blocks + (size_t)b * sample + (size_t)c * points, 0, 0, planes + (size_t)(b * channels + c) * points,
                      points);
    }
  }
}

/* What a pass adds up: for every tap, y = sum w x, dx = sum w dy or dw = sum x dy, from planes. */
static void reference(const EkConvShape *s, EkConvPass pass, int batch, const float *x, const float *w, const float *y,
                      double *out)
{
  const PetscInt rows = s->dim == 2 ? s->n[0] : 1, columns = s->n[s->dim - 1], taps = s->dim == 2 ? s->kernel : 1,
                 pad = (s->kernel - 1) / 2, small = columns / s->stride;
  const size_t nx = points_of(s, 1), ny = points_of(s, s->stride);

  for (PetscInt i = 0; i < batch * s->out * s->in; i++) {
    const PetscInt b = i / (s->out * s->in), o = i / s->in % s->out, c = i % s->in;

    for (PetscInt t = 0; t < taps * s->kernel; t++) {
      const size_t weight = (size_t)((o * s->in + c) * taps * s->kernel + t);

      for (PetscInt p = 0; p < (PetscInt)ny; p++) {
        const PetscInt r = s->dim == 2 ? p / small * s->stride + t / s->kernel - pad : 0,
                       q = p % small * s->stride + t % s->kernel - pad;
        const size_t at = (size_t)(b * s->in + c) * nx + (size_t)(r * columns + q),
                     to = (size_t)(b * s->out + o) * ny + (size_t)p;

        if (r < 0 || r >= rows || q < 0 || q >= columns) continue;
        if (pass == EK_CONV_FORWARD)
          out[to] += (double)w[weight] * x[at];
        else if (pass == EK_CONV_DATA)
          out[at] += (double)w[weight] * y[to];
        else
          out[weight] += (double)x[at] * y[to];
      }
    }
  }
}

static void compare(size_t n, double tolerance, const float *got, const double *want)
{
  double difference = 0, norm = 0;

  for (size_t i = 0; i < n; i++) difference += (got[i] - want[i]) * (got[i] - want[i]), norm += want[i] * want[i];
  if (!(sqrt(difference) < tolerance * sqrt(norm))) fail_msg("off by %g of its norm", sqrt(difference / norm));
}

/* n floats that nobody has written yet, and some behind them that nobody may write. */
#define GUARD       32
#define GUARD_VALUE 12345.0f
static void spoil(size_t n, float *x)
{
  for (size_t i = 0; i < n; i++) x[i] = NAN;
}

static float *guarded(size_t n)
{
  float *x = malloc((n + GUARD) * sizeof(float));

  spoil(n, x);
  for (size_t i = n; i < n + GUARD; i++) x[i] = GUARD_VALUE;
  return x;
}

static void check_guard(size_t n, const float *x)
{
  for (size_t i = n; i < n + GUARD; i++) {
    if (x[i] != GUARD_VALUE) fail_msg("float %zu behind %zu is %g", i - n, n, (double)x[i]);
  }
}

/* Lanes that are no channels are zero. */
static void check_lanes(int batch, PetscInt channels, size_t points, const float *blocks)
{
  const size_t sample = EK_BLOCKED_CHANNELS(channels) * points, last = sample - EK_BLOCK * points;

  for (int b = 0; b < batch && channels % EK_BLOCK; b++) {
    for (size_t i = 0; i < EK_BLOCK * points; i++) {
      if ((PetscInt)(i % EK_BLOCK) >= channels % EK_BLOCK) assert_true(blocks[(size_t)b * sample + last + i] == 0);
    }
  }
}

/* All passes, with one batch size and then another. What passes write has not been written before, scratch is as long as they say
   for passes with gradients and without. */
static void check_convolution(const EkConvShape *s, double tolerance)
{
  const size_t nx = points_of(s, 1), ny = points_of(s, s->stride), taps = (size_t)(s->kernel * (s->dim == 2 ? s->kernel : 1)),
               nw = (size_t)(s->in * s->out) * taps;
  EkConvolution c;
  EkPacked      packed = NULL;
  PetscInt64    run = 0;

  EK_OK(EkConvolutionCreate(s, &c));
  for (int batch = 7; batch >= 1; batch -= 3) { /* 7 samples of 48 points take two products */
    const size_t mx = (size_t)(batch * s->in) * nx, my = (size_t)(batch * s->out) * ny;
    float       *x = random_floats(1, mx), *y = random_floats(2, my), *w = random_floats(3 + (uint64_t)batch, nw),
          *got = malloc((mx + my + nw) * sizeof(float)), *dw = calloc(nw, sizeof(float));
    const size_t fx = (size_t)batch * EK_BLOCKED_CHANNELS(s->in) * nx, fy = (size_t)batch * EK_BLOCKED_CHANNELS(s->out) * ny,
                 some = EkConvolutionScratch(s, batch, PETSC_FALSE), more = EkConvolutionScratch(s, batch, PETSC_TRUE);
    float  *bx = guarded(fx), *by = guarded(fy), *apply = guarded(some), *scratch = guarded(more);
    double *want = calloc(mx + my + nw, sizeof(double));

    run++;
    to_blocks(batch, s->in, nx, x, bx);
    EK_OK(EkConvolutionApply(c, EK_CONV_FORWARD, batch, w, run, &packed, apply, bx, by));
    to_planes(batch, s->out, ny, by, got);
    check_lanes(batch, s->out, ny, by);
    reference(s, EK_CONV_FORWARD, batch, x, w, y, want);
    compare(my, tolerance, got, want);

    memset(want, 0, (mx + my + nw) * sizeof(double));
    to_blocks(batch, s->out, ny, y, by);
    spoil(fx, bx), spoil(some, apply);
    EK_OK(EkConvolutionApply(c, EK_CONV_DATA, batch, w, run, &packed, apply, by, bx));
    to_planes(batch, s->in, nx, bx, got);
    check_lanes(batch, s->in, nx, bx);
    reference(s, EK_CONV_DATA, batch, x, w, y, want);
    compare(mx, tolerance, got, want);

    memset(want, 0, (mx + my + nw) * sizeof(double));
    to_blocks(batch, s->in, nx, x, bx);
    for (int twice = 0; twice < 2; twice++) {
      EK_OK(EkConvolutionWeights(c, batch, bx, by, scratch, dw));
      reference(s, EK_CONV_WEIGHTS, batch, x, w, y, want);
    }
    compare(nw, tolerance, dw, want);
    check_guard(fx, bx), check_guard(fy, by), check_guard(some, apply), check_guard(more, scratch);
    free(apply), free(x), free(y), free(w), free(got), free(dw), free(bx), free(by), free(scratch), free(want);
  }
  EK_OK(EkPackedDestroy(&packed));
  EK_OK(EkConvolutionDestroy(&c));
}

typedef struct {
  const char *code; /* "": oneDNN's */
  EkConvShape shape;
} CodedShape;

static void check_code(const CodedShape *s)
{
  const char   *code;
  EkConvolution c;

  EK_OK(EkConvolutionCreate(&s->shape, &c));
  for (int pass = 0; pass < EK_CONV_PASSES; pass++) {
    EK_OK(EkConvolutionCode(c, (EkConvPass)pass, 2, &code));
    if (*s->code ? strcmp(code, s->code) != 0 : !strcmp(code, "sgemm") || !strcmp(code, "winograd"))
      fail_msg("%d to %d channels, kernel %d, %d x %d points: '%s', not '%s'", (int)s->shape.in, (int)s->shape.out,
               (int)s->shape.kernel, (int)s->shape.n[0], (int)s->shape.n[1], code, s->code);
  }
  EK_OK(EkConvolutionDestroy(&c));
}

/* Minimal filtering: less and more channels than a strip, sides of whole tiles and of parts of them, fewer points than a tile
   has, fewer tiles than are done at a time and more. It rounds sums of products of sums: twice as coarse. */
static void convolutions_equal_plain_sums(void **state)
{
  static const CodedShape list[] = {
      {"sgemm", {2, {1, 1}, 17, 33, 3, 1}},
      {"sgemm", {2, {4, 4}, 40, 32, 3, 1}},
      {"sgemm", {2, {2, 8}, 3, 5, 3, 1}},
      {"sgemm", {2, {2, 4}, 5, 20, 2, 2}},
      {"sgemm", {2, {5, 7}, 16, 4, 1, 1}},
      {"", {2, {9, 9}, 2, 3, 5, 1}},
      {"sgemm", {2, {4, 6}, 9, 8, 7, 1}},
      {"sgemm", {2, {16, 16}, 5, 20, 2, 2}},
      {"sgemm", {1, {24}, 30, 32, 3, 1}},
      {"sgemm", {1, {24}, 5, 7, 2, 2}},
      {"sgemm", {1, {2}, 16, 16, 3, 1}},
      {"", {2, {15, 7}, 16, 4, 1, 1}},
      {"", {2, {11, 9}, 2, 3, 5, 1}},
      {"", {2, {18, 16}, 5, 20, 2, 2}},
      {"", {1, {100}, 30, 32, 3, 1}},
      {"", {1, {144}, 5, 7, 2, 2}},
      {"winograd", {2, {8, 6}, 3, 5, 3, 1}},
      {"winograd", {2, {9, 10}, 40, 32, 3, 1}},
      {"winograd", {2, {16, 12}, 24, 7, 3, 1}},
      {"winograd", {2, {1, 17}, 8, 16, 3, 1}},
      {"winograd", {2, {19, 3}, 1, 50, 3, 1}},
      {"winograd", {2, {24, 20}, 40, 33, 3, 1}}, /* 30 tiles a sample: with a batch of 7 more than are done at once */
  };

  (void)state;
  for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
    check_code(&list[i]);
    check_convolution(&list[i].shape, strcmp(list[i].code, "winograd") ? 1e-6 : 2e-6);
  }
}

/* What a UNet on lines and planes is made of: convolutions of 3 points and of 1, halving with 2 (the adjoint of its transposed
   ones). oneDNN's reference code gives the same numbers, twenty times later; instruction sets differ in what else there is. */
static void unets_run_on_fast_code(void **state)
{
  static const PetscInt shape[][4] = {{40, 32, 3, 1}, {64, 128, 3, 1},  {512, 256, 3, 1},
                                      {32, 4, 1, 1},  {256, 512, 2, 2}, {32, 64, 2, 2}};

  (void)state;
  for (size_t i = 0; i < sizeof(shape) / sizeof(shape[0]); i++) {
    for (int dim = 1; dim <= 2; dim++) {
      const EkConvShape s = {dim, {dim == 1 ? 256 : 20, 20}, shape[i][0], shape[i][1], shape[i][2], shape[i][3]};
      EkConvolution     c;

      EK_OK(EkConvolutionCreate(&s, &c));
      for (int pass = 0; pass < EK_CONV_PASSES; pass++) {
        const char *code;

        EK_OK(EkConvolutionCode(c, (EkConvPass)pass, 8, &code));
        if (!*code || !strncmp(code, "ref", 3)) fail_msg("dim %d, shape %d, pass %d runs on '%s'", dim, (int)i, pass, code);
      }
      EK_OK(EkConvolutionDestroy(&c));
    }
  }
}

/* Within a run a copy is kept whatever becomes of the weights; with the next one it is made anew. By oneDNN and by filtering of
   many tiles: one channel, 3 everywhere, of which the middle of y sees all taps. */
static void weights_are_packed_once_a_run(void **state)
{
  enum { ROWS = 48, COLUMNS = 44, POINTS = ROWS * COLUMNS, TAPS = 9, MIDDLE = (20 * COLUMNS + 20) * EK_BLOCK };
  const EkConvShape shape[] = {{1, {POINTS}, 1, 1, 1, 1}, {2, {ROWS, COLUMNS}, 1, 1, 3, 1}};
  float             x[POINTS * EK_BLOCK] = {0}, y[POINTS * EK_BLOCK], w[TAPS];
  EkPacked          packed = NULL;

  (void)state;
  for (int p = 0; p < POINTS; p++) x[p * EK_BLOCK] = 3;
  for (int k = 0; k < 2; k++) {
    const float   taps = k ? TAPS : 1;
    float        *scratch = malloc((EkConvolutionScratch(&shape[k], 1, PETSC_FALSE) + 1) * sizeof(float));
    EkConvolution c;

    EK_OK(EkConvolutionCreate(&shape[k], &c));
    for (int i = 0; i < TAPS; i++) w[i] = 2;
    EK_OK(EkConvolutionApply(c, EK_CONV_FORWARD, 1, w, 1, &packed, scratch, x, y));
    assert_true(fabsf(y[MIDDLE] - 6 * taps) < 1e-4f);
    for (int i = 0; i < TAPS; i++) w[i] = 5;
    EK_OK(EkConvolutionApply(c, EK_CONV_FORWARD, 1, w, 1, &packed, scratch, x, y));
    assert_true(fabsf(y[MIDDLE] - 6 * taps) < 1e-4f);
    EK_OK(EkConvolutionApply(c, EK_CONV_FORWARD, 1, w, 2, &packed, scratch, x, y));
    assert_true(fabsf(y[MIDDLE] - 15 * taps) < 1e-4f);
    EK_OK(EkConvolutionDestroy(&c));
    free(scratch);
  }
  EK_OK(EkPackedDestroy(&packed));
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
  EkConvolution c;

  (void)state;
  EK_FAILS(EkConvolutionCreate(&(EkConvShape){2, {8, 8}, 4, 4, 2, 1}, &c), "kernel 2 with stride 1 does not make 8 points of 8");
  EK_FAILS(EkConvolutionCreate(&(EkConvShape){1, {1}, 4, 4, 2, 2}, &c), "does not make 0 points of 1");
  EK_FAILS(EkConvolutionCreate(&(EkConvShape){3, {8, 8, 8}, 4, 4, 3, 1}, &c), "3 dimensions");
}

/* ---- normalisation ---------------------------------------------------------------------------------------------- */

static void tanh_is_accurate_and_keeps_nan(void **state)
{
  EkBlockNorm identity = {.mean = {0}};
  float       x[EK_BLOCK], y[EK_BLOCK];

  (void)state;
  for (int l = 0; l < EK_BLOCK; l++) identity.scale[l] = 1;
  for (double z = 1e-6; z < 100; z *= 1.001) {
    for (int l = 0; l < EK_BLOCK; l++) x[l] = (float)(l % 2 ? z : -z);
    EkBlockNormTanh(1, &identity, x, y);
    for (int l = 0; l < EK_BLOCK; l++) assert_true(fabs(y[l] - tanh(x[l])) < 1e-6 * fabs(tanh(x[l])));
  }
  for (int l = 0; l < EK_BLOCK; l++) x[l] = l == 3 ? NAN : l == 4 ? INFINITY : l == 5 ? -INFINITY : 0;
  EkBlockNormTanh(1, &identity, x, y);
  for (int l = 0; l < EK_BLOCK; l++) assert_true(l == 3 ? isnan(y[l]) : y[l] == (l == 4) - (l == 5));
}

/* A mean a thousand times the deviation: the variance is still there. */
static void moments_survive_a_large_mean(void **state)
{
  enum { POINTS = 1000 };
  float *x = random_floats(5, POINTS * EK_BLOCK);
  double sum[EK_BLOCK] = {0}, square[EK_BLOCK] = {0};

  (void)state;
  for (size_t i = 0; i < POINTS * EK_BLOCK; i++) x[i] = 1000 + x[i];
  EkBlockMoments(POINTS, x, sum, square);
  for (int l = 0; l < EK_BLOCK; l++) {
    double mean = 0, variance = 0;

    for (int p = 0; p < POINTS; p++) mean += x[p * EK_BLOCK + l] / (double)POINTS;
    for (int p = 0; p < POINTS; p++) variance += (x[p * EK_BLOCK + l] - mean) * (x[p * EK_BLOCK + l] - mean) / POINTS;
    assert_true(fabs(sum[l] / POINTS / mean - 1) < 1e-12 &&
                fabs((square[l] / POINTS - sum[l] * sum[l] / POINTS / POINTS) / variance - 1) < 1e-6);
  }
  free(x);
}

/* ---- pooling ---------------------------------------------------------------------------------------------------- */

/* As PyTorch: the first of several that are largest has the gradient, a NaN anywhere shows. */
static void pooling_settles_ties_and_shows_nan(void **state)
{
  const PetscInt n[2] = {2, 2};
  float          x[4 * EK_BLOCK], y[EK_BLOCK], dy[EK_BLOCK], dx[4 * EK_BLOCK];

  (void)state;
  for (int l = 0; l < EK_BLOCK; l++) {
    dy[l] = (float)(l + 1);
    for (int p = 0; p < 4; p++)
      x[p * EK_BLOCK + l] = l < 4 ? p >= l : l == 4 + p ? NAN : (float)p; /* lane l < 4: points l..3 are equal */
  }
  EkBlockMaxPool(2, n, x, y);
  EkBlockMaxPoolBackward(2, n, x, y, dy, 0, dx);
  for (int l = 0; l < 4; l++) {
    assert_true(y[l] == 1);
    for (int p = 0; p < 4; p++) assert_true(dx[p * EK_BLOCK + l] == (p == l ? dy[l] : 0));
  }
  for (int l = 4; l < 8; l++) assert_true(isnan(y[l]));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(convolutions_equal_plain_sums),      cmocka_unit_test(unets_run_on_fast_code),
    cmocka_unit_test(shapes_that_do_not_fit_are_refused), cmocka_unit_test(weights_are_packed_once_a_run),
    cmocka_unit_test(tanh_is_accurate_and_keeps_nan),     cmocka_unit_test(moments_survive_a_large_mean),
    cmocka_unit_test(pooling_settles_ties_and_shows_nan),
};
EK_TEST_MAIN(tests)
