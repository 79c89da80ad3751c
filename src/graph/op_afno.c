/* AFNO: mixing of the channels of each Fourier coefficient by two layers of block-diagonal complex products (Guibas et al. 2022),
   the input added. A spectrum is the transform's, complex numbers, a row for each channel. Weights, which come as real parts and
   imaginary parts, are made complex once for all samples, and their gradients taken apart again. The transform is to be
   orthonormal both ways: the factors that the FFTs leave out, 1/sqrt(N) and sqrt(N), scale the products of the two layers. */
#include "graph_impl.h"
#include <math.h>
#include <string.h>

enum { W1_AT = 1, B1_AT, W2_AT, B2_AT };
#define LAYERS 2

typedef struct {
  EkField x, y;
  int     channels, blocks, bs;
  size_t  plane, numbers, sample; /* floats and complex numbers of a channel's spectrum, floats of all channels' */
  size_t  each;                   /* complex numbers of a block's weights: bs bs */
  float   root;                   /* sqrt(N) */
  float  *X, *Z;       /* spectrum of x, hidden values before the activation: of every sample where backward needs them */
  size_t  keep;        /* floats between samples of these, 0 where all share one place */
  float  *Y, *H, *dH;  /* scratch: result of one sample; activated hidden values and their gradients of one block */
  float  *W, *dW_conj; /* scratch: complex weights, conjugate in backward, and conjugate gradients: layer by layer, blocks in it */
} Afno;

static Afno AfnoOf(EkGraph g, EkNode *node)
{
  const EkTransformShape *s = EkTransformGetShape(node->transform);
  Afno   a = {.x = EkGraphField(g, node->input[0]), .y = EkGraphField(g, node->output), .plane = s->plane, .numbers = s->segment};
  float *saved = EkGraphSaved(g, node);

  a.channels = (int)a.x.channels;
  a.blocks = (int)node->group;
  a.bs = a.channels / a.blocks;
  a.each = (size_t)a.bs * (size_t)a.bs;
  a.sample = (size_t)a.channels * s->plane;
  a.root = sqrtf((float)s->n[0] * (float)s->n[1]);
  a.keep = saved ? a.sample : 0;
  a.Y = EkGraphScratch(g, node);
  a.H = a.Y + a.sample;
  a.dH = a.H + (size_t)a.bs * a.plane;
  a.W = a.dH + (size_t)a.bs * a.plane;
  a.dW_conj = a.W + LAYERS * 2 * (size_t)a.blocks * a.each;
  a.X = saved ? saved : a.dW_conj;
  a.Z = a.X + (saved ? (size_t)g->capacity : 1) * a.sample;
  return a;
}

/* Floats of scratch: Y, H, dH, W; dW_conj where backward follows, else X and Z. */
static size_t Scratch(size_t sample, size_t blocks, size_t weights, PetscBool gradients)
{
  return sample + 2 * sample / blocks + weights + (gradients ? weights : 2 * sample);
}

static size_t BlockAt(const Afno *a, int block)
{
  return (size_t)block * (size_t)a->bs * a->plane;
}
/* A block's of the complex weights of a layer. */
static size_t WeightsAt(const Afno *a, int layer, int block)
{
  return 2 * a->each * (size_t)(layer * a->blocks + block);
}

/* Weights (2, blocks, in, out) of both layers as complex ones, imaginary parts times `sign`. */
static void MakeComplex(EkGraph g, EkNode *node, const Afno *a, float sign)
{
  const size_t n = (size_t)a->blocks * a->each;

  for (int layer = 0; layer < LAYERS; layer++) {
    const float *re = EkGraphWeight(g, node, W1_AT + 2 * layer), *im = re + n;
    float       *w = a->W + WeightsAt(a, layer, 0);

    for (size_t i = 0; i < n; i++) {
      w[2 * i] = re[i];
      w[2 * i + 1] = sign * im[i];
    }
  }
}

static void AddGradients(EkGraph g, EkNode *node, const Afno *a)
{
  const size_t n = (size_t)a->blocks * a->each;

  for (int layer = 0; layer < LAYERS; layer++) {
    const float *conj = a->dW_conj + WeightsAt(a, layer, 0);
    float       *re = EkGraphWeightGradient(g, node, W1_AT + 2 * layer), *im = re + n;

    for (size_t i = 0; i < n; i++) {
      re[i] += conj[2 * i];
      im[i] -= conj[2 * i + 1];
    }
  }
}

/* What a layer's products and biases are multiplied by. */
static float ProductScale(const Afno *a, int layer)
{
  return layer ? a->root : 1 / a->root;
}
static float BiasScale(const Afno *a, int layer)
{
  return layer ? a->root : 1;
}

/* b (2, blocks, out) */
static void AddBias(EkGraph g, EkNode *node, const Afno *a, int layer, int block, float *to)
{
  const float *b = EkGraphWeight(g, node, B1_AT + 2 * layer) + block * a->bs, scale = BiasScale(a, layer);

  for (int c = 0; c < a->bs; c++, to += a->plane) {
    const float re = scale * b[c], im = scale * b[a->channels + c];

    for (size_t k = 0; k < a->plane; k += 2) {
      to[k] += re;
      to[k + 1] += im;
    }
  }
}

/* to = W^T from + b */
static void Layer(EkGraph g, EkNode *node, const Afno *a, int layer, int block, const float *from, float *to)
{
  EkGemmComplex(EK_TRANSPOSED, EK_PLAIN, a->bs, (int)a->numbers, a->bs, ProductScale(a, layer), a->W + WeightsAt(a, layer, block),
                (size_t)a->bs, from, a->numbers, 0, to, a->numbers);
  AddBias(g, node, a, layer, block, to);
}

static void AfnoForward(EkGraph g, EkNode *node)
{
  const Afno   a = AfnoOf(g, node);
  const size_t n = (size_t)a.channels * a.x.stride;

  MakeComplex(g, node, &a, 1);
  for (int b = 0; b < g->batch; b++) {
    const float *X = a.X + b * a.keep;

    EkTransformAnalyse(node->transform, 0, a.channels, a.x.value + b * a.x.step, a.x.stride, a.X + b * a.keep);
    for (int block = 0; block < a.blocks; block++) {
      float *z = a.Z + b * a.keep + BlockAt(&a, block);

      Layer(g, node, &a, 0, block, X + BlockAt(&a, block), z);
      EkGelu((size_t)a.bs * a.plane, z, a.H);
      Layer(g, node, &a, 1, block, a.H, a.Y + BlockAt(&a, block));
    }
    memcpy(a.y.value + b * a.y.step, a.x.value + b * a.x.step, n * sizeof(float));
    EkTransformSynthesise(node->transform, 1, a.channels, a.Y, a.y.value + b * a.y.step, a.y.stride, 1);
  }
}

/* from: what the layer was applied to; dto: its result's gradient, zero in what fills the last vector of a row. */
static void LayerGradients(EkGraph g, EkNode *node, const Afno *a, int layer, int block, const float *from, const float *dto)
{
  float      *db = EkGraphWeightGradient(g, node, B1_AT + 2 * layer) + block * a->bs;
  const float scale = BiasScale(a, layer);

  EkGemmComplex(EK_PLAIN, EK_ADJOINT, a->bs, a->bs, (int)a->numbers, ProductScale(a, layer), from, a->numbers, dto, a->numbers, 1,
                a->dW_conj + WeightsAt(a, layer, block), (size_t)a->bs);
  for (int c = 0; c < a->bs; c++, dto += a->plane) {
    float re = 0, im = 0;

#pragma omp simd reduction(+ : re, im)
    for (size_t k = 0; k < a->plane; k += 2) {
      re += dto[k];
      im += dto[k + 1];
    }
    db[c] += scale * re;
    db[a->channels + c] += scale * im;
  }
}

/* to = conj(W) from */
static void LayerBackward(const Afno *a, int layer, int block, const float *from, float *to)
{
  EkGemmComplex(EK_PLAIN, EK_PLAIN, a->bs, (int)a->numbers, a->bs, ProductScale(a, layer), a->W + WeightsAt(a, layer, block),
                (size_t)a->bs, from, a->numbers, 0, to, a->numbers);
}

/* The gradient of the input's spectrum takes the place of the result's, the slope of the activation that of its argument. */
static void BlockBackward(EkGraph g, EkNode *node, const Afno *a, int b, int block)
{
  const size_t n = (size_t)a->bs * a->plane;
  float       *z = a->Z + b * a->keep + BlockAt(a, block), *dy = a->Y + BlockAt(a, block);

  EkGeluWithSlope(n, z, a->H, z);
  LayerGradients(g, node, a, 1, block, a->H, dy);
  LayerBackward(a, 1, block, dy, a->dH);
  for (size_t i = 0; i < n; i++) a->dH[i] *= z[i];
  LayerGradients(g, node, a, 0, block, a->X + b * a->keep + BlockAt(a, block), a->dH);
  LayerBackward(a, 0, block, a->dH, dy);
}

static void AfnoBackward(EkGraph g, EkNode *node)
{
  const Afno   a = AfnoOf(g, node);
  const size_t n = (size_t)a.channels * a.x.stride;

  MakeComplex(g, node, &a, -1);
  memset(a.dW_conj, 0, LAYERS * 2 * (size_t)a.blocks * a.each * sizeof(float));
  for (int b = 0; b < g->batch; b++) {
    const float *from = a.y.gradient + b * a.y.gradient_step;
    float       *to = a.x.gradient + b * a.x.gradient_step;

    EkTransformAnalyse(node->transform, 1, a.channels, from, a.y.stride, a.Y);
    for (int block = 0; block < a.blocks; block++) BlockBackward(g, node, &a, b, block);
    if (!g->tensor[node->input[0]].has_gradient) continue;
    if (node->accumulate[0]) {
      for (size_t i = 0; i < n; i++) to[i] += from[i];
    } else
      memcpy(to, from, n * sizeof(float));
    EkTransformSynthesise(node->transform, 0, a.channels, a.Y, to, a.x.stride, 1);
  }
  AddGradients(g, node, &a);
}

static double AfnoFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const double channels = (double)g->tensor[node->output].channels, modes = EkTransformGetShape(node->transform)->modes;
  const double transforms = 2 * channels * EkTransformFlops(node->transform),
               products = 16 * modes * channels * channels / (double)node->group;

  return transforms + (backward ? 2 : 1) * products;
}

const EkOperator EkOpAfno = {
    .member = {"afno", "block-diagonal mixing of Fourier coefficients"},
    .forward = AfnoForward,
    .backward = AfnoBackward,
    .flops = AfnoFlops,
};

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
  node->tile = Scratch(sample, (size_t)node->group, g->params->table[g->tensor[input[W1_AT]].param].count * LAYERS,
                       (PetscBool)(node->saved > 0));
  PetscFunctionReturn(0);
}
