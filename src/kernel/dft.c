#include "evenkeel/dft.h"
#include <fftw3.h>

struct EkDft_ {
  float         *in;
  fftwf_complex *out;
  fftwf_plan     plan;
};

PetscErrorCode EkDftCreate(int dim, const PetscInt n[], EkDft *out)
{
  const int    size[2] = {(int)n[0], dim == 2 ? (int)n[1] : 1};
  const size_t slow = dim == 2 ? (size_t)size[0] : 1, fast = (size_t)size[dim - 1];
  EkDft        dft;

  PetscFunctionBegin;
  PetscCall(PetscNew(&dft));
  dft->in = fftwf_alloc_real(slow * fast);
  dft->out = fftwf_alloc_complex(slow * (fast / 2 + 1));
  EkCheckAlloc(dft->in && dft->out, "a Fourier transform");
  /* FFTW_ESTIMATE: the same plan every time, so the same rounding */
  dft->plan = fftwf_plan_dft_r2c(dim, size, dft->in, dft->out, FFTW_ESTIMATE);
  PetscCheck(dft->plan, PETSC_COMM_SELF, PETSC_ERR_LIB, "FFTW has no plan for %d x %d values", size[0], size[1]);
  *out = dft;
  PetscFunctionReturn(0);
}

float *EkDftInput(EkDft dft)
{
  return dft->in;
}

const float *EkDftOutput(EkDft dft)
{
  return (const float *)dft->out;
}

void EkDftForward(EkDft dft)
{
  fftwf_execute(dft->plan);
}

PetscErrorCode EkDftDestroy(EkDft *dft)
{
  PetscFunctionBegin;
  if (!*dft) PetscFunctionReturn(0);
  fftwf_destroy_plan((*dft)->plan);
  fftwf_free((*dft)->in);
  fftwf_free((*dft)->out);
  PetscCall(PetscFree(*dft));
  PetscFunctionReturn(0);
}
