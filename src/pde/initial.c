#include "evenkeel/pde.h"
#include <complex.h>
#include <math.h>

#define MODES 8 /* wavenumbers -4..-1, 1..4 along each axis; none with a zero component */

static int Wavenumber(int m)
{
  return m < MODES / 2 ? m - MODES / 2 : m - MODES / 2 + 1;
}

/* f(x, y) = sum over modes of |k|^(-1/2) sin(k.x + phase), k = 2 pi (i, j), phases drawn mode by mode, on n x n cell centres of
   the unit box. Summed over j first: f = Im sum_i e^(i kx x) row_i(y). */
static PetscErrorCode RandomField(EkRandom *stream, PetscInt n, double *f)
{
  double complex *row, *wave;

  PetscFunctionBegin;
  PetscCall(PetscCalloc2(MODES * n, &row, MODES * n, &wave));
  for (int m = 0; m < MODES; m++) {
    for (PetscInt y = 0; y < n; y++) wave[m * n + y] = cexp(2 * M_PI * I * Wavenumber(m) * ((double)y + 0.5) / (double)n);
  }
  for (int i = 0; i < MODES; i++) {
    for (int j = 0; j < MODES; j++) {
      const double         k = 2 * M_PI * hypot(Wavenumber(i), Wavenumber(j));
      const double complex amplitude = cexp(I * EkUniformIn(stream, 0, 2 * M_PI)) / sqrt(k);

      for (PetscInt y = 0; y < n; y++) row[i * n + y] += amplitude * wave[j * n + y];
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

/* Fades the perturbations out outside a random rectangle */
static PetscErrorCode ApplyWindow(EkRandom *stream, PetscInt n, double density, double pressure, double *const field[])
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
    for (PetscInt y = 0; y < n; y++) {
      const double   w = window[0][x] * window[1][y];
      const PetscInt c = x * n + y;

      field[0][c] = density + w * (field[0][c] - density);
      field[1][c] = pressure + w * (field[1][c] - pressure);
      field[2][c] *= w;
      field[3][c] *= w;
    }
  }
  PetscCall(PetscFree2(window[0], window[1]));
  PetscFunctionReturn(0);
}

/* Uniform gas of random density d0 and temperature T0 under random waves; mean speed M times the sound speed sqrt(gamma T0). In
   half of the draws the waves fill a random rectangle only. The numbers are drawn in the order below whatever the window does.
   Source: PDEBench, 2D_rand. */
static PetscErrorCode DrawRand2D(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  const double   d0 = EkUniformIn(stream, 0.1, 10), T0 = EkUniformIn(stream, 0.1, 10);
  const double   delta_d = EkUniformIn(stream, 0.01, 0.2), delta_p = EkUniformIn(stream, 0.01, 0.2);
  const PetscInt count = set->nx * set->nx;

  PetscFunctionBegin;
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(RandomField(stream, set->nx, field[f]));
  Perturb(count, d0, delta_d, field[0]);
  Perturb(count, d0 * T0, delta_p, field[1]);
  ScaleSpeed(count, set->M * sqrt(EK_CFD_GAMMA * T0), field[2], field[3]);
  if (EkUniform(stream) < 0.5) PetscCall(ApplyWindow(stream, set->nx, d0, d0 * T0, field));
  PetscFunctionReturn(0);
}

static const EkInitial initials[] = {
    {{"2D_rand", "uniform gas under random waves of density, pressure and velocity, windowed in half of the draws"},
     "cfd2d",
     DrawRand2D},
};
const EkFamily EkInitialFamily = EK_FAMILY("generate_initial", initials);
