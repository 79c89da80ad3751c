#include "dataset.h"
#include <string.h>

#define KEY EK_DATA_FILE

/* A kind of file: told by the number of axes of its lead dataset. */
typedef struct {
  const char *name;
  int         dim;
  const char *lead;
  int         lead_rank, nsources;
  PetscBool   pair, last; /* pair: the sources are frames 0, 1, ... of one field instead of fields over the file's time axis */
  const char *source[5];
} Family;
static const Family family[] = {
    {"darcy", 2, "nu", 3, 2, PETSC_TRUE, PETSC_FALSE, {"nu", "tensor"}},
    {"scalar", 1, "tensor", 3, 1, PETSC_FALSE, PETSC_FALSE, {"tensor"}},
    {"cfd", 1, "density", 3, 3, PETSC_FALSE, PETSC_FALSE, {"density", "pressure", "Vx"}},
    {"cfd", 2, "density", 4, 4, PETSC_FALSE, PETSC_FALSE, {"density", "pressure", "Vx", "Vy"}},
    {"cfd", 3, "density", 5, 5, PETSC_FALSE, PETSC_FALSE, {"density", "pressure", "Vx", "Vy", "Vz"}},
    {"dpot", 2, "data", 4, 1, PETSC_FALSE, PETSC_TRUE, {"data"}},    /* (N, X, Y, T); or (X, Y, T, C) in files of their own */
    {"groups", 0, "data", 0, 1, PETSC_FALSE, PETSC_FALSE, {"data"}}, /* (T, X[, Y[, Z]], C) in every group of the root */
};
#define GROUPS ((int)(sizeof(family) / sizeof(family[0])) - 1) /* the last row; it has no dataset in the root */

const char *EkDatasetFamilyName(int i)
{
  return family[i].name;
}

/* ---- what kind of file ------------------------------------------------------------------------------------ */

static PetscErrorCode ShapeOf(hid_t file, const char *path, const char *name, int *rank, PetscInt64 shape[EK_MAX_RANK])
{
  PetscErrorCode code;
  hid_t          set;

  PetscFunctionBegin;
  PetscCall(EkSetOpen(file, path, name, &set));
  code = EkSetShape(set, path, name, rank, shape);
  H5Dclose(set);
  PetscFunctionReturn(code);
}

/* *found: the file has a lead dataset, and this is its family. */
static PetscErrorCode FindFamily(hid_t file, const char *path, EkLayout *layout, PetscInt64 shape[EK_MAX_RANK], PetscBool *found)
{
  char names[256], text[160];
  int  rank;

  PetscFunctionBegin;
  *found = PETSC_FALSE;
  for (int i = 0; i < GROUPS; i++) {
    if (!EkSetExists(file, family[i].lead)) continue;
    PetscCall(ShapeOf(file, path, family[i].lead, &rank, shape));
    layout->family = i;
    *found = PETSC_TRUE;
    if (rank == family[i].lead_rank) PetscFunctionReturn(0);
    /* another row may have the same lead with more axes */
    if (i + 1 < GROUPS && !strcmp(family[i].lead, family[i + 1].lead)) continue;
    SETERRQ(PETSC_COMM_SELF, PETSC_ERR_SUP, KEY " %s: this kind of file is not supported yet: '%s' has %d axes (%s; found: %s)",
            path, family[i].lead, rank, EkShapeText(rank, shape, text), EkSetFound(file, "", names));
  }
  PetscFunctionReturn(0);
}

typedef struct {
  char    *names;
  PetscInt n, bytes;
} NameList;

static herr_t ListName(hid_t root, const char *name, const H5L_info_t *info, void *context)
{
  NameList      *list = (NameList *)context;
  const PetscInt bytes = (PetscInt)strlen(name) + 1;

  (void)root, (void)info;
  if (list->names)
    memcpy(list->names + (size_t)list->n * list->bytes, name, (size_t)bytes);
  else
    list->bytes = PetscMax(list->bytes, bytes);
  list->n++;
  return 0;
}

/* The names in the root, sorted. Ten thousand take ten milliseconds; what the groups hold is looked at when they are read. */
static PetscErrorCode ListGroups(hid_t file, const char *path, EkLayout *layout, char **group)
{
  NameList list = {NULL, 0, 0};

  PetscFunctionBegin;
  EkCallHDF5(H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, ListName, &list), KEY " %s: cannot be listed", path);
  PetscCheck(list.bytes <= EK_NAME, PETSC_COMM_SELF, PETSC_ERR_SUP,
             KEY " %s: names of groups are up to %d letters long, %d are possible", path, (int)list.bytes - 1, EK_NAME - 1);
  layout->samples = list.n;
  layout->name_bytes = list.bytes;
  PetscCall(PetscCalloc1((size_t)list.n * list.bytes + 1, &list.names));
  *group = list.names;
  list.n = 0;
  EkCallHDF5(H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, ListName, &list), KEY " %s: cannot be listed", path);
  PetscFunctionReturn(0);
}

/* The first group stands for all. */
static PetscErrorCode ProbeGroups(hid_t file, const char *path, EkLayout *layout, char **group)
{
  PetscInt64 shape[EK_MAX_RANK];
  char       names[256], text[160], data[2 * EK_NAME] = "";
  EkSource  *source = &layout->source[0];
  hid_t      set;
  int        rank;

  PetscFunctionBegin;
  PetscCall(ListGroups(file, path, layout, group));
  if (layout->samples) snprintf(data, sizeof(data), "%s/%s", *group, family[GROUPS].lead);
  PetscCheck(
      EkSetExists(file, data), PETSC_COMM_SELF, PETSC_ERR_SUP,
      KEY
      " %s: this kind of file is not supported yet: neither 'density' nor 'tensor' nor 'nu' nor 'data' is among its datasets, "
      "nor 'data' in its first group (found: %s)",
      path, EkSetFound(file, "", names));
  PetscCall(ShapeOf(file, path, data, &rank, shape));
  PetscCheck(rank >= 3 && rank <= 5, PETSC_COMM_SELF, PETSC_ERR_SUP,
             KEY " %s: this kind of file is not supported yet: '%s' has %d axes (%s), wanted are frames, points along each axis, "
                 "channels",
             path, data, rank, EkShapeText(rank, shape, text));
  PetscCheck(shape[rank - 1] <= EK_MAX_FIELDS, PETSC_COMM_SELF, PETSC_ERR_SUP,
             KEY " %s: '%s' (%s) has %lld channels on its last axis, %d are possible", path, data, EkShapeText(rank, shape, text),
             (long long)shape[rank - 1], EK_MAX_FIELDS);
  layout->family = GROUPS;
  layout->groups = PETSC_TRUE;
  layout->dim = rank - 2;
  layout->frames = (PetscInt)shape[0];
  layout->fields = (PetscInt)shape[rank - 1];
  for (int d = 0; d < layout->dim; d++) layout->n[d] = (PetscInt)shape[1 + d];
  for (PetscInt f = 0; f < layout->fields; f++) snprintf(layout->field[f], EK_NAME, "data%d", (int)f);
  *source = (EkSource){.frames = layout->frames, .channels = layout->fields, .taken = layout->fields};
  PetscCall(PetscStrncpy(source->name, family[GROUPS].lead, sizeof(source->name)));
  for (PetscInt f = 0; f < layout->fields; f++) source->channel[f] = f;
  PetscCall(EkSetOpen(file, path, data, &set));
  PetscCall(EkSetStorage(set, path, data, &source->address, &source->bytes));
  H5Dclose(set);
  PetscFunctionReturn(0);
}

static PetscErrorCode ProbeSets(EkLayout *layout, const PetscInt64 shape[])
{
  const Family *row = &family[layout->family];

  PetscFunctionBegin;
  layout->dim = row->dim;
  layout->samples = (PetscInt)shape[0];
  layout->pair = row->pair;
  layout->frames = row->pair ? row->nsources : (PetscInt)shape[1];
  layout->fields = row->pair ? 1 : row->nsources;
  layout->nsources = row->nsources;
  for (int d = 0; d < row->dim; d++) layout->n[d] = (PetscInt)shape[row->lead_rank - row->dim + d];
  for (int i = 0; i < row->nsources; i++) {
    EkSource *source = &layout->source[i];

    PetscCall(PetscStrncpy(source->name, row->source[i], sizeof(source->name)));
    source->frame = row->pair ? i : 0;
    source->field = row->pair ? 0 : i;
    source->frames = row->pair ? 1 : layout->frames;
    source->timeless = (PetscBool)(row->pair && i == 0);
    source->channels = source->taken = 1;
  }
  for (int i = 0; i < layout->fields; i++)
    PetscCall(PetscStrncpy(layout->field[i], row->source[row->nsources - layout->fields + i], EK_NAME));
  PetscFunctionReturn(0);
}

/* ---- which of its fields ------------------------------------------------------------------------------------ */

/* Places of the fields asked for among the file's, in the order asked for. */
static PetscErrorCode ChooseFields(const EkDataOptions *options, const char *wanted, const EkLayout *layout, PetscInt *n,
                                   PetscInt choice[])
{
  char list[EK_PATH], known[EK_MAX_FIELDS * EK_NAME] = "", *rest = list;

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(list, wanted, sizeof(list)));
  for (PetscInt f = 0; f < layout->fields; f++) {
    if (f) PetscCall(PetscStrlcat(known, ", ", sizeof(known)));
    PetscCall(PetscStrlcat(known, layout->field[f], sizeof(known)));
  }
  for (*n = 0; rest; ++*n) {
    char    *word = strsep(&rest, ",");
    PetscInt f = 0;

    while (*word == ' ') word++;
    word[strcspn(word, " ")] = 0;
    while (f < layout->fields && strcmp(word, layout->field[f])) f++;
    PetscCheck(f < layout->fields, PETSC_COMM_SELF, PETSC_ERR_USER_INPUT, "data_fields: '%s' is not a field of %s (it has: %s)",
               word, options->file, known);
    for (PetscInt i = 0; i < *n; i++)
      PetscCheck(choice[i] != f, PETSC_COMM_SELF, PETSC_ERR_USER_INPUT, "data_fields: '%s' is named twice", word);
    choice[*n] = f;
  }
  PetscFunctionReturn(0);
}

/* DPOT's preprocessing puts velocities first. */
static const char *DefaultFields(const EkDataOptions *options, const EkLayout *layout)
{
  static const char *const order[] = {"", "Vx,density,pressure", "Vx,Vy,density,pressure", "Vx,Vy,Vz,pressure,density"};

  if (options->order != EK_ORDER_DPOT || strcmp(family[layout->family].name, "cfd")) return "";
  return order[layout->dim];
}

/* Leaves the chosen fields and what they are read from. */
static PetscErrorCode SelectFields(const EkDataOptions *options, EkLayout *layout)
{
  const char    *wanted = *options->fields ? options->fields : DefaultFields(options, layout);
  const EkLayout whole = *layout;
  PetscInt       n = 0, choice[EK_MAX_FIELDS];

  PetscFunctionBegin;
  if (!*wanted) PetscFunctionReturn(0);
  PetscCall(ChooseFields(options, wanted, &whole, &n, choice));
  layout->fields = n;
  for (PetscInt f = 0; f < n; f++) PetscCall(PetscStrncpy(layout->field[f], whole.field[choice[f]], EK_NAME));
  if (layout->groups || layout->last) {
    layout->source[0].taken = n;
    for (PetscInt f = 0; f < n; f++) layout->source[0].channel[f] = choice[f];
  } else if (!layout->pair) {
    layout->nsources = (int)n;
    for (PetscInt f = 0; f < n; f++) {
      layout->source[f] = whole.source[choice[f]];
      layout->source[f].field = f;
    }
  }
  PetscFunctionReturn(0);
}

/* ---- is it sound -------------------------------------------------------------------------------------------- */

/* Opens, checks and closes one source; every one must agree with the lead's trajectories and grid. */
static PetscErrorCode ProbeSource(hid_t file, const char *path, EkSource *source, const EkLayout *layout)
{
  const int  time_axis = !source->timeless, want_rank = 1 + time_axis + layout->dim;
  PetscInt64 shape[EK_MAX_RANK], want[EK_MAX_RANK] = {layout->samples};
  char       text[160], want_text[160];
  hid_t      set;
  int        rank;

  PetscFunctionBegin;
  if (time_axis) want[1] = source->frames;
  for (int d = 0; d < layout->dim; d++) want[1 + time_axis + d] = layout->n[d];
  PetscCall(EkSetOpen(file, path, source->name, &set));
  PetscCall(EkSetShape(set, path, source->name, &rank, shape));
  PetscCheck(rank == want_rank && !memcmp(shape, want, (size_t)rank * sizeof(*shape)), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: datasets disagree: '%s' is %s, '%s' asks for %s", path, source->name, EkShapeText(rank, shape, text),
             family[layout->family].lead, EkShapeText(want_rank, want, want_text));
  PetscCall(EkSetStorage(set, path, source->name, &source->address, &source->bytes));
  H5Dclose(set);
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadCoordinate(hid_t file, const EkDataOptions *options, const char *name, PetscInt n, float **values)
{
  const char *path = options->file;
  PetscInt64  shape[EK_MAX_RANK];
  char        text[256];
  hid_t       set;
  int         rank;

  PetscFunctionBegin;
  PetscCall(EkSetOpen(file, path, name, &set));
  PetscCall(EkSetShape(set, path, name, &rank, shape));
  PetscCheck(rank == 1 && shape[0] == n, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: dataset '%s' is %s, the grid has %" PetscInt_FMT " points", path, name, EkShapeText(rank, shape, text), n);
  PetscCall(EkSetCheckFilters(set, path, name));
  PetscCall(PetscMalloc1(n, values));
  PetscCheck(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values) >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ,
             KEY " %s: dataset '%s' cannot be read: %s", path, name, EkH5Reason(text));
  H5Dclose(set);
  for (PetscInt i = 0; i < n && !options->unsound; i++) {
    PetscCheck(!PetscIsInfOrNanReal((*values)[i]), PETSC_COMM_SELF, PETSC_ERR_FP,
               KEY " %s: dataset '%s': value %" PetscInt_FMT " is not finite", path, name, i);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadCoordinates(hid_t file, const EkDataOptions *options, const EkLayout *layout, const char *first_group,
                                      float *coordinate[3])
{
  char name[2 * EK_NAME];

  PetscFunctionBegin;
  for (int d = 0; d < layout->dim; d++) {
    if (layout->last) {
      PetscCall(EkDatasetMakeCoordinate(layout->n[d], &coordinate[d]));
      continue;
    }
    if (layout->groups)
      snprintf(name, sizeof(name), "%s/grid/%c", first_group, "xyz"[d]);
    else
      snprintf(name, sizeof(name), "%c-coordinate", "xyz"[d]);
    PetscCall(ReadCoordinate(file, options, name, layout->n[d], &coordinate[d]));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ProbeOpen(hid_t file, const EkDataOptions *options, EkLayout *layout, float *coordinate[3], char **group)
{
  PetscInt64 shape[EK_MAX_RANK];
  PetscBool  found;

  PetscFunctionBegin;
  PetscCall(FindFamily(file, options->file, layout, shape, &found));
  if (found && family[layout->family].last)
    PetscCall(EkDatasetProbePair(file, options, layout, shape));
  else if (found)
    PetscCall(ProbeSets(layout, shape));
  else
    PetscCall(ProbeGroups(file, options->file, layout, group));
  PetscCall(SelectFields(options, layout));
  for (int i = 0; i < layout->nsources && found && !layout->last; i++)
    PetscCall(ProbeSource(file, options->file, &layout->source[i], layout));
  PetscCall(ReadCoordinates(file, options, layout, *group, coordinate));
  PetscFunctionReturn(0);
}

/* Of a file that is still being generated some trajectories are zeros. */
static PetscErrorCode CheckFinished(const EkDataOptions *options)
{
  const size_t letters = strlen(options->file);
  char         progress[EK_PATH + 16];

  PetscFunctionBegin;
  if (options->unsound || letters < 6 || strcmp(options->file + letters - 5, ".part") != 0) PetscFunctionReturn(0);
  snprintf(progress, sizeof(progress), "%.*s.progress", (int)letters - 5, options->file);
  PetscCheck(access(progress, F_OK), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY ": '%s' is not finished; generate goes on where it was", options->file);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetProbe(const EkDataOptions *options, EkLayout *layout, float *coordinate[3], char **group)
{
  PetscErrorCode code;
  hid_t          file;

  PetscFunctionBegin;
  PetscCall(CheckFinished(options));
  for (int d = 0; d < 3; d++) layout->n[d] = 1;
  layout->nsources = 1;
  layout->set_apart = -1;
  if (EkDatasetIsFolder(options)) {
    for (int i = 0; i < GROUPS; i++) layout->family = family[i].last ? i : layout->family;
    PetscCall(EkDatasetProbeFolder(options, layout, group));
    PetscCall(SelectFields(options, layout));
    PetscFunctionReturn(ReadCoordinates(-1, options, layout, NULL, coordinate));
  }
  PetscCall(EkH5Open(KEY, options->file, H5F_ACC_RDONLY, &file));
  code = ProbeOpen(file, options, layout, coordinate, group);
  H5Fclose(file);
  PetscFunctionReturn(code);
}
