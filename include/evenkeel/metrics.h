/* PDEBench's error figures over a test set spread over ranks, exact as if the whole set were one batch.
   Source: PDEBench metrics.py; models-and-data 3.7. */
#pragma once
#include "evenkeel/mesh.h"

typedef struct {
  double RMSE, nRMSE, cRMSE, max, bRMSE, fRMSE_low, fRMSE_mid, fRMSE_high; /* NaN where not defined */
} EkFigures;
/* X(field, "name in CSV and JSON") */
#define EK_FIGURES(X)                                                                                                            \
  X(RMSE, "RMSE")                                                                                                                \
  X(nRMSE, "nRMSE") X(cRMSE, "cRMSE") X(max, "max") X(bRMSE, "bRMSE") X(fRMSE_low, "fRMSE_low") X(fRMSE_mid, "fRMSE_mid")        \
      X(fRMSE_high, "fRMSE_high")

typedef struct EkMetrics_ *EkMetrics;
/* dim 1 or 2, n[] points per axis, C fields, T frames per trajectory (the given ones included), initial of them given. Not
 * collective. */
PetscErrorCode EkMetricsCreate(int dim, const PetscInt n[], PetscInt fields, PetscInt frames, PetscInt initial,
                               EkMetrics *metrics);
/* Adds one frame of one trajectory: prediction and target are `fields` planes of n[0]*n[1] values, `stride` floats apart. Frames
   before `initial` need not be added: their error is zero and they are counted in the published figures. Not collective. Float
   in, double sums. */
PetscErrorCode EkMetricsAdd(EkMetrics metrics, PetscInt frame, size_t stride, const float *prediction, const float *target);
/* Sums over mesh->data: figures over predicted frames only, and over all frames (the published convention; the given frames count
   as exact). `samples`: trajectories of the whole test set over all ranks. Collective on mesh->data. Error, on every rank:
   samples 0, or a predicted frame that was not added exactly `samples` times. A prediction with NaN gives NaN (max: inf). */
PetscErrorCode EkMetricsReduce(EkMetrics metrics, EkMesh mesh, PetscInt samples, EkFigures *predicted, EkFigures *published);
/* The points that count in the relative errors: n[0]*n[1] values, 0 or 1, copied; NULL: all. Before anything is added; Reset
 * keeps it. Not collective. The other figures know no mask. */
PetscErrorCode EkMetricsSetMask(EkMetrics metrics, const float *mask);
/* Relative L2 errors as DPOT reports them: of a trajectory the mean over fields of sqrt(sum e^2) / (sqrt(sum target^2) + 1e-8),
   sums over predicted frames and points that count; then the mean over trajectories. full: the whole rollout at once; step[frames
   - initial]: each predicted frame alone. Needs the predicted frames of a trajectory added in order, one trajectory after the
   other. Collective on mesh->data. Error, on every rank: samples 0, another order on any rank, or not `samples` whole
   trajectories. A prediction with NaN gives NaN. Source: models-and-data 5.7. */
PetscErrorCode EkMetricsReduceRelative(EkMetrics metrics, EkMesh mesh, PetscInt samples, double *full, double step[]);
/* Forgets what was added. */
PetscErrorCode EkMetricsReset(EkMetrics metrics);
PetscErrorCode EkMetricsDestroy(EkMetrics *metrics);
