#include "evenkeel/base.h"
#include <signal.h>
#include <unistd.h>

/* The one exception to "no state outside the run context": a signal handler has no argument to carry one. */
static volatile sig_atomic_t stop_requests, terminations;

/* SIGUSR1 alone may be repeated. */
static const int handled[] = {SIGUSR1, SIGTERM, SIGINT, SIGHUP};
#define HANDLED (sizeof(handled) / sizeof(handled[0]))

/* Whatever order two that were pending arrive in. */
static void OnSignal(int number)
{
  if (number != SIGUSR1) terminations++;
  if (++stop_requests > 1 && terminations) _exit(128 + number);
}

PetscErrorCode EkStopInstall(void)
{
  struct sigaction action = {.sa_handler = OnSignal, .sa_flags = SA_RESTART}, before;
  int              failed = 0;

  PetscFunctionBegin;
  sigemptyset(&action.sa_mask);
  /* one at a time: a count must not be lost between two handlers */
  for (size_t i = 0; i < HANDLED; i++) sigaddset(&action.sa_mask, handled[i]);
  for (size_t i = 0; i < HANDLED; i++) {
    failed |= sigaction(handled[i], &action, &before);
    /* nohup and shells say so for runs in the background */
    if (handled[i] != SIGUSR1 && before.sa_handler == SIG_IGN) failed |= sigaction(handled[i], &before, NULL);
  }
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_SYS, "cannot install signal handlers");
  PetscFunctionReturn(0);
}

PetscBool EkStopRequested(void)
{
  return (PetscBool)(stop_requests > 0);
}
