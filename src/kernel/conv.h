/* Convolutions without oneDNN. Arguments as in kernel.h; of what is written only dweights is added to. */
#pragma once
#include "evenkeel/kernel.h"

/* On few points, where weights outweigh fields or at least do no harm: products with the weights as PyTorch has them, no copy of
   them in another layout. Scratch of EkConvGemmScratch floats. */
PetscBool EkConvIsGemm(const EkConvShape *shape);
size_t    EkConvGemmScratch(const EkConvShape *shape);
void      EkConvGemmForward(const EkConvShape *shape, int batch, const float *weights, const float *x, float *scratch, float *y);
void      EkConvGemmData(const EkConvShape *shape, int batch, const float *weights, const float *dy, float *scratch, float *dx);
void EkConvGemmWeights(const EkConvShape *shape, int batch, const float *x, const float *dy, float *scratch, float *dweights);

/* Planes of some points, 3 x 3 taps, stride 1: a quarter of the products. FORWARD and DATA of this batch read `packed`, of
   EkConvWinogradPacked floats; where these are none it is NULL, and `weights` are read. */
PetscBool EkConvIsWinograd(const EkConvShape *shape);
size_t    EkConvWinogradScratch(const EkConvShape *shape, int batch, PetscBool gradients);
size_t    EkConvWinogradPacked(const EkConvShape *shape, EkConvPass pass, int batch);
void      EkConvWinogradPack(const EkConvShape *shape, EkConvPass pass, const float *weights, float *packed);
void      EkConvWinogradApply(const EkConvShape *shape, EkConvPass pass, int batch, const float *weights, const float *packed,
                              const float *from, float *scratch, float *to);
void      EkConvWinogradGradient(const EkConvShape *shape, int batch, const float *x, const float *dy, float *scratch,
                                 float *dweights);
