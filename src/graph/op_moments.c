/* One value a channel: means and deviations, a field scaled and shifted by such values, means alone. What they work with is a
 * field on one point. */
#include "graph_impl.h"
#include <math.h>

/* Added to the deviation, so that it divides. */
#define LEAST 1e-6

/* to += value, or to = value */
static void Put(float *to, double value, int accumulate)
{
  *to = (float)(accumulate ? *to + value : value);
}

/* ---- moments: mean and deviation of each channel over frames and points ---- */

static void MomentsOf(EkGraph g, EkNode *node, int b, PetscInt c, PetscInt channels, double *mean, double *deviation)
{
  double sum = 0, squares = 0, count = 0;

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (PetscInt r = c; r < x.channels; r += channels, count += (double)x.points)
      sum += EkRowSum(x.points, x.value + b * x.step + (size_t)r * x.stride);
  }
  *mean = sum / count;
  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (PetscInt r = c; r < x.channels; r += channels)
      squares += EkRowSquares(x.points, x.value + b * x.step + (size_t)r * x.stride, *mean);
  }
  *deviation = sqrt(squares / (count - 1));
}

static void MomentsForward(EkGraph g, EkNode *node)
{
  const EkField  y = EkGraphField(g, node->output);
  const PetscInt channels = y.channels / 2;
  float         *saved = EkGraphSaved(g, node);

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < channels; c++) {
      float *mean = y.value + b * y.step + (size_t)c * y.stride, *deviation = mean + (size_t)channels * y.stride;
      double m, d;

      MomentsOf(g, node, b, c, channels, &m, &d);
      *mean = (float)m;
      *deviation = (float)(d + LEAST);
      if (saved) {
        saved[2 * ((size_t)b * channels + c)] = *mean;
        saved[2 * ((size_t)b * channels + c) + 1] = (float)d;
      }
    }
  }
}

static void MomentsBackward(EkGraph g, EkNode *node)
{
  const EkField  y = EkGraphField(g, node->output);
  const PetscInt channels = y.channels / 2;
  const float   *saved = EkGraphSaved(g, node);
  double         count = 0;

  for (int k = 0; k < node->ninputs; k++)
    count += (double)(g->tensor[node->input[k]].channels / channels) * (double)g->tensor[node->input[k]].grid.points;
  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch && g->tensor[node->input[k]].has_gradient; b++) {
      for (PetscInt r = 0; r < x.channels; r++) {
        const float *statistic = saved + 2 * ((size_t)b * channels + r % channels),
                    *g_mean = y.gradient + b * y.gradient_step + (size_t)(r % channels) * y.stride;
        const float  constant = (float)(*g_mean / count), mean = statistic[0];
        const float  slope = statistic[1] > 0 ? (float)(g_mean[(size_t)channels * y.stride] / ((count - 1) * statistic[1])) : 0;
        const float *value = x.value + b * x.step + (size_t)r * x.stride;
        float       *to = x.gradient + b * x.gradient_step + (size_t)r * x.stride;

        for (size_t i = 0; i < x.points; i++) to[i] = (node->accumulate[k] ? to[i] : 0) + constant + slope * (value[i] - mean);
      }
    }
  }
}

static double PerInput(EkGraph g, EkNode *node, PetscBool backward)
{
  double values = 0;

  for (int k = 0; k < node->ninputs; k++)
    values += (double)g->tensor[node->input[k]].channels * (double)g->tensor[node->input[k]].grid.points;
  return (backward ? 4 : 5) * values;
}

const EkOperator EkOpMoments = {
    .member = {"moments", "mean and deviation of each channel over frames and points"},
    .forward = MomentsForward,
    .backward = MomentsBackward,
    .flops = PerInput,
};

static const PetscInt one[2] = {1, 1};

PetscErrorCode EkMoments(EkGraph g, int n, const EkTensor field[], PetscInt channels, EkTensor *out)
{
  EkNode *node;

  PetscFunctionBegin;
  for (int i = 0; i < n; i++) {
    PetscCall(EkGraphCheckField(g, field[i], "moments"));
    PetscCheck(g->tensor[field[i]].channels % channels == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "moments: %d channels are not whole frames of %d", (int)g->tensor[field[i]].channels, (int)channels);
  }
  PetscCall(EkGraphAddNode(g, &EkOpMoments, n, field, &node));
  for (int i = 0; i < n; i++) node->kept[i] = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, 2 * channels, EkGridMake(g->tensor[field[0]].grid.dim, one), out));
  if (g->tensor[*out].wants_gradient) node->saved = 2 * (size_t)channels;
  PetscFunctionReturn(0);
}

/* ---- scale_shift ---- */

typedef struct {
  EkField x, scale, shift, y;
} ScaleShift;

static ScaleShift ScaleShiftOf(EkGraph g, EkNode *node)
{
  return (ScaleShift){EkGraphField(g, node->input[0]), EkGraphField(g, node->input[1]), EkGraphField(g, node->input[2]),
                      EkGraphField(g, node->output)};
}

static float At(const EkField *f, int b, PetscInt c)
{
  return f->value[b * f->step + (size_t)(c % f->channels) * f->stride];
}

/* Either direction is x slope + constant. */
static float Slope(const ScaleShift *s, PetscBool inverse, int b, PetscInt c)
{
  return inverse ? 1 / At(&s->scale, b, c) : At(&s->scale, b, c);
}

static void ScaleShiftForward(EkGraph g, EkNode *node)
{
  const ScaleShift s = ScaleShiftOf(g, node);

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < s.x.channels; c++) {
      const float slope = Slope(&s, node->inverse, b, c), before = node->inverse ? At(&s.shift, b, c) : 0,
                  after = node->inverse ? 0 : At(&s.shift, b, c);
      const float *x = s.x.value + b * s.x.step + (size_t)c * s.x.stride;
      float       *y = s.y.value + b * s.y.step + (size_t)c * s.y.stride;

      for (size_t i = 0; i < s.x.points; i++) y[i] = (x[i] - before) * slope + after;
    }
  }
}

static void FieldGradient(const ScaleShift *s, EkNode *node, int b)
{
  for (PetscInt c = 0; c < s->x.channels; c++) {
    const float  slope = Slope(s, node->inverse, b, c);
    const float *dy = s->y.gradient + b * s->y.gradient_step + (size_t)c * s->y.stride;
    float       *dx = s->x.gradient + b * s->x.gradient_step + (size_t)c * s->x.stride;

    for (size_t i = 0; i < s->x.points; i++) dx[i] = (node->accumulate[0] ? dx[i] : 0) + slope * dy[i];
  }
}

/* Of value c of scale and shift: sums over the points of all channels they serve. y = x a + b: (sum dy x, sum dy); y = (x - b)/a:
 * (-sum dy (x - b)/a^2, -sum dy/a). */
static void ValueGradients(const ScaleShift *s, PetscBool inverse, int b, PetscInt c, double *scale, double *shift)
{
  const float a = At(&s->scale, b, c), less = inverse ? At(&s->shift, b, c) : 0;

  *scale = *shift = 0;
  for (PetscInt r = c; r < s->x.channels; r += s->scale.channels) {
    const float *dy = s->y.gradient + b * s->y.gradient_step + (size_t)r * s->y.stride;

    *scale += EkRowProduct(s->x.points, s->x.value + b * s->x.step + (size_t)r * s->x.stride, less, dy);
    *shift += EkRowSum(s->x.points, dy);
  }
  if (!inverse) return;
  *scale /= -(double)a * a;
  *shift /= -(double)a;
}

static void ScaleShiftBackward(EkGraph g, EkNode *node)
{
  const ScaleShift s = ScaleShiftOf(g, node);

  for (int b = 0; b < g->batch; b++) {
    if (g->tensor[node->input[0]].has_gradient) FieldGradient(&s, node, b);
    for (PetscInt c = 0; c < s.scale.channels; c++) {
      double scale, shift;

      ValueGradients(&s, node->inverse, b, c, &scale, &shift);
      if (g->tensor[node->input[1]].has_gradient)
        Put(s.scale.gradient + b * s.scale.gradient_step + (size_t)c * s.scale.stride, scale, node->accumulate[1]);
      if (g->tensor[node->input[2]].has_gradient)
        Put(s.shift.gradient + b * s.shift.gradient_step + (size_t)c * s.shift.stride, shift, node->accumulate[2]);
    }
  }
}

const EkOperator EkOpScaleShift = {
    .member = {"scale_shift", "a scale and a shift a channel, or their inverse"},
    .forward = ScaleShiftForward,
    .backward = ScaleShiftBackward,
    .flops = PerInput,
};

PetscErrorCode EkScaleShift(EkGraph g, EkTensor x, EkTensor scale, EkTensor shift, PetscBool inverse, EkTensor *out)
{
  const EkTensor input[3] = {x, scale, shift};
  EkNode        *node;

  PetscFunctionBegin;
  for (int k = 0; k < 3; k++) PetscCall(EkGraphCheckField(g, input[k], "scale_shift"));
  PetscCheck(g->tensor[scale].channels == g->tensor[shift].channels && g->tensor[x].channels % g->tensor[scale].channels == 0 &&
                 g->tensor[scale].grid.points == 1 && g->tensor[shift].grid.points == 1,
             PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "scale_shift: scale and shift do not fit the field");
  PetscCall(EkGraphAddNode(g, &EkOpScaleShift, 3, input, &node));
  node->inverse = inverse;
  for (int k = 0; k < 3; k++) node->kept[k] = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, g->tensor[x].grid, out));
  PetscFunctionReturn(0);
}

/* ---- mean ---- */

static void MeanForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);

  for (int b = 0; b < g->batch; b++) {
    for (size_t c = 0; c < (size_t)x.channels; c++)
      y.value[b * y.step + c * y.stride] = (float)(EkRowSum(x.points, x.value + b * x.step + c * x.stride) / (double)x.points);
  }
}

static void MeanBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);

  for (int b = 0; b < g->batch; b++) {
    for (size_t c = 0; c < (size_t)x.channels; c++) {
      const float each = y.gradient[b * y.gradient_step + c * y.stride] / (float)x.points;
      float      *to = x.gradient + b * x.gradient_step + c * x.stride;

      for (size_t i = 0; i < x.points; i++) to[i] = (node->accumulate[0] ? to[i] : 0) + each;
    }
  }
}

const EkOperator EkOpMean = {
    .member = {"mean", "mean over the points of each channel"},
    .forward = MeanForward,
    .backward = MeanBackward,
    .flops = PerInput,
};

PetscErrorCode EkMean(EkGraph g, EkTensor x, EkTensor *out)
{
  EkNode *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "mean"));
  PetscCall(EkGraphAddNode(g, &EkOpMean, 1, &x, &node));
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, EkGridMake(g->tensor[x].grid.dim, one), out));
  PetscFunctionReturn(0);
}
