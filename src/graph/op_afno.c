/* AFNO: mixing of the channels of each Fourier coefficient by two layers of block-diagonal complex products (Guibas et al. 2022), the input added.
   A spectrum is the transform's: for each channel a row of real parts and one of imaginary parts, `segment` floats apart, so that a complex product of a block of bs
   channels is one real product of 2 bs rows, every weight a + bi standing as [a b; -b a]. Both directions of the transform are to be orthonormal: the factors that FFTs leave
   out, 1/sqrt(N) and sqrt(N), go into these copies of the weights. */
#include "graph_impl.h"
#include <math.h>
#include <string.h>

enum { W1_AT = 1, B1_AT, W2_AT, B2_AT };

typedef struct {
  EkField  x, y;
  int      channels, blocks, bs;
  size_t   plane, segment, sample; /* floats of a channel's spectrum, of its real parts, of all channels' */
  float    scale[2];               /* of the first layer's and the second's weights */
  float   *X, *H, *slope;          /* saved: spectrum of x; hidden values; slopes of the activation */
  float   *Y, *dH;                 /* scratch: result, gradient of the hidden values */
  float   *packed, *dpacked;       /* (2 bs, 2 bs) */
} Afno;

static Afno AfnoOf(EkGraph g, EkNode *node)
{
  const EkTransformShape *s = EkTransformGetShape(node->transform);
  const float             root = sqrtf((float)s->n[0] * (float)s->n[1]);
  Afno                    a = {.x = EkGraphField(g, node->input[0]), .y = EkGraphField(g, node->output), .plane = s->plane, .segment = s->segment, .scale = {1 / root, root}};
  float                  *scratch = EkGraphScratch(g, node), *saved = node->saved ? EkGraphSaved(g, node) : NULL;

  a.channels = (int)a.x.channels;
  a.blocks   = (int)node->group;
  a.bs       = a.channels / a.blocks;
  a.sample   = (size_t)a.channels * s->plane;
  a.packed   = scratch;
  a.dpacked  = a.packed + 4 * (size_t)a.bs * (size_t)a.bs;
  a.Y        = a.dpacked + 4 * (size_t)a.bs * (size_t)a.bs;
  a.dH       = a.Y + (size_t)g->capacity * a.sample;
  a.X        = saved ? saved : a.dH;
  a.H        = saved ? a.X + (size_t)g->capacity * a.sample : a.dH + (size_t)g->capacity * a.sample;
  a.slope    = saved ? a.H + (size_t)g->capacity * a.sample : NULL;
  return a;
}

/* Weights of a block (2, blocks, in, out) as the real matrix (2 in, 2 out) of the interleaved parts. */
static void Pack(const Afno *a, const float *w, int block, float scale, float *to)
{
  const size_t bs = (size_t)a->bs, each = bs * bs;
  const float *re = w + (size_t)block * each, *im = re + (size_t)a->blocks * each;

  for (size_t i = 0; i < bs; i++) {
    float *even = to + 4 * i * bs, *odd = even + 2 * bs;

    for (size_t o = 0; o < bs; o++) {
      const float r = scale * re[i * bs + o], m = scale * im[i * bs + o];

      even[2 * o]     = r;
      even[2 * o + 1] = m;
      odd[2 * o]      = -m;
      odd[2 * o + 1]  = r;
    }
  }
}

/* The transpose of Pack. */
static void UnpackGradient(const Afno *a, const float *from, int block, float scale, float *dw)
{
  const size_t bs = (size_t)a->bs, each = bs * bs;
  float       *re = dw + (size_t)block * each, *im = re + (size_t)a->blocks * each;

  for (size_t i = 0; i < bs; i++) {
    const float *even = from + 4 * i * bs, *odd = even + 2 * bs;

    for (size_t o = 0; o < bs; o++) {
      re[i * bs + o] += scale * (even[2 * o] + odd[2 * o + 1]);
      im[i * bs + o] += scale * (even[2 * o + 1] - odd[2 * o]);
    }
  }
}

/* Bias of row r (channel r/2 of the block; real parts even): b (2, blocks, bs). */
static size_t BiasAt(const Afno *a, int block, int r) { return ((size_t)(r % 2) * (size_t)a->blocks + (size_t)block) * (size_t)a->bs + (size_t)(r / 2); }

static float *BlockOf(const Afno *a, float *spectrum, int b, int block) { return spectrum + (size_t)b * a->sample + (size_t)block * (size_t)a->bs * a->plane; }

/* to = W^T from + bias, both layers' product. */
static void Product(const Afno *a, const float *from, float *to)
{
  EkGemm(1, 0, 2 * a->bs, (int)a->segment, 2 * a->bs, a->packed, 2 * (size_t)a->bs, from, a->segment, 0, to, a->segment);
}

static void AddBias(const Afno *a, const float *bias, int block, float scale, float *to)
{
  for (int r = 0; r < 2 * a->bs; r++, to += a->segment) {
    const float value = scale * bias[BiasAt(a, block, r)];

    for (size_t k = 0; k < a->segment; k++) to[k] += value;
  }
}

static void Mix(EkGraph g, EkNode *node, const Afno *a, int block)
{
  const size_t n = 2 * (size_t)a->bs * a->segment;

  Pack(a, EkGraphWeight(g, node, W1_AT), block, a->scale[0], a->packed);
  for (int b = 0; b < g->batch; b++) {
    float *h = BlockOf(a, a->H, b, block);

    Product(a, BlockOf(a, a->X, b, block), h);
    AddBias(a, EkGraphWeight(g, node, B1_AT), block, 1, h);
    if (a->slope) EkGeluWithSlope(n, h, h, BlockOf(a, a->slope, b, block));
    else EkGelu(n, h, h);
  }
  Pack(a, EkGraphWeight(g, node, W2_AT), block, a->scale[1], a->packed);
  for (int b = 0; b < g->batch; b++) {
    float *y = BlockOf(a, a->Y, b, block);

    Product(a, BlockOf(a, a->H, b, block), y);
    AddBias(a, EkGraphWeight(g, node, B2_AT), block, a->scale[1], y);
  }
}

static void AfnoForward(EkGraph g, EkNode *node)
{
  const Afno   a = AfnoOf(g, node);
  const size_t n = (size_t)a.channels * a.x.stride;

  for (int b = 0; b < g->batch; b++) EkTransformAnalyse(node->transform, 0, a.channels, a.x.value + b * a.x.step, a.x.stride, a.X + b * a.sample);
  for (int block = 0; block < a.blocks; block++) Mix(g, node, &a, block);
  for (int b = 0; b < g->batch; b++) {
    memcpy(a.y.value + b * a.y.step, a.x.value + b * a.x.step, n * sizeof(float));
    EkTransformSynthesise(node->transform, 1, a.channels, a.Y + b * a.sample, a.y.value + b * a.y.step, a.y.stride, 1);
  }
}

/* Of one layer and sample: weights' and biases' gradients from `to`, and that of `from`. */
static void ProductBackward(const Afno *a, int block, float bias_scale, int first, const float *from, const float *dto, float *db, float *dfrom)
{
  const int    rows = 2 * a->bs;
  const float *row  = dto;

  EkGemm(0, 1, rows, rows, (int)a->segment, from, a->segment, dto, a->segment, !first, a->dpacked, (size_t)rows);
  for (int r = 0; r < rows; r++, row += a->segment) {
    float sum = 0;

    EkTileSum(1, a->segment, &row, &sum);
    db[BiasAt(a, block, r)] += bias_scale * sum;
  }
  EkGemm(0, 0, rows, (int)a->segment, rows, a->packed, (size_t)rows, dto, a->segment, 0, dfrom, a->segment);
}

/* The gradient of the input's spectrum takes the place of the result's: each product reads what it needs before. */
static void MixBackward(EkGraph g, EkNode *node, const Afno *a, int block)
{
  const size_t n = 2 * (size_t)a->bs * a->segment;

  Pack(a, EkGraphWeight(g, node, W2_AT), block, a->scale[1], a->packed);
  for (int b = 0; b < g->batch; b++) {
    const float *slope = BlockOf(a, a->slope, b, block);
    float       *dh    = BlockOf(a, a->dH, b, block);

    ProductBackward(a, block, a->scale[1], b == 0, BlockOf(a, a->H, b, block), BlockOf(a, a->Y, b, block), EkGraphWeightGradient(g, node, B2_AT), dh);
    for (size_t i = 0; i < n; i++) dh[i] *= slope[i];
  }
  UnpackGradient(a, a->dpacked, block, a->scale[1], EkGraphWeightGradient(g, node, W2_AT));
  Pack(a, EkGraphWeight(g, node, W1_AT), block, a->scale[0], a->packed);
  for (int b = 0; b < g->batch; b++) {
    ProductBackward(a, block, 1, b == 0, BlockOf(a, a->X, b, block), BlockOf(a, a->dH, b, block), EkGraphWeightGradient(g, node, B1_AT), BlockOf(a, a->Y, b, block));
  }
  UnpackGradient(a, a->dpacked, block, a->scale[0], EkGraphWeightGradient(g, node, W1_AT));
}

static void AfnoBackward(EkGraph g, EkNode *node)
{
  const Afno   a = AfnoOf(g, node);
  const size_t n = (size_t)a.channels * a.x.stride;

  for (int b = 0; b < g->batch; b++) EkTransformAnalyse(node->transform, 1, a.channels, a.y.gradient + b * a.y.gradient_step, a.y.stride, a.Y + b * a.sample);
  for (int block = 0; block < a.blocks; block++) MixBackward(g, node, &a, block);
  for (int b = 0; b < g->batch && g->tensor[node->input[0]].has_gradient; b++) {
    const float *from = a.y.gradient + b * a.y.gradient_step;
    float       *to   = a.x.gradient + b * a.x.gradient_step;

    if (node->accumulate[0]) {
      for (size_t i = 0; i < n; i++) to[i] += from[i];
    } else memcpy(to, from, n * sizeof(float));
    EkTransformSynthesise(node->transform, 0, a.channels, a.Y + b * a.sample, to, a.x.stride, 1);
  }
}

static double AfnoFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const double channels = (double)g->tensor[node->output].channels, modes = EkTransformGetShape(node->transform)->modes;
  const double transforms = 2 * channels * EkTransformFlops(node->transform), products = 16 * modes * channels * channels / (double)node->group;

  return transforms + (backward ? 2 : 1) * products;
}

const EkOperator EkOpAfno = {{"afno", "block-diagonal mixing of Fourier coefficients"}, AfnoForward, AfnoBackward, AfnoFlops, NULL, PETSC_FALSE};

static PetscErrorCode CheckShapes(EkGraph g, const EkTensor input[])
{
  const EkTensorState *x      = &g->tensor[input[0]];
  const PetscInt       blocks = g->params->table[g->tensor[input[W1_AT]].param].shape[1];

  PetscFunctionBegin;
  PetscCheck(x->grid.dim == 2, PETSC_COMM_SELF, PETSC_ERR_SUP, "afno: a field of %d axes, 2 are wanted", x->grid.dim);
  PetscCheck(blocks > 0 && x->channels % blocks == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "afno: %d channels do not make %d blocks", (int)x->channels, (int)blocks);
  for (int layer = 0; layer < 2; layer++) {
    const PetscInt each = x->channels / blocks, shape[4] = {2, blocks, each, each};

    PetscCall(EkGraphCheckShape(g, input[W1_AT + 2 * layer], 4, shape, "afno"));
    PetscCall(EkGraphCheckShape(g, input[B1_AT + 2 * layer], 3, shape, "afno"));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkAfno(EkGraph g, EkTensor x, PetscInt modes, const char *w1, const char *b1, const char *w2, const char *b2, EkTensor *out)
{
  const char *const name[] = {[W1_AT] = w1, [B1_AT] = b1, [W2_AT] = w2, [B2_AT] = b2};
  EkTensor          input[B2_AT + 1] = {x};
  EkTransform       transform;
  EkNode           *node;
  size_t            sample;
  PetscInt          each;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "afno"));
  for (int i = W1_AT; i <= B2_AT; i++) PetscCall(EkGraphParam(g, name[i], &input[i]));
  PetscCall(CheckShapes(g, input));
  PetscCall(EkTransformCreateCorner(g->tensor[x].grid.n, modes, &transform));
  PetscCall(EkGraphAddNode(g, &EkOpAfno, B2_AT + 1, input, &node));
  node->transform = transform;
  node->group     = g->params->table[g->tensor[input[W1_AT]].param].shape[1];
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, g->tensor[x].grid, out));
  each       = g->tensor[x].channels / node->group;
  sample     = (size_t)g->tensor[x].channels * EkTransformGetShape(transform)->plane;
  node->tile = 8 * (size_t)each * (size_t)each;
  /* saved: X, H, slopes; scratch: Y and dH, or without gradients Y, X and H */
  if (g->tensor[*out].wants_gradient) node->saved = 3 * sample;
  node->scratch = (node->saved ? 2 : 3) * sample;
  PetscFunctionReturn(0);
}
