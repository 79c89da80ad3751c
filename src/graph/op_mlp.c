/* fc2(GELU(fc1 x)): the hidden layer (128 channels in FNO, six times the field) exists for one tile of columns only, in forward
 * and again in backward. */
#include "graph_impl.h"

#define MAX_CHANNELS 512
#define TILE         128

typedef struct {
  EkField      x, out;
  int          in, hidden, channels;
  size_t       columns;
  const float *w1, *b1, *w2, *b2;
  float       *h, *slope, *dh; /* hidden x TILE each */
} Mlp;

static void Gather(EkGraph g, EkNode *node, Mlp *m)
{
  m->x = EkGraphField(g, node->input[0]);
  m->out = EkGraphField(g, node->output);
  m->in = (int)m->x.channels;
  m->channels = (int)m->out.channels;
  m->hidden = (int)g->params->table[g->tensor[node->input[2]].param].count;
  m->columns = EK_ROUND_UP(m->out.points, EK_WIDE);
  m->w1 = EkGraphWeight(g, node, 1);
  m->b1 = EkGraphWeight(g, node, 2);
  m->w2 = EkGraphWeight(g, node, 3);
  m->b2 = EkGraphWeight(g, node, 4);
  m->h = EkGraphScratch(g, node);
  m->slope = m->h + (size_t)m->hidden * TILE;
  m->dh = m->slope + (size_t)m->hidden * TILE;
}

/* Pre-activation of the hidden layer for n columns. */
static void Hidden(const Mlp *m, int b, size_t at, size_t n, const float **x, float **h)
{
  EkPlanes(x, m->x.value + b * m->x.step + at, m->x.stride, m->in);
  EkPlanes((const float **)h, m->h, TILE, m->hidden);
  EkTileMultiply(m->hidden, m->in, n, m->w1, (size_t)m->in, 1, x, NULL, m->b1, h);
}

static void MlpForward(EkGraph g, EkNode *node)
{
  const float *x[MAX_CHANNELS];
  float       *h[MAX_CHANNELS], *out[MAX_CHANNELS];
  Mlp          m;

  Gather(g, node, &m);
  for (int b = 0; b < g->batch; b++) {
    for (size_t at = 0; at < m.columns; at += TILE) {
      const size_t n = m.columns - at < TILE ? m.columns - at : TILE;

      Hidden(&m, b, at, n, x, h);
      if (n == TILE)
        EkGelu((size_t)m.hidden * TILE, m.h, m.h);
      else {
        for (int c = 0; c < m.hidden; c++) EkGelu(n, h[c], h[c]);
      }
      EkPlanes((const float **)out, m.out.value + b * m.out.step + at, m.out.stride, m.channels);
      EkTileMultiply(m.channels, m.hidden, n, m.w2, (size_t)m.hidden, 1, (const float *const *)h, NULL, m.b2, out);
    }
  }
}

static void MlpBackward(EkGraph g, EkNode *node)
{
  const PetscBool wants_dx = g->tensor[node->input[0]].has_gradient;
  const float    *x[MAX_CHANNELS], *dy[MAX_CHANNELS];
  float          *h[MAX_CHANNELS], *dh[MAX_CHANNELS], *dx[MAX_CHANNELS],
      *dw1 = EkGraphWeightGradient(g, node, 1), *db1 = EkGraphWeightGradient(g, node, 2),
      *dw2 = EkGraphWeightGradient(g, node, 3), *db2 = EkGraphWeightGradient(g, node, 4);
  Mlp m;

  Gather(g, node, &m);
  EkPlanes((const float **)dh, m.dh, TILE, m.hidden);
  for (int b = 0; b < g->batch; b++) {
    for (size_t at = 0; at < m.columns; at += TILE) {
      const size_t n = m.columns - at < TILE ? m.columns - at : TILE, real = m.out.points - at < n ? m.out.points - at : n;

      Hidden(&m, b, at, n, x, h);
      EkGeluWithSlope((size_t)m.hidden * TILE, m.h, m.h, m.slope); /* columns beyond n are computed and not used */
      EkPlanes(dy, m.out.gradient + b * m.out.gradient_step + at, m.out.stride, m.channels);
      EkTileSum(m.channels, real, dy, db2);
      EkTileOuter(m.channels, m.hidden, real, dy, (const float *const *)h, dw2, (size_t)m.hidden, 1);
      EkTileMultiply(m.hidden, m.channels, n, m.w2, 1, (size_t)m.hidden, dy, NULL, NULL, dh);
      for (size_t i = 0; i < (size_t)m.hidden * TILE; i++) m.dh[i] *= m.slope[i];
      EkTileSum(m.hidden, real, (const float *const *)dh, db1);
      EkTileOuter(m.hidden, m.in, real, (const float *const *)dh, x, dw1, (size_t)m.in, 1);
      if (!wants_dx) continue;
      EkPlanes((const float **)dx, m.x.gradient + b * m.x.gradient_step + at, m.x.stride, m.in);
      EkTileMultiply(m.in, m.hidden, n, m.w1, 1, (size_t)m.in, (const float *const *)dh,
                     node->accumulate[0] ? (const float *const *)dx : NULL, NULL, dx);
    }
  }
}

static double MlpFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *x = &g->tensor[node->input[0]], *out = &g->tensor[node->output];
  const double         hidden = (double)g->params->table[g->tensor[node->input[2]].param].count,
               points = 2.0 * (double)x->grid.points * hidden;

  if (!backward) return points * (double)(x->channels + out->channels);
  return points * ((double)x->channels * (x->has_gradient ? 3 : 2) + 2.0 * (double)out->channels);
}

const EkOperator EkOpLinearGeluLinear = {
    .member = {"linear_gelu_linear", "W2 GELU(W1 x + b1) + b2, the hidden layer never stored"},
    .forward = MlpForward,
    .backward = MlpBackward,
    .flops = MlpFlops,
};

PetscErrorCode EkLinearGeluLinear(EkGraph g, EkTensor x, const char *weight1, const char *bias1, const char *weight2,
                                  const char *bias2, EkTensor *out)
{
  EkTensor input[5] = {x};
  EkNode  *node;
  PetscInt shape1[2], shape2[2];

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "linear_gelu_linear"));
  PetscCall(EkGraphParam(g, weight1, &input[1]));
  PetscCall(EkGraphParam(g, bias1, &input[2]));
  PetscCall(EkGraphParam(g, weight2, &input[3]));
  PetscCall(EkGraphParam(g, bias2, &input[4]));
  shape1[0] = shape2[1] = g->params->table[g->tensor[input[2]].param].shape[0];
  shape1[1] = g->tensor[x].channels;
  shape2[0] = g->params->table[g->tensor[input[4]].param].shape[0];
  PetscCall(EkGraphCheckShape(g, input[1], 2, shape1, "linear_gelu_linear"));
  PetscCall(EkGraphCheckShape(g, input[3], 2, shape2, "linear_gelu_linear"));
  PetscCheck(shape1[0] <= MAX_CHANNELS && shape1[1] <= MAX_CHANNELS && shape2[0] <= MAX_CHANNELS, PETSC_COMM_SELF,
             PETSC_ERR_ARG_OUTOFRANGE, "linear_gelu_linear: at most %d channels are possible", MAX_CHANNELS);
  PetscCall(EkGraphAddNode(g, &EkOpLinearGeluLinear, 5, input, &node));
  node->kept[0] = PETSC_TRUE;
  node->tile = 3 * (size_t)shape1[0] * TILE;
  PetscCall(EkGraphAddField(g, node, shape2[0], g->tensor[x].grid, out));
  PetscFunctionReturn(0);
}
