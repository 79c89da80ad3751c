/* What there is: subcommands, key tables, families. `list`, -help and every message about an unknown name go through these tables. */
#include "evenkeel/command.h"
#include "evenkeel/inspect.h"
#include "evenkeel/mixture.h"
#include "evenkeel/pde.h"
#include "evenkeel/train.h"

static const EkCommand command_row[] = {
    {{"generate", "solve a PDE many times and write the trajectories as PDEBench does"}, "DECK [-key value ...]", EkCommandGenerate},
    {{"train", "train a model, balanced or not"}, "DECK [-key value ...]", EkCommandTrain},
    {{"evaluate", "error figures of a checkpoint or of PyTorch weights on a test set"}, "DECK [-model_weights FILE] [-key value ...]", EkCommandEvaluate},
    {{"export", "weights of a checkpoint as safetensors, on request with Adam's moments"}, "CHECKPOINT OUT.safetensors [optimizer]", EkCommandExport},
    {{"inspect", "what a data file is, and whether it is sound"}, "FILE [-key value ...]", EkCommandInspect},
    {{"list", "members of every family, every key with default and unit"}, "", EkCommandList},
    {{"help", "the same; so do -h, -help and --help, alone or behind another command"}, "", EkCommandList},
};
const EkFamily EkCommandFamily = EK_FAMILY("command", command_row);

static const EkKeyTable *const key_table[] = {&EkDataKeys, &EkModelKeys, &EkTrainKeys, &EkOptimKeys, &EkBalanceKeys, &EkMeshKeys, &EkEvaluateKeys, &EkOutKeys, &EkGenerateKeys, &EkInspectKeys};

const EkKeyTable *const *EkAllKeyTables(int *count)
{
  *count = (int)(sizeof(key_table) / sizeof(key_table[0]));
  return key_table;
}

static const EkFamily *const family[] = {&EkModelFamily,   &EkTransformFamily, &EkTrainModeFamily, &EkRecomputeFamily, &EkLossFamily,   &EkOptimizerFamily, &EkScheduleFamily,   &EkRuleFamily,
                                         &EkFitFamily,     &EkSolverFamily,    &EkLayerSetFamily,  &EkShardFamily,  &EkPdeFamily,       &EkInitialFamily, &EkBoundaryFamily, &EkSolveFamily, &EkTestFromFamily, &EkNormalizeFamily, &EkMaskFamily, &EkPresetFamily, &EkTimeAggFamily};

const EkFamily *const *EkAllFamilies(int *count)
{
  *count = (int)(sizeof(family) / sizeof(family[0]));
  return family;
}

PetscErrorCode EkCommandReadKeys(EkRun run, const EkKeyTable *table, void *options)
{
  EkProblems problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  PetscCall(EkKeysRead(run, table, options, problems));
  PetscCall(EkKeysCheckAll(run, 1, &table, (int)(sizeof(key_table) / sizeof(key_table[0])), key_table, problems));
  PetscCall(EkProblemsRaise(run, &problems));
  PetscFunctionReturn(0);
}
