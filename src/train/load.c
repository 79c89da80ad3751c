/* Where a training starts from: weights of a file, all of them or the parts model_load names, and what Adam remembers of them. */
#include "trainer.h"
#include "evenkeel/weights.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALL       "all"
#define OPTIMIZER "optimizer"
#define POSITION  "pos_embed" /* one value a patch: it follows the grid */

/* ---- what model_load says ----------------------------------------------------------------------------------- */

typedef struct {
  char      list[EK_PATH]; /* parts with commas between */
  PetscBool all, optimizer;
} Wish;

static PetscErrorCode WishOf(const EkDeck *deck, Wish *wish)
{
  char copy[EK_PATH], *save = NULL;

  PetscFunctionBegin;
  *wish = (Wish){0};
  PetscCall(PetscStrncpy(copy, deck->model.load, sizeof(copy)));
  for (char *word = strtok_r(copy, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
    if (!strcmp(word, ALL))
      wish->all = PETSC_TRUE;
    else if (!strcmp(word, OPTIMIZER))
      wish->optimizer = PETSC_TRUE;
    else {
      if (*wish->list) PetscCall(PetscStrlcat(wish->list, ",", sizeof(wish->list)));
      PetscCall(PetscStrlcat(wish->list, word, sizeof(wish->list)));
    }
  }
  PetscFunctionReturn(0);
}

static const char *PartsOf(const Wish *wish)
{
  return wish->all ? NULL : wish->list;
}

/* The optimizers of src/optim that remember Adam's two moments. */
static PetscBool HasMoments(const EkOptimOptions *options)
{
  return EkWordIn(EkFamilyMember(&EkOptimizerFamily, options->optimizer)->name, "adam adam_pytorch adamw");
}

PetscErrorCode EkLoadCheck(const EkDeck *deck, EkProblems problems)
{
  Wish wish;

  PetscFunctionBegin;
  if (!*deck->model.weights) PetscFunctionReturn(0);
  PetscCall(WishOf(deck, &wish));
  if (!wish.all && !*wish.list)
    PetscCall(EkProblemsAdd(problems, "model_load: '%s' names no part of the model; " ALL "," OPTIMIZER " takes everything",
                            deck->model.load));
  if (wish.optimizer && !HasMoments(&deck->optim))
    PetscCall(EkProblemsAdd(
        problems, "model_load: " OPTIMIZER " is for adam, adam_pytorch and adamw; train_optimizer %s has no moments to be filled",
        EkFamilyMember(&EkOptimizerFamily, deck->optim.optimizer)->name));
  PetscFunctionReturn(0);
}

/* ---- parts -------------------------------------------------------------------------------------------------- */

static int CountIn(int n, const EkTensorInfo table[], const char *parts)
{
  int count = 0;

  for (int i = 0; i < n; i++) count += EkInParts(table[i].name, parts);
  return count;
}

/* Names up to their first dot, each once. */
static void ListParts(int n, const EkTensorInfo table[], char *text, size_t room)
{
  size_t used = 0;

  text[0] = 0;
  for (int i = 0; i < n; i++) {
    const size_t length = strcspn(table[i].name, ".");
    PetscBool    again = PETSC_FALSE;

    for (int j = 0; j < i && !again; j++)
      again = (PetscBool)(strcspn(table[j].name, ".") == length && !strncmp(table[j].name, table[i].name, length));
    if (again || used + length + 2 > room) continue;
    used += (size_t)snprintf(text + used, room - used, "%s%.*s", used ? " " : "", (int)length, table[i].name);
  }
}

/* Every part named is there, in the model and in the file. All ranks hold the same tables. */
static PetscErrorCode CheckParts(EkSession s, const Wish *wish, int n, const EkTensorInfo found[])
{
  const char *path = s->deck.model.weights;
  char        copy[EK_PATH], there[1024], *save = NULL;
  EkProblems  problems;

  PetscFunctionBegin;
  PetscCall(EkProblemsCreate(&problems));
  PetscCall(PetscStrncpy(copy, wish->list, sizeof(copy)));
  for (char *part = strtok_r(copy, ",", &save); part && !wish->all; part = strtok_r(NULL, ",", &save)) {
    const PetscBool in_model = (PetscBool)(CountIn(s->params->n, s->params->table, part) > 0);

    ListParts(in_model ? n : s->params->n, in_model ? found : s->params->table, there, sizeof(there));
    if (!in_model)
      PetscCall(EkProblemsAdd(problems, "model_load: the model has no part '%s'; there is: %s", part, there));
    else if (!CountIn(n, found, part))
      PetscCall(EkProblemsAdd(problems, "model_load: '%s' has no part '%s'; there is: %s", path, part, there));
  }
  PetscCall(EkProblemsRaise(s->run, &problems));
  PetscFunctionReturn(0);
}

/* One line a list, the names of the tensors outside the parts. */
static void PrintOutside(const char *what, int n, const EkTensorInfo table[], const char *parts)
{
  const int count = n - CountIn(n, table, parts);
  int       named = 0;

  if (!count) return;
  printf("  %d %s:", count, what);
  for (int i = 0; i < n && named < EK_LISTED; i++) {
    if (!EkInParts(table[i].name, parts)) printf("%s %s", named++ ? "," : "", table[i].name);
  }
  if (count > named) printf(" and %d more", count - named);
  printf("\n");
}

static void PrintSummary(EkSession s, const char *parts, int n, const EkTensorInfo found[])
{
  const EkParams p = s->params;

  if (s->run->rank) return;
  printf("model_load: %d of the model's %d tensors loaded from %s\n", CountIn(p->n, p->table, parts), p->n,
         s->deck.model.weights);
  PrintOutside("of the model drawn anew", p->n, p->table, parts);
  PrintOutside("of the file left out", n, found, parts);
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

static PetscErrorCode ReadWeights(EkSession s, const Wish *wish, int n, const EkTensorInfo found[])
{
  char            hint[1024];
  EkWeightsChoice choice = {.parts = PartsOf(wish), .resize = POSITION, .hint = hint};

  PetscFunctionBegin;
  PetscCall(CheckParts(s, wish, n, found));
  PetscCall(EkModelGuess(&s->deck.model, n, found, hint, sizeof(hint)));
  PetscCall(EkWeightsReadChosen(s->run, s->deck.model.weights, &choice, s->params->n, s->params->table, s->params->weights));
  if (choice.parts) PrintSummary(s, choice.parts, n, found);
  PetscFunctionReturn(0);
}

PetscErrorCode EkSessionLoad(EkSession s)
{
  PetscErrorCode code;
  EkTensorInfo  *found;
  Wish           wish;
  int            n;

  PetscFunctionBegin;
  PetscCall(WishOf(&s->deck, &wish));
  if (!*s->deck.model.weights || !wish.all) PetscCall(EkParamsInitialise(s->params, (uint64_t)s->deck.train.seed));
  if (!*s->deck.model.weights) PetscFunctionReturn(0);
  PetscCall(EkWeightsList(s->run, s->deck.model.weights, EK_MEMORY_WEIGHTS, &n, &found));
  code = ReadWeights(s, &wish, n, found);
  PetscCall(PetscFree(found));
  PetscFunctionReturn(code);
}

/* ---- moments ------------------------------------------------------------------------------------------------ */

/* How the second moments of complex tensors are stored: one |g|^2 in both places (a checkpoint of `adam`), or as torch has them.
 */
static PetscErrorCode IsTwice(EkRun run, const char *path, PetscBool *twice)
{
  char *name;

  PetscFunctionBegin;
  PetscCall(EkWeightsReadNote(run, path, "optimizer", &name));
  *twice = (PetscBool)(name && !strcmp(name, "adam"));
  PetscCall(PetscFree(name));
  PetscFunctionReturn(0);
}

/* Is there one |g|^2 for each entry, the imaginary parts nothing but rounding? Torch's own Adam has squares there like those of
 * the real parts. */
static PetscBool IsPublished(size_t n, const float *v)
{
  PetscBool some = PETSC_FALSE;

  for (size_t i = 0; i < n; i += 2) {
    if (fabsf(v[i + 1]) > 1e-5f * v[i]) return PETSC_FALSE;
    some = (PetscBool)(some || v[i] != 0);
  }
  return some;
}

/* Means of squares are not below zero. In the published form of a complex tensor imaginary parts are rounding of either sign. */
static PetscErrorCode CheckSquares(EkRun run, const char *path, const EkTensorInfo *tensor, const float *v, PetscBool published)
{
  char place[160];

  PetscFunctionBegin;
  for (size_t i = 0; i < tensor->count; i++) {
    const float least = published && i % 2 ? -1e-5f * v[i - 1] : 0;

    PetscCheck(
        v[i] >= least, run->comm, PETSC_ERR_FILE_UNEXPECTED,
        "model_load: '%s': exp_avg_sq of '%s' is %g at %s, but a mean of squares is not below zero; the file is damaged or not "
        "Adam's: leave " OPTIMIZER " out",
        path, tensor->name, (double)v[i], EkValuePlace(tensor, (PetscInt64)i, place));
  }
  PetscFunctionReturn(0);
}

/* Second moments checked, those of complex tensors as this optimizer keeps them. */
static PetscErrorCode Convert(EkRun run, const char *path, const EkOptimizer o, PetscBool twice, float *v)
{
  const PetscBool paired = EkWordIn(EkFamilyMember(&EkOptimizerFamily, o->options.optimizer)->name, "adam");

  PetscFunctionBegin;
  for (int t = 0; t < o->params->n; t++) {
    const EkTensorInfo *tensor = &o->params->table[t];
    const PetscBool     published = (PetscBool)(tensor->is_complex && paired && !twice);
    float              *at = v + tensor->offset;

    PetscCheck(!tensor->is_complex || paired || !(twice || IsPublished(tensor->count, at)), run->comm, PETSC_ERR_USER_INPUT,
               "model_load: '%s' holds one second moment for real and imaginary part of '%s', as train_optimizer adam has it; %s "
               "needs one for each",
               path, tensor->name, EkFamilyMember(&EkOptimizerFamily, o->options.optimizer)->name);
    PetscCall(CheckSquares(run, path, tensor, at, published));
    for (size_t i = 0; i < tensor->count && published; i += 2) at[i] = at[i + 1] = at[i] + at[i + 1];
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadSteps(EkRun run, const char *path, PetscInt64 *steps)
{
  char  *note, *end = NULL;
  double value = -1;

  PetscFunctionBegin;
  PetscCall(EkWeightsReadNote(run, path, EK_NOTE_STEPS, &note));
  if (note) value = strtod(note, &end);
  PetscCheck(note && end != note && !*end && value >= 1 && value == floor(value) && value < 9e15, run->comm,
             PETSC_ERR_FILE_UNEXPECTED, "model_load: '%s' does not say how many updates its moments are of ('%s' is %s)", path,
             EK_NOTE_STEPS, note ? note : "missing");
  *steps = (PetscInt64)value;
  PetscCall(PetscFree(note));
  PetscFunctionReturn(0);
}

/* A tensor of these that is missing among the others is an error: with one moment alone, the first step has nothing to divide by,
 * or nothing to divide. */
static PetscErrorCode CheckPartners(EkRun run, const char *path, const char *parts, const int n[2], EkTensorInfo *const found[2],
                                    int which)
{
  static const char *const name[2] = {"exp_avg", "exp_avg_sq"};

  PetscFunctionBegin;
  for (int i = 0; i < n[which]; i++) {
    const char *tensor = found[which][i].name;
    PetscBool   both = (PetscBool)!EkInParts(tensor, parts);

    for (int j = 0; j < n[!which] && !both; j++) both = (PetscBool)!strcmp(found[!which][j].name, tensor);
    PetscCheck(both, run->comm, PETSC_ERR_FILE_UNEXPECTED,
               "model_load: '%s' has %s of '%s' but not its %s; leave " OPTIMIZER
               " out, or convert or export the file again with both",
               path, name[which], tensor, name[!which]);
  }
  PetscFunctionReturn(0);
}

/* Are there moments, and both of every tensor? */
static PetscErrorCode CheckMoments(EkRun run, const char *path, const char *parts)
{
  EkTensorInfo  *found[2] = {NULL, NULL};
  PetscErrorCode code = 0;
  int            n[2];

  PetscFunctionBegin;
  for (int which = 0; which < 2 && !code; which++)
    code = EkWeightsList(run, path, which ? EK_MEMORY_SECOND : EK_MEMORY_FIRST, &n[which], &found[which]);
  for (int which = 0; which < 2 && !code; which++) code = CheckPartners(run, path, parts, n, found, which);
  for (int which = 0; which < 2; which++) PetscCall(PetscFree(found[which]));
  PetscCall(code);
  PetscCheck(n[0], run->comm, PETSC_ERR_FILE_UNEXPECTED,
             "model_load: '%s' holds no moments of Adam; leave " OPTIMIZER " out, or convert or export it with them", path);
  PetscFunctionReturn(0);
}

/* The gradients' arena holds them on the way: nothing is in it before the first step. */
static PetscErrorCode ReadMoment(EkRun run, const char *path, const Wish *wish, EkOptimizer o, int which, PetscBool twice,
                                 int *missing)
{
  const EkWeightsChoice choice = {
      .memory = which ? EK_MEMORY_SECOND : EK_MEMORY_FIRST, .parts = PartsOf(wish), .resize = POSITION, .missing = missing};
  float *arena = o->params->gradients;

  PetscFunctionBegin;
  PetscCall(PetscArrayzero(arena, o->params->total));
  PetscCall(EkWeightsReadChosen(run, path, &choice, o->params->n, o->params->table, arena));
  if (which) PetscCall(Convert(run, path, o, twice, arena));
  PetscCall(PetscArraycpy(o->array[which].values, arena + o->lo, o->hi - o->lo));
  PetscCall(PetscArrayzero(arena, o->params->total));
  PetscFunctionReturn(0);
}

PetscErrorCode EkLoadMoments(EkRun run, const EkDeck *deck, EkOptimizer o)
{
  const char *path = deck->model.weights;
  PetscBool   twice = PETSC_FALSE;
  Wish        wish;
  int         missing;

  PetscFunctionBegin;
  PetscCall(WishOf(deck, &wish));
  if (!*path || !wish.optimizer) PetscFunctionReturn(0);
  PetscCall(CheckMoments(run, path, PartsOf(&wish)));
  PetscCall(ReadSteps(run, path, &o->steps));
  PetscCall(IsTwice(run, path, &twice));
  for (int which = 0; which < 2; which++) PetscCall(ReadMoment(run, path, &wish, o, which, twice, &missing));
  if (run->rank == 0) {
    printf("model_load: Adam's moments after %lld updates", (long long)o->steps);
    if (missing) printf("; %d tensors have none there and start at zero", missing);
    printf("\n");
  }
  PetscFunctionReturn(0);
}
