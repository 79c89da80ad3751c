/* DPOT's temporal aggregation over embedded frames. With R_j = diag(e_j) P, Q = b + position, all that acts on a sample is one
   matrix A = [w_0^T R_0 | w_1^T R_1 | ...] (D x frames E) and one field S^T Q, S = sum_j diag(e_j) w_j: y = A h + S^T Q, h the
   frames' E channels one below the other. Weights stay during a run: A, S and S^T Q are made once for all steps of a rollout.
   Backward, with G = sum_b dy_b: dA = sum_b dy_b h_b^T        dh_b = A^T dy_b      dQ = S G        dS = Q G^T
   dR_j = w_j dA_j              dw_j = R_j dA_j^T + diag(e_j) dS              dP = sum_j diag(e_j) dR_j
   de_j[i] = P[i] . dR_j[i] + w_j[i] . dS[i]        de/dgamma = -t sin(t gamma) */
#include "graph_impl.h"
#include <math.h>
#include <string.h>

/* Rows of the frames' matrices that stay in cache while all is done to them. */
#define ROWS 64

enum { P_AT = 1, B_AT, POSITION_AT, W_AT, GAMMA_AT };

/* Of all nodes of a graph with the same weights: their sizes and products, by rows. */
typedef struct {
  int           D, E, frames;
  size_t        points, all; /* of a frame; frames * E */
  int           nodes;       /* that share it */
  const EkNode *first;       /* of them: the last one in backward */
  PetscInt64    run;         /* that the products are of */
  float        *A, *offset;  /* offset: S^T Q */
  float        *S;           /* where backward needs it, NULL otherwise */
} Plan;

typedef struct {
  Plan        *p;
  EkField      x, y;
  const float *P, *b, *position, *w, *gamma;
} Time;

static Time TimeOf(EkGraph g, EkNode *node)
{
  return (Time){(Plan *)node->plan,
                EkGraphField(g, node->input[0]),
                EkGraphField(g, node->output),
                EkGraphWeight(g, node, P_AT),
                EkGraphWeight(g, node, B_AT),
                EkGraphWeight(g, node, POSITION_AT),
                EkGraphWeight(g, node, W_AT),
                node->ninputs > GAMMA_AT ? EkGraphWeight(g, node, GAMMA_AT) : NULL};
}

static double FrameTime(const Plan *p, int j)
{
  return p->frames > 1 ? (double)j / (p->frames - 1) : 0;
}
static float Factor(const Time *t, int j, int i)
{
  return t->gamma ? (float)cos(FrameTime(t->p, j) * t->gamma[i]) : 1;
}

/* R_j, D x E */
static void ScaledEmbedding(const Time *t, int j, float *R)
{
  for (int i = 0; i < t->p->D; i++) {
    const float factor = Factor(t, j, i);

    for (int e = 0; e < t->p->E; e++) R[(size_t)i * t->p->E + e] = factor * t->P[(size_t)i * t->p->E + e];
  }
}

/* Q, D x points */
static void Offsets(const Time *t, float *Q)
{
  for (int i = 0; i < t->p->D; i++) {
    for (size_t n = 0; n < t->p->points; n++)
      Q[(size_t)i * t->p->points + n] = t->b[i] + t->position[(size_t)i * t->p->points + n];
  }
}

/* Places in the scratch one after the other, where `start` is given; floats of all. */
static size_t Divide(int n, const size_t size[], float **const place[], float *start)
{
  size_t at = 0;

  for (int i = 0; i < n; i++) {
    if (start) *place[i] = start + at;
    at += EK_ROUND_UP(size[i], 16);
  }
  return at;
}

/* What products of weights are made of. */
typedef struct {
  float *Q, *R, *S;
} Making;

static size_t DivideMaking(const Plan *p, float *start, Making *m)
{
  const size_t  D = (size_t)p->D, size[] = {D * p->points, D * (size_t)p->E, p->S ? 0 : D * D};
  float **const place[] = {&m->Q, &m->R, &m->S};
  const size_t  floats = Divide(3, size, place, start);

  if (p->S) m->S = p->S;
  return floats;
}

static void AddScaledWeights(const Time *t, int j, float *S)
{
  const size_t D = (size_t)t->p->D;

  for (int i = 0; i < t->p->D; i++) {
    const float factor = Factor(t, j, i), *row = t->w + ((size_t)j * D + (size_t)i) * D;
    float      *sum = S + (size_t)i * D;

    for (size_t o = 0; o < D; o++) sum[o] += factor * row[o];
  }
}

static void ProductsOfWeights(const Time *t, float *scratch)
{
  const Plan  *p = t->p;
  const size_t D = (size_t)p->D, E = (size_t)p->E;
  Making       m;

  DivideMaking(p, scratch, &m);
  memset(m.S, 0, D * D * sizeof(float));
  for (int j = 0; j < p->frames; j++) {
    ScaledEmbedding(t, j, m.R);
    EkGemm(1, 0, p->D, p->E, p->D, 1, t->w + (size_t)j * D * D, D, m.R, E, 0, p->A + (size_t)j * E, p->all);
    AddScaledWeights(t, j, m.S);
  }
  Offsets(t, m.Q);
  EkGemm(1, 0, p->D, (int)p->points, p->D, 1, m.S, D, m.Q, p->points, 0, p->offset, p->points);
}

/* Frames of a sample side by side (E, frames points) to one below the other (frames E, points). */
static void Stack(const Time *t, const float *x, float *h)
{
  for (int j = 0; j < t->p->frames; j++) {
    for (int e = 0; e < t->p->E; e++, h += t->p->points)
      memcpy(h, x + (size_t)e * t->x.stride + (size_t)j * t->p->points, t->p->points * sizeof(float));
  }
}

static void Unstack(const Time *t, const float *h, PetscBool add, float *x)
{
  for (int j = 0; j < t->p->frames; j++) {
    for (int e = 0; e < t->p->E; e++, h += t->p->points) {
      float *to = x + (size_t)e * t->x.stride + (size_t)j * t->p->points;

      for (size_t n = 0; n < t->p->points; n++) to[n] = add ? to[n] + h[n] : h[n];
    }
  }
}

static void TimeForward(EkGraph g, EkNode *node)
{
  const Time   t = TimeOf(g, node);
  const size_t D = (size_t)t.p->D, points = t.p->points;
  float       *h = EkGraphScratch(g, node);

  if (t.p->run != g->run) ProductsOfWeights(&t, h);
  t.p->run = g->run;
  for (int b = 0; b < g->batch; b++) {
    float *y = t.y.value + b * t.y.step;

    Stack(&t, t.x.value + b * t.x.step, h);
    for (size_t o = 0; o < D; o++) memcpy(y + o * t.y.stride, t.p->offset + o * points, points * sizeof(float));
    EkGemm(0, 0, t.p->D, (int)points, (int)t.p->all, 1, t.p->A, t.p->all, h, points, 1, y, t.y.stride);
  }
}

/* ---- backward ---- */

typedef struct {
  float *Q, *G, *dQ, *dA, *R, *dR, *dS, *h, *dh;
} Work;

/* The last node of backward is the last one that needs S: its dS takes the place, so that a single step costs no more. */
static size_t DivideWork(const Plan *p, PetscBool last, float *start, Work *k)
{
  const size_t  D = (size_t)p->D, field = D * p->points, embedding = D * (size_t)p->E, stack = p->all * p->points;
  const size_t  size[] = {field, field, field, D * p->all, embedding, embedding, last ? 0 : D * D, stack, stack};
  float **const place[] = {&k->Q, &k->G, &k->dQ, &k->dA, &k->R, &k->dR, &k->dS, &k->h, &k->dh};
  const size_t  floats = Divide((int)(sizeof(size) / sizeof(size[0])), size, place, start);

  if (last) k->dS = p->S;
  return floats;
}

/* Floats of a node's scratch. */
static size_t Scratch(const Plan *p, PetscBool last, PetscBool gradients)
{
  Making       making;
  Work         work;
  const size_t forward = PetscMax(DivideMaking(p, NULL, &making), p->all * p->points);

  return gradients ? PetscMax(forward, DivideWork(p, last, NULL, &work)) : forward;
}

static void Samples(EkGraph g, EkNode *node, const Time *t, const Work *k)
{
  const size_t D = (size_t)t->p->D, points = t->p->points, all = t->p->all;
  const int    n = (int)points;

  memset(k->G, 0, D * points * sizeof(float));
  for (int b = 0; b < g->batch; b++) {
    const float *dy = t->y.gradient + b * t->y.gradient_step;

    Stack(t, t->x.value + b * t->x.step, k->h);
    EkGemm(0, 1, t->p->D, (int)all, n, 1, dy, t->y.stride, k->h, points, b > 0, k->dA, all);
    for (size_t o = 0; o < D; o++) {
      for (size_t i = 0; i < points; i++) k->G[o * points + i] += dy[o * t->y.stride + i];
    }
    if (!g->tensor[node->input[0]].has_gradient) continue;
    EkGemm(1, 0, (int)all, n, t->p->D, 1, t->p->A, all, dy, t->y.stride, 0, k->dh, points);
    Unstack(t, k->dh, node->accumulate[0], t->x.gradient + b * t->x.gradient_step);
  }
}

static void OffsetGradients(EkGraph g, EkNode *node, const Time *t, const Work *k)
{
  const size_t D = (size_t)t->p->D, points = t->p->points;
  const int    n = (int)points;
  float       *db = EkGraphWeightGradient(g, node, B_AT), *dposition = EkGraphWeightGradient(g, node, POSITION_AT);

  Offsets(t, k->Q);
  EkGemm(0, 0, t->p->D, n, t->p->D, 1, t->p->S, D, k->G, points, 0, k->dQ, points);
  EkGemm(0, 1, t->p->D, t->p->D, n, 1, k->Q, points, k->G, points, 0, k->dS, D);
  for (size_t i = 0; i < D; i++) {
    const float *row = k->dQ + i * points;

    EkTileSum(1, points, &row, db + i);
    for (size_t p = 0; p < points; p++) dposition[i * points + p] += row[p];
  }
}

/* Row i of frame j: dw += e dS, dP += e dR, and what e itself gets. */
static void RowGradients(const Time *t, const Work *k, int j, int i, float *dw, float *dP, float *dgamma)
{
  const size_t D = (size_t)t->p->D, E = (size_t)t->p->E, r = (size_t)i;
  const float  factor = Factor(t, j, i), *dS = k->dS + r * D, *dR = k->dR + r * E;

  for (size_t o = 0; o < D; o++) dw[r * D + o] += factor * dS[o];
  for (size_t e = 0; e < E; e++) dP[r * E + e] += factor * dR[e];
  if (dgamma) {
    const double time = FrameTime(t->p, j),
                 de = EkRowProduct(E, t->P + r * E, 0, dR) + EkRowProduct(D, t->w + (size_t)j * D * D + r * D, 0, dS);

    dgamma[i] -= (float)(de * time * sin(time * t->gamma[i]));
  }
}

static void FrameGradients(EkGraph g, EkNode *node, const Time *t, const Work *k, int j)
{
  const size_t D = (size_t)t->p->D, E = (size_t)t->p->E, all = t->p->all;
  const float *w = t->w + (size_t)j * D * D, *dA = k->dA + (size_t)j * E;
  float       *dw = EkGraphWeightGradient(g, node, W_AT) + (size_t)j * D * D, *dP = EkGraphWeightGradient(g, node, P_AT);
  float       *dgamma = t->gamma ? EkGraphWeightGradient(g, node, GAMMA_AT) : NULL;

  ScaledEmbedding(t, j, k->R);
  for (int i = 0; i < t->p->D; i += ROWS) {
    const int    rows = t->p->D - i < ROWS ? t->p->D - i : ROWS;
    const size_t at = (size_t)i;

    EkGemm(0, 0, rows, t->p->E, t->p->D, 1, w + at * D, D, dA, all, 0, k->dR + at * E, E);
    EkGemm(0, 1, rows, t->p->D, t->p->E, 1, k->R + at * E, E, dA, all, 1, dw + at * D, D);
    for (int r = i; r < i + rows; r++) RowGradients(t, k, j, r, dw, dP, dgamma);
  }
}

static void TimeBackward(EkGraph g, EkNode *node)
{
  const Time t = TimeOf(g, node);
  Work       k;

  DivideWork(t.p, (PetscBool)(node == t.p->first), EkGraphScratch(g, node), &k);
  Samples(g, node, &t, &k);
  OffsetGradients(g, node, &t, &k);
  for (int j = 0; j < t.p->frames; j++) FrameGradients(g, node, &t, &k, j);
}

/* The products of weights are shared among the samples of a whole batch, forward also among the nodes. */
static double TimeFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  const Plan  *p = (const Plan *)node->plan;
  const double D = p->D, all = (double)p->all, points = (double)p->points;
  const double shared = 2 * D * D * (all + points), each = 2 * D * all * points;

  return backward ? 2 * shared / g->capacity + (g->tensor[node->input[0]].has_gradient ? 2 : 1) * each
                  : shared / p->nodes / g->capacity + each;
}

static void TimeDestroy(EkNode *node)
{
  Plan *p = (Plan *)node->plan;

  node->plan = NULL;
  if (!p || --p->nodes) return;
  (void)PetscFree2(p->A, p->offset);
  (void)PetscFree(p->S);
  (void)PetscFree(p);
}

const EkOperator EkOpTimeAggregate = {
    .member = {"time_aggregate", "embedded frames to one field, a matrix a frame"},
    .forward = TimeForward,
    .backward = TimeBackward,
    .flops = TimeFlops,
    .destroy = TimeDestroy,
};

static PetscErrorCode CheckShapes(EkGraph g, const EkTensor input[], PetscBool gamma, EkGrid *grid, PetscInt *frames)
{
  const EkTensorState *x = &g->tensor[input[0]];
  const PetscInt       E = x->channels;
  const PetscInt      *shape = g->params->table[g->tensor[input[W_AT]].param].shape, D = shape[1];
  PetscInt             n[2] = {x->grid.n[0] / shape[0], x->grid.n[1]};

  PetscFunctionBegin;
  *frames = shape[0];
  PetscCheck(x->grid.dim == 2 && x->grid.n[0] % *frames == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "time_aggregate: %d rows of points are not %d frames", (int)x->grid.n[0], (int)*frames);
  *grid = EkGridMake(2, n);
  PetscCall(EkGraphCheckShape(g, input[P_AT], 2, (const PetscInt[2]){D, E}, "time_aggregate"));
  PetscCall(EkGraphCheckShape(g, input[B_AT], 1, &D, "time_aggregate"));
  PetscCall(EkGraphCheckShape(g, input[POSITION_AT], 4, (const PetscInt[4]){1, D, n[0], n[1]}, "time_aggregate"));
  PetscCall(EkGraphCheckShape(g, input[W_AT], 3, (const PetscInt[3]){*frames, D, D}, "time_aggregate"));
  if (gamma) PetscCall(EkGraphCheckShape(g, input[GAMMA_AT], 2, (const PetscInt[2]){1, D}, "time_aggregate"));
  PetscFunctionReturn(0);
}

/* That of an earlier node with the same weights, or NULL. Sizes follow from the weights. */
static Plan *FindPlan(EkGraph g, int ninputs, const EkTensor input[])
{
  for (int i = 0; i < g->nnodes; i++) {
    const EkNode *node = g->node[i];

    if (node->op == &EkOpTimeAggregate && node->ninputs == ninputs &&
        !memcmp(node->input + P_AT, input + P_AT, (size_t)(ninputs - P_AT) * sizeof(*input)))
      return (Plan *)node->plan;
  }
  return NULL;
}

static PetscErrorCode MakePlan(EkGraph g, const EkTensor input[], PetscInt frames, size_t points, Plan **out)
{
  const PetscInt *shape = g->params->table[g->tensor[input[P_AT]].param].shape;
  Plan           *p;
  size_t          products, square;

  PetscFunctionBegin;
  PetscCall(PetscNew(&p));
  *p = (Plan){.D = (int)shape[0], .E = (int)shape[1], .frames = (int)frames, .points = points};
  p->all = (size_t)p->frames * (size_t)p->E;
  products = (size_t)p->D * (p->all + points);
  square = g->gradients ? (size_t)p->D * (size_t)p->D : 0;
  PetscCall(PetscMalloc2((size_t)p->D * p->all, &p->A, (size_t)p->D * points, &p->offset));
  if (square) PetscCall(PetscMalloc1(square, &p->S));
  EkGraphHold(g, (products + square) * sizeof(float));
  *out = p;
  PetscFunctionReturn(0);
}

PetscErrorCode EkTimeAggregate(EkGraph g, EkTensor x, const char *P, const char *b, const char *position, const char *w,
                               const char *gamma, EkTensor *out)
{
  const char *const name[] = {[P_AT] = P, [B_AT] = b, [POSITION_AT] = position, [W_AT] = w, [GAMMA_AT] = gamma};
  const int         ninputs = gamma ? GAMMA_AT + 1 : GAMMA_AT;
  EkTensor          input[GAMMA_AT + 1] = {x};
  PetscInt          frames;
  EkGrid            grid;
  EkNode           *node;
  Plan             *p;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "time_aggregate"));
  for (int i = P_AT; i < ninputs; i++) PetscCall(EkGraphParam(g, name[i], &input[i]));
  PetscCall(CheckShapes(g, input, (PetscBool)(gamma != NULL), &grid, &frames));
  p = FindPlan(g, ninputs, input);
  if (!p) PetscCall(MakePlan(g, input, frames, grid.points, &p));
  PetscCall(EkGraphAddNode(g, &EkOpTimeAggregate, ninputs, input, &node));
  node->plan = p;
  if (!p->nodes++) p->first = node;
  node->kept[0] = PETSC_TRUE;
  node->tile = Scratch(p, (PetscBool)(node == p->first), g->gradients);
  PetscCall(EkGraphAddField(g, node, p->D, grid, out));
  PetscFunctionReturn(0);
}
