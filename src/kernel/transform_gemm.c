/* The truncated transform as small products with slices of the DFT matrix. In 2D the first axis goes first, on reals: rows r and
   n0 - r are folded into their sum (for the cosines) and difference (for the sines), which halves the products, and k1 and -k1
   share both. Flops of a plane, both axes: about n0 n1 m0 2 + 4 (2 m0 + 1) n1 m1, against 4 n0 n1 m1 + 16 n0 m0 m1 for the two
   plain products. */
#include "transform.h"
#include <math.h>

/* 1D: a block of so many planes is one product. */
#define PLANES 32

typedef struct {
  int           sums, differences;   /* folded rows: r = 0..n0/2, r = 1..(n0-1)/2 */
  size_t        width;               /* n1 rounded up to whole vectors */
  size_t        pairs;               /* 2 m1 rounded up to whole vectors */
  float        *last[2], *last_t[2]; /* [inverse_weights]: n1 x pairs, columns cos then -sin; its transpose, 2 m1 x width */
  float        *cosine, *sine;       /* (m0 + 1) x sums; m0 x differences */
  float        *folded;              /* (sums + differences) x width */
  float        *middle;              /* (2 m0 + 1) x width */
  float        *column;              /* (2 m0 + 1) x pairs; 1D: PLANES x pairs */
  const float **row;                 /* row pointers of one product, both sides */
  float       **target;
} Gemm;

static int Most(int a, int b)
{
  return a > b ? a : b;
}

static void GemmDestroy(EkTransform t)
{
  Gemm *g = (Gemm *)t->data;

  if (!g) return;
  for (int w = 0; w < 2; w++) (void)PetscFree2(g->last[w], g->last_t[w]);
  (void)PetscFree2(g->cosine, g->sine);
  (void)PetscFree3(g->folded, g->middle, g->column);
  (void)PetscFree2(g->row, g->target);
  (void)PetscFree(t->data);
}

static PetscErrorCode LastAxis(EkTransform t, Gemm *g)
{
  const int n = t->shape.n[1], m = t->shape.m[1];

  PetscFunctionBegin;
  for (int w = 0; w < 2; w++) {
    PetscCall(PetscCalloc2((size_t)n * g->pairs, &g->last[w], (size_t)2 * m * g->width, &g->last_t[w]));
    for (int j = 0; j < n; j++) {
      for (int k = 0; k < m; k++) {
        const double angle = 2 * M_PI * ((long)k * j % n) / n, factor = w ? t->factor[k] : 1;
        const float  c = (float)(factor * cos(angle)), s = (float)(-factor * sin(angle));

        g->last[w][(size_t)j * g->pairs + k] = c;
        g->last[w][(size_t)j * g->pairs + m + k] = s;
        g->last_t[w][(size_t)k * g->width + j] = c;
        g->last_t[w][(size_t)(m + k) * g->width + j] = s;
      }
    }
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode FirstAxis(EkTransform t, Gemm *g)
{
  const int n = t->shape.n[0], m = t->shape.m[0];

  PetscFunctionBegin;
  PetscCall(PetscCalloc2((size_t)(m + 1) * g->sums, &g->cosine, (size_t)m * g->differences + 1, &g->sine));
  for (int k = 0; k <= m; k++) {
    for (int r = 0; r < g->sums; r++) {
      const double angle = 2 * M_PI * ((long)k * r % n) / n;

      g->cosine[(size_t)k * g->sums + r] = (float)cos(angle);
      if (k > 0 && r >= 1 && r <= g->differences) g->sine[(size_t)(k - 1) * g->differences + r - 1] = (float)sin(angle);
    }
  }
  PetscFunctionReturn(0);
}

/* All but the lists of row pointers. */
static size_t Bytes(const EkTransformShape *s, const Gemm *g, int both)
{
  const size_t n1 = (size_t)s->n[1], m0 = (size_t)s->m[0], m1 = (size_t)s->m[1], folded = (size_t)(g->sums + g->differences);
  const size_t tables = 2 * (n1 * g->pairs + 2 * m1 * g->width) + (m0 + 1) * (size_t)g->sums + m0 * (size_t)g->differences;

  return (tables + folded * g->width + (size_t)both * (g->width + g->pairs)) * sizeof(float);
}

static PetscErrorCode GemmSetup(EkTransform t)
{
  const int n = t->shape.n[0], m = t->shape.m[0], both = Most(2 * m + 1, PLANES);
  Gemm     *g;

  PetscFunctionBegin;
  PetscCall(PetscNew(&g));
  t->data = g;
  g->width = EK_ROUND_UP((size_t)t->shape.n[1], EK_WIDE);
  g->pairs = EK_ROUND_UP(2 * (size_t)t->shape.m[1], EK_WIDE);
  g->sums = n / 2 + 1;
  g->differences = (n - 1) / 2;
  t->bytes = Bytes(&t->shape, g, both);
  PetscCall(LastAxis(t, g));
  PetscCall(FirstAxis(t, g));
  PetscCall(PetscCalloc3((size_t)(g->sums + g->differences) * g->width, &g->folded, both * g->width, &g->middle, both * g->pairs,
                         &g->column));
  PetscCall(
      PetscMalloc2(Most(t->shape.n[1], Most(2 * t->shape.m[1], Most(both, n + 1))), &g->row, Most(n + 1, both), &g->target));
  PetscFunctionReturn(0);
}

static void Rows(const float **row, const float *start, size_t stride, int n)
{
  for (int i = 0; i < n; i++) row[i] = start + (size_t)i * stride;
}

static void Targets(float **target, float *start, size_t stride, int n)
{
  for (int i = 0; i < n; i++) target[i] = start + (size_t)i * stride;
}

static void Fold(const EkTransformShape *s, const Gemm *g, const float *x)
{
  const int n0 = s->n[0], n1 = s->n[1];

  memcpy(g->folded, x, (size_t)n1 * sizeof(float));
  for (int r = 1; r < g->sums; r++) {
    const float *a = x + (size_t)r * n1, *b = x + (size_t)(n0 - r) * n1;
    float       *sum = g->folded + (size_t)r * g->width, *difference = g->folded + (size_t)(g->sums + r - 1) * g->width;

    if (2 * r == n0)
      memcpy(sum, a, (size_t)n1 * sizeof(float));
    else {
      for (int j = 0; j < n1; j++) {
        sum[j] = a[j] + b[j];
        difference[j] = a[j] - b[j];
      }
    }
  }
}

/* column: rows 0..m0 hold the cosine part C_k, then m0 rows the sine part S_k, each (re, im); coefficient +-k = C -+ iS */
static void Combine(const EkTransformShape *s, const Gemm *g, float *X)
{
  const int m0 = s->m[0], m1 = s->m[1];

  for (int k = 0; k <= m0; k++) {
    const float *c = g->column + (size_t)k * g->pairs, *d = g->column + (size_t)(m0 + k) * g->pairs;
    float       *plus = X + (size_t)k * m1, *minus = X + 2 * s->segment + (size_t)(m0 - k) * m1;

    for (int j = 0; j < m1; j++) {
      const float sr = k ? d[j] : 0, si = k ? d[m1 + j] : 0;

      if (k < m0) {
        plus[j] = c[j] + si;
        plus[s->segment + j] = c[m1 + j] - sr;
      }
      if (k > 0) {
        minus[j] = c[j] - si;
        minus[s->segment + j] = c[m1 + j] + sr;
      }
    }
  }
}

static void GemmAnalyse1D(EkTransform t, int inverse_weights, int planes, const float *x, size_t x_stride, float *X)
{
  const EkTransformShape *s = &t->shape;
  const Gemm             *g = (const Gemm *)t->data;

  Rows(g->row, g->last[inverse_weights], g->pairs, s->n[1]);
  Targets(g->target, g->column, g->pairs, PLANES);
  memset(X, 0, planes * s->plane * sizeof(float));
  for (int start = 0; start < planes; start += PLANES) {
    const int count = planes - start < PLANES ? planes - start : PLANES;

    EkTileMultiply(count, s->n[1], g->pairs, x + start * x_stride, x_stride, 1, g->row, NULL, NULL, g->target);
    for (int p = 0; p < count; p++) {
      memcpy(X + (start + p) * s->plane, g->target[p], (size_t)s->m[1] * sizeof(float));
      memcpy(X + (start + p) * s->plane + s->segment, g->target[p] + s->m[1], (size_t)s->m[1] * sizeof(float));
    }
  }
}

static void GemmAnalyse(EkTransform t, int inverse_weights, int planes, const float *x, size_t x_stride, float *X)
{
  const EkTransformShape *s = &t->shape;
  const Gemm             *g = (const Gemm *)t->data;
  const int               m0 = s->m[0], both = 2 * m0 + 1;

  if (s->dim == 1) {
    GemmAnalyse1D(t, inverse_weights, planes, x, x_stride, X);
    return;
  }
  for (int p = 0; p < planes; p++, x += x_stride, X += s->plane) {
    Fold(s, g, x);
    Rows(g->row, g->folded, g->width, g->sums + g->differences);
    Targets(g->target, g->middle, g->width, both);
    EkTileMultiply(m0 + 1, g->sums, g->width, g->cosine, g->sums, 1, g->row, NULL, NULL, g->target);
    EkTileMultiply(m0, g->differences, g->width, g->sine, g->differences, 1, g->row + g->sums, NULL, NULL, g->target + m0 + 1);
    Rows(g->row, g->last[inverse_weights], g->pairs, s->n[1]);
    Targets(g->target, g->column, g->pairs, both);
    EkTileMultiply(both, s->n[1], g->pairs, g->middle, g->width, 1, g->row, NULL, NULL, g->target);
    Combine(s, g, X);
  }
}

/* The transpose of Combine: column rows k = 0..m0 get U_k = X_k + X_-k as (re, im), then m0 rows V_k = X_k - X_-k as (im, -re),
   so that one matrix serves both: Re(U e^{ibj}) and Im(V e^{ibj}). */
static void Separate(const EkTransformShape *s, const Gemm *g, const float *X)
{
  const int m0 = s->m[0], m1 = s->m[1];

  for (int k = 0; k <= m0; k++) {
    float       *u = g->column + (size_t)k * g->pairs, *v = g->column + (size_t)(m0 + k) * g->pairs;
    const float *plus = X + (size_t)k * m1, *minus = X + 2 * s->segment + (size_t)(m0 - k) * m1;

    for (int j = 0; j < m1; j++) {
      const float pr = k < m0 ? plus[j] : 0, pi = k < m0 ? plus[s->segment + j] : 0;
      const float mr = k > 0 ? minus[j] : 0, mi = k > 0 ? minus[s->segment + j] : 0;

      u[j] = pr + mr;
      u[m1 + j] = pi + mi;
      if (k > 0) {
        v[j] = pi - mi;
        v[m1 + j] = mr - pr;
      }
    }
  }
}

/* folded: rows r hold E_r = sum_k cos U, then O_r = sum_k sin V: x_r = E - O, x_{n0-r} = E + O */
static void Unfold(const EkTransformShape *s, const Gemm *g, float *x, int accumulate)
{
  const int n0 = s->n[0], n1 = s->n[1];

  for (int r = 0; r < g->sums; r++) {
    const int    paired = r >= 1 && r <= g->differences;
    const float *even = g->folded + (size_t)r * g->width, *odd = g->folded + (size_t)(g->sums + r - 1) * g->width;
    float       *a = x + (size_t)r * n1, *b = x + (size_t)(n0 - r) * n1;

    if (!paired) {
      for (int j = 0; j < n1; j++) a[j] = accumulate ? a[j] + even[j] : even[j];
    } else if (accumulate) {
      for (int j = 0; j < n1; j++) {
        a[j] += even[j] - odd[j];
        b[j] += even[j] + odd[j];
      }
    } else {
      for (int j = 0; j < n1; j++) {
        a[j] = even[j] - odd[j];
        b[j] = even[j] + odd[j];
      }
    }
  }
}

static void GemmSynthesise1D(EkTransform t, int inverse_weights, int planes, const float *X, float *x, size_t x_stride,
                             int accumulate)
{
  const EkTransformShape *s = &t->shape;
  const Gemm             *g = (const Gemm *)t->data;

  Rows(g->row, g->last_t[inverse_weights], g->width, 2 * s->m[1]);
  for (int start = 0; start < planes; start += PLANES) {
    const int count = planes - start < PLANES ? planes - start : PLANES;

    for (int p = 0; p < count; p++) {
      memcpy(g->column + p * g->pairs, X + (start + p) * s->plane, (size_t)s->m[1] * sizeof(float));
      memcpy(g->column + p * g->pairs + s->m[1], X + (start + p) * s->plane + s->segment, (size_t)s->m[1] * sizeof(float));
    }
    Targets(g->target, x + start * x_stride, x_stride, count);
    EkTileMultiply(count, 2 * s->m[1], g->width, g->column, g->pairs, 1, g->row,
                   accumulate ? (const float *const *)g->target : NULL, NULL, g->target);
  }
}

static void GemmSynthesise(EkTransform t, int inverse_weights, int planes, const float *X, float *x, size_t x_stride,
                           int accumulate)
{
  const EkTransformShape *s = &t->shape;
  const Gemm             *g = (const Gemm *)t->data;
  const int               m0 = s->m[0], both = 2 * m0 + 1;

  if (s->dim == 1) {
    GemmSynthesise1D(t, inverse_weights, planes, X, x, x_stride, accumulate);
    return;
  }
  for (int p = 0; p < planes; p++, x += x_stride, X += s->plane) {
    Separate(s, g, X);
    Rows(g->row, g->last_t[inverse_weights], g->width, 2 * s->m[1]);
    Targets(g->target, g->middle, g->width, both);
    EkTileMultiply(both, 2 * s->m[1], g->width, g->column, g->pairs, 1, g->row, NULL, NULL, g->target);
    Rows(g->row, g->middle, g->width, both);
    Targets(g->target, g->folded, g->width, g->sums + g->differences);
    EkTileMultiply(g->sums, m0 + 1, g->width, g->cosine, 1, g->sums, g->row, NULL, NULL, g->target);
    EkTileMultiply(g->differences, m0, g->width, g->sine, 1, g->differences, g->row + m0 + 1, NULL, NULL, g->target + g->sums);
    Unfold(s, g, x, accumulate);
  }
}

static double GemmFlops(const EkTransformShape *s)
{
  const double last = 4.0 * s->n[1] * s->m[1];

  if (s->dim == 1) return last;
  return 2.0 * s->n[1] * ((s->m[0] + 1.0) * (s->n[0] / 2 + 1) + s->m[0] * ((s->n[0] - 1) / 2)) + (2 * s->m[0] + 1) * last +
         2.0 * s->n[0] * s->n[1];
}

const EkTransformOps EkTransformGemm = {GemmAnalyse, GemmSynthesise, GemmFlops, GemmSetup, GemmDestroy};
