/* ranks: 1 2 3 4 */
/* Constants of the training set: what they are, on how many ranks they come out the same, what reads make of them. */
#include "dataset_support.h"
#include <float.h>

static const Shape shapes[] = {{"cfd", 1, 3, 13, 6, {14, 1, 1}},
                               {"cfd", 2, 4, 11, 5, {9, 6, 1}},
                               {"cfd", 3, 5, 9, 3, {4, 6, 3}},
                               {"scalar", 1, 1, 15, 4, {33, 1, 1}},
                               {"groups", 2, 3, 12, 4, {7, 6, 1}}};
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))
static const Variant contiguous = {0}, gzip = {"gzip", 0, 2, 1, 0, 4};

static void ScratchFile(char path[EK_PATH + 32])
{
  char scratch[EK_PATH];

  EkTestScratch(scratch);
  snprintf(path, EK_PATH + 32, "%s/a.hdf5", scratch);
}

/* Mean and standard deviation as the definition has them, from the values the file was made of. */
static void Define(const Shape *shape, const EkDataOptions *o, const EkDataInfo *info, PetscInt field, double *mean,
                   double *scale)
{
  PetscInt list[64];
  double   sum[2] = {0, 0}, n = 0;

  for (int pass = 0; pass < 2; pass++) {
    const double around = pass ? sum[0] / n : 0;

    n = 0;
    for (PetscInt s = 0, count = List(shape, o, EK_TRAIN, list); s < count; s++) {
      for (PetscInt t = 0; t < info->t_train; t++) {
        for (size_t p = 0; p < InfoPoints(info); p++, n++) {
          const PetscInt at[3] = {(PetscInt)p / (info->n[1] * info->n[2]), (PetscInt)p / info->n[2] % info->n[1],
                                  (PetscInt)p % info->n[2]};
          const double   x = Expected(shape, o, list[s], t, field, at) - around;

          sum[pass] += pass ? x * x : x;
        }
      }
    }
  }
  *mean = sum[0] / n;
  *scale = sqrt(sum[1] / n);
}

static void constants_are_those_of_the_training_set(void **state)
{
  static const PetscInt pick[][5] = {/* test, train, reduced_batch, reduced_resolution, t_train */
                                     {-1, -1, 1, 1, -1},
                                     {2, 6, 2, 1, 2},
                                     {3, -1, 3, 2, 3}};
  char                  path[EK_PATH + 32];

  (void)state;
  ScratchFile(path);
  for (size_t s = 0; s < NSHAPES; s++) {
    Make(path, &shapes[s], s % 2 ? &gzip : &contiguous);
    for (int i = 0; i < 3; i++) {
      EkDataOptions     options = Options(path);
      EkDataset         data;
      const EkDataInfo *info;
      double            mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS], wanted[2];

      options.test = pick[i][0];
      options.train = pick[i][1];
      options.reduced_batch = pick[i][2];
      options.reduced_resolution = pick[i][3];
      options.t_train = pick[i][4];
      EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
      EK_OK(EkDatasetGetInfo(data, &info));
      EK_OK(EkDatasetMeasureNorm(data, mean, scale));
      for (PetscInt f = 0; f < info->fields; f++) {
        Define(&shapes[s], &options, info, f, &wanted[0], &wanted[1]);
        if (!(fabs(mean[f] / wanted[0] - 1) < 1e-12) || !(fabs(scale[f] / wanted[1] - 1) < 1e-10))
          fail_msg("%s %d, field %d: %.15g, %.15g instead of %.15g, %.15g", shapes[s].family, i, (int)f, mean[f], scale[f],
                   wanted[0], wanted[1]);
      }
      EK_OK(EkDatasetDestroy(&data));
    }
  }
}

/* A 1D file of 9 trajectories whose moments are no round numbers. */
static void MakeIrregular(const char *path)
{
  static const char *const field[] = {"density", "pressure", "Vx", "x-coordinate"};
  const hsize_t            dims[] = {9, 4, 25};
  float                    values[9 * 4 * 25];

  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, &contiguous);

    for (int f = 0; f < 4; f++) {
      hid_t space = f < 3 ? H5Screate_simple(3, dims, NULL) : H5Screate_simple(1, dims + 2, NULL),
            set = H5Dcreate2(file, field[f], H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

      for (int i = 0; i < 900; i++) values[i] = (float)((f + 0.1) * sin(0.7 * i * i + f));
      H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
      H5Dclose(set);
      H5Sclose(space);
    }
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* On the first 1, 2, ... ranks. */
static void the_number_of_ranks_changes_no_bit(void **state)
{
  const EkRun run = EkTestRun();
  double      constants[4][2][EK_MAX_FIELDS] = {{{0}}};
  char        path[EK_PATH + 32];

  (void)state;
  ScratchFile(path);
  MakeIrregular(path);
  for (int ranks = 1; ranks <= run->size; ranks++) {
    struct EkRun_ part = *run;

    MPI_Comm_split(run->comm, run->rank < ranks, run->rank, &part.comm);
    part.size = ranks;
    if (run->rank < ranks) {
      EkDataOptions options = Options(path);
      EkDataset     data;

      EK_OK(EkDatasetOpen(&part, &options, &data));
      EK_OK(EkDatasetMeasureNorm(data, constants[ranks - 1][0], constants[ranks - 1][1]));
      EK_OK(EkDatasetDestroy(&data));
    }
    MPI_Comm_free(&part.comm);
  }
  for (int ranks = 2; ranks <= run->size && run->rank == 0; ranks++) {
    for (int f = 0; f < 3; f++) {
      if (memcmp(constants[0], constants[ranks - 1], sizeof(constants[0])))
        fail_msg("%d ranks: %.17g, one: %.17g", ranks, constants[ranks - 1][0][f], constants[0][0][f]);
    }
  }
}

static void reads_are_normalised(void **state)
{
  static const double mean[] = {100000.123456789, 2e5, -3, 0, 1e6}, scale[] = {3, 1e4, 7e5, 1, 0.125};
  char                path[EK_PATH + 32];

  (void)state;
  ScratchFile(path);
  for (size_t c = 0; c < 4 * NSHAPES; c++) {
    const Shape      *shape = &shapes[c / 4];
    EkDataOptions     options = Options(path);
    EkDataset         data;
    const EkDataInfo *info;
    const PetscInt    index = 1;
    size_t            stride;
    float            *out;

    Make(path, shape, c % 2 ? &gzip : &contiguous);
    options.reduced_resolution = 1 + (PetscInt)(c / 2) % 2;
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    EK_OK(EkDatasetGetInfo(data, &info));
    assert_true(info->mean[0] == 0 && info->scale[info->fields - 1] == 1);
    EK_OK(EkDatasetSetNorm(data, mean, scale));
    assert_true(info->mean[0] == mean[0] && info->scale[0] == scale[0]);
    stride = InfoPoints(info) + 2;
    out = malloc((size_t)(info->frames * info->fields) * stride * sizeof(float));
    for (int cached = 0; cached < 2; cached++) {
      EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &index, stride, out));
      for (PetscInt t = 0; t < info->frames; t++) {
        for (PetscInt f = 0; f < info->fields; f++) {
          const float *plane = out + ((size_t)t * info->fields + f) * stride;

          for (size_t p = 0; p < InfoPoints(info); p++) {
            const PetscInt at[3] = {(PetscInt)p / (info->n[1] * info->n[2]), (PetscInt)p / info->n[2] % info->n[1],
                                    (PetscInt)p % info->n[2]};
            const double   x = (Expected(shape, &options, 2, t, f, at) - mean[f]) / scale[f];

            if (!(fabs(plane[p] - x) <= 1e-7 * fabs(x))) fail_msg("case %zu: %.9g instead of %.9g", c, plane[p], x);
          }
          assert_true(plane[stride - 1] == 0);
        }
      }
    }
    free(out);
    EK_OK(EkDatasetDestroy(&data));
  }
}

/* Two neighbours among the floats: noise of whatever computed them. */
static void a_constant_field_deviates_by_rounding(void **state)
{
  const hsize_t dims[] = {6, 5, 100}, n = 100;
  EkDataOptions options;
  EkDataset     data;
  double        mean, scale;
  char          path[EK_PATH + 32];

  (void)state;
  ScratchFile(path);
  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, &contiguous), space = H5Screate_simple(3, dims, NULL), line = H5Screate_simple(1, &n, NULL), set;
    float values[6 * 5 * 100];

    for (int i = 0; i < 3000; i++) values[i] = i % 3 ? 0.1f : nextafterf(0.1f, 1);
    set = H5Dcreate2(file, "tensor", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(set);
    set = H5Dcreate2(file, "x-coordinate", H5T_IEEE_F32LE, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(set);
    H5Sclose(space);
    H5Sclose(line);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  options = Options(path);
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetMeasureNorm(data, &mean, &scale));
  assert_true(fabs(mean - 0.1f) < 1e-8);
  assert_true(scale <= FLT_EPSILON * 0.1);
  EK_OK(EkDatasetDestroy(&data));
}

static void bad_values_and_bad_order(void **state)
{
  static const Shape darcy = {"darcy", 2, 1, 6, 2, {7, 10, 1}};
  const double       zero[4] = {0}, one[4] = {1, 1, 1, 1};
  double             mean[4], scale[4];
  char               path[EK_PATH + 32];
  EkDataOptions      options;
  EkDataset          data;
  float              out[5 * 4 * 54];

  (void)state;
  ScratchFile(path);
  options = Options(path);
  options.normalize = EK_NORMALIZE_FIELD;
  Make(path, &darcy, &contiguous);
  Fails(&options, "data_normalize: the coefficient and the solution of ");
  Make(path, &shapes[1], &contiguous);
  Poison(path, "pressure", (hsize_t[]){0, 0, 0, 0}, 4, NAN); /* of the test set: nobody's business */
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetMeasureNorm(data, mean, scale));
  EK_FAILS(EkDatasetSetNorm(data, mean, zero), "data_normalize: field 'density': mean ");
  EK_OK(EkDatasetRead(data, EK_TRAIN, 1, (PetscInt[]){0}, 54, out));
  EK_FAILS(EkDatasetSetNorm(data, zero, one), "data_normalize: set after samples were read");
  EK_OK(EkDatasetDestroy(&data));
  Poison(path, "Vx", (hsize_t[]){7, 3, 8, 5}, 4, NAN);
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_FAILS(EkDatasetMeasureNorm(data, mean, scale), "dataset 'Vx', trajectory 7, frame 3: a value is not finite");
  /* known to all: whoever prints it prints the same */
  assert_non_null(strstr(test_last_line, "trajectory 7"));
  EK_OK(EkDatasetDestroy(&data));
  options.train = 0;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_FAILS(EkDatasetMeasureNorm(data, mean, scale), "has no training trajectories to measure");
  EK_OK(EkDatasetSetNorm(data, zero, one));
  EK_OK(EkDatasetDestroy(&data));
  options.train = -1;
  options.t_train = 2; /* the bad frame is not among them */
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetMeasureNorm(data, mean, scale));
  EK_OK(EkDatasetDestroy(&data));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(constants_are_those_of_the_training_set),
    cmocka_unit_test(the_number_of_ranks_changes_no_bit),
    cmocka_unit_test(reads_are_normalised),
    cmocka_unit_test(a_constant_field_deviates_by_rounding),
    cmocka_unit_test(bad_values_and_bad_order),
};
EK_TEST_MAIN(tests)
