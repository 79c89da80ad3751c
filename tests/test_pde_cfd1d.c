/* ranks: 1 2 3 */
#include "cfd_support.h"
#include "evenkeel/pde.h"
#include <hdf5.h>

/* ---- order, shocks, edges -------------------------------------------------------------------------------- */

/* A density wave carried by a uniform flow: exact for the Euler equations */
static double EntropyWaveError(PetscInt n)
{
  const EkCfdSpec spec = Line(n, "periodic", 0, 0);
  const double    time = 0.7;
  State           state = NewState(n, 1);
  double          error = 0;

  for (PetscInt i = 0; i < n; i++) SetCell(&state, i, 0, 1 + 0.4 * sin(2 * M_PI * ((double)i + 0.5) / (double)n), 1, 1, 0);
  Solve(EkTestRun()->comm, &spec, &state, time);
  for (PetscInt i = 0; i < n; i++)
    error += fabs(state.field[0][i] - 1 - 0.4 * sin(2 * M_PI * (((double)i + 0.5) / (double)n - time))) / (double)n;
  FreeState(&state);
  return error;
}

static void SecondOrderWhereSmooth(void **unused)
{
  const double coarse = EntropyWaveError(64), middle = EntropyWaveError(128), fine = EntropyWaveError(256);

  (void)unused;
  assert_true(log2(coarse / middle) > 1.8);
  assert_true(log2(middle / fine) > 1.8);
  assert_true(fine < 1.5e-4);
}

/* Mean error of the density in a tube of length 2; `flip`: with left and right exchanged */
static double SodError(PetscInt n, int flip)
{
  EkCfdSpec    spec = Line(n, "trans", 0, 0);
  const double time = 0.4;
  State        state = NewState(n, 1);
  double       error = 0;

  spec.length[0] = 2;
  for (PetscInt i = 0; i < n; i++) {
    const int left = (i < n / 2) != flip;

    SetCell(&state, i, 0, left ? 1 : 0.125, left ? 1 : 0.1, 0, 0);
  }
  Solve(EkTestRun()->comm, &spec, &state, time);
  for (PetscInt i = 0; i < n; i++) {
    const double s = (2 * ((double)i + 0.5) / (double)n - 1) / time;

    error += fabs(state.field[0][i] - SodDensity(flip ? -s : s)) / (double)n;
  }
  FreeState(&state);
  return error;
}

static void SodAgainstTheExactSolution(void **unused)
{
  const double coarse = SodError(200, 0), fine = SodError(400, 0), other = SodError(400, 1);

  (void)unused;
  assert_true(fine < 2e-3);
  assert_true(coarse / fine > 1.5);
  assert_true(fabs(other - fine) < 1e-10);
}

static void UniformFlowIsKeptBitForBit(void **unused)
{
  (void)unused;
  for (int b = 0; b < EkBoundaryFamily.count; b++) {
    EkCfdSpec spec = Line(50, "periodic", 0.001, 0.002);
    State     state = NewState(50, 1), before = NewState(50, 1);

    spec.boundary = b;
    for (PetscInt i = 0; i < 50; i++) {
      SetCell(&state, i, 0, 1.3, 2.1, 0.7, 0);
      SetCell(&before, i, 0, 1.3, 2.1, 0.7, 0);
    }
    Solve(EkTestRun()->comm, &spec, &before, 0); /* what conversion to conserved variables and back makes of it */
    assert_true(Solve(EkTestRun()->comm, &spec, &state, 0.5) > 50);
    for (int f = 0; f < 3; f++) assert_memory_equal(state.field[f], before.field[f], 50 * sizeof(double));
    FreeState(&state);
    FreeState(&before);
  }
}

/* Carried by a supersonic flow, a bump leaves through an open end and nothing of it comes back; periodic, it does. */
static void BumpsLeaveThroughOpenEnds(void **unused)
{
  (void)unused;
  for (int open = 0; open < 2; open++) {
    const EkCfdSpec spec = Line(80, open ? "trans" : "periodic", 0, 0);
    State           state = NewState(80, 1);
    double          most = 0;

    for (PetscInt i = 0; i < 80; i++) SetCell(&state, i, 0, 1 + 0.5 * exp(-100 * pow((double)i / 80 - 0.5, 2)), 1, 4, 0);
    Solve(EkTestRun()->comm, &spec, &state, 0.5);
    for (PetscInt i = 0; i < 80; i++) most = fmax(most, fabs(state.field[0][i] - 1));
    assert_true(open ? most < 1e-6 : most > 0.3);
    FreeState(&state);
  }
}

/* ---- conservation, two dimensions ------------------------------------------------------------------------- */

static void Conserved(void **unused)
{
  const double viscosity[] = {0, 0.01};

  (void)unused;
  for (int i = 0; i < 2; i++) {
    const EkCfdSpec spec = Line(93, "periodic", viscosity[i], 0.5 * viscosity[i]);
    State           state = NewState(93, 1);
    double          before[4], after[4], scale[4];

    SetRandom(&state);
    memset(state.field[3], 0, 93 * sizeof(double));
    Totals(&state, before, scale);
    assert_true(Solve(EkTestRun()->comm, &spec, &state, 0.3) > 50);
    Totals(&state, after, scale);
    for (int k = 0; k < 4; k++) assert_true(fabs(after[k] - before[k]) <= 1e-13 * scale[k]);
    FreeState(&state);
  }
}

/* A state that varies along one axis of a plane only, whose other axis has cells too long to set the time step */
static void CompareWithPlane(const char *boundary, int axis, const State *line, double time)
{
  const PetscInt  n = line->n[0], across = 6;
  const PetscReal wide = 1e3;
  EkCfdSpec       flat = Line(n, boundary, 0.05, 0.04), spec = Box(axis ? across : n, axis ? n : across, boundary, 0.05, 0.04);
  State           state = NewState(spec.n[0], spec.n[1]), alone = NewState(n, 1);

  spec.length[1 - axis] = wide;
  for (int f = 0; f < 3; f++) memcpy(alone.field[f], line->field[f], (size_t)n * sizeof(double));
  for (PetscInt i = 0; i < n; i++) {
    const double u = line->field[2][i];

    for (PetscInt j = 0; j < across; j++)
      SetCell(&state, axis ? j : i, axis ? i : j, line->field[0][i], line->field[1][i], axis ? 0 : u, axis ? u : 0);
  }
  assert_int_equal(Solve(EkTestRun()->comm, &flat, &alone, time), Solve(EkTestRun()->comm, &spec, &state, time));
  for (PetscInt i = 0; i < n; i++) {
    for (PetscInt j = 0; j < across; j++) {
      const PetscInt c = axis ? j * n + i : i * across + j;

      for (int f = 0; f < 2; f++) assert_true(fabs(state.field[f][c] - alone.field[f][i]) < 1e-11);
      assert_true(fabs(state.field[2 + axis][c] - alone.field[2][i]) < 1e-11);
    }
  }
  FreeState(&state);
  FreeState(&alone);
}

static void SolvesWhatAPlaneWouldSolve(void **unused)
{
  State line = NewState(45, 1);

  (void)unused;
  SetRandom(&line);
  for (int axis = 0; axis < 2; axis++) {
    CompareWithPlane("periodic", axis, &line, 0.2);
    CompareWithPlane("trans", axis, &line, 0.2);
  }
  FreeState(&line);
}

/* A standing sound wave after one period: half of the longitudinal viscosity 4 eta/3 + zeta damps it, nothing conducts heat. */
static void SoundWaveDecays(void **unused)
{
  const double    eta = 0.006, zeta = 0.01, period = 1 / sqrt(EK_CFD_GAMMA), wave = 1e-3;
  const EkCfdSpec spec = Line(96, "periodic", eta, zeta);
  State           state = NewState(96, 1);
  double          amplitude = 0;

  (void)unused;
  for (PetscInt i = 0; i < 96; i++) SetCell(&state, i, 0, 1, 1, wave * sin(2 * M_PI * ((double)i + 0.5) / 96), 0);
  Solve(EkTestRun()->comm, &spec, &state, period);
  for (PetscInt i = 0; i < 96; i++) amplitude += state.field[2][i] * sin(2 * M_PI * ((double)i + 0.5) / 96) / 48;
  assert_true(fabs(amplitude / wave / exp(-0.5 * (4 * eta / 3 + zeta) * 4 * M_PI * M_PI * period) - 1) < 1e-2);
  FreeState(&state);
}

/* ---- ranks, draws, files ----------------------------------------------------------------------------------- */

static void SameBitsOnAnyNumberOfRanks(void **unused)
{
  (void)unused;
  for (int b = 0; b < EkBoundaryFamily.count; b++) {
    EkCfdSpec spec = Line(64 - 9 * b, "periodic", 0.02, 0.01);
    State     together = NewState(spec.n[0], 1), alone = NewState(spec.n[0], 1);

    spec.boundary = b;
    SetRandom(&together);
    SetRandom(&alone);
    assert_int_equal(Solve(EkTestRun()->comm, &spec, &together, 0.2), Solve(PETSC_COMM_SELF, &spec, &alone, 0.2));
    for (int f = 0; f < 3; f++) assert_memory_equal(together.field[f], alone.field[f], (size_t)spec.n[0] * sizeof(double));
    FreeState(&together);
    FreeState(&alone);
  }
}

static void TooFewCellsAreRefused(void **unused)
{
  const EkCfdSpec spec = Line(2 * EkTestRun()->size - 1, "periodic", 0, 0);
  EkCfd           cfd;

  (void)unused;
  EK_FAILS(EkCfdCreate(EkTestRun()->comm, &spec, &cfd), "cannot be split");
}

/* Every kind of draw with the released sets' edges and hardly any viscosity */
static void DrawsStaySound(void **unused)
{
  static const char *const kind[] = {"1D_rand", "1D_shocks"};

  (void)unused;
  for (int k = 0; k < 2; k++) {
    const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, EkFamilyFind(&EkInitialFamily, kind[k]));
    const EkPdeSet   set = {.nx = 128};
    EkCfdSpec        spec = Line(128, "trans", 1e-8, 1e-8);
    State            state = NewState(128, 1);

    spec.length[0] = 2;
    for (uint64_t t = 0; t < 20; t++) {
      EkRandom stream = EkRandomStream(4, EK_RANDOM_TRAJECTORY, t);

      EK_OK(initial->draw(&set, &stream, state.field));
      assert_true(Solve(EkTestRun()->comm, &spec, &state, 0.4) > 50);
    }
    FreeState(&state);
  }
}

static EkGenerateOptions Released(const char *folder, const char *name)
{
  const EkPde      *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, EkFamilyFind(&EkPdeFamily, "cfd1d"));
  EkGenerateOptions options = {
      .type = EkFamilyFind(&EkPdeFamily, "cfd1d"), .set = pde->released, .seed = 3, .ranks_per_sample = 1};

  EK_OK(PetscSNPrintf(options.file, EK_PATH, "%s/%s", folder, name));
  return options;
}

static double Attribute(hid_t h5, const char *name)
{
  hid_t  attribute = H5Aopen(h5, name, H5P_DEFAULT);
  double value;

  assert_true(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
  H5Aclose(attribute);
  return value;
}

static void CheckCoordinate(hid_t h5, const char *name, hsize_t length, double first, double step)
{
  hid_t   set = H5Dopen2(h5, name, H5P_DEFAULT), space = H5Dget_space(set);
  float   value[1100];
  hsize_t shape;

  assert_int_equal(H5Sget_simple_extent_dims(space, &shape, NULL), 1);
  assert_int_equal(shape, length);
  assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0);
  for (hsize_t i = 0; i < length; i++) assert_true(fabs(value[i] - (first + step * (double)i)) < 1e-6);
  H5Sclose(space);
  H5Dclose(set);
}

/* PDEBench's released file is its data and 8600 bytes. */
static void FileIsLaidOutAsReleased(void **unused)
{
  char              folder[EK_PATH], *bytes;
  EkGenerateOptions options;
  EkGenerateReport  report;
  hid_t             h5;

  (void)unused;
  EkTestScratch(folder);
  options = Released(folder, "released.hdf5");
  options.set.samples = 4;
  options.set.dt_save = 1e-6; /* one step a frame */
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_int_equal(report.cell_steps, 4 * 100 * 1024);
  assert_int_equal(EkTestFileBytes(options.file, &bytes), 4 * 3 * 101 * 1024 * 4 + 8600);
  free(bytes);
  h5 = H5Fopen(options.file, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(H5Lexists(h5, "density", H5P_DEFAULT) > 0 && H5Lexists(h5, "pressure", H5P_DEFAULT) > 0 &&
              H5Lexists(h5, "Vx", H5P_DEFAULT) > 0 && H5Lexists(h5, "Vy", H5P_DEFAULT) == 0);
  assert_true(Attribute(h5, "eta") == 0.01 && Attribute(h5, "zeta") == 0.01 && H5Aexists(h5, "M") == 0);
  CheckCoordinate(h5, "x-coordinate", 1024, -1 + 1.0 / 1024, 2.0 / 1024);
  CheckCoordinate(h5, "t-coordinate", 102, 0, 1e-6);
  H5Fclose(h5);
}

static void FileDoesNotDependOnTheRanks(void **unused)
{
  char              folder[EK_PATH], name[32];
  EkGenerateOptions options[4];
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  for (int wide = EkTestRun()->size; wide > 0; wide--) {
    snprintf(name, sizeof(name), "ranks%d.hdf5", wide);
    options[wide] = Released(folder, name);
    options[wide].set.samples = 5;
    options[wide].set.nx = 50;
    options[wide].set.frames = 4;
    options[wide].ranks_per_sample = wide;
    EK_OK(EkGenerate(EkTestRun(), &options[wide], &report));
    assert_true(report.complete);
    EkTestSameFile(options[EkTestRun()->size].file, options[wide].file);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(SecondOrderWhereSmooth),
    cmocka_unit_test(SodAgainstTheExactSolution),
    cmocka_unit_test(UniformFlowIsKeptBitForBit),
    cmocka_unit_test(BumpsLeaveThroughOpenEnds),
    cmocka_unit_test(Conserved),
    cmocka_unit_test(SolvesWhatAPlaneWouldSolve),
    cmocka_unit_test(SoundWaveDecays),
    cmocka_unit_test(SameBitsOnAnyNumberOfRanks),
    cmocka_unit_test(TooFewCellsAreRefused),
    cmocka_unit_test(DrawsStaySound),
    cmocka_unit_test(FileIsLaidOutAsReleased),
    cmocka_unit_test(FileDoesNotDependOnTheRanks),
};
EK_TEST_MAIN(tests)
