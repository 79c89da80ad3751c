/* Models: one row of the table a model, one file each in src/model. A model declares its parameters with PyTorch's state_dict
   keys and applies operators to a window of fields; it never sees data files, an optimizer or a mesh. */
#pragma once
#include "evenkeel/graph.h"
#include "evenkeel/keys.h"

typedef struct {
  int      type;             /* row of EkModelFamily */
  PetscInt width;            /* channels of the hidden fields */
  EkInts   modes;            /* kept Fourier modes along x, y; one value serves all axes */
  char     weights[EK_PATH]; /* start from this file, "" to draw */
  char     load[EK_PATH];    /* what of it: parts, comma-separated */
  int      transform;        /* row of EkTransformFamily: auto, fft, gemm */
  PetscInt features;         /* UNet: channels of the first level */
  /* DPOT; what is 0 takes the preset's value */
  int       preset; /* row of EkPresetFamily */
  PetscInt  embed_dim, depth, n_blocks, patch_size, out_layer_dim;
  PetscReal mlp_ratio; /* hidden channels of the blocks' MLP over embed_dim */
  int       time_agg;  /* row of EkTimeAggFamily */
  PetscBool normalize;
  PetscInt  n_cls; /* classes of the head that tells data sets apart */
} EkModelOptions;
extern const EkKeyTable EkModelKeys;
extern const EkFamily   EkModelFamily, EkTransformFamily, EkPresetFamily, EkTimeAggFamily;
typedef enum { EK_TIME_EXP_MLP, EK_TIME_MLP } EkTimeAgg;

/* Defaults that differ between models and presets: keys the deck does not give (0, or no modes) take the row's. */
PetscErrorCode EkModelSettle(EkModelOptions *options);
/* EkKeyUse of EkModelOptions. */
PetscBool EkModelUses(const void *options, const EkKey *key);
/* A problem for every key given that the model has no use for. */
PetscErrorCode EkModelCheckKeys(EkRun run, const EkModelOptions *options, EkProblems problems);
typedef enum { EK_CHOOSE_AUTO, EK_CHOOSE_FFT, EK_CHOOSE_GEMM } EkTransformChoice;

/* What the data decide. */
typedef struct {
  EkGrid   grid;
  PetscInt fields, initial_step; /* C, and frames given */
} EkModelShape;

typedef struct {
  EkMember  member;
  int       dim;
  PetscBool velocities_first; /* order of a flow's fields it was published with: velocities, density, pressure instead of density,
                                 pressure, velocities */
  const char *uses;           /* its keys besides type and weights: words without the block, spaces between */
  PetscErrorCode (*settle)(EkModelOptions *options); /* may be NULL */
  PetscErrorCode (*declare)(const EkModelOptions *options, const EkModelShape *shape, EkParams params);
  /* window: fields whose channels are the given frames, t slow, field fast; coordinates: dim channels. */
  PetscErrorCode (*apply)(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                          const EkTensor window[], EkTensor coordinates, EkTensor *prediction);
  /* Are a file's tensors, by their names and axes, of this network? Then its dimension, the options get the sizes the tensors
     have, and shape what the data of such a network look like, on a grid as large as needed; 0: no. */
  int (*recognise)(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape);
} EkModelRow;

PetscBool EkModelVelocitiesFirst(const EkModelOptions *options);
/* What a file's tensors look like, for the one who took it for something else: the model, and the keys that differ for it from
   these options;
   "" where none does or nothing is recognised. */
PetscErrorCode EkModelGuess(const EkModelOptions *options, int n, const EkTensorInfo found[], char *text, size_t length);
/* The network whose tensors a file has, settled, and data that it may be declared for; *known false: none. Not collective. */
PetscErrorCode EkModelRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape,
                                PetscBool *known);
/* Errors on the world: a model for another dimension than the data's, modes that do not fit the grid. */
PetscErrorCode EkModelDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params);
/* Resolves `auto` by timing both forms on this process. Call on one rank and broadcast the result. */
PetscErrorCode EkModelChooseTransform(const EkModelOptions *options, const EkModelShape *shape, int *choice);

/* `steps` applications of the model, each prediction joining the window; gradients flow through all of them. frames: a field of
   (t slow, field fast) channels with at least initial_step frames. predictions[s] gets the fields. */
PetscErrorCode EkModelRollout(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, EkTensor frames,
                              EkTensor coordinates, int steps, EkTensor predictions[]);
/* How a network is rolled out. */
typedef struct {
  int steps;
  int unroll;        /* the last so many steps have gradients, the earlier ones' predictions are constants (pushforward,
                        models-and-data 4.2); steps: all */
  PetscBool teacher; /* each step is applied to the true frames before the one it predicts (teacher forcing) */
  PetscReal noise; /* added to the running window at every step, on top of what is in it: EkNoise's eps, its keys are the graph's;
                      0: none */
} EkRolloutForm;
PetscErrorCode EkModelRolloutAs(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, EkTensor frames,
                                EkTensor coordinates, const EkRolloutForm *form, EkTensor predictions[]);
/* Adds to the graph's loss. mask: a field of the target's channels, or EK_NONE. */
typedef PetscErrorCode (*EkLossOperator)(EkGraph graph, EkTensor prediction, EkTensor target, EkTensor mask);
PetscErrorCode EkLossMse(EkGraph graph, EkTensor prediction, EkTensor target, EkTensor mask); /* EkMseLoss; error: a mask */
PetscErrorCode EkLossRelative(EkGraph graph, EkTensor prediction, EkTensor target,
                              EkTensor mask); /* EkRelativeLoss of one frame */
/* Adds the loss of every prediction against frame target[s] of `frames`. */
PetscErrorCode EkModelLosses(const EkModelShape *shape, EkGraph graph, EkLossOperator loss, EkTensor frames, EkTensor mask,
                             int steps, const PetscInt target[], const EkTensor predictions[]);
