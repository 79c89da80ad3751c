#include "patch.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CFL        0.3
#define TIME_SMALL 1e-8 /* what PDEBench's driver takes for no time at all */

struct EkCfd_ {
  MPI_Comm    comm;
  PetscMPIInt rank, size;
  EkCfdSpec   spec;
  PetscReal   dx[2]; /* of the patch's axes */
  EkPatch     patch;
  EkPatch    *all; /* first rank: everybody's patch */
  EkHalo      halo;
  double     *arena;
  double     *q, *w, *half; /* conserved, primitive, primitive at the half step */
  double     *scratch;
  double      speed[2]; /* of w, largest on this rank */
};

/* All fields start as ones, so that padding is harmless to compute with. */
static PetscErrorCode CreateFields(EkCfd cfd)
{
  const size_t size = cfd->patch.size, total = 3 * size + EkKernelScratch(&cfd->patch);
  void        *arena = NULL;

  PetscFunctionBegin;
  if (posix_memalign(&arena, 64, total * sizeof(double))) arena = NULL;
  EkCheckAlloc(arena, "the fields of the solver");
  cfd->arena = (double *)arena;
  for (size_t i = 0; i < total; i++) cfd->arena[i] = 1;
  cfd->q = cfd->arena;
  cfd->w = cfd->arena + size;
  cfd->half = cfd->arena + 2 * size;
  cfd->scratch = cfd->arena + 3 * size;
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdCreate(MPI_Comm comm, const EkCfdSpec *spec, EkCfd *out)
{
  const EkBoundary *boundary = (const EkBoundary *)EkFamilyMember(&EkBoundaryFamily, spec->boundary);
  EkCfd             cfd;

  PetscFunctionBegin;
  PetscCall(PetscNew(&cfd));
  cfd->comm = comm;
  cfd->spec = *spec;
  PetscCallMPI(MPI_Comm_rank(comm, &cfd->rank));
  PetscCallMPI(MPI_Comm_size(comm, &cfd->size));
  for (int d = 0; d < spec->dim; d++) cfd->dx[d + 2 - spec->dim] = spec->length[d] / (PetscReal)spec->n[d];
  PetscCall(EkHaloCreate(comm, spec->dim, spec->n, boundary, &cfd->patch, &cfd->halo));
  PetscCall(CreateFields(cfd));
  if (cfd->rank == 0) PetscCall(PetscMalloc1(cfd->size, &cfd->all));
  PetscCallMPI(MPI_Gather(&cfd->patch, sizeof(EkPatch), MPI_BYTE, cfd->all, sizeof(EkPatch), MPI_BYTE, 0, comm));
  *out = cfd;
  PetscFunctionReturn(0);
}

/* Cells of a patch, and where they begin on the whole grid: a piece of it without gaps */
static size_t Cells(const EkPatch *patch)
{
  return (size_t)(patch->n[0] * patch->n[1]);
}

static size_t FirstCell(const EkPatch *patch)
{
  return (size_t)(patch->dim == 1 ? patch->start : patch->start * patch->n[1]);
}

PetscErrorCode EkCfdSetState(EkCfd cfd, const double *const field[])
{
  const EkPatch *patch = &cfd->patch;
  const size_t   first = FirstCell(patch);

  PetscFunctionBegin;
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    for (PetscInt j = 0; j < patch->n[1]; j++) {
      const size_t c = first + (size_t)(i * patch->n[1] + j);
      double       kinetic = 0;

      for (int k = 2; k < patch->fields; k++) {
        kinetic += 0.5 * field[0][c] * field[k][c] * field[k][c];
        EkRow(patch, cfd->q, i, k)[j] = field[0][c] * field[k][c];
      }
      EkRow(patch, cfd->q, i, 0)[j] = field[0][c];
      EkRow(patch, cfd->q, i, 1)[j] = field[1][c] / (EK_CFD_GAMMA - 1) + kinetic;
    }
  }
  PetscFunctionReturn(0);
}

/* Largest stable step of the flow; also lets MPI answer other ranks' one-sided requests, which a lone rank would keep waiting. */
static PetscErrorCode StableStep(EkCfd cfd, PetscReal *dt)
{
  double speed[2] = {cfd->speed[0], cfd->speed[1]};
  int    waiting;

  PetscFunctionBegin;
  if (cfd->size > 1)
    PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, speed, 2, MPI_DOUBLE, MPI_MAX, cfd->comm));
  else
    PetscCallMPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, cfd->comm, &waiting, MPI_STATUS_IGNORE));
  *dt = PETSC_INFINITY;
  for (int axis = 2 - cfd->spec.dim; axis < 2; axis++) *dt = PetscMin(*dt, CFL * cfd->dx[axis] / (speed[axis] + 1e-8));
  PetscFunctionReturn(0);
}

/* Explicit substeps, each a sweep along x and one along y. The sweep along y sees what the one along x has done (PDEBench's
   ghosts are stale there), so that momentum and energy are conserved to round-off. */
static PetscErrorCode ViscousStep(EkCfd cfd, PetscReal dt)
{
  const PetscReal normal = 4 * cfd->spec.eta / 3 + cfd->spec.zeta, across = cfd->spec.eta;
  const PetscReal least = cfd->spec.dim == 1 ? cfd->dx[1] : PetscMin(cfd->dx[0], cfd->dx[1]);
  const PetscReal stable = CFL * 0.5 * least * least / (normal + 1e-8);
  PetscReal       part;

  PetscFunctionBegin;
  PetscCall(EkHaloExchange(cfd->halo, cfd->w));
  for (PetscReal t = 0; dt - t > TIME_SMALL; t += part) {
    double along[2] = {0, 0}, beside[2] = {0, 0};

    part = PetscMin(stable, dt - t);
    for (int axis = 2 - cfd->spec.dim; axis < 2; axis++) {
      along[axis] = part * normal / (cfd->dx[axis] * cfd->dx[axis]);
      beside[axis] = part * across / (cfd->dx[axis] * cfd->dx[axis]);
    }
    if (t > 0) PetscCall(EkHaloExchangeVelocities(cfd->halo, cfd->w));
    EkViscousUpdate(&cfd->patch, along, beside, (PetscBool)(dt - (t + part) <= TIME_SMALL), cfd->w, cfd->q, cfd->speed,
                    cfd->scratch);
  }
  PetscFunctionReturn(0);
}

/* Midpoint rule for the flow, then viscosity. w and speed are those of q on entry and at the end. */
static PetscErrorCode Step(EkCfd cfd, PetscReal dt)
{
  const PetscBool viscous = (PetscBool)(cfd->spec.eta > 0 || cfd->spec.zeta > 0);
  double          half[2] = {0, 0}, whole[2] = {0, 0};

  PetscFunctionBegin;
  for (int axis = 2 - cfd->spec.dim; axis < 2; axis++) {
    whole[axis] = dt / cfd->dx[axis];
    half[axis] = 0.5 * whole[axis];
  }
  PetscCall(EkHaloExchange(cfd->halo, cfd->w));
  EkEulerUpdate(&cfd->patch, half, cfd->w, cfd->q, NULL, cfd->half, NULL, cfd->scratch);
  PetscCall(EkHaloExchange(cfd->halo, cfd->half));
  cfd->speed[0] = cfd->speed[1] = 0;
  EkEulerUpdate(&cfd->patch, whole, cfd->half, cfd->q, cfd->q, cfd->w, viscous ? NULL : cfd->speed, cfd->scratch);
  if (viscous) PetscCall(ViscousStep(cfd, dt));
  PetscFunctionReturn(0);
}

/* Finite everywhere, density and pressure positive: on every rank or on none */
static PetscErrorCode CheckSound(EkCfd cfd, PetscBool *sound)
{
  const EkPatch *patch = &cfd->patch;
  int            fine = *sound;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    for (int k = 0; k < patch->fields; k++) {
      const double *f = EkRow(patch, cfd->w, i, k), least = k < 2 ? 0 : -HUGE_VAL;

      for (PetscInt j = 0; j < patch->n[1]; j++) fine &= f[j] > least && isfinite(f[j]);
    }
  }
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &fine, 1, MPI_INT, MPI_MIN, cfd->comm));
  *sound = (PetscBool)fine;
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdAdvance(EkCfd cfd, PetscReal duration, PetscInt64 *steps, PetscBool *sound)
{
  PetscReal t = 0, dt;

  PetscFunctionBegin;
  *sound = PETSC_TRUE;
  cfd->speed[0] = cfd->speed[1] = 0;
  EkPrimitives(&cfd->patch, cfd->q, cfd->w, cfd->speed);
  while (duration - t > TIME_SMALL) {
    PetscCall(StableStep(cfd, &dt));
    *sound = (PetscBool)(dt > TIME_SMALL);
    if (!*sound) break;
    dt = PetscMin(dt, duration - t);
    PetscCall(Step(cfd, dt));
    t += dt;
    ++*steps;
  }
  PetscCall(CheckSound(cfd, sound));
  PetscFunctionReturn(0);
}

static void Pack(const EkPatch *patch, double *w, int k, double *packed)
{
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    memcpy(packed + i * patch->n[1], EkRow(patch, w, i, k), (size_t)patch->n[1] * sizeof(double));
  }
}

PetscErrorCode EkCfdGetState(EkCfd cfd, double *const field[])
{
  PetscMPIInt *count = NULL, *first = NULL, n;
  double      *mine;

  PetscFunctionBegin;
  PetscCall(PetscMPIIntCast((PetscInt)Cells(&cfd->patch), &n));
  PetscCall(PetscMalloc1(n, &mine));
  if (cfd->rank == 0) PetscCall(PetscMalloc2(cfd->size, &count, cfd->size, &first));
  for (int r = 0; r < (cfd->rank ? 0 : cfd->size); r++) {
    PetscCall(PetscMPIIntCast((PetscInt)Cells(&cfd->all[r]), &count[r]));
    PetscCall(PetscMPIIntCast((PetscInt)FirstCell(&cfd->all[r]), &first[r]));
  }
  EkPrimitives(&cfd->patch, cfd->q, cfd->w, NULL);
  for (int k = 0; k < cfd->patch.fields; k++) {
    Pack(&cfd->patch, cfd->w, k, mine);
    PetscCallMPI(MPI_Gatherv(mine, n, MPI_DOUBLE, cfd->rank ? NULL : field[k], count, first, MPI_DOUBLE, 0, cfd->comm));
  }
  PetscCall(PetscFree2(count, first));
  PetscCall(PetscFree(mine));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdDestroy(EkCfd *cfd)
{
  PetscFunctionBegin;
  if (!*cfd) PetscFunctionReturn(0);
  PetscCall(EkHaloDestroy(&(*cfd)->halo));
  PetscCall(PetscFree((*cfd)->all));
  free((*cfd)->arena);
  PetscCall(PetscFree(*cfd));
  PetscFunctionReturn(0);
}
