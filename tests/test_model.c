/* ranks: 1 2 3 */
/* Models against PyTorch: outputs, gradients and three Adam steps of tests/data/cases, the batch spread over the ranks. */
#include "model_support.h"

static void check_fno(const char *path, const char *type, int dim, PetscInt fields, PetscInt modes)
{
  for (int transform = EK_CHOOSE_FFT; transform <= EK_CHOOSE_GEMM; transform++) {
    const EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, type), .width = 8, .modes = {1, {modes}}, .transform = transform};
    const CaseKind       kind    = {path, options, dim, 3, fields, PETSC_FALSE};

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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fno1d_matches_pytorch), cmocka_unit_test(fno2d_matches_pytorch), cmocka_unit_test(parameter_counts_are_the_published_ones),
    cmocka_unit_test(wrong_models_are_refused),
};
EK_TEST_MAIN(tests)
