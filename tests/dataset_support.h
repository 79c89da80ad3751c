/* Data files of every family whose values tell where they are, and what a reader must make of them. */
#pragma once
#include "support.h"
#include "evenkeel/dataset.h"
#include "evenkeel/kernel.h"
#include "evenkeel/mesh.h"
#include <hdf5.h>

/* ---- files ------------------------------------------------------------------------------------------------ */

typedef struct {
  const char *name;
  hid_t       type;  /* 0: little-endian float32 */
  hsize_t     chunk; /* trajectories (of a group: frames) a chunk; 0: contiguous */
  int         gzip;
  hsize_t     userblock; /* bytes before the HDF5 part */
  hsize_t     cut;       /* longest side of a chunk along the other axes; 0: whole */
} Variant;

typedef struct {
  const char *family;
  int         dim, nfields;
  PetscInt    samples, frames, n[3];
} Shape;

/* Exact in float: which dataset, and where in it. */
static inline float Value(int set, PetscInt64 place)
{
  return (float)(100000 * (set + 1) + place % 99991);
}

static inline hid_t Create(const char *path, const Variant *variant)
{
  hid_t create = H5Pcreate(H5P_FILE_CREATE), file;

  H5Pset_userblock(create, variant->userblock);
  file = H5Fcreate(path, H5F_ACC_TRUNC, create, H5P_DEFAULT);
  H5Pclose(create);
  assert_true(file >= 0);
  return file;
}

/* Values of set `set` from place `from` on; set -1: a coordinate. */
static inline void PutFrom(hid_t file, const char *name, int set, PetscInt64 from, int rank, const PetscInt shape[],
                           const Variant *variant)
{
  hsize_t dims[6], n = 1;
  hid_t   create = H5Pcreate(H5P_DATASET_CREATE), space, data;
  float  *values;

  for (int d = 0; d < rank; d++) n *= dims[d] = (hsize_t)shape[d];
  values = malloc(n * sizeof(float));
  for (hsize_t i = 0; i < n; i++) values[i] = set < 0 ? 0.5f + (float)i / (float)n : Value(set, from + (PetscInt64)i);
  space = H5Screate_simple(rank, dims, NULL);
  if (variant->chunk && rank > 1) {
    dims[0] = variant->chunk < dims[0] ? variant->chunk : dims[0];
    for (int d = 1; d < rank; d++) dims[d] = variant->cut && variant->cut < dims[d] ? variant->cut : dims[d];
    H5Pset_chunk(create, rank, dims);
    if (variant->gzip) {
      H5Pset_shuffle(create);
      H5Pset_deflate(create, 4);
    }
  }
  data = H5Dcreate2(file, name, variant->type ? variant->type : H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
  assert_true(data >= 0 && H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(data);
  H5Sclose(space);
  H5Pclose(create);
  free(values);
}

static inline void Put(hid_t file, const char *name, int set, int rank, const PetscInt shape[], const Variant *variant)
{
  PutFrom(file, name, set, 0, rank, shape, variant);
}

static inline void PutCoordinates(hid_t file, const Shape *shape)
{
  static const char *const name[] = {"x-coordinate", "y-coordinate", "z-coordinate"};
  static const Variant     plain = {0};

  for (int d = 0; d < shape->dim; d++) Put(file, name[d], -1, 1, shape->n + d, &plain);
}

/* Group NAME: data (frames, points along each axis, fields), grid. The values of all groups count on. */
static inline void PutGroup(hid_t file, const char *name, PetscInt sample, const Shape *shape, const Variant *variant)
{
  static const char *const axis[] = {"x", "y", "z"};
  static const Variant     plain = {0};
  PetscInt                 n[5] = {shape->frames};
  PetscInt64               size = (PetscInt64)shape->frames * shape->nfields;
  hid_t                    group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), grid;

  for (int d = 0; d < shape->dim; d++) size *= n[1 + d] = shape->n[d];
  n[1 + shape->dim] = shape->nfields;
  PutFrom(group, "data", 0, sample * size, 2 + shape->dim, n, variant);
  grid = H5Gcreate2(group, "grid", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  for (int d = 0; d < shape->dim; d++) Put(grid, axis[d], -1, 1, shape->n + d, &plain);
  Put(grid, "t", -1, 1, n, &plain);
  H5Gclose(grid);
  H5Gclose(group);
}

/* Backwards: the order in the file is not that of the names. */
static inline void PutGroups(hid_t file, const Shape *shape, const Variant *variant)
{
  for (PetscInt s = shape->samples; s-- > 0;) {
    char name[16];

    snprintf(name, sizeof(name), "%04d", (int)s);
    PutGroup(file, name, s, shape, variant);
  }
}

static inline void PutFields(hid_t file, const Shape *shape, const Variant *variant)
{
  static const char *const field[] = {"density", "pressure", "Vx", "Vy", "Vz"};
  const PetscInt           n[] = {shape->samples, shape->frames, shape->n[0], shape->n[1], shape->n[2]},
                 nu[] = {shape->samples, shape->n[0], shape->n[1]};

  if (!strcmp(shape->family, "darcy")) {
    const PetscInt u[] = {shape->samples, 1, shape->n[0], shape->n[1]};

    Put(file, "nu", 0, 3, nu, variant);
    Put(file, "tensor", 1, 4, u, variant);
  } else if (!strcmp(shape->family, "scalar"))
    Put(file, "tensor", 0, 3, n, variant);
  else {
    for (int f = 0; f < shape->nfields; f++) Put(file, field[f], f, 2 + shape->dim, n, variant);
  }
}

/* Rank 0 writes, all wait. */
static inline void Make(const char *path, const Shape *shape, const Variant *variant)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, variant);

    if (!strcmp(shape->family, "groups"))
      PutGroups(file, shape, variant);
    else {
      PutFields(file, shape, variant);
      PutCoordinates(file, shape);
    }
    assert_true(H5Fclose(file) >= 0);
  }
  MPI_Barrier(EkTestRun()->comm);
}

static inline EkDataOptions Options(const char *path)
{
  EkDataOptions options = {.test = -1,
                           .train = -1,
                           .reduced_batch = 1,
                           .reduced_resolution = 1,
                           .reduced_resolution_t = 1,
                           .initial_step = 1,
                           .t_train = -1,
                           .cache = 1 << 30};

  EK_OK(PetscStrncpy(options.file, path, sizeof(options.file)));
  return options;
}

/* The value of set `name` at `place` becomes `value`. */
static inline void Poison(const char *path, const char *name, const hsize_t place[], int rank, float value)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    const hsize_t one[] = {1, 1, 1, 1, 1};
    const hid_t   file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), data = H5Dopen2(file, name, H5P_DEFAULT),
                space = H5Dget_space(data), memory = H5Screate_simple(rank, one, NULL);

    H5Sselect_hyperslab(space, H5S_SELECT_SET, place, NULL, one, NULL);
    assert_true(H5Dwrite(data, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(data);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* Opening must fail with the text. */
static inline void Fails(const EkDataOptions *options, const char *text)
{
  EkDataset data;

  EK_FAILS(EkDatasetOpen(EkTestRun(), options, &data), text);
  assert_null(data);
}

/* Rank 0 fills a new file by `fill`; opening it must fail with the text. */
static inline void Broken(const char *path, void (*fill)(hid_t file), const char *text)
{
  static const Variant plain = {0};
  EkDataOptions        options = Options(path);

  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    hid_t file = Create(path, &plain);

    fill(file);
    H5Fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
  Fails(&options, text);
  MPI_Barrier(EkTestRun()->comm);
}

/* ---- the truth: index arithmetic as the published loader's array slices have it ------------------------------- */

static inline float Expected(const Shape *shape, const EkDataOptions *o, PetscInt trajectory, PetscInt t, PetscInt field,
                             const PetscInt at[3])
{
  const PetscInt64 points = (PetscInt64)shape->n[0] * shape->n[1] * shape->n[2];
  PetscInt64       place = 0;

  for (int d = 0; d < 3; d++) place = place * shape->n[d] + (PetscInt64)at[d] * o->reduced_resolution;
  if (!strcmp(shape->family, "darcy")) return Value((int)t, trajectory * points + place);
  place += ((PetscInt64)trajectory * shape->frames + t * o->reduced_resolution_t) * points;
  if (!strcmp(shape->family, "groups")) return Value(0, place * shape->nfields + field);
  return Value((int)field, place);
}

/* Trajectories of the split, written down one by one. */
static inline PetscInt List(const Shape *shape, const EkDataOptions *o, EkSplit split, PetscInt list[])
{
  const PetscInt test = o->test < 0 ? (shape->samples / 10 ? shape->samples / 10 : 1) : o->test,
                 end = o->train < 0 ? shape->samples : test + o->train, last = shape->samples - test;
  PetscInt n = 0;

  if (o->test_from == EK_FROM_END && split == EK_TEST) {
    for (PetscInt s = last; s < shape->samples; s++) list[n++] = s;
    return n;
  }
  if (o->test_from == EK_FROM_END) {
    for (PetscInt s = 0; s < (o->train < 0 ? last : o->train); s += o->reduced_batch) list[n++] = s;
    return n;
  }
  if (split == EK_TEST) {
    for (PetscInt s = 0; s < test; s++) list[n++] = s;
  } else {
    for (PetscInt s = test; s < end; s += o->reduced_batch) list[n++] = s;
  }
  return n;
}

/* Rows [row, row + rows) of fields field[0..nfields) of one trajectory. */
static inline void CheckRows(const Shape *shape, const EkDataOptions *o, const EkDataInfo *info, PetscInt trajectory,
                             PetscInt frames, const PetscInt field[], PetscInt row, PetscInt rows, size_t stride,
                             const float *sample)
{
  for (PetscInt t = 0; t < frames; t++) {
    for (PetscInt f = 0; f < info->fields; f++) {
      const float *plane = sample + ((size_t)t * info->fields + f) * stride;
      size_t       p = 0;

      for (PetscInt i = 0; i < rows; i++) {
        for (PetscInt j = 0; j < info->n[1]; j++) {
          for (PetscInt k = 0; k < info->n[2]; k++, p++) {
            const float value = Expected(shape, o, trajectory, t, field[f], (PetscInt[3]){row + i, j, k});

            if (plane[p] != value)
              fail_msg("trajectory %d frame %d field %d point %d,%d,%d: %g instead of %g", (int)trajectory, (int)t, (int)f,
                       (int)(row + i), (int)j, (int)k, plane[p], value);
          }
        }
      }
      for (; p < stride; p++) assert_true(plane[p] == 0);
    }
  }
}

static inline void CheckSample(const Shape *shape, const EkDataOptions *o, const EkDataInfo *info, PetscInt trajectory,
                               PetscInt frames, size_t stride, const float *sample)
{
  static const PetscInt all[] = {0, 1, 2, 3, 4, 5, 6, 7};

  CheckRows(shape, o, info, trajectory, frames, all, 0, info->n[0], stride, sample);
}

static inline size_t InfoPoints(const EkDataInfo *info)
{
  return (size_t)info->n[0] * (size_t)info->n[1] * (size_t)info->n[2];
}

/* Each rank reads its slice of both splits, in one call and backwards one by one (from the cache then, if there is any). */
static inline void CheckRead(const Shape *shape, const EkDataOptions *o)
{
  EkRun             run = EkTestRun();
  EkDataset         data;
  const EkDataInfo *info;
  PetscInt          list[64], index[64];

  EK_OK(EkDatasetOpen(run, o, &data));
  EK_OK(EkDatasetGetInfo(data, &info));
  for (int split = 0; split < 2; split++) {
    const PetscInt frames = split == EK_TRAIN ? info->t_train : info->frames;
    const size_t   stride = EkPlaneStride((PetscInt64)InfoPoints(info)), size = (size_t)frames * info->fields * stride;
    PetscInt64     lo, hi;
    float         *out;

    assert_int_equal(info->count[split], List(shape, o, (EkSplit)split, list));
    EkSlice(info->count[split], run->size, run->rank, &lo, &hi);
    for (PetscInt i = 0; i < hi - lo; i++) index[i] = (PetscInt)(hi - 1 - i);
    out = malloc(((size_t)(hi - lo) * size + 1) * sizeof(float));
    for (size_t i = 0; i < (size_t)(hi - lo) * size; i++) out[i] = NAN;
    EK_OK(EkDatasetPrefetch(data, (EkSplit)split, (PetscInt)(hi - lo), index));
    EK_OK(EkDatasetRead(data, (EkSplit)split, (PetscInt)(hi - lo), index, stride, out));
    for (PetscInt i = 0; i < hi - lo; i++) CheckSample(shape, o, info, list[index[i]], frames, stride, out + (size_t)i * size);
    for (PetscInt i = 0; i < hi - lo; i++) {
      for (size_t p = 0; p < size; p++) out[p] = NAN;
      EK_OK(EkDatasetRead(data, (EkSplit)split, 1, &index[i], stride, out));
      CheckSample(shape, o, info, list[index[i]], frames, stride, out);
    }
    free(out);
  }
  EK_OK(EkDatasetDestroy(&data));
  assert_null(data);
}
