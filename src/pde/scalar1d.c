#include "scalar1d.h"
#include "evenkeel/mesh.h"
#include "muscl.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define MOST_STEPS  1e9 /* in one call of EkRingAdvance */
#define PROBE_STEPS 64  /* steps between two looks at other ranks' requests: a few hundred microseconds */

/* Rows of whole vectors, as in patch.h: no cell goes through a remainder loop. Values behind the last ghost are padding. */
struct EkRing_ {
  MPI_Comm     comm;
  PetscMPIInt  rank, size;
  PetscInt     start, n;      /* cells [start, start + n) are this rank's */
  PetscMPIInt *count, *first; /* of every rank */
  double      *arena;
  double      *u, *half;          /* cells -EK_GHOST .. n + EK_GHOST - 1; half: at the half step */
  double      *low, *high, *flux; /* low, high: from cell -1; flux: from the face below cell 0 */
  PetscInt64   steps;
};

/* ---- ring -------------------------------------------------------------------------------------------------- */

/* All rows start as ones, so that padding is harmless to compute with. */
static PetscErrorCode CreateRows(EkRing ring)
{
  const size_t length = (size_t)(EK_MARGIN + EkLanesUp(ring->n + 2) + EK_LANES);
  double     **row[] = {&ring->u, &ring->half, &ring->low, &ring->high, &ring->flux};
  const int    rows = sizeof(row) / sizeof(row[0]);
  void        *arena = NULL;

  PetscFunctionBegin;
  if (posix_memalign(&arena, 64, (size_t)rows * length * sizeof(double))) arena = NULL;
  EkCheckAlloc(arena, "the cells of the solver");
  ring->arena = (double *)arena;
  for (size_t i = 0; i < (size_t)rows * length; i++) ring->arena[i] = 1;
  for (int r = 0; r < rows; r++) *row[r] = ring->arena + (size_t)r * length + EK_MARGIN;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRingCreate(MPI_Comm comm, PetscInt nx, EkRing *out)
{
  PetscMPIInt rank, size;
  EkRing      ring;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCheck(nx >= EK_GHOST * size, comm, PETSC_ERR_ARG_OUTOFRANGE,
             "a line of %lld cells cannot be split over %d ranks: every rank needs %d", (long long)nx, (int)size, EK_GHOST);
  PetscCall(PetscNew(&ring));
  ring->comm = comm;
  ring->rank = rank;
  ring->size = size;
  PetscCall(PetscMalloc2(size, &ring->count, size, &ring->first));
  PetscCall(EkSliceCounts(nx, size, nx, 1, ring->count, ring->first));
  ring->start = ring->first[rank];
  ring->n = ring->count[rank];
  PetscCall(CreateRows(ring));
  *out = ring;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRingSetState(EkRing ring, const double *whole)
{
  PetscFunctionBegin;
  PetscCall(PetscArraycpy(ring->u, whole + ring->start, ring->n));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRingGetState(EkRing ring, double *whole)
{
  PetscFunctionBegin;
  if (ring->size == 1)
    PetscCall(PetscArraycpy(whole, ring->u, ring->n));
  else
    PetscCallMPI(
        MPI_Gatherv(ring->u, (PetscMPIInt)ring->n, MPI_DOUBLE, whole, ring->count, ring->first, MPI_DOUBLE, 0, ring->comm));
  PetscFunctionReturn(0);
}

PetscErrorCode EkRingDestroy(EkRing *ring)
{
  PetscFunctionBegin;
  if (!*ring) PetscFunctionReturn(0);
  PetscCall(PetscFree2((*ring)->count, (*ring)->first));
  free((*ring)->arena);
  PetscCall(PetscFree(*ring));
  PetscFunctionReturn(0);
}

/* ---- a step ------------------------------------------------------------------------------------------------ */

/* Fills the ghosts from the neighbours' cells */
static PetscErrorCode Exchange(EkRing ring, double *u)
{
  const PetscInt    n = ring->n, g = EK_GHOST;
  const PetscMPIInt next = (ring->rank + 1) % ring->size, before = (ring->rank + ring->size - 1) % ring->size;

  PetscFunctionBegin;
  if (ring->size == 1) {
    for (PetscInt i = 0; i < g; i++) {
      u[i - g] = u[n + i - g];
      u[n + i] = u[i];
    }
    PetscFunctionReturn(0);
  }
  PetscCallMPI(MPI_Sendrecv(u + n - g, EK_GHOST, MPI_DOUBLE, next, 0, u - g, EK_GHOST, MPI_DOUBLE, before, 0, ring->comm,
                            MPI_STATUS_IGNORE));
  PetscCallMPI(
      MPI_Sendrecv(u, EK_GHOST, MPI_DOUBLE, before, 1, u + n, EK_GHOST, MPI_DOUBLE, next, 1, ring->comm, MPI_STATUS_IGNORE));
  PetscFunctionReturn(0);
}

/* out = u - ratio (flux[1..] - flux[0..]); out may be u */
static void Diverge(PetscInt n, double ratio, const double *restrict flux, const double *u, double *out)
{
  n &= ~(PetscInt)(EK_LANES - 1);
#pragma omp simd
  for (PetscInt i = 0; i < n; i++) out[i] = u[i] - ratio * (flux[i + 1] - flux[i]);
}

/* out = u - dt F_x(at) */
static PetscErrorCode Update(EkRing ring, const EkScalarLaw *law, double dt, double *at, const double *u, double *out)
{
  PetscFunctionBegin;
  PetscCall(Exchange(ring, at));
  EkReconstruct(EkLanesUp(ring->n + 2), at - 2, at - 1, at, ring->low, ring->high);
  law->flux(law, EkLanesUp(ring->n + 1), ring->high, ring->low + 1, at - 1, at, ring->flux);
  Diverge(EkLanesUp(ring->n), dt / law->dx, ring->flux, u, out);
  PetscFunctionReturn(0);
}

static double LargestOf(PetscInt n, const double *u)
{
  double most = 0;

#pragma omp simd reduction(max : most)
  for (PetscInt i = 0; i < n; i++) most = fabs(u[i]) > most ? fabs(u[i]) : most;
  return most;
}

static PetscErrorCode StableStep(EkRing ring, const EkScalarLaw *law, double *dt)
{
  double most = 0;

  PetscFunctionBegin;
  if (!law->linear) {
    most = LargestOf(ring->n, ring->u);
    if (ring->size > 1) PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_DOUBLE, MPI_MAX, ring->comm));
  }
  *dt = law->stable(law, most);
  PetscFunctionReturn(0);
}

/* Lets MPI answer other ranks' one-sided requests, which a lone rank would keep waiting. */
static PetscErrorCode Probe(EkRing ring)
{
  int waiting;

  PetscFunctionBegin;
  if (ring->size == 1 && ring->steps % PROBE_STEPS == 0)
    PetscCallMPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, ring->comm, &waiting, MPI_STATUS_IGNORE));
  ring->steps++;
  PetscFunctionReturn(0);
}

/* On every rank or on none */
static PetscErrorCode CheckSound(EkRing ring, PetscBool *sound)
{
  int fine = *sound;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < ring->n; i++) fine &= fabs(ring->u[i]) <= FLT_MAX;
  if (ring->size > 1) PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &fine, 1, MPI_INT, MPI_MIN, ring->comm));
  *sound = (PetscBool)fine;
  PetscFunctionReturn(0);
}

PetscErrorCode EkRingAdvance(EkRing ring, const EkScalarLaw *law, double duration, PetscInt64 *steps, PetscBool *sound)
{
  double t = 0;

  PetscFunctionBegin;
  *sound = PETSC_TRUE;
  while (t < duration) {
    double dt, left;

    PetscCall(StableStep(ring, law, &dt));
    *sound = (PetscBool)(duration / dt < MOST_STEPS);
    if (!*sound) break;
    left = fmax(1, ceil((duration - t) / dt - 1e-9));
    dt = (duration - t) / left;
    PetscCall(Update(ring, law, 0.5 * dt, ring->u, ring->u, ring->half));
    PetscCall(Update(ring, law, dt, ring->half, ring->u, ring->u));
    t = left > 1 ? t + dt : duration;
    ++*steps;
    PetscCall(Probe(ring));
  }
  PetscCall(CheckSound(ring, sound));
  PetscFunctionReturn(0);
}

/* ---- methods ----------------------------------------------------------------------------------------------- */

typedef struct {
  EkPdeSet    set;
  int         nfiles;
  EkScalarLaw law[EK_REALS_MAX];
  EkRing      ring;
  double     *initial, *state; /* the whole line */
} Solver;

PetscErrorCode EkScalarDescribe(const EkPdeSet *set, EkFileSpec *spec)
{
  const PetscInt shape[] = {set->samples, set->frames, set->nx};
  const double   dx = 1.0 / (double)set->nx;

  PetscFunctionBegin;
  PetscCall(EkFileSpecAddData(spec, "tensor", 3, shape));
  PetscCall(EkFileSpecAddCoordinate(spec, "x-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "t-coordinate", set->frames + 1, 0, set->dt_save));
  PetscFunctionReturn(0);
}

PetscErrorCode EkScalarCreate(MPI_Comm comm, const EkPdeSet *set, int nfiles, const EkScalarLaw law[], void **out)
{
  Solver *solver;

  PetscFunctionBegin;
  PetscCall(PetscNew(&solver));
  solver->set = *set;
  solver->nfiles = nfiles;
  PetscCall(PetscArraycpy(solver->law, law, nfiles));
  PetscCall(EkRingCreate(comm, set->nx, &solver->ring));
  PetscCall(PetscMalloc2(set->nx, &solver->initial, set->nx, &solver->state));
  *out = solver;
  PetscFunctionReturn(0);
}

/* All frames of one file; slab: NULL but on the first rank */
static PetscErrorCode SolveFile(Solver *solver, const EkScalarLaw *law, float *slab, PetscInt64 *steps, PetscBool *sound)
{
  const PetscInt nx = solver->set.nx;

  PetscFunctionBegin;
  PetscCall(EkRingSetState(solver->ring, solver->initial));
  *sound = PETSC_TRUE;
  for (PetscInt frame = 0; *sound && frame < solver->set.frames; frame++) {
    PetscCall(EkRingAdvance(solver->ring, law, frame ? solver->set.dt_save : 0, steps, sound));
    PetscCall(EkRingGetState(solver->ring, solver->state));
    for (PetscInt i = 0; slab && i < nx; i++) slab[(size_t)frame * (size_t)nx + (size_t)i] = (float)solver->state[i];
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkScalarSolve(void *self, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound)
{
  Solver          *solver = (Solver *)self;
  const EkInitial *initial = (const EkInitial *)EkFamilyMember(&EkInitialFamily, solver->set.initial);
  PetscInt64       steps = 0;

  PetscFunctionBegin;
  PetscCall(initial->draw(&solver->set, stream, &solver->initial));
  *sound = PETSC_TRUE;
  for (int f = 0; *sound && f < solver->nfiles; f++)
    PetscCall(SolveFile(solver, &solver->law[f], slab ? slab[f * EK_FILE_SETS] : NULL, &steps, sound));
  *cell_steps += steps * solver->set.nx;
  PetscFunctionReturn(0);
}

PetscErrorCode EkScalarDestroy(void **self)
{
  Solver *solver = (Solver *)*self;

  PetscFunctionBegin;
  if (!solver) PetscFunctionReturn(0);
  PetscCall(EkRingDestroy(&solver->ring));
  PetscCall(PetscFree2(solver->initial, solver->state));
  PetscCall(PetscFree(solver));
  *self = NULL;
  PetscFunctionReturn(0);
}
