/* The compiler's portable vectors: 8 floats, or as many as a register has, loaded from any address. */
#pragma once
#include "evenkeel/kernel.h"
#include <stdint.h>
#include <string.h>

typedef float EkVector __attribute__((vector_size(32)));
typedef float EkVectorUnaligned __attribute__((vector_size(32), aligned(4), may_alias));

typedef float EkQuad __attribute__((vector_size(16)));

#define EK_INLINE static inline __attribute__((always_inline))

EK_INLINE EkVector Load(const float *p)
{
  return *(const EkVectorUnaligned *)p;
}
EK_INLINE void Store(float *p, EkVector v)
{
  *(EkVectorUnaligned *)p = v;
}
EK_INLINE EkVector Splat(float x)
{
  return (EkVector){x, x, x, x, x, x, x, x};
}
#if EK_WIDE == 16
typedef float EkWide __attribute__((vector_size(64)));
typedef float EkWideUnaligned __attribute__((vector_size(64), aligned(4), may_alias));

EK_INLINE EkWide LoadWide(const float *p)
{
  return *(const EkWideUnaligned *)p;
}
EK_INLINE void StoreWide(float *p, EkWide v)
{
  *(EkWideUnaligned *)p = v;
}
EK_INLINE EkWide SplatWide(float x)
{
  return (EkWide){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
/* Its halves added up. */
EK_INLINE EkVector Narrow(EkWide v)
{
  return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
/* Pairs that two vectors hold, one after the other, parted and joined again. */
EK_INLINE void Part(EkWide a, EkWide b, EkWide *first, EkWide *second)
{
  *first = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  *second = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
EK_INLINE void Join(EkWide first, EkWide second, EkWide *a, EkWide *b)
{
  *a = __builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *b = __builtin_shufflevector(first, second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#else
typedef EkVector EkWide;

EK_INLINE EkWide LoadWide(const float *p)
{
  return Load(p);
}
EK_INLINE void StoreWide(float *p, EkWide v)
{
  Store(p, v);
}
EK_INLINE EkWide SplatWide(float x)
{
  return Splat(x);
}
EK_INLINE EkVector Narrow(EkWide v)
{
  return v;
}
EK_INLINE void Part(EkWide a, EkWide b, EkWide *first, EkWide *second)
{
  *first = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
  *second = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
EK_INLINE void Join(EkWide first, EkWide second, EkWide *a, EkWide *b)
{
  *a = __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
  *b = __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15);
}
#endif

EK_INLINE float Total(EkVector v)
{
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The totals of four vectors: half the shuffles of four times Total. */
EK_INLINE EkQuad Totals(EkVector a, EkVector b, EkVector c, EkVector d)
{
  const EkVector ab =
      __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  const EkVector cd =
      __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13) + __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
  const EkVector pairs =
      __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);

  return __builtin_shufflevector(pairs, pairs, 0, 1, 2, 3) + __builtin_shufflevector(pairs, pairs, 4, 5, 6, 7);
}

/* Rows become columns. */
EK_INLINE void Transpose(EkVector r[8])
{
  EkVector t[8];

#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[i + 2 * j + 1] = __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    t[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) r[i] = t[i];
}

/* e^y for y <= 0, to two units in the last place; below -80 that of -80, so that no loop meets denormal numbers; NaN stays NaN.
   Straight-line code that becomes part of a vectorised loop: the vector exponential of the C library leaves its fast path as soon
   as one element underflows, which GELU's do. */
EK_INLINE float ExpNegative(float y)
{
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, which stands in the low bits */
  const float x = y < -80.0f ? -80.0f : y;
  const float shifted = x * 1.44269504f + magic, n = shifted - magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
  const float e =
      1.0f + (r + r * r * (0.49999994f + r * (0.16666521f + r * (0.041668389f + r * (0.0083687167f + r * 0.0013814599f)))));
  union {
    float    value;
    uint32_t bits;
  } power = {.value = shifted};

  power.bits = (power.bits - 0x4B400000u + 127u) << 23;
  return e * power.value;
}
