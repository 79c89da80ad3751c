/* A weight file of either kind, safetensors or checkpoint: one list of tensors, read by rank 0. Private to src/io. */
#pragma once
#include "share.h"
#include "evenkeel/weights.h"

/* On rank 0 the tensors of one memory, by the names of the parameters, and a descriptor; elsewhere nothing. */
typedef struct {
  EkRun       run;
  const char *path;
  int         n, fd;
  EkStored   *stored;
} EkSource;

/* Collective. A checkpoint's checksums are verified with its weights; whoever wants their moments has read them before. */
PetscErrorCode EkSourceOpen(EkRun run, const char *path, EkWeightsMemory memory, EkSource *source);
PetscErrorCode EkSourceClose(EkSource *source);
/* Rank 0 alone: the list from the header, nothing verified. The caller frees. */
PetscErrorCode EkSourceList(const char *path, EkWeightsMemory memory, int *n, EkStored **stored);
/* Does the file begin as HDF5 does? Not collective. */
PetscErrorCode EkSourceIsHdf5(const char *path, PetscBool *hdf5);

PetscBool EkSourceIsReadable(const EkStored *stored);
/* All values of a readable tensor, as floats. */
PetscErrorCode EkSourceRead(const EkSource *source, const EkStored *stored, float *out);
/* Place of the first value that is not finite, or -1. */
PetscInt64 EkNotFinite(size_t n, const float *x);
/* A row of a table for a tensor of the file. Error: a name that is too long. */
PetscErrorCode EkSourceInfo(const char *path, const EkStored *stored, size_t offset, EkTensorInfo *info);
