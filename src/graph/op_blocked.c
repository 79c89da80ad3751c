/* Operators that move values into, out of and between blocked fields. Channels are moved in runs: as many neighbours as lie in
 * one block on either side. */
#include "graph_impl.h"

static int Run(PetscInt left, PetscInt lane, PetscInt other_lane)
{
  const PetscInt most = EK_BLOCK - (lane > other_lane ? lane : other_lane);

  return (int)(left < most ? left : most);
}

static float *Block(float *sample, size_t points, PetscInt channel)
{
  return sample + (size_t)(channel / EK_BLOCK) * points * EK_BLOCK;
}

/* Lanes beyond the last channel. */
static void ClearTail(float *sample, size_t points, PetscInt channels)
{
  if (channels % EK_BLOCK) EkBlockClear(points, Block(sample, points, channels), (int)(channels % EK_BLOCK));
}

static double NoFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  (void)g, (void)node, (void)backward;
  return 0;
}

/* ---- planar to blocked and back ----------------------------------------------------------------------------- */

typedef enum { INTO_BLOCKS, OUT_OF_BLOCKS } Direction;

/* A planar field of one sample and the channels of a blocked one from `first` on. */
static void MovePlanes(Direction direction, const EkField *planar, float *planes, float *blocked, PetscInt first, int accumulate)
{
  const size_t points = planar->points;
  int          n;

  for (PetscInt c = 0; c < planar->channels; c += n) {
    const int lane = (int)((first + c) % EK_BLOCK);
    float    *block = Block(blocked, points, first + c), *plane = planes + (size_t)c * planar->stride;

    n = Run(planar->channels - c, lane, 0);
    if (direction == INTO_BLOCKS)
      EkBlockFromPlanes(points, n, plane, planar->stride, block, lane);
    else
      EkBlockToPlanes(points, n, block, lane, accumulate, plane, planar->stride);
  }
}

static void ToBlockedForward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  PetscInt      first = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch; b++) MovePlanes(INTO_BLOCKS, &x, x.value + b * x.step, y.value + b * y.step, first, 0);
    first += x.channels;
  }
  for (int b = 0; b < g->batch; b++) ClearTail(y.value + b * y.step, y.points, y.channels);
}

static void ToBlockedBackward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  PetscInt      first = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch && g->tensor[node->input[k]].has_gradient; b++) {
      MovePlanes(OUT_OF_BLOCKS, &x, x.gradient + b * x.gradient_step, y.gradient + b * y.gradient_step, first,
                 node->accumulate[k]);
    }
    first += x.channels;
  }
}

const EkOperator EkOpToBlocked = {
    .member = {"to_blocked", "planar fields, one after the other, into blocks of channels"},
    .forward = ToBlockedForward,
    .backward = ToBlockedBackward,
    .flops = NoFlops,
};

PetscErrorCode EkToBlocked(EkGraph g, int n, const EkTensor field[], EkTensor *out)
{
  EkNode  *node;
  PetscInt channels = 0;

  PetscFunctionBegin;
  for (int i = 0; i < n; i++) {
    PetscCall(EkGraphCheckField(g, field[i], "to_blocked"));
    PetscCheck(g->tensor[field[i]].grid.points == g->tensor[field[0]].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "to_blocked: fields on different grids");
    channels += g->tensor[field[i]].channels;
  }
  PetscCall(EkGraphAddNode(g, &EkOpToBlocked, n, field, &node));
  PetscCall(EkGraphAddField(g, node, channels, g->tensor[field[0]].grid, out));
  EkGraphMakeBlocked(g, *out);
  PetscFunctionReturn(0);
}

static void ToPlanarForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);

  for (int b = 0; b < g->batch; b++) MovePlanes(OUT_OF_BLOCKS, &y, y.value + b * y.step, x.value + b * x.step, 0, 0);
}

static void ToPlanarBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);

  for (int b = 0; b < g->batch; b++) {
    float *to = x.gradient + b * x.gradient_step;

    if (node->accumulate[0]) {
      float *fresh = EkGraphScratch(g, node);

      MovePlanes(INTO_BLOCKS, &y, y.gradient + b * y.gradient_step, fresh, 0, 0);
      ClearTail(fresh, x.points, x.channels);
      EkBlockMoveLanes(x.gradient_step / EK_BLOCK, EK_BLOCK, fresh, 0, 1, to, 0);
    } else {
      MovePlanes(INTO_BLOCKS, &y, y.gradient + b * y.gradient_step, to, 0, 0);
      ClearTail(to, x.points, x.channels);
    }
  }
}

const EkOperator EkOpToPlanar = {
    .member = {"to_planar", "blocks of channels into planes"},
    .forward = ToPlanarForward,
    .backward = ToPlanarBackward,
    .flops = NoFlops,
};

PetscErrorCode EkToPlanar(EkGraph g, EkTensor x, EkTensor *out)
{
  EkNode *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckBlocked(g, x, "to_planar"));
  PetscCall(EkGraphAddNode(g, &EkOpToPlanar, 1, &x, &node));
  node->tile = EkSampleFloats(&g->tensor[x]);
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, g->tensor[x].grid, out));
  PetscFunctionReturn(0);
}

/* ---- concatenation ------------------------------------------------------------------------------------------ */

/* A blocked field of one sample and the channels of another from `first` on, there or back. */
static void MoveBlocks(Direction direction, size_t points, PetscInt channels, float *part, float *whole, PetscInt first,
                       int accumulate)
{
  int n;

  for (PetscInt c = 0; c < channels; c += n) {
    const int mine = (int)(c % EK_BLOCK), other = (int)((first + c) % EK_BLOCK);
    float    *small = Block(part, points, c), *large = Block(whole, points, first + c);

    n = Run(channels - c, mine, other);
    if (direction == INTO_BLOCKS)
      EkBlockMoveLanes(points, n, small, mine, 0, large, other);
    else
      EkBlockMoveLanes(points, n, large, other, accumulate, small, mine);
  }
}

static void ConcatForward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  PetscInt      first = 0;

  for (int k = 0; k < 2; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch; b++)
      MoveBlocks(INTO_BLOCKS, y.points, x.channels, x.value + b * x.step, y.value + b * y.step, first, 0);
    first += x.channels;
  }
  for (int b = 0; b < g->batch; b++) ClearTail(y.value + b * y.step, y.points, y.channels);
}

static void ConcatBackward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  PetscInt      first = 0;

  for (int k = 0; k < 2; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch && g->tensor[node->input[k]].has_gradient; b++) {
      float *to = x.gradient + b * x.gradient_step;

      MoveBlocks(OUT_OF_BLOCKS, y.points, x.channels, to, y.gradient + b * y.gradient_step, first, node->accumulate[k]);
      if (!node->accumulate[k]) ClearTail(to, x.points, x.channels);
    }
    first += x.channels;
  }
}

const EkOperator EkOpConcatBlocked = {
    .member = {"concat_blocked", "channels of two blocked fields one after the other"},
    .forward = ConcatForward,
    .backward = ConcatBackward,
    .flops = NoFlops,
};

PetscErrorCode EkConcatBlocked(EkGraph g, EkTensor a, EkTensor b, EkTensor *out)
{
  const EkTensor input[2] = {a, b};
  EkNode        *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckBlocked(g, a, "concat_blocked"));
  PetscCall(EkGraphCheckBlocked(g, b, "concat_blocked"));
  PetscCheck(g->tensor[a].grid.points == g->tensor[b].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "concat_blocked: fields on different grids");
  PetscCall(EkGraphAddNode(g, &EkOpConcatBlocked, 2, input, &node));
  PetscCall(EkGraphAddField(g, node, g->tensor[a].channels + g->tensor[b].channels, g->tensor[a].grid, out));
  EkGraphMakeBlocked(g, *out);
  PetscFunctionReturn(0);
}
