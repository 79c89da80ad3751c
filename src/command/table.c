/* What there is: subcommands, key tables, families. `list`, -help and every message about an unknown name go through these
 * tables. */
#include "evenkeel/command.h"
#include "evenkeel/inspect.h"
#include "evenkeel/mixture.h"
#include "evenkeel/pde.h"
#include "evenkeel/train.h"

static const EkCommand command_row[] = {
    {.member = {"generate", "solve a PDE many times and write the trajectories as PDEBench does"},
     .usage = "DECK [-key value ...]",
     .run = EkCommandGenerate,
     .stops = PETSC_TRUE},
    {.member = {"train", "train a model, balanced or not"},
     .usage = "DECK [-key value ...]",
     .run = EkCommandTrain,
     .stops = PETSC_TRUE},
    {.member = {"evaluate", "error figures of a checkpoint or of PyTorch weights on a test set"},
     .usage = "DECK [-model_weights FILE] [-key value ...]",
     .run = EkCommandEvaluate},
    {.member = {"export", "weights of a checkpoint as safetensors, on request with Adam's moments"},
     .usage = "CHECKPOINT OUT.safetensors [optimizer]",
     .run = EkCommandExport},
    {.member = {"inspect", "what a data file is, and whether it is sound"},
     .usage = "FILE [-key value ...]",
     .run = EkCommandInspect},
    {.member = {"spectrum", "power-law exponents of the layers of any weight file"},
     .usage = "WEIGHTS [-key value ...]",
     .run = EkCommandSpectrum},
    {.member = {"list", "members of every family, every key with default and unit"}, .usage = "", .run = EkCommandList},
    {.member = {"help", "the same; so do -h, -help and --help, alone or behind another command"},
     .usage = "",
     .run = EkCommandList},
};
const EkFamily EkCommandFamily = EK_FAMILY("command", command_row);

static const EkKeyTable *const key_table[] = {&EkDataKeys,     &EkModelKeys,   &EkTrainKeys,    &EkOptimKeys,
                                              &EkBalanceKeys,  &EkMeshKeys,    &EkEvaluateKeys, &EkOutKeys,
                                              &EkGenerateKeys, &EkInspectKeys, &EkSpectrumKeys};

const EkKeyTable *const *EkAllKeyTables(int *count)
{
  *count = (int)(sizeof(key_table) / sizeof(key_table[0]));
  return key_table;
}

static const EkFamily *const family[] = {
    &EkModelFamily,     &EkTransformFamily, &EkTrainModeFamily, &EkRecomputeFamily, &EkLossFamily,     &EkOptimizerFamily,
    &EkScheduleFamily,  &EkRuleFamily,      &EkFitFamily,       &EkSolverFamily,    &EkLayerSetFamily, &EkMetricFamily,
    &EkShardFamily,     &EkPdeFamily,       &EkInitialFamily,   &EkBoundaryFamily,  &EkSolveFamily,    &EkTestFromFamily,
    &EkNormalizeFamily, &EkMaskFamily,      &EkPresetFamily,    &EkTimeAggFamily};

const EkFamily *const *EkAllFamilies(int *count)
{
  *count = (int)(sizeof(family) / sizeof(family[0]));
  return family;
}

PetscErrorCode EkCommandReadKeys(EkRun run, int n, const EkKeyTable *const table[], void *const options[])
{
  EkProblems problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  for (int i = 0; i < n; i++) PetscCall(EkKeysRead(run, table[i], options[i], problems));
  PetscCall(EkKeysCheckAll(run, n, table, (int)(sizeof(key_table) / sizeof(key_table[0])), key_table, problems));
  PetscCall(EkProblemsRaise(run, &problems));
  PetscFunctionReturn(0);
}
