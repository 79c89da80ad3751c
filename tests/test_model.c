/* ranks: 1 2 3 */
/* Models against PyTorch: outputs, gradients and three Adam steps of tests/data/cases, the batch spread over the ranks. */
#include "support.h"
#include "evenkeel/mesh.h"
#include "evenkeel/model.h"
#include "evenkeel/optim.h"
#include <hdf5.h>

typedef struct {
  EkModelOptions options;
  EkModelShape   shape;
  EkParams       params;
  EkGraph        graph;
  EkMesh         mesh;
  EkTensor       frames, coordinates, prediction;
  int            samples, lo, hi;                          /* of the case; my part */
  float         *values, *points, *expected;               /* planar: (hi - lo, (t0 + 1) * C, stride), (hi - lo, dim, stride); PyTorch's layout */
  hid_t          file;
} Case;

static float *read_array(hid_t file, const char *name, hsize_t dims[8])
{
  hid_t   set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set);
  int     rank  = H5Sget_simple_extent_dims(space, dims, NULL);
  size_t  count = 1;
  float  *data;

  for (int i = 0; i < rank; i++) count *= dims[i];
  data = malloc(count * sizeof(float));
  assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
  H5Sclose(space);
  H5Dclose(set);
  return data;
}

/* PyTorch (points, channels) -> planes */
static void to_planes(const float *from, size_t points, size_t channels, size_t stride, float *to)
{
  for (size_t c = 0; c < channels; c++) {
    for (size_t p = 0; p < points; p++) to[c * stride + p] = from[p * channels + c];
  }
}

static void load_fields(Case *k)
{
  hsize_t      dims[8];
  const size_t points = k->shape.grid.points, stride = k->shape.grid.stride;
  const size_t dim = (size_t)k->shape.grid.dim, given = (size_t)(k->shape.initial_step * k->shape.fields), fields = (size_t)k->shape.fields, all = given + fields;
  float       *input = read_array(k->file, "input", dims), *grid = read_array(k->file, "grid", dims), *target = read_array(k->file, "target", dims);

  k->values = calloc((size_t)(k->hi - k->lo + 1) * all * stride, sizeof(float));
  k->points = calloc((size_t)(k->hi - k->lo + 1) * dim * stride, sizeof(float));
  for (int b = k->lo; b < k->hi; b++) {
    float *to = k->values + (size_t)(b - k->lo) * all * stride;

    to_planes(input + (size_t)b * points * given, points, given, stride, to);
    to_planes(target + (size_t)b * points * fields, points, fields, stride, to + given * stride);
    to_planes(grid + (size_t)b * points * dim, points, dim, stride, k->points + (size_t)(b - k->lo) * dim * stride);
  }
  k->expected = read_array(k->file, "output", dims);
  free(input), free(grid), free(target);
}

static void build(Case *k)
{
  const PetscInt target = k->shape.initial_step;

  EK_OK(EkParamsCreate(&k->params));
  EK_OK(EkModelDeclare(&k->options, &k->shape, k->params));
  EK_OK(EkParamsAllocate(k->params));
  EK_OK(EkGraphCreate(k->params, k->hi - k->lo + 1, PETSC_TRUE, &k->graph));
  EK_OK(EkGraphInput(k->graph, (k->shape.initial_step + 1) * k->shape.fields, k->shape.grid, PETSC_FALSE, &k->frames));
  EK_OK(EkGraphInput(k->graph, k->shape.grid.dim, k->shape.grid, PETSC_FALSE, &k->coordinates));
  EK_OK(EkModelRollout(&k->options, &k->shape, k->graph, k->frames, k->coordinates, 1, &target, &k->prediction));
  EK_OK(EkGraphKeep(k->graph, k->prediction));
  EK_OK(EkGraphPlan(k->graph));
  EK_OK(EkGraphBind(k->graph, k->frames, k->values, (size_t)((k->shape.initial_step + 1) * k->shape.fields) * k->shape.grid.stride));
  EK_OK(EkGraphBind(k->graph, k->coordinates, k->points, (size_t)k->shape.grid.dim * k->shape.grid.stride));
}

static void load_weights(Case *k)
{
  hsize_t dims[8];
  char    name[2 * EK_NAME];

  for (int p = 0; p < k->params->n; p++) {
    float *data;

    snprintf(name, sizeof(name), "params/%s", k->params->table[p].name);
    data = read_array(k->file, name, dims);
    for (int i = 0; i < k->params->table[p].rank; i++) assert_true((hsize_t)k->params->table[p].shape[i] == dims[i]);
    memcpy(k->params->weights + k->params->table[p].offset, data, k->params->table[p].count * sizeof(float));
    free(data);
  }
}

static void open_case(Case *k, const char *path, int type, int modes, int transform)
{
  EkMeshOptions mesh = {0, 1, 0};
  hsize_t       dims[8];
  hid_t         set, space;
  PetscInt      n[2];
  PetscInt64    lo, hi;

  memset(k, 0, sizeof(*k));
  k->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(k->file >= 0);
  set   = H5Dopen2(k->file, "output", H5P_DEFAULT);
  space = H5Dget_space(set);
  const int rank = H5Sget_simple_extent_dims(space, dims, NULL), dim = rank - 3;
  H5Sclose(space);
  H5Dclose(set);
  for (int d = 0; d < dim; d++) n[d] = (PetscInt)dims[1 + d];
  k->options = (EkModelOptions){.type = type, .width = 8, .modes = {1, {modes}}, .transform = transform};
  k->shape   = (EkModelShape){EkGridMake(dim, n), (PetscInt)dims[rank - 1], 3};
  k->samples = (int)dims[0];
  EK_OK(EkMeshCreate(EkTestRun(), &mesh, &k->mesh));
  EkSlice(k->samples, k->mesh->ndata, k->mesh->idata, &lo, &hi);
  k->lo = (int)lo;
  k->hi = (int)hi;
  load_fields(k);
  build(k);
  load_weights(k);
}

static void close_case(Case *k)
{
  free(k->values), free(k->points), free(k->expected);
  EK_OK(EkGraphDestroy(&k->graph));
  EK_OK(EkParamsDestroy(&k->params));
  EK_OK(EkMeshDestroy(&k->mesh));
  H5Fclose(k->file);
}

static void gradients(Case *k)
{
  memset(k->params->gradients, 0, k->params->total * sizeof(float));
  EK_OK(EkGraphForward(k->graph, k->hi - k->lo, 1.0 / k->samples));
  EK_OK(EkGraphBackward(k->graph));
  EK_OK(EkMeshSum(k->mesh, k->params->total, k->params->gradients));
}

static void check_output(Case *k)
{
  const size_t points = k->shape.grid.points, fields = (size_t)k->shape.fields, each = points * fields;
  float       *planes = calloc(fields * k->shape.grid.stride, sizeof(float)), *got = malloc(each * sizeof(float));
  const float *value;
  size_t       step;

  EK_OK(EkGraphGetValue(k->graph, k->prediction, &value, &step));
  for (int b = k->lo; b < k->hi; b++) {
    const float *from = value + (size_t)(b - k->lo) * step;

    for (size_t c = 0; c < fields; c++) {
      for (size_t p = 0; p < points; p++) got[p * fields + c] = from[c * k->shape.grid.stride + p];
    }
    assert_true(EkTestDistance(each, got, k->expected + (size_t)b * each) < 1e-4);
  }
  free(planes), free(got);
}

/* Largest distance over the group's tensors, relative to the larger of the tensor's norm and `before`'s. */
static void check_tensors(Case *k, const char *group, const float *arena, const float *before, double tolerance)
{
  hsize_t dims[8];
  char    name[2 * EK_NAME];

  for (int p = 0; p < k->params->n; p++) {
    const EkTensorInfo *t = &k->params->table[p];
    double              difference = 0, norm = 0, old = 0;
    float              *want;

    snprintf(name, sizeof(name), "%s/%s", group, t->name);
    want = read_array(k->file, name, dims);
    for (size_t i = 0; i < t->count; i++) {
      const double d = (double)arena[t->offset + i] - want[i];

      difference += d * d;
      norm += (double)want[i] * want[i];
      if (before) old += (double)before[t->offset + i] * before[t->offset + i];
    }
    if (!(sqrt(difference) < tolerance * sqrt(fmax(norm, old)))) fail_msg("%s: off by %g of %g", name, sqrt(difference), sqrt(fmax(norm, old)));
    free(want);
  }
}

static void check_case(const char *path, int type, int modes, int transform)
{
  EkOptimOptions adam = {.lr = 1e-3, .weight_decay = 1e-4};
  EkOptimizer    optimizer;
  double        *ratio;
  float         *before;
  Case           k;

  open_case(&k, path, type, modes, transform);
  gradients(&k);
  check_output(&k);
  check_tensors(&k, "grads", k.params->gradients, NULL, 1e-4);
  ratio  = malloc((size_t)k.params->n * sizeof(double));
  before = malloc(k.params->total * sizeof(float));
  memcpy(before, k.params->weights, k.params->total * sizeof(float));
  for (int p = 0; p < k.params->n; p++) ratio[p] = 1;
  EK_OK(EkOptimizerCreate(&adam, k.params, 0, k.params->total, &optimizer));
  for (int step = 0; step < 3; step++) {
    gradients(&k);
    EK_OK(EkOptimizerStep(optimizer, adam.lr, ratio));
  }
  check_tensors(&k, "after_3_adam_steps", k.params->weights, before, 1e-4);
  EK_OK(EkOptimizerDestroy(&optimizer));
  free(ratio), free(before);
  close_case(&k);
}

static void fno1d_matches_pytorch(void **state)
{
  (void)state;
  for (int transform = EK_CHOOSE_FFT; transform <= EK_CHOOSE_GEMM; transform++) check_case("tests/data/cases/fno1d.h5", EkFamilyFind(&EkModelFamily, "fno1d"), 6, transform);
}

static void fno2d_matches_pytorch(void **state)
{
  (void)state;
  for (int transform = EK_CHOOSE_FFT; transform <= EK_CHOOSE_GEMM; transform++) check_case("tests/data/cases/fno2d.h5", EkFamilyFind(&EkModelFamily, "fno2d"), 5, transform);
}

/* models-and-data 3.3 */
static void parameter_counts_are_the_published_ones(void **state)
{
  static const struct {
    const char *type;
    int         dim;
    PetscInt    fields, initial, numel, reals;
  } published[] = {{"fno2d", 2, 4, 10, 466544, 927344}, {"fno2d", 2, 1, 1, 465377, 926177}, {"fno1d", 1, 3, 10, 24595, 43795}, {"fno1d", 1, 1, 10, 23937, 43137}};
  const PetscInt n[2] = {64, 64};

  (void)state;
  for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++) {
    EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, published[i].type), .width = 20, .modes = {1, {12}}};
    EkModelShape   shape   = {EkGridMake(published[i].dim, n), published[i].fields, published[i].initial};
    EkParams       params;

    EK_OK(EkParamsCreate(&params));
    EK_OK(EkModelDeclare(&options, &shape, params));
    assert_int_equal(EkParamsCount(params, PETSC_FALSE), published[i].numel);
    assert_int_equal(EkParamsCount(params, PETSC_TRUE), published[i].reals);
    EK_OK(EkParamsDestroy(&params));
  }
}

static void wrong_models_are_refused(void **state)
{
  const PetscInt n[2] = {16, 16};
  EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, "fno2d"), .width = 4, .modes = {1, {12}}};
  EkModelShape   shape   = {EkGridMake(2, n), 1, 1};
  EkParams       params;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_FAILS(EkModelDeclare(&options, &shape, params), "model_modes");
  options.type = EkFamilyFind(&EkModelFamily, "fno1d");
  EK_FAILS(EkModelDeclare(&options, &shape, params), "model_type");
  EK_OK(EkParamsDestroy(&params));
}

/* Slices of the optimizer's state give the same weights, bit for bit, as one rank doing all. */
static void sliced_updates_equal_whole_ones(void **state)
{
  const PetscInt n[2] = {16, 16};
  EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, "fno2d"), .width = 4, .modes = {1, {3}}};
  EkModelShape   shape   = {EkGridMake(2, n), 1, 1};
  EkOptimOptions adam    = {.lr = 1e-2, .weight_decay = 1e-3};
  EkParams       params;
  EkOptimizer    part;
  float         *whole;
  double         ratio[64];

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkModelDeclare(&options, &shape, params));
  EK_OK(EkParamsAllocate(params));
  whole = malloc(params->total * sizeof(float));
  for (int parts = 1; parts <= 4; parts++) {
    EK_OK(EkParamsInitialise(params, 3));
    for (int p = 0; p < params->n; p++) params->info[p].used = PETSC_TRUE, ratio[p] = 1 + 0.1 * p;
    for (size_t i = 0; i < params->total; i++) params->gradients[i] = (float)sin((double)i);
    for (int i = 0; i < parts; i++) {
      PetscInt64 lo, hi;

      EkSlice((PetscInt64)params->total / 2, parts, i, &lo, &hi);
      EK_OK(EkOptimizerCreate(&adam, params, 2 * (size_t)lo, 2 * (size_t)hi, &part));
      for (int step = 0; step < 2; step++) EK_OK(EkOptimizerStep(part, adam.lr, ratio));
      EK_OK(EkOptimizerDestroy(&part));
    }
    if (parts == 1) memcpy(whole, params->weights, params->total * sizeof(float));
    else assert_memory_equal(whole, params->weights, params->total * sizeof(float));
  }
  free(whole);
  EK_OK(EkParamsDestroy(&params));
}

static void schedule_steps_down(void **state)
{
  EkOptimOptions options = {.lr = 1, .schedule = EkFamilyFind(&EkScheduleFamily, "step"), .schedule_step = 3, .schedule_gamma = 0.5};

  (void)state;
  assert_true(EkScheduleRate(&options, 0) == 1 && EkScheduleRate(&options, 2) == 1 && EkScheduleRate(&options, 3) == 0.5 && EkScheduleRate(&options, 6) == 0.25);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fno1d_matches_pytorch), cmocka_unit_test(fno2d_matches_pytorch), cmocka_unit_test(parameter_counts_are_the_published_ones),
    cmocka_unit_test(wrong_models_are_refused), cmocka_unit_test(sliced_updates_equal_whole_ones), cmocka_unit_test(schedule_steps_down),
};
EK_TEST_MAIN(tests)
