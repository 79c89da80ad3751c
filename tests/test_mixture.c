/* ranks: 1 2 3
   Samples of one file and of mixtures: layouts, fields in another order, windows, resizing, filling up, masks, weights, mistakes.
 */
#include "dataset_support.h"
#include "evenkeel/inspect.h"
#include "evenkeel/mixture.h"

#define SEED 11

static const Variant plain;

/* ---- DPOT's files: the values of a `groups` file of the same shape, moved ------------------------------------- */

/* Value of (sample, frame, field, i, j) of a groups file. */
static float At(const Shape *shape, PetscInt sample, PetscInt t, PetscInt f, PetscInt i, PetscInt j)
{
  const PetscInt64 points = (PetscInt64)shape->n[0] * shape->n[1];

  return Value(0, (((PetscInt64)sample * shape->frames + t) * points + i * shape->n[1] + j) * shape->nfields + f);
}

static void PutArray(const char *path, const char *name, int rank, const hsize_t dims[], const float *values, hsize_t chunk)
{
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(rank, dims, NULL),
              create = H5Pcreate(H5P_DATASET_CREATE);
  hsize_t cut[5];
  hid_t   set;

  for (int d = 0; d < rank; d++) cut[d] = d ? dims[d] : chunk;
  if (chunk) H5Pset_chunk(create, rank, cut);
  if (chunk) H5Pset_deflate(create, 4);
  set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
  assert_true(file >= 0 && set >= 0 && H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(set);
  H5Sclose(space);
  H5Pclose(create);
  assert_true(H5Fclose(file) >= 0);
}

/* (X, Y, T, C) of one sample, or with C = 1 a part of (N, X, Y, T). */
static void Last(const Shape *shape, PetscInt sample, float *out)
{
  for (PetscInt i = 0; i < shape->n[0]; i++) {
    for (PetscInt j = 0; j < shape->n[1]; j++) {
      for (PetscInt t = 0; t < shape->frames; t++) {
        for (PetscInt f = 0; f < shape->nfields; f++) *out++ = At(shape, sample, t, f, i, j);
      }
    }
  }
}

/* digits: names of the test trajectories are filled up to so many with zeros */
static void MakeFolderNamed(const char *path, const Shape *shape, PetscInt ntest, int digits)
{
  const hsize_t dims[4] = {(hsize_t)shape->n[0], (hsize_t)shape->n[1], (hsize_t)shape->frames, (hsize_t)shape->nfields};
  char          name[3 * EK_PATH];
  float        *values = malloc((size_t)(dims[0] * dims[1] * dims[2] * dims[3]) * sizeof(float));

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    mkdir(path, 0777);
    for (int p = 0; p < 2; p++) {
      snprintf(name, sizeof(name), "%s/%s", path, p ? "train" : "test");
      mkdir(name, 0777);
    }
    for (PetscInt s = 0; s < shape->samples; s++) {
      snprintf(name, sizeof(name), "%s/%s/data_%0*d.hdf5", path, s < ntest ? "test" : "train", s < ntest ? digits : 1,
               (int)(s < ntest ? s : s - ntest));
      Last(shape, s, values);
      PutArray(name, "data", 4, dims, values, s % 3 == 1 ? 2 : 0);
    }
  }
  MPI_Barrier(EkTestRun()->comm);
  free(values);
}

static void MakeFolder(const char *path, const Shape *shape, PetscInt ntest)
{
  MakeFolderNamed(path, shape, ntest, 1);
}

static void MakePair(const char *path, const char *partner, const Shape *shape, PetscInt ntest, hsize_t chunk)
{
  const hsize_t per = (hsize_t)(shape->n[0] * shape->n[1] * shape->frames);
  float        *values = malloc((size_t)(per * (hsize_t)shape->samples) * sizeof(float));

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hsize_t dims[4] = {0, (hsize_t)shape->n[0], (hsize_t)shape->n[1], (hsize_t)shape->frames};

    for (PetscInt s = 0; s < shape->samples; s++) Last(shape, s, values + (hsize_t)s * per);
    if (partner) {
      dims[0] = (hsize_t)ntest;
      PutArray(partner, "data", 4, dims, values, chunk);
    }
    dims[0] = (hsize_t)(shape->samples - ntest);
    PutArray(path, "data", 4, dims, values + (hsize_t)ntest * per, chunk);
  }
  MPI_Barrier(EkTestRun()->comm);
  free(values);
}

/* Reads every sample of both splits and compares with the groups file's rule. */
static void CheckLast(const char *path, const Shape *shape, PetscInt ntest, EkDataOptions options)
{
  const EkDataInfo *info;
  EkDataset         data;
  size_t            stride;
  float            *out;

  EK_OK(PetscStrncpy(options.file, path, EK_PATH));
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  assert_string_equal(info->family, "dpot");
  assert_int_equal(info->count[EK_TEST], ntest);
  assert_int_equal(info->count[EK_TRAIN], shape->samples - ntest);
  stride = InfoPoints(info) + 3;
  out = malloc((size_t)info->frames * (size_t)info->fields * stride * sizeof(float));
  for (int split = 0; split < 2; split++) {
    for (PetscInt i = info->count[split]; i-- > 0;) {
      for (int again = 0; again < 2; again++) {
        EK_OK(EkDatasetPrefetch(data, (EkSplit)split, 1, &i));
        EK_OK(EkDatasetRead(data, (EkSplit)split, 1, &i, stride, out));
        for (PetscInt t = 0; t < info->frames; t++) {
          for (PetscInt f = 0; f < info->fields; f++) {
            for (PetscInt p = 0; p < (PetscInt)InfoPoints(info); p++) {
              const PetscInt k = options.reduced_resolution, x = p / info->n[1] * k, y = p % info->n[1] * k;

              assert_true(out[(size_t)(t * info->fields + f) * stride + (size_t)p] ==
                          At(shape, i + (split == EK_TRAIN ? ntest : 0), t * options.reduced_resolution_t, f, x, y));
            }
          }
        }
      }
    }
  }
  free(out);
  EK_OK(EkDatasetDestroy(&data));
}

/* A folder is looked at as a file is. */
static void InspectFolder(const char *path, PetscInt samples)
{
  EkInspectOptions options = {.mass_drift = 1};
  EkInspection     found;

  EK_OK(PetscStrncpy(options.file, path, EK_PATH));
  EK_OK(EkInspect(EkTestRun(), &options, &found));
  assert_true(found->sound && found->info->samples == samples);
  EK_OK(EkInspectionPrint(found));
  EK_OK(EkInspectionDestroy(&found));
}

static void dpot_layouts_hold_the_same_values(void **state)
{
  static const Shape folder = {"dpot", 2, 3, 7, 5, {6, 4, 1}}, pair = {"dpot", 2, 1, 7, 5, {6, 4, 1}};
  char               scratch[EK_PATH], path[2 * EK_PATH], partner[2 * EK_PATH];
  EkDataOptions      options = Options("");

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/folder", scratch);
  MakeFolder(path, &folder, 2);
  CheckLast(path, &folder, 2, options);
  snprintf(path, sizeof(path), "%s/folder_of_long_names", scratch);
  MakeFolderNamed(path, &folder, 2, 4);
  CheckLast(path, &folder, 2, options);
  InspectFolder(path, 7);
  options.cache = 0;
  options.reduced_resolution = options.reduced_resolution_t = 2;
  CheckLast(path, &folder, 2, options);
  for (hsize_t chunk = 0; chunk < 3; chunk += 2) {
    snprintf(path, sizeof(path), "%s/ns_train_%d.hdf5", scratch, (int)chunk);
    snprintf(partner, sizeof(partner), "%s/ns_test_%d.hdf5", scratch, (int)chunk);
    MakePair(path, partner, &pair, 3, chunk);
    CheckLast(path, &pair, 3, options);
  }
  snprintf(path, sizeof(path), "%s/alone_train.hdf5", scratch);
  MakePair(path, NULL, &pair, 0, 0);
  options.test = 2;
  CheckLast(path, &pair, 2, options);
}

/* Frames 1 to 4 of the second training trajectory, with and without a cache. */
static void windows_of_dpot_files(void **state)
{
  static const Shape folder = {"dpot", 2, 3, 7, 5, {6, 4, 1}};
  const PetscInt     second = 1, from = 1;
  float              out[3 * 3 * 24];
  char               scratch[EK_PATH], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/folder", scratch);
  MakeFolder(path, &folder, 2);
  for (int cached = 0; cached < 2; cached++) {
    EkDataOptions options = Options(path);
    EkDataset     data;

    options.cache = cached ? 1 << 20 : 0;
    EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
    EK_OK(EkDatasetReadFrames(data, EK_TRAIN, 1, &second, &from, 3, 24, out));
    for (PetscInt t = 0; t < 3; t++) {
      for (PetscInt f = 0; f < 3; f++) {
        for (PetscInt p = 0; p < 24; p++) assert_true(out[(t * 3 + f) * 24 + p] == At(&folder, 3, 1 + t, f, p / 4, p % 4));
      }
    }
    EK_OK(EkDatasetDestroy(&data));
  }
}

/* A test set that lies apart stays apart: `end` takes the last of it, training begins where it did. */
static void the_end_of_a_test_set_apart(void **state)
{
  static const Shape folder = {"dpot", 2, 2, 7, 5, {6, 4, 1}};
  EkDataOptions      options;
  EkDataset          data;
  const EkDataInfo  *info;
  float              out[5 * 2 * 24];
  char               scratch[EK_PATH], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/folder", scratch);
  MakeFolder(path, &folder, 3);
  options = Options(path);
  options.test = 2;
  options.test_from = EK_FROM_END;
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  assert_true(info->count[EK_TEST] == 2 && info->count[EK_TRAIN] == 4);
  EK_OK(EkDatasetRead(data, EK_TEST, 1, (PetscInt[]){0}, 24, out));
  assert_true(out[0] == At(&folder, 1, 0, 0, 0, 0));
  EK_OK(EkDatasetRead(data, EK_TRAIN, 1, (PetscInt[]){0}, 24, out));
  assert_true(out[0] == At(&folder, 3, 0, 0, 0, 0));
  EK_OK(EkDatasetDestroy(&data));
}

static void dpot_files_that_do_not_fit(void **state)
{
  static const Shape shape = {"dpot", 2, 2, 3, 5, {6, 4, 1}}, other = {"dpot", 2, 1, 3, 4, {6, 4, 1}},
                     pair = {"dpot", 2, 1, 3, 5, {6, 4, 1}};
  static float   out[5 * 2 * 24];
  char           scratch[EK_PATH], path[2 * EK_PATH], partner[3 * EK_PATH];
  EkDataOptions  options = Options("");
  const PetscInt second = 1;
  EkDataset      data;

  (void)state;
  EkTestScratch(scratch);
  snprintf(options.file, EK_PATH, "%.900s/empty", scratch);
  if (EkTestRun()->rank == 0) mkdir(options.file, 0777);
  Fails(&options, "is a folder; wanted are train/data_0.hdf5");
  snprintf(path, sizeof(path), "%s/mixed", scratch);
  MakeFolder(path, &shape, 1);
  if (EkTestRun()->rank == 0) {
    snprintf(partner, sizeof(partner), "%s/train/data_1.hdf5", path);
    PutArray(partner, "data", 4, (const hsize_t[4]){4, 6, 5, 2}, out, 0);
  }
  EK_OK(PetscStrncpy(options.file, path, EK_PATH));
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_FAILS(EkDatasetRead(data, EK_TRAIN, 1, &second, 24, out),
           "train/data_1.hdf5: 'data' is 4 x 6 x 5 x 2, that of 'test/data_0.hdf5' 6 x 4 x 5 x 2");
  EK_OK(EkDatasetDestroy(&data));
  options.test = 2;
  Fails(&options, "data_test: 2 trajectories asked for");
  options.test = 1;
  options.train = 3;
  Fails(&options, "has 2 besides those of its test set");
  snprintf(path, sizeof(path), "%s/a_train.hdf5", scratch);
  snprintf(partner, sizeof(partner), "%s/a_test.hdf5", scratch);
  MakePair(path, NULL, &pair, 0, 0);
  MakePair(partner, NULL, &other, 0, 0);
  options = Options(path);
  Fails(&options, "'data' is 3 x 6 x 4 x 5, that of its test set");
}

/* ---- mixtures ------------------------------------------------------------------------------------------------- */

static EkMixtureOptions Mix(const char *files)
{
  EkMixtureOptions options = {.each = Options(""), .test = {1, {-1}}, .train = {1, {-1}}};

  EK_OK(PetscStrncpy(options.files, files, EK_PATHS));
  return options;
}

static void MixFails(const EkMixtureOptions *options, const char *text)
{
  EkMixture mixture;

  EK_FAILS(EkMixtureOpen(EkTestRun(), options, SEED, &mixture), text);
  assert_null(mixture);
}

static const Shape wide = {"cfd", 2, 4, 12, 9, {8, 6, 1}}, small = {"groups", 2, 2, 6, 7, {4, 3, 1}};

/* "wide.hdf5,small.h5" in the test's scratch directory. */
static void MakeTwo(char files[EK_PATHS])
{
  char scratch[EK_PATH], a[2 * EK_PATH], b[2 * EK_PATH];

  EkTestScratch(scratch);
  snprintf(a, sizeof(a), "%s/wide.hdf5", scratch);
  snprintf(b, sizeof(b), "%s/small.h5", scratch);
  Make(a, &wide, &plain);
  Make(b, &small, &plain);
  snprintf(files, EK_PATHS, "%s, %s", a, b);
}

static void a_single_file_is_read_as_it_is(void **state)
{
  const EkDataInfo *info, *own;
  EkMixtureOptions  options;
  EkMixture         mixture;
  EkDataset         data;
  float             a[9 * 4 * 50], b[9 * 4 * 50];
  char              files[EK_PATHS];

  (void)state;
  MakeTwo(files);
  *strchr(files, ',') = 0;
  options = Mix(files);
  EK_OK(PetscStrncpy(options.each.file, files, EK_PATH));
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkDatasetOpen(EkTestRun(), &options.each, &data));
  EK_OK(EkMixtureGetInfo(mixture, &info));
  EK_OK(EkDatasetGetInfo(data, &own));
  assert_int_equal(info->count[EK_TRAIN], own->count[EK_TRAIN]);
  assert_int_equal(info->frames, own->frames);
  assert_int_equal(EkMixtureSampleFloats(mixture, 50), 9 * 4 * 50);
  for (PetscInt i = 0; i < info->count[EK_TRAIN]; i++) {
    EK_OK(EkMixturePrefetchTraining(mixture, 3, 1, &i));
    EK_OK(EkMixtureReadTraining(mixture, 3, 1, &i, 50, a));
    EK_OK(EkDatasetRead(data, EK_TRAIN, 1, &i, 50, b));
    assert_memory_equal(a, b, sizeof(a));
  }
  EK_OK(EkMixtureReadTest(mixture, 0, 1, (const PetscInt[1]){0}, 50, a));
  EK_OK(EkDatasetRead(data, EK_TEST, 1, (const PetscInt[1]){0}, 50, b));
  assert_memory_equal(a, b, sizeof(a));
  assert_memory_equal(info->coordinate[1], own->coordinate[1], 6 * sizeof(float));
  EK_OK(EkDatasetDestroy(&data));
  EK_OK(EkMixtureDestroy(&mixture));
}

static void fields_come_in_dpot_order(void **state)
{
  static const int order[] = {2, 3, 0, 1};
  EkMixtureOptions options;
  EkMixture        mixture;
  float            out[9 * 4 * 48];
  char             files[EK_PATHS];

  (void)state;
  MakeTwo(files);
  *strchr(files, ',') = 0;
  options = Mix(files);
  options.each.order = EK_ORDER_DPOT;
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureReadTest(mixture, 0, 1, (const PetscInt[1]){0}, 48, out));
  for (int t = 0; t < 9; t++) {
    for (int f = 0; f < 4; f++) assert_true(out[(t * 4 + f) * 48 + 5] == Value(order[f], t * 48 + 5));
  }
  EK_OK(EkMixtureDestroy(&mixture));
}

/* Where the window of a sample of `wide` begins, by the value of its first point; the rest has to fit. */
static PetscInt WindowStart(EkMixture mixture, PetscInt epoch, PetscInt i)
{
  float    out[4 * 4 * 48];
  PetscInt start = -1;

  EK_OK(EkMixtureReadTraining(mixture, epoch, 1, &i, 48, out));
  for (PetscInt t = 0; t + 4 <= 9; t++) {
    if (out[0] == Value(0, ((PetscInt64)(i + 1) * 9 + t) * 48)) start = t;
  }
  assert_true(start >= 0);
  for (PetscInt t = 0; t < 4; t++) {
    for (int f = 0; f < 4; f++)
      assert_true(out[(t * 4 + f) * 48 + 7] == Value(f, ((PetscInt64)(i + 1) * 9 + start + t) * 48 + 7));
  }
  return start;
}

static void windows_are_drawn_anew_every_epoch(void **state)
{
  PetscInt count[6] = {0}, same = 0, agreed[50];
  char     files[EK_PATHS];

  (void)state;
  MakeTwo(files);
  *strchr(files, ',') = 0;
  for (int cached = 0; cached < 2; cached++) {
    EkMixtureOptions options = Mix(files);
    EkMixture        mixture;

    options.window = 4;
    options.each.cache = cached ? 1 << 20 : 0;
    EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
    for (PetscInt epoch = 0; epoch < 50; epoch++) {
      const PetscInt start = WindowStart(mixture, epoch, epoch % 11);

      if (!cached)
        agreed[epoch] = start;
      else
        assert_int_equal(start, agreed[epoch]);
      count[start]++;
      same += start == WindowStart(mixture, epoch, (epoch + 1) % 11);
    }
    EK_OK(EkMixtureDestroy(&mixture));
  }
  for (int t = 0; t < 6; t++) assert_true(count[t] > 0); /* every place, the last one too */
  assert_true(same < 60);
  MPI_Bcast(agreed, 50, MPIU_INT, 0, EkTestRun()->comm);
  {
    EkMixtureOptions options = Mix(files);
    EkMixture        mixture;

    options.window = 4;
    EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
    for (PetscInt epoch = 0; epoch < 50; epoch++) assert_int_equal(WindowStart(mixture, epoch, epoch % 11), agreed[epoch]);
    EK_OK(EkMixtureDestroy(&mixture));
  }
}

/* Windows of 3 of every second frame; the values are those of `truth`, whose first `before` trajectories are not trained on. */
static void CheckWindowsOfSteps(const char *files, const Shape *truth, PetscInt before)
{
  EkMixtureOptions options = Mix(files);
  float            out[3 * 4 * 48];

  options.window = 3;
  options.each.reduced_resolution_t = 2;
  for (int cached = 0; cached < 2; cached++) {
    const EkDataInfo *info;
    PetscInt          count[3] = {0};
    EkMixture         mixture;

    options.each.cache = cached ? 1 << 20 : 0;
    EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
    EK_OK(EkMixtureGetInfo(mixture, &info));
    assert_true(info->frames == 5 && info->t_train == 3);
    for (PetscInt epoch = 0; epoch < 30; epoch++) {
      const PetscInt i = epoch % info->count[EK_TRAIN];
      PetscInt       start = -1;

      EK_OK(EkMixtureReadTraining(mixture, epoch, 1, &i, 48, out));
      for (PetscInt t = 0; t < 3; t++) {
        if (out[0] == Expected(truth, &options.each, i + before, t, 0, (const PetscInt[3]){0})) start = t;
      }
      assert_true(start >= 0); /* a frame that is kept */
      count[start]++;
      for (PetscInt t = 0; t < 3; t++) {
        for (PetscInt f = 0; f < truth->nfields; f++) {
          for (PetscInt p = 0; p < truth->n[0] * truth->n[1]; p++) {
            const PetscInt at[3] = {p / truth->n[1], p % truth->n[1]};

            assert_true(out[(t * truth->nfields + f) * 48 + p] == Expected(truth, &options.each, i + before, start + t, f, at));
          }
        }
      }
    }
    for (int t = 0; t < 3; t++) assert_true(count[t] > 0);
    EK_OK(EkMixtureDestroy(&mixture));
  }
}

static void windows_are_of_the_frames_that_are_kept(void **state)
{
  static const Variant chunked = {.chunk = 2, .gzip = 1, .cut = 3};
  static const Shape   groups = {"groups", 2, 2, 6, 9, {4, 3, 1}}, folder = {"dpot", 2, 3, 7, 9, {6, 4, 1}},
                     same_as_folder = {"groups", 2, 3, 7, 9, {6, 4, 1}};
  char scratch[EK_PATH], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(scratch);
  snprintf(path, sizeof(path), "%s/contiguous.hdf5", scratch);
  Make(path, &wide, &plain);
  CheckWindowsOfSteps(path, &wide, 1);
  snprintf(path, sizeof(path), "%s/chunked.hdf5", scratch);
  Make(path, &wide, &chunked);
  CheckWindowsOfSteps(path, &wide, 1);
  snprintf(path, sizeof(path), "%s/groups.h5", scratch);
  Make(path, &groups, &chunked);
  CheckWindowsOfSteps(path, &groups, 1);
  snprintf(path, sizeof(path), "%s/folder", scratch);
  MakeFolder(path, &folder, 2);
  CheckWindowsOfSteps(path, &same_as_folder, 2);
}

/* torch.nn.functional.interpolate(..., mode="bilinear", align_corners=False): weights 1/4 and 3/4 when a grid is doubled, the
 * edge kept. */
static float Doubled(const float *x, int n, int i)
{
  const int nearest = i / 2, other = i % 2 ? nearest + 1 : nearest - 1;

  return other < 0 || other >= n ? x[nearest] : 0.75f * x[nearest] + 0.25f * x[other];
}

static void small_fields_are_resized_and_filled_up(void **state)
{
  EkMixtureOptions    options;
  EkMixture           mixture;
  const EkDataInfo   *info;
  const EkMixtureSet *set;
  float               out[9 * 4 * 66], row[3]; /* the most that is read: a test trajectory of 9 frames */
  char                files[EK_PATHS];
  int                 n;

  (void)state;
  MakeTwo(files);
  options = Mix(files);
  options.resolution = 8;
  options.window = 5;
  options.mask = EK_MASK_DATA;
  options.weights = (EkInts){2, {1, 3}};
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetInfo(mixture, &info));
  EK_OK(EkMixtureGetSets(mixture, &n, &set));
  assert_int_equal(n, 2);
  assert_string_equal(set[0].name, "wide");
  assert_string_equal(set[1].name, "small");
  assert_int_equal(info->n[0], 8);
  assert_int_equal(info->n[1], 8);
  assert_int_equal(info->fields, 4);
  assert_int_equal(info->t_train, 5);
  assert_int_equal(info->frames, 9);
  assert_int_equal(info->count[EK_TRAIN], 11 + 3 * 5);
  assert_int_equal(info->count[EK_TEST], 2);
  assert_int_equal(EkMixtureSetOf(mixture, 10), 0);
  assert_int_equal(EkMixtureSetOf(mixture, 11), 1);
  assert_int_equal(EkMixtureSampleFloats(mixture, 66), 6 * 4 * 66);
  for (PetscInt visit = 0; visit < 3; visit++) {
    const PetscInt i = 11 + 3 * 2 + visit; /* the third training trajectory of `small`, the fourth of the file */
    PetscInt       start = -1;

    EK_OK(EkMixtureReadTraining(mixture, 4, 1, &i, 66, out));
    for (PetscInt t = 0; t < 3; t++) start = out[0] == At(&small, 3, t, 0, 0, 0) ? t : start;
    assert_true(start >= 0);
    for (int f = 0; f < 2; f++) {
      for (int j = 0; j < 3; j++) row[j] = 0.75f * At(&small, 3, start + 1, f, 1, j) + 0.25f * At(&small, 3, start + 1, f, 2, j);
      /* along y three points become eight: place j at (j + 1/2) 3/8 - 1/2 */
      assert_float_equal(out[(1 * 4 + f) * 66 + 3 * 8 + 4], row[1] + ((4.5f * 3 / 8 - 0.5f) - 1) * (row[2] - row[1]), 0.05);
      assert_float_equal(out[(1 * 4 + f) * 66 + 3 * 8 + 7], row[2], 0.05);
    }
    for (int p = 0; p < 66; p++) {
      assert_true(out[(1 * 4 + 3) * 66 + p] == (p < 64)); /* filled up with ones */
      for (int f = 0; f < 4; f++) assert_true(out[(5 * 4 + f) * 66 + p] == (p < 64 && f < 2 && p / 8 % 2 == 0 && p % 8 % 2 == 0));
    }
  }
  EK_OK(EkMixtureReadTest(mixture, 1, 1, (const PetscInt[1]){0}, 64, out));
  row[0] = At(&small, 0, 0, 1, 0, 0), row[1] = At(&small, 0, 0, 1, 1, 0);
  assert_float_equal(out[64 + 8], Doubled(row, 2, 1), 0.05);
  EK_OK(EkMixtureDestroy(&mixture));
}

/* The mask of a training sample: ones at every step[d]-th point along axis d of the file's fields, none in those added. */
static void CheckMask(const char *path, PetscInt resolution, PetscInt added, const PetscInt step[3])
{
  EkMixtureOptions  options = Mix(path);
  const EkDataInfo *info;
  EkMixture         mixture;
  size_t            points, stride;
  PetscInt          fields;
  const float      *mask;
  float            *out;

  options.resolution = resolution;
  options.mask = EK_MASK_DATA;
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetInfo(mixture, &info));
  fields = info->fields;
  EK_OK(EkMixtureDestroy(&mixture));
  options.channels = fields + added;
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetInfo(mixture, &info));
  points = InfoPoints(info), stride = points + 3;
  out = malloc(EkMixtureSampleFloats(mixture, stride) * sizeof(float));
  EK_OK(EkMixtureReadTraining(mixture, 0, 1, (const PetscInt[1]){1}, stride, out));
  mask = out + (size_t)(info->t_train * info->fields) * stride;
  for (PetscInt f = 0; f < info->fields; f++) {
    for (size_t p = 0; p < stride; p++) {
      const PetscInt at = (PetscInt)p, z = at % info->n[2], y = at / info->n[2] % info->n[1], x = at / info->n[2] / info->n[1];

      assert_true(mask[(size_t)f * stride + p] ==
                  (p < points && f < fields && x % step[0] == 0 && y % step[1] == 0 && z % step[2] == 0));
    }
  }
  free(out);
  EK_OK(EkMixtureDestroy(&mixture));
}

/* Axes refined by different factors, grids longer along one axis than along another: each axis has its own. */
static void masks_know_the_axes_apart(void **state)
{
  static const struct {
    Shape    shape;
    PetscInt resolution, step[3];
  } grids[] = {
      {{"cfd", 2, 4, 3, 2, {8, 2, 1}}, 8, {1, 4, 1}},    {{"cfd", 2, 4, 3, 2, {2, 8, 1}}, 8, {4, 1, 1}},
      {{"cfd", 2, 4, 3, 2, {5, 3, 1}}, 11, {2, 3, 1}},   {{"scalar", 1, 1, 3, 2, {4, 1, 1}}, 12, {3, 1, 1}},
      {{"cfd", 2, 4, 3, 2, {8, 3, 1}}, 0, {1, 1, 1}},    {{"cfd", 2, 4, 3, 2, {3, 8, 1}}, 0, {1, 1, 1}},
      {{"groups", 2, 2, 3, 2, {9, 4, 1}}, 4, {1, 1, 1}}, {{"cfd", 3, 5, 3, 2, {2, 3, 4}}, 0, {1, 1, 1}},
  };
  char scratch[EK_PATH], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(scratch);
  for (size_t i = 0; i < sizeof(grids) / sizeof(grids[0]); i++) {
    snprintf(path, sizeof(path), "%s/grid%d.hdf5", scratch, (int)i);
    Make(path, &grids[i].shape, &plain);
    CheckMask(path, grids[i].resolution, 0, grids[i].step);
    CheckMask(path, grids[i].resolution, 1, grids[i].step);
  }
}

static void the_cache_is_shared_out(void **state)
{
  EkMixtureOptions    options;
  const EkMixtureSet *set;
  EkMixture           mixture;
  PetscInt64          first;
  float               out[9 * 4 * 64];
  char                files[EK_PATHS];
  int                 n;

  (void)state;
  MakeTwo(files);
  options = Mix(files);
  options.resolution = 8;
  options.window = 5;
  /* all of `small` (5 x 7 + 7 frames of 24 values), and what is left holds not even one of `wide` (9 frames of 192 values) twice
   */
  options.each.cache = (PetscInt64)sizeof(float) * (42 * 24 + 10 * 192);
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetSets(mixture, &n, &set));
  for (int pass = 0; pass < 2; pass++) {
    first = EkMixtureBytesRead(mixture);
    for (PetscInt i = 11; i < 16; i++) EK_OK(EkMixtureReadTraining(mixture, 0, 1, &i, 64, out));
    EK_OK(EkMixtureReadTest(mixture, 1, 1, (const PetscInt[1]){0}, 64, out));
    if (pass) assert_int_equal(EkMixtureBytesRead(mixture), first); /* nothing is read again */
  }
  EK_OK(EkMixtureReadTraining(mixture, 0, 1, (const PetscInt[1]){0}, 64, out));
  first = EkMixtureBytesRead(mixture);
  EK_OK(EkMixtureReadTraining(mixture, 1, 1, (const PetscInt[1]){0}, 64, out));
  assert_int_equal(EkMixtureBytesRead(mixture), first);
  EK_OK(EkMixtureReadTraining(mixture, 1, 1, (const PetscInt[1]){1}, 64, out));
  assert_int_equal(EkMixtureBytesRead(mixture) - first, 5 * 192 * sizeof(float)); /* no room: the window alone */
  EK_OK(EkMixtureDestroy(&mixture));
}

static void keys_of_noise_differ(void **state)
{
  const PetscInt   index[3] = {0, 1, 2};
  EkMixtureOptions options;
  EkMixture        mixture;
  uint64_t         a[3], b[3];
  char             files[EK_PATHS];

  (void)state;
  MakeTwo(files);
  *strchr(files, ',') = 0;
  options = Mix(files);
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EkMixtureKeys(mixture, 0, 3, index, a);
  EkMixtureKeys(mixture, 0, 1, index + 1, b);
  assert_true(a[0] != a[1] && a[1] != a[2] && a[1] == b[0]);
  EkMixtureKeys(mixture, 1, 3, index, b);
  for (int i = 0; i < 3; i++) assert_true(a[i] != b[i]);
  EK_OK(EkMixtureDestroy(&mixture));
}

static void mixtures_that_do_not_fit(void **state)
{
  static const Shape line = {"scalar", 1, 1, 4, 5, {6, 1, 1}}, darcy = {"darcy", 2, 1, 4, 2, {8, 6, 1}};
  char               files[EK_PATHS], scratch[EK_PATH], path[2 * EK_PATH], list[EK_PATHS];
  EkMixtureOptions   options;
  const EkDataInfo  *info;
  EkMixture          darcy_file;

  (void)state;
  MakeTwo(files);
  options = Mix(files);
  MixFails(&options, "data_resolution: 'wide' has a grid of 8 x 6, 'small' of 4 x 3");
  options.resolution = 8;
  MixFails(&options, "data_window: 'wide' has 9 frames to train on, 'small' 7");
  options.window = 8;
  MixFails(&options, "data_window: 8 frames asked for, 'small' has 7");
  options.window = 1;
  MixFails(&options, "data_window: of 1 frames 1 are given");
  options.window = 5;
  options.channels = 3;
  MixFails(&options, "data_channels: 'wide' has 4 fields, more than 3");
  options.channels = 0;
  options.weights = (EkInts){3, {1, 2, 3}};
  MixFails(&options, "data_weights: 3 numbers for the 2 files of data_file");
  options.weights.n = 0;
  EK_OK(PetscStrncpy(options.each.fields, "density", EK_PATH));
  MixFails(&options, "data_fields: the names are those of one file");
  options.each.fields[0] = 0;
  EK_OK(PetscStrncpy(options.files, " , ", EK_PATHS));
  MixFails(&options, "data_file: names no file");
  snprintf(scratch, sizeof(scratch), "%.*s", (int)(strstr(files, "/wide.hdf5") - files), files);
  snprintf(path, sizeof(path), "%s/line.hdf5", scratch);
  Make(path, &line, &plain);
  snprintf(list, sizeof(list), "%.4000s,%.4000s", files, path);
  EK_OK(PetscStrncpy(options.files, list, EK_PATHS));
  MixFails(&options, "a mixture is of one dimension");
  snprintf(path, sizeof(path), "%s/darcy.hdf5", scratch);
  Make(path, &darcy, &plain);
  EK_OK(PetscStrncpy(options.files, path, EK_PATHS));
  options.window = 2;
  MixFails(&options, "no time to cut a window from");
  options.window = 0;
  options.each.initial_step = 10; /* the default, which is for files with more than two frames */
  EK_OK(EkMixtureOpen(EkTestRun(), &options, 0, &darcy_file));
  EK_OK(EkMixtureGetInfo(darcy_file, &info));
  assert_int_equal(info->initial_step, 1);
  EK_OK(EkMixtureDestroy(&darcy_file));
}

/* However files are called, no two sets are called the same. */
static void names_of_sets_differ(void **state)
{
  static const Shape       line = {"scalar", 1, 1, 4, 5, {6, 1, 1}};
  static const char *const file[] = {"x_2.hdf5", "x.hdf5", "y.5/x.hdf5", "x_.h5", "a.M0.1"},
                           *name[] = {"x_2", "x", "x_3", "x_", "a.M0.1"};
  char                scratch[EK_PATH], path[5][2 * EK_PATH], files[EK_PATHS] = "";
  const EkMixtureSet *set;
  EkMixtureOptions    options;
  EkMixture           mixture;
  int                 n;

  (void)state;
  EkTestScratch(scratch);
  snprintf(path[0], sizeof(path[0]), "%.900s/y.5", scratch);
  if (EkTestRun()->rank == 0) mkdir(path[0], 0777);
  for (int k = 0; k < 5; k++) {
    snprintf(path[k], sizeof(path[k]), "%.900s/%s", scratch, file[k]);
    Make(path[k], &line, &plain);
    EK_OK(PetscStrlcat(files, k ? "," : "", sizeof(files)));
    EK_OK(PetscStrlcat(files, path[k], sizeof(files)));
  }
  options = Mix(files);
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetSets(mixture, &n, &set));
  assert_int_equal(n, 5);
  for (int k = 0; k < n; k++) assert_string_equal(set[k].name, name[k]);
  EK_OK(EkMixtureDestroy(&mixture));
}

static void keys_have_defaults(void **state)
{
  EkMixtureOptions options = {.window = 5};
  EkProblems       problems;

  (void)state;
  EK_OK(PetscOptionsSetValue(EkTestRun()->options, "-data_file", "a.hdf5,b"));
  EK_OK(PetscOptionsSetValue(EkTestRun()->options, "-data_reduced_batch", "40"));
  EK_OK(EkProblemsCreate(&problems));
  EK_OK(EkKeysRead(EkTestRun(), &EkDataKeys, &options, problems));
  EK_OK(EkProblemsRaise(EkTestRun(), &problems));
  assert_string_equal(options.files, "a.hdf5,b");
  assert_int_equal(options.test.n, 1);
  assert_int_equal(options.test.v[0], -1);
  assert_int_equal(options.weights.n, 0);
  assert_int_equal(options.each.reduced_batch, 40);
  assert_int_equal(options.each.initial_step, 10);
  assert_int_equal(options.window, 0);
  assert_int_equal(options.each.cache, 1 << 30);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(dpot_layouts_hold_the_same_values),
    cmocka_unit_test(windows_of_dpot_files),
    cmocka_unit_test(the_end_of_a_test_set_apart),
    cmocka_unit_test(dpot_files_that_do_not_fit),
    cmocka_unit_test(a_single_file_is_read_as_it_is),
    cmocka_unit_test(fields_come_in_dpot_order),
    cmocka_unit_test(windows_are_drawn_anew_every_epoch),
    cmocka_unit_test(windows_are_of_the_frames_that_are_kept),
    cmocka_unit_test(small_fields_are_resized_and_filled_up),
    cmocka_unit_test(masks_know_the_axes_apart),
    cmocka_unit_test(the_cache_is_shared_out),
    cmocka_unit_test(keys_of_noise_differ),
    cmocka_unit_test(mixtures_that_do_not_fit),
    cmocka_unit_test(names_of_sets_differ),
    cmocka_unit_test(keys_have_defaults),
};
EK_TEST_MAIN(tests)
