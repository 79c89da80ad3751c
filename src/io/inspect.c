#include "dataset.h"
#include "inspect.h"
#include "evenkeel/mesh.h"
#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_SECONDS 2.0

#define FIELD(name) offsetof(EkInspectOptions, name)
static const EkKey inspect_key[] = {
    {"inspect_out", EK_KEY_STRING, FIELD(out), "", 0, 0, NULL, NULL, "JSON file with everything that was found"},
    {"inspect_mass_drift", EK_KEY_REAL, FIELD(mass_drift), "1e-3", 0, EK_ANY, NULL, NULL,
     "relative change of a CFD trajectory's mass that is wrong, unless the boundaries are open"},
    {"inspect_frozen", EK_KEY_INT, FIELD(frozen), "2", 0, PETSC_MAX_INT, NULL, "frames",
     "a trajectory is wrong if so many at its end are equal bit by bit; 0: it is not"},
};
#undef FIELD
const EkKeyTable EkInspectKeys = EK_KEYS("inspect", inspect_key);

/* ---- what is there ----------------------------------------------------------------------------------------- */

/* FILE.progress beside FILE or FILE.part. */
static void ProgressPath(const char *file, char path[EK_PATH + 16])
{
  const size_t length = strlen(file);
  const int    base = (int)(length > 5 && !strcmp(file + length - 5, ".part") ? length - 5 : length);

  snprintf(path, EK_PATH + 16, "%.*s.progress", base, file);
}

/* written[i]: trajectory i is there. The marks are the last line of the file (evenkeel/datafile.h). */
static PetscErrorCode ReadProgress(const char *path, PetscInt n, char *written)
{
  PetscInt64 bytes;
  int        fd;

  PetscFunctionBegin;
  PetscCall(EkFileSize("inspect", path, &bytes));
  PetscCheck(bytes > n, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, "inspect: '%s' does not belong to %d trajectories", path,
             (int)n);
  PetscCall(EkFileOpen("inspect", path, O_RDONLY, &fd));
  PetscCall(EkFileRead("inspect", path, fd, written, (size_t)n, bytes - n - 1));
  close(fd);
  for (PetscInt i = 0; i < n; i++) written[i] = written[i] != '.';
  PetscFunctionReturn(0);
}

static PetscErrorCode LookOnFirst(EkInspection p, char *written)
{
  char       progress[EK_PATH + 16], first[2 * EK_PATH];
  PetscInt64 files, bytes;

  PetscFunctionBegin;
  PetscCall(PetscNew(&p->contents));
  PetscCall(EkDatasetFolderFiles(p->dataset, first, &files, &bytes));
  PetscCall(EkContentsRead("inspect", files ? first : p->options.file, p->contents));
  if (files) {
    p->contents->files = files;
    p->contents->bytes = bytes;
  }
  ProgressPath(p->options.file, progress);
  p->partial = (PetscBool)!access(progress, F_OK);
  if (p->partial) PetscCall(ReadProgress(progress, p->info->samples, written));
  PetscFunctionReturn(0);
}

/* The trajectories that are there, ascending. */
static PetscErrorCode FindTrajectories(EkInspection p, PetscInt *n, PetscInt **list)
{
  const PetscInt samples = p->info->samples;
  char          *written;
  EkCatch        caught;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(samples, &written));
  PetscCall(PetscMalloc1(samples, list));
  memset(written, 1, (size_t)samples);
  PetscCall(EkCatchBegin(&caught));
  PetscCall(EkCatchEnd(p->run, &caught, p->run->rank == 0 ? LookOnFirst(p, written) : 0));
  EkCatchRaise(p->run, &caught);
  PetscCall(EkBcastBytes(p->run, written, (size_t)samples));
  PetscCall(EkBcastBytes(p->run, &p->partial, sizeof(p->partial)));
  *n = 0;
  for (PetscInt i = 0; i < samples; i++) {
    if (written[i]) (*list)[(*n)++] = i;
  }
  p->missing = samples - *n;
  PetscCall(PetscFree(written));
  PetscFunctionReturn(0);
}

/* A file that is being generated has another name until it is finished. */
static PetscErrorCode CheckName(const char *file)
{
  char part[EK_PATH + 16];

  PetscFunctionBegin;
  snprintf(part, sizeof(part), "%s.part", file);
  PetscCheck(!access(file, F_OK) || access(part, F_OK), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
             "inspect: '%s' is not finished: inspect '%s'", file, part);
  PetscFunctionReturn(0);
}

static PetscErrorCode Open(EkInspection p)
{
  /* sample i of the test set is trajectory i */
  EkDataOptions data = {.test = -1,
                        .train = 0,
                        .reduced_batch = 1,
                        .reduced_resolution = 1,
                        .reduced_resolution_t = 1,
                        .t_train = -1,
                        .unsound = PETSC_TRUE};
  EkCatch       caught;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  PetscCall(EkCatchEnd(p->run, &caught, p->run->rank == 0 ? CheckName(p->options.file) : 0));
  EkCatchRaise(p->run, &caught);
  PetscCall(PetscStrncpy(data.file, p->options.file, EK_PATH));
  PetscCall(EkDatasetOpen(p->run, &data, &p->dataset));
  PetscCall(EkDatasetGetInfo(p->dataset, &p->info));
  PetscFunctionReturn(0);
}

/* ---- every rank its share ---------------------------------------------------------------------------------- */

static void ShowProgress(EkInspection p, PetscInt done, PetscInt n, double start, double *printed)
{
  const double now = EkTime();
  char         left[32];

  if (p->run->rank || !p->options.progress || now < *printed + PROGRESS_SECONDS) return;
  printf("%s%.0f %% of %lld trajectories, %s left%s", isatty(STDOUT_FILENO) ? "\r" : "", 100 * (double)done / (double)n,
         (long long)p->info->samples, EkDuration((now - start) * (double)(n - done) / (double)done, left),
         isatty(STDOUT_FILENO) ? "    " : "\n");
  fflush(stdout);
  *printed = now;
}

/* No communication. */
static PetscErrorCode Examine(EkInspection p, const EkSubject *subject, PetscInt n, const PetscInt list[], EkFacts facts[])
{
  const double start = EkTime();
  double       printed = start;
  float       *data;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)(subject->frames * subject->channels) * subject->points, &data));
  for (PetscInt i = 0; i < n; i++) {
    facts[i].trajectory = list[i];
    PetscCall(EkDatasetRead(p->dataset, EK_TEST, 1, &list[i], subject->points, data));
    if (i + 1 < n) PetscCall(EkDatasetPrefetch(p->dataset, EK_TEST, 1, &list[i + 1]));
    EkTrajectoryExamine(subject, data, &facts[i], p->drift);
    ShowProgress(p, i + 1, n, start, &printed);
  }
  if (printed > start && isatty(STDOUT_FILENO)) printf("\n");
  PetscCall(PetscFree(data));
  PetscFunctionReturn(0);
}

/* Rank r's facts follow those of rank r - 1, so that rank 0 holds them by trajectory. */
static PetscErrorCode Gather(EkRun run, PetscInt total, const EkFacts mine[], EkFacts all[])
{
  PetscMPIInt *count, *place;
  MPI_Datatype type;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(run->size, &count, run->size, &place));
  PetscCall(EkSliceCounts(total, run->size, total, 1, count, place));
  PetscCallMPI(MPI_Type_contiguous((int)sizeof(EkFacts), MPI_BYTE, &type));
  PetscCallMPI(MPI_Type_commit(&type));
  PetscCallMPI(MPI_Gatherv(mine, count[run->rank], type, all, count, place, type, 0, run->comm));
  PetscCallMPI(MPI_Type_free(&type));
  PetscCall(PetscFree2(count, place));
  PetscFunctionReturn(0);
}

/* Largest over ranks, onto rank 0. */
static PetscErrorCode GatherDrift(EkInspection p)
{
  double *largest;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(p->info->frames, &largest));
  for (int k = 0; k < EK_TOTALS && p->drift[k]; k++) {
    PetscCallMPI(MPI_Reduce(p->drift[k], largest, (PetscMPIInt)p->info->frames, MPI_DOUBLE, MPI_MAX, 0, p->run->comm));
    if (p->run->rank == 0) PetscCall(PetscMemcpy(p->drift[k], largest, (size_t)p->info->frames * sizeof(double)));
  }
  PetscCall(PetscFree(largest));
  PetscFunctionReturn(0);
}

/* ---- rank 0 judges ------------------------------------------------------------------------------------------ */

static void Summarise(EkInspection p, PetscInt n, const EkFacts facts[])
{
  for (int k = 0; k < EK_TOTALS; k++) p->worst[k].value = -1;
  for (PetscInt i = 0; i < n; i++) {
    for (int k = 0; k < EK_TOTALS; k++) {
      if (facts[i].drift[k].value > p->worst[k].value) p->worst[k] = facts[i].drift[k];
    }
  }
  for (int f = 0; f < p->nfields; f++) {
    EkFieldSummary *field = &p->field[f];
    EkMoments       m = EkMomentsEmpty();

    for (PetscInt i = 0; i < n; i++) m = EkMomentsJoin(m, facts[i].field[f]);
    field->nonfinite = m.nonfinite;
    field->min = m.n ? m.min : NAN;
    field->max = m.n ? m.max : NAN;
    field->mean = m.n ? m.mean : NAN;
    field->std = m.n ? sqrt(m.m2 / (double)m.n) : NAN;
  }
}

static PetscErrorCode AddFinding(EkInspection p, EkFlaw flaw, EkFinding finding)
{
  PetscInt *n = &p->count[flaw];

  PetscFunctionBegin;
  /* room grows in powers of two */
  if (!(*n & (*n - 1))) PetscCall(PetscRealloc((size_t)(*n ? 2 * *n : 1) * sizeof(EkFinding), &p->finding[flaw]));
  p->finding[flaw][(*n)++] = finding;
  PetscFunctionReturn(0);
}

/* name_word_more.hdf5 */
static PetscBool HasWord(const char *name, const char *word)
{
  const size_t length = strlen(word);

  for (const char *at = name; (at = strstr(at, word)); at++) {
    if ((at == name || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length])) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

static EkEdges NamedEdges(const char *path)
{
  static const struct {
    const char *word;
    EkEdges     edges;
  } row[] = {{"periodic_x", EK_EDGES_OPEN}, {"trans", EK_EDGES_OPEN}, {"periodic", EK_EDGES_PERIODIC}};
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    if (HasWord(name, row[i].word)) return row[i].edges;
  }
  return EK_EDGES_UNKNOWN;
}

static void FindEdges(EkInspection p, PetscInt n, const EkFacts facts[])
{
  PetscInt jump = 0, looked = 0;

  if (!p->drift[0]) return;
  p->edges = NamedEdges(p->options.file);
  p->named = (PetscBool)(p->edges != EK_EDGES_UNKNOWN);
  for (PetscInt i = 0; i < n; i++) {
    looked += facts[i].bad_frame < 0;
    jump += facts[i].jumps;
  }
  if (!p->named) p->edges = 2 * jump > looked ? EK_EDGES_OPEN : EK_EDGES_PERIODIC;
}

static PetscErrorCode JudgeOne(EkInspection p, const EkFacts *f)
{
  const PetscInt frames = p->info->frames;
  PetscInt64     bad = 0;

  PetscFunctionBegin;
  for (int i = 0; i < p->nfields; i++) bad += f->field[i].nonfinite;
  if (bad)
    PetscCall(AddFinding(p, EK_FLAW_NONFINITE,
                         (EkFinding){f->trajectory, f->bad_frame, -1, (int)f->bad_field, PETSC_FALSE, (double)bad}));
  if (f->zero >= 0)
    PetscCall(AddFinding(p, EK_FLAW_FROZEN, (EkFinding){f->trajectory, f->zero, -1, -1, PETSC_TRUE, 0}));
  else if (p->options.frozen && frames > 1 && f->constant >= 0 && frames - f->constant >= p->options.frozen &&
           f->constant < frames - 1)
    PetscCall(AddFinding(p, EK_FLAW_FROZEN, (EkFinding){f->trajectory, f->constant, -1, -1, PETSC_FALSE, 0}));
  if (f->low_frame >= 0)
    PetscCall(
        AddFinding(p, EK_FLAW_UNPHYSICAL, (EkFinding){f->trajectory, f->low_frame, -1, (int)f->low_field, PETSC_FALSE, f->low}));
  if (f->drift[EK_TOTAL_MASS].value <= p->options.mass_drift) PetscFunctionReturn(0);
  if (p->edges == EK_EDGES_OPEN) {
    p->leaking++;
  } else {
    PetscCall(AddFinding(
        p, EK_FLAW_MASS,
        (EkFinding){f->trajectory, f->drift[EK_TOTAL_MASS].frame, -1, -1, PETSC_FALSE, f->drift[EK_TOTAL_MASS].value}));
  }
  PetscFunctionReturn(0);
}

static int ByHash(const void *a, const void *b)
{
  const EkFacts *x = *(const EkFacts *const *)a, *y = *(const EkFacts *const *)b;

  for (int i = 0; i < 2; i++) {
    if (x->hash[i] != y->hash[i]) return x->hash[i] < y->hash[i] ? -1 : 1;
  }
  return x->trajectory < y->trajectory ? -1 : x->trajectory > y->trajectory;
}

static int ByTrajectory(const void *a, const void *b)
{
  const PetscInt x = ((const EkFinding *)a)->trajectory, y = ((const EkFinding *)b)->trajectory;

  return x < y ? -1 : x > y;
}

/* Trajectories of nothing but zeros have a finding of their own. */
static PetscErrorCode FindDuplicates(EkInspection p, PetscInt n, const EkFacts facts[])
{
  const EkFacts **sorted, *first = NULL;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(n, &sorted));
  for (PetscInt i = 0; i < n; i++) sorted[i] = &facts[i];
  qsort(sorted, (size_t)n, sizeof(*sorted), ByHash);
  for (PetscInt i = 0; i < n; i++) {
    if (!first || memcmp(first->hash, sorted[i]->hash, sizeof(first->hash)))
      first = sorted[i];
    else if (first->zero != 0)
      PetscCall(AddFinding(p, EK_FLAW_DUPLICATE, (EkFinding){sorted[i]->trajectory, -1, first->trajectory, -1, PETSC_FALSE, 0}));
  }
  if (p->count[EK_FLAW_DUPLICATE])
    qsort(p->finding[EK_FLAW_DUPLICATE], (size_t)p->count[EK_FLAW_DUPLICATE], sizeof(EkFinding), ByTrajectory);
  PetscCall(PetscFree(sorted));
  PetscFunctionReturn(0);
}

static PetscErrorCode Judge(EkInspection p, PetscInt n, const EkFacts facts[])
{
  PetscFunctionBegin;
  Summarise(p, n, facts);
  FindEdges(p, n, facts);
  for (PetscInt i = 0; i < n; i++) PetscCall(JudgeOne(p, &facts[i]));
  PetscCall(FindDuplicates(p, n, facts));
  PetscFunctionReturn(0);
}

/* ---- together ------------------------------------------------------------------------------------------------ */

static PetscErrorCode Prepare(EkInspection p, EkSubject *subject)
{
  char name[EK_MAX_FIELDS][EK_NAME];

  PetscFunctionBegin;
  EkSubjectInit(p->info, subject, name);
  p->nfields = subject->nfields;
  for (int f = 0; f < p->nfields; f++) PetscCall(PetscStrncpy(p->field[f].name, name[f], EK_NAME));
  for (int k = 0; k < EK_TOTALS && subject->cfd; k++) {
    PetscCall(PetscMalloc1(p->info->frames, &p->drift[k]));
    for (PetscInt t = 0; t < p->info->frames; t++) p->drift[k][t] = -1;
  }
  PetscFunctionReturn(0);
}

/* Reads the trajectories in `list` and finds what there is to find. */
static PetscErrorCode LookThrough(EkInspection p, PetscInt n, const PetscInt list[])
{
  EkRun      run = p->run;
  EkSubject  subject;
  EkFacts   *mine, *all = NULL;
  PetscInt64 lo, hi;

  PetscFunctionBegin;
  PetscCall(Prepare(p, &subject));
  EkSlice(n, run->size, run->rank, &lo, &hi);
  PetscCall(PetscCalloc1((size_t)(hi - lo) + 1, &mine));
  if (run->rank == 0) PetscCall(PetscMalloc1((size_t)n + 1, &all));
  EkHoldLines(run, PETSC_TRUE);
  PetscCall(EkAgree(run, run->comm, Examine(p, &subject, (PetscInt)(hi - lo), list + lo, mine)));
  PetscCall(Gather(run, n, mine, all));
  PetscCall(GatherDrift(p));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? Judge(p, n, all) : 0));
  PetscCallMPI(MPI_Bcast(p->count, EK_FLAWS, MPIU_INT, 0, run->comm));
  p->sound = (PetscBool)!p->missing;
  for (int k = 0; k < EK_FLAWS; k++) p->sound = (PetscBool)(p->sound && !p->count[k]);
  p->bytes = EkDatasetBytesRead(p->dataset);
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &p->bytes, 1, MPIU_INT64, MPI_SUM, run->comm));
  PetscCall(PetscFree(mine));
  PetscCall(PetscFree(all));
  PetscFunctionReturn(0);
}

static PetscErrorCode Inspect(EkInspection p)
{
  const double start = EkTime();
  PetscInt     n, *list;

  PetscFunctionBegin;
  PetscCall(Open(p));
  PetscCall(FindTrajectories(p, &n, &list));
  PetscCall(LookThrough(p, n, list));
  PetscCall(PetscFree(list));
  p->seconds = EkTime() - start;
  PetscFunctionReturn(0);
}

PetscErrorCode EkInspect(EkRun run, const EkInspectOptions *options, EkInspection *inspection)
{
  EkInspection   p;
  PetscErrorCode failed;

  PetscFunctionBegin;
  PetscCall(PetscNew(&p));
  p->run = run;
  p->options = *options;
  failed = Inspect(p);
  if (failed) PetscCall(EkInspectionDestroy(&p));
  *inspection = p;
  PetscFunctionReturn(failed);
}

PetscErrorCode EkInspectionDestroy(EkInspection *inspection)
{
  EkInspection p = *inspection;

  PetscFunctionBegin;
  if (!p) PetscFunctionReturn(0);
  for (int k = 0; k < EK_FLAWS; k++) PetscCall(PetscFree(p->finding[k]));
  for (int k = 0; k < EK_TOTALS; k++) PetscCall(PetscFree(p->drift[k]));
  PetscCall(PetscFree(p->contents));
  PetscCall(EkDatasetDestroy(&p->dataset));
  PetscCall(PetscFree(*inspection));
  PetscFunctionReturn(0);
}
