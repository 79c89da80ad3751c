/* ranks: 1 2 3 */
/* DPOT against PyTorch, its sizes, its rollout, AFNO against sums of exponentials; the batch spread over the ranks, one of three
 * without a sample. */
#include "model_support.h"
#include "../src/model/dpot.h"
#include <complex.h>

static EkModelOptions options_of(const char *preset)
{
  return (EkModelOptions){
      .type = EkFamilyFind(&EkModelFamily, "dpot"), .preset = EkFamilyFind(&EkPresetFamily, preset), .n_cls = 12};
}

/* The network of the cases. */
static EkModelOptions small_options(PetscBool normalize)
{
  EkModelOptions o = options_of("tiny");

  o.embed_dim = 32, o.depth = 2, o.n_blocks = 4, o.patch_size = 4, o.out_layer_dim = 8, o.mlp_ratio = 2,
  o.modes = (EkInts){1, {4}}, o.n_cls = 5, o.normalize = normalize;
  EK_OK(EkModelSettle(&o));
  return o;
}

static void dpot_matches_pytorch(void **state)
{
  const CaseKind plain = {"tests/data/cases/dpot.h5", small_options(PETSC_FALSE), 2, 4, 3, PETSC_FALSE};
  const CaseKind normalized = {"tests/data/cases/dpot_normalized.h5", small_options(PETSC_TRUE), 2, 4, 3, PETSC_FALSE};

  (void)state;
  check_case(&plain);
  check_case(&normalized);
}

/* The case's window and weights again, through the class head. */
static void check_logits(const CaseKind *kind)
{
  EkGraph      graph;
  EkTensor     frames, window, logits;
  Case         k;
  hsize_t      dims[8];
  const float *value;
  float       *want, got[8];
  size_t       step;

  case_open(&k, kind);
  EK_OK(EkGraphCreate(k.params, k.hi - k.lo + 1, PETSC_FALSE, &graph));
  EK_OK(EkGraphInput(graph, 5 * 3, k.shape.grid, PETSC_FALSE, &frames));
  EK_OK(EkGraphSlice(graph, frames, 0, 4 * 3, &window));
  EK_OK(EkDpotClassLogits(&kind->options, &k.shape, graph, 1, &window, &logits));
  EK_OK(EkGraphKeep(graph, logits));
  EK_OK(EkGraphPlan(graph));
  EK_OK(EkGraphBind(graph, frames, k.values, 5 * 3 * k.shape.grid.stride));
  EK_OK(EkGraphForward(graph, k.hi - k.lo, 1));
  EK_OK(EkGraphGetValue(graph, logits, &value, &step));
  want = case_array(k.file, "class_logits", dims);
  for (int b = k.lo; b < k.hi; b++) {
    for (size_t c = 0; c < 5; c++) got[c] = value[(size_t)(b - k.lo) * step + c * step / 5];
    assert_true(EkTestDistance(5, got, want + 5 * b) < 1e-4);
  }
  free(want);
  EK_OK(EkGraphDestroy(&graph));
  case_close(&k);
}

static void class_logits_match_pytorch(void **state)
{
  const CaseKind plain = {"tests/data/cases/dpot.h5", small_options(PETSC_FALSE), 2, 4, 3, PETSC_FALSE};
  const CaseKind normalized = {"tests/data/cases/dpot_normalized.h5", small_options(PETSC_TRUE), 2, 4, 3, PETSC_FALSE};

  (void)state;
  check_logits(&plain);
  check_logits(&normalized);
}

static void declare(EkModelOptions *o, PetscInt nx, PetscInt ny, EkParams *params)
{
  const EkModelShape shape = {EkGridMake(2, (const PetscInt[2]){nx, ny}), 4, 10};

  EK_OK(EkModelSettle(o));
  EK_OK(EkParamsCreate(params));
  EK_OK(EkModelDeclare(o, &shape, *params));
}

/* models-and-data 5.3: counted, not allocated. */
static void presets_have_the_published_sizes(void **state)
{
  static const struct {
    const char *preset;
    int         tensors;
    PetscInt64  parameters;
  } published[] = {{"tiny", 67, 7534643},
                   {"small", 91, 30801459},
                   {"medium", 163, 122125875},
                   {"large", 307, 509018739},
                   {"huge", 343, 1031082099}};

  (void)state;
  assert_int_equal(EkPresetFamily.count, 5);
  for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
    EkModelOptions o = options_of(published[i].preset);
    EkParams       params;

    declare(&o, 128, 128, &params);
    assert_int_equal(params->n, published[i].tensors);
    assert_int_equal(EkParamsCount(params, PETSC_TRUE), published[i].parameters);
    EK_OK(EkParamsDestroy(&params));
  }
}

static void given_sizes_override_the_preset(void **state)
{
  EkModelOptions o = options_of("small");
  EkParams       params;

  (void)state;
  o.embed_dim = 96, o.depth = 1, o.mlp_ratio = 1.5, o.patch_size = 4;
  declare(&o, 32, 16, &params);
  assert_true(o.n_blocks == 8 && o.out_layer_dim == 32 && o.modes.n == 1 && o.modes.v[0] == 32);
  assert_int_equal(params->table[0].shape[2], 8);
  assert_int_equal(params->table[0].shape[3], 4);
  assert_int_equal(params->table[EkParamsFind(params, "blocks.0.mlp.0.weight")].shape[0], 144);
  assert_int_equal(params->table[EkParamsFind(params, "out_layer.0.weight")].shape[1], 32);
  assert_int_equal(EkParamsFind(params, "blocks.1.norm1.weight"), -1);
  EK_OK(EkParamsDestroy(&params));
}

/* How a tensor is analysed follows from its kind. */
static void tensors_have_their_kinds(void **state)
{
  static const struct {
    const char  *name;
    EkModuleKind kind;
  } published[] = {{"pos_embed", EK_MODULE_OTHER},
                   {"patch_embed.proj.0.weight", EK_MODULE_CONV2D},
                   {"patch_embed.proj.2.weight", EK_MODULE_CONV2D},
                   {"blocks.0.norm1.weight", EK_MODULE_OTHER},
                   {"blocks.0.filter.w1", EK_MODULE_AFNO},
                   {"blocks.0.filter.b1", EK_MODULE_OTHER},
                   {"blocks.0.filter.w2", EK_MODULE_AFNO},
                   {"blocks.0.mlp.0.weight", EK_MODULE_CONV2D},
                   {"blocks.3.mlp.2.bias", EK_MODULE_OTHER},
                   {"cls_head.0.weight", EK_MODULE_LINEAR},
                   {"cls_head.4.weight", EK_MODULE_LINEAR},
                   {"time_agg_layer.w", EK_MODULE_TIME_AGG},
                   {"time_agg_layer.gamma", EK_MODULE_OTHER},
                   {"out_layer.0.weight", EK_MODULE_TRANSPOSED},
                   {"out_layer.4.bias", EK_MODULE_OTHER}};
  EkModelOptions o = options_of("tiny");
  EkParams       params;

  (void)state;
  declare(&o, 128, 128, &params);
  for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
    const int p = EkParamsFind(params, published[i].name);

    assert_true(p >= 0);
    assert_int_equal(params->info[p].kind, published[i].kind);
  }
  EK_OK(EkParamsDestroy(&params));
}

/* models-and-data 6.3: PyTorch's order is the optimizer's and the checkpoint's. */
static void expect_table(const char *preset, PetscBool normalize, PetscInt D, int depth, PetscInt blocks, PetscInt hidden)
{
  EkModelOptions o = options_of(preset);
  const PetscInt each = D / blocks;
  EkParams       params;
  int            at = 0;

  o.normalize = normalize;
  declare(&o, 128, 64, &params);
  expect_entry(params, &at, SHAPE(1, D, 16, 8), "pos_embed");
  expect_entry(params, &at, SHAPE(35, 7, 8, 8), "patch_embed.proj.0.weight");
  expect_entry(params, &at, SHAPE(35), "patch_embed.proj.0.bias");
  expect_entry(params, &at, SHAPE(D, 35, 1, 1), "patch_embed.proj.2.weight");
  expect_entry(params, &at, SHAPE(D), "patch_embed.proj.2.bias");
  for (int i = 0; i < depth; i++) {
    expect_entry(params, &at, SHAPE(D), "blocks.%d.norm1.weight", i);
    expect_entry(params, &at, SHAPE(D), "blocks.%d.norm1.bias", i);
    for (int layer = 1; layer <= 2; layer++) {
      expect_entry(params, &at, SHAPE(2, blocks, each, each), "blocks.%d.filter.w%d", i, layer);
      expect_entry(params, &at, SHAPE(2, blocks, each), "blocks.%d.filter.b%d", i, layer);
    }
    expect_entry(params, &at, SHAPE(D), "blocks.%d.norm2.weight", i);
    expect_entry(params, &at, SHAPE(D), "blocks.%d.norm2.bias", i);
    expect_entry(params, &at, SHAPE(hidden, D, 1, 1), "blocks.%d.mlp.0.weight", i);
    expect_entry(params, &at, SHAPE(hidden), "blocks.%d.mlp.0.bias", i);
    expect_entry(params, &at, SHAPE(D, hidden, 1, 1), "blocks.%d.mlp.2.weight", i);
    expect_entry(params, &at, SHAPE(D), "blocks.%d.mlp.2.bias", i);
  }
  for (int i = 0; i < 2 && normalize; i++) {
    expect_entry(params, &at, SHAPE(D, 8), "scale_feats_%s.weight", i ? "sigma" : "mu");
    expect_entry(params, &at, SHAPE(D), "scale_feats_%s.bias", i ? "sigma" : "mu");
  }
  for (int i = 0; i <= 4; i += 2) {
    expect_entry(params, &at, SHAPE(i == 4 ? 12 : D, D), "cls_head.%d.weight", i);
    expect_entry(params, &at, SHAPE(i == 4 ? 12 : D), "cls_head.%d.bias", i);
  }
  expect_entry(params, &at, SHAPE(10, D, D), "time_agg_layer.w");
  expect_entry(params, &at, SHAPE(1, D), "time_agg_layer.gamma");
  expect_entry(params, &at, SHAPE(D, 32, 8, 8), "out_layer.0.weight");
  expect_entry(params, &at, SHAPE(32), "out_layer.0.bias");
  for (int i = 2; i <= 4; i += 2) {
    expect_entry(params, &at, SHAPE(i == 4 ? 4 : 32, 32, 1, 1), "out_layer.%d.weight", i);
    expect_entry(params, &at, SHAPE(i == 4 ? 4 : 32), "out_layer.%d.bias", i);
  }
  assert_int_equal(at, params->n);
  EK_OK(EkParamsDestroy(&params));
}

static void all_names_and_shapes_are_in_order(void **state)
{
  (void)state;
  expect_table("tiny", PETSC_FALSE, 512, 4, 4, 512);
  expect_table("tiny", PETSC_TRUE, 512, 4, 4, 512);
  expect_table("medium", PETSC_FALSE, 1024, 12, 8, 4096);
}

/* models-and-data 5.2; 32 channels in 4 blocks of 8, 10 frames. */
static void initial_weights_are_drawn_as_published(void **state)
{
  EkModelOptions o = small_options(PETSC_TRUE);
  const float   *gamma;
  EkParams       params;

  (void)state;
  declare(&o, 32, 32, &params);
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkParamsInitialise(params, 1));
  gamma = params->weights + params->table[EkParamsFind(params, "time_agg_layer.gamma")].offset;
  assert_true(gamma[0] == 0x1p-10f && gamma[31] == 0x1p10f);
  for (int i = 1; i < 32; i++) assert_true(fabs(gamma[i] / gamma[i - 1] - exp2(20.0 / 31)) < 1e-5);
  for (int p = 0; p < params->n; p++) {
    const char *name = params->table[p].name;

    if (strstr(name, ".gamma")) continue;
    if (!strcmp(name, "pos_embed"))
      check_draw(params, p, -2, 2, 0, 0.02);
    else if (!strcmp(name, "time_agg_layer.w"))
      check_draw(params, p, -1, 1, 0, 1 / (10 * sqrt(32)));
    else if (strstr(name, ".filter."))
      check_uniform(params, p, 0, 1.0 / 64);
    else if (strstr(name, ".norm"))
      check_constant(params, p, strstr(name, ".weight") ? 1 : 0);
    else
      check_default_draw(params, p);
  }
  EK_OK(EkParamsDestroy(&params));
}

static void wrong_sizes_are_refused(void **state)
{
  static const struct {
    PetscInt    embed_dim, n_blocks, patch_size, nx;
    PetscReal   ratio;
    const char *line;
  } wrong[] = {{0, 0, 0, 100, 0, "model_patch_size: axis 0 of the grid has 100 points, no whole number of patches of 8"},
               {512, 5, 0, 128, 0, "model_n_blocks: model_embed_dim 512 is no multiple of 5"},
               {100, 4, 0, 128, 0, "model_embed_dim: 100 is no multiple of 8, the groups of GroupNorm"},
               {32, 4, 0, 128, 0.01, "model_mlp_ratio: no hidden channel is left of model_embed_dim 32"}};

  (void)state;
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    const EkModelShape shape = {EkGridMake(2, (const PetscInt[2]){wrong[i].nx, 128}), 4, 10};
    EkModelOptions     o = options_of("tiny");
    EkParams           params;

    o.embed_dim = wrong[i].embed_dim, o.n_blocks = wrong[i].n_blocks, o.patch_size = wrong[i].patch_size,
    o.mlp_ratio = wrong[i].ratio;
    EK_OK(EkModelSettle(&o));
    EK_OK(EkParamsCreate(&params));
    EK_FAILS(EkModelDeclare(&o, &shape, params), wrong[i].line);
    EK_OK(EkParamsDestroy(&params));
  }
}

/* ---- a rollout on a grid that is not square -------------------------------------------------------------------- */

#define STEPS   3
#define SAMPLES 2
typedef struct {
  EkModelOptions options;
  EkModelShape   shape;
  EkParams       params;
  EkGraph        graph;
  EkTensor       prediction[STEPS];
  float         *values;
  size_t         sample;
} Small;

/* Two frames of two fields are given, the third prediction sees nothing else than predictions. */
static void small_open(Small *s, PetscBool normalize, EkTimeAgg time_agg)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 4);
  EkTensor frames;
  PetscInt target[STEPS];

  *s = (Small){.options = small_options(normalize), .shape = {EkGridMake(2, (const PetscInt[2]){16, 24}), 2, 2}};
  s->options.embed_dim = 16, s->options.time_agg = time_agg;
  s->sample = (2 + STEPS) * 2 * s->shape.grid.stride;
  s->values = malloc(SAMPLES * s->sample * sizeof(float));
  for (size_t i = 0; i < SAMPLES * s->sample; i++) s->values[i] = (float)EkNormal(&stream);
  EK_OK(EkParamsCreate(&s->params));
  EK_OK(EkModelDeclare(&s->options, &s->shape, s->params));
  EK_OK(EkParamsAllocate(s->params));
  EK_OK(EkParamsInitialise(s->params, 2));
  EK_OK(EkGraphCreate(s->params, SAMPLES, PETSC_TRUE, &s->graph));
  EK_OK(EkGraphInput(s->graph, (2 + STEPS) * 2, s->shape.grid, PETSC_FALSE, &frames));
  for (int i = 0; i < STEPS; i++) target[i] = 2 + i;
  EK_OK(EkModelRollout(&s->options, &s->shape, s->graph, frames, EK_NONE, STEPS, s->prediction));
  EK_OK(EkModelLosses(&s->shape, s->graph, EkLossMse, frames, EK_NONE, STEPS, target, s->prediction));
  EK_OK(EkGraphKeep(s->graph, s->prediction[STEPS - 1]));
  EK_OK(EkGraphPlan(s->graph));
  EK_OK(EkGraphBind(s->graph, frames, s->values, s->sample));
}

static void small_close(Small *s)
{
  free(s->values);
  EK_OK(EkGraphDestroy(&s->graph));
  EK_OK(EkParamsDestroy(&s->params));
}

static double small_loss(Small *s)
{
  EK_OK(EkGraphForward(s->graph, SAMPLES, 1));
  return EkGraphLoss(s->graph);
}

/* Initial weights leave AFNO's layers without a say and little of the window behind the last layers, and cosines of 1024 t do not
   bear differences. */
static void enlarge(EkParams params)
{
  EkRandom stream = EkRandomStream(2, EK_RANDOM_TEST, 4);

  for (int p = 0; p < params->n; p++) {
    const EkTensorInfo *t = &params->table[p];
    const int           drawn = strstr(t->name, ".filter.") || !strncmp(t->name, "time_agg", 8) || !strcmp(t->name, "pos_embed"),
              larger = strstr(t->name, "patch_embed") || strstr(t->name, ".mlp.") || strstr(t->name, "out_layer");
    float *w = params->weights + t->offset;

    for (size_t i = 0; i < t->count; i++) w[i] = drawn ? (float)EkUniformIn(&stream, -0.7, 0.7) : larger ? 3 * w[i] : w[i];
  }
}

/* Slope along the gradient of every parameter through three steps that share it. The difference is a hundredth of the loss, or as
   much as a step of 0.02 gives; what rounding may do to it is small beside it for every tensor. */
static void check_rollout(PetscBool normalize, EkTimeAgg time_agg)
{
  double loss;
  Small  s;

  small_open(&s, normalize, time_agg);
  enlarge(s.params);
  loss = small_loss(&s);
  EK_OK(EkGraphBackward(s.graph));
  for (int p = 0; p < s.params->n; p++) {
    const EkTensorInfo *t = &s.params->table[p];
    float *w = s.params->weights + t->offset, *g = s.params->gradients + t->offset, *start = malloc(t->count * sizeof(float));
    double size = 0, difference, step, rounding;

    memcpy(start, w, t->count * sizeof(float));
    for (size_t i = 0; i < t->count; i++) size += (double)g[i] * g[i];
    size = sqrt(size);
    assert_true((size > 0) == (strncmp(t->name, "cls_head", 8) != 0));
    step = fmin(0.005 * loss / size, 0.02), rounding = 2e-7 * loss / step;
    for (size_t i = 0; i < t->count && size > 0; i++) w[i] = (float)(start[i] + step * g[i] / size);
    difference = small_loss(&s);
    for (size_t i = 0; i < t->count && size > 0; i++) w[i] = (float)(start[i] - step * g[i] / size);
    difference = (difference - small_loss(&s)) / (2 * step);
    memcpy(w, start, t->count * sizeof(float));
    if (size > 0 && size < 20 * rounding) fail_msg("%s: a gradient of %g, differences are within %g", t->name, size, rounding);
    if (size > 0 && !(fabs(size - difference) <= 5e-3 * size + rounding))
      fail_msg("%s: gradient says %g, differences say %g", t->name, size, difference);
    free(start);
  }
  small_close(&s);
}

static void rollouts_have_the_gradients_of_all_steps(void **state)
{
  (void)state;
  check_rollout(PETSC_FALSE, EK_TIME_EXP_MLP);
  check_rollout(PETSC_TRUE, EK_TIME_EXP_MLP);
  check_rollout(PETSC_FALSE, EK_TIME_MLP);
}

/* Products take a sample at a time, so its values do not depend on the others, to the last bit. */
static void samples_do_not_know_each_other(void **state)
{
  Small        s;
  const float *value;
  float       *second;
  size_t       step;

  (void)state;
  small_open(&s, PETSC_TRUE, EK_TIME_EXP_MLP);
  assert_false(EkGraphIsCoupled(s.graph));
  EK_OK(EkGraphForward(s.graph, SAMPLES, 1));
  EK_OK(EkGraphGetValue(s.graph, s.prediction[STEPS - 1], &value, &step));
  second = malloc(step * sizeof(float));
  memcpy(second, value + step, step * sizeof(float));
  memcpy(s.values, s.values + s.sample, s.sample * sizeof(float));
  EK_OK(EkGraphForward(s.graph, 1, 1));
  for (size_t c = 0; c < 2; c++)
    assert_memory_equal(value + c * s.shape.grid.stride, second + c * s.shape.grid.stride, s.shape.grid.points * sizeof(float));
  EK_OK(EkGraphForward(s.graph, 0, 1)); /* a rank without samples */
  EK_OK(EkGraphBackward(s.graph));
  assert_true(EkGraphLoss(s.graph) == 0);
  free(second);
  small_close(&s);
}

/* ---- AFNO ------------------------------------------------------------------------------------------------------- */

#define CHANNELS 6
#define BLOCKS   3
#define EACH     (CHANNELS / BLOCKS)
#define MOST     (8 * 8)

static double gelu(double x)
{
  return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

/* Block-diagonal product of one coefficient's channels; w (2, BLOCKS, in, out), b (2, BLOCKS, out). */
static void mix(const float *w, const float *b, const double complex *in, double complex *out)
{
  for (int c = 0; c < CHANNELS; c++) {
    const int block = c / EACH, o = c % EACH;

    out[c] = b[c] + I * (double)b[CHANNELS + c];
    for (int i = 0; i < EACH; i++) {
      const int at = (block * EACH + i) * EACH + o;

      out[c] += in[block * EACH + i] * (w[at] + I * (double)w[CHANNELS * EACH + at]);
    }
  }
}

/* By the definition: sums of exponentials over all points; the inverse takes a complex sum over k1, then the real part of columns
   k2 = 0 and n1/2 once, of the others twice. What the two layers leave in column 0 is not Hermitian. */
static void direct_afno(const PetscInt n[2], PetscInt modes, const float *const w[2], const float *const b[2], size_t stride,
                        const float *x, float *y)
{
  const double root = sqrt((double)(n[0] * n[1]));

  for (int c = 0; c < CHANNELS; c++) memcpy(y + c * stride, x + c * stride, (size_t)(n[0] * n[1]) * sizeof(float));
  for (PetscInt k1 = 0; k1 < n[0] && k1 < modes; k1++) {
    for (PetscInt k2 = 0; k2 <= n[1] / 2 && k2 < modes; k2++) {
      double complex spectrum[CHANNELS] = {0}, hidden[CHANNELS], result[CHANNELS], turn[MOST];

      for (PetscInt r = 0; r < n[0]; r++) {
        for (PetscInt j = 0; j < n[1]; j++)
          turn[r * n[1] + j] = cexp(2 * M_PI * I * ((double)(k1 * r) / (double)n[0] + (double)(k2 * j) / (double)n[1])) / root;
      }
      for (int c = 0; c < CHANNELS; c++) {
        for (PetscInt i = 0; i < n[0] * n[1]; i++) spectrum[c] += x[c * stride + (size_t)i] * conj(turn[i]);
      }
      mix(w[0], b[0], spectrum, hidden);
      for (int c = 0; c < CHANNELS; c++) hidden[c] = gelu(creal(hidden[c])) + I * gelu(cimag(hidden[c]));
      mix(w[1], b[1], hidden, result);
      for (int c = 0; c < CHANNELS; c++) {
        for (PetscInt i = 0; i < n[0] * n[1]; i++)
          y[c * stride + (size_t)i] += (float)((k2 == 0 || 2 * k2 == n[1] ? 1 : 2) * creal(result[c] * turn[i]));
      }
    }
  }
}

/* Both layers' weights between -size and size. */
static void run_afno(const PetscInt n[2], PetscInt modes, double size, float *x, float **got, float **want)
{
  static const char *const name[4] = {"w1", "b1", "w2", "b2"};
  const PetscInt           shape[4] = {2, BLOCKS, EACH, EACH};
  const EkGrid             grid = EkGridMake(2, n);
  const size_t             floats = CHANNELS * grid.stride;
  const float             *part[4], *value;
  EkTensor                 input, out;
  EkParams                 params;
  EkGraph                  graph;
  size_t                   step;

  EK_OK(EkParamsCreate(&params));
  for (int i = 0; i < 4; i++) EK_OK(EkParamsAdd(params, name[i], EK_MODULE_AFNO, PETSC_FALSE, i % 2 ? 3 : 4, shape, -size, size));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkParamsInitialise(params, 1));
  EK_OK(EkGraphCreate(params, 1, PETSC_FALSE, &graph));
  EK_OK(EkGraphInput(graph, CHANNELS, grid, PETSC_FALSE, &input));
  EK_OK(EkAfno(graph, input, modes, "w1", "b1", "w2", "b2", &out));
  EK_OK(EkGraphKeep(graph, out));
  EK_OK(EkGraphPlan(graph));
  EK_OK(EkGraphBind(graph, input, x, floats));
  EK_OK(EkGraphForward(graph, 1, 1));
  EK_OK(EkGraphGetValue(graph, out, &value, &step));
  *got = calloc(floats, sizeof(float)), *want = calloc(floats, sizeof(float));
  for (size_t c = 0; c < CHANNELS; c++) memcpy(*got + c * grid.stride, value + c * grid.stride, grid.points * sizeof(float));
  for (int i = 0; i < 4; i++) part[i] = params->weights + params->table[i].offset;
  direct_afno(n, modes, (const float *const[2]){part[0], part[2]}, (const float *const[2]){part[1], part[3]}, grid.stride, x,
              *want);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

static void check_afno(PetscInt n0, PetscInt n1, PetscInt modes, double size)
{
  const PetscInt n[2] = {n0, n1};
  const EkGrid   grid = EkGridMake(2, n);
  EkRandom       stream = EkRandomStream(3, EK_RANDOM_TEST, 2);
  float         *x = calloc(CHANNELS * grid.stride, sizeof(float)), *got, *want;

  for (size_t c = 0; c < CHANNELS; c++) {
    for (size_t i = 0; i < grid.points; i++) x[c * grid.stride + i] = (float)EkNormal(&stream);
  }
  run_afno(n, modes, size, x, &got, &want);
  assert_true(EkTestDistance(CHANNELS * grid.stride, got, want) < (size > 0 ? 2e-6 : 1e-7));
  if (size > 0) assert_true(EkTestDistance(CHANNELS * grid.stride, got, x) > 0.1);
  free(x), free(got), free(want);
}

static void afno_equals_sums_of_exponentials(void **state)
{
  (void)state;
  check_afno(8, 8, 32, 1);
  check_afno(6, 8, 32, 1);
  check_afno(5, 7, 32, 1);
  check_afno(8, 6, 3, 1);
}

static void afno_without_weights_is_the_identity(void **state)
{
  (void)state;
  check_afno(8, 8, 32, 0);
  check_afno(8, 6, 2, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(dpot_matches_pytorch),
    cmocka_unit_test(class_logits_match_pytorch),
    cmocka_unit_test(presets_have_the_published_sizes),
    cmocka_unit_test(given_sizes_override_the_preset),
    cmocka_unit_test(tensors_have_their_kinds),
    cmocka_unit_test(all_names_and_shapes_are_in_order),
    cmocka_unit_test(initial_weights_are_drawn_as_published),
    cmocka_unit_test(wrong_sizes_are_refused),
    cmocka_unit_test(rollouts_have_the_gradients_of_all_steps),
    cmocka_unit_test(samples_do_not_know_each_other),
    cmocka_unit_test(afno_equals_sums_of_exponentials),
    cmocka_unit_test(afno_without_weights_is_the_identity),
};
EK_TEST_MAIN(tests)
