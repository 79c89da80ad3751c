/* Subcommands: one file each in src/command, one row in the table of src/command/table.c. */
#pragma once
#include "evenkeel/keys.h"

typedef struct {
  EkMember       member; /* name on the command line, one-line help */
  const char    *usage;  /* what follows the name: "DECK [-key value ...]" */
  PetscErrorCode (*run)(EkRun run, int *exit_status);
} EkCommand;
extern const EkFamily EkCommandFamily;

PetscErrorCode EkCommandGenerate(EkRun run, int *exit_status);
PetscErrorCode EkCommandTrain(EkRun run, int *exit_status);
PetscErrorCode EkCommandEvaluate(EkRun run, int *exit_status);
PetscErrorCode EkCommandExport(EkRun run, int *exit_status);
PetscErrorCode EkCommandInspect(EkRun run, int *exit_status);
PetscErrorCode EkCommandList(EkRun run, int *exit_status);

/* Options of a command that takes the keys of one block only; every mistake is raised together. Collective. */
PetscErrorCode EkCommandReadKeys(EkRun run, const EkKeyTable *table, void *options);

/* Every key table and every family there is: what `list` shows, what "known" means in messages about keys. */
const EkKeyTable *const *EkAllKeyTables(int *count);
const EkFamily *const   *EkAllFamilies(int *count);
