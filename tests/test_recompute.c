/* ranks: 1 2 3 */
/* Activations computed again instead of kept: the gradients of every model are the same bit for bit, nothing counts or
   communicates twice, memory shrinks. Rollouts cut to their last steps and teacher forcing against graphs put together by hand.
 */
#include "train_support.h"

#define STEPS    3
#define CAPACITY 3

/* ---- a small model of any row --------------------------------------------------------------------------------- */

typedef struct {
  EkModelOptions options;
  EkModelShape   shape;
} Model;

static PetscInt between(EkRandom *stream, int lo, int hi)
{
  return lo + (PetscInt)EkInteger(stream, (uint32_t)(hi - lo + 1));
}

/* Row `type`, what a deck says about it drawn. */
static Model draw_model(int type, int number)
{
  static const PetscInt n2[2] = {16, 32}, n1[1] = {32};
  const PetscBool       line = (PetscBool)(strstr(EkFamilyMember(&EkModelFamily, type)->name, "1d") != NULL);
  EkRandom              s = EkRandomStream(7, EK_RANDOM_TEST, (uint64_t)(100 * type + number));
  const PetscInt        blocks = between(&s, 1, 2);
  Model                 m = {.options = {.type = type, .n_cls = 3}};

  m.options.width = between(&s, 3, 9);
  m.options.modes = (EkInts){1, {between(&s, 2, 5)}};
  m.options.transform = EkInteger(&s, 2) ? EK_CHOOSE_FFT : EK_CHOOSE_GEMM;
  m.options.features = between(&s, 2, 5);
  m.options.n_blocks = blocks;
  m.options.embed_dim = 8 * blocks;
  m.options.depth = between(&s, 1, 3);
  m.options.patch_size = between(&s, 1, 2) * 4;
  m.options.out_layer_dim = between(&s, 3, 6);
  m.options.mlp_ratio = (PetscReal)between(&s, 1, 2);
  m.options.time_agg = (int)EkInteger(&s, 2);
  m.options.normalize = (PetscBool)(number % 2 == 1);
  m.shape = (EkModelShape){line ? EkGridMake(1, n1) : EkGridMake(2, n2), between(&s, 1, 3), between(&s, 2, STEPS + 1)};
  return m;
}

typedef enum { ROLLOUT, TEACH, NOISE } Kind;

/* A graph with weights of its own. */
typedef struct {
  Model    model;
  EkParams params;
  EkGraph  graph;
  EkTensor frames, prediction[STEPS];
  size_t   sample; /* floats */
  int      sums;   /* over the ranks so far */
  double   loss;
} Net;

static PetscErrorCode sum_and_count(void *context, int n, double *values)
{
  ((Net *)context)->sums++;
  return MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, EkTestRun()->comm) ? PETSC_ERR_LIB : 0;
}

/* frames: of a trajectory. */
static void net_begin(Net *net, const Model *model, PetscInt frames, EkRecompute level)
{
  const EkModelShape *shape = &model->shape;

  *net = (Net){.model = *model, .sample = (size_t)(frames * shape->fields) * shape->grid.stride};
  EK_OK(EkParamsCreate(&net->params));
  EK_OK(EkModelDeclare(&model->options, shape, net->params));
  EK_OK(EkParamsAllocate(net->params));
  EK_OK(EkParamsInitialise(net->params, 3));
  EK_OK(EkGraphCreate(net->params, CAPACITY, PETSC_TRUE, &net->graph));
  EK_OK(EkGraphSetRecompute(net->graph, level));
  EK_OK(EkGraphSetSum(net->graph, sum_and_count, net));
  EK_OK(EkGraphInput(net->graph, frames * shape->fields, shape->grid, PETSC_FALSE, &net->frames));
}

static EkTensor coordinates_of(Net *net)
{
  const EkGrid *grid = &net->model.shape.grid;
  float        *value = calloc((size_t)grid->dim * grid->stride, sizeof(float));
  EkTensor      out;

  for (size_t i = 0; i < (size_t)grid->dim * grid->stride; i++) value[i] = (float)(i % 32) / 32;
  EK_OK(EkGraphConstant(net->graph, grid->dim, *grid, value, &out));
  free(value);
  return out;
}

/* `steps` predictions, the last `unroll` of them with gradient and loss. */
static void net_build(Net *net, Kind kind, int steps, int unroll, EkLossOperator loss)
{
  const Model        *m = &net->model;
  const EkTensor      coordinates = coordinates_of(net);
  const int           cut = steps - unroll;
  const EkRolloutForm form = {.steps = steps,
                              .unroll = kind == TEACH ? steps : unroll,
                              .teacher = (PetscBool)(kind == TEACH),
                              .noise = kind == NOISE ? 0.1 : 0};
  PetscInt            target[STEPS];

  for (int i = 0; i < steps; i++) target[i] = m->shape.initial_step + i;
  EK_OK(EkModelRolloutAs(&m->options, &m->shape, net->graph, net->frames, coordinates, &form, net->prediction));
  if (loss) EK_OK(EkModelLosses(&m->shape, net->graph, loss, net->frames, EK_NONE, unroll, target + cut, net->prediction + cut));
}

static void net_open(Net *net, const Model *model, Kind kind, int unroll, EkRecompute level, EkLossOperator loss)
{
  net_begin(net, model, model->shape.initial_step + STEPS, level);
  net_build(net, kind, STEPS, unroll, loss);
  EK_OK(EkGraphPlan(net->graph));
}

static void net_close(Net *net)
{
  EK_OK(EkGraphDestroy(&net->graph));
  EK_OK(EkParamsDestroy(&net->params));
}

static float *draw_values(const Net *net, int batch, uint64_t number)
{
  const size_t n = (size_t)batch * net->sample;
  float       *values = malloc(n * sizeof(float) + 1);
  EkRandom     stream = EkRandomStream(8, EK_RANDOM_TEST, 10 * number + (uint64_t)EkTestRun()->rank);

  for (size_t i = 0; i < n; i++) values[i] = (float)EkNormal(&stream);
  return values;
}

static size_t planned_bytes(const Net *net)
{
  size_t planned, unshared;

  EkGraphMemory(net->graph, &planned, &unshared);
  return planned;
}

static void net_forward(Net *net, int batch, const float *values)
{
  static const uint64_t keys[CAPACITY] = {5, 6, 7}; /* of the noise, where there is any */

  EK_OK(EkGraphBindKeys(net->graph, keys));
  EK_OK(EkGraphBind(net->graph, net->frames, values, net->sample));
  EK_OK(EkGraphForward(net->graph, batch, 0.25));
}

/* Gradients of this batch alone, and a small step along them: weights that convolutions packed before are out of date. */
static void net_train(Net *net, int batch, const float *values)
{
  EkParams p = net->params;

  memset(p->gradients, 0, p->total * sizeof(float));
  net_forward(net, batch, values);
  EK_OK(EkGraphBackward(net->graph));
  net->loss = EkGraphLoss(net->graph);
  for (size_t i = 0; i < p->total; i++) p->weights[i] -= 1e-3f * p->gradients[i];
}

/* ---- the same bits ------------------------------------------------------------------------------------------ */

static void assert_same_arena(const EkParams a, const EkParams b, PetscBool gradients)
{
  const float *x = gradients ? a->gradients : a->weights, *y = gradients ? b->gradients : b->weights;

  for (int p = 0; p < a->n; p++) {
    const EkTensorInfo *t = &a->table[p];

    if (memcmp(x + t->offset, y + t->offset, t->count * sizeof(float)))
      fail_msg("%s: %s differ by %g of their norm", t->name, gradients ? "gradients" : "weights",
               EkTestDistance(t->count, x + t->offset, y + t->offset));
  }
}

/* What is no batch of BatchNorm runs empty on all ranks too. */
static void check_bits(Net *net, Net *other, const char *what)
{
  static const int batches[4][3] = {{3, 1, 0}, {1, 0, 3}, {0, 0, 0}, {3, 3, 1}};
  const PetscBool  coupled = EkGraphIsCoupled(net->graph);

  for (int k = 0; k < 4; k++) {
    const int batch = batches[k][EkTestRun()->rank];
    float    *values = draw_values(net, batch, (uint64_t)k);

    if (!(k == 2 && coupled)) {
      net_train(net, batch, values);
      net_train(other, batch, values);
      if (net->loss != other->loss) fail_msg("%s: loss %.17g, %.17g is wanted", what, other->loss, net->loss);
      assert_same_arena(net->params, other->params, PETSC_TRUE);
      assert_same_arena(net->params, other->params, PETSC_FALSE);
      assert_int_equal(net->sums, other->sums);
      assert_int_equal(coupled, net->sums > 0);
    }
    free(values);
  }
  assert_true(EkGraphFlops(net->graph) == EkGraphFlops(other->graph));
}

/* Both levels against none. A rollout of several steps must get along with less for either level. */
static void check_levels(const Model *model, Kind kind, int unroll, EkLossOperator loss)
{
  static const char *const name[] = {"none", "step", "block"};

  for (int level = EK_RECOMPUTE_STEP; level <= EK_RECOMPUTE_BLOCK; level++) {
    char what[256];
    Net  plain, again;

    net_open(&plain, model, kind, unroll, EK_RECOMPUTE_NONE, loss);
    net_open(&again, model, kind, unroll, (EkRecompute)level, loss);
    snprintf(what, sizeof(what), "%s, %s", EkFamilyMember(&EkModelFamily, model->options.type)->name, name[level]);
    check_bits(&plain, &again, what);
    if (!(planned_bytes(&again) < planned_bytes(&plain) || unroll == 1))
      fail_msg("%s: %zu bytes, %zu without", what, planned_bytes(&again), planned_bytes(&plain));
    net_close(&plain);
    net_close(&again);
  }
}

static void rollouts_have_the_same_bits(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    for (int number = 0; number < 2; number++) {
      const Model model = draw_model(type, number);

      check_levels(&model, ROLLOUT, STEPS, number % 2 ? EkLossRelative : EkLossMse);
    }
  }
}

static void other_rollouts_have_the_same_bits(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    const Model one = draw_model(type, 5), two = draw_model(type, 6);

    check_levels(&one, ROLLOUT, 2, EkLossMse);
    check_levels(&two, ROLLOUT, 1, EkLossRelative);
    check_levels(&two, TEACH, STEPS, EkLossMse);
    check_levels(&one, NOISE, STEPS, EkLossMse);
  }
}

/* ---- a graph by hand ---------------------------------------------------------------------------------------- */

/* Predictions that are kept stay, whatever runs again: backward does not touch them. */
static void kept_values_stay(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    const Model  model = draw_model(type, 8);
    const float *value;
    float       *values, *before;
    size_t       step, bytes = model.shape.grid.stride * (size_t)model.shape.fields * sizeof(float);
    Net          net;

    net_begin(&net, &model, model.shape.initial_step + STEPS, EK_RECOMPUTE_STEP);
    net_build(&net, ROLLOUT, STEPS, STEPS, EkLossMse);
    for (int i = 0; i < STEPS; i++) EK_OK(EkGraphKeep(net.graph, net.prediction[i]));
    EK_OK(EkGraphPlan(net.graph));
    values = draw_values(&net, CAPACITY, 0);
    before = malloc(STEPS * bytes);
    net_forward(&net, CAPACITY, values);
    for (int i = 0; i < 2 * STEPS; i++) {
      if (i == STEPS) EK_OK(EkGraphBackward(net.graph));
      EK_OK(EkGraphGetValue(net.graph, net.prediction[i % STEPS], &value, &step));
      for (PetscInt c = 0; c < model.shape.fields; c++) {
        const size_t at = (size_t)c * model.shape.grid.stride, points = model.shape.grid.points * sizeof(float);
        float       *copy = before + (size_t)(i % STEPS) * (bytes / sizeof(float)) + at;

        if (i < STEPS)
          memcpy(copy, value + at, points);
        else
          assert_memory_equal(copy, value + at, points);
      }
    }
    free(values), free(before);
    net_close(&net);
  }
}

/* A loss inside a segment counts once, and what it alone reads is made again for it. */
static void a_loss_in_a_segment_counts_once(void **state)
{
  const PetscInt n[2] = {9, 7}, four[1] = {4}, matrix[2] = {4, 4};
  EkGrid         grid = EkGridMake(2, n);
  float         *values = calloc(4 * grid.stride, sizeof(float)), *gradients[2];
  double         loss[2];

  (void)state;
  for (size_t i = 0; i < 4 * grid.stride; i++) values[i] = (float)(i % 11) / 11;
  for (int again = 0; again < 2; again++) {
    EkParams params;
    EkGraph  graph;
    EkTensor x, y, truth;

    EK_OK(EkParamsCreate(&params));
    EK_OK(EkParamsAdd(params, "w", EK_MODULE_LINEAR, PETSC_FALSE, 2, matrix, -1, 1));
    EK_OK(EkParamsAdd(params, "b", EK_MODULE_OTHER, PETSC_FALSE, 1, four, -1, 1));
    EK_OK(EkParamsAllocate(params));
    EK_OK(EkParamsInitialise(params, 1));
    EK_OK(EkGraphCreate(params, 1, PETSC_TRUE, &graph));
    EK_OK(EkGraphSetRecompute(graph, again ? EK_RECOMPUTE_STEP : EK_RECOMPUTE_NONE));
    EK_OK(EkGraphInput(graph, 4, grid, PETSC_FALSE, &truth));
    x = truth;
    for (int i = 0; i < 3; i++) {
      EK_OK(EkGraphSegmentBegin(graph, EK_RECOMPUTE_STEP));
      EK_OK(EkLinear(graph, 1, &x, "w", "b", EK_NONE, PETSC_TRUE, &y));
      EK_OK(EkGeluField(graph, y, &x));
      EK_OK(EkLossRelative(graph, y, truth, EK_NONE));
      EK_OK(EkMseLoss(graph, x, truth));
      EK_OK(EkGraphSegmentEnd(graph, EK_RECOMPUTE_STEP));
    }
    EK_OK(EkGraphPlan(graph));
    EK_OK(EkGraphBind(graph, truth, values, 0));
    EK_OK(EkGraphForward(graph, 1, 1));
    EK_OK(EkGraphBackward(graph));
    loss[again] = EkGraphLoss(graph);
    gradients[again] = malloc(20 * sizeof(float));
    memcpy(gradients[again], params->gradients, 20 * sizeof(float));
    EK_OK(EkGraphDestroy(&graph));
    EK_OK(EkParamsDestroy(&params));
  }
  assert_true(loss[0] == loss[1] && loss[0] > 0);
  assert_memory_equal(gradients[0], gradients[1], 20 * sizeof(float));
  free(gradients[0]), free(gradients[1]), free(values);
}

static void mistakes_are_refused(void **state)
{
  const PetscInt n[1] = {8}, more[1] = {2};
  EkTensor       x, y;
  EkParams       params;
  EkGraph        graph;

  (void)state;
  EK_OK(EkParamsCreate(&params));
  EK_OK(EkParamsAllocate(params));
  EK_OK(EkGraphCreate(params, 1, PETSC_TRUE, &graph));
  EK_OK(EkGraphSetRecompute(graph, EK_RECOMPUTE_BLOCK));
  EK_OK(EkGraphSegmentBegin(graph, EK_RECOMPUTE_STEP)); /* of no interest to this graph */
  EK_FAILS(EkGraphSegmentEnd(graph, EK_RECOMPUTE_BLOCK), "has not begun");
  EK_OK(EkGraphSegmentBegin(graph, EK_RECOMPUTE_BLOCK));
  EK_FAILS(EkGraphSegmentBegin(graph, EK_RECOMPUTE_BLOCK), "within another");
  EK_OK(EkGraphInput(graph, 1, EkGridMake(1, n), PETSC_FALSE, &x));
  EK_OK(EkPad(graph, x, more, &y));
  EK_FAILS(EkGraphSetRecompute(graph, EK_RECOMPUTE_NONE), "before the first operator");
  EK_FAILS(EkGraphPlan(graph), "does not end");
  EK_OK(EkGraphDestroy(&graph));
  EK_OK(EkParamsDestroy(&params));
}

/* ---- cut rollouts ------------------------------------------------------------------------------------------- */

static void assert_near_arena(const EkParams a, const EkParams b, PetscBool gradients, double tolerance)
{
  const float *x = gradients ? a->gradients : a->weights, *y = gradients ? b->gradients : b->weights;

  for (int p = 0; p < a->n; p++) {
    const EkTensorInfo *t = &a->table[p];

    if (!(EkTestDistance(t->count, x + t->offset, y + t->offset) < tolerance))
      fail_msg("%s: %s are off by %g", t->name, gradients ? "gradients" : "weights",
               EkTestDistance(t->count, x + t->offset, y + t->offset));
  }
}

/* A trajectory whose frames t0 .. t0 + cut - 1 are the net's predictions, its first `cut` frames left out. */
static float *spliced(Net *net, int batch, int cut, const float *values)
{
  const size_t frame = (size_t)net->model.shape.fields * net->model.shape.grid.stride,
               given = (size_t)net->model.shape.initial_step;
  const size_t left = net->sample - (size_t)cut * frame;
  float       *out = malloc((size_t)batch * left * sizeof(float) + 1);

  for (int b = 0; b < batch; b++) {
    memcpy(out + (size_t)b * left, values + (size_t)b * net->sample + (size_t)cut * frame, left * sizeof(float));
    for (int i = cut > (int)given ? cut - (int)given : 0; i < cut; i++) {
      const size_t at = given + (size_t)i;
      const float *value;
      size_t       step;

      EK_OK(EkGraphGetValue(net->graph, net->prediction[i], &value, &step));
      memcpy(out + (size_t)b * left + (at - (size_t)cut) * frame, value + (size_t)b * step, frame * sizeof(float));
    }
  }
  return out;
}

/* The first steps by a graph that takes no gradient, the others by one whose given frames are what the first made: statistics of
   BatchNorm move in both, in the same order. */
static void check_cut(const Model *model, int unroll)
{
  const int batch = EkTestRun()->rank == 1 ? 0 : 3, cut = STEPS - unroll;
  Net       net, first, rest;
  float    *values, *joined;

  net_open(&net, model, ROLLOUT, unroll, EK_RECOMPUTE_NONE, EkLossMse);
  values = draw_values(&net, batch, 9);
  net_begin(&first, model, model->shape.initial_step + STEPS, EK_RECOMPUTE_NONE);
  net_build(&first, ROLLOUT, cut, cut, NULL);
  for (int i = 0; i < cut; i++) EK_OK(EkGraphKeep(first.graph, first.prediction[i]));
  EK_OK(EkGraphPlan(first.graph));
  net_forward(&first, batch, values);
  joined = spliced(&first, batch, cut, values);
  net_begin(&rest, model, model->shape.initial_step + unroll, EK_RECOMPUTE_NONE);
  net_build(&rest, ROLLOUT, unroll, unroll, EkLossMse);
  EK_OK(EkGraphPlan(rest.graph));
  memcpy(rest.params->weights, first.params->weights, first.params->total * sizeof(float));
  net_train(&rest, batch, joined);
  net_train(&net, batch, values);
  assert_true(fabs(net.loss - rest.loss) <= 1e-5 * rest.loss);
  assert_near_arena(net.params, rest.params, PETSC_TRUE, 1e-4);
  assert_near_arena(net.params, rest.params, PETSC_FALSE, 1e-4);
  free(values), free(joined);
  net_close(&net), net_close(&first), net_close(&rest);
}

static void cut_rollouts_are_those_made_by_hand(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    const Model model = draw_model(type, 10 + type);

    for (int unroll = 1; unroll < STEPS; unroll++) check_cut(&model, unroll);
  }
}

static void cut_steps_need_no_memory(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    const Model model = draw_model(type, 20);
    Net         all, one;

    net_open(&all, &model, ROLLOUT, STEPS, EK_RECOMPUTE_NONE, EkLossMse);
    net_open(&one, &model, ROLLOUT, 1, EK_RECOMPUTE_NONE, EkLossMse);
    /* in one dimension most of it is scratch */
    if (!(planned_bytes(&one) < (model.shape.grid.dim == 1 ? 9 : 6) * planned_bytes(&all) / 10))
      fail_msg("%s: %zu of %zu bytes", EkFamilyMember(&EkModelFamily, type)->name, planned_bytes(&one), planned_bytes(&all));
    assert_true(EkGraphFlops(one.graph) < EkGraphFlops(all.graph));
    net_close(&all), net_close(&one);
  }
}

/* ---- teacher forcing ---------------------------------------------------------------------------------------- */

/* Every frame by a graph of its own, forward in turn, backward in the opposite order. */
static void check_teaching(const Model *model)
{
  const PetscInt given = model->shape.initial_step;
  const int      batch = EkTestRun()->rank == 1 ? 0 : 3;
  const size_t   frame = (size_t)model->shape.fields * model->shape.grid.stride;
  EkTensor       prediction, frames[STEPS];
  EkGraph        graph[STEPS];
  Net            net, one;
  float         *values;
  double         loss = 0;

  net_open(&net, model, TEACH, STEPS, EK_RECOMPUTE_NONE, EkLossMse);
  values = draw_values(&net, batch, 11);
  net_begin(&one, model, given + 1, EK_RECOMPUTE_NONE);
  for (int s = 0; s < STEPS; s++) {
    EkGraph   keep = one.graph;
    EkTensor *in = &frames[s], points;

    EK_OK(EkGraphCreate(one.params, CAPACITY, PETSC_TRUE, &graph[s]));
    EK_OK(EkGraphSetSum(graph[s], sum_and_count, &one));
    EK_OK(EkGraphInput(graph[s], (given + 1) * model->shape.fields, model->shape.grid, PETSC_FALSE, in));
    one.graph = graph[s];
    points = coordinates_of(&one);
    one.graph = keep;
    EK_OK(EkModelRollout(&model->options, &model->shape, graph[s], *in, points, 1, &prediction));
    EK_OK(EkModelLosses(&model->shape, graph[s], EkLossMse, *in, EK_NONE, 1, &given, &prediction));
    EK_OK(EkGraphPlan(graph[s]));
    EK_OK(EkGraphBind(graph[s], *in, values + (size_t)s * frame, net.sample));
    EK_OK(EkGraphForward(graph[s], batch, 0.25));
    loss += EkGraphLoss(graph[s]);
  }
  for (int s = STEPS - 1; s >= 0; s--) EK_OK(EkGraphBackward(graph[s]));
  net_train(&net, batch, values);
  assert_true(fabs(net.loss - loss) <= 1e-12 * loss);
  assert_same_arena(one.params, net.params, PETSC_TRUE);
  for (int s = 0; s < STEPS; s++) EK_OK(EkGraphDestroy(&graph[s]));
  free(values);
  net_close(&net), net_close(&one);
}

static void teaching_sums_over_true_windows(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    const Model model = draw_model(type, 30);

    check_teaching(&model);
  }
}

/* ---- noise -------------------------------------------------------------------------------------------------- */

/* Step by step: the window that noise was added to moves on by a frame, and noise is added to it again. */
static void check_noise(const Model *model)
{
  const EkRolloutForm form = {.steps = STEPS, .unroll = STEPS, .noise = 0.1};
  const EkModelShape *shape = &model->shape;
  const int           batch = EkTestRun()->rank == 1 ? 0 : 3;
  EkTensor            coordinates, window[2], noisy, by_hand[STEPS];
  Net                 net;
  float              *values;

  net_begin(&net, model, shape->initial_step + STEPS, EK_RECOMPUTE_NONE);
  coordinates = coordinates_of(&net);
  EK_OK(EkModelRolloutAs(&model->options, shape, net.graph, net.frames, coordinates, &form, net.prediction));
  EK_OK(EkGraphSlice(net.graph, net.frames, 0, shape->initial_step * shape->fields, &window[0]));
  for (int s = 0, n = 1; s < STEPS; s++) {
    EK_OK(EkNoise(net.graph, n, window, shape->fields, form.noise, s, &noisy));
    EK_OK(EkModelRollout(&model->options, shape, net.graph, noisy, coordinates, 1, &by_hand[s]));
    EK_OK(EkGraphKeep(net.graph, net.prediction[s]));
    EK_OK(EkGraphKeep(net.graph, by_hand[s]));
    n = 0;
    if (shape->initial_step > 1)
      EK_OK(EkGraphSlice(net.graph, noisy, shape->fields, (shape->initial_step - 1) * shape->fields, &window[n++]));
    window[n++] = by_hand[s];
  }
  EK_OK(EkGraphPlan(net.graph));
  values = draw_values(&net, batch, 12);
  net_forward(&net, batch, values);
  for (int s = 0; s < STEPS; s++) {
    const float *x, *y;
    size_t       step;

    EK_OK(EkGraphGetValue(net.graph, net.prediction[s], &x, &step));
    EK_OK(EkGraphGetValue(net.graph, by_hand[s], &y, &step));
    for (int plane = 0; plane < batch * shape->fields; plane++) {
      const size_t at = (size_t)(plane / shape->fields) * step + (size_t)(plane % shape->fields) * shape->grid.stride;

      if (memcmp(x + at, y + at, shape->grid.points * sizeof(float)))
        fail_msg("%s, step %d", EkFamilyMember(&EkModelFamily, model->options.type)->name, s);
    }
  }
  free(values);
  net_close(&net);
}

static void noise_gathers_in_the_window(void **state)
{
  (void)state;
  for (int type = 0; type < EkModelFamily.count; type++) {
    const Model model = draw_model(type, 40);

    check_noise(&model);
  }
}

/* ---- from a deck -------------------------------------------------------------------------------------------- */

#define DECK(train)                                                                                                              \
  WAVES "model: {type: fno2d, width: 4, modes: 2, transform: gemm}\ntrain: {epochs: 2, batch: 4, lr: 1e-3, " train "}\n"

static void train_to(Job *job, const char *base, const char *name, const char *deck)
{
  JobCreate(job, EkTestRun()->comm, base, name, "%s", deck);
  assert_int_equal(JobTrain(job), 0);
  MPI_Barrier(EkTestRun()->comm);
}

static double last_loss(const Job *job)
{
  Table  table;
  double loss;

  TableRead(&table, job->dir, "metrics.csv");
  loss = TableNumber(&table, 2, "train_loss");
  TableFree(&table);
  return loss;
}

static void keys_of_a_deck(void **state)
{
  char base[EK_PATH];
  Job  plain, job;

  (void)state;
  EkTestScratch(base);
  MakeWaves(base);
  train_to(&plain, base, "plain", DECK("seed: 1"));
  train_to(&job, base, "step", DECK("seed: 1, recompute: step"));
  AssertSameBytes(plain.dir, job.dir, "final.safetensors");
  assert_true(FileHas(job.dir, "resolved.yaml", "recompute: step"));
  train_to(&job, base, "block", DECK("seed: 1, recompute: block"));
  AssertSameBytes(plain.dir, job.dir, "final.safetensors");
  train_to(&job, base, "uncut", DECK("seed: 1, unroll: 2")); /* of two steps */
  AssertSameBytes(plain.dir, job.dir, "final.safetensors");
  train_to(&job, base, "cut", DECK("seed: 1, unroll: 1"));
  assert_true(last_loss(&job) < 0.9 * last_loss(&plain)); /* of one step instead of two */
  train_to(&job, base, "taught", DECK("seed: 1, mode: teacher"));
  assert_true(last_loss(&job) != last_loss(&plain));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rollouts_have_the_same_bits),
    cmocka_unit_test(other_rollouts_have_the_same_bits),
    cmocka_unit_test(kept_values_stay),
    cmocka_unit_test(a_loss_in_a_segment_counts_once),
    cmocka_unit_test(mistakes_are_refused),
    cmocka_unit_test(cut_rollouts_are_those_made_by_hand),
    cmocka_unit_test(cut_steps_need_no_memory),
    cmocka_unit_test(teaching_sums_over_true_windows),
    cmocka_unit_test(noise_gathers_in_the_window),
    cmocka_unit_test(keys_of_a_deck),
};
EK_TEST_MAIN(tests)
