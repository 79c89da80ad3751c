#include "cfd_pde.h"

/* PDEBench's order of creation has the y-coordinate before the x-coordinate; t-coordinate is one longer than the data. */
static PetscErrorCode Describe(const EkPdeSet *set, int file, EkFileSpec *spec)
{
  static const char *const name[] = {"density", "pressure", "Vx", "Vy"};
  const PetscInt           shape[] = {set->samples, set->frames, set->nx, set->nx};
  const double             dx = 1.0 / (double)set->nx;

  PetscFunctionBegin;
  (void)file;
  for (int f = 0; f < 4; f++) PetscCall(EkFileSpecAddData(spec, name[f], 4, shape));
  PetscCall(EkFileSpecAddCoordinate(spec, "y-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "x-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "t-coordinate", set->frames + 1, 0, set->dt_save));
  PetscCall(EkFileSpecAddAttribute(spec, "eta", set->eta));
  PetscCall(EkFileSpecAddAttribute(spec, "zeta", set->zeta));
  PetscCall(EkFileSpecAddAttribute(spec, "M", set->M));
  PetscFunctionReturn(0);
}

static PetscErrorCode Create(MPI_Comm comm, const EkPdeSet *set, void **solver)
{
  const EkCfdSpec spec = {
      .dim = 2, .n = {set->nx, set->nx}, .length = {1, 1}, .boundary = set->boundary, .eta = set->eta, .zeta = set->zeta};

  PetscFunctionBegin;
  PetscCall(EkCfdPdeCreate(comm, set, &spec, solver));
  PetscFunctionReturn(0);
}

const EkPdeMethods EkCfd2dMethods = {Describe, Create, EkCfdPdeSolve, EkCfdPdeDestroy};
