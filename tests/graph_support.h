/* Grids, numbers and parameters of the operators' examples. */
#pragma once
#include "support.h"
#include "evenkeel/graph.h"

static const PetscInt square[2] = {9, 7}, line[1] = {21};

/* Grids of blocked fields: few points, where convolutions are matrix products, and as many as the other codes have them, halved too. */
static inline EkGrid even(PetscBool many, int dim)
{
  static const PetscInt grid[2][2][2] = {{{12}, {4, 4}}, {{160}, {24, 12}}};

  return EkGridMake(dim, grid[many][dim - 1]);
}

static inline void fill(EkRandom *stream, size_t n, float *x)
{
  for (size_t i = 0; i < n; i++) x[i] = (float)EkNormal(stream);
}

static inline void declare_linear(EkParams p, const char *name, PetscInt in, PetscInt out)
{
  const PetscInt shape[2] = {out, in};
  char           key[EK_NAME];

  snprintf(key, sizeof(key), "%s.weight", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_LINEAR, PETSC_FALSE, 2, shape, -1, 1));
  snprintf(key, sizeof(key), "%s.bias", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_OTHER, PETSC_FALSE, 1, shape, -1, 1));
}

/* PyTorch's names of a batch normalisation. */
static inline void declare_norm(EkParams p, const char *name, PetscInt channels)
{
  char key[EK_NAME];

  snprintf(key, sizeof(key), "%s.weight", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_OTHER, PETSC_FALSE, 1, &channels, 0.5, 1.5));
  snprintf(key, sizeof(key), "%s.bias", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_OTHER, PETSC_FALSE, 1, &channels, -1, 1));
  snprintf(key, sizeof(key), "%s.running_mean", name);
  EK_OK(EkParamsAddBuffer(p, key, PETSC_FALSE, 1, &channels, 0));
  snprintf(key, sizeof(key), "%s.running_var", name);
  EK_OK(EkParamsAddBuffer(p, key, PETSC_FALSE, 1, &channels, 1));
  snprintf(key, sizeof(key), "%s.num_batches_tracked", name);
  EK_OK(EkParamsAddBuffer(p, key, PETSC_TRUE, 0, NULL, 0));
}

/* Weight of a convolution or a transposed one, and a bias of `second` channels. */
static inline void declare_conv(EkParams p, const char *name, int dim, PetscInt first, PetscInt second, PetscInt kernel)
{
  const PetscInt shape[4] = {first, second, kernel, kernel};
  char           key[EK_NAME];

  snprintf(key, sizeof(key), "%s.weight", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_OTHER, PETSC_FALSE, 2 + dim, shape, -0.3, 0.3));
  snprintf(key, sizeof(key), "%s.bias", name);
  EK_OK(EkParamsAdd(p, key, EK_MODULE_OTHER, PETSC_FALSE, 1, &second, -1, 1));
}

static inline void declare(EkParams p, const char *name, int rank, PetscInt n0, PetscInt n1, PetscInt n2, PetscInt n3)
{
  const PetscInt shape[4] = {n0, n1, n2, n3};

  EK_OK(EkParamsAdd(p, name, EK_MODULE_OTHER, PETSC_FALSE, rank, shape, -0.7, 0.7));
}

/* Six channels, 5 x 4 tokens, 3 frames of 4 channels; three blocks of two. */
static inline void declare_dpot(EkParams p)
{
  declare(p, "up.weight", 4, 6, 3, 2, 2), declare(p, "up.bias", 1, 3, 0, 0, 0);
  declare(p, "wide.weight", 4, 4, 6, 8, 8), declare(p, "wide.bias", 1, 6, 0, 0, 0); /* of 4 channels: two strips */
  declare(p, "group.weight", 1, 6, 0, 0, 0), declare(p, "group.bias", 1, 6, 0, 0, 0);
  declare(p, "afno.w1", 4, 2, 3, 2, 2), declare(p, "afno.b1", 3, 2, 3, 2, 0), declare(p, "afno.w2", 4, 2, 3, 2, 2),
      declare(p, "afno.b2", 3, 2, 3, 2, 0);
  declare(p, "embed.weight", 4, 6, 4, 1, 1), declare(p, "embed.bias", 1, 6, 0, 0, 0), declare(p, "position", 4, 1, 6, 5, 4);
  declare(p, "time.w", 3, 3, 6, 6, 0), declare(p, "time.gamma", 2, 1, 6, 0, 0);
}

static inline void declare_all(EkParams p)
{
  const PetscInt two[5] = {3, 5, 3, 3, 2}, one[4] = {3, 5, 4, 2};

  declare_linear(p, "a", 7, 5), declare_linear(p, "b", 3, 21), declare_linear(p, "c", 21, 2);
  EK_OK(EkParamsAdd(p, "s.weights1", EK_MODULE_SPECTRAL, PETSC_TRUE, 5, two, -1, 1));
  EK_OK(EkParamsAdd(p, "s.weights2", EK_MODULE_SPECTRAL, PETSC_TRUE, 5, two, -1, 1));
  EK_OK(EkParamsAdd(p, "t.weights1", EK_MODULE_SPECTRAL, PETSC_TRUE, 4, one, -1, 1));
  declare_conv(p, "conv2", 2, 18, 5, 3), declare_conv(p, "conv1", 1, 18, 5, 3), declare_conv(p, "wide1", 1, 5, 5, 5),
      declare_conv(p, "same2", 2, 5, 5, 3);
  declare_conv(p, "up2", 2, 18, 5, 2), declare_conv(p, "up1", 1, 18, 5, 2), declare_conv(p, "point2", 2, 18, 18, 1);
  declare_norm(p, "norm", 18);
  declare_linear(p, "large", 47, 50);
  declare_dpot(p);
}
