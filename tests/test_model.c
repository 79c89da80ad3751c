/* ranks: 1 2 3 */
/* Models against PyTorch: outputs, gradients and three Adam steps of tests/data/cases, the batch spread over the ranks. */
#include "model_support.h"

static void check_fno(const char *path, const char *type, int dim, PetscInt fields, PetscInt modes)
{
  for (int transform = EK_CHOOSE_FFT; transform <= EK_CHOOSE_GEMM; transform++) {
    const EkModelOptions options = {
        .type = EkFamilyFind(&EkModelFamily, type), .width = 8, .modes = {1, {modes}}, .transform = transform};
    const CaseKind kind = {path, options, dim, 3, fields, PETSC_FALSE};

    check_case(&kind);
  }
}

static void fno1d_matches_pytorch(void **state)
{
  (void)state;
  check_fno("tests/data/cases/fno1d.h5", "fno1d", 1, 3, 6);
}

static void fno2d_matches_pytorch(void **state)
{
  (void)state;
  check_fno("tests/data/cases/fno2d.h5", "fno2d", 2, 4, 5);
}

/* models-and-data 3.3 */
static void parameter_counts_are_the_published_ones(void **state)
{
  static const struct {
    const char *type;
    int         dim;
    PetscInt    fields, initial, numel, reals;
  } published[] = {{"fno2d", 2, 4, 10, 466544, 927344},
                   {"fno2d", 2, 1, 1, 465377, 926177},
                   {"fno1d", 1, 3, 10, 24595, 43795},
                   {"fno1d", 1, 1, 10, 23937, 43137}};
  const PetscInt n[2] = {64, 64};

  (void)state;
  for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
    EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, published[i].type), .width = 20, .modes = {1, {12}}};
    EkModelShape   shape = {EkGridMake(published[i].dim, n), published[i].fields, published[i].initial};
    EkParams       params;

    EK_OK(EkParamsCreate(&params));
    EK_OK(EkModelDeclare(&options, &shape, params));
    assert_int_equal(EkParamsCount(params, PETSC_FALSE), published[i].numel);
    assert_int_equal(EkParamsCount(params, PETSC_TRUE), published[i].reals);
    EK_OK(EkParamsDestroy(&params));
  }
}

/* Values from..count by `step` are uniform in [lo, hi): their mean within five standard errors of the middle, and 0.9 of the
 * interval reached. */
static void expect_uniform(const char *name, const float *x, size_t from, size_t step, size_t count, double lo, double hi)
{
  double sum = 0, least = hi, most = lo;
  size_t n = 0;

  for (size_t i = from; i < count; i += step, n++) {
    sum += x[i];
    least = PetscMin(least, x[i]);
    most = PetscMax(most, x[i]);
  }
  if (least < (float)lo || most > (float)hi) fail_msg("%s: [%g, %g] is not in [%g, %g]", name, least, most, lo, hi);
  if (most - (lo + hi) / 2 < 0.9 * (hi - lo) / 2 || (lo + hi) / 2 - least < 0.9 * (hi - lo) / 2)
    fail_msg("%s: [%g, %g] of [%g, %g]", name, least, most, lo, hi);
  if (fabs(sum / (double)n - (lo + hi) / 2) > 5 * (hi - lo) / sqrt(12.0 * (double)n))
    fail_msg("%s: mean %g of [%g, %g]", name, sum / (double)n, lo, hi);
}

/* models-and-data 3: spectral weights in [0, 1/width^2), real and imaginary part each; all others in +-1/sqrt(in). */
static void expect_published_draw(EkParams params, int t, PetscInt width)
{
  const EkTensorInfo *info = &params->table[t];
  const float        *x = params->weights + info->offset;
  const size_t        parts = info->is_complex ? 2 : 1;
  double              lo = 0, hi = 1.0 / (double)(width * width);

  assert_true(info->is_complex == (strncmp(info->name, "conv", 4) == 0));
  if (!info->is_complex) {
    const int weight = strstr(info->name, ".bias") ? t - 1 : t; /* a bias comes after its weight */

    hi = 1 / sqrt((double)params->table[weight].shape[1]);
    lo = -hi;
  }
  for (size_t part = 0; part < parts; part++) expect_uniform(info->name, x, part, parts, info->count, lo, hi);
}

/* The first numbers drawn for two tensors, taken to [0, 1). */
static PetscBool same_numbers(EkParams a, int i, EkParams b, int j)
{
  for (size_t k = 0; k < 8; k++) {
    const double x = (a->weights[a->table[i].offset + k] - a->info[i].a) / (a->info[i].b - a->info[i].a),
                 y = (b->weights[b->table[j].offset + k] - b->info[j].a) / (b->info[j].b - b->info[j].a);

    if (fabs(x - y) > 1e-5) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static void initial_weights_are_drawn_as_published(void **state)
{
  const PetscInt n[2] = {16, 16};

  (void)state;
  for (int dim = 1; dim <= 2; dim++) {
    const EkModelOptions options = {
        .type = EkFamilyFind(&EkModelFamily, dim == 1 ? "fno1d" : "fno2d"), .width = 64, .modes = {1, {4}}};
    const EkModelShape shape = {EkGridMake(dim, n), 64, 2};
    EkParams           params[3];

    for (int p = 0; p < 3; p++) {
      EK_OK(EkParamsCreate(&params[p]));
      EK_OK(EkModelDeclare(&options, &shape, params[p]));
      EK_OK(EkParamsAllocate(params[p]));
      EK_OK(EkParamsInitialise(params[p], p == 1 ? 2 : 1));
    }
    assert_true(EkParamsFind(params[0], "fc0.weight") >= 0 && EkParamsFind(params[0], "conv1.weights1") >= 0);
    assert_memory_equal(params[0]->weights, params[2]->weights, params[0]->total * sizeof(float));
    for (int t = 0; t < params[0]->n; t++) {
      expect_published_draw(params[0], t, options.width);
      for (int other = 0; other < params[0]->n; other++) {
        if ((other < t && same_numbers(params[0], t, params[0], other)) || same_numbers(params[0], t, params[1], other))
          fail_msg("%s is drawn as %s is", params[0]->table[t].name, params[0]->table[other].name);
      }
    }
    for (int p = 0; p < 3; p++) EK_OK(EkParamsDestroy(&params[p]));
  }
}

static void wrong_models_are_refused(void **state)
{
  const PetscInt n[2] = {16, 16};
  EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, "fno2d"), .width = 4, .modes = {1, {12}}};
  EkModelShape   shape = {EkGridMake(2, n), 1, 1};
  EkParams       params;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_FAILS(EkModelDeclare(&options, &shape, params), "model_modes");
  options.type = EkFamilyFind(&EkModelFamily, "fno1d");
  EK_FAILS(EkModelDeclare(&options, &shape, params), "model_type");
  EK_OK(EkParamsDestroy(&params));
}

/* From its tensors alone a network can be declared again: the same tensors of the same modules. */
static void expect_recognised(EkParams params, int type, const EkModelShape *shape)
{
  EkModelOptions options;
  EkModelShape   data;
  EkParams       again;
  PetscBool      known;

  EK_OK(EkModelRecognise(params->n, params->table, &options, &data, &known));
  assert_true(known && options.type == type && data.fields == shape->fields && data.initial_step == shape->initial_step);
  EK_OK(EkParamsCreate(&again));
  EK_OK(EkModelDeclare(&options, &data, again));
  assert_int_equal(again->n, params->n);
  for (int t = 0; t < again->n; t++) {
    const EkTensorInfo *a = &again->table[t], *b = &params->table[t];

    assert_string_equal(a->name, b->name);
    assert_true(a->rank == b->rank && a->is_complex == b->is_complex && again->info[t].kind == params->info[t].kind);
    assert_memory_equal(a->shape, b->shape, sizeof(*a->shape) * (size_t)a->rank);
  }
  EK_OK(EkParamsDestroy(&again));
  params->table[params->n - 2].shape[0] = 0; /* whatever a file says, nothing is divided by it */
  EK_OK(EkModelRecognise(params->n, params->table, &options, &data, &known));
  assert_false(known);
}

/* Tensors of another network than the deck's: the hint names the model and the keys that differ, none where nothing does. */
static void networks_are_recognised(void **state)
{
#define DPOT(...)                                                                                                                \
  {                                                                                                                              \
    .preset = 0, .embed_dim = 16, .depth = 3, .n_blocks = 2, .patch_size = 4, .out_layer_dim = 5, .mlp_ratio = 2,                \
    .modes = {1, {2}}, __VA_ARGS__                                                                                               \
  }
  static const struct {
    const char    *type;
    EkModelOptions options;
    const char    *words; /* for the deck below */
  } net[] = {{"fno1d", {.width = 6, .modes = {1, {5}}}, "fno1d; for them, set model: {type: fno1d, width: 6, modes: [5]}"},
             {"fno2d", {.width = 6, .modes = {1, {5}}}, "fno2d; for them, set model: {width: 6, modes: [5]}"},
             {"fno2d", {.width = 4, .modes = {2, {5, 3}}}, "fno2d; for them, set model: {modes: [5, 3]}"},
             {"fno2d", {.width = 6, .modes = {2, {3, 3}}}, "fno2d; for them, set model: {width: 6}"},
             {"unet1d", {.features = 4}, "unet1d; for them, set model: {type: unet1d, features: 4}"},
             {"unet2d", {.features = 8}, "unet2d; for them, set model: {type: unet2d, features: 8}"},
             {"dpot", DPOT(.n_cls = 12, .normalize = PETSC_TRUE),
              "dpot; for them, set model: {type: dpot, embed_dim: 16, depth: 3, n_blocks: 2, patch_size: 4, out_layer_dim: 5, "
              "mlp_ratio: 2, normalize: true}"},
             {"dpot", DPOT(.time_agg = EK_TIME_MLP, .n_cls = 7), "out_layer_dim: 5, mlp_ratio: 2, time_agg: mlp, n_cls: 7}"}};
#undef DPOT
  const EkModelOptions deck = {.type = EkFamilyFind(&EkModelFamily, "fno2d"), .width = 4, .modes = {1, {3}}, .n_cls = 12};
  const PetscInt       n[2] = {32, 32};
  EkTensorInfo         nothing = {.name = "conv0.weights1", .rank = 5};
  EkModelOptions       other;
  EkModelShape         data;
  PetscBool            known;
  char                 text[512];

  (void)state;
  for (size_t i = 0; i < sizeof(net) / sizeof(net[0]); i++) {
    EkModelOptions options = net[i].options;
    EkModelShape   shape = {EkGridMake(strstr(net[i].type, "1d") ? 1 : 2, n), 2, 3};
    EkParams       params;

    options.type = EkFamilyFind(&EkModelFamily, net[i].type);
    EK_OK(EkParamsCreate(&params));
    EK_OK(EkModelDeclare(&options, &shape, params));
    EK_OK(EkModelGuess(&deck, params->n, params->table, text, sizeof(text)));
    if (!strstr(text, net[i].words)) fail_msg("'%s' is not in '%s'", net[i].words, text);
    EK_OK(EkModelGuess(&options, params->n, params->table, text, sizeof(text)));
    assert_string_equal(text, "");
    expect_recognised(params, options.type, &shape);
    EK_OK(EkParamsDestroy(&params));
  }
  EK_OK(EkModelGuess(&deck, 1, &nothing, text, sizeof(text)));
  assert_string_equal(text, "");
  EK_OK(EkModelRecognise(1, &nothing, &other, &data, &known));
  assert_false(known);
}

/* Bytes that a graph of `steps` rollout steps holds beside its arena. */
static size_t held_bytes(const EkModelOptions *options, const EkModelShape *shape, PetscBool gradients, int steps)
{
  EkTensor frames, coordinates, prediction[5];
  EkParams params;
  EkGraph  graph;
  size_t   held;

  EK_OK(EkParamsCreate(&params));
  EK_OK(EkModelDeclare(options, shape, params));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkGraphCreate(params, 2, gradients, &graph));
  EK_OK(EkGraphInput(graph, shape->initial_step * shape->fields, shape->grid, PETSC_FALSE, &frames));
  EK_OK(EkGraphInput(graph, shape->grid.dim, shape->grid, PETSC_FALSE, &coordinates));
  EK_OK(EkModelRollout(options, shape, graph, frames, coordinates, steps, prediction));
  EK_OK(EkGraphKeep(graph, prediction[steps - 1]));
  EK_OK(EkGraphPlan(graph));
  held = EkGraphHeld(graph);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
  return held;
}

/* Transforms, constants and products of weights are there once, however many steps use them; without gradients there is less of
 * it. */
static void steps_share_what_is_not_planned(void **state)
{
#define DPOT(aggregation)                                                                                                        \
  "dpot",                                                                                                                        \
  {                                                                                                                              \
    .embed_dim = 16, .depth = 2, .n_blocks = 2, .patch_size = 4, .out_layer_dim = 3, .mlp_ratio = 1, .modes = {1, {3}},          \
    .n_cls = 2, .time_agg = aggregation                                                                                          \
  }
#define FNO(form)                                                                                                                \
  {                                                                                                                              \
    .width = 6, .modes = {1, {5}}, .transform = form                                                                             \
  }
  static const struct {
    const char    *type;
    EkModelOptions options;
  } net[] = {{"fno1d", FNO(EK_CHOOSE_FFT)},  {"fno1d", FNO(EK_CHOOSE_GEMM)}, {"fno2d", FNO(EK_CHOOSE_FFT)},
             {"fno2d", FNO(EK_CHOOSE_GEMM)}, {DPOT(EK_TIME_EXP_MLP)},        {DPOT(EK_TIME_MLP)}};
#undef DPOT
#undef FNO
  const PetscInt n[2] = {16, 24};

  (void)state;
  for (size_t i = 0; i < sizeof(net) / sizeof(net[0]); i++) {
    const EkModelShape shape = {EkGridMake(strstr(net[i].type, "1d") ? 1 : 2, n), 2, 3};
    EkModelOptions     options = net[i].options;

    options.type = EkFamilyFind(&EkModelFamily, net[i].type);
    for (int gradients = 0; gradients < 2; gradients++) {
      const size_t two = held_bytes(&options, &shape, (PetscBool)gradients, 2),
                   five = held_bytes(&options, &shape, (PetscBool)gradients, 5);

      if (!two || two != five) fail_msg("%s, gradients %d: %zu bytes for 2 steps, %zu for 5", net[i].type, gradients, two, five);
    }
    assert_true(held_bytes(&options, &shape, PETSC_FALSE, 2) <= held_bytes(&options, &shape, PETSC_TRUE, 2));
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fno1d_matches_pytorch),
    cmocka_unit_test(fno2d_matches_pytorch),
    cmocka_unit_test(parameter_counts_are_the_published_ones),
    cmocka_unit_test(initial_weights_are_drawn_as_published),
    cmocka_unit_test(wrong_models_are_refused),
    cmocka_unit_test(networks_are_recognised),
    cmocka_unit_test(steps_share_what_is_not_planned),
};
EK_TEST_MAIN(tests)
