#include "evenkeel/darcy.h"
#include "evenkeel/pde.h"
#include "initial.h"
#include <math.h>

#define BUMPS 5
/* PDEBench cuts the sum of the bumps at its mean over a batch of 200 samples; here at the expectation of that mean, so that a
   sample does not depend on others: 5 * integral over v in [0, 1] of g(v/2)^2, where g(s), the mean of e^(-d^2/s) over two points
   of the unit interval a distance d apart, is sqrt(pi s) erf(1/sqrt(s)) - s (1 - e^(-1/s)). */
#define CUT        1.8521453299669985
#define NU_ABOVE   1.0
#define NU_BELOW   0.1
#define LABEL_TIME 1.75 /* frame 7 of PDEBench's runs of 9 frames, 0.25 apart */

enum { TENSOR, NU }; /* datasets in the order of creation */

typedef struct {
  MPI_Comm    comm;
  PetscMPIInt rank;
  EkDarcy     darcy;
  EkPdeSet    set;
  double     *nu, *initial, *window; /* the whole grid, every rank */
  double     *kept, *grown;          /* u = kept + beta grown; first rank */
} Solver;

/* No t-coordinate. The order is PDEBench's. */
static PetscErrorCode Describe(const EkPdeSet *set, int file, EkFileSpec *spec)
{
  const PetscInt shape[] = {set->samples, 1, set->nx, set->nx}, shape_nu[] = {set->samples, set->nx, set->nx};
  const double   dx = 1.0 / (double)set->nx;

  PetscFunctionBegin;
  PetscCall(EkFileSpecAddData(spec, "tensor", 4, shape));
  PetscCall(EkFileSpecAddData(spec, "nu", 3, shape_nu));
  PetscCall(EkFileSpecAddCoordinate(spec, "x-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddCoordinate(spec, "y-coordinate", set->nx, 0.5 * dx, dx));
  PetscCall(EkFileSpecAddAttribute(spec, "beta", set->beta.v[file]));
  PetscFunctionReturn(0);
}

static PetscErrorCode Create(MPI_Comm comm, const EkPdeSet *set, void **out)
{
  const PetscInt count = set->nx * set->nx;
  Solver        *solver;

  PetscFunctionBegin;
  PetscCall(PetscNew(&solver));
  solver->comm = comm;
  solver->set = *set;
  PetscCallMPI(MPI_Comm_rank(comm, &solver->rank));
  PetscCall(EkDarcyCreate(comm, set->nx, &solver->darcy));
  PetscCall(PetscMalloc3(count, &solver->nu, count, &solver->initial, count, &solver->window));
  if (solver->rank == 0) PetscCall(PetscCalloc2(count, &solver->kept, count, &solver->grown));
  *out = solver;
  PetscFunctionReturn(0);
}

/* nu = 1 where the sum of e^(-|r - r_m|^2/s_m) over five random centres exceeds the cut, 0.1 elsewhere; s_m is in [0, 1/2) */
static PetscErrorCode DrawNu(EkRandom *stream, PetscInt n, double *nu)
{
  double *bump[2];

  PetscFunctionBegin;
  PetscCall(PetscMalloc2(n, &bump[0], n, &bump[1]));
  PetscCall(PetscArrayzero(nu, n * n));
  for (int m = 0; m < BUMPS; m++) {
    const double centre[2] = {EkUniform(stream), EkUniform(stream)}, s = 0.5 * EkUniform(stream);

    for (int d = 0; d < 2; d++) {
      for (PetscInt i = 0; i < n; i++) {
        const double distance = ((double)i + 0.5) / (double)n - centre[d];

        bump[d][i] = exp(-distance * distance / s);
      }
    }
    for (PetscInt x = 0; x < n; x++) {
      for (PetscInt y = 0; y < n; y++) nu[x * n + y] += bump[0][x] * bump[1][y];
    }
  }
  for (PetscInt c = 0; c < n * n; c++) nu[c] = nu[c] > CUT ? NU_ABOVE : NU_BELOW;
  PetscCall(PetscFree2(bump[0], bump[1]));
  PetscFunctionReturn(0);
}

/* u0 + delta f/<|f|> with random waves f, which in half of the draws fill a random rectangle only */
static PetscErrorCode DrawInitial(EkRandom *stream, PetscInt n, double *window, double *u)
{
  const double u0 = EkUniformIn(stream, 0.1, 10), delta = EkUniformIn(stream, 0.01, 0.5);
  double       sum = 0, scale;

  PetscFunctionBegin;
  PetscCall(EkRandomWaves(stream, n, u));
  for (PetscInt c = 0; c < n * n; c++) sum += fabs(u[c]);
  scale = delta * (double)(n * n) / sum;
  if (EkUniform(stream) < 0.5) {
    PetscCall(EkRandomWindow(stream, n, window));
    for (PetscInt c = 0; c < n * n; c++) u[c] *= window[c];
  }
  for (PetscInt c = 0; c < n * n; c++) u[c] = u0 + scale * u[c];
  PetscFunctionReturn(0);
}

/* u = kept + beta grown and nu into every file; returns whether all is finite */
static int Store(const Solver *solver, float *const slab[])
{
  const PetscInt count = solver->set.nx * solver->set.nx;
  int            fine = 1;

  for (int f = 0; f < solver->set.beta.n; f++) {
    float *tensor = slab[f * EK_FILE_SETS + TENSOR], *nu = slab[f * EK_FILE_SETS + NU];

    for (PetscInt c = 0; c < count; c++) {
      tensor[c] = (float)(solver->kept[c] + solver->set.beta.v[f] * solver->grown[c]);
      nu[c] = (float)solver->nu[c];
      fine &= isfinite(tensor[c]) != 0;
    }
  }
  return fine;
}

static PetscErrorCode Solve(void *self, EkRandom *stream, float *const slab[], PetscInt64 *cell_steps, PetscBool *sound)
{
  Solver        *solver = (Solver *)self;
  const PetscInt n = solver->set.nx;
  PetscInt64     iterations = 0;
  int            fine = 1;

  PetscFunctionBegin;
  PetscCall(DrawNu(stream, n, solver->nu));
  PetscCall(EkDarcySetCoefficient(solver->darcy, solver->nu));
  if (solver->set.solve == EK_SOLVE_STEADY) {
    PetscCall(EkDarcySteady(solver->darcy, NULL, solver->grown, &iterations));
  } else {
    PetscCall(DrawInitial(stream, n, solver->window, solver->initial));
    PetscCall(EkDarcyTransient(solver->darcy, LABEL_TIME, solver->initial, solver->kept, solver->grown, &iterations));
  }
  if (solver->rank == 0) fine = Store(solver, slab);
  PetscCallMPI(MPI_Bcast(&fine, 1, MPI_INT, 0, solver->comm));
  *sound = (PetscBool)fine;
  *cell_steps += iterations * n * n;
  PetscFunctionReturn(0);
}

static PetscErrorCode Destroy(void **self)
{
  Solver *solver = (Solver *)*self;

  PetscFunctionBegin;
  if (!solver) PetscFunctionReturn(0);
  PetscCall(EkDarcyDestroy(&solver->darcy));
  PetscCall(PetscFree3(solver->nu, solver->initial, solver->window));
  PetscCall(PetscFree2(solver->kept, solver->grown));
  PetscCall(PetscFree(solver));
  *self = NULL;
  PetscFunctionReturn(0);
}

const EkPdeMethods EkDarcy2dMethods = {Describe, Create, Solve, Destroy};
