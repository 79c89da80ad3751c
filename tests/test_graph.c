/* ranks: 1 */
#include "support.h"
#include "evenkeel/graph.h"

/* An example builds one node (or a few) between the inputs and a loss. Every row of the operator table must have at least one. */
typedef struct {
  EkGraph  graph;
  EkParams params;
  EkTensor input[3]; /* each wants a gradient */
  int      ninputs;
  EkTensor target, result;
} Example;

static const PetscInt square[2] = {9, 7}, line[1] = {21}, by[2] = {2, 3};

static void field(Example *e, PetscInt channels, int dim)
{
  EK_OK(EkGraphInput(e->graph, channels, EkGridMake(dim, dim == 2 ? square : line), PETSC_TRUE, &e->input[e->ninputs++]));
}

static void declare_linear(EkParams p, const char *name, PetscInt in, PetscInt out)
{
  const PetscInt shape[2] = {out, in};
  char           key[EK_NAME];

  snprintf(key, sizeof(key), "%s.weight", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_LINEAR, PETSC_FALSE, 2, shape, -1, 1));
  snprintf(key, sizeof(key), "%s.bias", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_OTHER, PETSC_FALSE, 1, shape, -1, 1));
}

static void declare_all(EkParams p)
{
  const PetscInt two[5] = {3, 5, 3, 3, 2}, one[4] = {3, 5, 4, 2};

  declare_linear(p, "a", 7, 5), declare_linear(p, "b", 3, 21), declare_linear(p, "c", 21, 2);
  EK_OK(EkParamsAdd(p, "s.weights1", EK_MODULE_SPECTRAL, PETSC_TRUE, 5, two, -1, 1));
  EK_OK(EkParamsAdd(p, "s.weights2", EK_MODULE_SPECTRAL, PETSC_TRUE, 5, two, -1, 1));
  EK_OK(EkParamsAdd(p, "t.weights1", EK_MODULE_SPECTRAL, PETSC_TRUE, 4, one, -1, 1));
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
};

#define BATCH 2

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

static void check_example(void (*build)(Example *), const char *row)
{
  EkRandom stream = EkRandomStream(3, EK_RANDOM_TEST, 8);
  Example  e      = {.ninputs = 0};
  float   *value[3], *gradient[3], *target;
  size_t   floats[3];
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
  EK_OK(EkGraphDestroy(&e.graph));
  EK_OK(EkParamsDestroy(&e.params));
}

static void gradients_of_every_operator_match_differences(void **state)
{
  (void)state;
  for (int row = 0; row < EkOperatorCount(); row++) {
    int found = 0;

    for (size_t i = 0; i < sizeof(example) / sizeof(example[0]); i++) {
      if (strcmp(example[i].row, EkOperatorMember(row)->name)) continue;
      found = 1;
      check_example(example[i].build, example[i].row);
    }
    if (!found) fail_msg("operator %s has no example", EkOperatorMember(row)->name);
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
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradients_of_every_operator_match_differences), cmocka_unit_test(plan_reuses_memory_and_batches_agree),
    cmocka_unit_test(wrong_shapes_are_refused),
};
EK_TEST_MAIN(tests)
