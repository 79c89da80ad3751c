/* ranks: 1 */
#include "support.h"
#include "evenkeel/kernel.h"
#include "../src/kernel/vector.h"
#include <complex.h>
#include <float.h>

static void fill(EkRandom *stream, size_t n, float *x)
{
  for (size_t i = 0; i < n; i++) x[i] = (float)EkNormal(stream);
}

static float *array(size_t n)
{
  return (float *)calloc(n + 16, sizeof(float));
}

static void tile_products_match_plain_loops(void **state)
{
  EkRandom     stream = EkRandomStream(1, EK_RANDOM_TEST, 1);
  const size_t stride = 144;

  (void)state;
  for (int M = 1; M < 24; M += 3) {
    for (int K = 1; K < 24; K += 2) {
      for (size_t n = EK_WIDE; n <= 9 * EK_WIDE; n += EK_WIDE) {
        float *A = array((size_t)M * K), *B = array(K * stride), *C = array(M * stride), *D = array((size_t)M * K),
              *bias = array(M);
        const float *b[24], *c[24];
        float       *t[24];

        fill(&stream, (size_t)M * K, A), fill(&stream, K * stride, B), fill(&stream, M, bias);
        for (int k = 0; k < K; k++) b[k] = B + k * stride;
        for (int m = 0; m < M; m++) c[m] = t[m] = C + m * stride;
        EkTileMultiply(M, K, n, A, 1, (size_t)M, b, NULL, bias, t);
        EkTileMultiply(M, K, n, A, 1, (size_t)M, b, c, NULL, t);
        EkTileOuter(M, K, n - 3, c, b, D, (size_t)K, 1);
        for (int m = 0; m < M; m++) {
          for (size_t p = 0; p < n; p++) {
            double sum = bias[m];

            for (int k = 0; k < K; k++) sum += 2.0 * A[m + k * M] * B[k * stride + p];
            assert_true(fabs(sum - C[m * stride + p]) < 1e-4 * (1 + fabs(sum)));
          }
          for (int k = 0; k < K; k++) {
            double sum = 0, size = 1;

            for (size_t p = 0; p < n - 3; p++) sum += (double)c[m][p] * b[k][p], size += fabs(c[m][p] * b[k][p]);
            assert_true(fabs(sum - D[m * K + k]) < 1e-5 * size);
          }
        }
        free(A), free(B), free(C), free(D), free(bias);
      }
    }
  }
}

/* op(A)[i][k] of a stored matrix with `width` numbers a row. */
static double complex entry(EkOperation on, const float *A, size_t width, int i, int k)
{
  const float *at = A + 2 * (on == EK_PLAIN ? (size_t)i * width + (size_t)k : (size_t)k * width + (size_t)i);

  return on == EK_ADJOINT ? at[0] - I * (double)at[1] : at[0] + I * (double)at[1];
}

static void complex_products_match_the_definition(void **state)
{
  enum { M = 37, N = 21, K = 50, WIDTH = 53 };
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 2);
  float   *A = array(2 * WIDTH * WIDTH), *B = array(2 * WIDTH * WIDTH), *C = array(2 * WIDTH * M);

  (void)state;
  fill(&stream, 2 * WIDTH * WIDTH, A), fill(&stream, 2 * WIDTH * WIDTH, B);
  for (int on_a = EK_PLAIN; on_a <= EK_ADJOINT; on_a++) {
    for (int on_b = EK_PLAIN; on_b <= EK_ADJOINT; on_b++) {
      EkGemmComplex((EkOperation)on_a, (EkOperation)on_b, M, N, K, 1, A, WIDTH, B, WIDTH, 0, C, WIDTH);
      EkGemmComplex((EkOperation)on_a, (EkOperation)on_b, M, N, K, 0.5f, A, WIDTH, B, WIDTH, 1, C, WIDTH);
      for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
          double complex sum = -entry(EK_PLAIN, C, WIDTH, i, j);
          double         size = 0;

          for (int k = 0; k < K; k++) {
            const double complex product =
                1.5 * entry((EkOperation)on_a, A, WIDTH, i, k) * entry((EkOperation)on_b, B, WIDTH, k, j);

            sum += product, size += cabs(product);
          }
          assert_true(cabs(sum) < 1e-6 * size);
        }
        for (int j = 2 * N; j < 2 * WIDTH; j++) assert_true(C[i * 2 * WIDTH + j] == 0);
      }
    }
  }
  free(A), free(B), free(C);
}

static void gelu_is_the_erf_form(void **state)
{
  (void)state;
  for (double x = -12; x < 12; x += 1e-3) {
    float z = (float)x, y, s, v;

    EkGelu(1, &z, &v);
    EkGeluWithSlope(1, &z, &y, &s);
    assert_true(y == v);
    assert_true(fabs(y - 0.5 * z * erfc(-z / sqrt(2))) < 2e-7 * (1 + fabs(z)));
    assert_true(fabs(s - (0.5 * erfc(-z / sqrt(2)) + z * exp(-0.5 * z * z) / sqrt(2 * M_PI))) < 4e-7);
  }
  for (float z = 16; z < 1e30f; z *= 4) {
    const float both[2] = {z, -z};
    float       y[2], s[2];

    EkGeluWithSlope(2, both, y, s);
    assert_true(y[0] == z && fabsf(y[1]) < 1e-30f * z);
    assert_true(fabsf(s[0] - 1) <= 1e-30f * z && fabsf(s[1]) < 1e-30f * z);
  }
  float nan_in = NAN, out, slope;

  EkGelu(1, &nan_in, &out);
  assert_true(isnan(out));
  EkGeluWithSlope(1, &nan_in, &out, &slope);
  assert_true(isnan(out) && isnan(slope));
}

static void exponential_is_accurate_and_ends_at_its_floor(void **state)
{
  const float floor = ExpNegative(-80);

  (void)state;
  assert_true(ExpNegative(0) == 1);
  for (float y = 0; y >= -80; y -= 1e-3f) assert_true(fabs(ExpNegative(y) / exp(y) - 1) < 2 * FLT_EPSILON);
  assert_true(ExpNegative(-81) == floor && ExpNegative(-1e30f) == floor && ExpNegative(-INFINITY) == floor);
  assert_true(isnan(ExpNegative(NAN)));
}

static void rows_become_columns(void **state)
{
  enum { ROW = 30, COLUMN = 37 };
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 3);
  float   *from = array(ROW * 24), *to = array(COLUMN * 24);

  (void)state;
  fill(&stream, ROW * 24, from);
  for (size_t rows = 1; rows <= 24; rows++) {
    for (size_t columns = 1; columns <= 24; columns++) {
      for (size_t k = 0; k < COLUMN * 24; k++) to[k] = (float)k;
      EkTranspose(rows, columns, from, ROW, 0, to, COLUMN);
      EkTranspose(rows, columns, from, ROW, 1, to, COLUMN);
      for (size_t k = 0; k < COLUMN * 24; k++) {
        const size_t j = k / COLUMN, i = k % COLUMN;

        assert_true(to[k] == (i < rows && j < columns ? 2 * from[i * ROW + j] : (float)k));
      }
    }
  }
  free(from), free(to);
}

/* Kept coefficient straight from the definition. */
static double complex coefficient(const EkTransformShape *s, const float *x, int g, int r, int k2)
{
  const int      k1 = g == 0 ? r : r - s->m[0];
  double complex sum = 0;

  for (int a = 0; a < s->n[0]; a++) {
    for (int b = 0; b < s->n[1]; b++)
      sum += x[a * s->n[1] + b] * cexp(-2 * M_PI * I * ((double)k1 * a / s->n[0] + (double)k2 * b / s->n[1]));
  }
  return sum;
}

static const struct {
  int      dim;
  PetscInt n[2], m[2];
} shapes[] = {{2, {18, 22}, {5, 4}}, {2, {9, 15}, {4, 8}}, {2, {16, 20}, {8, 11}}, {2, {66, 66}, {12, 12}},
              {1, {50}, {6}},        {1, {13}, {7}},       {1, {16}, {9}}};

static void transforms_match_the_definition(void **state)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 2);

  (void)state;
  for (size_t c = 0; c < sizeof(shapes) / sizeof(shapes[0]); c++) {
    for (int method = 0; method < EK_TRANSFORM_COUNT; method++) {
      EkTransform             t;
      const EkTransformShape *s;
      double                  worst = 0;

      EK_OK(EkTransformCreate(shapes[c].dim, shapes[c].n, shapes[c].m, (EkTransformMethod)method, &t));
      s = EkTransformGetShape(t);
      const size_t points = (size_t)s->n[0] * s->n[1], stride = EkPlaneStride((PetscInt64)points);
      float       *x = array(3 * stride), *X = array(3 * s->plane), *W = array(3 * s->plane);

      fill(&stream, 3 * stride, x);
      EkTransformAnalyse(t, 0, 3, x, stride, X);
      EkTransformAnalyse(t, 1, 3, x, stride, W);
      for (int p = 0; p < 3; p++) {
        for (int i = 0; i < s->segments * s->modes; i++) {
          const int            g = i / s->modes, r = i % s->modes / s->m[1], k = i % s->m[1];
          const double complex want = coefficient(s, x + p * stride, g, r, k);
          const size_t         at = p * s->plane + 2 * g * s->segment + i % s->modes;
          const double         w = (k == 0 || 2 * k == s->n[1] ? 1.0 : 2.0) / (double)points;

          worst = fmax(worst, cabs(want - (X[at] + I * X[at + s->segment])) / sqrt((double)points));
          worst = fmax(worst, cabs(want * w - (W[at] + I * W[at + s->segment])) * sqrt((double)points));
        }
      }
      if (worst > 2e-5) fail_msg("shape %zu method %d error %g", c, method, worst);
      free(x), free(X), free(W);
      EK_OK(EkTransformDestroy(&t));
    }
  }
}

/* <analyse(x), Y> = <x, synthesise(Y)> for both weightings, with and without accumulation */
static void synthesis_is_the_adjoint(void **state)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 3);

  (void)state;
  for (size_t c = 0; c < sizeof(shapes) / sizeof(shapes[0]); c++) {
    for (int method = 0; method < 2 * EK_TRANSFORM_COUNT; method++) {
      const int               weighted = method & 1;
      EkTransform             t;
      const EkTransformShape *s;

      EK_OK(EkTransformCreate(shapes[c].dim, shapes[c].n, shapes[c].m, (EkTransformMethod)(method / 2), &t));
      s = EkTransformGetShape(t);
      const size_t points = (size_t)s->n[0] * s->n[1];
      float       *x = array(points), *y = array(points), *X = array(s->plane), *Y = array(s->plane);
      double       left = 0, right = 0;

      fill(&stream, points, x), fill(&stream, points, y);
      for (int g = 0; g < 2 * s->segments; g++) fill(&stream, (size_t)s->modes, Y + g * s->segment);
      EkTransformAnalyse(t, weighted, 1, x, points, X);
      for (size_t i = 0; i < points; i++) right -= (double)x[i] * y[i];
      EkTransformSynthesise(t, weighted, 1, Y, y, points, 1);
      for (size_t i = 0; i < points; i++) right += (double)x[i] * y[i];
      for (size_t i = 0; i < s->plane; i++) left += (double)X[i] * Y[i];
      if (fabs(left - right) > 1e-4 * (fabs(left) + 1)) fail_msg("shape %zu method %d: %g and %g", c, method, left, right);
      free(x), free(y), free(X), free(Y);
      EK_OK(EkTransformDestroy(&t));
    }
  }
}

static void modes_products_match_plain_loops(void **state)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 4);

  (void)state;
  for (int in = 1; in < 130; in = 2 * in + 1) {
    const int      out = in == 127 ? 130 : in + 2, batch = 3;
    const PetscInt n[2] = {12, 12}, m[2] = {5, 3};
    EkTransform    t;

    EK_OK(EkTransformCreate(2, n, m, EK_TRANSFORM_GEMM, &t));
    const EkTransformShape *s = EkTransformGetShape(t);
    const size_t            weights = 2 * (size_t)in * out * s->modes;
    float                  *w[2] = {array(weights), array(weights)}, *gw[2] = {array(weights), array(weights)};
    float *X = array(batch * in * s->plane), *Y = array(batch * out * s->plane), *Z = array(batch * in * s->plane);
    double left = 0, right = 0, product = 0;

    fill(&stream, weights, w[0]), fill(&stream, weights, w[1]);
    fill(&stream, batch * in * s->plane, X);
    EkModesForward(s, batch, in, out, (const float *const *)w, X, Y);
    for (int g = 0; g < 2; g++) {
      for (int k = 0; k < s->modes; k++) {
        double complex sum = 0;
        const float   *y = Y + (1 * out + out - 1) * s->plane + 2 * g * s->segment + k; /* sample 1, last channel */

        for (int i = 0; i < in; i++) {
          const float *x = X + (1 * in + i) * s->plane + 2 * g * s->segment + k,
                      *v = w[g] + 2 * (((size_t)i * out + out - 1) * s->modes + k);

          sum += (x[0] + I * x[s->segment]) * (v[0] + I * v[1]);
        }
        assert_true(cabs(sum - (y[0] + I * y[s->segment])) < 1e-4 * (1 + cabs(sum)));
      }
    }
    /* <Y(X, W), Y> = <X, back(Y)> = <W, grad(X, Y)>: Y is linear in each */
    EkModesBackward(s, batch, in, out, (const float *const *)w, Y, Z);
    EkModesWeights(s, batch, in, out, X, Y, gw);
    for (int g = 0; g < 2; g++) {
      for (size_t i = 0; i < weights; i++) product += (double)w[g][i] * gw[g][i];
      for (int k = 0; k < s->modes; k++) {
        for (int part = 0; part < 2; part++) {
          const size_t at = (2 * g + part) * s->segment + k;

          for (int i = 0; i < batch * out; i++) left += (double)Y[i * s->plane + at] * Y[i * s->plane + at];
          for (int i = 0; i < batch * in; i++) right += (double)X[i * s->plane + at] * Z[i * s->plane + at];
        }
      }
    }
    assert_true(fabs(left - right) < 1e-4 * left && fabs(left - product) < 1e-4 * left);
    for (int g = 0; g < 2; g++) free(w[g]), free(gw[g]);
    free(X), free(Y), free(Z);
    EK_OK(EkTransformDestroy(&t));
  }
}

static void too_many_modes_are_refused(void **state)
{
  EkTransform    t;
  const PetscInt n[2] = {16, 16}, rows[2] = {9, 4}, columns[2] = {4, 10};

  (void)state;
  EK_FAILS(EkTransformCreate(2, n, rows, EK_TRANSFORM_GEMM, &t), "model_modes");
  EK_FAILS(EkTransformCreate(2, n, columns, EK_TRANSFORM_FFT, &t), "model_modes");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tile_products_match_plain_loops),
    cmocka_unit_test(complex_products_match_the_definition),
    cmocka_unit_test(rows_become_columns),
    cmocka_unit_test(gelu_is_the_erf_form),
    cmocka_unit_test(exponential_is_accurate_and_ends_at_its_floor),
    cmocka_unit_test(transforms_match_the_definition),
    cmocka_unit_test(synthesis_is_the_adjoint),
    cmocka_unit_test(modes_products_match_plain_loops),
    cmocka_unit_test(too_many_modes_are_refused),
};
EK_TEST_MAIN(tests)
