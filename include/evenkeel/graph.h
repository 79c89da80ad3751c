/* Static graphs. A model is a function that calls operators; the graph is built once, planned for the largest local batch and
   then run forward and backward many times with that batch or a smaller one, zero included. Operators are rows of one table
   (src/graph/operators.c). Building does not communicate; its errors are mistakes (shapes, names) and are the same on every rank.
   A run may: where samples meet those of other ranks (EkGraphSetSum). */
#pragma once
#include "evenkeel/kernel.h"

/* ---- parameters: two arenas of floats, weights and gradients, and a table of named views -------------------- */

/* What a weight belongs to, as PyTorch names module types: decides how balancing reads its matrices. */
typedef enum {
  EK_MODULE_OTHER,
  EK_MODULE_LINEAR,
  EK_MODULE_CONV1D,
  EK_MODULE_CONV2D,
  EK_MODULE_SPECTRAL,
  EK_MODULE_TRANSPOSED, /* transposed convolution, (in, out, k[, k]) */
  EK_MODULE_TIME_AGG,   /* (t, in, out) */
  EK_MODULE_AFNO,       /* (2, blocks, in, out): real parts, imaginary parts */
  EK_MODULE_BUFFER      /* running statistics: saved with the weights, no gradient ever reaches them */
} EkModuleKind;

/* How initial values are drawn; a complex entry draws both parts. */
typedef enum {
  EK_DRAW_UNIFORM, /* in [a, b); all equal a where b = a */
  EK_DRAW_NORMAL,  /* mean a, standard deviation b */
  EK_DRAW_POWERS   /* 2^x for x equally spaced from a to b */
} EkDraw;

typedef struct {
  EkModuleKind kind;
  EkDraw       draw;
  double       a, b;
  PetscBool    used; /* a gradient reaches it: otherwise it is neither updated nor decayed */
} EkParamInfo;

typedef struct EkParams_ *EkParams;
struct EkParams_ {
  int           n, capacity;
  EkTensorInfo *table;
  EkParamInfo  *info;
  size_t        total;               /* floats of an arena; even, complex tensors start at even offsets */
  float        *weights, *gradients; /* arenas, owned */
  EkPacked *packed; /* [n] weights of convolutions in oneDNN's layout: one copy of those there are, whatever the number of graphs
                       and steps */
  PetscInt64 runs;  /* forward runs of all graphs so far: the copies are made anew in each */
};
PetscErrorCode EkParamsCreate(EkParams *params);
/* Appends one tensor; call in PyTorch's registration order. `shape` has the trailing 2 of a complex tensor. */
PetscErrorCode EkParamsAdd(EkParams params, const char *name, EkModuleKind kind, PetscBool is_complex, int rank,
                           const PetscInt shape[], double lo, double hi);
/* Another draw than uniform for the tensor added last. */
PetscErrorCode EkParamsSetDraw(EkParams params, EkDraw draw, double a, double b);
/* A running statistic, `value` at the start. counter: an integer in PyTorch's files (num_batches_tracked), rank 0. */
PetscErrorCode EkParamsAddBuffer(EkParams params, const char *name, PetscBool counter, int rank, const PetscInt shape[],
                                 double value);
/* Makes the arenas, after the last Add. */
PetscErrorCode EkParamsAllocate(EkParams params);
/* Draws every tensor from its own stream (seed, tensor number): the same on any mesh. */
PetscErrorCode EkParamsInitialise(EkParams params, uint64_t seed);
int            EkParamsFind(EkParams params, const char *name); /* -1: none */
/* Numbers a user counts: a complex entry once (`numel`) or as two reals. */
PetscInt64     EkParamsCount(EkParams params, PetscBool as_reals);
PetscErrorCode EkParamsDestroy(EkParams *params);

/* ---- tensors ---------------------------------------------------------------------------------------------- */

/* The points of a field on this rank. A slab of the first axis is [first, first + n[0]) of global; today it is always all of it.
 */
typedef struct {
  int      dim;
  PetscInt n[3];
  PetscInt first, global;
  size_t   points, stride; /* floats of a plane; between planes, EkPlaneStride(points) */
} EkGrid;
EkGrid EkGridMake(int dim, const PetscInt n[]);

/* Handle of a tensor of one graph: a field (B, C, X[, Y]) or a parameter. */
typedef int EkTensor;

/* Where the values of a field lie. Planar: (C, stride), see kernel.h. Blocked: (C/EK_BLOCK rounded up, X[, Y], EK_BLOCK), what
   convolutions work on; lanes beyond the last channel are zero, in values and gradients. Operators say which they take; none
   takes a mixture. */
typedef enum { EK_PLANAR, EK_BLOCKED } EkLayout;

typedef struct EkGraph_ *EkGraph;
/* capacity: the largest batch; gradients: plan and keep what backward needs. Parameters are borrowed. */
PetscErrorCode EkGraphCreate(EkParams params, int capacity, PetscBool gradients, EkGraph *graph);
PetscErrorCode EkGraphDestroy(EkGraph *graph);

/* A field whose values the caller provides by EkGraphBind before a run. wants_gradient: for tests. */
PetscErrorCode EkGraphInput(EkGraph graph, PetscInt channels, EkGrid grid, PetscBool wants_gradient, EkTensor *out);
/* value: (batch, channels, stride) with `step` floats between samples; 0 when all samples share it. Borrowed until the next Bind.
 */
PetscErrorCode EkGraphBind(EkGraph graph, EkTensor input, const float *value, size_t step);
/* keys: one for each sample of the batch, read by every EkNoise of the graph. Borrowed until the next BindKeys; backward reads
   them too. A key per (seed, run, sample) makes noise that depends on nothing else: neither on the rank nor on the batch the
   sample is in. */
PetscErrorCode EkGraphBindKeys(EkGraph graph, const uint64_t *keys);
/* A field that never changes, the same for every sample: values (channels, stride) are copied, once however often the same ones
   are given, so that every step of a rollout may say them. */
PetscErrorCode EkGraphConstant(EkGraph graph, PetscInt channels, EkGrid grid, const float *values, EkTensor *out);

/* What backward needs of the nodes between SegmentBegin and SegmentEnd is not kept from forward on: they run once more just
   before their backward, all but those of the last segment, with which backward begins. What later nodes read in backward is kept
   nevertheless, so are the statistics over the batch: running again neither communicates nor moves running statistics, and losses
   are not counted twice. Gradients are bitwise the same. */
typedef enum { EK_RECOMPUTE_NONE, EK_RECOMPUTE_STEP, EK_RECOMPUTE_BLOCK } EkRecompute;
/* Which segments count: those of a rollout's steps or those of a model's blocks. Before the first operator. */
PetscErrorCode EkGraphSetRecompute(EkGraph graph, EkRecompute level);
/* Nothing happens where `level` is not the graph's. Segments of one level do not nest. */
PetscErrorCode EkGraphSegmentBegin(EkGraph graph, EkRecompute level);
PetscErrorCode EkGraphSegmentEnd(EkGraph graph, EkRecompute level);
/* End and Begin. */
PetscErrorCode EkGraphSegmentNext(EkGraph graph, EkRecompute level);
/* Fields added while frozen are constants to what follows: nothing of them is kept for backward. Statistics over the batch are
 * those of a graph with gradients. */
PetscErrorCode EkGraphSetFrozen(EkGraph graph, PetscBool frozen);

/* Operators that take statistics over the global batch add their sums up with this, n doubles at a time; without one, the batch
   of this graph is all there is. With it, Forward and Backward are collective over whatever the function sums over. A graph made
   without gradients uses running statistics and never calls it. */
typedef PetscErrorCode (*EkSumFunction)(void *context, int n, double *values);
PetscErrorCode EkGraphSetSum(EkGraph graph, EkSumFunction sum, void *context);
/* Does a sample's value depend on the other samples of the batch? Then a batch cannot be run in parts. */
PetscBool EkGraphIsCoupled(EkGraph graph);
/* Another largest batch, before Plan: what it should be may depend on IsCoupled. */
PetscErrorCode EkGraphSetCapacity(EkGraph graph, int capacity);
/* A parameter by its state_dict key. */
PetscErrorCode EkGraphParam(EkGraph graph, const char *name, EkTensor *out);
/* Channels [first, first + count) of a planar field, without a copy. */
PetscErrorCode EkGraphSlice(EkGraph graph, EkTensor field, PetscInt first, PetscInt count, EkTensor *out);
/* The value outlives the forward run (predictions to look at). */
PetscErrorCode EkGraphKeep(EkGraph graph, EkTensor field);

/* Lifetimes and places of all buffers; no operators may be added after it. Cost: quadratic in their number, once. */
PetscErrorCode EkGraphPlan(EkGraph graph);
/* batch <= capacity samples, zero included. loss_scale multiplies every sample's loss and its gradient: 1 / global batch makes a
   mean. Where samples meet those of other ranks, what failed in an operator shows only when Backward ends, so that all ranks get
   there. */
PetscErrorCode EkGraphForward(EkGraph graph, int batch, double loss_scale);
/* Adds to the gradient arena of the parameters. Follows a Forward of the same batch. */
PetscErrorCode EkGraphBackward(EkGraph graph);

/* Sum of all loss operators of the last Forward, already scaled. */
double EkGraphLoss(EkGraph graph);
/* The same sample by sample: *loss[b] for the samples of the last Forward, zero from its batch to the capacity; their sum is
   EkGraphLoss to rounding. Owned by the graph, valid until the next run. After Plan. */
PetscErrorCode EkGraphSampleLoss(EkGraph graph, const double **loss);
/* Where a field's values (or gradients) are: (batch, channels, stride), *step floats between samples. Valid for inputs and kept
 * tensors. */
PetscErrorCode EkGraphGetValue(EkGraph graph, EkTensor field, const float **value, size_t *step);
PetscErrorCode EkGraphGetGradient(EkGraph graph, EkTensor field, const float **gradient, size_t *step);
PetscErrorCode EkGraphGetGrid(EkGraph graph, EkTensor field, PetscInt *channels, EkGrid *grid);
/* Bytes of the activation arena, and what it would be without reuse. After Plan. */
void EkGraphMemory(EkGraph graph, size_t *planned, size_t *unshared);
/* Bytes that operators hold beside the arena: constants, tables and work space of transforms, products of weights, statistics of
   a batch. Not in it: convolutions' copies of weights, which belong to the parameters, and the graph's own records, about a
   kilobyte a node. */
size_t EkGraphHeld(EkGraph graph);
/* Flops of one sample, forward and backward; what runs again is counted once. */
double EkGraphFlops(EkGraph graph);
/* Seconds, calls and GFLOP/s per operator of the table so far, forward and backward; seconds of what runs again are backward's.
 */
PetscErrorCode EkGraphProfile(EkGraph graph, FILE *file);

/* ---- operators: each adds a node; shapes are (B, C, X[, Y]) ------------------------------------------------- */

/* The table of operators: rows 0..EkOperatorCount() - 1. */
int             EkOperatorCount(void);
const EkMember *EkOperatorMember(int i);

/* out[o] = W concat(fields) + bias (+ addend), through GELU when `gelu`: Linear and 1x1 convolution on planar fields. weight
   (out, in[, ..]) where trailing axes count as channels in the order of EkPatch, bias (out). The concatenation is never made.
   addend: a field of `out` channels, or EK_NONE. */
#define EK_NONE (-1)
PetscErrorCode EkLinear(EkGraph graph, int nfields, const EkTensor fields[], const char *weight, const char *bias,
                        EkTensor addend, PetscBool gelu, EkTensor *out);
/* fc2(GELU(fc1(x))), the hidden layer made tile by tile and again in backward, never stored. */
PetscErrorCode EkLinearGeluLinear(EkGraph graph, EkTensor x, const char *weight1, const char *bias1, const char *weight2,
                                  const char *bias2, EkTensor *out);
/* Truncated spectral convolution: inverse(W_k . forward(x)_k). weights[0..dim): (in, out, m1[, m2], 2). */
PetscErrorCode EkSpectralConv(EkGraph graph, EkTensor x, const char *const weights[], const PetscInt modes[],
                              EkTransformMethod method, EkTensor *out);
PetscErrorCode EkGeluField(EkGraph graph, EkTensor x, EkTensor *out);
PetscErrorCode EkAdd(EkGraph graph, EkTensor a, EkTensor b, EkTensor *out);
/* Zeros appended at the end of every axis; and the inverse. */
PetscErrorCode EkPad(EkGraph graph, EkTensor x, const PetscInt more[], EkTensor *out);
PetscErrorCode EkCrop(EkGraph graph, EkTensor x, const PetscInt less[], EkTensor *out);
PetscErrorCode EkConcat(EkGraph graph, int nfields, const EkTensor fields[], EkTensor *out);
/* Pixels of p x p patches become channels: (C, X, Y) -> (C p p, groups X/p, Y/p), channel c p p + kx p + ky. fields: `groups`
   lists of `per` fields, each list C channels together; its patches are rows of their own, so that the frames of a window make
   one large product. */
PetscErrorCode EkPatch(EkGraph graph, int groups, int per, const EkTensor fields[], PetscInt p, EkTensor *out);
/* Transposed convolution whose stride is its kernel p, optionally through GELU; weight (in, out, p, p), bias (out). Its points
   stay where the product leaves them: out on the grid (p p X, Y), pixel (kx, ky) of patch (i, j) at row (kx p + ky) X + i, column
   j. Pointwise operators may follow before EkUnpatch puts them in their places. */
PetscErrorCode EkLinearTransposed(EkGraph graph, EkTensor x, const char *weight, const char *bias, PetscBool gelu, EkTensor *out);
/* (C, p p X, Y) in the order of EkLinearTransposed -> (C, p X, p Y). */
PetscErrorCode EkUnpatch(EkGraph graph, EkTensor x, PetscInt p, EkTensor *out);
/* GroupNorm over (C/groups, X, Y) of each sample, biased variance, eps 1e-5, then weight and bias a channel. */
PetscErrorCode EkGroupNorm(EkGraph graph, EkTensor x, PetscInt groups, const char *weight, const char *bias, EkTensor *out);
/* AFNO's mixing of Fourier coefficients (Guibas et al. 2022): rfft2 (ortho), two layers of block-diagonal complex products with
   GELU on real and imaginary part between them, irfft2; the input is added. w (2, blocks, in, out), b (2, blocks, out). Rows and
   columns below `modes` are kept. */
PetscErrorCode EkAfno(EkGraph graph, EkTensor x, PetscInt modes, const char *w1, const char *b1, const char *w2, const char *b2,
                      EkTensor *out);
/* Many frames become one: y[o] = sum_j sum_i w[j,i,o] e[j,i] z_j[i] of the embeddings z_j = P x_j + b + position; e = cos(t_j
   gamma_i), t_j equally spaced from 0 to 1, or 1 where gamma is NULL. x (E, frames X, Y): frame j is rows j X .. (j+1) X - 1. P
   (D, E[, 1, 1]), b (D), position (1, D, X, Y), w (frames, D, D), gamma (1, D). All of it is linear, so that the products of
   weights come first, once a run, and the D channels of all frames never exist: 2 frames E D flops a point instead of 2 frames D
   D. */
PetscErrorCode EkTimeAggregate(EkGraph graph, EkTensor x, const char *P, const char *b, const char *position, const char *w,
                               const char *gamma, EkTensor *out);
/* Mean and standard deviation (unbiased, + 1e-6) of each of C channels over the points of all fields, each of one or more frames
   of C channels: a field of 2C channels on one point, means first. */
PetscErrorCode EkMoments(EkGraph graph, int nfields, const EkTensor fields[], PetscInt channels, EkTensor *out);
/* x scale + shift, or its inverse (x - shift)/scale: fields on one point, of x's channels or a divisor of them (they repeat,
 * frame by frame). */
PetscErrorCode EkScaleShift(EkGraph graph, EkTensor x, EkTensor scale, EkTensor shift, PetscBool inverse, EkTensor *out);
/* Mean over the points of each channel: a field on one point. */
PetscErrorCode EkMean(EkGraph graph, EkTensor x, EkTensor *out);
/* DPOT's training noise: y = x + eps N[c] z. x: the fields one after the other, frames of `channels` channels; N[c]: the norm of
   channel c over all frames and points of the sample; z ~ N(0,1), independent in each (frame, channel, point), drawn from the
   sample's key (EkGraphBindKeys) and `stream`, which tells the steps of a rollout apart. z is made again where it is needed,
   never stored. The gradient goes through x and through N. out: all channels in one field. Error when it runs: no keys. */
PetscErrorCode EkNoise(EkGraph graph, int nfields, const EkTensor fields[], PetscInt channels, double eps, int stream,
                       EkTensor *out);

/* ---- operators on blocked fields ---- */

/* Planar fields, concatenated, into blocks; and back. */
PetscErrorCode EkToBlocked(EkGraph graph, int nfields, const EkTensor fields[], EkTensor *out);
PetscErrorCode EkToPlanar(EkGraph graph, EkTensor x, EkTensor *out);
/* Convolution without bias, stride 1, zeros around so that the grid stays; weight (out, in, k[, k]), k odd. */
PetscErrorCode EkConv(EkGraph graph, EkTensor x, const char *weight, EkTensor *out);
/* Transposed convolution of kernel and stride 2: doubles every axis. weight (in, out, 2[, 2]), bias (out). */
PetscErrorCode EkConvTranspose(EkGraph graph, EkTensor x, const char *weight, const char *bias, EkTensor *out);
/* tanh(BatchNorm(x)): with gradients, statistics over batch and points of all ranks (EkGraphSetSum), and running_mean,
   running_var and num_batches_tracked of `module` move on (momentum 0.1, unbiased variance) every time it is applied; without,
   the running ones are used. Parameters MODULE.weight, MODULE.bias. eps 1e-5. Error when it runs: a channel of the whole batch
   has one value. */
PetscErrorCode EkBatchNormTanh(EkGraph graph, EkTensor x, const char *module, EkTensor *out);
/* Largest of 2 (x 2) neighbours. Even axes. */
PetscErrorCode EkMaxPool(EkGraph graph, EkTensor x, EkTensor *out);
/* Channels of a, then of b. Cheapest where a's are whole blocks: nothing but copies. */
PetscErrorCode EkConcatBlocked(EkGraph graph, EkTensor a, EkTensor b, EkTensor *out);

/* ---- losses ---- */

/* Adds loss_scale * sum_b mean_{c,x}((prediction - target)^2) to the graph's loss. */
PetscErrorCode EkMseLoss(EkGraph graph, EkTensor prediction, EkTensor target);
/* Adds loss_scale * sum_b (1/n) sum_c ||m (prediction - target)|| / (||m target|| + 1e-8), norms over the points of each channel
   and all nfields pairs (frames); n: channels with a mask that is not all zero. mask: a field of C channels of zeros and ones (an
   input or constant), or EK_NONE. DPOT's loss. */
PetscErrorCode EkRelativeLoss(EkGraph graph, int nfields, const EkTensor predictions[], const EkTensor targets[], EkTensor mask);
