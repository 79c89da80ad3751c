/* Schedule and memory plan. A whole run is a list of steps: every node forward; then, from the last node on, what is active
   backward, each segment run again before its own. Every value, gradient, saved and scratch buffer has a life in these steps;
   buffers whose lives do not meet share memory. What runs again has two lives, often at two places. Greedy by size: the largest
   first, each at the lowest offset that is free for all its life. */
#include "graph_impl.h"
#include <stdlib.h>

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

/* ---- schedule ------------------------------------------------------------------------------------------------ */

/* The segment that backward begins with: it has only just run forward, its values are there at the same time anyway. */
static int LastSegment(EkGraph g)
{
  for (int i = g->nnodes - 1; i >= 0; i--) {
    if (g->node[i]->active && g->node[i]->segment >= 0) return g->node[i]->segment;
  }
  return -1;
}

/* Who reads a value from backward on: nodes of the segment it is made in, or others, for whom it is kept. */
enum { INSIDE = 1, OUTSIDE = 2 };

/* Does the node run again? For what backward needs of it and nobody keeps: its saved values, its output. */
static PetscBool RunsAgain(const EkNode *node, int readers)
{
  return (PetscBool)((node->active && node->saved) || readers == INSIDE);
}

/* twice: the output dies in forward and is made anew. Readers come later in the order than what they read. */
static PetscErrorCode MarkAgain(EkGraph g, PetscBool twice[])
{
  const int last = LastSegment(g);
  int      *readers;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1(g->ntensors, &readers));
  for (int i = g->nnodes - 1; i >= 0; i--) {
    EkNode        *node = g->node[i];
    const EkTensor t = node->output;

    if (t != EK_NONE && node->segment >= 0 && node->segment != last) {
      if (g->tensor[t].keep) readers[t] |= OUTSIDE;
      if (node->active && node->keeps_output) readers[t] |= INSIDE;
      node->again = RunsAgain(node, readers[t]);
      twice[t] = (PetscBool)(node->again && !(readers[t] & OUTSIDE));
    }
    for (int k = 0; k < node->ninputs; k++) {
      const EkTensor root = g->tensor[node->input[k]].root;
      const int      from = g->tensor[root].producer;

      if (node->again || (node->active && node->kept[k]))
        readers[root] |= from >= 0 && g->node[from]->segment == node->segment ? INSIDE : OUTSIDE;
    }
  }
  PetscCall(PetscFree(readers));
  PetscFunctionReturn(0);
}

/* The nodes of the segment that ends with `last`, in their order. */
static void AddAgain(EkGraph g, int last)
{
  const int segment = g->node[last]->segment;
  int       first = last;

  if (segment < 0 || (last + 1 < g->nnodes && g->node[last + 1]->segment == segment)) return;
  while (first > 0 && g->node[first - 1]->segment == segment) first--;
  for (int i = first; i <= last; i++) {
    if (g->node[i]->again) g->step[g->nsteps++] = (EkStep){EK_AGAIN, i};
  }
}

static PetscErrorCode MakeSchedule(EkGraph g)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1(3 * g->nnodes, &g->step));
  for (int i = 0; i < g->nnodes; i++) g->step[g->nsteps++] = (EkStep){EK_FORWARD, i};
  for (int i = g->nnodes - 1; i >= 0; i--) {
    AddAgain(g, i);
    if (g->node[i]->active) g->step[g->nsteps++] = (EkStep){EK_BACKWARD, i};
  }
  PetscFunctionReturn(0);
}

/* ---- lives --------------------------------------------------------------------------------------------------- */

/* First and last step that uses a buffer. */
typedef struct {
  PetscBool used;
  int       birth, death;
} Life;

typedef struct {
  PetscBool twice;
  Life      value, again, gradient;
} TensorLives;

typedef struct {
  Life saved, again;
} NodeLives;

typedef struct {
  TensorLives *tensor;
  NodeLives   *node;
} Lives;

static void Use(Life *life, int step)
{
  if (!life->used) *life = (Life){PETSC_TRUE, step, step};
  life->death = step;
}

static void UseField(TensorLives *t, EkPass pass, PetscBool value, int step)
{
  if (value) Use(pass != EK_FORWARD && t->twice ? &t->again : &t->value, step);
  if (pass == EK_BACKWARD) Use(&t->gradient, step);
}

static void Live(EkGraph g, int s, Lives *lives)
{
  const EkPass    pass = g->step[s].pass;
  const EkNode   *node = g->node[g->step[s].node];
  NodeLives      *own = &lives->node[g->step[s].node];
  const PetscBool forward = (PetscBool)(pass != EK_BACKWARD);

  Use(pass != EK_FORWARD && node->again ? &own->again : &own->saved, s);
  if (node->output != EK_NONE) UseField(&lives->tensor[node->output], pass, (PetscBool)(forward || node->keeps_output), s);
  for (int k = 0; k < node->ninputs; k++) {
    UseField(&lives->tensor[g->tensor[node->input[k]].root], pass, (PetscBool)(forward || node->kept[k]), s);
  }
}

/* ---- buffers ------------------------------------------------------------------------------------------------- */

static PetscErrorCode NewBuffer(EkGraph g, size_t floats, size_t fixed, Life life, int *out)
{
  PetscFunctionBegin;
  *out = EK_NO_BUFFER;
  if (!floats && !fixed) PetscFunctionReturn(0);
  if (g->nbuffers == g->buffer_capacity) {
    g->buffer_capacity = 2 * g->buffer_capacity + 64;
    PetscCall(PetscRealloc(g->buffer_capacity * sizeof(*g->buffer), &g->buffer));
  }
  *out = g->nbuffers++;
  g->buffer[*out] = (EkBuffer){floats, fixed, life.birth, life.death, 0};
  PetscFunctionReturn(0);
}

/* The second life's buffer: that of the first one where there is no second. */
static PetscErrorCode NewAgain(EkGraph g, size_t floats, Life again, int first, int *out)
{
  PetscFunctionBegin;
  *out = first;
  if (again.used) PetscCall(NewBuffer(g, floats, 0, again, out));
  PetscFunctionReturn(0);
}

static PetscErrorCode FieldBuffers(EkGraph g, TensorLives lives[])
{
  PetscFunctionBegin;
  for (EkTensor t = 0; t < g->ntensors; t++) {
    EkTensorState *s = &g->tensor[t];
    TensorLives   *l = &lives[t];
    const size_t   floats = EkSampleFloats(s);

    if (s->keep) l->value.death = g->nsteps;
    if (s->sliced_gradient) l->gradient.birth = g->nnodes; /* cleared when backward starts */
    if (s->kind == EK_TENSOR_INPUT) l->gradient.death = g->nsteps;
    if (s->kind == EK_TENSOR_FIELD) {
      PetscCall(NewBuffer(g, floats, 0, l->value, &s->value));
      PetscCall(NewAgain(g, floats, l->again, s->value, &s->value_again));
    }
    if ((s->kind == EK_TENSOR_FIELD || s->kind == EK_TENSOR_INPUT) && s->has_gradient)
      PetscCall(NewBuffer(g, floats, 0, l->gradient, &s->gradient));
  }
  PetscFunctionReturn(0);
}

/* One node runs at a time, so all share one scratch, which lives for ever. */
static PetscErrorCode NodeBuffers(EkGraph g, const NodeLives lives[])
{
  const Life always = {PETSC_TRUE, 0, g->nsteps};
  size_t     scratch = 0, tile = 0;
  int        shared;

  PetscFunctionBegin;
  for (int i = 0; i < g->nnodes; i++) {
    EkNode *node = g->node[i];

    PetscCall(NewBuffer(g, node->saved, 0, lives[i].saved, &node->saved_buffer));
    PetscCall(NewAgain(g, node->saved, lives[i].again, node->saved_buffer, &node->saved_again));
    if (node->op->settle) node->op->settle(g, node);
    if (node->scratch > scratch) scratch = node->scratch;
    if (node->tile > tile) tile = node->tile;
  }
  PetscCall(NewBuffer(g, scratch, tile, always, &shared));
  for (int i = 0; i < g->nnodes; i++) g->node[i]->scratch_buffer = g->node[i]->scratch + g->node[i]->tile ? shared : EK_NO_BUFFER;
  PetscFunctionReturn(0);
}

static PetscErrorCode MakeBuffers(EkGraph g, const PetscBool twice[])
{
  Lives lives;

  PetscFunctionBegin;
  PetscCall(PetscCalloc2(g->ntensors, &lives.tensor, g->nnodes, &lives.node));
  for (EkTensor t = 0; t < g->ntensors; t++) lives.tensor[t].twice = twice[t];
  for (int s = 0; s < g->nsteps; s++) Live(g, s, &lives);
  PetscCall(FieldBuffers(g, lives.tensor));
  PetscCall(NodeBuffers(g, lives.node));
  PetscCall(PetscFree2(lives.tensor, lives.node));
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
      written[root] = PETSC_TRUE;
    }
  }
  PetscCall(PetscFree(written));
  PetscFunctionReturn(0);
}

#define LINE 16 /* floats of a cache line: where buffers begin */
static size_t Floats(EkGraph g, const EkBuffer *b)
{
  return EK_ROUND_UP(b->floats * (size_t)g->capacity + b->fixed, LINE);
}

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
  size_t    at = 0;
  PetscBool moved = PETSC_TRUE;

  while (moved) {
    moved = PETSC_FALSE;
    for (int i = 0; i < nplaced; i++) {
      const EkBuffer *b = &g->buffer[placed[i]], *mine = &g->buffer[which];
      const size_t    end = b->offset + Floats(g, b);

      if (b->death < mine->birth || mine->death < b->birth || at + floats <= b->offset || end <= at) continue;
      at = end;
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
  PetscBool *twice;

  PetscFunctionBegin;
  PetscCheck(!g->planned, PETSC_COMM_SELF, PETSC_ERR_ORDER, "the graph is planned already");
  PetscCheck(g->segment < 0, PETSC_COMM_SELF, PETSC_ERR_ORDER, "a segment of the graph does not end");
  PetscCall(PetscCalloc1(g->ntensors, &twice));
  PetscCall(MarkActive(g));
  PetscCall(MarkAgain(g, twice));
  PetscCall(MakeSchedule(g));
  PetscCall(MakeBuffers(g, twice));
  PetscCall(PetscFree(twice));
  PetscCall(MarkAccumulation(g));
  PetscCall(PlaceBuffers(g));
  PetscCall(LossBuffers(g));
  PetscCall(EkCallocLarge(g->arena_floats + 2 * LINE, &g->memory));
  g->arena = (float *)EK_ROUND_UP((uintptr_t)g->memory, LINE * sizeof(float));
  g->planned = PETSC_TRUE;
  PetscFunctionReturn(0);
}

void EkGraphMemory(EkGraph g, size_t *planned, size_t *unshared)
{
  *planned = g->arena_floats * sizeof(float);
  *unshared = g->unshared_floats * sizeof(float);
}
