#include "muscl.h"
#include "patch.h"
#include <math.h>
#include <string.h>

#define GAMMA EK_CFD_GAMMA

typedef double *restrict Out;
typedef const double *restrict In;

/* HLLC flux of (rho, E, normal, across) through n faces. Both the plain and the star flux are f(rho, u, p) of the upwind side, so
   the state is selected and f evaluated once; PDEBench's star energy flux is of this form too (equation of state, not the jump
   condition). All choices by `west` are made before they are used: GCC else computes both sides, divisions included. */
static inline __attribute__((always_inline)) void Hllc(PetscInt n, PetscBool plane, const double *const left[4],
                                                       const double *const right[4], double *const flux[4])
{
  In  rl = left[0], pl = left[1], ul = left[2], tl = left[3], rr = right[0], pr = right[1], ur = right[2], tr = right[3];
  Out f0 = flux[0], f1 = flux[1], f2 = flux[2], f3 = flux[3];

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) {
    const int    hot = pl[i] * rr[i] > pr[i] * rl[i]; /* the faster sound is on the left */
    const double c = sqrt(GAMMA * (hot ? pl[i] : pr[i]) / (hot ? rl[i] : rr[i]));
    const double sl = EkLeast(ul[i], ur[i]) - c, sr = EkMost(ul[i], ur[i]) + c;
    const double ml = rl[i] * (sl - ul[i]), mr = rr[i] * (sr - ur[i]);
    const double um = (mr * ur[i] - ml * ul[i] + (pl[i] - pr[i])) / (mr - ml); /* contact */
    const int    west = um >= 0, star = sl * sr < 0;
    const double r0 = west ? rl[i] : rr[i], u0 = west ? ul[i] : ur[i], p0 = west ? pl[i] : pr[i],
                 t0 = plane ? (west ? tl[i] : tr[i]) : 0.0;
    const double s0 = west ? sl : sr, m0 = west ? ml : mr;
    const double rm = m0 / (s0 - um), pm = pl[i] + ml * (um - ul[i]);
    const double r = star ? rm : r0, u = star ? um : u0, p = star ? pm : p0, mass = r * u, t = plane ? t0 : 0.0;

    f0[i] = mass;
    f1[i] = u * (GAMMA / (GAMMA - 1) * p + 0.5 * r * (u * u + t * t));
    f2[i] = mass * u + p;
    if (plane) f3[i] = mass * t;
  }
}

static void HllcLine(PetscInt n, const double *const left[4], const double *const right[4], double *const flux[4])
{
  Hllc(n, PETSC_FALSE, left, right, flux);
}

static void HllcPlane(PetscInt n, const double *const left[4], const double *const right[4], double *const flux[4])
{
  Hllc(n, PETSC_TRUE, left, right, flux);
}

/* out = q - rx (xhigh - xlow) - ry (y[1..] - y[0..]), one field of a row */
static void DivergePlane(PetscInt n, double rx, double ry, In xlow, In xhigh, In y, const double *q, double *out)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) out[j] = q[j] - (rx * (xhigh[j] - xlow[j]) + ry * (y[j + 1] - y[j]));
}

static void DivergeLine(PetscInt n, double r, In flux, const double *q, double *out)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) out[j] = q[j] - r * (flux[j + 1] - flux[j]);
}

/* ---- conserved to primitive -------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void Convert(PetscInt n, PetscBool plane, In rho, Out energy, In mx, In my, Out r,
                                                          Out p, Out u, Out v)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) {
    const double inverse = 1 / rho[j], kinetic = 0.5 * inverse * (mx[j] * mx[j] + (plane ? my[j] * my[j] : 0.0));
    const double pressure = (GAMMA - 1) * (energy[j] - kinetic);
    const int    low = pressure <= 1e-8;

    r[j] = rho[j];
    u[j] = mx[j] * inverse;
    if (plane) v[j] = my[j] * inverse;
    p[j] = low ? 1e-4 : pressure;
    energy[j] = low ? kinetic + 1e-4 / (GAMMA - 1) : energy[j];
  }
}

/* Largest c + |u| and c + |v| of n cells: no padding, its values mean nothing */
static inline __attribute__((always_inline)) void Fastest(PetscInt n, PetscBool plane, In r, In p, In u, In v,
                                                          double *restrict along, double *restrict beside)
{
  double first = *along, second = *beside;

#pragma omp simd reduction(max : first, second)
  for (PetscInt j = 0; j < n; j++) {
    const double c = sqrt(GAMMA * p[j] / r[j]);

    first = EkMost(c + fabs(u[j]), first);
    if (plane) second = EkMost(c + fabs(v[j]), second);
  }
  *along = first;
  *beside = second;
}

/* q: the row's fields, patch->length apart */
static void ConvertRow(const EkPatch *patch, PetscInt i, double *q, double *w, double speed[2])
{
  const PetscInt  n = EkLanesUp(patch->n[1]);
  const ptrdiff_t l = patch->length;
  double         *to = EkRow(patch, w, i, 0);

  if (patch->dim == 2)
    Convert(n, PETSC_TRUE, q, q + l, q + 2 * l, q + 3 * l, to, to + l, to + 2 * l, to + 3 * l);
  else
    Convert(n, PETSC_FALSE, q, q + l, q + 2 * l, NULL, to, to + l, to + 2 * l, NULL);
  EkFillEnds(patch, w, i, 0);
  if (!speed) return;
  if (patch->dim == 2)
    Fastest(patch->n[1], PETSC_TRUE, to, to + l, to + 2 * l, to + 3 * l, &speed[0], &speed[1]);
  else
    Fastest(patch->n[1], PETSC_FALSE, to, to + l, to + 2 * l, NULL, &speed[1], &speed[0]);
}

void EkPrimitivesRow(const EkPatch *patch, PetscInt i, double *q, double *w, double speed[2])
{
  ConvertRow(patch, i, EkRow(patch, q, i, 0), w, speed);
}

void EkPrimitives(const EkPatch *patch, double *q, double *w, double speed[2])
{
  for (PetscInt i = 0; i < patch->n[0]; i++) EkPrimitivesRow(patch, i, q, w, speed);
}

/* ---- one stage --------------------------------------------------------------------------------------------- */

/* Rows of the pipeline: each group is four fields of `length` doubles. */
enum { LOW, HIGH, HIGH_BEFORE, FLUX, FLUX_BEFORE, FLUX_Y, NEW, GROUPS };

typedef struct {
  const EkPatch *patch;
  double        *group[GROUPS][4];
} Pipeline;

size_t EkKernelScratch(const EkPatch *patch)
{
  return (size_t)(4 * GROUPS * patch->length);
}

static void Swap(double *a[4], double *b[4])
{
  double *c[4];

  memcpy(c, a, sizeof(c));
  memcpy(a, b, sizeof(c));
  memcpy(b, c, sizeof(c));
}

/* Fluxes along x through the faces below row i; those of the row before become FLUX_BEFORE, this row's high faces HIGH_BEFORE.
   The first call gives no fluxes. */
static void FluxesX(Pipeline *line, double *w, PetscInt i)
{
  const EkPatch  *patch = line->patch;
  const PetscInt  n = EkLanesUp(patch->n[1]);
  const ptrdiff_t s = patch->stride;

  for (int k = 0; k < 4; k++) {
    const double *row = EkRow(patch, w, i, k);

    EkReconstruct(n, row - s, row, row + s, line->group[LOW][k], line->group[HIGH][k]);
  }
  Swap(line->group[FLUX], line->group[FLUX_BEFORE]);
  if (i >= 0) {
    HllcPlane(n, (const double *const *)line->group[HIGH_BEFORE], (const double *const *)line->group[LOW], line->group[FLUX]);
  }
  Swap(line->group[HIGH], line->group[HIGH_BEFORE]);
}

/* Fluxes along the row through its n[1]+1 faces; LOW, HIGH are overwritten */
static void FluxesAlong(Pipeline *line, double *w, PetscInt i)
{
  const EkPatch *patch = line->patch;
  const PetscInt n = EkLanesUp(patch->n[1] + 1);
  const int      place[4] = {0, 1, EkAlong(patch, 1), EkAcross(patch, 1)};
  const double  *left[4] = {NULL}, *right[4] = {NULL};
  double        *flux[4] = {NULL};

  for (int k = 0; k < patch->fields; k++) {
    const double *row = EkRow(patch, w, i, place[k]) - 1;

    EkReconstruct(EkLanesUp(patch->n[1] + 2), row - 1, row, row + 1, line->group[LOW][k], line->group[HIGH][k]);
    left[k] = line->group[HIGH][k];
    right[k] = line->group[LOW][k] + 1;
    flux[k] = line->group[FLUX_Y][place[k]];
  }
  if (patch->dim == 2)
    HllcPlane(n, left, right, flux);
  else
    HllcLine(n, left, right, flux);
}

/* Row i of q1 and w1 from the fluxes around it; FLUX holds those above it, FLUX_BEFORE below */
static void UpdateRow(Pipeline *line, const double ratio[2], PetscInt i, double *q, double *q1, double *w1, double speed[2])
{
  const EkPatch *patch = line->patch;
  const PetscInt n = EkLanesUp(patch->n[1]);
  double        *out = q1 ? EkRow(patch, q1, i, 0) : line->group[NEW][0];

  for (int k = 0; k < patch->fields; k++) {
    const double *from = EkRow(patch, q, i, k);
    double       *to = out + k * patch->length;

    if (patch->dim == 2)
      DivergePlane(n, ratio[0], ratio[1], line->group[FLUX_BEFORE][k], line->group[FLUX][k], line->group[FLUX_Y][k], from, to);
    else
      DivergeLine(n, ratio[1], line->group[FLUX_Y][k], from, to);
  }
  ConvertRow(patch, i, out, w1, speed);
}

void EkEulerUpdate(const EkPatch *patch, const double ratio[2], double *w, double *q, double *q1, double *w1, double speed[2],
                   double *scratch)
{
  Pipeline line = {.patch = patch};

  for (int g = 0; g < GROUPS; g++) {
    for (int k = 0; k < 4; k++) line.group[g][k] = scratch + (4 * g + k) * patch->length;
  }
  if (patch->dim == 2) {
    FluxesX(&line, w, -1);
    FluxesX(&line, w, 0);
  }
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    if (patch->dim == 2) FluxesX(&line, w, i + 1);
    FluxesAlong(&line, w, i);
    UpdateRow(&line, ratio, i, q, q1, w1, speed);
  }
}
