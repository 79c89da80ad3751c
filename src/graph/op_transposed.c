/* Transposed convolution whose stride is its kernel: rows (out, kx, ky) of W^T x, a plane of the result being the p p rows of its
   channel one after the other. A few channels at a time, so that the rows of the product are still in cache when bias and
   activation move them to the planes. */
#include "graph_impl.h"
#include <string.h>

/* Rows of the product at a time, about. */
#define ROWS 256

typedef struct {
  EkField      x, out;
  int          in, channels, taps; /* p p */
  size_t       rows;               /* channels * taps: the width of the weights */
  int          strip;              /* channels at a time */
  size_t       points, ld;         /* of x; floats between the rows of the product */
  const float *weight, *bias;
  float       *slope, *product; /* saved (B, channels, out.stride); scratch (strip taps, ld) */
} Transposed;

static int StripChannels(PetscInt channels, PetscInt taps)
{
  return (int)PetscMin(PetscMax(ROWS / taps, 1), channels);
}

static void Gather(EkGraph g, EkNode *node, Transposed *t)
{
  t->x = EkGraphField(g, node->input[0]);
  t->out = EkGraphField(g, node->output);
  t->in = (int)t->x.channels;
  t->channels = (int)t->out.channels;
  t->points = t->x.points;
  t->taps = (int)(t->out.points / t->points);
  t->rows = (size_t)t->channels * (size_t)t->taps;
  t->strip = StripChannels(t->channels, t->taps);
  t->ld = t->x.stride;
  t->weight = EkGraphWeight(g, node, 1);
  t->bias = EkGraphWeight(g, node, 2);
  t->slope = EkGraphSaved(g, node);
  t->product = EkGraphScratch(g, node);
}

/* One row of the product, biased and activated, to its place in the plane. */
static void Finish(size_t n, float bias, int gelu, float *row, float *to, float *slope)
{
  for (size_t p = 0; p < n; p++) row[p] += bias;
  if (!gelu)
    memcpy(to, row, n * sizeof(float));
  else if (slope)
    EkGeluWithSlope(n, row, to, slope);
  else
    EkGelu(n, row, to);
}

static void TransposedForward(EkGraph g, EkNode *node)
{
  Transposed t;

  Gather(g, node, &t);
  for (int b = 0; b < g->batch; b++) {
    for (int c = 0; c < t.channels; c += t.strip) {
      const int n = t.channels - c < t.strip ? t.channels - c : t.strip;

      EkGemm(1, 0, n * t.taps, (int)t.points, t.in, 1, t.weight + (size_t)c * t.taps, t.rows, t.x.value + b * t.x.step,
             t.x.stride, 0, t.product, t.ld);
      for (int r = 0; r < n * t.taps; r++) {
        const size_t at = (size_t)(c + r / t.taps) * t.out.stride + (size_t)(r % t.taps) * t.points;

        Finish(t.points, t.bias[c + r / t.taps], node->gelu, t.product + (size_t)r * t.ld, t.out.value + b * t.out.step + at,
               t.slope ? t.slope + (size_t)b * t.channels * t.out.stride + at : NULL);
      }
    }
  }
}

/* Rows of dL/dz of channels [c, c + n), and their sums. */
static void PreActivation(const Transposed *t, int b, int c, int n, float *db)
{
  for (int r = 0; r < n * t->taps; r++) {
    const size_t at = (size_t)(c + r / t->taps) * t->out.stride + (size_t)(r % t->taps) * t->points;
    const float *g = t->out.gradient + b * t->out.gradient_step + at,
                *s = t->slope ? t->slope + (size_t)b * t->channels * t->out.stride + at : NULL;
    float       *dz = t->product + (size_t)r * t->ld;
    const float *row = dz;

    if (s) {
      for (size_t p = 0; p < t->points; p++) dz[p] = g[p] * s[p];
    } else
      memcpy(dz, g, t->points * sizeof(float));
    EkTileSum(1, t->points, &row, db + c + r / t->taps);
  }
}

static void TransposedBackward(EkGraph g, EkNode *node)
{
  float     *dw = EkGraphWeightGradient(g, node, 1), *db = EkGraphWeightGradient(g, node, 2);
  Transposed t;

  Gather(g, node, &t);
  for (int b = 0; b < g->batch; b++) {
    for (int c = 0; c < t.channels; c += t.strip) {
      const int    n = t.channels - c < t.strip ? t.channels - c : t.strip;
      const size_t column = (size_t)c * t.taps;

      PreActivation(&t, b, c, n, db);
      EkGemm(0, 1, t.in, n * t.taps, (int)t.points, 1, t.x.value + b * t.x.step, t.x.stride, t.product, t.ld, 1, dw + column,
             t.rows);
      if (g->tensor[node->input[0]].has_gradient) {
        EkGemm(0, 0, t.in, (int)t.points, n * t.taps, 1, t.weight + column, t.rows, t.product, t.ld, c > 0 || node->accumulate[0],
               t.x.gradient + b * t.x.gradient_step, t.x.stride);
      }
    }
  }
}

static double TransposedFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *x = &g->tensor[node->input[0]], *out = &g->tensor[node->output];
  const double         product = 2.0 * (double)x->channels * (double)out->channels * (double)out->grid.points;

  return backward ? (x->has_gradient ? 2 : 1) * product : product;
}

const EkOperator EkOpLinearTransposed = {
    .member = {"linear_transposed", "transposed convolution whose stride is its kernel, optionally through GELU"},
    .forward = TransposedForward,
    .backward = TransposedBackward,
    .flops = TransposedFlops,
};

PetscErrorCode EkLinearTransposed(EkGraph g, EkTensor x, const char *weight, const char *bias, PetscBool gelu, EkTensor *out)
{
  EkTensor            input[3] = {x};
  const EkTensorInfo *w;
  EkNode             *node;
  EkGrid              grid;
  PetscInt            shape[4], n[2];

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "linear_transposed"));
  PetscCall(EkGraphParam(g, weight, &input[1]));
  PetscCall(EkGraphParam(g, bias, &input[2]));
  grid = g->tensor[x].grid;
  PetscCheck(grid.dim == 2, PETSC_COMM_SELF, PETSC_ERR_SUP, "linear_transposed: a field of %d axes, 2 are wanted", grid.dim);
  w = &g->params->table[g->tensor[input[1]].param];
  shape[0] = g->tensor[x].channels;
  shape[1] = g->params->table[g->tensor[input[2]].param].shape[0];
  shape[2] = shape[3] = w->shape[2];
  PetscCall(EkGraphCheckShape(g, input[1], 4, shape, "linear_transposed"));
  n[0] = shape[2] * shape[3] * grid.n[0];
  n[1] = grid.n[1];
  PetscCall(EkGraphAddNode(g, &EkOpLinearTransposed, 3, input, &node));
  node->gelu = gelu;
  node->kept[0] = PETSC_TRUE;
  node->tile = (size_t)StripChannels(shape[1], shape[2] * shape[3]) * (size_t)(shape[2] * shape[3]) * grid.stride;
  PetscCall(EkGraphAddField(g, node, shape[1], EkGridMake(2, n), out));
  if (gelu && g->tensor[*out].wants_gradient) node->saved = (size_t)shape[1] * g->tensor[*out].grid.stride;
  PetscFunctionReturn(0);
}
