/* What the files of src/optim share: the rows of the two families. */
#pragma once
#include "evenkeel/optim.h"

/* One tensor's part of an update. */
typedef struct {
  int    tensor;
  size_t lo, hi; /* of the arenas */
  double rate;   /* base rate times ratio */
} EkUpdate;

typedef struct {
  EkMember    member;
  const char *uses; /* its keys besides lr, weight_decay and those of schedule and SAM: words without the block, spaces between */
  const char *momentum;  /* the one of them that a schedule may cycle, NULL: none */
  const char *memory[2]; /* names of its arrays with the parameters' table, NULL where it makes its own */
  PetscErrorCode (*create)(EkOptimizer optimizer); /* its own arrays, may be NULL */
  PetscErrorCode (*update)(EkOptimizer optimizer, const EkUpdate *update);
} EkOptimizerRow;
PetscErrorCode EkAdafactorCreate(EkOptimizer optimizer);
PetscErrorCode EkAdafactorUpdate(EkOptimizer optimizer, const EkUpdate *update);

typedef struct {
  EkMember    member;
  const char *uses;
  double      warmup; /* of the epochs, where the deck leaves it open */
  double (*rate)(const EkOptimOptions *options, const EkScheduleAt *at);
} EkScheduleRow;

/* Does the schedule take the optimizer's beta1 or momentum into its own hands? */
PetscBool             EkScheduleCycles(const EkOptimOptions *options);
const EkOptimizerRow *EkOptimizerRowOf(const EkOptimOptions *options);
const EkScheduleRow  *EkScheduleRowOf(const EkOptimOptions *options);
