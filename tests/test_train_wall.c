/* ranks: 1 3 */
/* A job ends before its limit of time. The clock is the test's: it goes on by seconds where a slow disk would take them, so that
   minutes of a job are over at once and are as long on any machine. */
#include "train_support.h"
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

/* Seconds for a field of a trajectory to be read, a file to be forced to the disk, a row to be added to a table. */
typedef struct {
  double read, force, append;
} Disk;
static Disk   disk;
static double ahead;

int clock_gettime(clockid_t clock, struct timespec *now)
{
  const int  status = (int)syscall(SYS_clock_gettime, clock, now);
  const long whole = (long)ahead, nanoseconds = (long)((ahead - (double)whole) * 1e9);

  if (clock != CLOCK_MONOTONIC) return status;
  now->tv_sec += whole + (now->tv_nsec + nanoseconds) / 1000000000;
  now->tv_nsec = (now->tv_nsec + nanoseconds) % 1000000000;
  return status;
}

ssize_t preadv(int file, const struct iovec *vector, int n, off_t offset)
{
  ahead += disk.read;
  return syscall(SYS_preadv, file, vector, n, offset, 0);
}

int fsync(int file)
{
  struct stat status;

  if (!fstat(file, &status) && S_ISREG(status.st_mode)) ahead += disk.force;
  return 0;
}

FILE *fopen(const char *path, const char *mode)
{
  if (*mode == 'a') ahead += disk.append;
  return fopen64(path, mode);
}

#define DATA  "file: waves, initial_step: 4, t_train: 6, cache: 0"
#define TRAIN "epochs: 20, checkpoint_interval: 1"

/* When a job with a limit has ended, on the rank whose clock says so last. */
static double Sit(const char *base, double limit, const char *data, const char *train)
{
  double seconds;
  char   name[32];
  Job    job;

  snprintf(name, sizeof(name), "limit%g", limit);
  JobCreate(&job, EkTestRun()->comm, base, name,
            "data: {" DATA ", %s}\nmodel: {type: fno2d, width: 4, modes: 3, transform: gemm}\ntrain: {" TRAIN ", %s}\n"
            "balance: {min_eigs: 2}\n",
            data, train);
  job.deck.train.max_wall = limit;
  assert_int_equal(JobTrain(&job), EK_EXIT_STOPPED);
  seconds = EkTime() - job.run.start;
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, EkTestRun()->comm);
  return seconds;
}

/* Wherever in an epoch the limit lies: the job has ended before it, its checkpoint is written; and it did not end so early that
   another epoch and a checkpoint would have fitted. On one rank an epoch reads 11 trajectories of 4 fields, forces a checkpoint
   to the disk twice, adds a row to a table and a few to another. */
static void Check(Disk slow, double least)
{
  const double epoch = 44 * slow.read + 2 * slow.force + 2 * slow.append;
  char         base[EK_PATH];

  EkTestScratch(base);
  MakeWaves(base);
  disk = slow;
  for (int k = 0; k < 8; k++) {
    const double limit = least + k * epoch / 8, seconds = Sit(base, limit, "test: 3, train: 8", "batch: 3, eval_interval: 1");

    if (!(seconds <= limit)) fail_msg("a limit of %g s is passed by %g s", limit, seconds - limit);
    if (!(seconds > limit - epoch - 2 * slow.force)) fail_msg("of a limit of %g s %g are left", limit, limit - seconds);
  }
  disk = (Disk){0, 0, 0};
}

static void time_is_kept_free_for_the_last_checkpoint(void **state)
{
  (void)state;
  Check((Disk){.read = 0.5, .force = 10}, 140);
}

static void time_is_kept_free_for_a_step(void **state)
{
  (void)state;
  Check((Disk){.read = 1}, 110);
}

/* Tables and spectra; evaluation asks the clock itself. */
static void time_is_kept_free_for_the_end_of_an_epoch(void **state)
{
  (void)state;
  Check((Disk){.read = 0.1, .append = 20}, 130);
}

/* On one rank the first evaluation takes 36 s, which nobody knows before. It looks at the clock every two trajectories, 8 s. */
static void an_evaluation_that_does_not_fit_is_put_off(void **state)
{
  char   base[EK_PATH];
  double seconds;

  (void)state;
  EkTestScratch(base);
  MakeWaves(base);
  disk = (Disk){.read = 1};
  seconds = Sit(base, 70, "test: 9, train: 2", "batch: 2, eval_interval: 6");
  if (EkTestRun()->size == 1) assert_true(seconds > 6 * 8 + 8 && seconds < 70 + 8);
  disk = (Disk){0, 0, 0};
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(time_is_kept_free_for_the_last_checkpoint),
    cmocka_unit_test(time_is_kept_free_for_a_step),
    cmocka_unit_test(time_is_kept_free_for_the_end_of_an_epoch),
    cmocka_unit_test(an_evaluation_that_does_not_fit_is_put_off),
};
EK_TEST_MAIN(tests)
