#include "evenkeel/graph.h"
#include <math.h>
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

PetscErrorCode EkParamsAdd(EkParams p, const char *name, EkModuleKind kind, PetscBool is_complex, int rank,
                           const PetscInt shape[], double lo, double hi)
{
  EkTensorInfo *t;

  PetscFunctionBegin;
  PetscCall(Grow(p));
  t = &p->table[p->n];
  memset(t, 0, sizeof(*t));
  PetscCall(PetscStrncpy(t->name, name, sizeof(t->name)));
  t->rank = rank;
  t->is_complex = is_complex;
  t->count = 1;
  for (int i = 0; i < rank; i++) t->count *= (size_t)(t->shape[i] = shape[i]);
  if (is_complex) p->total = EK_ROUND_UP(p->total, 2);
  t->offset = p->total;
  p->total += t->count;
  p->info[p->n++] = (EkParamInfo){kind, EK_DRAW_UNIFORM, lo, hi, PETSC_FALSE};
  PetscFunctionReturn(0);
}

PetscErrorCode EkParamsSetDraw(EkParams p, EkDraw draw, double a, double b)
{
  EkParamInfo *info = &p->info[p->n - 1];

  PetscFunctionBegin;
  info->draw = draw;
  info->a = a;
  info->b = b;
  PetscFunctionReturn(0);
}

PetscErrorCode EkParamsAddBuffer(EkParams p, const char *name, PetscBool counter, int rank, const PetscInt shape[], double value)
{
  PetscFunctionBegin;
  PetscCall(EkParamsAdd(p, name, EK_MODULE_BUFFER, PETSC_FALSE, rank, shape, value, value));
  p->table[p->n - 1].is_counter = counter;
  PetscFunctionReturn(0);
}

PetscErrorCode EkParamsAllocate(EkParams p)
{
  PetscFunctionBegin;
  p->total = EK_ROUND_UP(p->total, 2);
  PetscCall(EkCallocLarge(p->total, &p->weights));
  PetscCall(EkCallocLarge(p->total, &p->gradients));
  PetscCall(PetscCalloc1(p->n, &p->packed));
  PetscFunctionReturn(0);
}

/* Box-Muller; one of the pair is enough here. */
static double Normal(EkRandom *stream)
{
  const double u = 1 - EkUniform(stream), v = EkUniform(stream);

  return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static double DrawOne(const EkParamInfo *info, EkRandom *stream, size_t j, size_t count)
{
  if (info->draw == EK_DRAW_NORMAL) return info->a + info->b * Normal(stream);
  if (info->draw == EK_DRAW_POWERS)
    return exp2(info->a + (info->b - info->a) * (count > 1 ? (double)j / (double)(count - 1) : 0));
  return EkUniformIn(stream, info->a, info->b);
}

PetscErrorCode EkParamsInitialise(EkParams p, uint64_t seed)
{
  PetscFunctionBegin;
  for (int i = 0; i < p->n; i++) {
    const EkTensorInfo *t = &p->table[i];
    EkRandom            stream = EkRandomStream(seed, EK_RANDOM_INIT, (uint64_t)i);

    for (size_t j = 0; j < t->count; j++) p->weights[t->offset + j] = (float)DrawOne(&p->info[i], &stream, j, t->count);
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

  for (int i = 0; i < p->n; i++) {
    if (p->info[i].kind != EK_MODULE_BUFFER)
      count += (PetscInt64)p->table[i].count / (p->table[i].is_complex && !as_reals ? 2 : 1);
  }
  return count;
}

PetscErrorCode EkParamsDestroy(EkParams *p)
{
  PetscFunctionBegin;
  if (!*p) PetscFunctionReturn(0);
  for (int i = 0; (*p)->packed && i < (*p)->n; i++) PetscCall(EkPackedDestroy(&(*p)->packed[i]));
  PetscCall(PetscFree((*p)->packed));
  PetscCall(PetscFree((*p)->table));
  PetscCall(PetscFree((*p)->info));
  PetscCall(PetscFree((*p)->weights));
  PetscCall(PetscFree((*p)->gradients));
  PetscCall(PetscFree(*p));
  PetscFunctionReturn(0);
}
