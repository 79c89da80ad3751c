/* Training and evaluation: data, model, balancing and optimizer put together. */
#pragma once
#include "evenkeel/balance.h"
#include "evenkeel/mixture.h"
#include "evenkeel/metrics.h"
#include "evenkeel/model.h"
#include "evenkeel/optim.h"

typedef struct {
  PetscInt epochs, batch; /* trajectories over all ranks */
  PetscInt accumulate; /* parts of a global batch, worked on one after the other before an update; where samples meet (BatchNorm),
                          those of a part do */
  int       mode;      /* EkTrainMode */
  PetscInt  unroll;    /* rollout steps with gradient and loss, the last ones; 0: all */
  int       recompute; /* EkRecompute */
  int       loss;      /* row of EkLossFamily */
  PetscReal clip;      /* largest norm of the gradient; 0: no limit */
  PetscInt  seed;
  PetscBool shuffle;
  PetscInt  eval_interval, checkpoint_interval; /* epochs; 0: only at the end */
  char      resume[EK_PATH];                    /* "no", "auto" or a checkpoint */
  double    max_wall;                           /* s from the start of the program; 0: no limit */
} EkTrainOptions;
extern const EkKeyTable EkTrainKeys;
typedef enum { EK_AUTOREGRESSIVE, EK_SINGLE, EK_TEACHER } EkTrainMode;
extern const EkFamily EkTrainModeFamily, EkRecomputeFamily, EkLossFamily;

typedef struct {
  char dir[EK_PATH];
} EkOutOptions;
extern const EkKeyTable EkOutKeys;

typedef struct {
  PetscInt write_predictions; /* trajectories of the test set, the first ones */
} EkEvaluateOptions;
extern const EkKeyTable EkEvaluateKeys;

/* The blocks of a training deck. */
typedef struct {
  EkMixtureOptions  data;
  EkModelOptions    model;
  EkTrainOptions    train;
  EkOptimOptions    optim;
  EkBalanceOptions  balance;
  EkMeshOptions     mesh;
  EkEvaluateOptions evaluate;
  EkOutOptions      out;
} EkDeck;
/* Reads DECK (run->argv[1]) under the command line, checks everything, raises all mistakes together. Collective. */
PetscErrorCode EkDeckRead(EkRun run, EkDeck *deck);
/* rank 0 writes DIR/resolved.yaml: the deck with every default and choice filled in; loads again. Collective. */
PetscErrorCode EkDeckWrite(EkRun run, const EkDeck *deck);
/* The same text in memory, for the caller to free(). Not collective. */
PetscErrorCode EkDeckText(const EkDeck *deck, char **text);

/* ---- a session: everything between the deck and the loop --------------------------------------------------- */

#define EK_CHUNK_MAX 16
typedef struct EkSession_ *EkSession;
struct EkSession_ {
  EkRun               run;
  EkDeck              deck; /* transform resolved */
  EkMesh              mesh;
  EkMixture           mixture;
  const EkDataInfo   *info; /* as the network sees the data */
  int                 nsets;
  const EkMixtureSet *set; /* the files */
  EkModelShape        shape;
  EkParams            params;
  float              *coordinates; /* (dim, stride) planes of the grid */
  int chunk; /* samples a graph runs at a time where they meet no other sample: results depend on it in the last bits at most */
};
/* Mesh, dataset, model, initial or given weights. Collective. `transform`: EK_CHOOSE_* that a restart must repeat, or
 * EK_CHOOSE_AUTO. */
PetscErrorCode EkSessionCreate(EkRun run, const EkDeck *deck, int transform, EkSession *session);
PetscErrorCode EkSessionDestroy(EkSession *session);
/* For weights that were trained: with data_normalize, reads are normalised by the constants that model_weights (a checkpoint or
   the safetensors of a run) carries. Before anything is read. Collective. Error: weights without constants, with those of other
   fields, or with any where data_normalize is none. */
PetscErrorCode EkSessionLoadNorm(EkSession session);

/* A graph bound to the session's model: `steps` rollout steps with losses (training) or kept predictions (evaluation). */
typedef struct {
  EkGraph  graph;
  EkTensor frames, coordinates, mask, *prediction; /* mask: EK_NONE without data_mask */
  int      steps, cut;                             /* the first `cut` steps have neither gradient nor loss (train_unroll) */
  int chunk; /* samples it runs at a time: the session's, or in training this rank's whole part of a batch whose samples meet */
  PetscInt *target; /* [steps] frame each step predicts */
  PetscInt  given;  /* frames of a trajectory in a batch buffer */
  size_t    sample; /* floats of one there: EkMixtureSampleFloats, or given * fields * stride */
} EkRollout;
/* frames: of the trajectories evaluated; 0: a graph for training. */
PetscErrorCode EkRolloutCreate(EkSession session, PetscInt frames, EkRollout *rollout);
/* What the next run works on: samples from `batch` on, one after the other. */
PetscErrorCode EkRolloutBind(EkRollout *rollout, const float *batch);
PetscErrorCode EkRolloutDestroy(EkRollout *rollout);
/* Bytes of its activations and of what its operators hold beside them. */
size_t EkRolloutMemory(const EkRollout *rollout);

/* ---- evaluation ------------------------------------------------------------------------------------------- */

/* Of the test set of one file; NaN without one. */
typedef struct {
  const char   *name;
  PetscInt      samples;
  EkFigures     predicted, published;
  double        relative, relative_step; /* L2RE (EkMetricsReduceRelative) of the whole rollout, mean of those of its frames */
  int           steps;
  const double *step; /* [steps] L2RE of each predicted frame */
} EkSetFigures;

typedef struct EkEvaluator_ *EkEvaluator;
PetscErrorCode               EkEvaluatorCreate(EkSession session, EkEvaluator *evaluator);
/* EkRolloutMemory of all its rollouts. */
size_t EkEvaluatorMemory(EkEvaluator evaluator);
/* Rolls the whole test set out with the session's weights, each file's to its own last frame; without one, every figure is NaN.
   Of several files the figures are the means. predictions: path of an HDF5 file for the first evaluate_write_predictions
   trajectories (of the first file that has any), described by an .xdmf beside it, or NULL. stopped: gives up when any rank is
   asked to stop (EkStopRequested) or after EkTime() stop_by, says so there, and the figures are NaN; NULL: goes on. Collective.
 */
PetscErrorCode EkEvaluate(EkEvaluator evaluator, const char *predictions, EkFigures *predicted, EkFigures *published,
                          double stop_by, PetscBool *stopped);
/* Of the last EkEvaluate, file by file. */
PetscErrorCode EkEvaluatorGetSets(EkEvaluator evaluator, int *n, const EkSetFigures **sets);
PetscErrorCode EkEvaluatorDestroy(EkEvaluator *evaluator);
/* The table `train` and `evaluate` end with. Rank 0. */
PetscErrorCode EkFiguresPrint(EkRun run, const EkFigures *predicted, const EkFigures *published, int n,
                              const EkSetFigures sets[]);

/* What a run has taken so far: seconds in each phase of the slowest rank in it; memory of all ranks at its most, and of the one with
   most of it (bytes). Collective. */
typedef struct {
  double phase[EK_PHASE_COUNT], memory, memory_rank;
} EkUsage;
PetscErrorCode EkUsageGet(EkRun run, EkUsage *usage);
/* io_seconds and phase_seconds go into `timing`, peak_memory_bytes and peak_memory_bytes_rank into `json`. */
struct cJSON;
void EkUsageAdd(const EkUsage *usage, struct cJSON *timing, struct cJSON *json);

/* Makes a directory and those above it; key: who names it in messages. Not collective. Error: it cannot be made or written into. */
PetscErrorCode EkMakeDirectories(const char *key, const char *path);

/* Rank 0's file of both sets of figures (null where undefined), after what `more` holds already; takes `more` over. Not
 * collective. */
PetscErrorCode EkFiguresWrite(const char *path, const EkFigures *predicted, const EkFigures *published, int n,
                              const EkSetFigures sets[], struct cJSON *more);

/* ---- layers ------------------------------------------------------------------------------------------------ */

/* The named layers balancing analyses, from the parameter table: `published` what the paper's code scans (Linear, Conv2d, Conv1d
   with its quirk), `all` also what it leaves out. tensor_layer[t]: index of the layer tensor t belongs to, or -1. Both arrays are
   PetscMalloc'ed for the caller. Not collective. */
PetscErrorCode EkLayersCreate(EkParams params, EkLayerSet set, int *n, EkLayer **layers, int **tensor_layer);

/* What a refresh has found, in DIR, made when missing: layers.csv as of epoch 0, with the ratio for the rate, and spectra.h5.
   Error: DIR holds a run. Collective, rank 0 writes. */
PetscErrorCode EkSpectraDirWrite(EkRun run, const char *dir, EkBalance balance);

/* Trains as the deck says, from the start or from a checkpoint; *exit_status 0 or EK_EXIT_STOPPED. Collective. */
PetscErrorCode EkTrain(EkRun run, const EkDeck *deck, int *exit_status);
