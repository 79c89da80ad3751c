#include "evenkeel/darcy.h"
#include "decay.h"
#include "multigrid.h"

#define DECAY_TOLERANCE 1e-10

struct EkDarcy_ {
  MPI_Comm      comm;
  PetscInt      n;
  DM            dm; /* its fast axis is y */
  DMDALocalInfo part;
  Mat           A;
  double       *entry; /* of A, in the order of its pattern: 5 a row */
  KSP           ksp;
  Vec           rhs, u, w, *basis; /* basis: EK_DECAY_VECTORS + 1, with the first transient */
  Vec           natural, whole;    /* rows of the whole grid in order: in parts, and on the first rank */
  VecScatter    gather;
};

/* ---- grid, matrix, solver --------------------------------------------------------------------------------- */

static PetscErrorCode CreateGrid(EkDarcy darcy)
{
  PetscFunctionBegin;
  PetscCall(DMDACreate2d(darcy->comm, DM_BOUNDARY_NONE, DM_BOUNDARY_NONE, DMDA_STENCIL_STAR, darcy->n, darcy->n, PETSC_DECIDE,
                         PETSC_DECIDE, 1, 1, NULL, NULL, &darcy->dm));
  PetscCall(DMSetUp(darcy->dm));
  PetscCall(DMDAGetLocalInfo(darcy->dm, &darcy->part));
  PetscCall(DMCreateGlobalVector(darcy->dm, &darcy->rhs));
  PetscCall(VecDuplicate(darcy->rhs, &darcy->u));
  PetscCall(VecDuplicate(darcy->rhs, &darcy->w));
  PetscCall(DMDACreateNaturalVector(darcy->dm, &darcy->natural));
  PetscCall(VecScatterCreateToZero(darcy->natural, &darcy->gather, &darcy->whole));
  PetscFunctionReturn(0);
}

static const int neighbour[4][2] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}}; /* x, y */

static PetscBool IsInside(EkDarcy darcy, PetscInt x, PetscInt y)
{
  return (PetscBool)(x >= 0 && y >= 0 && x < darcy->n && y < darcy->n);
}

/* Row by row the diagonal, then the neighbours; outside the grid there is no entry (-1). */
static PetscErrorCode CreateMatrix(EkDarcy darcy)
{
  const DMDALocalInfo   *p = &darcy->part;
  const PetscInt         rows = p->xm * p->ym;
  ISLocalToGlobalMapping map;
  const PetscInt        *global;
  PetscInt              *row, *col, k = 0;

  PetscFunctionBegin;
  PetscCheck(rows <= PETSC_MAX_INT / 5, PETSC_COMM_SELF, PETSC_ERR_SUP,
             "generate_nx: %d x %d points a rank are more than the matrix can count; more generate_ranks_per_sample", (int)p->xm,
             (int)p->ym);
  PetscCall(PetscMalloc2(5 * rows, &row, 5 * rows, &col));
  PetscCall(PetscMalloc1(5 * rows, &darcy->entry));
  PetscCall(DMGetLocalToGlobalMapping(darcy->dm, &map));
  PetscCall(ISLocalToGlobalMappingGetIndices(map, &global));
  for (PetscInt x = p->ys; x < p->ys + p->ym; x++) {
    for (PetscInt y = p->xs; y < p->xs + p->xm; y++) {
      const PetscInt here = (x - p->gys) * p->gxm + y - p->gxs, first = k;

      row[k] = col[k] = global[here];
      for (k++; k < first + 5; k++) {
        const int *to = neighbour[k - first - 1];

        row[k] = global[here];
        col[k] = IsInside(darcy, x + to[0], y + to[1]) ? global[here + to[0] * p->gxm + to[1]] : -1;
      }
    }
  }
  PetscCall(ISLocalToGlobalMappingRestoreIndices(map, &global));
  PetscCall(MatCreate(darcy->comm, &darcy->A));
  PetscCall(MatSetSizes(darcy->A, rows, rows, PETSC_DETERMINE, PETSC_DETERMINE));
  PetscCall(MatSetType(darcy->A, MATAIJ));
  PetscCall(MatSetPreallocationCOO(darcy->A, 5 * rows, row, col));
  PetscCall(MatSetOption(darcy->A, MAT_SPD, PETSC_TRUE));
  PetscCall(PetscFree2(row, col));
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateSolver(EkDarcy darcy)
{
  PC pc;

  PetscFunctionBegin;
  PetscCall(KSPCreate(darcy->comm, &darcy->ksp));
  PetscCall(KSPSetOptionsPrefix(darcy->ksp, "darcy_"));
  PetscCall(KSPSetType(darcy->ksp, KSPCG));
  PetscCall(KSPSetTolerances(darcy->ksp, EK_DARCY_TOLERANCE, PETSC_DEFAULT, PETSC_DEFAULT, 200));
  PetscCall(KSPSetOperators(darcy->ksp, darcy->A, darcy->A));
  PetscCall(KSPGetPC(darcy->ksp, &pc));
  PetscCall(EkMultigridSetUp(darcy->dm, pc));
  PetscCall(KSPSetFromOptions(darcy->ksp));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDarcyCreate(MPI_Comm comm, PetscInt n, EkDarcy *out)
{
  PetscMPIInt size;
  EkDarcy     darcy;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCheck(n >= 2 * size, comm, PETSC_ERR_ARG_OUTOFRANGE,
             "a grid of %lld x %lld cannot be split over %d ranks: every rank needs 2 rows", (long long)n, (long long)n,
             (int)size);
  PetscCall(PetscNew(&darcy));
  darcy->comm = comm;
  darcy->n = n;
  PetscCall(CreateGrid(darcy));
  PetscCall(CreateMatrix(darcy));
  PetscCall(CreateSolver(darcy));
  *out = darcy;
  PetscFunctionReturn(0);
}

PetscErrorCode EkDarcySetCoefficient(EkDarcy darcy, const double *nu)
{
  const DMDALocalInfo *p = &darcy->part;
  const double         scale = 0.5 * (double)darcy->n * (double)darcy->n; /* 1/(2 h^2) */
  double              *entry = darcy->entry;

  PetscFunctionBegin;
  for (PetscInt x = p->ys; x < p->ys + p->ym; x++) {
    for (PetscInt y = p->xs; y < p->xs + p->xm; y++, entry += 5) {
      const double here = nu[x * darcy->n + y];

      entry[0] = 0;
      for (int k = 0; k < 4; k++) {
        const PetscInt to_x = x + neighbour[k][0], to_y = y + neighbour[k][1];
        const double   there = IsInside(darcy, to_x, to_y) ? nu[to_x * darcy->n + to_y] : here;

        entry[1 + k] = -scale * (here + there);
        entry[0] -= entry[1 + k];
      }
    }
  }
  PetscCall(MatSetValuesCOO(darcy->A, darcy->entry, INSERT_VALUES));
  PetscFunctionReturn(0);
}

/* ---- whole grids in and out --------------------------------------------------------------------------------- */

/* This rank's part of a whole grid; NULL: ones */
static PetscErrorCode Put(EkDarcy darcy, const double *field, Vec v)
{
  const DMDALocalInfo *p = &darcy->part;
  PetscScalar         *value;

  PetscFunctionBegin;
  if (!field) {
    PetscCall(VecSet(v, 1));
    PetscFunctionReturn(0);
  }
  PetscCall(VecGetArrayWrite(v, &value));
  for (PetscInt i = 0; i < p->ym; i++) PetscCall(PetscArraycpy(value + i * p->xm, field + (i + p->ys) * darcy->n + p->xs, p->xm));
  PetscCall(VecRestoreArrayWrite(v, &value));
  PetscFunctionReturn(0);
}

static PetscErrorCode Get(EkDarcy darcy, Vec v, double *field)
{
  const PetscScalar *value;
  PetscInt           count;

  PetscFunctionBegin;
  PetscCall(DMDAGlobalToNaturalBegin(darcy->dm, v, INSERT_VALUES, darcy->natural));
  PetscCall(DMDAGlobalToNaturalEnd(darcy->dm, v, INSERT_VALUES, darcy->natural));
  PetscCall(VecScatterBegin(darcy->gather, darcy->natural, darcy->whole, INSERT_VALUES, SCATTER_FORWARD));
  PetscCall(VecScatterEnd(darcy->gather, darcy->natural, darcy->whole, INSERT_VALUES, SCATTER_FORWARD));
  PetscCall(VecGetLocalSize(darcy->whole, &count)); /* none but on the first rank */
  PetscCall(VecGetArrayRead(darcy->whole, &value));
  if (count) PetscCall(PetscArraycpy(field, value, count));
  PetscCall(VecRestoreArrayRead(darcy->whole, &value));
  PetscFunctionReturn(0);
}

/* ---- solutions ------------------------------------------------------------------------------------------------ */

PetscErrorCode EkDarcyApply(EkDarcy darcy, const double *u, double *out)
{
  PetscFunctionBegin;
  PetscCall(Put(darcy, u, darcy->u));
  PetscCall(MatMult(darcy->A, darcy->u, darcy->rhs));
  PetscCall(Get(darcy, darcy->rhs, out));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDarcySteady(EkDarcy darcy, const double *source, double *u, PetscInt64 *iterations)
{
  PetscFunctionBegin;
  PetscCall(Put(darcy, source, darcy->rhs));
  PetscCall(EkLinearSolve(darcy->ksp, darcy->rhs, darcy->u, iterations));
  PetscCall(Get(darcy, darcy->u, u));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDarcyTransient(EkDarcy darcy, PetscReal time, const double *initial, double *kept, double *grown,
                                PetscInt64 *iterations)
{
  PetscFunctionBegin;
  if (!darcy->basis) PetscCall(VecDuplicateVecs(darcy->rhs, EK_DECAY_VECTORS + 1, &darcy->basis));
  PetscCall(Put(darcy, initial, darcy->rhs));
  PetscCall(EkDecay(darcy->ksp, time, DECAY_TOLERANCE, darcy->rhs, darcy->basis, darcy->u, iterations));
  PetscCall(Get(darcy, darcy->u, kept));
  /* from zero to the steady state w: w less what is left of it */
  PetscCall(VecSet(darcy->rhs, 1));
  PetscCall(EkLinearSolve(darcy->ksp, darcy->rhs, darcy->w, iterations));
  PetscCall(EkDecay(darcy->ksp, time, DECAY_TOLERANCE, darcy->w, darcy->basis, darcy->u, iterations));
  PetscCall(VecAYPX(darcy->u, -1, darcy->w));
  PetscCall(Get(darcy, darcy->u, grown));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDarcyDestroy(EkDarcy *darcy)
{
  EkDarcy d = *darcy;

  PetscFunctionBegin;
  if (!d) PetscFunctionReturn(0);
  PetscCall(VecScatterDestroy(&d->gather));
  PetscCall(VecDestroy(&d->whole));
  PetscCall(VecDestroy(&d->natural));
  if (d->basis) PetscCall(VecDestroyVecs(EK_DECAY_VECTORS + 1, &d->basis));
  PetscCall(VecDestroy(&d->w));
  PetscCall(VecDestroy(&d->u));
  PetscCall(VecDestroy(&d->rhs));
  PetscCall(KSPDestroy(&d->ksp));
  PetscCall(MatDestroy(&d->A));
  PetscCall(PetscFree(d->entry));
  PetscCall(DMDestroy(&d->dm));
  PetscCall(PetscFree(*darcy));
  PetscFunctionReturn(0);
}
