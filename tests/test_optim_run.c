/* ranks: 1 2 3 */
/* Trainings with each optimizer and schedule, SAM, accumulation and the relative loss: continued bitwise, the same on any number
   of ranks and however a batch is divided. */
#include "train_support.h"

/* 8 trajectories in batches of 3: three steps an epoch, the last one short. */
#define EPOCHS 2
#define STEPS  (3 * EPOCHS)
#define MODEL  "model: {type: fno2d, width: 4, modes: 3, transform: gemm}\n"
#define RULE   "balance: {min_eigs: 2}\n"
#define BLOCKS WAVES MODEL RULE "train: {epochs: 2, batch: 3, eval_interval: 1, checkpoint_interval: 1, "

typedef struct {
  const char *train, *mesh;
} Variant;
/* Every optimizer and every schedule that moves with the steps. */
static const Variant variant[] = {
    {"optimizer: adam, lr: 5e-3, schedule: one_cycle, accumulate: 2, clip: 0.3", "none"},
    {"optimizer: adam_pytorch, lr: 5e-3, schedule: cosine, warmup: 0.5, sam: 0.05", "optimizer"},
    {"optimizer: adamw, lr: 5e-3, schedule: linear_warmup, warmup: 1, loss: rel_l2", "optimizer"},
    {"optimizer: sgd, lr: 1e-2, schedule: one_cycle, sam: 0.1, sam_adaptive: yes, accumulate: 3", "none"},
    {"optimizer: adafactor, lr: 5e-3, schedule_step: 1", "none"},
};
#define VARIANTS ((int)(sizeof(variant) / sizeof(variant[0])))

static void Scratch(char base[EK_PATH])
{
  EkTestScratch(base);
  MakeWaves(base);
}

static void Create(Job *job, MPI_Comm comm, const char *base, const char *name, const char *train, const char *shard)
{
  JobCreate(job, comm, base, name, BLOCKS "%s}\nmesh: {shard: %s}\n", train, shard);
}

/* Its final weights are in base/name. */
static void Train(const char *base, const char *name, const char *train, const char *shard)
{
  Job job;

  Create(&job, EkTestRun()->comm, base, name, train, shard);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
}

static void Directory(const char *base, const char *name, char dir[EK_PATH])
{
  snprintf(dir, EK_PATH, "%.900s/%s", base, name);
}

static void AssertNear(const char *base, const char *name, const char *other, double tolerance)
{
  char dir[2][EK_PATH];

  Directory(base, name, dir[0]);
  Directory(base, other, dir[1]);
  AssertNearWeights(dir[0], "final.safetensors", dir[1], "final.safetensors", tolerance);
}

/* ---- restart ------------------------------------------------------------------------------------------------------ */

static void a_step_a_sitting_equals_one_sitting(void **state)
{
  char base[EK_PATH], name[32];
  Job  whole, parts;

  (void)state;
  Scratch(base);
  for (int i = 0; i < VARIANTS; i++) {
    snprintf(name, sizeof(name), "whole%d", i);
    Create(&whole, EkTestRun()->comm, base, name, variant[i].train, variant[i].mesh);
    assert_int_equal(JobTrain(&whole), 0);
    snprintf(name, sizeof(name), "parts%d", i);
    Create(&parts, EkTestRun()->comm, base, name, variant[i].train, variant[i].mesh);
    assert_int_equal(JobTrainByStep(&parts, 2 * STEPS), STEPS);
    MPI_Barrier(EkTestRun()->comm);
    AssertSameBytes(whole.dir, parts.dir, "final.safetensors");
    AssertSameTable(whole.dir, parts.dir, "metrics.csv");
    AssertSameTable(whole.dir, parts.dir, "layers.csv");
  }
}

static void a_checkpoint_of_another_optimizer_is_refused(void **state)
{
  char base[EK_PATH];
  Job  job, other;
  int  status;

  (void)state;
  Scratch(base);
  Create(&job, EkTestRun()->comm, base, "job", "optimizer: adam", "none");
  assert_int_equal(JobTrainByStep(&job, 1), 1);
  Create(&other, EkTestRun()->comm, base, "other", "optimizer: adamw", "none");
  EK_OK(PetscSNPrintf(other.deck.train.resume, EK_PATH, "%s/checkpoint.h5", job.dir));
  EK_FAILS(JobTry(&other, &status), "is of optimizer adam, the deck asks for adamw");
}

/* ---- ranks ---------------------------------------------------------------------------------------------------------- */

static void weights_do_not_depend_on_ranks(void **state)
{
  char base[EK_PATH], name[2][32];
  Job  alone;

  (void)state;
  Scratch(base);
  for (int i = 0; i < VARIANTS; i++) {
    snprintf(name[0], sizeof(name[0]), "all%d", i);
    snprintf(name[1], sizeof(name[1]), "alone%d", i);
    Train(base, name[0], variant[i].train, variant[i].mesh);
    if (EkTestRun()->rank == 0) {
      Create(&alone, MPI_COMM_SELF, base, name[1], variant[i].train, variant[i].mesh);
      assert_int_equal(JobTrain(&alone), 0);
    }
    MPI_Barrier(EkTestRun()->comm);
    AssertNear(base, name[0], name[1], 2e-4);
  }
}

/* Sums of two floats do not depend on their order. */
static void sharding_changes_nothing(void **state)
{
  char base[EK_PATH], name[2][32], dir[2][EK_PATH];

  (void)state;
  Scratch(base);
  for (int i = 0; i < 4; i++) { /* adafactor cannot be sharded */
    for (int k = 0; k < 2; k++) {
      snprintf(name[k], sizeof(name[k]), "%s%d", k ? "sharded" : "whole", i);
      Directory(base, name[k], dir[k]);
      Train(base, name[k], variant[i].train, k ? "optimizer" : "none");
    }
    if (EkTestRun()->size <= 2) AssertSameBytes(dir[0], dir[1], "final.safetensors");
    AssertNear(base, name[0], name[1], 1e-4);
  }
}

/* ---- what a step does ------------------------------------------------------------------------------------------------- */

static void parts_of_a_batch_add_up_to_it(void **state)
{
  static const char *const train[] = {"lr: 5e-3", "lr: 5e-3, accumulate: 2", "lr: 5e-3, accumulate: 3"};
  static const char *const name[] = {"one", "two", "three"};
  char                     base[EK_PATH];

  (void)state;
  Scratch(base);
  for (int i = 0; i < 3; i++)
    Train(base, name[i], train[i], "none"); /* the last batch has two trajectories: one of three parts is empty */
  AssertNear(base, "two", "one", 1e-4);
  AssertNear(base, "three", "one", 1e-4);
  Train(base, "sharp", "lr: 5e-3, sam: 0.3", "none");
  Train(base, "sharp_two", "lr: 5e-3, sam: 0.3, accumulate: 2", "none");
  AssertNear(base, "sharp_two", "sharp", 1e-4);
}

static void sam_looks_elsewhere_and_comes_back(void **state)
{
  char  base[EK_PATH], dir[2][EK_PATH];
  Table plain, sharp;

  (void)state;
  Scratch(base);
  Train(base, "plain", "lr: 1e-12, weight_decay: 0", "none");
  Train(base, "sharp", "lr: 1e-12, weight_decay: 0, sam: 0.3", "none");
  Train(base, "moved", "lr: 5e-3", "none");
  Train(base, "moved_sharp", "lr: 5e-3, sam: 0.3", "none");
  Directory(base, "plain", dir[0]);
  Directory(base, "sharp", dir[1]);
  /* without steps of any size the weights are where they were, and so is the loss */
  AssertNear(base, "sharp", "plain", 1e-7);
  TableRead(&plain, dir[0], "metrics.csv");
  TableRead(&sharp, dir[1], "metrics.csv");
  for (int e = 1; e <= EPOCHS; e++)
    assert_true(fabs(TableNumber(&plain, e, "train_loss") / TableNumber(&sharp, e, "train_loss") - 1) < 1e-6);
  TableFree(&plain);
  TableFree(&sharp);
  /* with them it leads elsewhere */
  Directory(base, "moved", dir[0]);
  Directory(base, "moved_sharp", dir[1]);
  TableRead(&plain, dir[0], "metrics.csv");
  TableRead(&sharp, dir[1], "metrics.csv");
  assert_true(fabs(TableNumber(&plain, EPOCHS, "train_loss") / TableNumber(&sharp, EPOCHS, "train_loss") - 1) > 1e-3);
  TableFree(&plain);
  TableFree(&sharp);
}

/* Of weights that stay where they are: those of `weights`, or drawn where it is empty. */
static double FirstLoss(const char *base, const char *name, const char *loss, int batch, const char *weights)
{
  double value;
  Table  table;
  Job    job;

  JobCreate(&job, EkTestRun()->comm, base, name,
            WAVES MODEL RULE "train: {epochs: 1, batch: %d, lr: 1e-12, loss: %s, shuffle: no}\n", batch, loss);
  EK_OK(PetscStrncpy(job.deck.model.weights, weights, EK_PATH));
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  TableRead(&table, job.dir, "metrics.csv");
  value = TableNumber(&table, 1, "train_loss");
  TableFree(&table);
  return value;
}

/* The weights of base/NAME, all zero: a network that predicts nothing. */
static void WriteZeros(const char *base, const char *name, char path[EK_PATH])
{
  EkTensorInfo *table;
  float        *arena;
  int           n;

  snprintf(path, EK_PATH, "%.900s/%s/final.safetensors", base, name);
  EK_OK(EkWeightsReadAll(EkTestRun(), path, &n, &table, &arena));
  for (int i = 0; i < n; i++) memset(arena + table[i].offset, 0, table[i].count * sizeof(float));
  snprintf(path, EK_PATH, "%.900s/zeros.safetensors", base);
  EK_OK(EkWeightsWrite(EkTestRun(), path, n, table, arena));
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(arena));
}

/* A mean does not know the batch, a sum grows with it; a prediction of nothing is off by all there is: 1 for each of two steps of
 * eight trajectories. */
static void relative_loss_is_a_sum_over_the_batch(void **state)
{
  char   base[EK_PATH], zeros[EK_PATH];
  double four, eight;

  (void)state;
  Scratch(base);
  four = FirstLoss(base, "mse4", "mse", 4, "");
  eight = FirstLoss(base, "mse8", "mse", 8, "");
  assert_true(fabs(eight / four - 1) < 1e-5);
  four = FirstLoss(base, "rel4", "rel_l2", 4, "");
  eight = FirstLoss(base, "rel8", "rel_l2", 8, "");
  assert_true(fabs(eight / four - 2) < 1e-5);
  WriteZeros(base, "rel8", zeros);
  assert_true(fabs(FirstLoss(base, "nothing", "rel_l2", 8, zeros) - 16) < 1e-5);
}

/* base_lr is the rate of the epoch's last step; a layer's, that of the first step of the next epoch. */
static void tables_have_the_rates_of_their_steps(void **state)
{
  char  base[EK_PATH];
  Table table;
  Job   job;

  (void)state;
  Scratch(base);
  JobCreate(&job, EkTestRun()->comm, base, "job",
            WAVES MODEL "balance: {rule: none, min_eigs: 2}\n"
                        "train: {epochs: 2, batch: 3, lr: 1e-3, schedule: cosine}\n");
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  TableRead(&table, job.dir, "metrics.csv");
  for (int e = 1; e <= EPOCHS; e++)
    assert_true(fabs(TableNumber(&table, e, "base_lr") - 5e-4 * (1 + cos(M_PI * (3 * e - 1) / STEPS))) < 1e-12);
  TableFree(&table);
  TableRead(&table, job.dir, "layers.csv");
  for (int r = 1; r < table.rows; r++) {
    const double e = TableNumber(&table, r, "epoch"), step = fmin(3 * e, STEPS - 1);

    assert_true(fabs(TableNumber(&table, r, "lr") - 5e-4 * (1 + cos(M_PI * step / STEPS))) < 1e-12);
  }
  TableFree(&table);
}

/* ---- decks --------------------------------------------------------------------------------------------------------------- */

/* One line with the words. */
static void Refused(const char *base, const char *train, const char *shard, const char *words)
{
  struct EkRun_ run = *EkTestRun();
  char          path[2 * EK_PATH], *argv[3] = {(char *)"train", path, NULL};
  EkDeck        deck;
  int           kept, file;

  snprintf(path, sizeof(path), "%s/bad.yaml", base);
  if (run.rank == 0) {
    FILE *text = fopen(path, "w");

    fprintf(text, BLOCKS "%s}\nmesh: {shard: %s}\nout: {dir: %s/bad}\n", train, shard, base);
    fclose(text);
  }
  MPI_Barrier(run.comm);
  run.argc = 2;
  run.argv = argv;
  EK_OK(PetscOptionsCreate(&run.options));
  fflush(stderr);
  kept = dup(STDERR_FILENO);
  snprintf(path, sizeof(path), "%s/bad.err%d", base, run.rank);
  file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  dup2(file, STDERR_FILENO);
  snprintf(path, sizeof(path), "%s/bad.yaml", base);
  assert_true(EkDeckRead(&run, &deck) != 0);
  fflush(stderr);
  dup2(kept, STDERR_FILENO);
  close(kept);
  close(file);
  EK_OK(PetscOptionsDestroy(&run.options));
  if (run.rank == 0) {
    char *text = FileText(base, "bad.err0", NULL);

    if (!strstr(text, words) || strchr(text, '\n') != strrchr(text, '\n')) fail_msg("not one line with '%s': %s", words, text);
    free(text);
  }
  MPI_Barrier(run.comm);
}

static void decks_that_do_not_fit_are_refused(void **state)
{
  char base[EK_PATH];

  (void)state;
  Scratch(base);
  Refused(base, "optimizer: adafactor", "optimizer", "mesh_shard: adafactor needs tensors whole");
  Refused(base, "accumulate: 4", "none", "train_accumulate: a train_batch of 3 has no 4 parts");
  Refused(base, "schedule: cosine, warmup: 2", "none", "train_warmup: ");
  Refused(base, "optimizer: sgd, eps: 1e-8", "none", "train_eps: sgd with schedule step has no use for it");
}

/* resolved.yaml has what was meant and loads again to the same run. */
static void a_resolved_deck_makes_the_same_run(void **state)
{
  char  base[EK_PATH], path[3 * EK_PATH];
  char *argv[3] = {(char *)"train", path, NULL};
  Job   job, again;

  (void)state;
  Scratch(base);
  for (int i = 0; i < VARIANTS; i++) {
    char name[32];

    snprintf(name, sizeof(name), "job%d", i);
    Create(&job, EkTestRun()->comm, base, name, variant[i].train, variant[i].mesh);
    assert_int_equal(JobTrain(&job), 0);
    MPI_Barrier(EkTestRun()->comm);
    assert_int_equal(FileHas(job.dir, "resolved.yaml", "beta1"), i == 1 || i == 2);
    assert_int_equal(FileHas(job.dir, "resolved.yaml", "cycle_momentum"), i == 0 || i == 3);
    snprintf(path, sizeof(path), "%s/resolved.yaml", job.dir);
    again = job;
    again.run.argv = argv;
    EK_OK(PetscOptionsCreate(&again.run.options));
    EK_OK(EkDeckRead(&again.run, &again.deck));
    EK_OK(PetscOptionsDestroy(&again.run.options));
    again.run.argv = NULL;
    snprintf(again.dir, EK_PATH, "%.900s/again%d", base, i);
    EK_OK(PetscStrncpy(again.deck.out.dir, again.dir, EK_PATH));
    assert_int_equal(JobTrain(&again), 0);
    MPI_Barrier(EkTestRun()->comm);
    AssertSameBytes(job.dir, again.dir, "final.safetensors");
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_a_sitting_equals_one_sitting),   cmocka_unit_test(a_checkpoint_of_another_optimizer_is_refused),
    cmocka_unit_test(weights_do_not_depend_on_ranks),        cmocka_unit_test(sharding_changes_nothing),
    cmocka_unit_test(parts_of_a_batch_add_up_to_it),         cmocka_unit_test(sam_looks_elsewhere_and_comes_back),
    cmocka_unit_test(relative_loss_is_a_sum_over_the_batch), cmocka_unit_test(tables_have_the_rates_of_their_steps),
    cmocka_unit_test(decks_that_do_not_fit_are_refused),     cmocka_unit_test(a_resolved_deck_makes_the_same_run),
};
EK_TEST_MAIN(tests)
