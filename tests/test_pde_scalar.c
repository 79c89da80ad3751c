/* ranks: 1 2 3 */
#include "../src/pde/scalar1d.h"
#include "support.h"
#include <hdf5.h>

/* ---- solving ------------------------------------------------------------------------------------------------- */

static double Centre(PetscInt i, PetscInt n)
{
  return ((double)i + 0.5) / (double)n;
}

/* Solves on comm; the result is on every rank of it. Steps taken. */
static PetscInt64 Solve(MPI_Comm comm, const EkScalarLaw *law, PetscInt n, double *u, double time)
{
  EkRing     ring;
  PetscInt64 steps = 0;
  PetscBool  sound;

  EK_OK(EkRingCreate(comm, n, &ring));
  EK_OK(EkRingSetState(ring, u));
  EK_OK(EkRingAdvance(ring, law, time, &steps, &sound));
  assert_true(sound);
  EK_OK(EkRingGetState(ring, u));
  MPI_Bcast(u, (int)n, MPI_DOUBLE, 0, comm);
  EK_OK(EkRingDestroy(&ring));
  return steps;
}

static double Mean(const double *u, PetscInt n, int power)
{
  double sum = 0;

  for (PetscInt i = 0; i < n; i++) sum += pow(u[i], power);
  return sum / (double)n;
}

/* Smooth and random, the same on every rank */
static void SetRandom(double *u, PetscInt n)
{
  EkRandom     random = EkRandomStream(7, EK_RANDOM_TEST, 0);
  const double a = EkUniformIn(&random, 0, 6), b = EkUniformIn(&random, 0, 6);

  for (PetscInt i = 0; i < n; i++) u[i] = 0.3 + sin(2 * M_PI * Centre(i, n) + a) + 0.6 * cos(6 * M_PI * Centre(i, n) + b);
}

/* ---- advection ------------------------------------------------------------------------------------------------ */

static double Profile(double x)
{
  return 0.7 + sin(2 * M_PI * x) + 0.3 * cos(4 * M_PI * x);
}

/* Mean distance to the shifted profile. On one rank, to save time: the bits are the same on more. */
static double AdvectionError(PetscInt n, double beta, double time)
{
  const EkScalarLaw law = EkAdvectionLaw(n, beta);
  double           *u = malloc((size_t)n * sizeof(double)), error = 0;

  for (PetscInt i = 0; i < n; i++) u[i] = Profile(Centre(i, n));
  Solve(PETSC_COMM_SELF, &law, n, u, time);
  for (PetscInt i = 0; i < n; i++) error += fabs(u[i] - Profile(Centre(i, n) - beta * time)) / (double)n;
  free(u);
  return error;
}

static void AdvectionIsSecondOrder(void **unused)
{
  (void)unused;
  for (int sign = -1; sign <= 1; sign += 2) {
    const double coarse = AdvectionError(128, sign * 0.7, 1.9), middle = AdvectionError(256, sign * 0.7, 1.9),
                 fine = AdvectionError(512, sign * 0.7, 1.9);

    assert_true(log2(coarse / middle) > 1.8);
    assert_true(log2(middle / fine) > 1.8);
    assert_true(fine < 1e-3);
  }
}

/* Twenty times around: in place, no smaller than what the limiter takes off the crests, the mean as it was */
static void ManyPeriods(void **unused)
{
  const PetscInt    n = 256;
  const EkScalarLaw law = EkAdvectionLaw(n, 1);
  double            u[256], mean;

  (void)unused;
  assert_true(AdvectionError(n, 1, 20) < 0.02);
  for (PetscInt i = 0; i < n; i++) u[i] = Profile(Centre(i, n));
  mean = Mean(u, n, 1);
  assert_true(Solve(EkTestRun()->comm, &law, n, u, 20) == 20 * 256 * 5 / 2);
  assert_true(fabs(Mean(u, n, 1) - mean) < 1e-13);
}

/* A box stays a box: within its bounds, its edges a few cells wide */
static void StepsDoNotOvershoot(void **unused)
{
  const PetscInt    n = 200;
  const EkScalarLaw law = EkAdvectionLaw(n, 0.5);
  double            u[200], variation = 0;
  int               smeared = 0;

  (void)unused;
  for (PetscInt i = 0; i < n; i++) u[i] = i >= 50 && i < 120;
  Solve(EkTestRun()->comm, &law, n, u, 4);
  for (PetscInt i = 0; i < n; i++) {
    assert_true(u[i] > -1e-14 && u[i] < 1 + 1e-14);
    variation += fabs(u[i] - u[(i + 1) % n]);
    smeared += u[i] > 0.01 && u[i] < 0.99;
  }
  assert_true(fabs(variation - 2) < 1e-3);
  assert_true(smeared <= 40 && u[85] > 0.999 && u[170] < 1e-3);
}

/* ---- Burgers --------------------------------------------------------------------------------------------------- */

/* Cole-Hopf: u = -2 D phi_x/phi with phi = 1.2 + e^(-D k^2 t) cos(k x) solves the heat equation, D = nu/pi */
static double ColeHopf(double x, double t, double diffusivity)
{
  const double k = 2 * M_PI, decay = exp(-diffusivity * k * k * t);

  return 2 * diffusivity * k * decay * sin(k * x) / (1.2 + decay * cos(k * x));
}

static double BurgersError(PetscInt n, double nu, double time)
{
  const EkScalarLaw law = EkBurgersLaw(n, nu);
  double           *u = malloc((size_t)n * sizeof(double)), error = 0;

  for (PetscInt i = 0; i < n; i++) u[i] = ColeHopf(Centre(i, n), 0, nu / M_PI);
  Solve(PETSC_COMM_SELF, &law, n, u, time);
  for (PetscInt i = 0; i < n; i++) error += fabs(u[i] - ColeHopf(Centre(i, n), time, nu / M_PI)) / (double)n;
  free(u);
  return error;
}

static void BurgersIsSecondOrderWhereResolved(void **unused)
{
  const double nu = 0.2, coarse = BurgersError(64, nu, 0.3), middle = BurgersError(128, nu, 0.3),
               fine = BurgersError(256, nu, 0.3);

  (void)unused;
  assert_true(log2(coarse / middle) > 1.8);
  assert_true(log2(middle / fine) > 1.8);
  assert_true(fine < 1e-4);
}

/* The mean does not change, the energy only falls. */
static void MeanIsKeptEnergyFalls(void **unused)
{
  const PetscInt n = 150;
  const double   nu[] = {1e-4, 0.02};

  (void)unused;
  for (int k = 0; k < 2; k++) {
    const EkScalarLaw law = EkBurgersLaw(n, nu[k]);
    double            u[150], mean, energy, first;

    SetRandom(u, n);
    mean = Mean(u, n, 1);
    first = energy = Mean(u, n, 2);
    for (int i = 0; i < 20; i++) {
      assert_true(Solve(EkTestRun()->comm, &law, n, u, 0.05) > 1);
      assert_true(fabs(Mean(u, n, 1) - mean) < 1e-14);
      assert_true(Mean(u, n, 2) < energy);
      energy = Mean(u, n, 2);
    }
    assert_true(energy < 0.7 * first);
  }
}

/* Where u falls from high to low through their mean, between cells */
static double ShockPlace(const double *u, PetscInt n, double middle)
{
  double place = -1;

  for (PetscInt i = 0; i + 1 < n; i++) {
    if (u[i] > middle && u[i + 1] <= middle) place = Centre(i, n) + (u[i] - middle) / (u[i] - u[i + 1]) / (double)n;
  }
  return place;
}

/* Almost inviscid: a box `high` on `low`. The falling edge moves at the mean of the two, also leftward; the rising edge opens
   into a fan x/t, also where it passes through u = 0. */
static void CheckBox(double low, double high, double time)
{
  const PetscInt    n = 400;
  const EkScalarLaw law = EkBurgersLaw(n, 1e-6);
  double            u[400], error = 0;

  for (PetscInt i = 0; i < n; i++) u[i] = i >= 120 && i < 280 ? high : low;
  Solve(EkTestRun()->comm, &law, n, u, time);
  assert_true(fabs(ShockPlace(u, n, 0.5 * (low + high)) - 0.7 - 0.5 * (low + high) * time) < 1.0 / (double)n);
  for (PetscInt i = 0; i < 200; i++) {
    const double fan = (Centre(i, n) - 0.3) / time, exact = fan < low ? low : fan > high ? high : fan;

    error += fabs(u[i] - exact) / (double)n;
  }
  assert_true(error < 2e-3);
}

static void ShocksAndFansWithoutViscosity(void **unused)
{
  (void)unused;
  CheckBox(0.1, 0.9, 0.2);
  CheckBox(-0.9, -0.1, 0.2);
  CheckBox(-0.6, 0.8, 0.2);
}

/* ---- ranks, errors -------------------------------------------------------------------------------------------- */

static void SameBitsOnAnyNumberOfRanks(void **unused)
{
  const PetscInt sizes[] = {2 * EkTestRun()->size, 37, 150};

  (void)unused;
  for (int s = 0; s < 3; s++) {
    const PetscInt    n = sizes[s];
    const EkScalarLaw law[] = {EkBurgersLaw(n, 0.01), EkAdvectionLaw(n, 0.3)};

    for (int k = 0; k < 2; k++) {
      double together[150], alone[150];

      SetRandom(together, n);
      SetRandom(alone, n);
      assert_int_equal(Solve(EkTestRun()->comm, &law[k], n, together, 0.5), Solve(PETSC_COMM_SELF, &law[k], n, alone, 0.5));
      assert_memory_equal(together, alone, (size_t)n * sizeof(double));
    }
  }
}

/* One bad cell, on the last rank: every rank hears of it. */
static void UnsoundStatesAreNoticed(void **unused)
{
  const double bad[] = {NAN, INFINITY, 1e200};

  (void)unused;
  for (int b = 0; b < 3; b++) {
    for (int frame = 0; frame < 2; frame++) {
      const EkScalarLaw law = EkBurgersLaw(16, 0.01);
      double            u[16] = {0};
      EkRing            ring;
      PetscInt64        steps = 0;
      PetscBool         sound;
      int               anywhere;

      u[14] = bad[b];
      EK_OK(EkRingCreate(EkTestRun()->comm, 16, &ring));
      EK_OK(EkRingSetState(ring, u));
      EK_OK(EkRingAdvance(ring, &law, 0.01 * frame, &steps, &sound));
      anywhere = sound;
      MPI_Allreduce(MPI_IN_PLACE, &anywhere, 1, MPI_INT, MPI_MAX, EkTestRun()->comm);
      assert_false(anywhere);
      EK_OK(EkRingDestroy(&ring));
    }
  }
}

static void TooFewCellsAreRefused(void **unused)
{
  EkRing ring;

  (void)unused;
  EK_FAILS(EkRingCreate(EkTestRun()->comm, 2 * EkTestRun()->size - 1, &ring), "cannot be split");
}

/* ---- initial conditions ------------------------------------------------------------------------------------------ */

#define NX    129 /* the waves' period is 128 cells */
#define DRAWS 400

static const EkInitial *Initial(const char *name)
{
  return (const EkInitial *)EkFamilyMember(&EkInitialFamily, EkFamilyFind(&EkInitialFamily, name));
}

/* Draw number t, the same on every rank and the same count of numbers whatever was drawn */
static void Draw(const char *name, int numbers, int fields, int t, double field[][NX])
{
  const EkPdeSet set = {.nx = NX};
  double        *to[3] = {NULL}, first[3][NX];
  EkRandom       stream = EkRandomStream(5, EK_RANDOM_TRAJECTORY, (uint64_t)t), after = stream;

  for (int f = 0; f < fields; f++) to[f] = field[f];
  EK_OK(Initial(name)->draw(&set, &stream, to));
  EkRandomSeek(&after, (uint64_t)numbers);
  assert_true(EkUniform(&stream) == EkUniform(&after));
  memcpy(first, field, (size_t)(fields * NX) * sizeof(double));
  MPI_Bcast(first, fields * NX, MPI_DOUBLE, 0, EkTestRun()->comm);
  assert_memory_equal(first, field, (size_t)(fields * NX) * sizeof(double));
}

/* Amplitudes of the harmonics of a period: how many but the constant are there, and the largest */
static void Harmonics(const double *u, int *count, int *largest)
{
  *count = *largest = 0;
  for (int k = 1; k <= 64; k++) {
    double re = 0, im = 0;

    for (int i = 0; i < NX - 1; i++) {
      re += u[i] * cos(2 * M_PI * k * i / (NX - 1)) / (NX - 1);
      im += u[i] * sin(2 * M_PI * k * i / (NX - 1)) / (NX - 1);
    }
    if (hypot(re, im) < 1e-12) continue;
    ++*count;
    *largest = k;
  }
}

typedef struct {
  int windowed, sound, folded, negative; /* sound: sines and nothing else */
  int single;                            /* of the sound ones, with one harmonic */
} Tally;

/* One draw of u on a line from `low` on: what happened to it. The sines are of one or two harmonics up to twice the modes. */
static void Count(const double *u, double low, double length, int modes, Tally *tally)
{
  const double outside = 0.5 * (fabs(u[0]) + fabs(u[NX - 1])), inside = (0.5 - low) / length * NX;
  int          count, largest, below = 0, above = 0;

  for (int i = 0; i < NX; i++) {
    below += u[i] < 0;
    above += u[i] > 0;
    assert_true(fabs(u[i]) < modes);
  }
  if (outside < 1e-3 && fabs(u[(int)inside]) + fabs(u[(int)inside + 1]) > 1e-2 * outside) {
    tally->windowed++;
    return;
  }
  assert_true(fabs(u[0] - u[NX - 1]) < 1e-12);
  Harmonics(u, &count, &largest);
  if (count > 2) {
    assert_true(!below || !above);
    tally->folded++;
    tally->negative += below > 0;
    return;
  }
  assert_true(count >= 1 && largest <= 2 * modes);
  if (count == 1) assert_true(largest % 2 == 0);
  tally->sound++;
  tally->single += count == 1;
}

static PetscBool Near(int count, int of, double share)
{
  return (PetscBool)(fabs(count - share * of) < 4 * sqrt(share * (1 - share) * of) + 2);
}

static void SinesAreAsPrescribed(void **unused)
{
  double u[1][NX];
  Tally  tally = {0};

  (void)unused;
  for (int t = 0; t < DRAWS; t++) {
    Draw("sines", 15, 1, t, u);
    Count(u[0], 0, 1, 4, &tally);
  }
  assert_true(Near(tally.windowed, DRAWS, 0.1));
  assert_true(tally.folded > 5 && tally.folded < 50); /* of the tenth that is, some were of one sign anyway */
  assert_true(tally.negative > tally.folded / 4 && tally.negative < 3 * tally.folded / 4 + 1);
  assert_true(Near(tally.single, tally.sound, 0.25));
}

/* Least value and range of a positive field */
static void Bounds(const double *u, double *least, double *range)
{
  double most = *least = u[0];

  for (int i = 0; i < NX; i++) {
    *least = u[i] < *least ? u[i] : *least;
    most = u[i] > most ? u[i] : most;
  }
  *range = most - *least;
}

static void GasWavesAreAsPrescribed(void **unused)
{
  static const double scale[] = {1, 10};
  double              field[3][NX], sum[2][2] = {{0}};
  Tally               tally = {0};
  int                 flat = 0;

  (void)unused;
  for (int t = 0; t < DRAWS; t++) {
    Draw("1D_rand", 43, 3, t, field);
    for (int f = 0; f < 2; f++) {
      double bound[2];

      Bounds(field[f], &bound[0], &bound[1]);
      for (int k = 0; k < 2; k++) {
        assert_true(bound[k] >= scale[f] * (1 - 1e-12) && bound[k] <= 10 * scale[f] * (1 + 1e-12));
        sum[f][k] += log10(bound[k] / scale[f]) / DRAWS;
      }
    }
    flat += fabs(field[0][0] - field[0][NX / 4]) + fabs(field[0][NX / 3] - field[0][0]) < 1e-6; /* window in x > 0 only */
    Count(field[2], -1, 2, 3, &tally);
  }
  for (int f = 0; f < 2; f++) {
    for (int k = 0; k < 2; k++) assert_true(fabs(sum[f][k] - 0.5) < 4 * sqrt(1.0 / 12 / DRAWS));
  }
  assert_true(Near(tally.windowed, DRAWS, 0.5) && Near(flat, DRAWS, 0.5));
  assert_true(Near(tally.single, tally.sound, 1.0 / 3));
}

/* The one jump of a field, -1 where there is none */
static int JumpOf(const double *u)
{
  int place = -1;

  for (int i = 1; i < NX; i++) {
    if (u[i] == u[i - 1]) continue;
    assert_int_equal(place, -1);
    place = i;
  }
  return place;
}

static void GasJumpsAreAsPrescribed(void **unused)
{
  const double least[] = {1, 10, exp(-0.5)}, most[] = {10, 100, exp(0.5)};
  double       field[3][NX], sum[3] = {0};
  int          apart = 0, early = NX, late = 0;

  (void)unused;
  for (int t = 0; t < DRAWS; t++) {
    int jump[3];

    Draw("1D_shocks", 9, 3, t, field);
    for (int f = 0; f < 3; f++) {
      jump[f] = JumpOf(field[f]);
      assert_true(jump[f] >= NX / 4 && jump[f] <= 3 * NX / 4);
      early = jump[f] < early ? jump[f] : early;
      late = jump[f] > late ? jump[f] : late;
      for (int end = 0; end < 2; end++) {
        const double value = field[f][end ? NX - 1 : 0];

        assert_true(value > least[f] * (1 - 1e-12) && value < most[f] * (1 + 1e-12));
        sum[f] += log(value / least[f]) / log(most[f] / least[f]) / (2 * DRAWS);
      }
    }
    apart += jump[0] != jump[1] && jump[1] != jump[2];
  }
  for (int f = 0; f < 3; f++) assert_true(fabs(sum[f] - 0.5) < 4 * sqrt(1.0 / 24 / DRAWS));
  assert_true(apart > DRAWS * 9 / 10 && early <= NX / 4 + 2 && late >= 3 * NX / 4 - 2);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static EkGenerateOptions Small(const char *type, const char *folder, const char *name)
{
  const int         row = EkFamilyFind(&EkPdeFamily, type);
  EkGenerateOptions options = {.type = row, .seed = 3, .ranks_per_sample = 1};

  options.set = ((const EkPde *)EkFamilyMember(&EkPdeFamily, row))->released;
  EK_OK(PetscSNPrintf(options.file, EK_PATH, "%s/%s", folder, name));
  options.set.samples = 5;
  options.set.nx = 40;
  options.set.frames = 4;
  options.set.dt_save = 0.1;
  return options;
}

static void Generate(EkRun run, const EkGenerateOptions *options)
{
  EkGenerateReport report;

  EK_OK(EkGenerate(run, options, &report));
  assert_true(report.complete && report.redrawn == 0);
  assert_true(report.cell_steps >= options->set.samples * (options->set.frames - 1) * options->set.nx);
}

static void ReadSet(const char *path, const char *name, const hsize_t shape[], int rank, float *values)
{
  hid_t   h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(h5, name, H5P_DEFAULT), space = H5Dget_space(set);
  hsize_t found[4];

  assert_int_equal(H5Sget_simple_extent_dims(space, found, NULL), rank);
  assert_memory_equal(found, shape, (size_t)rank * sizeof(hsize_t));
  assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Sclose(space);
  H5Dclose(set);
  H5Fclose(h5);
}

static double ReadAttribute(const char *path, const char *name)
{
  hid_t  h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), attribute = H5Aopen(h5, name, H5P_DEFAULT);
  double value = 0;

  assert_true(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
  H5Aclose(attribute);
  H5Fclose(h5);
  return value;
}

/* Layout, coordinates, and every trajectory solved again: the draw of its own stream under the law */
static void CheckFile(const char *path, const EkPdeSet *set, const EkScalarLaw *law)
{
  const hsize_t shape[] = {(hsize_t)set->samples, (hsize_t)set->frames, (hsize_t)set->nx}, frames = shape[1] + 1;
  float        *tensor = malloc(shape[0] * shape[1] * shape[2] * sizeof(float)), x[40], t[5], *at = tensor;
  double        u[40], *field = u;

  ReadSet(path, "x-coordinate", &shape[2], 1, x);
  ReadSet(path, "t-coordinate", &frames, 1, t);
  ReadSet(path, "tensor", shape, 3, tensor);
  for (int i = 0; i < 40; i++) assert_true(fabs(x[i] - (i + 0.5) / 40) < 1e-7);
  for (int i = 0; i < 5; i++) assert_true(fabs(t[i] - 0.1 * i) < 1e-7);
  for (PetscInt s = 0; s < set->samples; s++) {
    EkRandom stream = EkRandomStream(3, EK_RANDOM_TRAJECTORY, (uint64_t)s);

    EK_OK(Initial("sines")->draw(set, &stream, &field));
    for (PetscInt frame = 0; frame < set->frames; frame++) {
      if (frame) Solve(PETSC_COMM_SELF, law, 40, u, set->dt_save);
      for (int i = 0; i < 40; i++) assert_true(*at++ == (float)u[i]);
    }
  }
  free(tensor);
}

static void ReleasedSets(void **unused)
{
  static const char *const name[] = {"burgers1d", "advection1d"};

  (void)unused;
  for (int k = 0; k < 2; k++) {
    const EkPde *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, EkFamilyFind(&EkPdeFamily, name[k]));

    assert_string_equal(EkFamilyMember(&EkInitialFamily, pde->released.initial)->name, "sines");
    assert_true(pde->released.samples == 10000 && pde->released.nx == 1024 && pde->released.frames == 201);
    assert_true(pde->released.dt_save == 0.01);
  }
}

static void BurgersFile(void **unused)
{
  char              folder[EK_PATH];
  EkGenerateOptions options;
  EkScalarLaw       law;

  (void)unused;
  EkTestScratch(folder);
  options = Small("burgers1d", folder, "burgers.hdf5");
  options.set.nu = 0.02;
  law = EkBurgersLaw(40, 0.02);
  Generate(EkTestRun(), &options);
  CheckFile(options.file, &options.set, &law);
  assert_true(ReadAttribute(options.file, "Nu") == 0.02);
}

/* Every speed has its file, all of the same draws */
static void AdvectionFiles(void **unused)
{
  static const char *const name[] = {"0.1", "0.25", "2.0"};
  char                     folder[EK_PATH], path[2 * EK_PATH];
  EkGenerateOptions        options;

  (void)unused;
  EkTestScratch(folder);
  options = Small("advection1d", folder, "advection_{beta}.hdf5");
  options.set.beta = (EkReals){3, {0.1, 0.25, 2}};
  Generate(EkTestRun(), &options);
  for (int f = 0; f < 3; f++) {
    const EkScalarLaw law = EkAdvectionLaw(40, options.set.beta.v[f]);

    snprintf(path, sizeof(path), "%s/advection_%s.hdf5", folder, name[f]);
    CheckFile(path, &options.set, &law);
    assert_true(ReadAttribute(path, "beta") == options.set.beta.v[f]);
  }
}

static void FilesDoNotDependOnTheRanks(void **unused)
{
  static const char *const type[] = {"burgers1d", "advection1d"};
  struct EkRun_            self = *EkTestRun();
  char                     folder[EK_PATH];

  (void)unused;
  self.comm = PETSC_COMM_SELF;
  self.rank = 0;
  self.size = 1;
  for (int k = 0; k < 2; k++) {
    EkGenerateOptions alone;

    EkTestScratch(folder);
    alone = Small(type[k], folder, "alone.hdf5");
    if (EkTestRun()->rank == 0) Generate(&self, &alone);
    MPI_Barrier(EkTestRun()->comm);
    for (PetscInt wide = 1; wide <= EkTestRun()->size; wide++) {
      char              name[32];
      EkGenerateOptions options;

      snprintf(name, sizeof(name), "ranks%d.hdf5", (int)wide);
      options = Small(type[k], folder, name);
      options.ranks_per_sample = wide;
      Generate(EkTestRun(), &options);
      EkTestSameFile(alone.file, options.file);
    }
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(AdvectionIsSecondOrder),
    cmocka_unit_test(ManyPeriods),
    cmocka_unit_test(StepsDoNotOvershoot),
    cmocka_unit_test(BurgersIsSecondOrderWhereResolved),
    cmocka_unit_test(MeanIsKeptEnergyFalls),
    cmocka_unit_test(ShocksAndFansWithoutViscosity),
    cmocka_unit_test(SameBitsOnAnyNumberOfRanks),
    cmocka_unit_test(UnsoundStatesAreNoticed),
    cmocka_unit_test(TooFewCellsAreRefused),
    cmocka_unit_test(SinesAreAsPrescribed),
    cmocka_unit_test(GasWavesAreAsPrescribed),
    cmocka_unit_test(GasJumpsAreAsPrescribed),
    cmocka_unit_test(ReleasedSets),
    cmocka_unit_test(BurgersFile),
    cmocka_unit_test(AdvectionFiles),
    cmocka_unit_test(FilesDoNotDependOnTheRanks),
};
EK_TEST_MAIN(tests)
