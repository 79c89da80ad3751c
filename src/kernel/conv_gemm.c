/* Convolution as a matrix product: a column for each point of y holds what the kernel sees of x there (im2col), for as many samples
   at a time as fit in COLUMNS. */
#include "conv.h"

/* Up to so many points of y. There a pass moves more weights than values, and oneDNN's direct code wants them in layouts of its own:
   512 to 512 channels on 4 x 4 points, batch 4, take 5.9, 6.0 and 4.3 ms (forward, data, weights) with products, 8.1, 9.4 and
   11.1 ms with oneDNN and the copies it needs (one AVX2 core); on 8 x 8 points weights take two thirds of the time, the other
   passes the same; on 16 x 16 oneDNN is faster. On lines of few points and many samples both take the same time. */
#define POINTS  64
#define COLUMNS 256
_Static_assert(POINTS <= COLUMNS, "a product takes one sample at least");

/* A line is a plane of one row. */
typedef struct {
  PetscInt n[2], m[2];           /* points of x and of y */
  PetscInt taps[2], margin[2];   /* of the kernel; zeros around x */
  PetscInt step[2], wide, plane; /* stride; row and plane of x with its margin */
  size_t   rows;                 /* of the matrix: channels of x by taps */
  size_t   x_sample, y_sample;   /* floats of a blocked sample */
} Geometry;

/* Where in the scratch what is. */
typedef struct {
  float *columns, *planes, *margin;
} Room;

static Geometry Describe(const EkConvShape *s)
{
  Geometry g = {.n = {1, s->n[0]}, .taps = {1, s->kernel}, .margin = {0, (s->kernel - 1) / 2}, .step = {1, s->stride}};

  if (s->dim == 2) {
    g.n[0] = s->n[0], g.n[1] = s->n[1];
    g.taps[0] = g.taps[1], g.margin[0] = g.margin[1], g.step[0] = g.step[1];
  }
  for (int d = 0; d < 2; d++) g.m[d] = g.n[d] / g.step[d];
  g.wide = g.n[1] + 2 * g.margin[1];
  g.plane = (g.n[0] + 2 * g.margin[0]) * g.wide;
  g.rows = (size_t)(s->in * g.taps[0] * g.taps[1]);
  g.x_sample = EK_BLOCKED_CHANNELS(s->in) * (size_t)(g.n[0] * g.n[1]);
  g.y_sample = EK_BLOCKED_CHANNELS(s->out) * (size_t)(g.m[0] * g.m[1]);
  return g;
}

static size_t PointsOf(const Geometry *g) { return (size_t)(g->m[0] * g->m[1]); }

/* Samples of one product. */
static int Together(const Geometry *g, int batch) { return PetscMin(batch, (int)(COLUMNS / PointsOf(g))); }

PetscBool EkConvIsGemm(const EkConvShape *s)
{
  const Geometry g = Describe(s);

  return (PetscBool)(PointsOf(&g) <= POINTS);
}

size_t EkConvGemmScratch(const EkConvShape *s)
{
  const Geometry g = Describe(s);

  return (g.rows + (size_t)s->out) * COLUMNS + EK_BLOCK * (size_t)g.plane;
}

static Room Divide(const EkConvShape *s, const Geometry *g, float *scratch)
{
  Room r = {.columns = scratch, .planes = scratch + g->rows * COLUMNS};

  r.margin = r.planes + (size_t)s->out * COLUMNS;
  return r;
}

static int Lanes(PetscInt channels, PetscInt from) { return (int)PetscMin(EK_BLOCK, channels - from); }

/* ---- fields and columns ------------------------------------------------------------------------------------- */

/* What a tap sees of a plane, row by row of y. */
static void Gather(const Geometry *g, const float *plane, float *row)
{
  for (PetscInt i = 0; i < g->m[0]; i++, plane += g->step[0] * g->wide, row += g->m[1]) {
    if (g->step[1] == 1)
      for (PetscInt j = 0; j < g->m[1]; j++) row[j] = plane[j];
    else
      for (PetscInt j = 0; j < g->m[1]; j++) row[j] = plane[j * g->step[1]];
  }
}

static void ScatterAdd(const Geometry *g, const float *row, float *plane)
{
  for (PetscInt i = 0; i < g->m[0]; i++, plane += g->step[0] * g->wide, row += g->m[1]) {
    if (g->step[1] == 1)
      for (PetscInt j = 0; j < g->m[1]; j++) plane[j] += row[j];
    else
      for (PetscInt j = 0; j < g->m[1]; j++) plane[j * g->step[1]] += row[j];
  }
}

/* Rows of the matrix from a sample's, columns [0, points) of `width`. */
static void ToColumns(const EkConvShape *s, const Geometry *g, const float *x, float *margin, size_t width, float *columns)
{
  for (PetscInt c = 0; c < s->in; c += EK_BLOCK) {
    const int    lanes = Lanes(s->in, c);
    const float *block = x + (size_t)(c * g->n[0] * g->n[1]);

    memset(margin, 0, (size_t)(lanes * g->plane) * sizeof(float));
    for (PetscInt i = 0; i < g->n[0]; i++)
      EkBlockToPlanes((size_t)g->n[1], lanes, block + i * g->n[1] * EK_BLOCK, 0, 0,
                      margin + (i + g->margin[0]) * g->wide + g->margin[1], (size_t)g->plane);
    for (int l = 0; l < lanes; l++) {
      for (PetscInt a = 0; a < g->taps[0]; a++) {
        for (PetscInt b = 0; b < g->taps[1]; b++, columns += width) Gather(g, margin + l * g->plane + a * g->wide + b, columns);
      }
    }
  }
}

/* The adjoint: a sample's field from its columns. */
static void FromColumns(const EkConvShape *s, const Geometry *g, const float *columns, size_t width, float *margin, float *x)
{
  for (PetscInt c = 0; c < s->in; c += EK_BLOCK) {
    const int lanes = Lanes(s->in, c);
    float    *block = x + (size_t)(c * g->n[0] * g->n[1]);

    memset(margin, 0, (size_t)(lanes * g->plane) * sizeof(float));
    for (int l = 0; l < lanes; l++) {
      for (PetscInt a = 0; a < g->taps[0]; a++) {
        for (PetscInt b = 0; b < g->taps[1]; b++, columns += width)
          ScatterAdd(g, columns, margin + l * g->plane + a * g->wide + b);
      }
    }
    for (PetscInt i = 0; i < g->n[0]; i++)
      EkBlockFromPlanes((size_t)g->n[1], lanes, margin + (i + g->margin[0]) * g->wide + g->margin[1], (size_t)g->plane,
                        block + i * g->n[1] * EK_BLOCK, 0);
    if (lanes < EK_BLOCK) EkBlockClear((size_t)(g->n[0] * g->n[1]), block, lanes);
  }
}

static void YToPlanes(const EkConvShape *s, const Geometry *g, const float *y, size_t width, float *planes)
{
  for (PetscInt c = 0; c < s->out; c += EK_BLOCK)
    EkBlockToPlanes(PointsOf(g), Lanes(s->out, c), y + (size_t)c * PointsOf(g), 0, 0, planes + (size_t)c * width, width);
}

static void YFromPlanes(const EkConvShape *s, const Geometry *g, const float *planes, size_t width, float *y)
{
  for (PetscInt c = 0; c < s->out; c += EK_BLOCK) {
    float *block = y + (size_t)c * PointsOf(g);

    EkBlockFromPlanes(PointsOf(g), Lanes(s->out, c), planes + (size_t)c * width, width, block, 0);
    if (Lanes(s->out, c) < EK_BLOCK) EkBlockClear(PointsOf(g), block, Lanes(s->out, c));
  }
}

/* ---- passes ------------------------------------------------------------------------------------------------- */

void EkConvGemmForward(const EkConvShape *s, int batch, const float *weights, const float *x, float *scratch, float *y)
{
  const Geometry g = Describe(s);
  const Room     room = Divide(s, &g, scratch);
  const size_t   points = PointsOf(&g);

  for (int at = 0, n; at < batch; at += n) {
    n = Together(&g, batch - at);
    const size_t width = (size_t)n * points;

    for (int b = 0; b < n; b++)
      ToColumns(s, &g, x + (size_t)(at + b) * g.x_sample, room.margin, width, room.columns + (size_t)b * points);
    EkGemm(0, 0, (int)s->out, (int)width, (int)g.rows, 1, weights, g.rows, room.columns, width, 0, room.planes, width);
    for (int b = 0; b < n; b++) YFromPlanes(s, &g, room.planes + (size_t)b * points, width, y + (size_t)(at + b) * g.y_sample);
  }
}

void EkConvGemmData(const EkConvShape *s, int batch, const float *weights, const float *dy, float *scratch, float *dx)
{
  const Geometry g = Describe(s);
  const Room     room = Divide(s, &g, scratch);
  const size_t   points = PointsOf(&g);

  for (int at = 0, n; at < batch; at += n) {
    n = Together(&g, batch - at);
    const size_t width = (size_t)n * points;

    for (int b = 0; b < n; b++) YToPlanes(s, &g, dy + (size_t)(at + b) * g.y_sample, width, room.planes + (size_t)b * points);
    EkGemm(1, 0, (int)g.rows, (int)width, (int)s->out, 1, weights, g.rows, room.planes, width, 0, room.columns, width);
    for (int b = 0; b < n; b++)
      FromColumns(s, &g, room.columns + (size_t)b * points, width, room.margin, dx + (size_t)(at + b) * g.x_sample);
  }
}

void EkConvGemmWeights(const EkConvShape *s, int batch, const float *x, const float *dy, float *scratch, float *dweights)
{
  const Geometry g = Describe(s);
  const Room     room = Divide(s, &g, scratch);
  const size_t   points = PointsOf(&g);

  for (int at = 0, n; at < batch; at += n) {
    n = Together(&g, batch - at);
    const size_t width = (size_t)n * points;

    for (int b = 0; b < n; b++) {
      ToColumns(s, &g, x + (size_t)(at + b) * g.x_sample, room.margin, width, room.columns + (size_t)b * points);
      YToPlanes(s, &g, dy + (size_t)(at + b) * g.y_sample, width, room.planes + (size_t)b * points);
    }
    EkGemm(0, 1, (int)s->out, (int)g.rows, (int)width, 1, room.planes, width, room.columns, width, 1, dweights, g.rows);
  }
}
