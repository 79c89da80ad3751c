#include "evenkeel/command.h"
#include "evenkeel/results.h"
#include "evenkeel/train.h"
#include <cJSON.h>
#include <string.h>
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

static PetscErrorCode WriteFigures(const EkDeck *deck, const EkFigures *predicted, const EkFigures *published, int n,
                                   const EkSetFigures *sets)
{
  char   path[2 * EK_PATH];
  cJSON *json = cJSON_CreateObject();

  PetscFunctionBegin;
  cJSON_AddStringToObject(json, "weights", deck->model.weights);
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/evaluate.json", deck->out.dir));
  PetscCall(EkFiguresWrite(path, predicted, published, n, sets, json));
  PetscFunctionReturn(0);
}

/* A run keeps its predictions under the same name: the file says whose they are, and a line that others' (`before`) are gone. */
static PetscErrorCode MarkPredictions(const EkDeck *deck, const char *path, const char *before)
{
  PetscFunctionBegin;
  if (!deck->evaluate.write_predictions) PetscFunctionReturn(0);
  PetscCall(EkPredictionsSetWeights(path, deck->model.weights));
  if (*before && strcmp(before, deck->model.weights))
    printf("notice: %s of %s is replaced by that of %s\n", path, before, deck->model.weights);
  PetscFunctionReturn(0);
}

PetscErrorCode EkCommandEvaluate(EkRun run, int *exit_status)
{
  char                pictures[2 * EK_PATH], before[EK_PATH];
  EkFigures           predicted, published;
  const EkSetFigures *sets;
  EkEvaluator         evaluator;
  EkSession           session;
  EkDeck              deck;
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkDeckRead(run, &deck));
  PetscCall(DefaultWeights(&deck));
  if (run->rank == 0) mkdir(deck.out.dir, 0777); /* the file's own error says the rest */
  PetscCall(EkSessionCreate(run, &deck, EK_CHOOSE_AUTO, &session));
  PetscCall(EkSessionLoadNorm(session));
  PetscCheck(session->info->count[EK_TEST] > 0, run->comm, PETSC_ERR_USER_INPUT, "data_test: no trajectories to evaluate on");
  PetscCall(EkEvaluatorCreate(session, &evaluator));
  PetscCall(PetscSNPrintf(pictures, sizeof(pictures), "%s/predictions.h5", deck.out.dir));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? EkPredictionsGetWeights(pictures, before) : 0));
  PetscCall(EkEvaluate(evaluator, pictures, &predicted, &published, 0, NULL));
  PetscCall(EkEvaluatorGetSets(evaluator, &n, &sets));
  PetscCall(EkFiguresPrint(run, &predicted, &published, n, sets));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? WriteFigures(&deck, &predicted, &published, n, sets) : 0));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? MarkPredictions(&deck, pictures, before) : 0));
  PetscCall(EkEvaluatorDestroy(&evaluator));
  PetscCall(EkSessionDestroy(&session));
  *exit_status = 0;
  PetscFunctionReturn(0);
}
