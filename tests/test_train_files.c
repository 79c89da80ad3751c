/* ranks: 1 3 */
/* What a run's files say of it: the fit of every spectrum, durations over all sittings. */
#include "train_support.h"
#include "evenkeel/checkpoint.h"

/* 8 trajectories in batches of 3: three steps an epoch. */
#define EPOCHS 3

__attribute__((format(printf, 4, 5))) static void Create(Job *job, const char *base, const char *name, const char *format, ...)
{
  char    balance[256];
  va_list arguments;

  va_start(arguments, format);
  vsnprintf(balance, sizeof(balance), format, arguments);
  va_end(arguments);
  JobCreate(job, EkTestRun()->comm, base, name,
            WAVES "model: {type: fno2d, width: 6, modes: 3, transform: gemm}\n"
                  "train: {epochs: %d, batch: 3, lr: 5e-3, eval_interval: 0, checkpoint_interval: 0}\nbalance: {%s}\n",
            EPOCHS, balance);
}

static void Train(Job *job)
{
  assert_int_equal(JobTrain(job), 0);
  MPI_Barrier(EkTestRun()->comm);
}

/* ---- spectra.h5 ----------------------------------------------------------------------------------------------- */

static double Attribute(hid_t set, const char *name)
{
  const hid_t attribute = H5Aopen(set, name, H5P_DEFAULT);
  double      value;

  assert_true(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
  H5Aclose(attribute);
  return value;
}

static double *Spectrum(hid_t set, int *n)
{
  const hid_t space = H5Dget_space(set);
  double     *values;

  *n = (int)H5Sget_simple_extent_npoints(space);
  values = malloc((size_t)*n * sizeof(double));
  assert_true(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Sclose(space);
  return values;
}

/* The law a reader draws from alpha and xmin is that of the values from xmin on: of n of them alpha = 1 + n/sum ln(lambda/xmin),
   D the largest distance between their steps and the law. */
static void CheckTail(const char *layer, int n, const double lambda[], double alpha, double D, double xmin)
{
  double sum = 0, distance = 0;
  int    start = 0;

  while (start < n && lambda[start] < xmin) start++;
  if (start == n || lambda[start] != xmin) fail_msg("%s: xmin %g is none of its eigenvalues", layer, xmin);
  for (int j = start; j < n; j++) sum += log(lambda[j] / xmin);
  if (!(fabs(1 + (n - start) / sum - alpha) < 1e-9 * alpha)) fail_msg("%s: from %g on alpha is not %g", layer, xmin, alpha);
  for (int j = start; j < n; j++)
    distance = fmax(distance, fabs(1 - pow(lambda[j] / xmin, 1 - alpha) - (double)(j - start) / (n - start)));
  if (!(fabs(distance - D) < 1e-9)) fail_msg("%s: from %g on D is %g, not %g", layer, xmin, distance, D);
}

/* A row of layers.csv and the dataset beside it; whether there was a fit. */
static PetscBool CheckRow(hid_t file, const Table *table, int row)
{
  const double alpha = TableNumber(table, row, "alpha"), norm = TableNumber(table, row, "norm");
  char         name[128];
  double      *lambda, sum = 0;
  hid_t        set;
  int          n;

  snprintf(name, sizeof(name), "epoch_%05d/%s", (int)TableNumber(table, row, "epoch"), table->cell[row][1]);
  set = H5Dopen2(file, name, H5P_DEFAULT);
  assert_true(set >= 0);
  lambda = Spectrum(set, &n);
  for (int j = 0; j < n; j++) sum += lambda[j];
  assert_true(fabs(sum - norm) < 1e-6 * norm);
  if (isnan(alpha))
    assert_true(isnan(Attribute(set, "alpha")) && isnan(Attribute(set, "xmin")));
  else {
    assert_true(fabs(Attribute(set, "alpha") - alpha) < 1e-8 * alpha);
    assert_true(fabs(Attribute(set, "D") - TableNumber(table, row, "D")) < 1e-8);
    CheckTail(name, n, lambda, Attribute(set, "alpha"), Attribute(set, "D"), Attribute(set, "xmin"));
  }
  free(lambda);
  H5Dclose(set);
  return (PetscBool)!isnan(alpha);
}

static void spectra_hold_the_tail_that_was_fitted(void **state)
{
  static const char *const fit[] = {"xmin_mid, xmin_pos: 3", "dks", "xmin_peak"};
  char                     base[EK_PATH], name[32], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(base);
  MakeWaves(base);
  for (int f = 0; f < 3; f++) {
    int   fitted = 0;
    Table table;
    hid_t file;
    Job   job;

    snprintf(name, sizeof(name), "fit%d", f);
    Create(&job, base, name, "fit: %s, layers: all, min_eigs: 2", fit[f]);
    Train(&job);
    TableRead(&table, job.dir, "layers.csv");
    snprintf(path, sizeof(path), "%s/spectra.h5", job.dir);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    for (int r = 1; r < table.rows; r++) fitted += CheckRow(file, &table, r);
    assert_true(fitted > 5 * (EPOCHS + 1));
    H5Fclose(file);
    TableFree(&table);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* ---- durations ------------------------------------------------------------------------------------------------ */

/* What a sitting that was stopped has noted. */
static cJSON *Noted(const Job *job)
{
  char         path[2 * EK_PATH];
  EkCheckpoint checkpoint;
  cJSON       *json;

  snprintf(path, sizeof(path), "%s/checkpoint.h5", job->dir);
  EK_OK(EkCheckpointOpen(EkTestRun(), path, &checkpoint));
  json = cJSON_Parse(EkCheckpointMeta(checkpoint));
  EK_OK(EkCheckpointDestroy(&checkpoint));
  return json;
}

static void Same(const char *what, double a, double b)
{
  if (!(fabs(a - b) <= 1e-7 * fmax(a, b))) fail_msg("%s: %.12g and %.12g s", what, a, b);
}

/* All steps and all refreshes, whoever sat when: the rows of the epochs and the summary speak of the same. */
static void CheckSums(const Job *job)
{
  cJSON       *summary = FileJson(job->dir, "summary.json");
  const cJSON *timing = cJSON_GetObjectItem(summary, "timing");
  const double all = JsonNumber(timing, "train_seconds"), balance = JsonNumber(timing, "balance_seconds");
  double       steps = 0, refreshes = 0;
  Table        table;

  TableRead(&table, job->dir, "metrics.csv");
  assert_int_equal(table.rows, EPOCHS + 1);
  for (int e = 1; e <= EPOCHS; e++) {
    assert_true(TableNumber(&table, e, "seconds") > 0 && TableNumber(&table, e, "balance_seconds") > 0);
    steps += TableNumber(&table, e, "seconds");
    refreshes += TableNumber(&table, e, "balance_seconds");
  }
  Same("steps and refreshes, training", steps + balance, all);
  Same("share of balancing", balance / all, JsonNumber(timing, "balance_share"));
  assert_true(refreshes < balance); /* the one after the last epoch is in no row */
  TableFree(&table);
  cJSON_Delete(summary);
}

/* Stopped within epoch 2: its row has the steps of both sittings, and the refresh of the first. */
static void durations_are_those_of_all_sittings(void **state)
{
  char   base[EK_PATH];
  cJSON *noted;
  Table  table;
  Job    whole, parts;

  (void)state;
  EkTestScratch(base);
  MakeWaves(base);
  Create(&whole, base, "whole", "min_eigs: 2");
  Train(&whole);
  CheckSums(&whole);
  Create(&parts, base, "parts", "min_eigs: 2");
  assert_int_equal(JobTrainByStep(&parts, 5), 5);
  MPI_Barrier(EkTestRun()->comm);
  noted = Noted(&parts);
  assert_true(JsonNumber(noted, "epoch") == 1 && JsonNumber(noted, "batch") == 2);
  Train(&parts);
  CheckSums(&parts);
  TableRead(&table, parts.dir, "metrics.csv");
  Same("refresh of the first sitting", TableNumber(&table, 2, "balance_seconds"), JsonNumber(noted, "balance_seconds"));
  assert_true(JsonNumber(noted, "epoch_seconds") > 0);
  assert_true(TableNumber(&table, 2, "seconds") > JsonNumber(noted, "epoch_seconds") * (1 - 1e-8));
  TableFree(&table);
  cJSON_Delete(noted);
  MPI_Barrier(EkTestRun()->comm);
}

/* The median is of this sitting's steps: of one it is that one, of none there is none, and the sums stay. */
static void the_median_is_of_the_last_sitting(void **state)
{
  char   base[EK_PATH];
  cJSON *noted, *first, *again, *timing;
  Table  table;
  Job    job;

  (void)state;
  EkTestScratch(base);
  MakeWaves(base);
  Create(&job, base, "job", "min_eigs: 2");
  assert_int_equal(JobTrainByStep(&job, 3 * EPOCHS - 1), 3 * EPOCHS - 1);
  MPI_Barrier(EkTestRun()->comm);
  noted = Noted(&job);
  Train(&job);
  first = FileJson(job.dir, "summary.json");
  timing = cJSON_GetObjectItem(first, "timing");
  TableRead(&table, job.dir, "metrics.csv");
  Same("the last step", JsonNumber(noted, "epoch_seconds") + JsonNumber(timing, "step_seconds_median"),
       TableNumber(&table, EPOCHS, "seconds"));
  MPI_Barrier(EkTestRun()->comm);
  Train(&job);
  CheckSums(&job);
  again = FileJson(job.dir, "summary.json");
  assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetObjectItem(again, "timing"), "step_seconds_median")));
  assert_true(JsonNumber(cJSON_GetObjectItem(again, "timing"), "train_seconds") == JsonNumber(timing, "train_seconds"));
  TableFree(&table);
  cJSON_Delete(noted);
  cJSON_Delete(first);
  cJSON_Delete(again);
  MPI_Barrier(EkTestRun()->comm);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(spectra_hold_the_tail_that_was_fitted),
    cmocka_unit_test(durations_are_those_of_all_sittings),
    cmocka_unit_test(the_median_is_of_the_last_sitting),
};
EK_TEST_MAIN(tests)
