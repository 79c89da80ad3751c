/* Optimizers over the parameter table, schedules of the base rate, and SAM. An optimizer sees arenas of floats and one rate ratio
   per tensor; it never sees a model. */
#pragma once
#include "evenkeel/graph.h"
#include "evenkeel/keys.h"

typedef struct {
  int       optimizer;         /* row of EkOptimizerFamily */
  PetscReal lr, weight_decay;  /* base rate; coupled decay: added to the gradient, times the weight; decoupled: taken off the
                                  weight, times the rate */
  PetscReal beta1, beta2, eps; /* Adam and its kin */
  PetscReal momentum;          /* sgd */
  int       schedule;          /* row of EkScheduleFamily */
  PetscInt  schedule_step;     /* epochs */
  PetscReal schedule_gamma;
  PetscReal warmup;         /* epochs, not necessarily whole */
  PetscBool cycle_momentum; /* one_cycle: beta1 or momentum goes 0.95, 0.85, 0.95 */
  PetscReal sam;            /* rho of SAM; 0: off */
  PetscBool sam_adaptive;
} EkOptimOptions;
extern const EkKeyTable EkOptimKeys;
extern const EkFamily   EkOptimizerFamily, EkScheduleFamily;

/* EkKeyUse of EkOptimOptions: what means something to the chosen optimizer and schedule. */
PetscBool EkOptimUses(const void *options, const EkKey *key);
/* A problem for every key given that the choices have no use for, and for a warm-up longer than the run; train_warmup, where the
   deck leaves it open, becomes the schedule's own share of the epochs. */
PetscErrorCode EkOptimCheck(EkRun run, EkOptimOptions *options, PetscInt epochs, EkProblems problems);

/* ---- schedules ---------------------------------------------------------------------------------------------- */

/* Where a step stands in a run: batch b = 0..nbatches-1 of epoch e = 0..epochs-1. What lies past the end is as the last step for
   schedules that move with every step. */
typedef struct {
  PetscInt epoch, batch, epochs, nbatches;
} EkScheduleAt;

/* Base rate of the step. */
double EkScheduleRate(const EkOptimOptions *options, const EkScheduleAt *at);
/* beta1 of Adam and its kin or momentum of sgd in the step; 0 for an optimizer that has neither. */
double EkScheduleMomentum(const EkOptimOptions *options, const EkScheduleAt *at);
/* Is it told by where in the whole run a step is? Then more epochs change the rate of all. */
PetscBool EkScheduleSpansRun(const EkOptimOptions *options);

/* ---- optimizers --------------------------------------------------------------------------------------------- */

/* What an optimizer remembers, one array of floats: a group of a checkpoint. */
typedef struct {
  const char         *name; /* "adam_m" */
  int                 n;
  const EkTensorInfo *table;  /* the parameters', or the optimizer's own where a memory is smaller than its tensor */
  float              *values; /* of [lo, hi), owned */
  size_t              lo, hi;
} EkOptimizerArray;
#define EK_OPTIMIZER_ARRAYS 3

typedef struct EkOptimizer_ *EkOptimizer;
struct EkOptimizer_ {
  EkOptimOptions   options;
  EkParams         params; /* borrowed */
  size_t           lo, hi; /* the part of the arenas this rank updates; both even, so that no complex entry is cut */
  int              narrays;
  EkOptimizerArray array[EK_OPTIMIZER_ARRAYS];
  EkTensorInfo    *table[EK_OPTIMIZER_ARRAYS]; /* tables of its own, owned */
  int             *place[EK_OPTIMIZER_ARRAYS]; /* with them: [tensor] its row, -1: none */
  PetscInt64       steps;                      /* updates made */
  double           momentum; /* beta1 or momentum of the next update: the options', unless EkScheduleMomentum is put here */
};

/* Must the optimizer see tensors whole? Then its state cannot be cut into slices. */
PetscBool EkOptimizerIsWhole(const EkOptimOptions *options);
/* Error: [lo, hi) cuts a complex entry, or is not everything for an optimizer that sees tensors whole. */
PetscErrorCode EkOptimizerCreate(const EkOptimOptions *options, EkParams params, size_t lo, size_t hi, EkOptimizer *optimizer);
/* One update of [lo, hi) from the gradient arena: tensor t at rate lr * ratio[t], decoupled decay too. Tensors no gradient
   reaches stay as they are. Where it goes element by element, it gives the same bits wherever a slice begins. Not collective.
     adam          published form (models-and-data 3.6): decay coupled, one |g|^2 for a complex entry
     adam_pytorch  torch.optim.Adam: decay coupled, real and imaginary part each with its own second moment
     adamw         torch.optim.AdamW: decay decoupled, real and imaginary part apart
     sgd           torch.optim.SGD with momentum, decay coupled
     adafactor     Shazeer and Stern, 2018, as Hugging Face has it with scale_parameter and relative_step off, no first moment,
   decay_rate -0.8, clip_threshold 1, eps 1e-30: second moments as row times column over the last two axes of tensors with two or
   more; a complex tensor counts as the real one with the trailing 2. Decay decoupled. The gradient is used up. */
PetscErrorCode EkOptimizerStep(EkOptimizer optimizer, double lr, const double ratio[]);
PetscErrorCode EkOptimizerDestroy(EkOptimizer *optimizer);

/* ---- the whole gradient --------------------------------------------------------------------------------------- */

/* Euclidean norm in double, the same bits on every rank that holds the same gradient. */
double EkGradientNorm(EkParams params);
/* torch.nn.utils.clip_grad_norm_: the gradient times min(1, most / (norm + 1e-6)). */
void EkGradientClip(EkParams params, double most, double norm);

/* Sharpness-aware minimisation (Foret et al., 2021): the gradient of an update is taken at w + rho g / ||g||; adaptive (Kwon et
   al., 2021): at w + rho w^2 g / || |w| g ||, |w| of a complex entry as a whole. Tensors no gradient reaches stay. `kept` (as
   long as the arena) gets the weights. *norm: the denominator, to which 1e-12 is added. Not collective: every rank holds the
   whole gradient. */
PetscErrorCode EkSamClimb(EkParams params, double rho, PetscBool adaptive, float *kept, double *norm);
/* The weights as they were, to the bit; what no gradient reaches (running statistics) keeps what the second pass made of it. */
PetscErrorCode EkSamReturn(EkParams params, const float *kept);
