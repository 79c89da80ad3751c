#include "optim_impl.h"
#include <math.h>

/* ---- Adam and its kin ----------------------------------------------------------------------------------------- */

typedef struct {
  float rate, decay, keep;          /* rate / (1 - beta1^t); coupled decay; 1 less decoupled decay */
  float beta1, beta2, eps, unbias2; /* 1 / sqrt(1 - beta2^t) */
} Adam;

static Adam AdamOf(const EkOptimizer o, const EkUpdate *u, PetscBool coupled)
{
  const EkOptimOptions *k = &o->options;
  const double          t = (double)o->steps, unbias1 = 1 - pow(o->momentum, t);

  return (Adam){.rate = (float)(u->rate / unbias1),
                .decay = coupled ? (float)k->weight_decay : 0,
                .keep = coupled ? 1 : (float)(1 - u->rate * k->weight_decay),
                .beta1 = (float)o->momentum,
                .beta2 = (float)k->beta2,
                .eps = (float)k->eps,
                .unbias2 = (float)(1 / sqrt(1 - pow(k->beta2, t)))};
}

static void AdamReal(const Adam *a, size_t n, float *restrict w, const float *restrict gradient, float *restrict m,
                     float *restrict v)
{
  const Adam k = *a;

#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    const float g = gradient[i] + k.decay * w[i];

    m[i] = k.beta1 * m[i] + (1 - k.beta1) * g;
    v[i] = k.beta2 * v[i] + (1 - k.beta2) * g * g;
    w[i] = k.keep * w[i] - k.rate * m[i] / (sqrtf(v[i]) * k.unbias2 + k.eps);
  }
}

/* n: floats, two an entry; its second moment stands in both of its places. */
static void AdamComplex(const Adam *a, size_t n, float *restrict w, const float *restrict gradient, float *restrict m,
                        float *restrict v)
{
  const Adam k = *a;

#pragma omp simd
  for (size_t i = 0; i < n; i += 2) {
    const float re = gradient[i] + k.decay * w[i], im = gradient[i + 1] + k.decay * w[i + 1];
    const float second = k.beta2 * v[i] + (1 - k.beta2) * (re * re + im * im),
                scale = k.rate / (sqrtf(second) * k.unbias2 + k.eps);

    m[i] = k.beta1 * m[i] + (1 - k.beta1) * re;
    m[i + 1] = k.beta1 * m[i + 1] + (1 - k.beta1) * im;
    v[i] = v[i + 1] = second;
    w[i] -= scale * m[i];
    w[i + 1] -= scale * m[i + 1];
  }
}

static float *Weights(const EkOptimizer o, const EkUpdate *u)
{
  return o->params->weights + u->lo;
}
static float *Gradients(const EkOptimizer o, const EkUpdate *u)
{
  return o->params->gradients + u->lo;
}
static float *Memory(const EkOptimizer o, const EkUpdate *u, int i)
{
  return o->array[i].values + (u->lo - o->lo);
}

static PetscErrorCode PublishedAdam(EkOptimizer o, const EkUpdate *u)
{
  const Adam      a = AdamOf(o, u, PETSC_TRUE);
  const PetscBool paired = o->params->table[u->tensor].is_complex;

  PetscFunctionBegin;
  (paired ? AdamComplex : AdamReal)(&a, u->hi - u->lo, Weights(o, u), Gradients(o, u), Memory(o, u, 0), Memory(o, u, 1));
  PetscFunctionReturn(0);
}

static PetscErrorCode PytorchAdam(EkOptimizer o, const EkUpdate *u)
{
  const Adam a = AdamOf(o, u, PETSC_TRUE);

  PetscFunctionBegin;
  AdamReal(&a, u->hi - u->lo, Weights(o, u), Gradients(o, u), Memory(o, u, 0), Memory(o, u, 1));
  PetscFunctionReturn(0);
}

static PetscErrorCode AdamW(EkOptimizer o, const EkUpdate *u)
{
  const Adam a = AdamOf(o, u, PETSC_FALSE);

  PetscFunctionBegin;
  AdamReal(&a, u->hi - u->lo, Weights(o, u), Gradients(o, u), Memory(o, u, 0), Memory(o, u, 1));
  PetscFunctionReturn(0);
}

/* ---- SGD -------------------------------------------------------------------------------------------------------- */

static PetscErrorCode Sgd(EkOptimizer o, const EkUpdate *u)
{
  const float  rate = (float)u->rate, decay = (float)o->options.weight_decay, momentum = (float)o->momentum;
  const size_t n = u->hi - u->lo;
  float *restrict w = Weights(o, u), *restrict m = Memory(o, u, 0);
  const float *restrict gradient = Gradients(o, u);

  PetscFunctionBegin;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    m[i] = momentum * m[i] + (gradient[i] + decay * w[i]);
    w[i] -= rate * m[i];
  }
  PetscFunctionReturn(0);
}

/* ---- the family ------------------------------------------------------------------------------------------------- */

#define ADAM_KEYS "beta1 beta2 eps"
#define ADAM_MEMORY                                                                                                              \
  {                                                                                                                              \
    "adam_m", "adam_v"                                                                                                           \
  }
static const EkOptimizerRow optimizer_row[] = {
    {{"adam", "Adam, coupled weight decay, one |g|^2 for a complex entry (published form)"},
     ADAM_KEYS,
     "beta1",
     ADAM_MEMORY,
     NULL,
     PublishedAdam},
    {{"adam_pytorch", "Adam, coupled weight decay, real and imaginary part apart (torch.optim.Adam)"},
     ADAM_KEYS,
     "beta1",
     ADAM_MEMORY,
     NULL,
     PytorchAdam},
    {{"adamw", "Adam, decoupled weight decay, real and imaginary part apart (torch.optim.AdamW)"},
     ADAM_KEYS,
     "beta1",
     ADAM_MEMORY,
     NULL,
     AdamW},
    {{"sgd", "gradient descent with momentum, coupled weight decay (torch.optim.SGD)"},
     "momentum",
     "momentum",
     {"sgd_momentum"},
     NULL,
     Sgd},
    {{"adafactor", "second moments as row times column, decoupled weight decay (Hugging Face, given rate)"},
     "",
     NULL,
     {NULL},
     EkAdafactorCreate,
     EkAdafactorUpdate},
};
const EkFamily EkOptimizerFamily = EK_FAMILY("train_optimizer", optimizer_row);

const EkOptimizerRow *EkOptimizerRowOf(const EkOptimOptions *options)
{
  return &optimizer_row[options->optimizer];
}

PetscBool EkOptimizerIsWhole(const EkOptimOptions *options)
{
  return (PetscBool)(optimizer_row[options->optimizer].create != NULL);
}

static double GivenMomentum(const EkOptimOptions *options)
{
  EkOptimOptions fixed = *options;

  fixed.cycle_momentum = PETSC_FALSE;
  return EkScheduleMomentum(&fixed, NULL);
}

PetscErrorCode EkOptimizerCreate(const EkOptimOptions *options, EkParams params, size_t lo, size_t hi, EkOptimizer *out)
{
  const EkOptimizerRow *row = EkOptimizerRowOf(options);
  EkOptimizer           o;

  PetscFunctionBegin;
  PetscCheck(lo % 2 == 0 && hi % 2 == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG, "a slice of the arena must not cut a pair");
  PetscCheck(!row->create || (lo == 0 && hi == params->total), PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG,
             "%s takes no slice of the arena", row->member.name);
  PetscCall(PetscNew(&o));
  o->options = *options;
  o->params = params;
  o->lo = lo;
  o->hi = hi;
  o->momentum = GivenMomentum(options);
  for (int i = 0; i < 2 && row->memory[i]; i++) {
    o->array[o->narrays++] = (EkOptimizerArray){row->memory[i], params->n, params->table, NULL, lo, hi};
    PetscCall(EkCallocLarge(hi - lo + 2, &o->array[i].values));
  }
  if (row->create) PetscCall(row->create(o));
  *out = o;
  PetscFunctionReturn(0);
}

PetscErrorCode EkOptimizerStep(EkOptimizer o, double lr, const double ratio[])
{
  const EkOptimizerRow *row = EkOptimizerRowOf(&o->options);
  EkParams              p = o->params;

  PetscFunctionBegin;
  o->steps++;
  for (int i = 0; i < p->n; i++) {
    const size_t   start = p->table[i].offset, end = start + p->table[i].count;
    const EkUpdate u = {i, start > o->lo ? start : o->lo, end < o->hi ? end : o->hi, lr * ratio[i]};

    if (p->info[i].used && u.lo < u.hi) PetscCall(row->update(o, &u));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkOptimizerDestroy(EkOptimizer *optimizer)
{
  EkOptimizer o = *optimizer;

  PetscFunctionBegin;
  if (!o) PetscFunctionReturn(0);
  for (int i = 0; i < EK_OPTIMIZER_ARRAYS; i++) {
    PetscCall(PetscFree(o->array[i].values));
    PetscCall(PetscFree(o->table[i]));
    PetscCall(PetscFree(o->place[i]));
  }
  PetscCall(PetscFree(*optimizer));
  PetscFunctionReturn(0);
}
