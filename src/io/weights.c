#include "io.h"
#include "evenkeel/checkpoint.h"
#include "evenkeel/weights.h"
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define WHAT  "weights"
#define GROUP "weights/"

/* A weight file of either kind: on rank 0 its tensors and a descriptor, elsewhere nothing. */
typedef struct {
  EkRun        run;
  const char  *path;
  EkCheckpoint checkpoint; /* NULL: safetensors */
  int          n, fd;
  EkStored    *stored;
} Source;

static PetscErrorCode ReadSignature(const char *path, PetscBool *hdf5)
{
  static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  unsigned char              start[8];
  int                        fd;

  PetscFunctionBegin;
  PetscCall(EkFileOpen(WHAT, path, O_RDONLY, &fd));
  *hdf5 = (PetscBool)(EkFileReadSome(fd, start, 8, 0) == 8 && !memcmp(start, signature, 8));
  close(fd);
  PetscFunctionReturn(0);
}

/* Rank 0: the tensors of a checkpoint's weights, by their own names. */
static PetscErrorCode ListCheckpoint(Source *source)
{
  const EkCheckpoint c = source->checkpoint;
  const size_t       length = strlen(GROUP);

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)c->nstored + 1, &source->stored));
  for (int i = 0; i < c->nstored; i++) {
    if (strncmp(c->stored[i].name, GROUP, length)) continue;
    source->stored[source->n] = c->stored[i];
    memmove(source->stored[source->n].name, c->stored[i].name + length, strlen(c->stored[i].name) - length + 1);
    source->n++;
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ListRoot(Source *source)
{
  PetscFunctionBegin;
  if (source->checkpoint)
    PetscCall(ListCheckpoint(source));
  else
    PetscCall(EkSafetensorsProbe(source->path, &source->n, &source->stored));
  PetscCall(EkFileOpen(WHAT, source->path, O_RDONLY, &source->fd));
  PetscFunctionReturn(0);
}

static PetscErrorCode SourceOpen(EkRun run, const char *path, Source *source)
{
  EkCatch        caught;
  PetscErrorCode code;
  PetscBool      hdf5 = PETSC_FALSE;

  PetscFunctionBegin;
  *source = (Source){.run = run, .path = path, .fd = -1};
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? ReadSignature(path, &hdf5) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscCallMPI(MPI_Bcast(&hdf5, 1, MPIU_BOOL, 0, run->comm));
  if (hdf5) PetscCall(EkCheckpointOpen(run, path, &source->checkpoint));
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? ListRoot(source) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

static PetscErrorCode SourceClose(Source *source)
{
  PetscFunctionBegin;
  if (source->fd >= 0) close(source->fd);
  PetscCall(PetscFree(source->stored));
  PetscCall(EkCheckpointDestroy(&source->checkpoint));
  PetscFunctionReturn(0);
}

static PetscBool IsReadable(const EkStored *stored)
{
  return (PetscBool)(!strcmp(stored->type, "F32") || !strcmp(stored->type, "F64") || (EkIsCounter(stored) && !strcmp(stored->type, "I64")));
}

#define BLOCK 4096

static PetscErrorCode ReadTensor(const Source *source, const EkStored *stored, float *out)
{
  const size_t n = (size_t)stored->count;
  double       wide[BLOCK];
  int64_t      whole;

  PetscFunctionBegin;
  if (!strcmp(stored->type, "I64")) {
    PetscCall(EkFileRead(WHAT, source->path, source->fd, &whole, sizeof(whole), stored->address));
    *out = (float)whole;
    PetscFunctionReturn(0);
  }
  if (!strcmp(stored->type, "F32")) {
    PetscCall(EkFileRead(WHAT, source->path, source->fd, out, n * sizeof(float), stored->address));
    PetscFunctionReturn(0);
  }
  for (size_t i = 0; i < n; i += BLOCK) {
    const size_t part = PetscMin((size_t)BLOCK, n - i);

    PetscCall(EkFileRead(WHAT, source->path, source->fd, wide, part * sizeof(double),
                         stored->address + (PetscInt64)(i * sizeof(double))));
    for (size_t j = 0; j < part; j++) out[i + j] = (float)wide[j];
  }
  PetscFunctionReturn(0);
}

/* Place of the first value that is not finite, or -1. */
static PetscInt64 NotFinite(size_t n, const float *x)
{
  for (size_t i = 0; i < n; i++) {
    if (PetscIsInfOrNanReal(x[i])) return (PetscInt64)i;
  }
  return -1;
}

/* ---- fitting a table ---------------------------------------------------------------------------------------- */

static PetscBool SameShape(const EkStored *stored, const EkTensorInfo *wanted)
{
  if (stored->rank != wanted->rank) return PETSC_FALSE;
  for (int d = 0; d < wanted->rank; d++) {
    if (stored->shape[d] != wanted->shape[d]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static const char *WantedText(const EkTensorInfo *wanted, char text[160])
{
  PetscInt64 shape[EK_MAX_RANK];

  for (int d = 0; d < wanted->rank; d++) shape[d] = wanted->shape[d];
  return EkShapeText(wanted->rank, shape, text);
}

/* Reads one wanted tensor, or adds the line that says why it does not fit; a counter that is missing is zero. `used` marks the tensors of the file that are wanted.
 */
static PetscErrorCode FitTensor(const Source *source, const EkTensorInfo *wanted, float *out, PetscBool used[], FILE *lines,
                                int *misfits)
{
  const EkStored *stored = NULL;
  const char     *type = wanted->is_counter ? "I64" : "F32";
  char            found[160], want[160];
  PetscInt64      bad = -1;

  PetscFunctionBegin;
  for (int i = 0; i < source->n && !stored; i++) {
    if (strcmp(source->stored[i].name, wanted->name)) continue;
    stored = &source->stored[i];
    used[i] = PETSC_TRUE;
  }
  WantedText(wanted, want);
  if (!stored && wanted->is_counter) {
    *out = 0;
    PetscFunctionReturn(0);
  }
  ++*misfits;
  if (!stored)
    fprintf(lines, "%s: missing, wanted %s %s\n", wanted->name, type, want);
  else if (!IsReadable(stored) || !SameShape(stored, wanted)) {
    fprintf(lines, "%s: found %s %s, wanted %s %s\n", wanted->name, stored->type,
            EkShapeText(stored->rank, stored->shape, found), type, want);
  } else {
    PetscCall(ReadTensor(source, stored, out));
    bad = NotFinite(wanted->count, out);
    if (bad >= 0)
      fprintf(lines, "%s: value %lld is not finite\n", wanted->name, (long long)bad);
    else
      --*misfits;
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode FitTable(const Source *source, int n, const EkTensorInfo table[], float *arena, FILE *lines, int *misfits)
{
  PetscErrorCode code = 0;
  PetscBool     *used;
  char           found[160];

  PetscFunctionBegin;
  PetscCall(PetscCalloc1((size_t)source->n + 1, &used));
  for (int i = 0; i < n && !code; i++) code = FitTensor(source, &table[i], arena + table[i].offset, used, lines, misfits);
  for (int i = 0; i < source->n && !code; i++) {
    const EkStored *stored = &source->stored[i];

    if (used[i] || EkIsCounter(stored)) continue;
    ++*misfits;
    fprintf(lines, "%s: found %s %s, the model has no such tensor\n", stored->name, stored->type,
            EkShapeText(stored->rank, stored->shape, found));
  }
  PetscCall(PetscFree(used));
  PetscFunctionReturn(code);
}

/* The lines of rank 0 on every rank, each printed once, then one error that counts them. */
static PetscErrorCode RaiseMisfits(EkRun run, const char *path, int misfits, char *text)
{
  PetscInt64 size[2] = {misfits, run->rank ? 0 : (PetscInt64)strlen(text) + 1};
  EkProblems problems;
  char      *copy, *save = NULL;

  PetscFunctionBegin;
  PetscCall(EkBcastBytes(run, size, sizeof(size)));
  if (!size[0]) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(size[1], &copy));
  if (run->rank == 0) memcpy(copy, text, (size_t)size[1]);
  PetscCall(EkBcastBytes(run, copy, (size_t)size[1]));
  PetscCall(EkProblemsCreate(&problems));
  for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    PetscCall(EkProblemsAdd(problems, WHAT " '%s': %s", path, line));
  PetscCall(PetscFree(copy));
  PetscCheck(!EkProblemsRaise(run, &problems), run->comm, PETSC_ERR_FILE_UNEXPECTED,
             WHAT " '%s': %lld of its or the model's tensors do not fit", path, (long long)size[0]);
  PetscFunctionReturn(0);
}

static PetscErrorCode FitRoot(const Source *source, int n, const EkTensorInfo table[], float *arena, char **text, int *misfits)
{
  PetscErrorCode code;
  size_t         length;
  FILE          *lines = open_memstream(text, &length);

  PetscFunctionBegin;
  EkCheckAlloc(lines, "a list of tensors");
  code = FitTable(source, n, table, arena, lines, misfits);
  fclose(lines);
  PetscFunctionReturn(code);
}

static PetscErrorCode ReadInto(const Source *source, int n, const EkTensorInfo table[], float *arena)
{
  EkRun          run = source->run;
  EkCatch        caught;
  PetscErrorCode code;
  char          *text = NULL;
  int            misfits = 0;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? FitRoot(source, n, table, arena, &text, &misfits) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  code = RaiseMisfits(run, source->path, misfits, text);
  free(text);
  PetscCall(code);
  for (int i = 0; i < n; i++) PetscCall(EkBcastBytes(run, arena + table[i].offset, table[i].count * sizeof(float)));
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsRead(EkRun run, const char *path, int n, const EkTensorInfo table[], float *arena)
{
  Source         source;
  PetscErrorCode code;

  PetscFunctionBegin;
  code = SourceOpen(run, path, &source);
  if (!code) code = ReadInto(&source, n, table, arena);
  PetscCall(SourceClose(&source));
  PetscFunctionReturn(code);
}

/* ---- everything there is -------------------------------------------------------------------------------------- */

/* Rank 0: a table of its own, tensors one after another. */
static PetscErrorCode MakeTable(const Source *source, EkTensorInfo *table)
{
  size_t offset = 0;

  PetscFunctionBegin;
  for (int i = 0; i < source->n; offset += table[i++].count) {
    const EkStored *stored = &source->stored[i];

    PetscCheck(IsReadable(stored), PETSC_COMM_SELF, PETSC_ERR_SUP,
               WHAT " '%s': tensor '%s' is of type %s, only F32 and F64 can be read", source->path, stored->name, stored->type);
    PetscCheck(strlen(stored->name) < EK_NAME, PETSC_COMM_SELF, PETSC_ERR_SUP,
               WHAT " '%s': the name '%s' is longer than %d letters", source->path, stored->name, EK_NAME - 1);
    table[i] =
        (EkTensorInfo){.rank = stored->rank, .is_complex = stored->is_complex, .is_counter = EkIsCounter(stored), .offset = offset, .count = (size_t)stored->count};
    PetscCall(PetscStrncpy(table[i].name, stored->name, EK_NAME));
    for (int d = 0; d < stored->rank; d++) table[i].shape[d] = (PetscInt)stored->shape[d];
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadTensors(const Source *source, const EkTensorInfo *table, float *arena)
{
  PetscFunctionBegin;
  for (int i = 0; i < source->n; i++) {
    PetscInt64 bad;

    PetscCall(ReadTensor(source, &source->stored[i], arena + table[i].offset));
    bad = NotFinite(table[i].count, arena + table[i].offset);
    PetscCheck(bad < 0, PETSC_COMM_SELF, PETSC_ERR_FP, WHAT " '%s': tensor '%s': value %lld is not finite", source->path,
               table[i].name, (long long)bad);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadEverything(const Source *source, int *n, EkTensorInfo **table, float **arena)
{
  EkRun          run = source->run;
  size_t         total = 0;
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  *n = source->n;
  PetscCallMPI(MPI_Bcast(n, 1, MPI_INT, 0, run->comm));
  PetscCall(PetscCalloc1((size_t)*n + 1, table));
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? MakeTable(source, *table) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscCall(EkBcastBytes(run, *table, (size_t)*n * sizeof(**table)));
  for (int i = 0; i < *n; i++) total += (*table)[i].count;
  PetscCall(PetscMalloc1(total + 1, arena));
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? ReadTensors(source, *table, *arena) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscCall(EkBcastBytes(run, *arena, total * sizeof(float)));
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsReadAll(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena)
{
  Source         source;
  PetscErrorCode code;

  PetscFunctionBegin;
  *n = 0;
  *table = NULL;
  *arena = NULL;
  code = SourceOpen(run, path, &source);
  if (!code) code = ReadEverything(&source, n, table, arena);
  PetscCall(SourceClose(&source));
  if (code) {
    PetscCall(PetscFree(*table));
    PetscCall(PetscFree(*arena));
  }
  PetscFunctionReturn(code);
}

PetscErrorCode EkWeightsWriteNoted(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena,
                                   const char *key, const char *note)
{
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? EkSafetensorsWrite(path, n, table, arena, key, note) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsWrite(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena)
{
  PetscFunctionBegin;
  PetscCall(EkWeightsWriteNoted(run, path, n, table, arena, NULL, NULL));
  PetscFunctionReturn(0);
}

/* ---- notes -------------------------------------------------------------------------------------------------- */

/* The checkpoint's header alone. */
static PetscErrorCode CheckpointNote(const char *path, const char *key, char **note)
{
  struct EkCheckpoint_ checkpoint = {.fd = -1};
  PetscErrorCode       code = EkCheckpointProbe(path, &checkpoint);
  cJSON               *json = code ? NULL : cJSON_Parse(checkpoint.meta);
  const cJSON         *item = cJSON_GetObjectItemCaseSensitive(json, key);

  PetscFunctionBegin;
  if (cJSON_IsString(item))
    code = PetscStrallocpy(item->valuestring, note);
  else if (item) {
    char *text = cJSON_PrintUnformatted(item);

    code = PetscStrallocpy(text, note);
    cJSON_free(text);
  }
  cJSON_Delete(json);
  PetscCall(PetscFree(checkpoint.meta));
  PetscCall(PetscFree(checkpoint.stored));
  PetscFunctionReturn(code);
}

static PetscErrorCode ReadNoteRoot(const char *path, const char *key, char **note)
{
  PetscBool hdf5;

  PetscFunctionBegin;
  PetscCall(ReadSignature(path, &hdf5));
  if (hdf5)
    PetscCall(CheckpointNote(path, key, note));
  else
    PetscCall(EkSafetensorsReadNote(path, key, note));
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsReadNote(EkRun run, const char *path, const char *key, char **note)
{
  PetscInt64     bytes = 0;
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  *note = NULL;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? ReadNoteRoot(path, key, note) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  if (*note) bytes = (PetscInt64)strlen(*note) + 1;
  PetscCallMPI(MPI_Bcast(&bytes, 1, MPIU_INT64, 0, run->comm));
  if (!bytes) PetscFunctionReturn(0);
  if (run->rank) PetscCall(PetscMalloc1(bytes, note));
  PetscCall(EkBcastBytes(run, *note, (size_t)bytes));
  PetscFunctionReturn(0);
}
