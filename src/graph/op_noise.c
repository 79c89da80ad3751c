/* DPOT's training noise. With N the norm of a channel and D = sum dy z over the same values: dx = dy + eps D x / N. */
#include "graph_impl.h"
#include <math.h>

/* Normal values made at a time; and flops of one of them, for the profile. */
#define TILE         (16 * EK_NORMAL_GROUP)
#define NORMAL_FLOPS 20

typedef struct {
  PetscInt channels;
  double   eps;
  uint32_t stream;
} Plan;

PetscErrorCode EkGraphBindKeys(EkGraph g, const uint64_t *keys)
{
  PetscFunctionBegin;
  g->keys = keys;
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckKeys(EkGraph g)
{
  PetscFunctionBegin;
  PetscCheck(g->keys, PETSC_COMM_SELF, PETSC_ERR_ORDER, "noise: no keys are bound, EkGraphBindKeys comes before the run");
  PetscFunctionReturn(0);
}

static size_t Tile(size_t left)
{
  return left < TILE ? left : TILE;
}

/* y = x + scale z; z begins at `first` of the sample's sequence. */
static void AddPlane(uint64_t key, uint32_t stream, uint64_t first, size_t points, const float *x, float scale, float *y)
{
  float z[TILE];

  for (size_t at = 0; at < points; at += TILE) {
    const size_t n = Tile(points - at);

    EkRowNormal(key, stream, first + at, n, z);
    for (size_t i = 0; i < n; i++) y[at + i] = x[at + i] + scale * z[i];
  }
}

/* sum dy z */
static double ProductOfPlane(uint64_t key, uint32_t stream, uint64_t first, size_t points, const float *dy)
{
  double sum = 0;
  float  z[TILE];

  for (size_t at = 0; at < points; at += TILE) {
    const size_t n = Tile(points - at);

    EkRowNormal(key, stream, first + at, n, z);
    sum += EkRowProduct(n, z, 0, dy + at);
  }
  return sum;
}

static double Norm(EkGraph g, const EkNode *node, int b, PetscInt c, PetscInt channels)
{
  double squares = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (PetscInt r = c; r < x.channels; r += channels)
      squares += EkRowSquares(x.points, x.value + b * x.step + (size_t)r * x.stride, 0);
  }
  return sqrt(squares);
}

static void ChannelForward(EkGraph g, const EkNode *node, int b, PetscInt c, double norm)
{
  const Plan   *p = (const Plan *)node->plan;
  const EkField y = EkGraphField(g, node->output);
  PetscInt      before = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (PetscInt r = c; r < x.channels; r += p->channels) {
      const size_t plane = (size_t)(before + r);

      AddPlane(g->keys[b], p->stream, plane * x.points, x.points, x.value + b * x.step + (size_t)r * x.stride,
               (float)(p->eps * norm), y.value + b * y.step + plane * y.stride);
    }
    before += x.channels;
  }
}

static void NoiseForward(EkGraph g, EkNode *node)
{
  const PetscInt channels = ((const Plan *)node->plan)->channels;
  float         *saved = EkGraphSaved(g, node);

  EkGraphFail(g, CheckKeys(g));
  for (int b = 0; b < g->batch && g->keys; b++) {
    for (PetscInt c = 0; c < channels; c++) {
      const double norm = Norm(g, node, b, c, channels);

      ChannelForward(g, node, b, c, norm);
      if (saved) saved[(size_t)b * (size_t)channels + (size_t)c] = (float)norm;
    }
  }
}

static double ProductOfChannel(EkGraph g, const EkNode *node, int b, PetscInt c)
{
  const Plan   *p = (const Plan *)node->plan;
  const EkField y = EkGraphField(g, node->output);
  double        sum = 0;

  for (size_t plane = (size_t)c; plane < (size_t)y.channels; plane += (size_t)p->channels)
    sum += ProductOfPlane(g->keys[b], p->stream, plane * y.points, y.points, y.gradient + b * y.gradient_step + plane * y.stride);
  return sum;
}

static void ChannelBackward(EkGraph g, const EkNode *node, int b, PetscInt c, float slope)
{
  const Plan   *p = (const Plan *)node->plan;
  const EkField y = EkGraphField(g, node->output);
  PetscInt      before = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (PetscInt r = c; r < x.channels && g->tensor[node->input[k]].has_gradient; r += p->channels) {
      const float *dy = y.gradient + b * y.gradient_step + (size_t)(before + r) * y.stride;
      const float *value = x.value + b * x.step + (size_t)r * x.stride;
      float       *dx = x.gradient + b * x.gradient_step + (size_t)r * x.stride;

      for (size_t i = 0; i < x.points; i++) dx[i] = (node->accumulate[k] ? dx[i] : 0) + dy[i] + slope * value[i];
    }
    before += x.channels;
  }
}

static void NoiseBackward(EkGraph g, EkNode *node)
{
  const Plan  *p = (const Plan *)node->plan;
  const float *saved = EkGraphSaved(g, node);

  for (int b = 0; b < g->batch && g->keys; b++) {
    for (PetscInt c = 0; c < p->channels; c++) {
      const float norm = saved[(size_t)b * (size_t)p->channels + (size_t)c];

      /* a field of zeros gets no noise, and its norm has no slope */
      ChannelBackward(g, node, b, c, norm > 0 ? (float)(p->eps * ProductOfChannel(g, node, b, c) / norm) : 0);
    }
  }
}

static double NoiseFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *y = &g->tensor[node->output];

  (void)backward;
  return (4 + NORMAL_FLOPS) * (double)y->channels * (double)y->grid.points;
}

static void NoiseDestroy(EkNode *node)
{
  (void)PetscFree(node->plan);
}

const EkOperator EkOpNoise = {
    .member = {"noise", "normal noise of a strength relative to the norm of each channel"},
    .forward = NoiseForward,
    .backward = NoiseBackward,
    .flops = NoiseFlops,
    .destroy = NoiseDestroy,
};

PetscErrorCode EkNoise(EkGraph g, int n, const EkTensor field[], PetscInt channels, double eps, int stream, EkTensor *out)
{
  PetscInt all = 0;
  EkNode  *node;
  Plan    *p;

  PetscFunctionBegin;
  PetscCheck(n > 0 && channels > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "noise: %d fields, frames of %d channels", n,
             (int)channels);
  PetscCheck(eps >= 0 && isfinite(eps) && stream >= 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "noise: strength %g, stream %d: neither can be negative", eps, stream);
  for (int k = 0; k < n; k++) {
    PetscCall(EkGraphCheckField(g, field[k], "noise"));
    PetscCheck(g->tensor[field[k]].grid.points == g->tensor[field[0]].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "noise: fields of different shapes");
    PetscCheck(g->tensor[field[k]].channels % channels == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "noise: %d channels are not whole frames of %d", (int)g->tensor[field[k]].channels, (int)channels);
    all += g->tensor[field[k]].channels;
  }
  PetscCall(PetscNew(&p));
  *p = (Plan){channels, eps, (uint32_t)stream};
  PetscCall(EkGraphAddNode(g, &EkOpNoise, n, field, &node));
  node->plan = p;
  for (int k = 0; k < n; k++) node->kept[k] = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, all, g->tensor[field[0]].grid, out));
  if (g->tensor[*out].wants_gradient) node->saved = (size_t)channels;
  PetscFunctionReturn(0);
}
