#include "dataset.h"
#include <string.h>

#define KEY "data_file"

/* A kind of file: told by the number of axes of its lead dataset. */
typedef struct {
  const char *name;
  int         dim;
  const char *lead;
  int         lead_rank, nsources;
  PetscBool   pair; /* the sources are frames 0, 1, ... of one field instead of fields over the file's time axis */
  const char *source[4];
} Family;
static const Family family[] = {
    {"darcy", 2, "nu", 3, 2, PETSC_TRUE, {"nu", "tensor"}},
    {"scalar", 1, "tensor", 3, 1, PETSC_FALSE, {"tensor"}},
    {"cfd", 1, "density", 3, 3, PETSC_FALSE, {"density", "pressure", "Vx"}},
    {"cfd", 2, "density", 4, 4, PETSC_FALSE, {"density", "pressure", "Vx", "Vy"}},
};
#define NFAMILIES ((int)(sizeof(family) / sizeof(family[0])))

const char *EkDatasetFamilyName(int i)
{
  return family[i].name;
}

static herr_t AppendName(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
  char        *text = (char *)context;
  const size_t used = strlen(text);

  (void)group, (void)info;
  if (used > 180) {
    snprintf(text + used, 256 - used, ", ...");
    return 1;
  }
  snprintf(text + used, 256 - used, "%s%.60s", used ? ", " : "", name);
  return 0;
}

static const char *FoundText(hid_t file, char text[256])
{
  text[0] = 0;
  H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, AppendName, text);
  if (!text[0]) snprintf(text, 256, "nothing");
  return text;
}

static PetscBool IsDataset(hid_t file, const char *name)
{
  H5O_info_t info;

  if (H5Lexists(file, name, H5P_DEFAULT) <= 0) return PETSC_FALSE;
  if (H5Oget_info_by_name2(file, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return PETSC_FALSE;
  return (PetscBool)(info.type == H5O_TYPE_DATASET);
}

static PetscErrorCode OpenSet(hid_t file, const char *path, const char *name, hid_t *set)
{
  char text[256];

  PetscFunctionBegin;
  PetscCheck(IsDataset(file, name), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, KEY " %s: dataset '%s' is missing (found: %s)",
             path, name, FoundText(file, text));
  *set = H5Dopen2(file, name, H5P_DEFAULT);
  PetscCheck(*set >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, KEY " %s: dataset '%s' cannot be opened: %s", path, name,
             EkH5Reason(text));
  PetscFunctionReturn(0);
}

static PetscErrorCode SetShape(hid_t set, const char *path, const char *name, int *rank, PetscInt64 shape[EK_MAX_RANK])
{
  hsize_t     dims[EK_MAX_RANK];
  const hid_t space = H5Dget_space(set);

  PetscFunctionBegin;
  EkCallHDF5(space, KEY " %s: dataset '%s' has no shape", path, name);
  *rank = H5Sget_simple_extent_ndims(space);
  if (*rank >= 0 && *rank <= EK_MAX_RANK) H5Sget_simple_extent_dims(space, dims, NULL);
  H5Sclose(space);
  PetscCheck(*rank >= 0 && *rank <= EK_MAX_RANK, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, KEY " %s: dataset '%s' has %d axes",
             path, name, *rank);
  for (int d = 0; d < *rank; d++) {
    PetscCheck(dims[d] > 0 && dims[d] <= PETSC_MAX_INT, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
               KEY " %s: dataset '%s': axis %d is %llu long", path, name, d, (unsigned long long)dims[d]);
    shape[d] = (PetscInt64)dims[d];
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckFilters(hid_t set, const char *path, const char *name)
{
  const hid_t create = H5Dget_create_plist(set);
  const int   n = create >= 0 ? H5Pget_nfilters(create) : 0;
  int         absent = -1;
  char        filter[64];

  PetscFunctionBegin;
  for (int i = 0; i < n && absent < 0; i++) {
    unsigned int flags, config;
    size_t       nvalues = 0;
    const int    id = (int)H5Pget_filter2(create, (unsigned)i, &flags, &nvalues, NULL, sizeof(filter), filter, &config);

    if (id >= 0 && H5Zfilter_avail(id) <= 0) absent = id;
  }
  if (create >= 0) H5Pclose(create);
  PetscCheck(absent < 0, PETSC_COMM_SELF, PETSC_ERR_SUP,
             KEY " %s: dataset '%s' is stored through the filter '%s' (number %d), which this HDF5 does not have", path, name,
             filter, absent);
  PetscFunctionReturn(0);
}

/* Is it numbers, all there, and can pread take them as they are? */
static PetscErrorCode CheckStorage(hid_t set, const char *path, PetscInt64 file_bytes, EkSource *source)
{
  const hid_t        type = H5Dget_type(set);
  const H5T_class_t  kind = H5Tget_class(type);
  const PetscBool    native = (PetscBool)(H5Tequal(type, H5T_NATIVE_FLOAT) > 0);
  const haddr_t      address = H5Dget_offset(set);
  const hsize_t      bytes = H5Dget_storage_size(set);
  H5D_space_status_t status = H5D_SPACE_STATUS_ALLOCATED;

  PetscFunctionBegin;
  source->bytes = (PetscInt)H5Tget_size(type);
  H5Tclose(type);
  PetscCheck(kind == H5T_FLOAT || kind == H5T_INTEGER, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: dataset '%s' does not hold numbers", path, source->name);
  PetscCall(CheckFilters(set, path, source->name));
  H5Dget_space_status(set, &status);
  PetscCheck(status != H5D_SPACE_STATUS_NOT_ALLOCATED, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: dataset '%s' was never written", path, source->name);
  source->address = -1;
  if (address == HADDR_UNDEF) PetscFunctionReturn(0);
  PetscCheck((PetscInt64)(address + bytes) <= file_bytes, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: the file is truncated: dataset '%s' ends at byte %lld, the file at %lld", path, source->name,
             (long long)(address + bytes), (long long)file_bytes);
  if (native) source->address = (PetscInt64)address;
  PetscFunctionReturn(0);
}

static PetscErrorCode FindFamily(hid_t file, const char *path, EkLayout *layout, PetscInt64 shape[EK_MAX_RANK])
{
  char  found[256], text[160];
  hid_t set;
  int   rank;

  PetscFunctionBegin;
  for (int i = 0; i < NFAMILIES; i++) {
    if (!IsDataset(file, family[i].lead)) continue;
    PetscCall(OpenSet(file, path, family[i].lead, &set));
    PetscCall(SetShape(set, path, family[i].lead, &rank, shape));
    H5Dclose(set);
    layout->family = i;
    if (rank == family[i].lead_rank) PetscFunctionReturn(0);
    /* another row may have the same lead with more axes */
    if (i + 1 < NFAMILIES && !strcmp(family[i].lead, family[i + 1].lead)) continue;
    SETERRQ(PETSC_COMM_SELF, PETSC_ERR_SUP, KEY " %s: this kind of file is not supported yet: '%s' has %d axes (%s; found: %s)",
            path, family[i].lead, rank, EkShapeText(rank, shape, text), FoundText(file, found));
  }
  SETERRQ(
      PETSC_COMM_SELF, PETSC_ERR_SUP,
      KEY
      " %s: this kind of file is not supported yet: neither 'density' nor 'tensor' nor 'nu' is among its datasets (found: %s)",
      path, FoundText(file, found));
}

/* Opens, checks and closes one source; every one must agree with the lead's trajectories and grid. */
static PetscErrorCode ProbeSource(hid_t file, const char *path, PetscInt64 file_bytes, int i, EkLayout *layout)
{
  const Family *row = &family[layout->family];
  EkSource     *source = &layout->source[i];
  const int     time_axis = !(row->pair && i == 0), want_rank = 1 + time_axis + row->dim;
  PetscInt64    shape[EK_MAX_RANK], want[EK_MAX_RANK] = {layout->samples};
  char          text[160], want_text[160];
  hid_t         set;
  int           rank;

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(source->name, row->source[i], sizeof(source->name)));
  source->frame = row->pair ? i : 0;
  source->field = row->pair ? 0 : i;
  source->frames = row->pair ? 1 : layout->frames;
  if (time_axis) want[1] = source->frames;
  for (int d = 0; d < row->dim; d++) want[1 + time_axis + d] = layout->n[d];
  PetscCall(OpenSet(file, path, source->name, &set));
  PetscCall(SetShape(set, path, source->name, &rank, shape));
  PetscCheck(rank == want_rank && !memcmp(shape, want, (size_t)rank * sizeof(*shape)), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: datasets disagree: '%s' is %s, '%s' asks for %s", path, source->name, EkShapeText(rank, shape, text),
             row->lead, EkShapeText(want_rank, want, want_text));
  PetscCall(CheckStorage(set, path, file_bytes, source));
  H5Dclose(set);
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadCoordinate(hid_t file, const char *path, const char *name, PetscInt n, float **values)
{
  PetscInt64 shape[EK_MAX_RANK];
  char       text[256];
  hid_t      set;
  int        rank;

  PetscFunctionBegin;
  PetscCall(OpenSet(file, path, name, &set));
  PetscCall(SetShape(set, path, name, &rank, shape));
  PetscCheck(rank == 1 && shape[0] == n, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: dataset '%s' is %s, the grid has %" PetscInt_FMT " points", path, name, EkShapeText(rank, shape, text), n);
  PetscCall(CheckFilters(set, path, name));
  PetscCall(PetscMalloc1(n, values));
  PetscCheck(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values) >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ,
             KEY " %s: dataset '%s' cannot be read: %s", path, name, EkH5Reason(text));
  H5Dclose(set);
  for (PetscInt i = 0; i < n; i++) {
    PetscCheck(!PetscIsInfOrNanReal((*values)[i]), PETSC_COMM_SELF, PETSC_ERR_FP,
               KEY " %s: dataset '%s': value %" PetscInt_FMT " is not finite", path, name, i);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ProbeOpen(hid_t file, const char *path, EkLayout *layout, float *coordinate[2])
{
  static const char *const axis[] = {"x-coordinate", "y-coordinate"};
  const Family            *row;
  PetscInt64               shape[EK_MAX_RANK], file_bytes;

  PetscFunctionBegin;
  PetscCall(EkFileSize(KEY, path, &file_bytes));
  PetscCall(FindFamily(file, path, layout, shape));
  row = &family[layout->family];
  layout->dim = row->dim;
  layout->samples = (PetscInt)shape[0];
  layout->frames = row->pair ? row->nsources : (PetscInt)shape[1];
  layout->fields = row->pair ? 1 : row->nsources;
  layout->nsources = row->nsources;
  layout->pair = row->pair;
  layout->n[1] = 1;
  for (int d = 0; d < row->dim; d++) layout->n[d] = (PetscInt)shape[row->lead_rank - row->dim + d];
  for (int i = 0; i < row->nsources; i++) PetscCall(ProbeSource(file, path, file_bytes, i, layout));
  for (int i = 0; i < layout->fields; i++)
    PetscCall(PetscStrncpy(layout->field[i], row->source[row->nsources - layout->fields + i], EK_NAME));
  for (int d = 0; d < row->dim; d++) PetscCall(ReadCoordinate(file, path, axis[d], layout->n[d], &coordinate[d]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetProbe(const char *path, EkLayout *layout, float *coordinate[2])
{
  PetscErrorCode code;
  hid_t          file;

  PetscFunctionBegin;
  PetscCall(EkH5Open(KEY, path, H5F_ACC_RDONLY, &file));
  code = ProbeOpen(file, path, layout, coordinate);
  H5Fclose(file);
  PetscFunctionReturn(code);
}
