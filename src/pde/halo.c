#include "patch.h"
#include <petscsf.h>

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
    {{"periodic", "the box repeats itself"}, {PeriodicSource, PeriodicSource}},
    {{"trans", "open: the cells next to the edge are mirrored, all variables alike"}, {TransSource, TransSource}},
    {{"periodic_x", "repeats itself along x, open along y (PDEBench's KHI)"}, {PeriodicSource, TransSource}},
};
const EkFamily EkBoundaryFamily = EK_FAMILY("generate_boundary", boundaries);

/* Star forests tell which rank's cells the ghosts along x are copies of; copies inside a rank are theirs, too. */
struct EkHalo_ {
  EkPatch      patch;
  PetscBool    needed; /* not on one rank in one dimension: there the ghosts are ends of the row */
  MPI_Datatype unit;
  PetscSF      all, velocities;
};

/* Place, in units, of field k in row (in one dimension: cell) number i, counted on the rank that has it */
static PetscInt Place(const EkPatch *patch, PetscInt i, int k)
{
  return patch->dim == 1 ? k * (PetscInt)patch->length + EK_MARGIN + i : (i + patch->ghost_rows) * patch->fields + k;
}

/* Fields [first, fields) of `layers` ghosts on each side. A unit is a double or a row of one field. */
static PetscErrorCode CreateForest(PetscLayout layout, const EkPatch *patch, const EkBoundary *boundary, int first, int layers,
                                   PetscSF *forest)
{
  const PetscInt n = patch->n[patch->dim == 1], unit = patch->dim == 1 ? 1 : (PetscInt)patch->length;
  PetscInt       count = 0, *leaf;
  PetscSFNode   *root;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(2 * layers * patch->fields, &leaf));
  PetscCall(PetscMalloc1(2 * layers * patch->fields, &root));
  for (PetscInt ghost = -layers; ghost < n + layers; ghost = ghost == -1 ? n : ghost + 1) {
    PetscInt    from = ghost + patch->start, there;
    PetscMPIInt owner;

    if (from < 0 || from >= layout->N) from = boundary->source[0](from, layout->N);
    PetscCall(PetscLayoutFindOwnerIndex(layout, from, &owner, &there));
    for (int k = first; k < patch->fields; k++, count++) {
      leaf[count] = Place(patch, ghost, k);
      root[count].rank = owner;
      root[count].index = Place(patch, there, k);
    }
  }
  PetscCall(PetscSFCreate(layout->comm, forest));
  PetscCall(PetscSFSetGraph(*forest, (PetscInt)patch->size / unit, count, leaf, PETSC_OWN_POINTER, root, PETSC_OWN_POINTER));
  PetscCall(PetscSFSetUp(*forest));
  PetscFunctionReturn(0);
}

/* The length of rows is that of the largest share on every rank, so that ranks know each other's places. */
static void ShapePatch(const PetscInt n[2], const EkBoundary *boundary, PetscLayout layout, EkPatch *patch)
{
  const PetscInt share = layout->rend - layout->rstart, most = (layout->N + layout->size - 1) / layout->size;
  const PetscInt cells = patch->dim == 1 ? n[0] : n[1];

  patch->fields = patch->dim + 2;
  patch->start = layout->rstart;
  patch->n[0] = patch->dim == 1 ? 1 : share;
  patch->n[1] = patch->dim == 1 ? share : n[1];
  patch->ghost_rows = patch->dim == 1 ? 0 : EK_GHOST;
  patch->length = EK_MARGIN + EkLanesUp((patch->dim == 1 ? most : n[1]) + EK_GHOST);
  patch->stride = patch->fields * patch->length;
  patch->size = (size_t)((patch->n[0] + 2 * patch->ghost_rows) * patch->stride);
  patch->ends = (PetscBool)(patch->dim == 2 || layout->size == 1);
  for (int layer = 0; layer < EK_GHOST; layer++) {
    patch->end[0][layer] = boundary->source[patch->dim - 1](-1 - layer, cells);
    patch->end[1][layer] = boundary->source[patch->dim - 1](cells + layer, cells);
  }
}

PetscErrorCode EkHaloCreate(MPI_Comm comm, int dim, const PetscInt n[2], const EkBoundary *boundary, EkPatch *patch, EkHalo *out)
{
  PetscLayout layout;
  PetscMPIInt size, unit;
  EkHalo      halo;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_size(comm, &size));
  PetscCheck(n[0] >= EK_GHOST * size && n[dim - 1] >= EK_GHOST, comm, PETSC_ERR_ARG_OUTOFRANGE,
             "a grid of %lld cells along x cannot be split over %d ranks: every rank needs %d", (long long)n[0], (int)size,
             EK_GHOST);
  PetscCall(PetscNew(&halo));
  PetscCall(PetscLayoutCreateFromSizes(comm, PETSC_DECIDE, n[0], 1, &layout));
  patch->dim = dim;
  ShapePatch(n, boundary, layout, patch);
  halo->patch = *patch;
  halo->needed = (PetscBool)(dim == 2 || !patch->ends);
  PetscCall(PetscMPIIntCast(dim == 1 ? 1 : (PetscInt)patch->length, &unit));
  PetscCallMPI(MPI_Type_contiguous(unit, MPI_DOUBLE, &halo->unit));
  PetscCallMPI(MPI_Type_commit(&halo->unit));
  PetscCall(CreateForest(layout, patch, boundary, 0, EK_GHOST, &halo->all));
  PetscCall(CreateForest(layout, patch, boundary, 2, 1, &halo->velocities));
  PetscCall(PetscLayoutDestroy(&layout));
  *out = halo;
  PetscFunctionReturn(0);
}

static PetscErrorCode Exchange(EkHalo halo, PetscSF forest, double *w)
{
  PetscFunctionBegin;
  if (!halo->needed) PetscFunctionReturn(0);
  PetscCall(PetscSFBcastBegin(forest, halo->unit, w, w, MPI_REPLACE));
  PetscCall(PetscSFBcastEnd(forest, halo->unit, w, w, MPI_REPLACE));
  PetscFunctionReturn(0);
}

PetscErrorCode EkHaloExchange(EkHalo halo, double *w)
{
  PetscFunctionBegin;
  PetscCall(Exchange(halo, halo->all, w));
  PetscFunctionReturn(0);
}

PetscErrorCode EkHaloExchangeVelocities(EkHalo halo, double *w)
{
  PetscFunctionBegin;
  PetscCall(Exchange(halo, halo->velocities, w));
  PetscFunctionReturn(0);
}

PetscErrorCode EkHaloDestroy(EkHalo *halo)
{
  PetscFunctionBegin;
  if (!*halo) PetscFunctionReturn(0);
  PetscCall(PetscSFDestroy(&(*halo)->all));
  PetscCall(PetscSFDestroy(&(*halo)->velocities));
  PetscCallMPI(MPI_Type_free(&(*halo)->unit));
  PetscCall(PetscFree(*halo));
  PetscFunctionReturn(0);
}

void EkFillEnds(const EkPatch *patch, double *data, PetscInt i, int first)
{
  if (!patch->ends) return;
  for (int k = first; k < patch->fields; k++) {
    double *row = EkRow(patch, data, i, k);

    for (int layer = 0; layer < EK_GHOST; layer++) {
      row[-1 - layer] = row[patch->end[0][layer]];
      row[patch->n[1] + layer] = row[patch->end[1][layer]];
    }
  }
}
