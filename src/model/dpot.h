#pragma once
#include "evenkeel/model.h"

/* What the deck leaves open takes the preset's sizes. */
PetscErrorCode EkDpotSettle(EkModelOptions *options);
/* Modes leave no trace in weights; options of which nothing is found stay as they are. */
int EkDpotRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape);
/* Errors on the world: patches that do not divide the grid, channels that do not make the blocks or groups. */
PetscErrorCode EkDpotDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params);
/* The window holds all initial_step frames. coordinates are not used: DPOT counts x, y and t from 0 to 1 itself. */
PetscErrorCode EkDpotApply(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                           const EkTensor window[], EkTensor coordinates, EkTensor *prediction);
/* The other output: n_cls logits of the data set the window is from, a field on one point. No loss uses it, so it is built only
 * where it is asked for. */
PetscErrorCode EkDpotClassLogits(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                                 const EkTensor window[], EkTensor *logits);
