/* ranks: 1 2 3
   Where a training starts from: parts of a file, position embeddings of another grid, Adam's moments. */
#include "train_support.h"
#include "../src/train/trainer.h"
#include "evenkeel/command.h"

#define TORCH "tests/data/torch/"
#define SIZES "embed_dim: 16, n_blocks: 2, out_layer_dim: 4, modes: [2], mlp_ratio: 1"
#define DPOT  "model: {type: dpot, depth: 1, patch_size: 4, " SIZES "}\n"
#define FNO   "model: {type: fno2d, width: 4, modes: [3], transform: fft}\n"
#define RULE  "balance: {rule: none, min_eigs: 2}\n"
#define TRAIN "batch: 4, lr: 1e-2, shuffle: no, schedule: constant"

/* ---- what is printed ---------------------------------------------------------------------------------------- */

/* Standard output and error of this rank into a text, from Begin to End. */
typedef struct {
  int  file, kept[2];
  char text[16384];
} Capture;

static void CaptureBegin(Capture *c)
{
  char path[EK_PATH];

  snprintf(path, sizeof(path), "build/scratch/test_load.%d.%d.log", EkTestRun()->size, EkTestRun()->rank);
  c->file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
  fflush(NULL);
  for (int i = 0; i < 2; i++) {
    c->kept[i] = dup(1 + i);
    dup2(c->file, 1 + i);
  }
}

static void CaptureEnd(Capture *c)
{
  fflush(NULL);
  for (int i = 0; i < 2; i++) {
    dup2(c->kept[i], 1 + i);
    close(c->kept[i]);
  }
  memset(c->text, 0, sizeof(c->text));
  assert_true(pread(c->file, c->text, sizeof(c->text) - 1, 0) >= 0);
  close(c->file);
  if (EkTestRun()->rank) assert_string_equal(c->text, "");
}

/* EK_OK and EK_FAILS with what the call prints kept; they fail when it is over, so that their own lines are seen. */
#define QUIET_OK(capture, expr)                                                                                                  \
  do {                                                                                                                           \
    PetscErrorCode quiet_;                                                                                                       \
    CaptureBegin(capture);                                                                                                       \
    quiet_ = (expr);                                                                                                             \
    CaptureEnd(capture);                                                                                                         \
    if (quiet_) fail_msg("%s failed: %s", #expr, test_last_line);                                                                \
  } while (0)
#define QUIET_FAILS(capture, expr, words)                                                                                        \
  do {                                                                                                                           \
    PetscErrorCode quiet_;                                                                                                       \
    test_last_line[0] = 0;                                                                                                       \
    CaptureBegin(capture);                                                                                                       \
    quiet_ = (expr);                                                                                                             \
    CaptureEnd(capture);                                                                                                         \
    EkTestExpectFailure(quiet_, (words), #expr);                                                                                 \
  } while (0)

static void Says(const Capture *c, const char *words)
{
  if (EkTestRun()->rank == 0 && !strstr(c->text, words)) fail_msg("'%s' is not in:\n%s", words, c->text);
}

static void Scratch(char base[EK_PATH])
{
  EkTestScratch(base);
  MakeWaves(base);
}

/* ---- moments of a torch checkpoint -------------------------------------------------------------------------- */

/* The network of tests/data/torch/make.py. */
static EkParams TorchParams(void)
{
  static const struct {
    const char  *name;
    EkModuleKind kind;
    PetscBool    is_complex;
    int          rank;
    PetscInt     shape[4];
  } row[] = {{"pos_embed", EK_MODULE_OTHER, PETSC_FALSE, 4, {1, 2, 3, 4}},
             {"bias", EK_MODULE_OTHER, PETSC_FALSE, 1, {5}},
             {"w0.weight", EK_MODULE_LINEAR, PETSC_FALSE, 2, {2, 3}},
             {"w0.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, {2}},
             {"conv0.weights1", EK_MODULE_SPECTRAL, PETSC_TRUE, 3, {2, 3, 2}},
             {"norm.weight", EK_MODULE_OTHER, PETSC_FALSE, 1, {2}},
             {"norm.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, {2}},
             {"norm.running_mean", EK_MODULE_BUFFER, PETSC_FALSE, 1, {2}},
             {"norm.running_var", EK_MODULE_BUFFER, PETSC_FALSE, 1, {2}},
             {"cls_head.weight", EK_MODULE_LINEAR, PETSC_FALSE, 2, {2, 2}},
             {"cls_head.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, {2}}};
  EkParams p;

  EK_OK(EkParamsCreate(&p));
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    EK_OK(EkParamsAdd(p, row[i].name, row[i].kind, row[i].is_complex, row[i].rank, row[i].shape, 0, 0));
    p->info[i].used = (PetscBool)(row[i].kind != EK_MODULE_BUFFER && strncmp(row[i].name, "cls_head", 8));
  }
  EK_OK(EkParamsAllocate(p));
  return p;
}

static EkDeck TorchDeck(const char *weights, const char *load, const char *optimizer, double beta2)
{
  EkDeck deck;

  memset(&deck, 0, sizeof(deck));
  snprintf(deck.model.weights, EK_PATH, "%s", weights);
  snprintf(deck.model.load, EK_PATH, "%s", load);
  deck.optim = (EkOptimOptions){.optimizer = EkFamilyFind(&EkOptimizerFamily, optimizer),
                                .lr = 1e-2,
                                .weight_decay = 1e-3,
                                .beta1 = 0.9,
                                .beta2 = beta2,
                                .eps = 1e-8};
  assert_true(deck.optim.optimizer >= 0);
  return deck;
}

/* This rank's slice of an arena: none for some ranks, pairs never cut. */
static void SliceOf(EkParams p, size_t *lo, size_t *hi)
{
  PetscInt64 first, end;

  EkSlice((PetscInt64)p->total / 2, EkTestRun()->size, EkTestRun()->rank, &first, &end);
  *lo = 2 * (size_t)first;
  *hi = 2 * (size_t)end;
}

/* Values of the tensor PREFIX.NAME of a file for each tensor of the parameters, into an arena; nothing where there is none. */
static void Pick(EkParams p, int n, const EkTensorInfo table[], const float *from, const char *prefix, float *to)
{
  char name[2 * EK_NAME];

  for (int i = 0; i < p->n; i++) {
    snprintf(name, sizeof(name), "%s.%s", prefix, p->table[i].name);
    for (int j = 0; j < n; j++) {
      if (strcmp(table[j].name, name)) continue;
      assert_int_equal(table[j].count, p->table[i].count);
      memcpy(to + p->table[i].offset, from + table[j].offset, table[j].count * sizeof(float));
    }
  }
}

static void Continue(const char *file, const char *next, const char *optimizer, double beta2)
{
  const EkDeck  deck = TorchDeck(file, "all,optimizer", optimizer, beta2);
  EkParams      p = TorchParams();
  EkTensorInfo *table;
  EkOptimizer   o;
  Capture       capture;
  double        ratio[16], error = 0;
  size_t        lo, hi;
  float        *values, *after = calloc(p->total, sizeof(float));
  int           n;

  for (int i = 0; i < 16; i++) ratio[i] = 1;
  SliceOf(p, &lo, &hi);
  EK_OK(EkOptimizerCreate(&deck.optim, p, lo, hi, &o));
  EK_OK(EkWeightsRead(EkTestRun(), file, p->n, p->table, p->weights));
  QUIET_OK(&capture, EkLoadMoments(EkTestRun(), &deck, o));
  Says(&capture, "Adam's moments after 2 updates; 2 tensors have none there and start at zero\n");
  assert_int_equal(o->steps, 2);
  for (size_t i = 0; i < p->total; i++) assert_true(p->gradients[i] == 0);
  EK_OK(EkWeightsReadAll(EkTestRun(), next, &n, &table, &values));
  memcpy(after, p->weights, p->total * sizeof(float));
  for (int step = 0; step < 3; step++) {
    char prefix[32];

    snprintf(prefix, sizeof(prefix), "gradient%d", step);
    Pick(p, n, table, values, prefix, p->gradients);
    EK_OK(EkOptimizerStep(o, 1e-2, ratio));
  }
  Pick(p, n, table, values, "after", after);
  for (size_t i = lo; i < hi; i++) {
    const double off = fabs(p->weights[i] - after[i]);

    error = isnan(off) ? INFINITY : fmax(error, off);
  }
  MPI_Allreduce(MPI_IN_PLACE, &error, 1, MPI_DOUBLE, MPI_MAX, EkTestRun()->comm);
  if (!(error <= 1e-6)) fail_msg("%s: a weight is %g away from torch's", file, error);
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(values));
  EK_OK(EkOptimizerDestroy(&o));
  EK_OK(EkParamsDestroy(&p));
  free(after);
}

static void three_more_steps_are_torchs(void **state)
{
  (void)state;
  Continue(TORCH "adam.safetensors", TORCH "adam_next.safetensors", "adam_pytorch", 0.999);
  Continue(TORCH "published.safetensors", TORCH "published_next.safetensors", "adam", 0.9);
}

/* The published Adam can go on with torch's, |g|^2 is the sum of the squares; the other way round nothing is known of either
 * part. */
static void second_moments_of_complex_tensors(void **state)
{
  EkParams    p = TorchParams();
  EkDeck      deck = TorchDeck(TORCH "adam.safetensors", "all,optimizer", "adam", 0.999);
  EkOptimizer both, apart;
  Capture     capture;

  (void)state;
  EK_OK(EkOptimizerCreate(&deck.optim, p, 0, p->total, &both));
  QUIET_OK(&capture, EkLoadMoments(EkTestRun(), &deck, both));
  deck = TorchDeck(TORCH "adam.safetensors", "all,optimizer", "adamw", 0.999);
  EK_OK(EkOptimizerCreate(&deck.optim, p, 0, p->total, &apart));
  QUIET_OK(&capture, EkLoadMoments(EkTestRun(), &deck, apart));
  for (int t = 0; t < p->n; t++) {
    for (size_t i = p->table[t].offset; i < p->table[t].offset + p->table[t].count; i += 2) {
      const float *v = apart->array[1].values + i, *w = both->array[1].values + i;

      assert_true(both->array[0].values[i] == apart->array[0].values[i]);
      if (p->table[t].is_complex)
        assert_true(v[0] > 0 && v[1] > 0 && w[0] == v[0] + v[1] && w[1] == w[0]);
      else
        assert_true(w[0] == v[0]);
    }
  }
  deck = TorchDeck(TORCH "published.safetensors", "all,optimizer", "adamw", 0.9);
  EK_FAILS(EkLoadMoments(EkTestRun(), &deck, apart),
           "one second moment for real and imaginary part of 'conv0.weights1', as train_optimizer adam has it; adamw needs");
  EK_OK(EkOptimizerDestroy(&both));
  EK_OK(EkOptimizerDestroy(&apart));
  EK_OK(EkParamsDestroy(&p));
}

static void moments_that_are_not_there(void **state)
{
  static const EkTensorInfo whole[2] = {{"optimizer.exp_avg.bias", 1, {5}, PETSC_FALSE, PETSC_FALSE, 0, 5},
                                        {"optimizer.exp_avg_sq.bias", 1, {5}, PETSC_FALSE, PETSC_FALSE, 5, 5}},
                            short_[2] = {{"optimizer.exp_avg.bias", 1, {4}, PETSC_FALSE, PETSC_FALSE, 0, 4},
                                         {"optimizer.exp_avg_sq.bias", 1, {4}, PETSC_FALSE, PETSC_FALSE, 4, 4}};
  const float  values[10] = {0};
  const EkNote steps = {EK_NOTE_STEPS, "2"};
  EkParams     p = TorchParams();
  EkDeck       deck = TorchDeck(TORCH "positions.safetensors", "all,optimizer", "adam", 0.999);
  EkOptimizer  o;
  Capture      capture;
  char         base[EK_PATH];

  (void)state;
  EkTestScratch(base);
  EK_OK(EkOptimizerCreate(&deck.optim, p, 0, p->total, &o));
  EK_FAILS(EkLoadMoments(EkTestRun(), &deck, o), "positions.safetensors' holds no moments of Adam; leave optimizer out");
  snprintf(deck.model.weights, EK_PATH, "%.900s/lost.safetensors", base);
  EK_OK(EkWeightsWrite(EkTestRun(), deck.model.weights, 2, whole, values));
  EK_FAILS(EkLoadMoments(EkTestRun(), &deck, o),
           "does not say how many updates its moments are of ('optimizer_steps' is missing)");
  EK_OK(EkWeightsWriteNoted(EkTestRun(), deck.model.weights, 2, whole, values, 1, &(EkNote){EK_NOTE_STEPS, "2.5"}));
  EK_FAILS(EkLoadMoments(EkTestRun(), &deck, o), "('optimizer_steps' is 2.5)");
  EK_OK(EkWeightsWriteNoted(EkTestRun(), deck.model.weights, 2, short_, values, 1, &steps));
  QUIET_FAILS(&capture, EkLoadMoments(EkTestRun(), &deck, o), "1 of its or the model's tensors do not fit");
  Says(&capture, "bias: found F32 4, wanted F32 5\n");
  EK_OK(EkWeightsWriteNoted(EkTestRun(), deck.model.weights, 1, whole + 1, values, 1, &steps));
  EK_FAILS(EkLoadMoments(EkTestRun(), &deck, o),
           "lost.safetensors' has exp_avg_sq of 'bias' but not its exp_avg; leave optimizer out");
  EK_OK(EkWeightsWriteNoted(EkTestRun(), deck.model.weights, 1, whole, values, 1, &steps));
  EK_FAILS(EkLoadMoments(EkTestRun(), &deck, o),
           "lost.safetensors' has exp_avg of 'bias' but not its exp_avg_sq; leave optimizer out");
  snprintf(deck.model.load, EK_PATH, "w0,optimizer"); /* outside the parts, nobody asks */
  QUIET_OK(&capture, EkLoadMoments(EkTestRun(), &deck, o));
  EK_OK(EkOptimizerDestroy(&o));
  EK_OK(EkParamsDestroy(&p));
}

/* A second moment below zero is a root of a negative number in the first step. */
static void second_moments_are_not_negative(void **state)
{
  static const EkTensorInfo table[4] = {{"optimizer.exp_avg.w0.weight", 2, {2, 3}, PETSC_FALSE, PETSC_FALSE, 0, 6},
                                        {"optimizer.exp_avg_sq.w0.weight", 2, {2, 3}, PETSC_FALSE, PETSC_FALSE, 6, 6},
                                        {"optimizer.exp_avg.conv0.weights1", 3, {2, 3, 2}, PETSC_TRUE, PETSC_FALSE, 12, 12},
                                        {"optimizer.exp_avg_sq.conv0.weights1", 3, {2, 3, 2}, PETSC_TRUE, PETSC_FALSE, 24, 12}};
  static const struct {
    const char *optimizer, *note;
    int         at;
    float       value;
    const char *words; /* NULL: it is taken */
  } row[] = {{"adam", NULL, 10, -0.5f, "exp_avg_sq of 'w0.weight' is -0.5 at (1, 1), but a mean of squares is not below zero"},
             {"adamw", NULL, 6, -1e-30f, "exp_avg_sq of 'w0.weight' is -1e-30 at (0, 0)"},
             {"adam", NULL, 30, -1.5f, "exp_avg_sq of 'conv0.weights1' is -1.5 at (1, 0, 0)"},
             {"adam", NULL, 31, -0.25f, "exp_avg_sq of 'conv0.weights1' is -0.25 at (1, 0, 1)"},
             {"adam", NULL, 31, -1e-7f, NULL}, /* rounding of g conj(g) */
             {"adam", "adam", 31, -1e-7f, "exp_avg_sq of 'conv0.weights1' is -1e-07 at (1, 0, 1)"},
             {"adam_pytorch", NULL, 31, -1e-7f, "exp_avg_sq of 'conv0.weights1' is -1e-07 at (1, 0, 1)"}};
  EkParams p = TorchParams();
  EkDeck   deck;
  Capture  capture;
  char     base[EK_PATH], path[EK_PATH];

  (void)state;
  EkTestScratch(base);
  snprintf(path, EK_PATH, "%.900s/negative.safetensors", base);
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    const EkNote notes[2] = {{EK_NOTE_STEPS, "2"}, {"optimizer", row[i].note}};
    EkOptimizer  o;
    float        values[36];

    for (int k = 0; k < 36; k++) values[k] = 1;
    values[row[i].at] = row[i].value;
    EK_OK(EkWeightsWriteNoted(EkTestRun(), path, 4, table, values, 2, notes));
    deck = TorchDeck(path, "all,optimizer", row[i].optimizer, 0.999);
    EK_OK(EkOptimizerCreate(&deck.optim, p, 0, p->total, &o));
    if (row[i].words)
      EK_FAILS(EkLoadMoments(EkTestRun(), &deck, o), row[i].words);
    else
      QUIET_OK(&capture, EkLoadMoments(EkTestRun(), &deck, o));
    EK_OK(EkOptimizerDestroy(&o));
  }
  EK_OK(EkParamsDestroy(&p));
}

/* ---- moments of a run --------------------------------------------------------------------------------------- */

static void Train(Job *job)
{
  assert_int_equal(JobTrain(job), 0);
  MPI_Barrier(EkTestRun()->comm);
}

static void Export(const char *from, const char *to, const char *word)
{
  char         *argv[] = {(char *)"export", (char *)from, (char *)to, (char *)word, NULL};
  struct EkRun_ run = *EkTestRun();
  Capture       capture;
  int           status;

  run.argv = argv;
  run.argc = word ? 4 : 3;
  QUIET_OK(&capture, EkCommandExport(&run, &status));
  MPI_Barrier(run.comm);
}

/* The checkpoint's moments under the names of the weights, no value of them lost. The published Adam has a complex tensor's
   second one in both places, torch in the real one; adam_pytorch has one of the real and one of the imaginary parts. */
static void CheckExported(const char *from, const char *to, PetscBool published)
{
  for (EkWeightsMemory memory = EK_MEMORY_FIRST; memory <= EK_MEMORY_SECOND; memory++) {
    EkTensorInfo *table[2];
    float        *arena[2];
    int           n[2];

    EK_OK(EkWeightsReadMemory(EkTestRun(), from, memory, &n[0], &table[0], &arena[0]));
    EK_OK(EkWeightsReadMemory(EkTestRun(), to, memory, &n[1], &table[1], &arena[1]));
    assert_true(n[0] == 22 && n[1] == 22);
    for (int i = 0; i < n[1]; i++) {
      const EkTensorInfo *there = &table[1][i];
      const PetscBool     folded = (PetscBool)(there->is_complex && published && memory == EK_MEMORY_SECOND);
      const EkTensorInfo *here = NULL;
      double              some = 0;

      for (int j = 0; j < n[0] && !here; j++) here = strcmp(table[0][j].name, there->name) ? NULL : &table[0][j];
      assert_true(here && here->count == there->count);
      for (size_t v = 0; v < there->count; v++) {
        const float value = arena[1][there->offset + v];

        some += fabs(value);
        assert_true(value == (folded && v % 2 ? 0 : arena[0][here->offset + v]));
      }
      assert_true(some > 0);
    }
    for (int k = 0; k < 2; k++) {
      EK_OK(PetscFree(table[k]));
      EK_OK(PetscFree(arena[k]));
    }
  }
}

/* Two epochs are one, and one that takes up weights and moments: from the checkpoint, and from what `export` makes of it. */
static void moments_go_on(void **state)
{
  static const char *const mesh[] = {"none", "optimizer"}, *const optimizer[] = {"adam", "adam_pytorch"};
  char base[EK_PATH], first[2 * EK_PATH], exported[2 * EK_PATH];
  Job  whole, half, rest;

  (void)state;
  for (int i = 0; i < 2; i++) {
    Scratch(base);
    snprintf(first, sizeof(first), "%s/half/checkpoint.h5", base);
    snprintf(exported, sizeof(exported), "%s/half/moments.safetensors", base);
    JobCreate(&whole, EkTestRun()->comm, base, "whole",
              WAVES FNO RULE "mesh: {shard: %s}\ntrain: {epochs: 2, optimizer: %s, " TRAIN "}\n", mesh[i], optimizer[i]);
    JobCreate(&half, EkTestRun()->comm, base, "half",
              WAVES FNO RULE "train: {epochs: 1, optimizer: %s, " TRAIN "}\nmesh: {shard: %s}\n", optimizer[i], mesh[i]);
    Train(&whole);
    Train(&half);
    Export(first, exported, "optimizer");
    CheckExported(first, exported, (PetscBool)(i == 0));
    for (int k = 0; k < 3; k++) {
      char name[16];

      snprintf(name, sizeof(name), "rest%d", k);
      JobCreate(&rest, EkTestRun()->comm, base, name,
                WAVES FNO RULE "mesh: {shard: %s}\ntrain: {epochs: 1, optimizer: %s, " TRAIN "}\n", mesh[i], optimizer[i]);
      EK_OK(PetscStrncpy(rest.deck.model.weights, k ? exported : first, EK_PATH));
      EK_OK(PetscStrncpy(rest.deck.model.load, k < 2 ? "all, optimizer" : "all", EK_PATH));
      Train(&rest);
      if (k == 2) break;
      AssertSameBytes(whole.dir, rest.dir, "final.safetensors");
    }
    { /* without moments it is another training */
      size_t n;
      char  *one = FileText(whole.dir, "final.safetensors", &n), *two = FileText(rest.dir, "final.safetensors", &n);

      assert_true(memcmp(one, two, n));
      free(one);
      free(two);
    }
  }
}

/* Weights without a third word, in the order of the table; with it, moments behind them. */
static void export_with_moments(void **state)
{
  char          base[EK_PATH], from[2 * EK_PATH], to[2 * EK_PATH], *note;
  EkTensorInfo *table, *moment;
  int           n, m;
  Job           job;

  (void)state;
  Scratch(base);
  JobCreate(&job, EkTestRun()->comm, base, "run", WAVES FNO RULE "train: {epochs: 1, " TRAIN "}\n");
  Train(&job);
  snprintf(from, sizeof(from), "%s/run/checkpoint.h5", base);
  snprintf(to, sizeof(to), "%s/run/plain.safetensors", base);
  Export(from, to, NULL);
  AssertSameBytes(job.dir, job.dir, "plain.safetensors");
  {
    size_t bytes, same;
    char  *one = FileText(job.dir, "plain.safetensors", &bytes), *two = FileText(job.dir, "final.safetensors", &same);

    assert_true(bytes == same && !memcmp(one, two, bytes));
    free(one);
    free(two);
  }
  Export(from, to, "optimizer");
  EK_OK(EkWeightsList(EkTestRun(), to, EK_MEMORY_WEIGHTS, &n, &table));
  EK_OK(EkWeightsList(EkTestRun(), to, EK_MEMORY_SECOND, &m, &moment));
  assert_true(n == 22 && m == 22);
  for (int i = 0; i < n; i++)
    assert_true(!strcmp(table[i].name, moment[i].name) && table[i].is_complex == moment[i].is_complex &&
                table[i].count == moment[i].count);
  assert_string_equal(table[0].name, "fc0.weight");
  EK_OK(EkWeightsReadNote(EkTestRun(), to, EK_NOTE_STEPS, &note));
  assert_string_equal(note, "2");
  EK_OK(PetscFree(note));
  EK_OK(EkWeightsReadNote(EkTestRun(), to, EK_NOTE_GROUP, &note));
  assert_non_null(strstr(note, "\"lr\":0.01,\"betas\":[0.9,0.999]"));
  EK_OK(PetscFree(note));
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(moment));
}

/* A run that is continued needs the file it started from no more. */
static void a_checkpoint_wins(void **state)
{
  char base[EK_PATH], weights[2 * EK_PATH];
  Job  source, whole, half;

  (void)state;
  Scratch(base);
  JobCreate(&source, EkTestRun()->comm, base, "source", WAVES FNO RULE "train: {epochs: 1, seed: 5, " TRAIN "}\n");
  Train(&source);
  snprintf(weights, sizeof(weights), "%s/source/final.safetensors", base);
  for (int i = 0; i < 2; i++) {
    Job *job = i ? &half : &whole;

    JobCreate(job, EkTestRun()->comm, base, i ? "half" : "whole", WAVES FNO RULE "train: {epochs: %d, resume: auto, " TRAIN "}\n",
              2 - i);
    EK_OK(PetscStrncpy(job->deck.model.weights, weights, EK_PATH));
    EK_OK(PetscStrncpy(job->deck.model.load, "all,optimizer", EK_PATH));
    if (!i)
      EK_OK(PetscStrncpy(job->deck.model.load, "all", EK_PATH));
    else
      EK_OK(PetscStrncpy(job->deck.model.load, "fc0,fc1,fc2,conv0,conv1,conv2,conv3,w0,w1,w2,w3", EK_PATH));
    Train(job);
  }
  if (EkTestRun()->rank == 0) assert_int_equal(unlink(weights), 0);
  MPI_Barrier(EkTestRun()->comm);
  half.deck.train.epochs = 2;
  Train(&half);
  AssertSameBytes(whole.dir, half.dir, "final.safetensors");
  assert_true(FileHas(half.dir, "resolved.yaml", "source/final.safetensors"));
}

/* ---- parts -------------------------------------------------------------------------------------------------- */

static const EkTensorInfo *RowOf(int n, const EkTensorInfo table[], const char *name)
{
  for (int i = 0; i < n; i++) {
    if (!strcmp(table[i].name, name)) return &table[i];
  }
  return NULL;
}

/* Of a DPOT with other classes and another time aggregation: what is taken is the file's, what is not the seed's. */
static void parts_are_taken(void **state)
{
  static const char taken[] = "pos,blocks,patch_embed,out";
  char              base[EK_PATH], weights[2 * EK_PATH];
  EkSession         drawn, loaded;
  EkTensorInfo     *table;
  Capture           capture;
  float            *values;
  int               n;
  Job               source, job;

  (void)state;
  Scratch(base);
  snprintf(weights, sizeof(weights), "%s/source/final.safetensors", base);
  JobCreate(&source, EkTestRun()->comm, base, "source", WAVES DPOT RULE "train: {epochs: 1, seed: 5, " TRAIN "}\n");
  Train(&source);
  JobCreate(&job, EkTestRun()->comm, base, "job",
            WAVES "model: {type: dpot, depth: 1, patch_size: 4, n_cls: 3, time_agg: mlp, weights: %s, load: [%s], " SIZES
                  "}\n" RULE "train: {epochs: 1, " TRAIN "}\n",
            weights, taken);
  assert_string_equal(job.deck.model.load, taken);
  QUIET_OK(&capture, EkSessionCreate(&job.run, &job.deck, EK_CHOOSE_AUTO, &loaded));
  Says(&capture, "model_load: 23 of the model's 30 tensors loaded from ");
  Says(&capture, "  7 of the model drawn anew: cls_head.0.weight, cls_head.0.bias, cls_head.2.weight, cls_head.2.bias, "
                 "cls_head.4.weight, cls_head.4.bias, time_agg_layer.w\n");
  Says(&capture, "  8 of the file left out: cls_head.0.weight,");
  job.deck.model.weights[0] = 0;
  EK_OK(EkSessionCreate(&job.run, &job.deck, EK_CHOOSE_AUTO, &drawn));
  EK_OK(EkWeightsReadAll(EkTestRun(), weights, &n, &table, &values));
  for (int i = 0; i < loaded->params->n; i++) {
    const EkTensorInfo *t = &loaded->params->table[i], *there = RowOf(n, table, t->name);
    const PetscBool     want = (PetscBool)(strncmp(t->name, "cls_head", 8) && strncmp(t->name, "time_agg", 8));
    const float        *from = want ? values + there->offset : drawn->params->weights + t->offset;

    if (memcmp(loaded->params->weights + t->offset, from, t->count * sizeof(float)))
      fail_msg("%s is not what it should be", t->name);
  }
  EK_OK(EkSessionDestroy(&drawn));
  EK_OK(EkSessionDestroy(&loaded));
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(values));
}

static void names_and_parts(void **state)
{
  (void)state;
  assert_true(EkInParts("blocks.0.mlp.0.bias", "pos,blocks"));
  assert_true(EkInParts("pos_embed", "pos,blocks") && EkInParts("pos_embed", "pos_embed") &&
              EkInParts("time_agg_layer.w", "time_agg"));
  assert_true(EkInParts("scale_feats_mu.bias", "scale_feats") && EkInParts("out_layer.0.bias", "x,out"));
  assert_false(EkInParts("encoder1.enc1conv1.weight", "encoder") || EkInParts("conv0.weights1", "conv") ||
               EkInParts("pos", "pos_embed"));
  assert_false(EkInParts("blocks.0.mlp.0.bias", "") || EkInParts("blocks.0.mlp.0.bias", ",,"));
  assert_true(EkInParts("anything", NULL));
}

/* Opens a session that must fail, and what is said then, in so many lines. */
static int  said_lines;
static void Refused(Job *job, const char *line, const char *words)
{
  EkSession session;
  Capture   capture;

  QUIET_FAILS(&capture, EkSessionCreate(&job->run, &job->deck, EK_CHOOSE_AUTO, &session), line);
  Says(&capture, words);
  said_lines = 0;
  for (const char *at = capture.text; (at = strchr(at, '\n')); at++) said_lines++;
}

static void parts_there_are_none_of(void **state)
{
  char base[EK_PATH], weights[2 * EK_PATH];
  Job  source, job;

  (void)state;
  Scratch(base);
  snprintf(weights, sizeof(weights), "%s/source/final.safetensors", base);
  JobCreate(&source, EkTestRun()->comm, base, "source", WAVES DPOT RULE "train: {epochs: 1, " TRAIN "}\n");
  Train(&source);
  JobCreate(&job, EkTestRun()->comm, base, "job",
            WAVES "model: {type: dpot, depth: 1, patch_size: 4, normalize: yes, weights: %s, " SIZES "}\n", weights);
  EK_OK(PetscStrncpy(job.deck.model.load, "blocks,heads", EK_PATH));
  Refused(&job, "",
          "model_load: the model has no part 'heads'; there is: pos_embed patch_embed blocks scale_feats_mu scale_feats_sigma "
          "cls_head time_agg_layer out_layer\n");
  EK_OK(PetscStrncpy(job.deck.model.load, "scale_feats", EK_PATH));
  Refused(
      &job, "",
      "final.safetensors' has no part 'scale_feats'; there is: pos_embed patch_embed blocks cls_head time_agg_layer out_layer\n");
  /* in the parts asked for, nothing may be missing or too much */
  JobCreate(&job, EkTestRun()->comm, base, "deep",
            WAVES "model: {type: dpot, depth: 2, patch_size: 4, weights: %s, load: blocks, " SIZES "}\n", weights);
  Refused(&job, "12 of its or the model's tensors do not fit", "blocks.1.norm1.weight: missing, wanted F32 16\n");
  Refused(&job, "do not fit", "this looks like weights of dpot; for them, set model: {depth: 1}\n");
}

static void decks_that_ask_in_vain(void **state)
{
  static const struct {
    const char *model, *train, *words;
  } bad[] = {
      {"load: blocks", "", "model_load: there is no model_weights to take parts of"},
      {"weights: w, load: optimizer", "", "model_load: 'optimizer' names no part of the model; all,optimizer takes everything"},
      {"weights: w, load: [all, optimizer]", "optimizer: sgd",
       "model_load: optimizer is for adam, adam_pytorch and adamw; train_optimizer sgd has no moments"}};
  char          base[EK_PATH], path[2 * EK_PATH], *argv[3] = {(char *)"train", path, NULL};
  struct EkRun_ run = *EkTestRun();
  Capture       capture;
  EkDeck        deck;

  (void)state;
  Scratch(base);
  snprintf(path, sizeof(path), "%s/deck.yaml", base);
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    if (run.rank == 0) {
      FILE *file = fopen(path, "w");

      fprintf(file, "data: {file: %s/waves.h5}\nout: {dir: %s/x}\nmodel: {type: fno2d, %s}\ntrain: {epochs: 1%s%s}\n", base, base,
              bad[i].model, *bad[i].train ? ", " : "", bad[i].train);
      fclose(file);
    }
    MPI_Barrier(run.comm);
    run.argv = argv;
    run.argc = 2;
    EK_OK(PetscOptionsCreate(&run.options));
    QUIET_FAILS(&capture, EkDeckRead(&run, &deck), "");
    Says(&capture, bad[i].words);
    EK_OK(PetscOptionsDestroy(&run.options));
    MPI_Barrier(run.comm);
  }
}

/* ---- shapes ------------------------------------------------------------------------------------------------- */

static void positions_are_interpolated_as_torch_does(void **state)
{
  static const PetscInt grid[3][2] = {{6, 8}, {2, 2}, {5, 3}};
  const EkWeightsChoice choice = {.parts = "pos_embed", .resize = "pos_embed"}, as_it_is = {.parts = "pos_embed"};
  EkTensorInfo         *table;
  Capture               capture;
  float                *values;
  int                   n;

  (void)state;
  EK_OK(EkWeightsReadAll(EkTestRun(), TORCH "positions.safetensors", &n, &table, &values));
  for (int g = 0; g < 3; g++) {
    const size_t       count = 2 * (size_t)(grid[g][0] * grid[g][1]);
    const EkTensorInfo want = {"pos_embed", 4, {1, 2, grid[g][0], grid[g][1]}, PETSC_FALSE, PETSC_FALSE, 0, count},
                       wide = {"pos_embed", 4, {1, 3, grid[g][0], grid[g][1]}, PETSC_FALSE, PETSC_FALSE, 0, 3 * count / 2};
    const EkTensorInfo *right;
    char                name[16], words[64];
    float               got[256];

    snprintf(name, sizeof(name), "on%dx%d", (int)grid[g][0], (int)grid[g][1]);
    right = RowOf(n, table, name);
    QUIET_OK(&capture, EkWeightsReadChosen(EkTestRun(), TORCH "positions.safetensors", &choice, 1, &want, got));
    snprintf(words, sizeof(words), "pos_embed interpolated from 3 x 4 to %d x %d points\n", (int)grid[g][0], (int)grid[g][1]);
    Says(&capture, words);
    assert_int_equal(right->count, count);
    for (size_t i = 0; i < count; i++) assert_true(fabs(got[i] - values[right->offset + i]) < 1e-6);
    QUIET_FAILS(&capture, EkWeightsReadChosen(EkTestRun(), TORCH "positions.safetensors", &as_it_is, 1, &want, got),
                "1 of its or the model's tensors do not fit");
    QUIET_FAILS(&capture, EkWeightsReadChosen(EkTestRun(), TORCH "positions.safetensors", &choice, 1, &wide, got),
                "1 of its or the model's tensors do not fit");
    Says(&capture, "pos_embed: found F32 1 x 2 x 3 x 4, wanted F32 1 x 3 x ");
  }
  EK_OK(PetscFree(table));
  EK_OK(PetscFree(values));
}

/* With everything taken, too: a DPOT of finer patches cannot be filled but for its position embedding. */
static void a_session_interpolates(void **state)
{
  char      base[EK_PATH], weights[2 * EK_PATH];
  EkSession session;
  Capture   capture;
  Job       source, job;

  (void)state;
  Scratch(base);
  snprintf(weights, sizeof(weights), "%s/source/final.safetensors", base);
  JobCreate(&source, EkTestRun()->comm, base, "source", WAVES DPOT RULE "train: {epochs: 1, " TRAIN "}\n");
  Train(&source);
  JobCreate(&job, EkTestRun()->comm, base, "job",
            WAVES "model: {type: dpot, depth: 1, patch_size: 2, weights: %s, load: [pos, blocks], " SIZES "}\n", weights);
  QUIET_OK(&capture, EkSessionCreate(&job.run, &job.deck, EK_CHOOSE_AUTO, &session));
  Says(&capture, "pos_embed interpolated from 2 x 2 to 4 x 4 points\n");
  EK_OK(EkSessionDestroy(&session));
  EK_OK(PetscStrncpy(job.deck.model.load, "all", EK_PATH));
  Refused(&job, "tensors do not fit", "pos_embed interpolated from 2 x 2 to 4 x 4 points\n");
  Refused(&job, "4 of its or the model's tensors do not fit",
          "patch_embed.proj.0.weight: found F32 19 x 7 x 4 x 4, wanted F32 11 x 7 x 2 x 2\n");
}

/* A file that says of itself which preset it is, with more than can be listed wrong in it. */
static void another_preset_is_recognised(void **state)
{
  static EkTensorInfo table[64] = {{"pos_embed", 4, {1, 1024, 1, 1}, PETSC_FALSE, PETSC_FALSE, 0, 1024}};
  static float        values[64 * 1024];
  char                base[EK_PATH], path[EK_PATH];
  Job                 job;
  int                 n = 1;

  (void)state;
  Scratch(base);
  snprintf(path, EK_PATH, "%.900s/small.safetensors", base);
  for (int block = 0; block < 6; block++) {
    table[n] = (EkTensorInfo){.rank = 1, .shape = {1024}, .offset = 1024 * (size_t)n, .count = 1024};
    snprintf(table[n++].name, EK_NAME, "blocks.%d.norm1.weight", block);
  }
  EK_OK(EkWeightsWrite(EkTestRun(), path, n, table, values));
  JobCreate(&job, EkTestRun()->comm, base, "job", WAVES "model: {type: dpot, weights: %s}\n", path);
  Refused(
      &job, "69 of its or the model's tensors do not fit",
      "small.safetensors': this looks like weights of dpot; for them, set model: {preset: small, embed_dim: 1024, depth: 6}\n");
  Refused(&job, "tensors do not fit", "small.safetensors': and 49 more\n");
  if (EkTestRun()->rank == 0) assert_int_equal(said_lines, EK_LISTED + 2);
  JobCreate(&job, EkTestRun()->comm, base, "job", WAVES "model: {type: fno2d, width: 4, modes: [3], weights: %s}\n", path);
  Refused(&job, "tensors do not fit",
          "small.safetensors': this looks like weights of dpot; for them, set model: {type: dpot, preset: small, embed_dim: "
          "1024, depth: 6");
}

/* What a shape may come from is said beside it. */
static void reasons_are_given(void **state)
{
  static const EkTensorInfo there[4] = {{"a", 2, {2, 3}, PETSC_FALSE, PETSC_FALSE, 0, 6},
                                        {"b", 2, {3, 2}, PETSC_TRUE, PETSC_FALSE, 6, 6},
                                        {"c", 1, {3}, PETSC_FALSE, PETSC_FALSE, 12, 3},
                                        {"d", 4, {2, 3, 1, 1}, PETSC_FALSE, PETSC_FALSE, 16, 6}};
  static const EkTensorInfo want[4] = {{"a", 2, {3, 2}, PETSC_FALSE, PETSC_FALSE, 0, 6},
                                       {"b", 2, {3, 2}, PETSC_FALSE, PETSC_FALSE, 6, 6},
                                       {"c", 2, {3, 2}, PETSC_TRUE, PETSC_FALSE, 12, 6},
                                       {"d", 4, {3, 2, 1, 1}, PETSC_FALSE, PETSC_FALSE, 18, 6}};
  float                     values[24] = {0}, got[24];
  Capture                   capture;
  char                      base[EK_PATH], path[EK_PATH];

  (void)state;
  EkTestScratch(base);
  snprintf(path, EK_PATH, "%.900s/a.safetensors", base);
  EK_OK(EkWeightsWrite(EkTestRun(), path, 4, there, values));
  QUIET_FAILS(&capture, EkWeightsRead(EkTestRun(), path, 4, want, got), "4 of its or the model's tensors do not fit");
  Says(&capture, "a: found F32 2 x 3, wanted F32 3 x 2; it is transposed\n");
  Says(&capture, "b: found F32 3 x 2, wanted F32 3 x 2; it is complex, the model's is real\n");
  Says(&capture, "c: found F32 3, wanted F32 3 x 2; it is real, the model's is complex\n");
  Says(&capture, "d: found F32 2 x 3 x 1 x 1, wanted F32 3 x 2 x 1 x 1; it is transposed\n");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(three_more_steps_are_torchs),
    cmocka_unit_test(second_moments_of_complex_tensors),
    cmocka_unit_test(moments_that_are_not_there),
    cmocka_unit_test(second_moments_are_not_negative),
    cmocka_unit_test(moments_go_on),
    cmocka_unit_test(export_with_moments),
    cmocka_unit_test(a_checkpoint_wins),
    cmocka_unit_test(names_and_parts),
    cmocka_unit_test(parts_are_taken),
    cmocka_unit_test(parts_there_are_none_of),
    cmocka_unit_test(decks_that_ask_in_vain),
    cmocka_unit_test(positions_are_interpolated_as_torch_does),
    cmocka_unit_test(a_session_interpolates),
    cmocka_unit_test(another_preset_is_recognised),
    cmocka_unit_test(reasons_are_given),
};
EK_TEST_MAIN(tests)
