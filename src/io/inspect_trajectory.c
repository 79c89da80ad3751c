#include "inspect.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* Partial sums side by side: their number decides how values are added up, not the compiler or where the data lie in memory. */
#define LANES 8

void EkSubjectInit(const EkDataInfo *info, EkSubject *s, char name[EK_MAX_FIELDS][EK_NAME])
{
  static const char *const must[] = {"density", "pressure"}, *const velocity[] = {"Vx", "Vy", "Vz"},
                           *const darcy[] = {"nu", "tensor"};

  memset(s, 0, sizeof(*s));
  s->frames = info->frames;
  s->channels = info->fields;
  s->dim = info->dim;
  for (int d = 0; d < 3; d++) s->n[d] = (size_t)info->n[d];
  s->points = s->n[0] * s->n[1] * s->n[2];
  s->pair = (PetscBool)!strcmp(info->family, "darcy");
  s->cfd = (PetscBool)!strcmp(info->family, "cfd");
  s->nfields = (int)(s->pair ? s->frames : s->channels);
  for (int f = 0; f < s->nfields; f++) {
    snprintf(name[f], EK_NAME, "%s", s->pair ? darcy[f] : info->field[f]);
    for (int i = 0; i < 3; i++) {
      if (!strcmp(name[f], velocity[i])) s->velocity[s->nvelocities++] = f;
    }
    s->positive[f] = (PetscBool)(!strcmp(name[f], must[0]) || !strcmp(name[f], must[1]));
    if (!strcmp(name[f], must[0])) s->density = f;
    if (!strcmp(name[f], must[1])) s->pressure = f;
  }
}

/* ---- moments ---------------------------------------------------------------------------------------------- */

EkMoments EkMomentsEmpty(void)
{
  return (EkMoments){.min = INFINITY, .max = -INFINITY};
}

EkMoments EkMomentsJoin(EkMoments a, EkMoments b)
{
  const double    d = b.mean - a.mean;
  const EkMoments both = {fmin(a.min, b.min), fmax(a.max, b.max), 0, 0, a.n + b.n, a.nonfinite + b.nonfinite};
  const double    share = both.n ? (double)b.n / (double)both.n : 0;

  return (EkMoments){both.min, both.max, a.mean + d * share, a.m2 + b.m2 + d * d * (double)a.n * share, both.n, both.nonfinite};
}

/* *finite: infinity and NaN times zero are NaN. */
static EkMoments FirstPass(size_t n, const float *x, PetscBool *finite)
{
  float     lo[LANES], hi[LANES], zero[LANES] = {0};
  double    sum[LANES] = {0}, all = 0;
  EkMoments m = EkMomentsEmpty();
  size_t    i = 0;

  for (int l = 0; l < LANES; l++) lo[l] = INFINITY, hi[l] = -INFINITY;
  for (; i + LANES <= n; i += LANES) {
    for (int l = 0; l < LANES; l++) {
      const float v = x[i + (size_t)l];

      sum[l] += v;
      zero[l] += v * 0.0f;
      lo[l] = v < lo[l] ? v : lo[l];
      hi[l] = v > hi[l] ? v : hi[l];
    }
  }
  for (; i < n; i++) {
    sum[0] += x[i];
    zero[0] += x[i] * 0.0f;
    lo[0] = fminf(lo[0], x[i]);
    hi[0] = fmaxf(hi[0], x[i]);
  }
  *finite = PETSC_TRUE;
  for (int l = 0; l < LANES; l++) {
    all += sum[l];
    m.min = fmin(m.min, lo[l]);
    m.max = fmax(m.max, hi[l]);
    if (!(zero[l] == 0)) *finite = PETSC_FALSE;
  }
  m.n = (PetscInt64)n;
  m.mean = all / (double)n;
  return m;
}

static double SecondPass(size_t n, const float *x, double mean)
{
  double sum[LANES] = {0}, all = 0;
  size_t i = 0;

  for (; i + LANES <= n; i += LANES) {
    for (int l = 0; l < LANES; l++) sum[l] += (x[i + (size_t)l] - mean) * (x[i + (size_t)l] - mean);
  }
  for (; i < n; i++) sum[0] += (x[i] - mean) * (x[i] - mean);
  for (int l = 0; l < LANES; l++) all += sum[l];
  return all;
}

/* Of a plane with values that are not finite: one by one. */
static EkMoments FiniteMoments(size_t n, const float *x)
{
  EkMoments m = EkMomentsEmpty();

  for (size_t i = 0; i < n; i++) {
    const EkMoments one = {x[i], x[i], x[i], 0, 1, 0};

    if (isfinite(x[i]))
      m = EkMomentsJoin(m, one);
    else
      m.nonfinite++;
  }
  return m;
}

static EkMoments PlaneMoments(size_t n, const float *x)
{
  PetscBool finite;
  EkMoments m = FirstPass(n, x, &finite);

  if (!finite) return FiniteMoments(n, x);
  m.m2 = SecondPass(n, x, m.mean);
  return m;
}

/* ---- conserved totals ------------------------------------------------------------------------------------- */

typedef struct {
  double mass, momentum[3], energy, speed; /* speed: density * |v| */
} Totals;

static Totals FrameTotals(const EkSubject *s, const float *frame)
{
  const float *density = frame + (size_t)s->density * s->points, *pressure = frame + (size_t)s->pressure * s->points;
  Totals       t = {0};

  for (size_t i = 0; i < s->points; i++) {
    const double rho = density[i];
    double       square = 0;

    for (int a = 0; a < s->nvelocities; a++) {
      const double v = frame[(size_t)s->velocity[a] * s->points + i];

      t.momentum[a] += rho * v;
      square += v * v;
    }
    t.mass += rho;
    t.energy += 1.5 * pressure[i] + 0.5 * rho * square; /* 1/(gamma - 1) = 1.5 */
    t.speed += rho * sqrt(square);
  }
  return t;
}

static void AddDrift(EkFacts *facts, int total, PetscInt frame, double value, double *drift)
{
  if (!isfinite(value)) return;
  if (value > drift[frame]) drift[frame] = value;
  if (value > facts->drift[total].value) facts->drift[total] = (EkDrift){facts->trajectory, frame, value};
}

static void ExamineTotals(const EkSubject *s, const float *data, EkFacts *facts, double *const drift[EK_TOTALS])
{
  const size_t pitch = (size_t)s->channels * s->points;
  const Totals start = FrameTotals(s, data);

  for (PetscInt t = 0; t < s->frames; t++) {
    const Totals now = t ? FrameTotals(s, data + (size_t)t * pitch) : start;
    double       change = 0;

    for (int a = 0; a < 3; a++) change += (now.momentum[a] - start.momentum[a]) * (now.momentum[a] - start.momentum[a]);
    AddDrift(facts, EK_TOTAL_MASS, t, fabs(now.mass - start.mass) / fabs(start.mass), drift[EK_TOTAL_MASS]);
    AddDrift(facts, EK_TOTAL_MOMENTUM, t, sqrt(change) / fabs(start.speed), drift[EK_TOTAL_MOMENTUM]);
    AddDrift(facts, EK_TOTAL_ENERGY, t, fabs(now.energy - start.energy) / fabs(start.energy), drift[EK_TOTAL_ENERGY]);
  }
}

/* ---- edges of the box ------------------------------------------------------------------------------------- */

/* Periodic: the first point of a line follows its last one as the second follows the first. */
static PetscBool JumpsAlong(const EkSubject *s, const float *data, int axis)
{
  const size_t n = s->n[axis];
  size_t       step = 1;
  double       across = 0, beside = 0;

  for (int d = axis + 1; d < s->dim; d++) step *= s->n[d];
  for (PetscInt t = 0; t < s->frames && n > 1; t++) {
    const float *plane = data + (size_t)(t * s->channels + s->density) * s->points;

    for (size_t lines = 0; lines < s->points; lines += n * step) {
      const float *first = plane + lines, *last = first + (n - 1) * step, *second = first + step, *before = last - step;

      for (size_t i = 0; i < step; i++) {
        across += fabs((double)last[i] - first[i]);
        beside += fabs((double)second[i] - first[i]) + fabs((double)last[i] - before[i]);
      }
    }
  }
  return (PetscBool)(across > beside); /* twice the mean of both */
}

static PetscBool Jumps(const EkSubject *s, const float *data)
{
  for (int axis = 0; axis < s->dim; axis++) {
    if (JumpsAlong(s, data, axis)) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

/* ---- one trajectory --------------------------------------------------------------------------------------- */

static uint64_t Stir(uint64_t hash, uint64_t word, uint64_t odd)
{
  hash = (hash ^ word) * odd;
  return hash ^ (hash >> 29);
}

/* 128 bits over the values' bits, two words at a time: for equality only. */
static void Hash(size_t n, const float *x, uint64_t hash[2])
{
  uint64_t word = 0;
  size_t   i = 0;

  hash[0] = 0x243f6a8885a308d3;
  hash[1] = 0x13198a2e03707344;
  for (; i + 2 <= n; i += 2) {
    memcpy(&word, x + i, sizeof(word));
    hash[0] = Stir(hash[0], word, 0x9e3779b97f4a7c15);
    hash[1] = Stir(hash[1], word, 0xd6e8feb86659fd93);
  }
  if (i == n) return;
  word = 0;
  memcpy(&word, x + i, sizeof(*x));
  hash[0] = Stir(hash[0], word, 0x9e3779b97f4a7c15);
  hash[1] = Stir(hash[1], word, 0xd6e8feb86659fd93);
}

static void ExaminePlane(const EkSubject *s, PetscInt frame, PetscInt channel, const float *plane, EkFacts *facts,
                         PetscBool *zero)
{
  const PetscInt  field = s->pair ? frame : channel;
  const EkMoments m = PlaneMoments(s->points, plane);

  facts->field[field] = EkMomentsJoin(facts->field[field], m);
  if (m.nonfinite && facts->bad_frame < 0) {
    facts->bad_frame = frame;
    facts->bad_field = field;
  }
  if (s->positive[field] && m.n && m.min <= 0 && facts->low_frame < 0) {
    facts->low_frame = frame;
    facts->low_field = field;
    facts->low = m.min;
  }
  if (m.nonfinite || m.min != 0 || m.max != 0) *zero = PETSC_FALSE;
}

static void ExamineTail(const EkSubject *s, const float *data, EkFacts *facts)
{
  const size_t pitch = (size_t)s->channels * s->points;

  facts->constant = s->frames - 1;
  for (PetscInt t = s->frames - 1; t > 0 && facts->constant == t; t--) {
    if (!memcmp(data + (size_t)t * pitch, data + (size_t)(t - 1) * pitch, pitch * sizeof(float))) facts->constant = t - 1;
  }
}

void EkTrajectoryExamine(const EkSubject *s, const float *data, EkFacts *facts, double *const drift[EK_TOTALS])
{
  const PetscInt trajectory = facts->trajectory;

  *facts = (EkFacts){
      .trajectory = trajectory, .zero = -1, .constant = -1, .bad_frame = -1, .bad_field = -1, .low_frame = -1, .low_field = -1};
  for (int f = 0; f < EK_MAX_FIELDS; f++) facts->field[f] = EkMomentsEmpty();
  for (int k = 0; k < EK_TOTALS; k++) facts->drift[k].value = -1;
  for (PetscInt t = 0; t < s->frames; t++) {
    PetscBool zero = PETSC_TRUE;

    for (PetscInt c = 0; c < s->channels; c++)
      ExaminePlane(s, t, c, data + (size_t)(t * s->channels + c) * s->points, facts, &zero);
    facts->zero = !zero ? -1 : facts->zero < 0 ? t : facts->zero;
  }
  Hash((size_t)(s->frames * s->channels) * s->points, data, facts->hash);
  if (facts->bad_frame >= 0) return; /* what follows is about values that are there */
  if (!s->pair) ExamineTail(s, data, facts);
  if (!s->cfd) return;
  ExamineTotals(s, data, facts, drift);
  facts->jumps = Jumps(s, data);
}
