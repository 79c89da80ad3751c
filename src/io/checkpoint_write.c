#include "io.h"
#include "evenkeel/checkpoint.h"
#include "evenkeel/mesh.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "checkpoint"

/* What is written: the datasets of all arenas in order, then those of all states. */
typedef struct {
  EkRun               run;
  int                 narenas, nstates, nstored;
  const EkArenaPart  *arenas;
  const EkStateArray *states;
  const char         *meta;
  char                path[EK_PATH], previous[EK_PATH], temporary[EK_PATH];
  EkStored           *stored;
  uint64_t           *sum; /* of what this rank writes of each; on rank 0 in the end of all of it */
  PetscInt64 (*slice)[2];  /* of each arena, what this rank writes */
} Plan;

static PetscErrorCode AddStored(Plan *plan, const char *group, const char *name, const char *type, int rank,
                                const PetscInt64 shape[], PetscBool is_complex)
{
  EkStored *stored = &plan->stored[plan->nstored++];

  PetscFunctionBegin;
  PetscCheck(rank <= EK_MAX_RANK && strlen(group) + strlen(name) + 2 <= sizeof(stored->name), plan->run->comm, PETSC_ERR_ARG_SIZ,
             WHAT ": '%s/%s' has too long a name or too many axes", group, name);
  PetscCall(PetscSNPrintf(stored->name, sizeof(stored->name), "%s/%s", group, name));
  PetscCall(PetscStrncpy(stored->type, type, sizeof(stored->type)));
  stored->rank = rank;
  stored->count = 1;
  stored->is_complex = is_complex;
  for (int d = 0; d < rank; d++) stored->count *= stored->shape[d] = shape[d];
  PetscFunctionReturn(0);
}

static PetscErrorCode PlanCreate(Plan *plan, const char *dir)
{
  int n = plan->nstates;

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(plan->path, EK_PATH, "%s/checkpoint.h5", dir));
  PetscCall(PetscSNPrintf(plan->previous, EK_PATH, "%s/checkpoint_prev.h5", dir));
  PetscCall(PetscSNPrintf(plan->temporary, EK_PATH, "%s/checkpoint.h5.tmp", dir));
  for (int a = 0; a < plan->narenas; a++) n += plan->arenas[a].ntensors;
  PetscCall(PetscCalloc1(n + 1, &plan->stored));
  PetscCall(PetscCalloc1(n + 1, &plan->sum));
  PetscCall(PetscCalloc1(plan->narenas + 1, &plan->slice));
  for (int a = 0; a < plan->narenas; a++) {
    for (int i = 0; i < plan->arenas[a].ntensors; i++) {
      const EkTensorInfo *tensor = &plan->arenas[a].table[i];
      PetscInt64          shape[EK_MAX_RANK];

      for (int d = 0; d < tensor->rank && d < EK_MAX_RANK; d++) shape[d] = tensor->shape[d];
      PetscCall(AddStored(plan, plan->arenas[a].group, tensor->name, "F32", tensor->rank, shape, tensor->is_complex));
    }
  }
  for (int i = 0; i < plan->nstates; i++) {
    const PetscInt64 count = (PetscInt64)plan->states[i].count;

    PetscCall(AddStored(plan, "state", plan->states[i].name, "F64", 1, &count, PETSC_FALSE));
  }
  PetscFunctionReturn(0);
}

/* ---- who writes what ---------------------------------------------------------------------------------------- */

static size_t ArenaFloats(const EkArenaPart *arena)
{
  size_t end = 0;

  for (int i = 0; i < arena->ntensors; i++) end = PetscMax(end, arena->table[i].offset + arena->table[i].count);
  return end;
}

typedef struct {
  PetscInt64 lo, hi, rank;
} Part;

static int ByStart(const void *a, const void *b)
{
  const Part *p = (const Part *)a, *q = (const Part *)b;

  if (p->lo != q->lo) return p->lo < q->lo ? -1 : 1;
  return p->rank < q->rank ? -1 : p->rank > q->rank;
}

/* Disjoint slices that cover the arena. Parts passed whole by all are cut evenly; otherwise each float belongs to the first part,
   by start and rank, that holds it. */
static PetscErrorCode Divide(EkRun run, const EkArenaPart *arena, PetscInt64 *lo, PetscInt64 *hi)
{
  const PetscInt64 total = (PetscInt64)ArenaFloats(arena);
  Part             mine = {(PetscInt64)arena->lo, (PetscInt64)arena->hi, run->rank}, *all;
  PetscInt64       covered = 0, hole = -1;
  PetscBool        whole = PETSC_TRUE;

  PetscFunctionBegin;
  *lo = *hi = 0;
  PetscCall(PetscMalloc1(run->size, &all));
  PetscCallMPI(MPI_Allgather(&mine, (PetscMPIInt)sizeof(mine), MPI_BYTE, all, (PetscMPIInt)sizeof(mine), MPI_BYTE, run->comm));
  for (int r = 0; r < run->size; r++) whole = (PetscBool)(whole && all[r].lo == 0 && all[r].hi >= total);
  qsort(all, (size_t)run->size, sizeof(*all), ByStart);
  for (int r = 0; r < run->size && !whole; r++) {
    if (all[r].hi <= all[r].lo) continue;
    if (all[r].lo > covered && hole < 0) hole = covered;
    if (all[r].rank == run->rank) *lo = PetscMax(all[r].lo, covered);
    covered = PetscMax(covered, all[r].hi);
    if (all[r].rank == run->rank) *hi = PetscMax(covered, *lo);
  }
  PetscCall(PetscFree(all));
  if (whole)
    EkSlice(total, run->size, run->rank, lo, hi);
  else if (covered < total && hole < 0)
    hole = covered;
  PetscCheck(hole < 0, run->comm, PETSC_ERR_ARG_INCOMP, WHAT ": no rank holds value %lld of '%s'", (long long)hole, arena->group);
  PetscFunctionReturn(0);
}

/* Datasets of one arena, the first of them number `at`. */
static PetscErrorCode WriteArena(Plan *plan, int fd, int a, int at)
{
  const EkArenaPart *arena = &plan->arenas[a];

  PetscFunctionBegin;
  for (int i = 0; i < arena->ntensors; i++) {
    const size_t start = arena->table[i].offset, from = PetscMax((size_t)plan->slice[a][0], start),
                 to = PetscMin((size_t)plan->slice[a][1], start + arena->table[i].count);

    if (from >= to) continue;
    PetscCall(EkFileWrite(WHAT, plan->temporary, fd, arena->data + from, (to - from) * sizeof(float),
                          plan->stored[at + i].address + (PetscInt64)((from - start) * sizeof(float))));
    plan->sum[at + i] = EkChecksum(arena->data + from, to - from, from - start);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteStates(Plan *plan, int fd, int at)
{
  PetscFunctionBegin;
  for (int i = 0; i < plan->nstates; i++) {
    const EkStateArray *state = &plan->states[i];

    PetscCall(EkFileWrite(WHAT, plan->temporary, fd, state->values, state->count * sizeof(double), plan->stored[at + i].address));
    plan->sum[at + i] = EkChecksum(state->values, 2 * state->count, 0);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteSlices(Plan *plan)
{
  PetscErrorCode code = 0;
  int            fd, at = 0;

  PetscFunctionBegin;
  PetscCall(EkFileOpen(WHAT, plan->temporary, O_WRONLY, &fd));
  for (int a = 0; a < plan->narenas && !code; at += plan->arenas[a++].ntensors) code = WriteArena(plan, fd, a, at);
  if (plan->run->rank == 0 && !code) code = WriteStates(plan, fd, at);
  if (code)
    close(fd);
  else
    code = EkFileFinish(WHAT, plan->temporary, fd);
  PetscFunctionReturn(code);
}

/* ---- the file, by rank 0 ------------------------------------------------------------------------------------ */

static PetscInt64 Bytes(const EkStored *stored)
{
  return stored->count * (strcmp(stored->type, "F64") ? 4 : 8);
}

/* The file has room for `bytes` on the disk. */
/* HDF5 does not survive a disk that fills while it closes a file. So there is room for an empty one before it makes that, and for
   all the rest, metadata included, before it opens it again. What was too much is cut off when it closes. */
static PetscErrorCode MakeEmpty(const Plan *plan)
{
  PetscInt64 room = (1 << 20) + 2 * (PetscInt64)strlen(plan->meta);
  hid_t      access, file;

  PetscFunctionBegin;
  for (int i = 0; i < plan->nstored; i++) room += Bytes(&plan->stored[i]) + 4096;
  PetscCall(EkFileReserve(WHAT, plan->temporary, O_CREAT | O_TRUNC, 1 << 16));
  PetscCall(EkH5Access(&access));
  file = H5Fcreate(plan->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access);
  H5Pclose(access);
  EkCallHDF5(file, WHAT ": HDF5 cannot make '%s'", plan->temporary);
  EkCallHDF5(H5Fclose(file), WHAT ": cannot write '%s'", plan->temporary);
  PetscCall(EkFileReserve(WHAT, plan->temporary, 0, room));
  PetscFunctionReturn(0);
}

static PetscBool AddAttribute(hid_t object, const char *name, hid_t type, const void *value)
{
  const hid_t  space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  const herr_t failed = attribute < 0 ? -1 : H5Awrite(attribute, type, value);

  if (attribute >= 0) H5Aclose(attribute);
  H5Sclose(space);
  return (PetscBool)(failed >= 0);
}

/* By way of the open object: HDF5 1.10 cannot write to an attribute that H5Aopen_by_name found. */
static PetscBool SetAttribute(hid_t file, const char *name, const char *attribute_name, hid_t type, const void *value)
{
  const hid_t object = H5Oopen(file, name, H5P_DEFAULT),
              attribute = object < 0 ? -1 : H5Aopen(object, attribute_name, H5P_DEFAULT);
  const herr_t failed = attribute < 0 ? -1 : H5Awrite(attribute, type, value);

  if (attribute >= 0) H5Aclose(attribute);
  if (object >= 0) H5Oclose(object);
  return (PetscBool)(failed >= 0);
}

/* Creates one dataset with its room in the file, and the attributes that are filled in when the data are there. */
static PetscErrorCode CreateSet(hid_t file, hid_t links, hid_t create, EkStored *stored)
{
  const uint64_t zero = 0;
  hsize_t        dims[EK_MAX_RANK];
  hid_t          space, set;
  PetscBool      good;

  PetscFunctionBegin;
  for (int d = 0; d < stored->rank; d++) dims[d] = (hsize_t)stored->shape[d];
  space = H5Screate_simple(stored->rank, dims, NULL);
  set = H5Dcreate2(file, stored->name, strcmp(stored->type, "F64") ? H5T_IEEE_F32LE : H5T_IEEE_F64LE, space, links, create,
                   H5P_DEFAULT);
  good = (PetscBool)(set >= 0 && AddAttribute(set, "checksum", H5T_STD_U64LE, &zero));
  if (good && stored->is_complex) good = AddAttribute(set, "complex", H5T_STD_U64LE, &zero);
  stored->address = set < 0 ? -1 : (PetscInt64)H5Dget_offset(set);
  if (set >= 0) H5Dclose(set);
  H5Sclose(space);
  PetscCheck(good && (stored->address > 0 || !stored->count), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE,
             WHAT ": HDF5 cannot create '%s'", stored->name);
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateSets(hid_t file, Plan *plan)
{
  const hid_t    create = H5Pcreate(H5P_DATASET_CREATE), links = H5Pcreate(H5P_LINK_CREATE), text = H5Tcopy(H5T_C_S1);
  const int      no = 0;
  PetscErrorCode code = 0;
  PetscBool      good;

  PetscFunctionBegin;
  H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(create, 0);
  H5Pset_create_intermediate_group(links, 1);
  H5Tset_size(text, strlen(plan->meta) + 1);
  for (int i = 0; i < plan->nstored && !code; i++) code = CreateSet(file, links, create, &plan->stored[i]);
  good =
      (PetscBool)(!code && AddAttribute(file, "meta", text, plan->meta) && AddAttribute(file, "complete", H5T_NATIVE_INT, &no));
  H5Pclose(create);
  H5Pclose(links);
  H5Tclose(text);
  PetscCall(code);
  PetscCheck(good, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, WHAT ": HDF5 cannot write 'meta' of %zu bytes", strlen(plan->meta));
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateFile(Plan *plan)
{
  PetscErrorCode code;
  hid_t          file;

  PetscFunctionBegin;
  PetscCall(MakeEmpty(plan));
  PetscCall(EkH5Open(WHAT, plan->temporary, H5F_ACC_RDWR, &file));
  code = CreateSets(file, plan);
  EkCallHDF5(H5Fclose(file), WHAT ": cannot write '%s'", plan->temporary);
  PetscFunctionReturn(code);
}

/* A checkpoint.h5 that is no checkpoint does not replace a good checkpoint_prev.h5. */
static PetscErrorCode Rotate(const Plan *plan)
{
  EkCheckpoint   old;
  EkCatch        kept;
  PetscErrorCode bad;

  PetscFunctionBegin;
  PetscCall(PetscNew(&old));
  old->fd = -1;
  PetscCall(EkCatchBegin(&kept));
  bad = EkCheckpointProbe(plan->path, old);
  PetscCall(PetscPopErrorHandler());
  PetscCall(EkCheckpointDestroy(&old));
  if (!bad) PetscCall(EkFileReplace(WHAT, plan->path, plan->previous));
  PetscCall(EkFileReplace(WHAT, plan->temporary, plan->path));
  PetscFunctionReturn(0);
}

/* The data are on disk: checksums, then the mark, then the names. */
static PetscErrorCode FinishFile(Plan *plan)
{
  const int yes = 1;
  PetscBool good = PETSC_TRUE;
  hid_t     file;
  int       fd;

  PetscFunctionBegin;
  PetscCall(EkH5Open(WHAT, plan->temporary, H5F_ACC_RDWR, &file));
  for (int i = 0; i < plan->nstored && good; i++)
    good = SetAttribute(file, plan->stored[i].name, "checksum", H5T_NATIVE_UINT64, &plan->sum[i]);
  good = (PetscBool)(good && SetAttribute(file, "/", "complete", H5T_NATIVE_INT, &yes));
  good = (PetscBool)(H5Fclose(file) >= 0 && good);
  PetscCheck(good, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, WHAT ": cannot write '%s'", plan->temporary);
  PetscCall(EkFileOpen(WHAT, plan->temporary, O_RDWR, &fd));
  PetscCall(EkFileFinish(WHAT, plan->temporary, fd));
  PetscCall(Rotate(plan));
  PetscFunctionReturn(0);
}

/* ---- all together ------------------------------------------------------------------------------------------- */

/* One step of the first `ranks` ranks; if it fails on any, the half-made file goes and every rank returns the error. */
static PetscErrorCode Step(Plan *plan, PetscErrorCode (*work)(Plan *), int ranks)
{
  EkRun          run = plan->run;
  EkCatch        caught;
  PetscErrorCode code;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank < ranks ? work(plan) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  if (caught.code && run->rank == 0) unlink(plan->temporary);
  EkCatchRaise(run, &caught);
  PetscFunctionReturn(0);
}

static PetscErrorCode Write(Plan *plan, const char *dir)
{
  EkRun run = plan->run;

  PetscFunctionBegin;
  PetscCall(PlanCreate(plan, dir));
  for (int a = 0; a < plan->narenas; a++) PetscCall(Divide(run, &plan->arenas[a], &plan->slice[a][0], &plan->slice[a][1]));
  PetscCall(Step(plan, CreateFile, 1));
  PetscCall(EkBcastBytes(run, plan->stored, (size_t)plan->nstored * sizeof(*plan->stored)));
  PetscCall(Step(plan, WriteSlices, run->size));
  PetscCallMPI(MPI_Reduce(run->rank ? plan->sum : MPI_IN_PLACE, plan->sum, plan->nstored, MPI_UINT64_T, MPI_SUM, 0, run->comm));
  PetscCall(Step(plan, FinishFile, 1));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCheckpointWrite(EkRun run, const char *dir, int narenas, const EkArenaPart arenas[], int nstates,
                                 const EkStateArray states[], const char *meta)
{
  Plan           plan = {.run = run, .narenas = narenas, .nstates = nstates, .arenas = arenas, .states = states, .meta = meta};
  PetscErrorCode code;

  PetscFunctionBegin;
  code = Write(&plan, dir);
  PetscCall(PetscFree(plan.stored));
  PetscCall(PetscFree(plan.sum));
  PetscCall(PetscFree(plan.slice));
  PetscFunctionReturn(code);
}
