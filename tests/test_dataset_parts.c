/* ranks: 1 3 */
/* Less than whole samples, files of groups, filters, memory: what a reader leaves unread, undecoded and unheld. */
#include "dataset_support.h"
#include <limits.h>
#include <malloc.h>

static const Variant contiguous = {0}, gzip = {"gzip", 0, 2, 1, 0, 3};
static const Shape   shapes[] = {
      {"cfd", 1, 3, 10, 6, {13, 1, 1}},   {"cfd", 2, 4, 6, 5, {9, 6, 1}},        {"cfd", 3, 5, 4, 3, {5, 6, 4}},
      {"groups", 2, 3, 6, 4, {7, 6, 1}},  {"groups", 1, 1, 7, 4, {12, 1, 1}},    {"darcy", 2, 1, 6, 2, {7, 10, 1}},
      {"cfd", 2, 4, 2, 3, {270, 260, 1}}, {"groups", 2, 2, 2, 2, {270, 260, 1}},
};
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))
static const PetscInt every_field[] = {0, 1, 2, 3, 4, 5, 6, 7};

static void ScratchFile(char path[EK_PATH + 32], const char *name)
{
  char scratch[EK_PATH];

  EkTestScratch(scratch);
  snprintf(path, EK_PATH + 32, "%s/%s", scratch, name);
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

/* Rows [row, row + rows) of every trajectory; bytes: what reading one may cost, 0: anything. */
static void CheckSlab(const Shape *shape, const EkDataOptions *o, PetscInt row, PetscInt rows, PetscInt64 bytes)
{
  EkDataset         data;
  const EkDataInfo *info;

  EK_OK(EkDatasetOpen(EkTestRun(), o, &data));
  EK_OK(EkDatasetSetSlab(data, row, rows));
  EK_OK(EkDatasetGetInfo(data, &info));
  for (PetscInt s = 0; s < info->count[EK_TEST]; s++) {
    const size_t     stride = (size_t)(rows * info->n[1] * info->n[2]) + 3, size = (size_t)(info->frames * info->fields) * stride;
    float           *out = malloc(size * sizeof(float));
    const PetscInt64 before = EkDatasetBytesRead(data);

    for (int again = 0; again < 2; again++) {
      for (size_t i = 0; i < size; i++) out[i] = NAN;
      EK_OK(EkDatasetRead(data, EK_TEST, 1, &s, stride, out));
      if (rows) CheckRows(shape, o, info, s, info->frames, every_field, row, rows, stride, out);
    }
    if (bytes) assert_int_equal(EkDatasetBytesRead(data) - before, bytes);
    free(out);
  }
  EK_OK(EkDatasetDestroy(&data));
}

static void slabs_are_rows_of_the_whole(void **state)
{
  const Variant variant[] = {contiguous, gzip, {"big-endian", H5T_IEEE_F32BE, 0, 0, 0, 0}};
  char          path[EK_PATH + 32];

  (void)state;
  ScratchFile(path, "a.hdf5");
  for (size_t s = 0; s < NSHAPES; s++) {
    const Shape     *shape = &shapes[s];
    const PetscInt   n = shape->n[0];
    const PetscInt64 row = (PetscInt64)sizeof(float) * shape->frames * shape->nfields * shape->n[1] * shape->n[2];

    for (int v = 0; v < 3; v++) {
      EkDataOptions options = Options(path);

      Make(path, shape, &variant[v]);
      options.test = shape->samples;
      CheckSlab(shape, &options, 1, n - 2, v ? 0 : (n - 2) * row);
      CheckSlab(shape, &options, n - 1, 1, v ? 0 : row);
      CheckSlab(shape, &options, 2, 0, 0);
      options.reduced_resolution = 2;
      CheckSlab(shape, &options, 1, (n + 1) / 2 - 1, 0);
      CheckSlab(shape, &options, 0, 2, 0);
    }
  }
}

static void rows_are_chosen_before_reading(void **state)
{
  const PetscInt first = 0;
  char           path[EK_PATH + 32];
  EkDataOptions  options;
  EkDataset      data;
  float          out[5 * 4 * 54];

  (void)state;
  ScratchFile(path, "a.hdf5");
  Make(path, &shapes[1], &contiguous);
  options = Options(path);
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_FAILS(EkDatasetSetSlab(data, 3, 7), "rows 3 to 10 of 9");
  EK_OK(EkDatasetSetSlab(data, 3, 6));
  EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, &first, 35, out), "do not fit a stride of 35");
  EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &first, 36, out));
  EK_FAILS(EkDatasetSetSlab(data, 0, 9), "rows chosen after samples were read");
  EK_OK(EkDatasetDestroy(&data));
}

/* ---- frames and fields ---------------------------------------------------------------------------------------- */

static void training_reads_the_frames_it_uses(void **state)
{
  const Variant variant[] = {contiguous, {"big-endian", H5T_IEEE_F32BE, 0, 0, 0, 0}, gzip};
  char          path[EK_PATH + 32];

  (void)state;
  ScratchFile(path, "a.hdf5");
  for (int v = 0; v < 3; v++) {
    for (int s = 0; s < 4; s += 3) {
      const Shape     *shape = &shapes[s];
      const PetscInt64 frame = (PetscInt64)sizeof(float) * shape->nfields * shape->n[0] * shape->n[1];
      EkDataOptions    options = Options(path);
      EkDataset        data;
      const PetscInt   index = 1;
      float            out[2048];

      Make(path, shape, &variant[v]);
      options.t_train = 2;
      EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
      EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &index, (size_t)(shape->n[0] * shape->n[1]), out));
      assert_int_equal(EkDatasetBytesRead(data), 2 * frame);
      EK_OK(EkDatasetRead(data, EK_TEST, 1, (PetscInt[]){0}, (size_t)(shape->n[0] * shape->n[1]), out));
      assert_int_equal(EkDatasetBytesRead(data), (2 + shape->frames) * frame);
      EK_OK(EkDatasetDestroy(&data));
    }
  }
}

/* The fields named, in the order named, are those of `place`. */
static void CheckFields(const Shape *shape, const char *path, const char *names, PetscInt n, const PetscInt place[])
{
  EkDataOptions     options = Options(path);
  EkDataset         data;
  const EkDataInfo *info;
  const PetscInt    index = 0;
  float            *out;

  EK_OK(PetscStrncpy(options.fields, names, sizeof(options.fields)));
  options.cache = 0;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  assert_int_equal(info->fields, n);
  out = malloc(sizeof(float) * (size_t)(info->frames * info->fields) * InfoPoints(info));
  EK_OK(EkDatasetRead(data, EK_TEST, 1, &index, InfoPoints(info), out));
  CheckRows(shape, &options, info, 0, info->frames, place, 0, info->n[0], InfoPoints(info), out);
  if (n > 1) assert_true(strstr(names, info->field[n - 1]) > strstr(names, info->field[0]));
  free(out);
  EK_OK(EkDatasetDestroy(&data));
}

static void fields_are_chosen_by_name(void **state)
{
  char          path[EK_PATH + 32];
  EkDataOptions options;

  (void)state;
  ScratchFile(path, "a.hdf5");
  for (int v = 0; v < 2; v++) {
    Make(path, &shapes[2], v ? &gzip : &contiguous);
    CheckFields(&shapes[2], path, "Vz,density", 2, (PetscInt[]){4, 0});
    CheckFields(&shapes[2], path, " Vy ", 1, (PetscInt[]){3});
    Make(path, &shapes[3], v ? &gzip : &contiguous);
    CheckFields(&shapes[3], path, "data2, data0", 2, (PetscInt[]){2, 0});
    Make(path, &shapes[5], v ? &gzip : &contiguous);
    CheckFields(&shapes[5], path, "tensor", 1, every_field);
  }
  Make(path, &shapes[1], &contiguous);
  options = Options(path);
  EK_OK(PetscStrncpy(options.fields, "Vx,vorticity", EK_PATH));
  Fails(&options, "data_fields: 'vorticity' is not a field of");
  EK_OK(PetscStrncpy(options.fields, "Vx,,Vy", EK_PATH));
  Fails(&options, "data_fields: '' is not a field");
  EK_OK(PetscStrncpy(options.fields, "vx", EK_PATH));
  Fails(&options, "(it has: density, pressure, Vx, Vy)");
  EK_OK(PetscStrncpy(options.fields, "Vx,Vx", EK_PATH));
  Fails(&options, "data_fields: 'Vx' is named twice");
}

/* Bad trajectories and all of them, for whoever wants to say what is wrong with a file. */
static void unsound_reads_what_is_there(void **state)
{
  char              path[EK_PATH + 32];
  EkDataOptions     options;
  EkDataset         data;
  const EkDataInfo *info;
  float             out[2 * 70];

  (void)state;
  ScratchFile(path, "a.hdf5");
  Make(path, &shapes[5], &contiguous);
  Poison(path, "nu", (hsize_t[]){5, 3, 8}, 3, NAN);
  Poison(path, "tensor", (hsize_t[]){5, 0, 0, 0}, 4, INFINITY);
  Poison(path, "x-coordinate", (hsize_t[]){2}, 1, NAN);
  options = Options(path);
  Fails(&options, "dataset 'x-coordinate': value 2 is not finite");
  options.unsound = PETSC_TRUE;
  options.initial_step = 10;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  assert_int_equal(info->count[EK_TEST], 6);
  assert_true(isnan(info->coordinate[0][2]));
  EK_OK(EkDatasetRead(data, EK_TEST, 1, (PetscInt[]){5}, 70, out));
  assert_true(isnan(out[38]) && isinf(out[70]) && out[71] == Value(1, 5 * 70 + 1));
  EK_OK(EkDatasetDestroy(&data));
  options.test = 0;
  options.train = 99;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  assert_int_equal(info->count[EK_TRAIN], 6);
  EK_OK(EkDatasetDestroy(&data));
}

/* ---- groups --------------------------------------------------------------------------------------------------- */

static const Shape plane = {"groups", 2, 2, 4, 3, {5, 4, 1}}, wider = {"groups", 2, 2, 4, 3, {5, 6, 1}},
                   single = {"groups", 2, 1, 4, 3, {5, 4, 1}}, many = {"groups", 1, 9, 4, 3, {5, 1, 1}};

static void WithoutGrid(hid_t file)
{
  PutGroups(file, &plane, &contiguous);
  H5Ldelete(file, "0000/grid", H5P_DEFAULT);
}
static void WithoutY(hid_t file)
{
  PutGroups(file, &plane, &contiguous);
  H5Ldelete(file, "0000/grid/y", H5P_DEFAULT);
}
static void OtherAxis(hid_t file)
{
  PutGroups(file, &plane, &contiguous);
  H5Ldelete(file, "0000/grid/y", H5P_DEFAULT);
  Put(file, "0000/grid/y", -1, 1, wider.n + 1, &contiguous);
}
static void ManyChannels(hid_t file)
{
  PutGroups(file, &many, &contiguous);
}
static void TwoAxes(hid_t file)
{
  const PetscInt two[] = {3, 4};

  H5Gclose(H5Gcreate2(file, "0000", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  Put(file, "0000/data", 0, 2, two, &contiguous);
}
static void WithoutVz(hid_t file)
{
  const PetscInt five[] = {2, 3, 4, 4, 4};

  Put(file, "density", 0, 5, five, &contiguous);
  Put(file, "pressure", 0, 5, five, &contiguous);
  Put(file, "Vx", 0, 5, five, &contiguous);
  Put(file, "Vy", 0, 5, five, &contiguous);
}

static void groups_that_do_not_fit_are_named_at_once(void **state)
{
  char          path[EK_PATH + 32];
  EkDataOptions options = Options("tests/data/bad/lzf.h5");

  (void)state;
  ScratchFile(path, "a.hdf5");
  Broken(path, WithoutGrid, "a.hdf5: dataset '0000/grid/x' is missing (found: data)");
  Broken(path, WithoutY, "dataset '0000/grid/y' is missing (found: t, x)");
  Broken(path, OtherAxis, "dataset '0000/grid/y' is 6, the grid has 4 points");
  Broken(path, ManyChannels, "'0000/data' (3 x 5 x 9) has 9 channels on its last axis, 8 are possible");
  Broken(path, TwoAxes, "'0000/data' has 2 axes (3 x 4), wanted are frames, points along each axis, channels");
  Broken(path, WithoutVz, "a.hdf5: dataset 'Vz' is missing (found: Vx, Vy, density, pressure)");
  /* by h5py, as diffusion-reaction and diffusion-sorption were published */
  Fails(&options, "lzf.h5: dataset '0000/data' is stored through the filter 'lzf' (number 32000), which this HDF5 does not have");
}

/* Group 2 is replaced; reading the others goes on as before. */
static void CheckBadGroup(const char *path, const Shape *instead, const char *text)
{
  EkDataOptions options = Options(path);
  EkDataset     data;
  float         out[2 * 3 * 2 * 20];

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, &contiguous);

    PutGroups(file, &plane, &contiguous);
    H5Ldelete(file, "0002", H5P_DEFAULT);
    if (instead)
      PutGroup(file, "0002", 2, instead, &contiguous);
    else
      Put(file, "0002", 0, 1, plane.n, &contiguous);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  options.test = 4;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetRead(data, EK_TEST, 2, (PetscInt[]){0, 3}, 20, out));
  EK_FAILS(EkDatasetRead(data, EK_TEST, 1, (PetscInt[]){2}, 20, out), text);
  EK_OK(EkDatasetRead(data, EK_TEST, 1, (PetscInt[]){1}, 20, out));
  EK_OK(EkDatasetDestroy(&data));
}

static void a_wrong_group_is_one_line_when_it_is_read(void **state)
{
  char path[EK_PATH + 32];

  (void)state;
  ScratchFile(path, "a.hdf5");
  CheckBadGroup(path, &wider, "a.hdf5: groups disagree: '0002/data' is 3 x 5 x 6 x 2, that of group '0000' 3 x 5 x 4 x 2");
  CheckBadGroup(path, &single, "groups disagree: '0002/data' is 3 x 5 x 4 x 1");
  CheckBadGroup(path, NULL, "dataset '0002/data' is missing");
}

static void a_bad_value_names_the_group(void **state)
{
  char          path[EK_PATH + 32];
  EkDataOptions options;
  EkDataset     data;
  float         out[3 * 2 * 20];

  (void)state;
  ScratchFile(path, "a.hdf5");
  Make(path, &plane, &contiguous);
  Poison(path, "0003/data", (hsize_t[]){2, 4, 3, 1}, 4, NAN);
  options = Options(path);
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, (PetscInt[]){2}, 20, out),
           "dataset '0003/data', trajectory 3, frame 2: a value is not finite");
  EK_OK(EkDatasetDestroy(&data));
}

/* ---- chunks ----------------------------------------------------------------------------------------------------- */

#define COUNTED 21000 /* points: the chunks of one trajectory are more than HDF5 keeps by itself */
static int decoded;   /* chunks that went through the filter */

static size_t Count(unsigned flags, size_t nvalues, const unsigned values[], size_t bytes, size_t *room, void **buffer)
{
  (void)nvalues, (void)values, (void)room, (void)buffer;
  decoded += (flags & H5Z_FLAG_REVERSE) != 0;
  return bytes;
}

/* Twelve trajectories in chunks of four of them; reading all once decodes every chunk once, if data_cache has room for it. */
static void chunks_of_several_trajectories_are_decoded_once(void **state)
{
  const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, 300, 1, 1, "count", NULL, NULL, Count};
  static const Shape shape = {"scalar", 1, 1, 12, 6, {COUNTED, 1, 1}};
  const hsize_t      dims[] = {12, 6, COUNTED}, chunk[] = {4, 3, 10000};
  char               path[EK_PATH + 32];

  (void)state;
  ScratchFile(path, "a.hdf5");
  H5Zregister(&filter);
  if (EkTestRun()->rank == 0) {
    hid_t  file = Create(path, &contiguous), create = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(3, dims, NULL), set;
    float *values = malloc(12 * 6 * COUNTED * sizeof(float));

    for (int i = 0; i < 12 * 6 * COUNTED; i++) values[i] = Value(0, i);
    H5Pset_chunk(create, 3, chunk);
    H5Pset_filter(create, 300, 0, 0, NULL);
    set = H5Dcreate2(file, "tensor", H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    free(values);
    H5Dclose(set);
    H5Pclose(create);
    H5Sclose(space);
    PutCoordinates(file, &shape);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  for (int roomy = 0; roomy < 2; roomy++) {
    EkDataOptions     options = Options(path);
    EkDataset         data;
    const EkDataInfo *info;
    float            *out = malloc(6 * COUNTED * sizeof(float));

    options.cache = roomy ? 2 * 3 * 4 * 3 * 10000 * 4 : 0;
    options.test = 12;
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    EK_OK(EkDatasetGetInfo(data, &info));
    decoded = 0;
    for (PetscInt s = 0; s < 12; s++) {
      EK_OK(EkDatasetRead(data, EK_TEST, 1, &s, COUNTED, out));
      CheckSample(&shape, &options, info, s, 6, COUNTED, out);
    }
    if (roomy) assert_int_equal(decoded, 3 * 2 * 3);
    EK_OK(EkDatasetDestroy(&data));
    free(out);
  }
  H5Zunregister(300);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* What was freed before must not hide what is taken now. A sanitizer keeps what is freed: nothing to measure then. */
static PetscInt64 Resident(void)
{
#ifdef __SANITIZE_ADDRESS__
  return 0;
#else
  FILE     *file = fopen("/proc/self/statm", "r");
  long long all, resident = 0;

  malloc_trim(0);
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%lld %lld", &all, &resident), 2);
  fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
#endif
}

static void Epoch(EkDataset data, PetscInt n, PetscInt epoch, size_t stride, float *out)
{
  for (PetscInt i = 0; i < n; i++) {
    const PetscInt index = (7 * i + 3 * epoch) % n;

    EK_OK(EkDatasetPrefetch(data, EK_TRAIN, 1, &index));
    EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &index, stride, out));
  }
}

/* A file ten times the cache, thirty times over: what is held is the cache, and nothing grows. */
static void memory_stays_within_the_cache(void **state)
{
  static const Shape large[] = {{"cfd", 2, 4, 51, 5, {64, 16, 1}}, {"groups", 2, 2, 101, 5, {64, 16, 1}}};
  const Variant      variant[] = {{0}, {"gzip", 0, 1, 1, 0, 0}, {"big-endian", H5T_IEEE_F32BE, 0, 0, 0, 0}};
  const PetscInt64   slack[] = {1 << 19, 6 << 20}; /* HDF5 has blocks of its own where it reads */
  char               path[EK_PATH + 32];

  (void)state;
  ScratchFile(path, "a.hdf5");
  for (int c = 0; c < 6; c++) {
    const Shape   *shape = &large[c % 2];
    const PetscInt epochs = c / 2 == 1 ? 5 : 30; /* decompression takes its time */
    EkDataOptions  options = Options(path);
    EkDataset      data;
    PetscInt64     opened, second;
    ssize_t        objects;
    float         *out = calloc(5 * 4 * 1024, sizeof(float));

    Make(path, shape, &variant[c / 2]);
    options.test = 1;
    options.cache = 400000;
    H5garbage_collect();
    opened = Resident();
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    objects = H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL);
    Epoch(data, shape->samples - 1, 0, 1024, out);
    Epoch(data, shape->samples - 1, 1, 1024, out);
    second = Resident();
    if (second - opened > options.cache + slack[c > 0])
      fail_msg("case %d holds %lld bytes, the cache is %lld", c, (long long)(second - opened), (long long)options.cache);
    for (PetscInt e = 2; e < epochs; e++) Epoch(data, shape->samples - 1, e, 1024, out);
    if (Resident() - second > 65536) fail_msg("case %d: %lld bytes more in later epochs", c, (long long)(Resident() - second));
    assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), objects);
    EK_OK(EkDatasetDestroy(&data));
    free(out);
  }
}

/* HDF5 would hold 6 kB of each group's structure; what it keeps of free blocks has an end. */
static void many_groups_take_no_memory(void **state)
{
  static const Shape shape = {"groups", 1, 1, 2500, 2, {4, 1, 1}};
  char               path[EK_PATH + 32];
  EkDataOptions      options;
  EkDataset          data;
  PetscInt64         opened;
  float              out[8];

  (void)state;
  ScratchFile(path, "a.hdf5");
  Make(path, &shape, &contiguous);
  options = Options(path);
  options.test = 2500;
  options.cache = 0;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  H5garbage_collect();
  opened = Resident();
  for (PetscInt s = 0; s < 2500; s++) {
    EK_OK(EkDatasetRead(data, EK_TEST, 1, &s, 4, out));
    assert_true(out[7] == Value(0, 8 * s + 7));
  }
  if (Resident() - opened > 10 << 20) fail_msg("%lld bytes after 2500 groups", (long long)(Resident() - opened));
  EK_OK(EkDatasetDestroy(&data));
}

/* ---- other files ---------------------------------------------------------------------------------------------- */

/* The values are those of the file a link names, not what lies at the same place of the file that holds it. */
static void links_are_followed(void **state)
{
  static const char *const name[] = {"density", "pressure", "Vx", "t-coordinate", "x-coordinate"};
  static const char        source[] = "tests/data/cases/runs/fno1d_linear_map/data.hdf5";
  char                     path[EK_PATH + 32], whole[PATH_MAX];
  float                   *out[2];

  (void)state;
  ScratchFile(path, "links.hdf5");
  assert_non_null(realpath(source, whole));
  if (EkTestRun()->rank == 0) {
    const hsize_t length = 400000;
    const hid_t   file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(1, &length, NULL);
    float        *zeros = calloc(length, sizeof(float));
    const hid_t   set = H5Dcreate2(file, "notes", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
    for (int i = 0; i < 5; i++) assert_true(H5Lcreate_external(whole, name[i], file, name[i], H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Dclose(set), H5Sclose(space), H5Fclose(file);
    free(zeros);
  }
  MPI_Barrier(EkTestRun()->comm);
  for (int k = 0; k < 2; k++) {
    const PetscInt    second = 1;
    EkDataOptions     options = Options(k ? path : source);
    const EkDataInfo *info;
    EkDataset         data;

    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    EK_OK(EkDatasetGetInfo(data, &info));
    assert_true(info->fields == 3 && info->frames == 8 && info->n[0] == 48);
    out[k] = calloc(8 * 3 * 48, sizeof(float));
    EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &second, 48, out[k]));
    EK_OK(EkDatasetDestroy(&data));
  }
  assert_memory_equal(out[0], out[1], 8 * 3 * 48 * sizeof(float));
  assert_true(out[0][0] > 0);
  free(out[0]), free(out[1]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(slabs_are_rows_of_the_whole),
    cmocka_unit_test(rows_are_chosen_before_reading),
    cmocka_unit_test(training_reads_the_frames_it_uses),
    cmocka_unit_test(fields_are_chosen_by_name),
    cmocka_unit_test(unsound_reads_what_is_there),
    cmocka_unit_test(groups_that_do_not_fit_are_named_at_once),
    cmocka_unit_test(a_wrong_group_is_one_line_when_it_is_read),
    cmocka_unit_test(a_bad_value_names_the_group),
    cmocka_unit_test(chunks_of_several_trajectories_are_decoded_once),
    cmocka_unit_test(memory_stays_within_the_cache),
    cmocka_unit_test(many_groups_take_no_memory),
    cmocka_unit_test(links_are_followed),
};
EK_TEST_MAIN(tests)
