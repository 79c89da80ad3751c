/* Restart files: HDF5, independent of the mesh. A checkpoint is (a) arenas of floats with a table of named tensors:
   /weights/NAME, /adam_m/NAME ...; (b) named arrays of doubles: /state/NAME; (c) one JSON text of scalars: attribute `meta` of
   the root.

   The file server sees few ranks: the file is cut into shares of run->share bytes (4 MiB) or more, each read or written by one
   rank; the others have from it or give to it by messages. They need room for two such blocks, readers and writers for a few.

   A full disk is noticed: rank 0 reserves the room and creates DIR/checkpoint.h5.tmp with early allocation; the writers write
   their shares in place (pwrite) and fsync; then come the checksums (attribute `checksum` of every dataset), the mark
   `complete`, and the names: checkpoint.h5 becomes checkpoint_prev.h5, the temporary file becomes checkpoint.h5. */
#pragma once
#include "evenkeel/base.h"

/* One arena: every rank holds the same table and any part [lo, hi) of its floats; together the ranks cover all of it, overlaps
   hold equal values (a replicated arena may be passed whole by every rank: the writer then divides the work). `data` points at
   the arena's start; only [lo, hi) is read. */
typedef struct {
  const char         *group; /* "weights" */
  int                 ntensors;
  const EkTensorInfo *table;
  float              *data;
  size_t              lo, hi;
} EkArenaPart;
typedef struct {
  const char *name; /* "alpha_initial" */
  size_t      count;
  double     *values; /* the same on every rank; rank 0 writes */
} EkStateArray;

/* Collective on run->comm. Error on every rank if any part fails; the files that were there stay as they were. */
PetscErrorCode EkCheckpointWrite(EkRun run, const char *dir, int narenas, const EkArenaPart arenas[], int nstates,
                                 const EkStateArray states[], const char *meta_json);

typedef struct EkCheckpoint_ *EkCheckpoint;
/* Opens PATH for reading. Collective. Error: missing, truncated, not a checkpoint (no `complete` mark), data that do not have
   their checksum. Cost: one pass over the file, divided over its readers, who keep small shares for EkCheckpointRead. */
PetscErrorCode EkCheckpointOpen(EkRun run, const char *path, EkCheckpoint *checkpoint);
/* Opens DIR/checkpoint.h5, or, when that one is cut short or damaged, DIR/checkpoint_prev.h5 with a notice that names both; the
   damaged one becomes checkpoint.h5.damaged, so that the next one written does not push the good one out.
 *checkpoint is NULL when there is neither file. */
PetscErrorCode EkCheckpointOpenNewest(EkRun run, const char *dir, EkCheckpoint *checkpoint);
const char    *EkCheckpointPath(EkCheckpoint checkpoint);
/* JSON text, owned by the checkpoint. */
const char *EkCheckpointMeta(EkCheckpoint checkpoint);
/* Error: a tensor of the arenas is missing or of another shape. Every rank passes the same tables and gets the same error.
 * Nothing is read. */
PetscErrorCode EkCheckpointCheck(EkCheckpoint checkpoint, int narenas, const EkArenaPart arenas[]);
/* Fills data[lo..hi) of the arenas, whatever parts they were written from, and the values of the states. Collective: all ranks
   name the same groups, tables and states, the parts are their own. Errors: as EkCheckpointCheck, a state that is missing or of
   another length, a file that cannot be read. */
PetscErrorCode EkCheckpointRead(EkCheckpoint checkpoint, int narenas, const EkArenaPart arenas[], int nstates,
                                const EkStateArray states[]);
/* What this rank has read of the file so far, metadata aside. */
PetscInt64     EkCheckpointBytesRead(EkCheckpoint checkpoint);
PetscErrorCode EkCheckpointDestroy(EkCheckpoint *checkpoint);
