/* Speed of the data generator, files included. Any number of ranks.

     generate_64             trajectories a minute on 64 x 64 cells, eta = zeta = 0.01, t = 1
     generate_cfd1d          trajectories a minute on 1024 cells, eta = zeta = 0.01, t = 1
     generate_256            seconds of one trajectory on 256 x 256 cells cut to t = 0.08, all ranks on it
     generate_256_alone      the same by one rank
     generate_256_together   how much faster all ranks are
     generate_cell_step      time of one rank for a cell and step there, inviscid: what all else is made of

   The last figure's bounds: 4 fluxes of 42 flops, 16 slopes of 8, updates, conversions and the speeds make 370 flops, 8 ns where
   a core does 45 Gflop/s of multiply-adds and 16 ns for a mix with few of them, such as this; the 15 divisions and 5 roots among
   them alone take 8 ns there. 28 doubles go in and out, 290 bytes with what a store fetches first: 10 ns more only where they
   come from memory. */
#include "evenkeel/pde.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REPETITIONS 3

static EkGenerateOptions Released(const char *type)
{
  const int         row = EkFamilyFind(&EkPdeFamily, type);
  const EkPde      *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, row);
  EkGenerateOptions options = {
      .type = row, .file = "build/scratch/bench_generate.hdf5", .set = pde->released, .ranks_per_sample = 1};

  return options;
}

/* A new file, taken away again */
static PetscErrorCode Generate(EkRun run, const EkGenerateOptions *options, EkGenerateReport *report)
{
  PetscFunctionBegin;
  if (run->rank == 0) unlink(options->file);
  PetscCallMPI(MPI_Barrier(run->comm));
  PetscCall(EkGenerate(run, options, report));
  if (run->rank == 0) unlink(options->file);
  PetscFunctionReturn(0);
}

static PetscErrorCode Throughput(EkRun run, const char *name, const char *type, PetscInt nx, PetscInt samples)
{
  EkGenerateOptions options = Released(type);
  EkGenerateReport  report;

  PetscFunctionBegin;
  options.set.nx = nx;
  options.set.samples = samples;
  PetscCall(Generate(run, &options, &report));
  if (run->rank == 0) printf("%s %.1f trajectories/min\n", name, 60 * (double)report.solved / report.seconds);
  PetscFunctionReturn(0);
}

static int Ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;

  return (x > y) - (x < y);
}

static double Median(double *seconds)
{
  qsort(seconds, REPETITIONS, sizeof(double), Ascending);
  return seconds[REPETITIONS / 2];
}

/* One trajectory by one rank and by all of them, in turn */
static PetscErrorCode Together(EkRun run)
{
  struct EkRun_     alone = *run;
  EkGenerateOptions options = Released("cfd2d");
  EkGenerateReport  report = {0};
  double            one[REPETITIONS], all[REPETITIONS];

  PetscFunctionBegin;
  alone.comm = PETSC_COMM_SELF;
  alone.rank = 0;
  alone.size = 1;
  options.set.nx = 256;
  options.set.samples = 1;
  options.set.frames = 5;
  options.set.dt_save = 0.02;
  for (int r = 0; r < REPETITIONS; r++) {
    options.ranks_per_sample = 1;
    if (run->rank == 0) PetscCall(Generate(&alone, &options, &report));
    one[r] = report.seconds;
    PetscCallMPI(MPI_Barrier(run->comm));
    options.ranks_per_sample = run->size;
    PetscCall(Generate(run, &options, &report));
    all[r] = report.seconds;
  }
  if (run->rank == 0) {
    printf("generate_256 %.4f s\n", Median(all));
    printf("generate_256_alone %.4f s\n", Median(one));
    printf("generate_256_together %.2f x\n", Median(one) / Median(all));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode CellStep(EkRun run)
{
  const EkCfdSpec  spec = {.dim = 2, .n = {256, 256}, .length = {1, 1}};
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, EkFamilyFind(&EkInitialFamily, "2D_rand"));
  const EkPdeSet   set = {.nx = 256, .M = 0.1};
  double          *field[EK_CFD_FIELDS], seconds[REPETITIONS];
  EkRandom         stream = EkRandomStream(0, EK_RANDOM_TEST, 0);
  EkCfd            cfd;

  PetscFunctionBegin;
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(PetscMalloc1(256 * 256, &field[f]));
  PetscCall(initial->draw(&set, &stream, field));
  PetscCall(EkCfdCreate(PETSC_COMM_SELF, &spec, &cfd));
  for (int r = 0; r < REPETITIONS; r++) {
    PetscInt64   steps = 0;
    PetscBool    sound;
    const double start = EkTime();

    PetscCall(EkCfdSetState(cfd, (const double *const *)field));
    PetscCall(EkCfdAdvance(cfd, 0.01, &steps, &sound));
    seconds[r] = (EkTime() - start) / (double)(steps * 256 * 256);
  }
  if (run->rank == 0) printf("generate_cell_step %.1f ns\n", 1e9 * Median(seconds));
  PetscCall(EkCfdDestroy(&cfd));
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(PetscFree(field[f]));
  PetscFunctionReturn(0);
}

static PetscErrorCode Bench(EkRun run)
{
  PetscFunctionBegin;
  PetscCall(Throughput(run, "generate_64", "cfd2d", 64, 60));
  PetscCall(Throughput(run, "generate_cfd1d", "cfd1d", 1024, 24));
  PetscCall(Together(run));
  if (run->rank == 0) PetscCall(CellStep(run));
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  EkRun          run;
  PetscErrorCode failed;

  EkBlasChoose(argv);
  if (PetscInitialize(&argc, &argv, NULL, NULL) || EkRunCreate(argc, argv, &run)) return 1;
  failed = Bench(run);
  EkRunDestroy(&run);
  PetscFinalize();
  return failed != 0;
}
