#include "evenkeel/command.h"
#include "evenkeel/results.h"
#include "evenkeel/train.h"
#include <cJSON.h>
#include <string.h>
#include <unistd.h>

static PetscBool IsTyped(EkRun run, const char *key)
{
  for (int i = 1; i < run->raw_argc; i++) {
    if (!strcmp(run->raw_argv[i], key)) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

/* What a training run with this deck left, unless other weights are named on the command line: in the deck of such a run,
   model_weights is what it started from. All of them are evaluated, whatever the run took. */
static PetscErrorCode ChooseWeights(EkRun run, EkDeck *deck)
{
  char left[EK_PATH];
  int  there;

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(left, sizeof(left), "%.1000s/final.safetensors", deck->out.dir));
  there = run->rank == 0 && !access(left, F_OK);
  PetscCallMPI(MPI_Bcast(&there, 1, MPI_INT, 0, run->comm));
  if (!*deck->model.weights || (there && !IsTyped(run, "-model_weights")))
    PetscCall(PetscStrncpy(deck->model.weights, left, sizeof(deck->model.weights)));
  PetscCall(PetscStrncpy(deck->model.load, "all", sizeof(deck->model.load)));
  PetscCall(PetscPrintf(run->comm, "weights %s\n", deck->model.weights));
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteFigures(const EkDeck *deck, const EkUsage *usage, const EkFigures *predicted,
                                   const EkFigures *published, int n, const EkSetFigures *sets)
{
  char   path[2 * EK_PATH];
  cJSON *json = cJSON_CreateObject();

  PetscFunctionBegin;
  cJSON_AddStringToObject(json, "weights", deck->model.weights);
  EkUsageAdd(usage, cJSON_AddObjectToObject(json, "timing"), json);
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
  EkUsage             usage;
  EkDeck              deck;
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkDeckRead(run, &deck));
  PetscCall(ChooseWeights(run, &deck));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? EkMakeDirectories("out_dir", deck.out.dir) : 0));
  PetscCall(EkSessionCreate(run, &deck, EK_CHOOSE_AUTO, &session));
  PetscCall(EkSessionLoadNorm(session));
  PetscCheck(session->info->count[EK_TEST] > 0, run->comm, PETSC_ERR_USER_INPUT, "data_test: no trajectories to evaluate on");
  PetscCall(EkEvaluatorCreate(session, &evaluator));
  PetscCall(PetscSNPrintf(pictures, sizeof(pictures), "%s/predictions.h5", deck.out.dir));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? EkPredictionsGetWeights(pictures, before) : 0));
  PetscCall(EkEvaluate(evaluator, pictures, &predicted, &published, 0, NULL));
  PetscCall(EkEvaluatorGetSets(evaluator, &n, &sets));
  PetscCall(EkFiguresPrint(run, &predicted, &published, n, sets));
  PetscCall(EkUsageGet(run, &usage));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? WriteFigures(&deck, &usage, &predicted, &published, n, sets) : 0));
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? MarkPredictions(&deck, pictures, before) : 0));
  PetscCall(EkEvaluatorDestroy(&evaluator));
  PetscCall(EkSessionDestroy(&session));
  *exit_status = 0;
  PetscFunctionReturn(0);
}
