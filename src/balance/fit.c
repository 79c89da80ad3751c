#include "balance_impl.h"
#include <math.h>

/* Where the tail starts, and its fit. */
typedef struct {
  double   alpha, D;
  PetscInt start;
} Tail;

typedef struct {
  EkMember member;
  void (*fit)(PetscReal xmin_pos, PetscInt n, const double lambda[], Tail *tail);
} FitRow;

static double HillAlpha(PetscInt tail, double log_sum)
{
  return log_sum > 0 ? 1 + (double)tail / log_sum : INFINITY;
}

/* Kolmogorov-Smirnov distance of lambda[start..n) from the power law; stops early once it exceeds `limit`. */
static double Distance(PetscInt start, PetscInt n, const double lambda[], double alpha, double limit)
{
  const double tail = (double)(n - start);
  double       D = 0;

  for (PetscInt j = start; j < n && D <= limit; j++) {
    D = PetscMax(D, fabs(1 - pow(lambda[j] / lambda[start], 1 - alpha) - (double)(j - start) / tail));
  }
  return D;
}

/* The threshold lambda[start] belongs to its own tail: n - start values, of which the first adds ln 1 = 0. */
static void FitMid(PetscReal xmin_pos, PetscInt n, const double lambda[], Tail *tail)
{
  double sum = 0;

  tail->start = PetscMin((PetscInt)((double)n / xmin_pos), n - 1);
  for (PetscInt j = tail->start + 1; j < n; j++) sum += log(lambda[j] / lambda[tail->start]);
  tail->alpha = HillAlpha(n - tail->start, sum);
  tail->D = Distance(tail->start, n, lambda, tail->alpha, INFINITY);
}

/* First start of least distance among those with lower <= lambda <= upper. The log sum grows as the start moves down:
   S(i) = S(i+1) + (n-i-1) ln(lambda[i+1]/lambda[i]), sums of non-negative terms only. Without a candidate: the published zeros.
 */
static void Scan(PetscInt n, const double lambda[], double lower, double upper, Tail *tail)
{
  double sum = 0;

  *tail = (Tail){.alpha = n == 1 ? INFINITY : 0, .D = 1, .start = 0};
  for (PetscInt i = n - 2; i >= 0; i--) {
    double alpha, D;

    sum += (double)(n - i - 1) * log(lambda[i + 1] / lambda[i]);
    if (lambda[i] < lower || lambda[i] > upper) continue;
    alpha = HillAlpha(n - i, sum);
    D = alpha > 1 ? Distance(i, n, lambda, alpha, tail->D) : 1;
    if (D <= tail->D) *tail = (Tail){alpha, D, i};
  }
}

static void FitDks(PetscReal xmin_pos, PetscInt n, const double lambda[], Tail *tail)
{
  (void)xmin_pos;
  Scan(n, lambda, 0, INFINITY, tail);
}

#define BINS 100
/* Left edge of the fullest of 100 equal bins of log10 lambda, as a value of lambda. */
static double Peak(PetscInt n, const double lambda[])
{
  const double lo = log10(lambda[0]), width = log10(lambda[n - 1]) - lo;
  PetscInt     count[BINS] = {0};
  int          fullest = 0;

  if (!(width > 0)) return lambda[0];
  for (PetscInt i = 0; i < n; i++) count[PetscMin((int)((log10(lambda[i]) - lo) / width * BINS), BINS - 1)]++;
  for (int b = 1; b < BINS; b++) {
    if (count[b] > count[fullest]) fullest = b;
  }
  return pow(10, lo + width * fullest / BINS);
}

/* The lower bound is a log10 compared with a linear lambda: a mix-up of units in the published code, kept because the figures
 * rest on it. */
static void FitPeak(PetscReal xmin_pos, PetscInt n, const double lambda[], Tail *tail)
{
  const double xmin = Peak(n, lambda);

  (void)xmin_pos;
  Scan(n, lambda, log10(0.95 * xmin), 1.5 * xmin, tail);
}

static const FitRow fit_row[] = {
    [EK_FIT_XMIN_MID] = {{"xmin_mid", "the tail is the upper 1 - 1/xmin_pos of the spectrum"}, FitMid},
    {{"xmin_peak", "best distance among starts near the peak of the log-histogram"}, FitPeak},
    {{"dks", "best distance among all starts"}, FitDks},
};
const EkFamily EkFitFamily = EK_FAMILY("balance_fit", fit_row);

PetscErrorCode EkFit(int fit, PetscReal xmin_pos, PetscInt n, const double lambda[], double *alpha, double *D, PetscInt *start)
{
  Tail tail;

  PetscFunctionBegin;
  PetscCheck(fit >= 0 && fit < EkFitFamily.count, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "balance_fit: no member %d", fit);
  PetscCheck(xmin_pos > 1, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "balance_xmin_pos: %.6g must be larger than 1", xmin_pos);
  PetscCheck(n > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "a power law cannot be fitted to an empty spectrum");
  for (PetscInt i = 0; i < n; i++) {
    PetscCheck(isfinite(lambda[i]) && lambda[i] > 0, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
               "a power law cannot be fitted to a spectrum with the value %.6g", lambda[i]);
  }
  fit_row[fit].fit(xmin_pos, n, lambda, &tail);
  *alpha = tail.alpha;
  *D = tail.D;
  *start = tail.start;
  PetscFunctionReturn(0);
}
