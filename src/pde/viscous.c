#include "patch.h"

typedef double *restrict Out;
typedef const double *restrict In;

/* Fluxes through n faces between cells (a: before, b: behind the face): of momentum along (cu) and across (cv) the axis, and of
 * energy, their work */
static void Fluxes(PetscInt n, double cu, double cv, In ra, In rb, In ua, In ub, In va, In vb, double *const flux[3])
{
  Out fu = flux[0], fv = flux[1], fe = flux[2];

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) {
    const double half = 0.5 * (ra[j] + rb[j]), u = half * cu * (ub[j] - ua[j]), v = half * cv * (vb[j] - va[j]);

    fu[j] = u;
    fv[j] = v;
    fe[j] = 0.5 * (u * (ua[j] + ub[j]) + v * (va[j] + vb[j]));
  }
}

static void Update(PetscInt n, double *const low[3], double *const high[3], In inverse, Out mu, Out mv, Out energy, Out u, Out v)
{
  In l0 = low[0], l1 = low[1], l2 = low[2], h0 = high[0], h1 = high[1], h2 = high[2];

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) {
    const double a = mu[j] + (h0[j] - l0[j]), b = mv[j] + (h1[j] - l1[j]);

    mu[j] = a;
    mv[j] = b;
    energy[j] += h2[j] - l2[j];
    u[j] = a * inverse[j];
    v[j] = b * inverse[j];
  }
}

static void SweepX(const EkPatch *patch, double cu, double cv, double *const w[4], const double *inverse, double *const q[4],
                   double *low[3], double *high[3])
{
  const PetscInt  n = EkLanesUp(patch->n[1]);
  const ptrdiff_t s = patch->stride;

  for (PetscInt i = -1; i < patch->n[0]; i++) { /* the face above row i, then the row */
    double *r = EkRow(patch, w[0], i), *u = EkRow(patch, w[1], i), *v = EkRow(patch, w[2], i);

    Fluxes(n, cu, cv, r, r + s, u, u + s, v, v + s, high);
    if (i >= 0) {
      Update(n, low, high, inverse + (r - w[0]), EkRow(patch, q[1], i), EkRow(patch, q[2], i), EkRow(patch, q[3], i), u, v);
    }
    for (int k = 0; k < 3; k++) {
      double *swap = low[k];

      low[k] = high[k];
      high[k] = swap;
    }
  }
}

static void SweepY(const EkPatch *patch, double cu, double cv, double *const w[4], const double *inverse, double *const q[4],
                   double *face[3])
{
  double *next[3] = {face[0] + 1, face[1] + 1, face[2] + 1};

  for (PetscInt i = 0; i < patch->n[0]; i++) {
    double *r = EkRow(patch, w[0], i), *u = EkRow(patch, w[1], i), *v = EkRow(patch, w[2], i);

    Fluxes(EkLanesUp(patch->n[1] + 1), cu, cv, r - 1, r, v - 1, v, u - 1, u, face);
    Update(EkLanesUp(patch->n[1]), face, next, inverse + (r - w[0]), EkRow(patch, q[2], i), EkRow(patch, q[1], i),
           EkRow(patch, q[3], i), v, u);
  }
}

void EkViscousSweep(const EkPatch *patch, int axis, double normal, double tangential, double *const w[4], const double *inverse,
                    double *const q[4], double *scratch)
{
  const ptrdiff_t length = EkLanesUp(patch->n[1] + 2) + EK_LANES;
  double         *low[3], *high[3];

  for (int k = 0; k < 3; k++) {
    low[k] = scratch + k * length;
    high[k] = scratch + (3 + k) * length;
  }
  if (axis == 0)
    SweepX(patch, normal, tangential, w, inverse, q, low, high);
  else
    SweepY(patch, normal, tangential, w, inverse, q, low);
}

void EkVelocities(const EkPatch *patch, double *const q[4], double *const w[4], double *inverse)
{
  const PetscInt n = EkLanesUp(patch->n[1]);

  for (PetscInt i = 0; i < patch->n[0]; i++) {
    In  rho = EkRow(patch, q[0], i), mx = EkRow(patch, q[1], i), my = EkRow(patch, q[2], i);
    Out r = EkRow(patch, w[0], i), u = EkRow(patch, w[1], i), v = EkRow(patch, w[2], i), over = EkRow(patch, inverse, i);

#pragma omp simd
    for (PetscInt j = 0; j < n; j++) {
      over[j] = 1 / rho[j];
      r[j] = rho[j];
      u[j] = mx[j] * over[j];
      v[j] = my[j] * over[j];
    }
  }
}
