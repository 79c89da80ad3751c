/* From parameter tensors to the matrices balancing analyses (balancing.md 1.1, 1.2). */
#include "evenkeel/train.h"
#include <string.h>

/* Module of a parameter: the name up to its last dot. */
static size_t ModuleLength(const char *name)
{
  const char *dot = strrchr(name, '.');

  return dot ? (size_t)(dot - name) : strlen(name);
}

/* Out x in, as stored. */
static EkMatrixBatch LinearMatrix(const EkTensorInfo *t, const float *data)
{
  return (EkMatrixBatch){data, 1, t->shape[0], t->shape[1], 0, (size_t)t->shape[1], 1, PETSC_FALSE, 0};
}

/* One out x in matrix per kernel tap. */
static EkMatrixBatch Conv2dMatrix(const EkTensorInfo *t, const float *data)
{
  const PetscInt taps = t->shape[2] * t->shape[3];

  return (EkMatrixBatch){data, taps, t->shape[0], t->shape[1], 1, (size_t)(t->shape[1] * taps), (size_t)taps, PETSC_FALSE, 0};
}

/* The published code hands the (out, in, k) weight to a batched SVD: `out` matrices of in x k. For k = 1 these are the rows'
 * norms. */
static EkMatrixBatch Conv1dMatrix(const EkTensorInfo *t, const float *data)
{
  return (EkMatrixBatch){
      data, t->shape[0], t->shape[1], t->shape[2], (size_t)(t->shape[1] * t->shape[2]), (size_t)t->shape[2], 1, PETSC_FALSE, 0};
}

/* One complex in x out matrix per mode. */
static EkMatrixBatch SpectralMatrix(const EkTensorInfo *t, const float *data)
{
  const PetscInt in = t->shape[0], out = t->shape[1], modes = (PetscInt)(t->count / (size_t)(2 * in * out));

  return (EkMatrixBatch){data, modes, in, out, 2, 2 * (size_t)(modes * out), 2 * (size_t)modes, PETSC_TRUE, 0};
}

/* One in x out matrix per kernel tap of a transposed convolution, (in, out, k[, k]). */
static EkMatrixBatch TransposedMatrix(const EkTensorInfo *t, const float *data)
{
  const PetscInt taps = (PetscInt)(t->count / (size_t)(t->shape[0] * t->shape[1]));

  return (EkMatrixBatch){data, taps, t->shape[0], t->shape[1], 1, (size_t)(t->shape[1] * taps), (size_t)taps, PETSC_FALSE, 0};
}

/* One in x out matrix per frame, (t, in, out). */
static EkMatrixBatch TimeMatrix(const EkTensorInfo *t, const float *data)
{
  return (EkMatrixBatch){
      data, t->shape[0], t->shape[1], t->shape[2], (size_t)(t->shape[1] * t->shape[2]), (size_t)t->shape[2], 1, PETSC_FALSE, 0};
}

/* One complex in x out matrix per block, (2, blocks, in, out): all real parts come first. */
static EkMatrixBatch AfnoMatrix(const EkTensorInfo *t, const float *data)
{
  return (EkMatrixBatch){data, t->shape[1], t->shape[2], t->shape[3], (size_t)(t->shape[2] * t->shape[3]), (size_t)t->shape[3],
                         1,    PETSC_TRUE,  t->count / 2};
}

typedef struct {
  EkModuleKind kind;
  PetscBool    published;
  double       scale;
  EkMatrixBatch (*matrix)(const EkTensorInfo *, const float *);
} Reading;
static const Reading reading[] = {
    {EK_MODULE_LINEAR, PETSC_TRUE, 1, LinearMatrix},
    {EK_MODULE_CONV1D, PETSC_TRUE, 1, Conv1dMatrix},
    {EK_MODULE_CONV2D, PETSC_TRUE, 0.5, Conv2dMatrix},
    {EK_MODULE_SPECTRAL, PETSC_FALSE, 1, SpectralMatrix},
    {EK_MODULE_TRANSPOSED, PETSC_FALSE, 0.5, TransposedMatrix},
    {EK_MODULE_TIME_AGG, PETSC_FALSE, 1, TimeMatrix},
    {EK_MODULE_AFNO, PETSC_FALSE, 1, AfnoMatrix},
};

static const Reading *FindReading(EkModuleKind kind, EkLayerSet set)
{
  for (size_t i = 0; i < sizeof(reading) / sizeof(reading[0]); i++) {
    if (reading[i].kind == kind) return reading[i].published || set == EK_LAYERS_ALL ? &reading[i] : NULL;
  }
  return NULL;
}

static int FindLayer(int n, const EkLayer layers[], const char *name, size_t length)
{
  for (int l = 0; l < n; l++) {
    if (strlen(layers[l].name) == length && !strncmp(layers[l].name, name, length)) return l;
  }
  return -1;
}

PetscErrorCode EkLayersCreate(EkParams params, EkLayerSet set, int *nlayers, EkLayer **out, int **tensor_layer)
{
  EkLayer *layers;
  int      n = 0;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1(params->n, &layers));
  PetscCall(PetscMalloc1(params->n, tensor_layer));
  for (int t = 0; t < params->n; t++) {
    const EkTensorInfo *info = &params->table[t];
    const Reading      *read = FindReading(params->info[t].kind, set);
    const size_t        length = ModuleLength(info->name);
    int                 l;

    if (!read) continue;
    l = FindLayer(n, layers, info->name, length);
    if (l < 0) {
      l = n++;
      memcpy(layers[l].name, info->name, length);
      layers[l].scale = read->scale;
      layers[l].relative_filter = (PetscBool)!read->published;
    }
    PetscCheck(layers[l].nbatches < EK_MAX_BATCHES, PETSC_COMM_SELF, PETSC_ERR_PLIB, "layer '%s' has more than %d weights",
               layers[l].name, EK_MAX_BATCHES);
    layers[l].batch[layers[l].nbatches++] = read->matrix(info, params->weights + info->offset);
  }
  /* a module's own bias follows its weight's rate */
  for (int t = 0; t < params->n; t++)
    (*tensor_layer)[t] = FindLayer(n, layers, params->table[t].name, ModuleLength(params->table[t].name));
  *nlayers = n;
  *out = layers;
  PetscFunctionReturn(0);
}
