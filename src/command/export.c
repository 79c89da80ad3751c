#include "evenkeel/command.h"
#include "evenkeel/weights.h"
#include <cJSON.h>
#include <string.h>
#include <sys/stat.h>

#define USAGE "usage: evenkeel export CHECKPOINT OUT.safetensors [optimizer]"

/* Tensors on their way from one file to another. */
typedef struct {
  int           n;
  EkTensorInfo *table;
  float        *arena;
} Tensors;

static PetscErrorCode Free(Tensors *t)
{
  PetscFunctionBegin;
  PetscCall(PetscFree(t->table));
  PetscCall(PetscFree(t->arena));
  PetscFunctionReturn(0);
}

static int Find(const Tensors *t, const char *name)
{
  for (int i = 0; i < t->n; i++) {
    if (!strcmp(t->table[i].name, name)) return i;
  }
  return -1;
}

/* The table in the order of the names, which is torch's; as it is where there is no list (safetensors have their order). */
static PetscErrorCode Sort(Tensors *t, const char *names)
{
  cJSON        *list = names ? cJSON_Parse(names) : NULL;
  const cJSON  *name;
  EkTensorInfo *sorted;
  int           n = 0;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)t->n + 1, &sorted));
  cJSON_ArrayForEach(name, list)
  {
    const int i = cJSON_IsString(name) && n < t->n ? Find(t, name->valuestring) : -1;

    if (i >= 0) sorted[n++] = t->table[i];
  }
  if (n == t->n) PetscCall(PetscArraycpy(t->table, sorted, n));
  PetscCall(PetscFree(sorted));
  cJSON_Delete(list);
  PetscFunctionReturn(0);
}

/* ---- moments ------------------------------------------------------------------------------------------------ */

static PetscBool IsZero(const Tensors *t, int i)
{
  const float *x = t->arena + t->table[i].offset;

  for (size_t j = 0; j < t->table[i].count; j++) {
    if (x[j] != 0) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* The published Adam keeps |g|^2 in both places of an entry, in torch the imaginary part of it is zero. */
static void AsTorch(const Tensors *second)
{
  for (int i = 0; i < second->n; i++) {
    const EkTensorInfo *tensor = &second->table[i];

    for (size_t j = 1; tensor->is_complex && j < tensor->count; j += 2) second->arena[tensor->offset + j] = 0;
  }
}

/* Appends moment i of `from`, under the name torch gives it. `to` has room. */
static PetscErrorCode Append(EkRun run, Tensors *to, size_t *total, const Tensors *from, int i, const char *prefix)
{
  EkTensorInfo *row = &to->table[to->n++];

  PetscFunctionBegin;
  *row = from->table[i];
  PetscCheck(strlen(prefix) + strlen(row->name) < EK_NAME, run->comm, PETSC_ERR_SUP, "export: '%s%s' is longer than %d letters",
             prefix, row->name, EK_NAME - 1);
  PetscCall(PetscSNPrintf(row->name, EK_NAME, "%s%s", prefix, from->table[i].name));
  row->offset = *total;
  PetscCall(PetscArraycpy(to->arena + *total, from->arena + from->table[i].offset, row->count));
  *total += row->count;
  PetscFunctionReturn(0);
}

static size_t Floats(const Tensors *t)
{
  size_t total = 0;

  for (int i = 0; i < t->n; i++) total += t->table[i].count;
  return total;
}

/* Moments behind the weights, in their order. What no gradient ever reached has none, as in torch. */
static PetscErrorCode AddMoments(EkRun run, const Tensors moment[2], Tensors *weights)
{
  static const char *const prefix[2] = {EK_OPTIMIZER_PREFIX "exp_avg.", EK_OPTIMIZER_PREFIX "exp_avg_sq."};
  const int                n = weights->n;
  size_t                   total = Floats(weights);

  PetscFunctionBegin;
  PetscCall(PetscRealloc((size_t)(3 * n + 1) * sizeof(EkTensorInfo), &weights->table));
  PetscCall(PetscRealloc((total + Floats(&moment[0]) + Floats(&moment[1]) + 1) * sizeof(float), &weights->arena));
  for (int t = 0; t < n; t++) {
    const int i = Find(&moment[0], weights->table[t].name), j = Find(&moment[1], weights->table[t].name);

    if (i < 0 || j < 0 || (IsZero(&moment[0], i) && IsZero(&moment[1], j))) continue;
    PetscCall(Append(run, weights, &total, &moment[0], i, prefix[0]));
    PetscCall(Append(run, weights, &total, &moment[1], j, prefix[1]));
  }
  PetscFunctionReturn(0);
}

/* names: the order of the weights, which torch numbers its moments by. */
static PetscErrorCode ReadMoments(EkRun run, const char *path, const char *names, Tensors *weights)
{
  Tensors moment[2] = {{0}, {0}};
  char   *optimizer;

  PetscFunctionBegin;
  PetscCall(EkWeightsReadMemory(run, path, EK_MEMORY_FIRST, &moment[0].n, &moment[0].table, &moment[0].arena));
  PetscCall(EkWeightsReadMemory(run, path, EK_MEMORY_SECOND, &moment[1].n, &moment[1].table, &moment[1].arena));
  PetscCheck(moment[0].n && moment[1].n, run->comm, PETSC_ERR_FILE_UNEXPECTED, "export: '%s' holds no moments of Adam", path);
  PetscCall(EkWeightsReadNote(run, path, "optimizer", &optimizer));
  PetscCheck(names || !optimizer, run->comm, PETSC_ERR_FILE_UNEXPECTED,
             "export: '%s' does not say in which order its tensors are; continue the run until its next checkpoint", path);
  if (optimizer && !strcmp(optimizer, "adam")) AsTorch(&moment[1]);
  PetscCall(AddMoments(run, moment, weights));
  PetscCall(PetscFree(optimizer));
  for (int i = 0; i < 2; i++) PetscCall(Free(&moment[i]));
  PetscFunctionReturn(0);
}

/* ---- the command -------------------------------------------------------------------------------------------- */

#define NOTES 3
static PetscErrorCode Export(EkRun run, const char *path, const char *out, PetscBool moments)
{
  static const char *const key[NOTES] = {EK_NOTE_NORM, EK_NOTE_STEPS, EK_NOTE_GROUP};
  EkNote                   note[NOTES];
  char                    *text[NOTES] = {NULL}, *names;
  Tensors                  t;

  PetscFunctionBegin;
  PetscCall(EkWeightsReadAll(run, path, &t.n, &t.table, &t.arena));
  PetscCall(EkWeightsReadNote(run, path, "tensors", &names));
  PetscCall(Sort(&t, names));
  if (moments) PetscCall(ReadMoments(run, path, names, &t));
  for (int i = 0; i < NOTES; i++) {
    if (i == 0 || moments) PetscCall(EkWeightsReadNote(run, path, key[i], &text[i]));
    note[i] = (EkNote){key[i], text[i]};
  }
  PetscCall(EkWeightsWriteNoted(run, out, t.n, t.table, t.arena, NOTES, note));
  if (run->rank == 0) printf("%d tensors written to %s\n", t.n, out);
  for (int i = 0; i < NOTES; i++) PetscCall(PetscFree(text[i]));
  PetscCall(PetscFree(names));
  PetscCall(Free(&t));
  PetscFunctionReturn(0);
}

static PetscBool IsSameFile(const char *a, const char *b)
{
  struct stat x, y;

  return (PetscBool)(!stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

PetscErrorCode EkCommandExport(EkRun run, int *exit_status)
{
  PetscFunctionBegin;
  PetscCheck(run->argc == 3 || run->argc == 4, run->comm, PETSC_ERR_USER_INPUT, USAGE);
  PetscCheck(run->argc == 3 || !strcmp(run->argv[3], "optimizer"), run->comm, PETSC_ERR_USER_INPUT,
             "export: '%s' is not known; " USAGE, run->argv[3]);
  PetscCall(EkCommandReadKeys(run, 0, NULL, NULL));
  PetscCheck(!IsSameFile(run->argv[1], run->argv[2]), run->comm, PETSC_ERR_USER_INPUT,
             "export: '%s' would be written over itself", run->argv[1]);
  PetscCall(Export(run, run->argv[1], run->argv[2], (PetscBool)(run->argc == 4)));
  *exit_status = 0;
  PetscFunctionReturn(0);
}
