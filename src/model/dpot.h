#pragma once
#include "evenkeel/model.h"

/* What the deck leaves open takes the preset's sizes. */
PetscErrorCode EkDpotSettle(EkModelOptions *options);
/* Sizes of the network a file's tensors are of, and "preset small: embed_dim 1024, depth 6"; depth 0: they are of no DPOT. */
PetscErrorCode EkDpotGuess(int n, const EkTensorInfo found[], PetscInt *embed_dim, PetscInt *depth, char *text, size_t length);
/* Errors on the world: patches that do not divide the grid, channels that do not make the blocks or groups. */
PetscErrorCode EkDpotDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params);
/* The window holds all initial_step frames. coordinates are not used: DPOT counts x, y and t from 0 to 1 itself. */
PetscErrorCode EkDpotApply(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                           const EkTensor window[], EkTensor coordinates, EkTensor *prediction);
/* The other output: n_cls logits of the data set the window is from, a field on one point. No loss uses it, so it is built only
 * where it is asked for. */
PetscErrorCode EkDpotClassLogits(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                                 const EkTensor window[], EkTensor *logits);
