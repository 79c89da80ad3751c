/* Memory plan: every value, gradient, saved and scratch buffer has a life in steps of a whole run (forward 0..n-1, backward n..2n-1); buffers whose
   lives do not meet share memory. Greedy by size: the largest first, each at the lowest offset that is free for all its life. */
#include "graph_impl.h"
#include <stdlib.h>

static int ForwardStep(int node) { return node; }
static int BackwardStep(EkGraph g, int node) { return 2 * g->nnodes - 1 - node; }

/* A node takes part in backward when a loss depends on its output and something trainable feeds it. */
static PetscErrorCode MarkActive(EkGraph g)
{
  PetscFunctionBegin;
  for (int i = g->nnodes - 1; g->gradients && i >= 0; i--) {
    EkNode   *node = g->node[i];
    PetscBool live = (PetscBool)(node->output == EK_NONE || g->tensor[node->output].has_gradient), trains = PETSC_FALSE;

    for (int k = 0; k < node->ninputs; k++) trains = (PetscBool)(trains || g->tensor[node->input[k]].wants_gradient);
    node->active = (PetscBool)(live && trains);
    if (!node->active) continue;
    for (int k = 0; k < node->ninputs; k++) {
      EkTensorState *s = &g->tensor[node->input[k]], *root = &g->tensor[s->root];

      if (!s->wants_gradient) continue;
      s->has_gradient = root->has_gradient = PETSC_TRUE;
      if (s->kind == EK_TENSOR_SLICE) root->sliced_gradient = PETSC_TRUE;
      if (s->param >= 0) g->params->info[s->param].used = PETSC_TRUE;
    }
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode NewBuffer(EkGraph g, size_t floats, size_t fixed, int birth, int death, int *out)
{
  PetscFunctionBegin;
  *out = EK_NO_BUFFER;
  if (!floats && !fixed) PetscFunctionReturn(0);
  if (g->nbuffers == g->buffer_capacity) {
    g->buffer_capacity = 2 * g->buffer_capacity + 64;
    PetscCall(PetscRealloc(g->buffer_capacity * sizeof(*g->buffer), &g->buffer));
  }
  *out             = g->nbuffers++;
  g->buffer[*out] = (EkBuffer){floats, fixed, birth, death, 0};
  PetscFunctionReturn(0);
}

/* The last step that reads a field's value. */
static int ValueDeath(EkGraph g, EkTensor root)
{
  int death = ForwardStep(g->tensor[root].producer);

  if (g->tensor[root].keep) return 2 * g->nnodes;
  if (g->node[g->tensor[root].producer]->active && g->node[g->tensor[root].producer]->keeps_output) death = BackwardStep(g, g->tensor[root].producer);
  for (int i = 0; i < g->nnodes; i++) {
    for (int k = 0; k < g->node[i]->ninputs; k++) {
      if (g->tensor[g->node[i]->input[k]].root != root) continue;
      if (ForwardStep(i) > death) death = ForwardStep(i);
      if (g->node[i]->active && g->node[i]->kept[k] && BackwardStep(g, i) > death) death = BackwardStep(g, i);
    }
  }
  return death;
}

/* The first step that writes a field's gradient; sliced ones are cleared when backward starts. */
static int GradientBirth(EkGraph g, EkTensor root)
{
  int birth = 2 * g->nnodes;

  if (g->tensor[root].sliced_gradient) return g->nnodes;
  for (int i = 0; i < g->nnodes; i++) {
    for (int k = 0; k < g->node[i]->ninputs; k++) {
      if (g->tensor[g->node[i]->input[k]].root == root && g->node[i]->active && BackwardStep(g, i) < birth) birth = BackwardStep(g, i);
    }
  }
  return birth;
}

static PetscErrorCode FieldBuffers(EkGraph g)
{
  PetscFunctionBegin;
  for (EkTensor t = 0; t < g->ntensors; t++) {
    EkTensorState *s      = &g->tensor[t];
    const size_t   floats = EkSampleFloats(s);

    if (s->kind == EK_TENSOR_FIELD) PetscCall(NewBuffer(g, floats, 0, ForwardStep(s->producer), ValueDeath(g, t), &s->value));
    if ((s->kind == EK_TENSOR_FIELD || s->kind == EK_TENSOR_INPUT) && s->has_gradient) {
      PetscCall(NewBuffer(g, floats, 0, GradientBirth(g, t), s->producer >= 0 ? BackwardStep(g, s->producer) : 2 * g->nnodes, &s->gradient));
    }
  }
  PetscFunctionReturn(0);
}

/* What a node saves lives from its forward to its backward step. One node runs at a time, so all share one scratch, which lives for ever. */
static PetscErrorCode NodeBuffers(EkGraph g)
{
  size_t scratch = 0, tile = 0;
  int    shared;

  PetscFunctionBegin;
  for (int i = 0; i < g->nnodes; i++) {
    EkNode *node = g->node[i];

    PetscCall(NewBuffer(g, node->saved, 0, ForwardStep(i), node->active ? BackwardStep(g, i) : ForwardStep(i), &node->saved_buffer));
    if (node->scratch > scratch) scratch = node->scratch;
    if (node->tile > tile) tile = node->tile;
  }
  PetscCall(NewBuffer(g, scratch, tile, 0, 2 * g->nnodes, &shared));
  for (int i = 0; i < g->nnodes; i++) g->node[i]->scratch_buffer = g->node[i]->scratch + g->node[i]->tile ? shared : EK_NO_BUFFER;
  PetscFunctionReturn(0);
}

/* Backward order decides who writes a gradient first; the rest add. Gradients of slices always add. */
static PetscErrorCode MarkAccumulation(EkGraph g)
{
  PetscBool *written;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1(g->ntensors, &written));
  for (int i = g->nnodes - 1; i >= 0; i--) {
    for (int k = 0; g->node[i]->active && k < g->node[i]->ninputs; k++) {
      const EkTensor root = g->tensor[g->node[i]->input[k]].root;

      g->node[i]->accumulate[k] = (PetscBool)(written[root] || g->tensor[root].sliced_gradient);
      written[root]             = PETSC_TRUE;
    }
  }
  PetscCall(PetscFree(written));
  PetscFunctionReturn(0);
}

#define LINE 16 /* floats of a cache line: where buffers begin */
static size_t Floats(EkGraph g, const EkBuffer *b) { return EK_ROUND_UP(b->floats * (size_t)g->capacity + b->fixed, LINE); }

typedef struct {
  size_t floats;
  int    buffer;
} Order;

static int LargestFirst(const void *a, const void *b)
{
  const Order *x = (const Order *)a, *y = (const Order *)b;

  if (x->floats != y->floats) return x->floats < y->floats ? 1 : -1;
  return x->buffer - y->buffer;
}

/* Lowest offset at which the buffer meets none of the placed ones that live at the same time. */
static size_t LowestFree(EkGraph g, int which, size_t floats, int nplaced, const int placed[])
{
  size_t    at    = 0;
  PetscBool moved = PETSC_TRUE;

  while (moved) {
    moved = PETSC_FALSE;
    for (int i = 0; i < nplaced; i++) {
      const EkBuffer *b = &g->buffer[placed[i]], *mine = &g->buffer[which];
      const size_t    end = b->offset + Floats(g, b);

      if (b->death < mine->birth || mine->death < b->birth || at + floats <= b->offset || end <= at) continue;
      at    = end;
      moved = PETSC_TRUE;
    }
  }
  return at;
}

static PetscErrorCode PlaceBuffers(EkGraph g)
{
  Order *order;
  int   *placed;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(g->nbuffers, &order, g->nbuffers, &placed));
  for (int i = 0; i < g->nbuffers; i++) order[i] = (Order){Floats(g, &g->buffer[i]), i};
  if (g->nbuffers) qsort(order, (size_t)g->nbuffers, sizeof(*order), LargestFirst);
  for (int i = 0; i < g->nbuffers; i++) {
    EkBuffer *b = &g->buffer[order[i].buffer];

    b->offset = LowestFree(g, order[i].buffer, order[i].floats, i, placed);
    placed[i] = order[i].buffer;
    g->unshared_floats += order[i].floats;
    if (b->offset + order[i].floats > g->arena_floats) g->arena_floats = b->offset + order[i].floats;
  }
  PetscCall(PetscFree2(order, placed));
  PetscFunctionReturn(0);
}

static PetscErrorCode LossBuffers(EkGraph g)
{
  PetscFunctionBegin;
  PetscCall(PetscCalloc1(g->capacity, &g->sample_loss));
  for (int i = 0; i < g->nnodes; i++) {
    if (g->node[i]->output == EK_NONE) PetscCall(PetscCalloc1(g->capacity, &g->node[i]->sample_loss));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphPlan(EkGraph g)
{
  PetscFunctionBegin;
  PetscCheck(!g->planned, PETSC_COMM_SELF, PETSC_ERR_ORDER, "the graph is planned already");
  PetscCall(MarkActive(g));
  PetscCall(FieldBuffers(g));
  PetscCall(NodeBuffers(g));
  PetscCall(MarkAccumulation(g));
  PetscCall(PlaceBuffers(g));
  PetscCall(LossBuffers(g));
  PetscCall(PetscCalloc1(g->arena_floats + 2 * LINE, &g->memory));
  g->arena   = (float *)EK_ROUND_UP((uintptr_t)g->memory, LINE * sizeof(float));
  g->planned = PETSC_TRUE;
  PetscFunctionReturn(0);
}

void EkGraphMemory(EkGraph g, size_t *planned, size_t *unshared)
{
  *planned  = g->arena_floats * sizeof(float);
  *unshared = g->unshared_floats * sizeof(float);
}
