/* Convolution and transposed convolution of blocked fields. The transposed one is the adjoint of a convolution from the large
   grid to the small one: its forward pass is that one's backward pass, and its weight (in, out, k[, k]) that one's (out, in, k[,
   k]). */
#include "graph_impl.h"

typedef struct {
  EkConvShape   shape;
  EkConvolution convolution;
  size_t        scratch; /* floats that it wants */
  PetscBool     transposed;
} Plan;

static PetscErrorCode Apply(EkGraph g, EkNode *node, EkConvPass pass, int batch, const float *from, float *to)
{
  const Plan *plan = (const Plan *)node->plan;
  const int   param = g->tensor[node->input[1]].param;

  PetscFunctionBegin;
  PetscCall(EkConvolutionApply(plan->convolution, pass, batch, EkGraphWeight(g, node, 1), g->run, &g->params->packed[param],
                               EkGraphScratch(g, node), from, to));
  PetscFunctionReturn(0);
}

/* A convolution only writes: what is added to goes by way of one sample of scratch, behind the convolution's own. */
static PetscErrorCode ApplyAndAdd(EkGraph g, EkNode *node, EkConvPass pass, const EkField *y, const EkField *x)
{
  float *one = EkGraphScratch(g, node) + ((const Plan *)node->plan)->scratch;

  PetscFunctionBegin;
  for (int b = 0; b < g->batch; b++) {
    PetscCall(Apply(g, node, pass, 1, y->gradient + b * y->gradient_step, one));
    EkBlockMoveLanes(x->gradient_step / EK_BLOCK, EK_BLOCK, one, 0, 1, x->gradient + b * x->gradient_step, 0);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode InputGradient(EkGraph g, EkNode *node, EkConvPass pass)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);

  PetscFunctionBegin;
  if (!g->tensor[node->input[0]].has_gradient) PetscFunctionReturn(0);
  if (node->accumulate[0])
    PetscCall(ApplyAndAdd(g, node, pass, &y, &x));
  else
    PetscCall(Apply(g, node, pass, g->batch, y.gradient, x.gradient));
  PetscFunctionReturn(0);
}

static PetscErrorCode WeightGradient(EkGraph g, EkNode *node)
{
  const Plan   *plan = (const Plan *)node->plan;
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  float        *dw = EkGraphWeightGradient(g, node, 1);

  PetscFunctionBegin;
  if (!dw) PetscFunctionReturn(0);
  if (plan->transposed)
    PetscCall(EkConvolutionWeights(plan->convolution, g->batch, y.gradient, x.value, EkGraphScratch(g, node), dw));
  else
    PetscCall(EkConvolutionWeights(plan->convolution, g->batch, x.value, y.gradient, EkGraphScratch(g, node), dw));
  PetscFunctionReturn(0);
}

/* The convolution's scratch, and behind it a sample of x. */
static void Settle(EkGraph g, EkNode *node)
{
  Plan *plan = (Plan *)node->plan;

  plan->scratch = EK_ROUND_UP(EkConvolutionScratch(&plan->shape, g->capacity, g->gradients), EK_BLOCK);
  node->tile = plan->scratch + (g->gradients ? EkSampleFloats(&g->tensor[node->input[0]]) : 0);
}

static double ConvFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const double one = EkConvolutionFlops(&((const Plan *)node->plan)->shape);

  return backward && g->tensor[node->input[0]].has_gradient ? 2 * one : one;
}

static void Destroy(EkNode *node)
{
  Plan *plan = (Plan *)node->plan;

  if (plan) (void)EkConvolutionDestroy(&plan->convolution);
  (void)PetscFree(node->plan);
}

/* ---- convolution -------------------------------------------------------------------------------------------- */

static void ConvForward(EkGraph g, EkNode *node)
{
  EkGraphFail(
      g, Apply(g, node, EK_CONV_FORWARD, g->batch, EkGraphField(g, node->input[0]).value, EkGraphField(g, node->output).value));
}

static void ConvBackward(EkGraph g, EkNode *node)
{
  EkGraphFail(g, WeightGradient(g, node));
  EkGraphFail(g, InputGradient(g, node, EK_CONV_DATA));
}

const EkOperator EkOpConv = {
    .member = {"conv", "convolution, zeros around, stride 1"},
    .forward = ConvForward,
    .backward = ConvBackward,
    .flops = ConvFlops,
    .destroy = Destroy,
    .settle = Settle,
};

static PetscErrorCode MakePlan(EkNode *node, const EkConvShape *shape, PetscBool transposed)
{
  Plan *plan;

  PetscFunctionBegin;
  PetscCall(PetscNew(&plan));
  node->plan = plan;
  plan->shape = *shape;
  plan->transposed = transposed;
  PetscCall(EkConvolutionCreate(shape, &plan->convolution));
  node->kept[0] = PETSC_TRUE;
  PetscFunctionReturn(0);
}

PetscErrorCode EkConv(EkGraph g, EkTensor x, const char *weight, EkTensor *out)
{
  EkTensor            input[2] = {x};
  const EkTensorInfo *w;
  EkConvShape         shape;
  EkGrid              grid;
  PetscInt            want[4];
  EkNode             *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckBlocked(g, x, "conv"));
  PetscCall(EkGraphParam(g, weight, &input[1]));
  w = &g->params->table[g->tensor[input[1]].param];
  grid = g->tensor[x].grid;
  shape = (EkConvShape){grid.dim, {grid.n[0], grid.n[1], grid.n[2]}, g->tensor[x].channels, w->shape[0], w->shape[2], 1};
  want[0] = shape.out, want[1] = shape.in, want[2] = want[3] = shape.kernel;
  PetscCall(EkGraphCheckShape(g, input[1], 2 + grid.dim, want, "conv"));
  PetscCheck(shape.kernel % 2 == 1, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "conv: the kernel of '%s' has %d points, an odd number is wanted", weight, (int)shape.kernel);
  PetscCall(EkGraphAddNode(g, &EkOpConv, 2, input, &node));
  PetscCall(MakePlan(node, &shape, PETSC_FALSE));
  PetscCall(EkGraphAddField(g, node, shape.out, grid, out));
  EkGraphMakeBlocked(g, *out);
  PetscFunctionReturn(0);
}

/* ---- transposed convolution --------------------------------------------------------------------------------- */

static void TransposeForward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  const float  *bias = EkGraphWeight(g, node, 2);

  EkGraphFail(g, Apply(g, node, EK_CONV_DATA, g->batch, EkGraphField(g, node->input[0]).value, y.value));
  for (PetscInt c = 0; c < y.channels; c += EK_BLOCK) {
    float some[EK_BLOCK] = {0};

    for (PetscInt l = 0; l < EK_BLOCK && c + l < y.channels; l++) some[l] = bias[c + l];
    for (int b = 0; b < g->batch; b++) EkBlockAddBias(y.points, some, y.value + b * y.step + (size_t)c * y.points);
  }
}

static void TransposeBackward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  float        *bias = EkGraphWeightGradient(g, node, 2);

  for (PetscInt c = 0; bias && c < y.channels; c += EK_BLOCK) {
    const int lanes = (int)(y.channels - c < EK_BLOCK ? y.channels - c : EK_BLOCK);

    for (int b = 0; b < g->batch; b++)
      EkBlockSum(y.points, lanes, y.gradient + b * y.gradient_step + (size_t)c * y.points, bias + c);
  }
  EkGraphFail(g, WeightGradient(g, node));
  EkGraphFail(g, InputGradient(g, node, EK_CONV_FORWARD));
}

const EkOperator EkOpConvTranspose = {
    .member = {"conv_transpose", "transposed convolution, doubles every axis"},
    .forward = TransposeForward,
    .backward = TransposeBackward,
    .flops = ConvFlops,
    .destroy = Destroy,
    .settle = Settle,
};

PetscErrorCode EkConvTranspose(EkGraph g, EkTensor x, const char *weight, const char *bias, EkTensor *out)
{
  EkTensor    input[3] = {x};
  EkConvShape shape;
  EkGrid      grid;
  PetscInt    n[3], want[4];
  EkNode     *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckBlocked(g, x, "conv_transpose"));
  PetscCall(EkGraphParam(g, weight, &input[1]));
  PetscCall(EkGraphParam(g, bias, &input[2]));
  grid = g->tensor[x].grid;
  for (int d = 0; d < grid.dim; d++) n[d] = 2 * grid.n[d];
  grid = EkGridMake(grid.dim, n);
  shape = (EkConvShape){
      grid.dim, {grid.n[0], grid.n[1], grid.n[2]}, g->params->table[g->tensor[input[2]].param].shape[0], g->tensor[x].channels, 2,
      2};
  want[0] = shape.out, want[1] = shape.in, want[2] = want[3] = 2;
  PetscCall(EkGraphCheckShape(g, input[1], 2 + grid.dim, want, "conv_transpose"));
  PetscCall(EkGraphAddNode(g, &EkOpConvTranspose, 3, input, &node));
  PetscCall(MakePlan(node, &shape, PETSC_TRUE));
  PetscCall(EkGraphAddField(g, node, shape.in, grid, out));
  EkGraphMakeBlocked(g, *out);
  PetscFunctionReturn(0);
}
