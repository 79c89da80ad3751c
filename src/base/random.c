#include "evenkeel/base.h"
#include <math.h>

/* Philox4x32-10: ten rounds of a bijection keyed by (seed, purpose); the counter holds (position, index). */
static void Philox(const uint32_t key_in[2], const uint32_t counter[4], uint32_t out[4])
{
  uint32_t key[2] = {key_in[0], key_in[1]}, x[4] = {counter[0], counter[1], counter[2], counter[3]};

  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
    const uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ key[0], y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ key[1];

    x[1] = (uint32_t)p1;
    x[3] = (uint32_t)p0;
    x[0] = y0;
    x[2] = y2;
    key[0] += 0x9E3779B9u; /* Weyl constants: golden ratio, sqrt(3) - 1 */
    key[1] += 0xBB67AE85u;
  }
  for (int i = 0; i < 4; i++) out[i] = x[i];
}

EkRandom EkRandomStream(uint64_t seed, EkPurpose purpose, uint64_t index)
{
  EkRandom stream;

  stream.key[0] = (uint32_t)seed;
  stream.key[1] = (uint32_t)(seed >> 32) ^ ((uint32_t)purpose * 0x85EBCA6Bu + 0x165667B1u);
  stream.counter[2] = (uint32_t)index;
  stream.counter[3] = (uint32_t)(index >> 32);
  EkRandomSeek(&stream, 0);
  return stream;
}

void EkRandomSeek(EkRandom *stream, uint64_t n)
{
  const uint64_t block = n / 4;

  stream->counter[0] = (uint32_t)block;
  stream->counter[1] = (uint32_t)(block >> 32);
  Philox(stream->key, stream->counter, stream->block);
  stream->used = (int)(n % 4);
}

static uint32_t Next(EkRandom *stream)
{
  if (stream->used == 4) {
    if (++stream->counter[0] == 0) stream->counter[1]++;
    Philox(stream->key, stream->counter, stream->block);
    stream->used = 0;
  }
  return stream->block[stream->used++];
}

double EkUniform(EkRandom *stream)
{
  return Next(stream) * 0x1p-32;
}

double EkUniformIn(EkRandom *stream, double lo, double hi)
{
  return lo + (hi - lo) * EkUniform(stream);
}

double EkNormal(EkRandom *stream)
{
  const double u = (Next(stream) + 0.5) * 0x1p-32, v = Next(stream) * 0x1p-32;

  return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v);
}

uint32_t EkInteger(EkRandom *stream, uint32_t n)
{
  return (uint32_t)(((uint64_t)Next(stream) * n) >> 32);
}
