/* ranks: 1 */
/* Losses of single samples: what a batch's loss is the sum of. */
#include "support.h"
#include "evenkeel/graph.h"

#define C     3
#define BATCH 4
#define SCALE 0.3

/* Squares and relative errors, masked, of the same field. */
typedef struct {
  EkGrid   grid;
  EkParams params;
  EkGraph  graph;
  EkTensor field[3]; /* prediction, target, mask */
  float   *value[3];
  size_t   sample;
} Losses;

static Losses new_losses(PetscBool gradients)
{
  const PetscInt n[2] = {6, 5};
  EkRandom       random = EkRandomStream(2, EK_RANDOM_TEST, 3);
  Losses         l = {.grid = EkGridMake(2, n)};

  l.sample = C * l.grid.stride;
  EK_OK(EkParamsCreate(&l.params));
  EK_OK(EkGraphCreate(l.params, BATCH, gradients, &l.graph));
  for (int k = 0; k < 3; k++) {
    EK_OK(EkGraphInput(l.graph, C, l.grid, (PetscBool)(k == 0), &l.field[k]));
    l.value[k] = malloc(BATCH * l.sample * sizeof(float));
    for (size_t i = 0; i < BATCH * l.sample; i++)
      l.value[k][i] = k == 2 ? (float)EkInteger(&random, 2) : (float)EkNormal(&random);
  }
  memset(l.value[2] + l.sample, 0, l.sample * sizeof(float)); /* the second sample counts nowhere */
  EK_OK(EkMseLoss(l.graph, l.field[0], l.field[1]));
  EK_OK(EkRelativeLoss(l.graph, 1, &l.field[0], &l.field[1], l.field[2]));
  return l;
}

static void free_losses(Losses *l)
{
  for (int k = 0; k < 3; k++) free(l->value[k]);
  EK_OK(EkGraphDestroy(&l->graph));
  EK_OK(EkParamsDestroy(&l->params));
}

static const double *run(const Losses *l, int first, int batch)
{
  const double *loss;

  for (int k = 0; k < 3; k++) EK_OK(EkGraphBind(l->graph, l->field[k], l->value[k] + (size_t)first * l->sample, l->sample));
  EK_OK(EkGraphForward(l->graph, batch, SCALE));
  EK_OK(EkGraphSampleLoss(l->graph, &loss));
  return loss;
}

static double loss_by_definition(const Losses *l, int b)
{
  double squares = 0, relative = 0;
  int    counted = 0;

  for (size_t c = 0; c < C; c++) {
    const size_t at = (size_t)b * l->sample + c * l->grid.stride;
    double       error = 0, norm = 0, mask = 0;

    for (size_t i = at; i < at + l->grid.points; i++) {
      const double e = (double)l->value[0][i] - l->value[1][i], m = l->value[2][i];

      squares += e * e, error += m * e * e, norm += m * l->value[1][i] * l->value[1][i], mask += m;
    }
    counted += mask > 0;
    relative += sqrt(error) / (sqrt(norm) + 1e-8);
  }
  return SCALE * (squares / (double)(C * l->grid.points) + (counted ? relative / counted : 0));
}

static void samples_have_their_own_losses(void **state)
{
  (void)state;
  for (int gradients = 0; gradients < 2; gradients++) {
    Losses l = new_losses((PetscBool)gradients);

    EK_OK(EkGraphPlan(l.graph));
    for (int again = 0; again < 2; again++) {
      const double *loss = run(&l, 0, BATCH);
      double        sum = 0;

      for (int b = 0; b < BATCH; b++) {
        sum += loss[b];
        assert_true(fabs(loss[b] / loss_by_definition(&l, b) - 1) < 1e-6);
      }
      assert_true(fabs(sum / EkGraphLoss(l.graph) - 1) < 1e-12);
    }
    free_losses(&l);
  }
}

/* After a large batch: of a small one, none of the earlier losses is left. */
static void losses_of_a_run_alone_remain(void **state)
{
  Losses        l = new_losses(PETSC_TRUE);
  const double *loss;

  (void)state;
  EK_FAILS(EkGraphSampleLoss(l.graph, &loss), "not planned");
  EK_OK(EkGraphPlan(l.graph));
  run(&l, 0, BATCH);
  loss = run(&l, 1, 2);
  for (int b = 0; b < 2; b++) assert_true(fabs(loss[b] / loss_by_definition(&l, 1 + b) - 1) < 1e-6);
  assert_true(loss[2] == 0 && loss[3] == 0);
  EK_OK(EkGraphBackward(l.graph));
  EK_OK(EkGraphSampleLoss(l.graph, &loss));
  assert_true(fabs((loss[0] + loss[1]) / EkGraphLoss(l.graph) - 1) < 1e-12);
  loss = run(&l, 0, 0);
  for (int b = 0; b < BATCH; b++) assert_true(loss[b] == 0);
  free_losses(&l);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(samples_have_their_own_losses),
    cmocka_unit_test(losses_of_a_run_alone_remain),
};
EK_TEST_MAIN(tests)
