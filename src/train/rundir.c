#include "trainer.h"
#include "evenkeel/results.h"
#include <cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Seconds a run that continues waits for another one in its directory: longer than an NFS server's lease. */
#define PATIENCE 120

static PetscErrorCode Path(const char *dir, const char *name, char path[2 * EK_PATH])
{
  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(path, 2 * EK_PATH, "%s/%s", dir, name));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMakeDirectories(const char *key, const char *path)
{
  char part[EK_PATH];

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(part, path, sizeof(part)));
  for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
    *slash = 0;
    mkdir(part, 0777); /* what matters is the last one, below */
    *slash = '/';
  }
  PetscCheck(!mkdir(part, 0777) || errno == EEXIST, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "%s: cannot make '%s': %s", key, path,
             strerror(errno));
  PetscCheck(!access(path, W_OK | X_OK), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "%s: cannot write into '%s': %s", key, path,
             strerror(errno));
  PetscFunctionReturn(0);
}

/* key: who names the directory */
static PetscErrorCode RefuseRun(const char *key, const char *dir)
{
  static const char *const sign[] = {"resolved.yaml",      "metrics.csv",       "checkpoint.h5",
                                     "checkpoint_prev.h5", "final.safetensors", "summary.json"};
  char                     path[2 * EK_PATH];

  PetscFunctionBegin;
  for (size_t i = 0; i < sizeof(sign) / sizeof(sign[0]); i++) {
    PetscCall(Path(dir, sign[i], path));
    PetscCheck(access(path, F_OK), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
               "%s: '%s' holds a run already; %schoose another directory", key, dir,
               strcmp(key, "out_dir") ? "" : "continue it with -train_resume auto or ");
  }
  PetscFunctionReturn(0);
}

/* One run at a time in a directory: a second job would write over the first one's files. The lock goes with the descriptor; file
   systems without locks are trusted. A job that continues has patience: the one before may be on its way out, and a file server
   keeps the lock of a node that died for a while. */
static PetscErrorCode Lock(const EkDeck *deck, int *lock)
{
  const int    patience = strcmp(deck->train.resume, "no") ? PATIENCE : 0;
  struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  char         path[2 * EK_PATH];

  PetscFunctionBegin;
  PetscCall(Path(deck->out.dir, ".lock", path));
  *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  PetscCheck(*lock >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "out_dir: cannot write '%s': %s", path, strerror(errno));
  for (int waited = 0; fcntl(*lock, F_SETLK, &all) && (errno == EACCES || errno == EAGAIN); waited++) {
    PetscCheck(waited < patience && !EkStopRequested(), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
               "out_dir: another run is at work in '%s'", deck->out.dir);
    if (!waited) printf("notice: another run is at work in '%s'; waiting %d s for it to end\n", deck->out.dir, patience);
    fflush(stdout);
    sleep(1);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode OpenHere(const EkDeck *deck, int *lock)
{
  PetscFunctionBegin;
  PetscCall(EkMakeDirectories("out_dir", deck->out.dir));
  if (!strcmp(deck->train.resume, "no")) PetscCall(RefuseRun("out_dir", deck->out.dir));
  PetscCall(Lock(deck, lock));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDirOpen(EkRun run, const EkDeck *deck, int *lock)
{
  PetscFunctionBegin;
  *lock = -1;
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? OpenHere(deck, lock) : 0));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDirClose(int *lock)
{
  PetscFunctionBegin;
  if (*lock >= 0) close(*lock);
  *lock = -1;
  PetscFunctionReturn(0);
}

static const char metrics_header[] = "epoch,train_loss,base_lr,seconds,balance_seconds"
#define EK_COLUMN(field, name) "," name
    EK_FIGURES(EK_COLUMN)
#undef EK_COLUMN
    ;
static const char sets_header[] = "epoch,set,samples,train_loss,L2RE"
#define EK_COLUMN(field, name) "," name
    EK_FIGURES(EK_COLUMN)
#undef EK_COLUMN
    ;
static const char layers_header[] = "epoch,layer,alpha,D,num_evals,norm,spectral_norm,stable_rank,lr";

/* A table is rewritten with the rows up to `epoch` (its first column) and renamed into place. epoch -1: the header alone. */
static PetscErrorCode StartTable(const char *dir, const char *name, const char *header, PetscInt epoch)
{
  char  path[2 * EK_PATH], part[2 * EK_PATH + 8], line[4096];
  FILE *old, *new;
  int   failed;

  PetscFunctionBegin;
  PetscCall(Path(dir, name, path));
  PetscCall(PetscSNPrintf(part, sizeof(part), "%s.tmp", path));
  new = fopen(part, "w");
  PetscCheck(new, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "out_dir: cannot write '%s': %s", part, strerror(errno));
  fprintf(new, "%s\n", header);
  old = epoch >= 0 ? fopen(path, "r") : NULL;
  while (old && fgets(line, sizeof(line), old)) {
    char *end;
    long  row = strtol(line, &end, 10);

    /* the header has no number; a line without an end was cut short */
    if (end != line && row <= epoch && strchr(line, '\n')) fputs(line, new);
  }
  if (old) fclose(old);
  failed = ferror(new);
  failed |= fclose(new);
  failed = failed || rename(part, path);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "out_dir: cannot write '%s': %s", path, strerror(errno));
  PetscFunctionReturn(0);
}

/* What only a finished run has: of a run that goes on they would be those of an earlier end. */
static PetscErrorCode RemoveResults(const char *dir)
{
  static const char *const result[] = {"summary.json", "final.safetensors", "predictions.h5", "predictions.xdmf"};
  char                     path[2 * EK_PATH];

  PetscFunctionBegin;
  for (size_t i = 0; i < sizeof(result) / sizeof(result[0]); i++) {
    PetscCall(Path(dir, result[i], path));
    unlink(path);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode StartTables(EkTrainer t, PetscBool resumed)
{
  const char    *dir = t->session->deck.out.dir;
  const PetscInt epoch = resumed ? t->at.epoch : -1;
  char           path[2 * EK_PATH];

  PetscFunctionBegin;
  if (t->at.epoch < t->session->deck.train.epochs) PetscCall(RemoveResults(dir));
  PetscCall(StartTable(dir, "metrics.csv", metrics_header, epoch));
  PetscCall(StartTable(dir, "layers.csv", layers_header, epoch));
  if (t->session->nsets > 1) PetscCall(StartTable(dir, "sets.csv", sets_header, epoch));
  PetscCall(Path(dir, "spectra.h5", path));
  if (resumed)
    PetscCall(EkSpectraTruncate(path, epoch));
  else
    unlink(path);
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDirTables(EkTrainer t, PetscBool resumed)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(t->run, t->run->comm, t->run->rank == 0 ? StartTables(t, resumed) : 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode Append(const char *dir, const char *name, const char *text)
{
  char  path[2 * EK_PATH];
  FILE *file;
  int   failed;

  PetscFunctionBegin;
  PetscCall(Path(dir, name, path));
  file = fopen(path, "a");
  PetscCheck(file, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "out_dir: cannot write '%s': %s", path, strerror(errno));
  failed = fputs(text, file) < 0;
  failed |= fclose(file);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "out_dir: cannot write '%s': %s", path, strerror(errno));
  PetscFunctionReturn(0);
}

/* ",value", empty where it is not defined */
static void Cell(char *line, size_t size, double value)
{
  const size_t used = strlen(line);

  if (isnan(value))
    snprintf(line + used, size - used, ",");
  else
    snprintf(line + used, size - used, ",%.9g", value);
}

/* A row of sets.csv: mean loss of a file's training samples, errors of its test set. */
static PetscErrorCode AppendSet(EkTrainer t, int k, const EkSetFigures *figures)
{
  const EkMixtureSet *set = &t->session->set[k];
  const double        samples = (double)set->weight * (double)set->info->count[EK_TRAIN];
  char                line[1024];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(line, sizeof(line), "%" PetscInt_FMT ",%s,%.0f", t->at.epoch, set->name, samples));
  Cell(line, sizeof(line), samples > 0 ? t->at.set_loss[k] / samples : NAN);
  Cell(line, sizeof(line), t->evaluated ? figures->relative : NAN);
#define EK_CELL(field, name) Cell(line, sizeof(line), t->evaluated ? figures->predicted.field : NAN);
  EK_FIGURES(EK_CELL)
#undef EK_CELL
  PetscCall(PetscStrlcat(line, "\n", sizeof(line)));
  PetscCall(Append(t->session->deck.out.dir, "sets.csv", line));
  PetscFunctionReturn(0);
}

static PetscErrorCode AppendSets(EkTrainer t)
{
  const EkSetFigures *figures;
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkEvaluatorGetSets(t->evaluator, &n, &figures));
  for (int k = 0; k < n && n > 1; k++) PetscCall(AppendSet(t, k, &figures[k]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDirEpoch(EkTrainer t, double loss, double rate)
{
  char line[1024];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(line, sizeof(line), "%" PetscInt_FMT, t->at.epoch));
  Cell(line, sizeof(line), loss);
  Cell(line, sizeof(line), rate);
  Cell(line, sizeof(line), t->at.epoch_seconds);
  Cell(line, sizeof(line), t->at.balance_seconds);
#define EK_CELL(field, name) Cell(line, sizeof(line), t->evaluated ? t->predicted.field : NAN);
  EK_FIGURES(EK_CELL)
#undef EK_CELL
  PetscCall(PetscStrlcat(line, "\n", sizeof(line)));
  PetscCall(EkAgree(t->run, t->run->comm, t->run->rank == 0 ? Append(t->session->deck.out.dir, "metrics.csv", line) : 0));
  PetscCall(EkAgree(t->run, t->run->comm, t->run->rank == 0 ? AppendSets(t) : 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteLayers(const char *dir, EkBalance balance, PetscInt epoch, double rate)
{
  const EkLayerState *layer;
  EkSpectrumRecord   *record;
  char               *text, path[2 * EK_PATH];
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkBalanceGetLayers(balance, &n, &layer));
  PetscCall(PetscCalloc2(n, &record, (size_t)n * 512 + 1, &text));
  for (int l = 0; l < n; l++) {
    const EkLayerState *s = &layer[l];
    char                line[512];

    PetscCall(PetscSNPrintf(line, sizeof(line), "%" PetscInt_FMT ",%s", epoch, s->name));
    Cell(line, sizeof(line), s->alpha);
    Cell(line, sizeof(line), s->D);
    Cell(line, sizeof(line), (double)s->num_evals);
    Cell(line, sizeof(line), s->norm);
    Cell(line, sizeof(line), s->spectral_norm);
    Cell(line, sizeof(line), s->stable_rank);
    Cell(line, sizeof(line), s->ratio * rate);
    PetscCall(PetscStrlcat(line, "\n", sizeof(line)));
    PetscCall(PetscStrlcat(text, line, (size_t)n * 512 + 1));
    record[l] =
        (EkSpectrumRecord){s->name, s->neigs, s->eigenvalues, s->alpha, s->D, isnan(s->alpha) ? NAN : s->eigenvalues[s->tail]};
  }
  PetscCall(Append(dir, "layers.csv", text));
  PetscCall(Path(dir, "spectra.h5", path));
  PetscCall(EkSpectraAppend(path, epoch, n, record));
  PetscCall(PetscFree2(record, text));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDirLayers(EkTrainer t, double next_rate)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(t->run, t->run->comm,
                    t->run->rank == 0 ? WriteLayers(t->session->deck.out.dir, t->balance, t->at.epoch, next_rate) : 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteSpectra(const char *dir, EkBalance balance)
{
  char path[2 * EK_PATH];

  PetscFunctionBegin;
  PetscCall(EkMakeDirectories("spectrum_out", dir));
  PetscCall(RefuseRun("spectrum_out", dir));
  PetscCall(StartTable(dir, "layers.csv", layers_header, -1));
  PetscCall(Path(dir, "spectra.h5", path));
  unlink(path);
  PetscCall(WriteLayers(dir, balance, 0, 1));
  PetscFunctionReturn(0);
}

PetscErrorCode EkSpectraDirWrite(EkRun run, const char *dir, EkBalance balance)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? WriteSpectra(dir, balance) : 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteSummary(EkTrainer t, const EkUsage *usage)
{
  cJSON              *json = cJSON_CreateObject(), *timing;
  const EkSetFigures *sets;
  char                path[2 * EK_PATH];
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkEvaluatorGetSets(t->evaluator, &n, &sets));
  timing = cJSON_AddObjectToObject(json, "timing");
  cJSON_AddNumberToObject(timing, "step_seconds_median", t->nsteps ? EkMedianStep(t) : NAN); /* null */
  cJSON_AddNumberToObject(timing, "train_seconds", t->at.train_seconds);
  cJSON_AddNumberToObject(timing, "balance_seconds", t->at.balance_total);
  cJSON_AddNumberToObject(timing, "balance_share", t->at.train_seconds > 0 ? t->at.balance_total / t->at.train_seconds : 0);
  EkUsageAdd(usage, timing, json);
  cJSON_AddNumberToObject(json, "epochs", (double)t->at.epoch);
  cJSON_AddNumberToObject(json, "parameters", (double)EkParamsCount(t->session->params, PETSC_FALSE));
  PetscCall(Path(t->session->deck.out.dir, "summary.json", path));
  PetscCall(EkFiguresWrite(path, &t->predicted, &t->published, n, sets, json));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDirSummary(EkTrainer t, const EkUsage *usage)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(t->run, t->run->comm, t->run->rank == 0 ? WriteSummary(t, usage) : 0));
  PetscFunctionReturn(0);
}
