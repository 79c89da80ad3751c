#include "dataset.h"
#include <sys/stat.h>
#include <string.h>

#define KEY EK_DATA_FILE

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

const char *EkSetFound(hid_t file, const char *name, char text[256])
{
  char   parent[EK_PATH];
  char  *slash;
  hid_t  group = -1;
  herr_t listed = -1;

  text[0] = 0;
  snprintf(parent, sizeof(parent), "%s", name);
  while (group < 0 && (slash = strrchr(parent, '/'))) {
    *slash = 0;
    group = H5Gopen2(file, parent, H5P_DEFAULT);
  }
  listed = H5Literate(group < 0 ? file : group, H5_INDEX_NAME, H5_ITER_INC, NULL, AppendName, text);
  if (group >= 0) H5Gclose(group);
  if (listed < 0 || !text[0]) snprintf(text, 256, "nothing");
  return text;
}

PetscBool EkSetExists(hid_t file, const char *name)
{
  H5O_info_t info;

  if (H5Lexists(file, name, H5P_DEFAULT) <= 0) return PETSC_FALSE;
  if (H5Oget_info_by_name2(file, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return PETSC_FALSE;
  return (PetscBool)(info.type == H5O_TYPE_DATASET);
}

PetscErrorCode EkSetOpen(hid_t file, const char *path, const char *name, hid_t *set)
{
  char text[256];

  PetscFunctionBegin;
  PetscCheck(EkSetExists(file, name), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, KEY " %s: dataset '%s' is missing (found: %s)",
             path, name, EkSetFound(file, name, text));
  *set = H5Dopen2(file, name, H5P_DEFAULT);
  PetscCheck(*set >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, KEY " %s: dataset '%s' cannot be opened: %s", path, name,
             EkH5Reason(text));
  PetscFunctionReturn(0);
}

PetscErrorCode EkSetShape(hid_t set, const char *path, const char *name, int *rank, PetscInt64 shape[EK_MAX_RANK])
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

PetscErrorCode EkSetCheckFilters(hid_t set, const char *path, const char *name)
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
             KEY " %s: dataset '%s' is stored through the filter '%s' (number %d), which this HDF5 does not have: point "
                 "HDF5_PLUGIN_PATH to it, or write the file again without it (h5repack -f NONE where the filter is, or h5py)",
             path, name, filter, absent);
  PetscFunctionReturn(0);
}

/* Behind an external link a dataset lies in another file than PATH, and its place there means nothing in this one. */
static PetscBool IsElsewhere(hid_t set, const char *path)
{
  char        name[2 * EK_PATH] = "";
  struct stat here, there;

  if (H5Fget_name(set, name, sizeof(name)) <= 0 || !strcmp(name, path)) return PETSC_FALSE;
  if (stat(name, &there) || stat(path, &here)) return PETSC_FALSE;
  return (PetscBool)(here.st_dev != there.st_dev || here.st_ino != there.st_ino);
}

PetscErrorCode EkSetStorage(hid_t set, const char *path, const char *name, PetscInt64 *address, PetscInt *bytes)
{
  const hid_t        type = H5Dget_type(set);
  const H5T_class_t  kind = H5Tget_class(type);
  const PetscBool    native = (PetscBool)(H5Tequal(type, H5T_NATIVE_FLOAT) > 0);
  const haddr_t      offset = H5Dget_offset(set);
  const hsize_t      size = H5Dget_storage_size(set);
  H5D_space_status_t status = H5D_SPACE_STATUS_ALLOCATED;
  PetscInt64         file_bytes;

  PetscFunctionBegin;
  *bytes = (PetscInt)H5Tget_size(type);
  H5Tclose(type);
  PetscCheck(kind == H5T_FLOAT || kind == H5T_INTEGER, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: dataset '%s' does not hold numbers", path, name);
  PetscCall(EkSetCheckFilters(set, path, name));
  H5Dget_space_status(set, &status);
  PetscCheck(status != H5D_SPACE_STATUS_NOT_ALLOCATED, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: dataset '%s' was never written", path, name);
  *address = -1;
  if (offset == HADDR_UNDEF || IsElsewhere(set, path)) PetscFunctionReturn(0); /* HDF5 reads it */
  PetscCall(EkFileSize(KEY, path, &file_bytes));
  PetscCheck((PetscInt64)(offset + size) <= file_bytes, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: the file is truncated: dataset '%s' ends at byte %lld, the file at %lld", path, name,
             (long long)(offset + size), (long long)file_bytes);
  if (native) *address = (PetscInt64)offset;
  PetscFunctionReturn(0);
}
