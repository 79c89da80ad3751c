/* The parts of a dataset: dataset_probe.c finds out what a file holds, dataset_set.c looks at one HDF5 dataset, dataset_hdf5.c
   reads what only HDF5 can, dataset_dpot.c knows DPOT's layouts, dataset_read.c the rest and keeps samples, dataset_norm.c
   measures, dataset.c joins them. Private. */
#pragma once
#include "io.h"
#include "evenkeel/dataset.h"

#define EK_DATA_FILE "data_file"

/* One HDF5 dataset (where a sample is a group: of that name in every group) and where its values go in a sample. */
typedef struct {
  char       name[EK_NAME];
  PetscInt64 address;      /* of its first value where pread can take it as it is; -1: only HDF5 can; groups: each has its own */
  PetscInt   bytes;        /* of one value in the file */
  PetscInt   frames;       /* of a trajectory, as in the file */
  PetscBool  timeless;     /* it has no time axis: one frame */
  PetscInt   frame, field; /* of the sample: its first frame, its first field */
  PetscInt   channels;     /* values a point: length of its last axis, 1 where it has no such axis */
  PetscInt   taken, channel[EK_MAX_FIELDS]; /* how many fields it gives and their places on that axis */
} EkSource;

/* What a file holds, before reduction; the same on every rank. */
typedef struct {
  int       family, dim, nsources;
  PetscInt  samples, frames, fields, n[3]; /* 1 where there is no such axis */
  PetscBool pair;                          /* its two frames are not a time axis (Darcy): all are kept */
  PetscBool groups;                        /* a sample is a group of the root */
  PetscBool last, folder;                  /* DPOT: frames, then channels are a trajectory's last axes; it is a file of its own */
  PetscInt  set_apart;                     /* the first so many trajectories lie apart as the test set; -1: none do */
  PetscInt  name_bytes;                    /* of a group's or file's name in EkDataset.group, the zero included; 0: no names */
  EkSource  source[EK_MAX_FIELDS];
  char      field[EK_MAX_FIELDS][EK_NAME];
} EkLayout;

struct EkDataset_ {
  EkRun         run;
  EkDataOptions options;
  EkLayout      layout;
  EkDataInfo    info;
  PetscInt      step_t;              /* every how manieth frame is kept */
  PetscInt      first[2], stride[2]; /* of a split: trajectory of sample 0, trajectories from one sample to the next */
  PetscInt      row, rows;           /* of the x axis that are read, after reduction */
  PetscBool     begun, normalised;   /* something was read; reads are normalised */
  int           fd;
  PetscInt64    pair_address[2], piece; /* of the first value in each file of a pair, 0: not looked at yet; file that fd is, where
                                           there are several: -1 none, 0 and 1 of a pair, or its trajectory */
  hid_t       file, set[EK_MAX_FIELDS]; /* -1 where they are not needed */
  char       *group;                    /* names of the samples' groups or files, layout.name_bytes each */
  PetscInt64 *address;                  /* of each group's or file's data as in EkSource; 0: not looked at yet */
  float      *bounce;
  size_t      bounce_floats;
  float     **kept; /* decoded samples, test's then training's; NULL: not kept */
  PetscInt64  kept_bytes, bytes_read;
};

/* Frames of one source of one trajectory on their way into a sample. */
typedef struct {
  int        source;
  PetscInt64 trajectory;
  PetscInt   from, frames;  /* the first that is wanted (of the kept ones), how many */
  float     *plane;         /* of the first frame's first field */
  size_t     pitch, stride; /* floats from one frame to the next, from one plane to the next */
} EkPart;

/* ---- dataset_probe.c --------------------------------------------------------------------------------------- */

/* Rank 0. coordinate[d]: raw axis d; group: names of the groups; all PetscMalloc'ed. */
PetscErrorCode EkDatasetProbe(const EkDataOptions *options, EkLayout *layout, float *coordinate[3], char **group);
const char    *EkDatasetFamilyName(int family);

/* ---- dataset_dpot.c ----------------------------------------------------------------------------------------- */

/* Rank 0. A folder of files of one trajectory each. */
PetscBool      EkDatasetIsFolder(const EkDataOptions *options);
PetscErrorCode EkDatasetProbeFolder(const EkDataOptions *options, EkLayout *layout, char **names);
/* Of a DPOT folder how many files, of how many bytes, and the name of the first; 0 files: it is none. Not collective. */
PetscErrorCode EkDatasetFolderFiles(EkDataset data, char first[2 * EK_PATH], PetscInt64 *files, PetscInt64 *bytes);
/* Rank 0. `data` (N, X, Y, T) of a file, and of its partner with the test set if it has one. */
PetscErrorCode EkDatasetProbePair(hid_t file, const EkDataOptions *options, EkLayout *layout, const PetscInt64 shape[]);
/* Points in the middle of n equal cells of [0, 1]: what a file without coordinates has. */
PetscErrorCode EkDatasetMakeCoordinate(PetscInt n, float **values);
PetscErrorCode EkDatasetReadLast(EkDataset dataset, const EkPart *part);
PetscErrorCode EkDatasetPrefetchLast(EkDataset dataset, PetscInt64 trajectory);

/* ---- dataset_set.c: errors name path and dataset ------------------------------------------------------------ */

PetscBool      EkSetExists(hid_t file, const char *name);
PetscErrorCode EkSetOpen(hid_t file, const char *path, const char *name, hid_t *set);
PetscErrorCode EkSetShape(hid_t set, const char *path, const char *name, int *rank, PetscInt64 shape[EK_MAX_RANK]);
/* Error: not numbers, never written, beyond the end of the file, stored through a filter that is not there. Fills address and
 * bytes. */
PetscErrorCode EkSetStorage(hid_t set, const char *path, const char *name, PetscInt64 *address, PetscInt *bytes);
PetscErrorCode EkSetCheckFilters(hid_t set, const char *path, const char *name);
/* Names in the group that would hold `name`, as far as it exists: what an error says was found. */
const char *EkSetFound(hid_t file, const char *name, char text[256]);

/* ---- dataset_hdf5.c ----------------------------------------------------------------------------------------- */

/* Opens what EkDatasetRead needs on this rank. */
PetscErrorCode EkDatasetOpenSources(EkDataset dataset);
PetscErrorCode EkDatasetCloseSources(EkDataset dataset);
/* "tensor", or "0007/data" where a sample is a group. */
const char *EkDatasetSetName(EkDataset dataset, int source, PetscInt64 trajectory, char text[EK_PATH]);
/* Where pread finds the trajectory's first value, -1: nowhere. Looks into a group once, through HDF5, and closes it again. */
PetscErrorCode EkDatasetLocate(EkDataset dataset, int source, PetscInt64 trajectory, PetscInt64 *address);
/* Frames and rows the part needs into the bounce buffer, as floats: (frames of the file from 0, rows from dataset->row on, rest).
 */
PetscErrorCode EkDatasetReadConverted(EkDataset dataset, const EkPart *part);
/* Floats of a row (one place of the x axis) of a source, and of the rows that a read covers. */
size_t         EkDatasetRowFloats(EkDataset dataset, const EkSource *source);
size_t         EkDatasetSpan(EkDataset dataset);
PetscErrorCode EkDatasetReserveBounce(EkDataset dataset, size_t floats);

/* ---- dataset_read.c ----------------------------------------------------------------------------------------- */

/* Frames of a sample of the split: training reads t_train. */
PetscInt EkDatasetFrames(EkDataset dataset, EkSplit split);
size_t   EkDatasetPoints(EkDataset dataset);
/* Error: not all wanted bytes were read. Counts them. */
PetscErrorCode EkDatasetCheckRead(EkDataset dataset, const EkPart *part, ssize_t got, size_t wanted);
/* Zeroes the tail of n frames' planes, looks for values that are not finite, normalises. */
PetscErrorCode EkDatasetFinishFrames(EkDataset dataset, const EkPart *part, PetscInt first, PetscInt n);
PetscErrorCode EkDatasetReadSample(EkDataset dataset, PetscInt64 trajectory, PetscInt from, PetscInt frames, size_t stride,
                                   float *out);
