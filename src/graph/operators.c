/* The table of operators: what the finite-difference test and the profile go through. */
#include "graph_impl.h"

static const EkMember *const operator_row[] = {
    &EkOpLinear.member,
    &EkOpLinearGeluLinear.member,
    &EkOpSpectralConv.member,
    &EkOpGelu.member,
    &EkOpAdd.member,
    &EkOpPad.member,
    &EkOpCrop.member,
    &EkOpConcat.member,
    &EkOpMse.member,
    &EkOpToBlocked.member,
    &EkOpToPlanar.member,
    &EkOpConv.member,
    &EkOpConvTranspose.member,
    &EkOpBatchNormTanh.member,
    &EkOpMaxPool.member,
    &EkOpConcatBlocked.member,
    &EkOpLinearTransposed.member,
    &EkOpPatch.member,
    &EkOpUnpatch.member,
    &EkOpGroupNorm.member,
    &EkOpAfno.member,
    &EkOpTimeAggregate.member,
    &EkOpMoments.member,
    &EkOpScaleShift.member,
    &EkOpMean.member,
    &EkOpRelativeLoss.member,
    &EkOpNoise.member,
};

int EkOperatorCount(void)
{
  return (int)(sizeof(operator_row) / sizeof(operator_row[0]));
}
const EkMember *EkOperatorMember(int i)
{
  return operator_row[i];
}

double EkGraphFlops(EkGraph g)
{
  double sum = 0;

  for (int i = 0; i < g->nnodes; i++) {
    sum += g->node[i]->op->flops(g, g->node[i], PETSC_FALSE);
    if (g->node[i]->active) sum += g->node[i]->op->flops(g, g->node[i], PETSC_TRUE);
  }
  return sum;
}

PetscErrorCode EkGraphProfile(EkGraph g, FILE *file)
{
  static const char *const direction[2] = {"forward", "backward"};

  PetscFunctionBegin;
  fprintf(file, "%-20s %-9s %10s %10s %9s\n", "operator", "", "samples", "seconds", "GFLOP/s");
  for (int k = 0; k < EkOperatorCount(); k++) {
    for (int d = 0; d < 2; d++) {
      double     seconds = 0, flops = 0;
      PetscInt64 calls = 0;

      for (int i = 0; i < g->nnodes; i++) {
        EkNode *node = g->node[i];

        if (&node->op->member != operator_row[k] || !node->calls[d]) continue;
        seconds += node->seconds[d];
        calls += node->calls[d];
        flops += node->calls[d] * node->op->flops(g, node, (PetscBool)d);
      }
      if (calls)
        fprintf(file, "%-20s %-9s %10lld %10.4f %9.1f\n", operator_row[k]->name, direction[d], (long long)calls, seconds,
                seconds > 0 ? 1e-9 * flops / seconds : 0);
    }
  }
  PetscFunctionReturn(0);
}
