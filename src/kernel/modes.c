/* Per-mode complex products. Weights are interleaved as PyTorch stores them; a block of EK_WIDE modes is split into real and
   imaginary vectors once and serves the whole batch, so that the weights are read once a batch, not once a sample. */
#include "evenkeel/kernel.h"
#include "vector.h"

/* in x out pairs of vectors */
typedef struct {
  EkWide *re, *im;
} Split;

EK_INLINE void SplitPair(const float *w, int count, EkWide *re, EkWide *im)
{
  if (count >= EK_WIDE)
    Part(LoadWide(w), LoadWide(w + EK_WIDE), re, im);
  else {
    *re = *im = SplatWide(0);
    for (int j = 0; j < count; j++) {
      (*re)[j] = w[2 * j];
      (*im)[j] = w[2 * j + 1];
    }
  }
}

EK_INLINE void AddPair(float *w, int count, EkWide re, EkWide im)
{
  if (count >= EK_WIDE) {
    EkWide a, b;

    Join(re, im, &a, &b);
    StoreWide(w, LoadWide(w) + a);
    StoreWide(w + EK_WIDE, LoadWide(w + EK_WIDE) + b);
  } else {
    for (int j = 0; j < count; j++) {
      w[2 * j] += re[j];
      w[2 * j + 1] += im[j];
    }
  }
}

/* R result channels at once: result[r] = sum_s source[s] * w(s, r), conjugated when `conjugate`. w(s, r) = block[s*ws + r*wr],
 * vector pairs. */
EK_INLINE void Contract(const int R, const int conjugate, int sources, const float *source, size_t plane, size_t part,
                        const EkWide *block, size_t ws, size_t wr, float *result)
{
  EkWide re[4], im[4];

#pragma GCC unroll 4
  for (int r = 0; r < R; r++) re[r] = im[r] = SplatWide(0);
  for (int s = 0; s < sources; s++) {
    const EkWide xr = LoadWide(source + s * plane), xi = LoadWide(source + s * plane + part);

#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const EkWide wr_ = block[2 * (s * ws + r * wr)], wi_ = block[2 * (s * ws + r * wr) + 1];

      re[r] += xr * wr_;
      im[r] += xi * wr_;
      re[r] = conjugate ? re[r] + xi * wi_ : re[r] - xi * wi_;
      im[r] = conjugate ? im[r] - xr * wi_ : im[r] + xr * wi_;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    StoreWide(result + r * plane, re[r]);
    StoreWide(result + r * plane + part, im[r]);
  }
}

EK_INLINE void ContractAll(const int conjugate, int sources, int results, const float *source, size_t plane, size_t part,
                           const EkWide *block, size_t ws, size_t wr, float *result)
{
  int r = 0;

  for (; r + 4 <= results; r += 4)
    Contract(4, conjugate, sources, source, plane, part, block + 2 * r * wr, ws, wr, result + r * plane);
  switch (results - r) {
  case 3:
    Contract(3, conjugate, sources, source, plane, part, block + 2 * r * wr, ws, wr, result + r * plane);
    break;
  case 2:
    Contract(2, conjugate, sources, source, plane, part, block + 2 * r * wr, ws, wr, result + r * plane);
    break;
  case 1:
    Contract(1, conjugate, sources, source, plane, part, block + 2 * r * wr, ws, wr, result + r * plane);
    break;
  }
}

/* Input channels of weights split at a time: 64 x 64 of them are 256 or 512 KiB of vectors. The table is on the stack, so its size is
 * bounded. */
#define PAIRS 4096

static void SplitBlock(const EkTransformShape *s, int in, int out, const float *w, int mode, EkWide *block)
{
  const int count = s->modes - mode;

  for (int io = 0; io < in * out; io++)
    SplitPair(w + 2 * ((size_t)io * s->modes + mode), count, &block[2 * io], &block[2 * io + 1]);
}

void EkModesForward(const EkTransformShape *s, int batch, int in, int out, const float *const w[], const float *X, float *Y)
{
  EkWide    block[2 * PAIRS];
  const int step = in * out <= PAIRS ? out : PAIRS / in; /* output channels a pass */

  for (int g = 0; g < s->segments; g++) {
    for (int mode = 0; mode < s->modes; mode += EK_WIDE) {
      const size_t at = 2 * g * s->segment + mode;

      for (int o = 0; o < out; o += step) {
        const int some = out - o < step ? out - o : step;

        if (some == out)
          SplitBlock(s, in, out, w[g], mode, block);
        else {
          for (int i = 0; i < in; i++)
            SplitBlock(s, 1, some, w[g] + 2 * ((size_t)i * out + o) * s->modes, mode, block + 2 * i * some);
        }
        for (int b = 0; b < batch; b++)
          ContractAll(0, in, some, X + b * in * s->plane + at, s->plane, s->segment, block, some, 1,
                      Y + (b * out + o) * s->plane + at);
      }
    }
  }
}

void EkModesBackward(const EkTransformShape *s, int batch, int in, int out, const float *const w[], const float *Y, float *X)
{
  EkWide    block[2 * PAIRS];
  const int step = in * out <= PAIRS ? in : PAIRS / out; /* input channels a pass */

  for (int g = 0; g < s->segments; g++) {
    for (int mode = 0; mode < s->modes; mode += EK_WIDE) {
      const size_t at = 2 * g * s->segment + mode;

      for (int i = 0; i < in; i += step) {
        const int some = in - i < step ? in - i : step;

        SplitBlock(s, some, out, w[g] + 2 * (size_t)i * out * s->modes, mode, block);
        for (int b = 0; b < batch; b++)
          ContractAll(1, out, some, Y + b * out * s->plane + at, s->plane, s->segment, block, 1, out,
                      X + (b * in + i) * s->plane + at);
      }
    }
  }
}

/* Gradient of R x C weights: sum over the batch of conj(x_i) y_o. */
EK_INLINE void Correlate(const int R, const int C, int batch, const float *x, size_t x_step, const float *y, size_t y_step,
                         size_t plane, size_t part, float *w, size_t w_row, size_t w_column, int count)
{
  EkWide re[2][2], im[2][2];

#pragma GCC unroll 2
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
    for (int c = 0; c < C; c++) re[r][c] = im[r][c] = SplatWide(0);
  }
  for (int b = 0; b < batch; b++, x += x_step, y += y_step) {
#pragma GCC unroll 2
    for (int r = 0; r < R; r++) {
      const EkWide xr = LoadWide(x + r * plane), xi = LoadWide(x + r * plane + part);

#pragma GCC unroll 2
      for (int c = 0; c < C; c++) {
        const EkWide yr = LoadWide(y + c * plane), yi = LoadWide(y + c * plane + part);

        re[r][c] += xr * yr;
        re[r][c] += xi * yi;
        im[r][c] += xr * yi;
        im[r][c] -= xi * yr;
      }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 2
    for (int c = 0; c < C; c++) AddPair(w + r * w_row + c * w_column, count, re[r][c], im[r][c]);
  }
}

void EkModesWeights(const EkTransformShape *s, int batch, int in, int out, const float *X, const float *Y, float *const w[])
{
  const size_t x_step = in * s->plane, y_step = out * s->plane, column = 2 * (size_t)s->modes, row = out * column;

  for (int g = 0; g < s->segments; g++) {
    for (int mode = 0; mode < s->modes; mode += EK_WIDE) {
      const size_t at = 2 * g * s->segment + mode;
      const int    count = s->modes - mode;

      for (int i = 0; i < in; i += 2) {
        for (int o = 0; o < out; o += 2) {
          const float *x = X + i * s->plane + at, *y = Y + o * s->plane + at;
          float       *to = w[g] + i * row + o * column + 2 * mode;
          const int    two_rows = i + 1 < in, two_columns = o + 1 < out;

          if (two_rows && two_columns)
            Correlate(2, 2, batch, x, x_step, y, y_step, s->plane, s->segment, to, row, column, count);
          else if (two_rows)
            Correlate(2, 1, batch, x, x_step, y, y_step, s->plane, s->segment, to, row, column, count);
          else if (two_columns)
            Correlate(1, 2, batch, x, x_step, y, y_step, s->plane, s->segment, to, row, column, count);
          else
            Correlate(1, 1, batch, x, x_step, y, y_step, s->plane, s->segment, to, row, column, count);
        }
      }
    }
  }
}
