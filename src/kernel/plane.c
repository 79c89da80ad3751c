#include "evenkeel/kernel.h"

size_t EkPlaneStride(PetscInt64 points)
{
  const size_t line = 64 / sizeof(float);

  return line * (((size_t)points + line - 1) / line | 1);
}
