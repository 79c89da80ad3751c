#include "evenkeel/graph.h"
#include <string.h>

PetscErrorCode EkParamsCreate(EkParams *params)
{
  PetscFunctionBegin;
  PetscCall(PetscNew(params));
  PetscFunctionReturn(0);
}

static PetscErrorCode Grow(EkParams p)
{
  PetscFunctionBegin;
  if (p->n < p->capacity) PetscFunctionReturn(0);
  p->capacity = 2 * p->capacity + 32;
  PetscCall(PetscRealloc(p->capacity * sizeof(*p->table), &p->table));
  PetscCall(PetscRealloc(p->capacity * sizeof(*p->info), &p->info));
  PetscFunctionReturn(0);
}

PetscErrorCode EkParamsAdd(EkParams p, const char *name, EkModuleKind kind, PetscBool is_complex, int rank, const PetscInt shape[], double lo, double hi)
{
  EkTensorInfo *t;

  PetscFunctionBegin;
  PetscCall(Grow(p));
  t = &p->table[p->n];
  memset(t, 0, sizeof(*t));
  PetscCall(PetscStrncpy(t->name, name, sizeof(t->name)));
  t->rank       = rank;
  t->is_complex = is_complex;
  t->count      = 1;
  for (int i = 0; i < rank; i++) t->count *= (size_t)(t->shape[i] = shape[i]);
  if (is_complex) p->total = EK_ROUND_UP(p->total, 2);
  t->offset = p->total;
  p->total += t->count;
  p->info[p->n++] = (EkParamInfo){kind, lo, hi, PETSC_FALSE};
  PetscFunctionReturn(0);
}

PetscErrorCode EkParamsAllocate(EkParams p)
{
  PetscFunctionBegin;
  p->total = EK_ROUND_UP(p->total, 2);
  PetscCall(PetscCalloc1(p->total, &p->weights));
  PetscCall(PetscCalloc1(p->total, &p->gradients));
  PetscFunctionReturn(0);
}

PetscErrorCode EkParamsInitialise(EkParams p, uint64_t seed)
{
  PetscFunctionBegin;
  for (int i = 0; i < p->n; i++) {
    const EkTensorInfo *t      = &p->table[i];
    EkRandom            stream = EkRandomStream(seed, EK_RANDOM_INIT, (uint64_t)i);

    for (size_t j = 0; j < t->count; j++) p->weights[t->offset + j] = (float)EkUniformIn(&stream, p->info[i].lo, p->info[i].hi);
  }
  PetscFunctionReturn(0);
}

int EkParamsFind(EkParams p, const char *name)
{
  for (int i = 0; i < p->n; i++) {
    if (!strcmp(p->table[i].name, name)) return i;
  }
  return -1;
}

PetscInt64 EkParamsCount(EkParams p, PetscBool as_reals)
{
  PetscInt64 count = 0;

  for (int i = 0; i < p->n; i++) count += (PetscInt64)p->table[i].count / (p->table[i].is_complex && !as_reals ? 2 : 1);
  return count;
}

PetscErrorCode EkParamsDestroy(EkParams *p)
{
  PetscFunctionBegin;
  if (!*p) PetscFunctionReturn(0);
  PetscCall(PetscFree((*p)->table));
  PetscCall(PetscFree((*p)->info));
  PetscCall(PetscFree((*p)->weights));
  PetscCall(PetscFree((*p)->gradients));
  PetscCall(PetscFree(*p));
  PetscFunctionReturn(0);
}
