/* Power-law exponents of the layers of a weight file, without data or deck. A network of ours is recognised by its tensors and
   read as in training; of any other file the matrices are told by their axes. */
#include "evenkeel/command.h"
#include "evenkeel/train.h"
#include "evenkeel/weights.h"
#include <math.h>
#include <string.h>

typedef struct {
  char             weights[EK_PATH], out[EK_PATH];
  EkBalanceOptions balance;
} Options;

static const EkKey spectrum_key[] = {
    {"spectrum_out", EK_KEY_STRING, offsetof(Options, out), "", 0, 0, NULL, NULL,
     "directory for layers.csv and spectra.h5, as a run has them"},
};
const EkKeyTable EkSpectrumKeys = EK_KEYS("spectrum", spectrum_key);

/* A weight file in memory. */
typedef struct {
  int           n;
  EkTensorInfo *table;
  float        *arena;
} Weights;

static PetscErrorCode ReadOptions(EkRun run, Options *options)
{
  const EkKeyTable *const table[] = {&EkSpectrumKeys, &EkBalanceKeys};
  void *const             into[] = {options, &options->balance};

  PetscFunctionBegin;
  PetscCheck(run->argc == 2, run->comm, PETSC_ERR_USER_INPUT,
             "spectrum wants one file of weights: evenkeel spectrum WEIGHTS [-key value ...]");
  PetscCall(PetscStrncpy(options->weights, run->argv[1], sizeof(options->weights)));
  PetscCall(EkCommandReadKeys(run, 2, table, into));
  PetscCall(EkBalanceTellUnused(run, &options->balance));
  PetscFunctionReturn(0);
}

/* ---- parameters ----------------------------------------------------------------------------------------------- */

static const EkTensorInfo *Find(const Weights *w, const char *name)
{
  for (int i = 0; i < w->n; i++) {
    if (!strcmp(w->table[i].name, name)) return &w->table[i];
  }
  return NULL;
}

static PetscBool IsSame(const EkTensorInfo *a, const EkTensorInfo *b)
{
  if (a->rank != b->rank || a->is_complex != b->is_complex) return PETSC_FALSE;
  for (int d = 0; d < a->rank; d++) {
    if (a->shape[d] != b->shape[d]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* The first tensor the file lacks or has in another shape; NULL: all are there. */
static const char *FirstMisfit(const Weights *w, EkParams params)
{
  for (int t = 0; t < params->n; t++) {
    const EkTensorInfo *found = Find(w, params->table[t].name);

    if (params->info[t].kind == EK_MODULE_BUFFER) continue;
    if (!found || !IsSame(found, &params->table[t])) return params->table[t].name;
  }
  return NULL;
}

/* The tensors of the network whose weights these are; *params NULL where it is none of ours, or one with other tensors. */
static PetscErrorCode DeclareModel(EkRun run, const Weights *w, const char **name, EkParams *params)
{
  EkModelOptions options;
  EkModelShape   shape;
  PetscBool      known;
  const char    *misfit;

  PetscFunctionBegin;
  *params = NULL;
  PetscCall(EkModelRecognise(w->n, w->table, &options, &shape, &known));
  if (!known) PetscFunctionReturn(0);
  *name = EkFamilyMember(&EkModelFamily, options.type)->name;
  PetscCall(EkParamsCreate(params));
  PetscCall(EkModelDeclare(&options, &shape, *params));
  misfit = FirstMisfit(w, *params);
  if (!misfit) PetscFunctionReturn(0);
  if (run->rank == 0) printf("much of it is a %s, but '%s' is missing or has another shape\n", *name, misfit);
  PetscCall(EkParamsDestroy(params));
  PetscFunctionReturn(0);
}

/* What a tensor NAME.weight is multiplied as, by its axes. */
static EkModuleKind KindOf(const EkTensorInfo *t)
{
  static const EkModuleKind kind[] = {[2] = EK_MODULE_LINEAR, [3] = EK_MODULE_CONV1D, [4] = EK_MODULE_CONV2D};
  const char               *dot = strrchr(t->name, '.');

  if (!dot || strcmp(dot, ".weight") || t->is_complex || t->rank < 2 || t->rank > 4) return EK_MODULE_OTHER;
  return kind[t->rank];
}

static PetscErrorCode DeclareByAxes(const Weights *w, EkParams *params)
{
  PetscFunctionBegin;
  PetscCall(EkParamsCreate(params));
  for (int i = 0; i < w->n; i++) {
    const EkTensorInfo *t = &w->table[i];

    if (KindOf(t) != EK_MODULE_OTHER && t->count)
      PetscCall(EkParamsAdd(*params, t->name, KindOf(t), PETSC_FALSE, t->rank, t->shape, 0, 0));
  }
  PetscFunctionReturn(0);
}

/* The file's values become the parameters'; nothing is copied. */
static PetscErrorCode Adopt(Weights *w, EkParams params)
{
  PetscFunctionBegin;
  for (int t = 0; t < params->n; t++) {
    const EkTensorInfo *found = Find(w, params->table[t].name);

    if (found) params->table[t].offset = found->offset;
  }
  params->weights = w->arena;
  w->arena = NULL;
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadParams(EkRun run, const char *path, const char **model, EkParams *params)
{
  Weights w;

  PetscFunctionBegin;
  PetscCall(EkWeightsReadReadable(run, path, &w.n, &w.table, &w.arena));
  PetscCall(DeclareModel(run, &w, model, params));
  if (!*params) {
    PetscCall(DeclareByAxes(&w, params));
    *model = "linear and convolutional weights, told by their axes";
  }
  PetscCheck((*params)->n > 0, run->comm, PETSC_ERR_USER_INPUT, "'%s' has no tensor NAME.weight of two to four axes", path);
  PetscCall(Adopt(&w, *params));
  PetscCall(PetscFree(w.table));
  PetscFunctionReturn(0);
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

static void PrintNumber(int width, const char *form, double value)
{
  char text[32] = "-";

  if (!isnan(value)) snprintf(text, sizeof(text), form, value);
  printf(" %*s", width, text);
}

static void PrintLayer(const EkLayerState *s, int width, PetscBool ratio)
{
  printf("%-*s %11lld %8lld", width, s->name, (long long)s->neigs, (long long)s->num_evals);
  PrintNumber(8, "%.3f", s->alpha);
  PrintNumber(7, "%.3f", s->D);
  PrintNumber(11, "%.4g", s->norm);
  PrintNumber(11, "%.4g", s->spectral_norm);
  PrintNumber(11, "%.2f", s->stable_rank);
  if (ratio) PrintNumber(7, "%.3f", s->balanced ? s->ratio : NAN);
  printf("\n");
}

/* Mean of the alphas, the heaviest and the lightest tail, of layers with eigenvalues enough for a fit to say something. */
static void PrintExtremes(const EkBalanceOptions *options, int n, const EkLayerState s[])
{
  int    low = -1, high = -1, count = 0;
  double sum = 0;

  for (int l = 0; l < n; l++) {
    if (!isfinite(s[l].alpha) || s[l].num_evals < options->min_eigs) continue;
    sum += s[l].alpha;
    count++;
    if (low < 0 || s[l].alpha < s[low].alpha) low = l;
    if (high < 0 || s[l].alpha > s[high].alpha) high = l;
  }
  if (count > 1)
    printf("alpha of layers with %d eigenvalues or more: mean %.3f, lowest %.3f (%s), highest %.3f (%s)\n",
           (int)options->min_eigs, sum / count, s[low].alpha, s[low].name, s[high].alpha, s[high].name);
}

static void PrintTable(const EkBalanceOptions *options, int n, const EkLayerState s[])
{
  const PetscBool ratio = (PetscBool)strcmp(EkFamilyMember(&EkRuleFamily, options->rule)->name, "none");
  int             width = 5;

  for (int l = 0; l < n; l++) width = (int)PetscMax(width, (int)strlen(s[l].name));
  printf("%-*s %11s %8s %8s %7s %11s %11s %11s%s\n", width, "layer", "eigenvalues", "kept", "alpha", "D", "norm", "largest",
         "stable rank", ratio ? "   rate" : "");
  for (int l = 0; l < n; l++) PrintLayer(&s[l], width, ratio);
  PrintExtremes(options, n, s);
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

static PetscErrorCode Analyse(EkRun run, const Options *options, EkMesh mesh, EkParams params, const char *model)
{
  const EkLayerState *state;
  EkBalance           balance;
  EkLayer            *layers;
  int                 n, *tensor_layer;

  PetscFunctionBegin;
  PetscCall(EkLayersCreate(params, (EkLayerSet)options->balance.layers, &n, &layers, &tensor_layer));
  if (run->rank == 0) {
    printf("weights %s: %s, %lld parameters; %d layers (%s)\n", options->weights, model,
           (long long)EkParamsCount(params, PETSC_FALSE), n, EkFamilyMember(&EkLayerSetFamily, options->balance.layers)->name);
    fflush(stdout); /* large networks take a while */
  }
  PetscCall(EkBalanceCreate(mesh, &options->balance, n, layers, &balance));
  PetscCall(EkBalanceRefresh(balance));
  PetscCall(EkBalanceGetLayers(balance, &n, &state));
  if (run->rank == 0) PrintTable(&options->balance, n, state);
  if (*options->out) PetscCall(EkSpectraDirWrite(run, options->out, balance));
  PetscCall(EkBalanceDestroy(&balance));
  PetscCall(PetscFree(layers));
  PetscCall(PetscFree(tensor_layer));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCommandSpectrum(EkRun run, int *exit_status)
{
  const EkMeshOptions flat = {0, 1, 0};
  Options             options = {.out = ""};
  const char         *model = NULL;
  EkParams            params;
  EkMesh              mesh;

  PetscFunctionBegin;
  PetscCall(ReadOptions(run, &options));
  PetscCall(EkMeshCreate(run, &flat, &mesh));
  PetscCall(ReadParams(run, options.weights, &model, &params));
  PetscCall(Analyse(run, &options, mesh, params, model));
  PetscCall(EkParamsDestroy(&params));
  PetscCall(EkMeshDestroy(&mesh));
  *exit_status = 0;
  PetscFunctionReturn(0);
}
