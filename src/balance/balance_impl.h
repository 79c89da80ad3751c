/* Inside the balance layer: views of matrices, the two eigenvalue engines (one rank, a grid of ranks), the plan of who computes
 * what. */
#pragma once
#include "evenkeel/balance.h"

enum { EK_RULE_NONE }; /* the rows of the tables that the code refers to */
enum { EK_FIT_XMIN_MID };

/* Keys of the rule: words without the block, spaces between. */
const char *EkRuleUses(int rule);
/* As EkRatios, but a ratio or alpha that cannot be used is reported as its index (-1: none) and nothing is printed. */
int EkRatiosCompute(const EkBalanceOptions *options, int L, const double alpha[], double ratio[]);

/* One matrix seen with its long side as rows (singular values do not mind): m >= n, element (i, j) at data[i*row_step +
 * j*col_step]. */
typedef struct {
  const float *data;
  PetscInt     m, n;
  size_t       row_step, col_step;
  PetscBool    is_complex;
  size_t       imaginary; /* from a real part to its imaginary part */
} EkTall;
EkTall EkTallView(const EkMatrixBatch *batch, PetscInt k);

/* How eigenvalues are found; `auto` has been resolved into one of the two. */
typedef enum { EK_SOLVER_AUTO, EK_SOLVER_SVD, EK_SOLVER_GRAM } EkSolver;

/* What an engine needs to know besides the matrix. `threshold`: eigenvalues (before scaling) are compared with it by the filter,
   so that single precision must not decide on which side one lies; negative: single precision is not allowed at all. */
typedef struct {
  EkSolver  solver;
  double    threshold;
  PetscReal xmin_pos;
} EkSpectrumOptions;
EkSpectrumOptions EkSpectrumOptionsOf(const EkBalanceOptions *options, const EkLayer *layer, EkSolver solver);

/* Worth trying single precision on this matrix? Few columns gain nothing. */
PetscBool EkSinglePromises(const EkSpectrumOptions *options, const EkTall *a);
/* Whether single-precision eigenvalues (ascending) of a Gram matrix can be used. They cannot if the tail starts below a
   thousandth of the largest; how many the filter drops is open if one lies within `error` of the largest from the threshold.
   Measured against double precision on normal, shifted and power-law weights, square and 2:1, n = 256 to 1024: a value is off by
   1e-5 of itself, and by 2e-7 (ssyev) or 4e-7 (pssyev) of the largest; alpha by 3e-5 at most. */
typedef enum { EK_SINGLE_FAILS, EK_SINGLE_NEAR_FILTER, EK_SINGLE_SUFFICES } EkSingle;
EkSingle EkSingleSuffices(const EkSpectrumOptions *options, double error, PetscInt n, const float lambda[]);

/* Outcome of one matrix, carried in the place of its eigenvalues so that every rank learns of it from the gather that it takes
 * part in anyway. */
#define EK_SPECTRUM_NOT_FINITE NAN
#define EK_SPECTRUM_FAILED     (-1.0)

/* ---- LAPACK on one rank (dense.c) ---- */
typedef struct EkDense_ *EkDense;
/* Workspace for the given batches (solver[i] for batches[i]); nothing is allocated afterwards. Not collective. */
PetscErrorCode EkDenseCreate(int n, const EkMatrixBatch *const batches[], const EkSolver solver[], EkDense *dense);
/* lambda[0..n): squared singular values, or a marker of failure in lambda[0]. Not collective. */
void           EkDenseSpectrum(EkDense dense, const EkTall *a, const EkSpectrumOptions *options, double lambda[]);
PetscErrorCode EkDenseDestroy(EkDense *dense);

/* ---- ScaLAPACK on a near-square grid of ranks (grid.c) ---- */
typedef struct EkGrid_ *EkGrid;
/* Rows and columns of the grid for n-column matrices on at most `ranks` ranks: every rank owns two blocks of eight columns at
 * least. */
void EkGridShape(int ranks, PetscInt n, int *rows, int *cols);
/* Collective on comm, which holds exactly rows*cols ranks. */
PetscErrorCode EkGridCreate(MPI_Comm comm, int rows, int cols, int n, const EkMatrixBatch *const batches[],
                            const EkSolver solver[], EkGrid *grid);
/* As EkDenseSpectrum; the first rank's lambda is the one to use. Collective on the grid's communicator. */
PetscErrorCode EkGridSpectrum(EkGrid grid, const EkTall *a, const EkSpectrumOptions *options, double lambda[]);
PetscErrorCode EkGridDestroy(EkGrid *grid);

/* ---- who computes what (plan.c) ---- */
typedef struct {
  int       layer, batch;
  PetscInt  first, count; /* matrices of the batch */
  EkSolver  solver;
  PetscBool distributed;
  int       owner;   /* world rank; of a distributed task the first rank of its group */
  double    seconds; /* predicted */
  size_t    values;  /* eigenvalues it yields */
} EkTask;
typedef struct {
  int     ntasks;
  EkTask *task;                 /* in order of layer, batch, first */
  int     grid_rows, grid_cols; /* of every group; 0: nothing is distributed */
  int     groups;               /* group g = world ranks g*rows*cols ... */
  double *load;                 /* predicted seconds of each rank */
} EkPlan;
/* The same on every rank, from sizes alone. Not collective. */
PetscErrorCode EkPlanCreate(const EkBalanceOptions *options, int ranks, int nlayers, const EkLayer layers[], EkPlan *plan);
PetscErrorCode EkPlanDestroy(EkPlan *plan);
