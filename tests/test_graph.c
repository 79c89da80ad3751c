/* ranks: 1 */
/* Gradients of every operator against differences. */
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

static const PetscInt by[2] = {2, 3};

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
  const PetscInt    modes[2] = {3, 3};

  field(e, 3, 2);
  EK_OK(EkSpectralConv(e->graph, e->input[0], weights, modes, EK_TRANSFORM_GEMM, &e->result));
}
static void spectral_2d_fft(Example *e)
{
  const char *const weights[2] = {"s.weights1", "s.weights2"};
  const PetscInt    modes[2] = {3, 3};

  field(e, 3, 2);
  EK_OK(EkSpectralConv(e->graph, e->input[0], weights, modes, EK_TRANSFORM_FFT, &e->result));
}
static void spectral_1d(Example *e)
{
  const char *const weights[1] = {"t.weights1"};
  const PetscInt    modes[1] = {4};

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
/* Differences know nothing of a maximum that moves: neighbours are kept apart by a constant, another of them the largest in every
 * window. */
static EkTensor apart(Example *e, PetscInt channels, int dim)
{
  const EkGrid grid = even(e->many, dim);
  float       *pattern = calloc((size_t)channels * grid.stride, sizeof(float));
  EkTensor     out, constant;

  for (PetscInt c = 0; c < channels; c++) {
    for (PetscInt i = 0; i < grid.n[0]; i++) {
      for (PetscInt j = 0; j < grid.n[1]; j++)
        pattern[(size_t)c * grid.stride + (size_t)(i * grid.n[1] + j)] =
            3 * (float)((2 * (i % 2) + j % 2 + i / 2 + 3 * (j / 2) + c) % 4);
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
  EK_OK(EkLinearTransposed(e->graph, e->input[0], "wide.weight", "wide.bias", PETSC_TRUE,
                           &e->result)); /* 4 channels at a time, then 2 */
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
    EK_OK(EkTimeAggregate(e->graph, e->input[i], "embed.weight", "embed.bias", "position", "time.w", "time.gamma",
                          i ? &e->result : &other));
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
  const EkGrid grid = EkGridMake(2, square);
  EkRandom     stream = EkRandomStream(4, EK_RANDOM_TEST, 7);
  float       *value = malloc((size_t)channels * grid.stride * sizeof(float));
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
  EK_OK(EkNoise(e->graph, 2, (const EkTensor[2]){e->result, e->input[1]}, 2, 0.1, 4,
                &e->result)); /* a second gradient for an input */
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
    {"linear", linear},
    {"linear", linear_gelu_addend},
    {"linear", linear_of_slices},
    {"linear_gelu_linear", linear_gelu_linear},
    {"spectral_conv", spectral_2d},
    {"spectral_conv", spectral_2d_fft},
    {"spectral_conv", spectral_1d},
    {"gelu", gelu},
    {"add", add},
    {"pad", pad},
    {"crop", crop},
    {"crop", crop_and_pad_share_an_input},
    {"concat", concat},
    {"mse", mse},
    {"to_blocked", to_blocked_and_back},
    {"to_planar", to_blocked_and_back},
    {"conv", conv_2d},
    {"conv", conv_1d},
    {"conv", conv_weight_used_three_times},
    {"conv", conv_of_one_point},
    {"conv_transpose", conv_transpose_2d},
    {"conv_transpose", conv_transpose_1d},
    {"batchnorm_tanh", batchnorm_tanh_2d},
    {"batchnorm_tanh", batchnorm_tanh_twice},
    {"max_pool", max_pool_2d},
    {"max_pool", max_pool_1d},
    {"concat_blocked", concat_whole_blocks},
    {"concat_blocked", concat_parts_of_blocks},
    {"linear", linear_by_blas},
    {"linear_transposed", linear_transposed},
    {"linear_transposed", linear_transposed_in_strips},
    {"patch", patch},
    {"unpatch", unpatch},
    {"group_norm", group_norm},
    {"afno", afno},
    {"afno", afno_few_modes},
    {"time_aggregate", time_aggregate},
    {"time_aggregate", time_aggregate_twice},
    {"time_aggregate", time_aggregate_steps},
    {"moments", moments},
    {"scale_shift", scale_shift},
    {"mean", mean},
    {"relative_loss", relative_loss},
    {"relative_loss", relative_loss_masked},
    {"noise", noise},
};

#define BATCH 2
static const uint64_t noise_keys[BATCH] = {1, 2};

static double loss(Example *e)
{
  EK_OK(EkGraphForward(e->graph, BATCH, 0.5));
  return EkGraphLoss(e->graph);
}

/* Directional derivative by central differences against the gradient, over n values at x. */
static void check_direction(Example *e, const char *what, const char *row, size_t n, float *x, const float *gradient)
{
  EkRandom     stream = EkRandomStream(5, EK_RANDOM_TEST, 9);
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
  if (fabs(predicted - difference) > 4e-3 * (fabs(difference) + sqrt(size)))
    fail_msg("%s %s: gradient says %g, differences say %g (norm %g)", row, what, predicted, difference, sqrt(size));
  free(direction), free(start);
}

/* A convolution (or transposed one) of the graph runs as products where points are few; where they are many by filtering, if it
   has 3 x 3 taps, else by oneDNN. */
static void check_codes(const Example *e, const EkNode *node)
{
  const EkTensorState *tensor = e->graph->tensor, *x = &tensor[node->input[0]], *y = &tensor[node->output];
  const int            transposed = node->op == &EkOpConvTranspose;
  const EkTensorState *large = transposed ? y : x, *small = transposed ? x : y;
  const EkConvShape    shape = {large->grid.dim,
                                {large->grid.n[0], large->grid.n[1]},
                                large->channels,
                                small->channels,
                                e->params->table[tensor[node->input[1]].param].shape[2],
                             transposed ? 2 : 1};
  const char          *code;
  EkConvolution        convolution;

  EK_OK(EkConvolutionCreate(&shape, &convolution));
  for (EkConvPass pass = EK_CONV_FORWARD; pass < EK_CONV_PASSES; pass++) {
    EK_OK(EkConvolutionCode(convolution, pass, BATCH, &code));
    if (strcmp(code, "sgemm") == 0 ? e->many
                                   : !e->many || (strcmp(code, "winograd") == 0) != (shape.dim == 2 && shape.kernel == 3))
      fail_msg("%s of %d points runs by %s", node->op->member.name, (int)large->grid.points, code);
  }
  EK_OK(EkConvolutionDestroy(&convolution));
}

/* How many convolutions the example has. */
static int check_example(void (*build)(Example *), const char *row, PetscBool many)
{
  EkRandom stream = EkRandomStream(3, EK_RANDOM_TEST, 8);
  Example  e = {.many = many};
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
    value[i] = malloc(BATCH * floats[i] * sizeof(float));
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
      for (PetscInt c = 0; c < channels; c++)
        memcpy(gradient[i] + b * floats[i] + c * grid.stride, from + b * step + c * grid.stride, grid.points * sizeof(float));
    }
  }
  for (int i = 0; i < e.ninputs; i++) check_direction(&e, "input", row, BATCH * floats[i], value[i], gradient[i]);
  for (int p = 0; p < e.params->n; p++) {
    const EkTensorInfo *t = &e.params->table[p];

    if (e.params->info[p].used)
      check_direction(&e, t->name, row, t->count, e.params->weights + t->offset, e.params->gradients + t->offset);
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradients_of_every_operator_match_differences),
    cmocka_unit_test(convolutions_match_differences_by_either_code),
};
EK_TEST_MAIN(tests)
