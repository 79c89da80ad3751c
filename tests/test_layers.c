/* ranks: 1 */
/* The matrices balancing sees of every kind of weight, element by element against the tensor as PyTorch has it. */
#include "support.h"
#include "evenkeel/train.h"

enum { FC, CONV1, CONV2, SPECTRAL, UP, TIME, AFNO, LAYERS };

/* In PyTorch's order; a module's bias lies between the weights, spectral weights come in pairs. */
static const struct {
  const char  *name;
  EkModuleKind kind;
  PetscBool    is_complex;
  int          rank;
  PetscInt     shape[6];
  int          layer; /* in the order of modules; -1: in none */
} tensor[] = {
    {"fc.weight", EK_MODULE_LINEAR, PETSC_FALSE, 2, {3, 5}, FC},
    {"fc.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, {3}, FC},
    {"norm.weight", EK_MODULE_OTHER, PETSC_FALSE, 1, {7}, -1},
    {"w.0.weight", EK_MODULE_CONV1D, PETSC_FALSE, 3, {3, 5, 2}, CONV1},
    {"conv.weight", EK_MODULE_CONV2D, PETSC_FALSE, 4, {3, 5, 2, 7}, CONV2},
    {"spectral.weights1", EK_MODULE_SPECTRAL, PETSC_TRUE, 5, {5, 3, 2, 7, 2}, SPECTRAL},
    {"spectral.weights2", EK_MODULE_SPECTRAL, PETSC_TRUE, 5, {5, 3, 2, 7, 2}, SPECTRAL},
    {"up.weight", EK_MODULE_TRANSPOSED, PETSC_FALSE, 4, {5, 3, 2, 7}, UP},
    {"up.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, {3}, UP},
    {"time.w", EK_MODULE_TIME_AGG, PETSC_FALSE, 3, {7, 5, 3}, TIME},
    {"afno.w1", EK_MODULE_AFNO, PETSC_FALSE, 4, {2, 7, 5, 3}, AFNO},
    {"afno.w2", EK_MODULE_AFNO, PETSC_FALSE, 4, {2, 7, 3, 11}, AFNO},
};
enum { TENSORS = sizeof(tensor) / sizeof(tensor[0]) };

/* Every weight is its own place in the arena. */
static EkParams counted(void)
{
  EkParams params;

  EK_OK(EkParamsCreate(&params));
  for (int t = 0; t < TENSORS; t++)
    EK_OK(EkParamsAdd(params, tensor[t].name, tensor[t].kind, tensor[t].is_complex, tensor[t].rank, tensor[t].shape, 0, 0));
  EK_OK(EkParamsAllocate(params));
  for (size_t i = 0; i < params->total; i++) params->weights[i] = (float)i;
  return params;
}

/* tensor[a][b]..., as PyTorch stores it. */
static float element(EkParams params, int t, const PetscInt index[])
{
  size_t place = 0;

  for (int d = 0; d < tensor[t].rank; d++) {
    assert_in_range(index[d], 0, tensor[t].shape[d] - 1);
    place = place * (size_t)tensor[t].shape[d] + (size_t)index[d];
  }
  return params->weights[params->table[t].offset + place];
}

typedef struct {
  PetscInt  count, rows, cols;
  PetscBool is_complex;
} Size;

/* Entry (i, j) of matrix k; part 1: the imaginary part. */
static float expected(EkParams params, int t, PetscInt k, PetscInt i, PetscInt j, PetscInt part)
{
  const PetscInt *n = tensor[t].shape;

  switch (tensor[t].kind) {
  case EK_MODULE_LINEAR:
    return element(params, t, (PetscInt[]){i, j});
  case EK_MODULE_CONV1D:
    return element(params, t, (PetscInt[]){k, i, j});
  case EK_MODULE_CONV2D:
    return element(params, t, (PetscInt[]){i, j, k / n[3], k % n[3]});
  case EK_MODULE_SPECTRAL:
    return element(params, t, (PetscInt[]){i, j, k / n[3], k % n[3], part});
  case EK_MODULE_TRANSPOSED:
    return element(params, t, (PetscInt[]){i, j, k / n[3], k % n[3]});
  case EK_MODULE_TIME_AGG:
    return element(params, t, (PetscInt[]){k, i, j});
  case EK_MODULE_AFNO:
    return element(params, t, (PetscInt[]){part, k, i, j});
  default:
    fail_msg("%s is no matrix", tensor[t].name);
  }
  return 0;
}

static void expect_batch(EkParams params, int t, const EkMatrixBatch *m, const Size *size)
{
  assert_true(m->count == size->count && m->rows == size->rows && m->cols == size->cols);
  assert_int_equal(m->is_complex, size->is_complex);
  for (PetscInt k = 0; k < m->count; k++) {
    for (PetscInt i = 0; i < m->rows; i++) {
      for (PetscInt j = 0; j < m->cols; j++) {
        const float *x = m->data + (size_t)k * m->step + (size_t)i * m->row_step + (size_t)j * m->col_step;

        if (*x != expected(params, t, k, i, j, 0))
          fail_msg("%s: (%d, %d) of matrix %d is weight %g", tensor[t].name, (int)i, (int)j, (int)k, (double)*x);
        if (m->is_complex && x[m->imaginary ? m->imaginary : 1] != expected(params, t, k, i, j, 1))
          fail_msg("%s: (%d, %d) of matrix %d has another imaginary part", tensor[t].name, (int)i, (int)j, (int)k);
      }
    }
  }
}

static void every_element_is_where_pytorch_has_it(void **unused)
{
  static const Size size[TENSORS] = {
      [0] = {1, 3, 5, PETSC_FALSE}, [3] = {3, 5, 2, PETSC_FALSE}, [4] = {14, 3, 5, PETSC_FALSE},
      [5] = {14, 5, 3, PETSC_TRUE}, [6] = {14, 5, 3, PETSC_TRUE}, [7] = {14, 5, 3, PETSC_FALSE},
      [9] = {7, 5, 3, PETSC_FALSE}, [10] = {7, 5, 3, PETSC_TRUE}, [11] = {7, 3, 11, PETSC_TRUE},
  };
  EkParams params = counted();
  EkLayer *layer;
  int      n, *layer_of, seen[LAYERS] = {0};

  (void)unused;
  EK_OK(EkLayersCreate(params, EK_LAYERS_ALL, &n, &layer, &layer_of));
  assert_int_equal(n, LAYERS);
  for (int t = 0; t < TENSORS; t++) {
    const int l = tensor[t].layer;

    assert_int_equal(layer_of[t], l);
    if (!size[t].count) continue;
    assert_true(seen[l] < layer[l].nbatches);
    expect_batch(params, t, &layer[l].batch[seen[l]++], &size[t]);
  }
  for (int l = 0; l < n; l++) assert_int_equal(seen[l], layer[l].nbatches);
  EK_OK(PetscFree(layer));
  EK_OK(PetscFree(layer_of));
  EK_OK(EkParamsDestroy(&params));
}

static void layers_are_scaled_and_filtered_by_their_kind(void **unused)
{
  static const struct {
    const char *name;
    double      scale;
    PetscBool   relative;
  } known[LAYERS] = {[FC] = {"fc", 1, PETSC_FALSE},        [CONV1] = {"w.0", 1, PETSC_FALSE},
                     [CONV2] = {"conv", 0.5, PETSC_FALSE}, [SPECTRAL] = {"spectral", 1, PETSC_TRUE},
                     [UP] = {"up", 0.5, PETSC_TRUE},       [TIME] = {"time", 1, PETSC_TRUE},
                     [AFNO] = {"afno", 1, PETSC_TRUE}};
  EkParams params = counted();

  (void)unused;
  for (EkLayerSet set = EK_LAYERS_PUBLISHED; set <= EK_LAYERS_ALL; set++) {
    EkLayer *layer;
    int      n, *layer_of;

    EK_OK(EkLayersCreate(params, set, &n, &layer, &layer_of));
    assert_int_equal(n, set == EK_LAYERS_ALL ? LAYERS : CONV2 + 1);
    for (int l = 0; l < n; l++) {
      assert_string_equal(layer[l].name, known[l].name);
      assert_true(layer[l].scale == known[l].scale);
      assert_int_equal(layer[l].relative_filter, known[l].relative);
    }
    for (int t = 0; t < TENSORS; t++) assert_int_equal(layer_of[t], tensor[t].layer < n ? tensor[t].layer : -1);
    EK_OK(PetscFree(layer));
    EK_OK(PetscFree(layer_of));
  }
  EK_OK(EkParamsDestroy(&params));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_element_is_where_pytorch_has_it),
    cmocka_unit_test(layers_are_scaled_and_filtered_by_their_kind),
};
EK_TEST_MAIN(tests)
