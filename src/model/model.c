#include "evenkeel/model.h"
#include "dpot.h"
#include "fno.h"
#include "unet.h"
#include <stddef.h>
#include <string.h>

static const EkModelRow model_row[] = {
    {{"fno1d", "Fourier neural operator, 1D (PDEBench)"},
     1,
     PETSC_FALSE,
     "width modes transform",
     EkFnoSettle,
     EkFnoDeclare,
     EkFnoApply,
     EkFnoRecognise},
    {{"fno2d", "Fourier neural operator, 2D (PDEBench)"},
     2,
     PETSC_FALSE,
     "width modes transform",
     EkFnoSettle,
     EkFnoDeclare,
     EkFnoApply,
     EkFnoRecognise},
    {{"unet1d", "UNet, 1D (PDEBench)"}, 1, PETSC_FALSE, "features", NULL, EkUnetDeclare, EkUnetApply, EkUnetRecognise},
    {{"unet2d", "UNet, 2D (PDEBench)"}, 2, PETSC_FALSE, "features", NULL, EkUnetDeclare, EkUnetApply, EkUnetRecognise},
    {{"dpot", "auto-regressive denoising operator transformer, 2D (DPOT)"},
     2,
     PETSC_TRUE,
     "modes preset embed_dim depth n_blocks patch_size out_layer_dim mlp_ratio time_agg normalize n_cls",
     EkDpotSettle,
     EkDpotDeclare,
     EkDpotApply,
     EkDpotRecognise},
};
const EkFamily EkModelFamily = EK_FAMILY("model_type", model_row);

static const EkMember transform_row[] = {
    [EK_CHOOSE_AUTO] = {"auto", "whichever measures faster at the start of the run"},
    [EK_CHOOSE_FFT] = {"fft", "FFTW on the whole line, kept modes picked out"},
    [EK_CHOOSE_GEMM] = {"gemm", "products with slices of the DFT matrix"},
};
const EkFamily EkTransformFamily = EK_FAMILY("model_transform", transform_row);

static const EkMember time_agg_row[] = {
    [EK_TIME_EXP_MLP] = {"exp_mlp", "a matrix a frame, its inputs times cos(t gamma)"},
    [EK_TIME_MLP] = {"mlp", "a matrix a frame"},
};
const EkFamily EkTimeAggFamily = EK_FAMILY("model_time_agg", time_agg_row);

#define FIELD(name) offsetof(EkModelOptions, name)
static const EkKey model_key[] = {
    {"model_type", EK_KEY_CHOICE, FIELD(type), NULL, 0, 0, &EkModelFamily, NULL, "the network"},
    {"model_width", EK_KEY_INT, FIELD(width), "20", 1, 512, NULL, "channels", "hidden channels"},
    {"model_modes", EK_KEY_INTS, FIELD(modes), "", 1, 4096, NULL, NULL, "kept Fourier modes along each axis; unset: FNO 12, DPOT 32"},
    {"model_weights", EK_KEY_STRING, FIELD(weights), "", 0, 0, NULL, NULL,
     "start from these weights (.safetensors or a checkpoint)"},
    {"model_load", EK_KEY_STRING, FIELD(load), "all", 0, 0, NULL, NULL,
     "of model_weights: all, or parts of the model such as blocks,pos; with optimizer beside them also Adam's moments and step "
     "count"},
    {"model_transform", EK_KEY_CHOICE, FIELD(transform), "auto", 0, 0, &EkTransformFamily, NULL,
     "form of the truncated Fourier transform"},
    {"model_features", EK_KEY_INT, FIELD(features), "32", 1, 1024, NULL, "channels", "UNet: of the first level"},
    {"model_preset", EK_KEY_CHOICE, FIELD(preset), "tiny", 0, 0, &EkPresetFamily, NULL,
     "DPOT: what the keys below are when they are not given"},
    {"model_embed_dim", EK_KEY_INT, FIELD(embed_dim), "", 1, 65536, NULL, "channels", "DPOT: embedding; unset: the preset's"},
    {"model_depth", EK_KEY_INT, FIELD(depth), "", 1, 1024, NULL, "blocks", "DPOT: AFNO blocks one after the other; unset: the preset's"},
    {"model_n_blocks", EK_KEY_INT, FIELD(n_blocks), "", 1, 65536, NULL, NULL,
     "DPOT: diagonal blocks of the mixing in Fourier space; unset: the preset's"},
    {"model_patch_size", EK_KEY_INT, FIELD(patch_size), "", 1, 1024, NULL, "points", "DPOT: edge of a patch; unset: the preset's"},
    {"model_out_layer_dim", EK_KEY_INT, FIELD(out_layer_dim), "", 1, 65536, NULL, "channels", "DPOT: of the last layers; unset: the preset's"},
    {"model_mlp_ratio", EK_KEY_REAL, FIELD(mlp_ratio), "", EK_POSITIVE, 64, NULL, NULL, "DPOT: hidden over embedding channels; unset: the preset's"},
    {"model_time_agg", EK_KEY_CHOICE, FIELD(time_agg), "exp_mlp", 0, 0, &EkTimeAggFamily, NULL,
     "DPOT: how given frames become one"},
    {"model_normalize", EK_KEY_BOOL, FIELD(normalize), "no", 0, 0, NULL, NULL,
     "DPOT: each sample's channels by their own mean and deviation"},
    {"model_n_cls", EK_KEY_INT, FIELD(n_cls), "12", 1, 65536, NULL, "classes", "DPOT: of the head that tells data sets apart"},
};
#undef FIELD
const EkKeyTable EkModelKeys = EK_KEYS("model", model_key);

PetscErrorCode EkModelSettle(EkModelOptions *options)
{
  PetscFunctionBegin;
  if (model_row[options->type].settle) PetscCall(model_row[options->type].settle(options));
  PetscFunctionReturn(0);
}

PetscBool EkModelUses(const void *options, const EkKey *key)
{
  const char *word = EkKeyWord(&EkModelKeys, key);

  if (!strcmp(word, "load")) return (PetscBool)(*((const EkModelOptions *)options)->weights != 0);
  return (PetscBool)(EkWordIn(word, "type weights") || EkWordIn(word, model_row[((const EkModelOptions *)options)->type].uses));
}

PetscErrorCode EkModelCheckKeys(EkRun run, const EkModelOptions *options, EkProblems problems)
{
  const EkModelRow *row = &model_row[options->type];

  PetscFunctionBegin;
  for (int i = 0; i < EkModelKeys.count; i++) {
    const EkKey *key = &EkModelKeys.keys[i];
    PetscBool    given;

    PetscCall(EkKeyGiven(run, key, &given));
    if (!given || EkModelUses(options, key)) continue;
    if (key->offset == offsetof(EkModelOptions, load))
      PetscCall(EkProblemsAdd(problems, "%s: there is no model_weights to take parts of", key->name));
    else
      PetscCall(EkProblemsAdd(problems, "%s: %s has no use for it; it takes %s", key->name, row->member.name, row->uses));
  }
  PetscFunctionReturn(0);
}

PetscBool EkModelVelocitiesFirst(const EkModelOptions *options)
{
  return model_row[options->type].velocities_first;
}

PetscErrorCode EkModelGuess(const EkModelOptions *options, int n, const EkTensorInfo found[], char *text, size_t length)
{
  EkModelOptions guess;
  EkModelShape   shape;
  char           keys[512];

  PetscFunctionBegin;
  text[0] = 0;
  for (int i = 0; i < EkModelFamily.count; i++) {
    guess = *options;
    guess.type = i;
    if (model_row[i].recognise(n, found, &guess, &shape) != model_row[i].dim) continue;
    PetscCall(EkKeysDifference(&EkModelKeys, options, &guess, keys, sizeof(keys)));
    if (*keys)
      PetscCall(PetscSNPrintf(text, length, "this looks like weights of %s; for them, set model: {%s}", model_row[i].member.name,
                              keys));
    break;
  }
  PetscFunctionReturn(0);
}

static PetscBool HasEmpty(int n, const EkTensorInfo found[])
{
  for (int i = 0; i < n; i++) {
    for (int d = 0; d < found[i].rank; d++) {
      if (found[i].shape[d] < 1) return PETSC_TRUE;
    }
  }
  return PETSC_FALSE;
}

PetscErrorCode EkModelRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape, PetscBool *known)
{
  PetscFunctionBegin;
  *known = PETSC_FALSE;
  if (HasEmpty(n, found)) PetscFunctionReturn(0);
  for (int i = 0; i < EkModelFamily.count && !*known; i++) {
    *options = (EkModelOptions){.type = i};
    *shape = (EkModelShape){.fields = 0};
    *known = (PetscBool)(model_row[i].recognise(n, found, options, shape) == model_row[i].dim && shape->fields > 0);
  }
  if (*known) PetscCall(EkModelSettle(options));
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params)
{
  const EkModelRow *row = &model_row[options->type];

  PetscFunctionBegin;
  PetscCheck(row->dim == shape->grid.dim, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
             "model_type: %s is for %dD data, the file holds %dD fields", row->member.name, row->dim, shape->grid.dim);
  PetscCall(row->declare(options, shape, params));
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelChooseTransform(const EkModelOptions *options, const EkModelShape *shape, int *choice)
{
  PetscFunctionBegin;
  *choice = options->transform;
  if (*choice == EK_CHOOSE_AUTO && EkWordIn("transform", model_row[options->type].uses))
    PetscCall(EkFnoMeasureTransforms(options, shape, choice));
  PetscFunctionReturn(0);
}

/* The window before step s: what is left of the given frames, then the predictions so far; of a taught network the true frames.
   Where steps add noise, what the one before has made of the window moves on (`noisy`), so that old frames have been added to
   often, as in DPOT's training. */
static PetscErrorCode Window(EkGraph graph, const EkModelShape *shape, EkTensor frames, PetscBool teacher, EkTensor noisy, int s,
                             const EkTensor predictions[], EkTensor window[], int *n)
{
  const PetscInt given = shape->initial_step, left = teacher ? given : given - s;
  const int      first = teacher ? s : s > given ? s - (int)given : 0;

  PetscFunctionBegin;
  *n = 0;
  if (noisy != EK_NONE && !teacher) {
    if (given > 1) PetscCall(EkGraphSlice(graph, noisy, shape->fields, (given - 1) * shape->fields, &window[(*n)++]));
    window[(*n)++] = predictions[s - 1];
    PetscFunctionReturn(0);
  }
  if (left > 0) PetscCall(EkGraphSlice(graph, frames, s * shape->fields, left * shape->fields, &window[(*n)++]));
  for (int p = first; p < s; p++) window[(*n)++] = predictions[p];
  PetscFunctionReturn(0);
}

/* Step s of a rollout: a segment of its own where steps are what runs again in backward. */
static PetscErrorCode Step(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, const EkRolloutForm *form,
                           int s, int n, EkTensor window[], EkTensor coordinates, EkTensor *noisy, EkTensor *prediction)
{
  PetscFunctionBegin;
  PetscCall(EkGraphSegmentBegin(graph, EK_RECOMPUTE_STEP));
  if (form->noise > 0) {
    PetscCall(EkNoise(graph, n, window, shape->fields, form->noise, s, noisy));
    window[0] = *noisy;
    n = 1;
  }
  PetscCall(model_row[options->type].apply(options, shape, graph, n, window, coordinates, prediction));
  PetscCall(EkGraphSegmentEnd(graph, EK_RECOMPUTE_STEP));
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelRolloutAs(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, EkTensor frames,
                                EkTensor coordinates, const EkRolloutForm *form, EkTensor predictions[])
{
  EkTensor *window, noisy = EK_NONE;
  int       n;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(shape->initial_step + 1, &window));
  for (int s = 0; s < form->steps; s++) {
    PetscCall(EkGraphSetFrozen(graph, (PetscBool)(s < form->steps - form->unroll)));
    PetscCall(Window(graph, shape, frames, form->teacher, noisy, s, predictions, window, &n));
    PetscCall(Step(options, shape, graph, form, s, n, window, coordinates, &noisy, &predictions[s]));
  }
  PetscCall(EkGraphSetFrozen(graph, PETSC_FALSE));
  PetscCall(PetscFree(window));
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelRollout(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, EkTensor frames,
                              EkTensor coordinates, int steps, EkTensor predictions[])
{
  const EkRolloutForm plain = {.steps = steps, .unroll = steps};

  PetscFunctionBegin;
  PetscCall(EkModelRolloutAs(options, shape, graph, frames, coordinates, &plain, predictions));
  PetscFunctionReturn(0);
}

PetscErrorCode EkLossMse(EkGraph graph, EkTensor prediction, EkTensor target, EkTensor mask)
{
  PetscFunctionBegin;
  PetscCheck(mask == EK_NONE, PETSC_COMM_SELF, PETSC_ERR_SUP, "mse takes no mask");
  PetscCall(EkMseLoss(graph, prediction, target));
  PetscFunctionReturn(0);
}

PetscErrorCode EkLossRelative(EkGraph graph, EkTensor prediction, EkTensor target, EkTensor mask)
{
  PetscFunctionBegin;
  PetscCall(EkRelativeLoss(graph, 1, &prediction, &target, mask));
  PetscFunctionReturn(0);
}

PetscErrorCode EkModelLosses(const EkModelShape *shape, EkGraph graph, EkLossOperator loss, EkTensor frames, EkTensor mask,
                             int steps, const PetscInt target[], const EkTensor predictions[])
{
  EkTensor truth;

  PetscFunctionBegin;
  for (int s = 0; s < steps; s++) {
    PetscCall(EkGraphSlice(graph, frames, target[s] * shape->fields, shape->fields, &truth));
    PetscCall(loss(graph, predictions[s], truth, mask));
  }
  PetscFunctionReturn(0);
}
