/* The parts of a dataset: dataset_probe.c finds out what a file holds, dataset_read.c reads samples, dataset.c joins them. Private. */
#pragma once
#include "io.h"
#include "evenkeel/dataset.h"

/* One HDF5 dataset: where its frames go in a sample. */
typedef struct {
  char       name[EK_NAME];
  PetscInt64 address;      /* of its first value where pread can take it as it is; -1: only HDF5 can */
  PetscInt   bytes;        /* of one value in the file */
  PetscInt   frames;       /* of a trajectory, as in the file */
  PetscInt   frame, field; /* of the sample: its first frame, its channel */
} EkSource;

/* What a file holds, before reduction; the same on every rank. */
typedef struct {
  int      family, dim, nsources;
  PetscInt samples, frames, fields, n[2]; /* n[1] = 1 in 1D */
  PetscBool pair;                         /* its two frames are not a time axis (Darcy): all are kept */
  EkSource source[EK_MAX_FIELDS];
  char     field[EK_MAX_FIELDS][EK_NAME];
} EkLayout;

struct EkDataset_ {
  EkRun         run;
  EkDataOptions options;
  EkLayout      layout;
  EkDataInfo    info;
  PetscInt      step_t;             /* every how manieth frame is kept */
  PetscInt      first[2], stride[2]; /* of a split: trajectory of sample 0, trajectories from one sample to the next */
  int           fd;
  hid_t         file, set[EK_MAX_FIELDS]; /* -1 where they are not needed */
  size_t        chunk;              /* frames read at a time */
  float        *bounce;
  float       **kept;               /* decoded samples, test's then training's; NULL: not kept */
  size_t        sample_floats;
  PetscInt64    kept_bytes, bytes_read;
};

/* Rank 0. coordinate[d]: raw axis d, PetscMalloc'ed. */
PetscErrorCode EkDatasetProbe(const char *path, EkLayout *layout, float *coordinate[2]);
const char    *EkDatasetFamilyName(int family);
/* Opens what EkDatasetRead needs on this rank. */
PetscErrorCode EkDatasetOpenSources(EkDataset dataset);
PetscErrorCode EkDatasetCloseSources(EkDataset dataset);
