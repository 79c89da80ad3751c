/* ranks: 1 2 3 4 */
#include "support.h"
#include "evenkeel/dataset.h"
#include "evenkeel/kernel.h"
#include "evenkeel/kernel.h"
#include "evenkeel/mesh.h"
#include <fcntl.h>
#include <hdf5.h>

/* ---- files ------------------------------------------------------------------------------------------------ */

typedef struct {
  const char *name;
  hid_t       type;  /* 0: little-endian float32 */
  hsize_t     chunk; /* trajectories a chunk; 0: contiguous */
  int         gzip;
  hsize_t     userblock; /* bytes before the HDF5 part */
} Variant;

typedef struct {
  const char *family;
  int         dim, nfields;
  PetscInt    samples, frames, n[2];
} Shape;

/* Exact in float: which dataset, and where in it. */
static float Value(int set, PetscInt64 place)
{
  return (float)(100000 * (set + 1) + place % 99991);
}

static hid_t Create(const char *path, const Variant *variant)
{
  hid_t create = H5Pcreate(H5P_FILE_CREATE), file;

  H5Pset_userblock(create, variant->userblock);
  file = H5Fcreate(path, H5F_ACC_TRUNC, create, H5P_DEFAULT);
  H5Pclose(create);
  assert_true(file >= 0);
  return file;
}

static void Put(hid_t file, const char *name, int set, int rank, const PetscInt shape[], const Variant *variant)
{
  hsize_t dims[6], n = 1;
  hid_t   create = H5Pcreate(H5P_DATASET_CREATE), space, data;
  float  *values;

  for (int d = 0; d < rank; d++) n *= dims[d] = (hsize_t)shape[d];
  values = malloc(n * sizeof(float));
  for (hsize_t i = 0; i < n; i++) values[i] = set < 0 ? 0.5f + (float)i / (float)n : Value(set, (PetscInt64)i);
  space = H5Screate_simple(rank, dims, NULL);
  if (variant->chunk && rank > 1) {
    dims[0] = variant->chunk;
    H5Pset_chunk(create, rank, dims);
    if (variant->gzip) H5Pset_deflate(create, 4);
  }
  data = H5Dcreate2(file, name, variant->type ? variant->type : H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
  assert_true(data >= 0 && H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(data);
  H5Sclose(space);
  H5Pclose(create);
  free(values);
}

static void PutCoordinates(hid_t file, const Shape *shape)
{
  static const Variant plain = {0};

  Put(file, "x-coordinate", -1, 1, shape->n, &plain);
  if (shape->dim == 2) Put(file, "y-coordinate", -1, 1, shape->n + 1, &plain);
}

static void PutFields(hid_t file, const Shape *shape, const Variant *variant)
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy"};
  const PetscInt           n[] = {shape->samples, shape->frames, shape->n[0], shape->n[1]},
                 nu[] = {shape->samples, shape->n[0], shape->n[1]};

  if (!strcmp(shape->family, "darcy")) {
    const PetscInt u[] = {shape->samples, 1, shape->n[0], shape->n[1]};

    Put(file, "nu", 0, 3, nu, variant);
    Put(file, "tensor", 1, 4, u, variant);
  } else if (!strcmp(shape->family, "scalar"))
    Put(file, "tensor", 0, 3, n, variant);
  else {
    for (int f = 0; f < shape->nfields; f++) Put(file, field[f], f, 2 + shape->dim, n, variant);
  }
}

/* Rank 0 writes, all wait. */
static void Make(const char *path, const Shape *shape, const Variant *variant)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, variant);

    PutFields(file, shape, variant);
    PutCoordinates(file, shape);
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static EkDataOptions Options(const char *path)
{
  EkDataOptions options = {.test = -1,
                           .train = -1,
                           .reduced_batch = 1,
                           .reduced_resolution = 1,
                           .reduced_resolution_t = 1,
                           .initial_step = 1,
                           .t_train = -1,
                           .cache = 1 << 30};

  EK_OK(PetscStrncpy(options.file, path, sizeof(options.file)));
  return options;
}

static const Shape shapes[] = {
    {"cfd", 1, 3, 23, 7, {13, 1}},
    {"cfd", 2, 4, 11, 5, {9, 6}},
    {"scalar", 1, 1, 30, 6, {16, 1}},
    {"darcy", 2, 1, 12, 2, {7, 10}},
};
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* ---- the truth: index arithmetic as the published loader's array slices have it ------------------------------- */

static float Expected(const Shape *shape, const EkDataOptions *o, PetscInt trajectory, PetscInt t, PetscInt field, PetscInt i,
                      PetscInt j)
{
  const PetscInt   k = o->reduced_resolution;
  const PetscInt64 points = (PetscInt64)shape->n[0] * shape->n[1], place = (PetscInt64)i * k * shape->n[1] + (PetscInt64)j * k;

  if (!strcmp(shape->family, "darcy")) return Value((int)t, trajectory * points + place);
  return Value((int)field, ((PetscInt64)trajectory * shape->frames + t * o->reduced_resolution_t) * points + place);
}

/* Trajectories of the split, written down one by one. */
static PetscInt List(const Shape *shape, const EkDataOptions *o, EkSplit split, PetscInt list[])
{
  const PetscInt test = o->test < 0 ? (shape->samples / 10 ? shape->samples / 10 : 1) : o->test,
                 end = o->train < 0 ? shape->samples : test + o->train;
  PetscInt n = 0;

  if (split == EK_TEST) {
    for (PetscInt s = 0; s < test; s++) list[n++] = s;
  } else {
    for (PetscInt s = test; s < end; s += o->reduced_batch) list[n++] = s;
  }
  return n;
}

static void CheckSample(const Shape *shape, const EkDataOptions *o, const EkDataInfo *info, PetscInt trajectory, size_t stride,
                        const float *sample)
{
  for (PetscInt t = 0; t < info->frames; t++) {
    for (PetscInt f = 0; f < info->fields; f++) {
      const float *plane = sample + ((size_t)t * info->fields + f) * stride;
      size_t       p = 0;

      for (PetscInt i = 0; i < info->n[0]; i++) {
        for (PetscInt j = 0; j < info->n[1]; j++, p++) {
          if (plane[p] != Expected(shape, o, trajectory, t, f, i, j))
            fail_msg("trajectory %d frame %d field %d point %d,%d: %g", (int)trajectory, (int)t, (int)f, (int)i, (int)j,
                     plane[p]);
        }
      }
      for (; p < stride; p++) assert_true(plane[p] == 0);
    }
  }
}

/* Each rank reads its slice of both splits, in one call and backwards one by one (from the cache then, if there is any). */
static void CheckRead(const Shape *shape, const EkDataOptions *o)
{
  EkRun             run = EkTestRun();
  EkDataset         data;
  const EkDataInfo *info;
  PetscInt          list[64], index[64];

  EK_OK(EkDatasetOpen(run, o, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  for (int split = 0; split < 2; split++) {
    const size_t stride = EkPlaneStride(info->n[0] * info->n[1]), size = (size_t)info->frames * info->fields * stride;
    PetscInt64   lo, hi;
    float       *out;

    assert_int_equal(info->count[split], List(shape, o, (EkSplit)split, list));
    EkSlice(info->count[split], run->size, run->rank, &lo, &hi);
    for (PetscInt i = 0; i < hi - lo; i++) index[i] = (PetscInt)(hi - 1 - i);
    out = malloc(((size_t)(hi - lo) * size + 1) * sizeof(float));
    for (size_t i = 0; i < (size_t)(hi - lo) * size; i++) out[i] = NAN;
    EK_OK(EkDatasetPrefetch(data, (EkSplit)split, (PetscInt)(hi - lo), index));
    EK_OK(EkDatasetRead(data, (EkSplit)split, (PetscInt)(hi - lo), index, stride, out));
    for (PetscInt i = 0; i < hi - lo; i++) CheckSample(shape, o, info, list[index[i]], stride, out + (size_t)i * size);
    for (PetscInt i = 0; i < hi - lo; i++) {
      for (size_t p = 0; p < size; p++) out[p] = NAN;
      EK_OK(EkDatasetRead(data, (EkSplit)split, 1, &index[i], stride, out));
      CheckSample(shape, o, info, list[index[i]], stride, out);
    }
    free(out);
  }
  EK_OK(EkDatasetDestroy(&data));
  assert_null(data);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void every_family_is_told_from_its_datasets(void **state)
{
  static const Variant plain = {"contiguous", 0, 0, 0, 0};
  char                 scratch[EK_PATH], path[EK_PATH + 32];

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
    assert_string_equal(info->field[shape->nfields - 1], shape->nfields == 4 ? "Vy" : shape->nfields == 3 ? "Vx" : "tensor");
    for (PetscInt i = 0; i < info->n[0]; i++) assert_true(info->coordinate[0][i] == 0.5f + (float)i / (float)info->n[0]);
    EK_OK(EkDatasetDestroy(&data));
    EK_OK(EkDatasetDestroy(&data));
  }
}

static void samples_are_the_published_slices(void **state)
{
  static const Variant  plain = {"contiguous", 0, 0, 0, 0};
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
    }
  }
}

static void storage_does_not_matter(void **state)
{
  const Variant variants[] = {{"chunked", 0, 3, 0, 0},
                              {"gzip", 0, 2, 1, 0},
                              {"big-endian", H5T_IEEE_F32BE, 0, 0, 0},
                              {"float64", H5T_IEEE_F64LE, 0, 0, 0},
                              {"userblock", 0, 0, 0, 1024},
                              {"integer", H5T_STD_I32BE, 4, 1, 512}};
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
      options.cache = v % 2 ? 0 : 1000;
      CheckRead(&shapes[s], &options);
    }
  }
}

/* Frames larger than what is read at a time, and many small ones. */
static void large_and_many_frames(void **state)
{
  static const Shape big[] = {
      {"cfd", 2, 4, 2, 3, {270, 260}}, {"scalar", 1, 1, 2, 1500, {3, 1}}, {"scalar", 1, 1, 2, 300, {1024, 1}}};
  static const Variant plain = {0};
  char                 scratch[EK_PATH], path[EK_PATH + 32];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/a.hdf5", scratch);
  for (size_t s = 0; s < 3; s++) {
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

static void Fails(const EkDataOptions *options, const char *text)
{
  EkDataset data;

  EK_FAILS(EkDatasetOpen(EkTestRun(), options, &data), text);
  assert_null(data);
}

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
  Fails(&options, "is not a file");
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

/* Rank 0 fills a new file by `fill`; opening it must fail with the text. */
static void Broken(const char *path, void (*fill)(hid_t file), const char *text)
{
  static const Variant plain = {0};
  EkDataOptions        options = Options(path);

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, &plain);

    fill(file);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  Fails(&options, text);
  MPI_Barrier(EkTestRun()->comm);
}

static const Variant  contiguous = {0};
static const PetscInt four[] = {6, 5, 8, 8}, other[] = {6, 5, 8, 9}, five[] = {2, 3, 4, 4, 4}, fewer[] = {5, 5, 8, 8},
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
static void ThreeDimensional(hid_t file)
{
  Put(file, "density", 0, 5, five, &contiguous);
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
  Broken(path, Nothing, "not supported yet: neither 'density' nor 'tensor' nor 'nu' is among its datasets (found: nothing)");
  Broken(path, Groups, "(found: 0000, 0001)");
  Broken(path, ThreeDimensional, "not supported yet: 'density' has 5 axes (2 x 3 x 4 x 4 x 4");
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
  Broken(path, UnknownFilter, "through the filter 'lzf' (number 300)");
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

/* The value of set `name` at `place` becomes `value`. */
static void Poison(const char *path, const char *name, const hsize_t place[], int rank, float value)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const hsize_t one[] = {1, 1, 1, 1};
    const hid_t   file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), data = H5Dopen2(file, name, H5P_DEFAULT),
                space = H5Dget_space(data), memory = H5Screate_simple(rank, one, NULL);

    H5Sselect_hyperslab(space, H5S_SELECT_SET, place, NULL, one, NULL);
    assert_true(H5Dwrite(data, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(data);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void values_that_are_not_finite(void **state)
{
  static const Variant gzip = {"gzip", 0, 2, 1, 0};
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

static void keys_have_defaults(void **state)
{
  EkDataOptions options = {.test = 5};
  EkProblems    problems;

  (void)state;
  EK_OK(PetscOptionsSetValue(EkTestRun()->options, "-data_file", "a.hdf5"));
  EK_OK(PetscOptionsSetValue(EkTestRun()->options, "-data_reduced_batch", "40"));
  EK_OK(EkProblemsCreate(&problems));
  EK_OK(EkKeysRead(EkTestRun(), &EkDataKeys, &options, problems));
  EK_OK(EkProblemsRaise(EkTestRun(), &problems));
  assert_string_equal(options.file, "a.hdf5");
  assert_int_equal(options.test, -1);
  assert_int_equal(options.reduced_batch, 40);
  assert_int_equal(options.initial_step, 10);
  assert_int_equal(options.cache, 1 << 30);
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
    cmocka_unit_test(keys_have_defaults),
};
EK_TEST_MAIN(tests)
