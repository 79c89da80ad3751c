#include "balance_impl.h"
#include <math.h>

/* ratio[l] of L alphas that are not all equal. */
typedef void (*Rule)(const EkBalanceOptions *o, int L, const double alpha[], double ratio[]);
typedef struct {
  EkMember    member;
  Rule        rule;
  const char *uses; /* its keys: words without the block, spaces between */
} RuleRow;

static double Mean(int L, const double x[])
{
  double sum = 0;

  for (int l = 0; l < L; l++) sum += x[l];
  return sum / L;
}

static void RuleNone(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  (void)o, (void)alpha;
  for (int l = 0; l < L; l++) ratio[l] = 1;
}

static void RuleLinearMap(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  double lo = alpha[0], hi = alpha[0];

  for (int l = 1; l < L; l++) {
    lo = PetscMin(lo, alpha[l]);
    hi = PetscMax(hi, alpha[l]);
  }
  for (int l = 0; l < L; l++) ratio[l] = o->lr_min_ratio + o->lr_slope * (alpha[l] - lo) / (hi - lo);
}

static void RuleSigmoid(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  const double mean = Mean(L, alpha);

  for (int l = 0; l < L; l++) {
    const double x = alpha[l] - mean;

    ratio[l] = pow(10, (x > 0 ? o->s2 : o->s1) * (1 / (1 + exp(-o->tau * x)) - 0.5));
  }
}

static void DivideByMean(int L, double ratio[])
{
  const double mean = Mean(L, ratio);

  for (int l = 0; l < L; l++) ratio[l] /= mean;
}

static void RuleSqrt(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  (void)o;
  for (int l = 0; l < L; l++) ratio[l] = sqrt(alpha[l]);
  DivideByMean(L, ratio);
}

static void RuleLog2(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  (void)o;
  for (int l = 0; l < L; l++) ratio[l] = log2(alpha[l]);
  DivideByMean(L, ratio);
}

/* The power keeps the sign; without the clipping one outlier would stop or blow up its layer. */
static void RuleExp(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  const double mean = Mean(L, alpha);

  for (int l = 0; l < L; l++) {
    const double x = alpha[l] - mean;

    ratio[l] = PetscClipInterval(pow(10, copysign(pow(fabs(x), o->exp_power), x)), 0.1, 10.0);
  }
}

static void RuleRank(const EkBalanceOptions *o, int L, const double alpha[], double ratio[])
{
  for (int l = 0; l < L; l++) {
    int rank = 0;

    for (int j = 0; j < L; j++) rank += alpha[j] < alpha[l] || (alpha[j] == alpha[l] && j < l);
    ratio[l] = o->lr_min_ratio + o->lr_slope * rank / L;
  }
}

static const RuleRow rule_row[] = {
    [EK_RULE_NONE] = {{"none", "every layer trains at the base rate"}, RuleNone, ""},
    {{"tb_linear_map", "lr_min_ratio at the least alpha to lr_min_ratio + lr_slope at the largest"},
     RuleLinearMap,
     "lr_min_ratio lr_slope metric fixed"},
    {{"tb_sigmoid", "10^(s (sigmoid(tau (alpha - mean)) - 1/2)), s = s1 up to the mean, s2 above"},
     RuleSigmoid,
     "s1 s2 tau metric fixed"},
    {{"tb_sqrt", "sqrt(alpha) over its mean"}, RuleSqrt, "metric fixed"},
    {{"tb_log2", "log(alpha) over its mean"}, RuleLog2, "metric fixed"},
    {{"tb_exp", "10^(sign(x) |x|^exp_power), x = alpha - mean, within 0.1 and 10"}, RuleExp, "exp_power metric fixed"},
    {{"tb_rank", "lr_min_ratio + lr_slope r/L, r the rank of alpha from 0"}, RuleRank, "lr_min_ratio lr_slope metric fixed"},
};
const EkFamily EkRuleFamily = EK_FAMILY("balance_rule", rule_row);

const char *EkRuleUses(int rule)
{
  return rule_row[rule].uses;
}

int EkRatiosCompute(const EkBalanceOptions *options, int L, const double alpha[], double ratio[])
{
  PetscBool equal = PETSC_TRUE;

  for (int l = 1; l < L && equal; l++) equal = (PetscBool)(alpha[l] == alpha[0]);
  (equal ? RuleNone : rule_row[options->rule].rule)(options, L, alpha, ratio);
  for (int l = 0; l < L; l++) {
    if (!isfinite(alpha[l]) || !isfinite(ratio[l]) || ratio[l] <= 0) return l;
  }
  return -1;
}

PetscErrorCode EkRatios(const EkBalanceOptions *options, int L, const double alpha[], double ratio[])
{
  int bad;

  PetscFunctionBegin;
  PetscCheck(options->rule >= 0 && options->rule < EkRuleFamily.count, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "balance_rule: no member %d", options->rule);
  bad = EkRatiosCompute(options, L, alpha, ratio);
  PetscCheck(bad < 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "balance_rule %s gives the rate ratio %.6g for alpha %.6g",
             rule_row[options->rule].member.name, ratio[bad], alpha[bad]);
  PetscFunctionReturn(0);
}
