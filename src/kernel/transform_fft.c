/* FFTW: r2c along the last axis, then c2c along the first for the kept columns only; back the same way. The kept spectrum is not
   Hermitian in column 0, so the inverse is c2c followed by c2r, never a 2-D c2r. */
#include "transform.h"
#include <fftw3.h>
#include <math.h>

typedef struct {
  fftwf_plan r2c, forward, backward, c2r;
  float     *real; /* n0 x n1 */
  float     *kept; /* n0 x (n1/2 + 1) complex, row k1 or r, column k2 */
} Fft;

static void FftDestroy(EkTransform t)
{
  Fft *f = (Fft *)t->data;

  if (!f) return;
  if (f->r2c) fftwf_destroy_plan(f->r2c);
  if (f->forward) fftwf_destroy_plan(f->forward);
  if (f->backward) fftwf_destroy_plan(f->backward);
  if (f->c2r) fftwf_destroy_plan(f->c2r);
  fftwf_free(f->real);
  fftwf_free(f->kept);
  (void)PetscFree(t->data);
}

/* FFTW_MEASURE would choose differently from run to run: ESTIMATE keeps a restart bitwise equal. */
static PetscErrorCode FftSetup(EkTransform t)
{
  const int     *n = t->shape.n, half = n[1] / 2 + 1;
  Fft           *f;
  fftwf_complex *kept;

  PetscFunctionBegin;
  PetscCall(PetscNew(&f));
  t->data = f;
  f->real = fftwf_alloc_real((size_t)n[0] * n[1]);
  f->kept = fftwf_alloc_real(2 * (size_t)n[0] * half);
  kept = (fftwf_complex *)f->kept;
  t->bytes = ((size_t)n[0] * n[1] + 2 * (size_t)n[0] * half) * sizeof(float);
  EkCheckAlloc(f->real && f->kept, "Fourier transform");
  f->r2c = fftwf_plan_many_dft_r2c(1, &n[1], n[0], f->real, NULL, 1, n[1], kept, NULL, 1, half, FFTW_ESTIMATE);
  f->c2r = fftwf_plan_many_dft_c2r(1, &n[1], n[0], kept, NULL, 1, half, f->real, NULL, 1, n[1], FFTW_ESTIMATE);
  f->forward =
      fftwf_plan_many_dft(1, &n[0], t->shape.m[1], kept, NULL, half, 1, kept, NULL, half, 1, FFTW_FORWARD, FFTW_ESTIMATE);
  f->backward =
      fftwf_plan_many_dft(1, &n[0], t->shape.m[1], kept, NULL, half, 1, kept, NULL, half, 1, FFTW_BACKWARD, FFTW_ESTIMATE);
  PetscCheck(f->r2c && f->c2r && f->forward && f->backward, PETSC_COMM_SELF, PETSC_ERR_LIB, "FFTW has no plan for a %d x %d grid",
             n[0], n[1]);
  PetscFunctionReturn(0);
}

/* Row of the full transform that holds kept row r of a segment. */
static int FullRow(const EkTransformShape *s, int segment, int r)
{
  return segment == 0 ? r : s->n[0] - s->m[0] + r;
}

static void FftAnalyse(EkTransform t, int inverse_weights, int planes, const float *x, size_t x_stride, float *X)
{
  const EkTransformShape *s = &t->shape;
  const Fft              *f = (const Fft *)t->data;
  const int               half = s->n[1] / 2 + 1;

  for (int p = 0; p < planes; p++, x += x_stride, X += s->plane) {
    memcpy(f->real, x, (size_t)s->n[0] * s->n[1] * sizeof(float));
    fftwf_execute(f->r2c);
    if (s->dim == 2) fftwf_execute(f->forward);
    memset(X, 0, s->plane * sizeof(float));
    for (int g = 0; g < s->segments; g++) {
      for (int r = 0; r < s->m[0]; r++) {
        const float *row = f->kept + 2 * (size_t)FullRow(s, g, r) * half;
        float       *re = X + 2 * g * s->segment + (size_t)(r * s->m[1] * s->step), *im = re + s->imaginary;

        for (int k = 0; k < s->m[1]; k++) {
          const float w = inverse_weights ? t->factor[k] : 1;

          re[k * s->step] = w * row[2 * k];
          im[k * s->step] = w * row[2 * k + 1];
        }
      }
    }
  }
}

static void FftSynthesise(EkTransform t, int inverse_weights, int planes, const float *X, float *x, size_t x_stride,
                          int accumulate)
{
  const EkTransformShape *s = &t->shape;
  const Fft              *f = (const Fft *)t->data;
  const int               half = s->n[1] / 2 + 1;
  const float             n = (float)s->n[0] * (float)s->n[1];

  for (int p = 0; p < planes; p++, x += x_stride, X += s->plane) {
    memset(f->kept, 0, 2 * (size_t)s->n[0] * half * sizeof(float));
    for (int g = 0; g < s->segments; g++) {
      for (int r = 0; r < s->m[0]; r++) {
        float       *row = f->kept + 2 * (size_t)FullRow(s, g, r) * half;
        const float *re = X + 2 * g * s->segment + (size_t)(r * s->m[1] * s->step), *im = re + s->imaginary;

        for (int k = 0; k < s->m[1]; k++) {
          /* c2r counts every column but 0 and n1/2 twice */
          const float w = inverse_weights ? 1 / n : 1 / (n * t->factor[k]);

          row[2 * k] = w * re[k * s->step];
          row[2 * k + 1] = w * im[k * s->step];
        }
      }
    }
    if (s->dim == 2) fftwf_execute(f->backward);
    fftwf_execute(f->c2r);
    for (size_t i = 0; i < (size_t)s->n[0] * s->n[1]; i++) x[i] = accumulate ? x[i] + f->real[i] : f->real[i];
  }
}

static double FftFlops(const EkTransformShape *s)
{
  const double rows = 2.5 * s->n[0] * s->n[1] * log2(s->n[1]);

  return s->dim == 1 ? rows : rows + 5.0 * s->m[1] * s->n[0] * log2(s->n[0]);
}

const EkTransformOps EkTransformFft = {FftAnalyse, FftSynthesise, FftFlops, FftSetup, FftDestroy};
