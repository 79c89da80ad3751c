/* ranks: 1 2 3 */
/* Training on a mixture of files: windows, noise, masks and losses file by file hold on any number of ranks and over restarts. */
#include "train_support.h"

#define TRAIN   "epochs: 3, batch: 5, loss: rel_l2, lr: 5e-3, schedule_step: 1, eval_interval: 2, checkpoint_interval: 1"
#define BATCHES 4 /* 8 + 2 x 5 samples in batches of 5 */
#define MODEL   "model: {type: fno2d, width: 4, modes: 2, transform: gemm}\n"

/* BASE/small.h5: 6 groups of 6 frames, 2 fields on 4 x 4 points. */
static void MakeSmall(const char *base)
{
  const hsize_t dims[4] = {6, 4, 4, 2};
  char          path[2 * EK_PATH];
  float         values[6 * 4 * 4 * 2], axis[4] = {0.125f, 0.375f, 0.625f, 0.875f};

  snprintf(path, sizeof(path), "%s/small.h5", base);
  if (EkTestRun()->rank == 0) {
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    for (int s = 0; s < 6; s++) {
      char  name[16];
      hid_t group, grid;

      snprintf(name, sizeof(name), "%04d", s);
      group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      for (int i = 0; i < 6 * 16 * 2; i++) values[i] = 2 + Wave(i % 2, s, i / 32, i / 8 % 4 / 4.0, i / 2 % 4 / 4.0);
      PutValues(group, "data", 4, dims, values);
      grid = H5Gcreate2(group, "grid", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      PutValues(grid, "x", 1, dims + 1, axis);
      PutValues(grid, "y", 1, dims + 1, axis);
      H5Gclose(grid);
      H5Gclose(group);
    }
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void Scratch(char base[EK_PATH])
{
  EkTestScratch(base);
  MakeWaves(base);
  MakeSmall(base);
}

#define MIXED_DATA(mask)                                                                                                         \
  "data: {file: [%s/waves.h5, %s/small.h5], weights: [1, 2], test: [3, 1], initial_step: 3, window: 5, resolution: 8, noise: "   \
  "0.01, mask: " mask "}\n"
#define MIXED MIXED_DATA("data")

static void Create(Job *job, MPI_Comm comm, const char *base, const char *name, const char *more)
{
  JobCreate(job, comm, base, name, MIXED MODEL "train: {%s}\nbalance: {min_eigs: 2}\n", base, base, more);
}

static void a_step_a_sitting_equals_one_sitting(void **state)
{
  char base[EK_PATH];
  Job  whole, parts;

  (void)state;
  Scratch(base);
  Create(&whole, EkTestRun()->comm, base, "whole", TRAIN);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&parts, EkTestRun()->comm, base, "parts", TRAIN);
  assert_int_equal(JobTrainByStep(&parts, 6 * BATCHES), 3 * BATCHES);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(whole.dir, parts.dir, "final.safetensors");
  AssertSameTable(whole.dir, parts.dir, "metrics.csv");
  AssertSameTable(whole.dir, parts.dir, "sets.csv");
}

static void any_number_of_ranks_trains_the_same(void **state)
{
  char base[EK_PATH];
  Job  all, alone;

  (void)state;
  Scratch(base);
  /* all 18 samples at once are more than a graph runs at a time, on one rank */
  Create(&all, EkTestRun()->comm, base, "all", TRAIN ", batch: 18, accumulate: 2");
  assert_int_equal(JobTrain(&all), 0);
  if (EkTestRun()->rank == 0) {
    Create(&alone, MPI_COMM_SELF, base, "alone", TRAIN ", batch: 18");
    assert_int_equal(JobTrain(&alone), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
  snprintf(alone.dir, EK_PATH, "%.1000s/alone", base);
  AssertNearWeights(all.dir, "final.safetensors", alone.dir, "final.safetensors", 2e-4);
}

/* Rows of sets.csv come in the order of the files, epoch by epoch. each: what the mean over batches is made of, sums over a batch
 * or its means. */
static void AddUp(const char *base, const char *name, const char *train, double batches, double each)
{
  const double samples[2] = {8, 10};
  Table        metrics, sets;
  Job          job;

  JobCreate(&job, EkTestRun()->comm, base, name, MIXED_DATA("none") MODEL "train: {%s}\nbalance: {min_eigs: 2}\n", base, base,
            train);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  TableRead(&metrics, job.dir, "metrics.csv");
  TableRead(&sets, job.dir, "sets.csv");
  assert_int_equal(sets.rows, 1 + 2 * 3);
  for (int e = 1; e <= 3; e++) {
    double sum = 0, error = 0;

    for (int k = 0; k < 2; k++) {
      const int row = 1 + 2 * (e - 1) + k;

      assert_string_equal(sets.cell[row][1], k ? "small" : "waves");
      assert_true(TableNumber(&sets, row, "epoch") == e && TableNumber(&sets, row, "samples") == samples[k]);
      sum += samples[k] * TableNumber(&sets, row, "train_loss");
      error += TableNumber(&sets, row, "nRMSE") / 2;
      assert_true(isnan(TableNumber(&sets, row, "L2RE")) == (e == 1));
    }
    assert_float_equal(sum / (batches * each), TableNumber(&metrics, e, "train_loss"), 1e-6 * sum);
    if (e > 1) assert_float_equal(error, TableNumber(&metrics, e, "nRMSE"), 1e-6 * error);
  }
  TableFree(&metrics);
  TableFree(&sets);
}

static void losses_of_the_files_add_up(void **state)
{
  char base[EK_PATH];

  (void)state;
  Scratch(base);
  AddUp(base, "sums", TRAIN, BATCHES, 1);
  AddUp(base, "means", "epochs: 3, batch: 6, lr: 5e-3, eval_interval: 2", 3, 6);
}

static void figures_are_there_file_by_file(void **state)
{
  const cJSON *sets, *small;
  cJSON       *json;
  double       mean = 0, last = 0;
  char         base[EK_PATH];
  Job          job;

  (void)state;
  Scratch(base);
  Create(&job, EkTestRun()->comm, base, "run", TRAIN);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  json = FileJson(job.dir, "summary.json");
  sets = cJSON_GetObjectItemCaseSensitive(json, "sets");
  small = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(sets, "small"), "L2RE");
  assert_int_equal(cJSON_GetArraySize(sets), 2);
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(small, "steps")), 3); /* of 6 frames 3 are given */
  for (const cJSON *s = sets->child; s; s = s->next) mean += JsonNumber(cJSON_GetObjectItemCaseSensitive(s, "L2RE"), "full") / 2;
  assert_float_equal(JsonNumber(cJSON_GetObjectItemCaseSensitive(json, "L2RE"), "full"), mean, 1e-12);
  for (int i = 0; i < 3; i++) last += cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(small, "steps"), i)->valuedouble / 3;
  assert_float_equal(JsonNumber(small, "step_mean"), last, 1e-12);
  cJSON_Delete(json);
}

/* Floats of one tensor of a run's weights. */
static void Tensor(const char *dir, const char *name, size_t n, float *out)
{
  char          path[2 * EK_PATH];
  EkTensorInfo *table;
  float        *arena;
  int           count, found = -1;

  snprintf(path, sizeof(path), "%s/final.safetensors", dir);
  EK_OK(EkWeightsReadAll(EkTestRun(), path, &count, &table, &arena));
  for (int i = 0; i < count; i++) found = strcmp(table[i].name, name) ? found : i;
  assert_true(found >= 0 && table[found].count == n);
  memcpy(out, arena + table[found].offset, n * sizeof(float));
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(arena));
}

/* Fields that were added: after one step (in a rollout they feed the next) the last layer's rows for them move only where they
 * count. */
static void masked_fields_train_nothing(void **state)
{
  static const char *const kind[2] = {"none", "data"};
  float                    row[2][2][4 * 128];
  char                     base[EK_PATH], name[32];

  (void)state;
  Scratch(base);
  for (int k = 0; k < 2; k++) {
    for (int steps = 0; steps < 2; steps++) {
      Job job;

      snprintf(name, sizeof(name), "%s_%d", kind[k], steps);
      JobCreate(&job, EkTestRun()->comm, base, name,
                "data: {file: %s/small.h5, test: 1, initial_step: 3, t_train: 4, channels: 4, mask: %s}\n" MODEL
                "train: {epochs: 1, batch: 5, loss: rel_l2, lr: %s, weight_decay: 0}\nbalance: {rule: none}\n",
                base, kind[k], steps ? "1e-2" : "1e-30");
      assert_int_equal(JobTrain(&job), 0);
      MPI_Barrier(EkTestRun()->comm);
      Tensor(job.dir, "fc2.weight", 4 * 128, row[k][steps]);
    }
    for (int c = 0; c < 4; c++) {
      const int same = !memcmp(row[k][0] + c * 128, row[k][1] + c * 128, 128 * sizeof(float));

      if (same != (k == 1 && c >= 2)) fail_msg("mask %s: the weights of field %d %s", kind[k], c, same ? "stay" : "move");
    }
  }
}

/* What a key does to a run on the waves: the same bits, or others. */
static void keys_reach_the_training(void **state)
{
  static const struct {
    const char *data, *train;
    PetscBool   same;
  } change[] = {{"noise: 0.05", "mode: autoregressive", PETSC_FALSE},
                {"window: 5", "mode: autoregressive", PETSC_FALSE},
                {"noise: 0", "recompute: step", PETSC_TRUE},
                {"noise: 0", "recompute: block", PETSC_TRUE},
                {"noise: 0", "unroll: 1", PETSC_FALSE},
                {"noise: 0", "mode: teacher", PETSC_FALSE}};
  char base[EK_PATH], name[32];
  Job  plain;

  (void)state;
  Scratch(base);
#define RUN                                                                                                                      \
  "data: {file: waves, test: 3, initial_step: 3, t_train: 6, %s}\n" MODEL                                                        \
  "train: {epochs: 1, batch: 4, lr: 5e-3, %s}\nbalance: {rule: none}\n"
  JobCreate(&plain, EkTestRun()->comm, base, "plain", RUN, "noise: 0", "unroll: 3");
  assert_int_equal(JobTrain(&plain), 0);
  for (size_t i = 0; i < sizeof(change) / sizeof(change[0]); i++) {
    size_t n, m;
    char  *one, *two;
    Job    job;

    snprintf(name, sizeof(name), "other_%d", (int)i);
    JobCreate(&job, EkTestRun()->comm, base, name, RUN, change[i].data, change[i].train);
    assert_int_equal(JobTrain(&job), 0);
    MPI_Barrier(EkTestRun()->comm);
    one = FileText(plain.dir, "final.safetensors", &n);
    two = FileText(job.dir, "final.safetensors", &m);
    if ((n == m && !memcmp(one, two, n)) != change[i].same)
      fail_msg("%s, %s: %s weights", change[i].data, change[i].train, change[i].same ? "other" : "the same");
    free(one);
    free(two);
  }
#undef RUN
}

/* BASE/lines.h5: 6 trajectories of 6 frames on 32 points. */
static void MakeLines(const char *base)
{
  static const char *const field[] = {"density", "pressure", "Vx"};
  const hsize_t            dims[3] = {6, 6, 32};
  char                     path[2 * EK_PATH];
  float                    values[6 * 6 * 32], axis[32];

  snprintf(path, sizeof(path), "%s/lines.h5", base);
  if (EkTestRun()->rank == 0) {
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    for (int i = 0; i < 32; i++) axis[i] = (float)i / 32;
    for (int f = 0; f < 3; f++) {
      for (int i = 0; i < 6 * 6 * 32; i++) values[i] = Wave(f, i / 192, i / 32 % 6, i % 32 / 32.0, 0);
      PutValues(file, field[f], 3, dims, values);
    }
    PutValues(file, "x-coordinate", 1, dims + 2, axis);
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* Fields come as in the file, for DPOT as its data sets have them: whatever the model, a session's names and first values. */
static void dpot_has_velocities_first_and_nobody_else(void **state)
{
  static const char *const published[] = {"density", "pressure", "Vx", "Vy"}, *const dpot[] = {"Vx", "Vy", "density", "pressure"};
  static const int number[] = {0, 1, 2, 3}, number_dpot[] = {2, 3, 0, 1};
  char             base[EK_PATH];

  (void)state;
  Scratch(base);
  MakeLines(base);
  for (int row = 0; row < EkModelFamily.count; row++) {
    const char *const        type = EkFamilyMember(&EkModelFamily, row)->name;
    const int                one = strstr(type, "1d") != NULL, first = !strcmp(type, "dpot"), fields = one ? 3 : 4;
    const char *const *const want = first ? dpot : published;
    EkSession                s;
    size_t                   stride;
    float                   *values;
    Job                      job;

    JobCreate(&job, EkTestRun()->comm, base, type,
              "data: {file: %s/%s.h5, test: 1, initial_step: 3, t_train: 4%s}\nmodel: {type: %s%s}\n", base,
              one ? "lines" : "waves", strstr(type, "unet2d") ? ", resolution: 16" : "", type,
              first                 ? ", depth: 1, embed_dim: 16"
              : strstr(type, "fno") ? ", modes: 2"
                                    : ", features: 4");
    EK_OK(EkSessionCreate(&job.run, &job.deck, EK_CHOOSE_FFT, &s));
    stride = s->shape.grid.stride;
    values = malloc((size_t)(s->info->frames * fields) * stride * sizeof(float));
    assert_int_equal(s->shape.fields, fields);
    EK_OK(EkMixtureReadTest(s->mixture, 0, 1, (const PetscInt[1]){0}, stride, values));
    for (int f = 0; f < fields; f++) {
      if (strcmp(s->info->field[f], want[f])) fail_msg("%s: field %d is %s, %s is wanted", type, f, s->info->field[f], want[f]);
      if (!strstr(type, "unet2d")) assert_true(values[(size_t)f * stride] == Wave((first ? number_dpot : number)[f], 0, 0, 0, 0));
    }
    free(values);
    EK_OK(EkSessionDestroy(&s));
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_a_sitting_equals_one_sitting),
    cmocka_unit_test(any_number_of_ranks_trains_the_same),
    cmocka_unit_test(losses_of_the_files_add_up),
    cmocka_unit_test(figures_are_there_file_by_file),
    cmocka_unit_test(masked_fields_train_nothing),
    cmocka_unit_test(keys_reach_the_training),
    cmocka_unit_test(dpot_has_velocities_first_and_nobody_else),
};
EK_TEST_MAIN(tests)
