#include "trainer.h"
#include <cJSON.h>
#include <math.h>
#include <string.h>

/* Scalars of a checkpoint: name in the JSON text, field of EkProgress. */
#define PROGRESS(X)                                                                                                    \
  X(epoch, PetscInt)                                                                                                   \
  X(batch, PetscInt)                                                                                                   \
  X(loss_sum, double)                                                                                                  \
  X(epoch_seconds, double)                                                                                             \
  X(balance_seconds, double)                                                                                           \
  X(train_seconds, double)                                                                                             \
  X(balance_total, double)

static char *MetaText(EkTrainer t)
{
  cJSON *json = cJSON_CreateObject();
  char  *text;

#define ADD(field, type) cJSON_AddNumberToObject(json, #field, (double)t->at.field);
  PROGRESS(ADD)
#undef ADD
  cJSON_AddNumberToObject(json, "optimizer_steps", (double)t->optimizer->steps);
  cJSON_AddStringToObject(json, "transform", EkFamilyMember(&EkTransformFamily, t->session->deck.model.transform)->name);
  cJSON_AddStringToObject(json, "model", EkFamilyMember(&EkModelFamily, t->session->deck.model.type)->name);
  cJSON_AddNumberToObject(json, "seed", (double)t->session->deck.train.seed);
  cJSON_AddNumberToObject(json, "train_trajectories", (double)t->session->info->count[EK_TRAIN]);
  cJSON_AddNumberToObject(json, "train_batch", (double)t->session->deck.train.batch);
  text = cJSON_PrintUnformatted(json);
  cJSON_Delete(json);
  return text;
}

/* Weights, both moments; this rank's part of each. */
static void Arenas(EkTrainer t, EkArenaPart arena[3])
{
  EkParams          p = t->session->params;
  const EkOptimizer o = t->optimizer;

  arena[0] = (EkArenaPart){"weights", p->n, p->table, p->weights, 0, p->total};
  arena[1] = (EkArenaPart){"adam_m", p->n, p->table, o->moment1 - o->lo, o->lo, o->hi};
  arena[2] = (EkArenaPart){"adam_v", p->n, p->table, o->moment2 - o->lo, o->lo, o->hi};
}

PetscErrorCode EkRestartWrite(EkTrainer t)
{
  const double  start = EkTime();
  EkArenaPart   arena[3];
  EkStateArray  state = {.name = "balance"};
  const double *values;
  double       *copy;
  char         *meta = MetaText(t);

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(t->run, CHECKPOINT));
  PetscCall(EkBalanceGetState(t->balance, &state.count, &values));
  PetscCall(PetscMalloc1(state.count + 1, &copy));
  PetscCall(PetscArraycpy(copy, values, state.count));
  state.values = copy;
  Arenas(t, arena);
  PetscCall(EkCheckpointWrite(t->run, t->session->deck.out.dir, 3, arena, 1, &state, meta));
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

PetscErrorCode EkRestartFind(EkRun run, const EkDeck *deck, EkCheckpoint *checkpoint, int *transform)
{
  cJSON *json;
  int    found;

  PetscFunctionBegin;
  *checkpoint = NULL;
  *transform  = EK_CHOOSE_AUTO;
  if (!strcmp(deck->train.resume, "no")) PetscFunctionReturn(0);
  if (!strcmp(deck->train.resume, "auto")) PetscCall(EkCheckpointOpenNewest(run, deck->out.dir, checkpoint));
  else PetscCall(EkCheckpointOpen(run, deck->train.resume, checkpoint));
  if (!*checkpoint) PetscFunctionReturn(0);
  json  = cJSON_Parse(EkCheckpointMeta(*checkpoint));
  found = EkFamilyFind(&EkTransformFamily, MetaWord(json, "transform"));
  if (found > 0) *transform = found;
  PetscCheck(!strcmp(MetaWord(json, "model"), EkFamilyMember(&EkModelFamily, deck->model.type)->name), run->comm, PETSC_ERR_USER_INPUT,
             "train_resume: '%s' is of model %s, the deck asks for %s", EkCheckpointPath(*checkpoint), MetaWord(json, "model"), EkFamilyMember(&EkModelFamily, deck->model.type)->name);
  cJSON_Delete(json);
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadNumber(EkRun run, const cJSON *json, const char *name, const char *path, double *value)
{
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

  PetscFunctionBegin;
  PetscCheck(cJSON_IsNumber(item), run->comm, PETSC_ERR_FILE_UNEXPECTED, "checkpoint '%s' does not say '%s'", path, name);
  *value = item->valuedouble;
  PetscFunctionReturn(0);
}

/* The sampler's place means nothing in another order of trajectories. */
static PetscErrorCode CheckSame(EkTrainer t, const cJSON *json, const char *path)
{
  const struct {
    const char *name;
    double      here;
  } same[] = {{"seed", (double)t->session->deck.train.seed}, {"train_trajectories", (double)t->session->info->count[EK_TRAIN]}, {"train_batch", (double)t->session->deck.train.batch}};

  PetscFunctionBegin;
  for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
    double there;

    PetscCall(ReadNumber(t->run, json, same[i].name, path, &there));
    PetscCheck(there == same[i].here, t->run->comm, PETSC_ERR_USER_INPUT, "train_resume: checkpoint '%s' has %s %g, this run %g; continue with the same", path, same[i].name, there, same[i].here);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadProgress(EkTrainer t, const cJSON *json, const char *path)
{
  double value = 0;

  PetscFunctionBegin;
#define READ(field, type)                                                                                              \
  PetscCall(ReadNumber(t->run, json, #field, path, &value));                                                           \
  t->at.field = (type)value;
  PROGRESS(READ)
#undef READ
  PetscCall(ReadNumber(t->run, json, "optimizer_steps", path, &value));
  t->optimizer->steps = (PetscInt64)value;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRestartRead(EkTrainer t, EkCheckpoint checkpoint)
{
  cJSON         *json = cJSON_Parse(EkCheckpointMeta(checkpoint));
  EkArenaPart    arena[3];
  EkStateArray   state  = {.name = "balance"};
  PetscErrorCode failed = 0;
  const double  *values;
  double        *copy;

  PetscFunctionBegin;
  PetscCall(CheckSame(t, json, EkCheckpointPath(checkpoint)));
  PetscCall(ReadProgress(t, json, EkCheckpointPath(checkpoint)));
  cJSON_Delete(json);
  Arenas(t, arena);
  for (int i = 0; i < 3 && !failed; i++) failed = EkCheckpointReadArena(checkpoint, &arena[i]);
  PetscCall(EkAgree(t->run, t->run->comm, failed));
  PetscCall(EkBalanceGetState(t->balance, &state.count, &values));
  PetscCall(PetscCalloc1(state.count + 1, &copy));
  state.values = copy;
  PetscCall(EkAgree(t->run, t->run->comm, EkCheckpointReadState(checkpoint, &state)));
  PetscCall(EkBalancePutState(t->balance, state.count, copy));
  PetscCall(PetscFree(copy));
  PetscFunctionReturn(0);
}
