/* Convolutions of blocked fields: on few points matrix products (conv_gemm.c), of 3 x 3 taps by minimal filtering
   (conv_winograd.c), the rest primitives of oneDNN, made once a batch size, weights in whatever layout each wants. */
#include "conv.h"
#include <dnnl.h>

/* What failed, and for which convolution. */
#define CallDnnl(shape, expr)                                                                                                    \
  do {                                                                                                                           \
    const dnnl_status_t status_ = (expr);                                                                                        \
    PetscCheck(status_ == dnnl_success, PETSC_COMM_SELF, PETSC_ERR_LIB,                                                          \
               "oneDNN status %d: convolution of %d to %d channels, kernel %d, stride %d, %d x %d points", (int)status_,         \
               (int)(shape)->in, (int)(shape)->out, (int)(shape)->kernel, (int)(shape)->stride, (int)(shape)->n[0],              \
               (int)((shape)->dim > 1 ? (shape)->n[1] : 1));                                                                     \
  } while (0)

/* Weights as a pass sees them, the same without lanes that are no channels, and as PyTorch has them. */
typedef enum { FIELD_X, FIELD_Y, WEIGHTS, REAL, PLAIN, TENSORS } Tensor;

/* One pass for one batch size; `reorder` takes weights there, or gradients back and adds them. */
typedef struct {
  dnnl_primitive_t   primitive, reorder;
  dnnl_memory_desc_t layout; /* of the weights, with lanes that are no channels */
  dnnl_memory_t      memory[TENSORS];
  char               code[EK_NAME]; /* oneDNN's name of the code it took */
} Pass;

typedef struct {
  int  batch;
  Pass pass[EK_CONV_PASSES];
} Set;

typedef enum { PRODUCTS, WINOGRAD, ONEDNN } Method;

struct EkConvolution_ {
  EkConvShape   shape;
  Method        method; /* what follows is ONEDNN's */
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int           nsets;
  Set          *set;
};

struct EkPacked_ {
  PetscInt64         run;
  Method             method;
  EkConvPass         pass;            /* of WINOGRAD */
  dnnl_memory_desc_t layout;          /* of ONEDNN */
  float             *memory, *values; /* as allocated; on a cache line */
  size_t             bytes;
};

static const int argument[EK_CONV_PASSES][3] = {
    [EK_CONV_FORWARD] = {[FIELD_X] = DNNL_ARG_SRC, [FIELD_Y] = DNNL_ARG_DST, [WEIGHTS] = DNNL_ARG_WEIGHTS},
    [EK_CONV_DATA] = {[FIELD_X] = DNNL_ARG_DIFF_SRC, [FIELD_Y] = DNNL_ARG_DIFF_DST, [WEIGHTS] = DNNL_ARG_WEIGHTS},
    [EK_CONV_WEIGHTS] = {[FIELD_X] = DNNL_ARG_SRC, [FIELD_Y] = DNNL_ARG_DIFF_DST, [WEIGHTS] = DNNL_ARG_DIFF_WEIGHTS},
};

/* ---- making primitives -------------------------------------------------------------------------------------- */

typedef struct {
  dnnl_memory_desc_t tensor[TENSORS];
  dnnl_dims_t        strides, padding;
} Layouts;

/* To oneDNN all lanes are channels: what is less than a block it would leave to its slow reference code. A line is a plane of one
   row, with the stride in both directions: on machines without AVX-512 oneDNN has fast code for strided backward passes of planes
   with equal strides alone. */
static PetscErrorCode DescribeTensors(const EkConvShape *s, int batch, Layouts *l)
{
  const dnnl_dim_t        in = (dnnl_dim_t)EK_BLOCKED_CHANNELS(s->in), out = (dnnl_dim_t)EK_BLOCKED_CHANNELS(s->out);
  const dnnl_format_tag_t blocked = EK_BLOCK == 16 ? dnnl_nChw16c : dnnl_nChw8c;
  dnnl_dims_t             x = {batch, in, 1}, y = {batch, out, 1}, w = {out, in, 1}, plain = {s->out, s->in, 1};

  PetscFunctionBegin;
  l->strides[0] = s->stride;
  l->padding[0] = 0;
  for (int d = 0, at = 2 - s->dim; d < s->dim; d++, at++) {
    x[2 + at] = s->n[d];
    y[2 + at] = s->n[d] / s->stride;
    w[2 + at] = plain[2 + at] = s->kernel;
    l->strides[at] = s->stride;
    l->padding[at] = (s->kernel - 1) / 2;
  }
  CallDnnl(s, dnnl_memory_desc_init_by_tag(&l->tensor[FIELD_X], 4, x, dnnl_f32, blocked));
  CallDnnl(s, dnnl_memory_desc_init_by_tag(&l->tensor[FIELD_Y], 4, y, dnnl_f32, blocked));
  CallDnnl(s, dnnl_memory_desc_init_by_tag(&l->tensor[WEIGHTS], 4, w, dnnl_f32, dnnl_format_tag_any));
  CallDnnl(s, dnnl_memory_desc_init_by_tag(&l->tensor[PLAIN], 4, plain, dnnl_f32, dnnl_abcd));
  PetscFunctionReturn(0);
}

static double Taps(const EkConvShape *s)
{
  double taps = 1;

  for (int d = 0; d < s->dim; d++) taps *= (double)s->kernel;
  return taps;
}

static size_t PaddedWeights(const EkConvShape *s)
{
  return EK_BLOCKED_CHANNELS(s->in) * EK_BLOCKED_CHANNELS(s->out) * (size_t)Taps(s);
}

static dnnl_status_t DescribePass(EkConvPass pass, const Layouts *l, dnnl_convolution_desc_t *desc)
{
  const dnnl_memory_desc_t *x = &l->tensor[FIELD_X], *y = &l->tensor[FIELD_Y], *w = &l->tensor[WEIGHTS];

  if (pass == EK_CONV_FORWARD)
    return dnnl_convolution_forward_desc_init(desc, dnnl_forward_training, dnnl_convolution_direct, x, w, NULL, y, l->strides,
                                              l->padding, l->padding);
  if (pass == EK_CONV_DATA)
    return dnnl_convolution_backward_data_desc_init(desc, dnnl_convolution_direct, x, w, y, l->strides, l->padding, l->padding);
  return dnnl_convolution_backward_weights_desc_init(desc, dnnl_convolution_direct, x, w, NULL, y, l->strides, l->padding,
                                                     l->padding);
}

/* Backward passes want the forward one as a hint. */
static PetscErrorCode MakePrimitive(EkConvolution c, EkConvPass pass, Layouts *l, Pass *out)
{
  const EkConvShape      *s = &c->shape;
  dnnl_convolution_desc_t forward, desc;
  dnnl_primitive_desc_t   hint, chosen;
  const char             *code;

  PetscFunctionBegin;
  CallDnnl(s, DescribePass(EK_CONV_FORWARD, l, &forward));
  CallDnnl(s, DescribePass(pass, l, &desc));
  CallDnnl(s, dnnl_primitive_desc_create(&hint, &forward, NULL, c->engine, NULL));
  CallDnnl(s, dnnl_primitive_desc_create(&chosen, &desc, NULL, c->engine, hint));
  CallDnnl(s, dnnl_primitive_create(&out->primitive, chosen));
  CallDnnl(s, dnnl_primitive_desc_query(chosen, dnnl_query_impl_info_str, 0, (void *)&code));
  PetscCall(PetscStrncpy(out->code, code, EK_NAME));
  out->layout =
      *dnnl_primitive_desc_query_md(chosen, pass == EK_CONV_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
  CallDnnl(s, dnnl_primitive_desc_destroy(chosen));
  CallDnnl(s, dnnl_primitive_desc_destroy(hint));
  PetscCheck(dnnl_memory_desc_get_size(&out->layout) <= PaddedWeights(s) * sizeof(float), PETSC_COMM_SELF, PETSC_ERR_PLIB,
             "oneDNN wants %zu bytes for the weights of a convolution of %d to %d channels, %zu were expected",
             dnnl_memory_desc_get_size(&out->layout), (int)s->in, (int)s->out, PaddedWeights(s) * sizeof(float));
  PetscFunctionReturn(0);
}

/* Weights: plain to the pass's layout, zero in lanes that are no channels; gradients: plain += the pass's. */
static PetscErrorCode MakeReorder(EkConvolution c, EkConvPass pass, const dnnl_memory_desc_t *plain,
                                  const dnnl_memory_desc_t *real, Pass *out)
{
  const EkConvShape    *s = &c->shape;
  dnnl_primitive_desc_t desc;
  dnnl_primitive_attr_t attributes;
  dnnl_post_ops_t       add;

  PetscFunctionBegin;
  CallDnnl(s, dnnl_post_ops_create(&add));
  CallDnnl(s, dnnl_primitive_attr_create(&attributes));
  if (pass == EK_CONV_WEIGHTS) {
    CallDnnl(s, dnnl_post_ops_append_sum(add, 1));
    CallDnnl(s, dnnl_primitive_attr_set_post_ops(attributes, add));
    CallDnnl(s, dnnl_reorder_primitive_desc_create(&desc, real, c->engine, plain, c->engine, attributes));
  } else
    CallDnnl(s, dnnl_reorder_primitive_desc_create(&desc, plain, c->engine, real, c->engine, attributes));
  CallDnnl(s, dnnl_primitive_create(&out->reorder, desc));
  CallDnnl(s, dnnl_primitive_desc_destroy(desc));
  CallDnnl(s, dnnl_primitive_attr_destroy(attributes));
  CallDnnl(s, dnnl_post_ops_destroy(add));
  PetscFunctionReturn(0);
}

static PetscErrorCode MakePass(EkConvolution c, EkConvPass pass, int batch, Pass *out)
{
  Layouts l;

  PetscFunctionBegin;
  PetscCall(DescribeTensors(&c->shape, batch, &l));
  PetscCall(MakePrimitive(c, pass, &l, out));
  l.tensor[WEIGHTS] = l.tensor[REAL] = out->layout;
  for (int d = 0; d < 2; d++) l.tensor[REAL].dims[d] = l.tensor[PLAIN].dims[d];
  PetscCall(MakeReorder(c, pass, &l.tensor[PLAIN], &l.tensor[REAL], out));
  for (int t = 0; t < TENSORS; t++)
    CallDnnl(&c->shape, dnnl_memory_create(&out->memory[t], &l.tensor[t], c->engine, DNNL_MEMORY_NONE));
  PetscFunctionReturn(0);
}

/* The pass for this batch size, from before or new. */
static PetscErrorCode FindPass(EkConvolution c, EkConvPass pass, int batch, Pass **out)
{
  int i = 0;

  PetscFunctionBegin;
  while (i < c->nsets && c->set[i].batch != batch) i++;
  if (i == c->nsets) {
    PetscCall(PetscRealloc((size_t)(c->nsets + 1) * sizeof(*c->set), &c->set));
    c->set[c->nsets++] = (Set){.batch = batch};
  }
  *out = &c->set[i].pass[pass];
  if (!(*out)->primitive) PetscCall(MakePass(c, pass, batch, *out));
  PetscFunctionReturn(0);
}

/* ---- running them ------------------------------------------------------------------------------------------- */

/* oneDNN takes no const: what a primitive reads it leaves as it is, but for zeros in lanes of weights that are no channels. */
static PetscErrorCode Bind(EkConvolution c, Pass *pass, Tensor t, const float *values)
{
  PetscFunctionBegin;
  CallDnnl(&c->shape, dnnl_memory_set_data_handle(pass->memory[t], (void *)values));
  PetscFunctionReturn(0);
}

static PetscErrorCode Execute(EkConvolution c, dnnl_primitive_t primitive, int n, const dnnl_exec_arg_t arguments[])
{
  PetscFunctionBegin;
  CallDnnl(&c->shape, dnnl_primitive_execute(primitive, c->stream, n, arguments));
  CallDnnl(&c->shape, dnnl_stream_wait(c->stream));
  PetscFunctionReturn(0);
}

static PetscErrorCode Convolve(EkConvolution c, EkConvPass which, Pass *pass, const float *x, const float *y,
                               const float *weights)
{
  dnnl_exec_arg_t arguments[3];

  PetscFunctionBegin;
  PetscCall(Bind(c, pass, FIELD_X, x));
  PetscCall(Bind(c, pass, FIELD_Y, y));
  PetscCall(Bind(c, pass, WEIGHTS, weights));
  for (int t = 0; t < 3; t++) arguments[t] = (dnnl_exec_arg_t){argument[which][t], pass->memory[t]};
  PetscCall(Execute(c, pass->primitive, 3, arguments));
  PetscFunctionReturn(0);
}

static PetscErrorCode Reorder(EkConvolution c, Pass *pass, Tensor from, const float *source, Tensor to, const float *target)
{
  const dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, pass->memory[from]}, {DNNL_ARG_TO, pass->memory[to]}};

  PetscFunctionBegin;
  PetscCall(Bind(c, pass, from, source));
  PetscCall(Bind(c, pass, to, target));
  PetscCall(Execute(c, pass->reorder, 2, arguments));
  PetscFunctionReturn(0);
}

/* Room for packed weights, by whom and for which run. */
static PetscErrorCode MakePacked(Method method, PetscInt64 run, size_t bytes, EkPacked *out)
{
  EkPacked p = *out;

  PetscFunctionBegin;
  if (!p) PetscCall(PetscNew(&p));
  *out = p;
  if (p->bytes < bytes) {
    PetscCall(PetscFree(p->memory));
    PetscCall(PetscMalloc1(bytes / sizeof(float) + 16, &p->memory));
    EkAdviseLargePages(p->memory, bytes);
    p->values = (float *)EK_ROUND_UP((uintptr_t)p->memory, 64);
    p->bytes = bytes;
  }
  p->method = method;
  p->run = run;
  PetscFunctionReturn(0);
}

static PetscErrorCode Pack(EkConvolution c, Pass *pass, const float *weights, PetscInt64 run, EkPacked *out)
{
  EkPacked p = *out;

  PetscFunctionBegin;
  if (p && p->run == run && p->method == ONEDNN && dnnl_memory_desc_equal(&p->layout, &pass->layout)) PetscFunctionReturn(0);
  PetscCall(MakePacked(ONEDNN, run, dnnl_memory_desc_get_size(&pass->layout), out));
  (*out)->layout = pass->layout;
  PetscCall(Reorder(c, pass, PLAIN, weights, REAL, (*out)->values));
  PetscFunctionReturn(0);
}

/* *values: NULL where this batch reads the weights as they are. */
static PetscErrorCode PackWinograd(EkConvolution c, EkConvPass which, int batch, const float *weights, PetscInt64 run,
                                   EkPacked *out, const float **values)
{
  const size_t   n = EkConvWinogradPacked(&c->shape, which, batch);
  const EkPacked p = *out;

  PetscFunctionBegin;
  *values = NULL;
  if (n == 0) PetscFunctionReturn(0);
  if (!(p && p->run == run && p->method == WINOGRAD && p->pass == which)) {
    PetscCall(MakePacked(WINOGRAD, run, n * sizeof(float), out));
    (*out)->pass = which;
    EkConvWinogradPack(&c->shape, which, weights, (*out)->values);
  }
  *values = (*out)->values;
  PetscFunctionReturn(0);
}

PetscErrorCode EkConvolutionApply(EkConvolution c, EkConvPass which, int batch, const float *weights, PetscInt64 run,
                                  EkPacked *packed, float *scratch, const float *from, float *to)
{
  const PetscBool forward = (PetscBool)(which == EK_CONV_FORWARD);
  const float    *values;
  Pass           *pass;

  PetscFunctionBegin;
  switch (c->method) {
  case PRODUCTS:
    if (forward)
      EkConvGemmForward(&c->shape, batch, weights, from, scratch, to);
    else
      EkConvGemmData(&c->shape, batch, weights, from, scratch, to);
    break;
  case WINOGRAD:
    PetscCall(PackWinograd(c, which, batch, weights, run, packed, &values));
    EkConvWinogradApply(&c->shape, which, batch, weights, values, from, scratch, to);
    break;
  case ONEDNN:
    PetscCall(FindPass(c, which, batch, &pass));
    PetscCall(Pack(c, pass, weights, run, packed));
    PetscCall(Convolve(c, which, pass, forward ? from : to, forward ? to : from, (*packed)->values));
    break;
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkConvolutionWeights(EkConvolution c, int batch, const float *x, const float *dy, float *scratch, float *dweights)
{
  Pass *pass;

  PetscFunctionBegin;
  switch (c->method) {
  case PRODUCTS:
    EkConvGemmWeights(&c->shape, batch, x, dy, scratch, dweights);
    break;
  case WINOGRAD:
    EkConvWinogradGradient(&c->shape, batch, x, dy, scratch, dweights);
    break;
  case ONEDNN:
    PetscCall(FindPass(c, EK_CONV_WEIGHTS, batch, &pass));
    PetscCall(Convolve(c, EK_CONV_WEIGHTS, pass, x, dy, scratch));
    PetscCall(Reorder(c, pass, REAL, scratch, PLAIN, dweights));
    break;
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkConvolutionCode(EkConvolution c, EkConvPass which, int batch, const char **code)
{
  Pass *pass = NULL;

  PetscFunctionBegin;
  *code = c->method == PRODUCTS ? "sgemm" : "winograd";
  if (c->method != ONEDNN) PetscFunctionReturn(0);
  PetscCall(FindPass(c, which, batch, &pass));
  *code = pass->code;
  PetscFunctionReturn(0);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static Method Choose(const EkConvShape *shape)
{
  if (EkConvIsWinograd(shape)) return WINOGRAD;
  return EkConvIsGemm(shape) ? PRODUCTS : ONEDNN;
}

/* Zeros on both sides, as many, make y as long as x over the stride. */
static PetscErrorCode CheckShape(const EkConvShape *s)
{
  PetscFunctionBegin;
  PetscCheck((s->dim == 1 || s->dim == 2) && s->in > 0 && s->out > 0 && s->kernel > 0 && s->stride > 0, PETSC_COMM_SELF,
             PETSC_ERR_ARG_OUTOFRANGE, "convolution: %d dimensions, %d to %d channels, kernel %d, stride %d", s->dim, (int)s->in,
             (int)s->out, (int)s->kernel, (int)s->stride);
  for (int d = 0; d < s->dim; d++) {
    const PetscInt padded = s->n[d] + 2 * ((s->kernel - 1) / 2);

    PetscCheck(s->n[d] >= s->stride && padded >= s->kernel && (padded - s->kernel) / s->stride + 1 == s->n[d] / s->stride,
               PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "convolution: kernel %d with stride %d does not make %d points of %d",
               (int)s->kernel, (int)s->stride, (int)(s->n[d] / s->stride), (int)s->n[d]);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkConvolutionCreate(const EkConvShape *shape, EkConvolution *out)
{
  EkConvolution c;

  PetscFunctionBegin;
  PetscCall(CheckShape(shape));
  PetscCall(PetscNew(&c));
  c->shape = *shape;
  c->method = Choose(shape);
  *out = c;
  if (c->method != ONEDNN) PetscFunctionReturn(0);
  CallDnnl(shape, dnnl_engine_create(&c->engine, dnnl_cpu, 0));
  CallDnnl(shape, dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags));
  PetscFunctionReturn(0);
}

static PetscErrorCode DestroyPass(const EkConvShape *shape, Pass *pass)
{
  PetscFunctionBegin;
  if (!pass->primitive) PetscFunctionReturn(0);
  CallDnnl(shape, dnnl_primitive_destroy(pass->primitive));
  CallDnnl(shape, dnnl_primitive_destroy(pass->reorder));
  for (int t = 0; t < TENSORS; t++) CallDnnl(shape, dnnl_memory_destroy(pass->memory[t]));
  PetscFunctionReturn(0);
}

PetscErrorCode EkConvolutionDestroy(EkConvolution *convolution)
{
  EkConvolution c = *convolution;

  PetscFunctionBegin;
  if (!c) PetscFunctionReturn(0);
  for (int i = 0; i < c->nsets; i++) {
    for (int p = 0; p < EK_CONV_PASSES; p++) PetscCall(DestroyPass(&c->shape, &c->set[i].pass[p]));
  }
  if (c->method == ONEDNN) {
    CallDnnl(&c->shape, dnnl_stream_destroy(c->stream));
    CallDnnl(&c->shape, dnnl_engine_destroy(c->engine));
  }
  PetscCall(PetscFree(c->set));
  PetscCall(PetscFree(*convolution));
  PetscFunctionReturn(0);
}

PetscErrorCode EkPackedDestroy(EkPacked *packed)
{
  PetscFunctionBegin;
  if (!*packed) PetscFunctionReturn(0);
  PetscCall(PetscFree((*packed)->memory));
  PetscCall(PetscFree(*packed));
  PetscFunctionReturn(0);
}

double EkConvolutionFlops(const EkConvShape *s)
{
  double points = 1;

  for (int d = 0; d < s->dim; d++) points *= (double)(s->n[d] / s->stride);
  return 2 * Taps(s) * points * (double)s->in * (double)s->out;
}

size_t EkConvolutionScratch(const EkConvShape *s, int batch, PetscBool gradients)
{
  switch (Choose(s)) {
  case PRODUCTS:
    return EkConvGemmScratch(s);
  case WINOGRAD:
    return EkConvWinogradScratch(s, batch, gradients);
  case ONEDNN:
    break;
  }
  return gradients ? PaddedWeights(s) : 0;
}
