/* What nodes hold outside the arena, and share: a rollout applies the same operators step after step, and what does not depend on
   the step is there once a graph. */
#include "graph_impl.h"
#include <string.h>

void EkGraphHold(EkGraph g, size_t bytes)
{
  g->held += bytes;
}

size_t EkGraphHeld(EkGraph g)
{
  return g->held;
}

/* ---- transforms --------------------------------------------------------------------------------------------- */

static PetscBool Same(const EkTransformKey *a, const EkTransformKey *b)
{
  if (a->dim != b->dim || a->corner != b->corner || a->method != b->method) return PETSC_FALSE;
  for (int d = 0; d < a->dim; d++) {
    if (a->n[d] != b->n[d] || a->modes[d] != b->modes[d]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static PetscErrorCode Create(const EkTransformKey *key, EkTransform *out)
{
  PetscFunctionBegin;
  if (key->corner)
    PetscCall(EkTransformCreateCorner(key->n, key->modes[0], out));
  else
    PetscCall(EkTransformCreate(key->dim, key->n, key->modes, key->method, out));
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphTransform(EkGraph g, const EkTransformKey *key, EkTransform *out)
{
  EkTransform made;

  PetscFunctionBegin;
  for (int i = 0; i < g->ntransforms; i++) {
    *out = g->transform[i].transform;
    if (Same(&g->transform[i].key, key)) PetscFunctionReturn(0);
  }
  PetscCall(Create(key, &made));
  PetscCall(PetscRealloc((g->ntransforms + 1) * sizeof(*g->transform), &g->transform));
  g->transform[g->ntransforms++] = (EkSharedTransform){*key, made};
  EkGraphHold(g, EkTransformMemory(made));
  *out = made;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGraphDestroyTransforms(EkGraph g)
{
  PetscFunctionBegin;
  for (int i = 0; i < g->ntransforms; i++) PetscCall(EkTransformDestroy(&g->transform[i].transform));
  PetscCall(PetscFree(g->transform));
  PetscFunctionReturn(0);
}

/* ---- constants ---------------------------------------------------------------------------------------------- */

static PetscBool IsConstant(const EkTensorState *s, PetscInt channels, const EkGrid *grid, const float *values)
{
  if (!s->constant || s->channels != channels || s->grid.dim != grid->dim) return PETSC_FALSE;
  for (int d = 0; d < grid->dim; d++) {
    if (s->grid.n[d] != grid->n[d]) return PETSC_FALSE;
  }
  return (PetscBool)!memcmp(s->constant, values, (size_t)channels * grid->stride * sizeof(float));
}

PetscErrorCode EkGraphConstant(EkGraph g, PetscInt channels, EkGrid grid, const float *values, EkTensor *out)
{
  const size_t   n = (size_t)channels * grid.stride;
  EkTensorState *s;

  PetscFunctionBegin;
  for (*out = 0; *out < g->ntensors; (*out)++) {
    if (IsConstant(&g->tensor[*out], channels, &grid, values)) PetscFunctionReturn(0);
  }
  PetscCall(EkGraphInput(g, channels, grid, PETSC_FALSE, out));
  s = &g->tensor[*out];
  PetscCall(PetscMalloc1(n, &s->constant));
  PetscCall(PetscArraycpy(s->constant, values, n));
  EkGraphHold(g, n * sizeof(float));
  s->bound = s->constant;
  PetscFunctionReturn(0);
}
