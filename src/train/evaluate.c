#include "evenkeel/results.h"
#include "evenkeel/train.h"
#include <math.h>
#include <string.h>

/* Trajectories of the test set whose predictions are kept as pictures' raw material. */
#define SHOWN 4

struct EkEvaluator_ {
  EkSession session;
  EkRollout rollout;
  EkMetrics metrics;
  PetscInt  lo, hi;  /* this rank's part of the test set */
  float    *batch;   /* chunk trajectories */
  float    *shown[2]; /* prediction and target of the first few: rank 0 only */
  PetscInt  nshown;
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
  PetscCall(PetscFree(*evaluator));
  PetscFunctionReturn(0);
}

/* Predictions of sample `b` of the chunk join the figures, and the pictures while there is room. */
static PetscErrorCode Collect(EkEvaluator e, int b, PetscInt index)
{
  EkSession      s      = e->session;
  const size_t   stride = s->shape.grid.stride, frame = (size_t)s->info->fields * stride;
  const float   *truth  = e->batch + (size_t)b * e->rollout.sample;
  const PetscInt place  = index - e->lo;

  PetscFunctionBegin;
  if (place < e->nshown) {
    for (int k = 0; k < 2; k++) memcpy(e->shown[k] + (size_t)place * e->rollout.sample, truth, e->rollout.sample * sizeof(float));
  }
  for (int i = 0; i < e->rollout.steps; i++) {
    const PetscInt t = e->rollout.target[i];
    const float   *value;
    size_t         step;

    PetscCall(EkGraphGetValue(e->rollout.graph, e->rollout.prediction[i], &value, &step));
    PetscCall(EkMetricsAdd(e->metrics, s->info->initial_step + i, stride, value + b * step, truth + (size_t)t * frame));
    if (place < e->nshown) memcpy(e->shown[0] + (size_t)place * e->rollout.sample + (size_t)t * frame, value + b * step, frame * sizeof(float));
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
  PetscFunctionBegin;
  e->nshown = 0;
  if (!wanted || e->session->run->rank) PetscFunctionReturn(0);
  e->nshown = e->hi - e->lo < SHOWN ? e->hi - e->lo : SHOWN;
  PetscCall(PetscMalloc2((size_t)e->nshown * e->rollout.sample + 1, &e->shown[0], (size_t)e->nshown * e->rollout.sample + 1, &e->shown[1]));
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
  PetscCall(EkAgree(s->run, s->mesh->world, RollOut(e)));
  PetscCall(EkMetricsReduce(e->metrics, s->mesh, s->info->count[EK_TEST], predicted, published));
  if (e->nshown) {
    failed = EkPredictionsWrite(predictions, s->info, e->nshown, s->shape.grid.stride, e->shown[0], e->shown[1]);
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
