#include "optim_impl.h"
#include <stddef.h>

#define FIELD(name) offsetof(EkOptimOptions, name)
static const EkKey optim_key[] = {
    {"train_lr", EK_KEY_REAL, FIELD(lr), "1e-3", EK_POSITIVE, EK_ANY, NULL, NULL, "base learning rate"},
    {"train_weight_decay", EK_KEY_REAL, FIELD(weight_decay), "1e-4", 0, EK_ANY, NULL, NULL,
     "added to the gradient, times the weight; adamw, adafactor: taken off the weight, times the rate"},
    {"train_optimizer", EK_KEY_CHOICE, FIELD(optimizer), "adam", 0, 0, &EkOptimizerFamily, NULL, "how weights are updated"},
    {"train_beta1", EK_KEY_REAL, FIELD(beta1), "0.9", 0, 0.999999, NULL, NULL,
     "adam, adam_pytorch, adamw: decay of the first moment"},
    {"train_beta2", EK_KEY_REAL, FIELD(beta2), "0.999", 0, 0.999999, NULL, NULL,
     "adam, adam_pytorch, adamw: decay of the second moment"},
    {"train_eps", EK_KEY_REAL, FIELD(eps), "1e-8", 0, 1, NULL, NULL,
     "adam, adam_pytorch, adamw: added to the root of the second moment"},
    {"train_momentum", EK_KEY_REAL, FIELD(momentum), "0.9", 0, 0.999999, NULL, NULL, "sgd: decay of the sum of gradients"},
    {"train_schedule", EK_KEY_CHOICE, FIELD(schedule), "step", 0, 0, &EkScheduleFamily, NULL, "how the base rate changes"},
    {"train_schedule_step", EK_KEY_INT, FIELD(schedule_step), "100", 1, 1 << 30, NULL, "epochs",
     "step: between changes of the rate"},
    {"train_schedule_gamma", EK_KEY_REAL, FIELD(schedule_gamma), "0.5", EK_POSITIVE, EK_ANY, NULL, NULL,
     "step: factor of a change"},
    {"train_warmup", EK_KEY_REAL, FIELD(warmup), "", 0, EK_ANY, NULL, "epochs",
     "one_cycle, cosine, linear_warmup: until the rate is largest; unset: 0.2, 0, 0.06 of the epochs"},
    {"train_cycle_momentum", EK_KEY_BOOL, FIELD(cycle_momentum), "yes", 0, 0, NULL, NULL,
     "one_cycle: beta1 or momentum from 0.95 to 0.85 and back"},
    {"train_sam", EK_KEY_REAL, FIELD(sam), "0", 0, EK_ANY, NULL, NULL, "SAM: how far up the gradient is taken (rho), 0: off"},
    {"train_sam_adaptive", EK_KEY_BOOL, FIELD(sam_adaptive), "no", 0, 0, NULL, NULL, "SAM: measured relative to each weight"},
};
#undef FIELD
const EkKeyTable EkOptimKeys = EK_KEYS("train", optim_key);

PetscBool EkOptimUses(const void *options, const EkKey *key)
{
  const EkOptimOptions *o = (const EkOptimOptions *)options;
  const EkOptimizerRow *row = EkOptimizerRowOf(o);
  const char           *word = EkKeyWord(&EkOptimKeys, key);

  if (EkWordIn(word, "lr weight_decay optimizer schedule sam")) return PETSC_TRUE;
  if (EkWordIn(word, "sam_adaptive")) return (PetscBool)(o->sam > 0);
  if (EkWordIn(word, "cycle_momentum") && !row->momentum) return PETSC_FALSE;
  if (row->momentum && EkWordIn(word, row->momentum)) return (PetscBool)!EkScheduleCycles(o);
  return (PetscBool)(EkWordIn(word, row->uses) || EkWordIn(word, EkScheduleRowOf(o)->uses));
}

/* Whose use of the key is missing. */
static PetscErrorCode Refuse(const EkOptimOptions *o, const EkKey *key, EkProblems problems)
{
  const EkOptimizerRow *row = EkOptimizerRowOf(o);
  const char           *word = EkKeyWord(&EkOptimKeys, key), *schedule = EkScheduleRowOf(o)->member.name;

  PetscFunctionBegin;
  if (EkWordIn(word, "sam_adaptive"))
    PetscCall(EkProblemsAdd(problems, "%s: without train_sam it has no meaning", key->name));
  else if (row->momentum && EkWordIn(word, row->momentum)) {
    PetscCall(EkProblemsAdd(problems,
                            "%s: %s moves it between 0.85 and 0.95 itself; leave it out, or set train_cycle_momentum: no",
                            key->name, schedule));
  } else
    PetscCall(EkProblemsAdd(problems, "%s: %s with schedule %s has no use for it", key->name, row->member.name, schedule));
  PetscFunctionReturn(0);
}

PetscErrorCode EkOptimCheck(EkRun run, EkOptimOptions *o, PetscInt epochs, EkProblems problems)
{
  PetscBool given, warmup = PETSC_FALSE;

  PetscFunctionBegin;
  for (int i = 0; i < EkOptimKeys.count; i++) {
    const EkKey *key = &EkOptimKeys.keys[i];

    PetscCall(EkKeyGiven(run, key, &given));
    if (given && !EkOptimUses(o, key)) PetscCall(Refuse(o, key, problems));
    if (key->offset == offsetof(EkOptimOptions, warmup)) warmup = given;
  }
  if (!warmup)
    o->warmup = EkScheduleRowOf(o)->warmup * (double)epochs;
  else if (o->warmup >= (double)epochs) {
    PetscCall(EkProblemsAdd(problems, "train_warmup: the run ends before it does, after %lld epochs (train_epochs)",
                            (long long)epochs));
  }
  PetscFunctionReturn(0);
}
