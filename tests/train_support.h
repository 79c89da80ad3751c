/* Trainings inside a test: decks from text, runs on any communicator, and what a run directory holds. */
#pragma once
#include "support.h"
#include "evenkeel/train.h"
#include "evenkeel/weights.h"
#include <cJSON.h>
#include <fcntl.h>
#include <hdf5.h>

#define RUN_CASE(name) "tests/data/cases/runs/" name

/* ---- data --------------------------------------------------------------------------------------------------- */

/* Waves whose amplitude differs between trajectories: a run that takes the wrong one shows it at once. */
static inline float Wave(int field, PetscInt sample, PetscInt t, double x, double y)
{
  const double phase = 0.07 * (double)sample, amplitude = 0.2 + 0.25 * (double)(5 * sample % 7);

  return (float)(0.3 * field + amplitude * sin(6.3 * (x + phase) + 0.2 * (double)t + field) * cos(6.3 * y + phase));
}

static inline void PutValues(hid_t file, const char *name, int rank, const hsize_t dims[], const float *values)
{
  const hid_t space = H5Screate_simple(rank, dims, NULL),
              set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

  assert_true(set >= 0 && H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(set);
  H5Sclose(space);
}

/* BASE/waves.h5: 11 trajectories of 7 frames, 4 fields on 8 x 8 points. Collective on the test's run. */
static inline void MakeWaves(const char *base)
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy"};
  const hsize_t            dims[4] = {11, 7, 8, 8};
  char                     path[2 * EK_PATH];
  float                    values[11 * 7 * 64], axis[8];
  hid_t                    file;

  snprintf(path, sizeof(path), "%s/waves.h5", base);
  if (EkTestRun()->rank == 0) {
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    for (int f = 0; f < 4; f++) {
      for (int i = 0; i < 11 * 7 * 64; i++) values[i] = Wave(f, i / 448, i / 64 % 7, i / 8 % 8 / 8.0, i % 8 / 8.0);
      PutValues(file, field[f], 4, dims, values);
    }
    for (int i = 0; i < 8; i++) axis[i] = (float)i / 8;
    PutValues(file, "x-coordinate", 1, dims + 2, axis);
    PutValues(file, "y-coordinate", 1, dims + 2, axis);
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* A run on those waves, file and out_dir aside. */
#define WAVES "data: {file: waves, test: 3, train: 8, initial_step: 4, t_train: 6}\n"

/* ---- running ------------------------------------------------------------------------------------------------ */

/* A run of its own on `comm`: the test's context with another communicator and other keys. */
typedef struct {
  struct EkRun_ run;
  EkDeck        deck;
  char          dir[EK_PATH]; /* out_dir */
  double        seconds;
} Job;

/* Deck text -> checked deck. `base` is the scratch directory, `name` the run's directory in it; the data file "waves" is that of
   MakeWaves. Collective on comm. */
__attribute__((format(printf, 5, 6))) static inline void JobCreate(Job *job, MPI_Comm comm, const char *base, const char *name,
                                                                   const char *format, ...)
{
  char    path[2 * EK_PATH], *argv[3] = {(char *)"train", path, NULL};
  va_list arguments;

  memset(job, 0, sizeof(*job));
  job->run = *EkTestRun();
  job->run.comm = comm;
  job->run.raw_argc = 0;
  job->run.argc = 2;
  job->run.argv = argv;
  MPI_Comm_rank(comm, &job->run.rank);
  MPI_Comm_size(comm, &job->run.size);
  snprintf(job->dir, EK_PATH, "%s/%s", base, name);
  snprintf(path, sizeof(path), "%s/%s.yaml", base, name);
  if (job->run.rank == 0) {
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fprintf(file, "out: {dir: %s}\n", job->dir);
    fclose(file);
  }
  EK_OK(PetscOptionsCreate(&job->run.options));
  EK_OK(EkDeckRead(&job->run, &job->deck));
  EK_OK(PetscOptionsDestroy(&job->run.options));
  job->run.argv = NULL;
  if (!strcmp(job->deck.data.files, "waves")) EK_OK(PetscSNPrintf(job->deck.data.files, EK_PATHS, "%s/waves.h5", base));
}

/* EkTrain with what it prints kept in DIR.log; its error code, and its exit status where there is none. Collective on the job's
 * communicator. */
static inline PetscErrorCode JobTry(Job *job, int *status)
{
  char           path[2 * EK_PATH];
  PetscErrorCode code;
  int            kept, file;

  snprintf(path, sizeof(path), "%s.log", job->dir);
  fflush(stdout);
  kept = dup(STDOUT_FILENO);
  file = job->run.rank == 0 ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : open("/dev/null", O_WRONLY);
  dup2(file, STDOUT_FILENO);
  job->run.start = EkTime();
  *status = 0;
  code = EkTrain(&job->run, &job->deck, status);
  fflush(stdout);
  dup2(kept, STDOUT_FILENO);
  close(kept);
  close(file);
  return code;
}

static inline int JobTrain(Job *job)
{
  int status;

  EK_OK(JobTry(job, &status));
  return status;
}

/* Takes up the job's run where it is: one step a sitting, each stopped by the wall clock and continued by the next, until it is
   done or `sittings` are over. How many there were. */
static inline int JobTrainByStep(Job *job, int sittings)
{
  int n = 0;

  EK_OK(PetscStrncpy(job->deck.train.resume, "auto", EK_PATH));
  job->deck.train.max_wall = 1e-9;
  while (n < sittings && JobTrain(job) == EK_EXIT_STOPPED) n++;
  job->deck.train.max_wall = 0;
  return n;
}

/* ---- what a run leaves -------------------------------------------------------------------------------------- */

/* Whole file, zero-terminated; the caller frees. */
static inline char *FileText(const char *dir, const char *name, size_t *bytes)
{
  char   path[2 * EK_PATH], *text = NULL;
  size_t n = 0, got;
  FILE  *file;

  snprintf(path, sizeof(path), "%s/%s", dir, name);
  file = fopen(path, "r");
  if (!file) fail_msg("%s cannot be read: %s", path, strerror(errno));
  do {
    text = realloc(text, n + 65537);
    got = fread(text + n, 1, 65536, file);
    n += got;
  } while (got);
  fclose(file);
  text[n] = 0;
  if (bytes) *bytes = n;
  return text;
}

static inline cJSON *FileJson(const char *dir, const char *name)
{
  char  *text = FileText(dir, name, NULL);
  cJSON *json = cJSON_Parse(text);

  if (!json) fail_msg("%s/%s is not JSON", dir, name);
  free(text);
  return json;
}

static inline double JsonNumber(const cJSON *json, const char *name)
{
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

  if (!cJSON_IsNumber(item)) fail_msg("no number '%s'", name);
  return item->valuedouble;
}

static inline PetscBool FileHas(const char *dir, const char *name, const char *words)
{
  char           *text = FileText(dir, name, NULL);
  const PetscBool found = (PetscBool)(strstr(text, words) != NULL);

  free(text);
  return found;
}

static inline void AssertSameBytes(const char *dir, const char *other, const char *name)
{
  size_t n, m;
  char  *one = FileText(dir, name, &n), *two = FileText(other, name, &m);

  if (n != m || memcmp(one, two, n)) fail_msg("%s differs between %s and %s", name, dir, other);
  free(one);
  free(two);
}

/* A table of a run directory: cells by row and column; the first row names the columns. */
#define TABLE_COLUMNS 16
typedef struct {
  char *text, *cell[512][TABLE_COLUMNS];
  int   rows, columns;
} Table;

static inline void TableRead(Table *table, const char *dir, const char *name)
{
  char *save = NULL;

  memset(table, 0, sizeof(*table));
  table->text = FileText(dir, name, NULL);
  for (char *line = strtok_r(table->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), table->rows++) {
    int column = 0;

    assert_true(table->rows < 512);
    for (char *cell; column < TABLE_COLUMNS && (cell = strsep(&line, ","));) table->cell[table->rows][column++] = cell;
    if (!table->rows) table->columns = column;
    if (column != table->columns) fail_msg("%s/%s: row %d has %d cells", dir, name, table->rows, column);
  }
}

static inline void TableFree(Table *table)
{
  free(table->text);
}

static inline int TableColumn(const Table *table, const char *name)
{
  for (int c = 0; c < table->columns; c++) {
    if (!strcmp(table->cell[0][c], name)) return c;
  }
  fail_msg("no column '%s'", name);
  return -1;
}

static inline double TableNumber(const Table *table, int row, const char *name)
{
  const char *cell = table->cell[row][TableColumn(table, name)];

  return *cell ? atof(cell) : NAN;
}

/* Every cell of the rows the tables share, and their number; durations aside. */
static inline void AssertSameTable(const char *dir, const char *other, const char *name)
{
  Table one, two;

  TableRead(&one, dir, name);
  TableRead(&two, other, name);
  if (one.rows != two.rows) fail_msg("%s: %d rows in %s, %d in %s", name, one.rows, dir, two.rows, other);
  for (int r = 0; r < one.rows; r++) {
    for (int c = 0; c < one.columns; c++) {
      if (strstr(one.cell[0][c], "seconds") || !strcmp(one.cell[r][c], two.cell[r][c])) continue;
      fail_msg("%s: row %d, %s: %s in %s, %s in %s", name, r, one.cell[0][c], one.cell[r][c], dir, two.cell[r][c], other);
    }
  }
  TableFree(&one);
  TableFree(&two);
}

/* Tensors of two weight files agree within `tolerance` of the larger norm, each by itself. Collective on the test's run. */
static inline void AssertNearWeights(const char *dir, const char *name, const char *other, const char *other_name,
                                     double tolerance)
{
  const char   *place[2] = {dir, other}, *file[2] = {name, other_name};
  char          path[2][2 * EK_PATH];
  EkTensorInfo *table[2];
  float        *arena[2];
  int           n[2];

  for (int k = 0; k < 2; k++) {
    snprintf(path[k], sizeof(path[k]), "%s/%s", place[k], file[k]);
    EK_OK(EkWeightsReadAll(EkTestRun(), path[k], &n[k], &table[k], &arena[k]));
  }
  assert_int_equal(n[0], n[1]);
  for (int i = 0; i < n[0]; i++) {
    const EkTensorInfo *t = &table[0][i], *u = NULL;
    double              difference = 0, one = 0, two = 0;

    for (int j = 0; j < n[1] && !u; j++) u = strcmp(table[1][j].name, t->name) ? NULL : &table[1][j];
    if (!u || u->count != t->count) fail_msg("%s: no such tensor as '%s'", path[1], t->name);
    for (size_t v = 0; v < t->count; v++) {
      const double a = arena[0][t->offset + v], b = arena[1][u->offset + v];

      difference += (a - b) * (a - b);
      one += a * a;
      two += b * b;
    }
    if (!(sqrt(difference) <= tolerance * sqrt(fmax(one, two))))
      fail_msg("%s: '%s' differs by %g of its norm from %s", path[0], t->name, sqrt(difference / fmax(one, two)), path[1]);
  }
  for (int k = 0; k < 2; k++) {
    EK_OK(PetscFree(table[k]));
    EK_OK(PetscFree(arena[k]));
  }
}
