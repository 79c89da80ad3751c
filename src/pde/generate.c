#include "evenkeel/pde.h"
#include "evenkeel/xdmf.h"
#include "queue.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BETA             "{beta}" /* in the name of the file */
#define PROGRESS_SECONDS 2.0
#define REDRAW_STRIDE    ((uint64_t)1 << 40) /* between the streams of a trajectory's draws: beyond any trajectory's number */

typedef struct {
  EkRun                    run;
  const EkGenerateOptions *options;
  const EkPde             *pde;
  const EkPdeMethods      *methods;
  int                      nfiles;
  EkFileSpec              *spec;               /* [nfiles] */
  EkDataFile               file[EK_REALS_MAX]; /* NULL: finished by an earlier call */
  PetscInt                 nmissing;
  PetscInt                *missing; /* trajectories to solve, those of any file: the queue's items are places in this list */
  MPI_Comm                 group;
  PetscMPIInt              group_rank;
  void                    *solver;
  float                   *slab[EK_REALS_MAX * EK_FILE_SETS]; /* one trajectory, first rank of the group */
  EkQueue                  queue;
  EkGenerateReport         report;
  double                   start, printed;
} Worker;

/* ---- before -------------------------------------------------------------------------------------------- */

static PetscErrorCode CheckChoices(const EkPde *pde, const EkGenerateOptions *o, EkProblems problems)
{
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, o->set.initial);
  const char      *name = pde->member.name;

  PetscFunctionBegin;
  if (EkWordIn("initial", pde->uses) && !EkWordIn(name, initial->pdes)) {
    PetscCall(EkProblemsAdd(problems, "generate_initial: %s is for %s, not for %s", initial->member.name, initial->pdes, name));
  }
  if (EkWordIn("beta", pde->uses) && o->set.beta.n > 1 && !strstr(o->file, BETA)) {
    PetscCall(
        EkProblemsAdd(problems, "generate_file: with several generate_beta its name must hold " BETA ", which stands for each"));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckOptions(EkRun run, const EkPde *pde, const EkGenerateOptions *o)
{
  EkProblems problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  PetscCall(CheckChoices(pde, o, problems));
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

/* Do the data depend on this key? */
static PetscBool DataDependOn(const void *options, const EkKey *key)
{
  if (key->offset == offsetof(EkGenerateOptions, file) || key->offset == offsetof(EkGenerateOptions, ranks_per_sample))
    return PETSC_FALSE;
  return EkGenerateUses(options, key);
}

/* The keys on which the data depend, as YAML */
static PetscErrorCode WriteIdentity(const EkGenerateOptions *options, char *text, size_t length)
{
  FILE *file = fmemopen(text, length, "w");

  PetscFunctionBegin;
  EkCheckAlloc(file, "the parameters as text");
  PetscCall(EkKeysWriteYaml(file, &EkGenerateKeys, options, DataDependOn, PETSC_FALSE));
  PetscCheck(!fclose(file) && strlen(text) < length - 1, PETSC_COMM_SELF, PETSC_ERR_PLIB,
             "the parameters are longer than %d characters", (int)length);
  PetscFunctionReturn(0);
}

/* options->file with "{beta}" replaced */
static PetscErrorCode NameFile(const EkPde *pde, const EkGenerateOptions *options, int f, char path[EK_PATH])
{
  const char *hole = EkWordIn("beta", pde->uses) ? strstr(options->file, BETA) : NULL;
  char        text[EK_PATH], number[32];

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(path, options->file, EK_PATH));
  if (!hole) PetscFunctionReturn(0);
  snprintf(number, sizeof(number), options->set.beta.v[f] == floor(options->set.beta.v[f]) ? "%.1f" : "%g",
           options->set.beta.v[f]);
  snprintf(text, sizeof(text), "%.*s%s%s", (int)(hole - options->file), options->file, number, hole + sizeof(BETA) - 1);
  PetscCall(PetscStrncpy(path, text, EK_PATH));
  PetscFunctionReturn(0);
}

static PetscErrorCode DescribeFiles(Worker *worker)
{
  const EkGenerateOptions *options = worker->options;

  PetscFunctionBegin;
  worker->nfiles = EkWordIn("beta", worker->pde->uses) ? PetscMax(1, options->set.beta.n) : 1;
  PetscCall(PetscCalloc1(worker->nfiles, &worker->spec));
  for (int f = 0; f < worker->nfiles; f++) {
    EkFileSpec *spec = &worker->spec[f];

    PetscCall(NameFile(worker->pde, options, f, spec->path));
    spec->samples = options->set.samples;
    PetscCall(worker->methods->describe(&options->set, f, spec));
    PetscCall(WriteIdentity(options, spec->identity, sizeof(spec->identity)));
  }
  PetscFunctionReturn(0);
}

/* Of several files some may have been finished when the run was killed, before it could finish the others: these are left alone.
 */
static PetscErrorCode FindFinished(Worker *worker, int finished[])
{
  char path[EK_PATH + 16];
  int  begun = 0;

  PetscFunctionBegin;
  for (int f = 0; f < worker->nfiles && !worker->run->rank; f++) {
    snprintf(path, sizeof(path), "%s.progress", worker->spec[f].path);
    begun |= !access(path, F_OK);
    finished[f] = !access(worker->spec[f].path, F_OK);
  }
  for (int f = 0; f < worker->nfiles; f++) finished[f] &= begun;
  PetscCallMPI(MPI_Bcast(finished, worker->nfiles, MPI_INT, 0, worker->run->comm));
  PetscFunctionReturn(0);
}

static PetscErrorCode OpenFiles(Worker *worker)
{
  int             finished[EK_REALS_MAX] = {0};
  PetscInt        samples = worker->options->set.samples, n;
  PetscBool      *lacks;
  const PetscInt *missing;

  PetscFunctionBegin;
  PetscCall(DescribeFiles(worker));
  PetscCall(FindFinished(worker, finished));
  PetscCall(PetscCalloc1(samples, &lacks));
  for (int f = 0; f < worker->nfiles; f++) {
    if (finished[f]) continue;
    PetscCall(EkDataFileOpen(worker->run, &worker->spec[f], &worker->file[f]));
    PetscCall(EkDataFileGetMissing(worker->file[f], &n, &missing));
    for (PetscInt i = 0; i < n; i++) lacks[missing[i]] = PETSC_TRUE;
  }
  PetscCall(PetscMalloc1(samples, &worker->missing));
  for (PetscInt i = 0; i < samples; i++) {
    if (lacks[i]) worker->missing[worker->nmissing++] = i;
  }
  PetscCall(PetscFree(lacks));
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateSlabs(Worker *worker)
{
  PetscFunctionBegin;
  for (int f = 0; f < worker->nfiles; f++) {
    for (int s = 0; s < worker->spec[f].nsets; s++) {
      const EkFileSet *set = &worker->spec[f].set[s];
      size_t           count = 1;

      if (set->coordinate) continue;
      for (int d = 1; d < set->rank; d++) count *= (size_t)set->shape[d];
      PetscCall(PetscMalloc1(count, &worker->slab[f * EK_FILE_SETS + s]));
    }
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
             "generate: trajectory %lld went non-finite in %d draws; %s cannot be solved with these %s on generate_nx %lld",
             (long long)trajectory, EK_MAX_REDRAWS + 1, worker->pde->member.name, worker->pde->uses, (long long)o->set.nx);
  PetscFunctionReturn(0);
}

/* First rank of the group */
static PetscErrorCode Store(Worker *worker, PetscInt trajectory, PetscInt redraws)
{
  PetscFunctionBegin;
  for (int f = 0; f < worker->nfiles; f++) {
    if (!worker->file[f]) continue;
    for (int s = 0; s < worker->spec[f].nsets; s++) {
      if (worker->spec[f].set[s].coordinate) continue;
      PetscCall(EkDataFileWrite(worker->file[f], s, trajectory, worker->slab[f * EK_FILE_SETS + s]));
    }
    PetscCall(EkDataFileMark(worker->file[f], trajectory, redraws));
  }
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
  report->complete = PETSC_TRUE;
  for (int f = 0; f < worker->nfiles; f++) {
    PetscBool complete;

    if (!worker->file[f]) continue;
    PetscCall(EkDataFileFinish(worker->file[f], &complete, &report->redrawn));
    if (!complete)
      report->complete = PETSC_FALSE;
    else
      PetscCall(EkXdmfWriteFile(worker->run, worker->spec[f].path));
  }
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
  for (int s = 0; s < EK_REALS_MAX * EK_FILE_SETS; s++) PetscCall(PetscFree(worker->slab[s]));
  if (worker->solver) PetscCall(worker->methods->destroy(&worker->solver));
  if (worker->group != MPI_COMM_NULL) PetscCallMPI(MPI_Comm_free(&worker->group));
  for (int f = 0; f < worker->nfiles; f++) PetscCall(EkDataFileDestroy(&worker->file[f]));
  PetscCall(PetscFree(worker->missing));
  PetscCall(PetscFree(worker->spec));
  PetscFunctionReturn(0);
}

static PetscErrorCode FlushFiles(Worker *worker)
{
  PetscFunctionBegin;
  for (int f = 0; f < worker->nfiles; f++) {
    if (worker->file[f]) PetscCall(EkDataFileFlush(worker->file[f]));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkGenerate(EkRun run, const EkGenerateOptions *options, EkGenerateReport *report)
{
  const EkPde   *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, options->type);
  Worker        *worker;
  PetscErrorCode failed;

  PetscFunctionBegin;
  PetscCall(CheckOptions(run, pde, options));
  PetscCall(PetscNew(&worker));
  worker->run = run;
  worker->options = options;
  worker->pde = pde;
  worker->methods = pde->methods;
  worker->group = MPI_COMM_NULL;
  worker->start = worker->printed = EkTime();
  failed = OpenFiles(worker);
  if (!failed) {
    PetscCall(EkStopInstall());
    PetscCall(CreateGroup(worker));
    failed = EkAgree(run, run->comm, Work(worker));
    if (failed)
      PetscCall(FlushFiles(worker));
    else
      failed = Conclude(worker);
  }
  *report = worker->report;
  PetscCall(DestroyWorker(worker));
  PetscCall(PetscFree(worker));
  PetscFunctionReturn(failed);
}
