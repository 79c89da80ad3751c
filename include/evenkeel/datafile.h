/* Writer of data files in PDEBench's layout: contiguous, unfiltered, little-endian float32 datasets in a given order,
   coordinates, scalar float64 attributes on the root. Any number of ranks write slabs of one trajectory each, in any order, and
   may be interrupted. Source: PDEBench's released files (a 2D CFD file is its field data and 5208 bytes). */
#pragma once
#include "evenkeel/base.h"

#define EK_FILE_SETS 10

typedef struct {
  char      name[EK_NAME];
  int       rank;
  PetscInt  shape[EK_MAX_RANK]; /* of trajectory data, shape[0] is the number of trajectories */
  PetscBool coordinate;         /* value i is first + i*step, written when the file is created */
  double    first, step;
} EkFileSet;

typedef struct {
  char   name[EK_NAME];
  double value;
} EkFileAttribute;

typedef struct {
  char            path[EK_PATH];
  PetscInt        samples; /* trajectories */
  int             nsets, nattributes;
  EkFileSet       set[EK_FILE_SETS]; /* in the order of creation */
  EkFileAttribute attribute[EK_FILE_SETS];
  char identity[4096]; /* lines of text that tell how the data are made; a run can be continued where they are the same */
} EkFileSpec;

/* Add a dataset of one slab (shape[1..rank-1]) a trajectory, a coordinate, an attribute. Error: too many of them. */
PetscErrorCode EkFileSpecAddData(EkFileSpec *spec, const char *name, int rank, const PetscInt shape[]);
PetscErrorCode EkFileSpecAddCoordinate(EkFileSpec *spec, const char *name, PetscInt n, double first, double step);
PetscErrorCode EkFileSpecAddAttribute(EkFileSpec *spec, const char *name, double value);

typedef struct EkDataFile_ *EkDataFile;

/* Begins PATH, or continues it. Until the last trajectory is there the data are in PATH.part, and PATH.progress (text: identity,
   then one character a trajectory, '.' or a letter that counts its redraws: A = 0) says which are finished. All room is reserved
   here. Missing folders are made. Collective on run->comm. Errors, one line each: PATH exists, another run is writing it,
   PATH.part was begun with another identity (names the line), is damaged, cannot be written, or does not fit on the disk. */
PetscErrorCode EkDataFileOpen(EkRun run, const EkFileSpec *spec, EkDataFile *file);
/* Trajectories that were not finished when the file was opened, ascending; the same on every rank. Owned by the file. */
PetscErrorCode EkDataFileGetMissing(EkDataFile file, PetscInt *n, const PetscInt **missing);
/* One slab of dataset number `set` (place in spec->set). Not collective; any rank. Error: the write fails. */
PetscErrorCode EkDataFileWrite(EkDataFile file, int set, PetscInt trajectory, const float *slab);
/* The trajectory is complete. It is marked in PATH.progress when its data have reached the disk: at once if the last time was
   more than a few seconds ago, else with one of the next ones, or by a flush. Not collective; the rank that wrote it. */
PetscErrorCode EkDataFileMark(EkDataFile file, PetscInt trajectory, PetscInt redraws);
PetscErrorCode EkDataFileFlush(EkDataFile file);
/* After every rank's last mark: flushes; if all trajectories are there, PATH.part becomes PATH and PATH.progress goes. *redraws:
   over all trajectories finished so far, earlier runs included. Collective on run->comm. */
PetscErrorCode EkDataFileFinish(EkDataFile file, PetscBool *complete, PetscInt *redraws);
/* Does not flush: what is not marked is done again. Not collective. Accepts NULL, nulls. */
PetscErrorCode EkDataFileDestroy(EkDataFile *file);

#define EK_MAX_REDRAWS 25 /* of one trajectory: 'A' to 'Z' */
