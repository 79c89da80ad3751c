#include "evenkeel/base.h"
#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One call: lines of several ranks stay whole. */
static void Release(EkRun run)
{
  fputs(run->held, stderr);
  run->held[0] = 0;
}

void EkHoldLines(EkRun run, PetscBool hold)
{
  run->hold = hold;
  if (!hold) Release(run);
}

/* PETSc 3.18's allocator mixes up its arguments when there is no memory: the code is a line number, the message a function. */
static PetscBool IsMemory(const char *function, PetscErrorCode code)
{
  return (PetscBool)(code == PETSC_ERR_MEM || (function && !strncmp(function, "PetscMalloc", 11)));
}

/* One plain line per failure. A communicator other than this rank alone means that every rank of it sees the same thing, so its
   first rank speaks for all. Called again by PetscCall on the way up: silent then. */
static PetscErrorCode PlainLine(MPI_Comm comm, int line, const char *function, const char *file, PetscErrorCode code,
                                PetscErrorType type, const char *message, void *context)
{
  EkRun       run = (EkRun)context;
  PetscMPIInt rank = 0, size = 1;

  if (type == PETSC_ERROR_REPEAT) return code;
  if (comm != MPI_COMM_NULL) {
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
  }
  run->failure_agreed = (PetscBool)(size == run->size);
  if (rank == 0) {
    char who[32] = "", where[512] = "";

    fflush(stdout);
    if (IsMemory(function, code))
      message =
          "out of memory: fewer samples a rank (train_batch, more ranks), train_recompute and mesh_shard optimizer take less";
    if (size == 1 && run->size > 1) snprintf(who, sizeof(who), "[rank %d] ", (int)run->rank);
    if (code == PETSC_ERR_LIB || code == PETSC_ERR_PLIB || !message || !*message)
      snprintf(where, sizeof(where), " (%s, %s:%d)", function, file, line);
    snprintf(run->held, sizeof(run->held), "evenkeel: %s%s%s\n", who, message && *message ? message : "error", where);
    if (!run->hold || size > 1) Release(run);
  }
  return code;
}

/* A negative number is a value, anything else that starts with a dash is a key. */
static PetscBool IsKey(const char *word)
{
  return (PetscBool)(word[0] == '-' && word[1] && !isdigit((unsigned char)word[1]) && word[1] != '.');
}

/* Prefixes of options that are PETSc's, not a deck's: its system layer, and the solvers it runs for us. */
static const char *const petsc_prefix[] = {"log_",    "malloc",  "options_", "info",    "petsc_", "on_error_",
                                           "fp_trap", "memory_", "mpi_",     "viewer_", "saws_",  "darcy_"};

PetscBool EkIsPetscOption(const char *name)
{
  for (size_t i = 0; i < sizeof(petsc_prefix) / sizeof(petsc_prefix[0]); i++) {
    if (!strncmp(name, petsc_prefix[i], strlen(petsc_prefix[i]))) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

int EkPetscWords(int argc, char **argv, char **words)
{
  static char no_handlers[] = "-no_signal_handler"; /* PETSc's print pages, end with 59 and forget what was to be ignored */
  int         n = 0;

  words[n++] = argv[0];
  for (int i = 1; i < argc; i++) {
    if (!IsKey(argv[i]) || !EkIsPetscOption(argv[i] + 1)) continue;
    words[n++] = argv[i];
    if (i + 1 < argc && !IsKey(argv[i + 1])) words[n++] = argv[++i];
  }
  words[n++] = no_handlers;
  words[n] = NULL;
  return n;
}

/* The command line's keys into the options; the other words into `words` (argc + 1 places, NULL at the end) unless it is NULL. */
static PetscErrorCode SplitArguments(EkRun run, int *nwords, char **words)
{
  int n = 0;

  PetscFunctionBegin;
  for (int i = 1; i < run->raw_argc; i++) {
    char **word = run->raw_argv + i;

    if (IsKey(word[0])) {
      PetscBool has_value = (PetscBool)(i + 1 < run->raw_argc && !IsKey(word[1]));

      PetscCall(PetscOptionsSetValue(run->options, word[0], has_value ? word[1] : NULL));
      i += has_value;
    } else if (words)
      words[n++] = word[0];
  }
  if (!words) PetscFunctionReturn(0);
  words[n] = NULL;
  *nwords = n;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunCreate(int argc, char **argv, EkRun *out)
{
  EkRun        run;
  PetscClassId class_id;

  PetscFunctionBegin;
  EkCpuSetup();
  PetscCall(PetscNew(&run));
  run->comm = PETSC_COMM_WORLD;
  run->start = EkTime();
  run->share = 4 << 20;
  PetscCallMPI(MPI_Comm_rank(run->comm, &run->rank));
  PetscCallMPI(MPI_Comm_size(run->comm, &run->size));
  PetscCall(PetscPushErrorHandler(PlainLine, run));
  PetscCall(PetscOptionsCreate(&run->options));
  signal(SIGPIPE, SIG_IGN); /* a run whose reader has gone goes on */
  signal(SIGXFSZ, SIG_IGN); /* a limit of file size is then an error of the write, told like any other */
  run->raw_argc = argc;
  run->raw_argv = argv;
  PetscCall(PetscMalloc1(argc + 1, &run->argv));
  PetscCall(SplitArguments(run, &run->argc, run->argv));
  PetscCall(PetscLogDefaultBegin());
  PetscCall(PetscClassIdRegister("Evenkeel", &class_id));
  for (int p = 0; p < EK_PHASE_COUNT; p++) PetscCall(PetscLogEventRegister(EkPhaseName((EkPhase)p), class_id, &run->phase[p]));
  *out = run;
  PetscFunctionReturn(0);
}

/* The whole deck, zero-terminated, on every rank; NULL where rank 0 cannot read it. The caller frees. */
static PetscErrorCode ReadDeck(EkRun run, const char *path, char **text)
{
  FILE       *file = run->rank == 0 ? fopen(path, "r") : NULL;
  char       *whole = NULL;
  size_t      capacity = 0;
  PetscMPIInt bytes = -1;

  PetscFunctionBegin;
  *text = NULL;
  if (file) {
    const ssize_t got = getdelim(&whole, &capacity, 0, file);

    if (!ferror(file)) bytes = got > 0 ? (PetscMPIInt)got : 0;
    fclose(file);
  }
  PetscCallMPI(MPI_Bcast(&bytes, 1, MPI_INT, 0, run->comm));
  if (bytes >= 0) {
    PetscCall(PetscCalloc1(bytes + 1, text));
    if (run->rank == 0) PetscCall(PetscArraycpy(*text, whole, bytes));
    PetscCallMPI(MPI_Bcast(*text, bytes, MPI_CHAR, 0, run->comm));
  }
  free(whole);
  PetscFunctionReturn(0);
}

PetscErrorCode EkRunLoadDeck(EkRun run, const char *path)
{
  PetscErrorCode bad;
  char          *text;

  PetscFunctionBegin;
  PetscCall(ReadDeck(run, path, &text));
  PetscCheck(text, run->comm, PETSC_ERR_FILE_OPEN, "deck '%s' cannot be read", path);
  PetscCall(PetscOptionsDestroy(&run->options));
  PetscCall(PetscOptionsCreate(&run->options));
  PetscCall(PetscPushErrorHandler(PetscReturnErrorHandler, NULL)); /* the parser's own words name no file */
  bad = PetscOptionsInsertStringYAML(run->options, text);
  PetscCall(PetscPopErrorHandler());
  PetscCall(PetscFree(text));
  PetscCheck(!bad, run->comm, PETSC_ERR_ARG_WRONG,
             "deck '%s' is not YAML as decks use it (blocks of `key: value`, lists of plain values)", path);
  PetscCall(SplitArguments(run, NULL, NULL));
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
  int both[2] = {(int)mine, mine ? -(int)run->rank : -(int)run->size}; /* largest error, lowest rank that failed */

  PetscFunctionBegin;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, both, 2, MPI_INT, MPI_MAX, comm));
  if (both[0]) {
    PetscMPIInt size;

    PetscCallMPI(MPI_Comm_size(comm, &size));
    run->failure_agreed = (PetscBool)(size == run->size);
    if (run->hold && run->rank == -both[1]) Release(run);
  }
  run->hold = PETSC_FALSE;
  run->held[0] = 0;
  PetscFunctionReturn((PetscErrorCode)both[0]);
}

struct EkProblems_ {
  int    count, capacity;
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
