/* Trajectories in HDF5: PDEBench CFD in 1D, 2D and 3D, scalar 1D (`tensor`), Darcy (`nu`, `tensor`), and files of one group a
   sample (diffusion-reaction, shallow water, diffusion-sorption: `0000/data` (T, X[, Y[, Z]], C), fields data0, data1 ...;
   samples in the order of the groups' sorted names). DPOT's: a folder of train/data_0.hdf5 ... and test/data_0.hdf5 ..., `data`
   (X, Y, T, C) of a trajectory each; or a file of `data` (N, X, Y, T), one field, whose name's _train becomes _test in that of
   its test set; they have no coordinates (cell centres of [0, 1] are taken), and their test trajectories come first. Read by
   hyperslab, each rank only the samples it needs. Whole rows of contiguous data are read and strided in memory; chunked data go
   through HDF5 a trajectory at a time. Source: PDEBench's file formats and loader. The split is that of "Model Balancing" (EMNLP
   2024), test first, for every family; PDEBench's own loader takes the last tenth of a file of groups for the test (test_from
   end), DPOT the last of PDEBench's files. */
#pragma once
#include "evenkeel/keys.h"

extern const EkFamily EkTestFromFamily; /* start end: rows in the order of EkTestFrom */
typedef enum { EK_FROM_START, EK_FROM_END } EkTestFrom;
extern const EkFamily EkNormalizeFamily; /* none field: rows in the order of EkNormalize */
typedef enum { EK_NORMALIZE_NONE, EK_NORMALIZE_FIELD } EkNormalize;
typedef enum { EK_ORDER_FILE, EK_ORDER_DPOT } EkFieldOrder;

typedef struct {
  char     file[EK_PATH];
  char     fields[EK_PATH]; /* names of the fields to read, comma-separated, in the order wanted; "": all of the file's */
  int      normalize; /* EkNormalize: field: each field minus its mean over the training set, over its standard deviation there */
  PetscInt test;      /* N trajectories of the file; -1: a tenth of them (rounded down, at least 1) */
  int      test_from; /* EkTestFrom: the test set is the file's first or last N; of a set that lies apart its first or last */
  PetscInt train;     /* the N after those, or with test_from end the file's first N, before reduced_batch; -1: all the rest */
  PetscInt reduced_batch;                            /* every k-th of the training trajectories: ceil(N/k) are kept */
  PetscInt reduced_resolution, reduced_resolution_t; /* every k-th point of each axis; every k-th frame, ceil kept */
  PetscInt initial_step;                             /* frames given */
  PetscInt t_train;                                  /* frames used in training, the given ones included; -1: all */
  PetscInt64 cache;                                  /* bytes of decoded samples a rank may keep */
  int order; /* EkFieldOrder, not a key: order of a CFD file's fields where `fields` says nothing: PDEBench's (density, pressure,
                Vx, Vy), or DPOT's (Vx, Vy, density, pressure; in 3D Vx, Vy, Vz, pressure, density) */
  PetscBool unsound; /* not a key, for `inspect`: values that are not finite are read like any other, test -1 is the whole file,
                        and no number of trajectories or frames is a mistake */
} EkDataOptions;

typedef enum { EK_TRAIN, EK_TEST } EkSplit;
#define EK_MAX_FIELDS 8

typedef struct {
  const char *family;                /* "cfd", "scalar", "darcy", "dpot", "groups" */
  int         dim;                   /* 1, 2 or 3 */
  PetscInt    n[3];                  /* points along x, y, z after reduction; 1 where there is no such axis */
  PetscInt    fields, frames;        /* C; T of the file after reduction */
  PetscInt    t_train, initial_step; /* t_train cut to frames; Darcy: 1 given, whatever was asked for */
  PetscInt    samples, count[2];     /* trajectories in the file; in each split, indexed by EkSplit */
  char        field[EK_MAX_FIELDS][EK_NAME];
  float      *coordinate[3];                        /* [d][n[d]], raw values of the file, after reduction; owned by the dataset */
  double mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS]; /* of each field, in the file's units: what is read is (value - mean)/scale; 0
                                                       and 1 until EkDatasetSetNorm */
} EkDataInfo;

typedef struct EkDataset_ *EkDataset;

/* Collective on run->comm. Errors (one line, naming file and dataset): missing, truncated or foreign file, missing dataset, wrong
   rank or shape, datasets that disagree, a filter that HDF5 does not have, unknown fields (with the known ones), more
   trajectories asked for than there are, a grid or frames that reduction leaves empty, t_train <= initial_step, normalize of a
   Darcy file (coefficient and solution are frames of one field). Of files of groups only the names and the first group are looked
   at, the others when they are read. t_train beyond the file is cut with a notice. A split may be empty (data_test or data_train
   0, or no trajectories left): who needs one checks count[]. */
PetscErrorCode EkDatasetOpen(EkRun run, const EkDataOptions *options, EkDataset *dataset);
PetscErrorCode EkDatasetGetInfo(EkDataset dataset, const EkDataInfo **info);
/* Mean and standard deviation of every field over all points of the frames that training reads, read through once, each rank its share. Trajectory by trajectory in double, so that the result is the same bits
   on any number of ranks. Before SetNorm and SetSlab; what is read is not kept. Collective. Error: no training trajectories, a
   value that is not finite. */
PetscErrorCode EkDatasetMeasureNorm(EkDataset dataset, double mean[], double deviation[]);
/* From now on reads give (value - mean)/scale; nothing may have been read before. Not collective, the same on every rank. */
PetscErrorCode EkDatasetSetNorm(EkDataset dataset, const double mean[], const double scale[]);
/* From now on reads give rows [first, first + count) of the x axis (after reduction) only, and only their bytes are read where
   the data are contiguous: planes of count*n[1]*n[2] values. The info stays that of the whole grid. For ranks that share a
   sample. Nothing may have been read before. Not collective. */
PetscErrorCode EkDatasetSetSlab(EkDataset dataset, PetscInt first, PetscInt count);
/* Samples index[0..n) of the split -> out (n, T, fields, stride): planes of n[0]*n[1]*n[2] values, x slowest, the rest of each
   plane zero. T is t_train in the training set and frames in the test set: no others are read. stride >= n[0]*n[1]*n[2]. Not
   collective. Cost: one contiguous read a sample and field, or a copy from the cache; the first read of a group opens it, closes
   it again and remembers its address. Error: a read that fails, a value that is not finite (names the dataset and trajectory). */
PetscErrorCode EkDatasetRead(EkDataset dataset, EkSplit split, PetscInt n, const PetscInt index[], size_t stride, float *out);
/* The same for frames [first[i], first[i] + frames) of each sample (first NULL: from 0): out is (n, frames, fields, stride).
   Where the cache has room the sample is read whole and stays; else no more than these frames are read (DPOT's layouts: all).
   Error also: frames the sample does not have, some of Darcy's two. */
PetscErrorCode EkDatasetReadFrames(EkDataset dataset, EkSplit split, PetscInt n, const PetscInt index[], const PetscInt first[],
                                   PetscInt frames, size_t stride, float *out);
/* Tells the system that these samples come next (read-ahead of the file's pages). Not collective, returns at once. */
PetscErrorCode EkDatasetPrefetch(EkDataset dataset, EkSplit split, PetscInt n, const PetscInt index[]);
/* The same for what EkDatasetReadFrames will read. */
PetscErrorCode EkDatasetPrefetchFrames(EkDataset dataset, EkSplit split, PetscInt n, const PetscInt index[],
                                       const PetscInt first[], PetscInt frames);
/* Bytes this rank has read from the file so far. */
PetscInt64     EkDatasetBytesRead(EkDataset dataset);
PetscErrorCode EkDatasetDestroy(EkDataset *dataset);
