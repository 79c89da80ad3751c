/* Subcommands: one file each in src/command, one row in the table of src/command/table.c. */
#pragma once
#include "evenkeel/keys.h"

typedef struct {
  EkMember    member; /* name on the command line, one-line help */
  const char *usage;  /* what follows the name: "DECK [-key value ...]" */
  PetscErrorCode (*run)(EkRun run, int *exit_status);
  PetscBool stops; /* it finishes what it has begun when a signal asks it to stop (EkStopInstall): from the start on */
} EkCommand;
extern const EkFamily EkCommandFamily;

PetscErrorCode          EkCommandGenerate(EkRun run, int *exit_status);
PetscErrorCode          EkCommandTrain(EkRun run, int *exit_status);
PetscErrorCode          EkCommandEvaluate(EkRun run, int *exit_status);
PetscErrorCode          EkCommandExport(EkRun run, int *exit_status);
PetscErrorCode          EkCommandInspect(EkRun run, int *exit_status);
PetscErrorCode          EkCommandSpectrum(EkRun run, int *exit_status);
extern const EkKeyTable EkSpectrumKeys;
PetscErrorCode          EkCommandList(EkRun run, int *exit_status);

/* Options of a command that takes the keys of these tables only, options[i] those of table[i]; every mistake is raised together.
 * Collective. */
PetscErrorCode EkCommandReadKeys(EkRun run, int n, const EkKeyTable *const table[], void *const options[]);

/* Every key table and every family there is: what `list` shows, what "known" means in messages about keys. */
const EkKeyTable *const *EkAllKeyTables(int *count);
const EkFamily *const   *EkAllFamilies(int *count);
