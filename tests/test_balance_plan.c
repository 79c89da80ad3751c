/* ranks: 1 */
/* Who computes what, for machines larger than the one the tests run on. */
#include "support.h"
#include "../src/balance/balance_impl.h"

static const float nothing[2];

static EkBalanceOptions options_of(PetscInt scalapack_min, EkSolver solver)
{
  return (EkBalanceOptions){.scalapack_min = scalapack_min, .solver = (int)solver, .xmin_pos = 2};
}

static EkLayer layer_of(PetscInt count, PetscInt rows, PetscInt cols, PetscBool is_complex)
{
  EkLayer layer = {.nbatches = 1, .scale = 1};

  layer.batch[0] = (EkMatrixBatch){nothing, count, rows, cols, 1, 1, 1, is_complex, 0};
  return layer;
}

/* What holds for every plan: each matrix once, owners that exist, loads that add up, nobody much later than the rest. */
static void check_plan(const EkPlan *plan, int ranks, int nlayers, const EkLayer *layer)
{
  const int group = plan->grid_rows * plan->grid_cols;
  double    total = 0, longest = 0, most = 0, least = 1e300;
  int       t = 0;

  for (int l = 0; l < nlayers; l++) {
    for (int b = 0; b < layer[l].nbatches; b++) {
      PetscInt next = 0;

      for (; t < plan->ntasks && plan->task[t].layer == l && plan->task[t].batch == b; t++) {
        assert_int_equal(plan->task[t].first, next);
        assert_true(plan->task[t].count > 0 && plan->task[t].owner >= 0 && plan->task[t].owner < ranks &&
                    plan->task[t].seconds > 0);
        assert_int_equal(plan->task[t].values, plan->task[t].count * PetscMin(layer[l].batch[b].rows, layer[l].batch[b].cols));
        if (plan->task[t].distributed)
          assert_true(group > 1 && plan->task[t].owner % group == 0 && plan->task[t].owner / group < plan->groups);
        next += plan->task[t].count;
        total += plan->task[t].seconds * (plan->task[t].distributed ? group : 1);
        longest = fmax(longest, plan->task[t].seconds);
      }
      assert_int_equal(next, layer[l].batch[b].count);
    }
  }
  assert_int_equal(t, plan->ntasks);
  for (int r = 0; r < ranks; r++) {
    most = fmax(most, plan->load[r]);
    least = fmin(least, plan->load[r]);
    total -= plan->load[r];
  }
  assert_true(fabs(total) < 1e-9 * (most + 1));
  if (!group) assert_true(most - least <= longest * (1 + 1e-9)); /* longest first: nobody ends a whole task after another */
}

static void every_plan_is_complete_and_even(void **state)
{
  const EkLayer layer[] = {
      layer_of(1, 20, 42, PETSC_FALSE),   layer_of(288, 20, 20, PETSC_TRUE),    layer_of(9, 512, 256, PETSC_FALSE),
      layer_of(1, 128, 20, PETSC_FALSE),  layer_of(16, 128, 128, PETSC_TRUE),   layer_of(1, 2048, 8092, PETSC_FALSE),
      layer_of(4, 256, 512, PETSC_FALSE), layer_of(1, 1024, 1024, PETSC_FALSE), layer_of(1, 4, 128, PETSC_FALSE)};

  (void)state;
  for (int ranks = 1; ranks <= 130; ranks += ranks < 9 ? 1 : 11) {
    for (int solver = EK_SOLVER_AUTO; solver <= EK_SOLVER_GRAM; solver++) {
      for (PetscInt least = 32; least <= 4096; least *= 4) {
        const EkBalanceOptions options = options_of(least, (EkSolver)solver);
        EkPlan                 plan;

        for (int n = 0; n <= 9; n++) {
          EK_OK(EkPlanCreate(&options, ranks, n, layer, &plan));
          check_plan(&plan, ranks, n, layer);
          for (int t = 0; t < plan.ntasks; t++) {
            const EkMatrixBatch *m = &layer[plan.task[t].layer].batch[0];

            assert_true(!plan.task[t].distributed || (ranks > 1 && PetscMin(m->rows, m->cols) >= least));
          }
          EK_OK(EkPlanDestroy(&plan));
        }
      }
    }
  }
}

/* The grid is never larger than the matrix can feed, and close to square. */
static void grids_fit_their_matrices(void **state)
{
  (void)state;
  for (int ranks = 1; ranks < 300; ranks++) {
    for (PetscInt n = 1; n < 5000; n = 2 * n + 1) {
      int rows, cols;

      EkGridShape(ranks, n, &rows, &cols);
      assert_true(rows >= 1 && cols >= rows && rows * cols <= ranks);
      assert_true(rows == 1 || 16 * cols <= n || cols == rows);
      assert_true(cols == 1 || 16 * cols <= n);
      assert_true(n < 2000 || ranks > 100 || 2 * rows * cols >= ranks);
      assert_true(cols <= 2 * rows + 1);
    }
  }
}

static int distributed_of(const EkPlan *plan)
{
  int n = 0;

  for (int t = 0; t < plan->ntasks; t++) n += plan->task[t].distributed;
  return n;
}

/* Two equal large matrices on two ranks: one each. One alone: both ranks on it. Twelve on three ranks: four each. */
static void large_matrices_are_distributed_only_when_ranks_would_wait(void **state)
{
  static const int       ranks[] = {2, 2, 3, 16}, matrices[] = {2, 1, 12, 12}, distributed[] = {0, 1, 0, 12};
  const EkBalanceOptions options = options_of(1024, EK_SOLVER_AUTO);

  (void)state;
  for (int i = 0; i < 4; i++) {
    const EkLayer layer = layer_of(matrices[i], 1024, 4096, PETSC_FALSE);
    EkPlan        plan;

    EK_OK(EkPlanCreate(&options, ranks[i], 1, &layer, &plan));
    assert_int_equal(distributed_of(&plan), distributed[i]);
    EK_OK(EkPlanDestroy(&plan));
  }
}

/* Two halves and a whole, in this order: only longest first makes it even. */
static void the_longest_goes_first(void **state)
{
  const EkLayer          layer[] = {layer_of(1, 256, 256, PETSC_FALSE), layer_of(1, 256, 256, PETSC_FALSE),
                                    layer_of(1, 330, 330, PETSC_FALSE)};
  const EkBalanceOptions options = options_of(1024, EK_SOLVER_AUTO);
  EkPlan                 plan;

  (void)state;
  EK_OK(EkPlanCreate(&options, 2, 3, layer, &plan));
  assert_int_equal(plan.ntasks, 3);
  assert_true(plan.task[0].owner == plan.task[1].owner && plan.task[2].owner != plan.task[0].owner);
  EK_OK(EkPlanDestroy(&plan));
}

static void auto_takes_the_cheaper_route(void **state)
{
  const EkLayer          layer = layer_of(1, 512, 512, PETSC_FALSE);
  const EkBalanceOptions options = options_of(1024, EK_SOLVER_AUTO), svd = options_of(1024, EK_SOLVER_SVD);
  EkPlan                 plan, other;

  (void)state;
  EK_OK(EkPlanCreate(&options, 2, 1, &layer, &plan));
  EK_OK(EkPlanCreate(&svd, 2, 1, &layer, &other));
  assert_int_equal(plan.task[0].solver, EK_SOLVER_GRAM);
  assert_int_equal(other.task[0].solver, EK_SOLVER_SVD);
  assert_true(plan.task[0].seconds < other.task[0].seconds);
  EK_OK(EkPlanDestroy(&plan));
  EK_OK(EkPlanDestroy(&other));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_plan_is_complete_and_even),
    cmocka_unit_test(grids_fit_their_matrices),
    cmocka_unit_test(large_matrices_are_distributed_only_when_ranks_would_wait),
    cmocka_unit_test(the_longest_goes_first),
    cmocka_unit_test(auto_takes_the_cheaper_route),
};
EK_TEST_MAIN(tests)
