/* What the files of a training run share. Private to src/train. */
#pragma once
#include "evenkeel/checkpoint.h"
#include "evenkeel/train.h"

/* Where a run is. All of it is in a checkpoint; all ranks hold the same. */
typedef struct {
  PetscInt epoch;                          /* finished epochs */
  PetscInt batch;                          /* finished batches of the epoch under way */
  double   loss_sum;                       /* of those batches, over all ranks */
  double   set_loss[EK_SETS_MAX];          /* of several files: the same file by file, summed over samples */
  double   epoch_seconds, balance_seconds; /* spent in the epoch under way */
  double   train_seconds, balance_total;   /* spent in all sittings */
} EkProgress;

typedef struct EkTrainer_ *EkTrainer;
struct EkTrainer_ {
  EkRun       run;
  EkSession   session;
  EkRollout   rollout;
  EkEvaluator evaluator;
  EkOptimizer optimizer;
  EkBalance   balance;
  int         nlayers, *tensor_layer;
  double     *ratio; /* [tensor] */
  EkProgress  at;
  PetscInt   *order, nbatches; /* training trajectories of the epoch under way */
  float      *batch;           /* this rank's share of a global batch, or of one of its train_accumulate parts */
  PetscInt    most;            /* its largest size */
  uint64_t   *key;             /* of its samples' noise */
  float      *kept;            /* SAM: the weights while gradients are taken elsewhere; NULL without */
  double     *step_seconds;    /* [steps kept], for the median */
  PetscInt    nsteps, steps_kept;
  double      checkpoint_seconds, end_seconds; /* longest write; longest end of an epoch: evaluation, spectra, checkpoint */
  double      step_median;                     /* as it was a while ago */
  double      last_line, flops;                /* time of the last progress line; of this rank's forward and backward runs */
  EkFigures   predicted, published;
  PetscBool   evaluated; /* the figures belong to the weights as they are */
};

typedef struct {
  EkMember       member;
  EkLossOperator add;
  PetscBool      sums; /* over the batch; else the batch's mean */
} EkLossRow;
const EkLossRow *EkLossRowOf(const EkDeck *deck);

/* Trajectories of a global batch, or of one of its train_accumulate parts, on one rank: at most. */
PetscInt EkSessionMost(EkSession session);
/* Where the step that comes next stands in its schedule. */
EkScheduleAt EkTrainerAt(EkTrainer trainer);

/* ---- where it starts (load.c) ---------------------------------------------------------------------------------- */

/* Weights of model_weights as model_load asks for, the rest drawn from the seed; rank 0 says what was taken and what not.
   Collective. Errors: a part there is none of, tensors that do not fit. */
PetscErrorCode EkSessionLoad(EkSession session);
/* With `optimizer` in model_load, moments and number of updates into the optimizer, whatever its slice. Uses the arena of
   gradients and leaves it zero. Collective. Errors: a file without moments, or with such as the optimizer cannot continue. */
PetscErrorCode EkLoadMoments(EkRun run, const EkDeck *deck, EkOptimizer optimizer);
/* A problem for what model_load asks in vain. */
PetscErrorCode EkLoadCheck(const EkDeck *deck, EkProblems problems);

/* ---- run directory (rundir.c): rank 0 writes, every call is collective ------------------------------------------ */

/* Makes out_dir; refuses one that holds a run unless the deck resumes, and one in which another process is at work. *lock belongs
 * to EkRunDirClose. */
PetscErrorCode EkRunDirOpen(EkRun run, const EkDeck *deck, int *lock);
PetscErrorCode EkRunDirClose(int *lock);
/* Starts metrics.csv and layers.csv, or drops the rows after the epoch of a restart. */
PetscErrorCode EkRunDirTables(EkTrainer trainer, PetscBool resumed);
PetscErrorCode EkRunDirEpoch(EkTrainer trainer, double loss, double rate);
PetscErrorCode EkRunDirLayers(EkTrainer trainer, double next_rate);
PetscErrorCode EkRunDirSummary(EkTrainer trainer, const EkUsage *usage);

/* ---- restart (restart.c) ------------------------------------------------------------------------------------- */

PetscErrorCode EkRestartWrite(EkTrainer trainer);
/* The checkpoint the deck asks to continue from, NULL: none; *transform: what it used. Before the session exists. */
PetscErrorCode EkRestartFind(EkRun run, const EkDeck *deck, EkCheckpoint *checkpoint, int *transform);
PetscErrorCode EkRestartRead(EkTrainer trainer, EkCheckpoint checkpoint);
/* Constants of data_normalize as the checkpoint has them. Before anything is read. */
PetscErrorCode EkRestartNorm(EkSession session, EkCheckpoint checkpoint);

/* One line that names the settings in which two decks, as EkDeckText has them, differ so that a continued run is not the one that
   was begun; nothing if there are none, or no deck `before`. Rates, rules, data and the like; not what leaves results as they
   are: where a run writes, how often, on how many ranks, and, unless epochs_matter (to its schedule), until when. */
void EkDeckDifferences(const char *before, const char *now, PetscBool epochs_matter, FILE *out);
/* Do they differ in keys of a block? */
PetscBool EkDeckBlockDiffers(const char *before, const char *now, const char *block);

/* ---- normalisation (normalize.c): nothing happens unless data_normalize asks for it ---------------------------------- */

/* Measures the training set; reads are normalised from then on. Collective. */
PetscErrorCode EkSessionMeasureNorm(EkSession session);
/* The same with the constants of `note` (JSON, NULL: PATH has none): errors as EkSessionLoadNorm. */
PetscErrorCode EkSessionRestoreNorm(EkSession session, const char *path, const char *note);
/* A notice where model_weights carries constants and data_normalize is none. Collective. */
PetscErrorCode EkSessionTellNorm(EkSession session);
/* The constants for a checkpoint's meta text, to be owned by the caller; NULL without normalisation. */
struct cJSON *EkSessionNormJson(EkSession session);
/* Safetensors of the session's weights, with the constants. Collective. */
PetscErrorCode EkSessionWriteWeights(EkSession session, const char *path);
/* Planes of (frames, fields, stride) back into the file's units; `to` may be `from`. */
void EkSessionDenormalise(EkSession session, PetscInt frames, const float *from, float *to);

/* ---- report (report.c) ------------------------------------------------------------------------------------------ */

PetscErrorCode EkReportStart(EkTrainer trainer, PetscBool resumed);
PetscErrorCode EkReportProgress(EkTrainer trainer, double loss, PetscBool force);
PetscErrorCode EkReportEnd(EkTrainer trainer, const EkUsage *usage);
double         EkMedianStep(EkTrainer trainer); /* of this sitting's steps, the last few thousand; 0: none yet */
