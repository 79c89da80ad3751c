/* Time of a refresh: the published and all layers of the 2D models, then large single matrices by each route.
     mpirun -n 2 bench_balance [models [NAME ...]]
   Prints `rebalance_MODEL SECONDS s` and `rebalance_MODEL_all SECONDS s` (median over refreshes of the slowest rank), who
   computes what in the small ones, and a table of the matrices, which `models` leaves out; with names after it only these
   models. */
#include "evenkeel/train.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS      201
#define LAYERS_SHOWN 20

typedef struct {
  const char *name, *type, *preset; /* DPOT's */
  PetscInt    n;
} Model;
static const Model models[] = {
    {"fno2d", "fno2d", NULL, 64},
    {"unet2d", "unet2d", NULL, 64},
    {"dpot_tiny", "dpot", "tiny", 128},
    {"dpot_small", "dpot", "small", 128},
};
#define MODELS (sizeof(models) / sizeof(models[0]))

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

/* As many as fit in about a second, three at least. Collective. */
static PetscErrorCode CountRepeats(EkBalance balance, EkMesh mesh, int *repeats)
{
  double once = 0;

  PetscFunctionBegin;
  PetscCall(MedianRefresh(balance, mesh, 1, &once));
  *repeats = (int)PetscMin(REPEATS, PetscMax(3, 1 / once));
  PetscFunctionReturn(0);
}

/* Initial weights of a published model: four fields on a square, ten frames given. */
static PetscErrorCode MakeModel(const Model *model, EkParams *params)
{
  const PetscInt n[2] = {model->n, model->n};
  EkModelShape   shape = {EkGridMake(2, n), 4, 10};
  EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, model->type), .width = 20, .features = 32, .n_cls = 12};

  PetscFunctionBegin;
  if (model->preset) options.preset = EkFamilyFind(&EkPresetFamily, model->preset);
  PetscCall(EkModelSettle(&options));
  PetscCall(EkParamsCreate(params));
  PetscCall(EkModelDeclare(&options, &shape, *params));
  PetscCall(EkParamsAllocate(*params));
  PetscCall(EkParamsInitialise(*params, 1));
  PetscFunctionReturn(0);
}

static PetscErrorCode BenchModel(EkMesh mesh, const EkBalanceOptions *options, const Model *model, EkLayerSet set)
{
  EkBalance balance;
  EkParams  params;
  EkLayer  *layers;
  int       n, repeats = 3, *tensor_layer;
  double    median = 0;

  PetscFunctionBegin;
  PetscCall(MakeModel(model, &params));
  PetscCall(EkLayersCreate(params, set, &n, &layers, &tensor_layer));
  PetscCall(EkBalanceCreate(mesh, options, n, layers, &balance));
  PetscCall(CountRepeats(balance, mesh, &repeats));
  PetscCall(MedianRefresh(balance, mesh, repeats, &median));
  if (n <= LAYERS_SHOWN) PetscCall(EkBalanceView(balance, stdout));
  if (mesh->run->rank == 0) printf("rebalance_%s%s %.6f s\n", model->name, set == EK_LAYERS_ALL ? "_all" : "", median);
  fflush(stdout);
  PetscCall(EkBalanceDestroy(&balance));
  PetscCall(EkParamsDestroy(&params));
  PetscCall(PetscFree(layers));
  PetscCall(PetscFree(tensor_layer));
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

static PetscErrorCode BenchMatrices(EkMesh mesh, const EkBalanceOptions *options)
{
  static const PetscInt    size[][2] = {{256, 256}, {512, 512}, {1024, 1024}, {2048, 512}, {4096, 1024}, {2048, 2048}};
  static const char *const solver[] = {"gram", "svd"};

  PetscFunctionBegin;
  if (mesh->run->rank == 0) printf("%15s %-5s %-10s %9s   (%d ranks)\n", "matrix", "by", "with", "seconds", mesh->run->size);
  for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
    for (int s = 0; s < 2; s++) {
      for (int d = 0; d <= (mesh->run->size > 1); d++)
        PetscCall(BenchMatrix(mesh, *options, size[i][0], size[i][1], solver[s], (PetscBool)d));
    }
  }
  PetscFunctionReturn(0);
}

/* An unknown one is an error. */
static PetscErrorCode CheckNames(EkRun run, int n, char *const names[])
{
  char known[256] = "";

  PetscFunctionBegin;
  for (size_t m = 0; m < MODELS; m++) {
    PetscCall(PetscStrlcat(known, m ? ", " : "", sizeof(known)));
    PetscCall(PetscStrlcat(known, models[m].name, sizeof(known)));
  }
  for (int i = 0; i < n; i++) {
    size_t m = 0;

    while (m < MODELS && strcmp(names[i], models[m].name)) m++;
    PetscCheck(m < MODELS, run->comm, PETSC_ERR_USER_INPUT, "'%s' is not known; there is: %s", names[i], known);
  }
  PetscFunctionReturn(0);
}

static PetscBool IsChosen(const Model *model, int n, char *const names[])
{
  for (int i = 0; i < n; i++) {
    if (!strcmp(names[i], model->name)) return PETSC_TRUE;
  }
  return (PetscBool)(n == 0);
}

static PetscErrorCode Bench(EkRun run)
{
  static const EkMeshOptions whole = {0, 1, EK_SHARD_NONE};
  const PetscBool            matrices = (PetscBool)(run->argc < 1 || strcmp(run->argv[0], "models"));
  const int                  n = matrices ? 0 : run->argc - 1;
  char *const               *names = run->argv + 1;
  EkMesh                     mesh;
  EkBalanceOptions           options;
  EkProblems                 problems;

  PetscFunctionBegin;
  PetscCall(CheckNames(run, n, names));
  PetscCall(EkProblemsCreate(&problems));
  PetscCall(EkKeysRead(run, &EkBalanceKeys, &options, problems));
  PetscCall(EkProblemsRaise(run, &problems));
  PetscCall(EkMeshCreate(run, &whole, &mesh));
  for (size_t i = 0; i < MODELS; i++) {
    if (!IsChosen(&models[i], n, names)) continue;
    PetscCall(BenchModel(mesh, &options, &models[i], EK_LAYERS_ALL));
    PetscCall(BenchModel(mesh, &options, &models[i], EK_LAYERS_PUBLISHED));
  }
  if (matrices) PetscCall(BenchMatrices(mesh, &options));
  PetscCall(EkMeshDestroy(&mesh));
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  EkRun run;
  int   failed;

  EkBlasChoose(argv);
  if (PetscInitialize(&argc, &argv, NULL, NULL)) return 1;
  if (EkRunCreate(argc, argv, &run)) return 1;
  failed = Bench(run) != 0;
  if (EkRunDestroy(&run)) failed = 1;
  PetscFinalize();
  return failed;
}
