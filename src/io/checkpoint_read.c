/* From a checkpoint into arenas, whatever the ranks hold of them. Each block of the file is read by one rank; where somebody
   wants all of an arena all get the block, otherwise each rank only what it wants of it. */
#include "share.h"
#include <string.h>

#define WHAT "checkpoint"

PetscErrorCode EkCheckpointReadBytes(EkCheckpoint c, PetscInt64 lo, PetscInt64 hi, char *bytes)
{
  PetscFunctionBegin;
  PetscCall(EkFileRead(WHAT, c->path, c->fd, bytes, (size_t)(hi - lo), lo));
  c->bytes += hi - lo;
  PetscFunctionReturn(0);
}

/* ---- what is wanted ----------------------------------------------------------------------------------------- */

static PetscErrorCode Find(EkCheckpoint c, const char *group, const char *name, int *found)
{
  char full[2 * EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(full, sizeof(full), "%s/%s", group, name));
  for (*found = 0; *found < c->nstored && strcmp(c->stored[*found].name, full) != 0;) ++*found;
  PetscCheck(*found < c->nstored, c->run->comm, PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s' has no '%s'", c->path, full);
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckShape(EkCheckpoint c, const EkStored *stored, const char *type, int rank, const PetscInt64 shape[])
{
  const PetscBool same = (PetscBool)(!strcmp(stored->type, type) && stored->rank == rank &&
                                     !memcmp(stored->shape, shape, (size_t)rank * sizeof(*shape)));
  char            found[160], wanted[160];

  PetscFunctionBegin;
  PetscCheck(same, c->run->comm, PETSC_ERR_FILE_UNEXPECTED, WHAT ": '%s': '%s' is %s %s, wanted is %s %s", c->path, stored->name,
             stored->type, EkShapeText(stored->rank, stored->shape, found), type, EkShapeText(rank, shape, wanted));
  PetscFunctionReturn(0);
}

static PetscErrorCode FindTensor(EkCheckpoint c, const char *group, const EkTensorInfo *tensor, int *found)
{
  PetscInt64 shape[EK_MAX_RANK];

  PetscFunctionBegin;
  for (int d = 0; d < tensor->rank; d++) shape[d] = tensor->shape[d];
  PetscCall(Find(c, group, tensor->name, found));
  PetscCall(CheckShape(c, &c->stored[*found], "F32", tensor->rank, shape));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCheckpointCheck(EkCheckpoint c, int narenas, const EkArenaPart arenas[])
{
  int found;

  PetscFunctionBegin;
  for (int a = 0; a < narenas; a++) {
    for (int i = 0; i < arenas[a].ntensors; i++) PetscCall(FindTensor(c, arenas[a].group, &arenas[a].table[i], &found));
  }
  PetscFunctionReturn(0);
}

/* Where a dataset goes. */
typedef struct {
  enum { NOWHERE, ARENA, STATE } kind;
  int        arena;
  PetscInt64 start; /* float of the arena at which its tensor begins */
  char      *to;    /* its first value in memory; only what this rank wants of it is there */
} Target;

typedef struct {
  EkCheckpoint c;
  int          narenas;
  Target      *target;    /* [dataset] */
  EkRange     *part;      /* [rank][arena] */
  PetscBool   *whole;     /* [arena] every rank wants all of it */
  char        *own, *got; /* a block this rank has read, unless its share was kept; one of another rank */
  EkMessages   messages;
} Reading;

static PetscErrorCode AddArena(Reading *r, int a, const EkArenaPart *arena)
{
  int at;

  PetscFunctionBegin;
  for (int i = 0; i < arena->ntensors; i++) {
    PetscCall(FindTensor(r->c, arena->group, &arena->table[i], &at));
    r->target[at] = (Target){ARENA, a, (PetscInt64)arena->table[i].offset, (char *)(arena->data + arena->table[i].offset)};
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode AddState(Reading *r, const EkStateArray *state)
{
  const PetscInt64 count = (PetscInt64)state->count;
  int              at;

  PetscFunctionBegin;
  PetscCall(Find(r->c, "state", state->name, &at));
  PetscCall(CheckShape(r->c, &r->c->stored[at], "F64", 1, &count));
  r->target[at] = (Target){.kind = STATE, .to = (char *)state->values};
  PetscFunctionReturn(0);
}

/* What `rank` wants of dataset i in bytes [lo, hi) of the file; false if nothing. */
static PetscBool Wanted(const Reading *r, int i, PetscMPIInt rank, PetscInt64 lo, PetscInt64 hi, EkPiece *piece)
{
  const EkStored *stored = &r->c->stored[i];
  const Target   *t = &r->target[i];
  const EkRange  *part = t->kind == ARENA ? &r->part[(size_t)rank * (size_t)r->narenas + (size_t)t->arena] : NULL;

  if (t->kind == NOWHERE) return PETSC_FALSE;
  if (!part) return EkPieceOf(stored, lo, hi, piece);
  return EkPieceWithin(stored, 4 * PetscMax(part->lo - t->start, 0), 4 * PetscMin(part->hi - t->start, stored->count), lo, hi,
                       piece);
}

/* ---- block by block ----------------------------------------------------------------------------------------- */

/* Is there something in the block that all ranks want? */
static PetscBool IsForAll(const Reading *r, PetscInt64 lo, PetscInt64 hi)
{
  EkPiece piece;

  for (int i = 0; i < r->c->nstored; i++) {
    const Target *t = &r->target[i];

    if ((t->kind == STATE || (t->kind == ARENA && r->whole[t->arena])) && EkPieceOf(&r->c->stored[i], lo, hi, &piece))
      return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

static PetscBool IsForNobody(const Reading *r, PetscInt64 lo, PetscInt64 hi)
{
  EkPiece piece;

  for (int i = 0; i < r->c->nstored; i++) {
    if (r->target[i].kind != NOWHERE && EkPieceOf(&r->c->stored[i], lo, hi, &piece)) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* From the first byte of the block that the rank wants to the last, as a piece of the block. */
static PetscBool Extent(const Reading *r, PetscMPIInt rank, PetscInt64 lo, PetscInt64 hi, EkPiece *extent)
{
  PetscInt64 first = hi - lo, end = 0;
  EkPiece    piece;

  for (int i = 0; i < r->c->nstored; i++) {
    if (!Wanted(r, i, rank, lo, hi, &piece)) continue;
    first = PetscMin(first, piece.at);
    end = PetscMax(end, piece.at + piece.bytes);
  }
  *extent = (EkPiece){.at = first, .bytes = end - first};
  return (PetscBool)(end > 0);
}

static void Unpack(const Reading *r, PetscInt64 lo, PetscInt64 hi, const char *block)
{
  EkPiece piece;

  for (int i = 0; i < r->c->nstored; i++) {
    if (Wanted(r, i, r->c->run->rank, lo, hi, &piece))
      memcpy(r->target[i].to + piece.from, block + piece.at, (size_t)piece.bytes);
  }
}

/* This rank's block of the round is in r->own afterwards, or where it was kept. */
static PetscErrorCode ReadOwn(Reading *r, PetscInt64 round, char **block)
{
  EkCheckpoint c = r->c;
  PetscInt64   first, end, lo, hi;

  PetscFunctionBegin;
  EkShareBounds(&c->shares, c->mine, &first, &end);
  if (!EkShareBlock(&c->shares, c->mine, round, &lo, &hi) || IsForNobody(r, lo, hi)) PetscFunctionReturn(0);
  *block = c->kept ? c->kept + (lo - first) : r->own;
  if (!c->kept) PetscCall(EkCheckpointReadBytes(c, lo, hi, *block));
  PetscFunctionReturn(0);
}

static PetscErrorCode SendParts(Reading *r, PetscInt64 lo, PetscInt64 hi, const char *block)
{
  EkRun   run = r->c->run;
  EkPiece extent;

  PetscFunctionBegin;
  for (PetscMPIInt rank = 0; rank < run->size; rank++) {
    if (rank != run->rank && Extent(r, rank, lo, hi, &extent))
      PetscCall(EkMessagesSend(&r->messages, run, block + extent.at, extent.bytes, rank));
  }
  PetscFunctionReturn(0);
}

/* One block of `share`, which `mine` is where this rank has read it. */
static PetscErrorCode Pass(Reading *r, int share, PetscInt64 lo, PetscInt64 hi, char *mine)
{
  EkRun             run = r->c->run;
  const PetscMPIInt reader = EkShareRank(&r->c->shares, share);
  char             *block = reader == run->rank ? mine : r->got;
  EkMessages        one = {0};
  EkPiece           extent;

  PetscFunctionBegin;
  if (IsForAll(r, lo, hi))
    PetscCallMPI(MPI_Bcast(block, (PetscMPIInt)(hi - lo), MPI_BYTE, reader, run->comm));
  else if (reader == run->rank)
    PetscCall(SendParts(r, lo, hi, block));
  else if (Extent(r, run->rank, lo, hi, &extent)) {
    PetscCall(EkMessagesReceive(&one, run, block + extent.at, extent.bytes, reader));
    PetscCall(EkMessagesWait(&one));
    PetscCall(EkMessagesFree(&one));
  }
  Unpack(r, lo, hi, block);
  PetscFunctionReturn(0);
}

/* All readers read a block each, then pass them on. A reader that failed passes on what it has: the others wait for it, and hear
   of the failure in the end. */
static PetscErrorCode ReadRounds(Reading *r, PetscErrorCode *bad)
{
  EkCheckpoint c = r->c;
  PetscInt64   lo, hi;

  PetscFunctionBegin;
  for (PetscInt64 round = 0; round < c->shares.rounds; round++) {
    char *mine = r->own;

    if (c->mine >= 0 && !*bad) *bad = ReadOwn(r, round, &mine);
    for (int share = 0; share < c->shares.count; share++) {
      if (EkShareBlock(&c->shares, share, round, &lo, &hi)) PetscCall(Pass(r, share, lo, hi, mine));
    }
    PetscCall(EkMessagesWait(&r->messages));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadAll(Reading *r, EkCatch *caught)
{
  EkCheckpoint   c = r->c;
  PetscErrorCode bad = 0, code;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(EkShareRoom(&c->shares), &r->got));
  PetscCall(PetscCalloc1(c->mine < 0 || c->kept ? 1 : EkShareRoom(&c->shares), &r->own));
  PetscCall(EkCatchBegin(caught));
  code = ReadRounds(r, &bad);
  PetscCall(EkCatchEnd(c->run, caught, code ? code : bad));
  PetscCall(PetscFree(r->got));
  PetscCall(PetscFree(r->own));
  PetscCall(EkMessagesFree(&r->messages));
  PetscFunctionReturn(0);
}

static PetscErrorCode Targets(Reading *r, const EkArenaPart arenas[], int nstates, const EkStateArray states[])
{
  PetscFunctionBegin;
  for (int a = 0; a < r->narenas; a++) PetscCall(AddArena(r, a, &arenas[a]));
  for (int s = 0; s < nstates; s++) PetscCall(AddState(r, &states[s]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCheckpointRead(EkCheckpoint c, int narenas, const EkArenaPart arenas[], int nstates, const EkStateArray states[])
{
  Reading        r = {.c = c, .narenas = narenas};
  EkCatch        caught = {0};
  PetscErrorCode code;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1(c->nstored + 1, &r.target));
  code = Targets(&r, arenas, nstates, states);
  if (!code) code = EkPartsGather(c->run, narenas, arenas, &r.part, &r.whole);
  if (!code) code = ReadAll(&r, &caught);
  PetscCall(PetscFree(r.target));
  PetscCall(PetscFree(r.part));
  PetscCall(PetscFree(r.whole));
  PetscCall(code);
  EkCatchRaise(c->run, &caught);
  PetscFunctionReturn(0);
}

PetscInt64 EkCheckpointBytesRead(EkCheckpoint c)
{
  return c->bytes;
}
