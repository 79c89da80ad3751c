/* ranks: 1 2 3 4 */
#include "support.h"
#include "evenkeel/checkpoint.h"
#include "evenkeel/mesh.h"
#include "evenkeel/weights.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#define NTENSORS 5
#define NSTATES  2

/* ---- a small model and its optimizer state ------------------------------------------------------------------ */

/* Padding between tensors, an odd size, a complex tensor, a scalar. */
static const EkTensorInfo table[NTENSORS] = {
    {"fc0.weight", 2, {20, 42}, PETSC_FALSE, PETSC_FALSE, 0, 840},
    {"fc0.bias", 1, {20}, PETSC_FALSE, PETSC_FALSE, 848, 20},
    {"conv0.weights1", 5, {3, 5, 4, 7, 2}, PETSC_TRUE, PETSC_FALSE, 872, 840},
    {"scale", 0, {0}, PETSC_FALSE, PETSC_FALSE, 1712, 1},
    {"big", 1, {70001}, PETSC_FALSE, PETSC_FALSE, 1720, 70001},
};
#define TOTAL 71721

typedef struct {
  float  weights[TOTAL], adam[TOTAL];
  double alpha[3], order[1001];
} Model;

static Model *Fill(uint64_t seed)
{
  Model   *model = malloc(sizeof(*model));
  EkRandom stream = EkRandomStream(seed, EK_RANDOM_TEST, 0);

  for (int i = 0; i < TOTAL; i++) {
    model->weights[i] = (float)EkNormal(&stream);
    model->adam[i] = (float)EkNormal(&stream);
  }
  for (int i = 0; i < 3; i++) model->alpha[i] = EkNormal(&stream);
  for (int i = 0; i < 1001; i++) model->order[i] = EkNormal(&stream);
  return model;
}

/* How the ranks share an arena. */
typedef enum { WHOLE, SLICES, OVERLAP, LAST_ONLY, SHARES } Sharing;

static void Parts(EkRun run, Sharing sharing, size_t *lo, size_t *hi)
{
  PetscInt64 a = 0, b = TOTAL;

  if (sharing == SLICES) EkSlice(TOTAL, run->size, run->size - 1 - run->rank, &a, &b);
  if (sharing == OVERLAP) {
    EkSlice(TOTAL, run->size, run->rank, &a, &b);
    a = PetscMax(0, a - 1000 * (run->rank % 3));
    b = PetscMin(TOTAL, b + 777);
  }
  if (sharing == LAST_ONLY && run->rank != run->size - 1) a = b = 13;
  *lo = (size_t)a;
  *hi = (size_t)b;
}

static void Arenas(EkRun run, Model *model, Sharing sharing, EkArenaPart arenas[2], EkStateArray states[NSTATES])
{
  arenas[0] = (EkArenaPart){"weights", NTENSORS, table, model->weights, 0, TOTAL};
  arenas[1] = (EkArenaPart){"adam_m", NTENSORS, table, model->adam, 0, TOTAL};
  if (sharing != WHOLE) Parts(run, sharing, &arenas[1].lo, &arenas[1].hi);
  if (sharing == OVERLAP) Parts(run, SLICES, &arenas[0].lo, &arenas[0].hi);
  states[0] = (EkStateArray){"alpha_initial", 3, model->alpha};
  states[1] = (EkStateArray){"order", 1001, model->order};
}

/* What a rank does not own is garbage that must not get into the file. */
static PetscErrorCode WriteModel(EkRun run, const char *dir, uint64_t seed, Sharing sharing, const char *meta)
{
  Model         *model = Fill(seed);
  EkArenaPart    arenas[2];
  EkStateArray   states[NSTATES];
  PetscErrorCode code;

  Arenas(run, model, sharing, arenas, states);
  for (size_t i = 0; i < TOTAL; i++) {
    if (i < arenas[0].lo || i >= arenas[0].hi) model->weights[i] = NAN;
    if (i < arenas[1].lo || i >= arenas[1].hi) model->adam[i] = NAN;
  }
  code = EkCheckpointWrite(run, dir, 2, arenas, NSTATES, states, meta);
  free(model);
  return code;
}

static void SameTensors(const float *got, const float *want, size_t lo, size_t hi)
{
  for (int t = 0; t < NTENSORS; t++) {
    for (size_t i = table[t].offset; i < table[t].offset + table[t].count; i++) {
      if (i >= lo && i < hi)
        assert_true(got[i] == want[i]);
      else
        assert_true(isnan(got[i]));
    }
  }
}

static void CheckModel(EkRun run, EkCheckpoint checkpoint, uint64_t seed, Sharing sharing)
{
  Model       *want = Fill(seed), *got = malloc(sizeof(*got));
  EkArenaPart  arenas[2];
  EkStateArray states[NSTATES];

  for (int i = 0; i < TOTAL; i++) got->weights[i] = got->adam[i] = NAN;
  Arenas(run, got, sharing, arenas, states);
  EK_OK(EkCheckpointRead(checkpoint, 2, arenas, NSTATES, states));
  SameTensors(got->weights, want->weights, arenas[0].lo, arenas[0].hi);
  SameTensors(got->adam, want->adam, arenas[1].lo, arenas[1].hi);
  assert_memory_equal(got->alpha, want->alpha, sizeof(want->alpha));
  assert_memory_equal(got->order, want->order, sizeof(want->order));
  free(want);
  free(got);
}

static void File(char path[EK_PATH], const char *dir, const char *name)
{
  EK_OK(PetscSNPrintf(path, EK_PATH, "%s/%s", dir, name));
}

/* Collective: rank 0 removes files a little after the others know of the failure. */
static int Exists(const char *dir, const char *name)
{
  char path[EK_PATH];

  MPI_Barrier(EkTestRun()->comm);

  File(path, dir, name);
  return !access(path, F_OK);
}

static off_t Size(const char *path)
{
  struct stat status;

  assert_int_equal(stat(path, &status), 0);
  return status.st_size;
}

/* Rank 0 changes the file, everybody waits. */
static void Damage(const char *path, off_t truncate_at, off_t zero_from, size_t zero_bytes)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const int fd = open(path, O_RDWR);
    char     *zero = calloc(1, zero_bytes + 1);

    assert_true(fd >= 0);
    if (truncate_at >= 0) assert_int_equal(ftruncate(fd, truncate_at), 0);
    if (zero_bytes) assert_true(pwrite(fd, zero, zero_bytes, zero_from) == (ssize_t)zero_bytes);
    free(zero);
    close(fd);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void Flip(const char *path, off_t at)
{
  char byte;

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const int fd = open(path, O_RDWR);

    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    assert_true(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static void Copy(const char *from, const char *to)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    char command[3 * EK_PATH];

    snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* ---- round trips -------------------------------------------------------------------------------------------- */

static void what_is_written_is_read(void **state)
{
  EkRun        run = EkTestRun();
  char         dir[EK_PATH], path[EK_PATH], *meta = malloc(300001);
  EkCheckpoint checkpoint;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  memset(meta, 'm', 300000); /* wisdom of FFTW can be long: beyond the 64 KiB of an ordinary attribute */
  meta[300000] = 0;
  for (int wrote = 0; wrote < SHARES; wrote++) {
    EK_OK(WriteModel(run, dir, (uint64_t)wrote, (Sharing)wrote, wrote ? "{\"epoch\": 3}" : meta));
    EK_OK(EkCheckpointOpen(run, path, &checkpoint));
    assert_string_equal(EkCheckpointMeta(checkpoint), wrote ? "{\"epoch\": 3}" : meta);
    assert_string_equal(EkCheckpointPath(checkpoint), path);
    for (int reads = 0; reads < SHARES; reads++) CheckModel(run, checkpoint, (uint64_t)wrote, (Sharing)reads);
    EK_OK(EkCheckpointDestroy(&checkpoint));
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
  assert_false(Exists(dir, "checkpoint.h5.tmp"));
  assert_true(Exists(dir, "checkpoint_prev.h5"));
  free(meta);
}

/* The first `size` ranks as a run of their own. */
static int SubRun(int size, struct EkRun_ *sub)
{
  EkRun     run = EkTestRun();
  const int mine = run->rank < size;

  *sub = *run;
  MPI_Comm_split(run->comm, mine ? 0 : MPI_UNDEFINED, run->rank, &sub->comm);
  sub->size = size;
  return mine;
}

static void written_on_p_read_on_q(void **state)
{
  char dir[EK_PATH], path[EK_PATH];

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  for (int p = 1; p <= EkTestRun()->size; p++) {
    struct EkRun_ writer, reader;

    if (SubRun(p, &writer)) {
      EK_OK(WriteModel(&writer, dir, (uint64_t)p, OVERLAP, "{}"));
      MPI_Comm_free(&writer.comm);
    }
    MPI_Barrier(EkTestRun()->comm);
    for (int q = 1; q <= EkTestRun()->size; q++) {
      EkCheckpoint checkpoint;

      if (!SubRun(q, &reader)) continue;
      EK_OK(EkCheckpointOpen(&reader, path, &checkpoint));
      CheckModel(&reader, checkpoint, (uint64_t)p, SLICES);
      EK_OK(EkCheckpointDestroy(&checkpoint));
      MPI_Comm_free(&reader.comm);
    }
    MPI_Barrier(EkTestRun()->comm);
  }
}

/* One more rank reads and writes for so many bytes: with the smallest, shares have many blocks and none is kept in memory. */
static const PetscInt64 share[] = {4 << 20, 200000, 60001, 4001};
#define NSHARES (int)(sizeof(share) / sizeof(share[0]))

/* Byte by byte, but for the times that HDF5 notes of its groups. */
static void SameButTimes(const char *a, const char *b)
{
  char *bytes[2];
  long  size = EkTestFileBytes(a, &bytes[0]), other = 0;

  assert_int_equal(EkTestFileBytes(b, &bytes[1]), size);
  for (long i = 0; i < size; i++) other += bytes[0][i] != bytes[1][i];
  assert_true(other < 100);
  free(bytes[0]);
  free(bytes[1]);
}

static void cuts_fall_anywhere(void **state)
{
  EkRun         run = EkTestRun();
  struct EkRun_ many = *run;
  char          dir[EK_PATH], path[EK_PATH], first[EK_PATH];
  EkCheckpoint  checkpoint;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  File(first, dir, "first.h5");
  EK_OK(WriteModel(run, dir, 3, WHOLE, "{}"));
  Copy(path, first);
  for (int i = 0; i < NSHARES; i++) {
    many.share = share[i];
    for (int wrote = 0; wrote < SHARES; wrote++) {
      EK_OK(WriteModel(&many, dir, 3, (Sharing)wrote, "{}"));
      SameButTimes(path, first);
      MPI_Barrier(run->comm);
    }
    EK_OK(EkCheckpointOpen(&many, path, &checkpoint));
    for (int reads = 0; reads < SHARES; reads++) CheckModel(&many, checkpoint, 3, (Sharing)reads);
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
}

static PetscInt64 Sum(PetscInt64 mine)
{
  MPI_Allreduce(MPI_IN_PLACE, &mine, 1, MPIU_INT64, MPI_SUM, EkTestRun()->comm);
  return mine;
}

/* As few ranks as the size asks for open the file; what they keep of it is read once, the rest twice. */
static void the_file_is_read_once(void **state)
{
  EkRun         run = EkTestRun();
  struct EkRun_ many = *run;
  char          dir[EK_PATH], path[EK_PATH];
  PetscInt64    size, bytes, readers;
  EkCheckpoint  checkpoint;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  EK_OK(WriteModel(run, dir, 3, WHOLE, "{}"));
  size = (PetscInt64)Size(path);
  for (int i = 0; i < NSHARES; i++) {
    many.share = share[i];
    EK_OK(EkCheckpointOpen(&many, path, &checkpoint));
    bytes = Sum(EkCheckpointBytesRead(checkpoint));
    readers = Sum(EkCheckpointBytesRead(checkpoint) > 0);
    assert_true(bytes > size - 20000 && bytes <= size);
    assert_int_equal(readers, PetscMin(run->size, 1 + bytes / share[i]));
    CheckModel(&many, checkpoint, 3, SLICES);
    bytes = Sum(EkCheckpointBytesRead(checkpoint)) / bytes;
    assert_int_equal(bytes, size / readers < 4 * share[i] ? 1 : 2);
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
}

static void weights_come_out_of_a_checkpoint(void **state)
{
  EkRun         run = EkTestRun();
  Model        *want = Fill(5), *got = Fill(6);
  EkTensorInfo *found;
  float        *arena;
  char          dir[EK_PATH], path[EK_PATH];
  int           n, match = 0;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  EK_OK(WriteModel(run, dir, 5, SLICES, "{}"));
  for (int i = 0; i < TOTAL; i++) got->weights[i] = NAN;
  EK_OK(EkWeightsRead(run, path, NTENSORS, table, got->weights));
  SameTensors(got->weights, want->weights, 0, TOTAL);
  EK_OK(EkWeightsReadAll(run, path, &n, &found, &arena));
  assert_int_equal(n, NTENSORS);
  for (int i = 0; i < n; i++) {
    for (int t = 0; t < NTENSORS; t++) {
      if (strcmp(found[i].name, table[t].name)) continue;
      match++;
      assert_true(found[i].rank == table[t].rank && found[i].is_complex == table[t].is_complex &&
                  found[i].count == table[t].count);
      assert_memory_equal(arena + found[i].offset, want->weights + table[t].offset, table[t].count * sizeof(float));
    }
  }
  assert_int_equal(match, NTENSORS);
  EK_OK(PetscFree(found));
  EK_OK(PetscFree(arena));
  free(want);
  free(got);
}

/* ---- errors ------------------------------------------------------------------------------------------------- */

static void what_does_not_fit_is_named(void **state)
{
  EkRun        run = EkTestRun();
  Model       *model = Fill(1);
  EkTensorInfo wrong[NTENSORS];
  EkArenaPart  part = {"weights", NTENSORS, wrong, model->weights, 0, TOTAL};
  EkStateArray array = {"alpha_initial", 4, model->order};
  EkCheckpoint checkpoint;
  char         dir[EK_PATH], path[EK_PATH];

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  EK_FAILS(EkCheckpointOpen(run, path, &checkpoint), "checkpoint.h5': no such file");
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  EK_OK(EkCheckpointOpen(run, path, &checkpoint));
  EK_FAILS(EkCheckpointRead(checkpoint, 0, NULL, 1, &array), "'state/alpha_initial' is F64 3, wanted is F64 4");
  array.name = "beta";
  EK_FAILS(EkCheckpointRead(checkpoint, 0, NULL, 1, &array), "has no 'state/beta'");
  memcpy(wrong, table, sizeof(table));
  wrong[0].shape[0] = 42, wrong[0].shape[1] = 20;
  EK_FAILS(EkCheckpointRead(checkpoint, 1, &part, 0, NULL), "'weights/fc0.weight' is F32 20 x 42, wanted is F32 42 x 20");
  snprintf(wrong[0].name, sizeof(wrong[0].name), "fc9.weight");
  EK_FAILS(EkCheckpointCheck(checkpoint, 1, &part), "has no 'weights/fc9.weight'");
  part.group = "adam_v";
  EK_FAILS(EkCheckpointCheck(checkpoint, 1, &part), "has no 'adam_v/fc9.weight'");
  EK_OK(EkCheckpointDestroy(&checkpoint));
  free(model);
}

static void a_part_that_nobody_holds(void **state)
{
  EkRun       run = EkTestRun();
  Model      *model = Fill(1);
  EkArenaPart part = {"weights", NTENSORS, table, model->weights, 0, TOTAL - 1};
  char        dir[EK_PATH];

  (void)state;
  EkTestScratch(dir);
  EK_FAILS(EkCheckpointWrite(run, dir, 1, &part, 0, NULL, "{}"), "no rank holds value 71720 of 'weights'");
  part.lo = 5, part.hi = TOTAL;
  EK_FAILS(EkCheckpointWrite(run, dir, 1, &part, 0, NULL, "{}"), "no rank holds value 0 of 'weights'");
  assert_false(Exists(dir, "checkpoint.h5"));
  assert_false(Exists(dir, "checkpoint.h5.tmp"));
  free(model);
}

static void Refused(const char *path)
{
  EkCheckpoint   checkpoint;
  PetscErrorCode code = EkCheckpointOpen(EkTestRun(), path, &checkpoint);

  if (!code) fail_msg("a damaged checkpoint was opened");
  assert_null(checkpoint);
  assert_non_null(strstr(test_last_line, "checkpoint"));
}

static void cut_short_anywhere_is_noticed(void **state)
{
  EkRun run = EkTestRun();
  char  dir[EK_PATH], path[EK_PATH], copy[EK_PATH];
  off_t size, step;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  File(copy, dir, "copy.h5");
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  size = Size(path);
  step = size / 97;
  for (off_t at = 0; at < size; at = at < 600 ? at + 41 : at + step) {
    Copy(path, copy);
    Damage(copy, at, 0, 0);
    Refused(copy);
  }
  Copy(path, copy);
  Damage(copy, size - 1, 0, 0);
  Refused(copy);
}

/* Blocks of zeros, as a crash leaves them: wherever they fall on something that was not zero, they are noticed. */
static void zeros_anywhere_are_noticed(void **state)
{
  EkRun        run = EkTestRun();
  char         dir[EK_PATH], path[EK_PATH], copy[EK_PATH];
  EkCheckpoint checkpoint;
  off_t        size, step;
  char        *bytes;
  int          fd, refused = 0;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  File(copy, dir, "copy.h5");
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  size = Size(path);
  step = size / 61;
  bytes = malloc((size_t)size);
  fd = open(path, O_RDONLY);
  assert_true(pread(fd, bytes, (size_t)size, 0) == size);
  close(fd);
  for (off_t at = 0; at + 512 <= size; at = at < 8192 ? at + 512 : at + step) {
    int nonzero = 0;

    for (int i = 0; i < 512; i++) nonzero += bytes[at + i] != 0;
    Copy(path, copy);
    Damage(copy, -1, at, 512);
    if (EkCheckpointOpen(run, copy, &checkpoint))
      refused++;
    else {
      /* metadata that HDF5 reserved and does not use may have been hit: then everything must still be right */
      CheckModel(run, checkpoint, 1, SLICES);
      assert_string_equal(EkCheckpointMeta(checkpoint), "{}");
      EK_OK(EkCheckpointDestroy(&checkpoint));
      assert_true(!nonzero || at < 8192 || at + 8192 > size);
    }
  }
  assert_true(refused > 60);
  free(bytes);
}

/* One byte in each reader's share, known to all ranks. */
static void a_byte_anywhere_is_noticed(void **state)
{
  EkRun         run = EkTestRun();
  struct EkRun_ many = *run;
  char          dir[EK_PATH], path[EK_PATH];
  EkCheckpoint  checkpoint;
  off_t         size;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  size = Size(path);
  for (int i = 0; i < NSHARES; i++) {
    many.share = share[i];
    for (int r = 0; r < run->size; r++) {
      const off_t at = (off_t)((r + 0.4) / run->size * (double)size);

      Flip(path, at);
      EK_FAILS(EkCheckpointOpen(&many, path, &checkpoint), "/big' is not that of its data");
      assert_null(checkpoint);
      Flip(path, at);
    }
    EK_OK(EkCheckpointOpen(&many, path, &checkpoint));
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
}

/* Where two neighbouring values are in the file. */
static off_t Where(const char *path, const float values[2])
{
  const off_t size = Size(path);
  const int   fd = open(path, O_RDONLY);
  char       *bytes = malloc((size_t)size);
  off_t       at = 0;

  assert_true(fd >= 0 && pread(fd, bytes, (size_t)size, 0) == size);
  close(fd);
  while (at + 8 <= size && memcmp(bytes + at, values, 8)) at++;
  assert_true(at + 8 <= size);
  free(bytes);
  return at;
}

/* Rank 0 writes a value, everybody waits. */
static void Put(const char *path, off_t at, float value)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const int fd = open(path, O_RDWR);

    assert_true(fd >= 0 && pwrite(fd, &value, sizeof(value), at) == sizeof(value));
    close(fd);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* The same values in another order: neighbours, and two far apart. */
static void values_that_changed_places_are_noticed(void **state)
{
  static const int other[] = {1, 60000};
  EkRun            run = EkTestRun();
  Model           *model = Fill(1);
  const float     *big = model->weights + table[4].offset;
  char             dir[EK_PATH], path[EK_PATH];
  EkCheckpoint     checkpoint;
  off_t            at;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  at = Where(path, big + 100);
  for (int i = 0; i < 2; i++) {
    const off_t there = at + 4 * (off_t)other[i];

    Put(path, at, big[100 + other[i]]), Put(path, there, big[100]);
    EK_FAILS(EkCheckpointOpen(run, path, &checkpoint), "weights/big' is not that of its data");
    assert_null(checkpoint);
    Put(path, at, big[100]), Put(path, there, big[100 + other[i]]);
    EK_OK(EkCheckpointOpen(run, path, &checkpoint));
    CheckModel(run, checkpoint, 1, WHOLE);
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
  free(model);
}

/* After it was found sound, and where nothing was kept of it. */
static void cut_short_between_opening_and_reading(void **state)
{
  struct EkRun_ many = *EkTestRun();
  char          dir[EK_PATH], path[EK_PATH];
  Model        *model = Fill(1);
  EkArenaPart   arenas[2];
  EkStateArray  states[NSTATES];
  EkCheckpoint  checkpoint;

  (void)state;
  many.share = 4001;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  for (int reads = 0; reads < SHARES; reads++) {
    EK_OK(WriteModel(&many, dir, 1, WHOLE, "{}"));
    EK_OK(EkCheckpointOpen(&many, path, &checkpoint));
    Damage(path, Size(path) - 100000, 0, 0);
    Arenas(&many, model, (Sharing)reads, arenas, states);
    EK_FAILS(EkCheckpointRead(checkpoint, 2, arenas, NSTATES, states), "checkpoint.h5' is cut short");
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
  free(model);
}

/* The newest that can be read is the previous one, of model `number`, and the next one written does not push it out. */
static void FallsBack(EkRun run, const char *dir, const char *previous, int number)
{
  EkCheckpoint checkpoint;

  EK_OK(EkCheckpointOpenNewest(run, dir, &checkpoint));
  assert_string_equal(EkCheckpointPath(checkpoint), previous);
  CheckModel(run, checkpoint, number, WHOLE);
  EK_OK(EkCheckpointDestroy(&checkpoint));
  EK_OK(WriteModel(run, dir, number + 2, SLICES, "{}"));
  EK_OK(EkCheckpointOpen(run, previous, &checkpoint));
  CheckModel(run, checkpoint, number, WHOLE);
  EK_OK(EkCheckpointDestroy(&checkpoint));
}

static void the_previous_one_steps_in(void **state)
{
  EkRun        run = EkTestRun();
  char         dir[EK_PATH], path[EK_PATH], previous[EK_PATH];
  EkCheckpoint checkpoint;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  File(previous, dir, "checkpoint_prev.h5");
  EK_OK(EkCheckpointOpenNewest(run, dir, &checkpoint));
  assert_null(checkpoint);
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  EK_OK(WriteModel(run, dir, 2, SLICES, "{}"));
  EK_OK(EkCheckpointOpenNewest(run, dir, &checkpoint));
  CheckModel(run, checkpoint, 2, WHOLE);
  EK_OK(EkCheckpointDestroy(&checkpoint));
  Damage(path, Size(path) / 2, 0, 0);
  FallsBack(run, dir, previous, 1);
  /* damaged in its data only, and taken for a checkpoint by all else */
  EK_OK(WriteModel(run, dir, 4, SLICES, "{}"));
  EK_OK(WriteModel(run, dir, 5, SLICES, "{}"));
  Flip(path, (off_t)(0.4 * (double)Size(path)));
  FallsBack(run, dir, previous, 4);
  /* the moment between the two renames */
  MPI_Barrier(run->comm);
  if (run->rank == 0) assert_int_equal(unlink(path), 0);
  MPI_Barrier(run->comm);
  EK_OK(EkCheckpointOpenNewest(run, dir, &checkpoint));
  CheckModel(run, checkpoint, 4, WHOLE);
  EK_OK(EkCheckpointDestroy(&checkpoint));
  Damage(previous, 100, 0, 0);
  EK_FAILS(EkCheckpointOpenNewest(run, dir, &checkpoint), "checkpoint_prev.h5");
}

static void foreign_files_are_refused(void **state)
{
  EkRun        run = EkTestRun();
  char         dir[EK_PATH];
  EkCheckpoint checkpoint;

  (void)state;
  EkTestScratch(dir);
  EK_FAILS(EkCheckpointOpen(run, "tests/test_checkpoint.c", &checkpoint), "is not an HDF5 file");
  EK_FAILS(EkCheckpointOpen(run, dir, &checkpoint), "is not a file");
}

/* No rank may write beyond `bytes` of a file; SIGXFSZ is ignored, so that write() fails as it does on a full disk. */
static void Limit(rlim_t bytes)
{
  struct rlimit limit;

  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = PetscMin(bytes, limit.rlim_max);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_leaves_the_old_one(void **state)
{
  static const rlim_t room[] = {0, 100, 3000, 20000, 300000, 900000};
  EkRun               run = EkTestRun();
  struct EkRun_       many = *run;
  char                dir[EK_PATH], path[EK_PATH], previous[EK_PATH];
  EkCheckpoint        checkpoint;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "checkpoint.h5");
  File(previous, dir, "checkpoint_prev.h5");
  EK_OK(WriteModel(run, dir, 1, WHOLE, "{}"));
  EK_OK(WriteModel(run, dir, 2, WHOLE, "{}"));
  signal(SIGXFSZ, SIG_IGN);
  many.share = 60001; /* every rank writes */
  for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
    PetscErrorCode code;

    /* the last: only one rank is out of room, while the others write */
    if (i < 5)
      Limit(room[i]);
    else if (run->rank == run->size - 1)
      Limit(room[0]);
    code = WriteModel(&many, dir, 3, SLICES, "{}");
    Limit(RLIM_INFINITY);
    assert_true(code != 0);
    assert_non_null(strstr(test_last_line, "File too large"));
    assert_false(Exists(dir, "checkpoint.h5.tmp"));
    EK_OK(EkCheckpointOpen(run, path, &checkpoint));
    CheckModel(run, checkpoint, 2, SLICES);
    EK_OK(EkCheckpointDestroy(&checkpoint));
  }
  EK_OK(EkCheckpointOpen(run, previous, &checkpoint));
  CheckModel(run, checkpoint, 1, SLICES);
  EK_OK(EkCheckpointDestroy(&checkpoint));
  EK_OK(WriteModel(run, dir, 3, SLICES, "{}"));
  signal(SIGXFSZ, SIG_DFL);
}

static void no_such_folder(void **state)
{
  char dir[EK_PATH], inner[EK_PATH];

  (void)state;
  EkTestScratch(dir);
  File(inner, dir, "none");
  EK_FAILS(WriteModel(EkTestRun(), inner, 1, WHOLE, "{}"), "checkpoint.h5.tmp': no such file");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_written_is_read),
    cmocka_unit_test(written_on_p_read_on_q),
    cmocka_unit_test(cuts_fall_anywhere),
    cmocka_unit_test(the_file_is_read_once),
    cmocka_unit_test(weights_come_out_of_a_checkpoint),
    cmocka_unit_test(what_does_not_fit_is_named),
    cmocka_unit_test(a_part_that_nobody_holds),
    cmocka_unit_test(cut_short_anywhere_is_noticed),
    cmocka_unit_test(zeros_anywhere_are_noticed),
    cmocka_unit_test(a_byte_anywhere_is_noticed),
    cmocka_unit_test(values_that_changed_places_are_noticed),
    cmocka_unit_test(cut_short_between_opening_and_reading),
    cmocka_unit_test(the_previous_one_steps_in),
    cmocka_unit_test(foreign_files_are_refused),
    cmocka_unit_test(a_full_disk_leaves_the_old_one),
    cmocka_unit_test(no_such_folder),
};
EK_TEST_MAIN(tests)
