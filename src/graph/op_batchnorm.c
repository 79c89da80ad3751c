/* Batch normalisation and tanh in one (Ioffe and Szegedy 2015; PyTorch's BatchNorm): with gradients over batch and points of all
   ranks, without from running statistics. Backward, with z the argument of tanh, dz = dy (1 - y^2), x' = (x - mean)/deviation, N
   values a channel: dbias = sum dz, dweight = sum dz x', dx = weight/deviation (dz - dbias/N - x' dweight/N), the sums of dx over
   all ranks, those of the parameters over mine. */
#include "graph_impl.h"
#include <math.h>

#define EPSILON  1e-5
#define MOMENTUM 0.1

typedef enum { X, WEIGHT, BIAS, MEAN, VARIANCE, COUNT, INPUTS } Input;

/* channels: lanes of all blocks, those beyond the last channel included. */
typedef struct {
  size_t  channels;
  double  values;      /* N, of the last forward run */
  double *sum;         /* two sums a channel, and N: what ranks add up */
  float  *mean, *rstd; /* of the last forward run */
} Plan;

/* A channel's parameter; zero for a lane that is none. */
static double Entry(EkGraph g, const EkNode *node, Input which, size_t c)
{
  return c < (size_t)g->tensor[node->input[X]].channels ? (double)EkGraphWeight(g, node, which)[c] : 0;
}

static void GatherMoments(EkGraph g, EkNode *node, Plan *plan)
{
  const EkField x = EkGraphField(g, node->input[X]);

  PetscArrayzero(plan->sum, 2 * plan->channels);
  for (size_t c = 0; c < plan->channels; c += EK_BLOCK) {
    for (int b = 0; b < g->batch; b++)
      EkBlockMoments(x.points, x.value + b * x.step + c * x.points, plan->sum + c, plan->sum + plan->channels + c);
  }
  plan->sum[2 * plan->channels] = (double)g->batch * (double)x.points;
  EkGraphSum(g, (int)(2 * plan->channels + 1), plan->sum);
  plan->values = plan->sum[2 * plan->channels];
}

static PetscErrorCode CheckValues(EkGraph g, const EkNode *node, const Plan *plan)
{
  PetscFunctionBegin;
  PetscCheck(plan->values != 1, PETSC_COMM_SELF, PETSC_ERR_USER_INPUT,
             "train_batch: '%s' has statistics of one value, of a batch (or train_accumulate's part of one) of 1 on 1 point; a "
             "larger one is wanted",
             g->params->table[g->tensor[node->input[WEIGHT]].param].name);
  PetscFunctionReturn(0);
}

static void BatchStatistics(EkGraph g, EkNode *node, Plan *plan)
{
  float *mean = EkGraphWeight(g, node, MEAN), *variance = EkGraphWeight(g, node, VARIANCE);
  double n;

  GatherMoments(g, node, plan);
  n = plan->values;
  EkGraphFail(g, CheckValues(g, node, plan));
  for (size_t c = 0; c < plan->channels; c++) {
    const double m = plan->sum[c] / n, v = fmax(plan->sum[plan->channels + c] / n - m * m, 0);

    plan->mean[c] = (float)m;
    plan->rstd[c] = (float)(1 / sqrt(v + EPSILON));
    if (c >= (size_t)g->tensor[node->input[X]].channels) continue;
    mean[c] = (float)((1 - MOMENTUM) * (double)mean[c] + MOMENTUM * m);
    variance[c] = (float)((1 - MOMENTUM) * (double)variance[c] + MOMENTUM * v * n / (n - 1));
  }
  *EkGraphWeight(g, node, COUNT) += 1; /* exact up to 2^24 */
}

static void RunningStatistics(EkGraph g, EkNode *node, Plan *plan)
{
  for (size_t c = 0; c < plan->channels; c++) {
    plan->mean[c] = (float)Entry(g, node, MEAN, c);
    plan->rstd[c] = (float)(1 / sqrt(Entry(g, node, VARIANCE, c) + EPSILON));
  }
}

static void NormForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[X]), y = EkGraphField(g, node->output);
  Plan         *plan = (Plan *)node->plan;

  if (!g->gradients)
    RunningStatistics(g, node, plan);
  else if (g->pass == EK_FORWARD) /* run again, it has them still */
    BatchStatistics(g, node, plan);
  for (size_t c = 0; c < plan->channels; c += EK_BLOCK) {
    EkBlockNorm norm;

    for (size_t l = 0; l < EK_BLOCK; l++) {
      norm.mean[l] = plan->mean[c + l];
      norm.scale[l] = (float)(Entry(g, node, WEIGHT, c + l) * (double)plan->rstd[c + l]);
      norm.shift[l] = (float)Entry(g, node, BIAS, c + l);
    }
    for (int b = 0; b < g->batch; b++)
      EkBlockNormTanh(x.points, &norm, x.value + b * x.step + c * x.points, y.value + b * y.step + c * y.points);
  }
}

/* sum dz and sum dz (x - mean) of my samples; my part of the parameters' gradients. */
static void GatherGradients(EkGraph g, EkNode *node, Plan *plan)
{
  const EkField x = EkGraphField(g, node->input[X]), y = EkGraphField(g, node->output);
  float        *weight = EkGraphWeightGradient(g, node, WEIGHT), *bias = EkGraphWeightGradient(g, node, BIAS);

  PetscArrayzero(plan->sum, 2 * plan->channels);
  for (size_t c = 0; c < plan->channels; c += EK_BLOCK) {
    for (int b = 0; b < g->batch; b++) {
      EkBlockNormTanhSums(x.points, plan->mean + c, x.value + b * x.step + c * x.points, y.value + b * y.step + c * y.points,
                          y.gradient + b * y.gradient_step + c * y.points, plan->sum + c, plan->sum + plan->channels + c);
    }
  }
  for (size_t c = 0; c < (size_t)x.channels; c++) {
    if (bias) bias[c] += (float)plan->sum[c];
    if (weight) weight[c] += (float)(plan->sum[plan->channels + c] * (double)plan->rstd[c]);
  }
}

static void NormBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[X]), y = EkGraphField(g, node->output);
  Plan         *plan = (Plan *)node->plan;

  GatherGradients(g, node, plan);
  if (!g->tensor[node->input[X]].has_gradient) return;
  EkGraphSum(g, (int)(2 * plan->channels), plan->sum);
  for (size_t c = 0; c < plan->channels; c += EK_BLOCK) {
    EkBlockNorm norm;
    float       slope[EK_BLOCK];

    for (size_t l = 0; l < EK_BLOCK; l++) {
      const double rstd = (double)plan->rstd[c + l], scale = Entry(g, node, WEIGHT, c + l) * rstd;

      norm.mean[l] = plan->mean[c + l];
      norm.scale[l] = (float)scale;
      norm.shift[l] = (float)(-scale * plan->sum[c + l] / plan->values);
      slope[l] = (float)(-scale * rstd * rstd * plan->sum[plan->channels + c + l] / plan->values);
    }
    for (int b = 0; b < g->batch; b++) {
      EkBlockNormTanhBackward(x.points, &norm, slope, x.value + b * x.step + c * x.points, y.value + b * y.step + c * y.points,
                              y.gradient + b * y.gradient_step + c * y.points, node->accumulate[X],
                              x.gradient + b * x.gradient_step + c * x.points);
    }
  }
}

/* A value: two sums and a normalisation, tanh counted as ten; backward as much. */
static double NormFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  return (backward ? 14.0 : 16.0) * (double)g->tensor[node->input[X]].channels * (double)g->tensor[node->input[X]].grid.points;
}

static void NormDestroy(EkNode *node)
{
  Plan *plan = (Plan *)node->plan;

  if (plan) (void)PetscFree3(plan->sum, plan->mean, plan->rstd);
  (void)PetscFree(node->plan);
}

const EkOperator EkOpBatchNormTanh = {
    .member = {"batchnorm_tanh", "tanh of the field normalised over the global batch"},
    .forward = NormForward,
    .backward = NormBackward,
    .flops = NormFlops,
    .destroy = NormDestroy,
    .coupled = PETSC_TRUE,
};

PetscErrorCode EkBatchNormTanh(EkGraph g, EkTensor x, const char *module, EkTensor *out)
{
  static const char *const suffix[INPUTS] = {NULL, "weight", "bias", "running_mean", "running_var", "num_batches_tracked"};
  EkTensor                 input[INPUTS] = {x};
  EkNode                  *node;
  Plan                    *plan;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckBlocked(g, x, "batchnorm_tanh"));
  for (int i = WEIGHT; i < INPUTS; i++) {
    char name[EK_NAME];

    PetscCall(PetscSNPrintf(name, sizeof(name), "%s.%s", module, suffix[i]));
    PetscCall(EkGraphParam(g, name, &input[i]));
    PetscCall(EkGraphCheckShape(g, input[i], i == COUNT ? 0 : 1, &g->tensor[x].channels, "batchnorm_tanh"));
  }
  PetscCall(EkGraphAddNode(g, &EkOpBatchNormTanh, INPUTS, input, &node));
  PetscCall(PetscNew(&plan));
  node->plan = plan;
  plan->channels = EK_BLOCKED_CHANNELS(g->tensor[x].channels);
  PetscCall(PetscMalloc3(2 * plan->channels + 1, &plan->sum, plan->channels, &plan->mean, plan->channels, &plan->rstd));
  EkGraphHold(g, (2 * plan->channels + 1) * sizeof(*plan->sum) + plan->channels * (sizeof(*plan->mean) + sizeof(*plan->rstd)));
  node->kept[X] = PETSC_TRUE;
  node->keeps_output = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, g->tensor[x].grid, out));
  EkGraphMakeBlocked(g, *out);
  PetscFunctionReturn(0);
}
