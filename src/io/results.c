#include "evenkeel/results.h"
#include "io.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Opens PATH for writing with room for `more` bytes of datasets; made anew when missing or `fresh`. */
static PetscErrorCode OpenWithRoom(const char *path, PetscBool fresh, PetscInt64 more, hid_t *file)
{
  PetscInt64 size = 0;
  hid_t      access_list;

  PetscFunctionBegin;
  PetscCall(EkH5Access(&access_list));
  if (fresh || access(path, F_OK)) {
    const hid_t create = H5Pcreate(H5P_FILE_CREATE);

    PetscCall(EkFileReserve("out_dir", path, O_CREAT | O_TRUNC, 1 << 16));
    H5Pset_obj_track_times(create, 0); /* the same results are the same file */
    *file = H5Fcreate(path, H5F_ACC_TRUNC, create, access_list);
    H5Pclose(create);
    EkCallHDF5(*file, "out_dir: cannot write '%s'", path);
    EkCallHDF5(H5Fclose(*file), "out_dir: cannot write '%s'", path);
  }
  H5Pclose(access_list);
  PetscCall(EkFileSize("out_dir", path, &size));
  PetscCall(EkFileReserve("out_dir", path, 0, size + more + (1 << 17)));
  PetscCall(EkH5Open("out_dir", path, H5F_ACC_RDWR, file));
  PetscFunctionReturn(0);
}

static PetscErrorCode RealAttribute(hid_t object, const char *name, double value, const char *path)
{
  hid_t  space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(object, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t status = H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value);

  PetscFunctionBegin;
  H5Aclose(attribute);
  H5Sclose(space);
  EkCallHDF5(status, "cannot write attribute '%s' of '%s'", name, path);
  PetscFunctionReturn(0);
}

static PetscErrorCode TextAttribute(hid_t object, const char *name, const char *text, const char *path)
{
  hid_t  space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1), attribute;
  herr_t status;

  PetscFunctionBegin;
  H5Tset_size(type, strlen(text) + 1);
  attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  status = H5Awrite(attribute, type, text);
  H5Aclose(attribute);
  H5Tclose(type);
  H5Sclose(space);
  EkCallHDF5(status, "cannot write attribute '%s' of '%s'", name, path);
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteRecord(hid_t group, const EkSpectrumRecord *record, const char *path)
{
  const hsize_t n = (hsize_t)record->n;
  hid_t         space = H5Screate_simple(1, &n, NULL),
        set = H5Dcreate2(group, record->layer, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  herr_t status = H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, record->eigenvalues);

  PetscFunctionBegin;
  H5Sclose(space);
  EkCallHDF5(status, "out_dir: cannot write '%s'", path);
  PetscCall(RealAttribute(set, "alpha", record->alpha, path));
  PetscCall(RealAttribute(set, "D", record->D, path));
  PetscCall(RealAttribute(set, "xmin", record->xmin, path));
  H5Dclose(set);
  PetscFunctionReturn(0);
}

#define GROUP "epoch_"

static void GroupName(PetscInt epoch, char name[EK_NAME])
{
  snprintf(name, EK_NAME, GROUP "%05d", (int)epoch);
}

PetscErrorCode EkSpectraAppend(const char *path, PetscInt epoch, int n, const EkSpectrumRecord record[])
{
  PetscInt64 room = 0;
  char       name[EK_NAME];
  hid_t      file, group;

  PetscFunctionBegin;
  for (int i = 0; i < n; i++) room += 8 * (PetscInt64)record[i].n + 4096;
  PetscCall(OpenWithRoom(path, PETSC_FALSE, room, &file));
  GroupName(epoch, name);
  if (H5Lexists(file, name, H5P_DEFAULT) > 0) EkCallHDF5(H5Ldelete(file, name, H5P_DEFAULT), "out_dir: cannot write '%s'", path);
  group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  EkCallHDF5(group, "out_dir: cannot write '%s'", path);
  for (int i = 0; i < n; i++) PetscCall(WriteRecord(group, &record[i], path));
  H5Gclose(group);
  EkCallHDF5(H5Fclose(file), "out_dir: cannot write '%s'", path);
  PetscFunctionReturn(0);
}

/* A file that HDF5 cannot open although the system can was cut short when the run was killed: it is put aside, spectra begin
 * anew. */
static PetscErrorCode OpenOrPutAside(const char *path, hid_t *file)
{
  hid_t access_list;
  char  aside[2 * EK_PATH];
  int   fd;

  PetscFunctionBegin;
  PetscCall(EkFileOpen("out_dir", path, O_RDWR, &fd));
  close(fd);
  PetscCall(EkH5Access(&access_list));
  *file = H5Fopen(path, H5F_ACC_RDWR, access_list);
  H5Pclose(access_list);
  if (*file >= 0) PetscFunctionReturn(0);
  PetscCall(PetscSNPrintf(aside, sizeof(aside), "%s.damaged", path));
  PetscCall(EkFileReplace("out_dir", path, aside));
  printf("notice: '%s' is damaged and put aside as '%s'; spectra begin anew\n", path, aside);
  PetscFunctionReturn(0);
}

PetscErrorCode EkSpectraTruncate(const char *path, PetscInt epoch)
{
  hid_t      file;
  H5G_info_t info;
  char       name[EK_NAME];

  PetscFunctionBegin;
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  if (access(path, F_OK)) PetscFunctionReturn(0);
  PetscCall(OpenOrPutAside(path, &file));
  if (file < 0) PetscFunctionReturn(0);
  EkCallHDF5(H5Gget_info(file, &info), "out_dir: cannot read '%s'", path);
  for (hsize_t i = info.nlinks; i-- > 0;) {
    EkCallHDF5(H5Lget_name_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof(name), H5P_DEFAULT),
               "out_dir: cannot read '%s'", path);
    if (!strncmp(name, GROUP, strlen(GROUP)) && atol(name + strlen(GROUP)) > epoch)
      EkCallHDF5(H5Ldelete(file, name, H5P_DEFAULT), "out_dir: cannot write '%s'", path);
  }
  EkCallHDF5(H5Fclose(file), "out_dir: cannot write '%s'", path);
  PetscFunctionReturn(0);
}

/* attribute of predictions that are not those of a run's end */
#define WEIGHTS "weights"

/* of n trajectories */
static size_t Values(const EkDataInfo *info, PetscInt n)
{
  return (size_t)(n * info->fields * info->frames) * (size_t)info->n[0] * (size_t)info->n[1] * (size_t)info->n[2];
}

/* (n, frames, fields, stride) -> (n, fields, frames, points) */
static void Reorder(const EkDataInfo *info, PetscInt n, size_t stride, const float *from, float *to)
{
  const size_t points = (size_t)info->n[0] * (size_t)info->n[1] * (size_t)info->n[2];

  for (PetscInt s = 0; s < n; s++) {
    for (PetscInt c = 0; c < info->fields; c++) {
      for (PetscInt t = 0; t < info->frames; t++, to += points)
        memcpy(to, from + (size_t)((s * info->frames + t) * info->fields + c) * stride, points * sizeof(float));
    }
  }
}

static PetscErrorCode WriteFields(hid_t file, const char *name, const EkDataInfo *info, PetscInt n, size_t stride,
                                  const float *values, const char *path)
{
  const hsize_t dims[6] = {(hsize_t)n,          (hsize_t)info->fields, (hsize_t)info->frames,
                           (hsize_t)info->n[0], (hsize_t)info->n[1],   (hsize_t)info->n[2]};
  hid_t         space = H5Screate_simple(3 + info->dim, dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE), set;
  float        *ordered;
  herr_t        status;

  PetscFunctionBegin;
  H5Pset_obj_track_times(create, 0);
  set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
  PetscCall(PetscMalloc1(Values(info, n) + 1, &ordered));
  Reorder(info, n, stride, values, ordered);
  status = H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, ordered);
  PetscCall(PetscFree(ordered));
  H5Dclose(set);
  H5Pclose(create);
  H5Sclose(space);
  EkCallHDF5(status, "out_dir: cannot write '%s'", path);
  PetscFunctionReturn(0);
}

/* Stored, although it follows from the others: readers of XDMF compute nothing reliably. */
static PetscErrorCode WriteError(hid_t file, const EkDataInfo *info, PetscInt n, size_t stride, const float *prediction,
                                 const float *target, const char *path)
{
  const size_t count = (size_t)(n * info->frames * info->fields) * stride;
  float       *error;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(count + 1, &error));
  for (size_t i = 0; i < count; i++) error[i] = prediction[i] - target[i];
  PetscCall(WriteFields(file, "error", info, n, stride, error, path));
  PetscCall(PetscFree(error));
  PetscFunctionReturn(0);
}

PetscErrorCode EkPredictionsWrite(const char *path, const EkDataInfo *info, PetscInt n, size_t stride, const float *prediction,
                                  const float *target)
{
  char  names[EK_MAX_FIELDS * EK_NAME] = "";
  hid_t file;

  PetscFunctionBegin;
  PetscCall(OpenWithRoom(path, PETSC_TRUE, 3 * (PetscInt64)(Values(info, n) * sizeof(float)), &file));
  PetscCall(WriteFields(file, "prediction", info, n, stride, prediction, path));
  PetscCall(WriteFields(file, "target", info, n, stride, target, path));
  PetscCall(WriteError(file, info, n, stride, prediction, target, path));
  for (PetscInt c = 0; c < info->fields; c++) {
    if (c) PetscCall(PetscStrlcat(names, ",", sizeof(names)));
    PetscCall(PetscStrlcat(names, info->field[c], sizeof(names)));
  }
  PetscCall(RealAttribute(file, "initial_step", (double)info->initial_step, path));
  PetscCall(TextAttribute(file, "fields", names, path));
  EkCallHDF5(H5Fclose(file), "out_dir: cannot write '%s'", path);
  PetscFunctionReturn(0);
}

PetscErrorCode EkPredictionsSetWeights(const char *path, const char *weights)
{
  hid_t file;

  PetscFunctionBegin;
  PetscCall(OpenWithRoom(path, PETSC_FALSE, 0, &file));
  PetscCall(TextAttribute(file, WEIGHTS, weights, path));
  EkCallHDF5(H5Fclose(file), "out_dir: cannot write '%s'", path);
  PetscFunctionReturn(0);
}

/* Only texts as TextAttribute writes them. */
static void ReadText(hid_t object, const char *name, size_t size, char *text)
{
  const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);

  if (type >= 0 && H5Tget_class(type) == H5T_STRING && !H5Tis_variable_str(type) && H5Tget_size(type) <= size)
    H5Aread(attribute, type, text);
  text[size - 1] = 0;
  if (type >= 0) H5Tclose(type);
  if (attribute >= 0) H5Aclose(attribute);
}

PetscErrorCode EkPredictionsGetWeights(const char *path, char weights[EK_PATH])
{
  hid_t access_list, file;

  PetscFunctionBegin;
  PetscCall(PetscMemzero(weights, EK_PATH));
  if (access(path, F_OK)) PetscFunctionReturn(0);
  PetscCall(PetscStrncpy(weights, "the run", EK_PATH));
  PetscCall(EkH5Access(&access_list));
  file = H5Fopen(path, H5F_ACC_RDONLY, access_list);
  H5Pclose(access_list);
  if (file < 0) PetscFunctionReturn(0);
  ReadText(file, WEIGHTS, EK_PATH, weights);
  H5Fclose(file);
  PetscFunctionReturn(0);
}
