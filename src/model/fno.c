/* Fourier neural operator as PDEBench has it (Li et al. 2021; models-and-data 3): fc0, four layers of spectral convolution +
   pointwise w with GELU after the first three, fc1-GELU-fc2; two zero points appended to every axis in between. */
#include "fno.h"
#include "recognise.h"
#include <math.h>

#define LAYERS  4
#define PADDING 2
#define HIDDEN  128

PetscErrorCode EkFnoSettle(EkModelOptions *options)
{
  PetscFunctionBegin;
  if (!options->modes.n) options->modes = (EkInts){1, {12}};
  PetscFunctionReturn(0);
}

/* The last value given serves the axes that are left. */
static PetscInt Modes(const EkModelOptions *options, int axis)
{
  if (axis < options->modes.n) return options->modes.v[axis];
  return options->modes.n > 0 ? options->modes.v[options->modes.n - 1] : 0;
}

/* PyTorch's default for Linear and Conv: weight and bias uniform in +-1/sqrt(fan_in). */
static PetscErrorCode AddLinear(EkParams params, const char *module, EkModuleKind kind, int trailing, PetscInt in, PetscInt out)
{
  const double   bound = 1 / sqrt((double)in);
  const PetscInt shape[4] = {out, in, 1, 1};
  char           name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.weight", module));
  PetscCall(EkParamsAdd(params, name, kind, PETSC_FALSE, 2 + trailing, shape, -bound, bound));
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.bias", module));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, shape, -bound, bound));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddSpectral(const EkModelOptions *options, int dim, EkParams params, int layer)
{
  PetscInt shape[5] = {options->width, options->width};
  char     name[EK_NAME];

  PetscFunctionBegin;
  for (int d = 0; d < dim; d++) shape[2 + d] = Modes(options, d);
  shape[2 + dim] = 2;
  for (int i = 1; i <= dim; i++) {
    PetscCall(PetscSNPrintf(name, sizeof(name), "conv%d.weights%d", layer, i));
    PetscCall(EkParamsAdd(params, name, EK_MODULE_SPECTRAL, PETSC_TRUE, 3 + dim, shape, 0,
                          1.0 / ((double)options->width * (double)options->width)));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckModes(const EkModelOptions *options, const EkModelShape *shape)
{
  const int dim = shape->grid.dim;

  PetscFunctionBegin;
  for (int d = 0; d < dim; d++) {
    const PetscInt points = shape->grid.n[d] + PADDING, most = d == dim - 1 ? points / 2 + 1 : points / 2;

    PetscCheck(Modes(options, d) <= most, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
               "model_modes: %d modes along axis %d, its %d points (padded) have %d", (int)Modes(options, d), d, (int)points,
               (int)most);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkFnoDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params)
{
  const int dim = shape->grid.dim;
  char      name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(CheckModes(options, shape));
  PetscCall(AddLinear(params, "fc0", EK_MODULE_LINEAR, 0, shape->initial_step * shape->fields + dim, options->width));
  for (int l = 0; l < LAYERS; l++) PetscCall(AddSpectral(options, dim, params, l));
  for (int l = 0; l < LAYERS; l++) {
    PetscCall(PetscSNPrintf(name, sizeof(name), "w%d", l));
    PetscCall(AddLinear(params, name, dim == 1 ? EK_MODULE_CONV1D : EK_MODULE_CONV2D, dim, options->width, options->width));
  }
  PetscCall(AddLinear(params, "fc1", EK_MODULE_LINEAR, 0, options->width, HIDDEN));
  PetscCall(AddLinear(params, "fc2", EK_MODULE_LINEAR, 0, HIDDEN, shape->fields));
  PetscFunctionReturn(0);
}

static PetscErrorCode Layer(const EkModelOptions *options, EkGraph graph, int l, EkTensor *x)
{
  const PetscInt modes[2] = {Modes(options, 0), Modes(options, 1)};
  char           weights1[EK_NAME], weights2[EK_NAME], weight[EK_NAME], bias[EK_NAME];
  const char    *weights[2] = {weights1, weights2};
  EkTensor       spectral;

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(weights1, sizeof(weights1), "conv%d.weights1", l));
  PetscCall(PetscSNPrintf(weights2, sizeof(weights2), "conv%d.weights2", l));
  PetscCall(PetscSNPrintf(weight, sizeof(weight), "w%d.weight", l));
  PetscCall(PetscSNPrintf(bias, sizeof(bias), "w%d.bias", l));
  PetscCheck(options->transform != EK_CHOOSE_AUTO, PETSC_COMM_SELF, PETSC_ERR_ORDER, "model_transform is not resolved");
  PetscCall(EkSpectralConv(graph, *x, weights, modes, options->transform == EK_CHOOSE_FFT ? EK_TRANSFORM_FFT : EK_TRANSFORM_GEMM,
                           &spectral));
  PetscCall(EkLinear(graph, 1, x, weight, bias, spectral, (PetscBool)(l < LAYERS - 1), x));
  PetscFunctionReturn(0);
}

PetscErrorCode EkFnoApply(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                          const EkTensor window[], EkTensor coordinates, EkTensor *prediction)
{
  const PetscInt padding[2] = {PADDING, PADDING};
  EkTensor      *field, x;

  PetscFunctionBegin;
  (void)shape; /* the parameters' shapes say it all */
  PetscCall(PetscMalloc1(nwindow + 1, &field));
  for (int i = 0; i < nwindow; i++) field[i] = window[i];
  field[nwindow] = coordinates;
  PetscCall(
      EkGraphSegmentBegin(graph, EK_RECOMPUTE_BLOCK)); /* the embedding with the first layer, the projection with the last */
  PetscCall(EkLinear(graph, nwindow + 1, field, "fc0.weight", "fc0.bias", EK_NONE, PETSC_FALSE, &x));
  PetscCall(EkPad(graph, x, padding, &x));
  for (int l = 0; l < LAYERS; l++) {
    if (l > 0) PetscCall(EkGraphSegmentNext(graph, EK_RECOMPUTE_BLOCK));
    PetscCall(Layer(options, graph, l, &x));
  }
  PetscCall(EkCrop(graph, x, padding, &x));
  PetscCall(EkLinearGeluLinear(graph, x, "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", prediction));
  PetscCall(EkGraphSegmentEnd(graph, EK_RECOMPUTE_BLOCK));
  PetscCall(PetscFree(field));
  PetscFunctionReturn(0);
}

/* The fastest of a few transforms there and back of one sample's channels. */
static PetscErrorCode TimeTransform(EkTransform transform, int planes, size_t stride, const float *x, float *y, float *X,
                                    double *seconds)
{
  double best = 1e30;

  PetscFunctionBegin;
  for (int trial = 0; trial < 5; trial++) {
    const double start = EkTime();

    EkTransformAnalyse(transform, 0, planes, x, stride, X);
    EkTransformSynthesise(transform, 1, planes, X, y, stride, 0);
    if (EkTime() - start < best) best = EkTime() - start;
  }
  *seconds = best;
  PetscFunctionReturn(0);
}

PetscErrorCode EkFnoMeasureTransforms(const EkModelOptions *options, const EkModelShape *shape, int *choice)
{
  const PetscInt modes[2] = {Modes(options, 0), Modes(options, 1)};
  PetscInt       n[3];
  double         seconds[EK_TRANSFORM_COUNT];
  EkGrid         padded;
  float         *x, *y, *X;

  PetscFunctionBegin;
  for (int d = 0; d < shape->grid.dim; d++) n[d] = shape->grid.n[d] + PADDING;
  padded = EkGridMake(shape->grid.dim, n);
  for (int method = 0; method < EK_TRANSFORM_COUNT; method++) {
    EkTransform transform;
    size_t      plane;

    PetscCall(EkTransformCreate(shape->grid.dim, n, modes, (EkTransformMethod)method, &transform));
    plane = EkTransformGetShape(transform)->plane;
    PetscCall(PetscCalloc3((size_t)options->width * padded.stride, &x, (size_t)options->width * padded.stride, &y,
                           (size_t)options->width * plane, &X));
    for (size_t i = 0; i < (size_t)options->width * padded.stride; i++) x[i] = (float)(i % 7);
    PetscCall(TimeTransform(transform, (int)options->width, padded.stride, x, y, X, &seconds[method]));
    PetscCall(PetscFree3(x, y, X));
    PetscCall(EkTransformDestroy(&transform));
  }
  *choice = seconds[EK_TRANSFORM_FFT] < seconds[EK_TRANSFORM_GEMM] ? EK_CHOOSE_FFT : EK_CHOOSE_GEMM;
  PetscFunctionReturn(0);
}

/* ---- recognising files ---------------------------------------------------------------------------------------- */

int EkFnoRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape)
{
  const EkTensorInfo *lift = EkFindTensor(n, found, "fc0.weight", 2), *project = EkFindTensor(n, found, "fc2.weight", 2),
                     *first = NULL;
  PetscBool other = PETSC_FALSE;
  PetscInt  points[3];
  int       dim;

  for (dim = 0; dim < 3 && !first;) first = EkFindTensor(n, found, "conv0.weights1", 3 + ++dim);
  if (!lift || !first) return 0;
  options->width = lift->shape[0];
  for (int d = 0; d < dim; d++) points[d] = 2 * first->shape[2 + d];
  *shape = EkDataShape(dim, points, project ? project->shape[0] : 0, lift->shape[1] - dim);
  for (int d = 0; d < dim; d++) other = (PetscBool)(other || !options->modes.n || Modes(options, d) != first->shape[2 + d]);
  if (!other) return dim;
  options->modes = (EkInts){1, {first->shape[2]}};
  for (int d = 1; d < dim; d++) {
    if (first->shape[2 + d] != first->shape[2]) options->modes.n = dim;
    options->modes.v[d] = first->shape[2 + d];
  }
  return dim;
}
