#include "patch.h"
#include <petscdmda.h>
#include <string.h>

static PetscInt PeriodicSource(PetscInt ghost, PetscInt n)
{
  return (ghost + n) % n;
}

/* The nearest cells mirrored, all variables alike: PDEBench's `trans` */
static PetscInt TransSource(PetscInt ghost, PetscInt n)
{
  return ghost < 0 ? -1 - ghost : 2 * n - 1 - ghost;
}

static const EkBoundary boundaries[] = {
    {{"periodic", "the box repeats itself"}, PETSC_TRUE, PeriodicSource},
    {{"trans", "open: the cells next to the edge are mirrored, all variables alike"}, PETSC_FALSE, TransSource},
};
const EkFamily EkBoundaryFamily = EK_FAMILY("generate_boundary", boundaries);

struct EkHalo_ {
  EkPatch           patch;
  const EkBoundary *boundary;
  int               fields;
  PetscBool         local[2]; /* no other rank along this axis */
  DM                dm;       /* NULL on one rank: with it, a time step on 64 x 64 takes half as long again */
  Vec               ghosted;  /* the DMDA's local vector, fields interleaved */
  PetscInt          corner[2], width;
};

static void PatchOfWholeGrid(const PetscInt n[2], EkPatch *patch)
{
  for (int d = 0; d < 2; d++) {
    patch->global[d] = patch->n[d] = n[d];
    patch->start[d] = 0;
  }
}

/* The DMDA's fast axis is y. */
static PetscErrorCode CreateGrid(MPI_Comm comm, EkHalo halo)
{
  const DMBoundaryType type = halo->boundary->periodic ? DM_BOUNDARY_PERIODIC : DM_BOUNDARY_GHOSTED;
  EkPatch             *patch = &halo->patch;
  PetscInt             ranks[2];

  PetscFunctionBegin;
  PetscCall(DMDACreate2d(comm, type, type, DMDA_STENCIL_STAR, patch->global[1], patch->global[0], PETSC_DECIDE, PETSC_DECIDE,
                         halo->fields, EK_GHOST, NULL, NULL, &halo->dm));
  PetscCall(DMSetUp(halo->dm));
  PetscCall(DMCreateLocalVector(halo->dm, &halo->ghosted));
  PetscCall(DMDAGetCorners(halo->dm, &patch->start[1], &patch->start[0], NULL, &patch->n[1], &patch->n[0], NULL));
  PetscCall(DMDAGetGhostCorners(halo->dm, &halo->corner[1], &halo->corner[0], NULL, &halo->width, NULL, NULL));
  PetscCall(DMDAGetInfo(halo->dm, NULL, NULL, NULL, NULL, &ranks[1], &ranks[0], NULL, NULL, NULL, NULL, NULL, NULL, NULL));
  for (int d = 0; d < 2; d++) halo->local[d] = (PetscBool)(ranks[d] == 1);
  PetscFunctionReturn(0);
}

PetscErrorCode EkHaloCreate(MPI_Comm comm, const PetscInt n[2], const EkBoundary *boundary, int fields, EkPatch *patch,
                            EkHalo *out)
{
  PetscMPIInt size;
  EkHalo      halo;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCheck(n[0] >= EK_GHOST * size && n[1] >= EK_GHOST * size, comm, PETSC_ERR_ARG_OUTOFRANGE,
             "a grid of %lld x %lld cannot be split over %d ranks: every rank needs %d rows", (long long)n[0], (long long)n[1],
             (int)size, EK_GHOST);
  PetscCall(PetscNew(&halo));
  halo->boundary = boundary;
  halo->fields = fields;
  halo->local[0] = halo->local[1] = PETSC_TRUE;
  PatchOfWholeGrid(n, &halo->patch);
  if (size > 1) PetscCall(CreateGrid(comm, halo));
  halo->patch.stride = EK_MARGIN + EkLanesUp(halo->patch.n[1] + 2);
  halo->patch.size = (size_t)(halo->patch.n[0] + 2 * EK_GHOST) * (size_t)halo->patch.stride;
  *patch = halo->patch;
  *out = halo;
  PetscFunctionReturn(0);
}

/* Copies cells [i0, i1) x [j0, j1) of the patch to or from the DMDA's local vector */
static void Copy(EkHalo halo, PetscScalar *ghosted, double *const field[], PetscInt i0, PetscInt i1, PetscInt j0, PetscInt j1,
                 PetscBool to_dm)
{
  const PetscInt fields = halo->fields;

  for (PetscInt i = i0; i < i1; i++) {
    PetscScalar *line =
        ghosted + ((i + halo->patch.start[0] - halo->corner[0]) * halo->width + halo->patch.start[1] - halo->corner[1]) * fields;

    for (int f = 0; f < fields; f++) {
      double *row = EkRow(&halo->patch, field[f], i);

      for (PetscInt j = j0; j < j1; j++) {
        if (to_dm)
          line[j * fields + f] = row[j];
        else
          row[j] = line[j * fields + f];
      }
    }
  }
}

/* The outermost cells go to the neighbours (all cells of a row are copied where rows are few), their ghosts come back. */
static PetscErrorCode ExchangeWithOthers(EkHalo halo, double *const field[])
{
  const PetscInt *n = halo->patch.n, g = EK_GHOST;
  PetscScalar    *array;

  PetscFunctionBegin;
  PetscCall(VecGetArray(halo->ghosted, &array));
  Copy(halo, array, field, 0, g, 0, n[1], PETSC_TRUE);
  Copy(halo, array, field, n[0] - g, n[0], 0, n[1], PETSC_TRUE);
  Copy(halo, array, field, 0, n[0], 0, g, PETSC_TRUE);
  Copy(halo, array, field, 0, n[0], n[1] - g, n[1], PETSC_TRUE);
  PetscCall(VecRestoreArray(halo->ghosted, &array));
  PetscCall(DMLocalToLocalBegin(halo->dm, halo->ghosted, INSERT_VALUES, halo->ghosted));
  PetscCall(DMLocalToLocalEnd(halo->dm, halo->ghosted, INSERT_VALUES, halo->ghosted));
  PetscCall(VecGetArray(halo->ghosted, &array));
  Copy(halo, array, field, -g, 0, 0, n[1], PETSC_FALSE);
  Copy(halo, array, field, n[0], n[0] + g, 0, n[1], PETSC_FALSE);
  Copy(halo, array, field, 0, n[0], -g, 0, PETSC_FALSE);
  Copy(halo, array, field, 0, n[0], n[1], n[1] + g, PETSC_FALSE);
  PetscCall(VecRestoreArray(halo->ghosted, &array));
  PetscFunctionReturn(0);
}

/* Is the ghost layer on this side filled from this rank's own cells? */
static PetscBool FillsItself(EkHalo halo, int axis, PetscBool high)
{
  const EkPatch *patch = &halo->patch;

  if (halo->local[axis]) return PETSC_TRUE;
  if (halo->boundary->periodic) return PETSC_FALSE;
  return (PetscBool)(high ? patch->start[axis] + patch->n[axis] == patch->global[axis] : patch->start[axis] == 0);
}

static void FillSide(EkHalo halo, int axis, PetscBool high, double *const field[])
{
  const EkPatch *patch = &halo->patch;

  for (int layer = 0; layer < EK_GHOST; layer++) {
    const PetscInt ghost = high ? patch->n[axis] + layer : -1 - layer;
    const PetscInt from = halo->boundary->source(ghost + patch->start[axis], patch->global[axis]) - patch->start[axis];

    for (int f = 0; f < halo->fields; f++) {
      if (axis == 0)
        memcpy(EkRow(patch, field[f], ghost), EkRow(patch, field[f], from), (size_t)patch->n[1] * sizeof(double));
      else {
        for (PetscInt i = 0; i < patch->n[0]; i++) EkRow(patch, field[f], i)[ghost] = EkRow(patch, field[f], i)[from];
      }
    }
  }
}

PetscErrorCode EkHaloExchange(EkHalo halo, double *const field[])
{
  PetscFunctionBegin;
  if (halo->dm) PetscCall(ExchangeWithOthers(halo, field));
  for (int axis = 0; axis < 2; axis++) {
    for (int high = 0; high < 2; high++) {
      if (FillsItself(halo, axis, (PetscBool)high)) FillSide(halo, axis, (PetscBool)high, field);
    }
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkHaloDestroy(EkHalo *halo)
{
  PetscFunctionBegin;
  if (!*halo) PetscFunctionReturn(0);
  PetscCall(VecDestroy(&(*halo)->ghosted));
  PetscCall(DMDestroy(&(*halo)->dm));
  PetscCall(PetscFree(*halo));
  PetscFunctionReturn(0);
}
