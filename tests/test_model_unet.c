/* ranks: 1 2 3 */
/* UNet against PyTorch, its parameters, its running statistics, its rollout; the batch spread over the ranks, one of three
   without a sample. unet1d.h5 is what make_unet1d.py beside it makes with PyTorch 1.13: weights, input, target, output, loss,
   gradients and running statistics of one step. */
#include "model_support.h"

static EkModelOptions options_of(const char *type, PetscInt features)
{
  return (EkModelOptions){.type = EkFamilyFind(&EkModelFamily, type), .features = features};
}

static void unet2d_matches_pytorch(void **state)
{
  const CaseKind kind = {"tests/data/cases/unet2d.h5", options_of("unet2d", 4), 2, 3, 2, PETSC_TRUE};

  (void)state;
  check_case(&kind);
}

static void unet1d_matches_pytorch(void **state)
{
  const CaseKind kind = {"tests/data/cases/unet1d.h5", options_of("unet1d", 2), 1, 3, 2, PETSC_TRUE};
  int            statistics = 0;
  Case           k;

  (void)state;
  case_open(&k, &kind);
  case_check_first_step(&k);
  for (int p = 0; p < k.params->n; p++) {
    const EkTensorInfo *t = &k.params->table[p];
    hsize_t             dims[8];
    char                name[2 * EK_NAME];
    float              *want;

    if (!strstr(t->name, "running_")) continue;
    snprintf(name, sizeof(name), "statistics/%s", t->name);
    want = case_array(k.file, name, dims);
    if (!(EkTestDistance(t->count, k.params->weights + t->offset, want) < 1e-5))
      fail_msg("%s: off by %g", name, EkTestDistance(t->count, k.params->weights + t->offset, want));
    free(want);
    statistics++;
  }
  assert_int_equal(statistics, 2 * 18);
  case_close(&k);
}

/* models-and-data 4.1 */
static void parameter_counts_are_the_published_ones(void **state)
{
  static const struct {
    const char *type;
    int         dim;
    PetscInt    in, out, trainable;
  } published[] = {{"unet2d", 2, 40, 4, 7773796}, {"unet2d", 2, 1, 1, 7762465},  {"unet2d", 2, 20, 2, 7767970},
                   {"unet2d", 2, 10, 1, 7765057}, {"unet1d", 1, 30, 3, 2710659}, {"unet1d", 1, 10, 1, 2708673}};
  const PetscInt n[2] = {64, 64};

  (void)state;
  for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
    EkModelOptions options = options_of(published[i].type, 32);
    EkModelShape   shape = {EkGridMake(published[i].dim, n), published[i].out, published[i].in / published[i].out};
    EkParams       params;

    EK_OK(EkParamsCreate(&params));
    EK_OK(EkModelDeclare(&options, &shape, params));
    assert_int_equal(params->n, 118);
    assert_int_equal(EkParamsCount(params, PETSC_TRUE), published[i].trainable);
    EK_OK(EkParamsDestroy(&params));
  }
}

/* models-and-data 6.2: PyTorch's order is the optimizer's and the checkpoint's. */
static void expect_block(EkParams params, int *at, int dim, PetscInt in, PetscInt out, const char *block)
{
  for (int i = 1; i <= 2; i++, in = out) {
    static const char *const statistic[] = {"weight", "bias", "running_mean", "running_var"};

    expect_entry(params, at, SHAPE(out, in, 3, dim == 2 ? 3 : 0), "%sconv%d.weight", block, i);
    for (int k = 0; k < 4; k++) expect_entry(params, at, SHAPE(out), "%snorm%d.%s", block, i, statistic[k]);
    expect_entry(params, at, SHAPE(0), "%snorm%d.num_batches_tracked", block, i);
  }
}

static void expect_table(const char *type, int dim, PetscInt f, PetscInt fields, PetscInt steps)
{
  const PetscInt n[2] = {16, 32};
  EkModelOptions options = options_of(type, f);
  EkModelShape   shape = {EkGridMake(dim, n), fields, steps};
  char           block[EK_NAME];
  EkParams       params;
  int            at = 0;

  EK_OK(EkParamsCreate(&params));
  EK_OK(EkModelDeclare(&options, &shape, params));
  for (int level = 1; level <= 4; level++) {
    snprintf(block, sizeof(block), "encoder%d.enc%d", level, level);
    expect_block(params, &at, dim, level == 1 ? steps * fields : f << (level - 2), f << (level - 1), block);
  }
  expect_block(params, &at, dim, 8 * f, 16 * f, "bottleneck.bottleneck");
  for (int level = 4; level >= 1; level--) {
    const PetscInt out = f << (level - 1);

    expect_entry(params, &at, SHAPE(2 * out, out, 2, dim == 2 ? 2 : 0), "upconv%d.weight", level);
    expect_entry(params, &at, SHAPE(out), "upconv%d.bias", level);
    snprintf(block, sizeof(block), "decoder%d.dec%d", level, level);
    expect_block(params, &at, dim, 2 * out, out, block);
  }
  expect_entry(params, &at, SHAPE(fields, f, 1, dim == 2 ? 1 : 0), "conv.weight");
  expect_entry(params, &at, SHAPE(fields), "conv.bias");
  assert_int_equal(at, params->n);
  EK_OK(EkParamsDestroy(&params));
}

static void all_names_and_shapes_are_in_order(void **state)
{
  (void)state;
  expect_table("unet2d", 2, 32, 4, 10);
  expect_table("unet1d", 1, 32, 3, 10);
}

/* models-and-data 4.1 */
static void initial_weights_are_drawn_as_published(void **state)
{
  static const struct {
    const char *pattern;
    double      value;
  } constant[] = {{"running_mean", 0}, {"running_var", 1}, {"num_batches_tracked", 0}, {"norm1.weight", 1},
                  {"norm2.weight", 1}, {"norm1.bias", 0},  {"norm2.bias", 0}};
  const PetscInt n[2] = {16, 32};
  EkModelOptions options = options_of("unet2d", 16);
  EkModelShape   shape = {EkGridMake(2, n), 4, 3};
  EkParams       params;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkModelDeclare(&options, &shape, params));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkParamsInitialise(params, 1));
  for (int p = 0; p < params->n; p++) {
    size_t k = 0;

    while (k < sizeof(constant) / sizeof(constant[0]) && !strstr(params->table[p].name, constant[k].pattern)) k++;
    if (k < sizeof(constant) / sizeof(constant[0]))
      check_constant(params, p, constant[k].value);
    else
      check_default_draw(params, p);
  }
  EK_OK(EkParamsDestroy(&params));
}

static void wrong_grids_are_refused(void **state)
{
  const PetscInt n[2] = {64, 40};
  EkModelOptions options = options_of("unet2d", 4);
  EkModelShape   shape = {EkGridMake(2, n), 1, 1};
  EkParams       params;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_FAILS(EkModelDeclare(&options, &shape, params), "model_type: unet2d halves the grid 4 times, axis 1 has 40 points");
  EK_OK(EkParamsDestroy(&params));
}

/* ---- a small network of its own ------------------------------------------------------------------------------- */

#define STEPS 3 /* at most */
typedef struct {
  EkModelOptions options;
  EkModelShape   shape;
  EkParams       params;
  EkGraph        graph;
  EkMesh         mesh;
  EkTensor       prediction[STEPS];
  float         *values;
  int            samples, lo, hi, steps;
  size_t         sample;
} Small;

/* `samples` in all, spread over the ranks; t0 = 2. */
static void small_open(Small *s, const char *type, int dim, PetscInt fields, PetscInt features, int samples, int steps,
                       PetscBool gradients)
{
  static const PetscInt n2[2] = {16, 32}, n1[1] = {32};
  PetscInt              target[STEPS];
  EkMeshOptions         mesh = {0, 1, 0};
  PetscInt64            lo, hi;
  EkTensor              frames;
  EkRandom              stream = EkRandomStream(1, EK_RANDOM_TEST, 4);

  *s = (Small){.options = options_of(type, features),
               .shape = {EkGridMake(dim, dim == 2 ? n2 : n1), fields, 2},
               .samples = samples,
               .steps = steps};
  EK_OK(EkMeshCreate(EkTestRun(), &mesh, &s->mesh));
  EkSlice(samples, s->mesh->ndata, s->mesh->idata, &lo, &hi);
  s->lo = (int)lo, s->hi = (int)hi;
  s->sample = (size_t)((2 + steps) * fields) * s->shape.grid.stride;
  s->values = malloc((size_t)samples * s->sample * sizeof(float));
  for (size_t i = 0; i < (size_t)samples * s->sample; i++) s->values[i] = (float)EkNormal(&stream);
  EK_OK(EkParamsCreate(&s->params));
  EK_OK(EkModelDeclare(&s->options, &s->shape, s->params));
  EK_OK(EkParamsAllocate(s->params));
  EK_OK(EkParamsInitialise(s->params, 2));
  EK_OK(EkGraphCreate(s->params, samples, gradients, &s->graph));
  EK_OK(EkGraphSetSum(s->graph, case_sum, s->mesh));
  EK_OK(EkGraphInput(s->graph, (2 + steps) * fields, s->shape.grid, PETSC_FALSE, &frames));
  for (int i = 0; i < steps; i++) target[i] = 2 + i;
  EK_OK(EkModelRollout(&s->options, &s->shape, s->graph, frames, EK_NONE, steps, s->prediction));
  EK_OK(EkModelLosses(&s->shape, s->graph, EkLossMse, frames, EK_NONE, steps, target, s->prediction));
  for (int i = 0; i < steps; i++) EK_OK(EkGraphKeep(s->graph, s->prediction[i]));
  EK_OK(EkGraphPlan(s->graph));
  EK_OK(EkGraphBind(s->graph, frames, s->values + (size_t)lo * s->sample, s->sample));
}

static void small_close(Small *s)
{
  free(s->values);
  EK_OK(EkGraphDestroy(&s->graph));
  EK_OK(EkParamsDestroy(&s->params));
  EK_OK(EkMeshDestroy(&s->mesh));
}

static double small_loss(Small *s)
{
  double loss;

  EK_OK(EkGraphForward(s->graph, s->hi - s->lo, 1.0 / s->samples));
  loss = EkGraphLoss(s->graph);
  EK_OK(EkMeshSumDouble(s->mesh, 1, &loss));
  return loss;
}

/* Directional derivative of every parameter through three steps that share it. */
static void check_rollout(const char *type, int dim, PetscInt fields)
{
  const double step = 2e-3;
  Small        s;

  small_open(&s, type, dim, fields, 3, 4, STEPS, PETSC_TRUE);
  small_loss(&s);
  EK_OK(EkGraphBackward(s.graph));
  EK_OK(EkMeshSum(s.mesh, s.params->total, s.params->gradients));
  for (int p = 0; p < s.params->n; p++) {
    const EkTensorInfo *t = &s.params->table[p];
    float *w = s.params->weights + t->offset, *g = s.params->gradients + t->offset, *start = malloc(t->count * sizeof(float));
    double predicted = 0, size = 0, difference;

    memcpy(start, w, t->count * sizeof(float));
    for (size_t i = 0; i < t->count; i++) size += (double)g[i] * g[i];
    assert_true((size > 0) == (s.params->info[p].kind != EK_MODULE_BUFFER));
    /* along the gradient: what rounding leaves of the difference is smallest there */
    for (size_t i = 0; i < t->count && size > 0; i++)
      w[i] = (float)(start[i] + step * g[i] / sqrt(size)), predicted += (double)g[i] * g[i] / sqrt(size);
    difference = small_loss(&s);
    for (size_t i = 0; i < t->count && size > 0; i++) w[i] = (float)(start[i] - step * g[i] / sqrt(size));
    difference = (difference - small_loss(&s)) / (2 * step);
    memcpy(w, start, t->count * sizeof(float));
    if (size > 0 && fabs(predicted - difference) > 2e-2 * predicted + 2e-4)
      fail_msg("%s: gradient says %g, differences say %g", t->name, predicted, difference);
    free(start);
  }
  small_close(&s);
}

static void rollouts_have_the_gradients_of_all_steps(void **state)
{
  (void)state;
  check_rollout("unet1d", 1, 2);
  check_rollout("unet2d", 2, 1);
}

/* Values of my samples, of all steps. */
static float *predictions(Small *s, size_t *n)
{
  const size_t each = (size_t)s->shape.fields * s->shape.grid.points;
  float       *out = malloc((*n = (size_t)(s->hi - s->lo) * (size_t)s->steps * each) * sizeof(float) + 1), *to = out;

  for (int b = 0; b < s->hi - s->lo; b++) {
    for (int i = 0; i < s->steps; i++) {
      const float *value;
      size_t       step;

      EK_OK(EkGraphGetValue(s->graph, s->prediction[i], &value, &step));
      for (PetscInt c = 0; c < s->shape.fields; c++, to += s->shape.grid.points)
        memcpy(to, value + (size_t)b * step + (size_t)c * s->shape.grid.stride, s->shape.grid.points * sizeof(float));
    }
  }
  return out;
}

/* Without gradients: running statistics are used and stay, and a sample knows nothing of the others. */
static void evaluation_changes_nothing(void **state)
{
  Small  s;
  float *before, *all, *one;
  size_t n, some;

  (void)state;
  small_open(&s, "unet2d", 2, 1, 5, 3, STEPS, PETSC_FALSE);
  assert_false(EkGraphIsCoupled(s.graph));
  for (int p = 0; p < s.params->n; p++) {
    const EkTensorInfo *t = &s.params->table[p];

    for (size_t i = 0; s.params->info[p].kind == EK_MODULE_BUFFER && i < t->count; i++)
      s.params->weights[t->offset + i] = 1 + 0.1f * (float)i;
  }
  before = malloc(s.params->total * sizeof(float));
  memcpy(before, s.params->weights, s.params->total * sizeof(float));
  EK_OK(EkGraphForward(s.graph, s.hi - s.lo, 1));
  all = predictions(&s, &n);
  assert_memory_equal(before, s.params->weights, s.params->total * sizeof(float));
  if (s.hi > s.lo) {
    s.hi = s.lo + 1;
    EK_OK(EkGraphForward(s.graph, 1, 1));
    one = predictions(&s, &some);
    assert_true(EkTestDistance(some, one, all) < 1e-5);
    free(one);
  }
  free(all), free(before);
  small_close(&s);
}

/* Values a channel of the named normalisation has in a batch. */
static double values_of(const Small *s, const char *name)
{
  const int level = !strncmp(name, "bottleneck", 10) ? 5 : name[7] - '0';

  return s->samples * (double)(s->shape.grid.points >> (s->shape.grid.dim * (level - 1)));
}

/* From zero, one batch leaves a tenth of its mean and of its unbiased variance. */
static void statistics_of_the_batch(Small *s)
{
  for (int pass = 0; pass < 2; pass++) {
    for (int p = 0; p < s->params->n; p++) {
      const EkTensorInfo *t = &s->params->table[p];
      double              n, factor;

      if (!strstr(t->name, "running_")) continue;
      n = values_of(s, t->name);
      factor = pass == 0 ? 0 : strstr(t->name, "running_mean") ? 10 : 10 * (n - 1) / n;
      for (size_t i = 0; i < t->count; i++) s->params->weights[t->offset + i] *= (float)factor;
    }
    if (pass == 0) small_loss(s);
  }
}

/* With a batch's own statistics evaluation predicts what training does. The plane's upper levels have convolutions
   by oneDNN, the lower ones and the line by products of matrices. */
static void check_evaluation(const char *type, int dim)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 5);
  Small    train, evaluate;
  float   *got, *want;
  size_t   n;

  small_open(&train, type, dim, 2, 5, 4, 1, PETSC_TRUE);
  small_open(&evaluate, type, dim, 2, 5, 4, 1, PETSC_FALSE);
  for (int p = 0; p < train.params->n; p++) {
    const EkTensorInfo *t = &train.params->table[p];

    for (size_t i = 0; strstr(t->name, "norm") && i < t->count; i++)
      train.params->weights[t->offset + i] += (float)EkUniformIn(&stream, -0.5, 0.5);
  }
  statistics_of_the_batch(&train);
  memcpy(evaluate.params->weights, train.params->weights, train.params->total * sizeof(float));
  want = predictions(&train, &n);
  EK_OK(EkGraphForward(evaluate.graph, evaluate.hi - evaluate.lo, 1));
  got = predictions(&evaluate, &n);
  if (!(EkTestDistance(n, got, want) < 1e-5)) fail_msg("%s: off by %g", type, EkTestDistance(n, got, want));
  free(got), free(want);
  small_close(&train), small_close(&evaluate);
}

static void evaluation_with_a_batchs_statistics_is_training(void **state)
{
  (void)state;
  check_evaluation("unet2d", 2);
  check_evaluation("unet1d", 1);
}

/* Every application counts, a rank without samples keeps the same statistics. */
static void running_statistics_move_with_every_step(void **state)
{
  Small  s;
  float *mine, *first;

  (void)state;
  small_open(&s, "unet1d", 1, 1, 4, 2, STEPS, PETSC_TRUE);
  assert_true(EkGraphIsCoupled(s.graph));
  for (int i = 0; i < 2; i++) small_loss(&s);
  assert_true(s.params->weights[s.params->table[EkParamsFind(s.params, "decoder1.dec1norm2.num_batches_tracked")].offset] ==
              2 * STEPS);
  mine = s.params->weights;
  first = malloc(s.params->total * sizeof(float));
  memcpy(first, mine, s.params->total * sizeof(float));
  MPI_Bcast(first, (int)s.params->total, MPI_FLOAT, 0, EkTestRun()->comm);
  assert_memory_equal(mine, first, s.params->total * sizeof(float));
  free(first);
  small_close(&s);
}

static PetscErrorCode there_and_back(EkGraph graph, int batch)
{
  EK_OK(EkGraphForward(graph, batch, 1));
  return EkGraphBackward(graph);
}

/* 16 x 16 has one point at the bottom: a batch of one sample has no deviation there. The line is the same on every rank and
 * nobody hangs. */
static void a_batch_of_one_value_is_refused(void **state)
{
  static const PetscInt n[2] = {16, 16};
  const PetscInt        target = 1;
  EkModelOptions        options = options_of("unet2d", 2);
  EkModelShape          shape = {EkGridMake(2, n), 1, 1};
  EkMeshOptions         data = {0, 1, 0};
  float                *values = calloc(2 * EkGridMake(2, n).stride, sizeof(float));
  EkTensor              frames, prediction;
  EkParams              params;
  EkGraph               graph;
  EkMesh                mesh;

  (void)state;
  EK_OK(EkMeshCreate(EkTestRun(), &data, &mesh));
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkModelDeclare(&options, &shape, params));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkParamsInitialise(params, 2));
  EK_OK(EkGraphCreate(params, 1, PETSC_TRUE, &graph));
  EK_OK(EkGraphSetSum(graph, case_sum, mesh));
  EK_OK(EkGraphInput(graph, 2, shape.grid, PETSC_FALSE, &frames));
  EK_OK(EkModelRollout(&options, &shape, graph, frames, EK_NONE, 1, &prediction));
  EK_OK(EkModelLosses(&shape, graph, EkLossMse, frames, EK_NONE, 1, &target, &prediction));
  EK_OK(EkGraphPlan(graph));
  EK_OK(EkGraphBind(graph, frames, values, 2 * shape.grid.stride));
  EK_FAILS(there_and_back(graph, EkTestRun()->rank == 0), "train_batch");
  free(values);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
  EK_OK(EkMeshDestroy(&mesh));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(unet2d_matches_pytorch),
    cmocka_unit_test(unet1d_matches_pytorch),
    cmocka_unit_test(parameter_counts_are_the_published_ones),
    cmocka_unit_test(all_names_and_shapes_are_in_order),
    cmocka_unit_test(initial_weights_are_drawn_as_published),
    cmocka_unit_test(wrong_grids_are_refused),
    cmocka_unit_test(rollouts_have_the_gradients_of_all_steps),
    cmocka_unit_test(evaluation_changes_nothing),
    cmocka_unit_test(evaluation_with_a_batchs_statistics_is_training),
    cmocka_unit_test(running_statistics_move_with_every_step),
    cmocka_unit_test(a_batch_of_one_value_is_refused),
};
EK_TEST_MAIN(tests)
