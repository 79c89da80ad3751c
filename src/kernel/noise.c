#include "evenkeel/kernel.h"
#include <math.h>

/* A group: LANES counters of Philox, four words each; words in pairs make as many normal values. Always computed whole, by one
   piece of code: that is why pieces of a sequence agree. */
#define LANES (EK_NORMAL_GROUP / 4)

#define ROUNDS 10

/* -log(u) for u in (0, 1]: 2^e m with m in [1/sqrt 2, sqrt 2), log m = 2 artanh((m - 1)/(m + 1)), its series below 2e-9. */
static inline float MinusLog(float u)
{
  const union {
    float    f;
    uint32_t bits;
  } x = {u};
  const uint32_t above = x.bits - 0x3F3504F3u; /* the bits of 1/sqrt 2 */
  const int32_t  e = (int32_t)above >> 23;
  const union {
    uint32_t bits;
    float    f;
  } m = {(above & 0x007FFFFFu) + 0x3F3504F3u};
  const float s = (m.f - 1) / (m.f + 1), q = s * s;
  const float series = 2 * s * (1 + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9)))));

  return -(0.693147181f * (float)e + series);
}

/* Box and Muller: two words make two values, radius (cos, sin). The first word keeps 31 bits and never is 0. Of the second, 30
 * bits make an angle of at most pi/4, where the series are good to 3e-8, one exchanges the axes, one turns by pi: together a
 * whole turn. */
static inline void Pair(uint32_t a, uint32_t b, float *x, float *y)
{
  const float u = ((float)(int32_t)(a >> 1) + 0.5f) * 0x1p-31f, length = sqrtf(2 * MinusLog(u));
  const float t = (float)(int32_t)(b << 2) * (float)(M_PI * 0x1p-33), q = t * t;
  const float sine = t * (1 + q * (-1.0f / 6 + q * (1.0f / 120 + q * (-1.0f / 5040 + q * (1.0f / 362880)))));
  const float cosine = 1 + q * (-1.0f / 2 + q * (1.0f / 24 + q * (-1.0f / 720 + q * (1.0f / 40320))));
  const float first = b & 0x40000000u ? sine : cosine, second = b & 0x40000000u ? cosine : sine;
  const float radius = (int32_t)b < 0 ? -length : length;

  *x = radius * first;
  *y = radius * second;
}

/* Upper half of the product, from products of 16 bits: compilers make a vector of it without moving values between lanes. */
static inline uint32_t HighPart(uint32_t a, uint32_t b)
{
  const uint32_t a1 = a >> 16, a0 = a & 0xFFFF, b1 = b >> 16, b0 = b & 0xFFFF;
  const uint32_t cross = a1 * b0, middle = (a0 * b0 >> 16) + (cross & 0xFFFF) + a0 * b1;

  return a1 * b1 + (cross >> 16) + (middle >> 16);
}

static void Group(uint64_t key, uint32_t stream, uint64_t group, float out[EK_NORMAL_GROUP])
{
  const uint64_t block = group * LANES;
  const uint32_t low = (uint32_t)block, high = (uint32_t)(block >> 32);

#pragma omp simd
  for (uint32_t j = 0; j < LANES; j++) {
    uint32_t x0 = low + j, x1 = high, x2 = stream, x3 = 0, k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
      const uint32_t p = 0xD2511F53u * x0, p_high = HighPart(0xD2511F53u, x0);
      const uint32_t q = 0xCD9E8D57u * x2, q_high = HighPart(0xCD9E8D57u, x2);

      x0 = q_high ^ x1 ^ k0;
      x1 = q;
      x2 = p_high ^ x3 ^ k1;
      x3 = p;
      k0 += 0x9E3779B9u; /* golden ratio, sqrt(3) - 1 */
      k1 += 0xBB67AE85u;
    }
    Pair(x0, x1, &out[j], &out[LANES + j]);
    Pair(x2, x3, &out[2 * LANES + j], &out[3 * LANES + j]);
  }
}

void EkRowNormal(uint64_t key, uint32_t stream, uint64_t first, size_t n, float *out)
{
  for (size_t done = 0; done < n;) {
    const size_t at = (size_t)((first + done) % EK_NORMAL_GROUP), left = n - done;
    const size_t count = left < EK_NORMAL_GROUP - at ? left : EK_NORMAL_GROUP - at;
    float        whole[EK_NORMAL_GROUP];

    if (count == EK_NORMAL_GROUP)
      Group(key, stream, (first + done) / EK_NORMAL_GROUP, out + done);
    else {
      Group(key, stream, (first + done) / EK_NORMAL_GROUP, whole);
      for (size_t i = 0; i < count; i++) out[done + i] = whole[at + i];
    }
    done += count;
  }
}
