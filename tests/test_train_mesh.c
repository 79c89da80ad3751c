/* ranks: 1 2 3 */
/* What a run gives does not depend on the ranks it runs on, on how their work is divided, or on how the file was reduced. */
#include "train_support.h"

#define EPOCHS 3
#define MODEL  "model: {type: fno2d, width: 4, modes: 3, transform: gemm}\n"
#define TRAIN  "train: {epochs: 3, batch: 3, lr: 5e-3, schedule_step: 2}\n"
#define RULE   "balance: {min_eigs: 2}\n"

static void Create(Job *job, MPI_Comm comm, const char *base, const char *name, const char *deck)
{
  JobCreate(job, comm, base, name, "%s", deck);
}

/* The deck on every rank there is, then on rank 0 alone. Directories `name` and `name`_alone of the scratch directory. */
static void TrainBoth(const char *base, const char *name, const char *deck, Job *all, Job *alone)
{
  char alone_name[64];

  Create(all, EkTestRun()->comm, base, name, deck);
  assert_int_equal(JobTrain(all), 0);
  snprintf(alone_name, sizeof(alone_name), "%s_alone", name);
  snprintf(alone->dir, EK_PATH, "%s/%s", base, alone_name);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    Create(alone, MPI_COMM_SELF, base, alone_name, deck);
    assert_int_equal(JobTrain(alone), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* Cells of both tables agree within `tolerance`, relative; durations aside. */
static void AssertNearTable(const char *dir, const char *other, const char *name, double tolerance)
{
  Table one, two;

  TableRead(&one, dir, name);
  TableRead(&two, other, name);
  assert_int_equal(one.rows, two.rows);
  for (int r = 1; r < one.rows; r++) {
    for (int c = 0; c < one.columns; c++) {
      const double a = atof(one.cell[r][c]), b = atof(two.cell[r][c]);

      if (strstr(one.cell[0][c], "seconds") || fabs(a - b) <= tolerance * fabs(b)) continue;
      fail_msg("%s: row %d, %s: %s in %s, %s in %s", name, r, one.cell[0][c], one.cell[r][c], dir, two.cell[r][c], other);
    }
  }
  TableFree(&one);
  TableFree(&two);
}

static void AssertInvariant(const char *base, const char *name, const char *deck)
{
  Job all, alone;

  TrainBoth(base, name, deck, &all, &alone);
  AssertNearWeights(all.dir, "final.safetensors", alone.dir, "final.safetensors", 1e-4);
  AssertNearTable(all.dir, alone.dir, "metrics.csv", 1e-4);
  MPI_Barrier(EkTestRun()->comm);
}

static void Scratch(char base[EK_PATH], void **state)
{
  (void)state;
  EkTestScratch(base);
  MakeWaves(base);
}

/* ---- ranks ---------------------------------------------------------------------------------------------------- */

static void weights_do_not_depend_on_ranks(void **state)
{
  char base[EK_PATH];

  Scratch(base, state);
  AssertInvariant(base, "uneven", WAVES MODEL TRAIN RULE); /* 3 + 3 + 2 trajectories */
  AssertInvariant(base, "clipped", WAVES MODEL "train: {epochs: 3, batch: 4, lr: 5e-3, clip: 0.3}\n" RULE);
  AssertInvariant(base, "sharded", WAVES MODEL TRAIN RULE "mesh: {shard: optimizer}\n");
  AssertInvariant(base, "all_layers", WAVES MODEL TRAIN "balance: {rule: tb_rank, min_eigs: 2, layers: all, interval: 2}\n");
}

static void a_batch_larger_than_the_set_is_the_set(void **state)
{
  char base[EK_PATH];
  Job  all, alone, exact;

  Scratch(base, state);
  TrainBoth(base, "larger", WAVES MODEL "train: {epochs: 3, batch: 100, lr: 5e-3}\n" RULE, &all, &alone);
  AssertNearWeights(all.dir, "final.safetensors", alone.dir, "final.safetensors", 1e-4);
  Create(&exact, EkTestRun()->comm, base, "exact", WAVES MODEL "train: {epochs: 3, batch: 8, lr: 5e-3}\n" RULE);
  assert_int_equal(JobTrain(&exact), 0);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(all.dir, exact.dir, "final.safetensors");
}

/* One trajectory to train on and one to test: all ranks but one have nothing to do. */
static void ranks_without_samples_take_part(void **state)
{
  char base[EK_PATH];

  Scratch(base, state);
  AssertInvariant(base, "one", "data: {file: waves, test: 1, train: 1, initial_step: 4, t_train: 6}\n" MODEL TRAIN RULE);
  AssertInvariant(base, "batches_of_one",
                  WAVES MODEL "train: {epochs: 2, batch: 1, lr: 5e-3}\n" RULE "mesh: {shard: optimizer}\n");
}

/* Sums of two floats do not depend on their order: on up to two ranks the sharded update is the same to the bit. More terms may
 * be added in another order. */
static void sharding_the_optimizer_changes_nothing(void **state)
{
  char base[EK_PATH];
  Job  whole, sharded;

  Scratch(base, state);
  Create(&whole, EkTestRun()->comm, base, "whole", WAVES MODEL TRAIN RULE);
  Create(&sharded, EkTestRun()->comm, base, "sharded", WAVES MODEL TRAIN RULE "mesh: {shard: optimizer}\n");
  assert_int_equal(JobTrain(&whole), 0);
  assert_int_equal(JobTrain(&sharded), 0);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->size <= 2) AssertSameBytes(whole.dir, sharded.dir, "final.safetensors");
  AssertNearWeights(whole.dir, "final.safetensors", sharded.dir, "final.safetensors", 1e-5);
  AssertNearTable(whole.dir, sharded.dir, "metrics.csv", 1e-5);
}

static void a_run_repeats_bitwise_on_its_mesh(void **state)
{
  char base[EK_PATH];
  Job  one, two, other;

  Scratch(base, state);
  Create(&one, EkTestRun()->comm, base, "one", WAVES MODEL TRAIN RULE);
  Create(&two, EkTestRun()->comm, base, "two", WAVES MODEL TRAIN RULE);
  Create(&other, EkTestRun()->comm, base, "other", WAVES MODEL TRAIN RULE);
  two.deck.data.each.cache = 0; /* from the file every time */
  other.deck.train.seed = 1;
  assert_int_equal(JobTrain(&one), 0);
  assert_int_equal(JobTrain(&two), 0);
  assert_int_equal(JobTrain(&other), 0);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(one.dir, two.dir, "final.safetensors");
  AssertSameTable(one.dir, two.dir, "metrics.csv");
  AssertSameTable(one.dir, two.dir, "layers.csv");
  {
    char  *text[2] = {FileText(one.dir, "final.safetensors", NULL), FileText(other.dir, "final.safetensors", NULL)};
    size_t n;

    free(FileText(one.dir, "final.safetensors", &n));
    assert_true(n && memcmp(text[0], text[1], n)); /* the seed does something */
    free(text[0]);
    free(text[1]);
  }
}

/* In file order the short batch of an epoch always holds the last two; shuffled, others, and the mean over batches differs. */
static void shuffling_reorders_every_epoch(void **state)
{
  char  base[EK_PATH];
  Job   yes, no;
  Table one, two;
  int   differ = 0;

  Scratch(base, state);
  Create(&yes, EkTestRun()->comm, base, "yes", WAVES MODEL "train: {epochs: 4, batch: 3, lr: 1e-7}\n" RULE);
  Create(&no, EkTestRun()->comm, base, "no", WAVES MODEL "train: {epochs: 4, batch: 3, lr: 1e-7, shuffle: no}\n" RULE);
  assert_int_equal(JobTrain(&yes), 0);
  assert_int_equal(JobTrain(&no), 0);
  MPI_Barrier(EkTestRun()->comm);
  TableRead(&one, yes.dir, "metrics.csv");
  TableRead(&two, no.dir, "metrics.csv");
  for (int e = 2; e <= 4; e++) {
    differ += fabs(TableNumber(&one, e, "train_loss") / TableNumber(&one, e - 1, "train_loss") - 1) > 1e-3;
    assert_true(fabs(TableNumber(&two, e, "train_loss") / TableNumber(&two, e - 1, "train_loss") - 1) < 1e-4);
  }
  assert_true(differ >= 2);
  TableFree(&one);
  TableFree(&two);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

static void AssertFigures(const char *dir, const char *set, const EkFigures *figures)
{
  cJSON *summary = FileJson(dir, "summary.json"), *wanted = cJSON_GetObjectItem(summary, set);

#define CHECK(field, name)                                                                                                       \
  if (isnan(figures->field))                                                                                                     \
    assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(wanted, name)));                                                   \
  else if (!(fabs(figures->field / JsonNumber(wanted, name) - 1) < 1e-6))                                                        \
    fail_msg("%s: %.9g, trained with %.9g", name, figures->field, JsonNumber(wanted, name));
  EK_FIGURES(CHECK)
#undef CHECK
  cJSON_Delete(summary);
}

/* Weights from the safetensors or the checkpoint, on all ranks or on one: the figures the training ended with. */
static void Evaluate(Job *job, const char *weights)
{
  EkSession   session;
  EkEvaluator evaluator;
  EkFigures   predicted, published;
  PetscBool   stopped;

  EK_OK(PetscSNPrintf(job->deck.model.weights, EK_PATH, "%s/%s", job->dir, weights));
  EK_OK(EkSessionCreate(&job->run, &job->deck, EK_CHOOSE_AUTO, &session));
  EK_OK(EkEvaluatorCreate(session, &evaluator));
  EK_OK(EkEvaluate(evaluator, NULL, &predicted, &published, EkTime() - 1, &stopped)); /* too late: it gives up */
  assert_true(stopped && isnan(predicted.RMSE) && isnan(published.RMSE));
  EK_OK(EkEvaluate(evaluator, NULL, &predicted, &published, EkTime() + 1e6, &stopped));
  assert_true(!stopped && predicted.RMSE > 0);
  for (int twice = 0; twice < 2; twice++) { /* the second time over a set that was added up before */
    EK_OK(EkEvaluate(evaluator, NULL, &predicted, &published, 0, NULL));
    AssertFigures(job->dir, "metrics", &predicted);
    AssertFigures(job->dir, "metrics_published", &published);
  }
  EK_OK(EkEvaluatorDestroy(&evaluator));
  EK_OK(EkSessionDestroy(&session));
}

static void evaluation_gives_the_figures_of_the_training(void **state)
{
  char base[EK_PATH];
  Job  job, alone;

  Scratch(base, state);
  Create(&job, EkTestRun()->comm, base, "job", WAVES MODEL TRAIN RULE);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  Evaluate(&job, "final.safetensors");
  Evaluate(&job, "checkpoint.h5");
  if (EkTestRun()->rank == 0) {
    Create(&alone, MPI_COMM_SELF, base, "job", WAVES MODEL TRAIN RULE);
    Evaluate(&alone, "final.safetensors");
    Evaluate(&alone, "checkpoint.h5");
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void without_a_test_set_figures_are_null(void **state)
{
  char   base[EK_PATH];
  Job    job;
  cJSON *summary;

  Scratch(base, state);
  Create(&job, EkTestRun()->comm, base, "job", "data: {file: waves, test: 0, train: 3, initial_step: 4}\n" MODEL TRAIN RULE);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  summary = FileJson(job.dir, "summary.json");
  assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(summary, "metrics"), "nRMSE")));
  assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(summary, "metrics_published"), "RMSE")));
  cJSON_Delete(summary);
}

/* Rows of epochs 0, 2, 4, ... up to the last, one a layer, rates at the base. */
static void without_a_rule_the_layers_are_watched(void **state)
{
  char  base[EK_PATH];
  Job   job;
  Table table;
  int   layers = 0;

  Scratch(base, state);
  Create(&job, EkTestRun()->comm, base, "job",
         WAVES MODEL "train: {epochs: 5, batch: 8, lr: 5e-3, schedule_step: 2}\n"
                     "balance: {rule: none, interval: 2}\n");
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  TableRead(&table, job.dir, "layers.csv");
  for (int r = 1; r < table.rows; r++) {
    const int epoch = (int)TableNumber(&table, r, "epoch");

    layers += epoch == 0;
    assert_int_equal(epoch % 2, 0);
    assert_true(fabs(TableNumber(&table, r, "lr") / (5e-3 * pow(0.5, epoch / 2)) - 1) < 1e-6);
    assert_true(TableNumber(&table, r, "spectral_norm") > 0);
  }
  assert_int_equal(layers, 7); /* fc0 fc1 fc2 w0 w1 w2 w3 */
  assert_int_equal(table.rows, 1 + 3 * layers);
  TableFree(&table);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

typedef struct {
  PetscInt sample[32], samples;       /* of the waves, those that are stored */
  PetscInt frames, every_t, n, every; /* n points a side of which every k-th is stored */
} Stored;

/* dim 1: one row, y = 0 */
static void PutWaves(hid_t file, const char *name, int which, int dim, const Stored *s, int time_axis, PetscInt frames)
{
  const PetscInt points = (s->n + s->every - 1) / s->every, ny = dim == 2 ? points : 1;
  hsize_t        dims[4];
  int            rank = 0;
  float         *values = malloc(sizeof(float) * (size_t)(s->samples * frames * points * ny)), *v = values;

  dims[rank++] = (hsize_t)s->samples;
  if (time_axis) dims[rank++] = (hsize_t)frames;
  for (int d = 0; d < dim; d++) dims[rank++] = (hsize_t)points;
  for (PetscInt b = 0; b < s->samples; b++) {
    for (PetscInt t = 0; t < frames; t++) {
      for (PetscInt i = 0; i < points; i++) {
        for (PetscInt j = 0; j < ny; j++)
          *v++ = Wave(which, s->sample[b], t * s->every_t, (double)(i * s->every) / (double)s->n,
                      (double)(j * s->every) / (double)s->n);
      }
    }
  }
  PutValues(file, name, rank, dims, values);
  free(values);
}

static void PutAxis(hid_t file, const char *name, const Stored *s)
{
  const hsize_t points = (hsize_t)((s->n + s->every - 1) / s->every);
  float         x[128];

  for (hsize_t i = 0; i < points; i++) x[i] = (float)(i * (hsize_t)s->every) / (float)s->n;
  PutValues(file, name, 1, &points, x);
}

static void MakeFile(const char *base, const char *name, const char *family, const Stored *s)
{
  char path[2 * EK_PATH];

  MPI_Barrier(EkTestRun()->comm);
  snprintf(path, sizeof(path), "%s/%s", base, name);
  if (EkTestRun()->rank == 0) {
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    assert_true(file >= 0);
    if (!strcmp(family, "darcy")) {
      PutWaves(file, "nu", 0, 2, s, 0, 1);
      PutWaves(file, "tensor", 1, 2, s, 1, 1);
      PutAxis(file, "y-coordinate", s);
    } else
      PutWaves(file, "tensor", 0, 1, s, 1, s->frames);
    PutAxis(file, "x-coordinate", s);
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* Trajectories first, first + step, ... */
static Stored Waves(PetscInt first, PetscInt step, PetscInt samples, PetscInt frames, PetscInt n)
{
  Stored s = {.samples = samples, .frames = frames, .every_t = 1, .n = n, .every = 1};

  for (PetscInt i = 0; i < samples; i++) s.sample[i] = first + i * step;
  return s;
}

static void AssertLearns(const char *dir)
{
  Table table;

  TableRead(&table, dir, "metrics.csv");
  assert_true(TableNumber(&table, table.rows - 1, "train_loss") < 0.9 * TableNumber(&table, 1, "train_loss"));
  TableFree(&table);
}

#define SCALAR(keys) "data: {file: %s/%s, initial_step: 2, " keys "}\nmodel: {type: fno1d, width: 4, modes: 3, transform: gemm}\n"

static void fno1d_trains_on_a_scalar_file(void **state)
{
  const Stored s = Waves(0, 1, 10, 6, 20);
  char         base[EK_PATH], deck[4 * EK_PATH];
  Job          all, alone;

  Scratch(base, state);
  MakeFile(base, "scalar.h5", "scalar", &s);
  snprintf(deck, sizeof(deck), SCALAR("test: 2") "train: {epochs: 8, batch: 4, lr: 1e-2}\n" RULE, base, "scalar.h5");
  TrainBoth(base, "job", deck, &all, &alone);
  AssertNearWeights(all.dir, "final.safetensors", alone.dir, "final.safetensors", 1e-4);
  AssertLearns(all.dir);
}

/* Darcy has one frame given and one to predict: a single step is the same as a rollout over it. */
static void one_step_of_darcy_is_a_rollout_of_one(void **state)
{
  const Stored s = Waves(0, 1, 8, 2, 9);
  char         base[EK_PATH], deck[4 * EK_PATH];
  Job          all, alone, rollout;

  Scratch(base, state);
  MakeFile(base, "darcy.h5", "darcy", &s);
  snprintf(deck, sizeof(deck),
           "data: {file: %s/darcy.h5, test: 2, initial_step: 1}\n" MODEL
           "train: {epochs: 8, batch: 3, lr: 1e-2, mode: single}\n" RULE,
           base);
  TrainBoth(base, "job", deck, &all, &alone);
  AssertNearWeights(all.dir, "final.safetensors", alone.dir, "final.safetensors", 1e-4);
  AssertLearns(all.dir);
  Create(&rollout, EkTestRun()->comm, base, "rollout", deck);
  rollout.deck.train.mode = EK_AUTOREGRESSIVE;
  assert_int_equal(JobTrain(&rollout), 0);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(all.dir, rollout.dir, "final.safetensors");
  AssertSameTable(all.dir, rollout.dir, "metrics.csv");
}

/* A single step to frame t_train - 1 sees no frame in between: where those are changed the run is the same. */
static void a_single_step_skips_the_frames_between(void **state)
{
  const Stored s = Waves(0, 1, 8, 6, 16);
  char         base[EK_PATH], deck[4 * EK_PATH], path[2 * EK_PATH];
  Job          one, two;

  Scratch(base, state);
  for (int k = 0; k < 2; k++) {
    MakeFile(base, k ? "b.h5" : "a.h5", "scalar", &s);
    snprintf(path, sizeof(path), "%s/b.h5", base);
    if (k && EkTestRun()->rank == 0) {
      const hsize_t start[3] = {0, 2, 0}, count[3] = {8, 2, 16}, total = 2 * 8 * 16;
      const hid_t   file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set = H5Dopen2(file, "tensor", H5P_DEFAULT),
                  space = H5Dget_space(set);
      const hid_t memory = H5Screate_simple(1, &total, NULL);
      float       zero[2 * 8 * 16] = {0};

      H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
      assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, zero) >= 0);
      H5Sclose(memory), H5Sclose(space), H5Dclose(set), H5Fclose(file);
    }
    MPI_Barrier(EkTestRun()->comm);
    snprintf(deck, sizeof(deck), SCALAR("test: 2, t_train: 5") "train: {epochs: 2, batch: 3, mode: single}\n" RULE, base,
             k ? "b.h5" : "a.h5");
    Create(k ? &two : &one, EkTestRun()->comm, base, k ? "two" : "one", deck);
    assert_int_equal(JobTrain(k ? &two : &one), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(one.dir, two.dir, "final.safetensors");
  AssertSameTable(one.dir, two.dir, "metrics.csv");
}

/* A run on a reduced file and one on a file that holds nothing else. */
static void AssertSameAsReduced(const char *base, const char *name, const char *keys, const Stored *left)
{
  const Stored full = Waves(0, 1, 12, 9, 24);
  char         deck[2][4 * EK_PATH], names[2][64];
  Job          job[2];

  snprintf(names[0], sizeof(names[0]), "%s_full", name);
  snprintf(names[1], sizeof(names[1]), "%s_left", name);
  for (int k = 0; k < 2; k++) {
    char file[80];

    snprintf(file, sizeof(file), "%s.h5", names[k]);
    MakeFile(base, file, "scalar", k ? left : &full);
    snprintf(deck[k], sizeof(deck[k]), SCALAR("test: 2%s") "train: {epochs: 2, batch: 3, lr: 1e-2}\n" RULE, base, file,
             k ? "" : keys);
    Create(&job[k], EkTestRun()->comm, base, names[k], deck[k]);
    assert_int_equal(JobTrain(&job[k]), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(job[0].dir, job[1].dir, "final.safetensors");
  AssertSameTable(job[0].dir, job[1].dir, "metrics.csv");
}

static void reduction_equals_a_smaller_file(void **state)
{
  char   base[EK_PATH];
  Stored points = Waves(0, 1, 12, 9, 24), frames = Waves(0, 1, 12, 5, 24), batch = Waves(0, 1, 6, 9, 24);

  Scratch(base, state);
  points.every = 2;
  frames.every_t = 2;
  for (PetscInt i = 2; i < 6; i++) batch.sample[i] = 2 + 3 * (i - 2); /* two to test, then 2 5 8 11 */
  AssertSameAsReduced(base, "points", ", reduced_resolution: 2", &points);
  AssertSameAsReduced(base, "frames", ", reduced_resolution_t: 2", &frames);
  AssertSameAsReduced(base, "batch", ", reduced_batch: 3", &batch);
}

static void t_train_beyond_the_file_is_cut_with_a_notice(void **state)
{
  const Stored s = Waves(0, 1, 8, 6, 16);
  char         base[EK_PATH], deck[4 * EK_PATH];
  Job          cut, whole;

  Scratch(base, state);
  MakeFile(base, "scalar.h5", "scalar", &s);
  snprintf(deck, sizeof(deck), SCALAR("test: 2, t_train: 101") "train: {epochs: 2, batch: 3}\n" RULE, base, "scalar.h5");
  Create(&cut, EkTestRun()->comm, base, "cut", deck);
  assert_int_equal(JobTrain(&cut), 0);
  snprintf(deck, sizeof(deck), SCALAR("test: 2") "train: {epochs: 2, batch: 3}\n" RULE, base, "scalar.h5");
  Create(&whole, EkTestRun()->comm, base, "whole", deck);
  assert_int_equal(JobTrain(&whole), 0);
  MPI_Barrier(EkTestRun()->comm);
  assert_true(FileHas(base, "cut.log", "data_t_train: 101 cut to the 6 frames"));
  assert_false(FileHas(base, "whole.log", "data_t_train"));
  AssertSameBytes(cut.dir, whole.dir, "final.safetensors");
  AssertSameTable(cut.dir, whole.dir, "metrics.csv");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(weights_do_not_depend_on_ranks),
    cmocka_unit_test(a_batch_larger_than_the_set_is_the_set),
    cmocka_unit_test(ranks_without_samples_take_part),
    cmocka_unit_test(sharding_the_optimizer_changes_nothing),
    cmocka_unit_test(a_run_repeats_bitwise_on_its_mesh),
    cmocka_unit_test(shuffling_reorders_every_epoch),
    cmocka_unit_test(evaluation_gives_the_figures_of_the_training),
    cmocka_unit_test(without_a_test_set_figures_are_null),
    cmocka_unit_test(without_a_rule_the_layers_are_watched),
    cmocka_unit_test(fno1d_trains_on_a_scalar_file),
    cmocka_unit_test(one_step_of_darcy_is_a_rollout_of_one),
    cmocka_unit_test(a_single_step_skips_the_frames_between),
    cmocka_unit_test(reduction_equals_a_smaller_file),
    cmocka_unit_test(t_train_beyond_the_file_is_cut_with_a_notice),
};
EK_TEST_MAIN(tests)
