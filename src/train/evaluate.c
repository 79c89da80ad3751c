#include "evenkeel/results.h"
#include "evenkeel/xdmf.h"
#include "trainer.h"
#include <math.h>
#include <string.h>

struct EkEvaluator_ {
  EkSession session;
  EkRollout rollout;
  EkMetrics metrics;
  PetscInt  lo, hi;  /* this rank's part of the test set */
  float    *batch;   /* chunk trajectories */
  float    *shown[2]; /* prediction and target of this rank's part of the first few; on rank 0 room for all of them */
  float    *units;    /* one predicted frame in the file's units; NULL: predictions are in them */
  PetscInt  nshown, nmine; /* how many over all ranks, on this one */
};

PetscErrorCode EkEvaluatorCreate(EkSession s, EkEvaluator *out)
{
  const PetscBool single = (PetscBool)(s->deck.train.mode == EK_SINGLE);
  EkEvaluator     e;
  PetscInt64      lo, hi;

  PetscFunctionBegin;
  PetscCall(PetscNew(&e));
  e->session = s;
  EkSlice(s->info->count[EK_TEST], s->mesh->ndata, s->mesh->idata, &lo, &hi);
  e->lo = (PetscInt)lo;
  e->hi = (PetscInt)hi;
  PetscCall(EkRolloutCreate(s, PETSC_FALSE, &e->rollout));
  /* a single step predicts one frame: the figures are over that frame and the given ones */
  PetscCall(EkMetricsCreate(s->info->dim, s->info->n, s->info->fields, single ? s->info->initial_step + 1 : s->info->frames, s->info->initial_step, &e->metrics));
  PetscCall(PetscMalloc1((size_t)s->chunk * e->rollout.sample, &e->batch));
  if (s->deck.data.normalize != EK_NORMALIZE_NONE) PetscCall(PetscCalloc1((size_t)s->info->fields * s->shape.grid.stride, &e->units));
  *out = e;
  PetscFunctionReturn(0);
}

PetscErrorCode EkEvaluatorDestroy(EkEvaluator *evaluator)
{
  PetscFunctionBegin;
  if (!*evaluator) PetscFunctionReturn(0);
  PetscCall(EkRolloutDestroy(&(*evaluator)->rollout));
  PetscCall(EkMetricsDestroy(&(*evaluator)->metrics));
  PetscCall(PetscFree((*evaluator)->batch));
  PetscCall(PetscFree((*evaluator)->units));
  PetscCall(PetscFree(*evaluator));
  PetscFunctionReturn(0);
}

/* Predictions of sample `b` of the chunk join the figures, and the pictures while there is room. */
static PetscErrorCode Collect(EkEvaluator e, int b, PetscInt index)
{
  EkSession      s      = e->session;
  const size_t   stride = s->shape.grid.stride, frame = (size_t)s->info->fields * stride;
  float         *truth  = e->batch + (size_t)b * e->rollout.sample;
  const PetscInt place  = index - e->lo;

  PetscFunctionBegin;
  if (e->units) EkSessionDenormalise(s, s->info->frames, truth, truth);
  if (place < e->nmine) {
    for (int k = 0; k < 2; k++) memcpy(e->shown[k] + (size_t)place * e->rollout.sample, truth, e->rollout.sample * sizeof(float));
  }
  for (int i = 0; i < e->rollout.steps; i++) {
    const PetscInt t = e->rollout.target[i];
    const float   *value;
    size_t         step;

    PetscCall(EkGraphGetValue(e->rollout.graph, e->rollout.prediction[i], &value, &step));
    value += b * step;
    if (e->units) {
      EkSessionDenormalise(s, 1, value, e->units);
      value = e->units;
    }
    PetscCall(EkMetricsAdd(e->metrics, s->info->initial_step + i, stride, value, truth + (size_t)t * frame));
    if (place < e->nmine) memcpy(e->shown[0] + (size_t)place * e->rollout.sample + (size_t)t * frame, value, frame * sizeof(float));
  }
  PetscFunctionReturn(0);
}

/* This rank's part; no communication. */
static PetscErrorCode RollOut(EkEvaluator e)
{
  EkSession s = e->session;

  PetscFunctionBegin;
  for (PetscInt at = e->lo; at < e->hi; at += s->chunk) {
    const int n = (int)(e->hi - at < s->chunk ? e->hi - at : s->chunk);
    PetscInt  index[EK_CHUNK_MAX];

    for (int i = 0; i < n; i++) index[i] = at + i;
    PetscCall(EkDatasetRead(s->dataset, EK_TEST, n, index, s->shape.grid.stride, e->batch));
    PetscCall(EkGraphBind(e->rollout.graph, e->rollout.frames, e->batch, e->rollout.sample));
    PetscCall(EkGraphForward(e->rollout.graph, n, 1));
    for (int b = 0; b < n; b++) PetscCall(Collect(e, b, at + b));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode MakeRoom(EkEvaluator e, PetscBool wanted)
{
  const PetscInt n = e->session->deck.evaluate.write_predictions, all = e->session->info->count[EK_TEST];
  size_t         floats;

  PetscFunctionBegin;
  e->nshown = !wanted ? 0 : n < all ? n : all;
  e->nmine  = e->nshown < e->lo ? 0 : e->nshown < e->hi ? e->nshown - e->lo : e->hi - e->lo;
  floats    = (size_t)(e->session->mesh->idata == 0 ? e->nshown : e->nmine) * e->rollout.sample;
  if (e->nshown) PetscCall(PetscMalloc2(floats, &e->shown[0], floats, &e->shown[1]));
  PetscFunctionReturn(0);
}

/* The first few trajectories of the test set onto the first rank of the data axis. */
static PetscErrorCode GatherShown(EkEvaluator e)
{
  EkMesh       mesh  = e->session->mesh;
  PetscMPIInt *count, *place;
  MPI_Datatype sample;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(mesh->ndata, &count, mesh->ndata, &place));
  PetscCall(EkSliceCounts(e->session->info->count[EK_TEST], mesh->ndata, e->nshown, 1, count, place));
  PetscCallMPI(MPI_Type_contiguous((PetscMPIInt)e->rollout.sample, MPI_FLOAT, &sample));
  PetscCallMPI(MPI_Type_commit(&sample));
  for (int k = 0; k < 2; k++) {
    PetscCallMPI(MPI_Gatherv(mesh->idata == 0 ? MPI_IN_PLACE : e->shown[k], count[mesh->idata], sample, e->shown[k], count, place, sample, 0, mesh->data));
  }
  PetscCallMPI(MPI_Type_free(&sample));
  PetscCall(PetscFree2(count, place));
  PetscFunctionReturn(0);
}

/* predictions.h5 and its description. */
static PetscErrorCode WriteShown(EkEvaluator e, const char *path)
{
  EkSession s = e->session;

  PetscFunctionBegin;
  PetscCall(EkPredictionsWrite(path, s->info, e->nshown, s->shape.grid.stride, e->shown[0], e->shown[1]));
  PetscCall(EkXdmfWritePredictions(path, s->info, e->nshown));
  PetscFunctionReturn(0);
}

static EkFigures Undefined(void)
{
#define EK_UNDEFINED(field, name) .field = NAN,
  return (EkFigures){EK_FIGURES(EK_UNDEFINED)};
#undef EK_UNDEFINED
}

PetscErrorCode EkEvaluate(EkEvaluator e, const char *predictions, EkFigures *predicted, EkFigures *published)
{
  EkSession      s      = e->session;
  PetscErrorCode failed = 0;

  PetscFunctionBegin;
  *predicted = *published = Undefined();
  if (!s->info->count[EK_TEST]) PetscFunctionReturn(0);
  PetscCall(EkPhaseBegin(s->run, EVALUATE));
  PetscCall(EkMetricsReset(e->metrics));
  PetscCall(MakeRoom(e, (PetscBool)(predictions != NULL)));
  EkHoldLines(s->run, PETSC_TRUE);
  PetscCall(EkAgree(s->run, s->mesh->world, RollOut(e)));
  PetscCall(EkMetricsReduce(e->metrics, s->mesh, s->info->count[EK_TEST], predicted, published));
  if (e->nshown) {
    PetscCall(GatherShown(e));
    if (s->run->rank == 0) failed = WriteShown(e, predictions);
    PetscCall(PetscFree2(e->shown[0], e->shown[1]));
  }
  PetscCall(EkAgree(s->run, s->mesh->world, failed));
  PetscCall(EkPhaseEnd(s->run, EVALUATE));
  PetscFunctionReturn(0);
}

static const char *Figure(double value, char text[32])
{
  if (isnan(value)) snprintf(text, 32, "-");
  else snprintf(text, 32, "%.6g", value);
  return text;
}

PetscErrorCode EkFiguresPrint(EkRun run, const EkFigures *predicted, const EkFigures *published)
{
  char a[32], b[32];

  PetscFunctionBegin;
  if (run->rank) PetscFunctionReturn(0);
  printf("%-12s %16s %16s\n", "test set", "predicted frames", "all frames");
#define EK_PRINT_FIGURE(field, name) printf("%-12s %16s %16s\n", name, Figure(predicted->field, a), Figure(published->field, b));
  EK_FIGURES(EK_PRINT_FIGURE)
#undef EK_PRINT_FIGURE
  PetscFunctionReturn(0);
}
