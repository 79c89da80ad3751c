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
_Static_assert(TAPS *TAPS == EK_LANES + 1, "the taps of a pair of channels are a vector and one");

/* Up to so many tiles are done at once, with weights made into matrices strip by strip as they are used. More are done a part at
   a time, with matrices of weights that are kept: at least FEW, as each part passes over them, and else as many as leave both
   fields' matrices in the second level of cache, WORK floats. */
#define MOST 128
#define FEW  24
#define WORK 100000

/* Up to so many points products are as fast (conv_gemm.c): weights outnumber values, and making matrices of them takes longer
   than using them. */
#define FEW_POINTS (OUT * OUT)

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

/* A field, and the matrices of `most` of its tiles by `wide` of its channels, all or a strip: `matrix` floats each, an odd number
   of cache lines, so that the AREA values of a tile do not fall into one cache set. */
typedef struct {
  PetscInt n[2], tiles[2];
  PetscInt lanes;         /* channels in whole blocks */
  Steps    steps;         /* in the field */
  size_t   block, sample; /* floats */
  PetscInt wide;
  size_t   matrix;
  Steps    matrices;
} Side;

/* How the tiles of a batch are done: so many at a time, for so many channels of what is written. */
typedef struct {
  PetscInt tiles, most, group;
} Parts;

static size_t Matrix(PetscInt rows, PetscInt wide)
{
  return (size_t)(rows * wide) + 16;
}

static Side Describe(const EkConvShape *s, PetscInt channels, const Parts *parts, PetscBool whole)
{
  Side e = {.n = {s->n[0], s->n[1]}, .lanes = (PetscInt)EK_BLOCKED_CHANNELS(channels)};

  for (int d = 0; d < 2; d++) e.tiles[d] = (e.n[d] + OUT - 1) / OUT;
  e.steps = (Steps){(size_t)e.n[1] * EK_BLOCK, EK_BLOCK};
  e.block = (size_t)e.n[0] * e.steps.down;
  e.sample = (size_t)(e.lanes / EK_BLOCK) * e.block;
  e.wide = whole ? EK_ROUND_UP(channels, EK_STRIP) : parts->group;
  e.matrix = Matrix(parts->most, e.wide);
  e.matrices = (Steps){IN * e.matrix, e.matrix};
  return e;
}

static PetscInt Tiles(const EkConvShape *s)
{
  return ((s->n[0] + OUT - 1) / OUT) * ((s->n[1] + OUT - 1) / OUT);
}

/* A pass to `to` channels, of so many samples. */
static Parts Divide(const EkConvShape *s, PetscInt to, PetscInt batch)
{
  const PetscInt row = EK_ROUND_UP(s->in, EK_STRIP) + EK_ROUND_UP(s->out, EK_STRIP), tiles = batch * Tiles(s);

  if (tiles <= MOST) return (Parts){tiles, PetscMax(1, tiles), EK_STRIP};
  return (Parts){tiles, PetscMax(FEW, PetscMin(MOST, WORK / (AREA * row))), EK_ROUND_UP(to, EK_STRIP)};
}

/* A tile of a batch: where its sample begins, and its first point of y there. */
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

/* Matrices of tiles [at, at + n) of field x, channels from `first` on: T of `count` points each way, of which the first lies
   `before` the tile's. */
EK_INLINE void ToMatrices(Transform T, const int count, const int before, const Side *e, const float *x, PetscInt first,
                          PetscInt at, int n, float *V)
{
  const PetscInt last = PetscMin(first + e->wide, e->lanes);

  for (PetscInt strip = first; strip < last; strip += EK_STRIP) {
    for (int t = 0; t < n; t++) {
      const Place    p = Locate(e, at + t);
      const PetscInt i0 = p.i - before, j0 = p.j - before, end = PetscMin(strip + EK_STRIP, last);
      const int      inside = i0 >= 0 && j0 >= 0 && i0 + count <= e->n[0] && j0 + count <= e->n[1];

      for (PetscInt c = strip; c < end; c += EK_LANES) {
        const float *field = x + p.sample + Lanes(e, c);
        float       *v = V + t * e->wide + c - first, square[SQUARE];

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
  ToMatrices(ToPoints, IN, 1, e, x, 0, at, n, V);
}

static void GradientToMatrices(const Side *e, const float *dy, PetscInt first, PetscInt at, int n, float *W)
{
  ToMatrices(AdjointToPoints, OUT, 0, e, dy, first, at, n, W);
}

static void FieldFromMatrices(const Side *e, const float *M, PetscInt first, PetscInt at, int n, float *y)
{
  const PetscInt last = PetscMin(first + e->wide, e->lanes);

  for (PetscInt strip = first; strip < last; strip += EK_STRIP) {
    for (int t = 0; t < n; t++) {
      const Place    p = Locate(e, at + t);
      const PetscInt rows = PetscMin(OUT, e->n[0] - p.i), columns = PetscMin(OUT, e->n[1] - p.j);
      const PetscInt end = PetscMin(strip + EK_STRIP, last);

      for (PetscInt c = strip; c < end; c += EK_LANES) {
        const float *m = M + t * e->wide + c - first;
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

/* (out, in, 3, 3) as a pass sees them, from the channels that it reads to those it writes. For DATA it is the other way round,
   with the taps in reverse order. As matrices they are (AREA, strips of `to`, from, EK_STRIP). */
typedef struct {
  PetscInt  from, to;
  PetscInt  from_stride, to_stride; /* floats */
  PetscBool reverse;
} Weights;

static Weights DescribeWeights(const EkConvShape *s, EkConvPass pass)
{
  const PetscInt in = TAPS * TAPS, out = s->in * in;

  if (pass == EK_CONV_DATA) return (Weights){s->out, s->in, out, in, PETSC_TRUE};
  return (Weights){s->in, s->out, in, out, PETSC_FALSE};
}

/* Channels read, and the first of those written, at float `at` of a group's matrix. */
typedef struct {
  PetscInt from, to;
} Pair;

static Pair LocatePair(const Weights *w, PetscInt first, PetscInt at)
{
  return (Pair){at / EK_STRIP % w->from, first + at / (EK_STRIP * w->from) * EK_STRIP + at % EK_STRIP};
}

/* A square's vector of tap k, in the order of the pass. */
static size_t TapAt(const Weights *w, int k)
{
  const int tap = w->reverse ? TAPS * TAPS - 1 - k : k;

  return (size_t)(tap / TAPS) * own.down + (size_t)(tap % TAPS) * own.right;
}

/* Matrices, `matrix` floats each, of `group` channels from `first` on. */
static void PackGroup(const Weights *w, const float *weights, PetscInt first, PetscInt group, float *U, size_t matrix)
{
  static const float none[TAPS * TAPS];

  for (PetscInt at = 0; at < w->from * group; at += EK_LANES) {
    const Pair p = LocatePair(w, first, at);
    float      square[SQUARE];
    EkVector   tap[EK_LANES], last;

#pragma GCC unroll 8
    for (int l = 0; l < EK_LANES; l++) {
      const float *taps = p.to + l < w->to ? weights + p.from * w->from_stride + (p.to + l) * w->to_stride : none;

      tap[l] = Load(taps);
      last[l] = taps[EK_LANES];
    }
    Transpose(tap);
#pragma GCC unroll 8
    for (int k = 0; k < EK_LANES; k++) Store(square + TapAt(w, k), tap[k]);
    Store(square + TapAt(w, EK_LANES), last);
    Both(TapsToPoints, TAPS, IN, square, own, U + at, (Steps){IN * matrix, matrix});
  }
}

static void AddGradient(const Weights *w, const float *dU, size_t matrix, PetscInt first, PetscInt group, float *dweights)
{
  for (PetscInt at = 0; at < w->from * group; at += EK_LANES) {
    const Pair p = LocatePair(w, first, at);
    float      square[SQUARE];
    EkVector   tap[EK_LANES], last;

    Both(AdjointToTaps, IN, TAPS, dU + at, (Steps){IN * matrix, matrix}, square, own);
#pragma GCC unroll 8
    for (int k = 0; k < EK_LANES; k++) tap[k] = Load(square + TapAt(w, k));
    last = Load(square + TapAt(w, EK_LANES));
    Transpose(tap);
#pragma GCC unroll 8
    for (int l = 0; l < EK_LANES; l++) {
      float *taps = dweights + p.from * w->from_stride + (p.to + l) * w->to_stride;

      if (p.to + l >= w->to) break;
      Store(taps, Load(taps) + tap[l]);
      taps[EK_LANES] += last[l];
    }
  }
}

size_t EkConvWinogradPacked(const EkConvShape *s, EkConvPass pass, int batch)
{
  const Weights w = DescribeWeights(s, pass);
  const Parts   p = Divide(s, w.to, batch);

  return p.tiles <= p.most ? 0 : AREA * Matrix(w.from, p.group);
}

void EkConvWinogradPack(const EkConvShape *s, EkConvPass pass, const float *weights, float *U)
{
  const Weights  w = DescribeWeights(s, pass);
  const PetscInt all = EK_ROUND_UP(w.to, EK_STRIP);

  PackGroup(&w, weights, 0, all, U, Matrix(w.from, all));
}

/* ---- passes ------------------------------------------------------------------------------------------------- */

PetscBool EkConvIsWinograd(const EkConvShape *s)
{
  return (PetscBool)(s->dim == 2 && s->kernel == TAPS && s->stride == 1 && s->n[0] * s->n[1] > FEW_POINTS);
}

/* Of this batch: the fields' matrices, and a group's weights or all weights' gradient. */
static size_t ScratchOf(const EkConvShape *s, EkConvPass pass, PetscInt batch, PetscBool gradients)
{
  const Weights w = DescribeWeights(s, pass);
  const Parts   p = Divide(s, w.to, batch);
  const Side    x = Describe(s, w.from, &p, PETSC_TRUE), y = Describe(s, w.to, &p, PETSC_FALSE);

  return AREA * (x.matrix + y.matrix + (p.tiles <= p.most || gradients ? Matrix(w.from, p.group) : 0));
}

/* A batch that is done in parts may want less than a smaller one that is not. */
size_t EkConvWinogradScratch(const EkConvShape *s, int batch, PetscBool gradients)
{
  const PetscInt whole = PetscMin(batch, MOST / Tiles(s));
  size_t         most = 0;

  for (EkConvPass pass = EK_CONV_FORWARD; pass <= EK_CONV_DATA; pass++)
    most = PetscMax(most, PetscMax(ScratchOf(s, pass, batch, gradients), ScratchOf(s, pass, whole, gradients)));
  return most;
}

/* Of every matrix and every strip of a group the product of which `first` is the first: the next matrix lies a, b and c floats
   on, the next strip b_strip and c_strip. */
static void Products(PetscInt group, EkStripProduct first, size_t a, size_t b, size_t c, PetscInt b_strip, PetscInt c_strip,
                     int accumulate)
{
  for (size_t k = 0; k < AREA; k++) {
    for (PetscInt s = 0; s < group / EK_STRIP; s++) {
      EkStripProduct one = first;

      one.A += k * a;
      one.B += k * b + (size_t)(s * b_strip);
      one.C += k * c + (size_t)(s * c_strip);
      EkStripMultiply(&one, accumulate);
    }
  }
}

void EkConvWinogradApply(const EkConvShape *s, EkConvPass pass, int batch, const float *weights, const float *packed,
                         const float *from, float *scratch, float *to)
{
  const Weights w = DescribeWeights(s, pass);
  const Parts   p = Divide(s, w.to, batch);
  const Side    x = Describe(s, w.from, &p, PETSC_TRUE), y = Describe(s, w.to, &p, PETSC_FALSE);
  const size_t  matrix = Matrix(w.from, p.group);
  float        *V = scratch, *M = V + AREA * x.matrix, *U = M + AREA * y.matrix;

  for (PetscInt at = 0; at < p.tiles; at += p.most) {
    const int n = (int)PetscMin(p.most, p.tiles - at);

    FieldToMatrices(&x, from, at, n, V);
    for (PetscInt first = 0; first < w.to; first += p.group) {
      if (!packed) PackGroup(&w, weights, first, p.group, U, matrix);
      Products(p.group, (EkStripProduct){n, (int)w.from, V, (size_t)x.wide, 1, packed ? packed : U, EK_STRIP, M, (size_t)y.wide},
               x.matrix, matrix, y.matrix, w.from * EK_STRIP, EK_STRIP, 0);
      FieldFromMatrices(&y, M, first, at, n, to);
    }
  }
}

void EkConvWinogradGradient(const EkConvShape *s, int batch, const float *x, const float *dy, float *scratch, float *dweights)
{
  const Weights w = DescribeWeights(s, EK_CONV_FORWARD);
  const Parts   p = Divide(s, w.to, batch);
  const Side    in = Describe(s, w.from, &p, PETSC_TRUE), out = Describe(s, w.to, &p, PETSC_FALSE);
  const size_t  matrix = Matrix(w.from, p.group);
  float        *V = scratch, *W = V + AREA * in.matrix, *dU = W + AREA * out.matrix;

  for (PetscInt at = 0; at < p.tiles; at += p.most) {
    const int n = (int)PetscMin(p.most, p.tiles - at);

    FieldToMatrices(&in, x, at, n, V);
    for (PetscInt first = 0; first < w.to; first += p.group) {
      GradientToMatrices(&out, dy, first, at, n, W);
      Products(p.group, (EkStripProduct){(int)w.from, n, V, 1, (size_t)in.wide, W, (size_t)out.wide, dU, EK_STRIP}, in.matrix,
               out.matrix, matrix, EK_STRIP, w.from * EK_STRIP, at > 0);
      if (at + n == p.tiles) AddGradient(&w, dU, matrix, first, p.group, dweights);
    }
  }
}
