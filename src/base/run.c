#include "evenkeel/base.h"
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

/* One plain line per failure. A communicator other than this rank alone means that every rank of it sees the same thing, so its first
   rank speaks for all. Called again by PetscCall on the way up: silent then. */
static PetscErrorCode PlainLine(MPI_Comm comm, int line, const char *function, const char *file, PetscErrorCode code, PetscErrorType type,
                                const char *message, void *context)
{
  EkRun       run  = (EkRun)context;
  PetscMPIInt rank = 0, size = 1;

  if (type == PETSC_ERROR_REPEAT) return code;
  if (comm != MPI_COMM_NULL) {
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
  }
  run->failure_agreed = (PetscBool)(size == run->size);
  if (rank == 0) {
    fflush(stdout);
    if (size == 1 && run->size > 1) fprintf(stderr, "evenkeel: [rank %d] %s", (int)run->rank, message && *message ? message : "error");
    else fprintf(stderr, "evenkeel: %s", message && *message ? message : "error");
    if (code == PETSC_ERR_LIB || code == PETSC_ERR_PLIB || !message || !*message) fprintf(stderr, " (%s, %s:%d)", function, file, line);
    fputc('\n', stderr);
  }
  return code;
}

/* A negative number is a value, anything else that starts with a dash is a key. */
static PetscBool IsKey(const char *word)
{
  return (PetscBool)(word[0] == '-' && word[1] && !isdigit((unsigned char)word[1]) && word[1] != '.');
}

static PetscErrorCode SplitArguments(EkRun run, int argc, char **argv)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1(argc + 1, &run->argv));
  run->argc = 0;
  for (int i = 1; i < argc; i++) {
    if (IsKey(argv[i])) {
      PetscBool has_value = (PetscBool)(i + 1 < argc && !IsKey(argv[i + 1]));

      PetscCall(PetscOptionsSetValue(run->options, argv[i], has_value ? argv[i + 1] : NULL));
      i += has_value;
    } else run->argv[run->argc++] = argv[i];
  }
  run->argv[run->argc] = NULL;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunCreate(int argc, char **argv, EkRun *out)
{
  EkRun        run;
  PetscClassId class_id;

  PetscFunctionBegin;
  PetscCall(PetscNew(&run));
  run->comm  = PETSC_COMM_WORLD;
  run->start = EkTime();
  PetscCallMPI(MPI_Comm_rank(run->comm, &run->rank));
  PetscCallMPI(MPI_Comm_size(run->comm, &run->size));
  PetscCall(PetscPushErrorHandler(PlainLine, run));
  PetscCall(PetscOptionsCreate(&run->options));
  run->raw_argc = argc;
  run->raw_argv = argv;
  PetscCall(SplitArguments(run, argc, argv));
  PetscCall(PetscLogDefaultBegin());
  PetscCall(PetscClassIdRegister("Evenkeel", &class_id));
  for (int p = 0; p < EK_PHASE_COUNT; p++) PetscCall(PetscLogEventRegister(EkPhaseName((EkPhase)p), class_id, &run->phase[p]));
  *out = run;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunLoadDeck(EkRun run, const char *path)
{
  PetscOptions command_line = run->options;
  FILE        *file         = NULL;
  PetscBool    readable     = PETSC_FALSE;
  char        *words;

  PetscFunctionBegin;
  if (run->rank == 0) {
    file     = fopen(path, "r");
    readable = (PetscBool)(file != NULL);
    if (file) fclose(file);
  }
  PetscCallMPI(MPI_Bcast(&readable, 1, MPIU_BOOL, 0, run->comm));
  PetscCheck(readable, run->comm, PETSC_ERR_FILE_OPEN, "deck '%s' cannot be read", path);
  PetscCall(PetscOptionsCreate(&run->options));
  PetscCheck(!PetscOptionsInsertFileYAML(run->comm, run->options, path, PETSC_TRUE), run->comm, PETSC_ERR_ARG_WRONG,
             "deck '%s' is not YAML as decks use it (blocks of `key: value`, lists of plain values)", path);
  PetscCall(PetscOptionsGetAll(command_line, &words));
  PetscCall(PetscOptionsInsertString(run->options, words));
  PetscCall(PetscFree(words));
  PetscCall(PetscOptionsDestroy(&command_line));
  PetscCall(PetscStrncpy(run->deck, path, sizeof(run->deck)));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunDestroy(EkRun *run)
{
  PetscFunctionBegin;
  if (!*run) PetscFunctionReturn(0);
  PetscCall(PetscOptionsDestroy(&(*run)->options));
  PetscCall(PetscFree((*run)->argv));
  PetscCall(PetscPopErrorHandler());
  PetscCall(PetscFree(*run));
  PetscFunctionReturn(0);
}

PetscErrorCode EkAgree(EkRun run, MPI_Comm comm, PetscErrorCode mine)
{
  int worst = (int)mine;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_INT, MPI_MAX, comm));
  if (worst) {
    PetscMPIInt size;

    PetscCallMPI(MPI_Comm_size(comm, &size));
    run->failure_agreed = (PetscBool)(size == run->size);
  }
  PetscFunctionReturn((PetscErrorCode)worst);
}

struct EkProblems_ {
  int   count, capacity;
  char **line;
};

PetscErrorCode EkProblemsCreate(EkProblems *problems)
{
  PetscFunctionBegin;
  PetscCall(PetscNew(problems));
  PetscFunctionReturn(0);
}

PetscErrorCode EkProblemsAdd(EkProblems problems, const char *format, ...)
{
  char    text[4096];
  va_list arguments;

  PetscFunctionBegin;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (problems->count == problems->capacity) {
    problems->capacity = 2 * problems->capacity + 8;
    PetscCall(PetscRealloc(problems->capacity * sizeof(char *), &problems->line));
  }
  PetscCall(PetscStrallocpy(text, &problems->line[problems->count++]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkProblemsRaise(EkRun run, EkProblems *problems)
{
  int count = (*problems)->count;

  PetscFunctionBegin;
  for (int i = 0; i < count; i++) {
    if (run->rank == 0) fprintf(stderr, "evenkeel: %s\n", (*problems)->line[i]);
    PetscCall(PetscFree((*problems)->line[i]));
  }
  PetscCall(PetscFree((*problems)->line));
  PetscCall(PetscFree(*problems));
  if (count) run->failure_agreed = PETSC_TRUE; /* the same list on every rank; the lines above say it all */
  PetscFunctionReturn(count ? PETSC_ERR_USER_INPUT : 0);
}
