#include "scalar1d.h"
#include "patch.h"
#include <math.h>

#define CFL 0.4

static void Flux(const EkScalarLaw *law, PetscInt n, const double *restrict left, const double *restrict right,
                 const double *restrict below, const double *restrict above, double *restrict flux)
{
  const double beta = law->coefficient;
  const double *restrict upwind = beta > 0 ? left : right;

  (void)below, (void)above;
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) flux[i] = beta * upwind[i];
}

static double Stable(const EkScalarLaw *law, double most)
{
  (void)most;
  return CFL * law->dx / fabs(law->coefficient);
}

EkScalarLaw EkAdvectionLaw(PetscInt nx, double beta)
{
  const EkScalarLaw law = {1.0 / (double)nx, beta, Flux, Stable, PETSC_TRUE};

  return law;
}

static PetscErrorCode Describe(const EkPdeSet *set, int file, EkFileSpec *spec)
{
  PetscFunctionBegin;
  PetscCall(EkScalarDescribe(set, spec));
  PetscCall(EkFileSpecAddAttribute(spec, "beta", set->beta.v[file]));
  PetscFunctionReturn(0);
}

static PetscErrorCode Create(MPI_Comm comm, const EkPdeSet *set, void **solver)
{
  EkScalarLaw law[EK_REALS_MAX];

  PetscFunctionBegin;
  for (int f = 0; f < set->beta.n; f++) law[f] = EkAdvectionLaw(set->nx, set->beta.v[f]);
  PetscCall(EkScalarCreate(comm, set, set->beta.n, law, solver));
  PetscFunctionReturn(0);
}

const EkPdeMethods EkAdvection1dMethods = {Describe, Create, EkScalarSolve, EkScalarDestroy};
