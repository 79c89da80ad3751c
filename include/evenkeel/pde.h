/* Data generation: a table of PDEs, a table of initial conditions, and the driver that spreads trajectories over groups of ranks and writes
   them into one file. A new PDE is one file and one row. The file does not depend on the number of ranks or on interruptions. */
#pragma once
#include "evenkeel/cfd.h"
#include "evenkeel/datafile.h"
#include "evenkeel/keys.h"

/* What a data set is; every PDE has the values of the released set as its defaults. */
typedef struct {
  PetscInt  samples, nx, frames; /* nx cells along every axis */
  PetscReal dt_save;
  int       initial, boundary; /* rows of EkInitialFamily, EkBoundaryFamily */
  PetscReal eta, zeta, M;
} EkPdeSet;

typedef struct {
  int       type; /* row of EkPdeFamily */
  char      file[EK_PATH];
  EkPdeSet  set;
  PetscInt  seed, ranks_per_sample;
  PetscInt  stop_after; /* not a key: solve this many trajectories, then stop as if asked to; 0: all */
  PetscBool progress;   /* not a key: rank 0 prints a line every two seconds */
} EkGenerateOptions;
extern const EkKeyTable EkGenerateKeys;

/* Defaults that differ from one PDE to another: keys of EkPdeSet that the deck does not give take the values of the row's released set. */
PetscErrorCode EkGenerateSettle(EkRun run, EkGenerateOptions *options);

/* ---- the tables ---------------------------------------------------------------------------------------- */

/* What a PDE's file in src/pde provides. */
typedef struct {
  /* Adds datasets, coordinates and attributes of a file of this PDE to the spec (path, samples and identity are the driver's). */
  PetscErrorCode (*describe)(const EkPdeSet *set, EkFileSpec *spec);
  /* Solver for a group of ranks. Collective on comm. */
  PetscErrorCode (*create)(MPI_Comm comm, const EkPdeSet *set, void **solver);
  /* One trajectory drawn from the stream (the same on every rank of the group). slab[s] for every trajectory dataset s of the file, on the
     group's first rank; others pass NULL. *sound: every value is finite and physical. *cell_steps grows by cells times steps. Collective. */
  PetscErrorCode (*solve)(void *solver, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound);
  PetscErrorCode (*destroy)(void **solver);
} EkPdeMethods;

typedef struct {
  EkMember            member;
  EkPdeSet            released;
  const EkPdeMethods *methods;
} EkPde;
extern const EkFamily     EkPdeFamily; /* cfd2d */
extern const EkPdeMethods EkCfd2dMethods;

typedef struct {
  EkMember    member;
  const char *pde; /* the row of EkPdeFamily it is for */
  /* field[f]: the whole grid of set->nx cells along each axis, cell centres of the unit box, in the order of the file's datasets. */
  PetscErrorCode (*draw)(const EkPdeSet *set, EkRandom *stream, double *const field[]);
} EkInitial;
extern const EkFamily EkInitialFamily; /* 2D_rand */

/* ---- the driver ---------------------------------------------------------------------------------------- */

typedef struct {
  PetscBool  complete; /* the file is finished; else it can be continued */
  PetscInt   solved;   /* trajectories finished by this call */
  PetscInt   finished; /* in the file, those of earlier calls included */
  PetscInt   redrawn;  /* draws given up because they went non-finite, over the whole file */
  PetscInt64 cell_steps;
  double     seconds;
} EkGenerateReport;

/* Writes options->file. Groups of ranks_per_sample ranks (the last may be smaller) take the next trajectory when they have finished one.
   A trajectory that goes non-finite is drawn again from another stream. SIGUSR1 and SIGTERM stop after the trajectories in work.
   Collective on run->comm. Errors: those of EkDataFileOpen, an initial condition of another PDE, more ranks a sample than there are or than
   the grid has rows for, a trajectory that stays non-finite after EK_MAX_REDRAWS redraws. */
PetscErrorCode EkGenerate(EkRun run, const EkGenerateOptions *options, EkGenerateReport *report);
