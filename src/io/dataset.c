#include "dataset.h"
#include <string.h>

static PetscInt Kept(PetscInt n, PetscInt every)
{
  return n / every + (n % every != 0);
}

static const EkMember test_from_row[] = {
    [EK_FROM_START] = {"start", "the first are the test set, the next are trained on (as published)"},
    [EK_FROM_END] = {"end", "the last are the test set, the first are trained on"},
};
const EkFamily EkTestFromFamily = EK_FAMILY("data_test_from", test_from_row);

/* Test set first, then training: the split of "Model Balancing"; or the other way round. */
static PetscErrorCode Split(EkDataset d)
{
  const EkDataOptions *o = &d->options;
  const PetscInt       n = d->layout.samples, tenth = o->unsound ? n : PetscMax(1, n / 10);
  const PetscInt       apart = o->unsound ? -1 : d->layout.set_apart, most = apart >= 0 ? apart : n;
  PetscInt             test = o->test >= 0 ? o->test : apart >= 0 ? apart : tenth;
  PetscInt             train = o->train >= 0 ? o->train : PetscMax(0, n - (apart >= 0 ? apart : test));

  PetscFunctionBegin;
  if (o->unsound) {
    test = PetscMin(test, n);
    train = PetscMin(train, n - test);
  }
  PetscCheck(test <= most, d->run->comm, PETSC_ERR_USER_INPUT,
             "data_test: %" PetscInt_FMT " trajectories asked for, %s has %" PetscInt_FMT, test, o->file, most);
  PetscCheck(apart < 0 || train <= n - apart, d->run->comm, PETSC_ERR_USER_INPUT,
             "data_train: %" PetscInt_FMT " trajectories asked for, %s has %" PetscInt_FMT " besides those of its test set",
             train, o->file, n - apart);
  PetscCheck(apart >= 0 || (PetscInt64)test + train <= n, d->run->comm, PETSC_ERR_USER_INPUT,
             "data_test + data_train: %lld trajectories asked for, %s has %" PetscInt_FMT, (long long)test + train, o->file, n);
  d->info.samples = n;
  d->info.count[EK_TEST] = test;
  d->info.count[EK_TRAIN] = Kept(train, o->reduced_batch);
  d->first[EK_TEST] = o->test_from == EK_FROM_END ? most - test : 0;
  d->first[EK_TRAIN] = apart >= 0 ? apart : o->test_from == EK_FROM_END ? 0 : test;
  d->stride[EK_TEST] = 1;
  d->stride[EK_TRAIN] = o->reduced_batch;
  PetscFunctionReturn(0);
}

static PetscErrorCode SetFrames(EkDataset d)
{
  const EkDataOptions *o = &d->options;
  EkDataInfo          *info = &d->info;

  PetscFunctionBegin;
  PetscCheck(d->step_t <= d->layout.frames, d->run->comm, PETSC_ERR_USER_INPUT,
             "data_reduced_resolution_t: every %" PetscInt_FMT "th of the %" PetscInt_FMT " frames of %s leaves nothing",
             d->step_t, d->layout.frames, o->file);
  info->frames = Kept(d->layout.frames, d->step_t);
  info->initial_step = d->layout.pair ? 1 : o->initial_step;
  info->t_train = o->t_train < 0 ? info->frames : PetscMin(o->t_train, info->frames);
  PetscCheck(o->unsound || info->t_train > info->initial_step, d->run->comm, PETSC_ERR_USER_INPUT,
             "data_initial_step: after %" PetscInt_FMT " given frames nothing is left to predict of the %" PetscInt_FMT
             " used (data_t_train, %s)",
             info->initial_step, info->t_train, o->file);
  if (o->t_train > info->frames && !o->unsound) {
    PetscCall(PetscPrintf(d->run->comm, "data_t_train: %" PetscInt_FMT " cut to the %" PetscInt_FMT " frames of %s\n", o->t_train,
                          info->frames, o->file));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode SetGrid(EkDataset d, float *raw[3])
{
  const EkDataOptions *o = &d->options;
  const PetscInt       k = o->reduced_resolution;

  PetscFunctionBegin;
  for (int axis = 0; axis < 3; axis++) d->info.n[axis] = 1;
  for (int axis = 0; axis < d->layout.dim; axis++) {
    const PetscInt n = d->layout.n[axis];

    PetscCheck(k <= n, d->run->comm, PETSC_ERR_USER_INPUT,
               "data_reduced_resolution: every %" PetscInt_FMT "th of the %" PetscInt_FMT
               " points of axis %c of %s leaves nothing",
               k, n, 'x' + axis, o->file);
    d->info.n[axis] = Kept(n, k);
    if (!raw[axis]) PetscCall(PetscMalloc1(n, &raw[axis]));
    PetscCall(EkBcastBytes(d->run, raw[axis], (size_t)n * sizeof(float)));
    PetscCall(PetscMalloc1(d->info.n[axis], &d->info.coordinate[axis]));
    for (PetscInt i = 0; i < d->info.n[axis]; i++) d->info.coordinate[axis][i] = raw[axis][(size_t)i * k];
  }
  d->row = 0;
  d->rows = d->info.n[0];
  PetscFunctionReturn(0);
}

/* What follows from options and layout, the same on every rank. */
static PetscErrorCode Describe(EkDataset d, float *raw[3])
{
  EkDataInfo *info = &d->info;

  PetscFunctionBegin;
  info->family = EkDatasetFamilyName(d->layout.family);
  info->dim = d->layout.dim;
  info->fields = d->layout.fields;
  for (int f = 0; f < EK_MAX_FIELDS; f++) info->scale[f] = 1;
  d->step_t = d->layout.pair ? 1 : d->options.reduced_resolution_t;
  PetscCall(PetscMemcpy(info->field, d->layout.field, sizeof(info->field)));
  PetscCheck(!d->layout.pair || d->options.normalize == EK_NORMALIZE_NONE, d->run->comm, PETSC_ERR_USER_INPUT,
             "data_normalize: the coefficient and the solution of %s are frames of one field, which has no scale of its own: "
             "none is possible",
             d->options.file);
  PetscCall(Split(d));
  PetscCall(SetGrid(d, raw));
  PetscCall(SetFrames(d));
  PetscCall(PetscCalloc1((size_t)info->count[EK_TEST] + (size_t)info->count[EK_TRAIN] + 1, &d->kept));
  PetscFunctionReturn(0);
}

static PetscErrorCode ShareGroups(EkDataset d)
{
  const size_t bytes = (size_t)d->layout.samples * (size_t)d->layout.name_bytes;

  PetscFunctionBegin;
  if (!d->layout.name_bytes) PetscFunctionReturn(0);
  if (d->run->rank) PetscCall(PetscMalloc1(bytes, &d->group));
  PetscCall(EkBcastBytes(d->run, d->group, bytes));
  PetscFunctionReturn(0);
}

static PetscErrorCode Open(EkDataset d, float *raw[3])
{
  EkRun          run = d->run;
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  /* one rank touches the metadata: thousands of them opening one file at once is what file servers bear least */
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? EkDatasetProbe(&d->options, &d->layout, raw, &d->group) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscCallMPI(MPI_Bcast(&d->layout, (PetscMPIInt)sizeof(d->layout), MPI_BYTE, 0, run->comm));
  PetscCall(ShareGroups(d));
  PetscCall(Describe(d, raw));
  PetscCall(EkCatchBegin(&caught));
  code = EkDatasetOpenSources(d);
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetOpen(EkRun run, const EkDataOptions *options, EkDataset *dataset)
{
  EkDataset      d;
  PetscErrorCode code;
  float         *raw[3] = {NULL, NULL, NULL};

  PetscFunctionBegin;
  *dataset = NULL;
  PetscCall(PetscNew(&d));
  d->run = run;
  d->options = *options;
  d->fd = -1;
  d->piece = -1;
  d->file = -1;
  for (int i = 0; i < EK_MAX_FIELDS; i++) d->set[i] = -1;
  code = Open(d, raw);
  for (int axis = 0; axis < 3; axis++) PetscCall(PetscFree(raw[axis]));
  if (code) PetscCall(EkDatasetDestroy(&d));
  *dataset = d;
  PetscFunctionReturn(code);
}

PetscErrorCode EkDatasetGetInfo(EkDataset d, const EkDataInfo **info)
{
  PetscFunctionBegin;
  *info = &d->info;
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetSetSlab(EkDataset d, PetscInt first, PetscInt count)
{
  PetscFunctionBegin;
  PetscCheck(!d->begun, PETSC_COMM_SELF, PETSC_ERR_ORDER, "%s: rows chosen after samples were read", d->options.file);
  PetscCheck(first >= 0 && count >= 0 && (PetscInt64)first + count <= d->info.n[0], PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "%s: rows %" PetscInt_FMT " to %" PetscInt_FMT " of %" PetscInt_FMT, d->options.file, first, first + count,
             d->info.n[0]);
  d->row = first;
  d->rows = count;
  PetscFunctionReturn(0);
}

PetscInt64 EkDatasetBytesRead(EkDataset d)
{
  return d->bytes_read;
}

PetscErrorCode EkDatasetDestroy(EkDataset *dataset)
{
  EkDataset d = *dataset;

  PetscFunctionBegin;
  if (!d) PetscFunctionReturn(0);
  for (PetscInt i = 0; d->kept && i < d->info.count[EK_TEST] + d->info.count[EK_TRAIN]; i++) PetscCall(PetscFree(d->kept[i]));
  PetscCall(PetscFree(d->kept));
  PetscCall(PetscFree(d->group));
  for (int axis = 0; axis < 3; axis++) PetscCall(PetscFree(d->info.coordinate[axis]));
  PetscCall(EkDatasetCloseSources(d));
  PetscCall(PetscFree(*dataset));
  PetscFunctionReturn(0);
}
