/* ranks: 1 2 3 */
/* Stopping and continuing: nothing of it may show in what a run leaves. */
#include "train_support.h"

/* 8 trajectories in batches of 3: three steps an epoch, the last one short. */
#define EPOCHS 3
#define STEPS  (3 * EPOCHS)
#define MODEL  "model: {type: fno2d, width: 4, modes: 3, transform: gemm}\n"
#define TRAIN  "epochs: 3, batch: 3, lr: 5e-3, schedule_step: 1, eval_interval: 2, checkpoint_interval: 1"

typedef struct {
  const char *model, *train, *balance, *mesh;
} Variant;
static const Variant plain = {MODEL, TRAIN, "min_eigs: 2", "shard: none"};

static void Scratch(char base[EK_PATH])
{
  EkTestScratch(base);
  MakeWaves(base);
}

static void Create(Job *job, MPI_Comm comm, const char *base, const char *name, const Variant *v)
{
  JobCreate(job, comm, base, name, WAVES "%strain: {%s}\nbalance: {%s}\nmesh: {%s}\n", v->model, v->train, v->balance, v->mesh);
}

static void Resume(Job *job, const char *from)
{
  EK_OK(PetscStrncpy(job->deck.train.resume, from, EK_PATH));
}

static void AssertSameRun(const Job *job, const Job *other)
{
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(job->dir, other->dir, "final.safetensors");
  AssertSameTable(job->dir, other->dir, "metrics.csv");
  AssertSameTable(job->dir, other->dir, "layers.csv");
}

/* An uninterrupted run and one of a step a sitting; a stop after the last step of an epoch comes before its evaluation. */
static void Compare(const char *base, const Variant *v)
{
  Job whole, parts;

  Create(&whole, EkTestRun()->comm, base, "whole", v);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&parts, EkTestRun()->comm, base, "parts", v);
  assert_int_equal(JobTrainByStep(&parts, 2 * STEPS), STEPS); /* the last sitting ends the last epoch */
  AssertSameRun(&whole, &parts);
}

static void a_step_a_sitting_equals_one_sitting(void **state)
{
  char base[EK_PATH];

  (void)state;
  Scratch(base);
  Compare(base, &plain);
}

static void so_with_sharded_optimizer_and_clipping(void **state)
{
  const Variant clipped = {MODEL, TRAIN ", clip: 0.5", "min_eigs: 2", "shard: optimizer"},
                scattered = {MODEL, TRAIN, "min_eigs: 2", "shard: optimizer"};
  char base[EK_PATH];

  (void)state;
  Scratch(base);
  Compare(base, &clipped);
  Scratch(base);
  Compare(base, &scattered);
}

static void so_with_rare_balancing_and_fixed_alphas(void **state)
{
  const Variant rare = {MODEL, TRAIN, "rule: tb_linear_map, min_eigs: 2, interval: 2, fixed: yes", "shard: none"};
  const Variant all = {MODEL, TRAIN, "rule: tb_exp, min_eigs: 2, interval: 2, layers: all", "shard: optimizer"};
  char          base[EK_PATH];

  (void)state;
  Scratch(base);
  Compare(base, &rare);
  Scratch(base);
  Compare(base, &all);
}

static void so_without_shuffling_and_without_a_rule(void **state)
{
  const Variant fft = {"model: {type: fno2d, width: 4, modes: 3, transform: fft}\n", TRAIN ", shuffle: no, seed: 7", "rule: none",
                       "shard: none"};
  char          base[EK_PATH];

  (void)state;
  Scratch(base);
  Compare(base, &fft);
}

/* A run that was done, made longer: into another directory, which gets the rows that are new. */
static void a_path_continues_into_another_directory(void **state)
{
  char  base[EK_PATH], path[2 * EK_PATH];
  Job   whole, start, rest;
  Table table;

  (void)state;
  Scratch(base);
  Create(&whole, EkTestRun()->comm, base, "whole", &plain);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&start, EkTestRun()->comm, base, "start", &plain);
  start.deck.train.epochs = 2;
  assert_int_equal(JobTrain(&start), 0);
  Create(&rest, EkTestRun()->comm, base, "rest", &plain);
  snprintf(path, sizeof(path), "%s/checkpoint.h5", start.dir);
  Resume(&rest, path);
  assert_int_equal(JobTrain(&rest), 0);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(whole.dir, rest.dir, "final.safetensors");
  TableRead(&table, rest.dir, "metrics.csv");
  assert_int_equal(table.rows, 2);
  assert_int_equal((int)TableNumber(&table, 1, "epoch"), EPOCHS);
  TableFree(&table);
}

/* Five steps on all ranks, the rest on the first `ranks` of them: the same up to rounding. */
static void ContinueOn(const char *base, int ranks, const char *name, const Job *stopped, const Job *whole)
{
  const PetscBool in = (PetscBool)(EkTestRun()->rank < ranks);
  char            path[2 * EK_PATH];
  MPI_Comm        comm;
  Table           one, two;
  Job             job;

  MPI_Comm_split(EkTestRun()->comm, in, EkTestRun()->rank, &comm);
  snprintf(path, sizeof(path), "%s/checkpoint.h5", stopped->dir);
  if (in) {
    const Variant other = {MODEL, TRAIN, "min_eigs: 2", ranks % 2 ? "shard: optimizer" : "shard: none"};

    Create(&job, comm, base, name, &other);
    Resume(&job, path);
    assert_int_equal(JobTrain(&job), 0);
    TableRead(&one, whole->dir, "metrics.csv");
    TableRead(&two, job.dir, "metrics.csv");
    assert_int_equal(two.rows, EPOCHS); /* the first epoch is in the other directory */
    for (int e = 2; e <= EPOCHS; e++) {
      const double a = TableNumber(&one, e, "train_loss"), b = TableNumber(&two, e - 1, "train_loss");

      if (!(fabs(a / b - 1) < 1e-5)) fail_msg("epoch %d: loss %g, on %d ranks from step 5 on %g", e, a, ranks, b);
    }
    TableFree(&one);
    TableFree(&two);
  }
  MPI_Comm_free(&comm);
  MPI_Barrier(EkTestRun()->comm);
}

static void another_number_of_ranks_continues(void **state)
{
  const Variant sharded = {MODEL, TRAIN, "min_eigs: 2", "shard: optimizer"};
  char          base[EK_PATH], name[32];
  Job           whole, stopped;

  (void)state;
  Scratch(base);
  Create(&whole, EkTestRun()->comm, base, "whole", &plain);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&stopped, EkTestRun()->comm, base, "stopped", &sharded);
  assert_int_equal(JobTrainByStep(&stopped, 5), 5);
  MPI_Barrier(EkTestRun()->comm);
  for (int ranks = 1; ranks <= EkTestRun()->size; ranks++) {
    snprintf(name, sizeof(name), "on%d", ranks);
    ContinueOn(base, ranks, name, &stopped, &whole);
  }
}

/* What was measured once is kept: a deck that says auto goes on with the transform of the checkpoint. */
static void transform_of_the_checkpoint_is_kept(void **state)
{
  static const char *const form[] = {"fft", "gemm"};
  char                     base[EK_PATH], model[128], line[64], name[32];

  (void)state;
  Scratch(base);
  for (int i = 0; i < 2; i++) {
    const Variant given = {model, TRAIN, "min_eigs: 2", "shard: none"};
    Job           job;

    snprintf(model, sizeof(model), "model: {type: fno2d, width: 4, modes: 3, transform: %s}\n", form[i]);
    snprintf(name, sizeof(name), "run_%s", form[i]);
    Create(&job, EkTestRun()->comm, base, name, &given);
    assert_int_equal(JobTrainByStep(&job, 1), 1);
    job.deck.model.transform = EK_CHOOSE_AUTO;
    assert_int_equal(JobTrainByStep(&job, 1), 1);
    MPI_Barrier(EkTestRun()->comm);
    snprintf(line, sizeof(line), "transform: %s", form[i]);
    assert_true(FileHas(job.dir, "resolved.yaml", line));
  }
}

/* ---- damaged and foreign checkpoints ------------------------------------------------------------------------- */

/* rank 0 cuts the file to a half */
static void Cut(const Job *job, const char *name)
{
  char        path[2 * EK_PATH];
  struct stat status;

  MPI_Barrier(EkTestRun()->comm);
  snprintf(path, sizeof(path), "%s/%s", job->dir, name);
  if (EkTestRun()->rank == 0) assert_true(!stat(path, &status) && !truncate(path, status.st_size / 2));
  MPI_Barrier(EkTestRun()->comm);
}

static void Append(const Job *job, const char *name, const char *text)
{
  char path[2 * EK_PATH];

  MPI_Barrier(EkTestRun()->comm);
  snprintf(path, sizeof(path), "%s/%s", job->dir, name);
  if (EkTestRun()->rank == 0) {
    FILE *file = fopen(path, "a");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void a_cut_checkpoint_falls_back_on_the_one_before(void **state)
{
  char base[EK_PATH], log[EK_PATH];
  Job  whole, job;
  int  status;

  (void)state;
  Scratch(base);
  Create(&whole, EkTestRun()->comm, base, "whole", &plain);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&job, EkTestRun()->comm, base, "job", &plain);
  assert_int_equal(JobTrain(&job), 0);
  Cut(&job, "checkpoint.h5");
  Resume(&job, "auto");
  assert_int_equal(JobTrain(&job), 0);
  AssertSameRun(&whole, &job);
  assert_true(FileHas(base, "job.log", "checkpoint.h5"));
  snprintf(log, sizeof(log), "continuing from '%.900s/checkpoint_prev.h5'", job.dir);
  assert_true(FileHas(base, "job.log", log));
  assert_true(FileHas(base, "job.log", "resumed after epoch 2, batch 0 of 3"));
  Cut(&job, "checkpoint.h5");
  Cut(&job, "checkpoint_prev.h5");
  EK_FAILS(JobTry(&job, &status), "checkpoint_prev.h5");
}

/* What a killed run leaves after its checkpoint goes: rows, a row cut short, groups of spectra. */
static void what_lies_after_the_checkpoint_goes(void **state)
{
  char  base[EK_PATH], path[2 * EK_PATH];
  Job   whole, job;
  hid_t file;

  (void)state;
  Scratch(base);
  Create(&whole, EkTestRun()->comm, base, "whole", &plain);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&job, EkTestRun()->comm, base, "job", &plain);
  job.deck.train.epochs = EPOCHS + 2;
  job.deck.train.checkpoint_interval = 0;
  Resume(&job, "auto");
  job.deck.train.max_wall = 1e-9;
  for (int i = 0; i < 4; i++) assert_int_equal(JobTrain(&job), EK_EXIT_STOPPED);
  snprintf(path, sizeof(path), "%s/../keep.h5", job.dir);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) { /* a checkpoint of step 4, under a run that came to the end of epoch 5 */
    char command[6 * EK_PATH];

    snprintf(command, sizeof(command), "cp '%s/checkpoint.h5' '%s'", job.dir, path);
    assert_int_equal(system(command), 0);
  }
  job.deck.train.max_wall = 0;
  assert_int_equal(JobTrain(&job), 0);
  Append(&job, "metrics.csv", "1,0.25");
  MPI_Barrier(EkTestRun()->comm);
  Resume(&job, path);
  job.deck.train.epochs = EPOCHS;
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(whole.dir, job.dir, "final.safetensors");
  AssertSameTable(whole.dir, job.dir, "metrics.csv");
  AssertSameTable(whole.dir, job.dir, "layers.csv");
  snprintf(path, sizeof(path), "%s/spectra.h5", job.dir);
  file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(file >= 0);
  for (int e = 0; e <= EPOCHS + 2; e++) {
    char name[32];

    snprintf(name, sizeof(name), "epoch_%05d", e);
    assert_int_equal(H5Lexists(file, name, H5P_DEFAULT) > 0, e <= EPOCHS);
  }
  H5Fclose(file);
  MPI_Barrier(EkTestRun()->comm);
}

static void a_checkpoint_of_something_else_is_refused(void **state)
{
  const Variant wide = {"model: {type: fno2d, width: 6, modes: 3, transform: gemm}\n", TRAIN, "min_eigs: 2", "shard: none"};
  const Variant seed = {MODEL, TRAIN ", seed: 5", "min_eigs: 2", "shard: none"},
                all = {MODEL, TRAIN, "min_eigs: 2, layers: all", "shard: none"};
  const Variant *variant[] = {&wide, &seed, &all};
  const char    *words[] = {"fc0.weight", "seed", "analysed_layers"};
  char           base[EK_PATH], path[2 * EK_PATH], name[32];
  Job            job, other;
  int            status;

  (void)state;
  Scratch(base);
  Create(&job, EkTestRun()->comm, base, "job", &plain);
  assert_int_equal(JobTrainByStep(&job, 1), 1);
  snprintf(path, sizeof(path), "%s/checkpoint.h5", job.dir);
  for (int i = 0; i < 3; i++) {
    snprintf(name, sizeof(name), "other%d", i);
    Create(&other, EkTestRun()->comm, base, name, variant[i]);
    Resume(&other, path);
    EK_FAILS(JobTry(&other, &status), words[i]);
  }
  Create(&other, EkTestRun()->comm, base, "batch", &plain);
  other.deck.train.batch = 4;
  Resume(&other, path);
  EK_FAILS(JobTry(&other, &status), "train_batch");
  other.deck.train.batch = 3;
  Resume(&other, RUN_CASE("fno2d_plain") "/data.hdf5");
  EK_FAILS(JobTry(&other, &status), "not a checkpoint");
}

/* ---- directories ---------------------------------------------------------------------------------------------- */

static void a_directory_that_holds_a_run_is_refused(void **state)
{
  char base[EK_PATH];
  Job  job;
  int  status;

  (void)state;
  Scratch(base);
  Create(&job, EkTestRun()->comm, base, "job", &plain);
  Resume(&job, "auto"); /* fresh: starts */
  job.deck.train.epochs = 1;
  assert_int_equal(JobTrain(&job), 0);
  Resume(&job, "no");
  EK_FAILS(JobTry(&job, &status), "holds a run already");
  Resume(&job, "auto"); /* done: nothing is left to do, and the figures are there again */
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  {
    cJSON *summary = FileJson(job.dir, "summary.json");

    assert_true(JsonNumber(cJSON_GetObjectItem(summary, "metrics"), "nRMSE") > 0);
    cJSON_Delete(summary);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_a_sitting_equals_one_sitting),     cmocka_unit_test(so_with_sharded_optimizer_and_clipping),
    cmocka_unit_test(so_with_rare_balancing_and_fixed_alphas), cmocka_unit_test(so_without_shuffling_and_without_a_rule),
    cmocka_unit_test(a_path_continues_into_another_directory), cmocka_unit_test(another_number_of_ranks_continues),
    cmocka_unit_test(transform_of_the_checkpoint_is_kept),     cmocka_unit_test(a_cut_checkpoint_falls_back_on_the_one_before),
    cmocka_unit_test(what_lies_after_the_checkpoint_goes),     cmocka_unit_test(a_checkpoint_of_something_else_is_refused),
    cmocka_unit_test(a_directory_that_holds_a_run_is_refused),
};
EK_TEST_MAIN(tests)
