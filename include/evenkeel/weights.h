/* Named weights on disk: safetensors (PyTorch's exchange format) and the weights inside a checkpoint. */
#pragma once
#include "evenkeel/base.h"

/* Rank 0 writes all n tensors of the arena as float32 safetensors, keys in table order; a temporary file is renamed when complete.
   Key `complex` of the file's __metadata__ lists the tensors whose last axis is (re, im). Collective on run->comm. */
PetscErrorCode EkWeightsWrite(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena);

/* Fills the arena from PATH (.safetensors, or a checkpoint by its HDF5 signature). Collective: rank 0 reads, broadcasts. Every tensor that
   does not fit (missing, surplus, other shape, other type, not finite) is listed by name with the shape found and the shape wanted, then
   one error. Tensors are matched by name, the order in the file does not matter. F32 and F64 are taken. */
PetscErrorCode EkWeightsRead(EkRun run, const char *path, int n, const EkTensorInfo table[], float *arena);
/* The tensors of a weight file, whatever they are: for `export`, `spectrum`, `inspect`. Table and arena are PetscMalloc'ed for the caller
   on every rank. Collective. */
PetscErrorCode EkWeightsReadAll(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena);
