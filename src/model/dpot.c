/* DPOT (Hao et al. 2024; models-and-data 5): patches of all given frames embedded, aggregated over time, mixed by AFNO blocks,
   and back to pixels by a transposed convolution. The frames stand side by side in one field until they are aggregated, the
   pixels of the result until its last layer. */
#include "dpot.h"
#include "recognise.h"
#include <math.h>
#include <string.h>

#define GROUPS      8 /* of GroupNorm */
#define COORDINATES 3 /* x, y, t */
#define MODES       32

/* models-and-data 5.3 */
typedef struct {
  EkMember  member;
  PetscInt  embed_dim, depth, n_blocks;
  PetscReal mlp_ratio;
  PetscInt  out_layer_dim, patch_size;
} Preset;
#define PRESET(name, parameters, embed_dim, depth, n_blocks, mlp_ratio, out_layer_dim, patch_size)                              \
  {{name, parameters " parameters: embed_dim " #embed_dim ", depth " #depth ", n_blocks " #n_blocks ", mlp_ratio " #mlp_ratio     \
                     ", out_layer_dim " #out_layer_dim ", patch_size " #patch_size},                                              \
   embed_dim, depth, n_blocks, mlp_ratio, out_layer_dim, patch_size}
static const Preset preset_row[] = {
    PRESET("tiny", "7.5 M", 512, 4, 4, 1, 32, 8),     PRESET("small", "31 M", 1024, 6, 8, 1, 32, 8),
    PRESET("medium", "122 M", 1024, 12, 8, 4, 32, 8), PRESET("large", "509 M", 1536, 24, 16, 4, 128, 8),
    PRESET("huge", "1.03 G", 2048, 27, 8, 4, 128, 8),
};
const EkFamily EkPresetFamily = EK_FAMILY("model_preset", preset_row);

PetscErrorCode EkDpotSettle(EkModelOptions *o)
{
  const Preset *p = &preset_row[o->preset];

  PetscFunctionBegin;
  if (!o->embed_dim) o->embed_dim = p->embed_dim;
  if (!o->depth) o->depth = p->depth;
  if (!o->n_blocks) o->n_blocks = p->n_blocks;
  if (!(o->mlp_ratio > 0)) o->mlp_ratio = p->mlp_ratio;
  if (!o->out_layer_dim) o->out_layer_dim = p->out_layer_dim;
  if (!o->patch_size) o->patch_size = p->patch_size;
  if (!o->modes.n) o->modes = (EkInts){1, {MODES}};
  PetscFunctionReturn(0);
}

static PetscInt Hidden(const EkModelOptions *o)
{
  return (PetscInt)(o->mlp_ratio * (PetscReal)o->embed_dim);
}
/* Channels of a patch's first embedding. */
static PetscInt Embedding(const EkModelOptions *o, const EkModelShape *shape)
{
  return shape->fields * o->patch_size + COORDINATES;
}

/* ---- parameters --------------------------------------------------------------------------------------------- */

/* NAME.weight and NAME.bias as PyTorch draws them for Linear and Conv: uniform in +-1/sqrt(fan). */
static PetscErrorCode AddLayer(EkParams params, const char *module, EkModuleKind kind, int rank, const PetscInt shape[],
                               PetscInt fan, PetscInt out)
{
  const double bound = 1 / sqrt((double)fan);
  char         name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.weight", module));
  PetscCall(EkParamsAdd(params, name, kind, PETSC_FALSE, rank, shape, -bound, bound));
  PetscCall(PetscSNPrintf(name, sizeof(name), "%s.bias", module));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, &out, -bound, bound));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddConv(EkParams params, const char *module, PetscInt in, PetscInt out, PetscInt kernel)
{
  PetscFunctionBegin;
  PetscCall(
      AddLayer(params, module, EK_MODULE_CONV2D, 4, (const PetscInt[4]){out, in, kernel, kernel}, in * kernel * kernel, out));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddLinear(EkParams params, const char *module, PetscInt in, PetscInt out)
{
  PetscFunctionBegin;
  PetscCall(AddLayer(params, module, EK_MODULE_LINEAR, 2, (const PetscInt[2]){out, in}, in, out));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddNorm(EkParams params, int block, int which, PetscInt channels)
{
  char name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "blocks.%d.norm%d.weight", block, which));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, &channels, 1, 1));
  PetscCall(PetscSNPrintf(name, sizeof(name), "blocks.%d.norm%d.bias", block, which));
  PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 1, &channels, 0, 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddBlock(const EkModelOptions *o, EkParams params, int block)
{
  const PetscInt each = o->embed_dim / o->n_blocks, shape[4] = {2, o->n_blocks, each, each};
  const double   scale = 1 / ((double)each * (double)each);
  char           name[EK_NAME];

  PetscFunctionBegin;
  PetscCall(AddNorm(params, block, 1, o->embed_dim));
  for (int layer = 1; layer <= 2; layer++) {
    PetscCall(PetscSNPrintf(name, sizeof(name), "blocks.%d.filter.w%d", block, layer));
    PetscCall(EkParamsAdd(params, name, EK_MODULE_AFNO, PETSC_FALSE, 4, shape, 0, scale));
    PetscCall(PetscSNPrintf(name, sizeof(name), "blocks.%d.filter.b%d", block, layer));
    PetscCall(EkParamsAdd(params, name, EK_MODULE_OTHER, PETSC_FALSE, 3, shape, 0, scale));
  }
  PetscCall(AddNorm(params, block, 2, o->embed_dim));
  PetscCall(PetscSNPrintf(name, sizeof(name), "blocks.%d.mlp.0", block));
  PetscCall(AddConv(params, name, o->embed_dim, Hidden(o), 1));
  PetscCall(PetscSNPrintf(name, sizeof(name), "blocks.%d.mlp.2", block));
  PetscCall(AddConv(params, name, Hidden(o), o->embed_dim, 1));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddTimeAggregator(const EkModelOptions *o, const EkModelShape *shape, EkParams params)
{
  const PetscInt D = o->embed_dim, frames = shape->initial_step;

  PetscFunctionBegin;
  PetscCall(EkParamsAdd(params, "time_agg_layer.w", EK_MODULE_TIME_AGG, PETSC_FALSE, 3, (const PetscInt[3]){frames, D, D}, 0, 0));
  PetscCall(EkParamsSetDraw(params, EK_DRAW_NORMAL, 0, 1 / ((double)frames * sqrt((double)D))));
  if (o->time_agg == EK_TIME_MLP) PetscFunctionReturn(0);
  PetscCall(EkParamsAdd(params, "time_agg_layer.gamma", EK_MODULE_OTHER, PETSC_FALSE, 2, (const PetscInt[2]){1, D}, 0, 0));
  PetscCall(EkParamsSetDraw(params, EK_DRAW_POWERS, -10, 10));
  PetscFunctionReturn(0);
}

/* PyTorch takes the fan of a transposed convolution from its second axis. */
static PetscErrorCode AddOutput(const EkModelOptions *o, const EkModelShape *shape, EkParams params)
{
  const PetscInt p = o->patch_size, out = o->out_layer_dim;

  PetscFunctionBegin;
  PetscCall(
      AddLayer(params, "out_layer.0", EK_MODULE_TRANSPOSED, 4, (const PetscInt[4]){o->embed_dim, out, p, p}, out * p * p, out));
  PetscCall(AddConv(params, "out_layer.2", out, out, 1));
  PetscCall(AddConv(params, "out_layer.4", out, shape->fields, 1));
  PetscFunctionReturn(0);
}

static PetscErrorCode CheckSizes(const EkModelOptions *o, const EkModelShape *shape)
{
  PetscFunctionBegin;
  for (int d = 0; d < shape->grid.dim; d++) {
    PetscCheck(shape->grid.n[d] % o->patch_size == 0, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
               "model_patch_size: axis %d of the grid has %d points, no whole number of patches of %d", d, (int)shape->grid.n[d],
               (int)o->patch_size);
  }
  PetscCheck(o->embed_dim % o->n_blocks == 0, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
             "model_n_blocks: model_embed_dim %d is no multiple of %d", (int)o->embed_dim, (int)o->n_blocks);
  PetscCheck(o->embed_dim % GROUPS == 0, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
             "model_embed_dim: %d is no multiple of %d, the groups of GroupNorm", (int)o->embed_dim, GROUPS);
  PetscCheck(Hidden(o) >= 1, PETSC_COMM_WORLD, PETSC_ERR_USER_INPUT,
             "model_mlp_ratio: no hidden channel is left of model_embed_dim %d", (int)o->embed_dim);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDpotDeclare(const EkModelOptions *o, const EkModelShape *shape, EkParams params)
{
  const PetscInt p = o->patch_size, D = o->embed_dim, E = Embedding(o, shape);

  PetscFunctionBegin;
  PetscCall(CheckSizes(o, shape));
  PetscCall(EkParamsAdd(params, "pos_embed", EK_MODULE_OTHER, PETSC_FALSE, 4,
                        (const PetscInt[4]){1, D, shape->grid.n[0] / p, shape->grid.n[1] / p}, 0, 0));
  PetscCall(EkParamsSetDraw(params, EK_DRAW_NORMAL, 0, 0.02)); /* cut off at +-2, a hundred deviations away */
  PetscCall(AddConv(params, "patch_embed.proj.0", shape->fields + COORDINATES, E, p));
  PetscCall(AddConv(params, "patch_embed.proj.2", E, D, 1));
  for (int i = 0; i < o->depth; i++) PetscCall(AddBlock(o, params, i));
  if (o->normalize) {
    PetscCall(AddLinear(params, "scale_feats_mu", 2 * shape->fields, D));
    PetscCall(AddLinear(params, "scale_feats_sigma", 2 * shape->fields, D));
  }
  PetscCall(AddLinear(params, "cls_head.0", D, D));
  PetscCall(AddLinear(params, "cls_head.2", D, D));
  PetscCall(AddLinear(params, "cls_head.4", D, o->n_cls));
  PetscCall(AddTimeAggregator(o, shape, params));
  PetscCall(AddOutput(o, shape, params));
  PetscFunctionReturn(0);
}

/* ---- recognising files -------------------------------------------------------------------------------------- */

/* Blocks of which there is a first norm. */
static PetscInt Depth(int n, const EkTensorInfo found[])
{
  static const char end[] = ".norm1.weight";
  PetscInt          depth = 0;

  for (int i = 0; i < n; i++) {
    const char  *name = found[i].name;
    const size_t letters = strlen(name);

    depth += !strncmp(name, "blocks.", 7) && letters >= sizeof(end) && !strcmp(name + letters + 1 - sizeof(end), end);
  }
  return depth;
}

int EkDpotRecognise(int n, const EkTensorInfo found[], EkModelOptions *o, EkModelShape *shape)
{
  const EkTensorInfo *position = EkFindTensor(n, found, "pos_embed", 4),
                     *filter = EkFindTensor(n, found, "blocks.0.filter.w1", 4),
                     *hidden = EkFindTensor(n, found, "blocks.0.mlp.0.weight", 4),
                     *out = EkFindTensor(n, found, "out_layer.0.weight", 4),
                     *classes = EkFindTensor(n, found, "cls_head.4.weight", 2),
                     *time = EkFindTensor(n, found, "time_agg_layer.w", 3),
                     *last = EkFindTensor(n, found, "out_layer.4.weight", 4);
  const PetscInt depth = Depth(n, found);

  if (!position || !depth) return 0;
  o->embed_dim = position->shape[1];
  o->depth = depth;
  for (int i = 0; i < EkPresetFamily.count; i++) {
    if (preset_row[i].embed_dim == o->embed_dim && preset_row[i].depth == depth) o->preset = i;
  }
  if (filter) o->n_blocks = filter->shape[1];
  if (hidden && Hidden(o) != hidden->shape[0]) o->mlp_ratio = (PetscReal)hidden->shape[0] / (PetscReal)hidden->shape[1];
  if (out) o->out_layer_dim = out->shape[1];
  if (out) o->patch_size = out->shape[2];
  if (classes) o->n_cls = classes->shape[0];
  if (time) o->time_agg = EkFindTensor(n, found, "time_agg_layer.gamma", 2) ? EK_TIME_EXP_MLP : EK_TIME_MLP;
  if (out) o->normalize = (PetscBool)(EkFindTensor(n, found, "scale_feats_mu.weight", 2) != NULL);
  if (out && last && time)
    *shape = EkDataShape(2, (const PetscInt[2]){position->shape[2] * o->patch_size, position->shape[3] * o->patch_size},
                         last->shape[0], last->shape[0] * time->shape[0]);
  return 2;
}

/* ---- the network -------------------------------------------------------------------------------------------- */

static float Even(PetscInt i, PetscInt n)
{
  return n > 1 ? (float)((double)i / (double)(n - 1)) : 0;
}

/* x and y, then a plane of time for each frame: each from 0 to 1, both ends included. */
static PetscErrorCode Coordinates(const EkModelShape *shape, EkGraph graph, EkTensor *space, EkTensor *times)
{
  const EkGrid  *grid = &shape->grid;
  const PetscInt frames = shape->initial_step;
  float         *value;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1((size_t)(frames + 2) * grid->stride, &value));
  for (PetscInt i = 0; i < grid->n[0]; i++) {
    for (PetscInt j = 0; j < grid->n[1]; j++) {
      float *to = value + i * grid->n[1] + j;

      to[0] = Even(i, grid->n[0]);
      to[grid->stride] = Even(j, grid->n[1]);
      for (PetscInt t = 0; t < frames; t++) to[(size_t)(t + 2) * grid->stride] = Even(t, frames);
    }
  }
  PetscCall(EkGraphConstant(graph, 2, *grid, value, space));
  PetscCall(EkGraphConstant(graph, frames, *grid, value + 2 * grid->stride, times));
  PetscCall(PetscFree(value));
  PetscFunctionReturn(0);
}

/* What the network takes from the statistics of its window: of each sample and channel over points and frames. */
typedef struct {
  EkTensor mean, deviation; /* C channels */
  EkTensor shift, scale;    /* D channels */
} Normal;

static PetscErrorCode Normalise(const EkModelShape *shape, EkGraph graph, int nwindow, EkTensor window[], Normal *normal)
{
  EkTensor moments;

  PetscFunctionBegin;
  PetscCall(EkMoments(graph, nwindow, window, shape->fields, &moments));
  PetscCall(EkGraphSlice(graph, moments, 0, shape->fields, &normal->mean));
  PetscCall(EkGraphSlice(graph, moments, shape->fields, shape->fields, &normal->deviation));
  for (int i = 0; i < nwindow; i++)
    PetscCall(EkScaleShift(graph, window[i], normal->deviation, normal->mean, PETSC_TRUE, &window[i]));
  PetscCall(EkLinear(graph, 1, &moments, "scale_feats_mu.weight", "scale_feats_mu.bias", EK_NONE, PETSC_FALSE, &normal->shift));
  PetscCall(
      EkLinear(graph, 1, &moments, "scale_feats_sigma.weight", "scale_feats_sigma.bias", EK_NONE, PETSC_FALSE, &normal->scale));
  PetscFunctionReturn(0);
}

/* list: of each frame its fields, x and y, its time. */
static PetscErrorCode List(const EkModelShape *shape, EkGraph graph, int nwindow, const EkTensor window[], EkTensor *list)
{
  EkTensor space, times;
  PetscInt channels, frame = 0;
  EkGrid   grid;

  PetscFunctionBegin;
  PetscCall(Coordinates(shape, graph, &space, &times));
  for (int i = 0; i < nwindow; i++) {
    PetscCall(EkGraphGetGrid(graph, window[i], &channels, &grid));
    for (PetscInt c = 0; c < channels; c += shape->fields, frame++, list += 3) {
      list[0] = window[i];
      if (channels > shape->fields) PetscCall(EkGraphSlice(graph, window[i], c, shape->fields, &list[0]));
      list[1] = space;
      PetscCall(EkGraphSlice(graph, times, frame, 1, &list[2]));
    }
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode Embed(const EkModelOptions *o, const EkModelShape *shape, EkGraph graph, int nwindow,
                            const EkTensor window[], EkTensor *x)
{
  EkTensor *list;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(3 * shape->initial_step, &list));
  PetscCall(List(shape, graph, nwindow, window, list));
  PetscCall(EkPatch(graph, (int)shape->initial_step, 3, list, o->patch_size, x));
  PetscCall(EkLinear(graph, 1, x, "patch_embed.proj.0.weight", "patch_embed.proj.0.bias", EK_NONE, PETSC_TRUE, x));
  PetscCall(EkTimeAggregate(graph, *x, "patch_embed.proj.2.weight", "patch_embed.proj.2.bias", "pos_embed", "time_agg_layer.w",
                            o->time_agg == EK_TIME_MLP ? NULL : "time_agg_layer.gamma", x));
  PetscCall(PetscFree(list));
  PetscFunctionReturn(0);
}

/* Name of a parameter of a block. */
typedef struct {
  char text[EK_NAME];
} Name;
static Name NameOf(int block, const char *rest)
{
  Name name;

  (void)PetscSNPrintf(name.text, sizeof(name.text), "blocks.%d.%s", block, rest);
  return name;
}

static PetscErrorCode Block(const EkModelOptions *o, EkGraph graph, int i, EkTensor *x)
{
  const Name w1 = NameOf(i, "filter.w1"), b1 = NameOf(i, "filter.b1"), w2 = NameOf(i, "filter.w2"), b2 = NameOf(i, "filter.b2");
  const Name norm1 = NameOf(i, "norm1.weight"), bias1 = NameOf(i, "norm1.bias"), norm2 = NameOf(i, "norm2.weight"),
             bias2 = NameOf(i, "norm2.bias");
  const Name in = NameOf(i, "mlp.0.weight"), in_bias = NameOf(i, "mlp.0.bias"), out = NameOf(i, "mlp.2.weight"),
             out_bias = NameOf(i, "mlp.2.bias");
  const EkTensor before = *x;

  PetscFunctionBegin;
  PetscCall(EkGroupNorm(graph, *x, GROUPS, norm1.text, bias1.text, x));
  PetscCall(EkAfno(graph, *x, o->modes.v[0], w1.text, b1.text, w2.text, b2.text, x));
  PetscCall(EkGroupNorm(graph, *x, GROUPS, norm2.text, bias2.text, x));
  PetscCall(EkLinear(graph, 1, x, in.text, in_bias.text, EK_NONE, PETSC_TRUE, x));
  PetscCall(EkLinear(graph, 1, x, out.text, out_bias.text, before, PETSC_FALSE, x));
  PetscFunctionReturn(0);
}

/* From the window to the latent field (D, X/p, Y/p). */
static PetscErrorCode Latent(const EkModelOptions *o, const EkModelShape *shape, EkGraph graph, int nwindow,
                             const EkTensor window[], Normal *normal, EkTensor *x)
{
  EkTensor *copy;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(nwindow, &copy));
  for (int i = 0; i < nwindow; i++) copy[i] = window[i];
  PetscCall(EkGraphSegmentBegin(graph, EK_RECOMPUTE_BLOCK));
  if (o->normalize) PetscCall(Normalise(shape, graph, nwindow, copy, normal));
  PetscCall(Embed(o, shape, graph, nwindow, copy, x));
  if (o->normalize) PetscCall(EkScaleShift(graph, *x, normal->scale, normal->shift, PETSC_FALSE, x));
  for (int i = 0; i < o->depth; i++) {
    PetscCall(EkGraphSegmentNext(graph, EK_RECOMPUTE_BLOCK));
    PetscCall(Block(o, graph, i, x));
  }
  PetscCall(EkGraphSegmentEnd(graph, EK_RECOMPUTE_BLOCK));
  PetscCall(PetscFree(copy));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDpotApply(const EkModelOptions *o, const EkModelShape *shape, EkGraph graph, int nwindow,
                           const EkTensor window[], EkTensor coordinates, EkTensor *prediction)
{
  Normal   normal;
  EkTensor x;

  PetscFunctionBegin;
  (void)coordinates;
  PetscCall(Latent(o, shape, graph, nwindow, window, &normal, &x));
  PetscCall(EkGraphSegmentBegin(graph, EK_RECOMPUTE_BLOCK));
  PetscCall(EkLinearTransposed(graph, x, "out_layer.0.weight", "out_layer.0.bias", PETSC_TRUE, &x));
  PetscCall(EkLinear(graph, 1, &x, "out_layer.2.weight", "out_layer.2.bias", EK_NONE, PETSC_TRUE, &x));
  PetscCall(EkLinear(graph, 1, &x, "out_layer.4.weight", "out_layer.4.bias", EK_NONE, PETSC_FALSE, &x));
  PetscCall(EkUnpatch(graph, x, o->patch_size, prediction));
  if (o->normalize) PetscCall(EkScaleShift(graph, *prediction, normal.deviation, normal.mean, PETSC_FALSE, prediction));
  PetscCall(EkGraphSegmentEnd(graph, EK_RECOMPUTE_BLOCK));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDpotClassLogits(const EkModelOptions *o, const EkModelShape *shape, EkGraph graph, int nwindow,
                                 const EkTensor window[], EkTensor *logits)
{
  Normal   normal;
  EkTensor x;

  PetscFunctionBegin;
  PetscCall(Latent(o, shape, graph, nwindow, window, &normal, &x));
  PetscCall(EkMean(graph, x, &x));
  PetscCall(EkLinear(graph, 1, &x, "cls_head.0.weight", "cls_head.0.bias", EK_NONE, PETSC_TRUE, &x));
  PetscCall(EkLinear(graph, 1, &x, "cls_head.2.weight", "cls_head.2.bias", EK_NONE, PETSC_TRUE, &x));
  PetscCall(EkLinear(graph, 1, &x, "cls_head.4.weight", "cls_head.4.bias", EK_NONE, PETSC_FALSE, logits));
  PetscFunctionReturn(0);
}
