/* Warm reading of a PDEBench 2D CFD file of about 1 GB (128 x 128, 21 frames, 4 fields), made for the purpose and removed
   afterwards. Prints `read_warm GB/S`, summed over the ranks, each of which reads its own trajectories; the same at half
   resolution (file bytes), and from the cache of decoded samples (sample bytes). read_groups: a file of one group a sample, two
   channels last, turned into planes; read_groups_first: its first pass, which opens every group. Best of several passes. */
#include "evenkeel/dataset.h"
#include "evenkeel/kernel.h"
#include "evenkeel/mesh.h"
#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER       "runs/bench"
#define TRAJECTORIES 192
#define FRAMES       21
#define POINTS       128
#define BATCH        4
#define PASSES       5
#define SAMPLE       ((size_t)FRAMES * POINTS * POINTS)

static PetscErrorCode WriteSet(hid_t file, const char *name, int rank, const hsize_t dims[], size_t block, const float *values)
{
  const hid_t space = H5Screate_simple(rank, dims, NULL),
              set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  hsize_t start[4] = {0}, count[4];
  herr_t  failed = 0;

  PetscFunctionBegin;
  memcpy(count, dims, (size_t)rank * sizeof(*dims));
  if (block) count[0] = 1;
  for (; start[0] < dims[0] && failed >= 0; start[0] += count[0]) {
    const hid_t memory = H5Screate_simple(rank, count, NULL);

    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    failed = H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values + start[0] % 7 * block);
    H5Sclose(memory);
  }
  H5Dclose(set);
  H5Sclose(space);
  EkCallHDF5(failed, "cannot write '%s'", name);
  PetscFunctionReturn(0);
}

/* Seven different trajectories, over and over. */
static PetscErrorCode MakeFile(const char *path)
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy"};
  const hsize_t            dims[4] = {TRAJECTORIES, FRAMES, POINTS, POINTS}, line[1] = {POINTS};
  EkRandom                 stream = EkRandomStream(1, EK_RANDOM_TEST, 0);
  float                   *values;
  hid_t                    file;

  PetscFunctionBegin;
  mkdir("runs", 0777);
  mkdir(FOLDER, 0777);
  PetscCall(PetscMalloc1(7 * SAMPLE, &values));
  for (size_t i = 0; i < 7 * SAMPLE; i++) values[i] = (float)EkUniform(&stream);
  file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  EkCallHDF5(file, "cannot make '%s'", path);
  for (int f = 0; f < 4; f++) PetscCall(WriteSet(file, field[f], 4, dims, SAMPLE, values));
  PetscCall(WriteSet(file, "x-coordinate", 1, line, 0, values));
  PetscCall(WriteSet(file, "y-coordinate", 1, line, 0, values));
  H5Fclose(file);
  PetscCall(PetscFree(values));
  PetscFunctionReturn(0);
}

/* A group a trajectory: two channels, last. */
static PetscErrorCode MakeGroups(const char *path)
{
  const hsize_t dims[4] = {FRAMES, POINTS, POINTS, 2}, line[1] = {POINTS};
  EkRandom      stream = EkRandomStream(1, EK_RANDOM_TEST, 0);
  float        *values;
  char          name[32];
  hid_t         file;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(2 * SAMPLE, &values));
  for (size_t i = 0; i < 2 * SAMPLE; i++) values[i] = (float)EkUniform(&stream);
  file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  EkCallHDF5(file, "cannot make '%s'", path);
  for (int s = 0; s < TRAJECTORIES; s++) {
    hid_t group, grid;

    snprintf(name, sizeof(name), "%04d", s);
    group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    grid = H5Gcreate2(group, "grid", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    PetscCall(WriteSet(group, "data", 4, dims, 0, values));
    PetscCall(WriteSet(grid, "x", 1, line, 0, values));
    PetscCall(WriteSet(grid, "y", 1, line, 0, values));
    H5Gclose(grid);
    H5Gclose(group);
  }
  H5Fclose(file);
  PetscCall(PetscFree(values));
  PetscFunctionReturn(0);
}

/* Reads this rank's trajectories in batches; seconds of the slowest rank. */
static PetscErrorCode Pass(EkRun run, EkDataset data, size_t stride, float *out, double *seconds)
{
  const EkDataInfo *info;
  PetscInt64        lo, hi;
  PetscInt          index[BATCH];

  PetscFunctionBegin;
  PetscCall(EkDatasetGetInfo(data, &info));
  EkSlice(info->count[EK_TRAIN], run->size, run->rank, &lo, &hi);
  PetscCallMPI(MPI_Barrier(run->comm));
  *seconds = -EkTime();
  for (PetscInt n = 0; lo < hi; lo += n) {
    n = (PetscInt)PetscMin(BATCH, hi - lo);
    for (PetscInt i = 0; i < n; i++) index[i] = (PetscInt)lo + i;
    PetscCall(EkDatasetRead(data, EK_TRAIN, n, index, stride, out));
  }
  *seconds += EkTime();
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, run->comm));
  PetscFunctionReturn(0);
}

static PetscErrorCode Measure(EkRun run, const char *label, const char *path, PetscInt every, PetscInt64 cache)
{
  EkDataOptions     options = {.train = -1,
                               .reduced_batch = 1,
                               .reduced_resolution = every,
                               .reduced_resolution_t = 1,
                               .initial_step = 10,
                               .t_train = -1,
                               .cache = cache};
  const EkDataInfo *info;
  EkDataset         data;
  size_t            stride, floats;
  float            *out;
  double            seconds, first, best = PETSC_MAX_REAL, bytes;

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(options.file, path, sizeof(options.file)));
  PetscCall(EkDatasetOpen(run, &options, &data));
  PetscCall(EkDatasetGetInfo(data, &info));
  stride = EkPlaneStride(info->n[0] * info->n[1]);
  floats = (size_t)info->frames * (size_t)info->fields * stride;
  PetscCall(PetscMalloc1(BATCH * floats, &out));
  PetscCall(Pass(run, data, stride, out, &first)); /* not counted: page cache, first touch, our cache */
  for (int p = 0; p < PASSES; p++) {
    PetscCall(Pass(run, data, stride, out, &seconds));
    best = PetscMin(best, seconds);
  }
  bytes = (double)info->fields * TRAJECTORIES * SAMPLE * sizeof(float) / (cache ? every * every : 1);
  PetscCall(PetscPrintf(run->comm, "%s %.2f GB/s\n", label, 1e-9 * bytes / best));
  if (!strcmp(info->family, "groups")) PetscCall(PetscPrintf(run->comm, "%s_first %.2f GB/s\n", label, 1e-9 * bytes / first));
  PetscCall(PetscFree(out));
  PetscCall(EkDatasetDestroy(&data));
  PetscFunctionReturn(0);
}

static PetscErrorCode Bench(EkRun run)
{
  const char *path = FOLDER "/read.hdf5";

  PetscFunctionBegin;
  if (run->rank == 0) PetscCall(MakeFile(path));
  PetscCallMPI(MPI_Barrier(run->comm));
  PetscCall(Measure(run, "read_warm", path, 1, 0));
  PetscCall(Measure(run, "read_warm_strided", path, 2, 0));
  PetscCall(Measure(run, "read_cached", path, 2, (PetscInt64)1 << 40));
  PetscCallMPI(MPI_Barrier(run->comm));
  if (run->rank == 0) PetscCall(MakeGroups(path));
  PetscCallMPI(MPI_Barrier(run->comm));
  PetscCall(Measure(run, "read_groups", path, 1, 0));
  PetscCallMPI(MPI_Barrier(run->comm));
  if (run->rank == 0) unlink(path);
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  EkRun          run;
  PetscErrorCode code;

  EkBlasChoose(argv);
  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(EkRunCreate(argc, argv, &run));
  code = Bench(run);
  PetscCall(EkRunDestroy(&run));
  PetscCall(PetscFinalize());
  return code != 0;
}
