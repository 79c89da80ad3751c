#include "balance_impl.h"

/* Measured on one core of a 2020s server with OpenBLAS: seconds a flop takes in products and in the reduction to (bi)diagonal
   form (half of it matrix-vector products), and a small matrix by itself. Only their ratios decide who computes what. */
#define PRODUCT_FLOP   2.5e-11
#define REDUCTION_FLOP 6e-11
#define MATRIX_SECONDS 1e-5
/* Single precision takes this share of it. */
#define SINGLE_SHARE 0.55
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

/* How each matrix of a batch is computed, and the seconds it takes on one rank. */
typedef struct {
  EkTall   tall;
  EkSolver solver;
  double   seconds;
} Way;

EkSpectrumOptions EkSpectrumOptionsOf(const EkBalanceOptions *options, const EkLayer *layer, EkSolver solver)
{
  const PetscBool single = (PetscBool)(options->fit == EK_FIT_XMIN_MID && !layer->relative_filter);

  return (EkSpectrumOptions){
      .solver = solver, .threshold = single ? options->eig_filter / layer->scale : -1, .xmin_pos = options->xmin_pos};
}

/* Flops: Golub and Van Loan, values only. */
static double GramSeconds(const EkTall *a, const EkSpectrumOptions *options)
{
  const double m = (double)a->m, n = (double)a->n, unit = a->is_complex ? 4 : EkSinglePromises(options, a) ? SINGLE_SHARE : 1;

  return MATRIX_SECONDS + unit * (PRODUCT_FLOP * m * n * n + REDUCTION_FLOP * 4 / 3 * n * n * n);
}

/* The same; gesdd factorises tall matrices first. */
static double SingularSeconds(const EkTall *a)
{
  const double m = (double)a->m, n = (double)a->n, unit = a->is_complex ? 4 : 1;

  if (m > 11.0 / 6 * n) return MATRIX_SECONDS + unit * (PRODUCT_FLOP * 2 * m * n * n + REDUCTION_FLOP * 2 * n * n * n);
  return MATRIX_SECONDS + unit * REDUCTION_FLOP * (4 * m * n * n - 4.0 / 3 * n * n * n);
}

static Way ChooseWay(const Policy *policy, const EkLayer *layer, int b)
{
  const EkTall            tall = EkTallView(&layer->batch[b], 0);
  const EkSpectrumOptions options = EkSpectrumOptionsOf(policy->options, layer, EK_SOLVER_GRAM);
  const double            gram = GramSeconds(&tall, &options), svd = SingularSeconds(&tall);
  EkSolver                solver = (EkSolver)policy->options->solver;

  if (solver == EK_SOLVER_AUTO) solver = gram <= svd ? EK_SOLVER_GRAM : EK_SOLVER_SVD;
  return (Way){tall, solver, solver == EK_SOLVER_GRAM ? gram : svd};
}

static PetscBool IsDistributed(const Policy *policy, const Way *way)
{
  int rows, cols;

  EkGridShape(policy->ranks, way->tall.n, &rows, &cols);
  return (PetscBool)(rows * cols > 1 && way->tall.n >= policy->options->scalapack_min && way->seconds > policy->share);
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
        const Way    way = ChooseWay(policy, &layers[l], b);
        const Policy known = {policy->options, policy->ranks, before};

        if (!IsDistributed(&known, &way)) policy->share += (double)layers[l].batch[b].count * way.seconds / policy->ranks;
      }
    }
  } while (policy->share < before);
}

/* Into how many tasks a batch is cut: matrices that are distributed go one by one; of a long pooled batch no rank gets more than
 * half its share. */
static PetscInt Parts(const Policy *policy, const Way *way, PetscInt count)
{
  if (IsDistributed(policy, way)) return count;
  if (policy->ranks == 1) return 1;
  return (PetscInt)PetscMin(count, 1 + (PetscInt64)((double)count * way->seconds / PetscMax(policy->share / 2, CHUNK_SECONDS)));
}

/* Tasks of one batch appended to the plan; with task NULL they are only counted. */
static void AddTasks(EkPlan *plan, const Policy *policy, const EkLayer layers[], int l, int b)
{
  const EkMatrixBatch *batch = &layers[l].batch[b];
  const Way            way = ChooseWay(policy, &layers[l], b);
  const PetscInt       parts = Parts(policy, &way, batch->count);
  PetscInt64           lo, hi;

  for (PetscInt p = 0; p < parts; p++, plan->ntasks++) {
    EkSlice(batch->count, parts, p, &lo, &hi);
    if (!plan->task) continue;
    plan->task[plan->ntasks] = (EkTask){.layer = l,
                                        .batch = b,
                                        .first = (PetscInt)lo,
                                        .count = (PetscInt)(hi - lo),
                                        .solver = way.solver,
                                        .distributed = IsDistributed(policy, &way),
                                        .seconds = (double)(hi - lo) * way.seconds,
                                        .values = (size_t)(hi - lo) * (size_t)way.tall.n};
  }
}

static void AddAllTasks(EkPlan *plan, const Policy *policy, int nlayers, const EkLayer layers[])
{
  plan->ntasks = 0;
  for (int l = 0; l < nlayers; l++) {
    for (int b = 0; b < layers[l].nbatches; b++) AddTasks(plan, policy, layers, l, b);
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
