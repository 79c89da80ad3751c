#include "initial.h"
#include <complex.h>
#include <math.h>

#define MODES 8 /* wavenumbers -4..-1, 1..4 along each axis; none with a zero component */

static int Wavenumber(int m)
{
  return m < MODES / 2 ? m - MODES / 2 : m - MODES / 2 + 1;
}

/* amplitude[i][j], of mode (i, j): |k|^(-1/2) e^(i phase) */
typedef struct {
  double complex amplitude[MODES][MODES];
} Spectrum;

static void DrawSpectrum(EkRandom *stream, Spectrum *spectrum)
{
  for (int i = 0; i < MODES; i++) {
    for (int j = 0; j < MODES; j++) {
      const double k = 2 * M_PI * hypot(Wavenumber(i), Wavenumber(j));

      spectrum->amplitude[i][j] = cexp(I * EkUniformIn(stream, 0, 2 * M_PI)) / sqrt(k);
    }
  }
}

/* f = Im sum of amplitude e^(i k.x), over j first: f = Im sum_i e^(i kx x) row_i(y) */
static PetscErrorCode SumWaves(const Spectrum *spectrum, PetscInt n, double *f)
{
  double complex *row, *wave;

  PetscFunctionBegin;
  PetscCall(PetscCalloc2(MODES * n, &row, MODES * n, &wave));
  for (int m = 0; m < MODES; m++) {
    for (PetscInt y = 0; y < n; y++) wave[m * n + y] = cexp(2 * M_PI * I * Wavenumber(m) * ((double)y + 0.5) / (double)n);
  }
  for (int i = 0; i < MODES; i++) {
    for (int j = 0; j < MODES; j++) {
      for (PetscInt y = 0; y < n; y++) row[i * n + y] += spectrum->amplitude[i][j] * wave[j * n + y];
    }
  }
  for (PetscInt x = 0; x < n; x++) {
    for (PetscInt y = 0; y < n; y++) {
      double sum = 0;

      for (int i = 0; i < MODES; i++) {
        sum += creal(wave[i * n + x]) * cimag(row[i * n + y]) + cimag(wave[i * n + x]) * creal(row[i * n + y]);
      }
      f[x * n + y] = sum;
    }
  }
  PetscCall(PetscFree2(row, wave));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRandomWaves(EkRandom *stream, PetscInt n, double *f)
{
  Spectrum spectrum;

  PetscFunctionBegin;
  DrawSpectrum(stream, &spectrum);
  PetscCall(SumWaves(&spectrum, n, f));
  PetscFunctionReturn(0);
}

/* f becomes base (1 + delta f/<|f|>) */
static void Perturb(PetscInt count, double base, double delta, double *f)
{
  double sum = 0;

  for (PetscInt c = 0; c < count; c++) sum += fabs(f[c]);
  for (PetscInt c = 0; c < count; c++) f[c] = base * (1 + delta * f[c] * (double)count / sum);
}

/* (u, v) scaled to a mean speed */
static void ScaleSpeed(PetscInt count, double speed, double *u, double *v)
{
  double sum = 0;

  for (PetscInt c = 0; c < count; c++) sum += hypot(u[c], v[c]);
  for (PetscInt c = 0; c < count; c++) {
    u[c] *= speed * (double)count / sum;
    v[c] *= speed * (double)count / sum;
  }
}

/* 1 inside [lo, hi], 0 outside, edges 0.01 wide */
static void Window(PetscInt n, double lo, double hi, double *window)
{
  for (PetscInt i = 0; i < n; i++) {
    const double x = ((double)i + 0.5) / (double)n;

    window[i] = 0.5 * (tanh((x - lo) / 0.01) - tanh((x - hi) / 0.01));
  }
}

PetscErrorCode EkRandomWindow(EkRandom *stream, PetscInt n, double *w)
{
  double *window[2], lo, hi;

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(n, &window[0], n, &window[1]));
  for (int d = 0; d < 2; d++) {
    lo = EkUniformIn(stream, 0.1, 0.45);
    hi = EkUniformIn(stream, 0.55, 0.9);
    Window(n, lo, hi, window[d]);
  }
  for (PetscInt x = 0; x < n; x++) {
    for (PetscInt y = 0; y < n; y++) w[x * n + y] = window[0][x] * window[1][y];
  }
  PetscCall(PetscFree2(window[0], window[1]));
  PetscFunctionReturn(0);
}

/* Fades the perturbations out outside a random rectangle */
static PetscErrorCode ApplyWindow(EkRandom *stream, PetscInt n, double density, double pressure, double *const field[])
{
  double *w;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(n * n, &w));
  PetscCall(EkRandomWindow(stream, n, w));
  for (PetscInt c = 0; c < n * n; c++) {
    field[0][c] = density + w[c] * (field[0][c] - density);
    field[1][c] = pressure + w[c] * (field[1][c] - pressure);
    field[2][c] *= w[c];
    field[3][c] *= w[c];
  }
  PetscCall(PetscFree(w));
  PetscFunctionReturn(0);
}

/* The numbers are drawn in the order below whatever the window does. */
PetscErrorCode EkDrawRand2D(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  const double   d0 = EkUniformIn(stream, 0.1, 10), T0 = EkUniformIn(stream, 0.1, 10);
  const double   delta_d = EkUniformIn(stream, 0.01, 0.2), delta_p = EkUniformIn(stream, 0.01, 0.2);
  const PetscInt count = set->nx * set->nx;

  PetscFunctionBegin;
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(EkRandomWaves(stream, set->nx, field[f]));
  Perturb(count, d0, delta_d, field[0]);
  Perturb(count, d0 * T0, delta_p, field[1]);
  ScaleSpeed(count, set->M * sqrt(EK_CFD_GAMMA * T0), field[2], field[3]);
  if (EkUniform(stream) < 0.5) PetscCall(ApplyWindow(stream, set->nx, d0, d0 * T0, field));
  PetscFunctionReturn(0);
}

/* Takes the part along k from every mode: what is left has no divergence. */
static void Project(Spectrum *u, Spectrum *v)
{
  for (int i = 0; i < MODES; i++) {
    for (int j = 0; j < MODES; j++) {
      const double         kx = Wavenumber(i), ky = Wavenumber(j);
      const double complex along = (kx * u->amplitude[i][j] + ky * v->amplitude[i][j]) / (kx * kx + ky * ky);

      u->amplitude[i][j] -= along * kx;
      v->amplitude[i][j] -= along * ky;
    }
  }
}

PetscErrorCode EkDrawTurbulence2D(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  const PetscInt count = set->nx * set->nx;
  Spectrum       u, v;

  PetscFunctionBegin;
  DrawSpectrum(stream, &u);
  DrawSpectrum(stream, &v);
  Project(&u, &v);
  PetscCall(SumWaves(&u, set->nx, field[2]));
  PetscCall(SumWaves(&v, set->nx, field[3]));
  ScaleSpeed(count, 1, field[2], field[3]);
  for (PetscInt c = 0; c < count; c++) {
    field[0][c] = 1;
    field[1][c] = 1 / (EK_CFD_GAMMA * set->M * set->M);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDrawKelvinHelmholtz(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  const double ratio = EkUniformIn(stream, 0.5, 2), above = 2 / (ratio + 1), below = ratio * above; /* mean density 1 */
  const double waves = 1 + EkInteger(stream, 3);

  PetscFunctionBegin;
  for (PetscInt i = 0; i < set->nx; i++) {
    const double border = 0.5 + 0.005 * sin(2 * M_PI * waves * ((double)i + 0.5) / (double)set->nx);

    for (PetscInt j = 0; j < set->nx; j++) {
      const PetscInt c = i * set->nx + j;
      const double   share = fmin(fmax((double)(j + 1) - border * (double)set->nx, 0), 1); /* of the cell, above */

      field[0][c] = share * above + (1 - share) * below;
      field[1][c] = 1 / (EK_CFD_GAMMA * set->M * set->M);
      field[2][c] = (share * above - (1 - share) * below) / field[0][c];
      field[3][c] = 0;
    }
  }
  PetscFunctionReturn(0);
}
