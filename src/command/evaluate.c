#include "evenkeel/command.h"
#include "evenkeel/train.h"
#include <cJSON.h>
#include <sys/stat.h>

/* Without model_weights: what a training run with this deck left. Whatever that one started from, all of it is evaluated. */
static PetscErrorCode DefaultWeights(EkDeck *deck)
{
  PetscFunctionBegin;
  if (!*deck->model.weights)
    PetscCall(PetscSNPrintf(deck->model.weights, sizeof(deck->model.weights), "%.1000s/final.safetensors", deck->out.dir));
  PetscCall(PetscStrncpy(deck->model.load, "all", sizeof(deck->model.load)));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCommandEvaluate(EkRun run, int *exit_status)
{
  char                path[2 * EK_PATH], pictures[2 * EK_PATH];
  EkFigures           predicted, published;
  const EkSetFigures *sets;
  EkEvaluator         evaluator;
  EkSession           session;
  EkDeck              deck;
  PetscErrorCode      failed = 0;
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkDeckRead(run, &deck));
  PetscCall(DefaultWeights(&deck));
  if (run->rank == 0) mkdir(deck.out.dir, 0777); /* the file's own error says the rest */
  PetscCall(EkSessionCreate(run, &deck, EK_CHOOSE_AUTO, &session));
  PetscCall(EkSessionLoadNorm(session));
  PetscCheck(session->info->count[EK_TEST] > 0, run->comm, PETSC_ERR_USER_INPUT, "data_test: no trajectories to evaluate on");
  PetscCall(EkEvaluatorCreate(session, &evaluator));
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/evaluate.json", deck.out.dir));
  PetscCall(PetscSNPrintf(pictures, sizeof(pictures), "%s/predictions.h5", deck.out.dir));
  PetscCall(EkEvaluate(evaluator, pictures, &predicted, &published, 0, NULL));
  PetscCall(EkEvaluatorGetSets(evaluator, &n, &sets));
  PetscCall(EkFiguresPrint(run, &predicted, &published, n, sets));
  if (run->rank == 0) {
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "weights", deck.model.weights);
    failed = EkFiguresWrite(path, &predicted, &published, n, sets, json);
  }
  PetscCall(EkAgree(run, run->comm, failed));
  PetscCall(EkEvaluatorDestroy(&evaluator));
  PetscCall(EkSessionDestroy(&session));
  *exit_status = 0;
  PetscFunctionReturn(0);
}
