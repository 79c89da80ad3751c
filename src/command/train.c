#include "evenkeel/command.h"
#include "evenkeel/train.h"

PetscErrorCode EkCommandTrain(EkRun run, int *exit_status)
{
  EkDeck deck;

  PetscFunctionBegin;
  PetscCall(EkDeckRead(run, &deck));
  PetscCall(EkBalanceTellUnused(run, &deck.balance));
  PetscCall(EkTrain(run, &deck, exit_status));
  PetscFunctionReturn(0);
}
