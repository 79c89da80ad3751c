/* HDF5 files a run leaves for postproc: spectra over epochs, a few predictions. Written by rank 0; nothing here is collective. */
#pragma once
#include "evenkeel/dataset.h"

typedef struct {
  const char   *layer;
  PetscInt      n;
  const double *eigenvalues;    /* ascending */
  double        alpha, D, xmin; /* fit; NaN where there is none */
} EkSpectrumRecord;
/* Group epoch_00010 of PATH (made when missing): a float64 dataset a layer, attributes alpha, D, xmin. A group of that epoch is
 * replaced. */
PetscErrorCode EkSpectraAppend(const char *path, PetscInt epoch, int n, const EkSpectrumRecord record[]);
/* Drops the groups after `epoch`. A missing file is no error, a damaged one is renamed PATH.damaged with a notice. Not
 * collective. */
PetscErrorCode EkSpectraTruncate(const char *path, PetscInt epoch);

/* prediction, target and error (their difference), (n, fields, frames, x[, y[, z]]) float32, attributes initial_step and fields.
 * Both arrays are (n, frames, fields, stride), planar. */
PetscErrorCode EkPredictionsWrite(const char *path, const EkDataInfo *info, PetscInt n, size_t stride, const float *prediction,
                                  const float *target);
/* Attribute weights of PATH: the file the predictions are of; those of the run beside them have none. */
PetscErrorCode EkPredictionsSetWeights(const char *path, const char *weights);
/* What was set, "the run" when nothing was or the file cannot be read, "" when there is no file. */
PetscErrorCode EkPredictionsGetWeights(const char *path, char weights[EK_PATH]);
