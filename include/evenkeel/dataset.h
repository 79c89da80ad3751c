/* Trajectories in HDF5: PDEBench CFD 1D and 2D, scalar 1D (`tensor`), Darcy (`nu`, `tensor`). Read by hyperslab, each rank only the
   samples it needs. Source: PDEBench's file formats and loader (split of "Model Balancing", EMNLP 2024: test first). */
#pragma once
#include "evenkeel/keys.h"

typedef struct {
  char       file[EK_PATH];
  PetscInt   test;          /* first N trajectories of the file; -1: a tenth of them (rounded down, at least 1) */
  PetscInt   train;         /* the N after those, before reduced_batch; -1: all the rest */
  PetscInt   reduced_batch; /* every k-th of the training trajectories: ceil(N/k) are kept */
  PetscInt   reduced_resolution, reduced_resolution_t; /* every k-th point of each axis; every k-th frame, ceil kept */
  PetscInt   initial_step;  /* frames given */
  PetscInt   t_train;       /* frames used in training, the given ones included; -1: all */
  PetscInt64 cache;         /* bytes of decoded samples a rank may keep */
} EkDataOptions;
extern const EkKeyTable EkDataKeys;

typedef enum { EK_TRAIN, EK_TEST } EkSplit;
#define EK_MAX_FIELDS 8

typedef struct {
  const char *family;                    /* "cfd", "scalar", "darcy" */
  int         dim;                       /* 1 or 2 */
  PetscInt    n[3];                      /* points along x, y after reduction; n[1] = 1 in 1D */
  PetscInt    fields, frames;            /* C; T of the file after reduction */
  PetscInt    t_train, initial_step;     /* t_train cut to frames */
  PetscInt    samples, count[2];         /* trajectories in the file; in each split, indexed by EkSplit */
  char        field[EK_MAX_FIELDS][EK_NAME];
  float      *coordinate[3];             /* [d][n[d]], raw values of the file, after reduction; owned by the dataset */
} EkDataInfo;

typedef struct EkDataset_ *EkDataset;

/* Collective on run->comm. Errors (one line, naming file and dataset): missing, truncated or foreign file, missing dataset, wrong rank
   or shape, datasets that disagree, more trajectories asked for than there are, a grid or frames that reduction leaves empty,
   t_train <= initial_step. t_train beyond the file is cut with a notice. A split may be empty (data_test or data_train 0, or no trajectories
   left): who needs one checks count[]. */
PetscErrorCode EkDatasetOpen(EkRun run, const EkDataOptions *options, EkDataset *dataset);
PetscErrorCode EkDatasetGetInfo(EkDataset dataset, const EkDataInfo **info);
/* Samples index[0..n) of the split -> out (n, frames, fields, stride): planes of n[0]*n[1] values, x slow, y fast, the rest of each plane
   zero. stride >= n[0]*n[1]. Not collective. Cost: one contiguous read a sample and field, or a copy from the cache.
   Error: a read that fails, a value that is not finite (names the dataset and trajectory). */
PetscErrorCode EkDatasetRead(EkDataset dataset, EkSplit split, PetscInt n, const PetscInt index[], size_t stride, float *out);
/* Tells the system that these samples come next (read-ahead of the file's pages). Not collective, returns at once. */
PetscErrorCode EkDatasetPrefetch(EkDataset dataset, EkSplit split, PetscInt n, const PetscInt index[]);
/* Bytes this rank has read from the file so far. */
PetscInt64     EkDatasetBytesRead(EkDataset dataset);
PetscErrorCode EkDatasetDestroy(EkDataset *dataset);
