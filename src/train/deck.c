#include "trainer.h"
#include "evenkeel/command.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

static const EkMember mode_row[] = {
    [EK_AUTOREGRESSIVE] = {"autoregressive", "rolled out frame by frame, gradients through all steps"},
    [EK_SINGLE] = {"single", "the given frames to frame t_train - 1 in one step"},
    [EK_TEACHER] = {"teacher", "every frame from the true ones before it (teacher forcing); evaluation rolls out"},
};
const EkFamily EkTrainModeFamily = EK_FAMILY("train_mode", mode_row);

static const EkMember recompute_row[] = {
    [EK_RECOMPUTE_NONE] = {"none", "backward finds every value it needs kept"},
    [EK_RECOMPUTE_STEP] = {"step", "each rollout step runs forward once more before its backward"},
    [EK_RECOMPUTE_BLOCK] = {"block", "so does each block of the model (layer, level)"},
};
const EkFamily EkRecomputeFamily = EK_FAMILY("train_recompute", recompute_row);

static const EkLossRow loss_row[] = {
    {{"mse", "mean squared error over fields and points, mean over the batch, sum over steps"}, EkLossMse, PETSC_FALSE},
    {{"rel_l2", "relative L2 error of each field, mean over fields, sum over the batch and over steps (DPOT)"},
     EkLossRelative,
     PETSC_TRUE},
};
const EkFamily EkLossFamily = EK_FAMILY("train_loss", loss_row);

const EkLossRow *EkLossRowOf(const EkDeck *deck)
{
  return &loss_row[deck->train.loss];
}

#define FIELD(name) offsetof(EkTrainOptions, name)
static const EkKey train_key[] = {
    {"train_epochs", EK_KEY_INT, FIELD(epochs), "500", 1, 1 << 30, NULL, "epochs", "length of the training"},
    {"train_batch", EK_KEY_INT, FIELD(batch), "20", 1, 1 << 30, NULL, "trajectories", "global batch, over all ranks"},
    {"train_accumulate", EK_KEY_INT, FIELD(accumulate), "1", 1, 1 << 30, NULL, "parts",
     "a global batch is worked on one after the other"},
    {"train_mode", EK_KEY_CHOICE, FIELD(mode), "autoregressive", 0, 0, &EkTrainModeFamily, NULL, "what a step predicts"},
    {"train_unroll", EK_KEY_INT, FIELD(unroll), "0", 0, 1 << 30, NULL, "steps",
     "the last ones of a rollout have loss and gradient, 0: all"},
    {"train_recompute", EK_KEY_CHOICE, FIELD(recompute), "none", 0, 0, &EkRecomputeFamily, NULL,
     "less memory for about a third more time"},
    {"train_loss", EK_KEY_CHOICE, FIELD(loss), "mse", 0, 0, &EkLossFamily, NULL, "what is minimised"},
    {"train_clip", EK_KEY_REAL, FIELD(clip), "0", 0, EK_ANY, NULL, NULL, "largest norm of the gradient, 0: no limit"},
    {"train_seed", EK_KEY_INT, FIELD(seed), "2024", 0, 1 << 30, NULL, NULL, "of initial weights and of the order"},
    {"train_shuffle", EK_KEY_BOOL, FIELD(shuffle), "yes", 0, 0, NULL, NULL, "a new order every epoch"},
    {"train_eval_interval", EK_KEY_INT, FIELD(eval_interval), "10", 0, 1 << 30, NULL, "epochs",
     "between evaluations of the test set, 0: at the end only"},
    {"train_checkpoint_interval", EK_KEY_INT, FIELD(checkpoint_interval), "10", 0, 1 << 30, NULL, "epochs",
     "between checkpoints, 0: at the end only"},
    {"train_resume", EK_KEY_STRING, FIELD(resume), "no", 0, 0, NULL, NULL,
     "no, auto (if there is a checkpoint) or a checkpoint's path"},
    {"train_max_wall", EK_KEY_WALL, FIELD(max_wall), "", 0, EK_ANY, NULL, "hh:mm:ss",
     "stop with a checkpoint before this much wall time"},
};
#undef FIELD
const EkKeyTable EkTrainKeys = EK_KEYS("train", train_key);

static const EkKey evaluate_key[] = {{"evaluate_write_predictions", EK_KEY_INT, offsetof(EkEvaluateOptions, write_predictions),
                                      "4", 0, 1 << 30, NULL, "trajectories",
                                      "of the test set in predictions.h5 and .xdmf, after the last epoch too; 0: none"}};
const EkKeyTable   EkEvaluateKeys = EK_KEYS("evaluate", evaluate_key);

static const EkKey out_key[] = {
    {"out_dir", EK_KEY_STRING, offsetof(EkOutOptions, dir), NULL, 0, 0, NULL, NULL, "directory the run writes into"}};
const EkKeyTable EkOutKeys = EK_KEYS("out", out_key);

/* The blocks of a training deck and where each lives in EkDeck; the order of resolved.yaml, which leaves out keys that have no
 * use. */
typedef struct {
  const EkKeyTable *table;
  size_t            offset;
  EkKeyUse          uses; /* NULL: all are used */
} Block;
static const Block block[] = {
    {&EkDataKeys, offsetof(EkDeck, data), NULL},
    {&EkModelKeys, offsetof(EkDeck, model), EkModelUses},
    {&EkTrainKeys, offsetof(EkDeck, train), NULL},
    {&EkOptimKeys, offsetof(EkDeck, optim), EkOptimUses},
    {&EkBalanceKeys, offsetof(EkDeck, balance), EkBalanceUses},
    {&EkMeshKeys, offsetof(EkDeck, mesh), NULL},
    {&EkEvaluateKeys, offsetof(EkDeck, evaluate), NULL},
    {&EkOutKeys, offsetof(EkDeck, out), NULL},
};
#define BLOCKS ((int)(sizeof(block) / sizeof(block[0])))

/* Room for the name of any file in out_dir. */
#define LONGEST_NAME 64

/* What only two blocks together can have wrong, and a directory too long for the names of its files. */
static PetscErrorCode CheckTogether(const EkDeck *deck, EkProblems problems)
{
  PetscFunctionBegin;
  if (strlen(deck->out.dir) >= EK_PATH - LONGEST_NAME)
    PetscCall(EkProblemsAdd(problems, "out_dir: %d letters at most", EK_PATH - LONGEST_NAME - 1));
  if (deck->train.batch > 0 && deck->train.accumulate > deck->train.batch) {
    PetscCall(EkProblemsAdd(problems, "train_accumulate: a train_batch of %lld has no %lld parts", (long long)deck->train.batch,
                            (long long)deck->train.accumulate));
  }
  if (deck->data.mask == EK_MASK_DATA && loss_row[deck->train.loss].add != EkLossRelative) {
    PetscCall(
        EkProblemsAdd(problems, "data_mask: train_loss %s takes none; rel_l2 does", loss_row[deck->train.loss].member.name));
  }
  if (deck->train.unroll > 0 && deck->train.mode != EK_AUTOREGRESSIVE) {
    PetscCall(EkProblemsAdd(problems, "train_unroll: train_mode %s has no rollout to cut; set it to 0",
                            EkFamilyMember(&EkTrainModeFamily, deck->train.mode)->name));
  }
  if (deck->mesh.shard == EK_SHARD_OPTIMIZER && EkOptimizerIsWhole(&deck->optim)) {
    PetscCall(EkProblemsAdd(problems, "mesh_shard: %s needs tensors whole, its state cannot be divided; set it to none",
                            EkFamilyMember(&EkOptimizerFamily, deck->optim.optimizer)->name));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDeckRead(EkRun run, EkDeck *deck)
{
  const EkKeyTable *const *known, *used[BLOCKS];
  EkProblems               problems;
  int                      nknown;

  PetscFunctionBegin;
  PetscCheck(run->argc >= 2, run->comm, PETSC_ERR_USER_INPUT, "%s needs a deck: evenkeel %s DECK [-key value ...]", run->argv[0],
             run->argv[0]);
  PetscCheck(run->argc == 2, run->comm, PETSC_ERR_USER_INPUT, "'%s' is one argument too many: keys are written -key value",
             run->argv[2]);
  PetscCall(EkRunLoadDeck(run, run->argv[1]));
  PetscCall(PetscMemzero(deck, sizeof(*deck)));
  PetscCall(EkProblemsCreate(&problems));
  for (int b = 0; b < BLOCKS; b++) {
    used[b] = block[b].table;
    PetscCall(EkKeysRead(run, block[b].table, (char *)deck + block[b].offset, problems));
  }
  known = EkAllKeyTables(&nknown);
  PetscCall(EkKeysCheckAll(run, BLOCKS, used, nknown, known, problems));
  PetscCall(EkModelCheckKeys(run, &deck->model, problems));
  PetscCall(EkOptimCheck(run, &deck->optim, deck->train.epochs, problems));
  PetscCall(CheckTogether(deck, problems));
  PetscCall(EkLoadCheck(deck, problems));
  PetscCall(EkProblemsRaise(run, &problems));
  PetscCall(EkModelSettle(&deck->model));
  deck->data.each.order = EkModelVelocitiesFirst(&deck->model) ? EK_ORDER_DPOT : EK_ORDER_FILE;
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteBlocks(const EkDeck *deck, FILE *file)
{
  PetscFunctionBegin;
  for (int b = 0; b < BLOCKS; b++) {
    const PetscBool continued = (PetscBool)(b > 0 && !strcmp(block[b].table->block, block[b - 1].table->block));

    PetscCall(EkKeysWriteYaml(file, block[b].table, (const char *)deck + block[b].offset, block[b].uses, continued));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDeckText(const EkDeck *deck, char **text)
{
  size_t size;
  FILE  *file = open_memstream(text, &size);

  PetscFunctionBegin;
  PetscCheck(file, PETSC_COMM_SELF, PETSC_ERR_MEM, "no memory for the deck's text");
  PetscCall(WriteBlocks(deck, file));
  PetscCheck(!fclose(file), PETSC_COMM_SELF, PETSC_ERR_MEM, "no memory for the deck's text");
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteResolved(const EkDeck *deck)
{
  char  path[2 * EK_PATH];
  FILE *file;
  int   failed;

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/resolved.yaml", deck->out.dir));
  file = fopen(path, "w");
  PetscCheck(file, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "out_dir: cannot write '%s': %s", path, strerror(errno));
  PetscCall(WriteBlocks(deck, file));
  failed = ferror(file);
  failed |= fclose(file);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "out_dir: cannot write '%s': %s", path, strerror(errno));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDeckWrite(EkRun run, const EkDeck *deck)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? WriteResolved(deck) : 0));
  PetscFunctionReturn(0);
}
