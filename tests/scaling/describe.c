/* What one training step of a deck sends, for skeleton.c:
     describe RANKS DECK [-key value ...]     RANKS: "1 2 4", the rank counts for which balancing is planned
   Prints `name=value` lines: floats of the gradient arena, whether the optimizer is sharded and up to how many
   ranks its sums are exchanged, the sizes (doubles) of the sums inside the forward and the backward run as the graph itself asks
   for them, what a refresh gathers and broadcasts, and per rank count the busiest rank's part of a refresh's work. One rank. */
#include "evenkeel/train.h"
#include "shares.h"
#include <stdio.h>
#include <stdlib.h>

#define SUMS_MAX 4096

typedef struct {
  int n, size[SUMS_MAX];
} Sums;

static PetscErrorCode Record(void *context, int n, double *values)
{
  Sums *sums = context;

  (void)values; /* one rank: its own are the sum */
  PetscFunctionBegin;
  PetscCheck(sums->n < SUMS_MAX, PETSC_COMM_SELF, PETSC_ERR_SUP, "a step has more than %d sums", SUMS_MAX);
  sums->size[sums->n++] = n;
  PetscFunctionReturn(0);
}

static void PrintSums(const char *name, const Sums *sums)
{
  printf("%s=", name);
  for (int i = 0; i < sums->n; i++) printf("%s%d", i ? "," : "", sums->size[i]);
  printf("\n");
}

static PetscErrorCode DescribeSums(EkSession session)
{
  Sums      forward = {0}, backward = {0};
  EkRollout rollout;
  float    *sample;

  PetscFunctionBegin;
  PetscCall(EkRolloutCreate(session, 0, &rollout));
  PetscCall(PetscCalloc1(rollout.sample, &sample));
  PetscCall(EkGraphBind(rollout.graph, rollout.frames, sample, rollout.sample));
  if (EkGraphIsCoupled(rollout.graph)) PetscCall(EkGraphSetSum(rollout.graph, Record, &forward));
  PetscCall(EkGraphForward(rollout.graph, 1, 1));
  if (EkGraphIsCoupled(rollout.graph)) PetscCall(EkGraphSetSum(rollout.graph, Record, &backward));
  PetscCall(EkGraphBackward(rollout.graph));
  PrintSums("forward_sums", &forward);
  PrintSums("backward_sums", &backward);
  PetscCall(PetscFree(sample));
  PetscCall(EkRolloutDestroy(&rollout));
  PetscFunctionReturn(0);
}

static PetscErrorCode DescribeBalance(EkSession session, const char *ranks)
{
  const EkLayerState *known;
  const double       *state;
  EkBalance           balance;
  EkLayer            *layers;
  PetscInt            eigenvalues = 0;
  size_t              count;
  int                 n, *tensor_layer;

  PetscFunctionBegin;
  PetscCall(EkLayersCreate(session->params, (EkLayerSet)session->deck.balance.layers, &n, &layers, &tensor_layer));
  PetscCall(EkBalanceCreate(session->mesh, &session->deck.balance, n, layers, &balance));
  PetscCall(EkBalanceGetLayers(balance, &n, &known));
  PetscCall(EkBalanceGetState(balance, &count, &state));
  for (int l = 0; l < n; l++) eigenvalues += known[l].neigs;
  printf("eigenvalues=%lld\nbalance_state=%zu\n", (long long)eigenvalues, count);
  PetscCall(PrintShares(&session->deck.balance, ranks, n, layers));
  PetscCall(EkBalanceDestroy(&balance));
  PetscCall(PetscFree(layers));
  PetscCall(PetscFree(tensor_layer));
  PetscFunctionReturn(0);
}

static PetscErrorCode Describe(EkRun run)
{
  EkSession session;
  EkDeck    deck;

  PetscFunctionBegin;
  PetscCheck(run->size == 1, run->comm, PETSC_ERR_USER_INPUT, "describe runs on one rank");
  PetscCall(EkDeckRead(run, &deck));
  PetscCall(EkSessionCreate(run, &deck, EK_CHOOSE_GEMM, &session));
  printf("floats=%zu\nsharded=%d\nexchange=%d\n", session->params->total, session->mesh->shard == EK_SHARD_OPTIMIZER,
         (int)session->mesh->exchange);
  PetscCall(DescribeSums(session));
  PetscCall(DescribeBalance(session, run->argv[0]));
  PetscCall(EkSessionDestroy(&session));
  PetscFunctionReturn(0);
}

int main(int argc, char **argv)
{
  EkRun run;
  int   failed;

  EkBlasChoose(argv);
  if (PetscInitialize(NULL, NULL, NULL, NULL)) return 1;
  if (EkRunCreate(argc, argv, &run)) return 1;
  failed = Describe(run) != 0;
  if (EkRunDestroy(&run)) failed = 1;
  PetscFinalize();
  return failed;
}
