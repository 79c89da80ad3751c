/* ranks: 1 2 3
   Constants of data_normalize for a mixture: what they are, and what reads make of them. */
#include "dataset_support.h"
#include "evenkeel/mixture.h"

#define SEED   11
#define POINTS 6

typedef struct {
  const char *name; /* of the file */
  PetscInt    samples, frames;
  float       level; /* of its density */
} Line;

static const Line lines[] = {{"low", 6, 5, 2}, {"high", 8, 8, 5}};

/* A 1D file: density is its level, pressure 7 or its neighbour among the floats, the third field a mess. */
static void MakeLine(const char *base, const Line *line)
{
  const char *const    field[] = {"density", "pressure", "Vx", "x-coordinate"};
  const hsize_t        dims[] = {(hsize_t)line->samples, (hsize_t)line->frames, POINTS};
  const int            n = (int)(line->samples * line->frames * POINTS);
  static const Variant plain;
  char                 path[2 * EK_PATH];
  float                values[8 * 8 * POINTS];

  snprintf(path, sizeof(path), "%s/%s.hdf5", base, line->name);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const hid_t file = Create(path, &plain);

    for (int f = 0; f < 4; f++) {
      const hid_t space = f < 3 ? H5Screate_simple(3, dims, NULL) : H5Screate_simple(1, dims + 2, NULL),
                  set = H5Dcreate2(file, field[f], H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

      for (int i = 0; i < n; i++)
        values[i] = f == 0 ? line->level : f == 1 ? (i % 3 ? 7 : nextafterf(7, 8)) : (float)(line->level * sin(0.7 * i * i + f));
      assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
      H5Dclose(set);
      H5Sclose(space);
    }
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* Two of the files, two trajectories of each set apart. */
static EkMixtureOptions Two(const Line *a, const Line *b, PetscInt window)
{
  EkMixtureOptions options = {.each = Options(""), .test = {1, {2}}, .train = {1, {-1}}, .window = window};
  char             scratch[EK_PATH];

  EkTestScratch(scratch);
  MakeLine(scratch, a);
  MakeLine(scratch, b);
  snprintf(options.files, EK_PATHS, "%s/%s.hdf5,%s/%s.hdf5", scratch, a->name, scratch, b->name);
  options.each.normalize = EK_NORMALIZE_FIELD;
  return options;
}

static void Near(double found, double wanted)
{
  if (!(fabs(found - wanted) < 1e-12)) fail_msg("%.15g instead of %.15g", found, wanted);
}

/* low: 4 trajectories of 5 frames, three times; high: 6 of 8 frames, once. */
static void each_file_counts_by_its_frames_and_weight(void **state)
{
  const double     p = 60.0 / 108, q = 48.0 / 108;
  EkMixtureOptions options = Two(&lines[0], &lines[1], 4);
  double           mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS];
  EkMixture        mixture;

  (void)state;
  options.weights = (EkInts){2, {3, 1}};
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureMeasureNorm(mixture, mean, scale));
  Near(mean[0], 2 * p + 5 * q);
  Near(scale[0], 3 * sqrt(p * q)); /* constant in either file */
  assert_true(fabs(mean[1] - 7) < 1e-6);
  assert_true(scale[1] == 1); /* constant in both, but for rounding */
  EK_OK(EkMixtureDestroy(&mixture));
}

/* Training samples of all ranks' epoch, no window: mean 0 and deviation 1; test trajectories by the same constants. */
static void reads_are_normalised_by_the_same_constants(void **state)
{
  static const Line early = {"early", 7, 8, 3};
  EkMixtureOptions  options = Two(&early, &lines[1], 0);
  const EkDataInfo *info;
  double            mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS], sum[2] = {0, 0};
  float             sample[8 * 3 * POINTS];
  EkMixture         mixture;
  PetscInt          n;

  (void)state;
  options.weights = (EkInts){2, {2, 1}};
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetInfo(mixture, &info));
  EK_OK(EkMixtureMeasureNorm(mixture, mean, scale));
  EK_OK(EkMixtureSetNorm(mixture, mean, scale));
  n = info->count[EK_TRAIN];
  assert_int_equal(n, 16);
  for (PetscInt i = 0; i < n; i++) {
    EK_OK(EkMixtureReadTraining(mixture, 0, 1, &i, POINTS, sample));
    for (int t = 0; t < 8; t++) {
      for (int x = 0; x < POINTS; x++) {
        const double v = sample[(t * 3 + 2) * POINTS + x];

        sum[0] += v;
        sum[1] += v * v;
        assert_true(fabs(sample[t * 3 * POINTS + x] - ((i < 10 ? 3 : 5) - mean[0]) / scale[0]) < 1e-6);
      }
    }
  }
  assert_true(fabs(sum[0] / (n * 8 * POINTS)) < 1e-6);
  assert_true(fabs(sum[1] / (n * 8 * POINTS) - 1) < 1e-6);
  for (int set = 0; set < 2; set++) {
    EK_OK(EkMixtureReadTest(mixture, set, 1, (const PetscInt[1]){1}, POINTS, sample));
    assert_true(fabs(sample[0] - ((set ? 5 : 3) - mean[0]) / scale[0]) < 1e-6);
    assert_true(fabs(sample[POINTS]) < 1e-6);
  }
  assert_true(fabs(info->mean[1] - 7) < 1e-6);
  EK_OK(EkMixtureDestroy(&mixture));
}

static void a_file_that_is_not_trained_on_does_not_count(void **state)
{
  EkMixtureOptions options = Two(&lines[0], &lines[1], 4);
  double           mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS], alone[EK_MAX_FIELDS], alone_scale[EK_MAX_FIELDS];
  EkMixture        mixture;

  (void)state;
  options.train = (EkInts){2, {-1, 0}};
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureMeasureNorm(mixture, mean, scale));
  EK_OK(EkMixtureDestroy(&mixture));
  *strchr(options.files, ',') = 0;
  options.train = (EkInts){1, {-1}};
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureMeasureNorm(mixture, alone, alone_scale));
  EK_OK(EkMixtureDestroy(&mixture));
  for (int f = 0; f < 3; f++) assert_true(mean[f] == alone[f] && scale[f] == alone_scale[f]);
}

static void files_without_anything_to_measure(void **state)
{
  EkMixtureOptions options = Two(&lines[0], &lines[1], 4);
  double           mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS];
  EkMixture        mixture;

  (void)state;
  options.train = (EkInts){1, {0}};
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_FAILS(EkMixtureMeasureNorm(mixture, mean, scale), "data_normalize: there are no training trajectories to measure");
  EK_OK(EkMixtureDestroy(&mixture));
}

static void other_fields_are_refused(void **state)
{
  static const Shape   scalar = {"scalar", 1, 1, 6, 8, {POINTS, 1, 1}};
  static const Variant plain;
  EkMixtureOptions     options = Two(&lines[0], &lines[1], 4);
  char                 path[2 * EK_PATH], scratch[EK_PATH];
  EkMixture            mixture;

  (void)state;
  EkTestScratch(scratch); /* empties it */
  MakeLine(scratch, &lines[1]);
  snprintf(path, sizeof(path), "%s/scalar.hdf5", scratch);
  Make(path, &scalar, &plain);
  snprintf(options.files, EK_PATHS, "%s/high.hdf5,%s", scratch, path);
  EK_FAILS(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture),
           "data_normalize: the fields of 'scalar' are not those of 'high', there is no constant for both; none is possible");
  options.each.normalize = EK_NORMALIZE_NONE;
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureDestroy(&mixture));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_file_counts_by_its_frames_and_weight), cmocka_unit_test(reads_are_normalised_by_the_same_constants),
    cmocka_unit_test(a_file_that_is_not_trained_on_does_not_count), cmocka_unit_test(files_without_anything_to_measure),
    cmocka_unit_test(other_fields_are_refused)};
EK_TEST_MAIN(tests)
