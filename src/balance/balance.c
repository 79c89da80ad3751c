#include "balance_impl.h"
#include <math.h>

/* What is kept of a layer, as doubles: the state a restart needs is this and the number of refreshes. USED is the alpha that sets
   the ratio: NaN for a layer that is left out; with `fixed` that of the first refresh. */
enum { ALPHA, DISTANCE, TAIL, USED, RATIO, NUM_EVALS, NORM, SPECTRAL_NORM, NOTICED, FIELDS };
enum {
  BAD_LAYER,
  REFRESHES,
  HEAD
}; /* in front of the layers' fields; BAD_LAYER: whose ratio cannot be used, -1: none; not part of the state */

struct EkBalance_ {
  EkMesh           mesh;
  EkBalanceOptions options;
  int              nlayers;
  EkLayer         *layer;
  EkLayerState    *known;
  EkPlan           plan;
  EkDense          dense;
  EkGrid           grid; /* NULL on ranks outside all groups */
  MPI_Comm         group;
  PetscMPIInt     *count, *start; /* of each rank's eigenvalues in `gathered` */
  size_t          *place;         /* of each task's eigenvalues in `gathered` */
  int             *fitter;        /* rank that fits a layer; NULL: every rank fits all of them */
  double          *mine, *gathered, *eigenvalues, *shared, *fits, *alpha, *ratio;
  size_t           nshared;
  double           seconds; /* of the last refresh's eigenvalues on this rank */
};

static double *Fields(EkBalance b, int l)
{
  return b->shared + HEAD + (size_t)l * FIELDS;
}

/* ---- creation ---- */

static PetscErrorCode CheckLayers(EkMesh mesh, int nlayers, const EkLayer layers[])
{
  PetscFunctionBegin;
  for (int l = 0; l < nlayers; l++) {
    PetscCheck(layers[l].nbatches >= 1 && layers[l].nbatches <= EK_MAX_BATCHES, mesh->world, PETSC_ERR_ARG_SIZ,
               "layer %s: %d matrix batches, 1 to %d are possible", layers[l].name, layers[l].nbatches, EK_MAX_BATCHES);
    PetscCheck(isfinite(layers[l].scale) && layers[l].scale > 0, mesh->world, PETSC_ERR_ARG_OUTOFRANGE,
               "layer %s: eigenvalues cannot be scaled by %.6g", layers[l].name, layers[l].scale);
    for (int b = 0; b < layers[l].nbatches; b++) {
      const EkMatrixBatch *m = &layers[l].batch[b];

      PetscCheck(m->count > 0 && m->rows > 0 && m->cols > 0 && m->data, mesh->world, PETSC_ERR_ARG_SIZ,
                 "layer %s: %" PetscInt_FMT " matrices of %" PetscInt_FMT " x %" PetscInt_FMT " have no spectrum", layers[l].name,
                 m->count, m->rows, m->cols);
    }
  }
  PetscFunctionReturn(0);
}

static const EkMatrixBatch *TaskBatch(EkBalance b, const EkTask *task)
{
  return &b->layer[task->layer].batch[task->batch];
}

/* Batches that this rank works on with one of the two engines. */
static int MyBatches(EkBalance b, PetscBool distributed, int first, const EkMatrixBatch *batch[], EkSolver solver[])
{
  int n = 0;

  for (int t = 0; t < b->plan.ntasks; t++) {
    const EkTask *task = &b->plan.task[t];

    if (task->distributed != distributed || task->owner != first) continue;
    batch[n] = TaskBatch(b, task);
    solver[n++] = task->solver;
  }
  return n;
}

static int GroupSize(EkBalance b)
{
  return b->plan.grid_rows * b->plan.grid_cols;
}

/* First rank of the group this rank is in, -1 outside all groups. */
static int MyGroup(EkBalance b)
{
  const int size = GroupSize(b);

  if (!size || b->mesh->run->rank >= size * b->plan.groups) return -1;
  return b->mesh->run->rank / size * size;
}

static PetscErrorCode CreateEngines(EkBalance b)
{
  const EkMatrixBatch **batch;
  EkSolver             *solver;
  const int             group = MyGroup(b);
  int                   n;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(b->plan.ntasks, &batch, b->plan.ntasks, &solver));
  n = MyBatches(b, PETSC_FALSE, b->mesh->run->rank, batch, solver);
  PetscCall(EkDenseCreate(n, batch, solver, &b->dense));
  PetscCallMPI(MPI_Comm_split(b->mesh->world, group < 0 ? MPI_UNDEFINED : group, b->mesh->run->rank, &b->group));
  if (group >= 0) {
    n = MyBatches(b, PETSC_TRUE, group, batch, solver);
    PetscCall(EkGridCreate(b->group, b->plan.grid_rows, b->plan.grid_cols, n, batch, solver, &b->grid));
  }
  PetscCall(PetscFree2(batch, solver));
  PetscFunctionReturn(0);
}

/* Where everybody's eigenvalues go in the gather: by rank, then by task. */
static PetscErrorCode LayOutGather(EkBalance b)
{
  const int size = b->mesh->run->size;
  size_t    total = 0;

  PetscFunctionBegin;
  PetscCall(PetscMalloc3(size, &b->count, size, &b->start, b->plan.ntasks, &b->place));
  for (int r = 0; r < size; r++) {
    const size_t first = total;

    for (int t = 0; t < b->plan.ntasks; t++) {
      if (b->plan.task[t].owner != r) continue;
      b->place[t] = total;
      total += b->plan.task[t].values;
    }
    PetscCheck(total <= PETSC_MPI_INT_MAX, b->mesh->world, PETSC_ERR_SUP, "balance: %zu eigenvalues exceed one message", total);
    b->start[r] = (PetscMPIInt)first;
    b->count[r] = (PetscMPIInt)(total - first);
  }
  PetscCall(PetscMalloc1(total, &b->gathered));
  PetscCall(PetscCalloc1(total, &b->eigenvalues));
  /* the members of a group compute into a place of their own, of which only the first rank's is sent */
  PetscCall(PetscMalloc1(total, &b->mine));
  PetscFunctionReturn(0);
}

/* Scans cost N^2 and go to ranks one layer after the other; the plain fit costs less than a message. */
static PetscErrorCode AssignFits(EkBalance b)
{
  double *load;

  PetscFunctionBegin;
  if (b->options.fit == EK_FIT_XMIN_MID || b->mesh->run->size == 1) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(b->nlayers, &b->fitter));
  PetscCall(PetscCalloc1(b->mesh->run->size, &load));
  for (int l = 0; l < b->nlayers; l++) {
    int least = 0;

    for (int r = 1; r < b->mesh->run->size; r++) {
      if (load[r] < load[least]) least = r;
    }
    b->fitter[l] = least;
    load[least] += (double)b->known[l].neigs * (double)b->known[l].neigs;
  }
  PetscCall(PetscFree(load));
  PetscFunctionReturn(0);
}

/* What is known before the first refresh: nothing, and every ratio is 1. */
static PetscErrorCode CreateStates(EkBalance b)
{
  double *eigenvalues = b->eigenvalues;

  PetscFunctionBegin;
  b->nshared = HEAD + (size_t)b->nlayers * FIELDS;
  PetscCall(PetscCalloc5(b->nlayers, &b->known, b->nshared, &b->shared, 3 * b->nlayers, &b->fits, b->nlayers, &b->alpha,
                         b->nlayers, &b->ratio));
  for (int l = 0; l < b->nlayers; l++) {
    EkLayerState *s = &b->known[l];
    double       *f = Fields(b, l);

    f[ALPHA] = f[DISTANCE] = f[USED] = NAN;
    f[RATIO] = 1;
    s->name = b->layer[l].name;
    s->eigenvalues = eigenvalues;
    for (int i = 0; i < b->layer[l].nbatches; i++) {
      const EkMatrixBatch *m = &b->layer[l].batch[i];

      s->neigs += m->count * PetscMin(m->rows, m->cols);
    }
    eigenvalues += s->neigs;
  }
  PetscFunctionReturn(0);
}

static void Publish(EkBalance b)
{
  for (int l = 0; l < b->nlayers; l++) {
    EkLayerState *s = &b->known[l];
    const double *f = Fields(b, l);

    s->alpha = f[ALPHA];
    s->D = f[DISTANCE];
    s->num_evals = (PetscInt)f[NUM_EVALS];
    s->norm = f[NORM];
    s->spectral_norm = f[SPECTRAL_NORM];
    s->stable_rank = f[SPECTRAL_NORM] > 0 ? f[NORM] / f[SPECTRAL_NORM] : 0;
    s->ratio = f[RATIO];
    s->balanced = (PetscBool)(isfinite(f[USED]) && b->options.rule != EK_RULE_NONE);
    s->tail = (PetscInt)f[TAIL];
  }
}

PetscErrorCode EkBalanceCreate(EkMesh mesh, const EkBalanceOptions *options, int nlayers, const EkLayer layers[], EkBalance *out)
{
  EkBalance b;

  PetscFunctionBegin;
  PetscCheck(options->rule >= 0 && options->rule < EkRuleFamily.count && options->fit >= 0 && options->fit < EkFitFamily.count &&
                 options->solver >= 0 && options->solver < EkSolverFamily.count && options->xmin_pos > 1,
             mesh->world, PETSC_ERR_ARG_OUTOFRANGE, "balance: rule %d, fit %d, solver %d or xmin_pos %.6g is out of range",
             options->rule, options->fit, options->solver, options->xmin_pos);
  PetscCall(CheckLayers(mesh, nlayers, layers));
  PetscCall(PetscNew(&b));
  b->mesh = mesh;
  b->options = *options;
  b->nlayers = nlayers;
  b->group = MPI_COMM_NULL;
  PetscCall(PetscMalloc1(nlayers, &b->layer));
  PetscCall(PetscArraycpy(b->layer, layers, nlayers));
  PetscCall(EkPlanCreate(options, mesh->run->size, nlayers, layers, &b->plan));
  PetscCall(CreateEngines(b));
  PetscCall(LayOutGather(b));
  PetscCall(CreateStates(b));
  PetscCall(AssignFits(b));
  Publish(b);
  *out = b;
  PetscFunctionReturn(0);
}

/* ---- refresh ---- */

/* The tasks of this rank: those of its group first, in the order that all its members follow. */
static PetscErrorCode ComputeMine(EkBalance b)
{
  const int rank = b->mesh->run->rank, group = MyGroup(b);

  PetscFunctionBegin;
  for (int pass = 0; pass < 2; pass++) {
    for (int t = 0; t < b->plan.ntasks; t++) {
      const EkTask           *task = &b->plan.task[t];
      const EkMatrixBatch    *batch = TaskBatch(b, task);
      const EkSpectrumOptions options = EkSpectrumOptionsOf(&b->options, &b->layer[task->layer], task->solver);
      double                 *lambda = b->mine + b->place[t];

      if (task->distributed != (pass == 0) || task->owner != (task->distributed ? group : rank)) continue;
      for (PetscInt k = 0; k < task->count; k++, lambda += PetscMin(batch->rows, batch->cols)) {
        const EkTall a = EkTallView(batch, task->first + k);

        if (task->distributed)
          PetscCall(EkGridSpectrum(b->grid, &a, &options, lambda));
        else
          EkDenseSpectrum(b->dense, &a, &options, lambda);
      }
    }
  }
  PetscFunctionReturn(0);
}

static int Ascending(const void *left, const void *right)
{
  const double a = *(const double *)left, b = *(const double *)right;

  return (a > b) - (a < b);
}

static void Sort(PetscInt n, double x[])
{
  PetscInt i = 1;

  while (i < n && x[i - 1] <= x[i]) i++;
  if (i < n) qsort(x, (size_t)n, sizeof(*x), Ascending); /* one matrix comes sorted */
}

/* Scaled and sorted eigenvalues of every layer out of the gathered ones; failures of any rank come to light here, on all of them.
 */
static PetscErrorCode Collect(EkBalance b)
{
  double *out = b->eigenvalues;

  PetscFunctionBegin;
  for (int t = 0; t < b->plan.ntasks; t++) {
    const EkTask *task = &b->plan.task[t];
    const double *in = b->gathered + b->place[t], scale = b->layer[task->layer].scale;

    for (size_t i = 0; i < task->values; i++) {
      PetscCheck(!isnan(in[i]), b->mesh->world, PETSC_ERR_FP, "layer %s: a weight is NaN or Inf", b->layer[task->layer].name);
      PetscCheck(in[i] >= 0, b->mesh->world, PETSC_ERR_LIB,
                 "layer %s: the eigenvalue solver did not converge (balance_solver %s)", b->layer[task->layer].name,
                 EkFamilyMember(&EkSolverFamily, task->solver)->name);
      *out++ = scale * in[i];
    }
  }
  for (int l = 0; l < b->nlayers; l++) Sort(b->known[l].neigs, (double *)b->known[l].eigenvalues);
  PetscFunctionReturn(0);
}

/* Sums and the filter; returns the first eigenvalue that enters the fit (neigs: none does). If nothing passes the filter, the
   published code fits what it has: here all that is positive. */
static PetscInt Filter(EkBalance b, int l)
{
  const EkLayerState *s = &b->known[l];
  const double       *lambda = s->eigenvalues;
  const double        largest = lambda[s->neigs - 1];
  const double        bound = b->options.eig_filter * (b->layer[l].relative_filter ? largest : 1);
  double             *f = Fields(b, l);
  PetscInt            first = 0;

  f[NORM] = 0;
  f[SPECTRAL_NORM] = largest;
  for (PetscInt i = 0; i < s->neigs; i++) f[NORM] += lambda[i];
  while (first < s->neigs && !(lambda[first] > bound)) first++;
  f[NUM_EVALS] = (double)(s->neigs - first);
  if (first < s->neigs) return first;
  for (first = 0; first < s->neigs && !(lambda[first] > 0);) first++;
  return first;
}

static PetscErrorCode FitLayers(EkBalance b)
{
  PetscFunctionBegin;
  PetscCall(PetscArrayzero(b->fits, 3 * b->nlayers));
  for (int l = 0; l < b->nlayers; l++) {
    const PetscInt first = Filter(b, l), n = b->known[l].neigs - first;
    double        *fit = b->fits + 3 * l;
    PetscInt       start = 0;

    if (b->fitter && b->fitter[l] != b->mesh->run->rank) continue;
    fit[0] = fit[1] = NAN;
    if (n) PetscCall(EkFit(b->options.fit, b->options.xmin_pos, n, b->known[l].eigenvalues + first, &fit[0], &fit[1], &start));
    fit[2] = (double)(n ? first + start : 0);
  }
  if (b->fitter) PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, b->fits, 3 * b->nlayers, MPI_DOUBLE, MPI_SUM, b->mesh->world));
  PetscFunctionReturn(0);
}

/* A fit that gives a usable exponent: the published code has +inf for a tail of equal values and 0 where no start is admissible.
 */
static PetscBool IsUsable(double alpha)
{
  return (PetscBool)(isfinite(alpha) && alpha > 0);
}

/* Ratios of the layers that are balanced, by their exponents. */
static void SetRatios(EkBalance b)
{
  int n = 0, bad;

  for (int l = 0; l < b->nlayers; l++) {
    Fields(b, l)[RATIO] = 1;
    if (isfinite(Fields(b, l)[USED])) b->alpha[n++] = Fields(b, l)[USED];
  }
  bad = EkRatiosCompute(&b->options, n, b->alpha, b->ratio);
  b->shared[BAD_LAYER] = -1;
  for (int l = 0, i = 0; l < b->nlayers; l++) {
    if (!isfinite(Fields(b, l)[USED])) continue;
    if (i == bad) b->shared[BAD_LAYER] = l;
    Fields(b, l)[RATIO] = b->ratio[i++];
  }
}

/* exp and log may differ in the last bit between hosts: all take the first rank's figures. */
static PetscErrorCode ShareRatios(EkBalance b)
{
  int bad;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Bcast(b->shared, (PetscMPIInt)b->nshared, MPI_DOUBLE, 0, b->mesh->world));
  bad = (int)b->shared[BAD_LAYER];
  PetscCheck(
      bad < 0, b->mesh->world, PETSC_ERR_ARG_OUTOFRANGE, "balance_rule %s gives layer %s the rate ratio %.6g for alpha %.6g",
      EkFamilyMember(&EkRuleFamily, b->options.rule)->name, b->layer[bad].name, Fields(b, bad)[RATIO], Fields(b, bad)[USED]);
  PetscFunctionReturn(0);
}

/* What the rule goes by. */
static double Metric(const EkBalance b, const double *f)
{
  const double value[] = {[EK_METRIC_ALPHA] = f[ALPHA],
                          [EK_METRIC_STABLE_RANK] = f[NORM] / f[SPECTRAL_NORM],
                          [EK_METRIC_SPECTRAL_NORM] = f[SPECTRAL_NORM]};

  return value[b->options.metric];
}

/* Fits into fields. */
static void SetFits(EkBalance b)
{
  const PetscBool keep = (PetscBool)(b->options.fixed && b->shared[REFRESHES] > 0);

  for (int l = 0; l < b->nlayers; l++) {
    double *f = Fields(b, l);

    f[ALPHA] = b->fits[3 * l];
    f[DISTANCE] = b->fits[3 * l + 1];
    f[TAIL] = b->fits[3 * l + 2];
    if (!keep) f[USED] = IsUsable(Metric(b, f)) && f[NUM_EVALS] >= (double)b->options.min_eigs ? Metric(b, f) : NAN;
  }
  b->shared[REFRESHES]++;
}

static PetscErrorCode Notice(EkBalance b)
{
  PetscFunctionBegin;
  for (int l = 0; l < b->nlayers; l++) {
    double *f = Fields(b, l);

    if (IsUsable(Metric(b, f)) || f[NOTICED] != 0) continue;
    f[NOTICED] = 1;
    PetscCall(PetscPrintf(b->mesh->world, "notice: layer %s: %s; it trains at the base rate\n", b->layer[l].name,
                          f[SPECTRAL_NORM] > 0 ? "no power law can be fitted to its spectrum" : "its weights are all zero"));
  }
  PetscFunctionReturn(0);
}

/* Once, where the rule has nothing to work on: how many layers are left out by which key. */
static PetscErrorCode NoticeNone(EkBalance b)
{
  const PetscInt least = b->options.min_eigs;
  int            few = 0, filtered = 0, unfit = 0;
  PetscInt       most = 0;

  PetscFunctionBegin;
  if (b->options.rule == EK_RULE_NONE || b->shared[REFRESHES] != 1) PetscFunctionReturn(0);
  for (int l = 0; l < b->nlayers; l++) {
    const double  *f = Fields(b, l);
    const PetscInt neigs = b->known[l].neigs;

    if (isfinite(f[USED])) PetscFunctionReturn(0);
    few += neigs < least;
    filtered += neigs >= least && f[NUM_EVALS] < (double)least;
    unfit += f[NUM_EVALS] >= (double)least;
    if (neigs < least) most = PetscMax(most, neigs);
  }
  PetscCall(PetscPrintf(b->mesh->world, "notice: balance_rule %s balances no layer of %d, all train at the base rate",
                        EkFamilyMember(&EkRuleFamily, b->options.rule)->name, b->nlayers));
  if (few)
    PetscCall(PetscPrintf(b->mesh->world, "; %d with fewer eigenvalues than balance_min_eigs %d (%d at most)", few, (int)least,
                          (int)most));
  if (filtered)
    PetscCall(PetscPrintf(b->mesh->world, "; %d with fewer than balance_min_eigs %d above balance_eig_filter %.6g", filtered,
                          (int)least, b->options.eig_filter));
  if (unfit)
    PetscCall(PetscPrintf(b->mesh->world, "; %d without a power law by balance_fit %s", unfit,
                          EkFamilyMember(&EkFitFamily, b->options.fit)->name));
  PetscCall(PetscPrintf(b->mesh->world, "\n"));
  PetscFunctionReturn(0);
}

static PetscErrorCode Refresh(EkBalance b)
{
  const EkRun  run = b->mesh->run;
  const double began = EkTime();

  PetscFunctionBegin;
  PetscCall(ComputeMine(b));
  b->seconds = EkTime() - began;
  PetscCallMPI(MPI_Allgatherv(b->mine + b->start[run->rank], b->count[run->rank], MPI_DOUBLE, b->gathered, b->count, b->start,
                              MPI_DOUBLE, b->mesh->world));
  PetscCall(Collect(b));
  PetscCall(FitLayers(b));
  SetFits(b);
  SetRatios(b);
  PetscCall(ShareRatios(b));
  PetscCall(Notice(b));
  PetscCall(NoticeNone(b));
  Publish(b);
  PetscFunctionReturn(0);
}

PetscErrorCode EkBalanceRefresh(EkBalance b)
{
  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(b->mesh->run, SPECTRA));
  PetscCall(Refresh(b));
  PetscCall(EkPhaseEnd(b->mesh->run, SPECTRA));
  PetscFunctionReturn(0);
}

/* ---- what is known ---- */

PetscErrorCode EkBalanceGetLayers(EkBalance b, int *nlayers, const EkLayerState **layers)
{
  PetscFunctionBegin;
  *nlayers = b->nlayers;
  *layers = b->known;
  PetscFunctionReturn(0);
}

PetscErrorCode EkBalanceGetState(EkBalance b, size_t *count, const double **state)
{
  PetscFunctionBegin;
  *count = b->nshared - REFRESHES;
  *state = b->shared + REFRESHES;
  PetscFunctionReturn(0);
}

PetscErrorCode EkBalancePutState(EkBalance b, size_t count, const double *state)
{
  PetscFunctionBegin;
  PetscCheck(count == b->nshared - REFRESHES, b->mesh->world, PETSC_ERR_FILE_UNEXPECTED,
             "balancing state of %zu numbers, %zu expected for %d layers", count, b->nshared - REFRESHES, b->nlayers);
  PetscCall(PetscArraycpy(b->shared + REFRESHES, state, count));
  Publish(b);
  PetscFunctionReturn(0);
}

PetscErrorCode EkBalanceApplyRule(EkBalance b)
{
  PetscFunctionBegin;
  SetRatios(b);
  PetscCall(ShareRatios(b));
  Publish(b);
  PetscFunctionReturn(0);
}

/* "rank 3", "ranks 0-1 2" (groups), from the tasks of one layer. */
static PetscErrorCode DescribeOwners(EkBalance b, int layer, char *text, size_t size)
{
  const int members = GroupSize(b);
  char      item[64];

  PetscFunctionBegin;
  text[0] = 0;
  for (int r = 0; r < b->mesh->run->size; r++) {
    PetscBool alone = PETSC_FALSE, group = PETSC_FALSE;

    for (int t = 0; t < b->plan.ntasks; t++) {
      if (b->plan.task[t].layer != layer || b->plan.task[t].owner != r) continue;
      if (b->plan.task[t].distributed)
        group = PETSC_TRUE;
      else
        alone = PETSC_TRUE;
    }
    if (group) {
      PetscCall(PetscSNPrintf(item, sizeof(item), " %d-%d (%dx%d)", r, r + members - 1, b->plan.grid_rows, b->plan.grid_cols));
      PetscCall(PetscStrlcat(text, item, size));
    }
    if (alone) {
      PetscCall(PetscSNPrintf(item, sizeof(item), " %d", r));
      PetscCall(PetscStrlcat(text, item, size));
    }
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ViewLayer(EkBalance b, int l, FILE *file)
{
  const EkMatrixBatch *m = &b->layer[l].batch[0];
  const EkTask        *first = NULL;
  PetscInt             matrices = 0;
  double               seconds = 0;
  char                 size[64], owners[256];

  PetscFunctionBegin;
  for (int t = b->plan.ntasks - 1; t >= 0; t--) {
    if (b->plan.task[t].layer != l) continue;
    first = &b->plan.task[t];
    matrices += first->count;
    seconds += first->seconds;
  }
  PetscCall(DescribeOwners(b, l, owners, sizeof(owners)));
  PetscCall(PetscSNPrintf(size, sizeof(size), "%" PetscInt_FMT "x%" PetscInt_FMT "%s", m->rows, m->cols,
                          m->is_complex ? " complex" : ""));
  fprintf(file, "%-32s %8d %-20s %-4s %-9s %10.3f %s\n", b->layer[l].name, (int)matrices, size,
          EkFamilyMember(&EkSolverFamily, first->solver)->name, first->distributed ? "scalapack" : "lapack", 1e3 * seconds,
          owners);
  PetscFunctionReturn(0);
}

PetscErrorCode EkBalanceView(EkBalance b, FILE *file)
{
  const EkRun run = b->mesh->run;
  double     *measured;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(run->size, &measured));
  PetscCallMPI(MPI_Gather(&b->seconds, 1, MPI_DOUBLE, measured, 1, MPI_DOUBLE, 0, b->mesh->world));
  if (run->rank == 0) {
    fprintf(file, "%-32s %8s %-20s %-4s %-9s %10s %s\n", "layer", "matrices", "size", "by", "with", "predicted", " ranks");
    for (int l = 0; l < b->nlayers; l++) PetscCall(ViewLayer(b, l, file));
    fprintf(file, "%-32s %14s %14s\n", "rank", "predicted ms", "last refresh");
    for (int r = 0; r < run->size; r++) fprintf(file, "%-32d %14.3f %14.3f\n", r, 1e3 * b->plan.load[r], 1e3 * measured[r]);
  }
  PetscCall(PetscFree(measured));
  PetscFunctionReturn(0);
}

PetscErrorCode EkBalanceDestroy(EkBalance *balance)
{
  EkBalance b = *balance;

  PetscFunctionBegin;
  if (!b) PetscFunctionReturn(0);
  PetscCall(EkDenseDestroy(&b->dense));
  PetscCall(EkGridDestroy(&b->grid));
  if (b->group != MPI_COMM_NULL) PetscCallMPI(MPI_Comm_free(&b->group));
  PetscCall(EkPlanDestroy(&b->plan));
  PetscCall(PetscFree3(b->count, b->start, b->place));
  PetscCall(PetscFree5(b->known, b->shared, b->fits, b->alpha, b->ratio));
  PetscCall(PetscFree(b->fitter));
  PetscCall(PetscFree(b->mine));
  PetscCall(PetscFree(b->gathered));
  PetscCall(PetscFree(b->eigenvalues));
  PetscCall(PetscFree(b->layer));
  PetscCall(PetscFree(*balance));
  PetscFunctionReturn(0);
}
