/* ranks: 1 */
/* Normal values by counter, and the operator that adds them to a window of fields. */
#include "support.h"
#include "evenkeel/graph.h"

/* The value by its definition: words of the stream that base/random.c makes, Box and Muller in double. */
static double by_definition(uint64_t key, uint32_t stream, uint64_t at)
{
  const uint64_t within = at % EK_NORMAL_GROUP, lane = within % 16, word = within / 16;
  EkRandom       r = {.key = {(uint32_t)key, (uint32_t)(key >> 32)}, .counter = {0, 0, stream, 0}};
  uint32_t       a, b;
  double         radius, angle, x, y;

  EkRandomSeek(&r, 4 * (at / EK_NORMAL_GROUP * 16 + lane));
  a = r.block[word & 2], b = r.block[(word & 2) + 1];
  radius = sqrt(-2 * log(((a >> 1) + 0.5) / 0x1p31)) * (b >> 31 ? -1 : 1);
  angle = (int32_t)(b << 2) * M_PI / 0x1p33;
  x = radius * cos(angle), y = radius * sin(angle);
  return (word & 1) == (b >> 30 & 1) ? x : y;
}

static void values_are_those_of_the_generator(void **state)
{
  static const uint64_t first[] = {0, 1, 63, 64, 100, 0xFFFFFFC0ull, 0x3FFFFFFFC0ull, 0x123456789ABCDEFull};
  float                 value[200];

  (void)state;
  for (size_t f = 0; f < sizeof(first) / sizeof(first[0]); f++) {
    for (uint32_t stream = 0; stream < 3; stream++) {
      const uint64_t key = 0x9ABCDEF012345678ull + f;

      EkRowNormal(key, stream, first[f], 200, value);
      for (uint64_t i = 0; i < 200; i++) {
        const double wanted = by_definition(key, stream, first[f] + i);

        if (!(fabs(value[i] - wanted) < 1e-6))
          fail_msg("value %llu is %.8g, not %.8g", (unsigned long long)(first[f] + i), value[i], wanted);
      }
    }
  }
}

static void pieces_make_the_same_bits(void **state)
{
  enum { N = 5000 };
  EkRandom random = EkRandomStream(6, EK_RANDOM_TEST, 1);
  float    whole[N], piece[N + 1];

  (void)state;
  EkRowNormal(77, 5, 1000, N, whole);
  for (int round = 0; round < 50; round++) {
    for (size_t at = 0; at < N;) {
      size_t n = EkInteger(&random, round % 2 ? 300 : 7);

      if (n > N - at) n = N - at;
      piece[at + n] = 99;
      EkRowNormal(77, 5, 1000 + at, n, piece + at);
      assert_true(piece[at + n] == 99);
      at += n;
    }
    assert_memory_equal(whole, piece, sizeof(whole));
  }
}

/* ---- distribution ---- */

#define MANY 655360

static float *values(uint64_t key, uint32_t stream, uint64_t first)
{
  float *x = malloc(MANY * sizeof(float));

  EkRowNormal(key, stream, first, MANY, x);
  return x;
}

static double moment(const float *x, int power)
{
  double sum = 0;

  for (size_t i = 0; i < MANY; i++) sum += pow(x[i], power);
  return sum / MANY;
}

/* Bounds are five standard deviations of what a perfect generator gives. */
static void moments_are_normal(void **state)
{
  static const double wanted[] = {1, 0, 1, 0, 3, 0, 15}, deviation[] = {1, 1, M_SQRT2, 3.87, 9.80, 30.7, 101};

  (void)state;
  for (uint64_t key = 1; key < 4; key++) {
    float *x = values(key << 40, 2, 0);

    for (int power = 1; power <= 6; power++) {
      const double got = moment(x, power);

      if (!(fabs(got - wanted[power]) < 5 * deviation[power] / sqrt(MANY))) fail_msg("moment %d is %g", power, got);
    }
    free(x);
  }
}

/* Chi-square over 64 bins of equal probability, and the tails. */
static void histogram_is_normal(void **state)
{
  float *x = values(0x123456789ull, 1, 0);
  double chi = 0, count[64] = {0};
  int    beyond = 0;

  (void)state;
  for (size_t i = 0; i < MANY; i++) {
    const int bin = (int)(64 * 0.5 * erfc(-x[i] * M_SQRT1_2));

    count[bin < 63 ? bin : 63]++;
    beyond += fabsf(x[i]) > 4;
  }
  for (int b = 0; b < 64; b++) chi += pow(count[b] - MANY / 64.0, 2) / (MANY / 64.0);
  assert_true(chi > 20 && chi < 130);      /* 63 +- 11.2 */
  assert_true(beyond > 15 && beyond < 75); /* 41.5 +- 6.4 */
  free(x);
}

static void check_independent(const char *what, size_t n, const float *x, const float *y)
{
  double product = 0, squares = 0;

  for (size_t i = 0; i < n; i++)
    product += (double)x[i] * y[i], squares += ((double)x[i] * x[i] - 1) * ((double)y[i] * y[i] - 1) / 2;
  if (!(fabs(product) < 5 * sqrt((double)n) && fabs(squares) < 5 * sqrt((double)n)))
    fail_msg("%s: correlations %g and %g of the squares", what, product / (double)n, squares / (double)n);
}

/* Within the sequence at every distance up to two groups and at those of rows, fields and frames; between streams; between keys
 * that differ in one bit. */
static void sequences_are_independent(void **state)
{
  static const size_t distance[] = {128, 256, 16384, 4 * 16384};
  float              *x = values(9, 0, 0), *y;

  (void)state;
  for (size_t d = 1; d <= 130; d++) check_independent("distance", MANY - d, x, x + d);
  for (size_t i = 0; i < sizeof(distance) / sizeof(distance[0]); i++)
    check_independent("planes", MANY - distance[i], x, x + distance[i]);
  for (uint32_t stream = 1; stream < 4; stream++) {
    y = values(9, stream, 0);
    check_independent("streams", MANY, x, y);
    free(y);
  }
  for (int bit = 0; bit < 64; bit += 9) {
    y = values(9 ^ (1ull << bit), 0, 0);
    check_independent("keys", MANY, x, y);
    free(y);
  }
  free(x);
}

/* ---- the operator ---- */

#define C     2
#define BATCH 3
#define EPS   0.25

static const PetscInt n[2] = {9, 7};

/* Two fields of two and of one frame, noise of two streams on them; the noise's own gradient is that of the squares of its
 * output. */
typedef struct {
  EkGrid   grid;
  EkParams params;
  EkGraph  graph;
  EkTensor x[2], noisy[2], target;
  float   *value[2], *zeros;
} Window;

static size_t sample(const Window *w, int k)
{
  return (size_t)(k ? 1 : 2) * C * w->grid.stride;
}

static Window new_window(void)
{
  EkRandom random = EkRandomStream(8, EK_RANDOM_TEST, 1);
  Window   w = {.grid = EkGridMake(2, n)};

  EK_OK(EkParamsCreate(&w.params));
  EK_OK(EkGraphCreate(w.params, BATCH, PETSC_TRUE, &w.graph));
  for (int k = 0; k < 2; k++) EK_OK(EkGraphInput(w.graph, (k ? 1 : 2) * C, w.grid, PETSC_TRUE, &w.x[k]));
  EK_OK(EkGraphInput(w.graph, 3 * C, w.grid, PETSC_FALSE, &w.target));
  for (int s = 0; s < 2; s++) {
    EK_OK(EkNoise(w.graph, 2, w.x, C, EPS, s, &w.noisy[s]));
    EK_OK(EkGraphKeep(w.graph, w.noisy[s]));
    EK_OK(EkMseLoss(w.graph, w.noisy[s], w.target));
  }
  EK_OK(EkGraphPlan(w.graph));
  w.zeros = calloc(3 * C * w.grid.stride, sizeof(float));
  EK_OK(EkGraphBind(w.graph, w.target, w.zeros, 0));
  for (int k = 0; k < 2; k++) {
    w.value[k] = malloc(BATCH * sample(&w, k) * sizeof(float));
    for (size_t i = 0; i < BATCH * sample(&w, k); i++) w.value[k][i] = (float)EkNormal(&random);
  }
  return w;
}

static void free_window(Window *w)
{
  free(w->value[0]), free(w->value[1]), free(w->zeros);
  EK_OK(EkGraphDestroy(&w->graph));
  EK_OK(EkParamsDestroy(&w->params));
}

/* Samples first .. first + batch - 1. */
static void run(Window *w, int first, int batch, const uint64_t *keys)
{
  for (int k = 0; k < 2; k++) EK_OK(EkGraphBind(w->graph, w->x[k], w->value[k] + (size_t)first * sample(w, k), sample(w, k)));
  EK_OK(EkGraphBindKeys(w->graph, keys));
  EK_OK(EkGraphForward(w->graph, batch, 1));
  EK_OK(EkGraphBackward(w->graph));
}

static const float *input_plane(const Window *w, int b, int frame, int c)
{
  return w->value[frame / 2] + (size_t)b * sample(w, frame / 2) + (size_t)(frame % 2 * C + c) * w->grid.stride;
}

static void operator_adds_noise_by_its_definition(void **state)
{
  const uint64_t keys[BATCH] = {11, 0xFFFFFFFFFFFFull, 11};
  Window         w = new_window();
  float         *z = malloc(w.grid.points * sizeof(float));

  (void)state;
  run(&w, 0, BATCH, keys);
  for (int at = 0; at < 2 * BATCH * 3 * C; at++) {
    const int    s = at % 2, b = at / 2 % BATCH, frame = at / 2 / BATCH % 3, c = at / 2 / BATCH / 3;
    const float *y, *x = input_plane(&w, b, frame, c);
    double       squares = 0;
    size_t       step;

    for (int f = 0; f < 3; f++) {
      for (size_t i = 0; i < w.grid.points; i++) squares += pow(input_plane(&w, b, f, c)[i], 2);
    }
    EK_OK(EkGraphGetValue(w.graph, w.noisy[s], &y, &step));
    y += (size_t)b * step + (size_t)(frame * C + c) * w.grid.stride;
    EkRowNormal(keys[b], (uint32_t)s, (size_t)(frame * C + c) * w.grid.points, w.grid.points, z);
    for (size_t i = 0; i < w.grid.points; i++) assert_true(fabs(y[i] - (x[i] + EPS * sqrt(squares) * z[i])) < 1e-5);
  }
  free(z);
  free_window(&w);
}

/* A sample's noise and gradient in a batch of three and alone. */
static void noise_does_not_depend_on_the_batch(void **state)
{
  const uint64_t keys[BATCH] = {5, 6, 1ull << 50};
  Window         w = new_window();
  const size_t   plane = w.grid.points * sizeof(float);
  float         *first = malloc(4 * plane);
  const float   *at[4];
  size_t         step[4];

  (void)state;
  for (int alone = 0; alone < 2; alone++) {
    if (alone)
      run(&w, 2, 1, keys + 2);
    else
      run(&w, 0, BATCH, keys);
    for (int k = 0; k < 2; k++) {
      EK_OK(EkGraphGetValue(w.graph, w.noisy[k], &at[k], &step[k]));
      EK_OK(EkGraphGetGradient(w.graph, w.x[k], &at[2 + k], &step[2 + k]));
    }
    for (int k = 0; k < 4; k++) {
      if (alone)
        assert_memory_equal(first + (size_t)k * w.grid.points, at[k], plane);
      else
        memcpy(first + (size_t)k * w.grid.points, at[k] + 2 * step[k], plane);
    }
  }
  free(first);
  free_window(&w);
}

static void a_field_of_zeros_stays_as_it_is(void **state)
{
  const uint64_t keys[BATCH] = {5, 6, 7};
  Window         w = new_window();
  const float   *y, *dx;
  size_t         step;

  (void)state;
  for (int frame = 0; frame < 3; frame++)
    memset((void *)(uintptr_t)input_plane(&w, 1, frame, 1), 0, w.grid.stride * sizeof(float));
  run(&w, 0, BATCH, keys);
  EK_OK(EkGraphGetValue(w.graph, w.noisy[0], &y, &step));
  y += step + w.grid.stride;
  EK_OK(EkGraphGetGradient(w.graph, w.x[0], &dx, &step));
  dx += step + w.grid.stride;
  for (size_t i = 0; i < w.grid.points; i++) assert_true(y[i] == 0 && dx[i] == 0);
  free_window(&w);
}

static void mistakes_are_refused(void **state)
{
  const PetscInt other[2] = {4, 4};
  Window         w = new_window();
  EkTensor       a[2], out;
  EkGraph        graph;

  (void)state;
  for (int k = 0; k < 2; k++) EK_OK(EkGraphBind(w.graph, w.x[k], w.value[k], sample(&w, k)));
  EK_OK(EkGraphForward(w.graph, 0, 1));
  EK_FAILS(EkGraphForward(w.graph, 1, 1), "no keys");
  EK_OK(EkGraphCreate(w.params, 1, PETSC_FALSE, &graph));
  EK_OK(EkGraphInput(graph, 4, w.grid, PETSC_FALSE, &a[0]));
  EK_OK(EkGraphInput(graph, 4, EkGridMake(2, other), PETSC_FALSE, &a[1]));
  EK_FAILS(EkNoise(graph, 2, a, 2, EPS, 0, &out), "different shapes");
  EK_FAILS(EkNoise(graph, 1, a, 3, EPS, 0, &out), "whole frames of 3");
  EK_FAILS(EkNoise(graph, 0, a, 2, EPS, 0, &out), "0 fields");
  EK_FAILS(EkNoise(graph, 1, a, 2, -EPS, 0, &out), "strength -0.25");
  EK_FAILS(EkNoise(graph, 1, a, 2, NAN, 0, &out), "strength nan");
  EK_FAILS(EkNoise(graph, 1, a, 2, EPS, -1, &out), "stream -1");
  EK_OK(EkToBlocked(graph, 1, a, &out));
  EK_FAILS(EkNoise(graph, 1, &out, 2, EPS, 0, &out), "not a planar field");
  EK_OK(EkGraphDestroy(&graph));
  free_window(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(values_are_those_of_the_generator),
    cmocka_unit_test(pieces_make_the_same_bits),
    cmocka_unit_test(moments_are_normal),
    cmocka_unit_test(histogram_is_normal),
    cmocka_unit_test(sequences_are_independent),
    cmocka_unit_test(operator_adds_noise_by_its_definition),
    cmocka_unit_test(noise_does_not_depend_on_the_batch),
    cmocka_unit_test(a_field_of_zeros_stays_as_it_is),
    cmocka_unit_test(mistakes_are_refused),
};
EK_TEST_MAIN(tests)
