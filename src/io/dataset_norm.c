#include "dataset.h"
#include "evenkeel/mesh.h"
#include <math.h>

static const EkMember normalize_row[] = {
    [EK_NORMALIZE_NONE] = {"none", "values as they are in the file"},
    [EK_NORMALIZE_FIELD] = {"field", "each field minus its mean over the training set, over its standard deviation there"},
};
const EkFamily EkNormalizeFamily = EK_FAMILY("data_normalize", normalize_row);

/* Mean of one field of a trajectory and sum of the squares around it. */
typedef struct {
  double mean, squares;
} Moments;

/* Frames are added up one after the other: the sum depends on the sample alone. */
static Moments MeasureField(EkDataset d, PetscInt field, const float *sample)
{
  const size_t points = EkDatasetPoints(d), pitch = (size_t)d->info.fields * points;
  const double n = (double)d->info.t_train * (double)points;
  Moments      m = {0, 0};

  for (PetscInt t = 0; t < d->info.t_train; t++) {
    const float *plane = sample + (size_t)t * pitch + (size_t)field * points;
    double       sum = 0;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < points; i++) sum += plane[i];
    m.mean += sum;
  }
  m.mean /= n;
  for (PetscInt t = 0; t < d->info.t_train; t++) {
    const float *plane = sample + (size_t)t * pitch + (size_t)field * points;
    double       sum = 0;

#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < points; i++) sum += (plane[i] - m.mean) * (plane[i] - m.mean);
    m.squares += sum;
  }
  return m;
}

/* Trajectories [lo, hi) of the training set -> moment (hi - lo, fields). */
static PetscErrorCode MeasurePart(EkDataset d, PetscInt64 lo, PetscInt64 hi, Moments *moment)
{
  const size_t   points = EkDatasetPoints(d);
  PetscErrorCode code = 0;
  float         *sample;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)d->info.t_train * (size_t)d->info.fields * points, &sample));
  for (PetscInt64 s = lo; s < hi && !code; s++) {
    code = EkDatasetReadSample(d, d->first[EK_TRAIN] + s * d->stride[EK_TRAIN], 0, d->info.t_train, points, sample);
    for (PetscInt f = 0; f < d->info.fields && !code; f++) *moment++ = MeasureField(d, f, sample);
  }
  PetscCall(PetscFree(sample));
  PetscFunctionReturn(code);
}

/* Every rank's part, one after the other in the order of the trajectories. */
static PetscErrorCode Gather(EkDataset d, Moments *moment)
{
  const PetscInt n = d->info.count[EK_TRAIN];
  EkRun          run = d->run;
  PetscMPIInt   *count, *start;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(run->size, &count, run->size, &start));
  PetscCall(EkSliceCounts(n, run->size, n, d->info.fields * (PetscInt64)(sizeof(Moments) / sizeof(double)), count, start));
  PetscCallMPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, moment, count, start, MPI_DOUBLE, run->comm));
  PetscCall(PetscFree2(count, start));
  PetscFunctionReturn(0);
}

/* Moments of equally many values each, joined in order (Chan, Golub, LeVeque 1983). */
static void Join(EkDataset d, PetscInt field, const Moments *moment, double *mean, double *deviation)
{
  const PetscInt n = d->info.count[EK_TRAIN];
  const double   values = (double)d->info.t_train * (double)EkDatasetPoints(d);
  Moments        all = {0, 0};

  for (PetscInt s = 0; s < n; s++) {
    const Moments *one = &moment[(size_t)s * (size_t)d->info.fields + (size_t)field];
    const double   difference = one->mean - all.mean, before = (double)s;

    all.mean += difference / (before + 1);
    all.squares += one->squares + difference * difference * values * before / (before + 1);
  }
  *mean = all.mean;
  *deviation = sqrt(all.squares / (values * (double)n));
}

PetscErrorCode EkDatasetMeasureNorm(EkDataset d, double mean[], double deviation[])
{
  const PetscInt n = d->info.count[EK_TRAIN];
  EkCatch        caught;
  PetscErrorCode code;
  PetscInt64     lo, hi;
  Moments       *moment;

  PetscFunctionBegin;
  PetscCheck(n > 0, d->run->comm, PETSC_ERR_USER_INPUT, "data_normalize: %s has no training trajectories to measure",
             d->options.file);
  PetscCheck(!d->normalised && d->rows == d->info.n[0], d->run->comm, PETSC_ERR_ORDER, "data_normalize: measured too late");
  EkSlice(n, d->run->size, d->run->rank, &lo, &hi);
  PetscCall(PetscMalloc1((size_t)n * (size_t)d->info.fields, &moment));
  PetscCall(EkCatchBegin(&caught));
  code = MeasurePart(d, lo, hi, moment + lo * d->info.fields);
  PetscCall(EkCatchEnd(d->run, &caught, code));
  if (!caught.code) {
    PetscCall(Gather(d, moment));
    for (PetscInt f = 0; f < d->info.fields; f++) Join(d, f, moment, &mean[f], &deviation[f]);
  }
  PetscCall(PetscFree(moment));
  EkCatchRaise(d->run, &caught);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetSetNorm(EkDataset d, const double mean[], const double scale[])
{
  PetscFunctionBegin;
  PetscCheck(!d->begun, PETSC_COMM_SELF, PETSC_ERR_ORDER, "data_normalize: set after samples were read");
  for (PetscInt f = 0; f < d->info.fields; f++) {
    PetscCheck(isfinite(mean[f]) && isfinite(scale[f]) && scale[f] > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "data_normalize: field '%s': mean %g, scale %g", d->info.field[f], mean[f], scale[f]);
    d->info.mean[f] = mean[f];
    d->info.scale[f] = scale[f];
  }
  d->normalised = PETSC_TRUE;
  PetscFunctionReturn(0);
}
