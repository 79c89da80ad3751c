/* ranks: 1 */
#include "graph_support.h"
#include "../src/graph/graph_impl.h"

/* An example builds one node (or a few) between the inputs and a loss. Every row of the operator table must have at least one. */
typedef struct {
  EkGraph   graph;
  EkParams  params;
  EkTensor  input[3]; /* each wants a gradient */
  int       ninputs;
  EkTensor  target, result;
  PetscBool many; /* points of a blocked field */
} Example;

static const PetscInt square[2] = {9, 7}, line[1] = {21}, by[2] = {2, 3};

/* Grids of blocked fields: few points, where convolutions are matrix products, and as many as the other codes have them, halved too. */
static EkGrid even(PetscBool many, int dim)
{
  static const PetscInt grid[2][2][2] = {{{12}, {4, 4}}, {{160}, {24, 12}}};

  return EkGridMake(dim, grid[many][dim - 1]);
}

static void field(Example *e, PetscInt channels, int dim)
{
  EK_OK(EkGraphInput(e->graph, channels, EkGridMake(dim, dim == 2 ? square : line), PETSC_TRUE, &e->input[e->ninputs++]));
}

static void linear(Example *e)
{
  field(e, 3, 2), field(e, 4, 2);
  EK_OK(EkLinear(e->graph, 2, e->input, "a.weight", "a.bias", EK_NONE, PETSC_FALSE, &e->result));
}
static void linear_gelu_addend(Example *e)
{
  field(e, 4, 2), field(e, 3, 2), field(e, 5, 2);
  EK_OK(EkLinear(e->graph, 2, e->input, "a.weight", "a.bias", e->input[2], PETSC_TRUE, &e->result));
}
static void linear_of_slices(Example *e)
{
  EkTensor part[2];

  field(e, 9, 1);
  EK_OK(EkGraphSlice(e->graph, e->input[0], 1, 4, &part[0]));
  EK_OK(EkGraphSlice(e->graph, e->input[0], 3, 3, &part[1])); /* overlaps the first */
  EK_OK(EkLinear(e->graph, 2, part, "a.weight", "a.bias", EK_NONE, PETSC_TRUE, &e->result));
}
static void linear_by_blas(Example *e)
{
  field(e, 20, 2), field(e, 27, 2), field(e, 50, 2);
  EK_OK(EkLinear(e->graph, 2, e->input, "large.weight", "large.bias", e->input[2], PETSC_TRUE, &e->result));
  EK_OK(EkLinear(e->graph, 2, e->input, "large.weight", "large.bias", e->result, PETSC_FALSE, &e->result));
}
static void linear_gelu_linear(Example *e)
{
  field(e, 3, 2);
  EK_OK(EkLinearGeluLinear(e->graph, e->input[0], "b.weight", "b.bias", "c.weight", "c.bias", &e->result));
}
static void spectral_2d(Example *e)
{
  const char *const weights[2] = {"s.weights1", "s.weights2"};
  const PetscInt    modes[2]   = {3, 3};

  field(e, 3, 2);
  EK_OK(EkSpectralConv(e->graph, e->input[0], weights, modes, EK_TRANSFORM_GEMM, &e->result));
}
static void spectral_2d_fft(Example *e)
{
  const char *const weights[2] = {"s.weights1", "s.weights2"};
  const PetscInt    modes[2]   = {3, 3};

  field(e, 3, 2);
  EK_OK(EkSpectralConv(e->graph, e->input[0], weights, modes, EK_TRANSFORM_FFT, &e->result));
}
static void spectral_1d(Example *e)
{
  const char *const weights[1] = {"t.weights1"};
  const PetscInt    modes[1]   = {4};

  field(e, 3, 1);
  EK_OK(EkSpectralConv(e->graph, e->input[0], weights, modes, EK_TRANSFORM_GEMM, &e->result));
}
static void gelu(Example *e)
{
  field(e, 2, 2);
  EK_OK(EkGeluField(e->graph, e->input[0], &e->result));
}
static void add(Example *e)
{
  field(e, 2, 2), field(e, 2, 2);
  EK_OK(EkAdd(e->graph, e->input[0], e->input[1], &e->result));
  EK_OK(EkAdd(e->graph, e->result, e->input[1], &e->result)); /* a gradient from two consumers */
}
static void pad(Example *e)
{
  field(e, 2, 2);
  EK_OK(EkPad(e->graph, e->input[0], by, &e->result));
}
static void crop(Example *e)
{
  field(e, 2, 2);
  EK_OK(EkCrop(e->graph, e->input[0], by, &e->result));
}
static void crop_and_pad_share_an_input(Example *e)
{
  EkTensor other;

  field(e, 3, 1);
  EK_OK(EkCrop(e->graph, e->input[0], by, &other));
  EK_OK(EkPad(e->graph, other, by, &other));
  EK_OK(EkAdd(e->graph, other, e->input[0], &e->result));
}
static void concat(Example *e)
{
  field(e, 2, 2), field(e, 3, 2);
  EK_OK(EkConcat(e->graph, 2, e->input, &e->result));
}
/* A blocked field on an even grid, made of two inputs of 2 and channels - 2 channels. */
static EkTensor blocked(Example *e, PetscInt channels, int dim)
{
  const EkGrid grid = even(e->many, dim);
  EkTensor     out;

  EK_OK(EkGraphInput(e->graph, 2, grid, PETSC_TRUE, &e->input[e->ninputs++]));
  EK_OK(EkGraphInput(e->graph, channels - 2, grid, PETSC_TRUE, &e->input[e->ninputs++]));
  EK_OK(EkToBlocked(e->graph, 2, &e->input[e->ninputs - 2], &out));
  return out;
}
static void to_blocked_and_back(Example *e)
{
  EkTensor x = blocked(e, EK_BLOCK + 3, 2), y;

  EK_OK(EkToPlanar(e->graph, x, &y));
  EK_OK(EkToPlanar(e->graph, x, &x)); /* a second gradient for x */
  EK_OK(EkAdd(e->graph, x, y, &e->result));
}
static void conv_2d(Example *e)
{
  EkTensor x = blocked(e, 5, 2);

  EK_OK(EkConv(e->graph, x, "conv2.weight", &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void conv_1d(Example *e)
{
  EkTensor x = blocked(e, 5, 1);

  EK_OK(EkConv(e->graph, x, "wide1.weight", &x));
  EK_OK(EkConv(e->graph, x, "conv1.weight", &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void conv_weight_used_three_times(Example *e)
{
  EkTensor x = blocked(e, 5, 2), y, z;

  EK_OK(EkConv(e->graph, x, "same2.weight", &y));
  EK_OK(EkConv(e->graph, y, "same2.weight", &z));
  EK_OK(EkConv(e->graph, y, "same2.weight", &y)); /* a second gradient for y */
  EK_OK(EkConcatBlocked(e->graph, y, z, &z));
  EK_OK(EkToPlanar(e->graph, z, &e->result));
}
static void conv_of_one_point(Example *e)
{
  EkTensor x = blocked(e, 18, 2);

  EK_OK(EkConv(e->graph, x, "point2.weight", &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void conv_transpose_2d(Example *e)
{
  EkTensor x = blocked(e, 18, 2), y;

  EK_OK(EkConvTranspose(e->graph, x, "up2.weight", "up2.bias", &y));
  EK_OK(EkConvTranspose(e->graph, x, "up2.weight", "up2.bias", &x)); /* a second gradient for x */
  EK_OK(EkConcatBlocked(e->graph, x, y, &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void conv_transpose_1d(Example *e)
{
  EkTensor x = blocked(e, 18, 1);

  EK_OK(EkConvTranspose(e->graph, x, "up1.weight", "up1.bias", &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void batchnorm_tanh_2d(Example *e)
{
  EkTensor x = blocked(e, 18, 2);

  EK_OK(EkBatchNormTanh(e->graph, x, "norm", &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void batchnorm_tanh_twice(Example *e)
{
  EkTensor x = blocked(e, 18, 1), y, z;

  EK_OK(EkBatchNormTanh(e->graph, x, "norm", &y));
  EK_OK(EkConcatBlocked(e->graph, y, x, &z)); /* a second gradient for x */
  EK_OK(EkToPlanar(e->graph, z, &e->result));
}
/* Differences know nothing of a maximum that moves: neighbours are kept apart by a constant, another of them the largest in every window. */
static EkTensor apart(Example *e, PetscInt channels, int dim)
{
  const EkGrid grid    = even(e->many, dim);
  float       *pattern = calloc((size_t)channels * grid.stride, sizeof(float));
  EkTensor     out, constant;

  for (PetscInt c = 0; c < channels; c++) {
    for (PetscInt i = 0; i < grid.n[0]; i++) {
      for (PetscInt j = 0; j < grid.n[1]; j++) pattern[(size_t)c * grid.stride + (size_t)(i * grid.n[1] + j)] = 3 * (float)((2 * (i % 2) + j % 2 + i / 2 + 3 * (j / 2) + c) % 4);
    }
  }
  EK_OK(EkGraphInput(e->graph, channels, grid, PETSC_TRUE, &e->input[e->ninputs++]));
  EK_OK(EkGraphConstant(e->graph, channels, grid, pattern, &constant));
  EK_OK(EkAdd(e->graph, e->input[e->ninputs - 1], constant, &out));
  EK_OK(EkToBlocked(e->graph, 1, &out, &out));
  free(pattern);
  return out;
}
static void max_pool_2d(Example *e)
{
  EkTensor x = apart(e, 18, 2), y;

  EK_OK(EkMaxPool(e->graph, x, &y));
  EK_OK(EkConvTranspose(e->graph, y, "up2.weight", "up2.bias", &y));
  EK_OK(EkConcatBlocked(e->graph, y, x, &x)); /* a second gradient for x */
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void max_pool_1d(Example *e)
{
  EkTensor x = apart(e, 5, 1);

  EK_OK(EkMaxPool(e->graph, x, &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void concat_whole_blocks(Example *e)
{
  EkTensor x = blocked(e, EK_BLOCK, 1), y;

  EK_OK(EkToBlocked(e->graph, 1, &e->input[1], &y));
  EK_OK(EkConcatBlocked(e->graph, x, y, &x));
  EK_OK(EkConcatBlocked(e->graph, x, x, &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void concat_parts_of_blocks(Example *e)
{
  EkTensor x = blocked(e, EK_BLOCK + 3, 2), y;

  EK_OK(EkToBlocked(e->graph, 1, &e->input[1], &y));
  EK_OK(EkConcatBlocked(e->graph, y, x, &x));
  EK_OK(EkToPlanar(e->graph, x, &e->result));
}
static void grid_field(Example *e, PetscInt channels, PetscInt x, PetscInt y)
{
  EK_OK(EkGraphInput(e->graph, channels, EkGridMake(2, (const PetscInt[2]){x, y}), PETSC_TRUE, &e->input[e->ninputs++]));
}
static void linear_transposed(Example *e)
{
  EkTensor other;

  grid_field(e, 6, 5, 4);
  EK_OK(EkLinearTransposed(e->graph, e->input[0], "up.weight", "up.bias", PETSC_TRUE, &other));
  EK_OK(EkLinearTransposed(e->graph, e->input[0], "up.weight", "up.bias", PETSC_FALSE, &e->result));
  EK_OK(EkAdd(e->graph, other, e->result, &e->result));
}
static void linear_transposed_in_strips(Example *e)
{
  grid_field(e, 4, 5, 4);
  EK_OK(EkLinearTransposed(e->graph, e->input[0], "wide.weight", "wide.bias", PETSC_TRUE, &e->result)); /* 4 channels at a time, then 2 */
}
static void patch(Example *e)
{
  EkTensor list[4], first;

  grid_field(e, 2, 6, 9), grid_field(e, 1, 6, 9), grid_field(e, 2, 6, 9);
  list[0] = e->input[0], list[1] = list[3] = e->input[1], list[2] = e->input[2]; /* the second field in both lists */
  EK_OK(EkPatch(e->graph, 2, 2, list, 3, &e->result));
  EK_OK(EkPatch(e->graph, 2, 2, list, 3, &first));
  EK_OK(EkAdd(e->graph, first, e->result, &e->result));
}
static void unpatch(Example *e)
{
  EkTensor other;

  grid_field(e, 2, 4 * 3, 5);
  EK_OK(EkUnpatch(e->graph, e->input[0], 2, &e->result));
  EK_OK(EkUnpatch(e->graph, e->input[0], 2, &other));
  EK_OK(EkAdd(e->graph, other, e->result, &e->result));
}
static void group_norm(Example *e)
{
  grid_field(e, 6, 5, 4);
  EK_OK(EkGroupNorm(e->graph, e->input[0], 3, "group.weight", "group.bias", &e->result));
  EK_OK(EkAdd(e->graph, e->result, e->input[0], &e->result));
}
static void afno(Example *e)
{
  grid_field(e, 6, 5, 4);
  EK_OK(EkAfno(e->graph, e->input[0], 32, "afno.w1", "afno.b1", "afno.w2", "afno.b2", &e->result));
  EK_OK(EkAdd(e->graph, e->result, e->input[0], &e->result));
}
static void afno_few_modes(Example *e)
{
  grid_field(e, 6, 6, 7);
  EK_OK(EkAfno(e->graph, e->input[0], 3, "afno.w1", "afno.b1", "afno.w2", "afno.b2", &e->result));
  EK_OK(EkAfno(e->graph, e->result, 3, "afno.w1", "afno.b1", "afno.w2", "afno.b2", &e->result)); /* weights used twice */
}
static void time_aggregate(Example *e)
{
  grid_field(e, 4, 3 * 5, 4);
  EK_OK(EkTimeAggregate(e->graph, e->input[0], "embed.weight", "embed.bias", "position", "time.w", "time.gamma", &e->result));
}
static void time_aggregate_twice(Example *e)
{
  EkTensor first;

  grid_field(e, 4, 3 * 5, 4);
  EK_OK(EkTimeAggregate(e->graph, e->input[0], "embed.weight", "embed.bias", "position", "time.w", NULL, &first));
  EK_OK(EkTimeAggregate(e->graph, e->input[0], "embed.weight", "embed.bias", "position", "time.w", "time.gamma", &e->result));
  EK_OK(EkAdd(e->graph, first, e->result, &e->result));
}
static void time_aggregate_steps(Example *e)
{
  EkTensor other;

  grid_field(e, 4, 3 * 5, 4), grid_field(e, 4, 3 * 5, 4);
  for (int i = 0; i < 2; i++) /* both by the same products of weights */
    EK_OK(EkTimeAggregate(e->graph, e->input[i], "embed.weight", "embed.bias", "position", "time.w", "time.gamma", i ? &e->result : &other));
  EK_OK(EkGeluField(e->graph, other, &other));
  EK_OK(EkAdd(e->graph, other, e->result, &e->result));
}
static void moments(Example *e)
{
  field(e, 4, 2), field(e, 2, 2);
  EK_OK(EkMoments(e->graph, 2, e->input, 2, &e->result));
}
/* Two frames of two channels; the moments depend on the field too. */
static void scale_shift(Example *e)
{
  EkTensor both, mean, deviation;

  field(e, 4, 2), field(e, 2, 2);
  EK_OK(EkMoments(e->graph, 1, e->input, 2, &both));
  EK_OK(EkGraphSlice(e->graph, both, 0, 2, &mean));
  EK_OK(EkGraphSlice(e->graph, both, 2, 2, &deviation));
  EK_OK(EkScaleShift(e->graph, e->input[0], deviation, mean, PETSC_TRUE, &both));
  EK_OK(EkScaleShift(e->graph, e->input[1], deviation, mean, PETSC_FALSE, &e->result));
  EK_OK(EkConcat(e->graph, 2, (const EkTensor[2]){both, e->result}, &e->result));
}
static void mean(Example *e)
{
  EkTensor other;

  field(e, 3, 2);
  EK_OK(EkMean(e->graph, e->input[0], &other));
  EK_OK(EkMean(e->graph, e->input[0], &e->result));
  EK_OK(EkAdd(e->graph, other, e->result, &e->result));
}
/* A constant field of random numbers. */
static EkTensor other_field(Example *e, PetscInt channels, float least, float most)
{
  const EkGrid grid   = EkGridMake(2, square);
  EkRandom     stream = EkRandomStream(4, EK_RANDOM_TEST, 7);
  float       *value  = malloc((size_t)channels * grid.stride * sizeof(float));
  EkTensor     out;

  for (size_t i = 0; i < (size_t)channels * grid.stride; i++) value[i] = (float)EkUniformIn(&stream, least, most);
  EK_OK(EkGraphConstant(e->graph, channels, grid, value, &out));
  free(value);
  return out;
}
static void relative_loss(Example *e)
{
  EkTensor target[2];

  field(e, 3, 2), field(e, 3, 2);
  target[0] = other_field(e, 3, -1, 1), target[1] = other_field(e, 3, -2, 2);
  EK_OK(EkRelativeLoss(e->graph, 2, e->input, target, EK_NONE));
  e->result = e->input[1];
}
static void relative_loss_masked(Example *e)
{
  EkTensor target;

  field(e, 3, 2);
  target = other_field(e, 3, -1, 1);
  EK_OK(EkRelativeLoss(e->graph, 1, e->input, &target, other_field(e, 3, 0, 1)));
  e->result = e->input[0];
}
static void noise(Example *e)
{
  field(e, 4, 2), field(e, 2, 2);
  EK_OK(EkNoise(e->graph, 2, e->input, 2, 0.1, 3, &e->result));
  EK_OK(EkNoise(e->graph, 2, (const EkTensor[2]){e->result, e->input[1]}, 2, 0.1, 4, &e->result)); /* a second gradient for an input */
}
static void mse(Example *e)
{
  field(e, 2, 1);
  e->result = e->input[0];
}

static const struct {
  const char *row;
  void (*build)(Example *);
} example[] = {
    {"linear", linear}, {"linear", linear_gelu_addend}, {"linear", linear_of_slices}, {"linear_gelu_linear", linear_gelu_linear}, {"spectral_conv", spectral_2d},
    {"spectral_conv", spectral_2d_fft}, {"spectral_conv", spectral_1d}, {"gelu", gelu}, {"add", add}, {"pad", pad}, {"crop", crop}, {"crop", crop_and_pad_share_an_input}, {"concat", concat}, {"mse", mse},
    {"to_blocked", to_blocked_and_back}, {"to_planar", to_blocked_and_back}, {"conv", conv_2d}, {"conv", conv_1d}, {"conv", conv_weight_used_three_times}, {"conv", conv_of_one_point},
    {"conv_transpose", conv_transpose_2d}, {"conv_transpose", conv_transpose_1d}, {"batchnorm_tanh", batchnorm_tanh_2d}, {"batchnorm_tanh", batchnorm_tanh_twice},
    {"max_pool", max_pool_2d}, {"max_pool", max_pool_1d}, {"concat_blocked", concat_whole_blocks}, {"concat_blocked", concat_parts_of_blocks},
    {"linear", linear_by_blas}, {"linear_transposed", linear_transposed}, {"linear_transposed", linear_transposed_in_strips}, {"patch", patch}, {"unpatch", unpatch}, {"group_norm", group_norm}, {"afno", afno}, {"afno", afno_few_modes},
    {"time_aggregate", time_aggregate}, {"time_aggregate", time_aggregate_twice}, {"time_aggregate", time_aggregate_steps},
    {"moments", moments}, {"scale_shift", scale_shift}, {"mean", mean},
    {"relative_loss", relative_loss}, {"relative_loss", relative_loss_masked}, {"noise", noise},
};

#define BATCH 2
static const uint64_t noise_keys[BATCH] = {1, 2};

static double loss(Example *e)
{
  EK_OK(EkGraphForward(e->graph, BATCH, 0.5));
  return EkGraphLoss(e->graph);
}

static void fill(EkRandom *stream, size_t n, float *x)
{
  for (size_t i = 0; i < n; i++) x[i] = (float)EkNormal(stream);
}

/* Directional derivative by central differences against the gradient, over n values at x. */
static void check_direction(Example *e, const char *what, const char *row, size_t n, float *x, const float *gradient)
{
  EkRandom     stream    = EkRandomStream(5, EK_RANDOM_TEST, 9);
  float       *direction = malloc(n * sizeof(float)), *start = malloc(n * sizeof(float));
  double       predicted = 0, size = 0, difference;
  const double step = 5e-3;

  fill(&stream, n, direction);
  memcpy(start, x, n * sizeof(float));
  for (size_t i = 0; i < n; i++) predicted += (double)gradient[i] * direction[i], size += (double)gradient[i] * gradient[i];
  for (size_t i = 0; i < n; i++) x[i] = (float)(start[i] + step * direction[i]);
  difference = loss(e);
  for (size_t i = 0; i < n; i++) x[i] = (float)(start[i] - step * direction[i]);
  difference = (difference - loss(e)) / (2 * step);
  memcpy(x, start, n * sizeof(float));
  if (!(size > 0)) fail_msg("%s %s: no gradient", row, what);
  if (fabs(predicted - difference) > 4e-3 * (fabs(difference) + sqrt(size))) fail_msg("%s %s: gradient says %g, differences say %g (norm %g)", row, what, predicted, difference, sqrt(size));
  free(direction), free(start);
}

/* A convolution (or transposed one) of the graph runs as products where points are few; where they are many by filtering, if it has 3 x 3 taps, else by oneDNN. */
static void check_codes(const Example *e, const EkNode *node)
{
  const EkTensorState *tensor = e->graph->tensor, *x = &tensor[node->input[0]], *y = &tensor[node->output];
  const int            transposed = node->op == &EkOpConvTranspose;
  const EkTensorState *large = transposed ? y : x, *small = transposed ? x : y;
  const EkConvShape    shape = {large->grid.dim, {large->grid.n[0], large->grid.n[1]}, large->channels, small->channels,
                                e->params->table[tensor[node->input[1]].param].shape[2], transposed ? 2 : 1};
  const char          *code;
  EkConvolution        convolution;

  EK_OK(EkConvolutionCreate(&shape, &convolution));
  for (EkConvPass pass = EK_CONV_FORWARD; pass < EK_CONV_PASSES; pass++) {
    EK_OK(EkConvolutionCode(convolution, pass, BATCH, &code));
    if (strcmp(code, "sgemm") == 0 ? e->many : !e->many || (strcmp(code, "winograd") == 0) != (shape.dim == 2 && shape.kernel == 3)) fail_msg("%s of %d points runs by %s", node->op->member.name, (int)large->grid.points, code);
  }
  EK_OK(EkConvolutionDestroy(&convolution));
}

/* How many convolutions the example has. */
static int check_example(void (*build)(Example *), const char *row, PetscBool many)
{
  EkRandom stream = EkRandomStream(3, EK_RANDOM_TEST, 8);
  Example  e      = {.many = many};
  float   *value[3], *gradient[3], *target;
  size_t   floats[3];
  int      convolutions = 0;
  PetscInt channels;
  EkGrid   grid;

  EK_OK(EkParamsCreate(&e.params));
  declare_all(e.params);
  EK_OK(EkParamsAllocate(e.params));
  EK_OK(EkParamsInitialise(e.params, 1));
  EK_OK(EkGraphCreate(e.params, BATCH + 1, PETSC_TRUE, &e.graph));
  build(&e);
  EK_OK(EkGraphGetGrid(e.graph, e.result, &channels, &grid));
  EK_OK(EkGraphInput(e.graph, channels, grid, PETSC_FALSE, &e.target));
  EK_OK(EkMseLoss(e.graph, e.result, e.target));
  EK_OK(EkGraphPlan(e.graph));
  EK_OK(EkGraphBindKeys(e.graph, noise_keys));
  target = calloc(BATCH * (size_t)channels * grid.stride, sizeof(float));
  fill(&stream, BATCH * (size_t)channels * grid.stride, target);
  EK_OK(EkGraphBind(e.graph, e.target, target, (size_t)channels * grid.stride));
  for (int i = 0; i < e.ninputs; i++) {
    EK_OK(EkGraphGetGrid(e.graph, e.input[i], &channels, &grid));
    floats[i] = (size_t)channels * grid.stride;
    value[i]  = malloc(BATCH * floats[i] * sizeof(float));
    fill(&stream, BATCH * floats[i], value[i]);
    EK_OK(EkGraphBind(e.graph, e.input[i], value[i], floats[i]));
  }
  loss(&e);
  EK_OK(EkGraphBackward(e.graph));
  for (int i = 0; i < e.ninputs; i++) {
    const float *from;
    size_t       step;

    EK_OK(EkGraphGetGradient(e.graph, e.input[i], &from, &step));
    gradient[i] = calloc(BATCH * floats[i], sizeof(float));
    EK_OK(EkGraphGetGrid(e.graph, e.input[i], &channels, &grid));
    for (int b = 0; b < BATCH; b++) {
      /* what lies between points and stride is scratch */
      for (PetscInt c = 0; c < channels; c++) memcpy(gradient[i] + b * floats[i] + c * grid.stride, from + b * step + c * grid.stride, grid.points * sizeof(float));
    }
  }
  for (int i = 0; i < e.ninputs; i++) check_direction(&e, "input", row, BATCH * floats[i], value[i], gradient[i]);
  for (int p = 0; p < e.params->n; p++) {
    const EkTensorInfo *t = &e.params->table[p];

    if (e.params->info[p].used) check_direction(&e, t->name, row, t->count, e.params->weights + t->offset, e.params->gradients + t->offset);
  }
  free(target);
  for (int i = 0; i < e.ninputs; i++) free(value[i]), free(gradient[i]);
  for (int i = 0; i < e.graph->nnodes; i++) {
    const EkNode *node = e.graph->node[i];

    if (node->op == &EkOpConv || node->op == &EkOpConvTranspose) check_codes(&e, node), convolutions++;
  }
  EK_OK(EkGraphDestroy(&e.graph));
  EK_OK(EkParamsDestroy(&e.params));
  return convolutions;
}

static void gradients_of_every_operator_match_differences(void **state)
{
  (void)state;
  for (int row = 0; row < EkOperatorCount(); row++) {
    int found = 0;

    for (size_t i = 0; i < sizeof(example) / sizeof(example[0]); i++) {
      if (strcmp(example[i].row, EkOperatorMember(row)->name)) continue;
      found = 1;
      check_example(example[i].build, example[i].row, PETSC_FALSE);
    }
    if (!found) fail_msg("operator %s has no example", EkOperatorMember(row)->name);
  }
}

static void convolutions_match_differences_by_either_code(void **state)
{
  static const char *const row[] = {"conv", "conv_transpose", "max_pool", "concat_blocked"};

  (void)state;
  for (int many = 0; many < 2; many++) {
    int convolutions = 0;

    for (size_t r = 0; r < sizeof(row) / sizeof(row[0]); r++) {
      for (size_t i = 0; i < sizeof(example) / sizeof(example[0]); i++) {
        if (!strcmp(example[i].row, row[r])) convolutions += check_example(example[i].build, row[r], (PetscBool)many);
      }
    }
    assert_true(convolutions > 0);
  }
}

/* A chain whose activations could all share memory must be planned smaller than the sum of its buffers, and give the same as a plan for one sample. */
static void plan_reuses_memory_and_batches_agree(void **state)
{
  const PetscInt shape[2] = {4, 4};
  EkRandom       stream = EkRandomStream(3, EK_RANDOM_TEST, 8);
  EkGrid         grid   = EkGridMake(2, square);
  EkParams       params;
  EkGraph        graph;
  EkTensor       x, y, target;
  size_t         planned, unshared, step;
  float         *value = calloc(3 * 4 * grid.stride, sizeof(float)), *first;
  const float   *out;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkParamsAdd(params, "a.weight", EK_MODULE_LINEAR, PETSC_FALSE, 2, shape, -1, 1));
  EK_OK(EkParamsAdd(params, "a.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, shape, -1, 1));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkParamsInitialise(params, 2));
  EK_OK(EkGraphCreate(params, 3, PETSC_TRUE, &graph));
  EK_OK(EkGraphInput(graph, 4, grid, PETSC_FALSE, &x));
  EK_OK(EkGraphInput(graph, 4, grid, PETSC_FALSE, &target));
  y = x;
  for (int i = 0; i < 12; i++) EK_OK(EkLinear(graph, 1, &y, "a.weight", "a.bias", EK_NONE, PETSC_FALSE, &y));
  EK_OK(EkMseLoss(graph, y, target));
  EK_OK(EkGraphKeep(graph, y));
  EK_OK(EkGraphPlan(graph));
  EkGraphMemory(graph, &planned, &unshared);
  assert_true(planned < 0.7 * unshared);
  fill(&stream, 3 * 4 * grid.stride, value);
  EK_OK(EkGraphBind(graph, x, value, 4 * grid.stride));
  EK_OK(EkGraphBind(graph, target, value, 4 * grid.stride));
  EK_OK(EkGraphForward(graph, 3, 1));
  EK_OK(EkGraphGetValue(graph, y, &out, &step));
  first = malloc(4 * grid.stride * sizeof(float));
  memcpy(first, out + 2 * step, 4 * grid.stride * sizeof(float));
  EK_OK(EkGraphBind(graph, x, value + 2 * 4 * grid.stride, 4 * grid.stride));
  EK_OK(EkGraphForward(graph, 1, 1));
  assert_memory_equal(out, first, grid.points * sizeof(float));
  EK_OK(EkGraphForward(graph, 0, 1)); /* a rank without samples */
  EK_OK(EkGraphBackward(graph));
  assert_true(EkGraphLoss(graph) == 0);
  free(value), free(first);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

/* ---- blocked fields ------------------------------------------------------------------------------------------- */

static void lanes_conv(EkGraph g, EkTensor x, EkTensor *y) { EK_OK(EkConv(g, x, "same2.weight", y)); }
static void lanes_transpose(EkGraph g, EkTensor x, EkTensor *y) { EK_OK(EkConvTranspose(g, x, "up5.weight", "up5.bias", y)); }
static void lanes_norm(EkGraph g, EkTensor x, EkTensor *y) { EK_OK(EkBatchNormTanh(g, x, "norm5", y)); }
static void lanes_pool(EkGraph g, EkTensor x, EkTensor *y) { EK_OK(EkMaxPool(g, x, y)); }
static void lanes_concat(EkGraph g, EkTensor x, EkTensor *y) { EK_OK(EkConcatBlocked(g, x, x, y)); }
static void lanes_planar(EkGraph g, EkTensor x, EkTensor *y)
{
  EK_OK(EkToPlanar(g, x, y));
  EK_OK(EkToBlocked(g, 1, y, y));
}

/* The channels of each block that are some, and nothing but zeros beyond the last one. */
static void check_lanes(const float *sample, PetscInt channels, size_t points)
{
  double some = 0;

  for (PetscInt c = 0; c < (PetscInt)EK_BLOCKED_CHANNELS(channels); c++) {
    for (size_t p = 0; p < points; p++) {
      const float value = sample[((size_t)(c / EK_BLOCK) * points + p) * EK_BLOCK + (size_t)(c % EK_BLOCK)];

      if (c < channels) some += fabs(value);
      else assert_true(value == 0);
    }
  }
  assert_true(some > 0);
}

/* One operator between a blocked field of 5 channels and a loss. Memory is dirty: the graph ran with other values before. */
static void check_lanes_of(PetscBool many, void (*op)(EkGraph, EkTensor, EkTensor *))
{
  const EkGrid   small  = even(many, 2);
  EkRandom       stream = EkRandomStream(4, EK_RANDOM_TEST, 8);
  PetscInt       five = 5, channels;
  const PetscInt up[4] = {5, 5, 2, 2};
  EkParams       params;
  EkGraph        graph;
  EkTensor       planar, x, y, result, target;
  EkGrid         grid;
  float         *value, *wanted;
  const float   *got;
  size_t         step;

  EK_OK(EkParamsCreate(&params));
  declare_all(params);
  declare_norm(params, "norm5", five);
  EK_OK(EkParamsAdd(params, "up5.weight", EK_MODULE_TRANSPOSED, PETSC_FALSE, 4, up, -1, 1));
  EK_OK(EkParamsAdd(params, "up5.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, &five, -1, 1));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkParamsInitialise(params, 1));
  EK_OK(EkGraphCreate(params, 2, PETSC_TRUE, &graph));
  EK_OK(EkGraphInput(graph, 5, small, PETSC_TRUE, &planar));
  EK_OK(EkToBlocked(graph, 1, &planar, &x));
  op(graph, x, &y);
  EK_OK(EkGraphKeep(graph, y));
  EK_OK(EkToPlanar(graph, y, &result));
  EK_OK(EkGraphGetGrid(graph, result, &channels, &grid));
  EK_OK(EkGraphInput(graph, channels, grid, PETSC_FALSE, &target));
  EK_OK(EkMseLoss(graph, result, target));
  EK_OK(EkGraphPlan(graph));
  value  = malloc(2 * 5 * small.stride * sizeof(float));
  wanted = malloc(2 * (size_t)channels * grid.stride * sizeof(float));
  for (int run = 0; run < 3; run++) {
    fill(&stream, 2 * 5 * small.stride, value);
    fill(&stream, 2 * (size_t)channels * grid.stride, wanted);
    EK_OK(EkGraphBind(graph, planar, value, 5 * small.stride));
    EK_OK(EkGraphBind(graph, target, wanted, (size_t)channels * grid.stride));
    EK_OK(EkGraphForward(graph, 2, 1));
    EK_OK(EkGraphGetValue(graph, y, &got, &step));
    for (int b = 0; b < 2; b++) check_lanes(got + (size_t)b * step, channels, grid.points);
    EK_OK(EkGraphBackward(graph));
    /* the last thing backward reads: nothing has taken its place */
    EK_OK(EkGraphGetGradient(graph, x, &got, &step));
    for (int b = 0; b < 2; b++) check_lanes(got + (size_t)b * step, 5, small.points);
  }
  free(value), free(wanted);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

static void lanes_without_a_channel_stay_zero(void **state)
{
  static void (*const op[])(EkGraph, EkTensor, EkTensor *) = {lanes_conv, lanes_transpose, lanes_norm, lanes_pool, lanes_concat, lanes_planar};

  (void)state;
  for (size_t i = 0; i < sizeof(op) / sizeof(op[0]); i++) check_lanes_of(PETSC_FALSE, op[i]), check_lanes_of(PETSC_TRUE, op[i]);
}

/* Of one frame of three channels: the first as it is, the second masked by halves, the third wholly; and of a sample that is masked wholly. */
static void relative_loss_counts_channels_with_a_mask(void **state)
{
  const EkGrid grid   = EkGridMake(2, square);
  const size_t floats = 3 * grid.stride;
  float       *prediction = calloc(2 * floats, sizeof(float)), *truth = calloc(2 * floats, sizeof(float)), *mask = calloc(2 * floats, sizeof(float));
  const float *gradient;
  double       error = 0, norm = 0;
  EkTensor     p, t, m;
  EkParams     params;
  EkGraph      graph;
  size_t       step;

  (void)state;
  for (size_t i = 0; i < grid.points; i++) {
    for (size_t c = 0; c < 3; c++) prediction[c * grid.stride + i] = prediction[floats + c * grid.stride + i] = 3, truth[c * grid.stride + i] = 2;
    prediction[grid.stride + i] = (float)i;
    mask[i] = 1, mask[grid.stride + i] = (float)(i % 2);
    error += (double)(i % 2) * ((double)i - 2) * ((double)i - 2), norm += (double)(i % 2) * 4;
  }
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkGraphCreate(params, 2, PETSC_TRUE, &graph));
  EK_OK(EkGraphInput(graph, 3, grid, PETSC_TRUE, &p));
  EK_OK(EkGraphInput(graph, 3, grid, PETSC_FALSE, &t));
  EK_OK(EkGraphInput(graph, 3, grid, PETSC_FALSE, &m));
  EK_OK(EkRelativeLoss(graph, 1, &p, &t, m));
  EK_OK(EkGraphPlan(graph));
  EK_OK(EkGraphBind(graph, p, prediction, floats));
  EK_OK(EkGraphBind(graph, t, truth, floats));
  EK_OK(EkGraphBind(graph, m, mask, floats));
  EK_OK(EkGraphForward(graph, 2, 10));
  assert_true(fabs(EkGraphLoss(graph) - 10 * (0.5 + sqrt(error / norm)) / 2) < 1e-5);
  EK_OK(EkGraphBackward(graph));
  EK_OK(EkGraphGetGradient(graph, p, &gradient, &step));
  for (size_t i = 0; i < grid.points; i++) {
    assert_true(fabs(gradient[i] - 10 / (2 * sqrt((double)grid.points) * 2 * sqrt((double)grid.points))) < 1e-6 && gradient[grid.stride] == 0);
    for (size_t c = 0; c < 4; c++) assert_true(gradient[(c == 3 ? 2 * grid.stride : step + c * grid.stride) + i] == 0);
  }
  free(prediction), free(truth), free(mask);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

static void wrong_shapes_are_refused(void **state)
{
  EkParams params;
  EkGraph  graph;
  EkTensor a, b, out;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  declare_all(params);
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkGraphCreate(params, 1, PETSC_TRUE, &graph));
  EK_OK(EkGraphInput(graph, 3, EkGridMake(2, square), PETSC_FALSE, &a));
  EK_OK(EkGraphInput(graph, 3, EkGridMake(1, line), PETSC_FALSE, &b));
  EK_FAILS(EkLinear(graph, 1, &a, "a.weight", "a.bias", EK_NONE, PETSC_FALSE, &out), "a.weight");
  EK_FAILS(EkLinear(graph, 1, &a, "x.weight", "a.bias", EK_NONE, PETSC_FALSE, &out), "x.weight");
  EK_FAILS(EkAdd(graph, a, b, &out), "shapes");
  EK_FAILS(EkMseLoss(graph, a, b), "shapes");
  EK_FAILS(EkGraphSlice(graph, a, 2, 2, &out), "slice");
  EK_FAILS(EkPatch(graph, 1, 1, &a, 2, &out), "patches of 2");
  EK_FAILS(EkUnpatch(graph, a, 2, &out), "patches of 2");
  EK_FAILS(EkGroupNorm(graph, a, 2, "group.weight", "group.bias", &out), "groups");
  EK_FAILS(EkAfno(graph, a, 2, "afno.w1", "afno.b1", "afno.w2", "afno.b2", &out), "afno.w1");
  EK_FAILS(EkTimeAggregate(graph, a, "embed.weight", "embed.bias", "position", "time.w", NULL, &out), "embed.weight");
  EK_FAILS(EkMoments(graph, 1, &a, 2, &out), "frames of 2");
  EK_FAILS(EkScaleShift(graph, a, a, a, PETSC_FALSE, &out), "scale_shift");
  EK_FAILS(EkLinearTransposed(graph, a, "up.weight", "up.bias", PETSC_FALSE, &out), "up.weight");
  EK_FAILS(EkConv(graph, a, "same2.weight", &out), "not a blocked field");
  EK_OK(EkToBlocked(graph, 1, &a, &out));
  EK_FAILS(EkAdd(graph, a, out, &b), "not a planar field");
  EK_FAILS(EkConv(graph, out, "same2.weight", &b), "same2.weight");
  EK_FAILS(EkMaxPool(graph, out, &b), "even number");
  EK_FAILS(EkBatchNormTanh(graph, out, "nothing", &b), "nothing.weight");
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradients_of_every_operator_match_differences), cmocka_unit_test(convolutions_match_differences_by_either_code), cmocka_unit_test(plan_reuses_memory_and_batches_agree), cmocka_unit_test(lanes_without_a_channel_stay_zero),
    cmocka_unit_test(relative_loss_counts_channels_with_a_mask), cmocka_unit_test(wrong_shapes_are_refused),
};
EK_TEST_MAIN(tests)
