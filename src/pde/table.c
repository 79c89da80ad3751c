#include "initial.h"
#include <stddef.h>
#include <string.h>

static const EkMember solves[] = {
    {"transient", "the state at t = 1.75, what is left of the initial condition included: as released"},
    {"steady", "the state that does not change any more"},
};
const EkFamily EkSolveFamily = EK_FAMILY("generate_solve", solves);

static const EkPde pdes[] = {
    {{"cfd2d", "compressible Navier-Stokes in the unit square: density, pressure, Vx, Vy"},
     "frames dt_save initial boundary eta zeta M",
     {.samples = 10000,
      .nx = 128,
      .frames = 21,
      .dt_save = 0.05,
      .initial = EK_INITIAL_RAND_2D,
      .boundary = 0,
      .eta = 0.01,
      .zeta = 0.01,
      .M = 0.1},
     &EkCfd2dMethods},
    {{"cfd1d",
      "compressible Navier-Stokes on the interval [-1, 1]: density, pressure, Vx; unset: nx 1024, frames 101, dt_save 0.01, "
      "initial 1D_rand"},
     "frames dt_save initial boundary eta zeta",
     {.samples = 10000,
      .nx = 1024,
      .frames = 101,
      .dt_save = 0.01,
      .initial = EK_INITIAL_RAND_1D,
      .boundary = 0,
      .eta = 0.01,
      .zeta = 0.01},
     &EkCfd1dMethods},
    {{"darcy2d", "flow through a medium of two permeabilities in the unit square, driven by a uniform source"},
     "beta solve",
     {.samples = 10000, .nx = 128, .beta = {1, {1}}, .solve = EK_SOLVE_TRANSIENT},
     &EkDarcy2dMethods},
    {{"burgers1d",
      "viscous Burgers equation on the periodic interval [0, 1]; unset: nx 1024, frames 201, dt_save 0.01, initial sines"},
     "frames dt_save initial nu",
     {.samples = 10000, .nx = 1024, .frames = 201, .dt_save = 0.01, .initial = EK_INITIAL_SINES, .nu = 0.001},
     &EkBurgers1dMethods},
    {{"advection1d",
      "advection at a constant speed on the periodic interval [0, 1]; unset: nx 1024, frames 201, dt_save 0.01, initial sines, "
      "beta 0.1"},
     "frames dt_save initial beta",
     {.samples = 10000, .nx = 1024, .frames = 201, .dt_save = 0.01, .initial = EK_INITIAL_SINES, .beta = {1, {0.1}}},
     &EkAdvection1dMethods},
};
const EkFamily EkPdeFamily = EK_FAMILY("generate_type", pdes);

#define OPTION(field) offsetof(EkGenerateOptions, field)
static const EkKey keys[] = {
    {"generate_type", EK_KEY_CHOICE, OPTION(type), "cfd2d", 0, 0, &EkPdeFamily, "",
     "equations to solve; defaults of the other keys are cfd2d's, the others' own are told below"},
    {"generate_file", EK_KEY_STRING, OPTION(file), NULL, 0, 0, NULL, "", "HDF5 file to write; {beta} in it stands for the beta"},
    {"generate_samples", EK_KEY_INT, OPTION(set.samples), "10000", 1, 1e9, NULL, "", "trajectories"},
    {"generate_nx", EK_KEY_INT, OPTION(set.nx), "128", 4, 32768, NULL, "cells", "grid along each axis"},
    {"generate_frames", EK_KEY_INT, OPTION(set.frames), "21", 1, 1e6, NULL, "", "states stored, the initial one included"},
    {"generate_dt_save", EK_KEY_REAL, OPTION(set.dt_save), "0.05", 1e-6, EK_ANY, NULL, "time", "between frames"},
    {"generate_initial", EK_KEY_CHOICE, OPTION(set.initial), "2D_rand", 0, 0, &EkInitialFamily, "", "initial condition"},
    {"generate_boundary", EK_KEY_CHOICE, OPTION(set.boundary), "periodic", 0, 0, &EkBoundaryFamily, "", "edges of the box"},
    {"generate_eta", EK_KEY_REAL, OPTION(set.eta), "0.01", 0, EK_ANY, NULL, "length^2/time", "shear viscosity"},
    {"generate_zeta", EK_KEY_REAL, OPTION(set.zeta), "0.01", 0, EK_ANY, NULL, "length^2/time", "bulk viscosity"},
    {"generate_M", EK_KEY_REAL, OPTION(set.M), "0.1", EK_POSITIVE, EK_ANY, NULL, "",
     "mean speed at the start over sound speed of the undisturbed gas"},
    {"generate_beta", EK_KEY_REALS, OPTION(set.beta), "1", EK_POSITIVE, EK_ANY, NULL, "",
     "Darcy: source; advection: speed; of several each has its file"},
    {"generate_nu", EK_KEY_REAL, OPTION(set.nu), "0.001", EK_POSITIVE, EK_ANY, NULL, "length^2/time",
     "Burgers: viscosity times pi"},
    {"generate_solve", EK_KEY_CHOICE, OPTION(set.solve), "transient", 0, 0, &EkSolveFamily, "", "Darcy: which state is stored"},
    {"generate_seed", EK_KEY_INT, OPTION(seed), "0", 0, 2147483647, NULL, "", "of the random initial conditions"},
    {"generate_ranks_per_sample", EK_KEY_INT, OPTION(ranks_per_sample), "1", 1, 1e6, NULL, "ranks",
     "that share one trajectory's grid"},
};
const EkKeyTable EkGenerateKeys = EK_KEYS("generate", keys);

static size_t KeySize(const EkKey *key)
{
  if (key->type == EK_KEY_CHOICE) return sizeof(int);
  if (key->type == EK_KEY_REALS) return sizeof(EkReals);
  return key->type == EK_KEY_INT ? sizeof(PetscInt) : sizeof(PetscReal);
}

PetscErrorCode EkGenerateSettle(EkRun run, EkGenerateOptions *options)
{
  const EkPde *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, options->type);
  EkProblems   problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  for (int i = 0; i < EkGenerateKeys.count; i++) {
    const EkKey *key = &EkGenerateKeys.keys[i];
    PetscBool    given;

    if (key->offset < OPTION(set) || key->offset >= OPTION(set) + sizeof(EkPdeSet)) continue;
    PetscCall(EkKeyGiven(run, key, &given));
    if (!EkGenerateUses(options, key)) {
      if (given)
        PetscCall(EkProblemsAdd(problems, "%s: %s has no use for it; it takes %s", key->name, pde->member.name, pde->uses));
    } else if (!given)
      memcpy((char *)options + key->offset, (const char *)&pde->released + (key->offset - OPTION(set)), KeySize(key));
  }
  PetscCall(EkProblemsRaise(run, &problems));
  PetscFunctionReturn(0);
}

PetscBool EkGenerateUses(const void *options, const EkKey *key)
{
  const EkPde *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, ((const EkGenerateOptions *)options)->type);
  const char  *word = EkKeyWord(&EkGenerateKeys, key);

  return (PetscBool)(EkWordIn(word, "type file samples nx seed ranks_per_sample") || EkWordIn(word, pde->uses));
}
