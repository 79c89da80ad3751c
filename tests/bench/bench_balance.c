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
  layer.batch[0] = (EkMatrixBatch){data, 1, rows, cols, (size_t)(rows * cols), (size_t)cols, 1, PETSC_FALSE};
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

static PetscErrorCode BenchFno2d(EkMesh mesh, const EkBalanceOptions *options)
{
  EkBalance balance;
  EkLayer   layer[7];
  float    *w;
  double    median = 0;

  PetscFunctionBegin;
  PetscCall(Weights(128 * 42, &w));
  layer[0] = Layer("fc0", w, 20, 42, 1);
  layer[1] = Layer("w0", w, 20, 20, 0.5);
  layer[2] = Layer("w1", w + 400, 20, 20, 0.5);
  layer[3] = Layer("w2", w + 800, 20, 20, 0.5);
  layer[4] = Layer("w3", w + 1200, 20, 20, 0.5);
  layer[5] = Layer("fc1", w, 128, 20, 1);
  layer[6] = Layer("fc2", w, 4, 128, 1);
  PetscCall(EkBalanceCreate(mesh, options, 7, layer, &balance));
  PetscCall(MedianRefresh(balance, mesh, REPEATS, &median));
  PetscCall(EkBalanceView(balance, stdout));
  if (mesh->run->rank == 0) printf("rebalance_fno2d %.6f\n", median);
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
  PetscCall(BenchFno2d(mesh, &options));
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
