#include "evenkeel/metrics.h"
#include "evenkeel/dft.h"
#include <math.h>

/* Sums over trajectories kept of each (frame, field); the bins of the error spectrum follow. */
enum { RMSE, NRMSE, TOTAL, BOUNDARY, ADDED, SUMS };
/* Bands of the error spectrum: bins [0, 4), [4, 12), [12, ...). */
static const PetscInt band_start[] = {0, 4, 12};
/* Added to the norm a relative error is divided by. */
#define LEAST 1e-8

/* Squares of one field, over the points that count. */
typedef struct {
  double error, norm;
} Squares;

/* Relative errors: trajectories come one after the other, their frames in order. */
typedef struct {
  PetscBool *counts;                /* (points): NULL, all */
  PetscBool  disorder;              /* frames came in another order */
  PetscInt   next;                  /* the frame to come */
  Squares   *rollout;               /* (fields): of the trajectory under way */
  double     full, finished, *step; /* sums over trajectories; how many; (frames - initial) */
} Relative;

struct EkMetrics_ {
  int      dim;
  PetscInt n[2], points, fields, frames, initial, bins;
  size_t   row;  /* doubles a (frame, field) */
  double  *sums; /* (frames, fields, SUMS + bins) */
  double  *most; /* (frames, fields): largest |error| */
  Relative relative;
  EkDft    dft;
};

/* 1D: every wavenumber of the half spectrum. 2D: the integer part of its length within the first quadrant, below the shorter half
 * axis. */
static PetscInt CountBins(int dim, const PetscInt n[])
{
  return dim == 1 ? n[0] / 2 + 1 : PetscMin(n[0] / 2, n[1] / 2);
}

PetscErrorCode EkMetricsCreate(int dim, const PetscInt n[], PetscInt fields, PetscInt frames, PetscInt initial, EkMetrics *out)
{
  EkMetrics m;

  PetscFunctionBegin;
  PetscCheck(dim == 1 || dim == 2, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "metrics: %d axes, 1 or 2 are possible", dim);
  PetscCheck(n[0] > 0 && (dim == 1 || n[1] > 0) && fields > 0 && initial >= 0 && frames > initial, PETSC_COMM_SELF,
             PETSC_ERR_ARG_SIZ, "metrics: %d fields, %d frames of which %d are given leave nothing to measure", (int)fields,
             (int)frames, (int)initial);
  PetscCall(PetscNew(&m));
  m->dim = dim;
  m->n[0] = n[0];
  m->n[1] = dim == 2 ? n[1] : 1;
  m->points = m->n[0] * m->n[1];
  m->fields = fields;
  m->frames = frames;
  m->initial = initial;
  m->bins = CountBins(dim, n);
  m->row = SUMS + (size_t)m->bins;
  PetscCall(PetscCalloc2((size_t)(frames * fields) * m->row, &m->sums, frames * fields, &m->most));
  PetscCall(PetscCalloc2(fields, &m->relative.rollout, frames - initial, &m->relative.step));
  m->relative.next = initial;
  PetscCall(EkDftCreate(dim, m->n, &m->dft));
  *out = m;
  PetscFunctionReturn(0);
}

/* Mean of the squares over the edge, corners counted once for each edge they are on. */
static double BoundarySquare(EkMetrics m, const float *error)
{
  const PetscInt nx = m->n[0], ny = m->n[1];
  double         sum = 0;

  if (m->dim == 1) return 0.5 * ((double)error[0] * error[0] + (double)error[nx - 1] * error[nx - 1]);
  for (PetscInt j = 0; j < ny; j++) {
    const double first = error[j], last = error[(nx - 1) * ny + j];

    sum += first * first + last * last;
  }
  for (PetscInt i = 0; i < nx; i++) {
    const double first = error[i * ny], last = error[i * ny + ny - 1];

    sum += first * first + last * last;
  }
  return sum / (double)(2 * nx + 2 * ny);
}

/* Adds |spectrum of the error|^2, summed over each bin. */
static void AddSpectrum(EkMetrics m, double bin[])
{
  const PetscInt rows = m->dim == 2 ? m->n[0] / 2 : 1, cols = m->dim == 2 ? m->n[1] / 2 : m->bins;
  const PetscInt stride = m->n[m->dim - 1] / 2 + 1;
  const float   *spectrum;

  EkDftForward(m->dft);
  spectrum = EkDftOutput(m->dft);
  for (PetscInt i = 0; i < rows; i++) {
    for (PetscInt j = 0; j < cols; j++) {
      const PetscInt k = (PetscInt)sqrt((double)(i * i + j * j));
      const float   *x = spectrum + 2 * (i * stride + j);

      if (k < m->bins) bin[k] += (double)x[0] * x[0] + (double)x[1] * x[1];
    }
  }
}

static Squares CountedSquares(EkMetrics m, const float *prediction, const float *target)
{
  Squares s = {0, 0};

  for (PetscInt i = 0; i < m->points; i++) {
    const double e = (double)prediction[i] - target[i];

    if (!m->relative.counts[i]) continue;
    s.error += e * e;
    s.norm += (double)target[i] * target[i];
  }
  return s;
}

static double RelativeError(Squares s)
{
  return sqrt(s.error) / (sqrt(s.norm) + LEAST);
}

/* Returns the squares that relative errors are made of. */
static Squares AddField(EkMetrics m, const float *prediction, const float *target, double sum[], double *most)
{
  float *error = EkDftInput(m->dft);
  double squares = 0, norm = 0, total = 0;

  for (PetscInt i = 0; i < m->points; i++) {
    const double e = (double)prediction[i] - target[i];

    error[i] = (float)e;
    squares += e * e;
    norm += (double)target[i] * target[i];
    total += e;
    if (fabs(e) > *most) *most = fabs(e);
  }
  if (isnan(squares)) *most = INFINITY; /* a NaN compares false with everything and would be passed over, by MPI_MAX too */
  sum[RMSE] += sqrt(squares / (double)m->points);
  sum[NRMSE] += sqrt(squares / norm);
  sum[TOTAL] += total * total;
  sum[BOUNDARY] += sqrt(BoundarySquare(m, error));
  sum[ADDED]++;
  AddSpectrum(m, sum + SUMS);
  return m->relative.counts ? CountedSquares(m, prediction, target) : (Squares){squares, norm};
}

/* A frame's squares join those of its trajectory. */
static void AddRelative(EkMetrics m, PetscInt frame, PetscInt field, Squares s)
{
  Relative *r = &m->relative;

  r->rollout[field].error += s.error;
  r->rollout[field].norm += s.norm;
  r->step[frame - m->initial] += RelativeError(s) / (double)m->fields;
}

static void FinishTrajectory(EkMetrics m)
{
  Relative *r = &m->relative;

  for (PetscInt c = 0; c < m->fields; c++) {
    r->full += RelativeError(r->rollout[c]) / (double)m->fields;
    r->rollout[c] = (Squares){0, 0};
  }
  r->finished++;
}

PetscErrorCode EkMetricsAdd(EkMetrics m, PetscInt frame, size_t stride, const float *prediction, const float *target)
{
  PetscFunctionBegin;
  PetscCheck(frame >= 0 && frame < m->frames, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "metrics: frame %d of %d", (int)frame,
             (int)m->frames);
  for (PetscInt c = 0; c < m->fields; c++) {
    const PetscInt at = frame * m->fields + c;
    const Squares  s =
        AddField(m, prediction + (size_t)c * stride, target + (size_t)c * stride, m->sums + (size_t)at * m->row, &m->most[at]);

    if (frame >= m->initial) AddRelative(m, frame, c, s);
  }
  if (frame < m->initial) PetscFunctionReturn(0);
  if (frame != m->relative.next) m->relative.disorder = PETSC_TRUE;
  m->relative.next = frame + 1;
  if (m->relative.next == m->frames) {
    FinishTrajectory(m);
    m->relative.next = m->initial;
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkMetricsSetMask(EkMetrics m, const float *mask)
{
  PetscInt counted = 0;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < m->frames * m->fields; i++)
    PetscCheck(m->sums[(size_t)i * m->row + ADDED] == 0, PETSC_COMM_SELF, PETSC_ERR_ORDER,
               "metrics: the mask comes before the first frame");
  for (PetscInt i = 0; mask && i < m->points; i++) {
    PetscCheck(mask[i] == 0 || mask[i] == 1, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "metrics: point %d of the mask is %g, neither 0 nor 1", (int)i, (double)mask[i]);
    counted += mask[i] == 1;
  }
  PetscCheck(!mask || counted, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "metrics: no point counts in the mask");
  PetscCall(PetscFree(m->relative.counts));
  if (!mask) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(m->points, &m->relative.counts));
  for (PetscInt i = 0; i < m->points; i++) m->relative.counts[i] = (PetscBool)(mask[i] == 1);
  PetscFunctionReturn(0);
}

/* Figures of one (frame, field) over all trajectories; roots are taken after the mean over them where the published code does. */
static EkFigures FrameFigures(EkMetrics m, const double sum[], double most, double samples)
{
  EkFigures f = {.RMSE = sum[RMSE] / samples,
                 .nRMSE = sum[NRMSE] / samples,
                 .cRMSE = sqrt(sum[TOTAL] / samples) / (double)m->points,
                 .max = most,
                 .bRMSE = sum[BOUNDARY] / samples};
  double   *band[3] = {&f.fRMSE_low, &f.fRMSE_mid, &f.fRMSE_high};

  for (int b = 0; b < 3; b++) {
    const PetscInt end = b == 2 ? m->bins : PetscMin(band_start[b + 1], m->bins);
    double         all = 0;

    for (PetscInt k = band_start[b]; k < end; k++) all += sqrt(sum[SUMS + k] / samples) / (double)m->points;
    *band[b] = end > band_start[b] ? all / (double)(end - band_start[b]) : NAN;
  }
  return f;
}

static void Accumulate(EkFigures *sum, const EkFigures *f, double factor)
{
#define EK_ADD(field, name) sum->field += factor * f->field;
  EK_FIGURES(EK_ADD)
#undef EK_ADD
}

/* Means over frames from `first` and fields. Frames that were given and not added count as exact: their sums are zero. */
static EkFigures MeanFigures(EkMetrics m, PetscInt first, const double *sums, const double *most, double samples)
{
  EkFigures mean = {0};

  for (PetscInt at = first * m->fields; at < m->frames * m->fields; at++) {
    const EkFigures f = FrameFigures(m, sums + (size_t)at * m->row, most[at], samples);

    Accumulate(&mean, &f, 1 / (double)((m->frames - first) * m->fields));
  }
  return mean;
}

PetscErrorCode EkMetricsReduce(EkMetrics m, EkMesh mesh, PetscInt samples, EkFigures *predicted, EkFigures *published)
{
  const PetscInt rows = m->frames * m->fields;
  double        *sums, *most;
  PetscMPIInt    n;

  PetscFunctionBegin;
  PetscCheck(samples > 0, mesh->world, PETSC_ERR_ARG_OUTOFRANGE, "metrics: the test set is empty");
  PetscCall(PetscMPIIntCast((PetscInt)((size_t)rows * m->row), &n));
  PetscCall(PetscMalloc2(n, &sums, rows, &most));
  PetscCall(PetscArraycpy(sums, m->sums, n));
  PetscCall(PetscArraycpy(most, m->most, rows));
  PetscCall(EkMeshSumDouble(mesh, n, sums));
  PetscCall(EkMeshMaxDouble(mesh, rows, most));
  for (PetscInt i = m->initial * m->fields; i < rows; i++) {
    const double added = sums[(size_t)i * m->row + ADDED];

    PetscCheck(added == (double)samples, mesh->world, PETSC_ERR_ARG_SIZ, "metrics: frame %d was added for %d trajectories of %d",
               (int)(i / m->fields), (int)added, (int)samples);
  }
  *predicted = MeanFigures(m, m->initial, sums, most, (double)samples);
  *published = MeanFigures(m, 0, sums, most, (double)samples);
  PetscCall(PetscFree2(sums, most));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMetricsReduceRelative(EkMetrics m, EkMesh mesh, PetscInt samples, double *full, double step[])
{
  enum { FULL, FINISHED, DISORDER, FIRST };
  const PetscInt steps = m->frames - m->initial;
  double        *sums;

  PetscFunctionBegin;
  PetscCheck(samples > 0, mesh->world, PETSC_ERR_ARG_OUTOFRANGE, "metrics: the test set is empty");
  PetscCall(PetscMalloc1(FIRST + steps, &sums));
  sums[FULL] = m->relative.full;
  sums[FINISHED] = m->relative.finished;
  sums[DISORDER] = m->relative.disorder || m->relative.next != m->initial;
  for (PetscInt t = 0; t < steps; t++) sums[FIRST + t] = m->relative.step[t];
  PetscCall(EkMeshSumDouble(mesh, (int)(FIRST + steps), sums));
  PetscCheck(sums[DISORDER] == 0, mesh->world, PETSC_ERR_ORDER,
             "metrics: relative errors need all predicted frames of one trajectory in order, then those of the next");
  PetscCheck(sums[FINISHED] == (double)samples, mesh->world, PETSC_ERR_ARG_SIZ, "metrics: %d trajectories were added of %d",
             (int)sums[FINISHED], (int)samples);
  *full = sums[FULL] / (double)samples;
  for (PetscInt t = 0; t < steps; t++) step[t] = sums[FIRST + t] / (double)samples;
  PetscCall(PetscFree(sums));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMetricsReset(EkMetrics m)
{
  Relative *r = &m->relative;

  PetscFunctionBegin;
  PetscCall(PetscArrayzero(r->rollout, m->fields));
  PetscCall(PetscArrayzero(r->step, m->frames - m->initial));
  r->full = r->finished = 0;
  r->next = m->initial;
  r->disorder = PETSC_FALSE;
  PetscCall(PetscArrayzero(m->sums, (size_t)(m->frames * m->fields) * m->row));
  PetscCall(PetscArrayzero(m->most, m->frames * m->fields));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMetricsDestroy(EkMetrics *metrics)
{
  PetscFunctionBegin;
  if (!*metrics) PetscFunctionReturn(0);
  PetscCall(EkDftDestroy(&(*metrics)->dft));
  PetscCall(PetscFree2((*metrics)->sums, (*metrics)->most));
  PetscCall(PetscFree2((*metrics)->relative.rollout, (*metrics)->relative.step));
  PetscCall(PetscFree((*metrics)->relative.counts));
  PetscCall(PetscFree(*metrics));
  PetscFunctionReturn(0);
}
