/* ranks: 1 2 3 */
#include "support.h"
#include "evenkeel/mesh.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void random_is_philox_and_seekable(void **state)
{
  EkRandom a = EkRandomStream(7, EK_RANDOM_TEST, 3), b = EkRandomStream(7, EK_RANDOM_TEST, 3);
  double   draw[1000], mean = 0;

  (void)state;
  for (int i = 0; i < 1000; i++) mean += (draw[i] = EkUniform(&a)) / 1000;
  assert_true(fabs(mean - 0.5) < 0.05);
  for (int i = 0; i < 1000; i += 37) {
    EkRandomSeek(&b, (uint64_t)i);
    assert_true(EkUniform(&b) == draw[i]);
  }
  b = EkRandomStream(7, EK_RANDOM_INIT, 3);
  assert_true(EkUniform(&b) != draw[0]);
}

static void normal_has_unit_variance(void **state)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 0);
  double   sum = 0, square = 0;

  (void)state;
  for (int i = 0; i < 20000; i++) {
    const double x = EkNormal(&stream);

    sum += x;
    square += x * x;
  }
  assert_true(fabs(sum / 20000) < 0.03);
  assert_true(fabs(square / 20000 - 1) < 0.05);
}

static void slices_cover_everything_once(void **state)
{
  (void)state;
  for (int n = 0; n < 20; n++) {
    for (int parts = 1; parts < 6; parts++) {
      PetscInt64 at = 0, lo, hi;

      for (int i = 0; i < parts; i++, at = hi) {
        EkSlice(n, parts, i, &lo, &hi);
        assert_true(lo == at && hi - lo >= n / parts && hi - lo <= n / parts + 1);
      }
      assert_true(at == n);
    }
  }
}

/* Of ten on four ranks the first two, three values each: the first rank holds both, the others hold nothing, at the end. */
static void slices_end_where_enough_is_enough(void **state)
{
  PetscMPIInt count[4], first[4];

  (void)state;
  EK_OK(EkSliceCounts(10, 4, 2, 3, count, first));
  for (int i = 0; i < 4; i++) {
    assert_int_equal(count[i], i ? 0 : 6);
    assert_int_equal(first[i], i ? 6 : 0);
  }
  EK_OK(EkSliceCounts(10, 4, 5, 3, count, first));
  for (int i = 0; i < 4; i++) {
    assert_int_equal(count[i], i == 0 ? 9 : i == 1 ? 6 : 0);
    assert_int_equal(first[i], i == 0 ? 0 : i == 1 ? 9 : 15);
  }
}

static void durations_are_told_in_two_units(void **state)
{
  char text[32];

  (void)state;
  assert_string_equal(EkDuration(5.25, text), "5.2s");
  assert_string_equal(EkDuration(125, text), "2m05s");
  assert_string_equal(EkDuration(3600, text), "1h00m");
  assert_string_equal(EkDuration(5000, text), "1h23m");
  assert_string_equal(EkDuration(-1, text), "?");
}

static void peak_memory_is_in_bytes(void **state)
{
  const size_t size = (size_t)32 << 20;
  char        *block = malloc(size);

  (void)state;
  assert_non_null(block);
  memset(block, 1, size);
  assert_int_equal(((volatile char *)block)[size / 2], 1);
  free(block);
  assert_true(EkPeakMemory() > (PetscInt64)size);
  assert_true(EkPeakMemory() < (PetscInt64)1 << 40);
}

/* n values: whole numbers, so that sums are exact in any order. */
static void check_sums(EkMesh mesh, int n)
{
  EkRun  run = EkTestRun();
  float *value = malloc((size_t)n * sizeof(float)), *other = malloc((size_t)n * sizeof(float));

  for (int i = 0; i < n; i++) value[i] = other[i] = (float)(i % 1009 * (run->rank + 1));
  EK_OK(EkMeshReduceScatter(mesh, (size_t)n, value));
  EK_OK(EkMeshAllgather(mesh, (size_t)n, value));
  EK_OK(EkMeshSum(mesh, (size_t)n, other));
  for (int i = 0; i < n; i++) {
    const float sum = (float)(i % 1009 * run->size * (run->size + 1) / 2);

    if (value[i] != sum || other[i] != sum) fail_msg("value %d of %d: %g and %g, expected %g", i, n, value[i], other[i], sum);
  }
  free(value), free(other);
}

/* Of a few values, of none for the last rank, and of several messages, the last of which some ranks have no part in. */
static void reduce_scatter_and_allgather_sum(void **state)
{
  EkMeshOptions options = {0, 1, EK_SHARD_OPTIMIZER};
  EkMesh        mesh;

  (void)state;
  EK_OK(EkMeshCreate(EkTestRun(), &options, &mesh));
  for (int way = 0; way < 2; way++) {
    check_sums(mesh, 17);
    check_sums(mesh, 2);
    check_sums(mesh, (1 << 20) + 2);
    check_sums(mesh, 777777);
    mesh->exchange = 0; /* then as among many ranks */
  }
  EK_OK(EkMeshDestroy(&mesh));
}

static void wrong_mesh_is_refused(void **state)
{
  EkMesh        mesh;
  EkMeshOptions wrong = {EkTestRun()->size + 1, 1, 0}, space = {0, 2, 0};

  (void)state;
  EK_FAILS(EkMeshCreate(EkTestRun(), &wrong, &mesh), "does not match");
  EK_FAILS(EkMeshCreate(EkTestRun(), &space, &mesh), "mesh_space");
}

static const EkMember kind_row[] = {{"plain", ""}, {"fancy", ""}};
static const EkFamily kind = EK_FAMILY("demo_kind", kind_row);
typedef struct {
  PetscInt   count;
  PetscReal  rate;
  EkInts     modes;
  int        kind;
  PetscBool  on;
  double     wall;
  PetscInt64 bytes;
  char       path[EK_PATH];
} Demo;
static const EkKey demo_key[] = {
    {"demo_count", EK_KEY_INT, offsetof(Demo, count), "3", 1, 10, NULL, "", ""},
    {"demo_rate", EK_KEY_REAL, offsetof(Demo, rate), "1e-3", EK_POSITIVE, EK_ANY, NULL, "", ""},
    {"demo_modes", EK_KEY_INTS, offsetof(Demo, modes), "12,12", 1, 99, NULL, "", ""},
    {"demo_kind", EK_KEY_CHOICE, offsetof(Demo, kind), "plain", 0, 0, &kind, "", ""},
    {"demo_on", EK_KEY_BOOL, offsetof(Demo, on), "no", 0, 0, NULL, "", ""},
    {"demo_wall", EK_KEY_WALL, offsetof(Demo, wall), "", 0, EK_ANY, NULL, "", ""},
    {"demo_bytes", EK_KEY_BYTES, offsetof(Demo, bytes), "1G", 0, EK_ANY, NULL, "", ""},
    {"demo_path", EK_KEY_STRING, offsetof(Demo, path), NULL, 0, 0, NULL, "", "a path"},
};
static const EkKeyTable demo = EK_KEYS("demo", demo_key);

/* Sets the run's keys from words, reads the table, returns what Raise says. */
static PetscErrorCode read_demo(const char *words, Demo *values)
{
  EkRun                   run = EkTestRun();
  const EkKeyTable *const tables[] = {&demo};
  EkProblems              problems;

  memset(values, 0, sizeof(*values));
  PetscCall(PetscOptionsDestroy(&run->options));
  PetscCall(PetscOptionsCreate(&run->options));
  PetscCall(PetscOptionsInsertString(run->options, words));
  PetscCall(EkProblemsCreate(&problems));
  PetscCall(EkKeysRead(run, &demo, values, problems));
  PetscCall(EkKeysCheckAll(run, 1, tables, 1, tables, problems));
  return EkProblemsRaise(run, &problems);
}

static void keys_are_read_with_defaults(void **state)
{
  Demo demo_value;

  (void)state;
  EK_OK(read_demo("-demo_path x.h5 -demo_rate 2.5e-3 -demo_kind fancy -demo_on -demo_wall 01:02:03 -demo_bytes 3k -log_view",
                  &demo_value));
  assert_int_equal(demo_value.count, 3);
  assert_true(demo_value.rate == 2.5e-3 && demo_value.kind == 1 && demo_value.on && demo_value.wall == 3723 &&
              demo_value.bytes == 3072);
  assert_true(demo_value.modes.n == 2 && demo_value.modes.v[1] == 12);
  assert_string_equal(demo_value.path, "x.h5");
}

static void every_mistake_in_keys_is_an_error(void **state)
{
  static const char *const wrong[] = {"",
                                      "-demo_path x -demo_count 0",
                                      "-demo_path x -demo_count two",
                                      "-demo_path x -demo_rate 0",
                                      "-demo_path x -demo_kind odd",
                                      "-demo_path x -demo_modes 1,b",
                                      "-demo_path x -demo_wall abc",
                                      "-demo_path x -demo_rat 1",
                                      "-demo_path x -demo_rate nan",
                                      "-demo_path x -demo_on maybe"};
  Demo                     demo_value;

  (void)state;
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) assert_int_not_equal(read_demo(wrong[i], &demo_value), 0);
}

static void both_ends_of_a_range_are_in_it(void **state)
{
  Demo demo_value;

  (void)state;
  EK_OK(read_demo("-demo_path x -demo_count 10 -demo_modes 1,99", &demo_value));
  assert_true(demo_value.count == 10 && demo_value.modes.n == 2 && demo_value.modes.v[1] == 99);
  EK_OK(read_demo("-demo_path x -demo_count 1", &demo_value));
  assert_int_equal(demo_value.count, 1);
  assert_int_not_equal(read_demo("-demo_path x -demo_count 11", &demo_value), 0);
  assert_int_not_equal(read_demo("-demo_path x -demo_modes 5,100", &demo_value), 0);
}

/* Writes the values as a deck and reads that. */
static void reread(const char *path, const Demo *one, Demo *two)
{
  EkRun      run = EkTestRun();
  EkProblems problems;

  MPI_Barrier(run->comm);
  if (run->rank == 0) {
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    EK_OK(EkKeysWriteYaml(file, &demo, one, NULL, PETSC_FALSE));
    fclose(file);
  }
  MPI_Barrier(run->comm);
  EK_OK(PetscOptionsDestroy(&run->options));
  EK_OK(PetscOptionsCreate(&run->options));
  EK_OK(EkRunLoadDeck(run, path));
  memset(two, 0, sizeof(*two));
  EK_OK(EkProblemsCreate(&problems));
  EK_OK(EkKeysRead(run, &demo, two, problems));
  EK_OK(EkProblemsRaise(run, &problems));
}

static void yaml_reads_back(void **state)
{
  static const double rate[] = {0.1, 0.1 + 1e-12, 0.1 + 0.2, 1.0 / 3, 1e-300}, wall[] = {600.25, 5400, 59, 3600, 100000};
  Demo                one, two;
  char                dir[EK_PATH], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(dir);
  snprintf(path, sizeof(path), "%s/resolved.yaml", dir);
  EK_OK(read_demo("-demo_path x.h5 -demo_rate 0.1 -demo_modes 5,6,7 -demo_wall 00:10:00.25 -demo_on yes", &one));
  assert_true(one.rate == rate[0] && one.wall == wall[0]);
  for (int i = 0; i < 5; i++) {
    one.rate = rate[i], one.wall = wall[i];
    reread(path, &one, &two);
    assert_true(two.rate == rate[i] && two.wall == wall[i]);
    assert_memory_equal(&one, &two, sizeof(one));
  }
}

/* Exit status of a child that gets both; 0 if it is still there and knows that it is to stop. */
static int status_after(int first, int second)
{
  const pid_t child = fork();
  int         status;

  assert_true(child >= 0);
  if (child == 0) {
    raise(first);
    raise(second);
    _exit(EkStopRequested() ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void blas_kernels_fit_the_cpu(void **state)
{
  (void)state;
  assert_string_equal(EkBlasCore("Prescott", 1, 1), "SkylakeX");
  assert_string_equal(EkBlasCore("Prescott", 1, 0), "Haswell");
  assert_null(EkBlasCore("Prescott", 0, 0));
  assert_null(EkBlasCore("Zen", 1, 0));
  assert_null(EkBlasCore("Cooperlake", 1, 1));
  /* And here, after EkTestMain's call. */
  if (EkBlasConfig() && !getenv("OPENBLAS_CORETYPE") && __builtin_cpu_supports("avx2"))
    assert_null(strstr(EkBlasConfig(), "Prescott"));
}

static void numbers_too_small_to_be_normal_are_zero(void **state)
{
  volatile float one = 1e-30f, other = 1e-15f, denormal;
  const uint32_t bits = 0x7fffff;
  float          value;

  (void)state;
  denormal = one * other;
  assert_true(denormal == 0); /* as a result */
  memcpy(&value, &bits, sizeof(value));
  one = value;
  assert_true(one * 1e20f == 0); /* as an operand */
}

static void a_repeated_request_is_one_request(void **state)
{
  (void)state;
  EK_OK(EkStopInstall());
  assert_false(EkStopRequested());
  assert_int_equal(status_after(SIGUSR1, SIGUSR1), 0);
  assert_int_equal(status_after(SIGUSR1, SIGTERM), 128 + SIGTERM);
  assert_int_equal(status_after(SIGTERM, SIGUSR1), 128 + SIGUSR1);
  assert_int_equal(status_after(SIGTERM, SIGTERM), 128 + SIGTERM);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_is_philox_and_seekable),
    cmocka_unit_test(normal_has_unit_variance),
    cmocka_unit_test(slices_cover_everything_once),
    cmocka_unit_test(slices_end_where_enough_is_enough),
    cmocka_unit_test(durations_are_told_in_two_units),
    cmocka_unit_test(peak_memory_is_in_bytes),
    cmocka_unit_test(reduce_scatter_and_allgather_sum),
    cmocka_unit_test(wrong_mesh_is_refused),
    cmocka_unit_test(keys_are_read_with_defaults),
    cmocka_unit_test(every_mistake_in_keys_is_an_error),
    cmocka_unit_test(both_ends_of_a_range_are_in_it),
    cmocka_unit_test(yaml_reads_back),
    cmocka_unit_test(a_repeated_request_is_one_request),
    cmocka_unit_test(blas_kernels_fit_the_cpu),
    cmocka_unit_test(numbers_too_small_to_be_normal_are_zero),
};
EK_TEST_MAIN(tests)
