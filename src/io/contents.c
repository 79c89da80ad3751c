#include "contents.h"
#include <math.h>
#include <string.h>

#define AXIS_MAX  (1 << 22) /* values of a coordinate that are looked at */
#define DEPTH_MAX 4

typedef struct {
  EkContents *contents;
  char        prefix[2 * EK_NAME]; /* of names in this group: "", "0000/" */
  int         depth;
} Walk;

static void TypeText(hid_t type, char *text, size_t length)
{
  const H5T_class_t kind = H5Tget_class(type);
  const char       *order = H5Tget_order(type) == H5T_ORDER_BE ? "big-endian " : "";
  const int         bits = (int)(8 * H5Tget_size(type));

  if (kind == H5T_FLOAT)
    snprintf(text, length, "%sfloat%d", order, bits);
  else if (kind == H5T_INTEGER)
    snprintf(text, length, "%s%sint%d", order, H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
  else
    snprintf(text, length, "%s", kind == H5T_STRING ? "text" : "other");
}

static void LayoutText(hid_t set, int rank, char *text, size_t length)
{
  const hid_t create = H5Dget_create_plist(set);
  const int   layout = create >= 0 ? (int)H5Pget_layout(create) : -1, filters = create >= 0 ? H5Pget_nfilters(create) : 0;
  hsize_t     chunk[EK_MAX_RANK];
  PetscInt64  shape[EK_MAX_RANK];
  char        word[160];
  size_t      used;

  if (layout == H5D_CHUNKED && H5Pget_chunk(create, EK_MAX_RANK, chunk) == rank) {
    for (int d = 0; d < rank; d++) shape[d] = (PetscInt64)chunk[d];
    snprintf(text, length, "chunked %s", EkShapeText(rank, shape, word));
  } else {
    snprintf(text, length, "%s", layout == H5D_CONTIGUOUS ? "contiguous" : layout == H5D_COMPACT ? "compact" : "other");
  }
  for (int i = 0; i < filters; i++) {
    unsigned int flags, config;
    size_t       nvalues = 0;

    word[0] = 0;
    H5Pget_filter2(create, (unsigned)i, &flags, &nvalues, NULL, sizeof(word), word, &config);
    used = strlen(text);
    snprintf(text + used, length - used, ", %.40s", word);
  }
  if (create >= 0) H5Pclose(create);
}

/* Ends and steps of a row of numbers; nothing where it cannot be read or is not finite. */
static PetscErrorCode LookAtAxis(hid_t set, EkContentsSet *s)
{
  const size_t n = (size_t)s->shape[0];
  double      *value;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(n, &value));
  s->axis = (PetscBool)(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0);
  for (size_t i = 0; i < n && s->axis; i++) s->axis = (PetscBool)isfinite(value[i]);
  if (s->axis) {
    s->first = value[0];
    s->last = value[n - 1];
    s->least = s->most = n > 1 ? value[1] - value[0] : 0;
    for (size_t i = 2; i < n; i++) {
      s->least = fmin(s->least, value[i] - value[i - 1]);
      s->most = fmax(s->most, value[i] - value[i - 1]);
    }
  }
  PetscCall(PetscFree(value));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddSet(Walk *walk, hid_t group, const char *name)
{
  EkContents    *c = walk->contents;
  EkContentsSet *s = &c->set[c->nsets];
  hsize_t        dims[EK_MAX_RANK];
  hid_t          set, space, type;
  PetscBool      numbers;

  PetscFunctionBegin;
  if (c->nsets == EK_CONTENTS_MAX) PetscFunctionReturn(0);
  set = H5Dopen2(group, name, H5P_DEFAULT);
  if (set < 0) PetscFunctionReturn(0);
  space = H5Dget_space(set);
  type = H5Dget_type(set);
  s->rank = H5Sget_simple_extent_ndims(space);
  if (s->rank >= 0 && s->rank <= EK_MAX_RANK) {
    H5Sget_simple_extent_dims(space, dims, NULL);
    for (int d = 0; d < s->rank; d++) s->shape[d] = (PetscInt64)dims[d];
    s->bytes = (PetscInt64)H5Dget_storage_size(set);
    snprintf(s->name, sizeof(s->name), "%.63s%.63s", walk->prefix, name);
    TypeText(type, s->type, sizeof(s->type));
    LayoutText(set, s->rank, s->layout, sizeof(s->layout));
    numbers = (PetscBool)(H5Tget_class(type) == H5T_FLOAT || H5Tget_class(type) == H5T_INTEGER);
    if (numbers && s->rank == 1 && s->shape[0] > 0 && s->shape[0] <= AXIS_MAX) PetscCall(LookAtAxis(set, s));
    c->nsets++;
  }
  H5Tclose(type);
  H5Sclose(space);
  H5Dclose(set);
  PetscFunctionReturn(0);
}

/* Texts keep their first line's beginning. */
static void TextValue(hid_t attribute, hid_t type, EkContentsAttribute *a)
{
  char  *text = NULL, word[512] = "";
  size_t length;

  if (H5Tis_variable_str(type) > 0) {
    if (H5Aread(attribute, type, &text) >= 0 && text) snprintf(word, sizeof(word), "%s", text);
    if (text) H5free_memory(text);
  } else if (H5Tget_size(type) < sizeof(word)) {
    H5Aread(attribute, type, word);
    word[H5Tget_size(type)] = 0;
  }
  length = strcspn(word, "\n");
  snprintf(a->text, sizeof(a->text), "%.*s%s", (int)PetscMin(length, (size_t)EK_NAME - 5), word,
           word[length] || length > EK_NAME - 5 ? " ..." : "");
}

static herr_t AddAttribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
  EkContents          *c = ((Walk *)context)->contents;
  EkContentsAttribute *a = &c->attribute[c->nattributes];
  hid_t                attribute, type, space;

  (void)info;
  if (c->nattributes == EK_CONTENTS_MAX) return 1;
  attribute = H5Aopen(object, name, H5P_DEFAULT);
  if (attribute < 0) return 0;
  type = H5Aget_type(attribute);
  space = H5Aget_space(attribute);
  snprintf(a->name, sizeof(a->name), "%.63s", name);
  if (H5Sget_simple_extent_npoints(space) != 1)
    snprintf(a->text, sizeof(a->text), "%lld values", (long long)H5Sget_simple_extent_npoints(space));
  else if (H5Tget_class(type) == H5T_FLOAT || H5Tget_class(type) == H5T_INTEGER)
    a->number = (PetscBool)(H5Aread(attribute, H5T_NATIVE_DOUBLE, &a->value) >= 0);
  else if (H5Tget_class(type) == H5T_STRING)
    TextValue(attribute, type, a);
  c->nattributes++;
  H5Sclose(space);
  H5Tclose(type);
  H5Aclose(attribute);
  return 0;
}

static void WalkGroup(Walk *walk, hid_t group);

static herr_t Visit(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
  Walk      *walk = (Walk *)context, below = *walk;
  H5O_info_t info;
  hid_t      id;

  (void)link;
  if (H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return 0; /* a link to nowhere */
  if (info.type == H5O_TYPE_DATASET) return AddSet(walk, group, name) ? -1 : 0;
  if (info.type != H5O_TYPE_GROUP || walk->depth == DEPTH_MAX) return 0;
  if (walk->depth == 0 && walk->contents->groups++) return 0;
  id = H5Gopen2(group, name, H5P_DEFAULT);
  if (id < 0) return 0;
  snprintf(below.prefix, sizeof(below.prefix), "%.40s%.60s/", walk->prefix, name);
  below.depth++;
  WalkGroup(&below, id);
  H5Gclose(id);
  return 0;
}

static void WalkGroup(Walk *walk, hid_t group)
{
  hsize_t at = 0;

  H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, &at, AddAttribute, walk);
  H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, Visit, walk);
}

PetscErrorCode EkContentsRead(const char *what, const char *path, EkContents *contents)
{
  Walk  walk = {.contents = contents};
  hid_t file, root;

  PetscFunctionBegin;
  memset(contents, 0, sizeof(*contents));
  PetscCall(EkH5Open(what, path, H5F_ACC_RDONLY, &file));
  PetscCall(EkFileSize(what, path, &contents->bytes));
  contents->files = 1;
  root = H5Gopen2(file, "/", H5P_DEFAULT);
  if (root >= 0) WalkGroup(&walk, root);
  H5Fclose(file);
  PetscFunctionReturn(0);
}

const EkContentsSet *EkContentsFind(const EkContents *c, const char *name)
{
  for (int i = 0; i < c->nsets; i++) {
    if (!strcmp(c->set[i].name, name)) return &c->set[i];
  }
  return NULL;
}

PetscErrorCode EkContentsReadAxis(const char *what, const char *path, const char *name, PetscInt n, double *values)
{
  const hsize_t count = (hsize_t)n, zero = 0;
  hid_t         file, set, space, memory;
  herr_t        status = -1;

  PetscFunctionBegin;
  PetscCall(EkH5Open(what, path, H5F_ACC_RDONLY, &file));
  set = H5Dopen2(file, name, H5P_DEFAULT);
  if (set >= 0) {
    space = H5Dget_space(set);
    memory = H5Screate_simple(1, &count, NULL);
    if (H5Sselect_hyperslab(space, H5S_SELECT_SET, &zero, NULL, &count, NULL) >= 0)
      status = H5Dread(set, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, values);
    H5Sclose(memory);
    H5Sclose(space);
  }
  H5Fclose(file);
  EkCallHDF5(status, "%s: '%s': dataset '%s' cannot be read", what, path, name);
  PetscFunctionReturn(0);
}
