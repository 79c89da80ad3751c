/* ranks: 1 2
   How data_cache is shared among the files of a mixture: in whole trajectories, which all files here have of one size. */
#include "dataset_support.h"
#include "../src/io/dataset.h"
#include "evenkeel/mixture.h"

#define SEED       11
#define TRAJECTORY (5 * 4 * 12 * (PetscInt64)sizeof(float)) /* 5 frames of 4 fields on 4 x 3 points */

/* BASE/N.hdf5 of N trajectories, one of them for the test set. */
static void MakeFile(const char *base, PetscInt samples, hsize_t chunk)
{
  const Shape   shape = {"cfd", 2, 4, samples, 5, {4, 3, 1}};
  const Variant variant = {.chunk = chunk};
  char          path[2 * EK_PATH];

  snprintf(path, sizeof(path), "%s/%d.hdf5", base, (int)samples);
  Make(path, &shape, &variant);
}

/* Of a set's trajectories, those that are not read again. */
static PetscInt CountKept(EkMixture mixture, int k, const EkMixtureSet *set, float *out)
{
  PetscInt kept = 0;

  for (int pass = 0; pass < 2; pass++) {
    for (int split = 0; split < 2; split++) {
      for (PetscInt i = 0; i < set[k].info->count[split]; i++) {
        const PetscInt64 before = EkMixtureBytesRead(mixture);
        const PetscInt   sample = set[k].first + i;

        if (split == EK_TEST)
          EK_OK(EkMixtureReadTest(mixture, k, 1, &i, 12, out));
        else
          EK_OK(EkMixtureReadTraining(mixture, pass, 1, &sample, 12, out));
        if (pass) kept += EkMixtureBytesRead(mixture) == before;
      }
    }
  }
  return kept;
}

/* A cache of so many bytes for files of samples[] trajectories keeps wanted[] of them and takes no more. */
static void CheckKept(const char *base, int n, const PetscInt samples[], PetscInt64 cache, const PetscInt wanted[])
{
  EkMixtureOptions    options = {.each = Options(""), .test = {1, {1}}, .train = {1, {-1}}};
  const EkMixtureSet *set;
  EkMixture           mixture;
  float               out[TRAJECTORY / sizeof(float)];
  PetscInt64          taken = 0;
  int                 nsets;

  for (int k = 0; k < n; k++) {
    const size_t used = strlen(options.files);

    snprintf(options.files + used, EK_PATHS - used, "%s/%d.hdf5,", base, (int)samples[k]);
  }
  options.each.cache = cache;
  EK_OK(EkMixtureOpen(EkTestRun(), &options, SEED, &mixture));
  EK_OK(EkMixtureGetSets(mixture, &nsets, &set));
  assert_int_equal(nsets, n);
  for (int k = 0; k < n; k++) {
    const PetscInt kept = CountKept(mixture, k, set, out);

    if (kept != wanted[k])
      fail_msg("room for %g: %d of %d are kept, not %d", (double)cache / TRAJECTORY, (int)kept, (int)samples[k], (int)wanted[k]);
    taken += set[k].dataset->kept_bytes;
  }
  assert_true(taken <= cache);
  EK_OK(EkMixtureDestroy(&mixture));
}

/* What a file cannot use goes to the others, in equal parts, in whatever order they are named; never more than there is. */
static void what_one_leaves_the_others_get(void **state)
{
  static const struct {
    PetscInt64 cache;
    PetscInt   kept[3]; /* of 3, 6, 24 trajectories */
  } wanted[] = {
      {33 * TRAJECTORY, {3, 6, 24}}, {33 * TRAJECTORY - 1, {3, 6, 23}}, {32 * TRAJECTORY, {3, 6, 23}},
      {16 * TRAJECTORY, {3, 6, 7}},  {15 * TRAJECTORY, {3, 6, 6}}, /* 6 fit once 3 have taken less than a third */
      {14 * TRAJECTORY, {3, 5, 5}},  {9 * TRAJECTORY, {3, 3, 3}},       {8 * TRAJECTORY, {2, 2, 2}},
      {TRAJECTORY, {0, 0, 0}},
  };
  static const int order[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}};
  static const int size[] = {3, 6, 24};
  char             base[EK_PATH];

  (void)state;
  EkTestScratch(base);
  for (int k = 0; k < 3; k++) MakeFile(base, size[k], 0);
  for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
    for (int o = 0; o < 3; o++) {
      PetscInt samples[3], kept[3];

      for (int k = 0; k < 3; k++) samples[k] = size[order[o][k]], kept[k] = wanted[i].kept[order[o][k]];
      CheckKept(base, 3, samples, wanted[i].cache, kept);
    }
  }
}

/* HDF5 keeps a chunk, here two trajectories, of each field: that is of the file's share too. */
static void room_for_chunks_is_part_of_a_share(void **state)
{
  const PetscInt samples[] = {4, 24};
  char           base[EK_PATH];

  (void)state;
  EkTestScratch(base);
  MakeFile(base, 4, 2);
  MakeFile(base, 24, 0);
  CheckKept(base, 2, samples, 16 * TRAJECTORY, (const PetscInt[]){4, 10}); /* 4 and a chunk: 6; the rest: 10 */
  CheckKept(base, 2, samples, 10 * TRAJECTORY, (const PetscInt[]){3, 5});  /* 5 each */
  CheckKept(base, 2, samples, 2 * TRAJECTORY, (const PetscInt[]){0, 1});   /* room for the chunks of two fields */
  CheckKept(base, 2, samples, 30 * TRAJECTORY, (const PetscInt[]){4, 24});
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_one_leaves_the_others_get),
    cmocka_unit_test(room_for_chunks_is_part_of_a_share),
};
EK_TEST_MAIN(tests)
