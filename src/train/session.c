#include "trainer.h"

/* Samples of one part of a batch on one rank, at most. */
static PetscInt MostOf(const EkDeck *deck, PetscInt batch, PetscInt ranks)
{
  const PetscInt part = (batch + deck->train.accumulate - 1) / deck->train.accumulate;

  return (part + ranks - 1) / ranks;
}

/* Samples a graph runs at a time: as many as keep one hidden field of all of them within the second-level cache or little more;
   at least two, so that spectral weights, read once a chunk, serve twice. */
static int ChunkSize(const EkDeck *deck, const EkModelShape *shape, int ranks)
{
  const int    most = (int)MostOf(deck, deck->train.batch, ranks);
  const double field = (double)deck->model.width * (double)shape->grid.stride * sizeof(float), fits = 1.5 * 1048576 / field;

  const int chunk = fits < 2 ? 2 : fits > EK_CHUNK_MAX ? EK_CHUNK_MAX : (int)fits;

  return chunk < most ? chunk : most;
}

/* Coordinates as the network gets them: one plane an axis, raw values of the file (PDEBench's loader, "ij" order). */
static PetscErrorCode MakeCoordinates(EkSession s)
{
  const EkGrid *grid = &s->shape.grid;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1((size_t)grid->dim * grid->stride, &s->coordinates));
  for (int d = 0; d < grid->dim; d++) {
    for (PetscInt i = 0; i < grid->n[0]; i++) {
      for (PetscInt j = 0; j < grid->n[1]; j++)
        s->coordinates[d * grid->stride + (size_t)(i * grid->n[1] + j)] = s->info->coordinate[d][d == 0 ? i : j];
    }
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkSessionCreate(EkRun run, const EkDeck *deck, int transform, EkSession *out)
{
  EkSession s;
  int       choice;

  PetscFunctionBegin;
  PetscCall(PetscNew(&s));
  s->run = run;
  s->deck = *deck;
  if (transform != EK_CHOOSE_AUTO) s->deck.model.transform = transform;
  PetscCall(EkMeshCreate(run, &deck->mesh, &s->mesh));
  PetscCall(EkMixtureOpen(run, &deck->data, deck->train.seed, &s->mixture));
  PetscCall(EkMixtureGetInfo(s->mixture, &s->info));
  PetscCall(EkMixtureGetSets(s->mixture, &s->nsets, &s->set));
  s->shape = (EkModelShape){EkGridMake(s->info->dim, s->info->n), s->info->fields, s->info->initial_step};
  s->chunk = ChunkSize(deck, &s->shape, s->mesh->ndata);
  PetscCall(EkParamsCreate(&s->params));
  PetscCall(EkModelDeclare(&s->deck.model, &s->shape, s->params));
  PetscCall(EkParamsAllocate(s->params));
  if (run->rank == 0) PetscCall(EkModelChooseTransform(&s->deck.model, &s->shape, &choice));
  PetscCallMPI(MPI_Bcast(&choice, 1, MPI_INT, 0, run->comm));
  s->deck.model.transform = choice;
  PetscCall(EkSessionLoad(s));
  PetscCall(MakeCoordinates(s));
  *out = s;
  PetscFunctionReturn(0);
}

PetscErrorCode EkSessionDestroy(EkSession *session)
{
  PetscFunctionBegin;
  if (!*session) PetscFunctionReturn(0);
  PetscCall(EkParamsDestroy(&(*session)->params));
  PetscCall(EkMixtureDestroy(&(*session)->mixture));
  PetscCall(EkMeshDestroy(&(*session)->mesh));
  PetscCall(PetscFree((*session)->coordinates));
  PetscCall(PetscFree(*session));
  PetscFunctionReturn(0);
}

/* Frames the steps predict: all that follow the given ones. */
static PetscErrorCode Targets(EkSession s, PetscBool training, EkRollout *r)
{
  const PetscInt first = s->info->initial_step, end = r->given;

  PetscFunctionBegin;
  r->steps = s->deck.train.mode == EK_SINGLE ? 1 : (int)(end - first);
  PetscCall(PetscMalloc2(r->steps, &r->target, r->steps, &r->prediction));
  if (training && s->deck.train.unroll > 0 && s->deck.train.unroll < r->steps) r->cut = r->steps - (int)s->deck.train.unroll;
  for (int i = 0; i < r->steps; i++) r->target[i] = s->deck.train.mode == EK_SINGLE ? s->info->t_train - 1 : first + i;
  PetscFunctionReturn(0);
}

static PetscErrorCode SumOverMesh(void *mesh, int n, double *values)
{
  return EkMeshSumDouble((EkMesh)mesh, n, values);
}

PetscInt EkSessionMost(EkSession s)
{
  const PetscInt all = s->info->count[EK_TRAIN], batch = s->deck.train.batch < all ? s->deck.train.batch : all;

  return MostOf(&s->deck, batch, s->mesh->ndata);
}

/* A batch (or a part of one) whose samples meet is run whole. */
static PetscErrorCode PlanRollout(EkSession s, EkRollout *r)
{
  PetscFunctionBegin;
  r->chunk = EkGraphIsCoupled(r->graph) ? (int)EkSessionMost(s) : s->chunk;
  PetscCall(EkGraphSetCapacity(r->graph, r->chunk));
  PetscCall(EkGraphPlan(r->graph));
  PetscFunctionReturn(0);
}

static PetscErrorCode ApplyModel(EkSession s, PetscBool training, EkRollout *r)
{
  const EkRolloutForm form = {.steps = r->steps,
                              .unroll = r->steps - r->cut,
                              .teacher = (PetscBool)(training && s->deck.train.mode == EK_TEACHER),
                              .noise = training ? s->deck.data.noise : 0};

  PetscFunctionBegin;
  PetscCall(EkModelRolloutAs(&s->deck.model, &s->shape, r->graph, r->frames, r->coordinates, &form, r->prediction));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRolloutCreate(EkSession s, PetscInt frames, EkRollout *r)
{
  const PetscBool training = (PetscBool)!frames;
  PetscInt        channels;

  PetscFunctionBegin;
  PetscCall(PetscMemzero(r, sizeof(*r)));
  r->given = training ? s->info->t_train : frames;
  channels = r->given * s->info->fields;
  PetscCall(Targets(s, training, r));
  r->sample = training ? EkMixtureSampleFloats(s->mixture, s->shape.grid.stride) : (size_t)channels * s->shape.grid.stride;
  r->mask = EK_NONE;
  PetscCall(EkGraphCreate(s->params, s->chunk, training, &r->graph));
  PetscCall(EkGraphSetRecompute(r->graph, (EkRecompute)s->deck.train.recompute));
  PetscCall(EkGraphSetSum(r->graph, SumOverMesh, s->mesh));
  PetscCall(EkGraphInput(r->graph, channels, s->shape.grid, PETSC_FALSE, &r->frames));
  PetscCall(EkGraphInput(r->graph, s->shape.grid.dim, s->shape.grid, PETSC_FALSE, &r->coordinates));
  if (training && s->deck.data.mask == EK_MASK_DATA)
    PetscCall(EkGraphInput(r->graph, s->info->fields, s->shape.grid, PETSC_FALSE, &r->mask));
  PetscCall(ApplyModel(s, training, r));
  if (training) {
    PetscCall(EkModelLosses(&s->shape, r->graph, EkLossRowOf(&s->deck)->add, r->frames, r->mask, r->steps - r->cut,
                            r->target + r->cut, r->prediction + r->cut));
  }
  for (int i = 0; !training && i < r->steps; i++) PetscCall(EkGraphKeep(r->graph, r->prediction[i]));
  PetscCall(PlanRollout(s, r));
  PetscCall(EkGraphBind(r->graph, r->coordinates, s->coordinates, 0));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRolloutBind(EkRollout *r, const float *batch)
{
  PetscInt channels;
  EkGrid   grid;

  PetscFunctionBegin;
  PetscCall(EkGraphBind(r->graph, r->frames, batch, r->sample));
  if (r->mask == EK_NONE) PetscFunctionReturn(0);
  PetscCall(EkGraphGetGrid(r->graph, r->frames, &channels, &grid));
  PetscCall(EkGraphBind(r->graph, r->mask, batch + (size_t)channels * grid.stride, r->sample));
  PetscFunctionReturn(0);
}

size_t EkRolloutMemory(const EkRollout *r)
{
  size_t planned, unshared;

  EkGraphMemory(r->graph, &planned, &unshared);
  return planned + EkGraphHeld(r->graph);
}

PetscErrorCode EkRolloutDestroy(EkRollout *r)
{
  PetscFunctionBegin;
  PetscCall(EkGraphDestroy(&r->graph));
  PetscCall(PetscFree2(r->target, r->prediction));
  PetscFunctionReturn(0);
}
