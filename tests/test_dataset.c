/* ranks: 1 2 3 4 */
#include "dataset_support.h"
#include <fcntl.h>

static const Shape shapes[] = {
    {"cfd", 1, 3, 23, 7, {13, 1, 1}},   {"cfd", 2, 4, 11, 5, {9, 6, 1}},    {"scalar", 1, 1, 30, 6, {16, 1, 1}},
    {"darcy", 2, 1, 12, 2, {7, 10, 1}}, {"cfd", 3, 5, 10, 3, {5, 6, 4}},    {"groups", 1, 1, 17, 6, {12, 1, 1}},
    {"groups", 2, 2, 12, 4, {7, 6, 1}}, {"groups", 2, 1, 10, 5, {8, 5, 1}}, {"groups", 3, 3, 10, 3, {4, 5, 6}},
};
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void every_family_is_told_from_its_datasets(void **state)
{
  static const Variant     plain = {0};
  static const char *const last[NSHAPES] = {"Vx", "Vy", "tensor", "tensor", "Vz", "data0", "data1", "data0", "data2"};
  char                     scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  for (size_t s = 0; s < NSHAPES; s++) {
    const Shape      *shape = &shapes[s];
    EkDataset         data;
    EkDataOptions     options;
    const EkDataInfo *info;

    snprintf(path, sizeof(path), "%s/%zu.hdf5", scratch, s);
    Make(path, shape, &plain);
    options = Options(path);
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    EK_OK(EkDatasetGetInfo(data, &info));
    assert_string_equal(info->family, shape->family);
    assert_int_equal(info->dim, shape->dim);
    assert_int_equal(info->fields, shape->nfields);
    assert_int_equal(info->frames, shape->frames);
    assert_int_equal(info->samples, shape->samples);
    assert_int_equal(info->n[0], shape->n[0]);
    assert_int_equal(info->n[1], shape->n[1]);
    assert_int_equal(info->t_train, shape->frames);
    assert_int_equal(info->n[2], shape->n[2]);
    assert_string_equal(info->field[shape->nfields - 1], last[s]);
    for (int d = 0; d < shape->dim; d++) {
      for (PetscInt i = 0; i < info->n[d]; i++) assert_true(info->coordinate[d][i] == 0.5f + (float)i / (float)info->n[d]);
    }
    EK_OK(EkDatasetDestroy(&data));
    EK_OK(EkDatasetDestroy(&data));
  }
}

static void samples_are_the_published_slices(void **state)
{
  static const Variant  plain = {0};
  static const PetscInt pick[][6] = {/* test, train, reduced_batch, reduced_resolution, reduced_resolution_t, t_train */
                                     {-1, -1, 1, 1, 1, -1},
                                     {3, -1, 2, 2, 1, -1},
                                     {2, 7, 3, 1, 2, -1},
                                     {0, 5, 4, 3, 2, 2},
                                     {5, 0, 1, 4, 1, -1}};
  char                  scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  for (size_t s = 0; s < NSHAPES; s++) {
    snprintf(path, sizeof(path), "%s/%zu.hdf5", scratch, s);
    Make(path, &shapes[s], &plain);
    for (size_t i = 0; i < sizeof(pick) / sizeof(pick[0]); i++) {
      EkDataOptions options = Options(path);

      options.test = pick[i][0];
      options.train = pick[i][1];
      options.reduced_batch = pick[i][2];
      options.reduced_resolution = pick[i][3];
      options.reduced_resolution_t = pick[i][4];
      options.t_train = pick[i][5];
      CheckRead(&shapes[s], &options);
      options.cache = 0;
      CheckRead(&shapes[s], &options);
      options.test_from = EK_FROM_END;
      CheckRead(&shapes[s], &options);
    }
  }
}

static void storage_does_not_matter(void **state)
{
  const Variant variants[] = {{"chunked", 0, 3, 0, 0, 0},
                              {"gzip", 0, 2, 1, 0, 0},
                              {"partial", H5T_IEEE_F32BE, 1, 0, 0, 4},
                              {"parts", 0, 4, 1, 0, 3},
                              {"big-endian", H5T_IEEE_F32BE, 0, 0, 0, 0},
                              {"float64", H5T_IEEE_F64LE, 0, 0, 0, 0},
                              {"userblock", 0, 0, 0, 1024, 0},
                              {"integer", H5T_STD_I32BE, 4, 1, 512, 0}};
  char          scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++) {
    for (size_t s = 0; s < NSHAPES; s++) {
      EkDataOptions options;

      snprintf(path, sizeof(path), "%s/%s%zu.hdf5", scratch, variants[v].name, s);
      Make(path, &shapes[s], &variants[v]);
      options = Options(path);
      options.reduced_resolution = 1 + (PetscInt)(s + v) % 3;
      options.reduced_resolution_t = 1 + (PetscInt)(s + v / 2) % 2;
      options.t_train = 2;
      options.cache = v % 2 ? 0 : 1000;
      CheckRead(&shapes[s], &options);
    }
  }
}

/* Frames larger than what is read at a time, and many small ones. */
static void large_and_many_frames(void **state)
{
  static const Shape   big[] = {{"cfd", 2, 4, 2, 3, {270, 260, 1}},     {"scalar", 1, 1, 2, 1500, {3, 1, 1}},
                                {"scalar", 1, 1, 2, 300, {1024, 1, 1}}, {"groups", 2, 2, 2, 3, {270, 260, 1}},
                                {"cfd", 3, 5, 2, 3, {12, 100, 90}},     {"groups", 1, 1, 2, 4, {70000, 1, 1}}};
  static const Variant plain = {0};
  char                 scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  for (size_t s = 0; s < sizeof(big) / sizeof(big[0]); s++) {
    EkDataOptions options = Options(path);

    Make(path, &big[s], &plain);
    CheckRead(&big[s], &options);
    options.reduced_resolution = 2;
    options.reduced_resolution_t = 2;
    options.cache = 0;
    CheckRead(&big[s], &options);
  }
}

static void cache_is_bounded_and_changes_nothing(void **state)
{
  static const Variant plain = {0};
  const Shape         *shape = &shapes[1];
  const PetscInt64     sample = (PetscInt64)sizeof(float) * shape->frames * shape->nfields * shape->n[0] * shape->n[1];
  char                 scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  Make(path, shape, &plain);
  for (PetscInt64 room = 0; room <= 12; room += 4) {
    EkDataOptions  options = Options(path);
    EkDataset      data;
    const PetscInt n = 10;
    float         *out = malloc((size_t)sample);

    options.cache = room * sample + sample / 2;
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    for (PetscInt epoch = 0; epoch < 5; epoch++) {
      const PetscInt64 missed = epoch == 0 ? n : n - (room < n ? room : n), before = EkDatasetBytesRead(data);

      for (PetscInt i = 0; i < n; i++) {
        const PetscInt index = (7 * i + 3 * epoch) % n;

        EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &index, (size_t)(shape->n[0] * shape->n[1]), out));
        assert_true(out[0] == Value(0, (PetscInt64)(index + 1) * shape->frames * shape->n[0] * shape->n[1]));
      }
      assert_int_equal(EkDatasetBytesRead(data) - before, missed * sample);
    }
    EK_OK(EkDatasetDestroy(&data));
    free(out);
  }
  assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_FILE), 0);
}

/* ---- errors ------------------------------------------------------------------------------------------------- */

static void missing_and_foreign_files(void **state)
{
  char          scratch[EK_PATH], path[EK_PATH + 32];
  EkDataOptions options;

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/none.hdf5", scratch);
  options = Options(path);
  Fails(&options, "none.hdf5': no such file");
  options = Options(scratch);
  Fails(&options, "is a folder; wanted are train");
  snprintf(path, sizeof(path), "%s/text.hdf5", scratch);
  if (EkTestRun()->rank == 0) {
    FILE *file = fopen(path, "w");

    fprintf(file, "not data\n");
    fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  options = Options(path);
  Fails(&options, "text.hdf5' is not an HDF5 file");
}

static const Variant  contiguous = {0};
static const PetscInt four[] = {6, 5, 8, 8}, other[] = {6, 5, 8, 9}, six[] = {2, 3, 4, 4, 4, 2}, fewer[] = {5, 5, 8, 8},
                      line[] = {8}, short_line[] = {7};

static void Nothing(hid_t file)
{
  (void)file;
}
static void Groups(hid_t file)
{
  H5Gclose(H5Gcreate2(file, "0000", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Gclose(H5Gcreate2(file, "0001", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}
static void SixAxes(hid_t file)
{
  Put(file, "density", 0, 6, six, &contiguous);
}
static void TensorAlone(hid_t file)
{
  Put(file, "tensor", 0, 4, four, &contiguous);
}
static void WithoutVx(hid_t file)
{
  Put(file, "density", 0, 4, four, &contiguous);
  Put(file, "pressure", 0, 4, four, &contiguous);
}
static void OtherGrid(hid_t file)
{
  WithoutVx(file);
  Put(file, "Vx", 0, 4, other, &contiguous);
}
static void FewerSamples(hid_t file)
{
  WithoutVx(file);
  Put(file, "Vx", 0, 4, fewer, &contiguous);
}
static void ThreeAxes(hid_t file)
{
  WithoutVx(file);
  Put(file, "Vx", 0, 3, four, &contiguous);
}
static void NoCoordinates(hid_t file)
{
  WithoutVx(file);
  Put(file, "Vx", 2, 4, four, &contiguous);
  Put(file, "Vy", 3, 4, four, &contiguous);
}
static void NoY(hid_t file)
{
  NoCoordinates(file);
  Put(file, "x-coordinate", -1, 1, line, &contiguous);
}
static void ShortY(hid_t file)
{
  NoY(file);
  Put(file, "y-coordinate", -1, 1, short_line, &contiguous);
}
static void VxIsGroup(hid_t file)
{
  WithoutVx(file);
  H5Gclose(H5Gcreate2(file, "Vx", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}
static void NeverWritten(hid_t file)
{
  hsize_t dims[3] = {6, 5, 8};
  hid_t   space = H5Screate_simple(3, dims, NULL);

  H5Dclose(H5Dcreate2(file, "tensor", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Sclose(space);
}
static void Strings(hid_t file)
{
  hsize_t dims[3] = {6, 5, 8};
  hid_t   space = H5Screate_simple(3, dims, NULL), type = H5Tcopy(H5T_C_S1);

  H5Dclose(H5Dcreate2(file, "tensor", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Tclose(type);
  H5Sclose(space);
}
static void Empty(hid_t file)
{
  const PetscInt none[] = {0, 5, 8};

  Put(file, "tensor", 0, 3, none, &contiguous);
}

static size_t Identity(unsigned flags, size_t nvalues, const unsigned values[], size_t bytes, size_t *room, void **buffer)
{
  (void)flags, (void)nvalues, (void)values, (void)room, (void)buffer;
  return bytes;
}

/* Written through a filter that this process then forgets, as h5py's lzf is unknown to a plain HDF5. */
static void UnknownFilter(hid_t file)
{
  const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, 300, 1, 1, "lzf", NULL, NULL, Identity};
  const hsize_t      dims[3] = {6, 5, 8};
  const hid_t        space = H5Screate_simple(3, dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
  hid_t              data;
  float              values[240] = {0};

  H5Zregister(&filter);
  H5Pset_chunk(create, 3, dims);
  H5Pset_filter(create, 300, 0, 0, NULL);
  data = H5Dcreate2(file, "tensor", H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
  assert_true(H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(data);
  H5Pclose(create);
  H5Sclose(space);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  H5Zunregister(300);
}

static void files_that_do_not_fit_are_named(void **state)
{
  char scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  Broken(path, Nothing,
         "not supported yet: neither 'density' nor 'tensor' nor 'nu' nor 'data' is among its datasets, nor 'data' in its first "
         "group (found: "
         "nothing)");
  Broken(path, Groups, "(found: 0000, 0001)");
  Broken(path, SixAxes, "not supported yet: 'density' has 6 axes (2 x 3 x 4 x 4 x 4 x 2");
  Broken(path, TensorAlone, "not supported yet: 'tensor' has 4 axes");
  Broken(path, WithoutVx, "a.hdf5: dataset 'Vx' is missing (found: density, pressure)");
  Broken(path, VxIsGroup, "dataset 'Vx' is missing");
  Broken(path, OtherGrid, "datasets disagree: 'Vx' is 6 x 5 x 8 x 9, 'density' asks for 6 x 5 x 8 x 8");
  Broken(path, FewerSamples, "datasets disagree: 'Vx' is 5 x 5 x 8 x 8");
  Broken(path, ThreeAxes, "datasets disagree: 'Vx' is 6 x 5 x 8, ");
  Broken(path, NoCoordinates, "dataset 'x-coordinate' is missing");
  Broken(path, NoY, "dataset 'y-coordinate' is missing");
  Broken(path, ShortY, "dataset 'y-coordinate' is 7, the grid has 8 points");
  Broken(path, NeverWritten, "dataset 'tensor' was never written");
  Broken(path, Strings, "dataset 'tensor' does not hold numbers");
  Broken(path, Empty, "dataset 'tensor': axis 0 is 0 long");
  Broken(path, UnknownFilter,
         "through the filter 'lzf' (number 300), which this HDF5 does not have: point HDF5_PLUGIN_PATH to it, or "
         "write the file again without it");
}

static void asking_for_too_much(void **state)
{
  const Shape  *shape = &shapes[1]; /* 11 trajectories, 5 frames, 9 x 6 */
  char          scratch[EK_PATH], path[EK_PATH + 32];
  EkDataOptions options;

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  Make(path, shape, &contiguous);
  options = Options(path);
  options.test = 12;
  Fails(&options, "data_test: 12 trajectories asked for");
  options.test = 8;
  options.train = 4;
  Fails(&options, "data_test + data_train: 12 trajectories asked for");
  options = Options(path);
  options.reduced_resolution = 7;
  Fails(&options, "data_reduced_resolution: every 7th of the 6 points of axis y");
  options = Options(path);
  options.reduced_resolution_t = 6;
  Fails(&options, "data_reduced_resolution_t: every 6th of the 5 frames");
  options = Options(path);
  options.initial_step = 5;
  Fails(&options, "data_initial_step: after 5 given frames nothing is left to predict of the 5 used");
  options = Options(path);
  options.t_train = 3;
  options.initial_step = 3;
  Fails(&options, "data_initial_step: after 3 given frames nothing is left to predict of the 3 used");
}

static void more_frames_than_there_are_is_a_notice(void **state)
{
  char              scratch[EK_PATH], path[EK_PATH + 32];
  EkDataOptions     options;
  EkDataset         data;
  const EkDataInfo *info;
  const PetscInt    beyond = 10;
  float             out[5 * 4 * 54];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  Make(path, &shapes[1], &contiguous);
  options = Options(path);
  options.t_train = 99;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  assert_int_equal(info->t_train, 5);
  EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, &beyond, 54, out), "sample 10 asked for, the training set has 10");
  EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, &(PetscInt){0}, 53, out), "do not fit a stride of 53");
  EK_OK(EkDatasetDestroy(&data));
}

static void values_that_are_not_finite(void **state)
{
  static const Variant gzip = {"gzip", 0, 2, 1, 0, 0};
  const hsize_t        place[] = {4, 3, 8, 5};
  char                 scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  for (int v = 0; v < 3; v++) {
    EkDataOptions options;
    EkDataset     data;
    float         out[5 * 4 * 54];

    snprintf(path, sizeof(path), "%s/%d.hdf5", scratch, v);
    Make(path, &shapes[1], v == 2 ? &gzip : &contiguous);
    Poison(path, "Vx", place, 4, v ? NAN : -INFINITY);
    options = Options(path);
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    for (PetscInt i = 0; i < 10; i++) {
      if (i == 3)
        EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, &i, 54, out),
                 ".hdf5: dataset 'Vx', trajectory 4, frame 3: a value is not finite");
      else
        EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &i, 54, out));
    }
    EK_OK(EkDatasetDestroy(&data));
  }
}

static void Truncate(const char *path, off_t bytes)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) assert_int_equal(truncate(path, bytes), 0);
  MPI_Barrier(EkTestRun()->comm);
}

static void truncated_files(void **state)
{
  char          scratch[EK_PATH], path[EK_PATH + 32];
  EkDataOptions options;
  struct stat   status;

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  options = Options(path);
  Make(path, &shapes[1], &contiguous);
  assert_int_equal(stat(path, &status), 0);
  Truncate(path, status.st_size - 1);
  Fails(&options, "truncated");
  Truncate(path, status.st_size / 2);
  Fails(&options, "truncated");
  Truncate(path, 10);
  Fails(&options, "a.hdf5' is damaged");
  Truncate(path, 0);
  Fails(&options, "a.hdf5' is not an HDF5 file");
}

/* A file whose own idea of its length was shortened along: HDF5 opens it, the datasets' ends give it away. */
static void truncated_files_that_hdf5_opens(void **state)
{
  char          scratch[EK_PATH], path[EK_PATH + 32];
  EkDataOptions options;

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  options = Options(path);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const PetscInt large[] = {10, 20, 100};
    struct stat    status;
    uint64_t       end;
    hid_t          file = Create(path, &contiguous);
    int            fd;

    Put(file, "x-coordinate", -1, 1, large + 2, &contiguous);
    Put(file, "tensor", 0, 3, large, &contiguous);
    H5Fclose(file);
    assert_int_equal(stat(path, &status), 0);
    end = (uint64_t)status.st_size - 4000;
    fd = open(path, O_RDWR);
    assert_true(pwrite(fd, &end, 8, 40) == 8 &&
                ftruncate(fd, (off_t)end) == 0); /* superblock version 0: end of file at byte 40 */
    close(fd);
  }
  MPI_Barrier(EkTestRun()->comm);
  Fails(&options, "a.hdf5: the file is truncated: dataset 'tensor' ends at byte");
}

/* The file shrinks while it is open. */
static void reading_beyond_the_end(void **state)
{
  char           scratch[EK_PATH], path[EK_PATH + 32];
  EkDataOptions  options;
  EkDataset      data;
  const PetscInt index = 9;
  float          out[5 * 4 * 54];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  options = Options(path);
  Make(path, &shapes[1], &contiguous);
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  Truncate(path, 4096);
  EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, &index, 54, out), "trajectory 10 cannot be read: the file ends before");
  EK_OK(EkDatasetDestroy(&data));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_family_is_told_from_its_datasets),
    cmocka_unit_test(samples_are_the_published_slices),
    cmocka_unit_test(storage_does_not_matter),
    cmocka_unit_test(large_and_many_frames),
    cmocka_unit_test(cache_is_bounded_and_changes_nothing),
    cmocka_unit_test(missing_and_foreign_files),
    cmocka_unit_test(files_that_do_not_fit_are_named),
    cmocka_unit_test(asking_for_too_much),
    cmocka_unit_test(more_frames_than_there_are_is_a_notice),
    cmocka_unit_test(values_that_are_not_finite),
    cmocka_unit_test(truncated_files),
    cmocka_unit_test(truncated_files_that_hdf5_opens),
    cmocka_unit_test(reading_beyond_the_end),
};
EK_TEST_MAIN(tests)
