/* GroupNorm (Wu & He 2018). Channels of a group lie one after the other; mean and 1/deviation of each group are saved. */
#include "graph_impl.h"
#include <math.h>

#define EPSILON 1e-5

typedef struct {
  EkField      x, y;
  PetscInt     groups, each; /* channels of a group */
  double       count;        /* values of a group */
  const float *weight, *bias;
  float       *saved; /* (B, groups, 2): mean, 1/deviation; or NULL */
} GroupNorm;

static GroupNorm GroupNormOf(EkGraph g, EkNode *node)
{
  GroupNorm n = {.x = EkGraphField(g, node->input[0]), .y = EkGraphField(g, node->output), .groups = node->group};

  n.each = n.x.channels / n.groups;
  n.count = (double)n.each * (double)n.x.points;
  n.weight = EkGraphWeight(g, node, 1);
  n.bias = EkGraphWeight(g, node, 2);
  n.saved = EkGraphSaved(g, node);
  return n;
}

static void Statistics(const GroupNorm *n, const float *x, float statistic[2])
{
  double sum = 0, squares = 0;

  for (PetscInt c = 0; c < n->each; c++) sum += EkRowSum(n->x.points, x + (size_t)c * n->x.stride);
  statistic[0] = (float)(sum / n->count);
  for (PetscInt c = 0; c < n->each; c++) squares += EkRowSquares(n->x.points, x + (size_t)c * n->x.stride, statistic[0]);
  statistic[1] = (float)(1 / sqrt(squares / n->count + EPSILON));
}

static void GroupNormForward(EkGraph g, EkNode *node)
{
  const GroupNorm n = GroupNormOf(g, node);

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt k = 0; k < n.groups; k++) {
      const size_t first = (size_t)(k * n.each);
      const float *x = n.x.value + b * n.x.step + first * n.x.stride;
      float       *y = n.y.value + b * n.y.step + first * n.y.stride, here[2],
            *statistic = n.saved ? n.saved + 2 * ((size_t)b * n.groups + k) : here;

      Statistics(&n, x, statistic);
      for (size_t c = 0; c < (size_t)n.each; c++, x += n.x.stride, y += n.y.stride) {
        const float slope = n.weight[first + c] * statistic[1], mean = statistic[0], bias = n.bias[first + c];

        for (size_t i = 0; i < n.x.points; i++) y[i] = (x[i] - mean) * slope + bias;
      }
    }
  }
}

/* Of one channel: sum of the gradient, and of its product with the normalised value. */
static void ChannelSums(size_t points, const float *g, const float *x, const float statistic[2], double *sum, double *product)
{
  double s = 0, p = 0;

#pragma omp simd reduction(+ : s, p)
  for (size_t i = 0; i < points; i++) {
    s += (double)g[i];
    p += (double)(g[i] * (x[i] - statistic[0]));
  }
  *sum = s;
  *product = p * statistic[1];
}

/* dx = r (w g - mean(w g) - xhat mean(w g xhat)) with r = 1/deviation, over the group. */
static void GroupGradient(const GroupNorm *n, const float *dy, const float *x, const float statistic[2], size_t first,
                          double means[2], PetscBool add, float *dx)
{
  const float r = statistic[1], constant = -r * (float)means[0], curve = -r * r * (float)means[1], mean = statistic[0];

  for (PetscInt c = 0; c < n->each; c++, dy += n->y.stride, x += n->x.stride, dx += n->x.stride) {
    const float slope = r * n->weight[first + (size_t)c];

    if (add) {
      for (size_t i = 0; i < n->x.points; i++) dx[i] += slope * dy[i] + curve * (x[i] - mean) + constant;
    } else {
      for (size_t i = 0; i < n->x.points; i++) dx[i] = slope * dy[i] + curve * (x[i] - mean) + constant;
    }
  }
}

static void GroupNormBackward(EkGraph g, EkNode *node)
{
  const GroupNorm n = GroupNormOf(g, node);
  float          *dw = EkGraphWeightGradient(g, node, 1), *db = EkGraphWeightGradient(g, node, 2);

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt k = 0; k < n.groups; k++) {
      const size_t first = (size_t)(k * n.each);
      const float *x = n.x.value + b * n.x.step + first * n.x.stride,
                  *dy = n.y.gradient + b * n.y.gradient_step + first * n.y.stride;
      const float *statistic = n.saved + 2 * ((size_t)b * n.groups + k);
      double       means[2] = {0, 0}, sum, product;

      for (size_t c = 0; c < (size_t)n.each; c++) {
        ChannelSums(n.x.points, dy + c * n.y.stride, x + c * n.x.stride, statistic, &sum, &product);
        db[first + c] += (float)sum;
        dw[first + c] += (float)product;
        means[0] += n.weight[first + c] * sum / n.count;
        means[1] += n.weight[first + c] * product / n.count;
      }
      if (!g->tensor[node->input[0]].has_gradient) continue;
      GroupGradient(&n, dy, x, statistic, first, means, node->accumulate[0],
                    n.x.gradient + b * n.x.gradient_step + first * n.x.stride);
    }
  }
}

static double GroupNormFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *x = &g->tensor[node->input[0]];

  return (backward ? 10.0 : 7.0) * (double)x->channels * (double)x->grid.points;
}

const EkOperator EkOpGroupNorm = {
    .member = {"group_norm", "groups of channels to mean 0 and variance 1, then weight and bias a channel"},
    .forward = GroupNormForward,
    .backward = GroupNormBackward,
    .flops = GroupNormFlops,
};

PetscErrorCode EkGroupNorm(EkGraph g, EkTensor x, PetscInt groups, const char *weight, const char *bias, EkTensor *out)
{
  EkTensor input[3] = {x};
  EkNode  *node;
  PetscInt channels;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "group_norm"));
  channels = g->tensor[x].channels;
  PetscCheck(groups > 0 && channels % groups == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "group_norm: %d channels do not make %d groups", (int)channels, (int)groups);
  PetscCall(EkGraphParam(g, weight, &input[1]));
  PetscCall(EkGraphParam(g, bias, &input[2]));
  for (int k = 1; k < 3; k++) PetscCall(EkGraphCheckShape(g, input[k], 1, &channels, "group_norm"));
  PetscCall(EkGraphAddNode(g, &EkOpGroupNorm, 3, input, &node));
  node->group = groups;
  node->kept[0] = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, channels, g->tensor[x].grid, out));
  if (g->tensor[*out].wants_gradient) node->saved = 2 * (size_t)groups;
  PetscFunctionReturn(0);
}
