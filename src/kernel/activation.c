#include "evenkeel/kernel.h"
#include "vector.h"
#include <math.h>

/* Phi(x), the normal distribution function, and its density. With t = 1/(1 + p|x|/sqrt 2): 1 - Phi(|x|) = t (a1 + ... + a5 t^4)
 * exp(-x^2/2) / 2. */
#define GELU_BODY(x, value, slope_expr)                                                                                          \
  const float magnitude = fabsf(x), t = 1.0f / (1.0f + 0.231641888f * magnitude), e = ExpNegative(-0.5f * (x) * (x));            \
  const float tail =                                                                                                             \
      t * (0.127414796f + t * (-0.142248368f + t * (0.7107068705f + t * (-0.7265760135f + t * 0.5307027145f)))) * e;             \
  const float phi = (x) > 0 ? 1.0f - tail : tail;                                                                                \
  value = (x)*phi;                                                                                                               \
  slope_expr

void EkGelu(size_t n, const float *x, float *y)
{
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    const float z = x[i];
    float       value;

    GELU_BODY(z, value, );
    y[i] = value;
  }
}

void EkGeluWithSlope(size_t n, const float *x, float *y, float *slope)
{
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    const float z = x[i];
    float       value, s;

    GELU_BODY(z, value, s = phi + 0.39894228040143f * z * e);
    y[i] = value;
    slope[i] = s;
  }
}
