/* Whole forward Fourier transforms of real fields, for error spectra (the truncated transforms of spectral layers are in
 * kernel.h). */
#pragma once
#include "evenkeel/base.h"

typedef struct EkDft_ *EkDft;
/* Unnormalised transform of n[0] (x n[1]) real values, last axis fastest, dim 1 or 2; the last axis keeps its n/2+1 first
   wavenumbers. Not collective. Error: no such plan, naming the sizes. */
PetscErrorCode EkDftCreate(int dim, const PetscInt n[], EkDft *dft);
/* Where the caller writes the field, and where the spectrum appears as pairs (re, im): (n[0], n[1]/2+1), in 1D (n[0]/2+1). Owned
 * by dft. */
float       *EkDftInput(EkDft dft);
const float *EkDftOutput(EkDft dft);
/* Transforms the input; it may be overwritten. Not collective. */
void           EkDftForward(EkDft dft);
PetscErrorCode EkDftDestroy(EkDft *dft);
