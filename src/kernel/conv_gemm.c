/* Convolution as a matrix product: a column for each point of y holds what the kernel sees of x there (im2col), for as many
   samples at a time as fit in COLUMNS. */
#include "conv.h"

/* Up to so many points of y. There a pass moves more weights than values, and oneDNN's direct code wants them in layouts of its
   own: 512 to 512 channels on 4 x 4 points, batch 4, take 5.9, 6.0 and 4.3 ms (forward, data, weights) with products, 8.1, 9.4
   and 11.1 ms with oneDNN and the copies it needs (one AVX2 core); on 16 x 16 oneDNN is faster. On lines of few points and many
   samples both take the same time. */
#define POINTS  64
#define COLUMNS 256
_Static_assert(POINTS <= COLUMNS, "a product takes one sample at least");

/* A line is a plane of one row. */
typedef struct {
  PetscInt in, out;
  PetscInt n[2], m[2];           /* points of x and of y */
  PetscInt taps[2], margin[2];   /* of the kernel; zeros around x */
  PetscInt step[2], wide, plane; /* stride; row and plane of x with its margin */
  size_t   points, rows;         /* of y; of the matrix: channels of x by taps */
  size_t   x_sample, y_sample;   /* floats of a blocked sample */
} Geometry;

static Geometry Describe(const EkConvShape *s)
{
  Geometry g = {.in = s->in,
                .out = s->out,
                .n = {1, s->n[0]},
                .taps = {1, s->kernel},
                .margin = {0, (s->kernel - 1) / 2},
                .step = {1, s->stride}};

  if (s->dim == 2) {
    g.n[0] = s->n[0], g.n[1] = s->n[1];
    g.taps[0] = g.taps[1], g.margin[0] = g.margin[1], g.step[0] = g.step[1];
  }
  for (int d = 0; d < 2; d++) g.m[d] = g.n[d] / g.step[d];
  g.wide = g.n[1] + 2 * g.margin[1];
  g.plane = (g.n[0] + 2 * g.margin[0]) * g.wide;
  g.points = (size_t)(g.m[0] * g.m[1]);
  g.rows = (size_t)(s->in * g.taps[0] * g.taps[1]);
  g.x_sample = EK_BLOCKED_CHANNELS(s->in) * (size_t)(g.n[0] * g.n[1]);
  g.y_sample = EK_BLOCKED_CHANNELS(s->out) * g.points;
  return g;
}

PetscBool EkConvIsGemm(const EkConvShape *s)
{
  return (PetscBool)(Describe(s).points <= POINTS);
}

size_t EkConvGemmScratch(const EkConvShape *s)
{
  const Geometry g = Describe(s);

  return (g.rows + (size_t)g.out) * COLUMNS + EK_BLOCK * (size_t)g.plane;
}

/* One product: samples from `at` on, and what it works on, in the scratch. */
typedef struct {
  Geometry g;
  int      at, n;
  size_t   width; /* columns of both matrices */
  float   *columns, *planes, *margin;
} Product;

static Product Begin(const EkConvShape *s, float *scratch)
{
  Product p = {.g = Describe(s), .columns = scratch};

  p.planes = p.columns + p.g.rows * COLUMNS;
  p.margin = p.planes + (size_t)p.g.out * COLUMNS;
  return p;
}

/* The next samples that fit in, while there are any. */
static PetscBool Next(Product *p, int batch)
{
  p->at += p->n;
  p->n = PetscMin(batch - p->at, (int)(COLUMNS / p->g.points));
  p->width = (size_t)p->n * p->g.points;
  return (PetscBool)(p->n > 0);
}

static int Lanes(PetscInt channels, PetscInt from)
{
  return (int)PetscMin(EK_BLOCK, channels - from);
}

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

/* A sample's columns of the matrix from its field. */
static void SampleToColumns(const Product *p, const float *x, float *columns)
{
  const Geometry *g = &p->g;

  for (PetscInt c = 0; c < g->in; c += EK_BLOCK) {
    const int    lanes = Lanes(g->in, c);
    const float *block = x + (size_t)(c * g->n[0] * g->n[1]);

    memset(p->margin, 0, (size_t)(lanes * g->plane) * sizeof(float));
    for (PetscInt i = 0; i < g->n[0]; i++)
      EkBlockToPlanes((size_t)g->n[1], lanes, block + i * g->n[1] * EK_BLOCK, 0, 0,
                      p->margin + (i + g->margin[0]) * g->wide + g->margin[1], (size_t)g->plane);
    for (int l = 0; l < lanes; l++) {
      for (PetscInt a = 0; a < g->taps[0]; a++) {
        for (PetscInt b = 0; b < g->taps[1]; b++, columns += p->width)
          Gather(g, p->margin + l * g->plane + a * g->wide + b, columns);
      }
    }
  }
}

/* The adjoint: a sample's field from its columns. */
static void SampleFromColumns(const Product *p, const float *columns, float *x)
{
  const Geometry *g = &p->g;

  for (PetscInt c = 0; c < g->in; c += EK_BLOCK) {
    const int lanes = Lanes(g->in, c);
    float    *block = x + (size_t)(c * g->n[0] * g->n[1]);

    memset(p->margin, 0, (size_t)(lanes * g->plane) * sizeof(float));
    for (int l = 0; l < lanes; l++) {
      for (PetscInt a = 0; a < g->taps[0]; a++) {
        for (PetscInt b = 0; b < g->taps[1]; b++, columns += p->width)
          ScatterAdd(g, columns, p->margin + l * g->plane + a * g->wide + b);
      }
    }
    for (PetscInt i = 0; i < g->n[0]; i++)
      EkBlockFromPlanes((size_t)g->n[1], lanes, p->margin + (i + g->margin[0]) * g->wide + g->margin[1], (size_t)g->plane,
                        block + i * g->n[1] * EK_BLOCK, 0);
    if (lanes < EK_BLOCK) EkBlockClear((size_t)(g->n[0] * g->n[1]), block, lanes);
  }
}

static void XToColumns(const Product *p, const float *x)
{
  for (int b = 0; b < p->n; b++)
    SampleToColumns(p, x + (size_t)(p->at + b) * p->g.x_sample, p->columns + (size_t)b * p->g.points);
}

static void XFromColumns(const Product *p, float *x)
{
  for (int b = 0; b < p->n; b++)
    SampleFromColumns(p, p->columns + (size_t)b * p->g.points, x + (size_t)(p->at + b) * p->g.x_sample);
}

static void YToPlanes(const Product *p, const float *y)
{
  const Geometry *g = &p->g;

  for (int b = 0; b < p->n; b++) {
    for (PetscInt c = 0; c < g->out; c += EK_BLOCK)
      EkBlockToPlanes(g->points, Lanes(g->out, c), y + (size_t)(p->at + b) * g->y_sample + (size_t)c * g->points, 0, 0,
                      p->planes + (size_t)c * p->width + (size_t)b * g->points, p->width);
  }
}

static void YFromPlanes(const Product *p, float *y)
{
  const Geometry *g = &p->g;

  for (int b = 0; b < p->n; b++) {
    for (PetscInt c = 0; c < g->out; c += EK_BLOCK) {
      const int lanes = Lanes(g->out, c);
      float    *block = y + (size_t)(p->at + b) * g->y_sample + (size_t)c * g->points;

      EkBlockFromPlanes(g->points, lanes, p->planes + (size_t)c * p->width + (size_t)b * g->points, p->width, block, 0);
      if (lanes < EK_BLOCK) EkBlockClear(g->points, block, lanes);
    }
  }
}

/* ---- passes ------------------------------------------------------------------------------------------------- */

void EkConvGemmForward(const EkConvShape *s, int batch, const float *weights, const float *x, float *scratch, float *y)
{
  Product         p = Begin(s, scratch);
  const Geometry *g = &p.g;

  while (Next(&p, batch)) {
    XToColumns(&p, x);
    EkGemm(0, 0, (int)g->out, (int)p.width, (int)g->rows, 1, weights, g->rows, p.columns, p.width, 0, p.planes, p.width);
    YFromPlanes(&p, y);
  }
}

void EkConvGemmData(const EkConvShape *s, int batch, const float *weights, const float *dy, float *scratch, float *dx)
{
  Product         p = Begin(s, scratch);
  const Geometry *g = &p.g;

  while (Next(&p, batch)) {
    YToPlanes(&p, dy);
    EkGemm(1, 0, (int)g->rows, (int)p.width, (int)g->out, 1, weights, g->rows, p.planes, p.width, 0, p.columns, p.width);
    XFromColumns(&p, dx);
  }
}

void EkConvGemmWeights(const EkConvShape *s, int batch, const float *x, const float *dy, float *scratch, float *dweights)
{
  Product         p = Begin(s, scratch);
  const Geometry *g = &p.g;

  while (Next(&p, batch)) {
    XToColumns(&p, x);
    YToPlanes(&p, dy);
    EkGemm(0, 1, (int)g->out, (int)g->rows, (int)p.width, 1, p.planes, p.width, p.columns, p.width, 1, dweights, g->rows);
  }
}
