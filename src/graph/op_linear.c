/* out = W concat(fields) + bias (+ addend), optionally through GELU. One pass over the planes in tiles of columns: the product, the addend and the activation
   of a tile happen while it is in cache. With gradients the slope of the activation is saved, and backward turns it in place into dL/dz. */
#include "graph_impl.h"

#define MAX_FIELDS   64
#define MAX_CHANNELS 4096

typedef struct {
  int     nfields;
  EkField field[MAX_FIELDS], addend, out;
  int     in, channels;
  size_t  columns; /* points in whole vectors */
  float  *slope;   /* saved, (B, channels, stride) */
} Linear;

static void Gather(EkGraph g, EkNode *node, Linear *l)
{
  l->nfields = node->nfields;
  l->in      = 0;
  for (int i = 0; i < node->nfields; i++) {
    l->field[i] = EkGraphField(g, node->input[i]);
    l->in += (int)l->field[i].channels;
  }
  if (node->has_addend) l->addend = EkGraphField(g, node->input[node->nfields]);
  l->out      = EkGraphField(g, node->output);
  l->channels = (int)l->out.channels;
  l->columns  = EK_ROUND_UP(l->out.points, EK_LANES);
  l->slope    = EkGraphSaved(g, node);
}

/* Row pointers of all fields' channels of sample b, from column `at`. */
static void InputRows(const Linear *l, int b, size_t at, const float **row)
{
  for (int i = 0; i < l->nfields; i++) {
    EkPlanes(row, l->field[i].value + b * l->field[i].step + at, l->out.stride, l->field[i].channels);
    row += l->field[i].channels;
  }
}

static void Activate(const Linear *l, int channels, size_t n, float *const out[], int b, size_t at)
{
  for (int c = 0; c < channels; c++) {
    if (l->slope) EkGeluWithSlope(n, out[c], out[c], l->slope + ((size_t)b * channels + c) * l->out.stride + at);
    else EkGelu(n, out[c], out[c]);
  }
}

static void LinearForward(EkGraph g, EkNode *node)
{
  const int    first = node->nfields + node->has_addend;
  const float *weight = EkGraphWeight(g, node, first), *bias = EkGraphWeight(g, node, first + 1), *in[MAX_CHANNELS], *add[MAX_CHANNELS];
  float       *out[MAX_CHANNELS];
  Linear       l;

  Gather(g, node, &l);
  for (int b = 0; b < g->batch; b++) {
    for (size_t at = 0; at < l.columns; at += EK_TILE) {
      const size_t n = l.columns - at < EK_TILE ? l.columns - at : EK_TILE;

      InputRows(&l, b, at, in);
      EkPlanes((const float **)out, l.out.value + b * l.out.step + at, l.out.stride, l.channels);
      if (node->has_addend) EkPlanes(add, l.addend.value + b * l.addend.step + at, l.out.stride, l.channels);
      EkTileMultiply(l.channels, l.in, n, weight, (size_t)l.in, 1, in, node->has_addend ? add : NULL, bias, out);
      if (node->gelu) Activate(&l, l.channels, n, out, b, at);
    }
  }
}

/* The tile of dL/dz: the output's gradient itself, or with GELU its product with the slope, left where the slope was. */
static void PreActivation(const Linear *l, int gelu, int b, size_t at, size_t n, const float **dz)
{
  const float *g = l->out.gradient + b * l->out.gradient_step + at;
  float       *s = l->slope + (gelu ? (size_t)b * l->channels * l->out.stride + at : 0);

  EkPlanes(dz, gelu ? s : g, l->out.stride, l->channels);
  for (int c = 0; gelu && c < l->channels; c++) {
    for (size_t p = 0; p < n; p++) s[c * l->out.stride + p] *= g[c * l->out.stride + p];
  }
}

static void AddendGradient(EkNode *node, const Linear *l, int b, size_t at, size_t n, const float *const dz[])
{
  float    *to  = l->addend.gradient + b * l->addend.gradient_step + at;
  const int add = node->accumulate[node->nfields];

  for (int c = 0; c < l->channels; c++, to += l->out.stride) {
    for (size_t p = 0; p < n; p++) to[p] = add ? to[p] + dz[c][p] : dz[c][p];
  }
}

static void FieldGradients(EkGraph g, EkNode *node, const Linear *l, int b, size_t at, size_t n, const float *weight, const float *const dz[])
{
  float *to[MAX_CHANNELS];

  for (int i = 0; i < l->nfields; i++) {
    const EkField *f = &l->field[i];

    if (g->tensor[node->input[i]].has_gradient) {
      EkPlanes((const float **)to, f->gradient + b * f->gradient_step + at, l->out.stride, f->channels);
      EkTileMultiply((int)f->channels, l->channels, n, weight, 1, (size_t)l->in, dz, node->accumulate[i] ? (const float *const *)to : NULL, NULL, to);
    }
    weight += f->channels;
  }
}

static void LinearBackward(EkGraph g, EkNode *node)
{
  const int    first  = node->nfields + node->has_addend;
  const float *weight = EkGraphWeight(g, node, first), *in[MAX_CHANNELS], *dz[MAX_CHANNELS];
  float       *dw = EkGraphWeightGradient(g, node, first), *db = EkGraphWeightGradient(g, node, first + 1);
  Linear       l;

  Gather(g, node, &l);
  for (int b = 0; b < g->batch; b++) {
    for (size_t at = 0; at < l.columns; at += EK_TILE) {
      const size_t n = l.columns - at < EK_TILE ? l.columns - at : EK_TILE, real = l.out.points - at < n ? l.out.points - at : n;

      PreActivation(&l, node->gelu, b, at, n, dz);
      InputRows(&l, b, at, in);
      EkTileSum(l.channels, real, dz, db);
      EkTileOuter(l.channels, l.in, real, dz, in, dw, (size_t)l.in, 1);
      FieldGradients(g, node, &l, b, at, n, weight, dz);
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

const EkOperator EkOpLinear = {{"linear", "W concat(fields) + bias (+ addend), optionally through GELU"}, LinearForward, LinearBackward, LinearFlops, NULL, PETSC_FALSE};

static PetscErrorCode CheckFields(EkGraph g, int n, const EkTensor field[], PetscInt *channels)
{
  PetscFunctionBegin;
  PetscCheck(n > 0 && n <= MAX_FIELDS, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "linear: %d fields, at most %d are possible", n, MAX_FIELDS);
  *channels = 0;
  for (int i = 0; i < n; i++) {
    PetscCall(EkGraphCheckField(g, field[i], "linear"));
    PetscCheck(g->tensor[field[i]].grid.points == g->tensor[field[0]].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "linear: fields on different grids");
    *channels += g->tensor[field[i]].channels;
  }
  PetscCheck(*channels <= MAX_CHANNELS, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "linear: %d channels, at most %d are possible", (int)*channels, MAX_CHANNELS);
  PetscFunctionReturn(0);
}

PetscErrorCode EkLinear(EkGraph g, int n, const EkTensor field[], const char *weight, const char *bias, EkTensor addend, PetscBool gelu, EkTensor *out)
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
  PetscCall(EkGraphCheckShape(g, input[k], 2, shape, "linear"));
  PetscCheck(shape[0] <= MAX_CHANNELS, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "linear: %d channels, at most %d are possible", (int)shape[0], MAX_CHANNELS);
  if (addend != EK_NONE) {
    PetscCall(EkGraphCheckField(g, addend, "linear"));
    PetscCheck(g->tensor[addend].channels == shape[0] && g->tensor[addend].grid.points == g->tensor[field[0]].grid.points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "linear: the addend has another shape than the result");
  }
  PetscCall(EkGraphAddNode(g, &EkOpLinear, k + 2, input, &node));
  node->nfields    = n;
  node->has_addend = (PetscBool)(addend != EK_NONE);
  node->gelu       = gelu;
  for (int i = 0; i < n; i++) node->kept[i] = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, shape[0], g->tensor[field[0]].grid, out));
  if (gelu && g->tensor[*out].wants_gradient) node->saved = (size_t)shape[0] * g->tensor[*out].grid.stride;
  PetscFunctionReturn(0);
}
