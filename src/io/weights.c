#include "source.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "weights"

/* ---- everything there is -------------------------------------------------------------------------------------- */

/* Rank 0: a table of its own, tensors one after another. */
static PetscErrorCode MakeTable(const char *path, int n, const EkStored stored[], EkTensorInfo *table)
{
  size_t offset = 0;

  PetscFunctionBegin;
  for (int i = 0; i < n; offset += table[i++].count) PetscCall(EkSourceInfo(path, &stored[i], offset, &table[i]));
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadTensors(const EkSource *source, const EkTensorInfo *table, float *arena)
{
  PetscFunctionBegin;
  for (int i = 0; i < source->n; i++) {
    const EkStored *stored = &source->stored[i];
    char            shape[160], place[160];
    PetscInt64      bad;

    PetscCall(EkSourceRead(source, stored, arena + table[i].offset));
    bad = EkNotFinite(table[i].count, arena + table[i].offset);
    PetscCheck(bad < 0, PETSC_COMM_SELF, PETSC_ERR_FP, WHAT " '%s': tensor '%s', %s %s: value %s is not finite", source->path,
               stored->name, stored->type, EkShapeText(stored->rank, stored->shape, shape), EkValuePlace(&table[i], bad, place));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckTypes(const EkSource *source)
{
  PetscFunctionBegin;
  for (int i = 0; i < source->n; i++) {
    const EkStored *stored = &source->stored[i];

    PetscCheck(EkSourceIsReadable(stored), PETSC_COMM_SELF, PETSC_ERR_SUP,
               WHAT " '%s': tensor '%s' is of type %s, only F32 and F64 can be read", source->path, stored->name, stored->type);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadEverything(const EkSource *source, int *n, EkTensorInfo **table, float **arena)
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
  code = run->rank == 0 ? CheckTypes(source) : 0;
  if (!code && run->rank == 0) code = MakeTable(source->path, source->n, source->stored, *table);
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

/* Rank 0: what cannot be read leaves the list. */
static void LeaveOut(EkSource *source)
{
  int n = 0;

  for (int i = 0; i < source->n; i++) {
    if (EkSourceIsReadable(&source->stored[i]))
      source->stored[n++] = source->stored[i];
    else
      printf("notice: tensor '%s' is left out, it is of type %s\n", source->stored[i].name, source->stored[i].type);
  }
  source->n = n;
}

static PetscErrorCode ReadMemory(EkRun run, const char *path, EkWeightsMemory memory, PetscBool readable, int *n,
                                 EkTensorInfo **table, float **arena)
{
  EkSource       source;
  PetscErrorCode code;

  PetscFunctionBegin;
  *n = 0;
  *table = NULL;
  *arena = NULL;
  code = EkSourceOpen(run, path, memory, &source);
  if (!code && readable && run->rank == 0) LeaveOut(&source);
  if (!code) code = ReadEverything(&source, n, table, arena);
  PetscCall(EkSourceClose(&source));
  if (code) {
    PetscCall(PetscFree(*table));
    PetscCall(PetscFree(*arena));
  }
  PetscFunctionReturn(code);
}

PetscErrorCode EkWeightsReadMemory(EkRun run, const char *path, EkWeightsMemory memory, int *n, EkTensorInfo **table,
                                   float **arena)
{
  PetscFunctionBegin;
  PetscCall(ReadMemory(run, path, memory, PETSC_FALSE, n, table, arena));
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsReadAll(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena)
{
  PetscFunctionBegin;
  PetscCall(ReadMemory(run, path, EK_MEMORY_WEIGHTS, PETSC_FALSE, n, table, arena));
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsReadReadable(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena)
{
  PetscFunctionBegin;
  PetscCall(ReadMemory(run, path, EK_MEMORY_WEIGHTS, PETSC_TRUE, n, table, arena));
  PetscFunctionReturn(0);
}

static PetscErrorCode ListRoot(const char *path, EkWeightsMemory memory, int *n, EkTensorInfo **table)
{
  PetscErrorCode code;
  EkStored      *stored = NULL;

  PetscFunctionBegin;
  PetscCall(EkSourceList(path, memory, n, &stored));
  code = PetscCalloc1((size_t)*n + 1, table);
  if (!code) code = MakeTable(path, *n, stored, *table);
  PetscCall(PetscFree(stored));
  if (code) PetscCall(PetscFree(*table));
  PetscFunctionReturn(code);
}

PetscErrorCode EkWeightsList(EkRun run, const char *path, EkWeightsMemory memory, int *n, EkTensorInfo **table)
{
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  *n = 0;
  *table = NULL;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? ListRoot(path, memory, n, table) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscCallMPI(MPI_Bcast(n, 1, MPI_INT, 0, run->comm));
  if (run->rank) PetscCall(PetscCalloc1((size_t)*n + 1, table));
  PetscCall(EkBcastBytes(run, *table, (size_t)*n * sizeof(**table)));
  PetscFunctionReturn(0);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

PetscErrorCode EkWeightsWriteNoted(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena, int nnotes,
                                   const EkNote notes[])
{
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? EkSafetensorsWrite(path, n, table, arena, nnotes, notes) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsWrite(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena)
{
  PetscFunctionBegin;
  PetscCall(EkWeightsWriteNoted(run, path, n, table, arena, 0, NULL));
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
  PetscCall(EkSourceIsHdf5(path, &hdf5));
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
