/* Trajectories a minute of the data generator on 64 x 64 (eta = zeta = 0.01, t = 1), file included. Any number of ranks. */
#include "evenkeel/pde.h"
#include <stdio.h>
#include <unistd.h>

static PetscErrorCode Bench(EkRun run)
{
  const EkPde      *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, EkFamilyFind(&EkPdeFamily, "cfd2d"));
  EkGenerateOptions options = {.file = "build/scratch/bench_generate.hdf5", .set = pde->released, .ranks_per_sample = 1};
  EkGenerateReport  report;

  PetscFunctionBegin;
  options.set.nx = 64;
  options.set.samples = 60;
  if (run->rank == 0) unlink(options.file);
  PetscCallMPI(MPI_Barrier(run->comm));
  PetscCall(EkGenerate(run, &options, &report));
  if (run->rank == 0) {
    printf("generate_64 %.1f\n", 60 * (double)report.solved / report.seconds);
    unlink(options.file);
  }
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  EkRun          run;
  PetscErrorCode failed;

  if (PetscInitialize(&argc, &argv, NULL, NULL) || EkRunCreate(argc, argv, &run)) return 1;
  failed = Bench(run);
  EkRunDestroy(&run);
  PetscFinalize();
  return failed != 0;
}
