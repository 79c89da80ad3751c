/* ranks: 1 */
/* Losses of single samples, what a batch's loss is the sum of; relative errors where a mask leaves channels out. */
#include "graph_support.h"

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

/* Of one frame of three channels: the first as it is, the second masked by halves, the third wholly; and of a sample that is
 * masked wholly. */
static void relative_loss_counts_channels_with_a_mask(void **state)
{
  const EkGrid grid = EkGridMake(2, square);
  const size_t floats = 3 * grid.stride;
  float       *prediction = calloc(2 * floats, sizeof(float)), *truth = calloc(2 * floats, sizeof(float)),
        *mask = calloc(2 * floats, sizeof(float));
  const float *gradient;
  double       error = 0, norm = 0;
  EkTensor     p, t, m;
  EkParams     params;
  EkGraph      graph;
  size_t       step;

  (void)state;
  for (size_t i = 0; i < grid.points; i++) {
    for (size_t c = 0; c < 3; c++)
      prediction[c * grid.stride + i] = prediction[floats + c * grid.stride + i] = 3, truth[c * grid.stride + i] = 2;
    prediction[grid.stride + i] = (float)i;
    mask[i] = 1, mask[grid.stride + i] = (float)(i % 2);
    error += (double)(i % 2) * ((double)i - 2) * ((double)i - 2), norm += (double)(i % 2) * 4;
  }
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkGraphCreate(params, 2, PETSC_TRUE, &graph));
  EK_OK(EkGraphInput(graph, 3, grid, PETSC_TRUE, &p));
  EK_OK(EkGraphInput(graph, 3, grid, PETSC_FALSE, &t));
  EK_OK(EkGraphInput(graph, 3, grid, PETSC_FALSE, &m));
  EK_OK(EkRelativeLoss(graph, 1, &p, &t, m));
  EK_OK(EkGraphPlan(graph));
  EK_OK(EkGraphBind(graph, p, prediction, floats));
  EK_OK(EkGraphBind(graph, t, truth, floats));
  EK_OK(EkGraphBind(graph, m, mask, floats));
  EK_OK(EkGraphForward(graph, 2, 10));
  assert_true(fabs(EkGraphLoss(graph) - 10 * (0.5 + sqrt(error / norm)) / 2) < 1e-5);
  EK_OK(EkGraphBackward(graph));
  EK_OK(EkGraphGetGradient(graph, p, &gradient, &step));
  for (size_t i = 0; i < grid.points; i++) {
    assert_true(fabs(gradient[i] - 10 / (2 * sqrt((double)grid.points) * 2 * sqrt((double)grid.points))) < 1e-6 &&
                gradient[grid.stride] == 0);
    for (size_t c = 0; c < 4; c++) assert_true(gradient[(c == 3 ? 2 * grid.stride : step + c * grid.stride) + i] == 0);
  }
  free(prediction), free(truth), free(mask);
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(samples_have_their_own_losses),
    cmocka_unit_test(losses_of_a_run_alone_remain),
    cmocka_unit_test(relative_loss_counts_channels_with_a_mask),
};
EK_TEST_MAIN(tests)
