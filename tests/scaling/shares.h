/* Apart from describe.c because the balance layer's private header has an EkGrid of its own. */
#pragma once
#include "evenkeel/balance.h"

/* Prints `balance_shares=1:1,2:0.52,`: of the predicted work of a refresh on one rank, what the busiest of p ranks has, for every
   p in `ranks`, numbers with spaces between. */
PetscErrorCode PrintShares(const EkBalanceOptions *options, const char *ranks, int n, const EkLayer layers[]);
