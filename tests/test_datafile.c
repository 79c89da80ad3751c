/* ranks: 1 2 3 */
#include "evenkeel/datafile.h"
#include "support.h"
#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The program's calls end here: a file system that cannot reserve, a signal in the middle of it. */
static int refusals, interruptions;
int        fallocate(int fd, int mode, off_t offset, off_t length);
int        fallocate(int fd, int mode, off_t offset, off_t length)
{
  if (interruptions > 0) {
    interruptions--;
    errno = EINTR;
    return -1;
  }
  if (refusals) {
    errno = refusals;
    return -1;
  }
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

static const char *const field[] = {"density", "pressure", "Vx", "Vy"};

/* A file of PDEBench's CFD data of 1 or 2 dimensions */
static EkFileSpec CfdSpec(const char *path, int dim, PetscInt samples, PetscInt frames, PetscInt n)
{
  static EkFileSpec empty;
  EkFileSpec        spec = empty;
  const PetscInt    shape[] = {samples, frames, n, n};

  snprintf(spec.path, EK_PATH, "%s", path);
  snprintf(spec.identity, sizeof(spec.identity), "generate:\n  seed: 1\n  eta: 0.01\n");
  spec.samples = samples;
  for (int f = 0; f < dim + 2; f++) EK_OK(EkFileSpecAddData(&spec, field[f], dim + 2, shape));
  if (dim == 2) EK_OK(EkFileSpecAddCoordinate(&spec, "y-coordinate", n, 0.5 / (double)n, 1.0 / (double)n));
  EK_OK(EkFileSpecAddCoordinate(&spec, "x-coordinate", n, 0.5 / (double)n, 1.0 / (double)n));
  EK_OK(EkFileSpecAddCoordinate(&spec, "t-coordinate", frames + 1, 0, 0.05));
  EK_OK(EkFileSpecAddAttribute(&spec, "eta", 0.01));
  EK_OK(EkFileSpecAddAttribute(&spec, "zeta", 0.02));
  if (dim == 2) EK_OK(EkFileSpecAddAttribute(&spec, "M", 0.1));
  return spec;
}

static float Value(int set, PetscInt trajectory, size_t i)
{
  return (float)set + 10 * (float)trajectory + 1e-4f * (float)(i % 1000);
}

static void WriteTrajectory(EkDataFile file, const EkFileSpec *spec, PetscInt trajectory)
{
  for (int s = 0; s < spec->nsets; s++) {
    size_t count = 1;
    float *slab;

    if (spec->set[s].coordinate) continue;
    for (int d = 1; d < spec->set[s].rank; d++) count *= (size_t)spec->set[s].shape[d];
    slab = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++) slab[i] = Value(s, trajectory, i);
    EK_OK(EkDataFileWrite(file, s, trajectory, slab));
    free(slab);
  }
}

/* Writes what is missing of trajectories lo..hi-1, shared among the ranks in a way that depends on `turn` */
static void WriteSome(EkDataFile file, const EkFileSpec *spec, PetscInt lo, PetscInt hi, int turn)
{
  PetscInt        n;
  const PetscInt *missing;

  EK_OK(EkDataFileGetMissing(file, &n, &missing));
  for (PetscInt i = n - 1; i >= 0; i--) {
    if (missing[i] < lo || missing[i] >= hi || (missing[i] + turn) % EkTestRun()->size != EkTestRun()->rank) continue;
    WriteTrajectory(file, spec, missing[i]);
    EK_OK(EkDataFileMark(file, missing[i], missing[i] % 3));
  }
}

static void WriteWhole(const EkFileSpec *spec, int turn)
{
  EkDataFile file;
  PetscBool  complete;
  PetscInt   redraws, expected = 0;

  EK_OK(EkDataFileOpen(EkTestRun(), spec, &file));
  WriteSome(file, spec, 0, spec->samples, turn);
  EK_OK(EkDataFileFinish(file, &complete, &redraws));
  EK_OK(EkDataFileDestroy(&file));
  for (PetscInt i = 0; i < spec->samples; i++) expected += i % 3;
  assert_true(complete);
  assert_int_equal(redraws, expected);
}

static PetscBool Exists(const char *path, const char *suffix)
{
  char name[2 * EK_PATH];

  snprintf(name, sizeof(name), "%s%s", path, suffix);
  return (PetscBool)!access(name, F_OK);
}

static const char *InScratch(char path[2 * EK_PATH], const char *name)
{
  char folder[EK_PATH];

  EkTestScratch(folder);
  snprintf(path, 2 * EK_PATH, "%s/%s", folder, name);
  return path;
}

/* ---- layout ------------------------------------------------------------------------------------------------ */

static void CheckAttribute(hid_t h5, const char *name, double expected)
{
  hid_t  id = H5Aopen(h5, name, H5P_DEFAULT), type = H5Aget_type(id), space = H5Aget_space(id);
  double value;

  assert_true(H5Tequal(type, H5T_IEEE_F64LE) > 0);
  assert_int_equal(H5Sget_simple_extent_type(space), H5S_SCALAR);
  assert_true(H5Aread(id, H5T_NATIVE_DOUBLE, &value) >= 0);
  assert_true(value == expected);
  H5Sclose(space);
  H5Tclose(type);
  H5Aclose(id);
}

/* Contiguous little-endian float32 of the spec's shape, without filters; returns the place of its data */
static haddr_t CheckSet(hid_t h5, const EkFileSet *set, float **values)
{
  hid_t id = H5Dopen2(h5, set->name, H5P_DEFAULT), type = H5Dget_type(id), space = H5Dget_space(id),
        layout = H5Dget_create_plist(id);
  hsize_t shape[EK_MAX_RANK];
  haddr_t offset = H5Dget_offset(id);

  assert_true(H5Tequal(type, H5T_IEEE_F32LE) > 0);
  assert_int_equal(H5Pget_layout(layout), H5D_CONTIGUOUS);
  assert_int_equal(H5Pget_nfilters(layout), 0);
  assert_int_equal(H5Sget_simple_extent_dims(space, shape, NULL), set->rank);
  for (int d = 0; d < set->rank; d++) assert_int_equal(shape[d], set->shape[d]);
  *values = malloc((size_t)H5Sget_simple_extent_npoints(space) * sizeof(float));
  assert_true(H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values) >= 0);
  H5Pclose(layout);
  H5Sclose(space);
  H5Tclose(type);
  H5Dclose(id);
  return offset;
}

static void CheckContents(const EkFileSpec *spec)
{
  hid_t   h5 = H5Fopen(spec->path, H5F_ACC_RDONLY, H5P_DEFAULT);
  haddr_t before = 0;

  assert_true(h5 >= 0);
  for (int s = 0; s < spec->nsets; s++) {
    const EkFileSet *set = &spec->set[s];
    float           *value;
    haddr_t          offset = CheckSet(h5, set, &value);
    size_t           slab = 1;

    assert_true(offset > before); /* in the order of creation */
    before = offset;
    for (int d = 1; d < set->rank; d++) slab *= (size_t)set->shape[d];
    for (size_t i = 0; i < (size_t)set->shape[0] * slab; i++) {
      const float expected =
          set->coordinate ? (float)(set->first + (double)i * set->step) : Value(s, (PetscInt)(i / slab), i % slab);

      if (value[i] != expected) fail_msg("%s[%zu] is %g, not %g", set->name, i, (double)value[i], (double)expected);
    }
    free(value);
  }
  for (int a = 0; a < spec->nattributes; a++) CheckAttribute(h5, spec->attribute[a].name, spec->attribute[a].value);
  H5Fclose(h5);
}

/* The released 2D file is 5208 bytes longer than its data, the 1D file 8600. */
static void LayoutIsPDEBenchs(void **unused)
{
  char       path[2 * EK_PATH], *bytes;
  EkFileSpec two, one;

  (void)unused;
  two = CfdSpec(InScratch(path, "two.hdf5"), 2, 2, 21, 128);
  WriteWhole(&two, 0);
  assert_int_equal(EkTestFileBytes(two.path, &bytes), 4L * 2 * 21 * 128 * 128 * 4 + 5208);
  free(bytes);
  CheckContents(&two);
  one = CfdSpec(InScratch(path, "one.hdf5"), 1, 3, 101, 1024);
  WriteWhole(&one, 0);
  assert_int_equal(EkTestFileBytes(one.path, &bytes), 3L * 3 * 101 * 1024 * 4 + 8600);
  free(bytes);
  CheckContents(&one);
}

static void BytesDoNotDependOnTheWriters(void **unused)
{
  char       path[2 * EK_PATH];
  EkFileSpec first, second;

  (void)unused;
  first = CfdSpec(InScratch(path, "a/b/first.hdf5"), 2, 7, 3, 8);
  second = first;
  strcat(second.path, ".second");
  WriteWhole(&first, 0);
  sleep(1); /* a time stamp would show */
  WriteWhole(&second, 1);
  EkTestSameFile(first.path, second.path);
  assert_false(Exists(first.path, ".part"));
  assert_false(Exists(first.path, ".progress"));
}

/* ---- continuing -------------------------------------------------------------------------------------------- */

static void ContinuedEqualsUninterrupted(void **unused)
{
  char            path[2 * EK_PATH];
  EkFileSpec      whole, spec;
  EkDataFile      file;
  PetscBool       complete;
  PetscInt        n, redraws;
  const PetscInt *missing;

  (void)unused;
  whole = CfdSpec(InScratch(path, "whole.hdf5"), 2, 9, 3, 8);
  spec = whole;
  strcat(spec.path, ".parts");
  WriteWhole(&whole, 0);

  EK_OK(EkDataFileOpen(EkTestRun(), &spec, &file));
  WriteSome(file, &spec, 4, 9, 0);
  EK_OK(EkDataFileFinish(file, &complete, &redraws));
  EK_OK(EkDataFileDestroy(&file));
  assert_false(complete);
  assert_false(Exists(spec.path, ""));

  EK_OK(EkDataFileOpen(EkTestRun(), &spec, &file));
  EK_OK(EkDataFileGetMissing(file, &n, &missing));
  assert_int_equal(n, 4);
  for (PetscInt i = 0; i < n; i++) assert_int_equal(missing[i], i);
  WriteSome(file, &spec, 0, 2, 1); /* a run that is killed: written, never flushed */
  MPI_Barrier(EkTestRun()->comm);
  EK_OK(EkDataFileDestroy(&file));

  EK_OK(EkDataFileOpen(EkTestRun(), &spec, &file));
  EK_OK(EkDataFileGetMissing(file, &n, &missing));
  assert_int_equal(n, 4);
  WriteSome(file, &spec, 0, 9, 2);
  EK_OK(EkDataFileFinish(file, &complete, &redraws));
  EK_OK(EkDataFileDestroy(&file));
  assert_true(complete);
  assert_int_equal(redraws, 9);
  EkTestSameFile(whole.path, spec.path);
}

/* ---- refusals ---------------------------------------------------------------------------------------------- */

static void OnFirst(const char *format, const char *path)
{
  char command[4 * EK_PATH];

  snprintf(command, sizeof(command), format, path);
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) assert_int_equal(system(command), 0);
  MPI_Barrier(EkTestRun()->comm);
}

/* A spec whose file is begun and left with trajectory 1 of 4 */
static EkFileSpec Begun(char path[2 * EK_PATH])
{
  EkFileSpec spec = CfdSpec(InScratch(path, "begun.hdf5"), 2, 4, 3, 8);
  EkDataFile file;
  PetscBool  complete;
  PetscInt   redraws;

  EK_OK(EkDataFileOpen(EkTestRun(), &spec, &file));
  WriteSome(file, &spec, 1, 2, 0);
  EK_OK(EkDataFileFinish(file, &complete, &redraws));
  EK_OK(EkDataFileDestroy(&file));
  return spec;
}

static void DamageIsRefused(void **unused)
{
  char       path[2 * EK_PATH];
  EkFileSpec spec;
  EkDataFile file;

  (void)unused;
  spec = Begun(path);
  snprintf(spec.identity, sizeof(spec.identity), "generate:\n  seed: 1\n  eta: 0.1\n");
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "was begun with 'eta: 0.01', now it is 'eta: 0.1'");
  spec = Begun(path);
  OnFirst("truncate -s 3000 %s.part", spec.path);
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "damaged");
  spec = Begun(path);
  OnFirst("printf more >> %s.progress", spec.path);
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "damaged");
  spec = Begun(path);
  OnFirst("sed -i s/[.]A/.-/ %1$s.progress; sed -i s/[.]B/.-/ %1$s.progress", spec.path);
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "damaged");
  spec = Begun(path);
  OnFirst("printf nonsense > %s.part", spec.path);
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "is not an HDF5 file");
}

/* Without one of the two files there is nothing to continue: the run starts over. */
static void HalfOfThePairStartsOver(void **unused)
{
  static const char *const lost[] = {"rm %s.part", "rm %s.progress", "truncate -s 0 %s.progress"};

  (void)unused;
  for (int i = 0; i < 3; i++) {
    char            path[2 * EK_PATH];
    EkFileSpec      spec = Begun(path);
    EkDataFile      file;
    PetscInt        n;
    const PetscInt *missing;

    OnFirst(lost[i], spec.path);
    EK_OK(EkDataFileOpen(EkTestRun(), &spec, &file));
    EK_OK(EkDataFileGetMissing(file, &n, &missing));
    assert_int_equal(n, 4);
    EK_OK(EkDataFileDestroy(&file));
  }
}

static void WhatIsThereIsKept(void **unused)
{
  char       path[2 * EK_PATH];
  EkFileSpec spec;
  EkDataFile file;

  (void)unused;
  spec = CfdSpec(InScratch(path, "there.hdf5"), 1, 2, 3, 8);
  WriteWhole(&spec, 0);
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "is there already: delete it or choose another file");
  CheckContents(&spec);
  strcat(spec.path, "/inside.hdf5");
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "generate_file: cannot");
}

/* A child of the first rank holds the lock while the ranks try to open the file. */
static void TwoRunsDoNotShareAFile(void **unused)
{
  char       path[2 * EK_PATH], name[3 * EK_PATH];
  EkFileSpec spec;
  EkDataFile file;
  int        ready[2];
  pid_t      child = 0;

  (void)unused;
  spec = Begun(path);
  if (EkTestRun()->rank == 0) {
    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
      struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

      snprintf(name, sizeof(name), "%s.progress", spec.path);
      if (fcntl(open(name, O_RDWR), F_SETLK, &lock) || write(ready[1], "x", 1) != 1) _exit(1);
      pause();
      _exit(0);
    }
    assert_int_equal(read(ready[0], name, 1), 1);
  }
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "is being written by another run");
  if (child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
  }
}

/* ---- full disks -------------------------------------------------------------------------------------------- */

static void MoreThanTheDiskHoldsIsRefused(void **unused)
{
  char           path[2 * EK_PATH];
  EkFileSpec     spec;
  EkDataFile     file;
  struct statvfs disk;

  (void)unused;
  spec = CfdSpec(InScratch(path, "large.hdf5"), 2, 1000000, 21, 4096);
  assert_int_equal(statvfs("build", &disk), 0);
  assert_true((double)disk.f_bavail * (double)disk.f_frsize < 5e15);
  EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "needs 5.637e+06 GB, the disk has");
  assert_false(Exists(spec.path, ".part"));
  assert_false(Exists(spec.path, ".progress"));
}

/* The system refuses to extend the file at some point of its creation. */
static void NoRoomIsAPlainLine(void **unused)
{
  static const rlim_t limits[] = {1000, 5000, 100000};

  (void)unused;
  for (int i = 0; i < 3; i++) {
    char          path[2 * EK_PATH];
    EkFileSpec    spec = CfdSpec(InScratch(path, "full.hdf5"), 2, 4, 21, 32);
    EkDataFile    file;
    struct rlimit before, small;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = limits[i];
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    EK_FAILS(EkDataFileOpen(EkTestRun(), &spec, &file), "File too large");
    setrlimit(RLIMIT_FSIZE, &before);
    assert_false(Exists(spec.path, ".part"));
    MPI_Barrier(EkTestRun()->comm);
    WriteWhole(&spec, 0);
    CheckContents(&spec);
  }
}

/* What old NFS and ext3 say to a reservation, and a signal on the way to it, are no reason to stop. */
static void ReservationsMayBeMissingOrInterrupted(void **unused)
{
  static const int says[] = {EOPNOTSUPP, ENOSYS, 0};

  (void)unused;
  for (int i = 0; i < 3; i++) {
    char       path[2 * EK_PATH];
    EkFileSpec spec = CfdSpec(InScratch(path, "unreserved.hdf5"), 2, 4, 21, 32);

    refusals = says[i];
    interruptions = says[i] || EkTestRun()->rank ? 0 : 2; /* the first rank makes the file */
    WriteWhole(&spec, 0);
    refusals = 0;
    assert_int_equal(interruptions, 0);
    CheckContents(&spec);
    MPI_Barrier(EkTestRun()->comm);
    if (EkTestRun()->rank == 0) remove(spec.path);
    MPI_Barrier(EkTestRun()->comm);
  }
}

/* A slab that does not fit after all is an error, not a silent loss. */
static void AFailedWriteIsNoticed(void **unused)
{
  char          path[2 * EK_PATH];
  EkFileSpec    spec = CfdSpec(InScratch(path, "late.hdf5"), 2, 2, 3, 64);
  EkDataFile    file;
  struct rlimit before, small;
  float        *slab = calloc(3 * 64 * 64, sizeof(float));

  (void)unused;
  EK_OK(EkDataFileOpen(EkTestRun(), &spec, &file));
  getrlimit(RLIMIT_FSIZE, &before);
  small = before;
  small.rlim_cur = 100000;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  EK_FAILS(EkDataFileWrite(file, 1, 1, slab), "File too large");
  setrlimit(RLIMIT_FSIZE, &before);
  EK_OK(EkDataFileDestroy(&file));
  free(slab);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(LayoutIsPDEBenchs),
    cmocka_unit_test(BytesDoNotDependOnTheWriters),
    cmocka_unit_test(ContinuedEqualsUninterrupted),
    cmocka_unit_test(DamageIsRefused),
    cmocka_unit_test(HalfOfThePairStartsOver),
    cmocka_unit_test(WhatIsThereIsKept),
    cmocka_unit_test(TwoRunsDoNotShareAFile),
    cmocka_unit_test(MoreThanTheDiskHoldsIsRefused),
    cmocka_unit_test(NoRoomIsAPlainLine),
    cmocka_unit_test(ReservationsMayBeMissingOrInterrupted),
    cmocka_unit_test(AFailedWriteIsNoticed),
};
EK_TEST_MAIN(tests)
