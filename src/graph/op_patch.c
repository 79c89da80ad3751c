/* Pixels of patches to channels, so that a convolution whose stride is its kernel is a product; and the way back. Rows of pixels
 * are read and written whole. */
#include "graph_impl.h"

/* A plane of pixels (p X, p Y) and the same points apart: pixel (kx, ky) of all X x Y patches at apart + (kx p + ky) tap. */
typedef struct {
  PetscInt p, X, Y;
  size_t   tap;
} Patches;

/* Of row i of pixels, patch by patch, p at a time: where its first ones go, p rows `tap` apart of as many values as there are
 * patches. */
static size_t RowAt(const Patches *q, PetscInt i)
{
  return (size_t)(i % q->p * q->p) * q->tap + (size_t)(i / q->p * q->Y);
}

static void Apart(const Patches *q, const float *pixels, int accumulate, float *apart)
{
  const size_t p = (size_t)q->p, Y = (size_t)q->Y;

  for (PetscInt i = 0; i < q->p * q->X; i++)
    EkTranspose(Y, p, pixels + (size_t)i * p * Y, p, accumulate, apart + RowAt(q, i), q->tap);
}

static void Together(const Patches *q, const float *apart, int accumulate, float *pixels)
{
  const size_t p = (size_t)q->p, Y = (size_t)q->Y;

  for (PetscInt i = 0; i < q->p * q->X; i++)
    EkTranspose(p, Y, apart + RowAt(q, i), q->tap, accumulate, pixels + (size_t)i * p * Y, p);
}

static Patches PatchesOf(EkGraph g, EkNode *node)
{
  const EkTensorState *x = &g->tensor[node->input[0]];

  return (Patches){node->group, x->grid.n[0] / node->group, x->grid.n[1] / node->group, g->tensor[node->output].grid.stride};
}

/* Where a field's channels begin in the result (or its gradient): its list's rows, the channels before it. */
static size_t Place(EkGraph g, EkNode *node, const Patches *q, int k)
{
  size_t channels = 0;

  for (int i = k - k % node->nfields; i < k; i++) channels += (size_t)g->tensor[node->input[i]].channels;
  return channels * (size_t)(q->p * q->p) * q->tap + (size_t)(k / node->nfields) * (size_t)(q->X * q->Y);
}

static void PatchForward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  const Patches q = PatchesOf(g, node);

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch; b++) {
      float *to = y.value + b * y.step + Place(g, node, &q, k);

      for (PetscInt c = 0; c < x.channels; c++)
        Apart(&q, x.value + b * x.step + (size_t)c * x.stride, 0, to + (size_t)(c * q.p * q.p) * q.tap);
    }
  }
}

static void PatchBackward(EkGraph g, EkNode *node)
{
  const EkField y = EkGraphField(g, node->output);
  const Patches q = PatchesOf(g, node);

  for (int k = 0; k < node->ninputs; k++) {
    const EkField x = EkGraphField(g, node->input[k]);

    for (int b = 0; b < g->batch && g->tensor[node->input[k]].has_gradient; b++) {
      const float *from = y.gradient + b * y.gradient_step + Place(g, node, &q, k);

      for (PetscInt c = 0; c < x.channels; c++) {
        Together(&q, from + (size_t)(c * q.p * q.p) * q.tap, node->accumulate[k],
                 x.gradient + b * x.gradient_step + (size_t)c * x.stride);
      }
    }
  }
}

static double NoFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  (void)g, (void)node, (void)backward;
  return 0;
}

const EkOperator EkOpPatch = {
    .member = {"patch", "pixels of patches become channels"},
    .forward = PatchForward,
    .backward = PatchBackward,
    .flops = NoFlops,
};

PetscErrorCode EkPatch(EkGraph g, int groups, int per, const EkTensor field[], PetscInt p, EkTensor *out)
{
  PetscInt channels = 0, n[2];
  EkGrid   grid;
  EkNode  *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, field[0], "patch"));
  grid = g->tensor[field[0]].grid;
  PetscCheck(grid.dim == 2 && grid.n[0] % p == 0 && grid.n[1] % p == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "patch: a grid of %d x %d points has no whole patches of %d", (int)grid.n[0], (int)grid.n[1], (int)p);
  for (int i = 0; i < groups * per; i++) {
    const EkTensorState *x = &g->tensor[field[i]];

    PetscCall(EkGraphCheckField(g, field[i], "patch"));
    PetscCheck(x->grid.n[0] == grid.n[0] && x->grid.n[1] == grid.n[1], PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "patch: fields on different grids");
    PetscCheck(x->channels == g->tensor[field[i % per]].channels, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "patch: lists of different channels");
    if (i < per) channels += x->channels;
  }
  n[0] = groups * grid.n[0] / p;
  n[1] = grid.n[1] / p;
  PetscCall(EkGraphAddNode(g, &EkOpPatch, groups * per, field, &node));
  node->nfields = per;
  node->group = p;
  PetscCall(EkGraphAddField(g, node, channels * p * p, EkGridMake(2, n), out));
  PetscFunctionReturn(0);
}

static Patches PlaneOf(EkGraph g, EkNode *node)
{
  const EkGrid  *grid = &g->tensor[node->output].grid;
  const PetscInt X = grid->n[0] / node->group, Y = grid->n[1] / node->group;

  return (Patches){node->group, X, Y, (size_t)(X * Y)};
}

static void UnpatchForward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const Patches q = PlaneOf(g, node);

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < x.channels; c++)
      Together(&q, x.value + b * x.step + (size_t)c * x.stride, 0, y.value + b * y.step + (size_t)c * y.stride);
  }
}

static void UnpatchBackward(EkGraph g, EkNode *node)
{
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const Patches q = PlaneOf(g, node);

  for (int b = 0; b < g->batch; b++) {
    for (PetscInt c = 0; c < x.channels; c++) {
      Apart(&q, y.gradient + b * y.gradient_step + (size_t)c * y.stride, node->accumulate[0],
            x.gradient + b * x.gradient_step + (size_t)c * x.stride);
    }
  }
}

const EkOperator EkOpUnpatch = {
    .member = {"unpatch", "the points of a transposed convolution put in their places"},
    .forward = UnpatchForward,
    .backward = UnpatchBackward,
    .flops = NoFlops,
};

PetscErrorCode EkUnpatch(EkGraph g, EkTensor x, PetscInt p, EkTensor *out)
{
  PetscInt n[2];
  EkGrid   grid;
  EkNode  *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckField(g, x, "unpatch"));
  grid = g->tensor[x].grid;
  PetscCheck(grid.dim == 2 && grid.n[0] % (p * p) == 0, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
             "unpatch: %d rows of points are not those of patches of %d", (int)grid.n[0], (int)p);
  n[0] = grid.n[0] / p;
  n[1] = grid.n[1] * p;
  PetscCall(EkGraphAddNode(g, &EkOpUnpatch, 1, &x, &node));
  node->group = p;
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, EkGridMake(2, n), out));
  PetscFunctionReturn(0);
}
