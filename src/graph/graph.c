#include "graph_impl.h"
#include <string.h>

EkGrid EkGridMake(int dim, const PetscInt n[])
{
  EkGrid grid = {.dim = dim, .n = {1, 1, 1}, .points = 1};

  for (int d = 0; d < dim; d++) grid.points *= (size_t)(grid.n[d] = n[d]);
  grid.global = n[0];
  grid.stride = EkPlaneStride((PetscInt64)grid.points);
  return grid;
}

PetscErrorCode EkGraphCreate(EkParams params, int capacity, PetscBool gradients, EkGraph *out)
{
  EkGraph graph;

  PetscFunctionBegin;
  PetscCall(PetscNew(&graph));
  graph->params = params;
  graph->capacity = capacity;
  graph->gradients = gradients;
  graph->segment = -1;
  *out = graph;
  PetscFunctionReturn(0);
}

static PetscErrorCode NewTensor(EkGraph g, EkTensorKind kind, EkTensor *out)
{
  PetscFunctionBegin;
  PetscCheck(!g->planned, PETSC_COMM_SELF, PETSC_ERR_ORDER, "the graph is planned already");
  if (g->ntensors == g->tensor_capacity) {
    g->tensor_capacity = 2 * g->tensor_capacity + 64;
    PetscCall(PetscRealloc(g->tensor_capacity * sizeof(*g->tensor), &g->tensor));
  }
  *out = g->ntensors++;
  g->tensor[*out] = (EkTensorState){.kind = kind,
                                    .root = *out,
                                    .producer = -1,
                                    .param = -1,
                                    .value = EK_NO_BUFFER,
                                    .value_again = EK_NO_BUFFER,
                                    .gradient = EK_NO_BUFFER};
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphInput(EkGraph g, PetscInt channels, EkGrid grid, PetscBool wants_gradient, EkTensor *out)
{
  PetscFunctionBegin;
  PetscCall(NewTensor(g, EK_TENSOR_INPUT, out));
  g->tensor[*out].channels = channels;
  g->tensor[*out].grid = grid;
  g->tensor[*out].wants_gradient = (PetscBool)(g->gradients && wants_gradient);
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSetRecompute(EkGraph g, EkRecompute level)
{
  PetscFunctionBegin;
  PetscCheck(!g->nnodes, PETSC_COMM_SELF, PETSC_ERR_ORDER, "what is computed again is to be said before the first operator");
  g->recompute = level;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSegmentBegin(EkGraph g, EkRecompute level)
{
  PetscFunctionBegin;
  if (level != g->recompute) PetscFunctionReturn(0);
  PetscCheck(g->segment < 0, PETSC_COMM_SELF, PETSC_ERR_ORDER, "a segment begins within another one");
  g->segment = g->nsegments++;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSegmentEnd(EkGraph g, EkRecompute level)
{
  PetscFunctionBegin;
  if (level != g->recompute) PetscFunctionReturn(0);
  PetscCheck(g->segment >= 0, PETSC_COMM_SELF, PETSC_ERR_ORDER, "a segment ends that has not begun");
  g->segment = -1;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSegmentNext(EkGraph g, EkRecompute level)
{
  PetscFunctionBegin;
  PetscCall(EkGraphSegmentEnd(g, level));
  PetscCall(EkGraphSegmentBegin(g, level));
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSetFrozen(EkGraph g, PetscBool frozen)
{
  PetscFunctionBegin;
  g->frozen = frozen;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSetSum(EkGraph g, EkSumFunction sum, void *context)
{
  PetscFunctionBegin;
  g->sum = sum;
  g->sum_context = context;
  PetscFunctionReturn(0);
}

void EkGraphFail(EkGraph g, PetscErrorCode code)
{
  if (code && !g->failed) g->failed = code;
}

void EkGraphSum(EkGraph g, int n, double *values)
{
  if (g->sum) EkGraphFail(g, g->sum(g->sum_context, n, values));
}

PetscBool EkGraphIsCoupled(EkGraph g)
{
  for (int i = 0; g->gradients && i < g->nnodes; i++) {
    if (g->node[i]->op->coupled) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

PetscErrorCode EkGraphSetCapacity(EkGraph g, int capacity)
{
  PetscFunctionBegin;
  PetscCheck(!g->planned, PETSC_COMM_SELF, PETSC_ERR_ORDER, "the graph is planned already");
  g->capacity = capacity;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphBind(EkGraph g, EkTensor input, const float *value, size_t step)
{
  PetscFunctionBegin;
  PetscCheck(g->tensor[input].kind == EK_TENSOR_INPUT && !g->tensor[input].constant, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG,
             "only an input can be bound");
  g->tensor[input].bound = value;
  g->tensor[input].bound_step = step;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphParam(EkGraph g, const char *name, EkTensor *out)
{
  const int index = EkParamsFind(g->params, name);

  PetscFunctionBegin;
  PetscCheck(index >= 0, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG, "the model has no parameter '%s'", name);
  for (EkTensor t = 0; t < g->ntensors; t++) {
    if (g->tensor[t].param == index) {
      *out = t;
      PetscFunctionReturn(0);
    }
  }
  PetscCall(NewTensor(g, EK_TENSOR_PARAM, out));
  g->tensor[*out].param = index;
  g->tensor[*out].wants_gradient = (PetscBool)(g->gradients && g->params->info[index].kind != EK_MODULE_BUFFER);
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphSlice(EkGraph g, EkTensor field, PetscInt first, PetscInt count, EkTensor *out)
{
  EkTensorState of;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, field, "slice"));
  of = g->tensor[field];
  PetscCheck(first >= 0 && count > 0 && first + count <= of.channels, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "slice: channels %d to %d of %d", (int)first, (int)(first + count), (int)of.channels);
  PetscCall(NewTensor(g, EK_TENSOR_SLICE, out));
  g->tensor[*out].grid = of.grid;
  g->tensor[*out].channels = count;
  g->tensor[*out].root = of.root;
  g->tensor[*out].first = of.first + first;
  g->tensor[*out].wants_gradient = of.wants_gradient;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphKeep(EkGraph g, EkTensor field)
{
  PetscFunctionBegin;
  PetscCheck(field >= 0 && field < g->ntensors && g->tensor[field].kind != EK_TENSOR_PARAM, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG,
             "keep: not a field of this graph");
  g->tensor[g->tensor[field].root].keep = PETSC_TRUE;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphCheckField(EkGraph g, EkTensor t, const char *op)
{
  PetscFunctionBegin;
  PetscCheck(t >= 0 && t < g->ntensors && g->tensor[t].kind != EK_TENSOR_PARAM && g->tensor[t].layout == EK_PLANAR,
             PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG, "%s: not a planar field of this graph", op);
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphCheckBlocked(EkGraph g, EkTensor t, const char *op)
{
  PetscFunctionBegin;
  PetscCheck(t >= 0 && t < g->ntensors && g->tensor[t].kind != EK_TENSOR_PARAM && g->tensor[t].layout == EK_BLOCKED,
             PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG, "%s: not a blocked field of this graph", op);
  PetscFunctionReturn(0);
}

void EkGraphMakeBlocked(EkGraph g, EkTensor t)
{
  g->tensor[t].layout = EK_BLOCKED;
}

size_t EkSampleFloats(const EkTensorState *t)
{
  if (t->layout == EK_BLOCKED) return EK_ROUND_UP((size_t)t->channels, EK_BLOCK) * t->grid.points;
  return (size_t)t->channels * t->grid.stride;
}

PetscErrorCode EkGraphCheckShape(EkGraph g, EkTensor param, int rank, const PetscInt shape[], const char *op)
{
  const EkTensorInfo *t = &g->params->table[g->tensor[param].param];
  size_t              want = 1;

  PetscFunctionBegin;
  for (int i = 0; i < rank; i++) {
    want *= (size_t)shape[i];
    PetscCheck(i < t->rank && t->shape[i] == shape[i], PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "%s: axis %d of parameter '%s' is %d, %d is wanted", op, i, t->name, i < t->rank ? (int)t->shape[i] : 0,
               (int)shape[i]);
  }
  PetscCheck(want == t->count, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "%s: parameter '%s' has %zu values, %zu are wanted", op,
             t->name, t->count, want);
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphAddNode(EkGraph g, const EkOperator *op, int ninputs, const EkTensor inputs[], EkNode **out)
{
  EkNode *node;

  PetscFunctionBegin;
  PetscCheck(!g->planned, PETSC_COMM_SELF, PETSC_ERR_ORDER, "the graph is planned already");
  if (g->nnodes == g->node_capacity) {
    g->node_capacity = 2 * g->node_capacity + 64;
    PetscCall(PetscRealloc(g->node_capacity * sizeof(*g->node), &g->node));
  }
  PetscCall(PetscNew(&node));
  PetscCall(PetscMalloc3(ninputs, &node->input, ninputs, &node->kept, ninputs, &node->accumulate));
  for (int i = 0; i < ninputs; i++) {
    node->input[i] = inputs[i];
    node->kept[i] = PETSC_FALSE;
    node->accumulate[i] = PETSC_FALSE;
  }
  node->op = op;
  node->ninputs = ninputs;
  node->output = EK_NONE;
  node->segment = g->segment;
  node->saved_buffer = node->saved_again = node->scratch_buffer = EK_NO_BUFFER;
  g->node[g->nnodes++] = node;
  *out = node;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphAddField(EkGraph g, EkNode *node, PetscInt channels, EkGrid grid, EkTensor *out)
{
  PetscFunctionBegin;
  PetscCall(NewTensor(g, EK_TENSOR_FIELD, out));
  g->tensor[*out].channels = channels;
  g->tensor[*out].grid = grid;
  g->tensor[*out].producer = g->nnodes - 1;
  for (int i = 0; i < node->ninputs && !g->frozen; i++) {
    if (g->tensor[node->input[i]].wants_gradient) g->tensor[*out].wants_gradient = PETSC_TRUE;
  }
  node->output = *out;
  PetscFunctionReturn(0);
}

static float *Place(EkGraph g, int buffer)
{
  return buffer == EK_NO_BUFFER ? NULL : g->arena + g->buffer[buffer].offset;
}

EkField EkGraphField(EkGraph g, EkTensor t)
{
  const EkTensorState *s = &g->tensor[t], *root = &g->tensor[s->root];
  const size_t         stride = s->layout == EK_BLOCKED ? s->grid.points : s->grid.stride, full = EkSampleFloats(root),
               shift = (size_t)s->first * stride;
  EkField f = {.step = full, .gradient_step = full, .channels = s->channels, .points = s->grid.points, .stride = stride};

  if (root->kind == EK_TENSOR_INPUT) {
    f.value = (float *)root->bound; /* operators never write an input's value */
    f.step = root->bound_step;
  } else
    f.value = Place(g, g->pass == EK_FORWARD ? root->value : root->value_again);
  f.gradient = Place(g, root->gradient);
  if (f.value) f.value += shift;
  if (f.gradient) f.gradient += shift;
  return f;
}

float *EkGraphWeight(EkGraph g, const EkNode *node, int input)
{
  return g->params->weights + g->params->table[g->tensor[node->input[input]].param].offset;
}

float *EkGraphWeightGradient(EkGraph g, const EkNode *node, int input)
{
  const EkTensorState *s = &g->tensor[node->input[input]];

  return s->has_gradient ? g->params->gradients + g->params->table[s->param].offset : NULL;
}

float *EkGraphSaved(EkGraph g, const EkNode *node)
{
  return Place(g, g->pass == EK_FORWARD ? node->saved_buffer : node->saved_again);
}
float *EkGraphScratch(EkGraph g, const EkNode *node)
{
  return Place(g, node->scratch_buffer);
}

static void ForwardStep(EkGraph g, EkNode *node)
{
  node->loss = 0;
  if (g->batch || node->op->coupled) node->op->forward(g, node);
  node->calls[0] += g->batch;
}

/* Operators know by the pass what they need not do twice. */
static void AgainStep(EkGraph g, EkNode *node)
{
  if (g->batch) node->op->forward(g, node);
}

static void BackwardStep(EkGraph g, EkNode *node)
{
  if (g->batch || node->op->coupled) node->op->backward(g, node);
  node->calls[1] += g->batch;
}

static void RunSteps(EkGraph g, int from, int to)
{
  static void (*const run[])(EkGraph,
                             EkNode *) = {[EK_FORWARD] = ForwardStep, [EK_AGAIN] = AgainStep, [EK_BACKWARD] = BackwardStep};

  for (int s = from; s < to; s++) {
    EkNode      *node = g->node[g->step[s].node];
    const double start = EkTime();

    g->pass = g->step[s].pass;
    run[g->pass](g, node);
    node->seconds[g->pass == EK_FORWARD ? 0 : 1] += EkTime() - start;
  }
}

PetscErrorCode EkGraphForward(EkGraph g, int batch, double loss_scale)
{
  PetscFunctionBegin;
  PetscCheck(g->planned && batch >= 0 && batch <= g->capacity, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "batch %d, the graph is planned for %d", batch, g->planned ? g->capacity : 0);
  g->batch = batch;
  g->loss_scale = loss_scale;
  g->run = ++g->params->runs;
  RunSteps(g, 0, g->nnodes);
  PetscFunctionReturn(EkGraphIsCoupled(g) ? 0 : g->failed);
}

/* Gradients that several slices write are added up from zero. */
static void ClearSliced(EkGraph g)
{
  for (EkTensor t = 0; t < g->ntensors; t++) {
    const EkTensorState *s = &g->tensor[t];

    if (s->sliced_gradient && s->gradient != EK_NO_BUFFER)
      memset(Place(g, s->gradient), 0, (size_t)g->batch * g->buffer[s->gradient].floats * sizeof(float));
  }
}

PetscErrorCode EkGraphBackward(EkGraph g)
{
  PetscFunctionBegin;
  PetscCheck(g->gradients, PETSC_COMM_SELF, PETSC_ERR_ORDER, "the graph was made without gradients");
  ClearSliced(g);
  RunSteps(g, g->nnodes, g->nsteps);
  PetscFunctionReturn(g->failed);
}

double EkGraphLoss(EkGraph g)
{
  double sum = 0;

  for (int i = 0; i < g->nnodes; i++) sum += g->node[i]->loss;
  return sum;
}

PetscErrorCode EkGraphSampleLoss(EkGraph g, const double **loss)
{
  PetscFunctionBegin;
  PetscCheck(g->planned, PETSC_COMM_SELF, PETSC_ERR_ORDER, "sample losses: the graph is not planned");
  PetscCall(PetscArrayzero(g->sample_loss, g->capacity));
  for (int i = 0; i < g->nnodes; i++) {
    for (int b = 0; b < g->batch && g->node[i]->sample_loss; b++) g->sample_loss[b] += g->node[i]->sample_loss[b];
  }
  *loss = g->sample_loss;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphGetValue(EkGraph g, EkTensor field, const float **value, size_t *step)
{
  const EkField f = EkGraphField(g, field);

  PetscFunctionBegin;
  *value = f.value;
  *step = f.step;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphGetGradient(EkGraph g, EkTensor field, const float **gradient, size_t *step)
{
  const EkField f = EkGraphField(g, field);

  PetscFunctionBegin;
  *gradient = f.gradient;
  *step = f.gradient_step;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphGetGrid(EkGraph g, EkTensor field, PetscInt *channels, EkGrid *grid)
{
  PetscFunctionBegin;
  *channels = g->tensor[field].channels;
  *grid = g->tensor[field].grid;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphDestroy(EkGraph *graph)
{
  EkGraph g = *graph;

  PetscFunctionBegin;
  if (!g) PetscFunctionReturn(0);
  for (int i = 0; i < g->nnodes; i++) {
    if (g->node[i]->op->destroy) g->node[i]->op->destroy(g->node[i]);
    PetscCall(PetscFree3(g->node[i]->input, g->node[i]->kept, g->node[i]->accumulate));
    PetscCall(PetscFree(g->node[i]->sample_loss));
    PetscCall(PetscFree(g->node[i]));
  }
  for (EkTensor t = 0; t < g->ntensors; t++) PetscCall(PetscFree(g->tensor[t].constant));
  PetscCall(EkGraphDestroyTransforms(g));
  PetscCall(PetscFree(g->node));
  PetscCall(PetscFree(g->tensor));
  PetscCall(PetscFree(g->buffer));
  PetscCall(PetscFree(g->step));
  PetscCall(PetscFree(g->memory));
  PetscCall(PetscFree(g->sample_loss));
  PetscCall(PetscFree(*graph));
  PetscFunctionReturn(0);
}
