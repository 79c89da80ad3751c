#include "decay.h"
#include <petscblaslapack.h>
#include <math.h>

PetscErrorCode EkLinearSolve(KSP ksp, Vec b, Vec x, PetscInt64 *iterations)
{
  KSPConvergedReason reason;
  PetscInt           steps;
  int                waiting;

  PetscFunctionBegin;
  /* lets MPI answer other ranks' one-sided requests, which a lone rank would keep waiting */
  PetscCallMPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, PetscObjectComm((PetscObject)ksp), &waiting, MPI_STATUS_IGNORE));
  PetscCall(KSPSolve(ksp, b, x));
  PetscCall(KSPGetConvergedReason(ksp, &reason));
  PetscCall(KSPGetIterationNumber(ksp, &steps));
  PetscCheck(reason > 0, PetscObjectComm((PetscObject)ksp), PETSC_ERR_CONV_FAILED,
             "Darcy flow: the linear solver failed after %lld iterations: %s", (long long)steps, KSPConvergedReasons[reason]);
  *iterations += steps;
  PetscFunctionReturn(0);
}

/* The tridiagonal matrix T of A^-1 in the basis, m x m, and what e^(-time A) v is in the basis: |v| e^(-time T^-1) e_1 */
typedef struct {
  PetscInt  m;
  PetscReal diagonal[EK_DECAY_VECTORS], beside[EK_DECAY_VECTORS];
  PetscReal is[EK_DECAY_VECTORS], was[EK_DECAY_VECTORS]; /* coefficients now and a step ago, for |v| = 1 */
} Small;

static PetscErrorCode Coefficients(Small *small, PetscReal time)
{
  const PetscInt m = small->m;
  PetscReal      value[EK_DECAY_VECTORS], beside[EK_DECAY_VECTORS], vector[EK_DECAY_VECTORS * EK_DECAY_VECTORS];
  PetscReal      work[2 * EK_DECAY_VECTORS];
  PetscBLASInt   n, info;

  PetscFunctionBegin;
  PetscCall(PetscBLASIntCast(m, &n));
  PetscCall(PetscArraycpy(value, small->diagonal, m));
  PetscCall(PetscArraycpy(beside, small->beside, m));
  PetscCallBLAS("LAPACKsteqr", LAPACKsteqr_("I", &n, value, beside, vector, &n, work, &info));
  PetscCheck(!info, PETSC_COMM_SELF, PETSC_ERR_LIB, "LAPACK steqr: info %d", (int)info);
  PetscCall(PetscArraycpy(small->was, small->is, EK_DECAY_VECTORS));
  for (PetscInt k = 0; k < m; k++) {
    small->is[k] = 0;
    for (PetscInt j = 0; j < m; j++) {
      if (value[j] > 0) small->is[k] += vector[j * m] * exp(-time / value[j]) * vector[j * m + k];
    }
  }
  PetscFunctionReturn(0);
}

static PetscReal Change(const Small *small)
{
  PetscReal sum = 0;

  for (PetscInt k = 0; k < small->m; k++) sum += (small->is[k] - small->was[k]) * (small->is[k] - small->was[k]);
  return sqrt(sum);
}

/* The next basis vector, basis[m + 1]: A^-1 basis[m] made orthogonal to all before, twice, as the solves are not exact */
static PetscErrorCode Extend(KSP ksp, Vec basis[], Small *small, PetscInt64 *iterations)
{
  const PetscInt m = small->m;
  PetscScalar    dot[EK_DECAY_VECTORS];

  PetscFunctionBegin;
  PetscCall(EkLinearSolve(ksp, basis[m], basis[m + 1], iterations));
  small->diagonal[m] = 0;
  for (int pass = 0; pass < 2; pass++) {
    PetscCall(VecMDot(basis[m + 1], m + 1, basis, dot));
    small->diagonal[m] += dot[m];
    for (PetscInt k = 0; k <= m; k++) dot[k] = -dot[k];
    PetscCall(VecMAXPY(basis[m + 1], m + 1, dot, basis));
  }
  PetscCall(VecNormalize(basis[m + 1], &small->beside[m]));
  small->m++;
  PetscFunctionReturn(0);
}

PetscErrorCode EkDecay(KSP ksp, PetscReal time, PetscReal tolerance, Vec v, Vec work[], Vec out, PetscInt64 *iterations)
{
  Small     small = {.m = 0};
  PetscReal norm;
  PetscBool done = PETSC_FALSE;

  PetscFunctionBegin;
  PetscCall(VecCopy(v, work[0]));
  PetscCall(VecNormalize(work[0], &norm));
  PetscCall(VecSet(out, 0));
  if (norm == 0) PetscFunctionReturn(0);
  while (!done && small.m < EK_DECAY_VECTORS) {
    PetscCall(Extend(ksp, work, &small, iterations));
    PetscCall(Coefficients(&small, time));
    done = (PetscBool)(small.m > 2 && Change(&small) < tolerance);
  }
  PetscCheck(done, PetscObjectComm((PetscObject)ksp), PETSC_ERR_CONV_FAILED,
             "Darcy flow: what is left after a time of %.3e is not known to %.0e after %d solves", (double)time,
             (double)tolerance, EK_DECAY_VECTORS);
  for (PetscInt k = 0; k < small.m; k++) small.is[k] *= norm;
  PetscCall(VecMAXPY(out, small.m, small.is, work));
  PetscFunctionReturn(0);
}
