#include "share.h"
#include <stdlib.h>
#include <string.h>

#define WHAT "checkpoint"

/* Disjoint parts of an arena, each given to the writers by one rank. */
typedef struct {
  PetscInt64 lo, hi, rank;
} Owner;
typedef struct {
  int    n;     /* 0: every rank holds all of it, writers take what is theirs */
  Owner *owner; /* by place */
} Owners;

/* Where a dataset's values are. */
typedef struct {
  int         arena; /* or the number of arenas: a state */
  PetscInt64  start; /* float of the arena at which its tensor begins */
  const char *from;  /* its first value; only this rank's part of the arena is there */
} Source;

/* What is written: the datasets of all arenas in order, then those of all states. */
typedef struct {
  EkRun               run;
  int                 narenas, nstates, nstored;
  const EkArenaPart  *arenas;
  const EkStateArray *states;
  const char         *meta;
  char                path[EK_PATH], previous[EK_PATH], temporary[EK_PATH];
  EkStored           *stored;
  Source             *source; /* of each */
  uint64_t           *sum;    /* of what this rank writes of each; on rank 0 in the end of all of it */
  Owners             *owners; /* of each arena; in the end of the states */
  EkShares            shares; /* once the file is there */
  EkMessages          sends;
} Plan;

static PetscErrorCode AddStored(Plan *plan, const char *group, const char *name, const char *type, int rank,
                                const PetscInt64 shape[], PetscBool is_complex, Source source)
{
  EkStored *stored = &plan->stored[plan->nstored];

  PetscFunctionBegin;
  PetscCheck(rank <= EK_MAX_RANK && strlen(group) + strlen(name) + 2 <= sizeof(stored->name), plan->run->comm, PETSC_ERR_ARG_SIZ,
             WHAT ": '%s/%s' has too long a name or too many axes", group, name);
  PetscCall(PetscSNPrintf(stored->name, sizeof(stored->name), "%s/%s", group, name));
  PetscCall(PetscStrncpy(stored->type, type, sizeof(stored->type)));
  stored->rank = rank;
  stored->count = 1;
  stored->is_complex = is_complex;
  for (int d = 0; d < rank; d++) stored->count *= stored->shape[d] = shape[d];
  plan->source[plan->nstored++] = source;
  PetscFunctionReturn(0);
}

static PetscErrorCode AddArena(Plan *plan, int a)
{
  const EkArenaPart *arena = &plan->arenas[a];

  PetscFunctionBegin;
  for (int i = 0; i < arena->ntensors; i++) {
    const EkTensorInfo *tensor = &arena->table[i];
    const Source        source = {a, (PetscInt64)tensor->offset, (const char *)(arena->data + tensor->offset)};
    PetscInt64          shape[EK_MAX_RANK];

    for (int d = 0; d < tensor->rank && d < EK_MAX_RANK; d++) shape[d] = tensor->shape[d];
    PetscCall(AddStored(plan, arena->group, tensor->name, "F32", tensor->rank, shape, tensor->is_complex, source));
  }
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
  PetscCall(PetscCalloc1(n + 1, &plan->source));
  PetscCall(PetscCalloc1(n + 1, &plan->sum));
  PetscCall(PetscCalloc1(plan->narenas + 1, &plan->owners));
  for (int a = 0; a < plan->narenas; a++) PetscCall(AddArena(plan, a));
  for (int i = 0; i < plan->nstates; i++) {
    const PetscInt64 count = (PetscInt64)plan->states[i].count;
    const Source     source = {plan->narenas, 0, (const char *)plan->states[i].values};

    PetscCall(AddStored(plan, "state", plan->states[i].name, "F64", 1, &count, PETSC_FALSE, source));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode PlanFree(Plan *plan)
{
  PetscFunctionBegin;
  for (int a = 0; a <= plan->narenas && plan->owners; a++) PetscCall(PetscFree(plan->owners[a].owner));
  PetscCall(PetscFree(plan->owners));
  PetscCall(PetscFree(plan->stored));
  PetscCall(PetscFree(plan->source));
  PetscCall(PetscFree(plan->sum));
  PetscCall(EkMessagesFree(&plan->sends));
  PetscFunctionReturn(0);
}

/* ---- who has what ------------------------------------------------------------------------------------------- */

static int ByStart(const void *a, const void *b)
{
  const Owner *p = (const Owner *)a, *q = (const Owner *)b;

  if (p->lo != q->lo) return p->lo < q->lo ? -1 : 1;
  return p->rank < q->rank ? -1 : p->rank > q->rank;
}

/* Each float belongs to the first part, by start and rank, that holds it. `part` is that of rank 0, one in narenas is of this
 * arena. */
static PetscErrorCode Divide(const Plan *plan, const EkArenaPart *arena, const EkRange *part, Owners *owners)
{
  const PetscInt64 total = (PetscInt64)EkArenaFloats(arena);
  PetscInt64       covered = 0, hole = -1;
  Owner           *all;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(plan->run->size, &all));
  owners->owner = all;
  for (int r = 0; r < plan->run->size; r++, part += plan->narenas) all[r] = (Owner){part->lo, part->hi, r};
  qsort(all, (size_t)plan->run->size, sizeof(*all), ByStart);
  for (int r = 0; r < plan->run->size; r++) {
    if (all[r].hi <= all[r].lo) continue;
    if (all[r].lo > covered && hole < 0) hole = covered;
    all[r].lo = PetscMax(all[r].lo, covered);
    covered = PetscMax(covered, all[r].hi);
    if (all[r].lo < all[r].hi) all[owners->n++] = all[r];
  }
  if (covered < total && hole < 0) hole = covered;
  PetscCheck(hole < 0, plan->run->comm, PETSC_ERR_ARG_INCOMP, WHAT ": no rank holds value %lld of '%s'", (long long)hole,
             arena->group);
  PetscFunctionReturn(0);
}

/* Rank 0 has the states. */
static PetscErrorCode DivideAll(Plan *plan)
{
  PetscErrorCode code;
  PetscBool     *whole = NULL;
  EkRange       *part = NULL;

  PetscFunctionBegin;
  code = EkPartsGather(plan->run, plan->narenas, plan->arenas, &part, &whole);
  for (int a = 0; a < plan->narenas && !code; a++) {
    if (!whole[a]) code = Divide(plan, &plan->arenas[a], part + a, &plan->owners[a]);
  }
  PetscCall(PetscFree(part));
  PetscCall(PetscFree(whole));
  PetscCall(code);
  PetscCall(PetscMalloc1(1, &plan->owners[plan->narenas].owner));
  plan->owners[plan->narenas].owner[0] = (Owner){0, INT64_MAX / 8, 0};
  plan->owners[plan->narenas].n = 1;
  PetscFunctionReturn(0);
}

/* What the owner has of dataset i in bytes [lo, hi) of the file. */
static PetscBool Owned(const Plan *plan, int i, const Owner *owner, PetscInt64 lo, PetscInt64 hi, EkPiece *piece)
{
  const PetscInt64 start = plan->source[i].start;

  return EkPieceWithin(&plan->stored[i], PetscMax(0, 4 * (owner->lo - start)),
                       PetscMin(EkStoredBytes(&plan->stored[i]), 4 * (owner->hi - start)), lo, hi, piece);
}

/* The first owner that ends behind float `at` of the arena. */
static int FirstOwner(const Owners *owners, PetscInt64 at)
{
  int lo = 0, hi = owners->n;

  while (lo < hi) {
    const int middle = (lo + hi) / 2;

    if (owners->owner[middle].hi > at)
      hi = middle;
    else
      lo = middle + 1;
  }
  return lo;
}

/* ---- blocks ------------------------------------------------------------------------------------------------- */

/* This rank's part of a block that another one writes, in the order in which that one asks for it. */
static PetscErrorCode Give(Plan *plan, PetscMPIInt writer, PetscInt64 lo, PetscInt64 hi)
{
  EkPiece piece, owned;

  PetscFunctionBegin;
  for (int i = 0; i < plan->nstored; i++) {
    const Owners *owners = &plan->owners[plan->source[i].arena];

    if (!owners->n || !EkPieceOf(&plan->stored[i], lo, hi, &piece)) continue;
    for (int k = FirstOwner(owners, plan->source[i].start + piece.from / 4);
         k < owners->n && Owned(plan, i, &owners->owner[k], lo, hi, &owned); k++) {
      if (owners->owner[k].rank == plan->run->rank)
        PetscCall(EkMessagesSend(&plan->sends, plan->run, plan->source[i].from + owned.from, owned.bytes, writer));
    }
  }
  PetscFunctionReturn(0);
}

/* The file's bytes of one dataset into a block of this rank's. */
static PetscErrorCode Take(Plan *plan, int i, const EkPiece *piece, PetscInt64 lo, PetscInt64 hi, char *block,
                           EkMessages *messages)
{
  const Source *source = &plan->source[i];
  const Owners *owners = &plan->owners[source->arena];
  EkPiece       owned;

  PetscFunctionBegin;
  if (!owners->n) memcpy(block + piece->at, source->from + piece->from, (size_t)piece->bytes);
  for (int k = FirstOwner(owners, source->start + piece->from / 4);
       k < owners->n && Owned(plan, i, &owners->owner[k], lo, hi, &owned); k++) {
    if (owners->owner[k].rank == plan->run->rank)
      memcpy(block + owned.at, source->from + owned.from, (size_t)owned.bytes);
    else
      PetscCall(EkMessagesReceive(messages, plan->run, block + owned.at, owned.bytes, (PetscMPIInt)owners->owner[k].rank));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode FillBlock(Plan *plan, PetscInt64 lo, PetscInt64 hi, char *block)
{
  EkMessages messages = {0};
  EkPiece    piece;

  PetscFunctionBegin;
  for (int i = 0; i < plan->nstored; i++) {
    if (EkPieceOf(&plan->stored[i], lo, hi, &piece)) PetscCall(Take(plan, i, &piece, lo, hi, block, &messages));
  }
  PetscCall(EkMessagesWait(&messages));
  PetscCall(EkMessagesFree(&messages));
  PetscFunctionReturn(0);
}

/* Datasets that lie one behind the other go in one piece; what lies between others is HDF5's. */
static PetscErrorCode WriteBlock(Plan *plan, int fd, PetscInt64 lo, PetscInt64 hi, const char *block)
{
  PetscInt64 from = 0, to = 0;
  EkPiece    piece;

  PetscFunctionBegin;
  for (int i = 0; i < plan->nstored; i++) {
    if (!EkPieceOf(&plan->stored[i], lo, hi, &piece)) continue;
    plan->sum[i] += EkChecksum(block + piece.at, (size_t)piece.bytes / 4, (uint64_t)piece.from / 4);
    if (piece.at != to) {
      PetscCall(EkFileWrite(WHAT, plan->temporary, fd, block + from, (size_t)(to - from), lo + from));
      from = piece.at;
    }
    to = piece.at + piece.bytes;
  }
  PetscCall(EkFileWrite(WHAT, plan->temporary, fd, block + from, (size_t)(to - from), lo + from));
  PetscFunctionReturn(0);
}

/* A writer that failed goes on taking what the others send, or they would wait for ever. */
static PetscErrorCode WriteRounds(Plan *plan, int fd, char *block, PetscErrorCode *bad)
{
  const int  mine = EkShareMine(&plan->shares);
  PetscInt64 lo, hi;

  PetscFunctionBegin;
  for (PetscInt64 round = 0; round < plan->shares.rounds; round++) {
    for (int share = 0; share < plan->shares.count; share++) {
      if (share != mine && EkShareBlock(&plan->shares, share, round, &lo, &hi))
        PetscCall(Give(plan, EkShareRank(&plan->shares, share), lo, hi));
    }
    if (mine >= 0 && EkShareBlock(&plan->shares, mine, round, &lo, &hi)) {
      PetscCall(FillBlock(plan, lo, hi, block));
      if (!*bad) *bad = WriteBlock(plan, fd, lo, hi, block);
    }
    PetscCall(EkMessagesWait(&plan->sends));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteShares(Plan *plan)
{
  const PetscBool writes = (PetscBool)(EkShareMine(&plan->shares) >= 0);
  PetscErrorCode  bad = 0;
  char           *block;
  int             fd = -1;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(writes ? EkShareRoom(&plan->shares) : 1, &block));
  if (writes) bad = EkFileOpen(WHAT, plan->temporary, O_WRONLY, &fd);
  PetscCall(WriteRounds(plan, fd, block, &bad));
  PetscCall(PetscFree(block));
  if (fd >= 0 && bad)
    close(fd);
  else if (fd >= 0)
    bad = EkFileFinish(WHAT, plan->temporary, fd);
  PetscFunctionReturn(bad);
}

/* ---- the file, by rank 0 ------------------------------------------------------------------------------------ */

/* HDF5 does not survive a disk that fills while it closes a file. So there is room for an empty one before it makes that, and for
   all the rest, metadata included, before it opens it again. What was too much is cut off when it closes. */
static PetscErrorCode MakeEmpty(const Plan *plan)
{
  PetscInt64 room = (1 << 20) + 2 * (PetscInt64)strlen(plan->meta);
  hid_t      access, file;

  PetscFunctionBegin;
  for (int i = 0; i < plan->nstored; i++) room += EkStoredBytes(&plan->stored[i]) + 4096;
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
  PetscCall(DivideAll(plan));
  PetscCall(Step(plan, CreateFile, 1));
  PetscCall(EkBcastBytes(run, plan->stored, (size_t)plan->nstored * sizeof(*plan->stored)));
  plan->shares = EkSharesOf(run, plan->nstored, plan->stored);
  PetscCall(Step(plan, WriteShares, run->size));
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
  PetscCall(PlanFree(&plan));
  PetscFunctionReturn(code);
}
