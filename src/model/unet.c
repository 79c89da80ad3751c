/* UNet as PDEBench has it (Ronneberger et al. 2015; models-and-data 4): four levels down and up again with `features`, 2, 4, 8
   times as many channels and 16 times at the bottom; everything between the first and the last operator is blocked. Coordinates
   are no input. */
#include "unet.h"
#include "recognise.h"
#include <math.h>

#define LEVELS  4
#define DIVISOR (1 << LEVELS) /* every level halves the grid */

/* ---- parameters --------------------------------------------------------------------------------------------- */

static EkModuleKind ConvKind(int dim)
{
  return dim == 1 ? EK_MODULE_CONV1D : EK_MODULE_CONV2D;
}

/* PyTorch's default: uniform in +-1/sqrt(fan), fan = `channels` kernel^dim. */
static PetscErrorCode AddWeight(EkParams params, const char *name, EkModuleKind kind, int dim, PetscInt first, PetscInt second,
                                PetscInt kernel, PetscInt channels)
{
  const PetscInt shape[5] = {first, second, kernel, kernel, kernel};
  const double   bound = 1 / sqrt((double)channels * pow((double)kernel, dim));

  PetscFunctionBegin;
  PetscCall(EkParamsAdd(params, name, kind, PETSC_FALSE, 2 + dim, shape, -bound, bound));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddNorm(EkParams params, const char *module, PetscInt channels)
{
  char name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.weight", module));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, &channels, 1, 1));
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.bias", module));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, &channels, 0, 0));
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.running_mean", module));
  PetscCall(EkParamsAddBuffer(params, name, PETSC_FALSE, 1, &channels, 0));
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.running_var", module));
  PetscCall(EkParamsAddBuffer(params, name, PETSC_FALSE, 1, &channels, 1));
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.num_batches_tracked", module));
  PetscCall(EkParamsAddBuffer(params, name, PETSC_TRUE, 0, NULL, 0));
  PetscFunctionReturn(0);
}

/* Twice convolution and normalisation, `block` in front of their names. */
static PetscErrorCode AddBlock(EkParams params, const char *block, int dim, PetscInt in, PetscInt out)
{
  char name[EK_NAME];

  PetscFunctionBegin;
  for (int i = 1; i <= 2; i++) {
    PetscCall(PetscSNPrintf(name, sizeof(name), "%sconv%d.weight", block, i));
    PetscCall(AddWeight(params, name, ConvKind(dim), dim, out, i == 1 ? in : out, 3, i == 1 ? in : out));
    PetscCall(PetscSNPrintf(name, sizeof(name), "%snorm%d", block, i));
    PetscCall(AddNorm(params, name, out));
  }
  PetscFunctionReturn(0);
}

/* Its bias is drawn like its weight. */
static PetscErrorCode AddUp(EkParams params, int level, int dim, PetscInt in, PetscInt out)
{
  const double bound = 1 / sqrt((double)out * pow(2, dim));
  char         name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "upconv%d.weight", level));
  PetscCall(AddWeight(params, name, EK_MODULE_TRANSPOSED, dim, in, out, 2, out));
  PetscCall(PetscSNPrintf(name, sizeof(name), "upconv%d.bias", level));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, &out, -bound, bound));
  PetscFunctionReturn(0);
}

/* "encoder1.enc1": module, and how the names of its layers begin. */
static void BlockName(char name[EK_NAME], const char *module, int level)
{
  snprintf(name, EK_NAME, "%s%d.%.3s%d", module, level, module, level);
}

static PetscErrorCode CheckGrid(const EkModelOptions *options, const EkModelShape *shape)
{
  PetscFunctionBegin;
  for (int d = 0; d < shape->grid.dim; d++) {
    PetscCheck(
        shape->grid.n[d] % DIVISOR == 0, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
        "model_type: %s halves the grid %d times, axis %d has %d points: a multiple of %d is wanted (data_reduced_resolution)",
        EkFamilyMember(&EkModelFamily, options->type)->name, LEVELS, d, (int)shape->grid.n[d], DIVISOR);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkUnetDeclare(const EkModelOptions *options, const EkModelShape *shape, EkParams params)
{
  const int      dim = shape->grid.dim;
  const PetscInt f = options->features;
  PetscInt       in = shape->initial_step * shape->fields;
  char           name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(CheckGrid(options, shape));
  for (int level = 1; level <= LEVELS; level++) {
    BlockName(name, "encoder", level);
    PetscCall(AddBlock(params, name, dim, in, f << (level - 1)));
    in = f << (level - 1);
  }
  PetscCall(AddBlock(params, "bottleneck.bottleneck", dim, in, 2 * in));
  for (int level = LEVELS; level >= 1; level--) {
    const PetscInt out = f << (level - 1);

    PetscCall(AddUp(params, level, dim, 2 * out, out));
    BlockName(name, "decoder", level);
    PetscCall(AddBlock(params, name, dim, 2 * out, out));
  }
  PetscCall(AddWeight(params, "conv.weight", ConvKind(dim), dim, shape->fields, f, 1, f));
  PetscCall(EkParamsAdd(params, "conv.bias", EK_MODULE_OTHER, PETSC_FALSE, 1, &shape->fields, -1 / sqrt((double)f),
                        1 / sqrt((double)f)));
  PetscFunctionReturn(0);
}

/* ---- the network -------------------------------------------------------------------------------------------- */

/* halves: two pieces of the graph. */
static PetscErrorCode Block(EkGraph graph, const char *block, PetscBool halves, EkTensor *x)
{
  char name[EK_NAME];

  PetscFunctionBegin;
  for (int i = 1; i <= 2; i++) {
    if (halves && i == 2) PetscCall(EkGraphSegmentNext(graph, EK_RECOMPUTE_BLOCK));
    PetscCall(PetscSNPrintf(name, sizeof(name), "%sconv%d.weight", block, i));
    PetscCall(EkConv(graph, *x, name, x));
    PetscCall(PetscSNPrintf(name, sizeof(name), "%snorm%d", block, i));
    PetscCall(EkBatchNormTanh(graph, *x, name, x));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode Up(EkGraph graph, int level, EkTensor skip, EkTensor *x)
{
  char weight[EK_NAME], bias[EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(weight, sizeof(weight), "upconv%d.weight", level));
  PetscCall(PetscSNPrintf(bias, sizeof(bias), "upconv%d.bias", level));
  PetscCall(EkConvTranspose(graph, *x, weight, bias, x));
  PetscCall(EkConcatBlocked(graph, *x, skip, x));
  PetscFunctionReturn(0);
}

PetscErrorCode EkUnetApply(const EkModelOptions *options, const EkModelShape *shape, EkGraph graph, int nwindow,
                           const EkTensor window[], EkTensor coordinates, EkTensor *prediction)
{
  EkTensor x, skip[LEVELS + 1];
  char     name[EK_NAME];

  PetscFunctionBegin;
  (void)options, (void)shape, (void)coordinates; /* the parameters' shapes say it all */
  PetscCall(EkGraphSegmentBegin(graph, EK_RECOMPUTE_BLOCK));
  PetscCall(EkToBlocked(graph, nwindow, window, &x));
  for (int level = 1; level <= LEVELS; level++) {
    BlockName(name, "encoder", level);
    PetscCall(Block(graph, name, PETSC_FALSE, &x));
    skip[level] = x;
    PetscCall(EkGraphSegmentNext(graph, EK_RECOMPUTE_BLOCK));
    PetscCall(EkMaxPool(graph, x, &x));
  }
  PetscCall(Block(graph, "bottleneck.bottleneck", PETSC_FALSE, &x));
  for (int level = LEVELS; level >= 1; level--) {
    PetscCall(EkGraphSegmentNext(graph, EK_RECOMPUTE_BLOCK));
    PetscCall(Up(graph, level, skip[level], &x));
    BlockName(name, "decoder", level);
    PetscCall(Block(graph, name, (PetscBool)(level == 1), &x)); /* the largest fields and all skips at once */
  }
  PetscCall(EkToPlanar(graph, x, &x));
  PetscCall(EkLinear(graph, 1, &x, "conv.weight", "conv.bias", EK_NONE, PETSC_FALSE, prediction));
  PetscCall(EkGraphSegmentEnd(graph, EK_RECOMPUTE_BLOCK));
  PetscFunctionReturn(0);
}

/* ---- recognising files -------------------------------------------------------------------------------------- */

int EkUnetRecognise(int n, const EkTensorInfo found[], EkModelOptions *options, EkModelShape *shape)
{
  for (int dim = 1; dim <= 3; dim++) {
    const EkTensorInfo *first = EkFindTensor(n, found, "encoder1.enc1conv1.weight", 2 + dim),
                       *last = EkFindTensor(n, found, "conv.weight", 2 + dim);
    const PetscInt points = 1 << LEVELS;

    if (!first) continue;
    options->features = first->shape[0];
    *shape = EkDataShape(dim, (const PetscInt[3]){points, points, points}, last ? last->shape[0] : 0, first->shape[1]);
    return dim;
  }
  return 0;
}
