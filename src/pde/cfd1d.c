#include "cfd_pde.h"

#define LOW    (-1.0)
#define LENGTH 2.0

/* t-coordinate is one longer than the data. */
static PetscErrorCode Describe(const EkPdeSet *set, int file, EkFileSpec *spec)
{
  static const char *const name[] = {"density", "pressure", "Vx"};
  const PetscInt           shape[] = {set->samples, set->frames, set->nx};
  const double             dx = LENGTH / (double)set->nx;

  PetscFunctionBegin;
  (void)file;
  for (int f = 0; f < 3; f++) PetscCall(EkFileSpecAddData(spec, name[f], 3, shape));
  PetscCall(EkFileSpecAddCoordinate(spec, "x-coordinate", set->nx, LOW + 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "t-coordinate", set->frames + 1, 0, set->dt_save));
  PetscCall(EkFileSpecAddAttribute(spec, "eta", set->eta));
  PetscCall(EkFileSpecAddAttribute(spec, "zeta", set->zeta));
  PetscFunctionReturn(0);
}

static PetscErrorCode Create(MPI_Comm comm, const EkPdeSet *set, void **solver)
{
  const EkCfdSpec spec = {
      .dim = 1, .n = {set->nx}, .length = {LENGTH}, .boundary = set->boundary, .eta = set->eta, .zeta = set->zeta};

  PetscFunctionBegin;
  PetscCall(EkCfdPdeCreate(comm, set, &spec, solver));
  PetscFunctionReturn(0);
}

const EkPdeMethods EkCfd1dMethods = {Describe, Create, EkCfdPdeSolve, EkCfdPdeDestroy};
