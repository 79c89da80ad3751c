#include "evenkeel/model.h"
#include "fno.h"
#include <stddef.h>

static const EkModelRow model_row[] = {
    {{"fno1d", "Fourier neural operator, 1D (PDEBench)"}, 1, EkFnoDeclare, EkFnoApply},
    {{"fno2d", "Fourier neural operator, 2D (PDEBench)"}, 2, EkFnoDeclare, EkFnoApply},
};
const EkFamily EkModelFamily = EK_FAMILY("model_type", model_row);

static const EkMember transform_row[] = {
    [EK_CHOOSE_AUTO] = {"auto", "whichever measures faster at the start of the run"},
    [EK_CHOOSE_FFT]  = {"fft", "FFTW on the whole line, kept modes picked out"},
    [EK_CHOOSE_GEMM] = {"gemm", "products with slices of the DFT matrix"},
};
const EkFamily EkTransformFamily = EK_FAMILY("model_transform", transform_row);

#define FIELD(name) offsetof(EkModelOptions, name)
static const EkKey model_key[] = {
    {"model_type", EK_KEY_CHOICE, FIELD(type), NULL, 0, 0, &EkModelFamily, NULL, "the network"},
    {"model_width", EK_KEY_INT, FIELD(width), "20", 1, 512, NULL, "channels", "hidden channels"},
    {"model_modes", EK_KEY_INTS, FIELD(modes), "12", 1, 4096, NULL, NULL, "kept Fourier modes along each axis"},
    {"model_weights", EK_KEY_STRING, FIELD(weights), "", 0, 0, NULL, NULL, "start from these weights (.safetensors or a checkpoint)"},
    {"model_transform", EK_KEY_CHOICE, FIELD(transform), "auto", 0, 0, &EkTransformFamily, NULL, "form of the truncated Fourier transform"},
};
#undef FIELD
const EkKeyTable EkModelKeys = EK_KEYS("model", model_key);

PetscErrorCode EkModelDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params)
{
  const EkModelRow *row = &model_row[options->type];

  PetscFunctionBegin;
  PetscCheck(row->dim == shape->grid.dim, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT, "model_type: %s is for %dD data, the file holds %dD fields", row->member.name, row->dim, shape->grid.dim);
  PetscCall(row->declare(options, shape, params));
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelChooseTransform(const EkModelOptions *options, const EkModelShape *shape, int *choice)
{
  PetscFunctionBegin;
  *choice = options->transform;
  if (*choice == EK_CHOOSE_AUTO) PetscCall(EkFnoMeasureTransforms(options, shape, choice));
  PetscFunctionReturn(0);
}

/* The window before step s: what is left of the given frames, then the predictions so far. */
static PetscErrorCode Window(EkGraph graph, const EkModelShape *shape, EkTensor frames, int s, const EkTensor predictions[], EkTensor window[], int *n)
{
  const PetscInt given = shape->initial_step, left = given - s;
  const int      first = s > given ? s - (int)given : 0;

  PetscFunctionBegin;
  *n = 0;
  if (left > 0) PetscCall(EkGraphSlice(graph, frames, s * shape->fields, left * shape->fields, &window[(*n)++]));
  for (int p = first; p < s; p++) window[(*n)++] = predictions[p];
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelRollout(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, EkTensor frames, EkTensor coordinates, int steps,
                              const PetscInt target[], EkTensor predictions[])
{
  EkTensor *window, truth;
  int       n;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(shape->initial_step + 1, &window));
  for (int s = 0; s < steps; s++) {
    PetscCall(Window(graph, shape, frames, s, predictions, window, &n));
    PetscCall(model_row[options->type].apply(options, shape, graph, n, window, coordinates, &predictions[s]));
    if (target[s] < 0) continue;
    PetscCall(EkGraphSlice(graph, frames, target[s] * shape->fields, shape->fields, &truth));
    PetscCall(EkMseLoss(graph, predictions[s], truth));
  }
  PetscCall(PetscFree(window));
  PetscFunctionReturn(0);
}
