#include "evenkeel/pde.h"

typedef struct {
  EkCfd    cfd;
  EkPdeSet set;
  double  *field[EK_CFD_FIELDS]; /* the whole grid, density, pressure, Vx, Vy */
} Solver;

/* PDEBench's order of creation has the y-coordinate before the x-coordinate; t-coordinate is one longer than the data. */
static PetscErrorCode Describe(const EkPdeSet *set, int file, EkFileSpec *spec)
{
  static const char *const name[EK_CFD_FIELDS] = {"density", "pressure", "Vx", "Vy"};
  const PetscInt           shape[] = {set->samples, set->frames, set->nx, set->nx};
  const double             dx = 1.0 / (double)set->nx;

  PetscFunctionBegin;
  (void)file;
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(EkFileSpecAddData(spec, name[f], 4, shape));
  PetscCall(EkFileSpecAddCoordinate(spec, "y-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "x-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "t-coordinate", set->frames + 1, 0, set->dt_save));
  PetscCall(EkFileSpecAddAttribute(spec, "eta", set->eta));
  PetscCall(EkFileSpecAddAttribute(spec, "zeta", set->zeta));
  PetscCall(EkFileSpecAddAttribute(spec, "M", set->M));
  PetscFunctionReturn(0);
}

static PetscErrorCode Create(MPI_Comm comm, const EkPdeSet *set, void **out)
{
  const EkCfdSpec spec = {{set->nx, set->nx}, {1, 1}, set->boundary, set->eta, set->zeta};
  Solver         *solver;

  PetscFunctionBegin;
  PetscCall(PetscNew(&solver));
  solver->set = *set;
  PetscCall(EkCfdCreate(comm, &spec, &solver->cfd));
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(PetscMalloc1(set->nx * set->nx, &solver->field[f]));
  *out = solver;
  PetscFunctionReturn(0);
}

/* The state of now becomes a frame of every slab */
static PetscErrorCode StoreFrame(Solver *solver, PetscInt frame, float *const slab[])
{
  const size_t points = (size_t)(solver->set.nx * solver->set.nx);

  PetscFunctionBegin;
  PetscCall(EkCfdGetState(solver->cfd, solver->field));
  if (!slab) PetscFunctionReturn(0);
  for (int f = 0; f < EK_CFD_FIELDS; f++) {
    float *to = slab[f] + (size_t)frame * points;

    for (size_t c = 0; c < points; c++) to[c] = (float)solver->field[f][c];
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode Solve(void *self, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound)
{
  Solver          *solver = (Solver *)self;
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, solver->set.initial);
  PetscInt64       steps = 0;

  PetscFunctionBegin;
  PetscCall(initial->draw(&solver->set, stream, solver->field));
  PetscCall(EkCfdSetState(solver->cfd, (const double *const *)solver->field));
  PetscCall(EkCfdAdvance(solver->cfd, 0, &steps, sound)); /* judges the initial condition */
  for (PetscInt frame = 0; *sound && frame < solver->set.frames; frame++) {
    if (frame > 0) PetscCall(EkCfdAdvance(solver->cfd, solver->set.dt_save, &steps, sound));
    PetscCall(StoreFrame(solver, frame, slab));
  }
  *cell_steps += steps * solver->set.nx * solver->set.nx;
  PetscFunctionReturn(0);
}

static PetscErrorCode Destroy(void **self)
{
  Solver *solver = (Solver *)*self;

  PetscFunctionBegin;
  if (!solver) PetscFunctionReturn(0);
  PetscCall(EkCfdDestroy(&solver->cfd));
  for (int f = 0; f < EK_CFD_FIELDS; f++) PetscCall(PetscFree(solver->field[f]));
  PetscCall(PetscFree(solver));
  *self = NULL;
  PetscFunctionReturn(0);
}

const EkPdeMethods EkCfd2dMethods = {Describe, Create, Solve, Destroy};
