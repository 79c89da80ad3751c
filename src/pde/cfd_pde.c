#include "cfd_pde.h"

typedef struct {
  EkCfd    cfd;
  EkPdeSet set;
  int      fields;
  size_t   points;
  double  *field[EK_CFD_FIELDS]; /* the whole grid, in the order of the files */
} Solver;

PetscErrorCode EkCfdPdeCreate(MPI_Comm comm, const EkPdeSet *set, const EkCfdSpec *spec, void **out)
{
  Solver *solver;

  PetscFunctionBegin;
  PetscCall(PetscNew(&solver));
  solver->set = *set;
  solver->fields = spec->dim + 2;
  solver->points = (size_t)(spec->dim == 1 ? spec->n[0] : spec->n[0] * spec->n[1]);
  PetscCall(EkCfdCreate(comm, spec, &solver->cfd));
  for (int f = 0; f < solver->fields; f++) PetscCall(PetscMalloc1(solver->points, &solver->field[f]));
  *out = solver;
  PetscFunctionReturn(0);
}

/* The state of now becomes a frame of every slab */
static PetscErrorCode StoreFrame(Solver *solver, PetscInt frame, float *const slab[])
{
  PetscFunctionBegin;
  PetscCall(EkCfdGetState(solver->cfd, solver->field));
  if (!slab) PetscFunctionReturn(0);
  for (int f = 0; f < solver->fields; f++) {
    float *to = slab[f] + (size_t)frame * solver->points;

    for (size_t c = 0; c < solver->points; c++) to[c] = (float)solver->field[f][c];
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdPdeSolve(void *self, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound)
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
  *cell_steps += steps * (PetscInt64)solver->points;
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdPdeDestroy(void **self)
{
  Solver *solver = (Solver *)*self;

  PetscFunctionBegin;
  if (!solver) PetscFunctionReturn(0);
  PetscCall(EkCfdDestroy(&solver->cfd));
  for (int f = 0; f < solver->fields; f++) PetscCall(PetscFree(solver->field[f]));
  PetscCall(PetscFree(solver));
  *self = NULL;
  PetscFunctionReturn(0);
}
