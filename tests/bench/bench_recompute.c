/* What train_recompute saves and costs: forward and backward of one chunk on random data, without and with it, by turns in one
   process: bench_recompute [repetitions [case]] Two lines a case: planned activations with it over those without (exact), and the
   median of the quotients of seconds. */
#include "evenkeel/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIVEN 10
#define MOST  32 /* rollout steps */

typedef struct {
  const char *name, *type;
  int         dim, n, fields, steps, chunk;
  EkRecompute level;
} Case;
static const Case cases[] = {
    {"fno2d_rollout11_step", "fno2d", 2, 64, 4, 11, 4, EK_RECOMPUTE_STEP},
    {"fno2d_rollout11_block", "fno2d", 2, 64, 4, 11, 4, EK_RECOMPUTE_BLOCK},
    {"unet2d_1_block", "unet2d", 2, 64, 4, 1, 8, EK_RECOMPUTE_BLOCK},
    {"unet2d_rollout5_step", "unet2d", 2, 64, 4, 5, 8, EK_RECOMPUTE_STEP},
    {"dpot_tiny_1_block", "dpot", 2, 128, 4, 1, 2, EK_RECOMPUTE_BLOCK},
};

typedef struct {
  EkModelOptions options;
  EkModelShape   shape;
  EkParams       params;
  EkGraph        graph[2]; /* without, with */
  float         *data, *coordinates;
} Pair;

static PetscErrorCode MakeModel(const Case *c, Pair *p)
{
  const PetscInt n[2] = {c->n, c->n};
  EkRandom       stream = EkRandomStream(1, EK_RANDOM_TEST, 0);
  size_t         floats;

  PetscFunctionBegin;
  p->options = (EkModelOptions){.type = EkFamilyFind(&EkModelFamily, c->type), .width = 20, .features = 32, .n_cls = 12};
  PetscCall(EkModelSettle(&p->options));
  p->shape = (EkModelShape){EkGridMake(c->dim, n), c->fields, GIVEN};
  PetscCall(EkModelChooseTransform(&p->options, &p->shape, &p->options.transform));
  PetscCall(EkParamsCreate(&p->params));
  PetscCall(EkModelDeclare(&p->options, &p->shape, p->params));
  PetscCall(EkParamsAllocate(p->params));
  PetscCall(EkParamsInitialise(p->params, 1));
  floats = (size_t)c->chunk * (size_t)((GIVEN + c->steps) * c->fields) * p->shape.grid.stride;
  PetscCall(PetscMalloc1(floats, &p->data));
  PetscCall(PetscCalloc1((size_t)c->dim * p->shape.grid.stride, &p->coordinates));
  for (size_t i = 0; i < floats; i++) p->data[i] = (float)EkUniform(&stream);
  PetscFunctionReturn(0);
}

static PetscErrorCode MakeGraph(const Case *c, Pair *p, EkRecompute level, EkGraph *graph)
{
  const PetscInt channels = (GIVEN + c->steps) * c->fields;
  EkTensor       frames, points, prediction[MOST];
  PetscInt       target[MOST];

  PetscFunctionBegin;
  for (int i = 0; i < c->steps; i++) target[i] = GIVEN + i;
  PetscCall(EkGraphCreate(p->params, c->chunk, PETSC_TRUE, graph));
  PetscCall(EkGraphSetRecompute(*graph, level));
  PetscCall(EkGraphInput(*graph, channels, p->shape.grid, PETSC_FALSE, &frames));
  PetscCall(EkGraphInput(*graph, c->dim, p->shape.grid, PETSC_FALSE, &points));
  PetscCall(EkModelRollout(&p->options, &p->shape, *graph, frames, points, c->steps, prediction));
  PetscCall(EkModelLosses(&p->shape, *graph, EkLossMse, frames, EK_NONE, c->steps, target, prediction));
  PetscCall(EkGraphPlan(*graph));
  PetscCall(EkGraphBind(*graph, frames, p->data, (size_t)channels * p->shape.grid.stride));
  PetscCall(EkGraphBind(*graph, points, p->coordinates, 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode OneStep(const Case *c, EkGraph graph, double *seconds)
{
  const double start = EkTime();

  PetscFunctionBegin;
  PetscCall(EkGraphForward(graph, c->chunk, 1.0 / c->chunk));
  PetscCall(EkGraphBackward(graph));
  *seconds = EkTime() - start;
  PetscFunctionReturn(0);
}

static int Ascending(const void *a, const void *b)
{
  return *(const double *)a < *(const double *)b ? -1 : 1;
}

static PetscErrorCode Bench(const Case *c, int repetitions)
{
  double quotient[100], seconds[2];
  size_t planned[2], unshared;
  Pair   p;

  PetscFunctionBegin;
  PetscCall(MakeModel(c, &p));
  for (int k = 0; k < 2; k++) {
    PetscCall(MakeGraph(c, &p, k ? c->level : EK_RECOMPUTE_NONE, &p.graph[k]));
    EkGraphMemory(p.graph[k], &planned[k], &unshared);
    PetscCall(OneStep(c, p.graph[k], &seconds[k]));
  }
  for (int r = 0; r < repetitions; r++) {
    for (int k = 0; k < 2; k++) PetscCall(OneStep(c, p.graph[k], &seconds[k]));
    quotient[r] = seconds[1] / seconds[0];
  }
  qsort(quotient, (size_t)repetitions, sizeof(double), Ascending);
  printf("%s_memory %.3f x (%.1f of %.1f MiB)\n", c->name, (double)planned[1] / (double)planned[0], (double)planned[1] / 1048576,
         (double)planned[0] / 1048576);
  printf("%s_seconds %.3f x (%.4f s)\n", c->name, quotient[repetitions / 2], seconds[1]);
  for (int k = 0; k < 2; k++) PetscCall(EkGraphDestroy(&p.graph[k]));
  PetscCall(EkParamsDestroy(&p.params));
  PetscCall(PetscFree(p.data));
  PetscCall(PetscFree(p.coordinates));
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  const int   repetitions = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 9;
  const char *only = argc > 2 ? argv[2] : NULL;
  EkRun       run;

  EkBlasChoose(argv);
  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(EkRunCreate(argc, argv, &run));
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    if (!only || !strcmp(only, cases[i].name)) PetscCall(Bench(&cases[i], repetitions < 100 ? repetitions : 100));
  }
  PetscCall(EkRunDestroy(&run));
  PetscCall(PetscFinalize());
  return 0;
}
