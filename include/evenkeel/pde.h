/* Data generation: a table of PDEs, a table of initial conditions, and the driver that spreads trajectories over groups of ranks
   and writes them into one file. A new PDE is one file and one row. The file does not depend on the number of ranks or on
   interruptions. */
#pragma once
#include "evenkeel/cfd.h"
#include "evenkeel/datafile.h"
#include "evenkeel/keys.h"

typedef enum { EK_SOLVE_TRANSIENT, EK_SOLVE_STEADY } EkSolve;
extern const EkFamily EkSolveFamily; /* transient steady: rows in the order of EkSolve */

/* What a data set is; every PDE has the values of the released set as its defaults. */
typedef struct {
  PetscInt  samples, nx, frames; /* nx cells along every axis */
  PetscReal dt_save;
  int       initial, boundary; /* rows of EkInitialFamily, EkBoundaryFamily */
  PetscReal eta, zeta, M, nu;
  EkReals   beta;  /* more than one: a file each */
  int       solve; /* EkSolve */
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

/* Defaults that differ from one PDE to another: keys of EkPdeSet that the deck does not give take the values of the row's
   released set. Error: a key given that the PDE does not use. */
PetscErrorCode EkGenerateSettle(EkRun run, EkGenerateOptions *options);

/* ---- the tables ---------------------------------------------------------------------------------------- */

/* What a PDE's file in src/pde provides. */
typedef struct {
  /* Adds datasets, coordinates and attributes of file number `file` of a set to the spec (path, samples and identity are the
     driver's). A set has one file; where set->beta is a list, one for each beta, with the same datasets. */
  PetscErrorCode (*describe)(const EkPdeSet *set, int file, EkFileSpec *spec);
  /* Solver for a group of ranks. Collective on comm. */
  PetscErrorCode (*create)(MPI_Comm comm, const EkPdeSet *set, void **solver);
  /* One trajectory drawn from the stream (the same on every rank of the group). slab[f*EK_FILE_SETS + s] for every trajectory
     dataset s (its place in the spec) of file f, on the group's first rank; others pass NULL. *sound: every value is finite and
     physical. *cell_steps grows by cells times time steps (or iterations of a linear solver). Collective. */
  PetscErrorCode (*solve)(void *solver, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound);
  PetscErrorCode (*destroy)(void **solver);
} EkPdeMethods;

typedef struct {
  EkMember member;
  const char
          *uses; /* its keys besides type, file, samples, nx, seed, ranks_per_sample: words without the block, spaces between */
  EkPdeSet released;
  const EkPdeMethods *methods;
} EkPde;
/* EkKeyUse of EkGenerateOptions. */
PetscBool                 EkGenerateUses(const void *options, const EkKey *key);
extern const EkFamily     EkPdeFamily; /* cfd1d cfd2d darcy2d burgers1d advection1d */
extern const EkPdeMethods EkAdvection1dMethods, EkBurgers1dMethods, EkDarcy2dMethods;
extern const EkPdeMethods EkCfd1dMethods, EkCfd2dMethods;

typedef struct {
  EkMember    member;
  const char *pdes; /* the rows of EkPdeFamily it is for: words, spaces between */
  /* field[f]: the whole grid of set->nx cells along each axis, cell centres of the PDE's box, in the order of the file's
   * datasets. */
  PetscErrorCode (*draw)(const EkPdeSet *set, EkRandom *stream, double *const field[]);
} EkInitial;
extern const EkFamily EkInitialFamily; /* 2D_rand 1D_rand 1D_shocks sines 2D_turbulence KH */

/* ---- the driver ---------------------------------------------------------------------------------------- */

typedef struct {
  PetscBool  complete; /* the file is finished; else it can be continued */
  PetscInt   solved;   /* trajectories finished by this call */
  PetscInt   finished; /* in the file, those of earlier calls included */
  PetscInt   redrawn;  /* draws given up because they went non-finite, over the whole file */
  PetscInt64 cell_steps;
  double     seconds;
} EkGenerateReport;

/* Writes options->file; with several beta, "{beta}" in it stands for each. Groups of ranks_per_sample ranks (the last may be
   smaller) take the next trajectory when they have finished one. A trajectory that goes non-finite is drawn again from another
   stream. SIGUSR1 and SIGTERM stop after the trajectories in work. Collective on run->comm. Errors: those of EkDataFileOpen,
   several beta without "{beta}", an initial condition of another PDE, more ranks a sample than there are or than the grid has
   rows for, a trajectory that stays non-finite after EK_MAX_REDRAWS redraws. */
PetscErrorCode EkGenerate(EkRun run, const EkGenerateOptions *options, EkGenerateReport *report);
