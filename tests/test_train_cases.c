/* ranks: 1 2 3 */
/* Whole training runs against PyTorch's: the same data, initial weights and order of batches. */
#include "train_support.h"

typedef struct {
  const char *name, *balance; /* the deck's block; parameters of a rule as the case has them */
} Case;
static const Case cases[] = {
    {"fno2d_plain", "rule: none, min_eigs: 6"},
    {"fno2d_sigmoid", "rule: tb_sigmoid, s1: 1.0, s2: 0.5, min_eigs: 6"},
    {"fno1d_linear_map", "rule: tb_linear_map, lr_min_ratio: 0.5, lr_slope: 1.0, min_eigs: 6"},
};

/* Width and modes are in the shape of the first spectral tensor. */
static void NetworkSize(const char *source, int *width, int *modes)
{
  char          path[2 * EK_PATH];
  EkTensorInfo *table;
  float        *arena;
  int           n, found = 0;

  snprintf(path, sizeof(path), "%s/init.safetensors", source);
  EK_OK(EkWeightsReadAll(EkTestRun(), path, &n, &table, &arena));
  for (int i = 0; i < n; i++) {
    if (strcmp(table[i].name, "conv0.weights1")) continue;
    found = 1;
    *width = (int)table[i].shape[0];
    *modes = (int)table[i].shape[2];
  }
  assert_true(found);
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(arena));
}

static void Prepare(Job *job, const Case *c, const char *source, const char *base)
{
  cJSON    *d = FileJson(source, "deck.json");
  const int every = (int)JsonNumber(d, "reduced_batch");
  int       width = 0, modes = 0;

  NetworkSize(source, &width, &modes);
  JobCreate(job, EkTestRun()->comm, base, c->name,
            "data: {file: %s/data.hdf5, test: %g, train: %g, reduced_batch: %d, initial_step: %g, t_train: %g}\n"
            "model: {type: %s, width: %d, modes: %d, weights: %s/init.safetensors}\n"
            "train: {epochs: %g, batch: %g, lr: %.17g, weight_decay: %.17g, schedule: step, schedule_step: %g, schedule_gamma: "
            "%.17g, shuffle: no}\n"
            "balance: {%s}\n",
            source, JsonNumber(d, "n_test"), every * JsonNumber(d, "n_train"), every, JsonNumber(d, "initial_step"),
            JsonNumber(d, "t_train"), cJSON_GetObjectItem(d, "kind")->valuestring, width, modes, source, JsonNumber(d, "epochs"),
            JsonNumber(d, "batch"), JsonNumber(d, "lr"), JsonNumber(d, "weight_decay"), JsonNumber(d, "step"),
            JsonNumber(d, "gamma"), c->balance);
  cJSON_Delete(d);
}

static void Near(const char *what, int epoch, const char *layer, double value, double expected, double tolerance)
{
  if (!(fabs(value - expected) <= tolerance * fabs(expected)))
    fail_msg("%s, epoch %d %s: %.9g, expected %.9g", what, epoch, layer, value, expected);
}

static const cJSON *EpochOf(const cJSON *expected, int epoch)
{
  return epoch ? cJSON_GetArrayItem(cJSON_GetObjectItem(expected, "epochs"), epoch - 1)
               : cJSON_GetObjectItem(expected, "initial");
}

static void CheckEpochs(const Job *job, const cJSON *expected)
{
  const int epochs = cJSON_GetArraySize(cJSON_GetObjectItem(expected, "epochs"));
  Table     table;

  TableRead(&table, job->dir, "metrics.csv");
  assert_int_equal(table.rows, epochs + 1);
  for (int e = 1; e <= epochs; e++) {
    const double before = e > 1 ? JsonNumber(EpochOf(expected, e - 1), "base_lr") : (double)job->deck.optim.lr;

    assert_int_equal((int)TableNumber(&table, e, "epoch"), e);
    Near("loss", e, "", TableNumber(&table, e, "train_loss"), JsonNumber(EpochOf(expected, e), "loss"), 1e-4);
    /* expected.json has the rate of the next epoch, metrics.csv the one that was used */
    Near("base rate", e, "", TableNumber(&table, e, "base_lr"), before, 1e-6);
  }
  TableFree(&table);
}

static int FindRow(const Table *table, int epoch, const char *layer)
{
  for (int r = 1; r < table->rows; r++) {
    if (atoi(table->cell[r][0]) == epoch && !strcmp(table->cell[r][1], layer)) return r;
  }
  fail_msg("layers.csv: no row of epoch %d, layer %s", epoch, layer);
  return -1;
}

/* Rates follow from alphas: what a rate may be off is 1e-4 plus what the difference of the alphas makes of it. */
static void CheckRates(const Job *job, const Table *table, const cJSON *at, int epoch, double base)
{
  const cJSON *rate, *rates = cJSON_GetObjectItem(at, "lr");
  double       alpha[2][64], ratio[2][64];
  int          n = 0;

  cJSON_ArrayForEach(rate, rates)
  {
    alpha[0][n] = TableNumber(table, FindRow(table, epoch, rate->string), "alpha");
    alpha[1][n++] = JsonNumber(cJSON_GetObjectItem(at, "alpha"), rate->string);
  }
  if (!n) return;
  for (int k = 0; k < 2; k++) EK_OK(EkRatios(&job->deck.balance, n, alpha[k], ratio[k]));
  n = 0;
  cJSON_ArrayForEach(rate, rates)
  {
    const double expected = rate->valuedouble, allowed = 1e-4 + fabs(ratio[0][n] - ratio[1][n]) * base / expected;

    Near("rate", epoch, rate->string, TableNumber(table, FindRow(table, epoch, rate->string), "lr"), expected, allowed);
    n++;
  }
}

/* Layers with too few eigenvalues, or a run without a rule: the base rate. */
static void CheckUnbalanced(const Table *table, const cJSON *at, int epoch, double base)
{
  for (int r = 1; r < table->rows; r++) {
    if (atoi(table->cell[r][0]) != epoch || cJSON_HasObjectItem(cJSON_GetObjectItem(at, "lr"), table->cell[r][1])) continue;
    Near("rate of an unbalanced layer", epoch, table->cell[r][1], TableNumber(table, r, "lr"), base, 1e-6);
  }
}

static void CheckLayers(const Job *job, const cJSON *expected)
{
  const int    epochs = cJSON_GetArraySize(cJSON_GetObjectItem(expected, "epochs"));
  const cJSON *alpha;
  Table        table;

  TableRead(&table, job->dir, "layers.csv");
  for (int e = 0; e <= epochs; e++) {
    const cJSON *at = EpochOf(expected, e);
    const double base = e ? JsonNumber(at, "base_lr") : (double)job->deck.optim.lr;

    assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(at, "alpha")) > 0);
    cJSON_ArrayForEach(alpha, cJSON_GetObjectItem(at, "alpha")) Near(
        "alpha", e, alpha->string, TableNumber(&table, FindRow(&table, e, alpha->string), "alpha"), alpha->valuedouble, 1e-3);
    CheckRates(job, &table, at, e, base);
    CheckUnbalanced(&table, at, e, base);
  }
  TableFree(&table);
}

static void CheckFigures(const Job *job, const cJSON *expected)
{
  cJSON       *summary = FileJson(job->dir, "summary.json");
  const cJSON *published = cJSON_GetObjectItem(summary, "metrics_published"), *figure;

  assert_int_equal(cJSON_GetArraySize(published), 8);
  cJSON_ArrayForEach(figure, cJSON_GetObjectItem(expected, "metrics"))
  {
    if (cJSON_IsNull(figure))
      assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(published, figure->string)));
    else
      Near("figure", 0, figure->string, JsonNumber(published, figure->string), figure->valuedouble, 1e-3);
  }
  cJSON_Delete(summary);
}

static void Follow(const Case *c)
{
  char   source[EK_PATH], base[EK_PATH];
  cJSON *expected;
  Job    job;

  EkTestScratch(base);
  snprintf(source, sizeof(source), RUN_CASE("%s"), c->name);
  Prepare(&job, c, source, base);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(job.run.comm);
  expected = FileJson(source, "expected.json");
  CheckEpochs(&job, expected);
  CheckLayers(&job, expected);
  CheckFigures(&job, expected);
  AssertNearWeights(job.dir, "final.safetensors", source, "final.safetensors", 1e-3);
  cJSON_Delete(expected);
}

static void fno2d_without_a_rule_follows_pytorch(void **state)
{
  (void)state;
  Follow(&cases[0]);
}

static void fno2d_tb_sigmoid_follows_pytorch(void **state)
{
  (void)state;
  Follow(&cases[1]);
}

static void fno1d_tb_linear_map_follows_pytorch(void **state)
{
  (void)state;
  Follow(&cases[2]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fno2d_without_a_rule_follows_pytorch),
    cmocka_unit_test(fno2d_tb_sigmoid_follows_pytorch),
    cmocka_unit_test(fno1d_tb_linear_map_follows_pytorch),
};
EK_TEST_MAIN(tests)
