/* Inside data generation: what the CFD rows of EkPdeFamily share. */
#pragma once
#include "evenkeel/pde.h"

/* create, solve and destroy of EkPdeMethods for spec's dimension. */
PetscErrorCode EkCfdPdeCreate(MPI_Comm comm, const EkPdeSet *set, const EkCfdSpec *spec, void **solver);
PetscErrorCode EkCfdPdeSolve(void *solver, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound);
PetscErrorCode EkCfdPdeDestroy(void **solver);
