/* ranks: 1 2 3 4 */
/* The balancer's errors: bad weights, impossible layers, rules that give no rate. */
#include "balance_support.h"

static void expect_bad_weight_named(EkMesh mesh, const EkBalanceOptions *options, int n, const EkLayer *layer, const char *name,
                                    float *weight, float bad)
{
  const float good = *weight;
  EkBalance   balance;

  EK_OK(EkBalanceCreate(mesh, options, n, layer, &balance));
  *weight = bad;
  EK_FAILS(EkBalanceRefresh(balance), "a weight is NaN or Inf");
  assert_non_null(strstr(test_last_line, name)); /* on this rank too */
  *weight = good;
  EK_OK(EkBalanceRefresh(balance)); /* and no rank was left behind */
  EK_OK(EkBalanceDestroy(&balance));
}

static void bad_weights_are_named_on_every_rank(void **unused)
{
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  EkMesh             mesh = mesh_of(EkTestRun());
  EkBalanceOptions   options = defaults();
  float             *w = random_weights(35, 3 * 2000);
  EkLayer            layer[] = {one_matrix("small", w, 40, 20), one_matrix("large", w + 2000, 50, 40),
                                one_matrix("phase", w + 4000, 20, 25)};

  (void)unused;
  options.scalapack_min = 40;
  layer[2].batch[0] = (EkMatrixBatch){w + 4000, 2, 20, 25, 1000, 50, 2, PETSC_TRUE, 0};
  for (options.solver = SVD; options.solver <= GRAM; options.solver++) {
    for (int sick = 0; sick < 3; sick++) {
      expect_bad_weight_named(mesh, &options, 3, layer, layer[sick].name, w + 2000 * sick + 777, bad[sick]);
      expect_bad_weight_named(mesh, &options, 1, &layer[1], "large", w + 2000 + 777 * (sick % 2),
                              bad[sick]); /* alone: distributed */
    }
  }
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

static void impossible_layers_and_options_are_refused(void **unused)
{
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float               w[4] = {1, 2, 3, 4};
  EkLayer             layer = one_matrix("odd", w, 2, 0);
  const EkLayerState *state;
  EkBalance           balance;

  (void)unused;
  EK_FAILS(EkBalanceCreate(mesh, &options, 1, &layer, &balance), "layer odd: 1 matrices of 2 x 0");
  layer = one_matrix("odd", w, 2, 2);
  layer.nbatches = 3;
  EK_FAILS(EkBalanceCreate(mesh, &options, 1, &layer, &balance), "layer odd: 3 matrix batches");
  layer = one_matrix("odd", w, 2, 2);
  layer.scale = 0;
  EK_FAILS(EkBalanceCreate(mesh, &options, 1, &layer, &balance), "scaled by 0");
  options.rule = -1;
  EK_FAILS(EkBalanceCreate(mesh, &options, 0, NULL, &balance), "rule -1");
  options = defaults();
  balance = refreshed(mesh, &options, 0, NULL, &state); /* nothing to balance is no error */
  EK_OK(EkBalanceDestroy(&balance));
  EK_OK(EkMeshDestroy(&mesh));
}

static void rules_that_fail_name_the_layer(void **unused)
{
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  float           *w = random_weights(36, 1800);
  EkLayer          layer[] = {one_matrix("a", w, 30, 30), one_matrix("b", w + 900, 45, 20)};
  EkBalance        balance;

  (void)unused;
  options.tau = 10;
  options.s1 = 1e6; /* 10^-500000 is no rate */
  EK_OK(EkBalanceCreate(mesh, &options, 2, layer, &balance));
  EK_FAILS(EkBalanceRefresh(balance), "balance_rule tb_sigmoid gives layer");
  EK_OK(EkBalanceDestroy(&balance));
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bad_weights_are_named_on_every_rank),
    cmocka_unit_test(impossible_layers_and_options_are_refused),
    cmocka_unit_test(rules_that_fail_name_the_layer),
};
EK_TEST_MAIN(tests)
