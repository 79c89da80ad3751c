/* Operators of one value at a time: GELU, sum, mean squared error. */
#include "graph_impl.h"

static void GeluForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const size_t  n = (size_t)x.channels * x.stride;
  float        *slope = EkGraphSaved(g, node);

  for (int b = 0; b < g->batch; b++) {
    if (slope)
      EkGeluWithSlope(n, x.value + b * x.step, y.value + b * y.step, slope + b * n);
    else
      EkGelu(n, x.value + b * x.step, y.value + b * y.step);
  }
}

static void GeluBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const size_t  n = (size_t)x.channels * x.stride;
  const float  *slope = EkGraphSaved(g, node);

  for (int b = 0; b < g->batch; b++) {
    const float *from = y.gradient + b * y.gradient_step;
    float       *to = x.gradient + b * x.gradient_step;

    for (size_t i = 0; i < n; i++) to[i] = (node->accumulate[0] ? to[i] : 0) + from[i] * slope[b * n + i];
  }
}

static double PerValue(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *x = &g->tensor[node->input[0]];

  (void)backward;
  return (double)x->channels * (double)x->grid.points;
}

const EkOperator EkOpGelu = {
    .member = {"gelu", "x Phi(x), erf form"},
    .forward = GeluForward,
    .backward = GeluBackward,
    .flops = PerValue,
};

PetscErrorCode EkGeluField(EkGraph g, EkTensor x, EkTensor *out)
{
  EkNode *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "gelu"));
  PetscCall(EkGraphAddNode(g, &EkOpGelu, 1, &x, &node));
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, g->tensor[x].grid, out));
  if (g->tensor[*out].wants_gradient) node->saved = (size_t)g->tensor[x].channels * g->tensor[x].grid.stride;
  PetscFunctionReturn(0);
}

static void AddForward(EkGraph g, EkNode *node)
{
  const EkField a = EkGraphField(g, node->input[0]), b = EkGraphField(g, node->input[1]), y = EkGraphField(g, node->output);
  const size_t  n = (size_t)y.channels * y.stride;

  for (int s = 0; s < g->batch; s++) {
    for (size_t i = 0; i < n; i++) y.value[s * y.step + i] = a.value[s * a.step + i] + b.value[s * b.step + i];
  }
}

static void AddBackward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  const size_t  n = (size_t)y.channels * y.stride;

  for (int k = 0; k < 2; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    if (!g->tensor[node->input[k]].has_gradient) continue;
    for (int s = 0; s < g->batch; s++) {
      const float *from = y.gradient + s * y.gradient_step;
      float       *to = x.gradient + s * x.gradient_step;

      for (size_t i = 0; i < n; i++) to[i] = (node->accumulate[k] ? to[i] : 0) + from[i];
    }
  }
}

const EkOperator EkOpAdd = {
    .member = {"add", "sum of two fields"},
    .forward = AddForward,
    .backward = AddBackward,
    .flops = PerValue,
};

PetscErrorCode EkAdd(EkGraph g, EkTensor a, EkTensor b, EkTensor *out)
{
  const EkTensor input[2] = {a, b};
  EkNode        *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, a, "add"));
  PetscCall(EkGraphCheckField(g, b, "add"));
  PetscCheck(g->tensor[a].channels == g->tensor[b].channels && g->tensor[a].grid.points == g->tensor[b].grid.points,
             PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "add: fields of different shapes");
  PetscCall(EkGraphAddNode(g, &EkOpAdd, 2, input, &node));
  PetscCall(EkGraphAddField(g, node, g->tensor[a].channels, g->tensor[a].grid, out));
  PetscFunctionReturn(0);
}

static void MseForward(EkGraph g, EkNode *node)
{
  const EkField p = EkGraphField(g, node->input[0]), t = EkGraphField(g, node->input[1]);
  double        sum = 0;

  for (int b = 0; b < g->batch; b++) {
    double squares = 0;

    for (PetscInt c = 0; c < p.channels; c++) {
      const float *x = p.value + b * p.step + (size_t)c * p.stride, *y = t.value + b * t.step + (size_t)c * t.stride;

#pragma omp simd reduction(+ : squares)
      for (size_t i = 0; i < p.points; i++) squares += (double)((x[i] - y[i]) * (x[i] - y[i]));
    }
    node->sample_loss[b] = squares * g->loss_scale / ((double)p.channels * (double)p.points);
    sum += node->sample_loss[b];
  }
  node->loss = sum;
}

static void MseBackward(EkGraph g, EkNode *node)
{
  const EkField p = EkGraphField(g, node->input[0]), t = EkGraphField(g, node->input[1]);
  const float   factor = (float)(2 * g->loss_scale / ((double)p.channels * (double)p.points));

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < p.channels; c++) {
      const float *x = p.value + b * p.step + (size_t)c * p.stride, *y = t.value + b * t.step + (size_t)c * t.stride;
      float       *d = p.gradient + b * p.gradient_step + (size_t)c * p.stride;

      for (size_t i = 0; i < p.points; i++) d[i] = (node->accumulate[0] ? d[i] : 0) + factor * (x[i] - y[i]);
    }
  }
}

const EkOperator EkOpMse = {
    .member = {"mse", "mean squared error against a target, added to the loss"},
    .forward = MseForward,
    .backward = MseBackward,
    .flops = PerValue,
};

PetscErrorCode EkMseLoss(EkGraph g, EkTensor prediction, EkTensor target)
{
  const EkTensor input[2] = {prediction, target};
  EkNode        *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, prediction, "mse"));
  PetscCall(EkGraphCheckField(g, target, "mse"));
  PetscCheck(g->tensor[prediction].channels == g->tensor[target].channels &&
                 g->tensor[prediction].grid.points == g->tensor[target].grid.points,
             PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "mse: prediction and target have different shapes");
  PetscCheck(!g->tensor[target].wants_gradient, PETSC_COMM_SELF, PETSC_ERR_SUP, "mse: the target takes no gradient");
  PetscCall(EkGraphAddNode(g, &EkOpMse, 2, input, &node));
  node->kept[0] = node->kept[1] = PETSC_TRUE;
  PetscFunctionReturn(0);
}
