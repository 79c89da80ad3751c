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
  PetscReal   dx[2];
  EkPatch     patch;
  EkPatch    *all;         /* first rank: everybody's patch */
  EkHalo      halo;        /* of the four primitive fields */
  EkHalo      halo_moving; /* of the two velocities */
  double     *arena;
  double     *q[4], *half[4], *w[4]; /* conserved, at the half step, primitive */
  double     *inverse, *scratch;     /* 1/density */
};

/* All fields start as ones, so that padding is harmless to compute with. */
static PetscErrorCode CreateFields(EkCfd cfd)
{
  const size_t size = cfd->patch.size;
  const size_t total = 13 * size + EkKernelScratch(&cfd->patch);
  void        *arena = NULL;

  PetscFunctionBegin;
  if (posix_memalign(&arena, 64, total * sizeof(double))) arena = NULL;
  EkCheckAlloc(arena, "the fields of the solver");
  cfd->arena = (double *)arena;
  for (size_t i = 0; i < total; i++) cfd->arena[i] = 1;
  for (int k = 0; k < 4; k++) {
    cfd->q[k] = cfd->arena + (size_t)k * size;
    cfd->half[k] = cfd->arena + (size_t)(4 + k) * size;
    cfd->w[k] = cfd->arena + (size_t)(8 + k) * size;
  }
  cfd->inverse = cfd->arena + 12 * size;
  cfd->scratch = cfd->arena + 13 * size;
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
  for (int d = 0; d < 2; d++) cfd->dx[d] = spec->length[d] / (PetscReal)spec->n[d];
  PetscCall(EkHaloCreate(comm, spec->n, boundary, 4, &cfd->patch, &cfd->halo));
  PetscCall(EkHaloCreate(comm, spec->n, boundary, 2, &cfd->patch, &cfd->halo_moving));
  PetscCall(CreateFields(cfd));
  if (cfd->rank == 0) PetscCall(PetscMalloc1(cfd->size, &cfd->all));
  PetscCallMPI(MPI_Gather(&cfd->patch, sizeof(EkPatch), MPI_BYTE, cfd->all, sizeof(EkPatch), MPI_BYTE, 0, comm));
  *out = cfd;
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdSetState(EkCfd cfd, const double *const field[EK_CFD_FIELDS])
{
  const EkPatch *patch = &cfd->patch;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    const PetscInt from = (i + patch->start[0]) * patch->global[1] + patch->start[1];

    for (PetscInt j = 0; j < patch->n[1]; j++) {
      const double r = field[0][from + j], p = field[1][from + j], u = field[2][from + j], v = field[3][from + j];

      EkRow(patch, cfd->q[0], i)[j] = r;
      EkRow(patch, cfd->q[1], i)[j] = r * u;
      EkRow(patch, cfd->q[2], i)[j] = r * v;
      EkRow(patch, cfd->q[3], i)[j] = p / (EK_CFD_GAMMA - 1) + 0.5 * r * (u * u + v * v);
    }
  }
  PetscFunctionReturn(0);
}

/* Largest stable step of the flow; also lets MPI answer other ranks' one-sided requests, which a lone rank would keep waiting. */
static PetscErrorCode StableStep(EkCfd cfd, PetscReal *dt)
{
  double speed[2];
  int    waiting;

  PetscFunctionBegin;
  EkSpeeds(&cfd->patch, cfd->w, speed);
  if (cfd->size > 1)
    PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, speed, 2, MPI_DOUBLE, MPI_MAX, cfd->comm));
  else
    PetscCallMPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, cfd->comm, &waiting, MPI_STATUS_IGNORE));
  *dt = CFL * PetscMin(cfd->dx[0] / (speed[0] + 1e-8), cfd->dx[1] / (speed[1] + 1e-8));
  PetscFunctionReturn(0);
}

/* Explicit substeps, each a sweep along x and one along y. Ghosts are filled before every sweep (PDEBench's are stale in the
   second), so that momentum and energy are conserved to round-off. */
static PetscErrorCode ViscousStep(EkCfd cfd, PetscReal dt)
{
  const PetscReal normal = 4 * cfd->spec.eta / 3 + cfd->spec.zeta, least = PetscMin(cfd->dx[0], cfd->dx[1]);
  const PetscReal stable = CFL * 0.5 * least * least / (normal + 1e-8);
  PetscReal       part;

  PetscFunctionBegin;
  if (cfd->spec.eta == 0 && cfd->spec.zeta == 0) PetscFunctionReturn(0);
  EkVelocities(&cfd->patch, cfd->q, cfd->w, cfd->inverse);
  PetscCall(EkHaloExchange(cfd->halo, cfd->w));
  for (PetscReal t = 0; dt - t > TIME_SMALL; t += part) {
    part = PetscMin(stable, dt - t);
    for (int axis = 0; axis < 2; axis++) {
      const double scale = part / (cfd->dx[axis] * cfd->dx[axis]);

      if (t > 0 || axis > 0) PetscCall(EkHaloExchange(cfd->halo_moving, cfd->w + 1));
      EkViscousSweep(&cfd->patch, axis, scale * normal, scale * cfd->spec.eta, cfd->w, cfd->inverse, cfd->q, cfd->scratch);
    }
  }
  PetscFunctionReturn(0);
}

/* Midpoint rule for the flow, then viscosity. cfd->w holds the primitives of cfd->q, without ghosts, on entry. */
static PetscErrorCode Step(EkCfd cfd, PetscReal dt)
{
  const double half[2] = {0.5 * dt / cfd->dx[0], 0.5 * dt / cfd->dx[1]}, whole[2] = {dt / cfd->dx[0], dt / cfd->dx[1]};

  PetscFunctionBegin;
  PetscCall(EkHaloExchange(cfd->halo, cfd->w));
  EkEulerUpdate(&cfd->patch, half, cfd->w, cfd->q, cfd->half, cfd->scratch);
  EkPrimitives(&cfd->patch, cfd->half, cfd->w);
  PetscCall(EkHaloExchange(cfd->halo, cfd->w));
  EkEulerUpdate(&cfd->patch, whole, cfd->w, cfd->q, cfd->q, cfd->scratch);
  PetscCall(ViscousStep(cfd, dt));
  PetscFunctionReturn(0);
}

/* Finite everywhere, density and pressure positive: on every rank or on none */
static PetscErrorCode CheckSound(EkCfd cfd, PetscBool *sound)
{
  const EkPatch *patch = &cfd->patch;
  int            fine = *sound;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    const double *r = EkRow(patch, cfd->w[0], i), *u = EkRow(patch, cfd->w[1], i), *v = EkRow(patch, cfd->w[2], i),
                 *p = EkRow(patch, cfd->w[3], i);

    for (PetscInt j = 0; j < patch->n[1]; j++)
      fine &= r[j] > 0 && p[j] > 0 && isfinite(r[j]) && isfinite(p[j]) && isfinite(u[j]) && isfinite(v[j]);
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
  EkPrimitives(&cfd->patch, cfd->q, cfd->w);
  while (duration - t > TIME_SMALL) {
    PetscCall(StableStep(cfd, &dt));
    *sound = (PetscBool)(dt > TIME_SMALL);
    if (!*sound) break;
    dt = PetscMin(dt, duration - t);
    PetscCall(Step(cfd, dt));
    EkPrimitives(&cfd->patch, cfd->q, cfd->w);
    t += dt;
    ++*steps;
  }
  PetscCall(CheckSound(cfd, sound));
  PetscFunctionReturn(0);
}

/* One patch into (or as) a packed array of n[0] x n[1] values */
static void Pack(const EkPatch *patch, double *field, double *packed)
{
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    memcpy(packed + i * patch->n[1], EkRow(patch, field, i), (size_t)patch->n[1] * sizeof(double));
  }
}

static void Unpack(const EkPatch *patch, const double *packed, double *whole)
{
  for (PetscInt i = 0; i < patch->n[0]; i++) {
    memcpy(whole + (i + patch->start[0]) * patch->global[1] + patch->start[1], packed + i * patch->n[1],
           (size_t)patch->n[1] * sizeof(double));
  }
}

static PetscErrorCode GatherField(EkCfd cfd, double *field, double *whole, double *mine, double *everyone)
{
  PetscMPIInt *count = NULL, *offset = NULL, sum = 0, n;

  PetscFunctionBegin;
  PetscCall(PetscMPIIntCast(cfd->patch.n[0] * cfd->patch.n[1], &n));
  if (cfd->rank == 0) {
    PetscCall(PetscMalloc2(cfd->size, &count, cfd->size, &offset));
    for (int r = 0; r < cfd->size; r++) {
      PetscCall(PetscMPIIntCast(cfd->all[r].n[0] * cfd->all[r].n[1], &count[r]));
      offset[r] = sum;
      sum += count[r];
    }
  }
  Pack(&cfd->patch, field, mine);
  PetscCallMPI(MPI_Gatherv(mine, n, MPI_DOUBLE, everyone, count, offset, MPI_DOUBLE, 0, cfd->comm));
  if (cfd->rank == 0) {
    for (int r = 0; r < cfd->size; r++) Unpack(&cfd->all[r], everyone + offset[r], whole);
    PetscCall(PetscFree2(count, offset));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdGetState(EkCfd cfd, double *const field[EK_CFD_FIELDS])
{
  static const int order[EK_CFD_FIELDS] = {0, 3, 1, 2}; /* the file has the pressure second */
  const PetscInt   n = cfd->patch.n[0] * cfd->patch.n[1], all = cfd->rank ? 0 : cfd->spec.n[0] * cfd->spec.n[1];
  double          *mine = NULL, *everyone = NULL;

  PetscFunctionBegin;
  EkPrimitives(&cfd->patch, cfd->q, cfd->w);
  if (cfd->size == 1) {
    for (int f = 0; f < EK_CFD_FIELDS; f++) Pack(&cfd->patch, cfd->w[order[f]], field[f]);
    PetscFunctionReturn(0);
  }
  PetscCall(PetscMalloc2(n, &mine, all, &everyone));
  for (int f = 0; f < EK_CFD_FIELDS; f++)
    PetscCall(GatherField(cfd, cfd->w[order[f]], cfd->rank ? NULL : field[f], mine, everyone));
  PetscCall(PetscFree2(mine, everyone));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCfdDestroy(EkCfd *cfd)
{
  PetscFunctionBegin;
  if (!*cfd) PetscFunctionReturn(0);
  PetscCall(EkHaloDestroy(&(*cfd)->halo));
  PetscCall(EkHaloDestroy(&(*cfd)->halo_moving));
  PetscCall(PetscFree((*cfd)->all));
  free((*cfd)->arena);
  PetscCall(PetscFree(*cfd));
  PetscFunctionReturn(0);
}
