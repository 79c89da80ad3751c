/* AFNO: mixing of the channels of each Fourier coefficient by two layers of block-diagonal complex products (Guibas et al. 2022),
   the input added. A spectrum is the transform's: for each channel `segment` real parts, then as many imaginary ones, so that
   what both parts share is one product on rows of both. The transform is to be orthonormal both ways: the factors that the FFTs
   leave out, 1/sqrt(N) and sqrt(N), scale the products of the two layers. */
#include "graph_impl.h"
#include <math.h>
#include <string.h>

enum { W1_AT = 1, B1_AT, W2_AT, B2_AT };

typedef struct {
  EkField x, y;
  int     channels, blocks, bs;
  size_t  plane, segment, sample; /* floats of a channel's spectrum, of its real parts, of all channels' */
  float   root;                   /* sqrt(N) */
  float  *X, *Z;      /* spectrum of x, hidden values before the activation: of every sample where backward needs them */
  size_t  keep;       /* floats between samples of these, 0 where all share one place */
  float  *Y, *H, *dH; /* scratch: result of one sample; activated hidden values and their gradients of one block */
} Afno;

static Afno AfnoOf(EkGraph g, EkNode *node)
{
  const EkTransformShape *s = EkTransformGetShape(node->transform);
  Afno   a = {.x = EkGraphField(g, node->input[0]), .y = EkGraphField(g, node->output), .plane = s->plane, .segment = s->segment};
  float *saved = EkGraphSaved(g, node);

  a.channels = (int)a.x.channels;
  a.blocks = (int)node->group;
  a.bs = a.channels / a.blocks;
  a.sample = (size_t)a.channels * s->plane;
  a.root = sqrtf((float)s->n[0] * (float)s->n[1]);
  a.keep = saved ? a.sample : 0;
  a.Y = EkGraphScratch(g, node);
  a.H = a.Y + a.sample;
  a.dH = a.H + (size_t)a.bs * a.plane;
  a.X = saved ? saved : a.dH + (size_t)a.bs * a.plane;
  a.Z = a.X + (saved ? (size_t)g->capacity : 1) * a.sample;
  return a;
}

/* One layer of one block: w (2, blocks, in, out) and b (2, blocks, out) by their real parts of the block; the imaginary ones lie
 * `w_part` and `b_part` further on. */
typedef struct {
  const float *w, *b;
  float       *dw, *db;
  size_t       w_part, b_part;
  float        product, bias; /* scales */
} Layer;

static Layer LayerOf(EkGraph g, EkNode *node, const Afno *a, int layer, int block)
{
  const int    at = W1_AT + 2 * layer;
  const size_t each = (size_t)a->bs * (size_t)a->bs, w = (size_t)block * each, b = (size_t)block * (size_t)a->bs;
  Layer        l = {EkGraphWeight(g, node, at) + w,
                    EkGraphWeight(g, node, at + 1) + b,
                    NULL,
                    NULL,
                    (size_t)a->blocks * each,
                    (size_t)a->channels,
             layer ? a->root : 1 / a->root,
             layer ? a->root : 1};

  if (g->gradients) {
    l.dw = EkGraphWeightGradient(g, node, at) + w;
    l.db = EkGraphWeightGradient(g, node, at + 1) + b;
  }
  return l;
}

static size_t BlockAt(const Afno *a, int block)
{
  return (size_t)block * (size_t)a->bs * a->plane;
}

/* to = W^T from (gradient: conj(W) from), complex: re(W) acts on both parts alike. */
static void Product(const Afno *a, const Layer *l, PetscBool gradient, const float *from, float *to)
{
  const float *im = l->w + l->w_part, sign = gradient ? -l->product : l->product;
  const size_t bs = (size_t)a->bs, part = a->segment;
  const int    n = (int)part;

  EkGemm(!gradient, 0, a->bs, 2 * n, a->bs, l->product, l->w, bs, from, a->plane, 0, to, a->plane);
  EkGemm(!gradient, 0, a->bs, n, a->bs, -sign, im, bs, from + part, a->plane, 1, to, a->plane);
  EkGemm(!gradient, 0, a->bs, n, a->bs, sign, im, bs, from, a->plane, 1, to + part, a->plane);
}

static void AddBias(const Afno *a, const Layer *l, float *to)
{
  for (int c = 0; c < a->bs; c++, to += a->plane) {
    const float re = l->bias * l->b[c], im = l->bias * l->b[l->b_part + (size_t)c];

    for (size_t k = 0; k < a->segment; k++) to[k] += re;
    for (size_t k = a->segment; k < a->plane; k++) to[k] += im;
  }
}

static void Mix(EkGraph g, EkNode *node, const Afno *a, int b, int block)
{
  const Layer  first = LayerOf(g, node, a, 0, block), second = LayerOf(g, node, a, 1, block);
  const size_t n = (size_t)a->bs * a->plane;
  float       *z = a->Z + b * a->keep + BlockAt(a, block), *y = a->Y + BlockAt(a, block);

  Product(a, &first, PETSC_FALSE, a->X + b * a->keep + BlockAt(a, block), z);
  AddBias(a, &first, z);
  EkGelu(n, z, a->H);
  Product(a, &second, PETSC_FALSE, a->H, y);
  AddBias(a, &second, y);
}

static void AfnoForward(EkGraph g, EkNode *node)
{
  const Afno   a = AfnoOf(g, node);
  const size_t n = (size_t)a.channels * a.x.stride;

  for (int b = 0; b < g->batch; b++) {
    EkTransformAnalyse(node->transform, 0, a.channels, a.x.value + b * a.x.step, a.x.stride, a.X + b * a.keep);
    for (int block = 0; block < a.blocks; block++) Mix(g, node, &a, b, block);
    memcpy(a.y.value + b * a.y.step, a.x.value + b * a.x.step, n * sizeof(float));
    EkTransformSynthesise(node->transform, 1, a.channels, a.Y, a.y.value + b * a.y.step, a.y.stride, 1);
  }
}

/* Weights' and biases' gradients from those of `to`. What fills the last vector of a row is zero in dto. */
static void LayerGradients(const Afno *a, const Layer *l, const float *from, const float *dto)
{
  float       *im = l->dw + l->w_part;
  const size_t bs = (size_t)a->bs, part = a->segment;
  const int    n = (int)part;

  EkGemm(0, 1, a->bs, a->bs, 2 * n, l->product, from, a->plane, dto, a->plane, 1, l->dw, bs);
  EkGemm(0, 1, a->bs, a->bs, n, -l->product, from + part, a->plane, dto, a->plane, 1, im, bs);
  EkGemm(0, 1, a->bs, a->bs, n, l->product, from, a->plane, dto + part, a->plane, 1, im, bs);
  for (size_t c = 0; c < bs; c++) {
    const float *row[2] = {dto + c * a->plane, dto + c * a->plane + part};
    float        sum[2] = {0, 0};

    EkTileSum(2, part, row, sum);
    l->db[c] += l->bias * sum[0];
    l->db[c + l->b_part] += l->bias * sum[1];
  }
}

/* The gradient of the input's spectrum takes the place of the result's, the slope of the activation that of its argument. */
static void MixBackward(EkGraph g, EkNode *node, const Afno *a, int b, int block)
{
  const Layer  first = LayerOf(g, node, a, 0, block), second = LayerOf(g, node, a, 1, block);
  const size_t n = (size_t)a->bs * a->plane;
  float       *z = a->Z + b * a->keep + BlockAt(a, block), *dy = a->Y + BlockAt(a, block);

  EkGeluWithSlope(n, z, a->H, z);
  LayerGradients(a, &second, a->H, dy);
  Product(a, &second, PETSC_TRUE, dy, a->dH);
  for (size_t i = 0; i < n; i++) a->dH[i] *= z[i];
  LayerGradients(a, &first, a->X + b * a->keep + BlockAt(a, block), a->dH);
  Product(a, &first, PETSC_TRUE, a->dH, dy);
}

static void AfnoBackward(EkGraph g, EkNode *node)
{
  const Afno   a = AfnoOf(g, node);
  const size_t n = (size_t)a.channels * a.x.stride;

  for (int b = 0; b < g->batch; b++) {
    const float *from = a.y.gradient + b * a.y.gradient_step;
    float       *to = a.x.gradient + b * a.x.gradient_step;

    EkTransformAnalyse(node->transform, 1, a.channels, from, a.y.stride, a.Y);
    for (int block = 0; block < a.blocks; block++) MixBackward(g, node, &a, b, block);
    if (!g->tensor[node->input[0]].has_gradient) continue;
    if (node->accumulate[0]) {
      for (size_t i = 0; i < n; i++) to[i] += from[i];
    } else
      memcpy(to, from, n * sizeof(float));
    EkTransformSynthesise(node->transform, 0, a.channels, a.Y, to, a.x.stride, 1);
  }
}

static double AfnoFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const double channels = (double)g->tensor[node->output].channels, modes = EkTransformGetShape(node->transform)->modes;
  const double transforms = 2 * channels * EkTransformFlops(node->transform),
               products = 16 * modes * channels * channels / (double)node->group;

  return transforms + (backward ? 2 : 1) * products;
}

const EkOperator EkOpAfno = {
    {"afno", "block-diagonal mixing of Fourier coefficients"}, AfnoForward, AfnoBackward, AfnoFlops, NULL, PETSC_FALSE};

static PetscErrorCode CheckShapes(EkGraph g, const EkTensor input[])
{
  const EkTensorState *x = &g->tensor[input[0]];
  const PetscInt       blocks = g->params->table[g->tensor[input[W1_AT]].param].shape[1];

  PetscFunctionBegin;
  PetscCheck(x->grid.dim == 2, PETSC_COMM_SELF, PETSC_ERR_SUP, "afno: a field of %d axes, 2 are wanted", x->grid.dim);
  PetscCheck(blocks > 0 && x->channels % blocks == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "afno: %d channels do not make %d blocks", (int)x->channels, (int)blocks);
  for (int layer = 0; layer < 2; layer++) {
    const PetscInt each = x->channels / blocks, shape[4] = {2, blocks, each, each};

    PetscCall(EkGraphCheckShape(g, input[W1_AT + 2 * layer], 4, shape, "afno"));
    PetscCall(EkGraphCheckShape(g, input[B1_AT + 2 * layer], 3, shape, "afno"));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkAfno(EkGraph g, EkTensor x, PetscInt modes, const char *w1, const char *b1, const char *w2, const char *b2,
                      EkTensor *out)
{
  const char *const name[] = {[W1_AT] = w1, [B1_AT] = b1, [W2_AT] = w2, [B2_AT] = b2};
  EkTensor          input[B2_AT + 1] = {x};
  EkTransformKey    key = {.dim = 2, .modes = {modes, modes}, .method = EK_TRANSFORM_FFT, .corner = PETSC_TRUE};
  EkTransform       transform;
  EkNode           *node;
  size_t            sample;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "afno"));
  for (int i = W1_AT; i <= B2_AT; i++) PetscCall(EkGraphParam(g, name[i], &input[i]));
  PetscCall(CheckShapes(g, input));
  for (int d = 0; d < 2; d++) key.n[d] = g->tensor[x].grid.n[d];
  PetscCall(EkGraphTransform(g, &key, &transform));
  PetscCall(EkGraphAddNode(g, &EkOpAfno, B2_AT + 1, input, &node));
  node->transform = transform;
  node->group = g->params->table[g->tensor[input[W1_AT]].param].shape[1];
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, g->tensor[x].grid, out));
  sample = (size_t)g->tensor[x].channels * EkTransformGetShape(transform)->plane;
  if (g->tensor[*out].wants_gradient) node->saved = 2 * sample;                   /* X, Z */
  node->tile = (node->saved ? 1 : 3) * sample + 2 * sample / (size_t)node->group; /* Y (X, Z), H, dH */
  PetscFunctionReturn(0);
}
