#include "trainer.h"
#include "evenkeel/weights.h"
#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Scalars of a checkpoint: name in the JSON text, field of EkProgress. */
#define PROGRESS(X)                                                                                                              \
  X(epoch, PetscInt)                                                                                                             \
  X(batch, PetscInt)                                                                                                             \
  X(loss_sum, double)                                                                                                            \
  X(epoch_seconds, double)                                                                                                       \
  X(balance_seconds, double)                                                                                                     \
  X(train_seconds, double)                                                                                                       \
  X(balance_total, double)

/* What torch keeps in a param_group, for `export`: the next update as the deck has it. */
static cJSON *Group(EkTrainer t)
{
  const EkOptimOptions *o = &t->session->deck.optim;
  const EkScheduleAt    at = EkTrainerAt(t);
  const double          betas[2] = {t->optimizer->momentum, o->beta2};
  cJSON                *json = cJSON_CreateObject();

  cJSON_AddNumberToObject(json, "lr", EkScheduleRate(o, &at));
  cJSON_AddItemToObject(json, "betas", cJSON_CreateDoubleArray(betas, 2));
  cJSON_AddNumberToObject(json, "eps", o->eps);
  cJSON_AddNumberToObject(json, "weight_decay", o->weight_decay);
  return json;
}

/* Tensors in the order of the table, which is torch's: in the file they stand by name. */
static cJSON *Names(EkParams params)
{
  cJSON *list = cJSON_CreateArray();

  for (int i = 0; i < params->n; i++) cJSON_AddItemToArray(list, cJSON_CreateString(params->table[i].name));
  return list;
}

static PetscErrorCode MetaText(EkTrainer t, char **text)
{
  cJSON *json = cJSON_CreateObject(), *norm = EkSessionNormJson(t->session);
  char  *deck;

  PetscFunctionBegin;
  PetscCall(EkDeckText(&t->session->deck, &deck));
#define ADD(field, type) cJSON_AddNumberToObject(json, #field, (double)t->at.field);
  PROGRESS(ADD)
#undef ADD
  cJSON_AddItemToObject(json, "set_loss", cJSON_CreateDoubleArray(t->at.set_loss, t->session->nsets));
  cJSON_AddNumberToObject(json, EK_NOTE_STEPS, (double)t->optimizer->steps);
  cJSON_AddItemToObject(json, EK_NOTE_GROUP, Group(t));
  cJSON_AddItemToObject(json, "tensors", Names(t->session->params));
  cJSON_AddStringToObject(json, "optimizer", EkFamilyMember(&EkOptimizerFamily, t->session->deck.optim.optimizer)->name);
  cJSON_AddStringToObject(json, "transform", EkFamilyMember(&EkTransformFamily, t->session->deck.model.transform)->name);
  cJSON_AddStringToObject(json, "model", EkFamilyMember(&EkModelFamily, t->session->deck.model.type)->name);
  cJSON_AddNumberToObject(json, "seed", (double)t->session->deck.train.seed);
  cJSON_AddNumberToObject(json, "train_trajectories", (double)t->session->info->count[EK_TRAIN]);
  cJSON_AddNumberToObject(json, "train_batch", (double)t->session->deck.train.batch);
  cJSON_AddNumberToObject(json, "analysed_layers", (double)t->nlayers);
  cJSON_AddStringToObject(json, "deck", deck);
  free(deck);
  if (norm) cJSON_AddItemToObject(json, "normalize", norm);
  *text = cJSON_PrintUnformatted(json);
  cJSON_Delete(json);
  PetscFunctionReturn(0);
}

/* Weights and what the optimizer remembers; this rank's part of each. How many there are. */
#define MOST_ARENAS (1 + EK_OPTIMIZER_ARRAYS)
static int Arenas(EkTrainer t, EkArenaPart arena[MOST_ARENAS])
{
  EkParams          p = t->session->params;
  const EkOptimizer o = t->optimizer;

  arena[0] = (EkArenaPart){"weights", p->n, p->table, p->weights, 0, p->total};
  for (int i = 0; i < o->narrays; i++) {
    const EkOptimizerArray *a = &o->array[i];

    arena[1 + i] = (EkArenaPart){a->name, a->n, a->table, a->values - a->lo, a->lo, a->hi};
  }
  return 1 + o->narrays;
}

PetscErrorCode EkRestartWrite(EkTrainer t)
{
  const double  start = EkTime();
  EkArenaPart   arena[MOST_ARENAS];
  EkStateArray  state = {.name = "balance"};
  const double *values;
  double       *copy;
  char         *meta = NULL;

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(t->run, CHECKPOINT));
  PetscCall(MetaText(t, &meta));
  PetscCall(EkBalanceGetState(t->balance, &state.count, &values));
  PetscCall(PetscMalloc1(state.count + 1, &copy));
  PetscCall(PetscArraycpy(copy, values, state.count));
  state.values = copy;
  PetscCall(EkCheckpointWrite(t->run, t->session->deck.out.dir, Arenas(t, arena), arena, 1, &state, meta));
  cJSON_free(meta);
  PetscCall(PetscFree(copy));
  PetscCall(EkPhaseEnd(t->run, CHECKPOINT));
  t->checkpoint_seconds = fmax(t->checkpoint_seconds, EkTime() - start);
  PetscFunctionReturn(0);
}

static const char *MetaWord(const cJSON *json, const char *name)
{
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

  return cJSON_IsString(item) ? item->valuestring : "";
}

/* The checkpoint's word for what the deck chooses from a family. */
static PetscErrorCode CheckMember(EkRun run, const cJSON *json, const char *name, const char *path, const EkFamily *family,
                                  int chosen)
{
  const char *there = MetaWord(json, name), *here = EkFamilyMember(family, chosen)->name;

  PetscFunctionBegin;
  PetscCheck(!strcmp(there, here), run->comm, PETSC_ERR_USER_INPUT, "train_resume: '%s' is of %s %s, the deck asks for %s", path,
             name, *there ? there : "unknown", here);
  PetscFunctionReturn(0);
}

PetscErrorCode EkRestartFind(EkRun run, const EkDeck *deck, EkCheckpoint *checkpoint, int *transform)
{
  cJSON *json;
  int    found;

  PetscFunctionBegin;
  *checkpoint = NULL;
  *transform = EK_CHOOSE_AUTO;
  if (!strcmp(deck->train.resume, "no")) PetscFunctionReturn(0);
  if (!strcmp(deck->train.resume, "auto"))
    PetscCall(EkCheckpointOpenNewest(run, deck->out.dir, checkpoint));
  else
    PetscCall(EkCheckpointOpen(run, deck->train.resume, checkpoint));
  if (!*checkpoint) PetscFunctionReturn(0);
  json = cJSON_Parse(EkCheckpointMeta(*checkpoint));
  found = EkFamilyFind(&EkTransformFamily, MetaWord(json, "transform"));
  if (found > 0) *transform = found;
  PetscCall(CheckMember(run, json, "model", EkCheckpointPath(*checkpoint), &EkModelFamily, deck->model.type));
  PetscCall(CheckMember(run, json, "optimizer", EkCheckpointPath(*checkpoint), &EkOptimizerFamily, deck->optim.optimizer));
  cJSON_Delete(json);
  PetscFunctionReturn(0);
}

PetscErrorCode EkRestartNorm(EkSession s, EkCheckpoint checkpoint)
{
  cJSON         *json = cJSON_Parse(EkCheckpointMeta(checkpoint)), *norm = cJSON_GetObjectItemCaseSensitive(json, "normalize");
  char          *note = norm ? cJSON_PrintUnformatted(norm) : NULL;
  PetscErrorCode code;

  PetscFunctionBegin;
  code = EkSessionRestoreNorm(s, EkCheckpointPath(checkpoint), note);
  cJSON_free(note);
  cJSON_Delete(json);
  PetscFunctionReturn(code);
}

static PetscErrorCode ReadNumber(EkRun run, const cJSON *json, const char *name, const char *path, double *value)
{
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

  PetscFunctionBegin;
  PetscCheck(cJSON_IsNumber(item), run->comm, PETSC_ERR_FILE_UNEXPECTED, "checkpoint '%s' does not say '%s'", path, name);
  *value = item->valuedouble;
  PetscFunctionReturn(0);
}

/* The sampler's place means nothing in another order of trajectories, nor do ratios for other layers. */
static PetscErrorCode CheckSame(EkTrainer t, const cJSON *json, const char *path)
{
  const struct {
    const char *name;
    PetscInt    here;
  } same[] = {{"seed", t->session->deck.train.seed},
              {"train_trajectories", t->session->info->count[EK_TRAIN]},
              {"train_batch", t->session->deck.train.batch},
              {"analysed_layers", t->nlayers}};

  PetscFunctionBegin;
  for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
    double there;

    PetscCall(ReadNumber(t->run, json, same[i].name, path, &there));
    PetscCheck(there == (double)same[i].here, t->run->comm, PETSC_ERR_USER_INPUT,
               "train_resume: checkpoint '%s' has %s %lld, this run %lld; continue with the same", path, same[i].name,
               (long long)there, (long long)same[i].here);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadProgress(EkTrainer t, const cJSON *json, const char *path)
{
  double value = 0;

  PetscFunctionBegin;
#define READ(field, type)                                                                                                        \
  PetscCall(ReadNumber(t->run, json, #field, path, &value));                                                                     \
  t->at.field = (type)value;
  PROGRESS(READ)
#undef READ
  for (int k = 0; k < t->session->nsets; k++) {
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "set_loss"), k);

    if (cJSON_IsNumber(item)) t->at.set_loss[k] = item->valuedouble;
  }
  PetscCall(ReadNumber(t->run, json, EK_NOTE_STEPS, path, &value));
  t->optimizer->steps = (PetscInt64)value;
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckShapes(EkTrainer t, EkCheckpoint checkpoint)
{
  EkArenaPart arena[MOST_ARENAS];
  const int   n = Arenas(t, arena);

  PetscFunctionBegin;
  PetscCall(EkCheckpointCheck(checkpoint, n, arena));
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadArrays(EkTrainer t, EkCheckpoint checkpoint)
{
  EkArenaPart   arena[MOST_ARENAS];
  const int     n = Arenas(t, arena);
  EkStateArray  state = {.name = "balance"};
  const double *values;
  double       *copy;

  PetscFunctionBegin;
  PetscCall(EkBalanceGetState(t->balance, &state.count, &values));
  PetscCall(PetscCalloc1(state.count + 1, &copy));
  state.values = copy;
  PetscCall(EkCheckpointRead(checkpoint, n, arena, 1, &state));
  PetscCall(EkBalancePutState(t->balance, state.count, copy));
  PetscCall(PetscFree(copy));
  PetscFunctionReturn(0);
}

/* One rank says in what the run differs from the one it continues. other_rule: in how it balances. */
static PetscErrorCode CompareDecks(EkTrainer t, const char *before, PetscBool *other_rule)
{
  char *now;

  PetscFunctionBegin;
  PetscCall(EkDeckText(&t->session->deck, &now));
  if (t->run->rank == 0) EkDeckDifferences(before, now, EkScheduleSpansRun(&t->session->deck.optim), stdout);
  *other_rule = (PetscBool)(*before && EkDeckBlockDiffers(before, now, "balance"));
  free(now);
  PetscFunctionReturn(0);
}

PetscErrorCode EkRestartRead(EkTrainer t, EkCheckpoint checkpoint)
{
  cJSON    *json = cJSON_Parse(EkCheckpointMeta(checkpoint));
  PetscBool other_rule = PETSC_FALSE;

  PetscFunctionBegin;
  PetscCall(CheckShapes(t, checkpoint));
  PetscCall(CheckSame(t, json, EkCheckpointPath(checkpoint)));
  PetscCall(ReadProgress(t, json, EkCheckpointPath(checkpoint)));
  PetscCheck(t->at.epoch <= t->session->deck.train.epochs, t->run->comm, PETSC_ERR_USER_INPUT,
             "train_epochs: '%s' has %d epochs behind it, which cannot be made %d", EkCheckpointPath(checkpoint),
             (int)t->at.epoch, (int)t->session->deck.train.epochs);
  PetscCall(CompareDecks(t, MetaWord(json, "deck"), &other_rule));
  cJSON_Delete(json);
  PetscCall(ReadArrays(t, checkpoint));
  if (other_rule) PetscCall(EkBalanceApplyRule(t->balance)); /* ratios in the checkpoint are those of the rule before */
  PetscFunctionReturn(0);
}
