#pragma once
#include "evenkeel/model.h"

PetscErrorCode EkFnoSettle(EkModelOptions *options);
PetscErrorCode EkFnoDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params);
PetscErrorCode EkFnoApply(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                          const EkTensor window[], EkTensor coordinates, EkTensor *prediction);
int            EkFnoRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape);
/* Times both transforms on the padded grid; the faster one's choice. */
PetscErrorCode EkFnoMeasureTransforms(const EkModelOptions *options, const EkModelShape *shape, int *choice);
