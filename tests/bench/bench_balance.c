/* Time of a refresh: the published layers of an FNO2d, then large single matrices by each route.
   Prints `rebalance_fno2d SECONDS` (median over refreshes of the slowest rank) and a table. */
#include "evenkeel/balance.h"
#include <stdio.h>
#include <stdlib.h>

#define REPEATS 201

static PetscErrorCode Weights(size_t n, float **out)
{
  EkRandom stream = EkRandomStream(1, EK_RANDOM_TEST, 0);

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(n, out));
  for (size_t i = 0; i < n; i++) (*out)[i] = (float)(0.1 * EkNormal(&stream));
  PetscFunctionReturn(0);
}

static EkLayer Layer(const char *name, const float *data, PetscInt rows, PetscInt cols, double scale)
{
  EkLayer layer = {.nbatches = 1, .scale = scale};

  PetscStrncpy(layer.name, name, sizeof(layer.name));
  layer.batch[0] = (EkMatrixBatch){data, 1, rows, cols, (size_t)(rows * cols), (size_t)cols, 1, PETSC_FALSE, 0};
  return layer;
}

static int Ascending(const void *left, const void *right)
{
  const double a = *(const double *)left, b = *(const double *)right;

  return (a > b) - (a < b);
}

/* Median over `repeats` refreshes of the slowest rank's time. Collective. */
static PetscErrorCode MedianRefresh(EkBalance balance, EkMesh mesh, int repeats, double *median)
{
  double seconds[REPEATS];

  PetscFunctionBegin;
  for (int i = 0; i < repeats; i++) {
    PetscCallMPI(MPI_Barrier(mesh->world));
    seconds[i] = EkTime();
    PetscCall(EkBalanceRefresh(balance));
    seconds[i] = EkTime() - seconds[i];
  }
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, seconds, repeats, MPI_DOUBLE, MPI_MAX, mesh->world));
  qsort(seconds, (size_t)repeats, sizeof(*seconds), Ascending);
  *median = seconds[repeats / 2];
  PetscFunctionReturn(0);
}

/* fc0, w0..w3, fc1, fc2 of the published set; with `all` also conv0..3: two complex 20 x 20 matrices for each of 12 x 12 modes.
 */
static int FnoLayers(const float *w, PetscBool all, EkLayer layer[])
{
  const PetscInt modes = 144;
  int            n = 0;

  layer[n++] = Layer("fc0", w, 20, 42, 1);
  layer[n++] = Layer("w0", w, 20, 20, 0.5);
  layer[n++] = Layer("w1", w + 400, 20, 20, 0.5);
  layer[n++] = Layer("w2", w + 800, 20, 20, 0.5);
  layer[n++] = Layer("w3", w + 1200, 20, 20, 0.5);
  layer[n++] = Layer("fc1", w, 128, 20, 1);
  layer[n++] = Layer("fc2", w, 4, 128, 1);
  for (int i = 0; i < 4 && all; i++) {
    layer[n] = Layer((const char *[]){"conv0", "conv1", "conv2", "conv3"}[i], w, 20, 20, 1);
    layer[n].nbatches = 2;
    for (int b = 0; b < 2; b++)
      layer[n].batch[b] = (EkMatrixBatch){w, modes, 20, 20, 2, (size_t)(2 * 20 * modes), (size_t)(2 * modes), PETSC_TRUE, 0};
    n++;
  }
  return n;
}

static PetscErrorCode BenchFno2d(EkMesh mesh, const EkBalanceOptions *options, PetscBool all)
{
  EkBalance balance;
  EkLayer   layer[11];
  float    *w;
  double    median = 0;

  PetscFunctionBegin;
  PetscCall(Weights(2 * 20 * 20 * 144, &w));
  PetscCall(EkBalanceCreate(mesh, options, FnoLayers(w, all, layer), layer, &balance));
  PetscCall(MedianRefresh(balance, mesh, all ? 11 : REPEATS, &median));
  PetscCall(EkBalanceView(balance, stdout));
  if (mesh->run->rank == 0) printf("rebalance_fno2d%s %.6f\n", all ? "_all" : "", median);
  PetscCall(EkBalanceDestroy(&balance));
  PetscCall(PetscFree(w));
  PetscFunctionReturn(0);
}

static PetscErrorCode BenchMatrix(EkMesh mesh, EkBalanceOptions options, PetscInt rows, PetscInt cols, const char *solver,
                                  PetscBool distributed)
{
  EkBalance balance;
  EkLayer   layer;
  float    *w;
  double    median = 0;

  PetscFunctionBegin;
  options.solver = EkFamilyFind(&EkSolverFamily, solver);
  options.scalapack_min = distributed ? 32 : 1 << 30;
  PetscCall(Weights((size_t)(rows * cols), &w));
  layer = Layer("matrix", w, rows, cols, 1);
  PetscCall(EkBalanceCreate(mesh, &options, 1, &layer, &balance));
  PetscCall(MedianRefresh(balance, mesh, 1, &median));
  if (mesh->run->rank == 0)
    printf("%6d x %-6d %-5s %-10s %9.4f\n", (int)rows, (int)cols, solver, distributed ? "scalapack" : "lapack", median);
  fflush(stdout);
  PetscCall(EkBalanceDestroy(&balance));
  PetscCall(PetscFree(w));
  PetscFunctionReturn(0);
}

static PetscErrorCode Bench(EkRun run)
{
  static const PetscInt      size[][2] = {{256, 256}, {512, 512}, {1024, 1024}, {2048, 512}, {4096, 1024}, {2048, 2048}};
  static const char *const   solver[] = {"gram", "svd"};
  static const EkMeshOptions whole = {0, 1, EK_SHARD_NONE};
  EkMesh                     mesh;
  EkBalanceOptions           options;
  EkProblems                 problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  PetscCall(EkKeysRead(run, &EkBalanceKeys, &options, problems));
  PetscCall(EkProblemsRaise(run, &problems));
  PetscCall(EkMeshCreate(run, &whole, &mesh));
  for (int all = 1; all >= 0; all--) PetscCall(BenchFno2d(mesh, &options, (PetscBool)all));
  if (run->rank == 0) printf("%15s %-5s %-10s %9s   (%d ranks)\n", "matrix", "by", "with", "seconds", run->size);
  for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
    for (int s = 0; s < 2; s++) {
      for (int d = 0; d <= (run->size > 1); d++)
        PetscCall(BenchMatrix(mesh, options, size[i][0], size[i][1], solver[s], (PetscBool)d));
    }
  }
  PetscCall(EkMeshDestroy(&mesh));
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  EkRun run;
  int   failed;

  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  if (EkRunCreate(argc, argv, &run)) return 1;
  failed = Bench(run) != 0;
  if (EkRunDestroy(&run)) failed = 1;
  PetscFinalize();
  return failed;
}
