/* One training step (forward, backward, allreduce, Adam) of the published models on random data, whole global batch over the
   ranks:

     mpirun -n 2 bench_step [repetitions [chunk [case | all [speedup]]]]

   One line a case on rank 0: name, median seconds, GFLOP/s of all ranks, their share of what sgemm reaches on all ranks at once
   just before each step (median of quotients; filtered convolutions count as plain sums and may exceed it), peak memory over
   ranks (MiB, of this case or a larger one before it). With EK_PROFILE set, and one case, operators and phases follow. The first line is sgemm's best, in products of 512 x 512 by 512 x 256.

   speedup: every step of all ranks together is followed by the same step on rank 0 alone and by one on each rank for itself at
   the same time, so that what slows the machine down for more than a step slows all three. The line has what all ranks together
   gain over rank 0 alone, and what ranks gain that share nothing but the machine (cores, caches, memory): the bound. Medians of
   quotients. */
#include "evenkeel/mesh.h"
#include "evenkeel/model.h"
#include "evenkeel/optim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPETITIONS = 100 };

typedef struct {
  const char *name, *type, *preset;                         /* DPOT's */
  int         dim, n, fields, batch, steps, chunk, sharded; /* sharded: the optimizer, as decks with mesh_shard: optimizer */
} Case;
static const Case cases[] = {
    {"fno1d_rollout11", "fno1d", NULL, 1, 128, 3, 25, 11, 13, 0}, {"fno2d_1", "fno2d", NULL, 2, 64, 4, 20, 1, 4, 0},
    {"fno2d_rollout11", "fno2d", NULL, 2, 64, 4, 20, 11, 4, 0},   {"unet1d_1", "unet1d", NULL, 1, 1024, 3, 8, 1, 8, 1},
    {"unet1d_short_1", "unet1d", NULL, 1, 128, 3, 50, 1, 50, 1},  {"unet2d_1", "unet2d", NULL, 2, 64, 4, 8, 1, 8, 1},
    {"dpot_tiny_1", "dpot", "tiny", 2, 128, 4, 4, 1, 2, 1},       {"dpot_small_1", "dpot", "small", 2, 128, 4, 2, 1, 1, 1},
};

typedef struct {
  EkModelShape shape;
  EkParams     params;
  EkGraph      graph;
  EkOptimizer  optimizer;
  float       *data, *coordinates;
  double      *ratio;
  EkTensor     frames, points;
  PetscInt64   mine;
  size_t       lo, hi; /* of the optimizer's state: all of it, or a slice */
  int          chunk;
} Step;

static PetscErrorCode SumOverMesh(void *mesh, int n, double *values)
{
  return EkMeshSumDouble((EkMesh)mesh, n, values);
}

static PetscErrorCode Build(EkRun run, const Case *c, EkMesh mesh, int chunk, Step *s)
{
  const PetscInt n[2] = {c->n, c->n};
  EkModelOptions options = {.type = EkFamilyFind(&EkModelFamily, c->type),
                            .width = 20,
                            .features = 32,
                            .n_cls = 12,
                            .preset = c->preset ? EkFamilyFind(&EkPresetFamily, c->preset) : 0};
  EkOptimOptions adam = {.lr = 1e-3, .weight_decay = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
  EkRandom       stream = EkRandomStream(1, EK_RANDOM_TEST, (uint64_t)run->rank);
  PetscInt       target[32];
  EkTensor       predictions[32];
  PetscInt64     lo, hi;
  size_t         floats;

  PetscFunctionBegin;
  PetscCall(EkModelSettle(&options));
  EkSlice(c->batch, mesh->ndata, mesh->idata, &lo, &hi);
  s->mine = hi - lo;
  s->chunk = chunk;
  s->shape = (EkModelShape){EkGridMake(c->dim, n), c->fields, 10};
  PetscCall(EkModelChooseTransform(&options, &s->shape, &options.transform));
  PetscCallMPI(MPI_Bcast(&options.transform, 1, MPI_INT, 0, run->comm));
  PetscCall(EkParamsCreate(&s->params));
  PetscCall(EkModelDeclare(&options, &s->shape, s->params));
  PetscCall(EkParamsAllocate(s->params));
  PetscCall(EkParamsInitialise(s->params, 1));
  PetscCall(EkGraphCreate(s->params, s->chunk, PETSC_TRUE, &s->graph));
  PetscCall(EkGraphInput(s->graph, (10 + c->steps) * c->fields, s->shape.grid, PETSC_FALSE, &s->frames));
  PetscCall(EkGraphInput(s->graph, c->dim, s->shape.grid, PETSC_FALSE, &s->points));
  for (int i = 0; i < c->steps; i++) target[i] = 10 + i;
  PetscCall(EkModelRollout(&options, &s->shape, s->graph, s->frames, s->points, c->steps, predictions));
  PetscCall(EkModelLosses(&s->shape, s->graph, EkLossMse, s->frames, EK_NONE, c->steps, target, predictions));
  if (EkGraphIsCoupled(s->graph)) s->chunk = s->mine > 1 ? (int)s->mine : 1;
  PetscCall(EkGraphSetSum(s->graph, SumOverMesh, mesh));
  PetscCall(EkGraphSetCapacity(s->graph, s->chunk));
  PetscCall(EkGraphPlan(s->graph));
  s->hi = s->params->total;
  if (c->sharded) EkMeshSlice(mesh, s->params->total, mesh->idata, &s->lo, &s->hi);
  PetscCall(EkOptimizerCreate(&adam, s->params, s->lo, s->hi, &s->optimizer));
  floats = (size_t)s->mine * (size_t)((10 + c->steps) * c->fields) * s->shape.grid.stride;
  PetscCall(PetscMalloc1(floats, &s->data));
  PetscCall(PetscCalloc1(2 * s->shape.grid.stride, &s->coordinates));
  PetscCall(PetscMalloc1(s->params->n, &s->ratio));
  for (size_t i = 0; i < floats; i++) s->data[i] = (float)EkUniform(&stream);
  for (int p = 0; p < s->params->n; p++) s->ratio[p] = 1;
  PetscFunctionReturn(0);
}

/* The weights: gradients summed, Adam, and gathered where they are divided. */
static PetscErrorCode Update(const Case *c, EkMesh mesh, Step *s)
{
  EkRun run = mesh->run;

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(run, ALLREDUCE));
  if (c->sharded)
    PetscCall(EkMeshReduceScatter(mesh, s->params->total, s->params->gradients));
  else
    PetscCall(EkMeshSum(mesh, s->params->total, s->params->gradients));
  PetscCall(EkPhaseEnd(run, ALLREDUCE));
  PetscCall(EkPhaseBegin(run, OPTIMIZER));
  PetscCall(EkOptimizerStep(s->optimizer, 1e-3, s->ratio));
  PetscCall(EkPhaseEnd(run, OPTIMIZER));
  PetscCall(EkPhaseBegin(run, ALLREDUCE));
  if (c->sharded) PetscCall(EkMeshAllgather(mesh, s->params->total, s->params->weights));
  PetscCall(EkPhaseEnd(run, ALLREDUCE));
  PetscFunctionReturn(0);
}

static PetscErrorCode OneStep(const Case *c, EkMesh mesh, Step *s)
{
  const size_t each = (size_t)((10 + c->steps) * c->fields) * s->shape.grid.stride;
  EkRun        run = mesh->run;

  PetscFunctionBegin;
  memset(s->params->gradients, 0, s->params->total * sizeof(float));
  PetscCall(EkGraphBind(s->graph, s->points, s->coordinates, 0));
  for (PetscInt64 at = 0; at < s->mine || (at == 0 && EkGraphIsCoupled(s->graph)); at += s->chunk) {
    PetscCall(EkGraphBind(s->graph, s->frames, s->data + (size_t)at * each, each));
    PetscCall(EkPhaseBegin(run, FORWARD));
    PetscCall(EkGraphForward(s->graph, (int)(s->mine - at < s->chunk ? s->mine - at : s->chunk), 1.0 / c->batch));
    PetscCall(EkPhaseEnd(run, FORWARD));
    PetscCall(EkPhaseBegin(run, BACKWARD));
    PetscCall(EkGraphBackward(s->graph));
    PetscCall(EkPhaseEnd(run, BACKWARD));
  }
  PetscCall(Update(c, mesh, s));
  PetscFunctionReturn(0);
}

static PetscErrorCode Free(Step *s)
{
  PetscFunctionBegin;
  PetscCall(EkOptimizerDestroy(&s->optimizer));
  PetscCall(EkGraphDestroy(&s->graph));
  PetscCall(EkParamsDestroy(&s->params));
  PetscCall(PetscFree(s->data));
  PetscCall(PetscFree(s->coordinates));
  PetscCall(PetscFree(s->ratio));
  PetscFunctionReturn(0);
}

static int Ascending(const void *a, const void *b)
{
  return *(const double *)a < *(const double *)b ? -1 : 1;
}

static double Median(int n, double values[])
{
  qsort(values, (size_t)n, sizeof(double), Ascending);
  return values[n / 2];
}

static PetscErrorCode TimeStep(EkRun run, const Case *c, EkMesh mesh, Step *s, double *seconds)
{
  PetscFunctionBegin;
  PetscCallMPI(MPI_Barrier(run->comm));
  *seconds = EkTime();
  PetscCall(OneStep(c, mesh, s));
  PetscCallMPI(MPI_Barrier(run->comm));
  *seconds = EkTime() - *seconds;
  PetscFunctionReturn(0);
}

/* Matrices of a product and what all ranks together reach in some, at the same time. */
enum { PRODUCT_M = 512, PRODUCT_N = 256, PRODUCT_K = 512, PRODUCT_ROW = 272, PRODUCTS = 8 };
typedef struct {
  float *A, *B, *C;
} Product;

static PetscErrorCode ProductSpeed(EkMesh mesh, const Product *p, double *gflops)
{
  PetscFunctionBegin;
  PetscCallMPI(MPI_Barrier(mesh->world));
  *gflops = EkTime();
  for (int i = 0; i < PRODUCTS; i++)
    EkGemm(0, 0, PRODUCT_M, PRODUCT_N, PRODUCT_K, 1, p->A, PRODUCT_K, p->B, PRODUCT_ROW, 0, p->C, PRODUCT_ROW);
  *gflops = PRODUCTS * 2e-9 * PRODUCT_M * PRODUCT_N * PRODUCT_K / (EkTime() - *gflops);
  PetscCall(EkMeshSumDouble(mesh, 1, gflops));
  PetscFunctionReturn(0);
}

static PetscErrorCode BenchProducts(EkRun run, EkMesh mesh, const Product *product)
{
  double best = 0, speed;

  PetscFunctionBegin;
  for (int trial = 0; trial < 20; trial++) {
    PetscCall(ProductSpeed(mesh, product, &speed));
    best = speed > best ? speed : best;
  }
  if (run->rank == 0) printf("%-18s %9.1f GFLOP/s\n", "products", best);
  PetscFunctionReturn(0);
}

static PetscErrorCode Bench(EkRun run, const Case *c, EkMesh mesh, const Product *product, int repetitions, int chunk)
{
  double seconds[REPETITIONS], share[REPETITIONS], memory, flops, median, start;
  size_t planned, unshared;
  Step   s = {.lo = 0};

  PetscFunctionBegin;
  PetscCall(Build(run, c, mesh, chunk, &s));
  start = EkTime();
  PetscCall(OneStep(c, mesh, &s));
  flops = EkGraphFlops(s.graph) * c->batch;
  for (int r = 0; r < repetitions; r++) {
    PetscCall(ProductSpeed(mesh, product, &share[r]));
    PetscCall(TimeStep(run, c, mesh, &s, &seconds[r]));
    share[r] = 1e-9 * flops / seconds[r] / share[r];
  }
  median = Median(repetitions, seconds);
  memory = (double)EkPeakMemory();
  EkGraphMemory(s.graph, &planned, &unshared);
  PetscCall(EkMeshSumDouble(mesh, 1, &memory));
  if (run->rank == 0) {
    printf("%-18s %9.4f s %7.1f GFLOP/s %3.0f %% of sgemm %8.1f MiB (activations %.1f of %.1f MiB a rank)\n", c->name, median,
           1e-9 * flops / median, 100 * Median(repetitions, share), memory / 1048576, (double)planned / 1048576,
           (double)unshared / 1048576);
    if (getenv("EK_PROFILE")) PetscCall(EkGraphProfile(s.graph, stdout));
  }
  if (getenv("EK_PROFILE")) PetscCall(EkPhaseTable(run, EkTime() - start));
  PetscCall(Free(&s));
  PetscFunctionReturn(0);
}

/* A barrier that leaves the cores of those who wait to the others: MPI's own spins. */
static PetscErrorCode QuietBarrier(MPI_Comm comm)
{
  MPI_Request request;
  int         done = 0;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Ibarrier(comm, &request));
  while (!done) {
    PetscCallMPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    if (!done) usleep(1000);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode BenchSpeedup(EkRun run, const Case *c, EkMesh mesh, const Product *unused, int repetitions, int chunk)
{
  struct EkRun_ self = *run;
  EkMeshOptions one = {1, 1, 0};
  double        gain[REPETITIONS], bound[REPETITIONS], together[REPETITIONS], alone = 0, side;
  EkMesh        single;
  Step          all = {.lo = 0}, whole = {.lo = 0};

  PetscFunctionBegin;
  (void)unused;
  self.comm = PETSC_COMM_SELF, self.rank = 0, self.size = 1;
  PetscCall(EkMeshCreate(&self, &one, &single));
  PetscCall(Build(run, c, mesh, chunk, &all));
  PetscCall(Build(&self, c, single, chunk, &whole));
  PetscCall(OneStep(c, mesh, &all));
  PetscCall(OneStep(c, single, &whole));
  for (int r = 0; r < repetitions; r++) {
    PetscCall(TimeStep(run, c, mesh, &all, &together[r]));
    if (run->rank == 0) PetscCall(TimeStep(&self, c, single, &whole, &alone));
    PetscCall(QuietBarrier(run->comm));
    PetscCall(TimeStep(&self, c, single, &whole, &side));
    PetscCall(EkMeshMaxDouble(mesh, 1, &side));
    gain[r] = alone / together[r];
    bound[r] = run->size * alone / side;
  }
  if (run->rank == 0)
    printf("%-18s %9.2f x 1 rank, %.2f side by side (%.4f s on %d ranks)\n", c->name, Median(repetitions, gain),
           Median(repetitions, bound), Median(repetitions, together), (int)run->size);
  PetscCall(Free(&whole));
  PetscCall(Free(&all));
  PetscCall(EkMeshDestroy(&single));
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  const int repetitions = argc > 1 && atoi(argv[1]) > 0 ? PetscMin(atoi(argv[1]), REPETITIONS) : 9,
            chunk = argc > 2 ? atoi(argv[2]) : 0;
  const char   *only = argc > 3 ? argv[3] : "all";
  const int     speedup = argc > 4 && !strcmp(argv[4], "speedup");
  EkMeshOptions options = {0, 1, 0};
  Product       product;
  EkMesh        mesh;
  EkRun         run;

  EkBlasChoose(argv);
  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(EkRunCreate(argc, argv, &run));
  PetscCall(EkMeshCreate(run, &options, &mesh));
  PetscCall(
      PetscCalloc3(PRODUCT_M * PRODUCT_K, &product.A, PRODUCT_K * PRODUCT_ROW, &product.B, PRODUCT_M * PRODUCT_ROW, &product.C));
  PetscCall(BenchProducts(run, mesh, &product));
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    if (strcmp(only, "all") && strcmp(only, cases[i].name)) continue;
    PetscCall((speedup ? BenchSpeedup : Bench)(run, &cases[i], mesh, &product, repetitions, chunk > 0 ? chunk : cases[i].chunk));
  }
  PetscCall(PetscFree3(product.A, product.B, product.C));
  PetscCall(EkMeshDestroy(&mesh));
  PetscCall(EkRunDestroy(&run));
  PetscCall(PetscFinalize());
  return 0;
}
