/* Who reads and writes what of a checkpoint. The file's bytes from the first value to the last, the little metadata between
   datasets with them, are cut into equal shares, one for each run->share bytes but no more than there are ranks; their ranks lie
   evenly over all ranks, and so over the nodes. A share goes in blocks of run->share bytes. No cut goes through a 32-bit word of
   a dataset. Private to src/io. */
#pragma once
#include "io.h"
#include "evenkeel/checkpoint.h"

/* The same on every rank; `stored` is borrowed. */
typedef struct {
  EkRun           run;
  int             nstored, count; /* datasets, shares */
  const EkStored *stored;
  PetscInt64      lo, hi;
  PetscInt64      rounds; /* no share has more blocks */
} EkShares;
EkShares    EkSharesOf(EkRun run, int nstored, const EkStored stored[]);
PetscMPIInt EkShareRank(const EkShares *shares, int share);
/* This rank's share, or -1. */
int  EkShareMine(const EkShares *shares);
void EkShareBounds(const EkShares *shares, int share, PetscInt64 *lo, PetscInt64 *hi);
/* False, and lo = hi, where the share has no such block. */
PetscBool EkShareBlock(const EkShares *shares, int share, PetscInt64 block, PetscInt64 *lo, PetscInt64 *hi);
/* Room for any block. */
size_t EkShareRoom(const EkShares *shares);

PetscInt64 EkStoredBytes(const EkStored *stored);

/* What bytes [lo, hi) of a file hold of a dataset, or of bytes [first, end) of it. */
typedef struct {
  PetscInt64 from, bytes; /* of the dataset */
  PetscInt64 at;          /* from lo on */
} EkPiece;
PetscBool EkPieceOf(const EkStored *stored, PetscInt64 lo, PetscInt64 hi, EkPiece *piece);
PetscBool EkPieceWithin(const EkStored *stored, PetscInt64 first, PetscInt64 end, PetscInt64 lo, PetscInt64 hi, EkPiece *piece);

typedef struct {
  PetscInt64 lo, hi;
} EkRange;
size_t EkArenaFloats(const EkArenaPart *arena);
/* Every rank's part of every arena, [rank * narenas + arena], and whether all parts are the whole. Collective; both are freed by
   the caller. */
PetscErrorCode EkPartsGather(EkRun run, int narenas, const EkArenaPart arenas[], EkRange **part, PetscBool **whole);

/* Messages under way. */
typedef struct {
  int          n, room;
  MPI_Request *request;
} EkMessages;
PetscErrorCode EkMessagesSend(EkMessages *messages, EkRun run, const void *bytes, PetscInt64 n, PetscMPIInt to);
PetscErrorCode EkMessagesReceive(EkMessages *messages, EkRun run, void *bytes, PetscInt64 n, PetscMPIInt from);
PetscErrorCode EkMessagesWait(EkMessages *messages);
PetscErrorCode EkMessagesFree(EkMessages *messages);

/* ---- a checkpoint that is open ------------------------------------------------------------------------------ */

struct EkCheckpoint_ {
  EkRun      run;
  char       path[EK_PATH];
  char      *meta;
  int        nstored;
  EkStored  *stored;
  EkShares   shares;
  int        mine, fd; /* this rank's share, -1: none; the file is open where there is one */
  char      *kept;     /* all of it, or NULL where it is too much to be kept */
  PetscInt64 bytes;    /* read by this rank, metadata aside */
};

/* Metadata of the checkpoint at PATH into an empty handle, without its data. Not collective. */
PetscErrorCode EkCheckpointProbe(const char *path, struct EkCheckpoint_ *checkpoint);
/* Bytes [lo, hi) of the file. Not collective. */
PetscErrorCode EkCheckpointReadBytes(EkCheckpoint checkpoint, PetscInt64 lo, PetscInt64 hi, char *bytes);
