#include "share.h"
#include <stdio.h>
#include <string.h>

#define WHAT        "checkpoint"
#define KEPT_BLOCKS 4
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "slices are written as they are in memory, the file says little-endian");

uint64_t EkChecksum(const void *words, size_t n, uint64_t first)
{
  const char *bytes = (const char *)words;
  uint64_t    sum = 0;

  for (size_t i = 0; i < n; i++) {
    uint32_t word;

    memcpy(&word, bytes + 4 * i, sizeof(word));
    sum += (uint64_t)word * (uint32_t)(2 * (first + i) + 1);
  }
  return sum;
}

/* ---- metadata, by rank 0 ------------------------------------------------------------------------------------ */

static PetscErrorCode ReadMeta(hid_t file, const char *path, char **meta)
{
  const hid_t attribute = H5Aopen(file, "meta", H5P_DEFAULT), type = attribute < 0 ? -1 : H5Aget_type(attribute);
  PetscBool   good = (PetscBool)(type >= 0 && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0);

  PetscFunctionBegin;
  if (good) {
    PetscCall(PetscCalloc1(H5Tget_size(type) + 1, meta));
    good = (PetscBool)(H5Aread(attribute, type, *meta) >= 0);
  }
  if (type >= 0) H5Tclose(type);
  if (attribute >= 0) H5Aclose(attribute);
  PetscCheck(good, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s' is damaged: its attribute 'meta' cannot be read",
             path);
  PetscFunctionReturn(0);
}

static PetscBool ReadAttribute(hid_t object, const char *name, hid_t type, void *value)
{
  const hid_t  attribute = H5Aopen(object, name, H5P_DEFAULT);
  const herr_t failed = attribute < 0 ? -1 : H5Aread(attribute, type, value);

  if (attribute >= 0) H5Aclose(attribute);
  return (PetscBool)(failed >= 0);
}

static PetscErrorCode DescribeSet(hid_t set, const char *path, const char *name, PetscInt64 file_bytes, EkStored *stored)
{
  const hid_t   type = H5Dget_type(set), space = H5Dget_space(set);
  const int     width = H5Tequal(type, H5T_IEEE_F32LE) > 0 ? 4 : H5Tequal(type, H5T_IEEE_F64LE) > 0 ? 8 : 0;
  const haddr_t offset = H5Dget_offset(set);
  hsize_t       dims[EK_MAX_RANK];
  int           rank = H5Sget_simple_extent_ndims(space);

  PetscFunctionBegin;
  if (rank > EK_MAX_RANK || strlen(name) >= sizeof(stored->name))
    rank = -1;
  else
    H5Sget_simple_extent_dims(space, dims, NULL);
  H5Tclose(type);
  H5Sclose(space);
  PetscCheck(width && rank >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s': dataset '%s' is none of a checkpoint",
             path, name);
  memset(stored, 0, sizeof(*stored));
  PetscCall(PetscStrncpy(stored->name, name, sizeof(stored->name)));
  PetscCall(PetscStrncpy(stored->type, width == 4 ? "F32" : "F64", sizeof(stored->type)));
  stored->rank = rank;
  stored->count = 1;
  for (int d = 0; d < rank; d++) stored->count *= stored->shape[d] = (PetscInt64)dims[d];
  stored->address = (PetscInt64)offset;
  stored->is_complex = (PetscBool)(H5Aexists(set, "complex") > 0);
  PetscCheck(ReadAttribute(set, "checksum", H5T_NATIVE_UINT64, &stored->checksum), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             WHAT ": '%s' is damaged: '%s' has no checksum", path, name);
  PetscCheck(!stored->count || (offset != HADDR_UNDEF && stored->address + stored->count * width <= file_bytes), PETSC_COMM_SELF,
             PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s' is truncated: '%s' ends at byte %lld, the file at %lld", path, name,
             (long long)(stored->address + stored->count * width), (long long)file_bytes);
  PetscFunctionReturn(0);
}

typedef struct {
  EkCheckpoint   checkpoint;
  const char    *path;
  PetscInt64     file_bytes;
  int            capacity;
  PetscErrorCode code;
} Visit;

static PetscErrorCode VisitSet(hid_t root, const char *name, Visit *visit)
{
  EkCheckpoint   c = visit->checkpoint;
  const hid_t    set = H5Dopen2(root, name, H5P_DEFAULT);
  PetscErrorCode code;

  PetscFunctionBegin;
  PetscCheck(set >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s' is damaged: dataset '%s' cannot be opened",
             visit->path, name);
  if (c->nstored == visit->capacity) {
    visit->capacity = 2 * visit->capacity + 64;
    PetscCall(PetscRealloc((size_t)visit->capacity * sizeof(*c->stored), &c->stored));
  }
  code = DescribeSet(set, visit->path, name, visit->file_bytes, &c->stored[c->nstored]);
  H5Dclose(set);
  c->nstored += !code;
  PetscFunctionReturn(code);
}

static herr_t VisitObject(hid_t root, const char *name, const H5O_info_t *info, void *context)
{
  Visit *visit = (Visit *)context;

  if (info->type == H5O_TYPE_DATASET) visit->code = VisitSet(root, name, visit);
  return visit->code ? -1 : 0;
}

static PetscErrorCode ProbeOpen(hid_t file, const char *path, EkCheckpoint c)
{
  Visit visit = {c, path, 0, 0, 0};
  int   complete = 0;

  PetscFunctionBegin;
  PetscCall(EkFileSize(WHAT, path, &visit.file_bytes));
  PetscCheck(H5Aexists(file, "complete") > 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             WHAT ": '%s' is an HDF5 file, but not a checkpoint", path);
  PetscCheck(ReadAttribute(file, "complete", H5T_NATIVE_INT, &complete) && complete == 1, PETSC_COMM_SELF,
             PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s' was not written to its end", path);
  PetscCall(ReadMeta(file, path, &c->meta));
  if (H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, VisitObject, &visit, H5O_INFO_BASIC) < 0) {
    PetscCheck(visit.code, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
               WHAT ": '%s' is damaged: its table of contents cannot be read", path);
  }
  PetscFunctionReturn(visit.code);
}

PetscErrorCode EkCheckpointProbe(const char *path, EkCheckpoint c)
{
  PetscErrorCode code;
  hid_t          file;

  PetscFunctionBegin;
  PetscCall(EkH5Open(WHAT, path, H5F_ACC_RDONLY, &file));
  code = ProbeOpen(file, path, c);
  H5Fclose(file);
  PetscFunctionReturn(code);
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

/* Adds to the sums what bytes [lo, hi) of the file hold of every dataset. */
static void SumBlock(const EkShares *shares, PetscInt64 lo, PetscInt64 hi, const char *block, uint64_t sum[])
{
  EkPiece p;

  for (int i = 0; i < shares->nstored; i++) {
    if (EkPieceOf(&shares->stored[i], lo, hi, &p)) sum[i] += EkChecksum(block + p.at, (size_t)p.bytes / 4, (uint64_t)p.from / 4);
  }
}

/* This rank's share of the checksums. What fits into a few blocks stays in memory: arenas are then filled without reading it
 * again. */
static PetscErrorCode SumShare(EkCheckpoint c, uint64_t sum[])
{
  PetscErrorCode code = 0;
  PetscInt64     first, end, lo, hi;
  char          *room;

  PetscFunctionBegin;
  EkShareBounds(&c->shares, c->mine, &first, &end);
  PetscCall(EkFileOpen(WHAT, c->path, O_RDONLY, &c->fd));
  if (end - first <= KEPT_BLOCKS * c->run->share) PetscCall(PetscMalloc1((size_t)(end - first) + 1, &c->kept));
  PetscCall(PetscMalloc1(c->kept ? 1 : EkShareRoom(&c->shares), &room));
  for (PetscInt64 b = 0; EkShareBlock(&c->shares, c->mine, b, &lo, &hi) && !code; b++) {
    char *block = c->kept ? c->kept + (lo - first) : room;

    code = EkCheckpointReadBytes(c, lo, hi, block);
    if (!code) SumBlock(&c->shares, lo, hi, block, sum);
  }
  PetscCall(PetscFree(room));
  PetscFunctionReturn(code);
}

/* The data are as they were written: each share is read by its rank. */
static PetscErrorCode Verify(EkCheckpoint c, EkCatch *caught)
{
  PetscErrorCode code;
  uint64_t      *sum;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1(c->nstored + 1, &sum));
  PetscCall(EkCatchBegin(caught));
  code = c->mine >= 0 ? SumShare(c, sum) : 0;
  PetscCall(EkCatchEnd(c->run, caught, code));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, sum, c->nstored, MPI_UINT64_T, MPI_SUM, c->run->comm));
  for (int i = 0; i < c->nstored && !caught->code; i++) {
    if (sum[i] == c->stored[i].checksum) continue;
    caught->code = PETSC_ERR_FILE_UNEXPECTED;
    snprintf(caught->text, sizeof(caught->text), WHAT ": '%s' is damaged: the checksum of '%s' is not that of its data", c->path,
             c->stored[i].name);
  }
  PetscCall(PetscFree(sum));
  PetscFunctionReturn(0);
}

static PetscErrorCode ShareTable(EkCheckpoint c)
{
  PetscInt64 size[2] = {c->nstored, c->meta ? (PetscInt64)strlen(c->meta) + 1 : 0};

  PetscFunctionBegin;
  PetscCall(EkBcastBytes(c->run, size, sizeof(size)));
  c->nstored = (int)size[0];
  if (c->run->rank) {
    PetscCall(PetscMalloc1((size_t)size[0] * sizeof(*c->stored), &c->stored));
    PetscCall(PetscMalloc1(size[1], &c->meta));
  }
  PetscCall(EkBcastBytes(c->run, c->stored, (size_t)size[0] * sizeof(*c->stored)));
  PetscCall(EkBcastBytes(c->run, c->meta, (size_t)size[1]));
  c->shares = EkSharesOf(c->run, c->nstored, c->stored);
  c->mine = EkShareMine(&c->shares);
  PetscFunctionReturn(0);
}

/* *checkpoint is NULL and `caught` tells why, the same on every rank, where PATH is not a sound checkpoint. */
static PetscErrorCode TryOpen(EkRun run, const char *path, EkCheckpoint *checkpoint, EkCatch *caught)
{
  EkCheckpoint   c;
  PetscErrorCode code;

  PetscFunctionBegin;
  PetscCall(PetscNew(&c));
  c->run = run;
  c->fd = c->mine = -1;
  PetscCall(PetscStrncpy(c->path, path, sizeof(c->path)));
  PetscCall(EkCatchBegin(caught));
  code = run->rank == 0 ? EkCheckpointProbe(path, c) : 0;
  PetscCall(EkCatchEnd(run, caught, code));
  if (!caught->code) {
    PetscCall(ShareTable(c));
    PetscCall(Verify(c, caught));
  }
  if (caught->code) PetscCall(EkCheckpointDestroy(&c));
  *checkpoint = c;
  PetscFunctionReturn(0);
}

PetscErrorCode EkCheckpointOpen(EkRun run, const char *path, EkCheckpoint *checkpoint)
{
  EkCatch caught;

  PetscFunctionBegin;
  PetscCall(TryOpen(run, path, checkpoint, &caught));
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

PetscErrorCode EkCheckpointOpenNewest(EkRun run, const char *dir, EkCheckpoint *checkpoint)
{
  static const char *const name[2] = {"checkpoint.h5", "checkpoint_prev.h5"};
  char                     path[2][EK_PATH], aside[EK_PATH + 16];
  int                      there[2] = {0, 0};
  EkCatch                  caught, also;

  PetscFunctionBegin;
  *checkpoint = NULL;
  for (int i = 0; i < 2; i++) {
    PetscCall(PetscSNPrintf(path[i], EK_PATH, "%s/%s", dir, name[i]));
    there[i] = run->rank == 0 && !access(path[i], F_OK);
  }
  PetscCallMPI(MPI_Bcast(there, 2, MPI_INT, 0, run->comm));
  if (!there[0] && !there[1]) PetscFunctionReturn(0);
  PetscCall(TryOpen(run, path[0], checkpoint, &caught));
  if (*checkpoint) PetscFunctionReturn(0);
  if (!there[1]) EkCatchRaise(run, &caught);
  PetscCall(TryOpen(run, path[1], checkpoint, &also));
  PetscCheck(*checkpoint, run->comm, PETSC_ERR_FILE_UNEXPECTED, "%.900s; %.900s", caught.text, also.text);
  /* or the next checkpoint would make it the previous one, and the good one go */
  PetscCall(PetscSNPrintf(aside, sizeof(aside), "%s.damaged", path[0]));
  if (there[0] && run->rank == 0) rename(path[0], aside);
  PetscCall(PetscPrintf(run->comm, "%s; continuing from '%s'%s\n", caught.text, path[1], there[0] ? ", the damaged one is put aside" : ""));
  PetscFunctionReturn(0);
}

const char *EkCheckpointPath(EkCheckpoint c)
{
  return c->path;
}
const char *EkCheckpointMeta(EkCheckpoint c)
{
  return c->meta;
}

PetscErrorCode EkCheckpointDestroy(EkCheckpoint *checkpoint)
{
  EkCheckpoint c = *checkpoint;

  PetscFunctionBegin;
  if (!c) PetscFunctionReturn(0);
  if (c->fd >= 0) close(c->fd);
  PetscCall(PetscFree(c->kept));
  PetscCall(PetscFree(c->stored));
  PetscCall(PetscFree(c->meta));
  PetscCall(PetscFree(*checkpoint));
  PetscFunctionReturn(0);
}
