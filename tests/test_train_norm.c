/* ranks: 1 2 3 */
/* Training on normalised fields: the constants go where the weights go, the figures stay in the file's units. */
#include "train_support.h"
#include "evenkeel/mixture.h"

#define DECK                                                                                                                     \
  "data: {file: fields, test: 3, train: 8, initial_step: 4, t_train: 6%s}\n"                                                     \
  "model: {type: fno2d, width: 4, modes: 3, transform: gemm}\n"                                                                  \
  "train: {epochs: 3, batch: 3, lr: 5e-3, schedule_step: 1, eval_interval: 1, checkpoint_interval: 1}\n"                         \
  "balance: {min_eigs: 2}\n"
#define FIELD ", normalize: field"

/* Fields of very different size, or the same fields as normalisation would have them. */
static const double offset[] = {1, 2000, 0, -5}, size[] = {0.5, 30, 1e-3, 4};

static void MakeFields(const char *base, const char *name, const double mean[], const double scale[])
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy"};
  const hsize_t            dims[4] = {11, 7, 8, 8};
  char                     path[2 * EK_PATH];
  float                    values[11 * 7 * 64], axis[8];

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hid_t file;

    snprintf(path, sizeof(path), "%s/%s", base, name);
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    for (int f = 0; f < 4; f++) {
      for (int i = 0; i < 11 * 7 * 64; i++) {
        const float x = (float)(offset[f] + size[f] * Wave(f, i / 448, i / 64 % 7, i / 8 % 8 / 8.0, i % 8 / 8.0));

        values[i] = (float)(((double)x - mean[f]) / scale[f]);
      }
      PutValues(file, field[f], 4, dims, values);
    }
    for (int i = 0; i < 8; i++) axis[i] = (float)i / 8;
    PutValues(file, "x-coordinate", 1, dims + 2, axis);
    PutValues(file, "y-coordinate", 1, dims + 2, axis);
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void Scratch(char base[EK_PATH])
{
  static const double none[] = {0, 0, 0, 0}, one[] = {1, 1, 1, 1};

  EkTestScratch(base);
  MakeFields(base, "fields.h5", none, one);
}

static void Create(Job *job, MPI_Comm comm, const char *base, const char *name, const char *data)
{
  JobCreate(job, comm, base, name, DECK, data);
  EK_OK(PetscSNPrintf(job->deck.data.files, EK_PATHS, "%s/fields.h5", base));
}

static void Near(const char *dir, const char *other, const char *column, double tolerance)
{
  Table one, two;

  TableRead(&one, dir, "metrics.csv");
  TableRead(&two, other, "metrics.csv");
  assert_int_equal(one.rows, two.rows);
  for (int e = 1; e < one.rows; e++) {
    const double a = TableNumber(&one, e, column), b = TableNumber(&two, e, column);

    if (!(fabs(a / b - 1) < tolerance)) fail_msg("epoch %d, %s: %.9g in %s, %.9g in %s", e, column, a, dir, b, other);
  }
  TableFree(&one);
  TableFree(&two);
}

/* ---- what is trained ------------------------------------------------------------------------------------------ */

static void Measure(const char *base, double mean[], double scale[])
{
  EkDataOptions options = {.test = 3,
                           .train = 8,
                           .reduced_batch = 1,
                           .reduced_resolution = 1,
                           .reduced_resolution_t = 1,
                           .initial_step = 4,
                           .t_train = 6};
  EkDataset     data;

  EK_OK(PetscSNPrintf(options.file, EK_PATH, "%s/fields.h5", base));
  EK_OK(EkDatasetOpen(EkTestRun(), &options, &data));
  EK_OK(EkDatasetMeasureNorm(data, mean, scale));
  EK_OK(EkDatasetDestroy(&data));
}

static void it_is_a_run_on_data_normalised_by_hand(void **state)
{
  char   base[EK_PATH];
  double mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS];
  Job    run, hand, raw;

  (void)state;
  Scratch(base);
  Measure(base, mean, scale);
  MakeFields(base, "hand.h5", mean, scale);
  Create(&run, EkTestRun()->comm, base, "run", FIELD);
  assert_int_equal(JobTrain(&run), 0);
  Create(&hand, EkTestRun()->comm, base, "hand", "");
  EK_OK(PetscSNPrintf(hand.deck.data.files, EK_PATHS, "%s/hand.h5", base));
  assert_int_equal(JobTrain(&hand), 0);
  Create(&raw, EkTestRun()->comm, base, "raw", "");
  assert_int_equal(JobTrain(&raw), 0);
  MPI_Barrier(EkTestRun()->comm);
  Near(run.dir, hand.dir, "train_loss", 1e-5);
  AssertNearWeights(run.dir, "final.safetensors", hand.dir, "final.safetensors", 1e-3);
  assert_true(JsonNumber(cJSON_GetObjectItem(FileJson(raw.dir, "summary.json"), "metrics"), "RMSE") >
              3 * JsonNumber(cJSON_GetObjectItem(FileJson(hand.dir, "summary.json"), "metrics"), "RMSE"));
}

/* The second file is the first in other units: one unit of its pressure is ten of the first's. */
static void so_is_one_on_a_mixture(void **state)
{
  static const double moved[] = {0.5, -3, 0, 1}, times[] = {2, 0.1, 0.5, 1};
  EkMixtureOptions    options = {.test = {1, {3}}, .train = {1, {8}}, .weights = {2, {1, 2}}};
  char                base[EK_PATH], files[2][EK_PATHS];
  double              mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS], second[2][4];
  EkMixture           mixture;
  Job                 run, hand;

  (void)state;
  Scratch(base);
  MakeFields(base, "moved.h5", moved, times);
  options.each =
      (EkDataOptions){.reduced_batch = 1, .reduced_resolution = 1, .reduced_resolution_t = 1, .initial_step = 4, .t_train = 6};
  snprintf(files[0], EK_PATHS, "%s/fields.h5,%s/moved.h5", base, base);
  snprintf(files[1], EK_PATHS, "%s/hand.h5,%s/moved_hand.h5", base, base);
  EK_OK(PetscStrncpy(options.files, files[0], EK_PATHS));
  EK_OK(EkMixtureOpen(EkTestRun(), &options, 1, &mixture));
  EK_OK(EkMixtureMeasureNorm(mixture, mean, scale));
  EK_OK(EkMixtureDestroy(&mixture));
  MakeFields(base, "hand.h5", mean, scale);
  for (int f = 0; f < 4; f++) {
    second[0][f] = moved[f] + times[f] * mean[f];
    second[1][f] = times[f] * scale[f];
  }
  MakeFields(base, "moved_hand.h5", second[0], second[1]);
  Create(&run, EkTestRun()->comm, base, "run", FIELD);
  Create(&hand, EkTestRun()->comm, base, "by_hand", "");
  run.deck.data.weights = hand.deck.data.weights = options.weights;
  EK_OK(PetscStrncpy(run.deck.data.files, files[0], EK_PATHS));
  EK_OK(PetscStrncpy(hand.deck.data.files, files[1], EK_PATHS));
  assert_int_equal(JobTrain(&run), 0);
  assert_int_equal(JobTrain(&hand), 0);
  MPI_Barrier(EkTestRun()->comm);
  Near(run.dir, hand.dir, "train_loss", 1e-5);
  AssertNearWeights(run.dir, "final.safetensors", hand.dir, "final.safetensors", 1e-3);
}

/* By hand: targets of the file, predictions back in its units, their errors. */
static void figures_and_predictions_are_in_the_units_of_the_file(void **state)
{
  char    base[EK_PATH], path[2 * EK_PATH];
  Job     run;
  double  rmse = 0;
  float  *value[2];
  cJSON  *summary;
  hsize_t dims[5];

  (void)state;
  Scratch(base);
  Create(&run, EkTestRun()->comm, base, "run", FIELD);
  assert_int_equal(JobTrain(&run), 0);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->size > 1) return; /* only the first rank's trajectories are in the file */
  snprintf(path, sizeof(path), "%s/predictions.h5", run.dir);
  for (int k = 0; k < 2; k++) {
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, k ? "target" : "prediction", H5P_DEFAULT),
          space = H5Dget_space(set);

    H5Sget_simple_extent_dims(space, dims, NULL);
    value[k] = malloc(sizeof(float) * dims[0] * dims[1] * dims[2] * dims[3] * dims[4]);
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, value[k]) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
  }
  assert_int_equal(dims[0], 3);
  assert_int_equal(dims[2], 7);
  for (int s = 0; s < 3; s++) {
    for (int f = 0; f < 4; f++) {
      for (int t = 0; t < 7; t++) {
        const float *plane[2] = {value[0] + ((s * 4 + f) * 7 + t) * 64, value[1] + ((s * 4 + f) * 7 + t) * 64};
        double       square = 0;

        for (int i = 0; i < 64; i++) {
          const double x = offset[f] + size[f] * Wave(f, s, t, i / 8 / 8.0, i % 8 / 8.0), e = (double)plane[0][i] - plane[1][i];

          if (!(fabs(plane[1][i] - x) < 1e-6 * (fabs(offset[f]) + 3 * size[f])))
            fail_msg("target %g instead of %g", plane[1][i], x);
          if (!(fabs(e) < 20 * size[f])) fail_msg("prediction %g of %g", plane[0][i], x);
          square += e * e;
        }
        if (t >= 4) rmse += sqrt(square / 64) / (3 * 4 * 3);
      }
    }
  }
  summary = FileJson(run.dir, "summary.json");
  if (!(fabs(rmse / JsonNumber(cJSON_GetObjectItem(summary, "metrics"), "RMSE") - 1) < 1e-6))
    fail_msg("RMSE %g, by hand %g", JsonNumber(cJSON_GetObjectItem(summary, "metrics"), "RMSE"), rmse);
  cJSON_Delete(summary);
  free(value[0]);
  free(value[1]);
}

/* ---- ranks, restarts, evaluation -------------------------------------------------------------------------------- */

static void the_number_of_ranks_changes_nothing(void **state)
{
  char     base[EK_PATH];
  Job      all, one;
  MPI_Comm comm;

  (void)state;
  Scratch(base);
  Create(&all, EkTestRun()->comm, base, "all", FIELD);
  assert_int_equal(JobTrain(&all), 0);
  MPI_Comm_split(EkTestRun()->comm, EkTestRun()->rank == 0, 0, &comm);
  if (EkTestRun()->rank == 0) {
    Create(&one, comm, base, "one", FIELD);
    assert_int_equal(JobTrain(&one), 0);
    Near(all.dir, one.dir, "train_loss", 1e-5);
    Near(all.dir, one.dir, "nRMSE", 1e-4);
    Near(all.dir, one.dir, "fRMSE_low", 1e-4);
  }
  MPI_Comm_free(&comm);
}

static void a_step_a_sitting_equals_one_sitting(void **state)
{
  char base[EK_PATH];
  Job  whole, parts;

  (void)state;
  Scratch(base);
  Create(&whole, EkTestRun()->comm, base, "whole", FIELD);
  assert_int_equal(JobTrain(&whole), 0);
  Create(&parts, EkTestRun()->comm, base, "parts", FIELD);
  assert_int_equal(JobTrainByStep(&parts, 20), 9);
  MPI_Barrier(EkTestRun()->comm);
  AssertSameBytes(whole.dir, parts.dir, "final.safetensors");
  AssertSameTable(whole.dir, parts.dir, "metrics.csv");
}

/* Restored, not measured again: a file whose training set has changed since gives the same constants. */
static void a_restart_takes_the_constants_of_the_checkpoint(void **state)
{
  static const double none[] = {0, 0, 0, 0}, half[] = {0.5, 0.5, 0.5, 0.5};
  char                base[EK_PATH], path[2 * EK_PATH], *note[2];
  Job                 start, rest;

  (void)state;
  Scratch(base);
  Create(&start, EkTestRun()->comm, base, "start", FIELD);
  assert_int_equal(JobTrainByStep(&start, 2), 2);
  snprintf(path, sizeof(path), "%s/checkpoint.h5", start.dir);
  EK_OK(EkWeightsReadNote(EkTestRun(), path, "normalize", &note[0]));
  assert_non_null(strstr(note[0], "\"pressure\""));
  MakeFields(base, "fields.h5", none, half);
  Create(&rest, EkTestRun()->comm, base, "rest", FIELD);
  EK_OK(PetscStrncpy(rest.deck.train.resume, path, EK_PATH));
  assert_int_equal(JobTrain(&rest), 0);
  snprintf(path, sizeof(path), "%s/final.safetensors", rest.dir);
  EK_OK(EkWeightsReadNote(EkTestRun(), path, "normalize", &note[1]));
  assert_string_equal(note[0], note[1]);
  EK_OK(PetscFree(note[0]));
  EK_OK(PetscFree(note[1]));
}

static PetscErrorCode Load(Job *job, const char *weights, EkSession *session)
{
  EK_OK(PetscSNPrintf(job->deck.model.weights, EK_PATH, "%s/%s", job->dir, weights));
  EK_OK(EkSessionCreate(&job->run, &job->deck, EK_CHOOSE_AUTO, session));
  return EkSessionLoadNorm(*session);
}

static void evaluation_gives_the_figures_of_the_training(void **state)
{
  static const char *const weights[] = {"checkpoint.h5", "final.safetensors"};
  EkSession                session;
  EkEvaluator              evaluator;
  EkFigures                predicted, published;
  char                     base[EK_PATH];
  cJSON                   *summary;
  Job                      job;

  (void)state;
  Scratch(base);
  Create(&job, EkTestRun()->comm, base, "run", FIELD);
  assert_int_equal(JobTrain(&job), 0);
  MPI_Barrier(EkTestRun()->comm);
  summary = FileJson(job.dir, "summary.json");
  for (int w = 0; w < 2; w++) {
    job.deck.data.train = (EkInts){1, {2}}; /* measured on other trajectories the constants would be others */
    EK_OK(Load(&job, weights[w], &session));
    EK_OK(EkEvaluatorCreate(session, &evaluator));
    EK_OK(EkEvaluate(evaluator, NULL, &predicted, &published, 0, NULL));
    assert_true(fabs(predicted.RMSE / JsonNumber(cJSON_GetObjectItem(summary, "metrics"), "RMSE") - 1) < 1e-9);
    assert_true(fabs(published.nRMSE / JsonNumber(cJSON_GetObjectItem(summary, "metrics_published"), "nRMSE") - 1) < 1e-9);
    EK_OK(EkEvaluatorDestroy(&evaluator));
    EK_OK(EkSessionDestroy(&session));
  }
  cJSON_Delete(summary);
}

/* ---- mistakes --------------------------------------------------------------------------------------------------- */

static void decks_and_checkpoints_that_disagree_are_refused(void **state)
{
  char      base[EK_PATH], path[2 * EK_PATH];
  Job       with, without, other;
  EkSession session;
  int       status;

  (void)state;
  Scratch(base);
  Create(&with, EkTestRun()->comm, base, "with", FIELD);
  with.deck.train.epochs = 1;
  assert_int_equal(JobTrain(&with), 0);
  Create(&without, EkTestRun()->comm, base, "without", "");
  without.deck.train.epochs = 1;
  assert_int_equal(JobTrain(&without), 0);
  Create(&other, EkTestRun()->comm, base, "other", "");
  snprintf(path, sizeof(path), "%s/checkpoint.h5", with.dir);
  EK_OK(PetscStrncpy(other.deck.train.resume, path, EK_PATH));
  EK_FAILS(JobTry(&other, &status), "was trained on normalised data, the deck says none; set it to field");
  other.deck.data.each.normalize = EK_NORMALIZE_FIELD;
  EK_OK(PetscStrncpy(other.deck.data.each.fields, "pressure,density,Vx,Vy", EK_PATH));
  EK_FAILS(JobTry(&other, &status), "holds constants of other fields");
  other.deck.data.each.fields[0] = 0;
  snprintf(path, sizeof(path), "%s/checkpoint.h5", without.dir);
  EK_OK(PetscStrncpy(other.deck.train.resume, path, EK_PATH));
  EK_FAILS(JobTry(&other, &status), "holds no constants to normalise with");
  with.deck.data.each.normalize = EK_NORMALIZE_NONE;
  EK_FAILS(Load(&with, "final.safetensors", &session), "was trained on normalised data");
  EK_OK(EkSessionDestroy(&session));
  without.deck.data.each.normalize = EK_NORMALIZE_FIELD;
  EK_FAILS(Load(&without, "final.safetensors", &session), "holds no constants to normalise with");
  EK_OK(EkSessionDestroy(&session));
}

/* Read and inspected, but no model is for it. */
static void three_dimensions_are_refused_in_one_line(void **state)
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy", "Vz"};
  const hsize_t            dims[5] = {11, 7, 4, 4, 4};
  char                     base[EK_PATH], path[2 * EK_PATH];
  Job                      job;
  int                      status;

  (void)state;
  Scratch(base);
  snprintf(path, sizeof(path), "%s/fields.h5", base);
  if (EkTestRun()->rank == 0) {
    static float values[11 * 7 * 64];
    hid_t        file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    for (int f = 0; f < 5; f++) PutValues(file, field[f], 5, dims, values);
    PutValues(file, "x-coordinate", 1, dims + 2, values);
    PutValues(file, "y-coordinate", 1, dims + 2, values);
    PutValues(file, "z-coordinate", 1, dims + 2, values);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  Create(&job, EkTestRun()->comm, base, "job", "");
  EK_FAILS(JobTry(&job, &status), "model_type: fno2d is for 2D data, the file holds 3D fields");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(it_is_a_run_on_data_normalised_by_hand),
    cmocka_unit_test(so_is_one_on_a_mixture),
    cmocka_unit_test(figures_and_predictions_are_in_the_units_of_the_file),
    cmocka_unit_test(the_number_of_ranks_changes_nothing),
    cmocka_unit_test(a_step_a_sitting_equals_one_sitting),
    cmocka_unit_test(a_restart_takes_the_constants_of_the_checkpoint),
    cmocka_unit_test(evaluation_gives_the_figures_of_the_training),
    cmocka_unit_test(decks_and_checkpoints_that_disagree_are_refused),
    cmocka_unit_test(three_dimensions_are_refused_in_one_line),
};
EK_TEST_MAIN(tests)
