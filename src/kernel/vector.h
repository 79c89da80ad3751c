/* The compiler's portable vectors: 8 floats, loaded from any address. */
#pragma once
#include <string.h>

typedef float EkVector __attribute__((vector_size(32)));
typedef float EkVectorUnaligned __attribute__((vector_size(32), aligned(4), may_alias));

#define EK_INLINE static inline __attribute__((always_inline))

EK_INLINE EkVector Load(const float *p) { return *(const EkVectorUnaligned *)p; }
EK_INLINE void     Store(float *p, EkVector v) { *(EkVectorUnaligned *)p = v; }
EK_INLINE EkVector Splat(float x) { return (EkVector){x, x, x, x, x, x, x, x}; }
EK_INLINE float    Total(EkVector v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }
