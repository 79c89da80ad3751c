#include "optim_impl.h"
#include <math.h>

/* Constants of Hugging Face's Adafactor: eps[0], clip_threshold, decay_rate. */
#define EPSILON   1e-30
#define THRESHOLD 1.0
#define DECAY     (-0.8)

/* The memories: means of the squares over the last axis, over the last but one; the squares themselves of tensors with a single
 * axis. */
enum { ROW, COLUMN, SQUARE, MEMORIES };
static const char *const memory_name[MEMORIES] = {"adafactor_row", "adafactor_column", "adafactor_square"};

static PetscBool IsFactored(const EkTensorInfo *t)
{
  return (PetscBool)(t->rank >= 2);
}

static EkTensorInfo MemoryOf(const EkTensorInfo *t, int kind, size_t offset)
{
  EkTensorInfo memory = *t;

  memory.is_complex = memory.is_counter = PETSC_FALSE;
  memory.offset = offset;
  if (kind == SQUARE) return memory;
  memory.rank--;
  if (kind == COLUMN) memory.shape[t->rank - 2] = t->shape[t->rank - 1];
  memory.count /= (size_t)(kind == ROW ? t->shape[t->rank - 1] : t->shape[t->rank - 2]);
  return memory;
}

static PetscErrorCode CreateMemory(EkOptimizer o, int kind)
{
  EkParams          p = o->params;
  EkOptimizerArray *array = &o->array[kind];

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(p->n, &o->table[kind]));
  PetscCall(PetscMalloc1(p->n, &o->place[kind]));
  *array = (EkOptimizerArray){memory_name[kind], 0, o->table[kind], NULL, 0, 0};
  for (int i = 0; i < p->n; i++) {
    o->place[kind][i] = -1;
    if (IsFactored(&p->table[i]) != (kind != SQUARE)) continue;
    o->place[kind][i] = array->n;
    o->table[kind][array->n] = MemoryOf(&p->table[i], kind, array->hi);
    array->hi += o->table[kind][array->n++].count;
  }
  PetscCall(PetscCalloc1(array->hi + 1, &array->values));
  PetscFunctionReturn(0);
}

PetscErrorCode EkAdafactorCreate(EkOptimizer o)
{
  PetscFunctionBegin;
  for (int kind = 0; kind < MEMORIES; kind++) PetscCall(CreateMemory(o, kind));
  o->narrays = MEMORIES;
  PetscFunctionReturn(0);
}

static float *Memory(EkOptimizer o, int tensor, int kind)
{
  return o->array[kind].values + o->table[kind][o->place[kind][tensor]].offset;
}

static void Blend(float *memory, double beta, double value)
{
  *memory = (float)(beta * *memory + (1 - beta) * value);
}

/* Memories of one matrix of squares move on. sum: room for a row. */
static void Remember(size_t rows, size_t columns, const float *g, double beta, float *row, float *column, double *sum)
{
  for (size_t c = 0; c < columns; c++) sum[c] = 0;
  for (size_t r = 0; r < rows; r++) {
    double all = 0;

    for (size_t c = 0; c < columns; c++) {
      const double square = (double)g[r * columns + c] * g[r * columns + c] + EPSILON;

      all += square;
      sum[c] += square;
    }
    Blend(&row[r], beta, all / (double)columns);
  }
  for (size_t c = 0; c < columns; c++) Blend(&column[c], beta, sum[c] / (double)rows);
}

/* g over the root of row times column over the mean of the rows. */
static void Scale(size_t rows, size_t columns, float *g, const float *row, const float *column, double *scale)
{
  double mean = 0;

  for (size_t r = 0; r < rows; r++) mean += row[r] / (double)rows;
  for (size_t c = 0; c < columns; c++) scale[c] = 1 / sqrt(column[c]);
  for (size_t r = 0; r < rows; r++) {
    const double factor = sqrt(mean / row[r]);

    for (size_t c = 0; c < columns; c++) g[r * columns + c] = (float)(factor * scale[c] * g[r * columns + c]);
  }
}

/* The gradient becomes the direction of the update: of a tensor with two axes or more, matrix by matrix over the last two. */
static PetscErrorCode Factored(EkOptimizer o, const EkUpdate *u, double beta, float *g)
{
  const EkTensorInfo *t = &o->params->table[u->tensor];
  const size_t        rows = (size_t)t->shape[t->rank - 2], columns = (size_t)t->shape[t->rank - 1];
  float              *row = Memory(o, u->tensor, ROW), *column = Memory(o, u->tensor, COLUMN);
  double             *line;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(columns, &line));
  for (size_t at = 0; at < t->count; at += rows * columns, row += rows, column += columns) {
    Remember(rows, columns, g + at, beta, row, column, line);
    Scale(rows, columns, g + at, row, column, line);
  }
  PetscCall(PetscFree(line));
  PetscFunctionReturn(0);
}

static void Unfactored(EkOptimizer o, const EkUpdate *u, double beta, float *g)
{
  float *square = Memory(o, u->tensor, SQUARE);

  for (size_t i = 0; i < u->hi - u->lo; i++) {
    Blend(&square[i], beta, (double)g[i] * g[i] + EPSILON);
    g[i] = (float)(g[i] / sqrt(square[i]));
  }
}

PetscErrorCode EkAdafactorUpdate(EkOptimizer o, const EkUpdate *u)
{
  const size_t n = u->hi - u->lo;
  const double beta = 1 - pow((double)o->steps, DECAY), keep = 1 - u->rate * o->options.weight_decay;
  float       *g = o->params->gradients + u->lo, *w = o->params->weights + u->lo;
  double       sum = 0, rate;

  PetscFunctionBegin;
  if (IsFactored(&o->params->table[u->tensor]))
    PetscCall(Factored(o, u, beta, g));
  else
    Unfactored(o, u, beta, g);
  for (size_t i = 0; i < n; i++) sum += (double)g[i] * g[i];
  rate = u->rate / fmax(1, sqrt(sum / (double)n) / THRESHOLD);
  for (size_t i = 0; i < n; i++) w[i] = (float)(keep * w[i] - rate * g[i]);
  PetscFunctionReturn(0);
}
