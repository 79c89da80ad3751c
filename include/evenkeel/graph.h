/* Static graphs. A model is a function that calls operators; the graph is built once, planned for the largest local batch and then run forward and
   backward many times with that batch or a smaller one, zero included. Operators are rows of one table (src/graph/operators.c).
   Nothing here communicates; errors are mistakes in building (shapes, names) and are the same on every rank. */
#pragma once
#include "evenkeel/kernel.h"

/* ---- parameters: two arenas of floats, weights and gradients, and a table of named views -------------------- */

/* What a weight belongs to, as PyTorch names module types: decides how balancing reads its matrices. */
typedef enum { EK_MODULE_OTHER, EK_MODULE_LINEAR, EK_MODULE_CONV1D, EK_MODULE_CONV2D, EK_MODULE_SPECTRAL } EkModuleKind;

typedef struct {
  EkModuleKind kind;
  double       lo, hi; /* initial values: uniform in [lo, hi); a complex entry draws both parts */
  PetscBool    used;   /* a gradient reaches it: otherwise it is neither updated nor decayed */
} EkParamInfo;

typedef struct EkParams_ *EkParams;
struct EkParams_ {
  int           n, capacity;
  EkTensorInfo *table;
  EkParamInfo  *info;
  size_t        total;               /* floats of an arena; even, complex tensors start at even offsets */
  float        *weights, *gradients; /* arenas, owned */
};
PetscErrorCode EkParamsCreate(EkParams *params);
/* Appends one tensor; call in PyTorch's registration order. `shape` has the trailing 2 of a complex tensor. */
PetscErrorCode EkParamsAdd(EkParams params, const char *name, EkModuleKind kind, PetscBool is_complex, int rank, const PetscInt shape[], double lo, double hi);
/* Makes the arenas, after the last Add. */
PetscErrorCode EkParamsAllocate(EkParams params);
/* Draws every tensor from its own stream (seed, tensor number): the same on any mesh. */
PetscErrorCode EkParamsInitialise(EkParams params, uint64_t seed);
int            EkParamsFind(EkParams params, const char *name); /* -1: none */
/* Numbers a user counts: a complex entry once (`numel`) or as two reals. */
PetscInt64     EkParamsCount(EkParams params, PetscBool as_reals);
PetscErrorCode EkParamsDestroy(EkParams *params);

/* ---- tensors ---------------------------------------------------------------------------------------------- */

/* The points of a field on this rank. A slab of the first axis is [first, first + n[0]) of global; today it is always all of it. */
typedef struct {
  int      dim;
  PetscInt n[3];
  PetscInt first, global;
  size_t   points, stride; /* floats of a plane; between planes, EkPlaneStride(points) */
} EkGrid;
EkGrid EkGridMake(int dim, const PetscInt n[]);

/* Handle of a tensor of one graph: a field (B, C, X[, Y]), planar, or a parameter. */
typedef int EkTensor;

typedef struct EkGraph_ *EkGraph;
/* capacity: the largest batch; gradients: plan and keep what backward needs. Parameters are borrowed. */
PetscErrorCode EkGraphCreate(EkParams params, int capacity, PetscBool gradients, EkGraph *graph);
PetscErrorCode EkGraphDestroy(EkGraph *graph);

/* A field whose values the caller provides by EkGraphBind before a run. wants_gradient: for tests. */
PetscErrorCode EkGraphInput(EkGraph graph, PetscInt channels, EkGrid grid, PetscBool wants_gradient, EkTensor *out);
/* value: (batch, channels, stride) with `step` floats between samples; 0 when all samples share it. Borrowed until the next Bind. */
PetscErrorCode EkGraphBind(EkGraph graph, EkTensor input, const float *value, size_t step);
/* A parameter by its state_dict key. */
PetscErrorCode EkGraphParam(EkGraph graph, const char *name, EkTensor *out);
/* Channels [first, first + count) of a field, without a copy. */
PetscErrorCode EkGraphSlice(EkGraph graph, EkTensor field, PetscInt first, PetscInt count, EkTensor *out);
/* The value outlives the forward run (predictions to look at). */
PetscErrorCode EkGraphKeep(EkGraph graph, EkTensor field);

/* Lifetimes and places of all buffers; no operators may be added after it. Cost: quadratic in their number, once. */
PetscErrorCode EkGraphPlan(EkGraph graph);
/* batch <= capacity samples. loss_scale multiplies every sample's loss and its gradient: 1 / global batch makes a mean. */
PetscErrorCode EkGraphForward(EkGraph graph, int batch, double loss_scale);
/* Adds to the gradient arena of the parameters. Follows a Forward of the same batch. */
PetscErrorCode EkGraphBackward(EkGraph graph);

/* Sum of all loss operators of the last Forward, already scaled. */
double         EkGraphLoss(EkGraph graph);
/* Where a field's values (or gradients) are: (batch, channels, stride), *step floats between samples. Valid for inputs and kept tensors. */
PetscErrorCode EkGraphGetValue(EkGraph graph, EkTensor field, const float **value, size_t *step);
PetscErrorCode EkGraphGetGradient(EkGraph graph, EkTensor field, const float **gradient, size_t *step);
PetscErrorCode EkGraphGetGrid(EkGraph graph, EkTensor field, PetscInt *channels, EkGrid *grid);
/* Bytes of the activation arena, and what it would be without reuse. */
void   EkGraphMemory(EkGraph graph, size_t *planned, size_t *unshared);
/* Flops of one sample, forward and backward. */
double EkGraphFlops(EkGraph graph);
/* Seconds, calls and GFLOP/s per operator of the table so far, forward and backward. */
PetscErrorCode EkGraphProfile(EkGraph graph, FILE *file);

/* ---- operators: each adds a node; shapes are (B, C, X[, Y]) ------------------------------------------------- */

/* The table of operators: rows 0..EkOperatorCount() - 1. */
int             EkOperatorCount(void);
const EkMember *EkOperatorMember(int i);

/* out[o] = W concat(fields) + bias (+ addend), through GELU when `gelu`: Linear and 1x1 convolution on planar fields. weight (out, in[, 1[, 1]]), bias (out). The
   concatenation is never made. addend: a field of `out` channels, or EK_NONE. */
#define EK_NONE (-1)
PetscErrorCode EkLinear(EkGraph graph, int nfields, const EkTensor fields[], const char *weight, const char *bias, EkTensor addend, PetscBool gelu, EkTensor *out);
/* fc2(GELU(fc1(x))), the hidden layer made tile by tile and again in backward, never stored. */
PetscErrorCode EkLinearGeluLinear(EkGraph graph, EkTensor x, const char *weight1, const char *bias1, const char *weight2, const char *bias2, EkTensor *out);
/* Truncated spectral convolution: inverse(W_k . forward(x)_k). weights[0..dim): (in, out, m1[, m2], 2). */
PetscErrorCode EkSpectralConv(EkGraph graph, EkTensor x, const char *const weights[], const PetscInt modes[], EkTransformMethod method, EkTensor *out);
PetscErrorCode EkGeluField(EkGraph graph, EkTensor x, EkTensor *out);
PetscErrorCode EkAdd(EkGraph graph, EkTensor a, EkTensor b, EkTensor *out);
/* Zeros appended at the end of every axis; and the inverse. */
PetscErrorCode EkPad(EkGraph graph, EkTensor x, const PetscInt more[], EkTensor *out);
PetscErrorCode EkCrop(EkGraph graph, EkTensor x, const PetscInt less[], EkTensor *out);
PetscErrorCode EkConcat(EkGraph graph, int nfields, const EkTensor fields[], EkTensor *out);
/* Adds loss_scale * sum_b mean_{c,x}((prediction - target)^2) to the graph's loss. */
PetscErrorCode EkMseLoss(EkGraph graph, EkTensor prediction, EkTensor target);
