#include "evenkeel/base.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const phase_name[] = {
#define EK_PHASE_NAME(id, name) name,
    EK_PHASES(EK_PHASE_NAME)
#undef EK_PHASE_NAME
};

const char *EkPhaseName(EkPhase phase)
{
  return phase_name[phase];
}

PetscErrorCode EkPhaseGet(EkRun run, EkPhase phase, double *seconds, PetscInt *calls)
{
  PetscEventPerfInfo info;

  PetscFunctionBegin;
  PetscCall(PetscLogEventGetPerfInfo(0, run->phase[phase], &info));
  *seconds = info.time;
  *calls = info.count;
  PetscFunctionReturn(0);
}

PetscErrorCode EkPhaseTable(EkRun run, double total)
{
  double   mine[EK_PHASE_COUNT], sum[EK_PHASE_COUNT], least[EK_PHASE_COUNT], most[EK_PHASE_COUNT], listed = 0;
  PetscInt calls[EK_PHASE_COUNT];

  PetscFunctionBegin;
  for (int p = 0; p < EK_PHASE_COUNT; p++) PetscCall(EkPhaseGet(run, (EkPhase)p, &mine[p], &calls[p]));
  PetscCallMPI(MPI_Reduce(mine, sum, EK_PHASE_COUNT, MPI_DOUBLE, MPI_SUM, 0, run->comm));
  PetscCallMPI(MPI_Reduce(mine, least, EK_PHASE_COUNT, MPI_DOUBLE, MPI_MIN, 0, run->comm));
  PetscCallMPI(MPI_Reduce(mine, most, EK_PHASE_COUNT, MPI_DOUBLE, MPI_MAX, 0, run->comm));
  PetscCallMPI(MPI_Reduce(run->rank ? calls : MPI_IN_PLACE, calls, EK_PHASE_COUNT, MPIU_INT, MPI_MAX, 0,
                          run->comm)); /* a rank may have had nothing to do */
  if (run->rank) PetscFunctionReturn(0);
  printf("%-12s %8s %10s %7s %10s %10s\n", "phase", "calls", "seconds", "share", "min", "max");
  for (int p = 0; p < EK_PHASE_COUNT; p++) {
    if (!calls[p]) continue;
    sum[p] /= run->size;
    listed += sum[p];
    printf("%-12s %8d %10.3f %6.1f%% %10.3f %10.3f\n", phase_name[p], (int)calls[p], sum[p], total > 0 ? 100 * sum[p] / total : 0,
           least[p], most[p]);
  }
  printf("%-12s %8s %10.3f %6.1f%%\n", "other", "", total - listed, total > 0 ? 100 * (total - listed) / total : 0);
  printf("%-12s %8s %10.3f %6.1f%%\n", "total", "", total, 100.0);
  PetscFunctionReturn(0);
}

double EkTime(void)
{
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *EkDuration(double seconds, char text[32])
{
  const long s = (long)(seconds + 0.5);

  if (!(seconds >= 0) || seconds > 1e8)
    snprintf(text, 32, "?");
  else if (seconds < 60)
    snprintf(text, 32, "%.1fs", seconds);
  else if (s < 3600)
    snprintf(text, 32, "%ldm%02lds", s / 60, s % 60);
  else
    snprintf(text, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
  return text;
}
