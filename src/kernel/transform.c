#include "transform.h"

static const EkTransformOps *const method_ops[] = {[EK_TRANSFORM_FFT] = &EkTransformFft, [EK_TRANSFORM_GEMM] = &EkTransformGemm};

static void SetSegments(EkTransformShape *s, int segments, PetscBool complex_numbers)
{
  s->segments = segments;
  s->modes = s->m[0] * s->m[1];
  s->segment = EK_ROUND_UP((size_t)s->modes, EK_WIDE);
  s->plane = (size_t)s->segments * 2 * s->segment;
  s->step = complex_numbers ? 2 : 1;
  s->imaginary = complex_numbers ? 1 : s->segment;
}

static PetscErrorCode SetShape(EkTransform t, int dim, const PetscInt n[], const PetscInt modes[])
{
  EkTransformShape *s = &t->shape;

  PetscFunctionBegin;
  s->dim = dim;
  s->n[0] = dim == 2 ? (int)n[0] : 1;
  s->n[1] = (int)n[dim - 1];
  s->m[0] = dim == 2 ? (int)modes[0] : 1;
  s->m[1] = (int)modes[dim - 1];
  PetscCheck(dim == 1 || 2 * s->m[0] <= s->n[0], PETSC_COMM_SELF, PETSC_ERR_USER_INPUT,
             "model_modes: %d modes along x need %d points, the padded grid has %d", s->m[0], 2 * s->m[0], s->n[0]);
  PetscCheck(s->m[1] <= s->n[1] / 2 + 1, PETSC_COMM_SELF, PETSC_ERR_USER_INPUT,
             "model_modes: %d modes along the last axis, a padded grid of %d points has %d", s->m[1], s->n[1], s->n[1] / 2 + 1);
  SetSegments(s, dim, PETSC_FALSE);
  PetscFunctionReturn(0);
}

static PetscErrorCode Setup(EkTransform t, EkTransformMethod method)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1(t->shape.m[1], &t->factor));
  for (int k = 0; k < t->shape.m[1]; k++)
    t->factor[k] = (k == 0 || 2 * k == t->shape.n[1] ? 1.0f : 2.0f) / ((float)t->shape.n[0] * (float)t->shape.n[1]);
  t->ops = method_ops[method];
  PetscCall(t->ops->setup(t));
  PetscFunctionReturn(0);
}

PetscErrorCode EkTransformCreate(int dim, const PetscInt n[], const PetscInt modes[], EkTransformMethod method, EkTransform *out)
{
  EkTransform t;

  PetscFunctionBegin;
  PetscCall(PetscNew(&t));
  PetscCall(SetShape(t, dim, n, modes));
  PetscCall(Setup(t, method));
  *out = t;
  PetscFunctionReturn(0);
}

PetscErrorCode EkTransformCreateCorner(const PetscInt n[], PetscInt modes, EkTransform *out)
{
  EkTransform t;

  PetscFunctionBegin;
  PetscCall(PetscNew(&t));
  t->shape = (EkTransformShape){
      .dim = 2, .n = {(int)n[0], (int)n[1]}, .m = {(int)PetscMin(modes, n[0]), (int)PetscMin(modes, n[1] / 2 + 1)}};
  SetSegments(&t->shape, 1, PETSC_TRUE);
  PetscCall(Setup(t, EK_TRANSFORM_FFT));
  *out = t;
  PetscFunctionReturn(0);
}

const EkTransformShape *EkTransformGetShape(EkTransform t)
{
  return &t->shape;
}

void EkTransformAnalyse(EkTransform t, int inverse_weights, int planes, const float *x, size_t x_stride, float *X)
{
  t->ops->analyse(t, inverse_weights, planes, x, x_stride, X);
}

void EkTransformSynthesise(EkTransform t, int inverse_weights, int planes, const float *X, float *x, size_t x_stride,
                           int accumulate)
{
  t->ops->synthesise(t, inverse_weights, planes, X, x, x_stride, accumulate);
}

size_t EkTransformMemory(EkTransform t)
{
  return t->bytes;
}

double EkTransformFlops(EkTransform t)
{
  return t->ops->flops(&t->shape);
}

PetscErrorCode EkTransformDestroy(EkTransform *t)
{
  PetscFunctionBegin;
  if (!*t) PetscFunctionReturn(0);
  (*t)->ops->destroy(*t);
  PetscCall(PetscFree((*t)->factor));
  PetscCall(PetscFree(*t));
  PetscFunctionReturn(0);
}
