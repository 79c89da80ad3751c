/* Tensors of a weight file by name, for those who tell what network they are of. Private to src/model. */
#pragma once
#include "evenkeel/model.h"
#include <string.h>

/* NULL: there is none, or one of another number of axes. */
static inline const EkTensorInfo *EkFindTensor(int n, const EkTensorInfo found[], const char *name, int rank)
{
  for (int i = 0; i < n; i++) {
    if (found[i].rank == rank && !strcmp(found[i].name, name)) return &found[i];
  }
  return NULL;
}

/* Data of which a network sees `channels` at once, `fields` a frame; no fields where that cannot be. */
static inline EkModelShape EkDataShape(int dim, const PetscInt n[], PetscInt fields, PetscInt channels)
{
  if (fields < 1 || channels < fields || channels % fields) return (EkModelShape){EkGridMake(dim, n), 0, 0};
  return (EkModelShape){EkGridMake(dim, n), fields, channels / fields};
}
