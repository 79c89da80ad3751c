#include "balance_impl.h"
#include <stddef.h>

static const EkMember layer_set_row[] = {
    [EK_LAYERS_PUBLISHED] = {"published", "the modules the published code analyses, with its absolute filter"},
    [EK_LAYERS_ALL] = {"all", "also spectral weights, transposed convolutions, time aggregator and AFNO blocks"},
};
const EkFamily EkLayerSetFamily = EK_FAMILY("balance_layers", layer_set_row);

static const EkMember solver_row[] = {
    [EK_SOLVER_AUTO] = {"auto", "the cheaper one by operation count"},
    [EK_SOLVER_SVD] = {"svd", "singular values (gesdd, pdgesvd)"},
    [EK_SOLVER_GRAM] = {"gram", "eigenvalues of the Gram matrix formed in double"},
};
const EkFamily EkSolverFamily = EK_FAMILY("balance_solver", solver_row);

static const EkMember metric_row[] = {
    [EK_METRIC_ALPHA] = {"alpha", "the exponent of the power law"},
    [EK_METRIC_STABLE_RANK] = {"stable_rank", "sum of the eigenvalues over the largest (ablation)"},
    [EK_METRIC_SPECTRAL_NORM] = {"spectral_norm", "largest eigenvalue (ablation)"},
};
const EkFamily EkMetricFamily = EK_FAMILY("balance_metric", metric_row);

#define FIELD(name) offsetof(EkBalanceOptions, name)
static const EkKey balance_key[] = {
    {"balance_rule", EK_KEY_CHOICE, FIELD(rule), "tb_sigmoid", 0, 0, &EkRuleFamily, NULL, "from alphas to rates"},
    {"balance_metric", EK_KEY_CHOICE, FIELD(metric), "alpha", 0, 0, &EkMetricFamily, NULL, "what rules take for a layer's alpha"},
    {"balance_s1", EK_KEY_REAL, FIELD(s1), "1", 0, 10, NULL, "decades", "tb_sigmoid: amplitude at and below the mean alpha"},
    {"balance_s2", EK_KEY_REAL, FIELD(s2), "1", 0, 10, NULL, "decades", "tb_sigmoid: amplitude above the mean alpha"},
    {"balance_tau", EK_KEY_REAL, FIELD(tau), "10", 0, 1e6, NULL, "1/alpha", "tb_sigmoid: slope"},
    {"balance_lr_min_ratio", EK_KEY_REAL, FIELD(lr_min_ratio), "0.5", EK_POSITIVE, 1e6, NULL, NULL,
     "tb_linear_map, tb_rank: least ratio"},
    {"balance_lr_slope", EK_KEY_REAL, FIELD(lr_slope), "1", 0, 1e6, NULL, NULL,
     "tb_linear_map, tb_rank: largest less least ratio"},
    {"balance_exp_power", EK_KEY_REAL, FIELD(exp_power), "1", EK_POSITIVE, 100, NULL, NULL,
     "tb_exp: power of the distance from the mean"},
    {"balance_fit", EK_KEY_CHOICE, FIELD(fit), "xmin_mid", 0, 0, &EkFitFamily, NULL, "where the power-law tail starts"},
    {"balance_xmin_pos", EK_KEY_REAL, FIELD(xmin_pos), "2", 1.01, 1e6, NULL, NULL,
     "xmin_mid: the tail starts at N/xmin_pos of N eigenvalues"},
    {"balance_eig_filter", EK_KEY_REAL, FIELD(eig_filter), "1e-5", 0, 1e6, NULL, NULL,
     "eigenvalues up to this are left out of the fit"},
    {"balance_min_eigs", EK_KEY_INT, FIELD(min_eigs), "13", 0, 1 << 30, NULL, "eigenvalues",
     "a layer with fewer trains at the base rate"},
    {"balance_interval", EK_KEY_INT, FIELD(interval), "1", 1, 1 << 30, NULL, "epochs", "between refreshes"},
    {"balance_layers", EK_KEY_CHOICE, FIELD(layers), "published", 0, 0, &EkLayerSetFamily, NULL, "which layers are analysed"},
    {"balance_fixed", EK_KEY_BOOL, FIELD(fixed), "no", 0, 0, NULL, NULL, "keep the alphas of epoch 0 for ever"},
    {"balance_solver", EK_KEY_CHOICE, FIELD(solver), "auto", 0, 0, &EkSolverFamily, NULL, "how eigenvalues are found"},
    {"balance_scalapack_min", EK_KEY_INT, FIELD(scalapack_min), "1024", 32, 1 << 30, NULL, "columns",
     "smaller side from which a matrix may be distributed over ranks"},
};
#undef FIELD
const EkKeyTable EkBalanceKeys = EK_KEYS("balance", balance_key);

PetscBool EkBalanceUses(const void *options, const EkKey *key)
{
  const char *word = EkKeyWord(&EkBalanceKeys, key);
  PetscBool   rules = PETSC_FALSE; /* Is it a key of rules? The others are about spectra, which are taken with any. */

  for (int r = 0; r < EkRuleFamily.count; r++) rules = (PetscBool)(rules || EkWordIn(word, EkRuleUses(r)));
  return (PetscBool)(!rules || EkWordIn(word, EkRuleUses(((const EkBalanceOptions *)options)->rule)));
}

PetscErrorCode EkBalanceTellUnused(EkRun run, const EkBalanceOptions *options)
{
  const char *uses = EkRuleUses(options->rule);
  char        names[512] = "";

  PetscFunctionBegin;
  for (int i = 0; i < EkBalanceKeys.count; i++) {
    const EkKey *key = &EkBalanceKeys.keys[i];
    PetscBool    given;

    PetscCall(EkKeyGiven(run, key, &given));
    if (!given || EkBalanceUses(options, key)) continue;
    if (*names) PetscCall(PetscStrlcat(names, ", ", sizeof(names)));
    PetscCall(PetscStrlcat(names, key->name, sizeof(names)));
  }
  if (*names && run->rank == 0) {
    printf("notice: balance_rule %s has no use for %s%s%s\n", EkFamilyMember(&EkRuleFamily, options->rule)->name, names,
           *uses ? "; it takes " : "", uses);
  }
  PetscFunctionReturn(0);
}
