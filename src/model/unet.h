#pragma once
#include "evenkeel/model.h"

PetscErrorCode EkUnetDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params);
PetscErrorCode EkUnetApply(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                           const EkTensor window[], EkTensor coordinates, EkTensor *prediction);
int            EkUnetRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape);
