#include "balance_impl.h"
#include "lapack.h"
#include <math.h>

/* Rows of the long side that enter the distributed Gram matrix at once. */
#define PANEL     256
#define MIN_BLOCK 8
#define MAX_BLOCK 32
/* Switch of a BLACS context: sums in a fixed order, whoever arrives first. */
#define BLACS_REPEATABLE 15
/* pssyev: small eigenvalues are off by up to 4e-7 of the largest. */
#define SINGLE_ERROR 1e-6

/* A block-cyclic n x n or m x n matrix over the grid. */
typedef struct {
  int m, n, block, local_m, local_n;
  int desc[9];
} Layout;

struct EkGrid_ {
  MPI_Comm comm;
  int      handle, context, rows, cols, row, col;
  double  *gram, *left, *right, *w, *work;
  float   *single, *wsingle, *worksingle;
  int      lwork, lworksingle;
};

void EkGridShape(int ranks, PetscInt n, int *rows, int *cols)
{
  const int most = (int)PetscMax(1, n / (2 * MIN_BLOCK));
  int       r = 1;

  while ((r + 1) * (r + 1) <= ranks) r++;
  *rows = PetscMin(r, most);
  *cols = PetscMin(ranks / *rows, PetscMin(most, 2 * *rows + 1));
}

static int Owned(int n, int block, int process, int processes)
{
  const int zero = 0;

  return numroc_(&n, &block, &process, &zero, &processes);
}

static Layout MakeLayout(EkGrid g, int m, int n)
{
  const int widest = PetscMax(g->rows, g->cols), zero = 0;
  Layout    l = {.m = m, .n = n};
  int       info, lead;

  l.block = PetscClipInterval(PetscMin(m, n) / (2 * widest), MIN_BLOCK, MAX_BLOCK);
  l.local_m = Owned(m, l.block, g->row, g->rows);
  l.local_n = Owned(n, l.block, g->col, g->cols);
  lead = PetscMax(1, l.local_m);
  descinit_(l.desc, &m, &n, &l.block, &l.block, &zero, &zero, &g->context, &lead, &info);
  return l;
}

/* Global index of a local one along an axis of the grid. */
static int Global(int local, int block, int process, int processes)
{
  return (local / block * processes + process) * block + local % block;
}

/* A complex matrix A + iB is worked on as the real one [A -B; B A], whose singular values are those of A + iB, each twice. */
static int Embedding(const EkTall *a)
{
  return a->is_complex ? 2 : 1;
}

static float Element(const EkTall *a, int i, int j)
{
  const int    m = (int)a->m, n = (int)a->n;
  const float *x = a->data + (size_t)(i % m) * a->row_step + (size_t)(j % n) * a->col_step;

  if (!a->is_complex) return *x;
  if ((i < m) == (j < n)) return x[0];
  return i < m ? -x[a->imaginary] : x[a->imaginary];
}

/* Rows lo..hi of the columns that this rank holds along one axis, as (hi-lo) x columns, column-major. False if a value is not
 * finite. */
static PetscBool PackColumns(const EkTall *a, int lo, int hi, int columns, int block, int process, int processes, double *out)
{
  double check = 0;

  for (int c = 0; c < columns; c++) {
    const int j = Global(c, block, process, processes);

    if (a->is_complex) {
      for (int i = lo; i < hi; i++) check += 0.0 * (*out++ = Element(a, i, j));
    } else {
      const float *x = a->data + (size_t)lo * a->row_step + (size_t)j * a->col_step;

      for (int i = lo; i < hi; i++, x += a->row_step) check += 0.0 * (*out++ = *x);
    }
  }
  return (PetscBool)(check == 0);
}

/* Lower triangle of the local part of A^T A. Every rank holds the whole A, so no communication: one product per local block
   column, from the first local row that is not above the diagonal. */
static PetscBool FormGram(EkGrid g, const EkTall *a, const Layout *l)
{
  const int    rows = (int)a->m * Embedding(a), lead = PetscMax(1, l->local_m);
  const double one = 1;

  for (int lo = 0; lo < rows; lo += PANEL) {
    const int    depth = PetscMin(PANEL, rows - lo);
    const double beta = lo ? 1 : 0;

    if (!PackColumns(a, lo, lo + depth, l->local_m, l->block, g->row, g->rows, g->left) ||
        !PackColumns(a, lo, lo + depth, l->local_n, l->block, g->col, g->cols, g->right))
      return PETSC_FALSE;
    for (int c = 0; c < l->local_n; c += l->block) {
      const int width = PetscMin(l->block, l->local_n - c);
      const int above = Owned(Global(c, l->block, g->col, g->cols), l->block, g->row, g->rows);
      const int below = l->local_m - above;

      if (!below) continue;
      dgemm_("T", "N", &below, &width, &depth, &one, g->left + (size_t)above * depth, &depth, g->right + (size_t)c * depth,
             &depth, &beta, g->gram + (size_t)c * lead + above, &lead);
    }
  }
  return PETSC_TRUE;
}

/* True if `mine` is true on every rank of the grid. */
static PetscErrorCode All(EkGrid g, PetscBool mine, PetscBool *all)
{
  PetscFunctionBegin;
  PetscCallMPI(MPI_Allreduce(&mine, all, 1, MPIU_BOOL, MPI_LAND, g->comm));
  PetscFunctionReturn(0);
}

/* Whether they suffice is decided by the first rank's values, so that every rank goes the same way. */
static PetscErrorCode SingleEigenvalues(EkGrid g, const Layout *l, const EkSpectrumOptions *options, PetscBool *good)
{
  const int one = 1;
  int       info;

  PetscFunctionBegin;
  for (size_t i = 0; i < (size_t)l->local_m * (size_t)l->local_n; i++) g->single[i] = (float)g->gram[i];
  pssyev_("N", "L", &l->n, g->single, &one, &one, l->desc, g->wsingle, g->single, &one, &one, l->desc, g->worksingle,
          &g->lworksingle, &info);
  *good = (PetscBool)(!info && EkSingleSuffices(options, SINGLE_ERROR, l->n, g->wsingle) == EK_SINGLE_SUFFICES);
  PetscCallMPI(MPI_Bcast(good, 1, MPIU_BOOL, 0, g->comm));
  for (int i = 0; i < l->n; i++) g->w[i] = g->wsingle[i];
  PetscFunctionReturn(0);
}

/* g->w[0..n): eigenvalues of the (embedded) Gram matrix, ascending; *failure: a marker, or 0. */
static PetscErrorCode GramSpectrum(EkGrid g, const EkTall *a, const EkSpectrumOptions *options, double *failure)
{
  const Layout l = MakeLayout(g, (int)a->n * Embedding(a), (int)a->n * Embedding(a));
  const int    one = 1;
  PetscBool    done;
  int          info;

  PetscFunctionBegin;
  *failure = EK_SPECTRUM_NOT_FINITE;
  PetscCall(All(g, FormGram(g, a, &l), &done));
  if (!done) PetscFunctionReturn(0);
  *failure = 0;
  done = PETSC_FALSE;
  if (EkSinglePromises(options, a)) PetscCall(SingleEigenvalues(g, &l, options, &done));
  if (done) PetscFunctionReturn(0);
  pdsyev_("N", "L", &l.n, g->gram, &one, &one, l.desc, g->w, g->gram, &one, &one, l.desc, g->work, &g->lwork, &info);
  if (info) *failure = EK_SPECTRUM_FAILED;
  PetscFunctionReturn(0);
}

/* g->w[0..n): squared singular values of the (embedded) matrix, ascending; *failure: a marker, or 0. */
static PetscErrorCode SingularSpectrum(EkGrid g, const EkTall *a, double *failure)
{
  const Layout l = MakeLayout(g, (int)a->m * Embedding(a), (int)a->n * Embedding(a));
  const int    one = 1;
  double      *out = g->gram, check = 0;
  PetscBool    finite;
  int          info;

  PetscFunctionBegin;
  for (int c = 0; c < l.local_n; c++) {
    const int j = Global(c, l.block, g->col, g->cols);

    for (int r = 0; r < l.local_m; r++) check += 0.0 * (*out++ = Element(a, Global(r, l.block, g->row, g->rows), j));
  }
  *failure = EK_SPECTRUM_NOT_FINITE;
  PetscCall(All(g, (PetscBool)(check == 0), &finite));
  if (!finite) PetscFunctionReturn(0);
  pdgesvd_("N", "N", &l.m, &l.n, g->gram, &one, &one, l.desc, g->w, NULL, &one, &one, l.desc, NULL, &one, &one, l.desc, g->work,
           &g->lwork, &info);
  for (int i = 0; i < l.n / 2; i++) {
    const double larger = g->w[i];

    g->w[i] = g->w[l.n - 1 - i];
    g->w[l.n - 1 - i] = larger;
  }
  for (int i = 0; i < l.n; i++) g->w[i] *= g->w[i];
  *failure = info ? EK_SPECTRUM_FAILED : 0;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGridSpectrum(EkGrid g, const EkTall *a, const EkSpectrumOptions *options, double lambda[])
{
  double failure;

  PetscFunctionBegin;
  if (options->solver == EK_SOLVER_SVD)
    PetscCall(SingularSpectrum(g, a, &failure));
  else
    PetscCall(GramSpectrum(g, a, options, &failure));
  for (PetscInt i = 0; i < a->n; i++) lambda[i] = PetscMax(0, g->w[i * Embedding(a)]);
  if (failure != 0) lambda[0] = failure;
  PetscFunctionReturn(0);
}

/* Work each routine asks for; the largest over the batches is kept. */
static void GramWork(EkGrid g, const Layout *l)
{
  const int one = 1, query = -1;
  double    x[1];
  float     s[1];
  int       info;

  pdsyev_("N", "L", &l->n, x, &one, &one, l->desc, x, x, &one, &one, l->desc, x, &query, &info);
  g->lwork = PetscMax(g->lwork, (int)x[0]);
  pssyev_("N", "L", &l->n, s, &one, &one, l->desc, s, s, &one, &one, l->desc, s, &query, &info);
  g->lworksingle = PetscMax(g->lworksingle, (int)s[0]);
}

static void SingularWork(EkGrid g, const Layout *l)
{
  const int one = 1, query = -1;
  double    x[1];
  int       info;

  pdgesvd_("N", "N", &l->m, &l->n, x, &one, &one, l->desc, x, NULL, &one, &one, l->desc, NULL, &one, &one, l->desc, x, &query,
           &info);
  g->lwork = PetscMax(g->lwork, (int)x[0]);
}

static PetscErrorCode Reserve(EkGrid g, int nbatches, const EkMatrixBatch *const batches[], const EkSolver solver[])
{
  size_t gram = 0, single = 0, left = 0, right = 0;
  int    n = 0;

  PetscFunctionBegin;
  for (int b = 0; b < nbatches; b++) {
    const EkTall tall = EkTallView(batches[b], 0);
    const int    cols = (int)tall.n * Embedding(&tall), rows = (int)tall.m * Embedding(&tall);
    const Layout l = MakeLayout(g, solver[b] == EK_SOLVER_SVD ? rows : cols, cols);
    const size_t size = (size_t)l.local_m * (size_t)l.local_n;

    n = PetscMax(n, cols);
    gram = PetscMax(gram, size);
    if (solver[b] == EK_SOLVER_SVD)
      SingularWork(g, &l);
    else {
      GramWork(g, &l);
      single = PetscMax(single, size);
      left = PetscMax(left, (size_t)PANEL * (size_t)l.local_m);
      right = PetscMax(right, (size_t)PANEL * (size_t)l.local_n);
    }
  }
  PetscCall(PetscCalloc5(gram, &g->gram, left, &g->left, right, &g->right, n, &g->w, g->lwork, &g->work));
  PetscCall(PetscMalloc3(single, &g->single, n, &g->wsingle, g->lworksingle, &g->worksingle));
  PetscFunctionReturn(0);
}

PetscErrorCode EkGridCreate(MPI_Comm comm, int rows, int cols, int nbatches, const EkMatrixBatch *const batches[],
                            const EkSolver solver[], EkGrid *out)
{
  const int yes = 1;
  EkGrid    g;

  PetscFunctionBegin;
  PetscCall(PetscNew(&g));
  PetscCallMPI(MPI_Comm_dup(comm, &g->comm));
  g->handle = Csys2blacs_handle(g->comm);
  g->context = g->handle;
  Cblacs_gridinit(&g->context, "Row", rows, cols);
  Cblacs_set(g->context, BLACS_REPEATABLE, &yes);
  Cblacs_gridinfo(g->context, &g->rows, &g->cols, &g->row, &g->col);
  PetscCheck(g->rows == rows && g->cols == cols, PETSC_COMM_SELF, PETSC_ERR_LIB,
             "BLACS made a grid of %d x %d instead of %d x %d ranks", g->rows, g->cols, rows, cols);
  PetscCall(Reserve(g, nbatches, batches, solver));
  *out = g;
  PetscFunctionReturn(0);
}

PetscErrorCode EkGridDestroy(EkGrid *grid)
{
  EkGrid g = *grid;

  PetscFunctionBegin;
  if (!g) PetscFunctionReturn(0);
  PetscCall(PetscFree5(g->gram, g->left, g->right, g->w, g->work));
  PetscCall(PetscFree3(g->single, g->wsingle, g->worksingle));
  Cblacs_gridexit(g->context);
  Cfree_blacs_system_handle(g->handle);
  PetscCallMPI(MPI_Comm_free(&g->comm));
  PetscCall(PetscFree(*grid));
  PetscFunctionReturn(0);
}
