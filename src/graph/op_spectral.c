/* Truncated spectral convolution. The kept coefficients of the input are saved (a few per cent of the field); backward needs
 * nothing else. */
#include "graph_impl.h"

static void Weights(EkGraph g, EkNode *node, const float *w[2])
{
  for (int i = 0; i < node->ninputs - 1; i++) w[i] = EkGraphWeight(g, node, 1 + i);
}

static void SpectralForward(EkGraph g, EkNode *node)
{
  const EkField           x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const EkTransformShape *s = EkTransformGetShape(node->transform);
  const size_t            in = (size_t)x.channels * s->plane, out = (size_t)y.channels * s->plane;
  const float            *w[2];
  float                  *Y = EkGraphScratch(g, node), *X = node->saved ? EkGraphSaved(g, node) : Y + (size_t)g->capacity * out;

  Weights(g, node, w);
  for (int b = 0; b < g->batch; b++)
    EkTransformAnalyse(node->transform, 0, (int)x.channels, x.value + b * x.step, x.stride, X + b * in);
  EkModesForward(s, g->batch, (int)x.channels, (int)y.channels, w, X, Y);
  for (int b = 0; b < g->batch; b++)
    EkTransformSynthesise(node->transform, 1, (int)y.channels, Y + b * out, y.value + b * y.step, y.stride, 0);
}

static void SpectralBackward(EkGraph g, EkNode *node)
{
  const EkField           x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const EkTransformShape *s = EkTransformGetShape(node->transform);
  const size_t            in = (size_t)x.channels * s->plane, out = (size_t)y.channels * s->plane;
  const float            *w[2];
  float                  *dw[2], *dY = EkGraphScratch(g, node), *dX = dY + (size_t)g->capacity * out;

  Weights(g, node, w);
  for (int i = 0; i < node->ninputs - 1; i++) dw[i] = EkGraphWeightGradient(g, node, 1 + i);
  for (int b = 0; b < g->batch; b++)
    EkTransformAnalyse(node->transform, 1, (int)y.channels, y.gradient + b * y.gradient_step, y.stride, dY + b * out);
  EkModesWeights(s, g->batch, (int)x.channels, (int)y.channels, EkGraphSaved(g, node), dY, dw);
  if (!g->tensor[node->input[0]].has_gradient) return;
  EkModesBackward(s, g->batch, (int)x.channels, (int)y.channels, w, dY, dX);
  for (int b = 0; b < g->batch; b++)
    EkTransformSynthesise(node->transform, 0, (int)x.channels, dX + b * in, x.gradient + b * x.gradient_step, x.stride,
                          node->accumulate[0]);
}

static double SpectralFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTransformShape *s = EkTransformGetShape(node->transform);
  const double            in = (double)g->tensor[node->input[0]].channels, out = (double)g->tensor[node->output].channels;
  const double            one = EkTransformFlops(node->transform), modes = 8.0 * s->segments * s->modes * in * out;

  if (!backward) return one * (in + out) + modes;
  return g->tensor[node->input[0]].has_gradient ? one * (in + out) + 2 * modes : one * out + modes;
}

const EkOperator EkOpSpectralConv = {
    .member = {"spectral_conv", "inverse transform of (weights times kept modes of the forward transform)"},
    .forward = SpectralForward,
    .backward = SpectralBackward,
    .flops = SpectralFlops,
};

PetscErrorCode EkSpectralConv(EkGraph g, EkTensor x, const char *const weights[], const PetscInt modes[],
                              EkTransformMethod method, EkTensor *out)
{
  const int      dim = g->tensor[x].grid.dim;
  EkTensor       input[3] = {x};
  EkNode        *node;
  EkTransformKey key = {.dim = dim, .method = method};
  EkTransform    transform;
  PetscInt       shape[5];
  size_t         plane;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "spectral_conv"));
  PetscCheck(dim == 1 || dim == 2, PETSC_COMM_SELF, PETSC_ERR_SUP, "spectral_conv: %d axes, 1 or 2 are possible", dim);
  for (int i = 0; i < dim; i++) PetscCall(EkGraphParam(g, weights[i], &input[1 + i]));
  shape[0] = g->tensor[x].channels;
  shape[1] = g->params->table[g->tensor[input[1]].param].shape[1];
  for (int d = 0; d < dim; d++) {
    key.n[d] = g->tensor[x].grid.n[d];
    key.modes[d] = shape[2 + d] = modes[d];
  }
  shape[2 + dim] = 2;
  for (int i = 0; i < dim; i++) PetscCall(EkGraphCheckShape(g, input[1 + i], 3 + dim, shape, "spectral_conv"));
  PetscCall(EkGraphTransform(g, &key, &transform));
  PetscCall(EkGraphAddNode(g, &EkOpSpectralConv, 1 + dim, input, &node));
  node->transform = transform;
  PetscCall(EkGraphAddField(g, node, shape[1], g->tensor[x].grid, out));
  plane = EkTransformGetShape(transform)->plane;
  node->scratch = (size_t)(shape[0] + shape[1]) * plane;
  if (g->tensor[*out].wants_gradient) node->saved = (size_t)shape[0] * plane;
  PetscFunctionReturn(0);
}
