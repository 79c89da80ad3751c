/* out = W concat(fields) + bias (+ addend), optionally through GELU. Few channels: one pass over the planes in tiles of columns,
   so that the product, the addend and the activation of a tile happen while it is in the first cache. Many: BLAS, on pieces of
   columns whose result stays in the second one for the rest. With gradients the slope of the activation is saved, and backward
   turns it in place into dL/dz. */
#include "graph_impl.h"

#define MAX_FIELDS   64
#define MAX_CHANNELS 512 /* of the tile engine: its tables of rows live on the stack */
/* Where BLAS is the faster one, forward and backward together. */
#define LARGE_CHANNELS 32
#define LARGE_PRODUCT  (48 * 48)
/* Floats of a piece of the result. */
#define PIECE (1 << 17)

typedef struct {
  int          nfields;
  EkField      field[MAX_FIELDS], addend, out;
  int          in, channels;
  PetscBool    large;
  size_t       piece;
  const float *weight, *bias;
  float       *dweight, *dbias;
  float       *slope; /* saved, (B, channels, stride) */
} Linear;

static PetscBool IsLarge(PetscInt in, PetscInt out)
{
  return (PetscBool)(PetscMax(in, out) > MAX_CHANNELS || (PetscMin(in, out) >= LARGE_CHANNELS && in * out >= LARGE_PRODUCT));
}

static size_t PieceColumns(PetscInt channels)
{
  const size_t fits = EK_ROUND_UP(PIECE / (size_t)channels, EK_TILE);

  return fits > EK_TILE ? fits : EK_TILE;
}

static void Gather(EkGraph g, EkNode *node, Linear *l)
{
  const int first = node->nfields + node->has_addend;

  l->nfields = node->nfields;
  l->in = 0;
  for (int i = 0; i < node->nfields; i++) {
    l->field[i] = EkGraphField(g, node->input[i]);
    l->in += (int)l->field[i].channels;
  }
  if (node->has_addend) l->addend = EkGraphField(g, node->input[node->nfields]);
  l->out = EkGraphField(g, node->output);
  l->channels = (int)l->out.channels;
  l->large = IsLarge(l->in, l->channels);
  l->piece = l->large ? PieceColumns(l->channels) : EK_TILE;
  l->weight = EkGraphWeight(g, node, first);
  l->bias = EkGraphWeight(g, node, first + 1);
  l->dweight = EkGraphWeightGradient(g, node, first);
  l->dbias = EkGraphWeightGradient(g, node, first + 1);
  l->slope = EkGraphSaved(g, node);
}

static size_t AtMost(size_t n, size_t most)
{
  return n < most ? n : most;
}

/* Row pointers of all fields' channels of sample b, from column `at`. */
static void InputRows(const Linear *l, int b, size_t at, const float **row)
{
  for (int i = 0; i < l->nfields; i++) {
    EkPlanes(row, l->field[i].value + b * l->field[i].step + at, l->out.stride, l->field[i].channels);
    row += l->field[i].channels;
  }
}

static void Gelu(size_t n, float *y, float *slope)
{
  if (slope)
    EkGeluWithSlope(n, y, y, slope);
  else
    EkGelu(n, y, y);
}

static void Activate(const Linear *l, size_t n, float *out, int b, size_t at)
{
  float *slope = l->slope ? l->slope + (size_t)b * l->channels * l->out.stride + at : NULL;

  for (int c = 0; c < l->channels; c++) Gelu(n, out + c * l->out.stride, slope ? slope + c * l->out.stride : NULL);
}

static void SmallForward(const Linear *l, PetscBool has_addend, int b, size_t at, float *out)
{
  const size_t n = AtMost(EK_ROUND_UP(l->out.points - at, EK_WIDE), l->piece);
  const float *in[MAX_CHANNELS], *add[MAX_CHANNELS];
  float       *row[MAX_CHANNELS];

  InputRows(l, b, at, in);
  EkPlanes((const float **)row, out, l->out.stride, l->channels);
  if (has_addend) EkPlanes(add, l->addend.value + b * l->addend.step + at, l->out.stride, l->channels);
  EkTileMultiply(l->channels, l->in, n, l->weight, (size_t)l->in, 1, in, has_addend ? add : NULL, l->bias, row);
}

static void AddToRow(size_t n, float bias, const float *add, float *y)
{
  if (add) {
    for (size_t p = 0; p < n; p++) y[p] += bias + add[p];
  } else {
    for (size_t p = 0; p < n; p++) y[p] += bias;
  }
}

static void LargeForward(const Linear *l, PetscBool has_addend, int b, size_t at, float *out)
{
  const size_t n = AtMost(l->out.points - at, l->piece), stride = l->out.stride;
  const float *weight = l->weight, *add = has_addend ? l->addend.value + b * l->addend.step + at : NULL;

  for (int i = 0; i < l->nfields; i++) {
    const EkField *f = &l->field[i];

    EkGemm(0, 0, l->channels, (int)n, (int)f->channels, 1, weight, (size_t)l->in, f->value + b * f->step + at, stride, i > 0, out,
           stride);
    weight += f->channels;
  }
  for (int c = 0; c < l->channels; c++) AddToRow(n, l->bias[c], add ? add + c * stride : NULL, out + c * stride);
}

static void LinearForward(EkGraph g, EkNode *node)
{
  Linear l;

  Gather(g, node, &l);
  for (int b = 0; b < g->batch; b++) {
    for (size_t at = 0; at < l.out.points; at += l.piece) {
      float *out = l.out.value + b * l.out.step + at;

      if (l.large)
        LargeForward(&l, node->has_addend, b, at, out);
      else
        SmallForward(&l, node->has_addend, b, at, out);
      if (node->gelu) Activate(&l, AtMost(EK_ROUND_UP(l.out.points - at, EK_WIDE), l.piece), out, b, at);
    }
  }
}

/* Columns of dL/dz, rows out.stride apart: the output's gradient itself, or with GELU its product with the slope, left where the
 * slope was. */
static const float *PreActivation(const Linear *l, PetscBool gelu, int b, size_t at, size_t n)
{
  const float *g = l->out.gradient + b * l->out.gradient_step + at;
  float       *s;

  if (!gelu) return g;
  s = l->slope + (size_t)b * l->channels * l->out.stride + at;
  for (int c = 0; c < l->channels; c++) {
    for (size_t p = 0; p < n; p++) s[c * l->out.stride + p] *= g[c * l->out.stride + p];
  }
  return s;
}

static void AddendGradient(EkNode *node, const Linear *l, int b, size_t at, size_t n, const float *dz)
{
  float    *to = l->addend.gradient + b * l->addend.gradient_step + at;
  const int add = node->accumulate[node->nfields];

  for (int c = 0; c < l->channels; c++, to += l->out.stride, dz += l->out.stride) {
    for (size_t p = 0; p < n; p++) to[p] = add ? to[p] + dz[p] : dz[p];
  }
}

static void SmallBackward(EkGraph g, EkNode *node, const Linear *l, int b, size_t at, const float *start)
{
  const size_t real = AtMost(l->out.points - at, l->piece), n = EK_ROUND_UP(real, EK_WIDE);
  const float *in[MAX_CHANNELS], *dz[MAX_CHANNELS], *weight = l->weight;
  float       *to[MAX_CHANNELS];

  EkPlanes(dz, start, l->out.stride, l->channels);
  InputRows(l, b, at, in);
  EkTileSum(l->channels, real, dz, l->dbias);
  EkTileOuter(l->channels, l->in, real, dz, in, l->dweight, (size_t)l->in, 1);
  for (int i = 0; i < l->nfields; i++) {
    const EkField *f = &l->field[i];

    if (g->tensor[node->input[i]].has_gradient) {
      EkPlanes((const float **)to, f->gradient + b * f->gradient_step + at, l->out.stride, f->channels);
      EkTileMultiply((int)f->channels, l->channels, n, weight, 1, (size_t)l->in, dz,
                     node->accumulate[i] ? (const float *const *)to : NULL, NULL, to);
    }
    weight += f->channels;
  }
}

static void LargeBackward(EkGraph g, EkNode *node, const Linear *l, int b, size_t at, const float *dz)
{
  const size_t n = AtMost(l->out.points - at, l->piece), stride = l->out.stride, in = (size_t)l->in;
  size_t       column = 0;

  for (int c = 0; c < l->channels; c++) {
    const float *row = dz + c * stride;

    EkTileSum(1, n, &row, l->dbias + c);
  }
  for (int i = 0; i < l->nfields; i++) {
    const EkField *f = &l->field[i];
    const size_t   k = (size_t)f->channels;

    EkGemm(0, 1, l->channels, (int)k, (int)n, 1, dz, stride, f->value + b * f->step + at, stride, 1, l->dweight + column, in);
    if (g->tensor[node->input[i]].has_gradient) {
      EkGemm(1, 0, (int)k, (int)n, l->channels, 1, l->weight + column, in, dz, stride, node->accumulate[i],
             f->gradient + b * f->gradient_step + at, stride);
    }
    column += k;
  }
}

static void LinearBackward(EkGraph g, EkNode *node)
{
  Linear l;

  Gather(g, node, &l);
  for (int b = 0; b < g->batch; b++) {
    for (size_t at = 0; at < l.out.points; at += l.piece) {
      const size_t n = AtMost(EK_ROUND_UP(l.out.points - at, EK_WIDE), l.piece);
      const float *dz = PreActivation(&l, node->gelu, b, at, n);

      if (l.large)
        LargeBackward(g, node, &l, b, at, dz);
      else
        SmallBackward(g, node, &l, b, at, dz);
      if (node->has_addend && g->tensor[node->input[node->nfields]].has_gradient) AddendGradient(node, &l, b, at, n, dz);
    }
  }
}

static double LinearFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const EkTensorState *out = &g->tensor[node->output];
  double               in = 0, with_gradient = 0;

  for (int i = 0; i < node->nfields; i++) {
    in += (double)g->tensor[node->input[i]].channels;
    if (g->tensor[node->input[i]].has_gradient) with_gradient += (double)g->tensor[node->input[i]].channels;
  }
  return 2.0 * (double)out->channels * (double)out->grid.points * (backward ? in + with_gradient : in);
}

const EkOperator EkOpLinear = {
    .member = {"linear", "W concat(fields) + bias (+ addend), optionally through GELU"},
    .forward = LinearForward,
    .backward = LinearBackward,
    .flops = LinearFlops,
};

static PetscErrorCode CheckFields(EkGraph g, int n, const EkTensor field[], PetscInt *channels)
{
  PetscFunctionBegin;
  PetscCheck(n > 0 && n <= MAX_FIELDS, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "linear: %d fields, at most %d are possible", n,
             MAX_FIELDS);
  *channels = 0;
  for (int i = 0; i < n; i++) {
    PetscCall(EkGraphCheckField(g, field[i], "linear"));
    PetscCheck(g->tensor[field[i]].grid.points == g->tensor[field[0]].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "linear: fields on different grids");
    *channels += g->tensor[field[i]].channels;
  }
  PetscFunctionReturn(0);
}

/* (out, in) after any axes of taps have joined `in`. */
static PetscErrorCode CheckWeight(EkGraph g, EkTensor weight, const PetscInt shape[2])
{
  const EkTensorInfo *t = &g->params->table[g->tensor[weight].param];

  PetscFunctionBegin;
  PetscCheck(t->shape[0] == shape[0] && t->count == (size_t)shape[0] * (size_t)shape[1], PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "linear: parameter '%s' has %d rows and %zu values, a (%d, %d) matrix is wanted", t->name, (int)t->shape[0],
             t->count, (int)shape[0], (int)shape[1]);
  PetscFunctionReturn(0);
}

PetscErrorCode EkLinear(EkGraph g, int n, const EkTensor field[], const char *weight, const char *bias, EkTensor addend,
                        PetscBool gelu, EkTensor *out)
{
  EkTensor input[MAX_FIELDS + 3];
  EkNode  *node;
  PetscInt in, shape[2];
  int      k = 0;

  PetscFunctionBegin;
  PetscCall(CheckFields(g, n, field, &in));
  for (; k < n; k++) input[k] = field[k];
  if (addend != EK_NONE) input[k++] = addend;
  PetscCall(EkGraphParam(g, weight, &input[k]));
  PetscCall(EkGraphParam(g, bias, &input[k + 1]));
  shape[0] = g->params->table[g->tensor[input[k + 1]].param].shape[0];
  shape[1] = in;
  PetscCall(CheckWeight(g, input[k], shape));
  if (addend != EK_NONE) {
    PetscCall(EkGraphCheckField(g, addend, "linear"));
    PetscCheck(g->tensor[addend].channels == shape[0] && g->tensor[addend].grid.points == g->tensor[field[0]].grid.points,
               PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "linear: the addend has another shape than the result");
  }
  PetscCall(EkGraphAddNode(g, &EkOpLinear, k + 2, input, &node));
  node->nfields = n;
  node->has_addend = (PetscBool)(addend != EK_NONE);
  node->gelu = gelu;
  for (int i = 0; i < n; i++) node->kept[i] = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, shape[0], g->tensor[field[0]].grid, out));
  if (gelu && g->tensor[*out].wants_gradient) node->saved = (size_t)shape[0] * g->tensor[*out].grid.stride;
  PetscFunctionReturn(0);
}
