/* Convolutions of planes with 3 x 3 taps by minimal filtering (Winograd 1980; F(4x4, 3x3) of Lavin and Gray, CVPR 2016): a tile
   of 4 x 4 points of y takes 36 products a pair of channels instead of 144. A tile of what y sees of x, and the taps, are
   polynomials known by their values at six points in each direction, where convolving them is multiplying: V = B' x B, U = G w
   G', M = sum over channels of V U, y = A' M A. Each of the 36 sums is a matrix product, tiles by channels. The gradient of the
   weights is the adjoint: dU = V' (A dy A'), dw = G' dU G. */
#include "conv.h"
#include "strip.h"
#include "vector.h"

/* The points are 0, +-P, +-Q and infinity. All constants of the transforms are exact in binary, and the result is off by 8e-7 of
   its size where the usual 0, +-1, +-2 make it 1.7e-6 and plain sums 4e-7 (64 channels, normal values). */
#define P  0.75f
#define Q  1.5f
#define P2 (P * P)
#define Q2 (Q * Q)

#define OUT  4         /* points of y in a tile, in each direction */
#define IN   (OUT + 2) /* points of x that they see */
#define AREA (IN * IN) /* matrices */
#define TAPS 3
#define WORK 100000 /* floats of both fields' matrices at a time: they stay in the second level of cache */
#define MOST 64     /* but at most so many tiles */
#define FEW  24     /* and at least so many: each time passes over all weights */

/* Up to so many points of y products are left to conv_gemm.c: the matrices of weights are four times what they are made of, and
   with few tiles nobody gets that back. 256 to 256 channels on 8 x 8 points, batch 4, take 1.6, 1.5 and 3.0 ms (forward, data,
   weights) and twice 1.7 for the matrices, products 4.8, 4.5 and 4.0 (one AVX2 core); on 4 x 4 points both take as long from
   batch 16 on. */
#define FEW_POINTS 16

/* ---- transforms of a vector of channels --------------------------------------------------------------------- */

typedef struct {
  EkVector v0, v1, v2, v3, v4, v5;
} Six; /* what a transform in one direction takes or makes; where it is fewer, the first of them */
typedef Six (*Transform)(Six);

/* B': values at the points of what a tile sees. */
EK_INLINE Six ToPoints(Six d)
{
  const EkVector even1 = d.v4 - Q2 * d.v2, odd1 = P * (d.v3 - Q2 * d.v1);
  const EkVector even2 = d.v4 - P2 * d.v2, odd2 = Q * (d.v3 - P2 * d.v1);

  return (Six){P2 * Q2 * d.v0 + (d.v4 - (P2 + Q2) * d.v2), even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2,
               P2 * Q2 * d.v1 + (d.v5 - (P2 + Q2) * d.v3)};
}

/* A': the four points of y. */
EK_INLINE Six FromPoints(Six m)
{
  const EkVector even1 = m.v1 + m.v2, odd1 = m.v1 - m.v2, even2 = m.v3 + m.v4, odd2 = m.v3 - m.v4;

  return (Six){.v0 = m.v0 + (even1 + even2),
               .v1 = P * odd1 + Q * odd2,
               .v2 = P2 * even1 + Q2 * even2,
               .v3 = P * P2 * odd1 + (Q * Q2 * odd2 + m.v5)};
}

/* A: the adjoint of FromPoints. */
EK_INLINE Six AdjointToPoints(Six y)
{
  const EkVector even1 = y.v0 + P2 * y.v2, odd1 = P * (y.v1 + P2 * y.v3);
  const EkVector even2 = y.v0 + Q2 * y.v2, odd2 = Q * (y.v1 + Q2 * y.v3);

  return (Six){y.v0, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, y.v3};
}

/* Lagrange's weights of the points 0, +-P, +-Q. */
#define AT_0 (1 / (P2 * Q2))
#define AT_P (1 / (2 * P2 * (P2 - Q2)))
#define AT_Q (1 / (2 * Q2 * (Q2 - P2)))

/* G: weighted values at the points of three taps. */
EK_INLINE Six TapsToPoints(Six g)
{
  const EkVector even1 = AT_P * (g.v0 + P2 * g.v2), odd1 = AT_P * P * g.v1;
  const EkVector even2 = AT_Q * (g.v0 + Q2 * g.v2), odd2 = AT_Q * Q * g.v1;

  return (Six){AT_0 * g.v0, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, g.v2};
}

/* G': the adjoint of TapsToPoints. */
EK_INLINE Six AdjointToTaps(Six u)
{
  const EkVector even1 = AT_P * (u.v1 + u.v2), odd1 = AT_P * (u.v1 - u.v2);
  const EkVector even2 = AT_Q * (u.v3 + u.v4), odd2 = AT_Q * (u.v3 - u.v4);

  return (Six){.v0 = AT_0 * u.v0 + (even1 + even2), .v1 = P * odd1 + Q * odd2, .v2 = P2 * even1 + (Q2 * even2 + u.v5)};
}

/* ---- squares of vectors ------------------------------------------------------------------------------------- */

/* Floats from a vector to the next one down, and to the next one to the right. */
typedef struct {
  size_t down, right;
} Steps;

/* A square of our own. */
#define SQUARE (AREA * EK_LANES)
static const Steps own = {IN * EK_LANES, EK_LANES};

EK_INLINE Six LoadSix(int count, const float *p, size_t step)
{
  Six s = {.v0 = Load(p), .v1 = Load(p + step), .v2 = Load(p + 2 * step)};

  if (count > 3) s.v3 = Load(p + 3 * step);
  if (count > 4) s.v4 = Load(p + 4 * step), s.v5 = Load(p + 5 * step);
  return s;
}

EK_INLINE void StoreSix(int count, Six s, float *p, size_t step)
{
  Store(p, s.v0);
  Store(p + step, s.v1);
  Store(p + 2 * step, s.v2);
  if (count > 3) Store(p + 3 * step, s.v3);
  if (count > 4) Store(p + 4 * step, s.v4), Store(p + 5 * step, s.v5);
}

/* y = T x T', from `from` points each way to `to`. */
EK_INLINE void Both(Transform T, int from, int to, const float *x, Steps xs, float *y, Steps ys)
{
  float half[SQUARE];

#pragma GCC unroll 6
  for (int j = 0; j < from; j++)
    StoreSix(to, T(LoadSix(from, x + (size_t)j * xs.right, xs.down)), half + (size_t)j * own.right, own.down);
#pragma GCC unroll 6
  for (int i = 0; i < to; i++)
    StoreSix(to, T(LoadSix(from, half + (size_t)i * own.down, own.right)), y + (size_t)i * ys.down, ys.right);
}

/* ---- fields and matrices ------------------------------------------------------------------------------------ */

/* A field, and the matrices of `most` of its tiles by its channels in whole strips: `matrix` floats each, an odd number of cache
   lines, so that the AREA values of a tile do not fall into one cache set. */
typedef struct {
  PetscInt n[2], tiles[2];
  PetscInt channels, lanes, wide; /* in a whole number of blocks; of strips */
  Steps    steps;                 /* in the field */
  size_t   block, sample;         /* floats */
  size_t   matrix;
  Steps    matrices;
} Side;

static Side Describe(const EkConvShape *s, PetscInt channels, int most)
{
  Side e = {.n = {s->n[0], s->n[1]}, .channels = channels, .lanes = (PetscInt)EK_BLOCKED_CHANNELS(channels)};

  for (int d = 0; d < 2; d++) e.tiles[d] = (e.n[d] + OUT - 1) / OUT;
  e.wide = EK_ROUND_UP(channels, EK_STRIP);
  e.steps = (Steps){(size_t)e.n[1] * EK_BLOCK, EK_BLOCK};
  e.block = (size_t)e.n[0] * e.steps.down;
  e.sample = (size_t)(e.lanes / EK_BLOCK) * e.block;
  e.matrix = (size_t)(most * e.wide) + 16;
  e.matrices = (Steps){IN * e.matrix, e.matrix};
  return e;
}

static int TilesAtATime(const EkConvShape *s)
{
  const PetscInt row = EK_ROUND_UP(s->in, EK_STRIP) + EK_ROUND_UP(s->out, EK_STRIP);

  return (int)PetscMax(FEW, PetscMin(MOST, WORK / (AREA * row)));
}

/* A tile of a batch: where its samples begins, and its first point of y there. */
typedef struct {
  size_t   sample;
  PetscInt i, j;
} Place;

static Place Locate(const Side *e, PetscInt tile)
{
  const PetscInt each = e->tiles[0] * e->tiles[1], rest = tile % each;

  return (Place){(size_t)(tile / each) * e->sample, rest / e->tiles[1] * OUT, rest % e->tiles[1] * OUT};
}

/* Channels [c, c + EK_LANES) of a sample: within a vector of its first point. */
static size_t Lanes(const Side *e, PetscInt c)
{
  return (size_t)(c / EK_BLOCK) * e->block + (size_t)(c % EK_BLOCK);
}

/* Points [i0, i0 + count) x [j0, j0 + count) of a field's lanes, zero where it has none. */
static void Gather(const Side *e, const float *field, PetscInt i0, PetscInt j0, int count, float *square)
{
  for (int a = 0; a < count; a++) {
    for (int b = 0; b < count; b++) {
      const PetscInt i = i0 + a, j = j0 + b;
      const int      inside = i >= 0 && i < e->n[0] && j >= 0 && j < e->n[1];

      Store(square + (size_t)a * own.down + (size_t)b * own.right,
            inside ? Load(field + (i * e->n[1] + j) * EK_BLOCK) : Splat(0));
    }
  }
}

/* The same tile of the next strip, which comes n tiles later: its points lie where no hardware looks ahead. */
EK_INLINE void LookAhead(const Side *e, const float *tile, const int write)
{
  const float *next = tile + EK_STRIP / EK_BLOCK * e->block;

#pragma GCC unroll 4
  for (int i = 0; i < OUT; i++) {
#pragma GCC unroll 4
    for (int line = 0; line < OUT * EK_BLOCK; line += 16) __builtin_prefetch(next + (size_t)i * e->steps.down + line, write);
  }
}

/* Matrices of tiles [at, at + n) of field x: T of `count` points each way, of which the first lies `before` the tile's. */
EK_INLINE void ToMatrices(Transform T, const int count, const int before, const Side *e, const float *x, PetscInt at, int n,
                          float *V)
{
  for (PetscInt strip = 0; strip < e->lanes; strip += EK_STRIP) {
    for (int t = 0; t < n; t++) {
      const Place    p = Locate(e, at + t);
      const PetscInt i0 = p.i - before, j0 = p.j - before, end = PetscMin(strip + EK_STRIP, e->lanes);
      const int      inside = i0 >= 0 && j0 >= 0 && i0 + count <= e->n[0] && j0 + count <= e->n[1];

      for (PetscInt c = strip; c < end; c += EK_LANES) {
        const float *field = x + p.sample + Lanes(e, c);
        float       *v = V + t * e->wide + c, square[SQUARE];

        LookAhead(e, field + (p.i * e->n[1] + p.j) * EK_BLOCK, 0);
        if (inside)
          Both(T, count, IN, field + (i0 * e->n[1] + j0) * EK_BLOCK, e->steps, v, e->matrices);
        else {
          Gather(e, field, i0, j0, count, square);
          Both(T, count, IN, square, own, v, e->matrices);
        }
      }
    }
  }
}

static void FieldToMatrices(const Side *e, const float *x, PetscInt at, int n, float *V)
{
  ToMatrices(ToPoints, IN, 1, e, x, at, n, V);
}

static void GradientToMatrices(const Side *e, const float *dy, PetscInt at, int n, float *W)
{
  ToMatrices(AdjointToPoints, OUT, 0, e, dy, at, n, W);
}

static void FieldFromMatrices(const Side *e, const float *M, PetscInt at, int n, float *y)
{
  for (PetscInt strip = 0; strip < e->lanes; strip += EK_STRIP) {
    for (int t = 0; t < n; t++) {
      const Place    p = Locate(e, at + t);
      const PetscInt rows = PetscMin(OUT, e->n[0] - p.i), columns = PetscMin(OUT, e->n[1] - p.j);
      const PetscInt end = PetscMin(strip + EK_STRIP, e->lanes);

      for (PetscInt c = strip; c < end; c += EK_LANES) {
        const float *m = M + t * e->wide + c;
        float       *tile = y + p.sample + Lanes(e, c) + (p.i * e->n[1] + p.j) * EK_BLOCK, square[SQUARE];

        LookAhead(e, tile, 1);
        if (rows == OUT && columns == OUT) {
          Both(FromPoints, IN, OUT, m, e->matrices, tile, e->steps);
          continue;
        }
        Both(FromPoints, IN, OUT, m, e->matrices, square, own);
        for (PetscInt i = 0; i < rows; i++) {
          for (PetscInt j = 0; j < columns; j++)
            Store(tile + (size_t)i * e->steps.down + j * EK_BLOCK, Load(square + (size_t)i * own.down + (size_t)j * own.right));
        }
      }
    }
  }
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

/* Matrices of weights, from the channels that a pass reads to those it writes, strip after strip of the latter: (AREA, strips,
   from, EK_STRIP). For DATA it is the other way round, with the taps in reverse order. */
typedef struct {
  PetscInt  from, to, wide;
  size_t    matrix;                 /* floats, as Side's */
  PetscInt  from_stride, to_stride; /* floats of (out, in, 3, 3) */
  PetscBool reverse;
} Weights;

static Weights DescribeWeights(const EkConvShape *s, EkConvPass pass)
{
  const PetscInt in = TAPS * TAPS, out = s->in * in;
  Weights        w = {.from = s->in, .to = s->out, .from_stride = in, .to_stride = out};

  if (pass == EK_CONV_DATA)
    w = (Weights){.from = s->out, .to = s->in, .from_stride = out, .to_stride = in, .reverse = PETSC_TRUE};
  w.wide = EK_ROUND_UP(w.to, EK_STRIP);
  w.matrix = (size_t)(w.from * w.wide) + 16;
  return w;
}

static size_t Strip(const Weights *w, PetscInt from, PetscInt to)
{
  return (size_t)((to / EK_STRIP * w->from + from) * EK_STRIP + to % EK_STRIP);
}

size_t EkConvWinogradWeights(const EkConvShape *s)
{
  return AREA * PetscMax(DescribeWeights(s, EK_CONV_FORWARD).matrix, DescribeWeights(s, EK_CONV_DATA).matrix);
}

void EkConvWinogradPack(const EkConvShape *s, EkConvPass pass, const float *weights, float *U)
{
  const Weights w = DescribeWeights(s, pass);

  for (PetscInt to = 0; to < w.wide; to += EK_LANES) {
    for (PetscInt from = 0; from < w.from; from++) {
      float square[SQUARE] = {0};

      for (PetscInt l = 0; l < EK_LANES && to + l < w.to; l++) {
        const float *taps = weights + from * w.from_stride + (to + l) * w.to_stride;

        for (int k = 0; k < TAPS * TAPS; k++)
          square[(size_t)(k / TAPS) * own.down + (size_t)(k % TAPS) * own.right + (size_t)l] =
              taps[w.reverse ? TAPS * TAPS - 1 - k : k];
      }
      Both(TapsToPoints, TAPS, IN, square, own, U + Strip(&w, from, to), (Steps){IN * w.matrix, w.matrix});
    }
  }
}

static void AddGradient(const Weights *w, const float *dU, float *dweights)
{
  for (PetscInt to = 0; to < w->to; to += EK_LANES) {
    for (PetscInt from = 0; from < w->from; from++) {
      float square[SQUARE];

      Both(AdjointToTaps, IN, TAPS, dU + Strip(w, from, to), (Steps){IN * w->matrix, w->matrix}, square, own);
      for (PetscInt l = 0; l < EK_LANES && to + l < w->to; l++) {
        float *taps = dweights + from * w->from_stride + (to + l) * w->to_stride;

        for (int k = 0; k < TAPS * TAPS; k++)
          taps[k] += square[(size_t)(k / TAPS) * own.down + (size_t)(k % TAPS) * own.right + (size_t)l];
      }
    }
  }
}

/* ---- passes ------------------------------------------------------------------------------------------------- */

PetscBool EkConvIsWinograd(const EkConvShape *s)
{
  return (PetscBool)(s->dim == 2 && s->kernel == TAPS && s->stride == 1 && s->n[0] * s->n[1] > FEW_POINTS);
}

size_t EkConvWinogradScratch(const EkConvShape *s, PetscBool gradients)
{
  const int    most = TilesAtATime(s);
  const size_t fields = AREA * (Describe(s, s->in, most).matrix + Describe(s, s->out, most).matrix);

  return fields + (gradients ? AREA * DescribeWeights(s, EK_CONV_FORWARD).matrix : 0);
}

void EkConvWinogradApply(const EkConvShape *s, EkConvPass pass, int batch, const float *U, const float *from, float *scratch,
                         float *to)
{
  const int      most = TilesAtATime(s);
  const Weights  w = DescribeWeights(s, pass);
  const Side     x = Describe(s, w.from, most), y = Describe(s, w.to, most);
  const PetscInt tiles = batch * x.tiles[0] * x.tiles[1];
  float         *V = scratch, *M = V + AREA * x.matrix;

  for (PetscInt at = 0; at < tiles; at += most) {
    const int n = (int)PetscMin(most, tiles - at);

    FieldToMatrices(&x, from, at, n, V);
    for (size_t k = 0; k < AREA; k++) {
      for (PetscInt c = 0; c < y.wide; c += EK_STRIP) {
        const EkStripProduct one = {
            n,        (int)x.channels,      V + k * x.matrix, (size_t)x.wide, 1, U + k * w.matrix + Strip(&w, 0, c),
            EK_STRIP, M + k * y.matrix + c, (size_t)y.wide};

        EkStripMultiply(&one, 0);
      }
    }
    FieldFromMatrices(&y, M, at, n, to);
  }
}

void EkConvWinogradGradient(const EkConvShape *s, int batch, const float *x, const float *dy, float *scratch, float *dweights)
{
  const int      most = TilesAtATime(s);
  const Weights  w = DescribeWeights(s, EK_CONV_FORWARD);
  const Side     in = Describe(s, s->in, most), out = Describe(s, s->out, most);
  const PetscInt tiles = batch * in.tiles[0] * in.tiles[1];
  float         *V = scratch, *W = V + AREA * in.matrix, *dU = W + AREA * out.matrix;

  for (PetscInt at = 0; at < tiles; at += most) {
    const int n = (int)PetscMin(most, tiles - at);

    FieldToMatrices(&in, x, at, n, V);
    GradientToMatrices(&out, dy, at, n, W);
    for (size_t k = 0; k < AREA; k++) {
      for (PetscInt c = 0; c < out.wide; c += EK_STRIP) {
        const EkStripProduct one = {(int)s->in,        n,
                                    V + k * in.matrix, 1,
                                    (size_t)in.wide,   W + k * out.matrix + c,
                                    (size_t)out.wide,  dU + k * w.matrix + Strip(&w, 0, c),
                                    EK_STRIP};

        EkStripMultiply(&one, at > 0);
      }
    }
  }
  if (tiles) AddGradient(&w, dU, dweights);
}
