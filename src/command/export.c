#include "evenkeel/command.h"
#include "evenkeel/weights.h"

PetscErrorCode EkCommandExport(EkRun run, int *exit_status)
{
  EkTensorInfo *table;
  float        *arena;
  char         *note;
  int           n;

  PetscFunctionBegin;
  PetscCheck(run->argc == 3, run->comm, PETSC_ERR_USER_INPUT, "usage: evenkeel export CHECKPOINT OUT.safetensors");
  PetscCall(EkWeightsReadAll(run, run->argv[1], &n, &table, &arena));
  PetscCall(EkWeightsReadNote(run, run->argv[1], "normalize", &note));
  PetscCall(EkWeightsWriteNoted(run, run->argv[2], n, table, arena, "normalize", note));
  if (run->rank == 0) printf("%d tensors written to %s\n", n, run->argv[2]);
  PetscCall(PetscFree(table));
  PetscCall(PetscFree(arena));
  PetscCall(PetscFree(note));
  *exit_status = 0;
  PetscFunctionReturn(0);
}
