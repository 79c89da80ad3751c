/* ranks: 1 */
/* Fields of a graph: the memory they share, lanes of blocks without a channel, shapes that are refused. */
#include "graph_support.h"

/* A chain whose activations could all share memory must be planned smaller than the sum of its buffers, and give the same as a
 * plan for one sample. */
static void plan_reuses_memory_and_batches_agree(void **state)
{
  const PetscInt shape[2] = {4, 4};
  EkRandom       stream = EkRandomStream(3, EK_RANDOM_TEST, 8);
  EkGrid         grid = EkGridMake(2, square);
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

static void lanes_conv(EkGraph g, EkTensor x, EkTensor *y)
{
  EK_OK(EkConv(g, x, "same2.weight", y));
}
static void lanes_transpose(EkGraph g, EkTensor x, EkTensor *y)
{
  EK_OK(EkConvTranspose(g, x, "up5.weight", "up5.bias", y));
}
static void lanes_norm(EkGraph g, EkTensor x, EkTensor *y)
{
  EK_OK(EkBatchNormTanh(g, x, "norm5", y));
}
static void lanes_pool(EkGraph g, EkTensor x, EkTensor *y)
{
  EK_OK(EkMaxPool(g, x, y));
}
static void lanes_concat(EkGraph g, EkTensor x, EkTensor *y)
{
  EK_OK(EkConcatBlocked(g, x, x, y));
}
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

      if (c < channels)
        some += fabs(value);
      else
        assert_true(value == 0);
    }
  }
  assert_true(some > 0);
}

/* One operator between a blocked field of 5 channels and a loss. Memory is dirty: the graph ran with other values before. */
static void check_lanes_of(PetscBool many, void (*op)(EkGraph, EkTensor, EkTensor *))
{
  const EkGrid   small = even(many, 2);
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
  value = malloc(2 * 5 * small.stride * sizeof(float));
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
  static void (*const op[])(EkGraph, EkTensor, EkTensor *) = {lanes_conv, lanes_transpose, lanes_norm,
                                                              lanes_pool, lanes_concat,    lanes_planar};

  (void)state;
  for (size_t i = 0; i < sizeof(op) / sizeof(op[0]); i++) check_lanes_of(PETSC_FALSE, op[i]), check_lanes_of(PETSC_TRUE, op[i]);
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
    cmocka_unit_test(plan_reuses_memory_and_batches_agree),
    cmocka_unit_test(lanes_without_a_channel_stay_zero),
    cmocka_unit_test(wrong_shapes_are_refused),
};
EK_TEST_MAIN(tests)
