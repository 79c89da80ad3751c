/* Named weights on disk: safetensors (PyTorch's exchange format) and the weights inside a checkpoint. */
#pragma once
#include "evenkeel/base.h"

/* Rank 0 writes all n tensors of the arena as float32 safetensors (counters as int64), keys in table order; a temporary file is renamed when complete.
   Key `complex` of the file's __metadata__ lists the tensors whose last axis is (re, im). Collective on run->comm. */
PetscErrorCode EkWeightsWrite(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena);

/* The same with an entry `key` of __metadata__; none where note is NULL. */
PetscErrorCode EkWeightsWriteNoted(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena, const char *key, const char *note);
/* What a weight file says under `key` besides its tensors: of a checkpoint the entry of its meta text (anything but a string as JSON), of a
   safetensors file that of its __metadata__. *note is NULL where there is none, else PetscMalloc'ed for the caller on every rank.
   Collective: rank 0 reads the header alone. */
PetscErrorCode EkWeightsReadNote(EkRun run, const char *path, const char *key, char **note);

/* Fills the arena from PATH (.safetensors, or a checkpoint by its HDF5 signature). Collective: rank 0 reads, broadcasts. Every tensor that
   does not fit (missing, surplus, other shape, other type, not finite) is listed by name with the shape found and the shape wanted, then
   one error. Tensors are matched by name, the order in the file does not matter. F32 and F64 are taken, I64 for a counter, which may also be
   missing (0) or be there without being wanted. */
PetscErrorCode EkWeightsRead(EkRun run, const char *path, int n, const EkTensorInfo table[], float *arena);
/* The tensors of a weight file, whatever they are: for `export`, `spectrum`, `inspect`. Table and arena are PetscMalloc'ed for the caller
   on every rank. Collective. */
PetscErrorCode EkWeightsReadAll(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena);
