/* A conformance case of tests/data/cases run through the program's model, the batch spread over the ranks: outputs, gradients,
 * three Adam steps. */
#pragma once
#include "support.h"
#include "evenkeel/mesh.h"
#include "evenkeel/model.h"
#include "evenkeel/optim.h"
#include <hdf5.h>

/* What the file does not say. Arrays are (batch, points.., channels..), or (batch, channels, points..) where channels_first. */
typedef struct {
  const char    *path;
  EkModelOptions options;
  int            dim;
  PetscInt       initial_step, fields;
  PetscBool      channels_first;
} CaseKind;

typedef struct {
  CaseKind     kind;
  EkModelShape shape;
  EkParams     params;
  EkGraph      graph;
  EkMesh       mesh;
  EkTensor     frames, coordinates, prediction;
  int          samples, lo, hi;      /* of the case; my part */
  float *values, *points, *expected; /* planar: (hi - lo, (t0 + 1) * C, stride), (hi - lo, dim, stride); the file's layout */
  hid_t  file;
} Case;

static inline float *case_array(hid_t file, const char *name, hsize_t dims[8])
{
  hid_t  set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set);
  int    rank = H5Sget_simple_extent_dims(space, dims, NULL);
  size_t count = 1;
  float *data;

  for (int i = 0; i < rank; i++) count *= dims[i];
  data = malloc(count * sizeof(float));
  assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
  H5Sclose(space);
  H5Dclose(set);
  return data;
}

/* `channels` planes of sample b of an array of the file. */
static inline void case_planes(const Case *k, const float *from, int b, size_t channels, float *to)
{
  const size_t points = k->shape.grid.points;

  from += (size_t)b * points * channels;
  for (size_t c = 0; c < channels; c++) {
    for (size_t p = 0; p < points; p++)
      to[c * k->shape.grid.stride + p] = from[k->kind.channels_first ? c * points + p : p * channels + c];
  }
}

static inline void case_fields(Case *k)
{
  hsize_t      dims[8];
  const size_t stride = k->shape.grid.stride, dim = (size_t)k->shape.grid.dim, fields = (size_t)k->shape.fields,
               given = (size_t)k->shape.initial_step * fields, all = given + fields;
  const int has_grid = H5Lexists(k->file, "grid", H5P_DEFAULT) > 0;
  float    *input = case_array(k->file, "input", dims), *target = case_array(k->file, "target", dims),
        *grid = has_grid ? case_array(k->file, "grid", dims) : NULL;

  k->values = calloc((size_t)(k->hi - k->lo + 1) * all * stride, sizeof(float));
  k->points = calloc((size_t)(k->hi - k->lo + 1) * dim * stride, sizeof(float));
  for (int b = k->lo; b < k->hi; b++) {
    float *to = k->values + (size_t)(b - k->lo) * all * stride;

    case_planes(k, input, b, given, to);
    case_planes(k, target, b, fields, to + given * stride);
    if (grid) case_planes(k, grid, b, dim, k->points + (size_t)(b - k->lo) * dim * stride);
  }
  k->expected = case_array(k->file, "output", dims);
  free(input), free(target), free(grid);
}

static PetscErrorCode case_sum(void *mesh, int n, double *values)
{
  return EkMeshSumDouble((EkMesh)mesh, n, values);
}

static inline void case_build(Case *k)
{
  const PetscInt target = k->shape.initial_step, frames = (k->shape.initial_step + 1) * k->shape.fields;

  EK_OK(EkParamsCreate(&k->params));
  EK_OK(EkModelDeclare(&k->kind.options, &k->shape, k->params));
  EK_OK(EkParamsAllocate(k->params));
  EK_OK(EkGraphCreate(k->params, k->hi - k->lo + 1, PETSC_TRUE, &k->graph));
  EK_OK(EkGraphSetSum(k->graph, case_sum, k->mesh));
  EK_OK(EkGraphInput(k->graph, frames, k->shape.grid, PETSC_FALSE, &k->frames));
  EK_OK(EkGraphInput(k->graph, k->shape.grid.dim, k->shape.grid, PETSC_FALSE, &k->coordinates));
  EK_OK(EkModelRollout(&k->kind.options, &k->shape, k->graph, k->frames, k->coordinates, 1, &k->prediction));
  EK_OK(EkModelLosses(&k->shape, k->graph, EkLossMse, k->frames, EK_NONE, 1, &target, &k->prediction));
  EK_OK(EkGraphKeep(k->graph, k->prediction));
  EK_OK(EkGraphPlan(k->graph));
  EK_OK(EkGraphBind(k->graph, k->frames, k->values, (size_t)frames * k->shape.grid.stride));
  EK_OK(EkGraphBind(k->graph, k->coordinates, k->points, (size_t)k->shape.grid.dim * k->shape.grid.stride));
}

static inline void case_weights(Case *k)
{
  hsize_t dims[8];
  char    name[2 * EK_NAME];

  for (int p = 0; p < k->params->n; p++) {
    float *data;

    snprintf(name, sizeof(name), "params/%s", k->params->table[p].name);
    data = case_array(k->file, name, dims);
    for (int i = 0; i < k->params->table[p].rank; i++) assert_true((hsize_t)k->params->table[p].shape[i] == dims[i]);
    memcpy(k->params->weights + k->params->table[p].offset, data, k->params->table[p].count * sizeof(float));
    free(data);
  }
}

static inline void case_open(Case *k, const CaseKind *kind)
{
  EkMeshOptions mesh = {0, 1, 0};
  hsize_t       dims[8];
  PetscInt      n[3];
  PetscInt64    lo, hi;

  *k = (Case){.kind = *kind};
  k->file = H5Fopen(kind->path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(k->file >= 0);
  free(case_array(k->file, "input", dims));
  for (int d = 0; d < kind->dim; d++) n[d] = (PetscInt)dims[(kind->channels_first ? 2 : 1) + d];
  k->shape = (EkModelShape){EkGridMake(kind->dim, n), kind->fields, kind->initial_step};
  k->samples = (int)dims[0];
  EK_OK(EkMeshCreate(EkTestRun(), &mesh, &k->mesh));
  EkSlice(k->samples, k->mesh->ndata, k->mesh->idata, &lo, &hi);
  k->lo = (int)lo;
  k->hi = (int)hi;
  case_fields(k);
  case_build(k);
  case_weights(k);
}

static inline void case_close(Case *k)
{
  free(k->values), free(k->points), free(k->expected);
  EK_OK(EkGraphDestroy(&k->graph));
  EK_OK(EkParamsDestroy(&k->params));
  EK_OK(EkMeshDestroy(&k->mesh));
  H5Fclose(k->file);
}

/* Of the mean over the case's samples, on every rank; and that mean. */
static inline double case_gradients(Case *k)
{
  double loss;

  memset(k->params->gradients, 0, k->params->total * sizeof(float));
  EK_OK(EkGraphForward(k->graph, k->hi - k->lo, 1.0 / k->samples));
  EK_OK(EkGraphBackward(k->graph));
  EK_OK(EkMeshSum(k->mesh, k->params->total, k->params->gradients));
  loss = EkGraphLoss(k->graph);
  EK_OK(EkMeshSumDouble(k->mesh, 1, &loss));
  return loss;
}

static inline void case_check_loss(const Case *k, double loss)
{
  hsize_t dims[8];
  float  *want = case_array(k->file, "loss", dims);

  if (!(fabs(loss - want[0]) < 1e-5 * want[0])) fail_msg("the loss is %.8g, %.8g is wanted", loss, (double)want[0]);
  free(want);
}

static inline void case_check_output(const Case *k)
{
  const size_t points = k->shape.grid.points, stride = k->shape.grid.stride, fields = (size_t)k->shape.fields;
  float       *want = calloc(fields * stride, sizeof(float)), *got = calloc(fields * stride, sizeof(float));
  const float *value;
  size_t       step;

  EK_OK(EkGraphGetValue(k->graph, k->prediction, &value, &step));
  for (int b = k->lo; b < k->hi; b++) {
    case_planes(k, k->expected, b, fields, want);
    for (size_t c = 0; c < fields; c++)
      memcpy(got + c * stride, value + (size_t)(b - k->lo) * step + c * stride, points * sizeof(float));
    assert_true(EkTestDistance(fields * stride, got, want) < 1e-4);
  }
  free(want), free(got);
}

/* Distance of every tensor of the group, relative to the larger of its norm and `before`'s; ten times as much is allowed to
   tensors that were zero before. Tensors the group does not have must have no gradient. */
static inline void case_check_tensors(const Case *k, const char *group, const float *arena, const float *before, double tolerance)
{
  hsize_t dims[8];
  char    name[2 * EK_NAME];

  for (int p = 0; p < k->params->n; p++) {
    const EkTensorInfo *t = &k->params->table[p];
    double              difference = 0, norm = 0, old = 0, allowed;
    float              *want;

    snprintf(name, sizeof(name), "%s/%s", group, t->name);
    if (H5Lexists(k->file, name, H5P_DEFAULT) <= 0) {
      for (size_t i = 0; i < t->count; i++) assert_true(arena[t->offset + i] == 0);
      continue;
    }
    want = case_array(k->file, name, dims);
    for (size_t i = 0; i < t->count; i++) {
      const double d = (double)arena[t->offset + i] - want[i];

      difference += d * d;
      norm += (double)want[i] * want[i];
      if (before) old += (double)before[t->offset + i] * before[t->offset + i];
    }
    allowed = tolerance * (before && old == 0 ? 10 : 1) * sqrt(fmax(norm, old));
    if (!(sqrt(difference) <= allowed)) fail_msg("%s: off by %g, %g is allowed", name, sqrt(difference), allowed);
    free(want);
  }
}

/* Of the weights as they are in the file. */
static inline void case_check_first_step(Case *k)
{
  case_check_loss(k, case_gradients(k));
  case_check_output(k);
  case_check_tensors(k, "grads", k->params->gradients, NULL, 1e-4);
}

/* Everything the file holds. */
static inline void check_case(const CaseKind *kind)
{
  EkOptimOptions adam = {.lr = 1e-3, .weight_decay = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
  EkOptimizer    optimizer;
  double        *ratio;
  float         *before;
  Case           k;

  case_open(&k, kind);
  ratio = malloc((size_t)k.params->n * sizeof(double));
  before = malloc(k.params->total * sizeof(float));
  memcpy(before, k.params->weights, k.params->total * sizeof(float));
  for (int p = 0; p < k.params->n; p++) ratio[p] = 1;
  EK_OK(EkOptimizerCreate(&adam, k.params, 0, k.params->total, &optimizer));
  for (int step = 0; step < 3; step++) {
    if (step == 0)
      case_check_first_step(&k);
    else
      case_gradients(&k);
    EK_OK(EkOptimizerStep(optimizer, adam.lr, ratio));
  }
  case_check_tensors(&k, "after_3_adam_steps", k.params->weights, before, 1e-4);
  EK_OK(EkOptimizerDestroy(&optimizer));
  free(ratio), free(before);
  case_close(&k);
}

/* ---- tables of parameters ----------------------------------------------------------------------------------------- */

/* Entry *at of the table has this name and shape; on to the next. Sizes of 0 are no axes; what has none is a counter. */
static inline void expect_entry(EkParams params, int *at, const PetscInt shape[4], const char *format, ...)
{
  const EkTensorInfo *t = &params->table[*at];
  char                name[EK_NAME];
  int                 rank = 0;
  va_list             arguments;

  va_start(arguments, format);
  vsnprintf(name, sizeof(name), format, arguments);
  va_end(arguments);
  assert_true(*at < params->n);
  while (rank < 4 && shape[rank]) rank++;
  if (strcmp(t->name, name) || t->rank != rank)
    fail_msg("entry %d is '%s' of rank %d, '%s' of rank %d is wanted", *at, t->name, t->rank, name, rank);
  assert_int_equal(t->is_counter, rank == 0);
  for (int d = 0; d < rank; d++) {
    if (t->shape[d] != shape[d]) fail_msg("axis %d of '%s' is %d, %d is wanted", d, name, (int)t->shape[d], (int)shape[d]);
  }
  ++*at;
}
#define SHAPE(...) ((const PetscInt[4]){__VA_ARGS__})

/* Values are those of a draw with this mean and deviation: both to five deviations of theirs, none outside of [lo, hi]. */
static inline void check_draw(EkParams params, int p, double lo, double hi, double mean, double deviation)
{
  const EkTensorInfo *t = &params->table[p];
  const float        *w = params->weights + t->offset;
  const double        n = (double)t->count;
  double              sum = 0, squares = 0;

  for (size_t i = 0; i < t->count; i++) {
    if (!(w[i] >= (float)lo && w[i] <= (float)hi)) fail_msg("%s: %g is not in [%g, %g]", t->name, (double)w[i], lo, hi);
    sum += w[i] - mean, squares += (w[i] - mean) * (w[i] - mean);
  }
  if (!(fabs(sum / n) <= 5 * deviation / sqrt(n))) fail_msg("%s: the mean is %g, %g is wanted", t->name, mean + sum / n, mean);
  if (!(fabs(sqrt(squares / n) - deviation) <= 5 * deviation / sqrt(2 * n)))
    fail_msg("%s: the deviation is %g, %g is wanted", t->name, sqrt(squares / n), deviation);
}

static inline void check_constant(EkParams params, int p, double value)
{
  check_draw(params, p, value, value, value, 0);
}

/* Evenly in [lo, hi]: of n values the outermost are within eight n-th parts of the ends. */
static inline void check_uniform(EkParams params, int p, double lo, double hi)
{
  const EkTensorInfo *t = &params->table[p];
  const float        *w = params->weights + t->offset;
  const double        near = 8 * (hi - lo) / (double)t->count;
  double              least = hi, most = lo;

  check_draw(params, p, lo, hi, (lo + hi) / 2, (hi - lo) / sqrt(12));
  for (size_t i = 0; i < t->count; i++) least = fmin(least, w[i]), most = fmax(most, w[i]);
  if (!(least <= lo + near && most >= hi - near))
    fail_msg("%s: values in [%g, %g], [%g, %g] is wanted", t->name, least, most, lo, hi);
}

/* PyTorch's default of Linear, Conv and ConvTranspose: +-1/sqrt(fan), fan all axes of the weight but the first; a bias, which
 * follows its weight, likewise. */
static inline void check_default_draw(EkParams params, int p)
{
  const EkTensorInfo *t = &params->table[p], *weight = t->rank > 1 ? t : t - 1;
  double              fan = 1;

  assert_true(weight->rank > 1);
  for (int d = 1; d < weight->rank; d++) fan *= (double)weight->shape[d];
  check_uniform(params, p, -1 / sqrt(fan), 1 / sqrt(fan));
}
