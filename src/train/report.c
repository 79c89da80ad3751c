#include "trainer.h"
#include <cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int Ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;

  return x < y ? -1 : x > y;
}

double EkMedianStep(EkTrainer t)
{
  const PetscInt n = t->nsteps < t->steps_kept ? t->nsteps : t->steps_kept;
  double        *sorted, median = 0;

  if (!n || PetscMalloc1(n, &sorted)) return 0;
  memcpy(sorted, t->step_seconds, (size_t)n * sizeof(double));
  qsort(sorted, (size_t)n, sizeof(double), Ascending);
  median = sorted[n / 2];
  (void)PetscFree(sorted);
  return median;
}

PetscErrorCode EkReportStart(EkTrainer t, PetscBool resumed)
{
  EkSession         s = t->session;
  const EkDataInfo *d = s->info;

  PetscFunctionBegin;
  if (t->run->rank) PetscFunctionReturn(0);
  printf("data    %s: %s, %d fields, %d x %d points, %d frames; ", s->deck.data.files, d->family, (int)d->fields, (int)d->n[0],
         (int)d->n[1], (int)d->frames);
  if (s->deck.data.weights.n)
    printf("%d visits an epoch to trajectories to train on, %d to test, of %d\n", (int)d->count[EK_TRAIN], (int)d->count[EK_TEST],
           (int)d->samples);
  else
    printf("%d of %d trajectories to train on, %d to test\n", (int)d->count[EK_TRAIN], (int)d->samples, (int)d->count[EK_TEST]);
  printf("model   %s: %lld parameters, ", EkFamilyMember(&EkModelFamily, s->deck.model.type)->name,
         (long long)EkParamsCount(s->params, PETSC_FALSE));
  if (s->deck.model.transform != EK_CHOOSE_AUTO)
    printf("%s transform, ", EkFamilyMember(&EkTransformFamily, s->deck.model.transform)->name);
  printf("%d rollout steps, activations %.1f MiB a rank, %.1f more to evaluate\n", t->rollout.steps,
         (double)EkRolloutMemory(&t->rollout) / 1048576, (double)EkEvaluatorMemory(t->evaluator) / 1048576);
  printf("balance %s, %d layers; mesh %d x %d, %s\n", EkFamilyMember(&EkRuleFamily, s->deck.balance.rule)->name, t->nlayers,
         s->mesh->ndata, s->mesh->nspace, s->mesh->shard == EK_SHARD_OPTIMIZER ? "optimizer sharded" : "nothing sharded");
  if (resumed) printf("resumed after epoch %d, batch %d of %d\n", (int)t->at.epoch, (int)t->at.batch, (int)t->nbatches);
  fflush(stdout);
  PetscFunctionReturn(0);
}

/* A line every five seconds at most, and one wherever the test set was evaluated. */
PetscErrorCode EkReportProgress(EkTrainer t, double loss, PetscBool force)
{
  const double   now = EkTime();
  const PetscInt epochs = t->session->deck.train.epochs;
  EkScheduleAt   at = EkTrainerAt(t);
  const double   done = (double)t->at.epoch + (double)t->at.batch / (double)t->nbatches, spent = t->at.train_seconds,
               left = done > 0 ? spent / done * ((double)epochs - done) : NAN;
  char eta[32];

  PetscFunctionBegin;
  if (t->run->rank || (!force && now - t->last_line < 5)) PetscFunctionReturn(0);
  t->last_line = now;
  if (at.epoch == epochs) { /* done: the last rate there was */
    at.epoch--;
    at.batch = at.nbatches - 1;
  }
  printf("epoch %d/%d  loss %.4e  lr %.3e", (int)t->at.epoch, (int)epochs, loss, EkScheduleRate(&t->session->deck.optim, &at));
  if (t->evaluated && !isnan(t->predicted.nRMSE)) printf("  nRMSE %.4e", t->predicted.nRMSE);
  printf("  %.1f samples/s  %s left\n", spent > 0 ? done * (double)t->session->info->count[EK_TRAIN] / spent : 0,
         EkDuration(left, eta));
  fflush(stdout);
  PetscFunctionReturn(0);
}

PetscErrorCode EkUsageGet(EkRun run, EkUsage *u)
{
  PetscFunctionBegin;
  u->memory = u->memory_rank = (double)EkPeakMemory();
  for (int p = 0; p < EK_PHASE_COUNT; p++) {
    PetscInt calls;

    PetscCall(EkPhaseGet(run, (EkPhase)p, &u->phase[p], &calls));
  }
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &u->memory, 1, MPI_DOUBLE, MPI_SUM, run->comm));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &u->memory_rank, 1, MPI_DOUBLE, MPI_MAX, run->comm));
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, u->phase, EK_PHASE_COUNT, MPI_DOUBLE, MPI_MAX, run->comm));
  PetscFunctionReturn(0);
}

void EkUsageAdd(const EkUsage *u, cJSON *timing, cJSON *json)
{
  cJSON *phases;

  cJSON_AddNumberToObject(timing, "io_seconds", u->phase[EK_PHASE_IO]);
  phases = cJSON_AddObjectToObject(timing, "phase_seconds");
  for (int p = 0; p < EK_PHASE_COUNT; p++) cJSON_AddNumberToObject(phases, EkPhaseName((EkPhase)p), u->phase[p]);
  cJSON_AddNumberToObject(json, "peak_memory_bytes", u->memory);
  cJSON_AddNumberToObject(json, "peak_memory_bytes_rank", u->memory_rank);
}

PetscErrorCode EkReportEnd(EkTrainer t, const EkUsage *usage)
{
  double              total = EkTime() - t->run->start, compute = 0, speed;
  const EkSetFigures *sets;
  int                 n;

  PetscFunctionBegin;
  for (int p = EK_PHASE_FORWARD; p <= EK_PHASE_BACKWARD; p++) {
    double   seconds;
    PetscInt calls;

    PetscCall(EkPhaseGet(t->run, (EkPhase)p, &seconds, &calls));
    compute += seconds;
  }
  speed = compute > 0 ? 1e-9 * t->flops / compute : 0;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &speed, 1, MPI_DOUBLE, MPI_SUM, t->run->comm));
  PetscCall(EkPhaseTable(t->run, total));
  if (t->run->rank == 0) {
    const double step = EkMedianStep(t);

    if (step > 0)
      printf("step %.4f s (median), %.1f samples/s, %.1f GFLOP/s in forward and backward on all ranks, ", step,
             (double)PetscMin(t->session->deck.train.batch, t->session->info->count[EK_TRAIN]) / step, speed);
    printf("peak memory %.1f MiB over all ranks\n", usage->memory / 1048576);
    if (getenv("EVENKEEL_PROFILE")) PetscCall(EkGraphProfile(t->rollout.graph, stdout));
  }
  PetscCall(EkEvaluatorGetSets(t->evaluator, &n, &sets));
  PetscCall(EkFiguresPrint(t->run, &t->predicted, &t->published, n, sets));
  PetscFunctionReturn(0);
}
