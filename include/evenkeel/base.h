/* Run context, error bridges, families of members, counter-based random numbers, phases, stop requests.
   The layer everything else stands on. PETSc's system layer (errors, options, logging) is used as it is. */
#pragma once
#include <petscsys.h>
#include <stdint.h>

#define EK_PATH 1024
#define EK_NAME 64

/* ---- run context -------------------------------------------------------------------------------------- */

/* What the end-of-run table times. One PetscLogEvent each, so that -log_view shows them too. */
#define EK_PHASES(X)                                                                                                             \
  X(IO, "io")                                                                                                                    \
  X(FORWARD, "forward")                                                                                                          \
  X(BACKWARD, "backward")                                                                                                        \
  X(ALLREDUCE, "allreduce")                                                                                                      \
  X(OPTIMIZER, "optimizer")                                                                                                      \
  X(SPECTRA, "spectra")                                                                                                          \
  X(CHECKPOINT, "checkpoint")                                                                                                    \
  X(EVALUATE, "evaluate")                                                                                                        \
  X(SOLVE, "solve")                                                                                                              \
  X(WRITE, "write")

typedef enum {
#define EK_PHASE_ENUM(id, name) EK_PHASE_##id,
  EK_PHASES(EK_PHASE_ENUM)
#undef EK_PHASE_ENUM
      EK_PHASE_COUNT
} EkPhase;

/* Created once in main, passed down, never global. Fields may be read by anyone, written only by base/run.c. */
typedef struct EkRun_ *EkRun;
struct EkRun_ {
  MPI_Comm       comm; /* the world */
  PetscMPIInt    rank, size;
  PetscOptions   options; /* deck keys, command line on top; PETSc's own options live in the global database */
  int            argc;    /* positional arguments: the subcommand and what follows it, without -key value */
  char         **argv;
  int            raw_argc; /* the whole command line, for provenance */
  char         **raw_argv;
  char           deck[EK_PATH]; /* path of the deck that was loaded, or "" */
  PetscLogEvent  phase[EK_PHASE_COUNT];
  PetscLogDouble start; /* wall clock at creation (s) */
  PetscInt64     share; /* bytes of a checkpoint for which one more rank reads and writes; the size of its messages */
  PetscBool      hold;  /* lines of this rank alone are kept in `held` until ranks have agreed */
  char           held[2048];
  PetscBool      failure_agreed; /* the error on its way up is known to every rank: main may finalise */
};

/* Collective on PETSC_COMM_WORLD, after PetscInitialize. Splits argv into positional arguments and keys, installs the
   one-line error handler. The run is owned by the caller. */
PetscErrorCode EkRunCreate(int argc, char **argv, EkRun *run);
/* The words of the command line that are PETSc's own (-log_view, -malloc_debug ...) with their values, after the program's name:
   for PetscInitialize, which looks at no others. words: room for argc + 2; returns how many. */
int EkPetscWords(int argc, char **argv, char **words);
/* Whether a key without its dash is one of PETSc's. */
PetscBool EkIsPetscOption(const char *name);
/* Loads a YAML deck under the command line's keys. Collective. Error: unreadable file, bad YAML, a list of maps. */
PetscErrorCode EkRunLoadDeck(EkRun run, const char *path);
/* Collective. Accepts NULL, nulls. */
PetscErrorCode EkRunDestroy(EkRun *run);

/* ---- errors ------------------------------------------------------------------------------------------- */

/* Agreement before the next collective: every rank passes what its own part returned, every rank gets the largest.
   The failing rank has printed its line. Collective on comm, which must hold every rank that would otherwise hang.
     PetscCall(EkAgree(run, comm, ReadMyPart(...)));                                                          */
PetscErrorCode EkAgree(EkRun run, MPI_Comm comm, PetscErrorCode mine);
/* Where many ranks may fail for one reason (bad data): a line that this rank would print on its own is kept back until the next
   EkAgree, which prints the one of the lowest rank that failed, or until hold is false. Not collective. */
void EkHoldLines(EkRun run, PetscBool hold);

/* Bridges: a foreign failure becomes one PETSc error on this rank whose text names file, key or layer. */
#define EkCallHDF5(expr, ...)   PetscCheck((expr) >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, __VA_ARGS__)
#define EkCheckAlloc(ptr, what) PetscCheck((ptr), PETSC_COMM_SELF, PETSC_ERR_MEM, "out of memory for %s", (what))

/* Several mistakes collected, then printed together (a deck is checked whole before the program stops). */
typedef struct EkProblems_ *EkProblems;
PetscErrorCode              EkProblemsCreate(EkProblems *problems);
PetscErrorCode              EkProblemsAdd(EkProblems problems, const char *format, ...) PETSC_ATTRIBUTE_FORMAT(2, 3);
/* Prints every problem on a line of its own (rank 0) and returns an error if there is any; destroys. Collective:
   every rank must hold the same list. */
PetscErrorCode EkProblemsRaise(EkRun run, EkProblems *problems);

/* ---- families of members: models, rules, fits, optimizers, PDEs, subcommands ---------------------------- */

/* First field of every row of every table. */
typedef struct {
  const char *name, *help;
} EkMember;

typedef struct {
  const char *name;   /* "model_type": the key that chooses a member */
  const void *rows;   /* array of structs whose first field is an EkMember */
  size_t      stride; /* bytes a row */
  int         count;
} EkFamily;
#define EK_FAMILY(key, table)                                                                                                    \
  {                                                                                                                              \
    (key), (table), sizeof((table)[0]), (int)(sizeof(table) / sizeof((table)[0]))                                                \
  }

const EkMember *EkFamilyMember(const EkFamily *family, int i);
/* Index of the member, or -1. */
int EkFamilyFind(const EkFamily *family, const char *name);
/* "a b c" for messages. */
PetscErrorCode EkFamilyNames(const EkFamily *family, char *text, size_t length);
/* Is it one of the words? Spaces between. */
PetscBool EkWordIn(const char *word, const char *words);

/* ---- counter-based random numbers (Philox4x32-10, Salmon et al., SC11) ---------------------------------- */

/* The stream depends on (seed, purpose, index) only: the same numbers on any rank of any mesh. */
typedef enum {
  EK_RANDOM_INIT,       /* initial weights; index = tensor number */
  EK_RANDOM_SHUFFLE,    /* order of an epoch; index = epoch */
  EK_RANDOM_TRAJECTORY, /* initial condition; index = trajectory */
  EK_RANDOM_NOISE,
  EK_RANDOM_TEST,
  EK_RANDOM_WINDOW /* frames a training sample is cut to; index = epoch, sample */
} EkPurpose;
typedef struct {
  uint32_t key[2], counter[4], block[4];
  int      used;
} EkRandom;
EkRandom EkRandomStream(uint64_t seed, EkPurpose purpose, uint64_t index);
/* Jump so that the next EkUniform is the n-th of the stream: lets a rank draw only its part. */
void     EkRandomSeek(EkRandom *stream, uint64_t n);
double   EkUniform(EkRandom *stream);                         /* [0, 1), 32 bits */
double   EkUniformIn(EkRandom *stream, double lo, double hi); /* [lo, hi) */
double   EkNormal(EkRandom *stream);                          /* N(0,1), two uniforms a draw */
uint32_t EkInteger(EkRandom *stream, uint32_t n);             /* 0..n-1 */

/* ---- phases ------------------------------------------------------------------------------------------- */

#define EkPhaseBegin(run, id) PetscLogEventBegin((run)->phase[EK_PHASE_##id], 0, 0, 0, 0)
#define EkPhaseEnd(run, id)   PetscLogEventEnd((run)->phase[EK_PHASE_##id], 0, 0, 0, 0)
const char *EkPhaseName(EkPhase phase);
/* Seconds and calls of this rank so far. Not collective. */
PetscErrorCode EkPhaseGet(EkRun run, EkPhase phase, double *seconds, PetscInt *calls);
/* Calls, seconds (mean over ranks), share of total_seconds, min and max over ranks; phases never entered are left out.
   Collective on run->comm; rank 0 prints. */
PetscErrorCode EkPhaseTable(EkRun run, double total_seconds);

/* Wall clock (s). */
double EkTime(void);
/* "1h02m", "3m20s", "12.3s" for progress lines. */
const char *EkDuration(double seconds, char text[32]);

/* ---- CPU and BLAS ----------------------------------------------------------------------------------------------- */

/* OpenBLAS before 0.3.25 takes an Intel CPU that is younger than itself for a Prescott, whose kernels have a fifth of the speed
   (OpenBLAS's issue 4267). Where it did, starts the program again with OPENBLAS_CORETYPE set to kernels that this CPU has. Returns
   in every other case: another BLAS, kernels that fit, the variable set by whoever calls. First thing in main, before MPI. */
void EkBlasChoose(char **argv);
/* What EkBlasChoose asks for, `chosen` being OpenBLAS's own choice; NULL: leave it. */
const char *EkBlasCore(const char *chosen, int avx2, int avx512);
PetscBool EkBlasIsOpenBlas(void);
/* OpenBLAS's version and kernels in one line, put together anew; NULL with another BLAS; not to be freed. */
const char *EkBlasConfig(void);
/* How this process calculates; EkRunCreate calls it, a program without a run does so itself, before there are other threads.
   - BLAS or oneDNN threads and MPI ranks fight: one thread a rank unless OPENBLAS_NUM_THREADS or OMP_NUM_THREADS says otherwise.
   - Numbers below 1e-38 are zero: where gradients fade out, a step with them took an Intel CPU 17 times as long. */
void EkCpuSetup(void);

/* ---- memory --------------------------------------------------------------------------------------------- */

/* Asks the system for large pages under the part of [start, start + bytes) that fills some: operators go through memory by columns of
   planes, in small pages each row on another. To be called before the first write; only advice, it cannot fail. */
void EkAdviseLargePages(void *start, size_t bytes);
/* PetscCalloc1 in large pages where they are to be had; PetscFree frees it. Not collective. Error: no memory. */
PetscErrorCode EkCallocLarge(size_t floats, float **out);
/* High-water mark of this process's resident memory (bytes). */
PetscInt64 EkPeakMemory(void);

/* ---- stop requests ------------------------------------------------------------------------------------ */

#define EK_EXIT_STOPPED 75 /* stopped on request after a checkpoint: job scripts requeue on it */

/* SIGUSR1, SIGTERM, SIGINT and SIGHUP set a flag and do nothing else; the last three only where they were not ignored. A second
   one ends the process at once, unless all were SIGUSR1: SLURM and experiment.py repeat that while a checkpoint is on its way. */
PetscErrorCode EkStopInstall(void);
PetscBool      EkStopRequested(void); /* this rank, not collective */

/* ---- files and provenance ------------------------------------------------------------------------------ */

/* Named view of an arena of floats: one row a tensor. A complex tensor has a trailing axis of 2 (re, im). */
#define EK_MAX_RANK 6
typedef struct {
  char      name[EK_NAME]; /* PyTorch's state_dict key */
  int       rank;
  PetscInt  shape[EK_MAX_RANK]; /* as stored, the trailing 2 included */
  PetscBool is_complex;
  PetscBool is_counter;    /* a whole number kept as a float: int64 in PyTorch's files */
  size_t    offset, count; /* floats from the arena's start; floats */
} EkTensorInfo;

/* rank 0 writes DIR/run.json: version, flags, library versions, hosts, mesh, SLURM variables, command line. Collective. */
PetscErrorCode EkProvenanceWrite(EkRun run, const char *dir, PetscInt mesh_data, PetscInt mesh_space);
const char    *EkVersion(void);
