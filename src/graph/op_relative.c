/* DPOT's loss: relative L2 norms of the error, channel by channel, their mean over channels; summed over the batch. */
#include "graph_impl.h"
#include <math.h>

/* Added to the norm it is divided by. */
#define LEAST 1e-8

typedef struct {
  int      nfields;
  EkField *prediction, *target, mask; /* mask.value NULL: none */
  PetscInt channels;
  size_t   points;
  float   *saved; /* (B, channels): n ||m e|| (||m t|| + LEAST), what the gradient is divided by; NULL without gradients */
} Relative;

/* The fields' places, kept with the node: a run must not allocate. */
static Relative Gather(EkGraph g, EkNode *node)
{
  Relative r = {.nfields = node->nfields, .prediction = (EkField *)node->plan, .saved = EkGraphSaved(g, node)};

  r.target = r.prediction + r.nfields;
  for (int k = 0; k < 2 * r.nfields; k++) r.prediction[k] = EkGraphField(g, node->input[k]);
  if (node->ninputs > 2 * r.nfields) r.mask = EkGraphField(g, node->input[2 * r.nfields]);
  r.channels = r.prediction[0].channels;
  r.points = r.prediction[0].points;
  return r;
}

static const float *Plane(const EkField *f, int b, PetscInt c)
{
  return f->value ? f->value + b * f->step + (size_t)c * f->stride : NULL;
}

static void Squares(size_t n, const float *p, const float *t, const float *m, double *error, double *norm)
{
  double e = 0, s = 0;

#pragma omp simd reduction(+ : e, s)
  for (size_t i = 0; i < n; i++) {
    const float weight = m ? m[i] : 1, d = weight * (p[i] - t[i]), v = weight * t[i];

    e += (double)(d * d);
    s += (double)(v * v);
  }
  *error += e;
  *norm += s;
}

static PetscBool IsMasked(const Relative *r, int b, PetscInt c)
{
  const float *m = Plane(&r->mask, b, c);

  for (size_t i = 0; m && i < r->points; i++) {
    if (m[i] != 0) return PETSC_FALSE;
  }
  return (PetscBool)(m != NULL);
}

static void RelativeForward(EkGraph g, EkNode *node)
{
  const Relative r = Gather(g, node);
  double         sum = 0;

  for (int b = 0; b < g->batch; b++) {
    double   sample = 0;
    PetscInt counted = 0;

    for (PetscInt c = 0; c < r.channels; c++) counted += !IsMasked(&r, b, c);
    for (PetscInt c = 0; c < r.channels; c++) {
      double error = 0, norm = 0;

      for (int k = 0; k < r.nfields; k++)
        Squares(r.points, Plane(&r.prediction[k], b, c), Plane(&r.target[k], b, c), Plane(&r.mask, b, c), &error, &norm);
      sample += sqrt(error) / (sqrt(norm) + LEAST);
      if (r.saved) r.saved[(size_t)b * r.channels + c] = (float)(counted * sqrt(error) * (sqrt(norm) + LEAST));
    }
    node->sample_loss[b] = counted ? g->loss_scale * sample / (double)counted : 0;
    sum += node->sample_loss[b];
  }
  node->loss = sum;
}

static void RelativeBackward(EkGraph g, EkNode *node)
{
  const Relative r = Gather(g, node);

  for (int k = 0; k < r.nfields; k++) {
    const EkField *p = &r.prediction[k];

    for (int b = 0; b < g->batch && g->tensor[node->input[k]].has_gradient; b++) {
      for (PetscInt c = 0; c < r.channels; c++) {
        const float  divisor = r.saved[(size_t)b * r.channels + c], factor = divisor > 0 ? (float)g->loss_scale / divisor : 0;
        const float *x = Plane(p, b, c), *t = Plane(&r.target[k], b, c), *m = Plane(&r.mask, b, c);
        float       *to = p->gradient + b * p->gradient_step + (size_t)c * p->stride;

        for (size_t i = 0; i < r.points; i++) {
          const float weight = m ? m[i] * m[i] : 1;

          to[i] = (node->accumulate[k] ? to[i] : 0) + factor * weight * (x[i] - t[i]);
        }
      }
    }
  }
}

static double RelativeFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *p = &g->tensor[node->input[0]];

  return (backward ? 3.0 : 7.0) * node->nfields * (double)p->channels * (double)p->grid.points;
}

static void RelativeDestroy(EkNode *node)
{
  (void)PetscFree(node->plan);
}

const EkOperator EkOpRelativeLoss = {
    .member = {"relative_loss", "relative L2 norm of the error, mean over channels, added to the loss"},
    .forward = RelativeForward,
    .backward = RelativeBackward,
    .flops = RelativeFlops,
    .destroy = RelativeDestroy,
};

PetscErrorCode EkRelativeLoss(EkGraph g, int n, const EkTensor prediction[], const EkTensor target[], EkTensor mask)
{
  const EkTensorState *first = &g->tensor[prediction[0]];
  EkTensor            *input;
  EkField             *field;
  EkNode              *node;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(2 * n + 1, &input));
  for (int k = 0; k < n; k++) {
    input[k] = prediction[k];
    input[n + k] = target[k];
  }
  input[2 * n] = mask;
  for (int k = 0; k < 2 * n + (mask != EK_NONE); k++) {
    PetscCall(EkGraphCheckField(g, input[k], "relative_loss"));
    PetscCheck(g->tensor[input[k]].channels == first->channels && g->tensor[input[k]].grid.points == first->grid.points,
               PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "relative_loss: fields have different shapes");
    PetscCheck(k < n || !g->tensor[input[k]].wants_gradient, PETSC_COMM_SELF, PETSC_ERR_SUP,
               "relative_loss: targets and masks take no gradient");
  }
  PetscCall(EkGraphAddNode(g, &EkOpRelativeLoss, 2 * n + (mask != EK_NONE), input, &node));
  for (int k = 0; k < node->ninputs; k++) node->kept[k] = PETSC_TRUE;
  node->nfields = n;
  if (g->gradients) node->saved = (size_t)first->channels;
  PetscCall(PetscMalloc1(2 * n, &field));
  node->plan = field;
  PetscCall(PetscFree(input));
  PetscFunctionReturn(0);
}
