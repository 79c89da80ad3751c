#include "share.h"
#include "evenkeel/mesh.h"
#include <string.h>

#define TAG 1

PetscInt64 EkStoredBytes(const EkStored *stored)
{
  return stored->count * (strcmp(stored->type, "F64") ? 4 : 8);
}

/* ---- shares ------------------------------------------------------------------------------------------------- */

EkShares EkSharesOf(EkRun run, int nstored, const EkStored stored[])
{
  EkShares   s = {.run = run, .nstored = nstored, .stored = stored, .lo = INT64_MAX};
  PetscInt64 total;

  for (int i = 0; i < nstored; i++) {
    if (!stored[i].count) continue;
    s.lo = PetscMin(s.lo, stored[i].address);
    s.hi = PetscMax(s.hi, stored[i].address + EkStoredBytes(&stored[i]));
  }
  s.lo = PetscMin(s.lo, s.hi);
  total = s.hi - s.lo;
  s.count = (int)PetscMin((PetscInt64)run->size, 1 + total / run->share);
  s.rounds = (total / s.count + 4) / run->share + 1;
  return s;
}

PetscMPIInt EkShareRank(const EkShares *s, int share)
{
  return (PetscMPIInt)((PetscInt64)share * s->run->size / s->count);
}

int EkShareMine(const EkShares *s)
{
  const int share = (int)(((PetscInt64)s->run->rank * s->count + s->run->size - 1) / s->run->size);

  return share < s->count && EkShareRank(s, share) == s->run->rank ? share : -1;
}

/* Back to the beginning of the word that byte `at` of the file falls into. */
static PetscInt64 Cut(const EkShares *s, PetscInt64 at)
{
  for (int i = 0; i < s->nstored; i++) {
    const PetscInt64 start = s->stored[i].address;

    if (at > start && at < start + EkStoredBytes(&s->stored[i])) return at - (at - start) % 4;
  }
  return at;
}

void EkShareBounds(const EkShares *s, int share, PetscInt64 *lo, PetscInt64 *hi)
{
  EkSlice(s->hi - s->lo, s->count, share, lo, hi);
  *lo = Cut(s, s->lo + *lo);
  *hi = Cut(s, s->lo + *hi);
}

PetscBool EkShareBlock(const EkShares *s, int share, PetscInt64 block, PetscInt64 *lo, PetscInt64 *hi)
{
  PetscInt64 first, end;

  EkShareBounds(s, share, &first, &end);
  *lo = PetscMin(end, Cut(s, first + block * s->run->share));
  *hi = PetscMin(end, Cut(s, first + (block + 1) * s->run->share));
  return (PetscBool)(*lo < *hi);
}

size_t EkShareRoom(const EkShares *s)
{
  return (size_t)PetscMin(s->run->share, s->hi - s->lo) + 4; /* a block may begin a little earlier than its place, at a word */
}

/* ---- pieces of datasets ------------------------------------------------------------------------------------- */

PetscBool EkPieceWithin(const EkStored *stored, PetscInt64 first, PetscInt64 end, PetscInt64 lo, PetscInt64 hi, EkPiece *piece)
{
  const PetscInt64 from = PetscMax(lo, stored->address + first), to = PetscMin(hi, stored->address + end);

  *piece = (EkPiece){.from = from - stored->address, .bytes = to - from, .at = from - lo};
  return (PetscBool)(stored->count > 0 && from < to);
}

PetscBool EkPieceOf(const EkStored *stored, PetscInt64 lo, PetscInt64 hi, EkPiece *piece)
{
  return EkPieceWithin(stored, 0, EkStoredBytes(stored), lo, hi, piece);
}

size_t EkArenaFloats(const EkArenaPart *arena)
{
  size_t end = 0;

  for (int i = 0; i < arena->ntensors; i++) end = PetscMax(end, arena->table[i].offset + arena->table[i].count);
  return end;
}

PetscErrorCode EkPartsGather(EkRun run, int narenas, const EkArenaPart arenas[], EkRange **part, PetscBool **whole)
{
  const PetscMPIInt bytes = (PetscMPIInt)((size_t)narenas * sizeof(EkRange));
  EkRange          *mine;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)run->size * (size_t)narenas + 1, part));
  PetscCall(PetscMalloc1(narenas + 1, whole));
  PetscCall(PetscMalloc1(narenas + 1, &mine));
  for (int a = 0; a < narenas; a++) mine[a] = (EkRange){(PetscInt64)arenas[a].lo, (PetscInt64)arenas[a].hi};
  PetscCallMPI(MPI_Allgather(mine, bytes, MPI_BYTE, *part, bytes, MPI_BYTE, run->comm));
  PetscCall(PetscFree(mine));
  for (int a = 0; a < narenas; a++) {
    const PetscInt64 total = (PetscInt64)EkArenaFloats(&arenas[a]);

    (*whole)[a] = PETSC_TRUE;
    for (int r = 0; r < run->size; r++) {
      const EkRange *p = &(*part)[r * narenas + a];

      if (p->lo > 0 || p->hi < total) (*whole)[a] = PETSC_FALSE;
    }
  }
  PetscFunctionReturn(0);
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

static PetscErrorCode Room(EkMessages *m)
{
  PetscFunctionBegin;
  if (m->n < m->room) PetscFunctionReturn(0);
  m->room = 2 * m->room + 16;
  PetscCall(PetscRealloc((size_t)m->room * sizeof(*m->request), &m->request));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMessagesSend(EkMessages *m, EkRun run, const void *bytes, PetscInt64 n, PetscMPIInt to)
{
  PetscFunctionBegin;
  PetscCall(Room(m));
  PetscCallMPI(MPI_Isend(bytes, (PetscMPIInt)n, MPI_BYTE, to, TAG, run->comm, &m->request[m->n++]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMessagesReceive(EkMessages *m, EkRun run, void *bytes, PetscInt64 n, PetscMPIInt from)
{
  PetscFunctionBegin;
  PetscCall(Room(m));
  PetscCallMPI(MPI_Irecv(bytes, (PetscMPIInt)n, MPI_BYTE, from, TAG, run->comm, &m->request[m->n++]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMessagesWait(EkMessages *m)
{
  PetscFunctionBegin;
  PetscCallMPI(MPI_Waitall(m->n, m->request, MPI_STATUSES_IGNORE));
  m->n = 0;
  PetscFunctionReturn(0);
}

PetscErrorCode EkMessagesFree(EkMessages *m)
{
  PetscFunctionBegin;
  PetscCall(PetscFree(m->request));
  PetscFunctionReturn(0);
}
