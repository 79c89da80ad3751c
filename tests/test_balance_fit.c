/* ranks: 1 */
/* The pure half of balancing: power-law fits of given spectra, rates of given alphas. */
#include "cases.h"
#include "balance_support.h"
#include <cjson/cJSON.h>

static const char *const layer_name[] = {"conv1d_k1",      "conv1d_k3",    "conv2d_1x1",    "conv2d_3x3",
                                         "heavy_257x129",  "heavy_96x96",  "linear_128x20", "linear_20x42",
                                         "linear_257x129", "linear_4x128", "linear_96x96",  "rank_deficient"};
static const char *const fit_name[][2] = {{"xmin_mid", "xmin_mid"}, {"xmin_peak", "xmin_peak"}, {"dks", "DKS"}};
#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static void expect_fit(int fit, double xmin_pos, int n, const double *lambda, double alpha, double D, int start)
{
  double   a, d;
  PetscInt s;

  EK_OK(EkFit(fit, xmin_pos, n, lambda, &a, &d, &s));
  if (!(fabs(a - alpha) < 1e-8) || !(fabs(d - D) < 1e-8) || s != start)
    fail_msg("fit %d: alpha %.10g D %.10g start %d, expected %.10g %.10g %d", fit, a, d, (int)s, alpha, D, start);
}

static void worked_values_of_the_middle_fit(void **state)
{
  const double lambda[] = {1e-7, 1e-6, 1, 2, 4, 8, 16, 32};

  (void)state;
  expect_fit(0, 2, 6, lambda + 2, 2.442695040888963, 0.29878722534, 3);
  expect_fit(0, 1.5, 6, lambda + 2, 3.885390081777927, 0.36466471676, 4);
  expect_fit(0, 2, 8, lambda, 1.961796693925976, 0.23658288115, 4);
}

static void short_and_equal_tails_are_infinite(void **state)
{
  const double equal[] = {1, 2, 2, 2, 2}, rising[] = {1, 2, 4, 8};
  double       alpha, D;
  PetscInt     start;

  (void)state;
  for (int n = 1; n <= 2; n++) {
    EK_OK(EkFit(0, 2, n, rising, &alpha, &D, &start));
    assert_true(isinf(alpha) && D == 0);
  }
  EK_OK(EkFit(0, 2, 3, rising, &alpha, &D, &start));
  assert_true(isfinite(alpha));
  EK_OK(EkFit(0, 1.5, 3, rising, &alpha, &D, &start));
  assert_true(isinf(alpha));
  EK_OK(EkFit(0, 2, 5, equal, &alpha, &D, &start));
  assert_true(isinf(alpha));
  for (int fit = 0; fit < EkFitFamily.count; fit++) {
    EK_OK(EkFit(fit, 2, 1, rising, &alpha, &D, &start));
    assert_true(isinf(alpha) && start == 0);
    EK_OK(EkFit(fit, 2, 3, equal + 1, &alpha, &D, &start));
    assert_true(isinf(alpha));
  }
}

/* Every layer and fit of the reference file, from its own eigenvalues. */
static void fits_match_the_published_estimator(void **state)
{
  char     path[128], key[64];
  hsize_t  dims[8];
  int      rank;
  double   alpha, D;
  PetscInt start;

  (void)state;
  for (int l = 0; l < COUNT(layer_name); l++) {
    float *eigenvalues;
    double lambda[512];
    int    n = 0;

    snprintf(path, sizeof(path), "%s/eigenvalues", layer_name[l]);
    eigenvalues = CaseFloats(CASE_FILE("spectra.h5"), path, &rank, dims);
    for (hsize_t i = 0; i < dims[0]; i++) {
      if (eigenvalues[i] > 1e-5f) lambda[n++] = eigenvalues[i];
    }
    assert_int_equal(n, (int)CaseNumber(CASE_FILE("spectra.h5"), layer_name[l], "kept"));
    for (int f = 0; f < COUNT(fit_name); f++) {
      EK_OK(EkFit(EkFamilyFind(&EkFitFamily, fit_name[f][0]), 2, n, lambda, &alpha, &D, &start));
      snprintf(key, sizeof(key), "alpha_%s", fit_name[f][1]);
      if (!(fabs(alpha - CaseNumber(CASE_FILE("spectra.h5"), layer_name[l], key)) < 1e-3))
        fail_msg("%s: %s is %.6f", layer_name[l], key, alpha);
      snprintf(key, sizeof(key), "D_%s", fit_name[f][1]);
      if (!(fabs(D - CaseNumber(CASE_FILE("spectra.h5"), layer_name[l], key)) < 1e-3))
        fail_msg("%s: %s is %.6f", layer_name[l], key, D);
    }
    free(eigenvalues);
  }
}

/* Straight from the definition: every start, every distance, no shortcuts. */
static void dks_by_definition(int n, const double *lambda, double *alpha, double *D, int *start)
{
  double best = 1;

  *alpha = 0, *start = 0;
  for (int i = 0; i < n - 1; i++) {
    double sum = 0, a, d = 0;

    for (int j = i; j < n; j++) sum += log(lambda[j]) - log(lambda[i]);
    a = 1 + (n - i) / sum;
    for (int j = i; j < n; j++) d = fmax(d, fabs(1 - pow(lambda[j] / lambda[i], 1 - a) - (double)(j - i) / (n - i)));
    if (d < best) best = d, *alpha = a, *start = i;
  }
  *D = best;
}

static void dks_scan_equals_its_definition(void **state)
{
  EkRandom stream = EkRandomStream(3, EK_RANDOM_TEST, 0);
  double   lambda[200], alpha, D;
  int      start;

  (void)state;
  for (int round = 0; round < 5; round++) {
    double sum = 0.01;

    for (int i = 0; i < 200; i++) lambda[i] = (sum += pow(EkUniform(&stream) + 1e-3, 2 + round));
    dks_by_definition(200, lambda, &alpha, &D, &start);
    expect_fit(EkFamilyFind(&EkFitFamily, "dks"), 2, 200, lambda, alpha, D, start);
  }
}

/* With xmin2 far above 1 the mixed-up lower bound stays small, so that every start up to 1.5 peak is tried; without any, alpha is
 * 0. */
static void peak_bounds_are_the_published_ones(void **state)
{
  const int peak = EkFamilyFind(&EkFitFamily, "xmin_peak");
  double    lambda[40], alpha, D, below[40], alpha_below, D_below;
  PetscInt  start;

  (void)state;
  for (int i = 0; i < 40; i++) lambda[i] = i < 5 ? 1000 + i : 1e6 + 1e4 * i;
  EK_OK(EkFit(peak, 2, 40, lambda, &alpha, &D, &start));
  for (int i = 0; i < 40; i++) below[i] = 1e-3 * lambda[i];
  EK_OK(EkFit(peak, 2, 40, below, &alpha_below, &D_below, &start));
  assert_true(fabs(alpha - alpha_below) < 1e-9); /* both bounds far from any eigenvalue */
  for (int i = 0; i < 40; i++) lambda[i] = i == 39 ? 3 : 2.5;
  lambda[0] = 1e-9; /* the peak is at 2.5: starts up to 3.75 are admissible, down to log10(0.95 * 2.4...) = 0.36 */
  EK_OK(EkFit(peak, 2, 40, lambda, &alpha, &D, &start));
  assert_true(start >= 1);
}

static void fits_refuse_what_is_no_spectrum(void **state)
{
  const double good[] = {1, 2, 3, 4}, zero[] = {0, 1, 2}, bad[] = {1, NAN, 3}, infinite[] = {1, 2, INFINITY};
  double       alpha, D;
  PetscInt     start;

  (void)state;
  EK_FAILS(EkFit(0, 2, 0, good, &alpha, &D, &start), "empty spectrum");
  EK_FAILS(EkFit(0, 2, 3, zero, &alpha, &D, &start), "value 0");
  EK_FAILS(EkFit(0, 2, 3, bad, &alpha, &D, &start), "nan");
  EK_FAILS(EkFit(0, 2, 3, infinite, &alpha, &D, &start), "inf");
  EK_FAILS(EkFit(0, 1, 4, good, &alpha, &D, &start), "balance_xmin_pos: 1");
  EK_FAILS(EkFit(17, 2, 4, good, &alpha, &D, &start), "balance_fit");
}

/* ---- rules ---- */

static void defaults_are_the_published_ones(void **state)
{
  const EkBalanceOptions o = defaults();

  (void)state;
  assert_string_equal(EkFamilyMember(&EkRuleFamily, o.rule)->name, "tb_sigmoid");
  assert_string_equal(EkFamilyMember(&EkFitFamily, o.fit)->name, "xmin_mid");
  assert_string_equal(EkFamilyMember(&EkSolverFamily, o.solver)->name, "auto");
  assert_true(o.s1 == 1 && o.s2 == 1 && o.tau == 10 && o.lr_min_ratio == 0.5 && o.lr_slope == 1 && o.exp_power == 1);
  assert_true(o.xmin_pos == 2 && o.eig_filter == 1e-5 && o.min_eigs == 13 && o.interval == 1 && !o.fixed);
  assert_int_equal(o.layers, EK_LAYERS_PUBLISHED);
}

static EkBalanceOptions with_rule(const char *name)
{
  EkBalanceOptions options = defaults();

  options.rule = EkFamilyFind(&EkRuleFamily, name);
  assert_true(options.rule >= 0);
  return options;
}

static void expect_ratios(const EkBalanceOptions *options, int L, const double *alpha, const double *expected, double tolerance)
{
  double ratio[32];

  EK_OK(EkRatios(options, L, alpha, ratio));
  for (int l = 0; l < L; l++) {
    if (!(fabs(ratio[l] / expected[l] - 1) < tolerance))
      fail_msg("%s: ratio %d is %.10g, expected %.10g", EkFamilyMember(&EkRuleFamily, options->rule)->name, l, ratio[l],
               expected[l]);
  }
}

static void worked_values_of_the_rules(void **state)
{
  const double     alpha[] = {2, 3, 4.5}, narrow[] = {2.9, 3, 3.1};
  EkBalanceOptions o = with_rule("tb_sigmoid");

  (void)state;
  expect_ratios(&o, 3, alpha, (const double[]){0.31623401, 0.45589949, 3.16226587}, 1e-7);
  expect_ratios(&o, 3, narrow, (const double[]){0.58741, 1, 1.70239}, 1e-5);
  o.s1 = 2;
  expect_ratios(&o, 3, alpha, (const double[]){0.10000395, 0.20784434, 3.16226587}, 1e-7);
  o = with_rule("tb_linear_map");
  expect_ratios(&o, 3, alpha, (const double[]){0.5, 0.9, 1.5}, 1e-14);
  o = with_rule("tb_sqrt");
  expect_ratios(&o, 3, alpha, (const double[]){0.80542429, 0.98643927, 1.20813644}, 1e-7);
  o = with_rule("tb_log2");
  expect_ratios(&o, 3, alpha, (const double[]){0.63092975, 1.0, 1.36907025}, 1e-7);
  o = with_rule("tb_rank");
  expect_ratios(&o, 3, alpha, (const double[]){0.5, 0.5 + 1 / 3.0, 0.5 + 2 / 3.0}, 1e-14);
  o = with_rule("none");
  expect_ratios(&o, 3, alpha, (const double[]){1, 1, 1}, 1e-15);
  o = with_rule("tb_exp");
  o.exp_power = 2;
  expect_ratios(&o, 3, narrow, (const double[]){0.97723722, 1, 1.02329299}, 1e-7); /* 10^-+0.01 */
}

static char *read_text(const char *path)
{
  FILE *file = fopen(path, "r");
  char *text = calloc(1, 1 << 20);

  assert_non_null(file);
  assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
  fclose(file);
  return text;
}

static double number(const cJSON *object, const char *name)
{
  return cJSON_GetObjectItem(object, name)->valuedouble;
}

static void rules_match_the_reference(void **state)
{
  char        *text = read_text(CASE_FILE("rules.json"));
  cJSON       *all = cJSON_Parse(text);
  const cJSON *one;
  int          seen = 0;

  (void)state;
  cJSON_ArrayForEach(one, all)
  {
    const char      *name = cJSON_GetObjectItem(one, "rule")->valuestring;
    const cJSON     *alpha = cJSON_GetObjectItem(one, "alpha"), *lr = cJSON_GetObjectItem(one, "lr");
    const int        L = cJSON_GetArraySize(alpha);
    EkBalanceOptions o = with_rule(strcmp(name, "tb_std_sigmoid") ? name : "tb_sigmoid");
    double           a[32], expected[32];

    o.s1 = o.lr_min_ratio = number(one, "s1");
    o.s2 = o.lr_slope = number(one, "s2");
    o.tau = o.exp_power = number(one, "tau");
    for (int l = 0; l < L; l++) {
      a[l] = cJSON_GetArrayItem(alpha, l)->valuedouble;
      expected[l] = cJSON_GetArrayItem(lr, l)->valuedouble / number(one, "base_lr");
    }
    expect_ratios(&o, L, a, expected, 1e-6);
    seen++;
  }
  assert_true(seen >= 18);
  cJSON_Delete(all);
  free(text);
}

static void equal_alphas_and_single_layers_keep_the_base_rate(void **state)
{
  const double alpha[] = {3.7, 3.7, 3.7, 3.7};
  double       ratio[4];

  (void)state;
  for (int r = 0; r < EkRuleFamily.count; r++) {
    EkBalanceOptions o = defaults();

    o.rule = r;
    for (int L = 0; L <= 4; L++) {
      EK_OK(EkRatios(&o, L, alpha, ratio));
      for (int l = 0; l < L; l++) assert_true(ratio[l] == 1);
    }
  }
}

/* Whatever the rule: a larger alpha never trains slower, and the order of the layers does not matter. */
static void ratios_rise_with_alpha(void **state)
{
  EkRandom stream = EkRandomStream(5, EK_RANDOM_TEST, 0);

  (void)state;
  for (int r = 0; r < EkRuleFamily.count; r++) {
    EkBalanceOptions o = defaults();
    double           alpha[12], ratio[12], turned[12], ratio_turned[12];

    o.rule = r;
    for (int l = 0; l < 12; l++) alpha[l] = EkUniformIn(&stream, 1.2, 6);
    for (int l = 0; l < 12; l++) turned[l] = alpha[11 - l];
    EK_OK(EkRatios(&o, 12, alpha, ratio));
    EK_OK(EkRatios(&o, 12, turned, ratio_turned));
    for (int i = 0; i < 12; i++) {
      assert_true(fabs(ratio[i] - ratio_turned[11 - i]) < 1e-12);
      for (int j = 0; j < 12; j++) assert_true(alpha[i] >= alpha[j] ? ratio[i] >= ratio[j] : ratio[i] <= ratio[j]);
    }
  }
}

/* Of the real numbers among the keys a rule has those that change its ratios; TB_Fix goes with any rule, spectra with none, too.
 */
static void keys_of_a_rule_are_those_that_change_its_ratios(void **state)
{
  static const char about_spectra[] = "rule fit xmin_pos eig_filter min_eigs interval layers solver scalapack_min";
  const double      alpha[] = {2.9, 3, 3.3};

  (void)state;
  for (int r = 0; r < EkRuleFamily.count; r++) {
    for (int i = 0; i < EkBalanceKeys.count; i++) {
      const EkKey     *key = &EkBalanceKeys.keys[i];
      const char      *word = EkKeyWord(&EkBalanceKeys, key);
      EkBalanceOptions o = defaults(), other = defaults();
      double           ratio[3], changed[3];

      o.rule = other.rule = r;
      if (EkWordIn(word, about_spectra)) {
        assert_true(EkBalanceUses(&o, key));
      } else if (EkWordIn(word, "fixed metric")) {
        assert_int_equal(EkBalanceUses(&o, key), r != EkFamilyFind(&EkRuleFamily, "none"));
      } else {
        assert_int_equal(key->type, EK_KEY_REAL);
        *(PetscReal *)((char *)&other + key->offset) *= 0.7;
        EK_OK(EkRatios(&o, 3, alpha, ratio));
        EK_OK(EkRatios(&other, 3, alpha, changed));
        assert_int_equal(EkBalanceUses(&o, key), memcmp(ratio, changed, sizeof(ratio)) != 0);
      }
    }
  }
}

static void exp_is_clipped(void **state)
{
  const double     alpha[] = {1.1, 3, 9};
  EkBalanceOptions o = with_rule("tb_exp");
  double           ratio[3];

  (void)state;
  EK_OK(EkRatios(&o, 3, alpha, ratio));
  assert_true(ratio[0] == 0.1 && ratio[2] == 10);
}

static void rules_refuse_rates_that_cannot_be_used(void **state)
{
  const double     low[] = {0.9, 2, 3}, infinite[] = {2, INFINITY, 3};
  EkBalanceOptions o = with_rule("tb_log2");
  double           ratio[3];

  (void)state;
  EK_FAILS(EkRatios(&o, 3, low, ratio), "balance_rule tb_log2");
  EK_FAILS(EkRatios(&o, 3, low, ratio), "alpha 0.9");
  o = with_rule("tb_sigmoid");
  EK_FAILS(EkRatios(&o, 3, infinite, ratio), "balance_rule tb_sigmoid");
  o.rule = 99;
  EK_FAILS(EkRatios(&o, 3, low, ratio), "balance_rule");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(worked_values_of_the_middle_fit),
    cmocka_unit_test(short_and_equal_tails_are_infinite),
    cmocka_unit_test(fits_match_the_published_estimator),
    cmocka_unit_test(dks_scan_equals_its_definition),
    cmocka_unit_test(peak_bounds_are_the_published_ones),
    cmocka_unit_test(fits_refuse_what_is_no_spectrum),
    cmocka_unit_test(defaults_are_the_published_ones),
    cmocka_unit_test(worked_values_of_the_rules),
    cmocka_unit_test(rules_match_the_reference),
    cmocka_unit_test(equal_alphas_and_single_layers_keep_the_base_rate),
    cmocka_unit_test(ratios_rise_with_alpha),
    cmocka_unit_test(keys_of_a_rule_are_those_that_change_its_ratios),
    cmocka_unit_test(exp_is_clipped),
    cmocka_unit_test(rules_refuse_rates_that_cannot_be_used),
};
EK_TEST_MAIN(tests)
