#include "multigrid.h"

#define MAX_LEVELS 20

/* One grid. Coarse points are every other point of the finer grid, so that they stay on the ranks they were on. */
typedef struct {
  DM        dm;
  PetscInt  n;
  PetscReal wall, *x; /* of point i along either axis, in cells of the finest grid; the walls are at -1 and `wall` */
} Level;

/* Points 1, 3, ... of the finer grid. The last is left out where it would crowd the wall. */
static PetscErrorCode CoarsenAxis(const Level *fine, Level *coarse)
{
  PetscFunctionBegin;
  coarse->n = fine->n / 2;
  coarse->wall = fine->wall;
  PetscCall(PetscMalloc1(coarse->n, &coarse->x));
  for (PetscInt i = 0; i < coarse->n; i++) coarse->x[i] = fine->x[2 * i + 1];
  if (coarse->n > 1 && coarse->wall - coarse->x[coarse->n - 1] < 0.5 * (coarse->x[0] + 1)) coarse->n--;
  PetscFunctionReturn(0);
}

/* How many coarse points each rank along an axis keeps; *enough: at least one each */
static void CoarsenRanks(PetscInt ranks, const PetscInt fine[], PetscInt n, PetscInt coarse[], PetscBool *enough)
{
  PetscInt start = 0;

  for (PetscInt r = 0; r < ranks; r++) {
    const PetscInt end = start + fine[r];

    coarse[r] = PetscMin(end / 2, n) - start / 2;
    if (coarse[r] < 1) *enough = PETSC_FALSE;
    start = end;
  }
}

static PetscErrorCode CreateCoarse(const Level *fine, Level *coarse, PetscBool *created)
{
  const PetscInt *of[2];
  PetscInt        ranks[2], *part[2];

  PetscFunctionBegin;
  *created = (PetscBool)(fine->n > 4);
  if (!*created) PetscFunctionReturn(0);
  PetscCall(DMDAGetInfo(fine->dm, NULL, NULL, NULL, NULL, &ranks[0], &ranks[1], NULL, NULL, NULL, NULL, NULL, NULL, NULL));
  PetscCall(DMDAGetOwnershipRanges(fine->dm, &of[0], &of[1], NULL));
  PetscCall(PetscMalloc2(ranks[0], &part[0], ranks[1], &part[1]));
  PetscCall(CoarsenAxis(fine, coarse));
  for (int d = 0; d < 2; d++) CoarsenRanks(ranks[d], of[d], coarse->n, part[d], created);
  if (*created) {
    PetscCall(DMDACreate2d(PetscObjectComm((PetscObject)fine->dm), DM_BOUNDARY_NONE, DM_BOUNDARY_NONE, DMDA_STENCIL_BOX,
                           coarse->n, coarse->n, ranks[0], ranks[1], 1, 1, part[0], part[1], &coarse->dm));
    PetscCall(DMSetUp(coarse->dm));
  } else
    PetscCall(PetscFree(coarse->x));
  PetscCall(PetscFree2(part[0], part[1]));
  PetscFunctionReturn(0);
}

/* Linear between the two coarse points, or the wall, around fine point i: coarse points left and left + 1 */
static PetscInt Weigh(const Level *fine, const Level *coarse, PetscInt i, PetscReal weight[2])
{
  const PetscInt  left = PetscMin((i + 1) / 2 - 1, coarse->n - 1);
  const PetscReal a = left < 0 ? -1 : coarse->x[left], b = left + 1 < coarse->n ? coarse->x[left + 1] : coarse->wall;

  weight[1] = (fine->x[i] - a) / (b - a);
  weight[0] = 1 - weight[1];
  return left;
}

/* Bilinear, the row of fine point (i, j), i along the DMDA's fast axis. cols: the coarse DMDA's points with its ghosts. */
static PetscErrorCode SetRow(const Level *fine, const Level *coarse, const DMDALocalInfo *at, const PetscInt cols[], PetscInt row,
                             PetscInt i, PetscInt j, Mat P)
{
  PetscReal      wi[2], wj[2], value[4];
  PetscInt       col[4], n = 0;
  const PetscInt left = Weigh(fine, coarse, i, wi), low = Weigh(fine, coarse, j, wj);

  PetscFunctionBegin;
  for (PetscInt b = 0; b < 2; b++) {
    for (PetscInt a = 0; a < 2; a++) {
      const PetscInt ci = left + a, cj = low + b;

      if (ci < 0 || cj < 0 || ci >= coarse->n || cj >= coarse->n || wi[a] * wj[b] == 0) continue;
      col[n] = cols[(cj - at->gys) * at->gxm + ci - at->gxs];
      value[n++] = wi[a] * wj[b];
    }
  }
  PetscCall(MatSetValues(P, 1, &row, n, col, value, INSERT_VALUES));
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateInterpolation(const Level *fine, const Level *coarse, Mat *P)
{
  ISLocalToGlobalMapping map;
  const PetscInt        *cols;
  DMDALocalInfo          f, c;
  PetscInt               row;

  PetscFunctionBegin;
  PetscCall(DMDAGetLocalInfo(fine->dm, &f));
  PetscCall(DMDAGetLocalInfo(coarse->dm, &c));
  PetscCall(MatCreateAIJ(PetscObjectComm((PetscObject)fine->dm), f.xm * f.ym, c.xm * c.ym, PETSC_DETERMINE, PETSC_DETERMINE, 4,
                         NULL, 3, NULL, P));
  PetscCall(MatGetOwnershipRange(*P, &row, NULL));
  PetscCall(DMGetLocalToGlobalMapping(coarse->dm, &map));
  PetscCall(ISLocalToGlobalMappingGetIndices(map, &cols));
  for (PetscInt j = f.ys; j < f.ys + f.ym; j++) {
    for (PetscInt i = f.xs; i < f.xs + f.xm; i++) PetscCall(SetRow(fine, coarse, &c, cols, row++, i, j, *P));
  }
  PetscCall(ISLocalToGlobalMappingRestoreIndices(map, &cols));
  PetscCall(MatAssemblyBegin(*P, MAT_FINAL_ASSEMBLY));
  PetscCall(MatAssemblyEnd(*P, MAT_FINAL_ASSEMBLY));
  PetscFunctionReturn(0);
}

static PetscErrorCode SetSmoother(KSP ksp, MatSORType sweep)
{
  PC pc;

  PetscFunctionBegin;
  PetscCall(KSPSetType(ksp, KSPRICHARDSON));
  PetscCall(KSPSetNormType(ksp, KSP_NORM_NONE));
  PetscCall(KSPSetTolerances(ksp, PETSC_DEFAULT, PETSC_DEFAULT, PETSC_DEFAULT, 1));
  PetscCall(KSPGetPC(ksp, &pc));
  PetscCall(PCSetType(pc, PCSOR));
  PetscCall(PCSORSetSymmetric(pc, sweep));
  PetscFunctionReturn(0);
}

/* The coarsest grid has a few points a rank: every rank solves it whole. */
static PetscErrorCode SetCoarsest(PC pc)
{
  KSP ksp;
  PC  direct;

  PetscFunctionBegin;
  PetscCall(PCMGGetCoarseSolve(pc, &ksp));
  PetscCall(KSPSetType(ksp, KSPPREONLY));
  PetscCall(KSPGetPC(ksp, &direct));
  PetscCall(PCSetType(direct, PCREDUNDANT));
  PetscFunctionReturn(0);
}

/* level[0] is the finest; PETSc counts from the coarsest. */
static PetscErrorCode SetLevels(const Level level[], PetscInt levels, PC pc)
{
  PetscFunctionBegin;
  PetscCall(PCSetType(pc, PCMG));
  PetscCall(PCMGSetLevels(pc, levels, NULL));
  PetscCall(PCMGSetGalerkin(pc, PC_MG_GALERKIN_BOTH));
  PetscCall(SetCoarsest(pc));
  for (PetscInt l = 0; l + 1 < levels; l++) {
    KSP smoother;
    Mat P;

    PetscCall(PCMGGetSmootherDown(pc, levels - 1 - l, &smoother));
    PetscCall(SetSmoother(smoother, SOR_LOCAL_FORWARD_SWEEP));
    PetscCall(PCMGGetSmootherUp(pc, levels - 1 - l, &smoother));
    PetscCall(SetSmoother(smoother, SOR_LOCAL_BACKWARD_SWEEP));
    PetscCall(CreateInterpolation(&level[l], &level[l + 1], &P));
    PetscCall(PCMGSetInterpolation(pc, levels - 1 - l, P));
    PetscCall(MatDestroy(&P));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkMultigridSetUp(DM dm, PC pc)
{
  Level     level[MAX_LEVELS] = {{.dm = dm}};
  PetscInt  levels = 1;
  PetscBool more = PETSC_TRUE;

  PetscFunctionBegin;
  PetscCall(DMDAGetInfo(dm, NULL, &level[0].n, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL));
  PetscCall(PetscMalloc1(level[0].n, &level[0].x));
  level[0].wall = (PetscReal)level[0].n;
  for (PetscInt i = 0; i < level[0].n; i++) level[0].x[i] = (PetscReal)i;
  while (more && levels < MAX_LEVELS) {
    PetscCall(CreateCoarse(&level[levels - 1], &level[levels], &more));
    if (more) levels++;
  }
  PetscCall(SetLevels(level, levels, pc));
  for (PetscInt l = 0; l < levels; l++) {
    if (l > 0) PetscCall(DMDestroy(&level[l].dm));
    PetscCall(PetscFree(level[l].x));
  }
  PetscFunctionReturn(0);
}
