/* Evenkeel: trains neural PDE solvers on CPU supercomputers and keeps their layers balanced. */
#include "evenkeel/command.h"
#include "evenkeel/kernel.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Behind any subcommand, and whatever a deck says. */
static PetscBool AsksForHelp(int argc, char **argv)
{
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "-help") || !strcmp(argv[i], "--help")) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

/* The subcommand's row. */
static PetscErrorCode FindCommand(EkRun run, const EkCommand **command)
{
  const PetscBool help = AsksForHelp(run->raw_argc, run->raw_argv);
  char            names[1024];
  int             row;

  PetscFunctionBegin;
  PetscCall(EkFamilyNames(&EkCommandFamily, names, sizeof(names)));
  PetscCheck(help || run->argc > 0, run->comm, PETSC_ERR_USER_INPUT, "what shall be done? evenkeel COMMAND ..., one of: %s",
             names);
  row = EkFamilyFind(&EkCommandFamily, help ? "help" : run->argv[0]);
  PetscCheck(row >= 0, run->comm, PETSC_ERR_USER_INPUT, "command '%s' is not known; there is: %s", run->argv[0], names);
  *command = (const EkCommand *)EkFamilyMember(&EkCommandFamily, row);
  PetscFunctionReturn(0);
}

/* Of the command that the line begins with; no more than a guess, PETSc has not looked at it yet. */
static PetscBool Stops(int argc, char **argv)
{
  const int row = argc > 1 ? EkFamilyFind(&EkCommandFamily, argv[1]) : -1;

  return (PetscBool)(row >= 0 && ((const EkCommand *)EkFamilyMember(&EkCommandFamily, row))->stops);
}

static PetscErrorCode Run(EkRun run, int *exit_status)
{
  const EkCommand *command;

  PetscFunctionBegin;
  PetscCall(FindCommand(run, &command));
  PetscCall(command->run(run, exit_status));
  PetscFunctionReturn(0);
}

/* The last of what was printed. Whoever closed the pipe has seen enough; a full disk is an error. PETSc, which flushes too, must
   not meet either. */
static int FlushOutput(int status)
{
  int why;

  if (!fflush(stdout)) return status;
  why = errno;
  if (!freopen("/dev/null", "w", stdout) || why == EPIPE) return status;
  fprintf(stderr, "evenkeel: cannot write to the standard output: %s\n", strerror(why));
  return status ? status : 1;
}

int main(int argc, char **argv)
{
  char **petsc_argv;
  int    status = 0, petsc_argc;
  EkRun  run;

  EkBlasChoose(argv);
  petsc_argv = calloc((size_t)argc + 2, sizeof(char *));
  if (!petsc_argv) return 1;
  petsc_argc = EkPetscWords(argc, argv, petsc_argv);
  /* Starting takes a second, in which a signal may come as well; PETSc brings handlers of its own. */
  if (Stops(argc, argv) && EkStopInstall()) return 1;
  if (PetscInitialize(&petsc_argc, &petsc_argv, NULL, NULL)) return 1;
  if (Stops(argc, argv) && EkStopInstall()) return 1;
  if (EkRunCreate(argc, argv, &run)) return 1;
  if (Run(run, &status)) {
    status = 1;
    EkHoldLines(run, PETSC_FALSE);
    /* the others may be waiting for this rank in a collective */
    if (!run->failure_agreed && run->size > 1) MPI_Abort(run->comm, 1);
  }
  status = FlushOutput(status);
  if (EkRunDestroy(&run) || PetscFinalize()) return 1;
  free(petsc_argv);
  return status;
}
