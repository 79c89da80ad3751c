/* ranks: 1 2 */
#include "evenkeel/pde.h"
#include "support.h"
#include <complex.h>

#define NX   32
#define MOST 4 /* largest wavenumber */

static void Draw(const char *name, const EkPdeSet *set, uint64_t trajectory, double *field[EK_CFD_FIELDS])
{
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, EkFamilyFind(&EkInitialFamily, name));
  EkRandom         stream = EkRandomStream(11, EK_RANDOM_TRAJECTORY, trajectory);

  for (int f = 0; f < EK_CFD_FIELDS; f++) field[f] = malloc((size_t)(set->nx * set->nx) * sizeof(double));
  EK_OK(initial->draw(set, &stream, field));
}

static void Free(double *field[EK_CFD_FIELDS])
{
  for (int f = 0; f < EK_CFD_FIELDS; f++) free(field[f]);
}

static double MeanSpeed(double *const field[], PetscInt n)
{
  double sum = 0;

  for (PetscInt c = 0; c < n * n; c++) sum += hypot(field[2][c], field[3][c]);
  return sum / (double)(n * n);
}

/* ---- 2D_turbulence ------------------------------------------------------------------------------------------ */

/* <f e^(-i k.x)>, x at cell centres */
static double complex Mode(const double *f, int kx, int ky)
{
  double complex sum = 0;

  for (int i = 0; i < NX; i++) {
    for (int j = 0; j < NX; j++) sum += f[i * NX + j] * cexp(-2 * M_PI * I * (kx * (i + 0.5) + ky * (j + 0.5)) / NX);
  }
  return sum / (NX * NX);
}

/* All of the velocity is in modes k with both components in -4..-1, 1..4, and every one of them is across k. */
static void TurbulenceHasNoDivergence(void **unused)
{
  const EkPdeSet set = {.nx = NX, .M = 0.3};

  (void)unused;
  for (uint64_t t = 0; t < 3; t++) {
    double *field[EK_CFD_FIELDS], energy = 0, modes = 0;

    Draw("2D_turbulence", &set, t, field);
    for (int c = 0; c < NX * NX; c++) energy += (pow(field[2][c], 2) + pow(field[3][c], 2)) / (NX * NX);
    for (int kx = -MOST; kx <= MOST; kx++) {
      for (int ky = -MOST; ky <= MOST; ky++) {
        const double complex u = Mode(field[2], kx, ky), v = Mode(field[3], kx, ky);

        if (kx * ky == 0) assert_true(cabs(u) + cabs(v) < 1e-13);
        if (kx * ky == 0) continue;
        modes += pow(cabs(u), 2) + pow(cabs(v), 2);
        assert_true(cabs(kx * u + ky * v) < 1e-13);
      }
    }
    assert_true(fabs(modes / energy - 1) < 1e-12);
    Free(field);
  }
}

/* Central differences see a divergence of second order in the size of cells, far below that of the parts. */
static double DiscreteDivergence(PetscInt n)
{
  const EkPdeSet set = {.nx = n, .M = 0.3};
  double        *field[EK_CFD_FIELDS], sum = 0, parts = 0;

  Draw("2D_turbulence", &set, 5, field);
  for (PetscInt i = 0; i < n; i++) {
    for (PetscInt j = 0; j < n; j++) {
      const double *u = field[2], *v = field[3];
      const double  du = u[(i + 1) % n * n + j] - u[(i + n - 1) % n * n + j],
                   dv = v[i * n + (j + 1) % n] - v[i * n + (j + n - 1) % n];

      sum += fabs(du + dv);
      parts += fabs(du) + fabs(dv);
    }
  }
  Free(field);
  return sum / parts;
}

static void TurbulenceHasNoDivergenceOnAGrid(void **unused)
{
  const double coarse = DiscreteDivergence(64), fine = DiscreteDivergence(128);

  (void)unused;
  assert_true(fine < 5e-3);
  assert_true(fabs(log2(coarse / fine) - 2) < 0.1);
}

/* Mean speed 1, M times the speed of sound; amplitudes fall as |k|^(-1/2): with it the energy of modes (1, 1) and (4, 4) over
 * many draws. */
static void TurbulenceIsAsPrescribed(void **unused)
{
  const EkPdeSet set = {.nx = NX, .M = 0.3};
  const int      draws = 40;
  double         large = 0, small = 0;

  (void)unused;
  for (int t = 0; t < draws; t++) {
    double *field[EK_CFD_FIELDS];

    Draw("2D_turbulence", &set, (uint64_t)t, field);
    assert_true(fabs(MeanSpeed(field, NX) - 1) < 1e-12);
    for (int c = 0; c < NX * NX; c++) {
      assert_true(field[0][c] == 1);
      assert_true(fabs(1 / sqrt(EK_CFD_GAMMA * field[1][c] / field[0][c]) / set.M - 1) < 1e-12);
    }
    for (int sign = -1; sign < 2; sign += 2) {
      large += pow(cabs(Mode(field[2], 1, sign)), 2) + pow(cabs(Mode(field[3], 1, sign)), 2);
      small += pow(cabs(Mode(field[2], 4, 4 * sign)), 2) + pow(cabs(Mode(field[3], 4, 4 * sign)), 2);
    }
    Free(field);
  }
  assert_true(large / small > 2.4 && large / small < 6.5); /* 4 */
}

/* ---- KH -------------------------------------------------------------------------------------------------------- */

/* Two streams with a wavy border between them, which makes 1, 2 or 3 waves */
static void StreamsAreAsPrescribed(void **unused)
{
  const PetscInt n = 200;
  const EkPdeSet set = {.nx = n, .M = 0.2};
  int            seen[4] = {0};
  double         least = 10, most = 0;

  (void)unused;
  for (uint64_t t = 0; t < 40; t++) {
    double *field[EK_CFD_FIELDS], ratio, mean = 0;
    int     crossings = 0;

    Draw("KH", &set, t, field);
    for (PetscInt i = 0; i < n; i++) { /* the mean of a column tells how high the border is */
      double here = 0, next = 0;

      for (PetscInt j = 0; j < n; j++) {
        const PetscInt c = i * n + j;

        mean += field[0][c] / (double)(n * n);
        here += field[0][c] * field[2][c];
        next += field[0][(i + 1) % n * n + j] * field[2][(i + 1) % n * n + j];
        assert_true(fabs(EK_CFD_GAMMA * field[1][c] * set.M * set.M - 1) < 1e-12 && field[3][c] == 0);
      }
      here -= (field[0][n - 1] - field[0][0]) * (double)n / 2;
      next -= (field[0][n - 1] - field[0][0]) * (double)n / 2;
      crossings += here * next < 0;
      assert_true(fabs(here) <= 2 * 0.005 * (double)n * (1 + 1e-9));
    }
    ratio = field[0][0] / field[0][n - 1];
    least = fmin(least, ratio);
    most = fmax(most, ratio);
    assert_true(fabs(mean - 1) < 1e-10 && fabs(MeanSpeed(field, n) - 1) < 0.01);
    assert_true(fabs(field[0][0] + field[0][n - 1] - 2) < 1e-12);
    for (PetscInt i = 0; i < n; i++) {
      assert_true(field[2][i * n + n / 2 - 3] == -1 && field[2][i * n + n / 2 + 2] == 1);
      assert_true(field[0][i * n + n / 2 - 3] == field[0][0] && field[0][i * n + n / 2 + 2] == field[0][n - 1]);
    }
    assert_true(crossings == 2 || crossings == 4 || crossings == 6);
    seen[crossings / 2]++;
    Free(field);
  }
  assert_true(seen[1] && seen[2] && seen[3]);
  assert_true(least >= 0.5 && least < 0.6 && most <= 2 && most > 1.8);
}

/* The border becomes unstable: some motion across it after a while, none without its wave's columns */
static void StreamsRollUp(void **unused)
{
  const PetscInt  n = 48;
  const EkPdeSet  set = {.nx = n, .M = 0.5};
  const EkCfdSpec spec = {2, {n, n}, {1, 1}, EkFamilyFind(&EkBoundaryFamily, "periodic_x"), 1e-8, 1e-8};
  double         *field[EK_CFD_FIELDS], early = 0, late = 0;
  PetscInt64      steps = 0;
  PetscBool       sound;
  EkCfd           cfd;

  (void)unused;
  Draw("KH", &set, 1, field);
  EK_OK(EkCfdCreate(EkTestRun()->comm, &spec, &cfd));
  EK_OK(EkCfdSetState(cfd, (const double *const *)field));
  for (int part = 0; part < 2; part++) {
    EK_OK(EkCfdAdvance(cfd, part ? 0.8 : 0.1, &steps, &sound));
    assert_true(sound);
    EK_OK(EkCfdGetState(cfd, field));
    for (PetscInt c = 0; EkTestRun()->rank == 0 && c < n * n; c++)
      *(part ? &late : &early) += fabs(field[3][c]) / (double)(n * n);
  }
  if (EkTestRun()->rank == 0) assert_true(early > 1e-4 && late > 5 * early && late < 1);
  EK_OK(EkCfdDestroy(&cfd));
  Free(field);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TurbulenceHasNoDivergence),
    cmocka_unit_test(TurbulenceHasNoDivergenceOnAGrid),
    cmocka_unit_test(TurbulenceIsAsPrescribed),
    cmocka_unit_test(StreamsAreAsPrescribed),
    cmocka_unit_test(StreamsRollUp),
};
EK_TEST_MAIN(tests)
