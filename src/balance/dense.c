#include "balance_impl.h"
#include "lapack.h"
#include <math.h>
#include <string.h>

/* Rows of the long side that enter the Gram matrix at once: bounds the copy in double. */
#define PANEL 512
/* ssyev of a single-precision Gram matrix: small eigenvalues are off by 1e-8 of the largest on average and 7e-8 at most (480
   matrices of 256 to 1024 columns: normal, uniform and heavy-tailed values, and a large rank one), by 2e-7 where all but a few
   singular values are of one size. */
#define SINGLE_ERROR 4e-7

struct EkDense_ {
  double *a, *gram, *w, *work, *rwork;
  float  *single, *wsingle, *worksingle;
  int    *iwork, lwork, lworksingle;
};

EkTall EkTallView(const EkMatrixBatch *batch, PetscInt k)
{
  const PetscBool wide = (PetscBool)(batch->rows < batch->cols);

  return (EkTall){.data = batch->data + (size_t)k * batch->step,
                  .m = wide ? batch->cols : batch->rows,
                  .n = wide ? batch->rows : batch->cols,
                  .row_step = wide ? batch->col_step : batch->row_step,
                  .col_step = wide ? batch->row_step : batch->col_step,
                  .is_complex = batch->is_complex,
                  .imaginary = batch->imaginary ? batch->imaginary : 1};
}

PetscBool EkSinglePromises(const EkSpectrumOptions *options, const EkTall *a)
{
  return (PetscBool)(options->threshold >= 0 && a->n >= 256 && !a->is_complex);
}

EkSingle EkSingleSuffices(const EkSpectrumOptions *options, double error, PetscInt n, const float lambda[])
{
  const double largest = lambda[n - 1], margin = error * largest + 2e-4 * options->threshold;
  PetscInt     dropped = 0, near = 0;

  if (!(largest > 1e-30 && largest < 1e30)) return EK_SINGLE_FAILS;
  for (PetscInt k = 0; k < n; k++) {
    near += fabs(lambda[k] - options->threshold) <= margin;
    dropped += lambda[k] < options->threshold;
  }
  if (dropped + near >= n) return EK_SINGLE_FAILS;
  if (lambda[dropped + (PetscInt)((double)(n - dropped) / options->xmin_pos)] < 1e-3 * largest) return EK_SINGLE_FAILS;
  return near ? EK_SINGLE_NEAR_FILTER : EK_SINGLE_SUFFICES;
}

/* Rows lo..hi in double, column-major (pairs when complex). False if a value is not finite. */
static PetscBool Pack(const EkTall *a, PetscInt lo, PetscInt hi, double *out)
{
  double check = 0; /* 0 * x is NaN for what is not finite */

  for (PetscInt j = 0; j < a->n; j++) {
    const float *x = a->data + (size_t)lo * a->row_step + (size_t)j * a->col_step;

    for (PetscInt i = lo; i < hi; i++, x += a->row_step) {
      check += 0.0 * (*out++ = x[0]);
      if (a->is_complex) check += 0.0 * (*out++ = x[a->imaginary]);
    }
  }
  return (PetscBool)(check == 0);
}

static PetscBool FormGram(EkDense d, const EkTall *a)
{
  const int    n = (int)a->n;
  const double one = 1;

  for (PetscInt lo = 0; lo < a->m; lo += PANEL) {
    const int    rows = (int)PetscMin(PANEL, a->m - lo);
    const double beta = lo ? 1 : 0;

    if (!Pack(a, lo, lo + rows, d->a)) return PETSC_FALSE;
    if (a->is_complex)
      zherk_("L", "C", &n, &rows, &one, d->a, &rows, &beta, d->gram, &n);
    else
      dsyrk_("L", "T", &n, &rows, &one, d->a, &rows, &beta, d->gram, &n);
  }
  return PETSC_TRUE;
}

/* Rows lo..hi of a real matrix, column-major. */
static void PackSingle(const EkTall *a, PetscInt lo, PetscInt hi, float *out)
{
  for (PetscInt j = 0; j < a->n; j++) {
    const float *x = a->data + (size_t)lo * a->row_step + (size_t)j * a->col_step;

    for (PetscInt i = lo; i < hi; i++, x += a->row_step) *out++ = *x;
  }
}

/* Lower triangle of the real Gram matrix in single precision. A matrix with a step of 1 is multiplied where it lies: its columns
   or its rows are the columns of BLAS. False if a value is not finite: it shows on the diagonal. */
static PetscBool FormSingleGram(EkDense d, const EkTall *a)
{
  const PetscBool by_rows = (PetscBool)(a->col_step == 1), in_place = (PetscBool)(by_rows || a->row_step == 1);
  const int       n = (int)a->n;
  const float     one = 1;
  float           check = 0;

  for (PetscInt lo = 0; lo < a->m; lo += PANEL) {
    const int    rows = (int)PetscMin(PANEL, a->m - lo);
    const int    lead = in_place ? (int)(by_rows ? a->row_step : a->col_step) : rows;
    const float  beta = lo ? 1 : 0;
    const float *panel = in_place ? a->data + (size_t)lo * a->row_step : (const float *)d->a;

    if (!in_place) PackSingle(a, lo, lo + rows, (float *)d->a);
    ssyrk_("L", by_rows ? "N" : "T", &n, &rows, &one, panel, &lead, &beta, d->single, &n);
  }
  for (int j = 0; j < n; j++) check += 0.0f * d->single[(size_t)j * ((size_t)n + 1)];
  return (PetscBool)(check == 0);
}

/* The eigenvalues of the Gram matrix (in double, overwritten) below x: as many as D of L D L^T = Gram - x has below zero
   (Sylvester). A 2 x 2 block of D has one of each sign. False if the matrix cannot be factorised. */
static PetscBool CountBelow(EkDense d, int n, double x, PetscInt *below)
{
  const size_t step = (size_t)n + 1;
  int          info;

  for (size_t j = 0; j < (size_t)n; j++) d->gram[j * step] -= x;
  dsytrf_("L", &n, d->gram, &n, d->iwork, d->work, &d->lwork, &info);
  *below = 0;
  for (int j = 0; j < n; j++) {
    const PetscBool block = (PetscBool)(d->iwork[j] < 0);

    *below += block || d->gram[(size_t)j * step] < 0;
    j += block;
  }
  return (PetscBool)(info == 0);
}

/* v: the single-precision Gram matrix's eigenvector at the value (overwritten), by inverse iteration; one large entry. */
static PetscBool InverseIterate(EkDense d, int n, float *gram, double value, float *v)
{
  const int one = 1;
  int       info;

  for (int j = 0; j < n; j++) gram[(size_t)j * ((size_t)n + 1)] -= (float)value;
  ssytrf_("L", &n, gram, &n, d->iwork, d->worksingle, &d->lworksingle, &info);
  for (int j = 0; j < n; j++) v[j] = (uint32_t)j * 2654435761u >> 31 ? 1 : -1;
  for (int k = 0; k < 3 && info == 0; k++) {
    float largest = 0;

    ssytrs_("L", &n, &one, gram, &n, d->iwork, v, &n, &info);
    for (int j = 0; j < n; j++) largest = PetscMax(largest, fabsf(v[j]));
    for (int j = 0; j < n; j++) v[j] /= largest;
  }
  return (PetscBool)(info == 0);
}

/* Rayleigh quotient of v and square of its residual, |v| = 1, of the Gram matrix in double. False if a value is not finite. */
static PetscBool Rayleigh(EkDense d, const EkTall *a, const float *single, double *quotient, double *residual)
{
  const int    n = (int)a->n, step = 1;
  const double one = 1, zero = 0;
  double      *v = d->rwork, *r = d->w, *u = d->work, square = 0;

  for (int j = 0; j < n; j++) v[j] = single[j], r[j] = 0, square += v[j] * v[j];
  *quotient = *residual = 0;
  for (PetscInt lo = 0; lo < a->m; lo += PANEL) {
    const int rows = (int)PetscMin(PANEL, a->m - lo);

    if (!Pack(a, lo, lo + rows, d->a)) return PETSC_FALSE;
    dgemv_("N", &rows, &n, &one, d->a, &rows, v, &step, &zero, u, &step);
    dgemv_("T", &rows, &n, &one, d->a, &rows, u, &step, &one, r, &step);
    for (int i = 0; i < rows; i++) *quotient += u[i] * u[i] / square;
  }
  for (int j = 0; j < n; j++) *residual += (r[j] - *quotient * v[j]) * (r[j] - *quotient * v[j]) / square;
  return (PetscBool)isfinite(*residual);
}

/* How many eigenvalues lie below the filter x, where a single one may be on either side: with no other between lo and hi, it is
   above theta - |r|^2/(hi - theta) and below theta + |r|^2/(theta - lo) (Temple 1928, Kato 1949), and |r|^2 is as small as the
   square of what single precision is wrong. Takes a third of the time of FormGram and CountBelow. False: cannot tell. */
static PetscBool PlaceOne(EkDense d, const EkTall *a, float *gram, const double lambda[], double x, PetscInt *below)
{
  const PetscInt n = a->n;
  const double   error = SINGLE_ERROR * lambda[n - 1];
  PetscInt       q = 0;
  double         lo, hi, theta, r;

  while (q < n - 1 && fabs(lambda[q + 1] - x) <= fabs(lambda[q] - x)) q++;
  lo = q > 0 ? lambda[q - 1] + error : -INFINITY;
  hi = q < n - 1 ? lambda[q + 1] - error : INFINITY;
  if (!(lo < x && x < hi)) return PETSC_FALSE;
  if (!InverseIterate(d, (int)n, gram, lambda[q], d->wsingle) || !Rayleigh(d, a, d->wsingle, &theta, &r)) return PETSC_FALSE;
  if (!(lo < theta && theta < hi)) return PETSC_FALSE;
  *below = theta + r / (theta - lo) < x ? q + 1 : q;
  return (PetscBool)(*below > q || theta - r / (hi - theta) > x);
}

/* Eigenvalues in single precision, taken if they are good enough. Where they cannot tell how many the filter drops, that is found
   out in double, and values that lie on the wrong side of it (by rounding, all within its margin) are put on the right one. */
static PetscBool SingleEigenvalues(EkDense d, const EkTall *a, const EkSpectrumOptions *options, double lambda[])
{
  const double x = options->threshold;
  const int    n = (int)a->n;
  float       *kept = (float *)d->gram; /* until it is needed in double */
  PetscInt     dropped;
  EkSingle     found;
  int          info;

  if (!FormSingleGram(d, a)) return PETSC_FALSE;
  memcpy(kept, d->single, (size_t)n * (size_t)n * sizeof(*kept));
  ssyev_("N", "L", &n, d->single, &n, d->wsingle, d->worksingle, &d->lworksingle, &info);
  found = info ? EK_SINGLE_FAILS : EkSingleSuffices(options, SINGLE_ERROR, n, d->wsingle);
  if (found == EK_SINGLE_FAILS) return PETSC_FALSE;
  for (int i = 0; i < n; i++) lambda[i] = PetscMax(0, d->wsingle[i]);
  if (found == EK_SINGLE_SUFFICES) return PETSC_TRUE;
  if (!PlaceOne(d, a, kept, lambda, x, &dropped) && (!FormGram(d, a) || !CountBelow(d, n, x, &dropped))) return PETSC_FALSE;
  for (PetscInt i = 0; i < dropped; i++) lambda[i] = PetscMin(lambda[i], x * (1 - 1e-9));
  for (PetscInt i = dropped; i < n; i++) lambda[i] = PetscMax(lambda[i], x * (1 + 1e-9));
  return PETSC_TRUE;
}

static void GramSpectrum(EkDense d, const EkTall *a, const EkSpectrumOptions *options, double lambda[])
{
  const int n = (int)a->n;
  int       info = 0;

  if (EkSinglePromises(options, a) && SingleEigenvalues(d, a, options, lambda)) return;
  if (!FormGram(d, a)) {
    lambda[0] = EK_SPECTRUM_NOT_FINITE;
    return;
  }
  if (a->is_complex)
    zheev_("N", "L", &n, d->gram, &n, d->w, d->work, &d->lwork, d->rwork, &info);
  else
    dsyev_("N", "L", &n, d->gram, &n, d->w, d->work, &d->lwork, &info);
  for (int i = 0; i < n; i++) lambda[i] = PetscMax(0, d->w[i]); /* rounding may leave a zero slightly negative */
  if (info) lambda[0] = EK_SPECTRUM_FAILED;
}

static void SingularSpectrum(EkDense d, const EkTall *a, double lambda[])
{
  const int m = (int)a->m, n = (int)a->n, one = 1;
  int       info = 0;

  if (!Pack(a, 0, m, d->a)) {
    lambda[0] = EK_SPECTRUM_NOT_FINITE;
    return;
  }
  if (a->is_complex)
    zgesdd_("N", &m, &n, d->a, &m, d->w, NULL, &one, NULL, &one, d->work, &d->lwork, d->rwork, d->iwork, &info);
  else
    dgesdd_("N", &m, &n, d->a, &m, d->w, NULL, &one, NULL, &one, d->work, &d->lwork, d->iwork, &info);
  for (int i = 0; i < n; i++) lambda[i] = d->w[n - 1 - i] * d->w[n - 1 - i];
  if (info) lambda[0] = EK_SPECTRUM_FAILED;
}

void EkDenseSpectrum(EkDense d, const EkTall *a, const EkSpectrumOptions *options, double lambda[])
{
  if (options->solver == EK_SOLVER_SVD)
    SingularSpectrum(d, a, lambda);
  else
    GramSpectrum(d, a, options, lambda);
}

/* Doubles of work the double-precision routines for this matrix ask for. */
static int WorkLength(const EkTall *a, EkSolver solver)
{
  const int m = (int)a->m, n = (int)a->n, one = 1, query = -1;
  double    x[2] = {0};
  int       i[1], info, factorise = 0;

  if (solver == EK_SOLVER_SVD) {
    if (a->is_complex)
      zgesdd_("N", &m, &n, x, &m, x, NULL, &one, NULL, &one, x, &query, x, i, &info);
    else
      dgesdd_("N", &m, &n, x, &m, x, NULL, &one, NULL, &one, x, &query, i, &info);
  } else if (a->is_complex)
    zheev_("N", "L", &n, x, &n, x, x, &query, x, &info);
  else {
    dsytrf_("L", &n, x, &n, i, x, &query, &info);
    factorise = (int)x[0];
    dsyev_("N", "L", &n, x, &n, x, x, &query, &info);
  }
  return PetscMax(factorise, (int)x[0]);
}

static int WorkLengthSingle(int n)
{
  const int query = -1;
  float     x[1];
  int       info;

  ssyev_("N", "L", &n, x, &n, x, x, &query, &info);
  return (int)x[0];
}

PetscErrorCode EkDenseCreate(int nbatches, const EkMatrixBatch *const batches[], const EkSolver solver[], EkDense *out)
{
  EkDense d;
  size_t  a_size = 0, gram_size = 0, single_size = 0;
  int     n = 0;

  PetscFunctionBegin;
  PetscCall(PetscNew(&d));
  for (int b = 0; b < nbatches; b++) {
    const EkTall    tall = EkTallView(batches[b], 0);
    const size_t    parts = tall.is_complex ? 2 : 1, cols = (size_t)tall.n;
    const PetscBool svd = (PetscBool)(solver[b] == EK_SOLVER_SVD);

    n = PetscMax(n, (int)tall.n);
    a_size = PetscMax(a_size, parts * cols * (size_t)(svd ? tall.m : PetscMin(tall.m, PANEL)));
    d->lwork = PetscMax(d->lwork, WorkLength(&tall, solver[b]));
    if (!svd) gram_size = PetscMax(gram_size, parts * cols * cols);
    if (!svd && EkSinglePromises(&(EkSpectrumOptions){.threshold = 0}, &tall)) {
      single_size = PetscMax(single_size, cols * cols);
      d->lworksingle = PetscMax(d->lworksingle, WorkLengthSingle((int)tall.n));
    }
  }
  PetscCall(PetscMalloc4(a_size, &d->a, gram_size, &d->gram, n, &d->w, 8 * n, &d->iwork));
  PetscCall(PetscMalloc2(2 * (size_t)d->lwork, &d->work, 7 * n, &d->rwork)); /* pairs where the work is complex */
  PetscCall(PetscMalloc3(single_size, &d->single, single_size ? n : 0, &d->wsingle, d->lworksingle, &d->worksingle));
  *out = d;
  PetscFunctionReturn(0);
}

PetscErrorCode EkDenseDestroy(EkDense *dense)
{
  PetscFunctionBegin;
  if (!*dense) PetscFunctionReturn(0);
  PetscCall(PetscFree4((*dense)->a, (*dense)->gram, (*dense)->w, (*dense)->iwork));
  PetscCall(PetscFree2((*dense)->work, (*dense)->rwork));
  PetscCall(PetscFree3((*dense)->single, (*dense)->wsingle, (*dense)->worksingle));
  PetscCall(PetscFree(*dense));
  PetscFunctionReturn(0);
}
