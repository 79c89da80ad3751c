#include "shares.h"
#include "../../src/balance/balance_impl.h"
#include <stdio.h>
#include <stdlib.h>

/* Predicted seconds of the busiest of p ranks. */
static PetscErrorCode Busiest(const EkBalanceOptions *options, int p, int n, const EkLayer layers[], double *seconds)
{
  EkPlan plan;

  PetscFunctionBegin;
  PetscCall(EkPlanCreate(options, p, n, layers, &plan));
  *seconds = 0;
  for (int r = 0; r < p; r++) *seconds = PetscMax(*seconds, plan.load[r]);
  PetscCall(EkPlanDestroy(&plan));
  PetscFunctionReturn(0);
}

PetscErrorCode PrintShares(const EkBalanceOptions *options, const char *ranks, int n, const EkLayer layers[])
{
  double whole = 0, part = 0;
  char  *end;

  PetscFunctionBegin;
  PetscCall(Busiest(options, 1, n, layers, &whole));
  printf("balance_shares=");
  for (long p = strtol(ranks, &end, 10); p > 0; p = strtol(end, &end, 10)) {
    PetscCall(Busiest(options, (int)p, n, layers, &part));
    printf("%ld:%.6g,", p, part / whole);
  }
  printf("\n");
  PetscFunctionReturn(0);
}
