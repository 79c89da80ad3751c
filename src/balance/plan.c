#include "balance_impl.h"

/* Measured on one core of a 2020s server with OpenBLAS: seconds a flop takes in products and in the reduction to (bi)diagonal
   form (half of it matrix-vector products), and a small matrix by itself. Only their ratios decide who computes what. */
#define PRODUCT_FLOP   2.5e-11
#define REDUCTION_FLOP 6e-11
#define MATRIX_SECONDS 1e-5
/* A column of a distributed reduction waits for a handful of messages. */
#define COLUMN_SECONDS 5e-5
/* A layer that takes less is not divided over ranks. */
#define CHUNK_SECONDS 2e-4

/* What decides about a batch. A matrix is distributed if it has scalapack_min columns and takes longer than `share`, the time of
   all that is not distributed over the number of ranks: given whole to one rank it would keep the others waiting. */
typedef struct {
  const EkBalanceOptions *options;
  int                     ranks;
  double                  share;
} Policy;

/* Seconds of one matrix on one rank. Flops: Golub and Van Loan, values only; gesdd factorises tall matrices first. */
static double MatrixSeconds(const EkTall *a, EkSolver solver)
{
  const double m = (double)a->m, n = (double)a->n, unit = a->is_complex ? 4 : 1;

  if (solver == EK_SOLVER_GRAM) return MATRIX_SECONDS + unit * (PRODUCT_FLOP * m * n * n + REDUCTION_FLOP * 4 / 3 * n * n * n);
  if (m > 11.0 / 6 * n) return MATRIX_SECONDS + unit * (PRODUCT_FLOP * 2 * m * n * n + REDUCTION_FLOP * 2 * n * n * n);
  return MATRIX_SECONDS + unit * REDUCTION_FLOP * (4 * m * n * n - 4.0 / 3 * n * n * n);
}

static EkSolver Resolve(const Policy *policy, const EkTall *a)
{
  if (policy->options->solver != EK_SOLVER_AUTO) return (EkSolver)policy->options->solver;
  return MatrixSeconds(a, EK_SOLVER_GRAM) <= MatrixSeconds(a, EK_SOLVER_SVD) ? EK_SOLVER_GRAM : EK_SOLVER_SVD;
}

static PetscBool IsDistributed(const Policy *policy, const EkTall *a)
{
  int rows, cols;

  EkGridShape(policy->ranks, a->n, &rows, &cols);
  return (PetscBool)(rows * cols > 1 && a->n >= policy->options->scalapack_min &&
                     MatrixSeconds(a, Resolve(policy, a)) > policy->share);
}

/* The share shrinks as matrices longer than it leave the pool; what has left stays longer than it. */
static void FindShare(Policy *policy, int nlayers, const EkLayer layers[])
{
  double before;

  policy->share = PETSC_MAX_REAL;
  do {
    before = policy->share;
    policy->share = 0;
    for (int l = 0; l < nlayers; l++) {
      for (int b = 0; b < layers[l].nbatches; b++) {
        const EkTall a = EkTallView(&layers[l].batch[b], 0);
        const Policy known = {policy->options, policy->ranks, before};

        if (!IsDistributed(&known, &a))
          policy->share += (double)layers[l].batch[b].count * MatrixSeconds(&a, Resolve(policy, &a)) / policy->ranks;
      }
    }
  } while (policy->share < before);
}

/* Into how many tasks a batch is cut: matrices that are distributed go one by one; of a long pooled batch no rank gets more than
 * half its share. */
static PetscInt Parts(const Policy *policy, const EkTall *a, PetscInt count)
{
  const double seconds = (double)count * MatrixSeconds(a, Resolve(policy, a));

  if (IsDistributed(policy, a)) return count;
  if (policy->ranks == 1) return 1;
  return (PetscInt)PetscMin(count, 1 + (PetscInt64)(seconds / PetscMax(policy->share / 2, CHUNK_SECONDS)));
}

/* Tasks of one batch appended to the plan; with task NULL they are only counted. */
static void AddTasks(EkPlan *plan, const Policy *policy, int layer, int b, const EkMatrixBatch *batch)
{
  const EkTall    a = EkTallView(batch, 0);
  const EkSolver  solver = Resolve(policy, &a);
  const PetscBool distributed = IsDistributed(policy, &a);
  const PetscInt  parts = Parts(policy, &a, batch->count);
  PetscInt64      lo, hi;

  for (PetscInt p = 0; p < parts; p++, plan->ntasks++) {
    EkSlice(batch->count, parts, p, &lo, &hi);
    if (!plan->task) continue;
    plan->task[plan->ntasks] = (EkTask){.layer = layer,
                                        .batch = b,
                                        .first = (PetscInt)lo,
                                        .count = (PetscInt)(hi - lo),
                                        .solver = solver,
                                        .distributed = distributed,
                                        .seconds = (double)(hi - lo) * MatrixSeconds(&a, solver),
                                        .values = (size_t)(hi - lo) * (size_t)a.n};
  }
}

static void AddAllTasks(EkPlan *plan, const Policy *policy, int nlayers, const EkLayer layers[])
{
  plan->ntasks = 0;
  for (int l = 0; l < nlayers; l++) {
    for (int b = 0; b < layers[l].nbatches; b++) AddTasks(plan, policy, l, b, &layers[l].batch[b]);
  }
}

static int Longest(const void *left, const void *right)
{
  const EkTask *a = *(EkTask *const *)left, *b = *(EkTask *const *)right;

  if (a->seconds != b->seconds) return a->seconds < b->seconds ? 1 : -1;
  return a < b ? -1 : 1;
}

static int LeastLoaded(int n, const double load[])
{
  int least = 0;

  for (int i = 1; i < n; i++) {
    if (load[i] < load[least]) least = i;
  }
  return least;
}

static double DistributedSeconds(const EkTask *task, PetscInt n, int ranks)
{
  return task->seconds / ranks + COLUMN_SECONDS * (double)n;
}

/* Distributed tasks, longest first, to groups of `size` ranks; returns the time of the busiest group. `apply` writes owners and
 * predictions. */
static double AssignGroups(EkPlan *plan, EkTask *const order[], int groups, int size, double load[], PetscBool apply)
{
  double busiest = 0;

  for (int g = 0; g < groups; g++) load[g] = 0;
  for (int t = 0; t < plan->ntasks; t++) {
    const int    g = LeastLoaded(groups, load);
    const double seconds = order[t]->distributed ? DistributedSeconds(order[t], (PetscInt)order[t]->values, size) : 0;

    if (!order[t]->distributed) continue;
    load[g] += seconds;
    busiest = PetscMax(busiest, load[g]);
    if (apply) {
      order[t]->owner = g * size;
      order[t]->seconds = seconds;
    }
  }
  return busiest;
}

/* The shape of the groups that ends soonest; the smallest matrix limits it. */
static void ChooseGroups(EkPlan *plan, EkTask *const order[], int ranks, double load[])
{
  PetscInt smallest = PETSC_MAX_INT;
  double   best = PETSC_MAX_REAL;
  int      rows, cols;

  for (int t = 0; t < plan->ntasks; t++) {
    if (order[t]->distributed) smallest = PetscMin(smallest, (PetscInt)order[t]->values);
  }
  if (smallest == PETSC_MAX_INT) return;
  for (int size = 2; size <= ranks; size++) {
    EkGridShape(size, smallest, &rows, &cols);
    if (rows * cols == size) {
      const double seconds = AssignGroups(plan, order, ranks / size, size, load, PETSC_FALSE);

      if (seconds >= best) continue;
      best = seconds;
      plan->grid_rows = rows;
      plan->grid_cols = cols;
      plan->groups = ranks / size;
    }
  }
}

static void AssignOwners(EkPlan *plan, EkTask *const order[], int ranks, double load[])
{
  const int size = plan->grid_rows * plan->grid_cols;

  if (size) AssignGroups(plan, order, plan->groups, size, load, PETSC_TRUE);
  for (int r = 0; r < ranks; r++) plan->load[r] = r < plan->groups * size ? load[r / size] : 0;
  for (int t = 0; t < plan->ntasks; t++) {
    if (order[t]->distributed) continue;
    order[t]->owner = LeastLoaded(ranks, plan->load);
    plan->load[order[t]->owner] += order[t]->seconds;
  }
}

PetscErrorCode EkPlanCreate(const EkBalanceOptions *options, int ranks, int nlayers, const EkLayer layers[], EkPlan *plan)
{
  Policy   policy = {options, ranks, 0};
  EkTask **order;
  double  *load;

  PetscFunctionBegin;
  *plan = (EkPlan){0};
  FindShare(&policy, nlayers, layers);
  AddAllTasks(plan, &policy, nlayers, layers);
  PetscCall(PetscMalloc2(plan->ntasks, &plan->task, ranks, &plan->load));
  AddAllTasks(plan, &policy, nlayers, layers);
  PetscCall(PetscMalloc2(plan->ntasks, &order, ranks, &load));
  for (int t = 0; t < plan->ntasks; t++) order[t] = &plan->task[t];
  if (plan->ntasks) qsort(order, (size_t)plan->ntasks, sizeof(*order), Longest);
  ChooseGroups(plan, order, ranks, load);
  AssignOwners(plan, order, ranks, load);
  PetscCall(PetscFree2(order, load));
  PetscFunctionReturn(0);
}

PetscErrorCode EkPlanDestroy(EkPlan *plan)
{
  PetscFunctionBegin;
  PetscCall(PetscFree2(plan->task, plan->load));
  *plan = (EkPlan){0};
  PetscFunctionReturn(0);
}
