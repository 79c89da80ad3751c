/* ranks: 1 */
/* Files of results: spectra over epochs. */
#include "evenkeel/results.h"
#include "support.h"
#include <hdf5.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const double eigenvalue[] = {0.5, 1, 4};

static void Append(const char *path, PetscInt epoch)
{
  const EkSpectrumRecord record = {"fc0", 3, eigenvalue, 2.5, 0.1, 1};

  EK_OK(EkSpectraAppend(path, epoch, 1, &record));
}

static PetscBool Has(const char *path, const char *name)
{
  hid_t  file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  htri_t there;

  assert_true(file >= 0);
  there = H5Lexists(file, name, H5P_DEFAULT);
  H5Fclose(file);
  return (PetscBool)(there > 0);
}

static void Path(char path[EK_PATH], const char *name)
{
  mkdir("build/scratch", 0777);
  snprintf(path, EK_PATH, "build/scratch/results_%s", name);
  remove(path);
}

/* By number, also where numbers have more digits than names are filled up to. */
static void what_lies_after_an_epoch_goes(void **unused)
{
  static const PetscInt epochs[] = {0, 2, 10001, 99999, 100000, 100001};
  char                  path[EK_PATH], name[32];

  (void)unused;
  Path(path, "epochs.h5");
  EK_OK(EkSpectraTruncate(path, 3)); /* there is none yet */
  for (int i = 0; i < 6; i++) Append(path, epochs[i]);
  EK_OK(EkSpectraTruncate(path, 100000));
  for (int last = 100000; last > 0; last = last > 2 ? 2 : 0) {
    EK_OK(EkSpectraTruncate(path, last));
    for (int i = 0; i < 6; i++) {
      snprintf(name, sizeof(name), "epoch_%05d", (int)epochs[i]);
      assert_int_equal(Has(path, name), epochs[i] <= last);
    }
  }
}

/* Somebody who looks at the file while the run continues does not cost it the spectra. */
static void a_reader_does_no_harm(void **unused)
{
  char path[EK_PATH];
  int  fd;

  (void)unused;
  Path(path, "read.h5");
  Append(path, 0);
  Append(path, 1);
  fd = open(path, O_RDONLY);
  assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), 0); /* as HDF5 does for readers */
  EK_OK(EkSpectraTruncate(path, 0));
  Append(path, 5);
  flock(fd, LOCK_UN);
  close(fd);
  assert_true(Has(path, "epoch_00000") && !Has(path, "epoch_00001") && Has(path, "epoch_00005"));
}

static void damage_is_put_aside(void **unused)
{
  char        path[EK_PATH], aside[EK_PATH + 16];
  struct stat before, after;

  (void)unused;
  Path(path, "damaged.h5");
  snprintf(aside, sizeof(aside), "%s.damaged", path);
  remove(aside);
  Append(path, 0);
  assert_int_equal(stat(path, &before), 0);
  assert_int_equal(truncate(path, before.st_size / 2), 0);
  EK_OK(EkSpectraTruncate(path, 0));
  assert_int_equal(stat(aside, &after), 0);
  assert_int_equal(after.st_size, before.st_size / 2);
  assert_true(access(path, F_OK) != 0);
  Append(path, 1);
  assert_true(Has(path, "epoch_00001"));
  EK_FAILS(EkSpectraTruncate("build", 0), "'build'"); /* nothing that is there and no file is removed */
  assert_int_equal(access("build", F_OK), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_lies_after_an_epoch_goes),
    cmocka_unit_test(a_reader_does_no_harm),
    cmocka_unit_test(damage_is_put_aside),
};
EK_TEST_MAIN(tests)
