#include "patch.h"
#include <math.h>

#define GAMMA EK_CFD_GAMMA

typedef double *restrict Out;
typedef const double *restrict In;

/* w[] and flux[] indices of (density, normal, tangential, pressure or energy) for each axis */
static const int place[2][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}};

static inline double Least(double a, double b)
{
  return a < b ? a : b;
}
static inline double Most(double a, double b)
{
  return a > b ? a : b;
}

/* Values at the low and high face of n cells, from the MC-limited slope: half of it is min(|a|, |b|, |a+b|/4) where the one-sided
   differences a, b agree in sign. The slope never leaves the range of the neighbours, so positive cells have positive faces. */
static void Reconstruct(PetscInt n, In below, In at, In above, Out low, Out high)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) {
    const double a = at[i] - below[i], b = above[i] - at[i], c = 0.25 * (a + b);
    const double least = Least(Least(fabs(a), fabs(b)), fabs(c)), half = a * b > 0 ? copysign(least, c) : 0.0;

    low[i] = at[i] - half;
    high[i] = at[i] + half;
  }
}

/* HLLC flux through n faces. Both the plain and the star flux are f(rho, u, p) of the upwind side, so the state is selected and f
   evaluated once; PDEBench's star energy flux is of this form too (equation of state, not the jump condition). */
static void Hllc(PetscInt n, const double *const left[4], const double *const right[4], double *const flux[4])
{
  In  rl = left[0], ul = left[1], tl = left[2], pl = left[3], rr = right[0], ur = right[1], tr = right[2], pr = right[3];
  Out f0 = flux[0], f1 = flux[1], f2 = flux[2], f3 = flux[3];

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) {
    const int    hot = pl[i] * rr[i] > pr[i] * rl[i]; /* the faster sound is on the left */
    const double c = sqrt(GAMMA * (hot ? pl[i] : pr[i]) / (hot ? rl[i] : rr[i]));
    const double sl = Least(ul[i], ur[i]) - c, sr = Most(ul[i], ur[i]) + c;
    const double ml = rl[i] * (sl - ul[i]), mr = rr[i] * (sr - ur[i]);
    const double sm = (mr * ur[i] - ml * ul[i] + (pl[i] - pr[i])) / (mr - ml); /* contact */
    const double pm = pl[i] + ml * (sm - ul[i]);
    const int    west = sm >= 0, star = sl * sr < 0;
    const double rm = (west ? ml : mr) / ((west ? sl : sr) - sm);
    const double r = star ? rm : (west ? rl[i] : rr[i]);
    const double u = star ? sm : (west ? ul[i] : ur[i]);
    const double p = star ? pm : (west ? pl[i] : pr[i]);
    const double t = west ? tl[i] : tr[i], mass = r * u;

    f0[i] = mass;
    f1[i] = mass * u + p;
    f2[i] = mass * t;
    f3[i] = u * (GAMMA / (GAMMA - 1) * p + 0.5 * r * (u * u + t * t));
  }
}

/* out = q - rx (xhigh - xlow) - ry (y[1..] - y[0..]), one field of a row */
static void Diverge(PetscInt n, double rx, double ry, In xlow, In xhigh, In y, const double *q, double *out)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) out[j] = q[j] - (rx * (xhigh[j] - xlow[j]) + ry * (y[j + 1] - y[j]));
}

/* Rows of the pipeline: each group is four fields of `length` doubles. */
enum { LOW, HIGH, HIGH_BEFORE, FLUX, FLUX_BEFORE, FLUX_Y, GROUPS };

static PetscInt ScratchLength(const EkPatch *patch)
{
  return EkLanesUp(patch->n[1] + 2) + EK_LANES;
}

size_t EkKernelScratch(const EkPatch *patch)
{
  return (size_t)(4 * GROUPS * ScratchLength(patch));
}

static void Swap(double *a[4], double *b[4])
{
  for (int k = 0; k < 4; k++) {
    double *c = a[k];

    a[k] = b[k];
    b[k] = c;
  }
}

/* Faces of row i along x */
static void ReconstructX(const EkPatch *patch, double *const w[4], PetscInt i, double *const low[4], double *const high[4])
{
  for (int k = 0; k < 4; k++) {
    double *row = EkRow(patch, w[place[0][k]], i);

    Reconstruct(EkLanesUp(patch->n[1]), row - patch->stride, row, row + patch->stride, low[k], high[k]);
  }
}

/* Fluxes through the n[1]+1 faces along y of row i; low, high are overwritten */
static void FluxesY(const EkPatch *patch, double *const w[4], PetscInt i, double *const low[4], double *const high[4],
                    double *const flux[4])
{
  const double *right[4];

  for (int k = 0; k < 4; k++) {
    double *row = EkRow(patch, w[place[1][k]], i) - 1;

    Reconstruct(EkLanesUp(patch->n[1] + 2), row - 1, row, row + 1, low[k], high[k]);
    right[k] = low[k] + 1;
  }
  Hllc(EkLanesUp(patch->n[1] + 1), (const double *const *)high, right, flux);
}

void EkEulerUpdate(const EkPatch *patch, const double ratio[2], double *const w[4], double *const q[4], double *const out[4],
                   double *scratch)
{
  const PetscInt length = ScratchLength(patch), n = EkLanesUp(patch->n[1]);
  double        *group[GROUPS][4];

  for (int g = 0; g < GROUPS; g++) {
    for (int k = 0; k < 4; k++) group[g][k] = scratch + (4 * g + k) * length;
  }
  ReconstructX(patch, w, -1, group[LOW], group[HIGH_BEFORE]);
  for (PetscInt i = 0; i <= patch->n[0]; i++) { /* the face below row i, then the row below it */
    ReconstructX(patch, w, i, group[LOW], group[HIGH]);
    Hllc(n, (const double *const *)group[HIGH_BEFORE], (const double *const *)group[LOW], group[FLUX]);
    Swap(group[HIGH], group[HIGH_BEFORE]);
    if (i > 0) {
      FluxesY(patch, w, i - 1, group[LOW], group[HIGH], group[FLUX_Y]);
      for (int k = 0; k < 4; k++) {
        Diverge(n, ratio[0], ratio[1], group[FLUX_BEFORE][k], group[FLUX][k], group[FLUX_Y][place[1][k]],
                EkRow(patch, q[k], i - 1), EkRow(patch, out[k], i - 1));
      }
    }
    Swap(group[FLUX], group[FLUX_BEFORE]);
  }
}

static void PrimitiveRow(PetscInt n, In rho, In mx, In my, Out energy, Out r, Out u, Out v, Out p)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) {
    const double inverse = 1 / rho[j], kinetic = 0.5 * inverse * (mx[j] * mx[j] + my[j] * my[j]);
    const double pressure = (GAMMA - 1) * (energy[j] - kinetic);
    const int    low = pressure <= 1e-8;

    r[j] = rho[j];
    u[j] = mx[j] * inverse;
    v[j] = my[j] * inverse;
    p[j] = low ? 1e-4 : pressure;
    energy[j] = low ? kinetic + 1e-4 / (GAMMA - 1) : energy[j];
  }
}

void EkPrimitives(const EkPatch *patch, double *const q[4], double *const w[4])
{
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    double *a[4], *b[4];

    for (int k = 0; k < 4; k++) {
      a[k] = EkRow(patch, q[k], i);
      b[k] = EkRow(patch, w[k], i);
    }
    PrimitiveRow(EkLanesUp(patch->n[1]), a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]);
  }
}

void EkSpeeds(const EkPatch *patch, double *const w[4], double speed[2])
{
  double along_x = 0, along_y = 0;

  for (PetscInt i = 0; i < patch->n[0]; i++) {
    In r = EkRow(patch, w[0], i), u = EkRow(patch, w[1], i), v = EkRow(patch, w[2], i), p = EkRow(patch, w[3], i);

#pragma omp simd reduction(max : along_x, along_y)
    for (PetscInt j = 0; j < patch->n[1]; j++) {
      const double c = sqrt(GAMMA * p[j] / r[j]);

      along_x = Most(c + fabs(u[j]), along_x);
      along_y = Most(c + fabs(v[j]), along_y);
    }
  }
  speed[0] = along_x;
  speed[1] = along_y;
}
