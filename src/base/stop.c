#include "evenkeel/base.h"
#include <signal.h>
#include <unistd.h>

/* The one exception to "no state outside the run context": a signal handler has no argument to carry one. */
static volatile sig_atomic_t stop_requests, terminations;

/* Whatever order two that were pending arrive in. */
static void OnSignal(int number)
{
  if (number == SIGTERM || number == SIGINT || number == SIGHUP) terminations++;
  if (++stop_requests > 1 && terminations) _exit(128 + number);
}

PetscErrorCode EkStopInstall(void)
{
  struct sigaction action = {0};

  PetscFunctionBegin;
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGUSR1); /* one at a time: a count must not be lost between two handlers */
  sigaddset(&action.sa_mask, SIGTERM);
  sigaddset(&action.sa_mask, SIGINT);
  sigaddset(&action.sa_mask, SIGHUP);
  PetscCheck(!sigaction(SIGUSR1, &action, NULL) && !sigaction(SIGTERM, &action, NULL) && !sigaction(SIGINT, &action, NULL) &&
                 !sigaction(SIGHUP, &action, NULL),
             PETSC_COMM_SELF, PETSC_ERR_SYS, "cannot install signal handlers");
  PetscFunctionReturn(0);
}

PetscBool EkStopRequested(void)
{
  return (PetscBool)(stop_requests > 0);
}
