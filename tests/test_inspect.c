/* ranks: 1 2 3 */
#include "evenkeel/inspect.h"
#include "datafile_support.h"
#include <hdf5.h>

#define SAMPLES 14
#define POINTS  (NX * NY)

static const char *const field[] = {"density", "pressure", "Vx", "Vy", "Vz"};

/* One field of all trajectories of the 2D CFD files below. */
typedef float Field[SAMPLES][FRAMES][POINTS];

/* Every frame holds the values of the one before, one place on: totals stay as they are. */
static void FillSound(Field *data)
{
  for (int f = 0; f < 4; f++) {
    for (int s = 0; s < SAMPLES; s++) {
      EkRandom stream = EkRandomStream(5, EK_RANDOM_TEST, (uint64_t)(f * SAMPLES + s));
      float    start[POINTS];

      for (int i = 0; i < POINTS; i++) start[i] = (float)EkUniformIn(&stream, f < 2 ? 0.5 : -1, 2);
      for (int t = 0; t < FRAMES; t++) {
        for (int i = 0; i < POINTS; i++) data[f][s][t][(i + t) % POINTS] = start[i];
      }
    }
  }
}

/* 1: two values are not finite; 3 repeats 0; 4 stands still from frame 2 on; 5: density below zero in frames 1 to 4; 6: mass, and
   with it momentum, grows by a hundredth; 7: zeros from frame 3 on; the rest is sound. */
static void Spoil(Field *data)
{
  data[2][1][2][3] = NAN;
  data[3][1][4][0] = INFINITY;
  for (int f = 0; f < 4; f++) {
    memcpy(data[f][3], data[f][0], sizeof(data[f][0]));
    for (int t = 3; t < FRAMES; t++) {
      memcpy(data[f][4][t], data[f][4][2], sizeof(data[f][4][2]));
      memset(data[f][7][t], 0, sizeof(data[f][7][t]));
    }
  }
  for (int t = 1; t < FRAMES; t++) {
    data[0][5][t][1] += data[0][5][t][0] + 0.25f;
    data[0][5][t][0] = -0.25f;
    for (int i = 0; i < POINTS; i++) data[0][6][t][i] *= 1 + 0.01f * (float)t / (FRAMES - 1);
  }
}

static EkFileSpec WriteCfd(const char *name, Field *data)
{
  EkFileSpec spec = Spec(name, 4, field, NULL, 2, SAMPLES);

  WriteFile(&spec, 4, SAMPLES, FRAMES * POINTS, (const float *)data);
  return spec;
}

static EkInspectOptions Options(const char *path)
{
  EkInspectOptions options = {.mass_drift = 1e-3, .frozen = 2};

  snprintf(options.file, EK_PATH, "%.1000s", path);
  return options;
}

/* On rank 0: the flaw's trajectories and frames are these. */
static void CheckFlaw(EkInspection p, EkFlaw flaw, int n, const PetscInt trajectory[], const PetscInt frame[])
{
  assert_int_equal(p->count[flaw], n);
  for (int i = 0; i < n && EkTestRun()->rank == 0; i++) {
    assert_int_equal(p->finding[flaw][i].trajectory, trajectory[i]);
    assert_int_equal(p->finding[flaw][i].frame, frame[i]);
  }
}

static void CheckNone(EkInspection p)
{
  for (int k = 0; k < EK_FLAWS; k++) assert_int_equal(p->count[k], 0);
  assert_true(p->sound == !p->missing);
}

/* Statistics as one would write them down. */
static void CheckField(const EkFieldSummary *summary, const char *name, size_t n, const float *x)
{
  double min = INFINITY, max = -INFINITY, sum = 0, square = 0;
  size_t finite = 0;

  for (size_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) continue;
    finite++;
    sum += x[i];
    min = fmin(min, x[i]);
    max = fmax(max, x[i]);
  }
  for (size_t i = 0; i < n; i++) square += isfinite(x[i]) ? pow(x[i] - sum / (double)finite, 2) : 0;
  assert_string_equal(summary->name, name);
  assert_true(summary->min == min && summary->max == max);
  assert_true(fabs(summary->mean - sum / (double)finite) < 1e-13 * (max - min));
  assert_true(fabs(summary->std / sqrt(square / (double)finite) - 1) < 1e-13);
  assert_int_equal(summary->nonfinite, n - finite);
}

/* Largest change of a total over the frames of one trajectory, straight from its definition. */
static double Drift(Field *data, int s, EkTotal total)
{
  double start[4] = {0}, speed = 0, largest = 0;

  for (int t = 0; t < FRAMES; t++) {
    double sum[4] = {0}, change;

    for (int i = 0; i < POINTS; i++) {
      const double rho = data[0][s][t][i], p = data[1][s][t][i], u = data[2][s][t][i], v = data[3][s][t][i];

      sum[0] += rho;
      sum[1] += rho * u;
      sum[2] += rho * v;
      sum[3] += p / (5.0 / 3.0 - 1) + rho * (u * u + v * v) / 2;
      if (t == 0) speed += rho * hypot(u, v);
    }
    if (t == 0) memcpy(start, sum, sizeof(start));
    change = total == EK_TOTAL_MASS     ? fabs(sum[0] / start[0] - 1)
             : total == EK_TOTAL_ENERGY ? fabs(sum[3] / start[3] - 1)
                                        : hypot(sum[1] - start[1], sum[2] - start[2]) / speed;
    largest = fmax(largest, change);
  }
  return largest;
}

static void TestSoundFile(void **state)
{
  static Field data[4];
  EkFileSpec   spec;
  EkInspection p;

  (void)state;
  FillSound(data);
  spec = WriteCfd("sound.hdf5", data);
  EkInspectOptions options = Options(spec.path);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckNone(p);
  assert_true(p->sound && !p->partial && !p->missing);
  assert_int_equal(p->bytes, sizeof(data));
  if (EkTestRun()->rank == 0) {
    assert_int_equal(p->nfields, 4);
    for (int f = 0; f < 4; f++) CheckField(&p->field[f], field[f], SAMPLES * FRAMES * POINTS, (const float *)data[f]);
    for (int k = 0; k < EK_TOTALS; k++) assert_true(p->worst[k].value < 1e-13);
  }
  EK_OK(EkInspectionDestroy(&p));
}

static void TestEveryFlaw(void **state)
{
  static Field data[4];
  EkFileSpec   spec;
  EkInspection p;

  (void)state;
  FillSound(data);
  Spoil(data);
  spec = WriteCfd("spoilt.hdf5", data);
  EkInspectOptions options = Options(spec.path);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  assert_false(p->sound);
  CheckFlaw(p, EK_FLAW_NONFINITE, 1, (const PetscInt[]){1}, (const PetscInt[]){2});
  CheckFlaw(p, EK_FLAW_FROZEN, 2, (const PetscInt[]){4, 7}, (const PetscInt[]){2, 3});
  CheckFlaw(p, EK_FLAW_DUPLICATE, 1, (const PetscInt[]){3}, (const PetscInt[]){-1});
  CheckFlaw(p, EK_FLAW_UNPHYSICAL, 2, (const PetscInt[]){5, 7}, (const PetscInt[]){1, 3});
  CheckFlaw(p, EK_FLAW_MASS, 2, (const PetscInt[]){6, 7}, (const PetscInt[]){FRAMES - 1, 3});
  if (EkTestRun()->rank == 0) {
    assert_true(p->finding[EK_FLAW_NONFINITE][0].value == 2 && p->finding[EK_FLAW_NONFINITE][0].field == 2);
    assert_int_equal(p->finding[EK_FLAW_DUPLICATE][0].other, 0);
    assert_true(!p->finding[EK_FLAW_FROZEN][0].zero && p->finding[EK_FLAW_FROZEN][1].zero);
    assert_true(p->finding[EK_FLAW_UNPHYSICAL][0].value == -0.25 && p->finding[EK_FLAW_UNPHYSICAL][0].field == 0);
    assert_true(fabs(p->finding[EK_FLAW_MASS][0].value - Drift(data, 6, EK_TOTAL_MASS)) < 1e-13);
    assert_true(fabs(p->finding[EK_FLAW_MASS][0].value - 0.01) < 1e-6);
    for (int f = 0; f < 4; f++) CheckField(&p->field[f], field[f], SAMPLES * FRAMES * POINTS, (const float *)data[f]);
  }
  EK_OK(EkInspectionDestroy(&p));
}

/* Without the trajectory that drops to zero the worst one is number 6, in every total. */
static void TestTotals(void **state)
{
  static Field data[4];
  EkFileSpec   spec;
  EkInspection p;

  (void)state;
  FillSound(data);
  for (int t = 1; t < FRAMES; t++) {
    for (int i = 0; i < POINTS; i++) data[0][6][t][i] *= 1 + 0.01f * (float)t, data[2][6][t][i] += 0.5f * (float)t;
  }
  spec = WriteCfd("totals.hdf5", data);
  EkInspectOptions options = Options(spec.path);
  options.mass_drift = 0.1;
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckNone(p);
  for (int k = 0; k < EK_TOTALS && EkTestRun()->rank == 0; k++) {
    const double expected = Drift(data, 6, (EkTotal)k);

    assert_true(fabs(p->worst[k].value / expected - 1) < 1e-12);
    assert_int_equal(p->worst[k].trajectory, 6);
    assert_int_equal(p->worst[k].frame, FRAMES - 1);
    assert_true(p->drift[k][FRAMES - 1] == p->worst[k].value && p->drift[k][1] < p->drift[k][2] && p->drift[k][0] == 0);
  }
  EK_OK(EkInspectionDestroy(&p));
}

/* A ramp along one axis jumps from edge to edge; a name that says otherwise counts more. */
static void TestOpenBoundaries(void **state)
{
  static Field data[4];

  (void)state;
  for (int axis = 0; axis < 2; axis++) {
    static const struct {
      const char *name;
      EkEdges     edges;
      PetscBool   named;
    } row[] = {{"transient.hdf5", EK_EDGES_OPEN, PETSC_FALSE},
               {"cfd_periodic_x.hdf5", EK_EDGES_OPEN, PETSC_TRUE},
               {"2D_CFD_periodic_128.hdf5", EK_EDGES_PERIODIC, PETSC_TRUE}};

    FillSound(data);
    for (int s = 0; s < SAMPLES; s++) {
      for (int k = 0; k < FRAMES * POINTS; k++) {
        const int t = k / POINTS, i = k % POINTS;

        data[0][s][t][i] = 1 + 0.2f * (float)(axis ? i % NY : i / NY) + (s % 2 ? 0.01f * (float)t : 0);
      }
    }
    for (size_t k = 0; k < sizeof(row) / sizeof(row[0]); k++) {
      EkFileSpec       spec = WriteCfd(row[k].name, data);
      EkInspectOptions options = Options(spec.path);
      EkInspection     p;

      EK_OK(EkInspect(EkTestRun(), &options, &p));
      assert_int_equal(p->count[EK_FLAW_MASS], row[k].edges == EK_EDGES_OPEN ? 0 : SAMPLES / 2);
      assert_int_equal(p->sound, row[k].edges == EK_EDGES_OPEN);
      if (EkTestRun()->rank == 0) {
        assert_int_equal(p->edges, row[k].edges);
        assert_int_equal(p->named, row[k].named);
        assert_int_equal(p->leaking + p->count[EK_FLAW_MASS], SAMPLES / 2);
      }
      EK_OK(EkInspectionDestroy(&p));
    }
  }
}

static void TestThresholds(void **state)
{
  static Field data[4];
  EkFileSpec   spec;
  EkInspection p;

  (void)state;
  FillSound(data);
  Spoil(data);
  spec = WriteCfd("thresholds.hdf5", data);
  EkInspectOptions options = Options(spec.path);
  options.frozen = 4; /* the last three frames of number 4 are equal; zeros are wrong all the same */
  options.mass_drift = 0.02;
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckFlaw(p, EK_FLAW_FROZEN, 1, (const PetscInt[]){7}, (const PetscInt[]){3});
  CheckFlaw(p, EK_FLAW_MASS, 1, (const PetscInt[]){7}, (const PetscInt[]){3});
  EK_OK(EkInspectionDestroy(&p));
  options.frozen = 3;
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckFlaw(p, EK_FLAW_FROZEN, 2, (const PetscInt[]){4, 7}, (const PetscInt[]){2, 3});
  EK_OK(EkInspectionDestroy(&p));
  options.frozen = 0;
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckFlaw(p, EK_FLAW_FROZEN, 1, (const PetscInt[]){7}, (const PetscInt[]){3});
  EK_OK(EkInspectionDestroy(&p));
}

/* Trajectories of 35 values. 2 is 0; 1 and 3 are but for their last and their first value; 4 is zero for a while; 5 is zero
 * throughout and so is 6. */
static void TestOneFieldInOneDimension(void **state)
{
  enum { N = 7, FLOATS = FRAMES * NX };
  static float     data[N][FLOATS];
  EkFileSpec       spec = Spec("scalar.hdf5", 1, (const char *const[]){"tensor"}, NULL, 1, N);
  EkInspectOptions options = Options(spec.path);
  EkInspection     p;

  (void)state;
  for (int s = 0; s < 5; s++) {
    for (int i = 0; i < FLOATS; i++) data[s][i] = s == 4 && i / NX == 2 ? 0 : 1 + 0.1f * (float)i + (s == 4);
  }
  data[1][FLOATS - 1] += 1;
  data[3][0] += 1;
  WriteFile(&spec, 1, N, FLOATS, &data[0][0]);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckFlaw(p, EK_FLAW_DUPLICATE, 1, (const PetscInt[]){2}, (const PetscInt[]){-1});
  CheckFlaw(p, EK_FLAW_FROZEN, 2, (const PetscInt[]){5, 6}, (const PetscInt[]){0, 0});
  if (EkTestRun()->rank == 0) {
    assert_null(p->drift[0]);
    CheckField(&p->field[0], "tensor", N * FLOATS, &data[0][0]);
  }
  EK_OK(EkInspectionDestroy(&p));
}

/* All ranks write what one rank alone writes. */
static void TestJson(void **state)
{
  static Field     data[4];
  struct EkRun_    alone = *EkTestRun();
  EkFileSpec       spec;
  EkInspectOptions options;
  EkInspection     p;
  char             one[EK_PATH + 16], *text;

  (void)state;
  FillSound(data);
  Spoil(data);
  spec = WriteCfd("json.hdf5", data);
  options = Options(spec.path);
  snprintf(options.out, EK_PATH, "%.900s.json", spec.path);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  EK_OK(EkInspectionWrite(p));
  EK_OK(EkInspectionDestroy(&p));
  if (EkTestRun()->rank == 0) {
    alone.comm = MPI_COMM_SELF;
    alone.size = 1;
    snprintf(one, sizeof(one), "%s", options.out);
    snprintf(options.out, EK_PATH, "%.900s.alone.json", spec.path);
    EK_OK(EkInspect(&alone, &options, &p));
    EK_OK(EkInspectionWrite(p));
    EK_OK(EkInspectionDestroy(&p));
    EkTestSameFile(one, options.out);
    EkTestFileBytes(one, &text);
    assert_non_null(strstr(text, "\"same_as\":\t0"));
    assert_non_null(strstr(text, "\"sound\":\tfalse"));
    free(text);
  }
  snprintf(options.out, EK_PATH, "%.900s/none.json", spec.path);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  EK_FAILS(EkInspectionWrite(p), "inspect_out: cannot write");
  EK_OK(EkInspectionDestroy(&p));
}

/* Of 14 trajectories 9 are there: the others are neither looked at nor wrong. */
static void TestPartialFile(void **state)
{
  static Field     data[4];
  EkFileSpec       spec = Spec("partial.hdf5", 4, field, NULL, 2, SAMPLES);
  EkInspectOptions options;
  EkInspection     p;
  char             part[EK_PATH + 16];

  (void)state;
  FillSound(data);
  WriteFile(&spec, 4, 9, FRAMES * POINTS, (const float *)data);
  snprintf(part, sizeof(part), "%s.part", spec.path);
  options = Options(part);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckNone(p);
  assert_true(p->partial && !p->sound);
  assert_int_equal(p->missing, SAMPLES - 9);
  if (EkTestRun()->rank == 0) CheckField(&p->field[0], "density", 9 * FRAMES * POINTS, (const float *)data[0]);
  EK_OK(EkInspectionDestroy(&p));
  options = Options(spec.path);
  EK_FAILS(EkInspect(EkTestRun(), &options, &p), "partial.hdf5' is not finished");
}

static void TestThreeDimensions(void **state)
{
  enum { N = 3, FLOATS = FRAMES * POINTS * NZ };
  static float     data[5][N][FLOATS];
  EkFileSpec       spec = Spec("cfd3d.hdf5", 5, field, NULL, 3, N);
  EkInspectOptions options = Options(spec.path);
  EkInspection     p;
  EkRandom         stream = EkRandomStream(6, EK_RANDOM_TEST, 0);

  (void)state;
  for (int f = 0; f < 5; f++) { /* Vz of number 1 alone changes, by so much that it shows */
    for (int s = 0; s < N; s++) {
      for (int i = 0; i < POINTS * NZ; i++) data[f][s][i] = (float)EkUniformIn(&stream, 1, 2);
      for (int i = POINTS * NZ; i < FLOATS; i++) data[f][s][i] = data[f][s][i % (POINTS * NZ)] + (f == 4 && s == 1 ? 1.0f : 0.0f);
    }
  }
  WriteFile(&spec, 5, N, FLOATS, &data[0][0][0]);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  assert_int_equal(p->info->dim, 3);
  CheckFlaw(p, EK_FLAW_FROZEN, 3, (const PetscInt[]){0, 1, 2}, (const PetscInt[]){0, 1, 0});
  if (EkTestRun()->rank == 0) {
    double mass = 0, speed = 0;

    for (int i = 0; i < POINTS * NZ; i++) {
      mass += data[0][1][i];
      speed += data[0][1][i] * sqrt(pow(data[2][1][i], 2) + pow(data[3][1][i], 2) + pow(data[4][1][i], 2));
    }
    assert_true(fabs(p->worst[EK_TOTAL_MOMENTUM].value / (mass / speed) - 1) < 1e-6);
    for (int f = 0; f < 5; f++) CheckField(&p->field[f], field[f], N * FLOATS, &data[f][0][0]);
  }
  EK_OK(EkInspectionDestroy(&p));
}

/* nu and u are fields, not moments in time; u of trajectory 2 was never solved for. */
static void TestDarcy(void **state)
{
  enum { N = 4 };
  static float data[2][N][POINTS];
  EkFileSpec   spec =
      Spec("darcy.hdf5", 2, (const char *const[]){"nu", "tensor"}, (const PetscBool[]){PETSC_FALSE, PETSC_TRUE}, 2, N);
  EkInspectOptions options = Options(spec.path);
  EkInspection     p;

  (void)state;
  for (int s = 0; s < N; s++) {
    for (int i = 0; i < POINTS; i++) data[0][s][i] = (float)((s + i) % 5 % 2), data[1][s][i] = 0.1f * (float)(s * POINTS + i);
  }
  memset(data[1][2], 0, sizeof(data[1][2]));
  WriteFile(&spec, 2, N, POINTS, &data[0][0][0]);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckFlaw(p, EK_FLAW_FROZEN, 1, (const PetscInt[]){2}, (const PetscInt[]){1});
  for (int k = 0; k < EK_FLAWS; k++) assert_int_equal(p->count[k], k == EK_FLAW_FROZEN);
  if (EkTestRun()->rank == 0) {
    assert_null(p->drift[0]);
    assert_int_equal(p->nfields, 2);
    CheckField(&p->field[0], "nu", N * POINTS, data[0][0]);
    CheckField(&p->field[1], "tensor", N * POINTS, data[1][0]);
  }
  EK_OK(EkInspectionDestroy(&p));
}

/* A group a trajectory, two channels a point; the third repeats the first. */
static void WriteGroups(const char *path, const float data[3][FRAMES][NX][2])
{
  static const char *const group[] = {"0000", "0001", "0002"};
  const hsize_t            dims[] = {FRAMES, NX, 2}, chunk[] = {1, NX, 2};
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), create = H5Pcreate(H5P_DATASET_CREATE);
  float x[NX], t[FRAMES];

  for (int i = 0; i < NX; i++) x[i] = (float)i;
  for (int i = 0; i < FRAMES; i++) t[i] = 0.5f * (float)i;
  H5Pset_chunk(create, 3, chunk);
  H5Pset_deflate(create, 4);
  for (int s = 0; s < 3; s++) {
    hid_t id = H5Gcreate2(file, group[s], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          grid = H5Gcreate2(id, "grid", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(3, dims, NULL),
          sx = H5Screate_simple(1, &dims[1], NULL), st = H5Screate_simple(1, &dims[0], NULL),
          set = H5Dcreate2(id, "data", H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT),
          gx = H5Dcreate2(grid, "x", H5T_IEEE_F32LE, sx, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          gt = H5Dcreate2(grid, "t", H5T_IEEE_F32LE, st, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data[s]) >= 0);
    H5Dwrite(gx, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x);
    H5Dwrite(gt, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, t);
    H5Dclose(gt), H5Dclose(gx), H5Dclose(set), H5Sclose(st), H5Sclose(sx), H5Sclose(space), H5Gclose(grid), H5Gclose(id);
  }
  H5Pclose(create);
  H5Fclose(file);
}

static void TestGroups(void **state)
{
  static float     data[3][FRAMES][NX][2], channel[2][3 * FRAMES * NX];
  char             path[2 * EK_PATH], folder[EK_PATH];
  EkInspectOptions options;
  EkInspection     p;

  (void)state;
  EkTestScratch(folder);
  snprintf(path, sizeof(path), "%s/groups.h5", folder);
  for (int i = 0; i < 3 * FRAMES * NX; i++) {
    const int s = i / (FRAMES * NX), place = i % (FRAMES * NX);

    for (int c = 0; c < 2; c++)
      channel[c][i] = data[s][place / NX][place % NX][c] = (float)(7 * place % 23 + c + (s == 1)) + 0.5f;
  }
  if (EkTestRun()->rank == 0) WriteGroups(path, (const float(*)[FRAMES][NX][2])data);
  MPI_Barrier(EkTestRun()->comm);
  options = Options(path);
  EK_OK(EkInspect(EkTestRun(), &options, &p));
  CheckFlaw(p, EK_FLAW_DUPLICATE, 1, (const PetscInt[]){2}, (const PetscInt[]){-1});
  for (int k = 0; k < EK_FLAWS; k++) assert_int_equal(p->count[k], k == EK_FLAW_DUPLICATE);
  for (int c = 0; c < 2 && EkTestRun()->rank == 0; c++) CheckField(&p->field[c], p->info->field[c], 3 * FRAMES * NX, channel[c]);
  EK_OK(EkInspectionDestroy(&p));
}

static void TestForeignFile(void **state)
{
  EkInspectOptions options = Options("README.md");
  EkInspection     p;

  (void)state;
  EK_FAILS(EkInspect(EkTestRun(), &options, &p), "README.md");
  assert_null(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestSoundFile), cmocka_unit_test(TestEveryFlaw),   cmocka_unit_test(TestOpenBoundaries),
    cmocka_unit_test(TestTotals),    cmocka_unit_test(TestThresholds),  cmocka_unit_test(TestOneFieldInOneDimension),
    cmocka_unit_test(TestJson),      cmocka_unit_test(TestPartialFile), cmocka_unit_test(TestThreeDimensions),
    cmocka_unit_test(TestDarcy),     cmocka_unit_test(TestGroups),      cmocka_unit_test(TestForeignFile),
};
EK_TEST_MAIN(tests)
