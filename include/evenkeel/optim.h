/* Optimizers over the parameter table, and schedules of the base rate. An optimizer sees arenas of floats and one rate ratio per tensor; it never sees a model. */
#pragma once
#include "evenkeel/graph.h"
#include "evenkeel/keys.h"

typedef struct {
  int       optimizer;              /* row of EkOptimizerFamily */
  PetscReal lr, weight_decay;       /* base rate; coupled: added to the gradient */
  int       schedule;               /* row of EkScheduleFamily */
  PetscInt  schedule_step;          /* epochs */
  PetscReal schedule_gamma;
} EkOptimOptions;
extern const EkKeyTable EkOptimKeys;
extern const EkFamily   EkOptimizerFamily, EkScheduleFamily;

/* Base rate used in epoch e = 0, 1, ... */
double EkScheduleRate(const EkOptimOptions *options, PetscInt epoch);

typedef struct EkOptimizer_ *EkOptimizer;
struct EkOptimizer_ {
  EkOptimOptions options;
  EkParams       params;  /* borrowed */
  size_t         lo, hi;  /* the part of the arenas this rank updates; both even, so that no complex entry is cut */
  float         *moment1, *moment2; /* of that part; a complex entry's second moment stands in both of its places */
  PetscInt64     steps;   /* updates made */
};
PetscErrorCode EkOptimizerCreate(const EkOptimOptions *options, EkParams params, size_t lo, size_t hi, EkOptimizer *optimizer);
/* One update of [lo, hi) from the gradient arena: tensor t at rate lr * ratio[t]. Tensors no gradient reaches stay as they are. Adam in the published form: decay coupled, one
   |g|^2 for a complex entry (models-and-data 3.6). Not collective. */
PetscErrorCode EkOptimizerStep(EkOptimizer optimizer, double lr, const double ratio[]);
PetscErrorCode EkOptimizerDestroy(EkOptimizer *optimizer);
