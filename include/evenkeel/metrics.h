/* PDEBench's error figures over a test set spread over ranks, exact as if the whole set were one batch.
   Source: PDEBench metrics.py; models-and-data 3.7. */
#pragma once
#include "evenkeel/mesh.h"

typedef struct {
  double RMSE, nRMSE, cRMSE, max, bRMSE, fRMSE_low, fRMSE_mid, fRMSE_high; /* NaN where not defined */
} EkFigures;
/* X(field, "name in CSV and JSON") */
#define EK_FIGURES(X)                                                                                                 \
  X(RMSE, "RMSE") X(nRMSE, "nRMSE") X(cRMSE, "cRMSE") X(max, "max") X(bRMSE, "bRMSE") X(fRMSE_low, "fRMSE_low")        \
  X(fRMSE_mid, "fRMSE_mid") X(fRMSE_high, "fRMSE_high")

typedef struct EkMetrics_ *EkMetrics;
/* dim 1 or 2, n[] points per axis, C fields, T frames per trajectory (the given ones included), initial of them given. Not collective. */
PetscErrorCode EkMetricsCreate(int dim, const PetscInt n[], PetscInt fields, PetscInt frames, PetscInt initial, EkMetrics *metrics);
/* Adds one frame of one trajectory: prediction and target are `fields` planes of n[0]*n[1] values, `stride` floats apart. Frames before
   `initial` need not be added: their error is zero and they are counted in the published figures. Not collective. Float in, double sums. */
PetscErrorCode EkMetricsAdd(EkMetrics metrics, PetscInt frame, size_t stride, const float *prediction, const float *target);
/* Sums over mesh->data: figures over predicted frames only, and over all frames (the published convention; the given frames count as exact).
   `samples`: trajectories of the whole test set over all ranks. Collective on mesh->data. Error, on every rank: samples 0, or a predicted frame
   that was not added exactly `samples` times. A prediction with NaN gives NaN (max: inf). */
PetscErrorCode EkMetricsReduce(EkMetrics metrics, EkMesh mesh, PetscInt samples, EkFigures *predicted, EkFigures *published);
/* Forgets what was added. */
PetscErrorCode EkMetricsReset(EkMetrics metrics);
PetscErrorCode EkMetricsDestroy(EkMetrics *metrics);
