#include "scalar1d.h"
#include "patch.h"
#include <math.h>

#define CFL 0.25

static void Flux(const EkScalarLaw *law, PetscInt n, const double *restrict left, const double *restrict right,
                 const double *restrict below, const double *restrict above, double *restrict flux)
{
  const double diffusion = law->coefficient / law->dx;

  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) {
    const double l = fabs(left[i]), r = fabs(right[i]), fastest = l > r ? l : r;

    flux[i] = 0.25 * (l * l + r * r) - 0.5 * fastest * (right[i] - left[i]) - diffusion * (above[i] - below[i]);
  }
}

static double Stable(const EkScalarLaw *law, double most)
{
  const double flow = law->dx / (most + 1e-8), diffusion = 0.5 * law->dx * law->dx / law->coefficient;

  return CFL * (flow < diffusion ? flow : diffusion);
}

EkScalarLaw EkBurgersLaw(PetscInt nx, double nu)
{
  const EkScalarLaw law = {1.0 / (double)nx, nu / M_PI, Flux, Stable, PETSC_FALSE};

  return law;
}

static PetscErrorCode Describe(const EkPdeSet *set, int file, EkFileSpec *spec)
{
  PetscFunctionBegin;
  (void)file;
  PetscCall(EkScalarDescribe(set, spec));
  PetscCall(EkFileSpecAddAttribute(spec, "Nu", set->nu));
  PetscFunctionReturn(0);
}

static PetscErrorCode Create(MPI_Comm comm, const EkPdeSet *set, void **solver)
{
  const EkScalarLaw law = EkBurgersLaw(set->nx, set->nu);

  PetscFunctionBegin;
  PetscCall(EkScalarCreate(comm, set, 1, &law, solver));
  PetscFunctionReturn(0);
}

const EkPdeMethods EkBurgers1dMethods = {Describe, Create, EkScalarSolve, EkScalarDestroy};
