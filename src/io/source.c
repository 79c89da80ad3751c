#include "source.h"
#include <string.h>

#define WHAT "weights"

/* Where each memory's tensors are: group of a checkpoint, beginning of the names in a safetensors file. */
static const struct {
  const char *group, *prefix;
} place[] = {
    [EK_MEMORY_WEIGHTS] = {"weights/", ""},
    [EK_MEMORY_FIRST] = {"adam_m/", EK_OPTIMIZER_PREFIX "exp_avg."},
    [EK_MEMORY_SECOND] = {"adam_v/", EK_OPTIMIZER_PREFIX "exp_avg_sq."},
};

PetscErrorCode EkSourceIsHdf5(const char *path, PetscBool *hdf5)
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

/* Keeps the tensors whose name begins with `prefix`, and takes that off; without one, those that are not the optimizer's. */
static int Keep(int n, EkStored *stored, const char *prefix)
{
  const size_t length = strlen(prefix), optimizer = strlen(EK_OPTIMIZER_PREFIX);
  int          kept = 0;

  for (int i = 0; i < n; i++) {
    if (length ? strncmp(stored[i].name, prefix, length) != 0 : !strncmp(stored[i].name, EK_OPTIMIZER_PREFIX, optimizer))
      continue;
    if (kept != i) stored[kept] = stored[i];
    memmove(stored[kept].name, stored[kept].name + length, strlen(stored[kept].name) - length + 1);
    kept++;
  }
  return kept;
}

static PetscErrorCode ListCheckpoint(const struct EkCheckpoint_ *c, EkWeightsMemory memory, int *n, EkStored **stored)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)c->nstored + 1, stored));
  memcpy(*stored, c->stored, (size_t)c->nstored * sizeof(**stored));
  *n = Keep(c->nstored, *stored, place[memory].group);
  PetscFunctionReturn(0);
}

static PetscErrorCode ListSafetensors(const char *path, EkWeightsMemory memory, int *n, EkStored **stored)
{
  PetscFunctionBegin;
  PetscCall(EkSafetensorsProbe(path, n, stored));
  *n = Keep(*n, *stored, place[memory].prefix);
  PetscFunctionReturn(0);
}

PetscErrorCode EkSourceList(const char *path, EkWeightsMemory memory, int *n, EkStored **stored)
{
  struct EkCheckpoint_ checkpoint = {.fd = -1};
  PetscErrorCode       code;
  PetscBool            hdf5;

  PetscFunctionBegin;
  PetscCall(EkSourceIsHdf5(path, &hdf5));
  if (!hdf5) {
    PetscCall(ListSafetensors(path, memory, n, stored));
    PetscFunctionReturn(0);
  }
  code = EkCheckpointProbe(path, &checkpoint);
  if (!code) code = ListCheckpoint(&checkpoint, memory, n, stored);
  PetscCall(PetscFree(checkpoint.meta));
  PetscCall(PetscFree(checkpoint.stored));
  PetscFunctionReturn(code);
}

static PetscErrorCode OpenRoot(EkSource *source, EkWeightsMemory memory)
{
  PetscFunctionBegin;
  PetscCall(EkSourceList(source->path, memory, &source->n, &source->stored));
  PetscCall(EkFileOpen(WHAT, source->path, O_RDONLY, &source->fd));
  PetscFunctionReturn(0);
}

PetscErrorCode EkSourceOpen(EkRun run, const char *path, EkWeightsMemory memory, EkSource *source)
{
  EkCheckpoint   checkpoint;
  EkCatch        caught;
  PetscErrorCode code;
  PetscBool      hdf5 = PETSC_FALSE;

  PetscFunctionBegin;
  *source = (EkSource){.run = run, .path = path, .fd = -1};
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? EkSourceIsHdf5(path, &hdf5) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscCallMPI(MPI_Bcast(&hdf5, 1, MPIU_BOOL, 0, run->comm));
  if (hdf5 && memory == EK_MEMORY_WEIGHTS) {
    PetscCall(EkCheckpointOpen(run, path, &checkpoint));
    PetscCall(EkCheckpointDestroy(&checkpoint));
  }
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? OpenRoot(source, memory) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

PetscErrorCode EkSourceClose(EkSource *source)
{
  PetscFunctionBegin;
  if (source->fd >= 0) close(source->fd);
  PetscCall(PetscFree(source->stored));
  PetscFunctionReturn(0);
}

/* ---- one tensor --------------------------------------------------------------------------------------------- */

PetscBool EkSourceIsReadable(const EkStored *stored)
{
  return (PetscBool)(!strcmp(stored->type, "F32") || !strcmp(stored->type, "F64") ||
                     (EkIsCounter(stored) && !strcmp(stored->type, "I64")));
}

#define BLOCK 4096

PetscErrorCode EkSourceRead(const EkSource *source, const EkStored *stored, float *out)
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

PetscInt64 EkNotFinite(size_t n, const float *x)
{
  for (size_t i = 0; i < n; i++) {
    if (PetscIsInfOrNanReal(x[i])) return (PetscInt64)i;
  }
  return -1;
}

const char *EkValuePlace(const EkTensorInfo *tensor, PetscInt64 i, char text[160])
{
  PetscInt64 at[EK_MAX_RANK] = {0};
  size_t     used = 0;

  for (int d = tensor->rank - 1; d >= 0; i /= tensor->shape[d--]) at[d] = i % tensor->shape[d];
  if (tensor->rank < 2) snprintf(text, 160, "%lld", (long long)at[0]);
  for (int d = 0; d < tensor->rank && tensor->rank > 1; d++)
    used +=
        (size_t)snprintf(text + used, 160 - used, "%s%lld%s", d ? ", " : "(", (long long)at[d], d + 1 < tensor->rank ? "" : ")");
  return text;
}

PetscErrorCode EkSourceInfo(const char *path, const EkStored *stored, size_t offset, EkTensorInfo *info)
{
  PetscFunctionBegin;
  PetscCheck(strlen(stored->name) < EK_NAME, PETSC_COMM_SELF, PETSC_ERR_SUP,
             WHAT " '%s': the name '%s' is longer than %d letters", path, stored->name, EK_NAME - 1);
  *info = (EkTensorInfo){.rank = stored->rank,
                         .is_complex = stored->is_complex,
                         .is_counter = EkIsCounter(stored),
                         .offset = offset,
                         .count = (size_t)stored->count};
  PetscCall(PetscStrncpy(info->name, stored->name, EK_NAME));
  for (int d = 0; d < stored->rank; d++) info->shape[d] = (PetscInt)stored->shape[d];
  PetscFunctionReturn(0);
}
