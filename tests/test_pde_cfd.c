/* ranks: 1 2 3 */
#include "cfd_support.h"

/* ---- order, shocks --------------------------------------------------------------------------------------- */

/* A density wave carried along the diagonal by a uniform flow: exact for the Euler equations */
static double EntropyWaveError(PetscInt n)
{
  const EkCfdSpec spec = Box(n, n, "periodic", 0, 0);
  const double    time = 0.3;
  State           state = NewState(n, n);
  double          error = 0;

  for (PetscInt i = 0; i < n; i++) {
    for (PetscInt j = 0; j < n; j++) SetCell(&state, i, j, 1 + 0.4 * sin(2 * M_PI * (double)(i + j + 1) / (double)n), 1, 1, 0.5);
  }
  Solve(EkTestRun()->comm, &spec, &state, time);
  for (PetscInt i = 0; i < n; i++) {
    for (PetscInt j = 0; j < n; j++) {
      error += fabs(state.field[0][i * n + j] - 1 - 0.4 * sin(2 * M_PI * ((double)(i + j + 1) / (double)n - 1.5 * time))) /
               (double)(n * n);
    }
  }
  FreeState(&state);
  return error;
}

static void SecondOrderWhereSmooth(void **unused)
{
  const double coarse = EntropyWaveError(32), middle = EntropyWaveError(64), fine = EntropyWaveError(128);

  (void)unused;
  assert_true(log2(coarse / middle) > 1.8);
  assert_true(log2(middle / fine) > 1.8);
  assert_true(fine < 5e-4);
}

/* The tube along an axis, `flip`: with left and right exchanged */
static double SodError(PetscInt n, int axis, int flip)
{
  const PetscInt  across = 6, shape[2] = {axis ? across : n, axis ? n : across};
  const double    dx = 1 / (double)n, time = 0.2;
  const EkCfdSpec spec = {
      2, {shape[0], shape[1]}, {(double)shape[0] * dx, (double)shape[1] * dx}, EkFamilyFind(&EkBoundaryFamily, "trans"), 0, 0};
  State  state = NewState(shape[0], shape[1]);
  double error = 0;

  for (PetscInt i = 0; i < shape[0]; i++) {
    for (PetscInt j = 0; j < shape[1]; j++) {
      const int left = ((axis ? j : i) < n / 2) != flip;

      SetCell(&state, i, j, left ? 1 : 0.125, left ? 1 : 0.1, 0, 0);
    }
  }
  Solve(EkTestRun()->comm, &spec, &state, time);
  for (PetscInt i = 0; i < shape[0]; i++) {
    for (PetscInt j = 0; j < shape[1]; j++) {
      const double s = (((double)(axis ? j : i) + 0.5) * dx - 0.5) / time;

      error += fabs(state.field[0][i * shape[1] + j] - SodDensity(flip ? -s : s)) * dx / (double)across;
    }
  }
  FreeState(&state);
  return error;
}

static void SodAgainstTheExactSolution(void **unused)
{
  (void)unused;
  for (int axis = 0; axis < 2; axis++) {
    const double coarse = SodError(100, axis, 0), fine = SodError(200, axis, 0), other = SodError(200, axis, 1);

    assert_true(fine < 4e-3);
    assert_true(coarse / fine > 1.5);
    assert_true(fabs(other - fine) < 1e-10);
  }
}

/* ---- what must not change --------------------------------------------------------------------------------- */

static void Conserved(void **unused)
{
  const double viscosity[] = {0, 0.02};

  (void)unused;
  for (int i = 0; i < 2; i++) {
    const EkCfdSpec spec = Box(40, 28, "periodic", viscosity[i], 0.5 * viscosity[i]);
    State           state = NewState(40, 28);
    double          before[4], after[4], scale[4];

    SetRandom(&state);
    Totals(&state, before, scale);
    assert_true(Solve(EkTestRun()->comm, &spec, &state, 0.3) > 50);
    Totals(&state, after, scale);
    for (int k = 0; k < 4; k++) assert_true(fabs(after[k] - before[k]) < 1e-13 * scale[k]);
    FreeState(&state);
  }
}

static void UniformFlowIsKeptBitForBit(void **unused)
{
  (void)unused;
  for (int b = 0; b < EkBoundaryFamily.count; b++) {
    EkCfdSpec spec = Box(20, 20, "periodic", 0.01, 0.02);
    State     state = NewState(20, 20), before = NewState(20, 20);

    spec.boundary = b;
    for (PetscInt i = 0; i < 20; i++) {
      for (PetscInt j = 0; j < 20; j++) SetCell(&state, i, j, 1.3, 2.1, 0.7, -0.4), SetCell(&before, i, j, 1.3, 2.1, 0.7, -0.4);
    }
    Solve(EkTestRun()->comm, &spec, &before, 0); /* what conversion to conserved variables and back makes of it */
    assert_true(Solve(EkTestRun()->comm, &spec, &state, 0.5) > 50);
    for (int f = 0; f < EK_CFD_FIELDS; f++) assert_memory_equal(state.field[f], before.field[f], 400 * sizeof(double));
    FreeState(&state);
    FreeState(&before);
  }
}

/* The two axes are treated alike: the transposed problem has the transposed solution. */
static void AxesAreAlike(void **unused)
{
  const EkCfdSpec  spec = Box(24, 36, "periodic", 0, 0), turned = Box(36, 24, "periodic", 0, 0);
  static const int place[] = {0, 1, 3, 2};
  State            state = NewState(24, 36), transposed = NewState(36, 24);

  (void)unused;
  SetRandom(&state);
  for (PetscInt i = 0; i < 24; i++) {
    for (PetscInt j = 0; j < 36; j++) {
      for (int f = 0; f < EK_CFD_FIELDS; f++) transposed.field[place[f]][j * 24 + i] = state.field[f][i * 36 + j];
    }
  }
  Solve(EkTestRun()->comm, &spec, &state, 0.1);
  Solve(EkTestRun()->comm, &turned, &transposed, 0.1);
  for (PetscInt i = 0; i < 24; i++) {
    for (PetscInt j = 0; j < 36; j++) {
      for (int f = 0; f < EK_CFD_FIELDS; f++)
        assert_true(fabs(transposed.field[place[f]][j * 24 + i] - state.field[f][i * 36 + j]) < 1e-11);
    }
  }
  FreeState(&state);
  FreeState(&transposed);
}

/* ---- viscosity --------------------------------------------------------------------------------------------- */

#define WAVE 1e-3

/* 2 <f sin(2 pi x)> along an axis */
static double SineAmplitude(const State *state, const double *f, int axis)
{
  double sum = 0;

  for (PetscInt i = 0; i < state->n[0]; i++) {
    for (PetscInt j = 0; j < state->n[1]; j++) {
      sum += f[i * state->n[1] + j] * sin(2 * M_PI * ((double)(axis ? j : i) + 0.5) / (double)state->n[axis]);
    }
  }
  return 2 * sum / (double)(state->n[0] * state->n[1]);
}

/* A velocity wave along an axis, in direction `component`; its amplitude after some time over that before */
static double WaveDecay(const EkCfdSpec *spec, int axis, int component, double time)
{
  State  state = NewState(spec->n[0], spec->n[1]);
  double decay;

  for (PetscInt i = 0; i < spec->n[0]; i++) {
    for (PetscInt j = 0; j < spec->n[1]; j++) {
      const double wave = WAVE * sin(2 * M_PI * ((double)(axis ? j : i) + 0.5) / (double)spec->n[axis]);

      SetCell(&state, i, j, 1, 1, component ? 0 : wave, component ? wave : 0);
    }
  }
  Solve(EkTestRun()->comm, spec, &state, time);
  decay = SineAmplitude(&state, state.field[2 + component], axis) / WAVE;
  FreeState(&state);
  return decay;
}

static void ShearWaveDecays(void **unused)
{
  const double eta = 0.05, time = 0.4;

  (void)unused;
  for (int axis = 0; axis < 2; axis++) {
    const EkCfdSpec spec = Box(axis ? 12 : 64, axis ? 64 : 12, "periodic", eta, 0.3);

    assert_true(fabs(WaveDecay(&spec, axis, 1 - axis, time) / exp(-eta * 4 * M_PI * M_PI * time) - 1) < 5e-3);
  }
}

/* A standing sound wave after one period: half of the longitudinal viscosity 4 eta/3 + zeta damps it, nothing conducts heat. */
static void SoundWaveDecays(void **unused)
{
  const double eta = 0.006, zeta = 0.01, period = 1 / sqrt(EK_CFD_GAMMA);

  (void)unused;
  for (int axis = 0; axis < 2; axis++) {
    const EkCfdSpec spec = Box(axis ? 12 : 96, axis ? 96 : 12, "periodic", eta, zeta);

    assert_true(fabs(WaveDecay(&spec, axis, axis, period) / exp(-0.5 * (4 * eta / 3 + zeta) * 4 * M_PI * M_PI * period) - 1) <
                1e-2);
  }
}

/* Viscous heat appears where the gradients are (the work of the stresses), not where the flow was: at first the pressure's second
   harmonic grows by (gamma-1) eta k^2 A^2/2 a time. */
static void ViscousHeatIsWhereTheShearIs(void **unused)
{
  const EkCfdSpec spec = Box(64, 12, "periodic", 0.02, 0);
  const double    A = 0.1, k = 2 * M_PI, time = 0.01;
  State           state = NewState(64, 12);
  double          harmonic = 0;

  (void)unused;
  for (PetscInt i = 0; i < 64; i++) {
    for (PetscInt j = 0; j < 12; j++) SetCell(&state, i, j, 1, 1, 0, A * sin(k * ((double)i + 0.5) / 64));
  }
  Solve(EkTestRun()->comm, &spec, &state, time);
  for (PetscInt i = 0; i < 64; i++) harmonic += state.field[1][i * 12] * cos(2 * k * ((double)i + 0.5) / 64) / 32;
  assert_true(fabs(harmonic / ((EK_CFD_GAMMA - 1) * spec.eta * k * k * A * A / 2 * time) - 1) < 0.05);
  FreeState(&state);
}

/* ---- ranks, edges ------------------------------------------------------------------------------------------ */

static void SameBitsOnAnyNumberOfRanks(void **unused)
{
  (void)unused;
  for (int b = 0; b < EkBoundaryFamily.count; b++) {
    EkCfdSpec spec = Box(21, 38, "periodic", 0.02, 0.01);
    State     together = NewState(21, 38), alone = NewState(21, 38);

    spec.boundary = b;
    SetRandom(&together);
    SetRandom(&alone);
    assert_int_equal(Solve(EkTestRun()->comm, &spec, &together, 0.1), Solve(PETSC_COMM_SELF, &spec, &alone, 0.1));
    for (int f = 0; f < EK_CFD_FIELDS; f++) assert_memory_equal(together.field[f], alone.field[f], 21 * 38 * sizeof(double));
    FreeState(&together);
    FreeState(&alone);
  }
}

/* Wrapped or mirrored, along x and along y */
static void GhostsAreTakenFromTheRightCells(void **unused)
{
  static const char *const name[] = {"periodic", "trans", "periodic_x"};
  static const PetscInt    ghost[] = {-2, -1, 8, 9}, from[2][4] = {{6, 7, 0, 1}, {1, 0, 7, 6}};
  static const int         mirrored[][2] = {{0, 0}, {1, 1}, {0, 1}};

  (void)unused;
  assert_int_equal(EkBoundaryFamily.count, 3);
  for (int b = 0; b < 3; b++) {
    const EkBoundary *boundary = (const EkBoundary *)EkFamilyMember(&EkBoundaryFamily, EkFamilyFind(&EkBoundaryFamily, name[b]));

    for (int axis = 0; axis < 2; axis++) {
      for (int i = 0; i < 4; i++) assert_int_equal(boundary->source[axis](ghost[i], 8), from[mirrored[b][axis]][i]);
    }
  }
}

/* What varies along x only does not see the edges across, and the other way round. */
static void PeriodicXIsPeriodicAlongXAndOpenAlongY(void **unused)
{
  (void)unused;
  for (int axis = 0; axis < 2; axis++) {
    const EkCfdSpec mixed = Box(30, 30, "periodic_x", 0.01, 0.01), same = Box(30, 30, axis ? "trans" : "periodic", 0.01, 0.01),
                    other = Box(30, 30, axis ? "periodic" : "trans", 0.01, 0.01);
    const EkCfdSpec *spec[] = {&mixed, &same, &other};
    State            state[3];

    for (int s = 0; s < 3; s++) {
      state[s] = NewState(30, 30);
      for (PetscInt i = 0; i < 30; i++) {
        for (PetscInt j = 0; j < 30; j++) {
          const double wave = sin(2 * M_PI * (double)(axis ? j : i) / 30);

          SetCell(&state[s], i, j, 1 + 0.3 * wave, 1, axis ? 0.2 : 0.5, axis ? 0.5 : 0.2);
        }
      }
      Solve(EkTestRun()->comm, spec[s], &state[s], 0.1);
    }
    assert_memory_equal(state[0].field[0], state[1].field[0], 900 * sizeof(double));
    assert_memory_not_equal(state[0].field[0], state[2].field[0], 900 * sizeof(double));
    for (int s = 0; s < 3; s++) FreeState(&state[s]);
  }
}

/* Pressures up to 1e-8 become 1e-4 and the energy follows, in gas that moves too: from there on it is a state that had 1e-4. */
static void PressureHasAFloor(void **unused)
{
  const double pressure[] = {1e-9, 2e-8, 9e-9, 1e-3, -1e-3};

  (void)unused;
  for (int dim = 1; dim <= 2; dim++) {
    const PetscInt  ny = dim == 2 ? 11 : 1;
    const EkCfdSpec spec = dim == 2 ? Box(20, ny, "periodic", 0, 0) : Line(20, "periodic", 0, 0);
    State           low = NewState(20, ny), kept = NewState(20, ny), now = NewState(20, ny);

    for (PetscInt i = 0; i < 20; i++) {
      for (PetscInt j = 0; j < ny; j++) {
        const double p = pressure[(i + 2 * j) % 5];

        SetCell(&low, i, j, 1.3, p, 0.5, dim == 2 ? -0.25 : 0);
        SetCell(&now, i, j, 1.3, p, 0.5, dim == 2 ? -0.25 : 0);
        SetCell(&kept, i, j, 1.3, p > 1e-8 ? p : 1e-4, 0.5, dim == 2 ? -0.25 : 0);
      }
    }
    Solve(EkTestRun()->comm, &spec, &now, 0);
    for (int f = 0; f < 4; f++) {
      for (PetscInt c = 0; c < 20 * ny; c++) assert_true(fabs(now.field[f][c] - kept.field[f][c]) < 1e-15);
    }
    assert_int_equal(Solve(EkTestRun()->comm, &spec, &low, 0.2), Solve(EkTestRun()->comm, &spec, &kept, 0.2));
    for (int f = 0; f < 4; f++) {
      for (PetscInt c = 0; c < 20 * ny; c++) assert_true(fabs(low.field[f][c] - kept.field[f][c]) < 1e-12);
    }
    FreeState(&low), FreeState(&kept), FreeState(&now);
  }
}

static void UnsoundStatesAreNoticed(void **unused)
{
  const EkCfdSpec spec = Box(16, 16, "periodic", 0, 0);
  const double    bad[][4] = {{-1, 1, 0, 0}, {1, NAN, 0, 0}, {1, 1, INFINITY, 0}, {1, 1, 0, 1e9}};

  (void)unused;
  for (int b = 0; b < 4; b++) {
    State      state = NewState(16, 16);
    EkCfd      cfd;
    PetscInt64 steps = 0;
    PetscBool  sound;

    for (PetscInt i = 0; i < 16; i++) {
      for (PetscInt j = 0; j < 16; j++) SetCell(&state, i, j, 1, 1, 0, 0);
    }
    SetCell(&state, 14, 3, bad[b][0], bad[b][1], bad[b][2], bad[b][3]);
    EK_OK(EkCfdCreate(EkTestRun()->comm, &spec, &cfd));
    EK_OK(EkCfdSetState(cfd, (const double *const *)state.field));
    EK_OK(EkCfdAdvance(cfd, 0.01, &steps, &sound));
    assert_false(sound);
    EK_OK(EkCfdDestroy(&cfd));
    FreeState(&state);
  }
}

static void TooSmallAGridIsRefused(void **unused)
{
  const PetscInt  few = 2 * EkTestRun()->size - 1;
  const EkCfdSpec spec = Box(few, 64, "periodic", 0, 0);
  EkCfd           cfd;

  (void)unused;
  EK_FAILS(EkCfdCreate(EkTestRun()->comm, &spec, &cfd), "cannot be split");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(SecondOrderWhereSmooth),
    cmocka_unit_test(SodAgainstTheExactSolution),
    cmocka_unit_test(Conserved),
    cmocka_unit_test(UniformFlowIsKeptBitForBit),
    cmocka_unit_test(AxesAreAlike),
    cmocka_unit_test(ShearWaveDecays),
    cmocka_unit_test(SoundWaveDecays),
    cmocka_unit_test(ViscousHeatIsWhereTheShearIs),
    cmocka_unit_test(GhostsAreTakenFromTheRightCells),
    cmocka_unit_test(PeriodicXIsPeriodicAlongXAndOpenAlongY),
    cmocka_unit_test(SameBitsOnAnyNumberOfRanks),
    cmocka_unit_test(PressureHasAFloor),
    cmocka_unit_test(UnsoundStatesAreNoticed),
    cmocka_unit_test(TooSmallAGridIsRefused),
};
EK_TEST_MAIN(tests)
