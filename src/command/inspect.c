#include "evenkeel/inspect.h"
#include "evenkeel/command.h"

static PetscErrorCode ReadOptions(EkRun run, EkInspectOptions *options)
{
  PetscFunctionBegin;
  PetscCheck(run->argc == 2, run->comm, PETSC_ERR_USER_INPUT,
             "inspect wants one data file: evenkeel inspect FILE [-key value ...]");
  PetscCall(PetscStrncpy(options->file, run->argv[1], EK_PATH));
  PetscCall(EkCommandReadKeys(run, 1, (const EkKeyTable *const[]){&EkInspectKeys}, (void *const[]){options}));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCommandInspect(EkRun run, int *exit_status)
{
  EkInspectOptions options = {.progress = PETSC_TRUE};
  EkInspection     inspection;

  PetscFunctionBegin;
  PetscCall(ReadOptions(run, &options));
  PetscCall(EkInspect(run, &options, &inspection));
  PetscCall(EkInspectionPrint(inspection));
  if (*options.out) PetscCall(EkInspectionWrite(inspection));
  *exit_status = inspection->sound ? 0 : 1;
  PetscCall(EkInspectionDestroy(&inspection));
  PetscFunctionReturn(0);
}
