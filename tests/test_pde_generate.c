/* ranks: 1 2 3 4 */
#include "evenkeel/pde.h"
#include "support.h"
#include <hdf5.h>
#include <signal.h>
#include <unistd.h>

static EkGenerateOptions Small(const char *folder, const char *name)
{
  const EkPde      *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, EkFamilyFind(&EkPdeFamily, "cfd2d"));
  EkGenerateOptions options = {.set = pde->released, .seed = 3, .ranks_per_sample = 1};

  EK_OK(PetscSNPrintf(options.file, EK_PATH, "%s/%s", folder, name));
  options.set.samples = 7;
  options.set.nx = 20;
  options.set.frames = 3;
  return options;
}

/* A run of this rank alone: what the file of any number of ranks must equal */
static struct EkRun_ Alone(void)
{
  struct EkRun_ alone = *EkTestRun();

  alone.comm = PETSC_COMM_SELF;
  alone.rank = 0;
  alone.size = 1;
  return alone;
}

static void GenerateAlone(const EkGenerateOptions *options)
{
  struct EkRun_    alone = Alone();
  EkGenerateReport report;

  if (EkTestRun()->rank == 0) {
    EK_OK(EkGenerate(&alone, options, &report));
    assert_true(report.complete);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* ---- the tables -------------------------------------------------------------------------------------------- */

/* Every one is a PDE. */
static void CheckWords(const char *words)
{
  char copy[EK_PATH], *save = NULL;

  EK_OK(PetscStrncpy(copy, words, sizeof(copy)));
  for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
    assert_true(EkFamilyFind(&EkPdeFamily, word) >= 0);
}

/* Every key a PDE says it uses is one. */
static void CheckUses(const EkPde *pde)
{
  char copy[EK_PATH], *save = NULL;

  EK_OK(PetscStrncpy(copy, pde->uses, sizeof(copy)));
  for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
    int found = 0;

    for (int i = 0; i < EkGenerateKeys.count; i++) found += !strcmp(EkGenerateKeys.keys[i].name + strlen("generate_"), word);
    assert_int_equal(found, 1);
  }
}

/* Every row is usable, and the first row's released set is what `list` shows as defaults. */
static void TablesAreWhole(void **unused)
{
  EkGenerateOptions options = {0};
  EkProblems        problems;

  (void)unused;
  for (int i = 0; i < EkPdeFamily.count; i++) {
    const EkPde *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, i);
    EkFileSpec   spec = {.nsets = 0};

    CheckUses(pde);
    assert_true(pde->methods->create && pde->methods->solve && pde->methods->destroy);
    assert_true(pde->released.initial < EkInitialFamily.count && pde->released.boundary < EkBoundaryFamily.count);
    EK_OK(pde->methods->describe(&pde->released, 0, &spec));
    assert_true(spec.nsets > 0 && spec.set[0].shape[0] == pde->released.samples);
  }
  for (int i = 0; i < EkInitialFamily.count; i++) {
    CheckWords(((const EkInitial *)EkFamilyMember(&EkInitialFamily, i))->pdes);
  }
  EK_OK(PetscOptionsSetValue(EkTestRun()->options, "-generate_file", "x.hdf5"));
  EK_OK(EkProblemsCreate(&problems));
  EK_OK(EkKeysRead(EkTestRun(), &EkGenerateKeys, &options, problems));
  EK_OK(EkProblemsRaise(EkTestRun(), &problems));
  for (int i = 0; i < EkGenerateKeys.count; i++) {
    const EkPde *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, 0);
    const EkKey *key = &EkGenerateKeys.keys[i];
    const size_t at = key->offset - offsetof(EkGenerateOptions, set),
                 size = key->type == EK_KEY_CHOICE ? sizeof(int) : sizeof(PetscReal);

    if (key->offset < offsetof(EkGenerateOptions, set) || at >= sizeof(EkPdeSet) || !EkGenerateUses(&options, key)) continue;
    assert_memory_equal((char *)&options.set + at, (const char *)&pde->released + at,
                        key->type == EK_KEY_INT ? sizeof(PetscInt) : size);
  }
}

/* `word`, where the row's values differ from what is listed as the default, the first row's. */
static void Tells(const EkPde *pde, PetscBool differs, const char *format, ...)
{
  char    word[64];
  va_list arguments;

  va_start(arguments, format);
  vsnprintf(word, sizeof(word), format, arguments);
  va_end(arguments);
  if (differs) assert_non_null(strstr(pde->member.help, word));
}

static void OwnDefaultsAreTold(void **unused)
{
  const EkPdeSet *listed = &((const EkPde *)EkFamilyMember(&EkPdeFamily, 0))->released;

  (void)unused;
  for (int i = 1; i < EkPdeFamily.count; i++) {
    const EkPde    *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, i);
    const EkPdeSet *own = &pde->released;
    const char     *uses = pde->uses;

    Tells(pde, (PetscBool)(own->nx != listed->nx), "nx %d", (int)own->nx);
    Tells(pde, (PetscBool)(strstr(uses, "frames") && own->frames != listed->frames), "frames %d", (int)own->frames);
    Tells(pde, (PetscBool)(strstr(uses, "dt_save") && own->dt_save != listed->dt_save), "dt_save %g", own->dt_save);
    Tells(pde, (PetscBool)(strstr(uses, "initial") && own->initial != listed->initial), "initial %s",
          EkFamilyMember(&EkInitialFamily, own->initial)->name);
    Tells(pde, (PetscBool)(strstr(uses, "beta") && own->beta.v[0] != 1), "beta %g", own->beta.v[0]);
  }
}

static void KeysGivenStandKeysNotGivenAreReleased(void **unused)
{
  EkGenerateOptions options = {.set = {.nx = 32, .samples = 5, .eta = 7}};

  (void)unused;
  EK_OK(PetscOptionsSetValue(EkTestRun()->options, "-generate_nx", "32"));
  EK_OK(EkGenerateSettle(EkTestRun(), &options));
  assert_int_equal(options.set.nx, 32);
  assert_int_equal(options.set.samples, 10000);
  assert_int_equal(options.set.frames, 21);
  assert_true(options.set.eta == 0.01 && options.set.zeta == 0.01 && options.set.M == 0.1 && options.set.dt_save == 0.05);
  EK_OK(PetscOptionsClearValue(EkTestRun()->options, "-generate_nx"));
}

/* ---- 2D_rand ------------------------------------------------------------------------------------------------ */

#define NX 32

static double Mean(const double *f)
{
  double sum = 0;

  for (int c = 0; c < NX * NX; c++) sum += f[c];
  return sum / (NX * NX);
}

/* Mean of |f/base - 1| */
static double Spread(const double *f, double base)
{
  double sum = 0;

  for (int c = 0; c < NX * NX; c++) sum += fabs(f[c] / base - 1);
  return sum / (NX * NX);
}

/* Spreads of density and pressure over draws */
typedef struct {
  int    n;
  double least[2], most[2], sum[2], product;
} Spreads;

static void AddSpreads(Spreads *all, const double spread[2])
{
  for (int f = 0; f < 2; f++) {
    all->least[f] = all->n ? fmin(all->least[f], spread[f]) : spread[f];
    all->most[f] = fmax(all->most[f], spread[f]);
    all->sum[f] += spread[f];
  }
  all->product += spread[0] * spread[1];
  all->n++;
}

/* Each fills all of [0.01, 0.2] evenly, and one tells nothing of the other. */
static void CheckSpreads(const Spreads *all)
{
  const double middle = 0.105, deviation = 0.19 / sqrt(12), n = all->n;

  for (int f = 0; f < 2; f++) {
    assert_true(all->least[f] >= 0.01 - 1e-12 && all->least[f] < 0.02 && all->most[f] <= 0.2 + 1e-12 && all->most[f] > 0.19);
    assert_true(fabs(all->sum[f] / n - middle) < 3 * deviation / sqrt(n));
  }
  assert_true(fabs(all->product / n - all->sum[0] / n * all->sum[1] / n) < 3 * deviation * deviation / sqrt(n));
}

/* Waves without a window: prescribed mean speed, and no mode that is constant along an axis */
static void CheckWaves(double *const field[], double d0, double speed)
{
  double sum = 0;

  for (int c = 0; c < NX * NX; c++) sum += hypot(field[2][c], field[3][c]);
  assert_true(fabs(sum / (NX * NX) / speed - 1) < 1e-12);
  assert_true(fabs(Mean(field[0]) / d0 - 1) < 1e-12 && fabs(Mean(field[2])) < 1e-12 * speed);
  for (int i = 0; i < NX; i++) {
    double along[2] = {0, 0};

    for (int j = 0; j < NX; j++) {
      along[0] += field[3][i * NX + j];
      along[1] += field[3][j * NX + i];
    }
    assert_true(fabs(along[0]) < 1e-11 * speed && fabs(along[1]) < 1e-11 * speed);
  }
}

static void RandomWavesAreAsPrescribed(void **unused)
{
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, EkFamilyFind(&EkInitialFamily, "2D_rand"));
  const EkPdeSet   set = {.nx = NX, .M = 0.3};
  const int        draws = 200;
  double          *field[EK_CFD_FIELDS];
  Spreads          spreads = {0};
  int              windows = 0;

  (void)unused;
  for (int f = 0; f < EK_CFD_FIELDS; f++) field[f] = malloc(NX * NX * sizeof(double));
  for (int t = 0; t < draws; t++) {
    EkRandom     stream = EkRandomStream(5, EK_RANDOM_TRAJECTORY, (uint64_t)t), copy = stream;
    const double d0 = EkUniformIn(&copy, 0.1, 10), T0 = EkUniformIn(&copy, 0.1, 10), speed = set.M * sqrt(EK_CFD_GAMMA * T0);

    EK_OK(initial->draw(&set, &stream, field));
    if (hypot(field[2][0], field[3][0]) < 1e-6 * speed) { /* the corner is outside any window */
      windows++;
      assert_true(fabs(field[0][0] / d0 - 1) < 1e-6 && fabs(field[1][NX * NX - 1] / (d0 * T0) - 1) < 1e-6);
      assert_true(hypot(field[2][NX * NX / 2 + NX / 2], field[3][NX * NX / 2 + NX / 2]) > 1e-4 * speed);
    } else {
      CheckWaves(field, d0, speed);
      AddSpreads(&spreads, (const double[2]){Spread(field[0], d0), Spread(field[1], d0 * T0)});
    }
  }
  CheckSpreads(&spreads);
  assert_true(windows > 70 && windows < 130);
  for (int f = 0; f < EK_CFD_FIELDS; f++) free(field[f]);
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static void ReadField(const char *path, const char *name, float *values)
{
  hid_t h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(h5, name, H5P_DEFAULT);

  assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(set);
  H5Fclose(h5);
}

/* Frame 0 is the draw of the trajectory's own stream, the last frame is the solver's, every dataset is where its name says. */
static void FileHoldsTheTrajectories(void **unused)
{
  static const char *const name[] = {"density", "pressure", "Vx", "Vy"};
  char                     folder[EK_PATH];
  EkGenerateOptions        options;
  EkGenerateReport         report;
  const EkInitial         *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, 0);
  double                  *field[EK_CFD_FIELDS];
  float                   *stored;
  PetscInt                 points;

  (void)unused;
  EkTestScratch(folder);
  options = Small(folder, "a.hdf5");
  points = options.set.nx * options.set.nx;
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_true(report.complete && report.solved == 7 && report.finished == 7 && report.redrawn == 0 &&
              report.cell_steps > 7 * 20 * points);
  stored = malloc((size_t)(7 * 3 * points) * sizeof(float));
  for (int f = 0; f < EK_CFD_FIELDS; f++) field[f] = malloc((size_t)points * sizeof(double));
  for (PetscInt t = 0; t < 7; t++) {
    const EkCfdSpec spec = {2, {20, 20}, {1, 1}, options.set.boundary, options.set.eta, options.set.zeta};
    EkRandom        stream = EkRandomStream(3, EK_RANDOM_TRAJECTORY, (uint64_t)t);
    EkCfd           cfd;
    PetscInt64      steps = 0;
    PetscBool       sound;

    EK_OK(initial->draw(&options.set, &stream, field));
    EK_OK(EkCfdCreate(PETSC_COMM_SELF, &spec, &cfd));
    EK_OK(EkCfdSetState(cfd, (const double *const *)field));
    for (PetscInt frame = 0; frame < 3; frame++) {
      EK_OK(EkCfdAdvance(cfd, frame ? 0.05 : 0, &steps, &sound));
      EK_OK(EkCfdGetState(cfd, field));
      for (int f = 0; f < EK_CFD_FIELDS; f++) {
        ReadField(options.file, name[f], stored);
        for (PetscInt c = 0; c < points; c++) assert_true(stored[(t * 3 + frame) * points + c] == (float)field[f][c]);
      }
    }
    EK_OK(EkCfdDestroy(&cfd));
  }
  for (int f = 0; f < EK_CFD_FIELDS; f++) free(field[f]);
  free(stored);
}

static void FileDoesNotDependOnTheRanks(void **unused)
{
  char              folder[EK_PATH];
  EkGenerateOptions alone;

  (void)unused;
  EkTestScratch(folder);
  alone = Small(folder, "alone.hdf5");
  GenerateAlone(&alone);
  for (PetscInt wide = 1; wide <= EkTestRun()->size; wide++) {
    char              name[32];
    EkGenerateOptions options;
    EkGenerateReport  report;

    snprintf(name, sizeof(name), "ranks%d.hdf5", (int)wide);
    options = Small(folder, name);
    options.ranks_per_sample = wide;
    EK_OK(EkGenerate(EkTestRun(), &options, &report));
    assert_true(report.complete);
    EkTestSameFile(alone.file, options.file);
  }
}

static void ContinuedEqualsUninterrupted(void **unused)
{
  char              folder[EK_PATH];
  EkGenerateOptions alone, options;
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  alone = Small(folder, "alone.hdf5");
  GenerateAlone(&alone);
  options = Small(folder, "parts.hdf5");
  options.stop_after = 3;
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_true(!report.complete && report.solved == 3 && report.finished == 3);
  options.set.eta *= 2;
  EK_FAILS(EkGenerate(EkTestRun(), &options, &report), "eta: 0.01");
  options.set.eta /= 2;
  options.ranks_per_sample = EkTestRun()->size; /* may change */
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_true(!report.complete && report.solved == 3 && report.finished == 6);
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_true(report.complete && report.solved == 1 && report.finished == 7);
  EkTestSameFile(alone.file, options.file);
}

/* ---- sets of several files ---------------------------------------------------------------------------------------- */

static EkGenerateOptions TwoSpeeds(const char *folder, const char *name)
{
  const int         type = EkFamilyFind(&EkPdeFamily, "advection1d");
  EkGenerateOptions options = {
      .type = type, .set = ((const EkPde *)EkFamilyMember(&EkPdeFamily, type))->released, .ranks_per_sample = 1};

  EK_OK(PetscSNPrintf(options.file, EK_PATH, "%s/%s_{beta}.hdf5", folder, name));
  options.set.samples = 5;
  options.set.nx = 32;
  options.set.frames = 3;
  options.set.beta = (EkReals){2, {0.1, 2}};
  return options;
}

static void Path(const char *folder, const char *name, char path[EK_PATH])
{
  EK_OK(PetscSNPrintf(path, EK_PATH, "%s/%s", folder, name));
}

/* Killed after the first file got its name and before the second did: the first is left alone, the second continued. */
static void AFinishedFileOfSeveralStays(void **unused)
{
  char              folder[EK_PATH], from[EK_PATH], to[EK_PATH];
  EkGenerateOptions whole, parts;
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  whole = TwoSpeeds(folder, "whole");
  EK_OK(EkGenerate(EkTestRun(), &whole, &report));
  assert_true(report.complete);
  EK_FAILS(EkGenerate(EkTestRun(), &whole, &report), "is there already");
  parts = TwoSpeeds(folder, "parts");
  parts.stop_after = 2;
  EK_OK(EkGenerate(EkTestRun(), &parts, &report));
  assert_true(!report.complete);
  if (EkTestRun()->rank == 0) {
    Path(folder, "whole_0.1.hdf5", from), Path(folder, "parts_0.1.hdf5", to);
    assert_int_equal(link(from, to), 0);
    Path(folder, "parts_0.1.hdf5.part", from), Path(folder, "parts_0.1.hdf5.progress", to);
    assert_int_equal(unlink(from) | unlink(to), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
  parts.stop_after = 0;
  EK_OK(EkGenerate(EkTestRun(), &parts, &report));
  assert_true(report.complete && report.solved == 3);
  for (int f = 0; f < 2; f++) {
    Path(folder, f ? "whole_2.0.hdf5" : "whole_0.1.hdf5", from), Path(folder, f ? "parts_2.0.hdf5" : "parts_0.1.hdf5", to);
    EkTestSameFile(from, to);
  }
  parts = TwoSpeeds(folder, "one");
  EK_OK(PetscSNPrintf(parts.file, EK_PATH, "%s/one.hdf5", folder));
  assert_int_not_equal(EkGenerate(EkTestRun(), &parts, &report), 0);
}

/* ---- draws that cannot be solved -------------------------------------------------------------------------------- */

/* So fast that some draws need time steps below the smallest allowed one */
static EkGenerateOptions Violent(const char *folder, const char *name)
{
  EkGenerateOptions options = Small(folder, name);

  options.set.frames = 2;
  options.set.dt_save = 1e-6;
  options.set.M = 3e5;
  return options;
}

static void LostDrawsAreRepeated(void **unused)
{
  char              folder[EK_PATH];
  EkGenerateOptions alone, options;
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  alone = Violent(folder, "alone.hdf5");
  GenerateAlone(&alone);
  options = Violent(folder, "parts.hdf5");
  options.stop_after = 4;
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_true(report.complete && report.redrawn > 0);
  EkTestSameFile(alone.file, options.file);
}

/* A trajectory drawn again is none of another trajectory's draws, be it of this seed or of the next, of this file or of a longer
   one: two data sets would have it in common. */
static void RepeatedDrawsAreNobodyElses(void **unused)
{
  enum { FILES = 2, SAMPLES = 10, LONGER = 10000, POINTS = 8 * 8, FRAMES = 2 };
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, 0);
  const EkPdeSet   set = {.nx = 8, .M = 8e5};
  char             folder[EK_PATH], name[32];
  float            stored[SAMPLES * FRAMES * POINTS], frame[FILES * SAMPLES][POINTS];
  double          *field[EK_CFD_FIELDS];

  (void)unused;
  EkTestScratch(folder);
  for (int i = 0; i < FILES; i++) {
    EkGenerateOptions options;
    EkGenerateReport  report;

    snprintf(name, sizeof(name), "seed%d.hdf5", i);
    options = Violent(folder, name);
    options.seed = i;
    options.set.nx = set.nx;
    options.set.M = set.M;
    options.set.samples = SAMPLES;
    EK_OK(EkGenerate(EkTestRun(), &options, &report));
    assert_true(report.complete && report.redrawn > 0);
    ReadField(options.file, "density", stored);
    for (int t = 0; t < SAMPLES; t++) memcpy(frame[i * SAMPLES + t], stored + t * FRAMES * POINTS, sizeof(frame[0]));
  }
  for (int a = 0; a < FILES * SAMPLES; a++) {
    for (int b = 0; b < a; b++) assert_memory_not_equal(frame[a], frame[b], sizeof(frame[0]));
  }
  for (int f = 0; f < EK_CFD_FIELDS; f++) field[f] = malloc(POINTS * sizeof(double));
  for (int k = EkTestRun()->rank; k < FILES * LONGER; k += EkTestRun()->size) {
    EkRandom stream = EkRandomStream((uint64_t)(k / LONGER), EK_RANDOM_TRAJECTORY, (uint64_t)(k % LONGER));
    float    first[POINTS];

    EK_OK(initial->draw(&set, &stream, field));
    for (int c = 0; c < POINTS; c++) first[c] = (float)field[0][c];
    for (int a = 0; a < FILES * SAMPLES; a++) {
      if (a / SAMPLES == k / LONGER && a % SAMPLES == k % LONGER) continue; /* its own first draw */
      assert_memory_not_equal(frame[a], first, sizeof(first));
    }
  }
  for (int f = 0; f < EK_CFD_FIELDS; f++) free(field[f]);
}

static void HopelessParametersEndTheRun(void **unused)
{
  char              folder[EK_PATH];
  EkGenerateOptions options;
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  options = Violent(folder, "never.hdf5");
  options.set.M = 1e9;
  EK_FAILS(EkGenerate(EkTestRun(), &options, &report), "went non-finite in 26 draws");
}

static void WrongOptionsAreRefused(void **unused)
{
  char              folder[EK_PATH];
  EkGenerateOptions options;
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  options = Small(folder, "wrong.hdf5");
  options.ranks_per_sample = EkTestRun()->size + 1;
  assert_int_not_equal(EkGenerate(EkTestRun(), &options, &report), 0);
  options.ranks_per_sample = EkTestRun()->size;
  options.set.nx = 2 * EkTestRun()->size - 1;
  assert_int_not_equal(EkGenerate(EkTestRun(), &options, &report), 0);
  assert_int_not_equal(access(options.file, F_OK), 0);
}

/* The last test: a request to stop cannot be taken back. One rank is asked, all stop, and the file says what is missing. */
static void OneRankAskedToStopStopsAll(void **unused)
{
  char              folder[EK_PATH], part[EK_PATH + 8];
  EkGenerateOptions options;
  EkGenerateReport  report;

  (void)unused;
  EkTestScratch(folder);
  options = Small(folder, "stopped.hdf5");
  options.set.samples = 3000;
  EK_OK(EkStopInstall());
  if (EkTestRun()->rank == EkTestRun()->size - 1) raise(SIGUSR1);
  EK_OK(EkGenerate(EkTestRun(), &options, &report));
  assert_true(!report.complete && report.finished == report.solved && report.solved < 1000);
  snprintf(part, sizeof(part), "%s.part", options.file);
  assert_int_equal(access(part, F_OK), 0);
  assert_int_not_equal(access(options.file, F_OK), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TablesAreWhole),
    cmocka_unit_test(OwnDefaultsAreTold),
    cmocka_unit_test(KeysGivenStandKeysNotGivenAreReleased),
    cmocka_unit_test(RandomWavesAreAsPrescribed),
    cmocka_unit_test(FileHoldsTheTrajectories),
    cmocka_unit_test(FileDoesNotDependOnTheRanks),
    cmocka_unit_test(ContinuedEqualsUninterrupted),
    cmocka_unit_test(AFinishedFileOfSeveralStays),
    cmocka_unit_test(LostDrawsAreRepeated),
    cmocka_unit_test(RepeatedDrawsAreNobodyElses),
    cmocka_unit_test(HopelessParametersEndTheRun),
    cmocka_unit_test(WrongOptionsAreRefused),
    cmocka_unit_test(OneRankAskedToStopStopsAll),
};
EK_TEST_MAIN(tests)
