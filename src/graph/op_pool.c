/* Max pooling of blocked fields. */
#include "graph_impl.h"

static void PoolForward(EkGraph g, EkNode *node)
{
  const EkGrid *grid = &g->tensor[node->input[0]].grid;
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const size_t  large = x.points * EK_BLOCK, small = y.points * EK_BLOCK;

  for (int b = 0; b < g->batch; b++) {
    for (size_t k = 0; k < x.step / large; k++)
      EkBlockMaxPool(grid->dim, grid->n, x.value + b * x.step + k * large, y.value + b * y.step + k * small);
  }
}

static void PoolBackward(EkGraph g, EkNode *node)
{
  const EkGrid *grid = &g->tensor[node->input[0]].grid;
  const EkField x = EkGraphField(g, node->input[0]), y = EkGraphField(g, node->output);
  const size_t  large = x.points * EK_BLOCK, small = y.points * EK_BLOCK;

  for (int b = 0; b < g->batch; b++) {
    for (size_t k = 0; k < x.step / large; k++) {
      const size_t at = b * x.step + k * large, to = b * y.step + k * small;

      EkBlockMaxPoolBackward(grid->dim, grid->n, x.value + at, y.value + to, y.gradient + to, node->accumulate[0],
                             x.gradient + at);
    }
  }
}

static double PoolFlops(EkGraph g, EkNode *node, PetscBool backward)
{
  (void)backward;
  return (double)EkSampleFloats(&g->tensor[node->input[0]]);
}

const EkOperator EkOpMaxPool = {
    .member = {"max_pool", "largest of 2 (x 2) neighbours"},
    .forward = PoolForward,
    .backward = PoolBackward,
    .flops = PoolFlops,
};

PetscErrorCode EkMaxPool(EkGraph g, EkTensor x, EkTensor *out)
{
  PetscInt n[3];
  EkGrid   grid;
  EkNode  *node;

  PetscFunctionBegin;
  PetscCall(EkGraphCheckBlocked(g, x, "max_pool"));
  grid = g->tensor[x].grid;
  for (int d = 0; d < grid.dim; d++) {
    n[d] = grid.n[d] / 2;
    PetscCheck(2 * n[d] == grid.n[d], PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ,
               "max_pool: axis %d has %d points, an even number is wanted", d, (int)grid.n[d]);
  }
  PetscCall(EkGraphAddNode(g, &EkOpMaxPool, 1, &x, &node));
  node->kept[0] = PETSC_TRUE;
  node->keeps_output = PETSC_TRUE;
  PetscCall(EkGraphAddField(g, node, g->tensor[x].channels, EkGridMake(grid.dim, n), out));
  EkGraphMakeBlocked(g, *out);
  PetscFunctionReturn(0);
}
