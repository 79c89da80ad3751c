#include "evenkeel/optim.h"
#include <math.h>
#include <stddef.h>

static const EkMember optimizer_row[] = {{"adam", "Adam, coupled weight decay, one |g|^2 for a complex entry (published form)"}};
const EkFamily        EkOptimizerFamily = EK_FAMILY("train_optimizer", optimizer_row);

typedef struct {
  EkMember member;
  double (*rate)(const EkOptimOptions *options, PetscInt epoch);
} Schedule;

static double StepRate(const EkOptimOptions *o, PetscInt epoch) { return o->lr * pow(o->schedule_gamma, (double)(epoch / o->schedule_step)); }
static double ConstantRate(const EkOptimOptions *o, PetscInt epoch)
{
  (void)epoch;
  return o->lr;
}

static const Schedule schedule_row[] = {
    {{"step", "multiplied by schedule_gamma every schedule_step epochs"}, StepRate},
    {{"constant", "the same rate throughout"}, ConstantRate},
};
const EkFamily EkScheduleFamily = EK_FAMILY("train_schedule", schedule_row);

#define FIELD(name) offsetof(EkOptimOptions, name)
static const EkKey optim_key[] = {
    {"train_lr", EK_KEY_REAL, FIELD(lr), "1e-3", EK_POSITIVE, EK_ANY, NULL, NULL, "base learning rate"},
    {"train_weight_decay", EK_KEY_REAL, FIELD(weight_decay), "1e-4", 0, EK_ANY, NULL, NULL, "added to the gradient, times the weight"},
    {"train_optimizer", EK_KEY_CHOICE, FIELD(optimizer), "adam", 0, 0, &EkOptimizerFamily, NULL, "how weights are updated"},
    {"train_schedule", EK_KEY_CHOICE, FIELD(schedule), "step", 0, 0, &EkScheduleFamily, NULL, "how the base rate changes"},
    {"train_schedule_step", EK_KEY_INT, FIELD(schedule_step), "100", 1, 1 << 30, NULL, "epochs", "between changes of the rate"},
    {"train_schedule_gamma", EK_KEY_REAL, FIELD(schedule_gamma), "0.5", EK_POSITIVE, EK_ANY, NULL, NULL, "factor of a change"},
};
#undef FIELD
const EkKeyTable EkOptimKeys = EK_KEYS("train", optim_key);

double EkScheduleRate(const EkOptimOptions *options, PetscInt epoch) { return schedule_row[options->schedule].rate(options, epoch); }

PetscErrorCode EkOptimizerCreate(const EkOptimOptions *options, EkParams params, size_t lo, size_t hi, EkOptimizer *out)
{
  EkOptimizer o;

  PetscFunctionBegin;
  PetscCheck(lo % 2 == 0 && hi % 2 == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_WRONG, "a slice of the arena must not cut a pair");
  PetscCall(PetscNew(&o));
  o->options = *options;
  o->params  = params;
  o->lo      = lo;
  o->hi      = hi;
  PetscCall(PetscCalloc1(hi - lo + 2, &o->moment1));
  PetscCall(PetscCalloc1(hi - lo + 2, &o->moment2));
  *out = o;
  PetscFunctionReturn(0);
}

typedef struct {
  float rate, decay, unbias2; /* rate / (1 - beta1^t), weight decay, 1 / sqrt(1 - beta2^t) */
} Adam;
#define BETA1   0.9f
#define BETA2   0.999f
#define EPSILON 1e-8f

static void AdamReal(const Adam *a, size_t n, float *restrict w, const float *restrict gradient, float *restrict m, float *restrict v)
{
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    const float g = gradient[i] + a->decay * w[i];

    m[i] = BETA1 * m[i] + (1 - BETA1) * g;
    v[i] = BETA2 * v[i] + (1 - BETA2) * g * g;
    w[i] -= a->rate * m[i] / (sqrtf(v[i]) * a->unbias2 + EPSILON);
  }
}

/* n: floats, two an entry */
static void AdamComplex(const Adam *a, size_t n, float *restrict w, const float *restrict gradient, float *restrict m, float *restrict v)
{
#pragma omp simd
  for (size_t i = 0; i < n; i += 2) {
    const float re = gradient[i] + a->decay * w[i], im = gradient[i + 1] + a->decay * w[i + 1];
    const float second = BETA2 * v[i] + (1 - BETA2) * (re * re + im * im), scale = a->rate / (sqrtf(second) * a->unbias2 + EPSILON);

    m[i]     = BETA1 * m[i] + (1 - BETA1) * re;
    m[i + 1] = BETA1 * m[i + 1] + (1 - BETA1) * im;
    v[i] = v[i + 1] = second;
    w[i] -= scale * m[i];
    w[i + 1] -= scale * m[i + 1];
  }
}

PetscErrorCode EkOptimizerStep(EkOptimizer o, double lr, const double ratio[])
{
  const double t = (double)++o->steps, unbias1 = 1 - pow(0.9, t);
  EkParams     p = o->params;

  PetscFunctionBegin;
  for (int i = 0; i < p->n; i++) {
    const EkTensorInfo *tensor = &p->table[i];
    const size_t        lo = tensor->offset > o->lo ? tensor->offset : o->lo, end = tensor->offset + tensor->count, hi = end < o->hi ? end : o->hi;
    const Adam          a  = {(float)(lr * ratio[i] / unbias1), (float)o->options.weight_decay, (float)(1 / sqrt(1 - pow(0.999, t)))};

    if (!p->info[i].used || lo >= hi) continue;
    (tensor->is_complex ? AdamComplex : AdamReal)(&a, hi - lo, p->weights + lo, p->gradients + lo, o->moment1 + (lo - o->lo), o->moment2 + (lo - o->lo));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkOptimizerDestroy(EkOptimizer *optimizer)
{
  PetscFunctionBegin;
  if (!*optimizer) PetscFunctionReturn(0);
  PetscCall(PetscFree((*optimizer)->moment1));
  PetscCall(PetscFree((*optimizer)->moment2));
  PetscCall(PetscFree(*optimizer));
  PetscFunctionReturn(0);
}
