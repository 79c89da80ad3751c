#include "evenkeel/command.h"
#include "evenkeel/pde.h"
#include <stdio.h>

static PetscErrorCode ReadOptions(EkRun run, EkGenerateOptions *options)
{
  PetscFunctionBegin;
  PetscCheck(run->argc == 2, run->comm, PETSC_ERR_USER_INPUT, "generate wants one deck: evenkeel generate DECK [-key value ...]");
  PetscCall(EkRunLoadDeck(run, run->argv[1]));
  PetscCall(EkCommandReadKeys(run, 1, (const EkKeyTable *const[]){&EkGenerateKeys}, (void *const[]){options}));
  PetscCall(EkGenerateSettle(run, options));
  PetscFunctionReturn(0);
}

/* A step of a solver of linear systems is an iteration. The time is that of all ranks together: what one of them needs. */
static PetscErrorCode PrintReport(EkRun run, const EkGenerateOptions *options, const EkGenerateReport *report)
{
  const double rate = (double)report->cell_steps / report->seconds;
  char         time[32];

  PetscFunctionBegin;
  if (run->rank == 0) {
    printf("%lld trajectories in %s: %.3g a second (%.1f a minute), %lld draws given up\n", (long long)report->solved,
           EkDuration(report->seconds, time), (double)report->solved / report->seconds,
           60 * (double)report->solved / report->seconds, (long long)report->redrawn);
    if (rate > 0) printf("%.3g cells and steps a second, %.1f ns each on a rank\n", rate, 1e9 * run->size / rate);
    if (report->complete)
      printf("%s is complete\n", options->file);
    else
      printf("%s: %lld of %lld trajectories, the same command continues it\n", options->file, (long long)report->finished,
             (long long)options->set.samples);
  }
  PetscCall(EkPhaseTable(run, report->seconds));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCommandGenerate(EkRun run, int *exit_status)
{
  EkGenerateOptions options = {.progress = PETSC_TRUE};
  EkGenerateReport  report;

  PetscFunctionBegin;
  PetscCall(ReadOptions(run, &options));
  PetscCall(EkGenerate(run, &options, &report));
  PetscCall(PrintReport(run, &options, &report));
  *exit_status = report.complete ? 0 : EK_EXIT_STOPPED;
  PetscFunctionReturn(0);
}
