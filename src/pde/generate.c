#include "evenkeel/pde.h"
#include "queue.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_SECONDS 2.0
#define REDRAW_STRIDE    ((uint64_t)1 << 40) /* between the streams of a trajectory's draws: beyond any trajectory's number */

typedef struct {
  EkRun                    run;
  const EkGenerateOptions *options;
  const EkPdeMethods      *methods;
  EkFileSpec               spec;
  EkDataFile               file;
  PetscInt                 nmissing;
  const PetscInt          *missing; /* trajectories to solve: the queue's items are places in this list */
  MPI_Comm                 group;
  PetscMPIInt              group_rank;
  void                    *solver;
  float                   *slab[EK_FILE_SETS]; /* one trajectory, first rank of the group */
  EkQueue                  queue;
  EkGenerateReport         report;
  double                   start, printed;
} Worker;

/* ---- before -------------------------------------------------------------------------------------------- */

static PetscErrorCode CheckOptions(EkRun run, const EkGenerateOptions *o)
{
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, o->set.initial);
  const EkMember  *type = EkFamilyMember(&EkPdeFamily, o->type);
  EkProblems       problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  if (strcmp(initial->pde, type->name)) {
    PetscCall(
        EkProblemsAdd(problems, "generate_initial: %s is for %s, not for %s", initial->member.name, initial->pde, type->name));
  }
  if (o->ranks_per_sample > run->size) {
    PetscCall(EkProblemsAdd(problems, "generate_ranks_per_sample: %lld ranks a sample, but there are %d",
                            (long long)o->ranks_per_sample, (int)run->size));
  } else if (o->set.nx < 2 * o->ranks_per_sample) {
    PetscCall(EkProblemsAdd(problems,
                            "generate_ranks_per_sample: %lld ranks cannot share a grid of generate_nx %lld, each needs two rows",
                            (long long)o->ranks_per_sample, (long long)o->set.nx));
  }
  PetscCall(EkProblemsRaise(run, &problems));
  PetscFunctionReturn(0);
}

/* The keys on which the data depend, as YAML */
static PetscErrorCode WriteIdentity(const EkGenerateOptions *options, char *text, size_t length)
{
  EkKey      key[32];
  EkKeyTable table = {EkGenerateKeys.block, key, 0};
  FILE      *file;

  PetscFunctionBegin;
  for (int i = 0; i < EkGenerateKeys.count; i++) {
    const size_t offset = EkGenerateKeys.keys[i].offset;

    if (offset == offsetof(EkGenerateOptions, file) || offset == offsetof(EkGenerateOptions, ranks_per_sample)) continue;
    PetscCheck(table.count < 32, PETSC_COMM_SELF, PETSC_ERR_PLIB, "more keys than there is room for");
    key[table.count++] = EkGenerateKeys.keys[i];
  }
  file = fmemopen(text, length, "w");
  EkCheckAlloc(file, "the parameters as text");
  PetscCall(EkKeysWriteYaml(file, &table, options, PETSC_FALSE));
  PetscCheck(!fclose(file) && strlen(text) < length - 1, PETSC_COMM_SELF, PETSC_ERR_PLIB,
             "the parameters are longer than %d characters", (int)length);
  PetscFunctionReturn(0);
}

static PetscErrorCode OpenFile(Worker *worker)
{
  const EkGenerateOptions *options = worker->options;

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(worker->spec.path, options->file, EK_PATH));
  worker->spec.samples = options->set.samples;
  PetscCall(worker->methods->describe(&options->set, &worker->spec));
  PetscCall(WriteIdentity(options, worker->spec.identity, sizeof(worker->spec.identity)));
  PetscCall(EkDataFileOpen(worker->run, &worker->spec, &worker->file));
  PetscCall(EkDataFileGetMissing(worker->file, &worker->nmissing, &worker->missing));
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateSlabs(Worker *worker)
{
  PetscFunctionBegin;
  for (int s = 0; s < worker->spec.nsets; s++) {
    const EkFileSet *set = &worker->spec.set[s];
    size_t           count = 1;

    if (set->coordinate) continue;
    for (int d = 1; d < set->rank; d++) count *= (size_t)set->shape[d];
    PetscCall(PetscMalloc1(count, &worker->slab[s]));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateGroup(Worker *worker)
{
  const EkRun    run = worker->run;
  const PetscInt wide = worker->options->ranks_per_sample;
  PetscInt       total = worker->nmissing;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_split(run->comm, (int)(run->rank / wide), run->rank, &worker->group));
  PetscCallMPI(MPI_Comm_rank(worker->group, &worker->group_rank));
  PetscCall(worker->methods->create(worker->group, &worker->options->set, &worker->solver));
  if (worker->group_rank == 0) PetscCall(CreateSlabs(worker));
  if (worker->options->stop_after) total = PetscMin(total, worker->options->stop_after);
  PetscCall(EkQueueCreate(run->comm, (PetscBool)(run->size > wide), total, &worker->queue));
  PetscFunctionReturn(0);
}

/* ---- the work ------------------------------------------------------------------------------------------ */

/* Next trajectory of this group, -1: none left, or a rank of the group was asked to stop (then nobody gets another). */
static PetscErrorCode Take(Worker *worker, PetscInt *trajectory)
{
  int      stop = EkStopRequested();
  PetscInt item = -1;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &stop, 1, MPI_INT, MPI_MAX, worker->group));
  if (worker->group_rank == 0) {
    if (stop) PetscCall(EkQueueStop(worker->queue));
    PetscCall(EkQueueNext(worker->queue, &item));
  }
  PetscCallMPI(MPI_Bcast(&item, 1, MPIU_INT, 0, worker->group));
  *trajectory = item < 0 ? -1 : worker->missing[item];
  PetscFunctionReturn(0);
}

static PetscErrorCode Solve(Worker *worker, PetscInt trajectory, PetscInt *redraws)
{
  const EkGenerateOptions *o = worker->options;
  PetscBool                sound = PETSC_FALSE;

  PetscFunctionBegin;
  for (PetscInt draw = 0; draw <= EK_MAX_REDRAWS && !sound; draw++) {
    EkRandom stream =
        EkRandomStream((uint64_t)o->seed, EK_RANDOM_TRAJECTORY, (uint64_t)trajectory + (uint64_t)draw * REDRAW_STRIDE);

    PetscCall(worker->methods->solve(worker->solver, &stream, worker->group_rank ? NULL : worker->slab,
                                     &worker->report.cell_steps, &sound));
    *redraws = draw;
  }
  PetscCheck(sound, worker->group, PETSC_ERR_CONV_FAILED,
             "generate: trajectory %lld went non-finite in %d draws; generate_M %g with generate_eta %g, generate_zeta %g cannot "
             "be solved on generate_nx %lld",
             (long long)trajectory, EK_MAX_REDRAWS + 1, (double)o->set.M, (double)o->set.eta, (double)o->set.zeta,
             (long long)o->set.nx);
  PetscFunctionReturn(0);
}

/* First rank of the group */
static PetscErrorCode Store(Worker *worker, PetscInt trajectory, PetscInt redraws)
{
  PetscFunctionBegin;
  for (int s = 0; s < worker->spec.nsets; s++) {
    if (!worker->spec.set[s].coordinate) PetscCall(EkDataFileWrite(worker->file, s, trajectory, worker->slab[s]));
  }
  PetscCall(EkDataFileMark(worker->file, trajectory, redraws));
  PetscCall(EkQueueDone(worker->queue));
  worker->report.solved++;
  PetscFunctionReturn(0);
}

static PetscErrorCode ShowProgress(Worker *worker)
{
  const double now = EkTime();
  PetscInt     done;
  double       rate;
  char         left[32];

  PetscFunctionBegin;
  if (worker->run->rank || !worker->options->progress || now < worker->printed + PROGRESS_SECONDS) PetscFunctionReturn(0);
  PetscCall(EkQueueCountDone(worker->queue, &done));
  rate = (double)done / (now - worker->start);
  printf("%s%lld of %lld trajectories, %.1f a minute, %s left%s", isatty(STDOUT_FILENO) ? "\r" : "",
         (long long)(worker->options->set.samples - worker->nmissing + done), (long long)worker->options->set.samples, 60 * rate,
         EkDuration((double)(worker->nmissing - done) / rate, left), isatty(STDOUT_FILENO) ? "    " : "\n");
  fflush(stdout);
  worker->printed = now;
  PetscFunctionReturn(0);
}

static PetscErrorCode Trajectory(Worker *worker, PetscInt trajectory)
{
  PetscInt redraws = 0;

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(worker->run, SOLVE));
  PetscCall(Solve(worker, trajectory, &redraws));
  PetscCall(EkPhaseEnd(worker->run, SOLVE));
  PetscCall(EkPhaseBegin(worker->run, WRITE));
  PetscCall(EkAgree(worker->run, worker->group, worker->group_rank ? 0 : Store(worker, trajectory, redraws)));
  PetscCall(EkPhaseEnd(worker->run, WRITE));
  PetscCall(ShowProgress(worker));
  PetscFunctionReturn(0);
}

/* Until the queue is empty; a failure empties it for every group. */
static PetscErrorCode Work(Worker *worker)
{
  PetscErrorCode failed = 0;
  PetscInt       trajectory;

  PetscFunctionBegin;
  for (;;) {
    PetscCall(Take(worker, &trajectory));
    if (trajectory < 0) break;
    failed = Trajectory(worker, trajectory);
    if (!failed) continue;
    if (worker->group_rank == 0) PetscCall(EkQueueStop(worker->queue));
    break;
  }
  PetscFunctionReturn(failed);
}

/* ---- after --------------------------------------------------------------------------------------------- */

static PetscErrorCode Conclude(Worker *worker)
{
  EkGenerateReport *report = &worker->report;
  PetscInt64        sum[2] = {report->solved, worker->group_rank ? 0 : report->cell_steps};

  PetscFunctionBegin;
  PetscCall(EkDataFileFinish(worker->file, &report->complete, &report->redrawn));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, sum, 2, MPIU_INT64, MPI_SUM, worker->run->comm));
  report->solved = (PetscInt)sum[0];
  report->cell_steps = sum[1];
  report->finished = worker->options->set.samples - worker->nmissing + report->solved;
  report->seconds = EkTime() - worker->start;
  if (worker->printed > worker->start && isatty(STDOUT_FILENO)) printf("\n");
  PetscFunctionReturn(0);
}

static PetscErrorCode DestroyWorker(Worker *worker)
{
  PetscFunctionBegin;
  PetscCall(EkQueueDestroy(&worker->queue));
  for (int s = 0; s < EK_FILE_SETS; s++) PetscCall(PetscFree(worker->slab[s]));
  if (worker->solver) PetscCall(worker->methods->destroy(&worker->solver));
  PetscCallMPI(MPI_Comm_free(&worker->group));
  PetscCall(EkDataFileDestroy(&worker->file));
  PetscFunctionReturn(0);
}

PetscErrorCode EkGenerate(EkRun run, const EkGenerateOptions *options, EkGenerateReport *report)
{
  Worker        *worker;
  PetscErrorCode failed;

  PetscFunctionBegin;
  PetscCall(CheckOptions(run, options));
  PetscCall(PetscNew(&worker));
  worker->run = run;
  worker->options = options;
  worker->methods = ((const EkPde *)EkFamilyMember(&EkPdeFamily, options->type))->methods;
  worker->start = worker->printed = EkTime();
  failed = OpenFile(worker);
  if (!failed) {
    PetscCall(EkStopInstall());
    PetscCall(CreateGroup(worker));
    failed = EkAgree(run, run->comm, Work(worker));
    if (failed)
      PetscCall(EkDataFileFlush(worker->file));
    else
      failed = Conclude(worker);
    PetscCall(DestroyWorker(worker));
  }
  *report = worker->report;
  PetscCall(PetscFree(worker));
  PetscFunctionReturn(failed);
}
