#include "patch.h"

typedef double *restrict Out;
typedef const double *restrict In;

/* Through n faces between cells (a: before, b: behind the face): the flux of energy, which is the work of the others, and those
   of momentum along (cu) and across (cv) the axis */
static inline __attribute__((always_inline)) void Fluxes(PetscInt n, PetscBool plane, double cu, double cv, In ra, In rb, In ua,
                                                         In ub, In va, In vb, double *const flux[3])
{
  Out fe = flux[0], fu = flux[1], fv = flux[2];

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) {
    const double half = 0.5 * (ra[j] + rb[j]), u = half * cu * (ub[j] - ua[j]), v = plane ? half * cv * (vb[j] - va[j]) : 0.0;

    fe[j] = 0.5 * (u * (ua[j] + ub[j]) + (plane ? v * (va[j] + vb[j]) : 0.0));
    fu[j] = u;
    if (plane) fv[j] = v;
  }
}

static inline __attribute__((always_inline)) void Update(PetscInt n, PetscBool plane, double *const low[3], double *const high[3],
                                                         In inverse, Out energy, Out mu, Out mv, Out u, Out v)
{
  In l0 = low[0], l1 = low[1], l2 = low[2], h0 = high[0], h1 = high[1], h2 = high[2];

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) {
    const double a = mu[j] + (h1[j] - l1[j]), b = plane ? mv[j] + (h2[j] - l2[j]) : 0.0;

    energy[j] += h0[j] - l0[j];
    mu[j] = a;
    u[j] = a * inverse[j];
    if (plane) mv[j] = b;
    if (plane) v[j] = b * inverse[j];
  }
}

static void FluxesPlane(PetscInt n, double cu, double cv, In ra, In rb, In ua, In ub, In va, In vb, double *const flux[3])
{
  Fluxes(n, PETSC_TRUE, cu, cv, ra, rb, ua, ub, va, vb, flux);
}

static void UpdatePlane(PetscInt n, double *const low[3], double *const high[3], In inverse, Out energy, Out mu, Out mv, Out u,
                        Out v)
{
  Update(n, PETSC_TRUE, low, high, inverse, energy, mu, mv, u, v);
}

static void Invert(PetscInt n, In density, Out inverse)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt j = 0; j < n; j++) inverse[j] = 1 / density[j];
}

/* What a substep works with; rows of `length` doubles in the scratch */
typedef struct {
  const EkPatch *patch;
  double        *w, *q;
  double        *low[3], *high[3]; /* through the faces on both sides of a row */
  double        *face[3];          /* along the row */
  double        *inverse;          /* 1/density */
} Substep;

/* The faces above row i, then the row itself; row -1 has no cells here. */
static void SweepX(Substep *s, PetscInt i, double normal, double across)
{
  const EkPatch  *patch = s->patch;
  const PetscInt  n = EkLanesUp(patch->n[1]);
  const ptrdiff_t up = patch->stride;
  double         *r = EkRow(patch, s->w, i, 0), *u = EkRow(patch, s->w, i, 2), *v = EkRow(patch, s->w, i, 3);

  FluxesPlane(n, normal, across, r, r + up, u, u + up, v, v + up, s->high);
  if (i >= 0) {
    UpdatePlane(n, s->low, s->high, s->inverse, EkRow(patch, s->q, i, 1), EkRow(patch, s->q, i, 2), EkRow(patch, s->q, i, 3), u,
                v);
  }
  for (int k = 0; k < 3; k++) {
    double *swap = s->low[k];

    s->low[k] = s->high[k];
    s->high[k] = swap;
  }
}

static void SweepAlong(Substep *s, PetscInt i, double normal, double across)
{
  const EkPatch *patch = s->patch;
  const PetscInt n = EkLanesUp(patch->n[1]), faces = EkLanesUp(patch->n[1] + 1);
  const int      along = EkAlong(patch, 1), beside = EkAcross(patch, 1);
  double *const  next[3] = {s->face[0] + 1, s->face[1] + 1, s->face[2] + 1};
  double        *r = EkRow(patch, s->w, i, 0), *u = EkRow(patch, s->w, i, along), *energy = EkRow(patch, s->q, i, 1),
         *mu = EkRow(patch, s->q, i, along);

  EkFillEnds(patch, s->w, i, 2);
  if (patch->dim == 2) {
    double *v = EkRow(patch, s->w, i, beside);

    FluxesPlane(faces, normal, across, r - 1, r, u - 1, u, v - 1, v, s->face);
    UpdatePlane(n, s->face, next, s->inverse, energy, mu, EkRow(patch, s->q, i, beside), u, v);
  } else {
    Fluxes(faces, PETSC_FALSE, normal, 0, r - 1, r, u - 1, u, NULL, NULL, s->face);
    Update(n, PETSC_FALSE, s->face, next, s->inverse, energy, mu, NULL, u, NULL);
  }
}

/* A row is swept along y as soon as its sweep along x is done. */
void EkViscousUpdate(const EkPatch *patch, const double normal[2], const double across[2], PetscBool last, double *w, double *q,
                     double speed[2], double *scratch)
{
  Substep s = {.patch = patch, .w = w, .q = q, .inverse = scratch};

  for (int k = 0; k < 3; k++) {
    s.low[k] = scratch + (1 + k) * patch->length;
    s.high[k] = scratch + (4 + k) * patch->length;
    s.face[k] = scratch + (7 + k) * patch->length;
  }
  if (patch->dim == 2) SweepX(&s, -1, normal[0], across[0]);
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    Invert(EkLanesUp(patch->n[1]), EkRow(patch, w, i, 0), s.inverse);
    if (patch->dim == 2) SweepX(&s, i, normal[0], across[0]);
    SweepAlong(&s, i, normal[1], across[1]);
    if (last) EkPrimitivesRow(patch, i, q, w, speed);
  }
}
