/* Reading the conformance cases of tests/data/cases: datasets of floats and numeric attributes by path. */
#pragma once
#include "support.h"
#include <hdf5.h>

#define CASE_FILE(name) "tests/data/cases/" name

/* Dataset as floats, shape in dims; the caller frees. */
static inline float *CaseFloats(const char *file, const char *path, int *rank, hsize_t dims[8])
{
  hid_t   f = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT), d = H5Dopen(f, path, H5P_DEFAULT), s = H5Dget_space(d);
  hsize_t size = 1;
  float  *values;

  *rank = H5Sget_simple_extent_dims(s, dims, NULL);
  for (int i = 0; i < *rank; i++) size *= dims[i];
  values = malloc(sizeof(float) * size);
  if (H5Dread(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) fail_msg("%s: %s cannot be read", file, path);
  H5Sclose(s), H5Dclose(d), H5Fclose(f);
  return values;
}

static inline double CaseNumber(const char *file, const char *group, const char *attribute)
{
  hid_t  f = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT), a = H5Aopen_by_name(f, group, attribute, H5P_DEFAULT, H5P_DEFAULT);
  double value = NAN;

  if (H5Aread(a, H5T_NATIVE_DOUBLE, &value) < 0) fail_msg("%s: %s has no number %s", file, group, attribute);
  H5Aclose(a), H5Fclose(f);
  return value;
}
