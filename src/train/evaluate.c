#include "evenkeel/results.h"
#include "evenkeel/xdmf.h"
#include "trainer.h"
#include <math.h>
#include <string.h>

/* The test set of one file. */
typedef struct {
  EkRollout *rollout; /* shared by files with equally many frames */
  EkMetrics  metrics;
  double    *step;   /* relative error of each predicted frame */
  PetscInt   lo, hi; /* this rank's part */
} Part;

struct EkEvaluator_ {
  EkSession    session;
  int          nrollouts;
  EkRollout    rollout[EK_SETS_MAX];
  Part         part[EK_SETS_MAX];
  EkSetFigures figures[EK_SETS_MAX];
  int          shown_set;     /* whose predictions are shown: the first with test trajectories */
  float       *batch;         /* chunk trajectories */
  float       *shown[2];      /* prediction and target of this rank's part of the first few; on rank 0 room for all of them */
  float       *units;         /* one predicted frame in the file's units; NULL: predictions are in them */
  PetscInt     nshown, nmine; /* how many over all ranks, on this one */
  PetscBool    may_stop;      /* on request or after stop_by, between two chunks */
  double       stop_by;
};

static PetscErrorCode FindRollout(EkEvaluator e, PetscInt frames, EkRollout **out)
{
  int i = 0;

  PetscFunctionBegin;
  while (i < e->nrollouts && e->rollout[i].given != frames) i++;
  if (i == e->nrollouts) PetscCall(EkRolloutCreate(e->session, frames, &e->rollout[e->nrollouts++]));
  *out = &e->rollout[i];
  PetscFunctionReturn(0);
}

static PetscErrorCode CreatePart(EkEvaluator e, int k)
{
  EkSession         s = e->session;
  const EkDataInfo *info = s->set[k].info;
  const PetscBool   single = (PetscBool)(s->deck.train.mode == EK_SINGLE);
  Part             *part = &e->part[k];
  PetscInt64        lo, hi;

  PetscFunctionBegin;
  EkSlice(info->count[EK_TEST], s->mesh->ndata, s->mesh->idata, &lo, &hi);
  part->lo = (PetscInt)lo;
  part->hi = (PetscInt)hi;
  PetscCall(FindRollout(e, info->frames, &part->rollout));
  /* a single step predicts one frame: the figures are over that frame and the given ones; fields that were added are not looked
   * at */
  PetscCall(EkMetricsCreate(info->dim, s->info->n, info->fields, single ? info->initial_step + 1 : info->frames,
                            info->initial_step, &part->metrics));
  PetscCall(EkMetricsSetMask(part->metrics, s->set[k].mask));
  PetscCall(PetscCalloc1(part->rollout->steps, &part->step));
  e->figures[k] =
      (EkSetFigures){.name = s->set[k].name, .samples = info->count[EK_TEST], .steps = part->rollout->steps, .step = part->step};
  PetscFunctionReturn(0);
}

PetscErrorCode EkEvaluatorCreate(EkSession s, EkEvaluator *out)
{
  size_t      most = 0;
  EkEvaluator e;

  PetscFunctionBegin;
  PetscCall(PetscNew(&e));
  e->session = s;
  for (int k = 0; k < s->nsets; k++) PetscCall(CreatePart(e, k));
  while (e->shown_set + 1 < s->nsets && !s->set[e->shown_set].info->count[EK_TEST]) e->shown_set++;
  for (int i = 0; i < e->nrollouts; i++) most = PetscMax(most, e->rollout[i].sample);
  PetscCall(PetscMalloc1((size_t)s->chunk * most, &e->batch));
  if (s->deck.data.each.normalize != EK_NORMALIZE_NONE)
    PetscCall(PetscCalloc1((size_t)s->info->fields * s->shape.grid.stride, &e->units));
  *out = e;
  PetscFunctionReturn(0);
}

size_t EkEvaluatorMemory(EkEvaluator e)
{
  size_t bytes = 0;

  for (int i = 0; i < e->nrollouts; i++) bytes += EkRolloutMemory(&e->rollout[i]);
  return bytes;
}

PetscErrorCode EkEvaluatorDestroy(EkEvaluator *evaluator)
{
  EkEvaluator e = *evaluator;

  PetscFunctionBegin;
  if (!e) PetscFunctionReturn(0);
  for (int k = 0; k < e->session->nsets; k++) {
    PetscCall(EkMetricsDestroy(&e->part[k].metrics));
    PetscCall(PetscFree(e->part[k].step));
  }
  for (int i = 0; i < e->nrollouts; i++) PetscCall(EkRolloutDestroy(&e->rollout[i]));
  PetscCall(PetscFree(e->batch));
  PetscCall(PetscFree(e->units));
  PetscCall(PetscFree(*evaluator));
  PetscFunctionReturn(0);
}

/* Predictions of sample `b` of the chunk join the figures, and the pictures while there is room. */
static PetscErrorCode Collect(EkEvaluator e, int k, int b, PetscInt index)
{
  EkSession        s = e->session;
  const EkRollout *r = e->part[k].rollout;
  const size_t     stride = s->shape.grid.stride, frame = (size_t)s->info->fields * stride;
  float           *truth = e->batch + (size_t)b * r->sample;
  const PetscInt   place = index - e->part[k].lo, nmine = k == e->shown_set ? e->nmine : 0;

  PetscFunctionBegin;
  if (e->units) EkSessionDenormalise(s, r->given, truth, truth);
  for (int i = 0; i < 2 && place < nmine; i++) memcpy(e->shown[i] + (size_t)place * r->sample, truth, r->sample * sizeof(float));
  for (int i = 0; i < r->steps; i++) {
    const PetscInt t = r->target[i];
    const float   *value;
    size_t         step;

    PetscCall(EkGraphGetValue(r->graph, r->prediction[i], &value, &step));
    value += b * step;
    if (e->units) {
      EkSessionDenormalise(s, 1, value, e->units);
      value = e->units;
    }
    PetscCall(EkMetricsAdd(e->part[k].metrics, s->info->initial_step + i, stride, value, truth + (size_t)t * frame));
    if (place < nmine) memcpy(e->shown[0] + (size_t)place * r->sample + (size_t)t * frame, value, frame * sizeof(float));
  }
  PetscFunctionReturn(0);
}

static PetscBool MustStop(EkEvaluator e)
{
  return (PetscBool)(e->may_stop && (EkStopRequested() || EkTime() > e->stop_by));
}

/* This rank's part of one file's test set; no communication. */
static PetscErrorCode RollOut(EkEvaluator e, int k)
{
  EkSession   s = e->session;
  const Part *part = &e->part[k];

  PetscFunctionBegin;
  for (PetscInt at = part->lo; at < part->hi && !MustStop(e); at += s->chunk) {
    const int n = (int)(part->hi - at < s->chunk ? part->hi - at : s->chunk);
    PetscInt  index[EK_CHUNK_MAX];

    for (int i = 0; i < n; i++) index[i] = at + i;
    PetscCall(EkMixtureReadTest(s->mixture, k, n, index, s->shape.grid.stride, e->batch));
    PetscCall(EkRolloutBind(part->rollout, e->batch));
    PetscCall(EkGraphForward(part->rollout->graph, n, 1));
    for (int b = 0; b < n; b++) PetscCall(Collect(e, k, b, at + b));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode MakeRoom(EkEvaluator e, PetscBool wanted)
{
  const Part    *part = &e->part[e->shown_set];
  const PetscInt n = e->session->deck.evaluate.write_predictions, all = e->session->set[e->shown_set].info->count[EK_TEST];
  size_t         floats;

  PetscFunctionBegin;
  e->nshown = !wanted ? 0 : n < all ? n : all;
  e->nmine = e->nshown < part->lo ? 0 : e->nshown < part->hi ? e->nshown - part->lo : part->hi - part->lo;
  floats = (size_t)(e->session->mesh->idata == 0 ? e->nshown : e->nmine) * part->rollout->sample;
  if (e->nshown) PetscCall(PetscMalloc2(floats, &e->shown[0], floats, &e->shown[1]));
  PetscFunctionReturn(0);
}

/* The first few trajectories of the test set onto the first rank of the data axis. */
static PetscErrorCode GatherShown(EkEvaluator e)
{
  EkMesh       mesh = e->session->mesh;
  const size_t floats = e->part[e->shown_set].rollout->sample;
  PetscMPIInt *count, *place;
  MPI_Datatype sample;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(mesh->ndata, &count, mesh->ndata, &place));
  PetscCall(EkSliceCounts(e->session->set[e->shown_set].info->count[EK_TEST], mesh->ndata, e->nshown, 1, count, place));
  PetscCheck(floats <= PETSC_MPI_INT_MAX, mesh->world, PETSC_ERR_SUP,
             "evaluate_write_predictions: a trajectory of %zu values exceeds one message; 0 writes none", floats);
  PetscCallMPI(MPI_Type_contiguous((PetscMPIInt)floats, MPI_FLOAT, &sample));
  PetscCallMPI(MPI_Type_commit(&sample));
  for (int k = 0; k < 2; k++) {
    PetscCallMPI(MPI_Gatherv(mesh->idata == 0 ? MPI_IN_PLACE : e->shown[k], count[mesh->idata], sample, e->shown[k], count, place,
                             sample, 0, mesh->data));
  }
  PetscCallMPI(MPI_Type_free(&sample));
  PetscCall(PetscFree2(count, place));
  PetscFunctionReturn(0);
}

/* predictions.h5 and its description. */
static PetscErrorCode WriteShown(EkEvaluator e, const char *path)
{
  EkSession  s = e->session;
  EkDataInfo info = *s->info;

  PetscFunctionBegin;
  info.frames = s->set[e->shown_set].info->frames;
  PetscCall(EkPredictionsWrite(path, &info, e->nshown, s->shape.grid.stride, e->shown[0], e->shown[1]));
  PetscCall(EkXdmfWritePredictions(path, &info, e->nshown));
  PetscFunctionReturn(0);
}

static EkFigures Undefined(void)
{
#define EK_UNDEFINED(field, name) .field = NAN,
  return (EkFigures){EK_FIGURES(EK_UNDEFINED)};
#undef EK_UNDEFINED
}

/* Mean over the files that have a test set. */
static EkFigures MeanFigures(EkEvaluator e, PetscBool published)
{
  EkFigures mean = {0};
  double    n = 0;

  for (int k = 0; k < e->session->nsets; k++) n += e->figures[k].samples > 0;
  for (int k = 0; k < e->session->nsets; k++) {
    const EkFigures *f = published ? &e->figures[k].published : &e->figures[k].predicted;

    if (!e->figures[k].samples) continue;
#define EK_MEAN(field, name) mean.field += f->field / n;
    EK_FIGURES(EK_MEAN)
#undef EK_MEAN
  }
  return mean;
}

static PetscErrorCode RollOutAll(EkEvaluator e)
{
  PetscFunctionBegin;
  for (int k = 0; k < e->session->nsets; k++) PetscCall(RollOut(e, k));
  PetscFunctionReturn(0);
}

static PetscErrorCode Reduce(EkEvaluator e, int k)
{
  EkMesh        mesh = e->session->mesh;
  EkSetFigures *f = &e->figures[k];

  PetscFunctionBegin;
  PetscCall(EkMetricsReduce(e->part[k].metrics, mesh, f->samples, &f->predicted, &f->published));
  PetscCall(EkMetricsReduceRelative(e->part[k].metrics, mesh, f->samples, &f->relative, e->part[k].step));
  f->relative_step = 0;
  for (int i = 0; i < f->steps; i++) f->relative_step += f->step[i] / f->steps;
  PetscFunctionReturn(0);
}

/* Was any rank asked to stop? */
static PetscErrorCode AgreeOnStop(EkEvaluator e, PetscBool *stopped)
{
  double asked = MustStop(e);

  PetscFunctionBegin;
  if (!stopped) PetscFunctionReturn(0);
  PetscCall(EkMeshMaxDouble(e->session->mesh, 1, &asked));
  *stopped = (PetscBool)(asked > 0);
  PetscFunctionReturn(0);
}

/* Figures over all ranks, and the pictures. */
static PetscErrorCode Conclude(EkEvaluator e, const char *predictions, EkFigures *predicted, EkFigures *published)
{
  EkSession      s = e->session;
  PetscErrorCode failed = 0;

  PetscFunctionBegin;
  for (int k = 0; k < s->nsets; k++) {
    EkSetFigures *f = &e->figures[k];

    f->predicted = f->published = Undefined();
    f->relative = f->relative_step = NAN;
    if (f->samples) PetscCall(Reduce(e, k));
  }
  *predicted = MeanFigures(e, PETSC_FALSE);
  *published = MeanFigures(e, PETSC_TRUE);
  if (!e->nshown) PetscFunctionReturn(0);
  PetscCall(GatherShown(e));
  if (s->run->rank == 0) failed = WriteShown(e, predictions);
  PetscCall(EkAgree(s->run, s->mesh->world, failed));
  PetscFunctionReturn(0);
}

PetscErrorCode EkEvaluate(EkEvaluator e, const char *predictions, EkFigures *predicted, EkFigures *published, double stop_by,
                          PetscBool *stopped)
{
  EkSession s = e->session;

  PetscFunctionBegin;
  if (stopped) *stopped = PETSC_FALSE;
  *predicted = *published = Undefined();
  if (!s->info->count[EK_TEST]) PetscFunctionReturn(0);
  PetscCall(EkPhaseBegin(s->run, EVALUATE));
  for (int k = 0; k < s->nsets; k++) PetscCall(EkMetricsReset(e->part[k].metrics));
  PetscCall(MakeRoom(e, (PetscBool)(predictions != NULL)));
  EkHoldLines(s->run, PETSC_TRUE);
  e->may_stop = (PetscBool)(stopped != NULL);
  e->stop_by = stop_by;
  PetscCall(EkAgree(s->run, s->mesh->world, RollOutAll(e)));
  PetscCall(AgreeOnStop(e, stopped));
  if (!stopped || !*stopped) PetscCall(Conclude(e, predictions, predicted, published));
  if (e->nshown) PetscCall(PetscFree2(e->shown[0], e->shown[1]));
  PetscCall(EkPhaseEnd(s->run, EVALUATE));
  PetscFunctionReturn(0);
}

PetscErrorCode EkEvaluatorGetSets(EkEvaluator e, int *n, const EkSetFigures **sets)
{
  PetscFunctionBegin;
  *n = e->session->nsets;
  *sets = e->figures;
  PetscFunctionReturn(0);
}
