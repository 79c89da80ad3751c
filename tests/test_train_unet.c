/* ranks: 1 2 3 */
/* Training a model whose samples meet in BatchNorm: the ranks' number does not show, not even where some have no sample; stopping
   does not show; what is written is what PyTorch's files hold. */
#include "train_support.h"

#define MODEL "model: {type: unet2d, features: 3}\n"
#define RULE  "balance: {min_eigs: 2}\n"

/* BASE/waves.h5: 7 trajectories of 5 frames. Four halvings leave 2 x 4 points: with two, a BatchNorm over a single sample would
   make differences of rounding as large as the values. */
#define NX 32
#define NY 64
static void MakeSea(const char *base)
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy"};
  const hsize_t            dims[4] = {7, 5, NX, NY};
  const int                points = NX * NY;
  float                   *values = malloc((size_t)(7 * 5 * points) * sizeof(float)), axis[NY];
  char                     path[2 * EK_PATH];

  snprintf(path, sizeof(path), "%s/waves.h5", base);
  if (EkTestRun()->rank == 0) {
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    assert_true(file >= 0);
    for (int f = 0; f < 4; f++) {
      for (int i = 0; i < 7 * 5 * points; i++)
        values[i] = Wave(f, i / points / 5, i / points % 5, i % points / NY / (double)NX, i % NY / (double)NY);
      PutValues(file, field[f], 4, dims, values);
    }
    for (int i = 0; i < NY; i++) axis[i] = (float)i / NY;
    PutValues(file, "x-coordinate", 1, dims + 2, axis);
    PutValues(file, "y-coordinate", 1, dims + 3, axis);
    assert_true(H5Fclose(file) >= 0);
  }
  free(values);
  MPI_Barrier(EkTestRun()->comm);
}

static void Scratch(char base[EK_PATH])
{
  EkTestScratch(base);
  MakeSea(base);
}

/* 5 trajectories to train on, two steps each: batches of 2, 2 and 1. */
#define SEA   "data: {file: waves, test: 2, train: 5, initial_step: 2, t_train: 4}\n"
#define TRAIN "train: {epochs: 2, batch: 2, lr: 1e-3, eval_interval: 1}\n"

/* The deck on every rank there is, then on rank 0 alone. */
static void AssertInvariant(const char *base, const char *name, const char *deck)
{
  char  alone[64];
  Job   job, one;
  Table mine, other;

  JobCreate(&job, EkTestRun()->comm, base, name, "%s", deck);
  assert_int_equal(JobTrain(&job), 0);
  snprintf(alone, sizeof(alone), "%s_alone", name);
  snprintf(one.dir, EK_PATH, "%s/%s", base, alone);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    JobCreate(&one, MPI_COMM_SELF, base, alone, "%s", deck);
    assert_int_equal(JobTrain(&one), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
  TableRead(&mine, job.dir, "metrics.csv");
  TableRead(&other, one.dir, "metrics.csv");
  assert_int_equal(mine.rows, 3);
  for (int e = 1; e < 3; e++) {
    assert_true(fabs(TableNumber(&mine, e, "train_loss") / TableNumber(&other, e, "train_loss") - 1) < 1e-5);
    assert_true(fabs(TableNumber(&mine, e, "RMSE") / TableNumber(&other, e, "RMSE") - 1) < 1e-5);
  }
  TableFree(&mine);
  TableFree(&other);
  MPI_Barrier(EkTestRun()->comm);
}

static void losses_do_not_depend_on_ranks(void **state)
{
  char base[EK_PATH];

  (void)state;
  Scratch(base);
  AssertInvariant(base, "plain", SEA MODEL TRAIN RULE);
  AssertInvariant(base, "sharded", SEA MODEL TRAIN RULE "mesh: {shard: optimizer}\n");
}

static void a_step_a_sitting_equals_one_sitting(void **state)
{
  char base[EK_PATH];
  Job  whole, parts;

  (void)state;
  Scratch(base);
  JobCreate(&whole, EkTestRun()->comm, base, "whole", SEA MODEL TRAIN RULE);
  assert_int_equal(JobTrain(&whole), 0);
  JobCreate(&parts, EkTestRun()->comm, base, "parts", SEA MODEL TRAIN RULE);
  assert_int_equal(JobTrainByStep(&parts, 12), 6);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(whole.dir, parts.dir, "final.safetensors");
  AssertSameTable(whole.dir, parts.dir, "metrics.csv");
}

/* Every rollout step of every batch is one application: 2 epochs, 3 batches, 2 steps. */
static void counters_are_written_as_pytorch_does(void **state)
{
  const char    name[] = "bottleneck.bottlenecknorm1.num_batches_tracked";
  EkTensorInfo *table;
  float        *arena;
  char          base[EK_PATH], path[2 * EK_PATH];
  int           n, found = 0;
  Job           job;

  (void)state;
  Scratch(base);
  JobCreate(&job, EkTestRun()->comm, base, "job", SEA MODEL TRAIN RULE);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  for (int k = 0; k < 2; k++) {
    snprintf(path, sizeof(path), "%s/%s", job.dir, k ? "checkpoint.h5" : "final.safetensors");
    EK_OK(EkWeightsReadAll(EkTestRun(), path, &n, &table, &arena));
    assert_int_equal(n, 118);
    for (int i = 0; i < n; i++) {
      if (strcmp(table[i].name, name)) continue;
      found++;
      assert_true(table[i].is_counter && arena[table[i].offset] == 12);
    }
    EK_OK(PetscFree(table));
    EK_OK(PetscFree(arena));
  }
  assert_int_equal(found, 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(losses_do_not_depend_on_ranks),
    cmocka_unit_test(a_step_a_sitting_equals_one_sitting),
    cmocka_unit_test(counters_are_written_as_pytorch_does),
};
EK_TEST_MAIN(tests)
