/* What every test main shares: PETSc started, a run context, one group of cmocka tests run on every rank in step, a failure on
   any rank a failure everywhere, captured error lines. The first comment of a test file names the rank counts `make check` runs
   it at. */
#pragma once
#include "evenkeel/base.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>

static EkRun test_run;
static char  test_last_line[4096];

static inline EkRun EkTestRun(void)
{
  return test_run;
}

/* Remembers the line instead of printing it. */
static PetscErrorCode EkTestCatch(MPI_Comm comm, int line, const char *function, const char *file, PetscErrorCode code,
                                  PetscErrorType type, const char *message, void *context)
{
  (void)comm, (void)line, (void)function, (void)file, (void)context;
  if (type == PETSC_ERROR_INITIAL) snprintf(test_last_line, sizeof(test_last_line), "%s", message ? message : "");
  return code;
}

#define EK_OK(expr)                                                                                                              \
  do {                                                                                                                           \
    PetscErrorCode ek_code_ = (expr);                                                                                            \
    if (ek_code_) fail_msg("%s failed: %s", #expr, test_last_line);                                                              \
  } while (0)

/* The call must fail on every rank, and the line of the rank that knows must contain the text. */
#define EK_FAILS(expr, text)                                                                                                     \
  do {                                                                                                                           \
    PetscErrorCode ek_code_;                                                                                                     \
    test_last_line[0] = 0;                                                                                                       \
    ek_code_ = (expr);                                                                                                           \
    EkTestExpectFailure(ek_code_, (text), #expr);                                                                                \
  } while (0)

static inline void EkTestExpectFailure(PetscErrorCode code, const char *text, const char *expr)
{
  int found = strstr(test_last_line, text) != NULL;

  MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MAX, test_run->comm);
  if (!code) fail_msg("%s did not fail", expr);
  if (!found) fail_msg("%s: '%s' is not in '%s'", expr, text, test_last_line);
}

/* Empties and makes build/scratch/<program>-<ranks>, the same on every rank. Collective. */
static inline void EkTestScratch(char path[EK_PATH])
{
  char command[3 * EK_PATH];

  snprintf(path, EK_PATH, "build/scratch/%s-%d", program_invocation_short_name, test_run->size);
  MPI_Barrier(test_run->comm);
  if (test_run->rank == 0) {
    snprintf(command, sizeof(command), "rm -rf '%s' && mkdir -p '%s'", path, path);
    if (system(command)) fail_msg("cannot make %s", path);
  }
  MPI_Barrier(test_run->comm);
}

/* ||a - b|| / ||b||, or ||a - b|| where b is zero */
static inline double EkTestDistance(size_t n, const float *a, const float *b)
{
  double difference = 0, norm = 0;

  for (size_t i = 0; i < n; i++) {
    difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    norm += (double)b[i] * b[i];
  }
  return sqrt(norm > 0 ? difference / norm : difference);
}

/* Reads a whole file; the caller frees. */
static inline long EkTestFileBytes(const char *path, char **bytes)
{
  FILE *file = fopen(path, "rb");
  long  size;

  assert_non_null(file);
  fseek(file, 0, SEEK_END);
  size = ftell(file);
  rewind(file);
  *bytes = malloc((size_t)size);
  assert_int_equal(fread(*bytes, 1, (size_t)size, file), size);
  fclose(file);
  return size;
}

static inline void EkTestSameFile(const char *a, const char *b)
{
  char *bytes[2];
  long  size = EkTestFileBytes(a, &bytes[0]);

  assert_int_equal(EkTestFileBytes(b, &bytes[1]), size);
  assert_int_equal(memcmp(bytes[0], bytes[1], (size_t)size), 0);
  free(bytes[0]);
  free(bytes[1]);
}

static inline int EkTestMain(int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
  int failed = 0;

  EkBlasChoose(argv);
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  if (EkRunCreate(argc, argv, &test_run)) return 1;
  PetscPushErrorHandler(EkTestCatch, NULL);
  /* cmocka writes to stderr/stdout of each rank: only rank 0's successes are shown, failures of all */
  for (size_t i = 0; i < n; i++) {
    const struct CMUnitTest one[] = {tests[i]};
    int                     mine = _cmocka_run_group_tests(tests[i].name, one, 1, NULL, NULL) != 0, any = mine;

    MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, test_run->comm);
    if (test_run->rank == 0)
      printf("%s %s %s (%d ranks)\n", any ? "FAIL" : "ok  ", program_invocation_short_name, tests[i].name, test_run->size);
    failed += any;
    if (any && test_run->size > 1) break; /* ranks may be out of step after a failure */
  }
  fflush(stdout);
  PetscPopErrorHandler();
  EkRunDestroy(&test_run);
  PetscFinalize();
  return failed != 0;
}
#define EK_TEST_MAIN(tests)                                                                                                      \
  int main(int argc, char **argv)                                                                                                \
  {                                                                                                                              \
    return EkTestMain(argc, argv, (tests), sizeof(tests) / sizeof((tests)[0]));                                                  \
  }
