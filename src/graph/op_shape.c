/* Operators that move values: pad, crop, concat. */
#include "graph_impl.h"
#include <string.h>

typedef enum { COPY, COPY_BACK, ADD_BACK } Motion;

/* The rows common to a small and a large plane (zeros or nothing beyond). dim 1: one row. */
static void MovePlane(const EkGrid *small, const EkGrid *large, Motion motion, float *s, float *l)
{
  const PetscInt rows = small->dim == 1 ? 1 : small->n[0], width = small->n[small->dim - 1], wide = large->n[large->dim - 1];

  for (PetscInt r = 0; r < rows; r++, s += width, l += wide) {
    if (motion == COPY)
      memcpy(l, s, (size_t)width * sizeof(float));
    else if (motion == COPY_BACK)
      memcpy(s, l, (size_t)width * sizeof(float));
    else {
      for (PetscInt j = 0; j < width; j++) s[j] += l[j];
    }
  }
}

static void PadForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const EkGrid *small = &g->tensor[node->input[0]].grid, *large = &g->tensor[node->output].grid;

  for (int b = 0; b < g->batch; b++) {
    memset(y.value + b * y.step, 0, (size_t)y.channels * y.stride * sizeof(float));
    for (PetscInt c = 0; c < x.channels; c++)
      MovePlane(small, large, COPY, x.value + b * x.step + (size_t)c * x.stride, y.value + b * y.step + (size_t)c * y.stride);
  }
}

static void PadBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const EkGrid *small = &g->tensor[node->input[0]].grid, *large = &g->tensor[node->output].grid;
  const Motion  motion = node->accumulate[0] ? ADD_BACK : COPY_BACK;

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < x.channels; c++)
      MovePlane(small, large, motion, x.gradient + b * x.gradient_step + (size_t)c * x.stride,
                y.gradient + b * y.gradient_step + (size_t)c * y.stride);
  }
}

static void CropForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const EkGrid *large = &g->tensor[node->input[0]].grid, *small = &g->tensor[node->output].grid;

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < x.channels; c++)
      MovePlane(small, large, COPY_BACK, y.value + b * y.step + (size_t)c * y.stride,
                x.value + b * x.step + (size_t)c * x.stride);
  }
}

static void AddPlane(const EkGrid *small, const EkGrid *large, const float *s, float *l)
{
  const PetscInt rows = small->dim == 1 ? 1 : small->n[0], width = small->n[small->dim - 1], wide = large->n[large->dim - 1];

  for (PetscInt r = 0; r < rows; r++) {
    for (PetscInt j = 0; j < width; j++) l[r * wide + j] += s[r * width + j];
  }
}

static void CropBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const EkGrid *large = &g->tensor[node->input[0]].grid, *small = &g->tensor[node->output].grid;

  for (int b = 0; b < g->batch; b++) {
    if (!node->accumulate[0]) memset(x.gradient + b * x.gradient_step, 0, (size_t)x.channels * x.stride * sizeof(float));
    for (PetscInt c = 0; c < x.channels; c++)
      AddPlane(small, large, y.gradient + b * y.gradient_step + (size_t)c * y.stride,
               x.gradient + b * x.gradient_step + (size_t)c * x.stride);
  }
}

static double NoFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  (void)g, (void)node, (void)backward;
  return 0;
}

const EkOperator EkOpPad = {
    .member = {"pad", "zeros appended at the end of every axis"},
    .forward = PadForward,
    .backward = PadBackward,
    .flops = NoFlops,
};
const EkOperator EkOpCrop = {
    .member = {"crop", "the end of every axis cut off"},
    .forward = CropForward,
    .backward = CropBackward,
    .flops = NoFlops,
};

static PetscErrorCode Resize(EkGraph g, const EkOperator *op, EkTensor x, const PetscInt by[], int sign, EkTensor *out)
{
  EkNode  *node;
  PetscInt n[3];
  EkGrid   grid;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, op->member.name));
  grid = g->tensor[x].grid;
  for (int d = 0; d < grid.dim; d++) {
    n[d] = grid.n[d] + sign * by[d];
    PetscCheck(by[d] >= 0 && n[d] > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "%s: axis %d of %d points by %d",
               op->member.name, d, (int)grid.n[d], (int)by[d]);
  }
  PetscCall(EkGraphAddNode(g, op, 1, &x, &node));
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, EkGridMake(grid.dim, n), out));
  PetscFunctionReturn(0);
}

PetscErrorCode EkPad(EkGraph g, EkTensor x, const PetscInt more[], EkTensor *out)
{
  PetscFunctionBegin;
  PetscCall(Resize(g, &EkOpPad, x, more, 1, out));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCrop(EkGraph g, EkTensor x, const PetscInt less[], EkTensor *out)
{
  PetscFunctionBegin;
  PetscCall(Resize(g, &EkOpCrop, x, less, -1, out));
  PetscFunctionReturn(0);
}

static void ConcatForward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  size_t        at = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);
    const size_t  n = (size_t)x.channels * x.stride;

    for (int b = 0; b < g->batch; b++) memcpy(y.value + b * y.step + at, x.value + b * x.step, n * sizeof(float));
    at += n;
  }
}

static void ConcatBackward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  size_t        at = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);
    const size_t  n = (size_t)x.channels * x.stride;

    for (int b = 0; b < g->batch && g->tensor[node->input[k]].has_gradient; b++) {
      const float *from = y.gradient + b * y.gradient_step + at;
      float       *to = x.gradient + b * x.gradient_step;

      for (size_t i = 0; i < n; i++) to[i] = (node->accumulate[k] ? to[i] : 0) + from[i];
    }
    at += n;
  }
}

const EkOperator EkOpConcat = {
    .member = {"concat", "channels of several fields one after the other"},
    .forward = ConcatForward,
    .backward = ConcatBackward,
    .flops = NoFlops,
};

PetscErrorCode EkConcat(EkGraph g, int n, const EkTensor field[], EkTensor *out)
{
  EkNode  *node;
  PetscInt channels = 0;

  PetscFunctionBegin;
  for (int i = 0; i < n; i++) {
    PetscCall(EkGraphCheckField(g, field[i], "concat"));
    PetscCheck(g->tensor[field[i]].grid.points == g->tensor[field[0]].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "concat: fields on different grids");
    channels += g->tensor[field[i]].channels;
  }
  PetscCall(EkGraphAddNode(g, &EkOpConcat, n, field, &node));
  PetscCall(EkGraphAddField(g, node, channels, g->tensor[field[0]].grid, out));
  PetscFunctionReturn(0);
}
