/* The two ways of computing a truncated transform share the shape and the factors of the columns. */
#pragma once
#include "evenkeel/kernel.h"

typedef struct {
  void (*analyse)(EkTransform, int inverse_weights, int planes, const float *x, size_t x_stride, float *X);
  void (*synthesise)(EkTransform, int inverse_weights, int planes, const float *X, float *x, size_t x_stride, int accumulate);
  double (*flops)(const EkTransformShape *shape);
  PetscErrorCode (*setup)(EkTransform);
  void (*destroy)(EkTransform);
} EkTransformOps;
extern const EkTransformOps EkTransformFft, EkTransformGemm;

struct EkTransform_ {
  EkTransformShape      shape;
  const EkTransformOps *ops;
  float                *factor; /* [m1]: c_k2 / (n0 n1), the weights of the inverse */
  void                 *data;   /* of the method */
  size_t                bytes;  /* of that */
};
