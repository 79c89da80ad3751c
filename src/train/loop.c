#include "trainer.h"
#include "evenkeel/weights.h"
#include <math.h>
#include <string.h>

/* Durations kept for the median step. */
#define STEPS_KEPT 4096
/* Bytes/s at which weights and moments are assumed to go to disk until it has been measured. */
#define FIRST_WRITE 1e8

static PetscInt NumBatches(EkTrainer t)
{
  const PetscInt n = t->session->info->count[EK_TRAIN], batch = t->session->deck.train.batch;

  return (n + batch - 1) / batch;
}

EkScheduleAt EkTrainerAt(EkTrainer t)
{
  return (EkScheduleAt){t->at.epoch, t->at.batch, t->session->deck.train.epochs, t->nbatches};
}

static PetscErrorCode CreateBalance(EkTrainer t)
{
  EkSession s = t->session;
  EkLayer  *layers;

  PetscFunctionBegin;
  PetscCall(EkLayersCreate(s->params, (EkLayerSet)s->deck.balance.layers, &t->nlayers, &layers, &t->tensor_layer));
  PetscCall(EkBalanceCreate(s->mesh, &s->deck.balance, t->nlayers, layers, &t->balance));
  PetscCall(PetscFree(layers));
  PetscCall(PetscMalloc1(s->params->n, &t->ratio));
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateOptimizer(EkTrainer t)
{
  EkSession s = t->session;
  size_t    lo = 0, hi = s->params->total;

  PetscFunctionBegin;
  if (s->mesh->shard == EK_SHARD_OPTIMIZER) EkMeshSlice(s->mesh, s->params->total, s->mesh->idata, &lo, &hi);
  PetscCall(EkOptimizerCreate(&s->deck.optim, s->params, lo, hi, &t->optimizer));
  if (s->deck.optim.sam > 0) PetscCall(PetscMalloc1(s->params->total, &t->kept));
  PetscFunctionReturn(0);
}

static PetscErrorCode TrainerCreate(EkRun run, EkSession session, EkTrainer *out)
{
  EkTrainer t;

  PetscFunctionBegin;
  PetscCheck(session->info->count[EK_TRAIN] > 0, run->comm, PETSC_ERR_USER_INPUT,
             "data_train: no trajectories are left to train on");
  PetscCall(PetscNew(&t));
  t->run = run;
  t->session = session;
  t->nbatches = NumBatches(t);
  t->steps_kept = STEPS_KEPT;
  t->last_line = EkTime();
  t->checkpoint_seconds = 3 * sizeof(float) * (double)session->params->total / FIRST_WRITE;
  PetscCall(EkRolloutCreate(session, 0, &t->rollout));
  PetscCall(EkEvaluatorCreate(session, &t->evaluator));
  PetscCall(CreateOptimizer(t));
  PetscCall(CreateBalance(t));
  t->most = EkSessionMost(session);
  PetscCall(PetscMalloc1((size_t)t->most * t->rollout.sample, &t->batch));
  PetscCall(PetscMalloc1(t->most, &t->key));
  PetscCall(PetscMalloc2(session->info->count[EK_TRAIN], &t->order, STEPS_KEPT, &t->step_seconds));
  *out = t;
  PetscFunctionReturn(0);
}

static PetscErrorCode TrainerDestroy(EkTrainer *trainer)
{
  EkTrainer t = *trainer;

  PetscFunctionBegin;
  PetscCall(EkRolloutDestroy(&t->rollout));
  PetscCall(EkEvaluatorDestroy(&t->evaluator));
  PetscCall(EkOptimizerDestroy(&t->optimizer));
  PetscCall(EkBalanceDestroy(&t->balance));
  PetscCall(PetscFree(t->ratio));
  PetscCall(PetscFree(t->tensor_layer));
  PetscCall(PetscFree(t->batch));
  PetscCall(PetscFree(t->key));
  PetscCall(PetscFree(t->kept));
  PetscCall(PetscFree2(t->order, t->step_seconds));
  PetscCall(PetscFree(*trainer));
  PetscFunctionReturn(0);
}

/* The epoch's order of training trajectories: Fisher-Yates on a stream of (seed, epoch), the same on every rank of any mesh. */
static void Shuffle(EkTrainer t)
{
  const PetscInt n = t->session->info->count[EK_TRAIN];
  EkRandom       stream = EkRandomStream((uint64_t)t->session->deck.train.seed, EK_RANDOM_SHUFFLE, (uint64_t)t->at.epoch);

  for (PetscInt i = 0; i < n; i++) t->order[i] = i;
  for (PetscInt i = n - 1; t->session->deck.train.shuffle && i > 0; i--) {
    const PetscInt j = (PetscInt)EkInteger(&stream, (uint32_t)i + 1), keep = t->order[i];

    t->order[i] = t->order[j];
    t->order[j] = keep;
  }
}

/* One of the parts a global batch is worked on in. */
typedef struct {
  const PetscInt *index;  /* this rank's trajectories, contiguous in the order */
  PetscInt        n, all; /* how many; those of all ranks */
  PetscInt        global; /* trajectories of the whole batch */
} Part;

static Part PartOf(EkTrainer t, PetscInt b, PetscInt part)
{
  const PetscInt batch = t->session->deck.train.batch, left = t->session->info->count[EK_TRAIN] - b * batch,
                 global = left < batch ? left : batch;
  PetscInt64 first, end, lo, hi;

  EkSlice(global, t->session->deck.train.accumulate, part, &first, &end);
  EkSlice(end - first, t->session->mesh->ndata, t->session->mesh->idata, &lo, &hi);
  return (Part){t->order + b * batch + first + lo, (PetscInt)(hi - lo), (PetscInt)(end - first), global};
}

static PetscErrorCode ReadPart(EkTrainer t, PetscInt part)
{
  const Part      now = PartOf(t, t->at.batch, part);
  const PetscBool last = (PetscBool)(part + 1 == t->session->deck.train.accumulate);

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(t->run, IO));
  PetscCall(EkMixtureReadTraining(t->session->mixture, t->at.epoch, now.n, now.index, t->session->shape.grid.stride, t->batch));
  if (t->session->deck.data.noise > 0) EkMixtureKeys(t->session->mixture, t->at.epoch, now.n, now.index, t->key);
  if (!last || t->at.batch + 1 < t->nbatches) {
    const Part next = PartOf(t, t->at.batch + last, last ? 0 : part + 1);

    PetscCall(EkMixturePrefetchTraining(t->session->mixture, t->at.epoch, next.n, next.index));
  }
  PetscCall(EkPhaseEnd(t->run, IO));
  PetscFunctionReturn(0);
}

/* [0] all samples', [1 + k] of those from file k where there are several. */
typedef struct {
  double value[1 + EK_SETS_MAX];
} Loss;

/* What the last forward run adds to the losses; index: the graph's samples. */
static PetscErrorCode AddLoss(EkTrainer t, const PetscInt index[], int n, double scale, Loss *loss)
{
  const double *sample;

  PetscFunctionBegin;
  loss->value[0] += EkGraphLoss(t->rollout.graph);
  if (t->session->nsets == 1) PetscFunctionReturn(0);
  PetscCall(EkGraphSampleLoss(t->rollout.graph, &sample));
  for (int b = 0; b < n; b++) loss->value[1 + EkMixtureSetOf(t->session->mixture, index[b])] += sample[b] / scale;
  PetscFunctionReturn(0);
}

/* Adds gradients and loss of this rank's trajectories, a chunk at a time. Where samples meet those of other ranks it takes part
 * without any of its own. */
static PetscErrorCode Compute(EkTrainer t, const Part *part, double scale, Loss *loss)
{
  const PetscInt  chunk = t->rollout.chunk, n = part->n;
  const PetscBool coupled = EkGraphIsCoupled(t->rollout.graph);

  PetscFunctionBegin;
  for (PetscInt at = 0; at < n || (coupled && at == 0); at += chunk) {
    const int now = (int)(n - at < chunk ? n - at : chunk);

    PetscCall(EkPhaseBegin(t->run, FORWARD));
    PetscCall(EkRolloutBind(&t->rollout, t->batch + (size_t)at * t->rollout.sample));
    PetscCall(EkGraphBindKeys(t->rollout.graph, t->key + at));
    PetscCall(EkGraphForward(t->rollout.graph, now, scale));
    PetscCall(AddLoss(t, part->index + at, now, scale, loss));
    PetscCall(EkPhaseEnd(t->run, FORWARD));
    PetscCall(EkPhaseBegin(t->run, BACKWARD));
    PetscCall(EkGraphBackward(t->rollout.graph));
    PetscCall(EkPhaseEnd(t->run, BACKWARD));
  }
  t->flops += (double)n * EkGraphFlops(t->rollout.graph);
  PetscFunctionReturn(0);
}

/* When to stop, so that a checkpoint and `more` seconds still fit; never without a limit. */
static double StopBy(EkTrainer t, double more)
{
  const double limit = t->session->deck.train.max_wall;

  return limit > 0 ? t->run->start + limit - fmin(2 * t->checkpoint_seconds + more + 1, 0.5 * limit) : PETSC_MAX_REAL;
}

/* Asked before the update of a step. What follows it is another step, or the end of an epoch. The median step changes slowly: it
   is not sorted out anew in every step. */
static PetscBool MustStop(EkTrainer t)
{
  const PetscBool ends = (PetscBool)(t->at.batch + 1 == t->nbatches);

  if (EkStopRequested()) return PETSC_TRUE;
  if (t->session->deck.train.max_wall <= 0) return PETSC_FALSE;
  if (t->nsteps < 64 || t->nsteps % 64 == 0) t->step_median = EkMedianStep(t);
  return (PetscBool)(EkTime() > StopBy(t, 2 * t->step_median + (ends ? t->end_seconds : 0)));
}

/* Losses over all ranks and whether any rank was asked to stop or has failed, in one small message a step. */
static PetscErrorCode AgreeOnStep(EkTrainer t, PetscErrorCode failed, Loss *loss, PetscBool *stop)
{
  const int nlosses = t->session->nsets == 1 ? 1 : 1 + t->session->nsets;
  double    all[2 + 1 + EK_SETS_MAX] = {MustStop(t), failed ? 1 : 0};

  PetscFunctionBegin;
  PetscCall(PetscArraycpy(all + 2, loss->value, nlosses));
  PetscCall(EkPhaseBegin(t->run, ALLREDUCE));
  PetscCall(EkMeshSumDouble(t->session->mesh, 2 + nlosses, all));
  PetscCall(EkPhaseEnd(t->run, ALLREDUCE));
  if (all[1] > 0) PetscFunctionReturn(EkAgree(t->run, t->run->comm, failed));
  EkHoldLines(t->run, PETSC_FALSE);
  PetscCall(PetscArraycpy(loss->value, all + 2, nlosses));
  *stop = (PetscBool)(all[0] > 0);
  PetscFunctionReturn(0);
}

/* All ranks hold the same value. */
static PetscErrorCode CheckFinite(EkTrainer t, double value, const char *what)
{
  PetscFunctionBegin;
  PetscCheck(isfinite(value), t->run->comm, PETSC_ERR_FP,
             "the %s is not finite in epoch %d, batch %d: lower train_lr, or look for bad values in the data; the last "
             "checkpoint is kept",
             what, (int)t->at.epoch + 1, (int)t->at.batch + 1);
  PetscFunctionReturn(0);
}

/* Before weights are written: a step may have spoilt them, and the next loss, which would show it, is not there yet. Each rank
   looks at its part. Collective. */
static PetscErrorCode CheckWeights(EkTrainer t)
{
  const EkParams p = t->session->params;
  size_t         lo, hi;
  double         sum = 0;

  PetscFunctionBegin;
  EkMeshSlice(t->session->mesh, p->total, t->session->mesh->idata, &lo, &hi);
  for (size_t i = lo; i < hi; i++) sum += (double)(0 * p->weights[i]);
  PetscCall(EkMeshSumDouble(t->session->mesh, 1, &sum));
  PetscCheck(isfinite(sum), t->run->comm, PETSC_ERR_FP,
             "the weights are not finite after epoch %d, batch %d: lower train_lr; the last checkpoint is kept", (int)t->at.epoch,
             (int)t->at.batch);
  PetscFunctionReturn(0);
}

/* A checkpoint that can be gone on from. */
static PetscErrorCode Save(EkTrainer t)
{
  PetscFunctionBegin;
  PetscCall(CheckWeights(t));
  PetscCall(EkRestartWrite(t));
  PetscFunctionReturn(0);
}

static PetscErrorCode ClipGradient(EkTrainer t)
{
  const double most = t->session->deck.train.clip;
  double       norm;

  PetscFunctionBegin;
  if (most <= 0) PetscFunctionReturn(0);
  norm = EkGradientNorm(t->session->params);
  PetscCall(CheckFinite(t, norm, "norm of the gradient"));
  EkGradientClip(t->session->params, most, norm);
  PetscFunctionReturn(0);
}

/* Gradients meet, weights are updated: everywhere, or each rank its slice of the sharded state. */
static PetscErrorCode Update(EkTrainer t)
{
  EkSession          s = t->session;
  const PetscBool    sharded = (PetscBool)(s->mesh->shard == EK_SHARD_OPTIMIZER);
  const PetscBool    scatter = (PetscBool)(sharded && s->deck.train.clip <= 0); /* the norm needs the whole gradient */
  const EkScheduleAt at = EkTrainerAt(t);

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(t->run, ALLREDUCE));
  if (scatter)
    PetscCall(EkMeshReduceScatter(s->mesh, s->params->total, s->params->gradients));
  else
    PetscCall(EkMeshSum(s->mesh, s->params->total, s->params->gradients));
  PetscCall(EkPhaseEnd(t->run, ALLREDUCE));
  PetscCall(EkPhaseBegin(t->run, OPTIMIZER));
  PetscCall(ClipGradient(t));
  t->optimizer->momentum = EkScheduleMomentum(&s->deck.optim, &at);
  PetscCall(EkOptimizerStep(t->optimizer, EkScheduleRate(&s->deck.optim, &at), t->ratio));
  PetscCall(EkPhaseEnd(t->run, OPTIMIZER));
  if (!sharded) PetscFunctionReturn(0);
  PetscCall(EkPhaseBegin(t->run, ALLREDUCE));
  PetscCall(EkMeshAllgather(s->mesh, s->params->total, s->params->weights));
  PetscCall(EkPhaseEnd(t->run, ALLREDUCE));
  PetscFunctionReturn(0);
}

static PetscErrorCode LocalPart(EkTrainer t, PetscInt part, PetscBool held, Loss *loss)
{
  const Part     now = PartOf(t, t->at.batch, part);
  PetscErrorCode failed = 0;

  PetscFunctionBegin;
  if (!now.all) PetscFunctionReturn(0);
  if (!held) failed = ReadPart(t, part);
  /* the others would wait in their graphs for a rank that could not read */
  if (EkGraphIsCoupled(t->rollout.graph)) {
    failed = EkAgree(t->run, t->run->comm, failed);
    EkHoldLines(t->run, PETSC_TRUE);
  }
  PetscCall(failed);
  PetscCall(Compute(t, &now, EkLossRowOf(&t->session->deck)->sums ? 1.0 : 1.0 / (double)now.global, loss));
  PetscFunctionReturn(0);
}

/* This rank's share of the gradient at the weights as they are, and of the loss. held: the buffer has the batch already. */
static PetscErrorCode LocalGradient(EkTrainer t, PetscBool held, Loss *loss)
{
  EkParams p = t->session->params;

  PetscFunctionBegin;
  memset(p->gradients, 0, p->total * sizeof(float));
  *loss = (Loss){{0}};
  for (PetscInt part = 0; part < t->session->deck.train.accumulate; part++) PetscCall(LocalPart(t, part, held, loss));
  PetscFunctionReturn(0);
}

/* SAM: the gradient there where the loss is worst nearby. Every rank climbs by the whole gradient, so that all get to the same
 * place. */
static PetscErrorCode SharpGradient(EkTrainer t)
{
  EkSession      s = t->session;
  double         norm;
  Loss           loss;
  PetscErrorCode failed;

  PetscFunctionBegin;
  PetscCall(EkPhaseBegin(t->run, ALLREDUCE));
  PetscCall(EkMeshSum(s->mesh, s->params->total, s->params->gradients));
  PetscCall(EkPhaseEnd(t->run, ALLREDUCE));
  PetscCall(EkPhaseBegin(t->run, OPTIMIZER));
  PetscCall(EkSamClimb(s->params, s->deck.optim.sam, s->deck.optim.sam_adaptive, t->kept, &norm));
  PetscCall(EkPhaseEnd(t->run, OPTIMIZER));
  PetscCall(CheckFinite(t, norm, "norm of the gradient"));
  EkHoldLines(t->run, PETSC_TRUE);
  failed = LocalGradient(t, (PetscBool)(s->deck.train.accumulate == 1), &loss);
  PetscCall(EkAgree(t->run, t->run->comm, failed));
  EkHoldLines(t->run, PETSC_FALSE);
  PetscCall(EkSamReturn(s->params, t->kept));
  PetscFunctionReturn(0);
}

static PetscErrorCode Step(EkTrainer t, PetscBool *stop)
{
  const double   start = EkTime();
  double         seconds;
  Loss           loss;
  PetscErrorCode failed;

  PetscFunctionBegin;
  EkHoldLines(t->run, PETSC_TRUE);
  failed = LocalGradient(t, PETSC_FALSE, &loss);
  PetscCall(AgreeOnStep(t, failed, &loss, stop));
  PetscCall(CheckFinite(t, loss.value[0], "loss"));
  if (t->kept) PetscCall(SharpGradient(t));
  PetscCall(Update(t));
  t->at.batch++;
  t->at.loss_sum += loss.value[0];
  for (int k = 0; k < t->session->nsets && t->session->nsets > 1; k++) t->at.set_loss[k] += loss.value[1 + k];
  t->evaluated = PETSC_FALSE;
  seconds = EkTime() - start;
  t->step_seconds[t->nsteps++ % t->steps_kept] = seconds;
  t->at.epoch_seconds += seconds;
  t->at.train_seconds += seconds;
  PetscCall(EkReportProgress(t, t->at.loss_sum / (double)t->at.batch, PETSC_FALSE));
  PetscFunctionReturn(0);
}

/* From layers to their tensors. */
static PetscErrorCode SpreadRatios(EkTrainer t)
{
  const EkLayerState *layer;
  int                 n;

  PetscFunctionBegin;
  PetscCall(EkBalanceGetLayers(t->balance, &n, &layer));
  for (int i = 0; i < t->session->params->n; i++) t->ratio[i] = t->tensor_layer[i] >= 0 ? layer[t->tensor_layer[i]].ratio : 1;
  PetscFunctionReturn(0);
}

/* Spectra of the weights as they are; ratios of every tensor for the epoch that follows. */
static PetscErrorCode Rebalance(EkTrainer t)
{
  const EkScheduleAt at = EkTrainerAt(t);
  double             start = EkTime();

  PetscFunctionBegin;
  if (t->at.epoch % t->session->deck.balance.interval == 0) {
    PetscCall(EkBalanceRefresh(t->balance));
    start = EkTime() - start;
    t->at.balance_seconds += start;
    t->at.balance_total += start;
    t->at.train_seconds += start;
    PetscCall(EkRunDirLayers(t, EkScheduleRate(&t->session->deck.optim, &at)));
  }
  PetscCall(SpreadRatios(t));
  PetscFunctionReturn(0);
}

static PetscBool Due(PetscInt interval, PetscInt epoch)
{
  return (PetscBool)(interval > 0 && epoch % interval == 0);
}

/* Evaluates the weights; *stopped: the run had to stop before it was through, and nothing has changed. A sitting that begins with
   it has nothing to save and takes the time it needs: put off again, it would never be done. */
static PetscErrorCode Evaluate(EkTrainer t, PetscBool pictures, PetscBool *stopped)
{
  const double stop_by = t->nsteps ? StopBy(t, 0) : PETSC_MAX_REAL;
  char         path[2 * EK_PATH];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/predictions.h5", t->session->deck.out.dir));
  PetscCall(EkEvaluate(t->evaluator, pictures ? path : NULL, &t->predicted, &t->published, stop_by, stopped));
  t->evaluated = (PetscBool) !*stopped;
  PetscFunctionReturn(0);
}

/* After the last batch of an epoch: evaluation, tables, ratios of the next, checkpoint. A stop on the way leaves the epoch
   unfinished, to be ended by the run that continues. */
static PetscErrorCode EndEpoch(EkTrainer t, PetscBool *stopped)
{
  const EkTrainOptions *o = &t->session->deck.train;
  const EkScheduleAt    at = {t->at.epoch, t->nbatches - 1, o->epochs, t->nbatches}; /* its last step */
  const double          loss = t->at.loss_sum / (double)t->nbatches, rate = EkScheduleRate(&t->session->deck.optim, &at);
  const PetscBool       last = (PetscBool)(t->at.epoch + 1 == o->epochs);
  const double          start = EkTime();

  PetscFunctionBegin;
  if (last || Due(o->eval_interval, t->at.epoch + 1)) PetscCall(Evaluate(t, last, stopped));
  if (*stopped) PetscFunctionReturn(0);
  t->at.epoch++;
  PetscCall(EkRunDirEpoch(t, loss, rate));
  t->at.batch = 0;
  t->at.loss_sum = 0;
  PetscCall(PetscArrayzero(t->at.set_loss, EK_SETS_MAX));
  t->at.epoch_seconds = t->at.balance_seconds = 0;
  PetscCall(Rebalance(t));
  PetscCall(EkReportProgress(t, loss, t->evaluated));
  if (last || Due(o->checkpoint_interval, t->at.epoch)) PetscCall(Save(t));
  t->end_seconds = PetscMax(t->end_seconds, EkTime() - start);
  PetscFunctionReturn(0);
}

static PetscErrorCode Loop(EkTrainer t, PetscBool *stopped)
{
  PetscFunctionBegin;
  *stopped = PETSC_FALSE;
  while (t->at.epoch < t->session->deck.train.epochs && !*stopped) {
    Shuffle(t);
    while (t->at.batch < t->nbatches && !*stopped) PetscCall(Step(t, stopped));
    if (!*stopped) PetscCall(EndEpoch(t, stopped));
  }
  if (*stopped) {
    PetscCall(Save(t));
    if (t->run->rank == 0)
      printf("stopped on request after epoch %d, batch %d; continue with -train_resume auto\n", (int)t->at.epoch,
             (int)t->at.batch);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode Finish(EkTrainer t, PetscBool *stopped)
{
  char    path[2 * EK_PATH];
  EkUsage usage;

  PetscFunctionBegin;
  if (!t->evaluated) PetscCall(Evaluate(t, PETSC_FALSE, stopped)); /* continued from a finished run */
  if (*stopped) PetscFunctionReturn(0);
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/final.safetensors", t->session->deck.out.dir));
  PetscCall(EkSessionWriteWeights(t->session, path));
  PetscCall(EkUsageGet(t->run, &usage));
  PetscCall(EkRunDirSummary(t, &usage));
  PetscCall(EkReportEnd(t, &usage));
  PetscFunctionReturn(0);
}

static PetscErrorCode Begin(EkTrainer t, EkCheckpoint *checkpoint)
{
  const PetscBool resumed = (PetscBool)(*checkpoint != NULL);

  PetscFunctionBegin;
  if (resumed)
    PetscCall(EkRestartRead(t, *checkpoint));
  else
    PetscCall(EkLoadMoments(t->run, &t->session->deck, t->optimizer));
  PetscCall(EkCheckpointDestroy(checkpoint));
  PetscCall(EkDeckWrite(t->run, &t->session->deck));
  PetscCall(EkProvenanceWrite(t->run, t->session->deck.out.dir, t->session->mesh->ndata, t->session->mesh->nspace));
  PetscCall(EkRunDirTables(t, resumed));
  PetscCall(EkReportStart(t, resumed));
  PetscFunctionReturn(0);
}

/* A checkpoint to continue from makes model_weights needless: the file may be gone by now. */
static PetscErrorCode OpenSession(EkRun run, const EkDeck *deck, PetscBool resumed, int transform, EkSession *session)
{
  EkDeck now = *deck;

  PetscFunctionBegin;
  if (resumed) now.model.weights[0] = 0;
  PetscCall(EkSessionCreate(run, &now, transform, session));
  PetscCall(PetscStrncpy((*session)->deck.model.weights, deck->model.weights, EK_PATH));
  PetscFunctionReturn(0);
}

PetscErrorCode EkTrain(EkRun run, const EkDeck *deck, int *exit_status)
{
  EkCheckpoint checkpoint;
  EkSession    session;
  EkTrainer    t = NULL;
  PetscBool    stopped, resumed;
  int          transform, lock;

  PetscFunctionBegin;
  PetscCall(EkStopInstall());
  PetscCall(EkRunDirOpen(run, deck, &lock));
  PetscCall(EkRestartFind(run, deck, &checkpoint, &transform));
  resumed = (PetscBool)(checkpoint != NULL);
  PetscCall(OpenSession(run, deck, resumed, transform, &session));
  if (resumed)
    PetscCall(EkRestartNorm(session, checkpoint));
  else {
    PetscCall(EkSessionMeasureNorm(session));
    PetscCall(EkSessionTellNorm(session));
  }
  PetscCall(TrainerCreate(run, session, &t));
  PetscCall(Begin(t, &checkpoint));
  if (resumed)
    PetscCall(SpreadRatios(t));
  else
    PetscCall(Rebalance(t));
  PetscCall(Loop(t, &stopped));
  if (!stopped) PetscCall(Finish(t, &stopped));
  if (stopped) *exit_status = EK_EXIT_STOPPED;
  PetscCall(TrainerDestroy(&t));
  PetscCall(EkSessionDestroy(&session));
  PetscCall(EkRunDirClose(&lock));
  PetscFunctionReturn(0);
}
