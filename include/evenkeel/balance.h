/* Layer-wise learning rates from the heavy-tailed spectra of weights (TempBalance). Knows no model: it receives named layers made
   of matrices and returns one ratio (rate over base rate) per layer, so it serves a training run and a checkpoint on disk alike.
   Source: "Model Balancing Helps Low-data Training and Fine-tuning", EMNLP 2024, eq. 2-3, and the published estimator's exact
   form. */
#pragma once
#include "evenkeel/mesh.h"

/* count matrices of rows x cols inside an array of floats: element (k, i, j) is at data[k*step + i*row_step + j*col_step];
   complex: that float is the real part, the one `imaginary` places further (0: the next one) the imaginary part. Borrowed, never
   copied for longer than a call. */
typedef struct {
  const float *data;
  PetscInt     count, rows, cols;
  size_t       step, row_step, col_step;
  PetscBool    is_complex;
  size_t       imaginary;
} EkMatrixBatch;

#define EK_MAX_BATCHES 2
typedef struct {
  char          name[EK_NAME]; /* PyTorch's module name: "fc0" */
  int           nbatches;
  EkMatrixBatch batch[EK_MAX_BATCHES]; /* the eigenvalues of all matrices of all batches are pooled */
  double        scale;                 /* eigenvalues are multiplied by this (0.5 for the published Conv2d) */
  PetscBool     relative_filter;       /* keep lambda > eig_filter * largest instead of lambda > eig_filter */
} EkLayer;

typedef struct {
  int       rule;                   /* row of EkRuleFamily */
  PetscReal s1, s2, tau;            /* sigmoid: amplitudes below/at and above the mean, slope */
  PetscReal lr_min_ratio, lr_slope; /* linear map, rank */
  PetscReal exp_power;              /* exp */
  int       fit;                    /* row of EkFitFamily */
  PetscReal xmin_pos, eig_filter;
  PetscInt  min_eigs, interval; /* epochs between refreshes */
  int       layers;             /* EkLayerSet */
  PetscBool fixed;              /* alphas of epoch 0 for ever (TB_Fix) */
  int       solver;             /* row of EkSolverFamily */
  PetscInt  scalapack_min;      /* columns (smaller side) from which a matrix may be distributed */
  int       metric;             /* EkMetric */
} EkBalanceOptions;
extern const EkKeyTable EkBalanceKeys;
extern const EkFamily   EkRuleFamily;   /* none tb_linear_map tb_sigmoid tb_sqrt tb_log2 tb_exp tb_rank */
extern const EkFamily   EkFitFamily;    /* xmin_mid xmin_peak dks */
extern const EkFamily   EkSolverFamily; /* auto svd gram */
typedef enum { EK_LAYERS_PUBLISHED, EK_LAYERS_ALL } EkLayerSet;
extern const EkFamily EkLayerSetFamily;
/* What the rule takes for a layer's alpha: alpha itself, or what the paper's ablation puts in its place. */
typedef enum { EK_METRIC_ALPHA, EK_METRIC_STABLE_RANK, EK_METRIC_SPECTRAL_NORM } EkMetric;
extern const EkFamily EkMetricFamily;

/* Does the rule in the options take the key? Keys that are not about a rule are taken with any. */
PetscBool EkBalanceUses(const void *options, const EkKey *key);
/* Rank 0 names the keys that were given and that the rule has no use for. They are no mistake: one deck serves all rules, chosen
   on the command line. Not collective. */
PetscErrorCode EkBalanceTellUnused(EkRun run, const EkBalanceOptions *options);

/* ---- pure functions: no communication ------------------------------------------------------------------ */

/* Power-law fit of the n ascending, filtered eigenvalues. alpha = 1 + n_tail / sum ln(lambda_j / xmin), D the Kolmogorov-Smirnov
   distance; balancing.md 1.4, 1.5 give both to the letter. xmin index in *start. alpha is +inf where the published code has it (a
   tail of one value or of equal ones); the caller decides. Error: n = 0, a value that is not finite or not positive. */
PetscErrorCode EkFit(int fit, PetscReal xmin_pos, PetscInt n, const double lambda[], double *alpha, double *D, PetscInt *start);
/* ratio[l] for L finite alphas; if all alphas are equal, every ratio is 1. Error: a ratio that is not finite or not positive
   (tb_log2 with alpha <= 1), naming the rule and the value. */
PetscErrorCode EkRatios(const EkBalanceOptions *options, int L, const double alpha[], double ratio[]);

/* ---- the balancer -------------------------------------------------------------------------------------- */

/* What is known of a layer after a refresh; the row of layers.csv. */
typedef struct {
  const char   *name;
  double        alpha, D;      /* NaN when not fitted */
  PetscInt      num_evals;     /* that passed the filter */
  double        norm;          /* sum of all eigenvalues */
  double        spectral_norm; /* the largest */
  double        stable_rank;   /* norm / spectral_norm */
  double        ratio;         /* rate over base rate; 1 for a layer that is not balanced */
  PetscBool     balanced;      /* enough eigenvalues (min_eigs), a finite alpha, and a rule */
  PetscInt      neigs, tail;   /* all eigenvalues; index of the tail's first among them (0 when not fitted) */
  const double *eigenvalues;   /* ascending, unfiltered, scaled, on every rank; valid until the next refresh */
} EkLayerState;

typedef struct EkBalance_ *EkBalance;

/* Layers are copied, the weights they point at are borrowed. Collective on mesh->world. A cost model (flops of LAPACK per matrix
   batch) decides once who computes what: layers go to ranks, longest first (LAPACK), a long pooled one in runs of its matrices; a
   matrix of at least scalapack_min columns that would keep the other ranks waiting (it takes longer than an even share of the
   rest) goes to ScaLAPACK on a near-square grid of ranks. All memory is allocated here. Error, on every rank: a layer without
   matrices or values, scale <= 0. */
PetscErrorCode EkBalanceCreate(EkMesh mesh, const EkBalanceOptions *options, int nlayers, const EkLayer layers[],
                               EkBalance *balance);
/* Eigenvalues, fits and ratios of the weights as they are now; with `fixed`, ratios keep following the first alphas. The weights
   must be the same on every rank; the results are, bitwise. Collective on mesh->world, timed as the phase `spectra`. Error, on
   every rank: NaN or Inf in a layer's weights (names it), a rate that cannot be used (names rule and layer). A layer whose
   spectrum is zero or cannot be fitted trains at ratio 1 and is said so once on rank 0; so is, at the first refresh, that a rule
   balances no layer at all, and by which keys. */
PetscErrorCode EkBalanceRefresh(EkBalance balance);
PetscErrorCode EkBalanceGetLayers(EkBalance balance, int *nlayers, const EkLayerState **layers);
/* What a restart needs, as doubles (same on every rank): ratios, the alphas of `fixed`, ... Put restores it without a refresh;
   the eigenvalues themselves are not part of it and read 0 until the next one. Error of Put: another number of doubles than Get
   gives. */
PetscErrorCode EkBalanceGetState(EkBalance balance, size_t *count, const double **state);
PetscErrorCode EkBalancePutState(EkBalance balance, size_t count, const double *state);
/* After Put, where options differ from those the state was made with: ratios of its alphas by the present rule, without a refresh.
   Collective. Error: as Refresh's about a ratio. */
PetscErrorCode EkBalanceApplyRule(EkBalance balance);
/* Cost model's prediction and who does what, one line a layer, rank 0. Collective. */
PetscErrorCode EkBalanceView(EkBalance balance, FILE *file);
PetscErrorCode EkBalanceDestroy(EkBalance *balance);
