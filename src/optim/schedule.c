#include "optim_impl.h"
#include <math.h>

/* Factors between the largest rate and the first, and the first and the last (models-and-data 5.6); what beta1 or momentum moves
 * between: OneCycleLR's defaults. */
#define FIRST        1e4
#define LAST         1e4
#define MOMENTUM_MIN 0.85
#define MOMENTUM_MAX 0.95

/* Steps of the run, of its warm-up, and this one's number: at the end it stays with the last. */
typedef struct {
  double all, warmup, now;
} Steps;

static Steps StepsOf(const EkOptimOptions *o, const EkScheduleAt *at)
{
  const double each = (double)at->nbatches, now = (double)at->epoch * each + (double)at->batch;
  Steps        s = {(double)at->epochs * each, o->warmup * each, now};

  if (s.now > s.all - 1) s.now = s.all - 1;
  return s;
}

static double StepRate(const EkOptimOptions *o, const EkScheduleAt *at)
{
  return o->lr * pow(o->schedule_gamma, (double)(at->epoch / o->schedule_step));
}

static double ConstantRate(const EkOptimOptions *o, const EkScheduleAt *at)
{
  (void)at;
  return o->lr;
}

static double Cosine(double start, double end, double p)
{
  return end + (start - end) / 2 * (1 + cos(M_PI * p));
}

/* OneCycleLR (Smith and Topin, 2018; models-and-data 5.6): from first to peak until the warm-up's last step, from there to last.
 */
static double OneCycle(const EkOptimOptions *o, const EkScheduleAt *at, double first, double peak, double last)
{
  const Steps  s = StepsOf(o, at);
  const double top = s.warmup - 1;

  if (s.now <= top) return top > 0 ? Cosine(first, peak, s.now / top) : peak;
  return Cosine(peak, last, (s.now - top) / (s.all - 1 - top));
}

static double OneCycleRate(const EkOptimOptions *o, const EkScheduleAt *at)
{
  return OneCycle(o, at, o->lr / FIRST, o->lr, o->lr / FIRST / LAST);
}

/* From 0 up during the warm-up; a step after it: how far it is through the rest. */
static double WarmUp(const Steps *s)
{
  return s->now < s->warmup ? s->now / fmax(1, s->warmup) : 1;
}
static double Through(const Steps *s)
{
  return fmax(0, s->now - s->warmup) / fmax(1, s->all - s->warmup);
}

static double CosineRate(const EkOptimOptions *o, const EkScheduleAt *at)
{
  const Steps s = StepsOf(o, at);

  return o->lr * WarmUp(&s) * Cosine(1, 0, Through(&s));
}

static double LinearRate(const EkOptimOptions *o, const EkScheduleAt *at)
{
  const Steps s = StepsOf(o, at);

  return o->lr * WarmUp(&s) * (1 - Through(&s));
}

static const EkScheduleRow schedule_row[] = {
    {{"step", "multiplied by schedule_gamma every schedule_step epochs"}, "schedule_step schedule_gamma", 0, StepRate},
    {{"constant", "the same rate throughout"}, "", 0, ConstantRate},
    {{"one_cycle", "a cosine up from lr/1e4 during the warm-up, a cosine down to lr/1e8, step by step (DPOT)"},
     "warmup cycle_momentum",
     0.2,
     OneCycleRate},
    {{"cosine", "a line up from 0 during the warm-up, a cosine down to 0, step by step"}, "warmup", 0, CosineRate},
    {{"linear_warmup", "a line up from 0 during the warm-up, a line down to 0, step by step"}, "warmup", 0.06, LinearRate},
};
const EkFamily EkScheduleFamily = EK_FAMILY("train_schedule", schedule_row);

const EkScheduleRow *EkScheduleRowOf(const EkOptimOptions *options)
{
  return &schedule_row[options->schedule];
}

double EkScheduleRate(const EkOptimOptions *options, const EkScheduleAt *at)
{
  return schedule_row[options->schedule].rate(options, at);
}

PetscBool EkScheduleSpansRun(const EkOptimOptions *o)
{
  return (PetscBool)EkWordIn("warmup", schedule_row[o->schedule].uses);
}

PetscBool EkScheduleCycles(const EkOptimOptions *o)
{
  return (PetscBool)(o->cycle_momentum && EkWordIn("cycle_momentum", schedule_row[o->schedule].uses));
}

double EkScheduleMomentum(const EkOptimOptions *o, const EkScheduleAt *at)
{
  const char  *key = EkOptimizerRowOf(o)->momentum;
  const double given = !key ? 0 : EkWordIn("beta1", key) ? o->beta1 : o->momentum;

  if (!key || !EkScheduleCycles(o)) return given;
  return OneCycle(o, at, MOMENTUM_MAX, MOMENTUM_MIN, MOMENTUM_MAX);
}
