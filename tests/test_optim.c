/* ranks: 1 2 3 */
/* Optimizers, schedules, clipping and SAM by themselves. tests/data/cases/optim.json holds what PyTorch 1.13 makes of five small
   tensors in four steps, computed in double, and its rates: torch.optim.Adam, AdamW and SGD with a group a tensor at lr * ratio,
   complex tensors as complex parameters; `adam` by the formulas m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g conj(g), w -= lr /
   (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps), g with weight_decay w added; `adafactor` by those of
   transformers.Adafactor(scale_parameter=False, relative_step=False) on the real view; lr_scheduler.OneCycleLR(max_lr=lr,
   div_factor=1e4, final_div_factor=1e4, pct_start=warmup/epochs), StepLR, and LambdaLR with the factors of
   get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup. Initial values and gradients are normal draws rounded to
   float. */
#include "support.h"
#include "evenkeel/mesh.h"
#include "evenkeel/optim.h"
#include <cJSON.h>

#define CASES "tests/data/cases/optim.json"
#define MOST  64

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static cJSON *Load(void)
{
  char  *bytes;
  long   size = EkTestFileBytes(CASES, &bytes);
  cJSON *json = cJSON_ParseWithLength(bytes, (size_t)size);

  assert_non_null(json);
  free(bytes);
  return json;
}

static cJSON *Item(const cJSON *json, const char *name)
{
  cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

  if (!item) fail_msg("%s: no '%s'", CASES, name);
  return item;
}

static int Floats(const cJSON *list, float *to)
{
  int n = 0;

  for (const cJSON *x = list->child; x; x = x->next) to[n++] = (float)x->valuedouble;
  return n;
}

/* Every key of the block at its default, then those of `json`. */
static EkOptimOptions OptionsOf(const cJSON *json)
{
  EkOptimOptions options = {.beta1 = NAN, .beta2 = NAN, .eps = NAN, .momentum = NAN};

  for (const cJSON *x = json->child; x; x = x->next) {
    const EkKey *key = NULL;
    char        *field;

    for (int i = 0; i < EkOptimKeys.count; i++) {
      if (!strcmp(EkOptimKeys.keys[i].name + strlen("train_"), x->string)) key = &EkOptimKeys.keys[i];
    }
    if (!key) fail_msg("%s: no key 'train_%s'", CASES, x->string);
    field = (char *)&options + key->offset;
    if (key->type == EK_KEY_REAL)
      *(PetscReal *)field = x->valuedouble;
    else if (key->type == EK_KEY_INT)
      *(PetscInt *)field = (PetscInt)x->valuedouble;
    else if (key->type == EK_KEY_BOOL)
      *(PetscBool *)field = (PetscBool)cJSON_IsTrue(x);
    else if (key->type == EK_KEY_CHOICE)
      *(int *)field = EkFamilyFind(key->family, x->valuestring);
  }
  return options;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

static void AddTensor(EkParams p, const char *name, PetscBool is_complex, int rank, const PetscInt shape[])
{
  EK_OK(EkParamsAdd(p, name, EK_MODULE_OTHER, is_complex, rank, shape, -1, 1));
}

static void Allocate(EkParams p)
{
  EK_OK(EkParamsAllocate(p));
  for (int i = 0; i < p->n; i++) p->info[i].used = (PetscBool)(p->info[i].kind != EK_MODULE_BUFFER);
}

/* Five tensors whose borders fall anywhere, the third complex, the fourth without a gradient, the last a running statistic. */
static EkParams MakeParams(void)
{
  const PetscInt shape[] = {33, 7}, line[] = {65}, spectral[] = {5, 7, 3, 2};
  EkParams       p;

  EK_OK(EkParamsCreate(&p));
  AddTensor(p, "matrix", PETSC_FALSE, 2, shape);
  AddTensor(p, "line", PETSC_FALSE, 1, line);
  AddTensor(p, "spectral", PETSC_TRUE, 4, spectral);
  AddTensor(p, "unused", PETSC_FALSE, 2, shape);
  EK_OK(EkParamsAddBuffer(p, "running", PETSC_FALSE, 1, line, 0.5));
  Allocate(p);
  p->info[3].used = PETSC_FALSE;
  return p;
}

static void Fill(EkParams p, int step)
{
  for (size_t i = 0; i < p->total; i++) p->gradients[i] = (float)(sin(0.7 * (double)i + step) * pow(10, (double)(i % 5) - 3));
}

static EkOptimOptions Usual(int optimizer)
{
  return (EkOptimOptions){
      .optimizer = optimizer, .lr = 1e-2, .weight_decay = 1e-2, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .momentum = 0.8};
}

/* `steps` updates of [lo, hi) at lr, from the weights of seed 3. */
static void Train(EkParams p, const EkOptimOptions *options, size_t lo, size_t hi, int steps, const double ratio[])
{
  EkOptimizer o;

  EK_OK(EkOptimizerCreate(options, p, lo, hi, &o));
  for (int step = 0; step < steps; step++) {
    Fill(p, step);
    EK_OK(EkOptimizerStep(o, options->lr, ratio));
  }
  EK_OK(EkOptimizerDestroy(&o));
}

static const double ones[MOST] = {1, 1, 1, 1, 1, 1, 1, 1};

/* ---- against PyTorch ---------------------------------------------------------------------------------------------- */

static EkParams ParamsOf(const cJSON *tensors, double ratio[])
{
  EkParams p;
  int      n = 0;

  EK_OK(EkParamsCreate(&p));
  for (const cJSON *t = tensors->child; t; t = t->next) {
    PetscInt shape[EK_MAX_RANK];
    int      rank = 0;

    for (const cJSON *s = Item(t, "shape")->child; s; s = s->next) shape[rank++] = (PetscInt)s->valuedouble;
    AddTensor(p, Item(t, "name")->valuestring, (PetscBool)cJSON_IsTrue(Item(t, "complex")), rank, shape);
    ratio[n++] = Item(t, "ratio")->valuedouble;
  }
  Allocate(p);
  return p;
}

static void SetGradients(EkParams p, const cJSON *tensors, int step)
{
  for (int i = 0; i < p->n; i++) {
    const cJSON *all = Item(cJSON_GetArrayItem(tensors, i), "gradients");

    assert_int_equal(Floats(cJSON_GetArrayItem(all, step), p->gradients + p->table[i].offset), (int)p->table[i].count);
  }
}

/* Errors relative to how far the tensor has come, roundings of its values aside. */
static void CompareTensors(EkParams p, const cJSON *update, const cJSON *tensors)
{
  for (int i = 0; i < p->n; i++) {
    float        want[MOST], start[MOST];
    const int    n = Floats(cJSON_GetArrayItem(Item(update, "expected"), i), want);
    const float *w = p->weights + p->table[i].offset;
    double       error = 0, way = 0, size = 0;

    assert_int_equal(n, (int)p->table[i].count);
    Floats(Item(cJSON_GetArrayItem(tensors, i), "initial"), start);
    for (int j = 0; j < n; j++) {
      error += pow((double)w[j] - want[j], 2);
      way += pow((double)want[j] - start[j], 2);
      size += pow(want[j], 2);
    }
    if (!(sqrt(error) <= 1e-5 * sqrt(way) + 2e-7 * sqrt(size)))
      fail_msg("%s, %s: %g off of a way of %g", Item(update, "optimizer")->valuestring, p->table[i].name, sqrt(error), sqrt(way));
  }
}

static void updates_are_pytorchs(void **state)
{
  cJSON       *json = Load();
  const cJSON *tensors = Item(json, "tensors"), *update;
  PetscBool    seen[MOST] = {PETSC_FALSE};

  (void)state;
  cJSON_ArrayForEach(update, Item(json, "updates"))
  {
    EkOptimOptions options = OptionsOf(Item(update, "options"));
    EkScheduleAt   at = {0, 0, 4, 1};
    double         ratio[MOST];
    EkParams       p = ParamsOf(tensors, ratio);
    EkOptimizer    o;

    options.optimizer = EkFamilyFind(&EkOptimizerFamily, Item(update, "optimizer")->valuestring);
    assert_true(options.optimizer >= 0);
    seen[options.optimizer] = PETSC_TRUE;
    if (!cJSON_GetObjectItem(Item(update, "options"), "schedule")) options.schedule = EkFamilyFind(&EkScheduleFamily, "constant");
    for (int i = 0; i < p->n; i++) Floats(Item(cJSON_GetArrayItem(tensors, i), "initial"), p->weights + p->table[i].offset);
    EK_OK(EkOptimizerCreate(&options, p, 0, p->total, &o));
    for (; at.epoch < 4; at.epoch++) {
      SetGradients(p, tensors, (int)at.epoch);
      o->momentum = EkScheduleMomentum(&options, &at);
      EK_OK(EkOptimizerStep(o, EkScheduleRate(&options, &at), ratio));
    }
    CompareTensors(p, update, tensors);
    EK_OK(EkOptimizerDestroy(&o));
    EK_OK(EkParamsDestroy(&p));
  }
  for (int i = 0; i < EkOptimizerFamily.count; i++) {
    if (!seen[i]) fail_msg("no case of %s", EkFamilyMember(&EkOptimizerFamily, i)->name);
  }
  cJSON_Delete(json);
}

static void schedules_are_pytorchs(void **state)
{
  cJSON       *json = Load();
  const cJSON *schedule;

  (void)state;
  cJSON_ArrayForEach(schedule, Item(json, "schedules"))
  {
    EkOptimOptions options = OptionsOf(Item(schedule, "options"));
    const PetscInt epochs = (PetscInt)Item(schedule, "epochs")->valuedouble,
                   nbatches = (PetscInt)Item(schedule, "nbatches")->valuedouble;

    options.schedule = EkFamilyFind(&EkScheduleFamily, Item(schedule, "schedule")->valuestring);
    options.beta1 = 0.9;
    for (PetscInt s = 0; s < epochs * nbatches; s++) {
      const EkScheduleAt at = {s / nbatches, s % nbatches, epochs, nbatches};
      const double       rate = cJSON_GetArrayItem(Item(schedule, "rate"), (int)s)->valuedouble,
                   beta1 = cJSON_GetArrayItem(Item(schedule, "beta1"), (int)s)->valuedouble;

      if (!(fabs(EkScheduleRate(&options, &at) - rate) <= 1e-8 * rate + 1e-18))
        fail_msg("%s, step %d: %g, not %g", Item(schedule, "schedule")->valuestring, (int)s, EkScheduleRate(&options, &at), rate);
      if (!(fabs(EkScheduleMomentum(&options, &at) - beta1) <= 1e-8))
        fail_msg("%s, step %d: beta1 %g, not %g", Item(schedule, "schedule")->valuestring, (int)s,
                 EkScheduleMomentum(&options, &at), beta1);
    }
  }
  cJSON_Delete(json);
}

/* Rates that runs had before there were other schedules: exactly these products. Past the end `step` goes on, the others stay. */
static void schedules_at_their_ends(void **state)
{
  EkOptimOptions options = {.lr = 2.5e-3, .schedule_step = 3, .schedule_gamma = 0.5, .warmup = 1};

  (void)state;
  for (PetscInt e = 0; e < 12; e++) {
    const EkScheduleAt at = {e, e % 4, 6, 4};

    options.schedule = EkFamilyFind(&EkScheduleFamily, "step");
    assert_true(EkScheduleRate(&options, &at) == 2.5e-3 * pow(0.5, (double)(e / 3)));
    options.schedule = EkFamilyFind(&EkScheduleFamily, "constant");
    assert_true(EkScheduleRate(&options, &at) == 2.5e-3);
  }
  for (int i = 0; i < EkScheduleFamily.count; i++) {
    const EkScheduleAt last = {5, 3, 6, 4}, past = {6, 0, 6, 4}, only = {0, 0, 1, 1};

    options.schedule = i;
    assert_true(isfinite(EkScheduleRate(&options, &only)));
    if (strcmp(EkFamilyMember(&EkScheduleFamily, i)->name, "step"))
      assert_true(EkScheduleRate(&options, &past) == EkScheduleRate(&options, &last));
    for (PetscInt warmup = 0; warmup <= 6;
         warmup++) { /* the largest rate, once, wherever the warm-up ends; never more, never less than nothing */
      double most = 0;

      options.warmup = (double)warmup / 4;
      for (PetscInt s = 0; s < 24; s++) {
        const double rate = EkScheduleRate(&options, &(EkScheduleAt){s / 4, s % 4, 6, 4});

        assert_true(rate >= 0 && rate <= 2.5e-3 * (1 + 1e-12));
        most = fmax(most, rate);
      }
      if (warmup != 0) assert_true(most > 0.99 * 2.5e-3);
    }
    options.warmup = 1;
  }
}

/* ---- what holds for every row --------------------------------------------------------------------------------------- */

/* Slices of the optimizer's state give the same weights, bit for bit, as one rank doing all. */
static void sliced_updates_equal_whole_ones(void **state)
{
  EkParams p = MakeParams();
  float   *whole = malloc(p->total * sizeof(float));

  (void)state;
  for (int i = 0; i < EkOptimizerFamily.count; i++) {
    const EkOptimOptions options = Usual(i);

    if (EkOptimizerIsWhole(&options)) {
      EkOptimizer none;

      EK_FAILS(EkOptimizerCreate(&options, p, 2, p->total, &none), "slice");
      continue;
    }
    for (int parts = 1; parts <= 40; parts += parts < 5 ? 1 : 35) {
      EK_OK(EkParamsInitialise(p, 3));
      for (int k = 0; k < parts; k++) {
        PetscInt64 lo, hi;

        EkSlice((PetscInt64)p->total / 2, parts, k, &lo, &hi);
        Train(p, &options, 2 * (size_t)lo, 2 * (size_t)hi, 3, (const double[]){1, 0.7, 1.3, 1, 1});
      }
      if (parts == 1)
        memcpy(whole, p->weights, p->total * sizeof(float));
      else if (memcmp(whole, p->weights, p->total * sizeof(float)))
        fail_msg("%s differs in %d slices", EkFamilyMember(&EkOptimizerFamily, i)->name, parts);
    }
  }
  free(whole);
  EK_OK(EkParamsDestroy(&p));
}

static void what_no_gradient_reaches_stays(void **state)
{
  EkParams p = MakeParams();
  float   *start = malloc(p->total * sizeof(float));

  (void)state;
  for (int i = 0; i < EkOptimizerFamily.count; i++) {
    const EkOptimOptions options = Usual(i);

    EK_OK(EkParamsInitialise(p, 3));
    memcpy(start, p->weights, p->total * sizeof(float));
    Train(p, &options, 0, p->total, 2, ones);
    for (int t = 0; t < p->n; t++) {
      const size_t offset = p->table[t].offset, bytes = p->table[t].count * sizeof(float);

      assert_int_equal(memcmp(start + offset, p->weights + offset, bytes) != 0, p->info[t].used);
    }
  }
  free(start);
  EK_OK(EkParamsDestroy(&p));
}

/* A tensor at ratio r is a tensor at r times the rate. */
static void ratios_scale_the_rate(void **state)
{
  EkParams p = MakeParams();
  float   *half = malloc(p->total * sizeof(float));

  (void)state;
  for (int i = 0; i < EkOptimizerFamily.count; i++) {
    EkOptimOptions options = Usual(i);

    EK_OK(EkParamsInitialise(p, 3));
    Train(p, &options, 0, p->total, 3, (const double[]){0.5, 0.5, 1, 1, 1});
    memcpy(half, p->weights, p->total * sizeof(float));
    EK_OK(EkParamsInitialise(p, 3));
    options.lr /= 2;
    Train(p, &options, 0, p->total, 3, ones);
    for (int t = 0; t < p->n; t++) {
      const size_t offset = p->table[t].offset, bytes = p->table[t].count * sizeof(float);

      assert_int_equal(memcmp(half + offset, p->weights + offset, bytes) == 0,
                       t != 2); /* the complex one went on at the full rate */
    }
  }
  free(half);
  EK_OK(EkParamsDestroy(&p));
}

/* Turns every complex entry by 0.6 + 0.8 i. */
static void Turn(size_t n, float *z)
{
  for (size_t i = 0; i < n; i += 2) {
    const float re = z[i], im = z[i + 1];

    z[i] = 0.6f * re - 0.8f * im;
    z[i + 1] = 0.8f * re + 0.6f * im;
  }
}

/* The published form knows a complex entry by its size alone: turned weights and gradients give turned results. The forms that
 * take it apart do not. */
static void published_adam_turns_with_complex_entries(void **state)
{
  static const char *const name[] = {"adam", "sgd", "adam_pytorch", "adamw", "adafactor"};
  EkParams                 p = MakeParams();
  const EkTensorInfo      *t = &p->table[2];
  float                   *w = p->weights + t->offset, *first = malloc(t->count * sizeof(float));

  (void)state;
  for (int k = 0; k < 5; k++) {
    const EkOptimOptions options = Usual(EkFamilyFind(&EkOptimizerFamily, name[k]));
    double               off;

    for (int turned = 0; turned < 2; turned++) {
      EkOptimizer o;

      EK_OK(EkParamsInitialise(p, 3));
      if (turned) Turn(t->count, w);
      EK_OK(EkOptimizerCreate(&options, p, 0, p->total, &o));
      for (int step = 0; step < 3; step++) {
        Fill(p, step);
        if (turned) Turn(t->count, p->gradients + t->offset);
        EK_OK(EkOptimizerStep(o, options.lr, ones));
      }
      EK_OK(EkOptimizerDestroy(&o));
      if (!turned) memcpy(first, w, t->count * sizeof(float));
    }
    Turn(t->count, first);
    off = EkTestDistance(t->count, w, first);
    if ((off < 1e-6) != (k < 2)) fail_msg("%s: turned weights are %g off", name[k], off);
  }
  free(first);
  EK_OK(EkParamsDestroy(&p));
}

/* ---- clipping and SAM ------------------------------------------------------------------------------------------------ */

static EkParams Two(PetscBool is_complex, float a, float b)
{
  const PetscInt shape[] = {1, 2};
  EkParams       p;

  EK_OK(EkParamsCreate(&p));
  AddTensor(p, "two", is_complex, 2, shape);
  AddTensor(p, "unused", PETSC_FALSE, 2, shape);
  Allocate(p);
  p->info[1].used = PETSC_FALSE;
  p->weights[0] = p->gradients[0] = a;
  p->weights[1] = p->gradients[1] = b;
  p->weights[2] = p->weights[3] = 7;
  return p;
}

static void clipping_is_pytorchs(void **state)
{
  EkParams p = Two(PETSC_FALSE, 3, 4), q = MakeParams();
  double   square = 0;

  (void)state;
  assert_true(EkGradientNorm(p) == 5);
  EkGradientClip(p, 10, EkGradientNorm(p));
  assert_true(p->gradients[0] == 3 && p->gradients[1] == 4);
  EkGradientClip(p, 1, EkGradientNorm(p));
  assert_true(fabs(p->gradients[0] - 3 / (5 + 1e-6)) < 1e-7 && fabs(p->gradients[1] - 4 / (5 + 1e-6)) < 1e-7);
  Fill(q, 0);
  for (size_t i = 0; i < q->total; i++) square += (double)q->gradients[i] * q->gradients[i];
  assert_true(fabs(EkGradientNorm(q) / sqrt(square) - 1) < 1e-14);
  EK_OK(EkParamsDestroy(&p));
  EK_OK(EkParamsDestroy(&q));
}

/* The loss |w|^2 / 2 has the gradient w. */
static void sam_climbs_a_quadratic(void **state)
{
  /* adaptive: w + rho w^2 g / || |w| g ||, here 27 and 64 over || (9, 16) ||; a complex entry: |w|^2 = 25 over || 5 (3, 4) || */
  const double place[3][2] = {
      {3.3, 4.4}, {3 + 0.5 * 27 / sqrt(337), 4 + 0.5 * 64 / sqrt(337)}, {3 + 0.5 * 25 * 3 / 25, 4 + 0.5 * 25 * 4 / 25}};
  const double norms[3] = {5, sqrt(337), 25};

  (void)state;
  for (int k = 0; k < 3; k++) {
    EkParams p = Two((PetscBool)(k == 2), 3, 4);
    float    kept[4];
    double   norm;

    p->gradients[2] = 100; /* of the tensor no gradient reaches: not looked at */
    EK_OK(EkSamClimb(p, 0.5, (PetscBool)(k > 0), kept, &norm));
    assert_true(fabs(norm - norms[k]) < 1e-12 * norm);
    for (int i = 0; i < 2; i++) {
      if (!(fabs(p->weights[i] - place[k][i]) < 1e-6)) fail_msg("form %d: %g, not %g", k, p->weights[i], place[k][i]);
    }
    assert_true(p->weights[2] == 7);
    p->weights[3] = 8; /* a running statistic that moved on */
    EK_OK(EkSamReturn(p, kept));
    assert_true(p->weights[0] == 3 && p->weights[1] == 4 && p->weights[2] == 7 && p->weights[3] == 8);
    EK_OK(EkParamsDestroy(&p));
  }
}

static void sam_stays_where_there_is_no_gradient(void **state)
{
  EkParams p = Two(PETSC_FALSE, 3, 4);
  float    kept[4];
  double   norm;

  (void)state;
  p->gradients[0] = p->gradients[1] = 0;
  EK_OK(EkSamClimb(p, 0.5, PETSC_FALSE, kept, &norm));
  assert_true(norm == 0 && p->weights[0] == 3 && p->weights[1] == 4);
  EK_OK(EkParamsDestroy(&p));
}

/* ---- keys -------------------------------------------------------------------------------------------------------------- */

/* The options of a command line, or the error it is refused with; not as rank 0, which would print the lines. */
static PetscErrorCode Read(const char *line, EkOptimOptions *options)
{
  struct EkRun_  run = *EkTestRun();
  EkProblems     problems;
  PetscErrorCode code;

  memset(options, 0, sizeof(*options));
  run.rank = 1;
  EK_OK(PetscOptionsCreate(&run.options));
  EK_OK(PetscOptionsInsertString(run.options, line));
  EK_OK(EkProblemsCreate(&problems));
  EK_OK(EkKeysRead(&run, &EkOptimKeys, options, problems));
  EK_OK(EkOptimCheck(&run, options, 50, problems));
  code = EkProblemsRaise(&run, &problems);
  EK_OK(PetscOptionsDestroy(&run.options));
  return code;
}

static void keys_without_use_are_refused(void **state)
{
  static const char *const good[] = {
      "",
      "-train_beta1 0.5 -train_beta2 0.9 -train_eps 1e-6 -train_schedule_step 3",
      "-train_optimizer sgd -train_momentum 0",
      "-train_optimizer adafactor -train_weight_decay 0 -train_schedule one_cycle",
      "-train_schedule one_cycle -train_warmup 2.5 -train_beta2 0.9",
      "-train_schedule one_cycle -train_cycle_momentum no -train_beta1 0.9",
      "-train_sam 0.05 -train_sam_adaptive",
  };
  static const char *const bad[] = {
      "-train_momentum 0.9",
      "-train_optimizer sgd -train_beta1 0.9",
      "-train_optimizer adafactor -train_eps 1e-8",
      "-train_warmup 3",
      "-train_schedule cosine -train_schedule_step 100",
      "-train_schedule cosine -train_cycle_momentum no",
      "-train_schedule one_cycle -train_beta1 0.9",
      "-train_schedule one_cycle -train_optimizer sgd -train_momentum 0.9",
      "-train_schedule one_cycle -train_optimizer adafactor -train_cycle_momentum yes",
      "-train_schedule one_cycle -train_warmup 50",
      "-train_sam_adaptive yes",
      "-train_optimizer lion",
  };
  EkOptimOptions options;

  (void)state;
  for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
    if (Read(good[i], &options)) fail_msg("refused: %s", good[i]);
  }
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    if (!Read(bad[i], &options)) fail_msg("not refused: %s", bad[i]);
  }
  EK_OK(Read("-train_schedule one_cycle", &options));
  assert_true(options.warmup == 10); /* a fifth of 50 epochs, as DPOT */
  EK_OK(Read("-train_schedule linear_warmup -train_warmup 0", &options));
  assert_true(options.warmup == 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(updates_are_pytorchs),
    cmocka_unit_test(schedules_are_pytorchs),
    cmocka_unit_test(schedules_at_their_ends),
    cmocka_unit_test(sliced_updates_equal_whole_ones),
    cmocka_unit_test(what_no_gradient_reaches_stays),
    cmocka_unit_test(ratios_scale_the_rate),
    cmocka_unit_test(published_adam_turns_with_complex_entries),
    cmocka_unit_test(clipping_is_pytorchs),
    cmocka_unit_test(sam_climbs_a_quadratic),
    cmocka_unit_test(sam_stays_where_there_is_no_gradient),
    cmocka_unit_test(keys_without_use_are_refused),
};
EK_TEST_MAIN(tests)
