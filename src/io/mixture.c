#include "mixture.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* Does a set before the k-th one have its name? */
static PetscBool IsTaken(EkMixture m, int k)
{
  for (int i = 0; i < k; i++) {
    if (!strcmp(m->set[i].name, m->set[k].name)) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

/* The file's name without folder and ending, or a folder's own name; numbered where an earlier one has it. */
static PetscErrorCode NameSet(EkMixture m, int k, const char *path)
{
  static const char *const ending[] = {".hdf5", ".h5"};
  char                     copy[EK_PATH], name[EK_NAME];
  char                    *slash;

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(copy, path, sizeof(copy)));
  for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--) copy[n - 1] = 0;
  slash = strrchr(copy, '/');
  PetscCall(PetscStrncpy(name, slash ? slash + 1 : copy, sizeof(name)));
  for (size_t e = 0; e < sizeof(ending) / sizeof(ending[0]); e++) {
    const size_t all = strlen(name), end = strlen(ending[e]);

    if (all > end && !strcmp(name + all - end, ending[e])) name[all - end] = 0;
  }
  PetscCall(PetscStrncpy(m->set[k].name, name, EK_NAME));
  for (int number = 2; IsTaken(m, k); number++) PetscCall(PetscSNPrintf(m->set[k].name, EK_NAME, "%.50s_%d", name, number));
  PetscFunctionReturn(0);
}

/* The k-th number of a list that has one for all files or one a file. */
static PetscInt NumberOf(const EkInts *list, int k, PetscInt unset)
{
  if (!list->n) return unset;
  return list->v[list->n == 1 ? 0 : k];
}

static PetscErrorCode CheckLists(EkMixture m, int files)
{
  const struct {
    const char   *key;
    const EkInts *list;
  } lists[] = {{"data_test", &m->options.test}, {"data_train", &m->options.train}, {"data_weights", &m->options.weights}};

  PetscFunctionBegin;
  for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
    PetscCheck(lists[i].list->n <= 1 || lists[i].list->n == files, m->run->comm, PETSC_ERR_USER_INPUT,
               "%s: %d numbers for the %d files of data_file", lists[i].key, lists[i].list->n, files);
  }
  PetscCheck(!*m->options.each.fields || files == 1, m->run->comm, PETSC_ERR_USER_INPUT,
             "data_fields: the names are those of one file, data_file names %d", files);
  PetscFunctionReturn(0);
}

/* Paths of data_file, cut out of `text`. */
static PetscErrorCode SplitPaths(EkMixture m, char text[EK_PATHS], int *n, char *path[EK_SETS_MAX])
{
  char *rest = text, *word;

  PetscFunctionBegin;
  *n = 0;
  PetscCall(PetscStrncpy(text, m->options.files, EK_PATHS));
  while ((word = strsep(&rest, ","))) {
    while (*word == ' ') word++;
    for (size_t length = strlen(word); length && word[length - 1] == ' '; length--) word[length - 1] = 0;
    if (!*word) continue;
    PetscCheck(*n < EK_SETS_MAX, m->run->comm, PETSC_ERR_USER_INPUT, "data_file: more than %d files", EK_SETS_MAX);
    PetscCheck(strlen(word) < EK_PATH, m->run->comm, PETSC_ERR_USER_INPUT, "data_file: '%.60s...' is longer than %d letters",
               word, EK_PATH - 1);
    path[(*n)++] = word;
  }
  PetscCheck(*n, m->run->comm, PETSC_ERR_USER_INPUT, "data_file: names no file");
  PetscFunctionReturn(0);
}

static PetscErrorCode OpenSets(EkMixture m)
{
  char text[EK_PATHS], *path[EK_SETS_MAX];
  int  n;

  PetscFunctionBegin;
  PetscCall(SplitPaths(m, text, &n, path));
  PetscCall(CheckLists(m, n));
  for (int k = 0; k < n; k++) {
    EkMixtureSet *set = &m->set[k];
    EkDataOptions each = m->options.each;

    PetscCall(PetscStrncpy(each.file, path[k], EK_PATH));
    each.test = NumberOf(&m->options.test, k, -1);
    each.train = NumberOf(&m->options.train, k, -1);
    each.cache /= n;
    PetscCall(EkDatasetOpen(m->run, &each, &set->dataset));
    m->nsets = k + 1;
    PetscCall(EkDatasetGetInfo(set->dataset, &set->info));
    PetscCall(NameSet(m, k, path[k]));
    set->weight = NumberOf(&m->options.weights, k, 1);
    set->first = k ? m->set[k - 1].first + m->set[k - 1].weight * m->set[k - 1].info->count[EK_TRAIN] : 0;
  }
  PetscFunctionReturn(0);
}

/* Sets that fit into less than an even share of the cache leave the rest to the others. */
static void ShareCache(EkMixture m)
{
  PetscInt64 left = m->options.each.cache, wanted[EK_SETS_MAX];
  PetscBool  done[EK_SETS_MAX] = {PETSC_FALSE}, again = PETSC_TRUE;
  int        open = m->nsets;

  for (int k = 0; k < m->nsets; k++) {
    const EkDataInfo *info = m->set[k].info;
    const PetscInt64 frames = (PetscInt64)info->count[EK_TRAIN] * info->t_train + (PetscInt64)info->count[EK_TEST] * info->frames;

    wanted[k] = frames * info->fields * (PetscInt64)EkDatasetPoints(m->set[k].dataset) * (PetscInt64)sizeof(float) +
                m->set[k].dataset->kept_bytes;
  }
  while (again && open) {
    again = PETSC_FALSE;
    for (int k = 0; k < m->nsets; k++) {
      if (done[k] || wanted[k] > left / open) continue;
      m->set[k].dataset->options.cache = wanted[k];
      left -= wanted[k];
      done[k] = again = PETSC_TRUE;
      open--;
    }
  }
  for (int k = 0; k < m->nsets; k++) {
    if (!done[k]) m->set[k].dataset->options.cache = left / open;
  }
}

/* ---- what all are brought to ------------------------------------------------------------------------------------ */

static const char *GridText(const EkDataInfo *info, char text[64])
{
  if (info->dim == 1)
    snprintf(text, 64, "%d", (int)info->n[0]);
  else if (info->dim == 2)
    snprintf(text, 64, "%d x %d", (int)info->n[0], (int)info->n[1]);
  else
    snprintf(text, 64, "%d x %d x %d", (int)info->n[0], (int)info->n[1], (int)info->n[2]);
  return text;
}

static PetscErrorCode ChooseGrid(EkMixture m)
{
  const EkDataInfo *first = m->set[0].info;
  const PetscInt    r = m->options.resolution;
  char              a[64], b[64];

  PetscFunctionBegin;
  for (int k = 1; k < m->nsets; k++) {
    const EkDataInfo *info = m->set[k].info;

    PetscCheck(info->dim == first->dim, m->run->comm, PETSC_ERR_USER_INPUT,
               "data_file: '%s' is in %dD, '%s' in %dD; a mixture is of one dimension", m->set[0].name, first->dim,
               m->set[k].name, info->dim);
    PetscCheck(r || !memcmp(info->n, first->n, sizeof(info->n)), m->run->comm, PETSC_ERR_USER_INPUT,
               "data_resolution: '%s' has a grid of %s, '%s' of %s; say how many points along every axis all are brought to",
               m->set[0].name, GridText(first, a), m->set[k].name, GridText(info, b));
  }
  PetscCheck(!r || first->dim < 3, m->run->comm, PETSC_ERR_USER_INPUT, "data_resolution: fields in 3D are not resized");
  for (int d = 0; d < 3; d++) m->info.n[d] = r && d < first->dim ? r : first->n[d];
  PetscFunctionReturn(0);
}

static PetscErrorCode ChooseFields(EkMixture m)
{
  const PetscInt channels = m->options.channels;

  PetscFunctionBegin;
  for (int k = 0; k < m->nsets; k++) {
    const EkDataInfo *info = m->set[k].info;

    PetscCheck(!channels || info->fields <= channels, m->run->comm, PETSC_ERR_USER_INPUT,
               "data_channels: '%s' has %d fields, more than %d", m->set[k].name, (int)info->fields, (int)channels);
    if (info->fields <= m->info.fields) continue;
    m->info.fields = info->fields;
    m->info.family = info->family;
    PetscCall(PetscMemcpy(m->info.field, info->field, sizeof(info->field)));
  }
  for (PetscInt f = m->info.fields; f < channels; f++) PetscCall(PetscStrncpy(m->info.field[f], "one", EK_NAME));
  if (channels) m->info.fields = channels;
  PetscFunctionReturn(0);
}

/* One constant a field is only right for sets that agree what the fields are. */
static PetscErrorCode CheckFields(EkMixture m)
{
  const EkDataInfo *first = m->set[0].info;

  PetscFunctionBegin;
  for (int k = 1; k < m->nsets && m->options.each.normalize != EK_NORMALIZE_NONE; k++) {
    const EkDataInfo *info = m->set[k].info;

    PetscCheck(info->fields == first->fields && !memcmp(info->field, first->field, sizeof(info->field)), m->run->comm,
               PETSC_ERR_USER_INPUT,
               "data_normalize: the fields of '%s' are not those of '%s', there is no constant for both; none is possible",
               m->set[k].name, m->set[0].name);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ChooseFrames(EkMixture m)
{
  const EkDataInfo *first = m->set[0].info;
  const PetscInt    window = m->options.window;

  PetscFunctionBegin;
  m->info.initial_step = first->initial_step;
  m->info.t_train = window ? window : first->t_train;
  PetscCheck(!window || window > first->initial_step, m->run->comm, PETSC_ERR_USER_INPUT,
             "data_window: of %d frames %d are given, nothing is left to predict", (int)window, (int)first->initial_step);
  for (int k = 0; k < m->nsets; k++) {
    const EkDataInfo *info = m->set[k].info;

    m->info.frames = PetscMax(m->info.frames, info->frames);
    PetscCheck(!window || !m->set[k].dataset->layout.pair, m->run->comm, PETSC_ERR_USER_INPUT,
               "data_window: the frames of '%s' are coefficient and solution, no time to cut a window from", m->set[k].name);
    PetscCheck(!window || window <= info->t_train, m->run->comm, PETSC_ERR_USER_INPUT,
               "data_window: %d frames asked for, '%s' has %d (data_t_train)", (int)window, m->set[k].name, (int)info->t_train);
    PetscCheck(window || info->t_train == first->t_train, m->run->comm, PETSC_ERR_USER_INPUT,
               "data_window: '%s' has %d frames to train on, '%s' %d; say how many a training sample has", m->set[0].name,
               (int)first->t_train, m->set[k].name, (int)info->t_train);
  }
  PetscFunctionReturn(0);
}

/* ---- what each set needs for it ----------------------------------------------------------------------------------- */

/* Ones where something of the file is: its fields; of an axis with k times as many points as it had, every k-th. */
static PetscErrorCode MakeMask(EkMixture m, EkMixtureSet *set)
{
  const PetscInt nx = m->info.n[0], ny = m->info.n[1], nz = m->info.n[2];
  const size_t   points = (size_t)nx * (size_t)ny * (size_t)nz;
  PetscInt       every[3];

  PetscFunctionBegin;
  for (int d = 0; d < 3; d++) every[d] = PetscMax(1, m->info.n[d] / set->info->n[d]);
  PetscCall(PetscCalloc1((size_t)m->info.fields * points, &set->mask));
  for (PetscInt f = 0; f < set->info->fields; f++) {
    float *plane = set->mask + (size_t)f * points;

    for (PetscInt i = 0; i < nx; i += every[0]) {
      for (PetscInt j = 0; j < ny; j += every[1]) {
        for (PetscInt k = 0; k < nz; k += every[2]) plane[((size_t)i * (size_t)ny + (size_t)j) * (size_t)nz + (size_t)k] = 1;
      }
    }
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode PrepareSets(EkMixture m)
{
  PetscFunctionBegin;
  for (int k = 0; k < m->nsets; k++) {
    EkMixtureSet *set = &m->set[k];
    const size_t  raw = (size_t)set->info->frames * (size_t)set->info->fields * EkDatasetPoints(set->dataset);

    set->as_it_is = (PetscBool)(set->info->fields == m->info.fields && !memcmp(set->info->n, m->info.n, sizeof(m->info.n)));
    if (!set->as_it_is || m->options.mask == EK_MASK_DATA) PetscCall(MakeMask(m, set));
    if (set->as_it_is) continue;
    m->raw_floats = PetscMax(m->raw_floats, raw);
    for (int d = 0; d < m->info.dim; d++) PetscCall(EkResampleAxisCreate(set->info->n[d], m->info.n[d], &m->axis[k][d]));
  }
  if (m->raw_floats) PetscCall(PetscMalloc1(m->raw_floats, &m->raw));
  PetscFunctionReturn(0);
}

/* The first file's, brought to the common grid. */
static PetscErrorCode MakeCoordinates(EkMixture m)
{
  PetscFunctionBegin;
  for (int d = 0; d < m->info.dim; d++) {
    const EkDataInfo *first = m->set[0].info;
    EkResampleAxis    axis;

    PetscCall(EkResampleAxisCreate(first->n[d], m->info.n[d], &axis));
    PetscCall(PetscMalloc1(m->info.n[d], &m->info.coordinate[d]));
    EkResamplePlane(1, &axis, first->n[d], first->coordinate[d], m->info.coordinate[d]);
    PetscCall(EkResampleAxisDestroy(&axis));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode Describe(EkMixture m)
{
  PetscInt64 train = 0;

  PetscFunctionBegin;
  m->info.dim = m->set[0].info->dim;
  PetscCall(ChooseGrid(m));
  PetscCall(ChooseFields(m));
  PetscCall(CheckFields(m));
  PetscCall(ChooseFrames(m));
  for (int f = 0; f < EK_MAX_FIELDS; f++) m->info.scale[f] = 1;
  for (int k = 0; k < m->nsets; k++) {
    m->info.samples += m->set[k].info->samples;
    m->info.count[EK_TEST] += m->set[k].info->count[EK_TEST];
    train += (PetscInt64)m->set[k].weight * m->set[k].info->count[EK_TRAIN];
  }
  PetscCheck(train <= PETSC_MAX_INT, m->run->comm, PETSC_ERR_USER_INPUT, "data_weights: an epoch of %lld samples",
             (long long)train);
  m->info.count[EK_TRAIN] = (PetscInt)train;
  PetscFunctionReturn(0);
}

static PetscErrorCode Open(EkMixture m)
{
  PetscFunctionBegin;
  PetscCall(OpenSets(m));
  PetscCall(Describe(m));
  PetscCall(PrepareSets(m));
  PetscCall(MakeCoordinates(m));
  ShareCache(m);
  PetscFunctionReturn(0);
}

PetscErrorCode EkMixtureOpen(EkRun run, const EkMixtureOptions *options, PetscInt seed, EkMixture *mixture)
{
  PetscErrorCode code;
  EkMixture      m;

  PetscFunctionBegin;
  PetscCall(PetscNew(&m));
  m->run = run;
  m->options = *options;
  m->seed = seed;
  code = Open(m);
  if (code) PetscCall(EkMixtureDestroy(&m));
  *mixture = m;
  PetscFunctionReturn(code);
}

PetscErrorCode EkMixtureDestroy(EkMixture *mixture)
{
  EkMixture m = *mixture;

  PetscFunctionBegin;
  if (!m) PetscFunctionReturn(0);
  for (int k = 0; k < m->nsets; k++) {
    PetscCall(EkDatasetDestroy(&m->set[k].dataset));
    PetscCall(PetscFree(m->set[k].mask));
    for (int d = 0; d < 3; d++) PetscCall(EkResampleAxisDestroy(&m->axis[k][d]));
  }
  for (int d = 0; d < 3; d++) PetscCall(PetscFree(m->info.coordinate[d]));
  PetscCall(PetscFree(m->raw));
  PetscCall(PetscFree(*mixture));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMixtureGetInfo(EkMixture m, const EkDataInfo **info)
{
  PetscFunctionBegin;
  *info = &m->info;
  PetscFunctionReturn(0);
}

PetscErrorCode EkMixtureGetSets(EkMixture m, int *n, const EkMixtureSet **sets)
{
  PetscFunctionBegin;
  *n = m->nsets;
  *sets = m->set;
  PetscFunctionReturn(0);
}

/* ---- normalisation ------------------------------------------------------------------------------------------------ */

/* A spread that float cannot tell from the mean's rounding is none. */
static double Scale(double mean, double deviation)
{
  return deviation <= FLT_EPSILON * fabs(mean) ? 1 : deviation;
}

/* Each set counts by the frames that an epoch may show of it, whatever its grid: all are brought to one. Deviations join as
   those of trajectories do. */
PetscErrorCode EkMixtureMeasureNorm(EkMixture m, double mean[], double scale[])
{
  double all = 0, variance[EK_MAX_FIELDS] = {0};

  PetscFunctionBegin;
  for (int f = 0; f < EK_MAX_FIELDS; f++) {
    mean[f] = 0;
    scale[f] = 1;
  }
  for (int k = 0; k < m->nsets; k++) {
    const EkMixtureSet *set = &m->set[k];
    const double        frames = (double)set->weight * (double)set->info->count[EK_TRAIN] * (double)set->info->t_train;
    double              share, one[EK_MAX_FIELDS], deviation[EK_MAX_FIELDS];

    if (frames == 0) continue;
    PetscCall(EkDatasetMeasureNorm(set->dataset, one, deviation));
    all += frames;
    share = frames / all;
    for (PetscInt f = 0; f < set->info->fields; f++) {
      const double difference = one[f] - mean[f];

      mean[f] += share * difference;
      variance[f] += share * (deviation[f] * deviation[f] - variance[f] + (1 - share) * difference * difference);
    }
  }
  PetscCheck(all > 0, m->run->comm, PETSC_ERR_USER_INPUT, "data_normalize: there are no training trajectories to measure");
  for (PetscInt f = 0; f < m->set[0].info->fields; f++) scale[f] = Scale(mean[f], sqrt(variance[f]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMixtureSetNorm(EkMixture m, const double mean[], const double scale[])
{
  PetscFunctionBegin;
  for (int k = 0; k < m->nsets; k++) PetscCall(EkDatasetSetNorm(m->set[k].dataset, mean, scale));
  for (PetscInt f = 0; f < m->set[0].info->fields; f++) {
    m->info.mean[f] = mean[f];
    m->info.scale[f] = scale[f];
  }
  PetscFunctionReturn(0);
}
