/* Convolutions on few points, where weights outweigh fields or at least do no harm: products with the weights as PyTorch has
   them, no copy of them in another layout. Arguments as in kernel.h, scratch of EkConvGemmScratch floats; only dweights is added
   to. */
#include "evenkeel/kernel.h"

PetscBool EkConvIsGemm(const EkConvShape *shape);
size_t    EkConvGemmScratch(const EkConvShape *shape);
void      EkConvGemmForward(const EkConvShape *shape, int batch, const float *weights, const float *x, float *scratch, float *y);
void      EkConvGemmData(const EkConvShape *shape, int batch, const float *weights, const float *dy, float *scratch, float *dx);
void EkConvGemmWeights(const EkConvShape *shape, int batch, const float *x, const float *dy, float *scratch, float *dweights);
