/* Data files for tests of what reads them: small ones, written by all ranks. */
#pragma once
#include "evenkeel/datafile.h"
#include "support.h"

#define FRAMES 5
#define NX     7
#define NY     6
#define NZ     3

/* NAME in an emptied scratch folder: datasets (samples, FRAMES, NX[, NY[, NZ]]). timed not NULL: (samples, 1, ...) where
   timed[f], else (samples, ...), and no t-coordinate, as in Darcy files. */
static inline EkFileSpec Spec(const char *name, int nfields, const char *const names[], const PetscBool timed[], int dim,
                              PetscInt samples)
{
  static const char *const axis[] = {"x-coordinate", "y-coordinate", "z-coordinate"};
  static const PetscInt    n[] = {NX, NY, NZ};
  EkFileSpec               spec;
  char                     folder[EK_PATH];

  memset(&spec, 0, sizeof(spec));
  EkTestScratch(folder);
  snprintf(spec.path, EK_PATH, "%.900s/%.60s", folder, name);
  snprintf(spec.identity, sizeof(spec.identity), "generate:\n  seed: 1\n");
  spec.samples = samples;
  for (int f = 0; f < nfields; f++) {
    PetscInt shape[EK_MAX_RANK] = {samples};
    int      rank = 1;

    if (!timed || timed[f]) shape[rank++] = timed ? 1 : FRAMES;
    for (int d = 0; d < dim; d++) shape[rank++] = n[d];
    EK_OK(EkFileSpecAddData(&spec, names[f], rank, shape));
  }
  for (int d = 0; d < dim; d++) EK_OK(EkFileSpecAddCoordinate(&spec, axis[d], n[d], 0.5 / (double)n[d], 1.0 / (double)n[d]));
  if (!timed) EK_OK(EkFileSpecAddCoordinate(&spec, "t-coordinate", FRAMES + 1, 0, 0.05));
  EK_OK(EkFileSpecAddAttribute(&spec, "eta", 0.01));
  return spec;
}

/* Trajectories [0, n) of the spec, slab i of field f at data + (f*all + i)*floats; finished if these are all. */
static inline void WriteFile(const EkFileSpec *spec, int nfields, PetscInt n, size_t floats, const float *data)
{
  EkDataFile file;
  PetscBool  complete;
  PetscInt   redraws;

  EK_OK(EkDataFileOpen(EkTestRun(), spec, &file));
  for (PetscInt i = EkTestRun()->rank; i < n; i += EkTestRun()->size) {
    for (int f = 0; f < nfields; f++)
      EK_OK(EkDataFileWrite(file, f, i, data + ((size_t)f * (size_t)spec->samples + (size_t)i) * floats));
    EK_OK(EkDataFileMark(file, i, 0));
  }
  EK_OK(EkDataFileFinish(file, &complete, &redraws));
  EK_OK(EkDataFileDestroy(&file));
  assert_int_equal(complete, n == spec->samples);
}
