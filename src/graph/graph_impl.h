/* What operators see of a graph. */
#pragma once
#include "evenkeel/graph.h"

typedef enum { EK_TENSOR_INPUT, EK_TENSOR_PARAM, EK_TENSOR_FIELD, EK_TENSOR_SLICE } EkTensorKind;

#define EK_NO_BUFFER (-1)
typedef struct {
  EkTensorKind kind;
  EkLayout     layout;
  EkGrid       grid;
  PetscInt     channels;
  EkTensor     root;                         /* of a slice; itself otherwise */
  PetscInt     first;                        /* of a slice: channel of the root */
  int          producer;                     /* node, or -1 */
  int          param;                        /* index in the params' table, or -1 */
  PetscBool    wants_gradient, has_gradient; /* depends on something trainable; and a loss depends on it */
  PetscBool    keep, sliced_gradient;        /* sliced: several nodes write parts of the gradient */
  int          value, value_again, gradient; /* buffers; of the value from backward on, often the same one */
  const float *bound;
  size_t       bound_step;
  float       *constant; /* owned: what `bound` points to */
} EkTensorState;

typedef struct EkNode_ EkNode;
typedef struct EkOperator_ {
  EkMember member;
  void (*forward)(EkGraph graph, EkNode *node);
  void (*backward)(EkGraph graph, EkNode *node);
  double (*flops)(EkGraph graph, EkNode *node, PetscBool backward); /* of one sample */
  /* The rest may be left out. */
  void (*destroy)(EkNode *node);               /* frees node->plan */
  void (*settle)(EkGraph graph, EkNode *node); /* sets node->tile when the capacity is known */
  PetscBool coupled; /* samples meet (EkGraphSetSum): it runs with an empty batch too, for the other ranks' sake */
} EkOperator;

struct EkNode_ {
  const EkOperator *op;
  int               ninputs;
  EkTensor         *input;
  PetscBool        *kept;           /* backward reads this input's value */
  PetscBool        *accumulate;     /* backward adds to this input's gradient: an earlier one has written it */
  EkTensor          output;         /* EK_NONE for a loss */
  PetscBool         active;         /* takes part in backward */
  size_t            saved, scratch; /* floats a sample, from forward to backward; during either run */
  size_t            tile;           /* floats of scratch that do not grow with the batch, or not evenly */
  int               saved_buffer, saved_again, scratch_buffer; /* from forward on, from backward on */
  int               segment;                                   /* or -1 */
  PetscBool         again;                                     /* runs forward once more, just before its segment's backward */
  int               nfields;                                   /* linear, concat: how many inputs are concatenated */
  PetscBool         has_addend, gelu;
  PetscInt          margin[3];    /* pad, crop */
  EkTransform       transform;    /* the graph's */
  PetscInt          group;        /* groupnorm: groups; patch: size; afno: modes */
  PetscBool         inverse;      /* scale_shift */
  PetscBool         keeps_output; /* backward reads the output's value */
  void             *plan;         /* the operator's own, see destroy */
  double            loss, seconds[2];
  double  *sample_loss; /* of a loss: [capacity] after Plan, what forward sets for the samples of its batch; NULL otherwise */
  PetscInt calls[2];
};

typedef struct {
  size_t floats; /* a sample; `fixed` ones whatever the batch */
  size_t fixed;
  int    birth, death; /* steps of the schedule */
  size_t offset;
} EkBuffer;

/* A whole run: every node forward; from the last one on, segments again and what is active backward. */
typedef enum { EK_FORWARD, EK_AGAIN, EK_BACKWARD } EkPass;
typedef struct {
  EkPass pass;
  int    node;
} EkStep;

/* What tells transforms apart. corner: EkTransformCreateCorner's, by modes[0]. */
typedef struct {
  int               dim;
  PetscInt          n[2], modes[2];
  EkTransformMethod method;
  PetscBool         corner;
} EkTransformKey;
typedef struct {
  EkTransformKey key;
  EkTransform    transform;
} EkSharedTransform;

struct EkGraph_ {
  EkParams           params;
  int                capacity, batch;
  PetscBool          gradients, planned, frozen;
  EkRecompute        recompute;
  int                segment, nsegments; /* the open one or -1 */
  EkPass             pass;               /* under way, or of the last step */
  int                nsteps;
  EkStep            *step; /* the first nnodes are forward */
  double             loss_scale;
  double            *sample_loss; /* [capacity], see EkGraphSampleLoss */
  const uint64_t    *keys;        /* of the samples, borrowed: EkGraphBindKeys */
  EkSumFunction      sum;
  void              *sum_context;
  PetscErrorCode     failed; /* of a sum or a primitive: told when the run ends */
  PetscInt64         run;    /* of params->runs: the forward run under way or the last */
  int                ntensors, tensor_capacity;
  EkTensorState     *tensor;
  int                nnodes, node_capacity;
  EkNode           **node; /* the nodes, not a view: a node's address is kept */
  int                nbuffers, buffer_capacity;
  EkBuffer          *buffer;
  float             *memory, *arena; /* as allocated; on a cache line */
  size_t             arena_floats, unshared_floats;
  int                ntransforms;
  EkSharedTransform *transform;
  size_t             held; /* bytes: EkGraphHeld */
};

/* A field as an operator works on it. value and gradient point at sample 0. Of a blocked field, stride is points, a block's
 * planes being EK_BLOCK times that. */
typedef struct {
  float   *value, *gradient;
  size_t   step, gradient_step; /* floats between samples */
  PetscInt channels;
  size_t   points, stride;
} EkField;

EkField EkGraphField(EkGraph graph, EkTensor t);
/* Floats of one sample's value. */
size_t EkSampleFloats(const EkTensorState *tensor);
/* What an operator could not do: shows when the run ends. */
void EkGraphFail(EkGraph graph, PetscErrorCode code);
/* Adds values up over the global batch; a failure shows when the run ends. Called by every rank whatever happened before. */
void   EkGraphSum(EkGraph graph, int n, double *values);
float *EkGraphWeight(EkGraph graph, const EkNode *node, int input);
float *EkGraphWeightGradient(EkGraph graph, const EkNode *node, int input); /* NULL where none is wanted */
float *EkGraphSaved(EkGraph graph, const EkNode *node);
float *EkGraphScratch(EkGraph graph, const EkNode *node);

/* Building: a node with room for its inputs; the output field. */
PetscErrorCode EkGraphAddNode(EkGraph graph, const EkOperator *op, int ninputs, const EkTensor inputs[], EkNode **node);
PetscErrorCode EkGraphAddField(EkGraph graph, EkNode *node, PetscInt channels, EkGrid grid, EkTensor *out);
/* A planar field, or a blocked one. */
PetscErrorCode EkGraphCheckField(EkGraph graph, EkTensor t, const char *op);
PetscErrorCode EkGraphCheckBlocked(EkGraph graph, EkTensor t, const char *op);
/* Before anything looks at it: the output is blocked. */
void EkGraphMakeBlocked(EkGraph graph, EkTensor t);
/* The graph's transform of this kind, made when first asked for. Nodes run one after the other: all use its work space. */
PetscErrorCode EkGraphTransform(EkGraph graph, const EkTransformKey *key, EkTransform *transform);
PetscErrorCode EkGraphDestroyTransforms(EkGraph graph);
/* An operator has taken so many bytes of its own: EkGraphHeld. */
void           EkGraphHold(EkGraph graph, size_t bytes);
PetscErrorCode EkGraphCheckShape(EkGraph graph, EkTensor param, int rank, const PetscInt shape[], const char *op);

/* Row pointers of a sample's planes from column `at` on. */
static inline void EkPlanes(const float **row, const float *start, size_t stride, PetscInt channels)
{
  for (PetscInt c = 0; c < channels; c++) row[c] = start + (size_t)c * stride;
}

extern const EkOperator EkOpLinear, EkOpLinearGeluLinear, EkOpSpectralConv, EkOpGelu, EkOpAdd, EkOpPad, EkOpCrop, EkOpConcat,
    EkOpMse;
extern const EkOperator EkOpLinearTransposed, EkOpPatch, EkOpUnpatch, EkOpGroupNorm, EkOpAfno, EkOpTimeAggregate, EkOpMoments,
    EkOpScaleShift, EkOpMean, EkOpRelativeLoss, EkOpNoise;
extern const EkOperator EkOpToBlocked, EkOpToPlanar, EkOpConv, EkOpConvTranspose, EkOpBatchNormTanh, EkOpMaxPool,
    EkOpConcatBlocked;
