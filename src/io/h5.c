#include "io.h"
#include <string.h>

static herr_t Innermost(unsigned n, const H5E_error2_t *error, void *context)
{
  if (n == 0) snprintf((char *)context, 256, "%s", error->desc ? error->desc : "");
  return 0;
}

const char *EkH5Reason(char text[256])
{
  text[0] = 0;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, Innermost, text);
  return text;
}

PetscErrorCode EkH5Access(hid_t *access)
{
  PetscFunctionBegin;
  EkCallHDF5(H5Eset_auto2(H5E_DEFAULT, NULL, NULL), "HDF5 cannot be initialised");
  *access = H5Pcreate(H5P_FILE_ACCESS);
  EkCallHDF5(*access, "HDF5 cannot be initialised");
  EkCallHDF5(H5Pset_fclose_degree(*access, H5F_CLOSE_STRONG), "HDF5 cannot be initialised");
  EkCallHDF5(H5Pset_file_locking(*access, 0, 1), "HDF5 cannot be initialised");
  /* 1.8 format: checksums on all metadata, attributes beyond 64 KiB; any HDF5 of the last fifteen years reads it */
  EkCallHDF5(H5Pset_libver_bounds(*access, H5F_LIBVER_V18, H5F_LIBVER_LATEST), "HDF5 cannot be initialised");
  PetscFunctionReturn(0);
}

PetscErrorCode EkH5Open(const char *what, const char *path, unsigned flags, hid_t *file)
{
  int   fd;
  hid_t access;
  char  reason[256];

  PetscFunctionBegin;
  PetscCall(EkFileOpen(what, path, O_RDONLY, &fd));
  close(fd);
  PetscCall(EkH5Access(&access));
  *file = H5Fopen(path, flags, access);
  if (*file < 0) EkH5Reason(reason);
  H5Pclose(access);
  if (*file >= 0) PetscFunctionReturn(0);
  PetscCheck(H5Fis_hdf5(path) > 0, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, "%s: '%s' is not an HDF5 file", what, path);
  SETERRQ(PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, "%s: '%s' is damaged, HDF5 cannot open it: %s", what, path, reason);
}

const char *EkShapeText(int rank, const PetscInt64 shape[], char text[160])
{
  size_t used = 0;

  if (rank == 0) snprintf(text, 160, "scalar");
  for (int d = 0; d < rank && used < 130; d++)
    used += (size_t)snprintf(text + used, 160 - used, "%s%lld", d ? " x " : "", (long long)shape[d]);
  return text;
}
