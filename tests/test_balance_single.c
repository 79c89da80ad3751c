/* ranks: 1 2 3 4 */
/* Where the Gram route computes in single precision, and where it must not. */
#include "balance_support.h"

static PetscBool are_all_floats(const EkLayerState *s)
{
  for (int i = 0; i < s->neigs; i++) {
    if (s->eigenvalues[i] != (float)s->eigenvalues[i]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* Of eigenvalues as near to the filter as single precision is wrong, as many are dropped as lie below it: LAPACK counts them in
   double, ScaLAPACK computes in double. Far from the filter both take what single precision gives; neither does where the tail
   is small. */
static void single_precision_never_decides_the_filter(void **unused)
{
  enum { M = 480, N = 320, LADDER = 300, FLAT = 0, EDGE, SCALED, STEEP, SHAPES };
  static const PetscInt kept[SHAPES] = {N, 310, 310, 285};
  EkMesh                mesh = mesh_of(EkTestRun());
  EkBalanceOptions      options = defaults();

  (void)unused;
  options.solver = GRAM;
  for (int shape = 0; shape < SHAPES; shape++) {
    const double    scale = shape == SCALED ? 0.5 : 1; /* the filter sees scaled eigenvalues, the engine plain ones */
    const PetscBool edge = (PetscBool)(shape == EDGE || shape == SCALED);
    double          sigma[N];
    float          *w;
    EkLayer         layer;

    for (int k = 0; k < N; k++) {
      sigma[k] = shape == STEEP ? 8 * exp(-0.027543 * k) : 8 - 0.02 * k;
      /* steps of 2 %: ten above, ten below */
      if (edge && k >= LADDER) sigma[k] = sqrt(1e-5 / scale * (1 + 0.02 * (309.5 - k)));
    }
    layer = one_matrix("shape", w = known_matrix(M, N, sigma), M, N);
    layer.scale = scale;
    for (options.scalapack_min = 64; options.scalapack_min <= 1024; options.scalapack_min *= 16) {
      const EkLayerState *state;
      EkBalance           balance = refreshed(mesh, &options, 1, &layer, &state);
      const PetscBool     distributed = (PetscBool)(EkTestRun()->size > 1 && options.scalapack_min <= N);

      assert_true(are_all_floats(state) == (shape == FLAT));
      assert_int_equal(state->num_evals, kept[shape]);
      for (int k = 0; k < N; k++) {
        const double lambda = scale * sigma[k] * sigma[k], off = fabs(state->eigenvalues[N - 1 - k] - lambda);

        assert_true(off < 5e-6 * scale * sigma[0] * sigma[0]);
        if (edge && distributed) assert_true(off < 3e-3 * lambda); /* the weights were rounded to float */
      }
      EK_OK(EkBalanceDestroy(&balance));
    }
    free(w);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* A single eigenvalue as near to the filter: which side it is on is found from its vector. Others are near, but not as near. */
static void a_single_doubtful_eigenvalue_is_placed(void **unused)
{
  enum { M = 700, N = 300, LAST = 4 };
  static const double around[] = {0.98, 0.9995, 1.0005, 1.02}; /* of the filter; single precision is off by up to 0.08 */
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();

  (void)unused;
  options.solver = GRAM;
  options.scalapack_min = 1024;
  for (size_t i = 0; i < 2 * sizeof(around) / sizeof(around[0]); i++) {
    const PetscBool     least = (PetscBool)(i % 2 == 0); /* the smallest of all, or in the middle of others */
    const double        value = around[i / 2];
    const EkLayerState *state;
    EkBalance           balance;
    double              sigma[N];
    float              *w;
    EkLayer             layer;

    for (int k = 0; k < N; k++) sigma[k] = 2 - 0.006 * k;
    for (int k = 0; k < LAST; k++) sigma[N - 1 - k] = sqrt(1e-5 * (least ? value + 0.3 * k : value + 0.3 * (k - 2)));
    layer = one_matrix("doubtful", w = known_matrix(M, N, sigma), M, N);
    balance = refreshed(mesh, &options, 1, &layer, &state);
    assert_int_equal(state->num_evals, N - (least ? 0 : 2) - (value < 1));
    EK_OK(EkBalanceDestroy(&balance));
    free(w);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* More rows than are multiplied at once: two seams, whichever way the matrix is stored. Its spectrum is flat, so that what single
   precision gives is kept. */
static void single_precision_sums_all_rows(void **unused)
{
  enum { M = 1100, N = 320 };
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  double           sigma[N];
  float           *w, *columns = malloc(sizeof(float) * M * N), *apart = malloc(sizeof(float) * 2 * M * N);
  EkLayer          layer[3];

  (void)unused;
  for (int k = 0; k < N; k++) sigma[k] = 8 - 0.02 * k;
  w = known_matrix(M, N, sigma);
  for (int i = 0; i < 2 * M * N; i++) apart[i] = 100; /* between the elements: of no matrix */
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < N; j++) columns[j * M + i] = apart[i * 2 * N + 2 * j] = w[i * N + j];
  }
  layer[0] = one_matrix("rows", w, M, N);
  layer[1] = layer[2] = layer[0];
  layer[1].batch[0] = (EkMatrixBatch){columns, 1, M, N, 0, 1, M, PETSC_FALSE, 0};
  layer[2].batch[0] = (EkMatrixBatch){apart, 1, M, N, 0, 2 * N, 2, PETSC_FALSE, 0};
  options.solver = GRAM;
  options.scalapack_min = 1024;
  for (int l = 0; l < 3; l++) {
    const EkLayerState *state;
    EkBalance           balance = refreshed(mesh, &options, 1, &layer[l], &state);

    assert_true(are_all_floats(state));
    for (int k = 0; k < N; k++) {
      if (!(fabs(state->eigenvalues[N - 1 - k] - sigma[k] * sigma[k]) < 5e-6 * sigma[0] * sigma[0]))
        fail_msg("storage %d: eigenvalue %d is %g, expected %g", l, k, state->eigenvalues[N - 1 - k], sigma[k] * sigma[k]);
    }
    EK_OK(EkBalanceDestroy(&balance));
  }
  free(w), free(columns), free(apart);
  EK_OK(EkMeshDestroy(&mesh));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(single_precision_never_decides_the_filter),
    cmocka_unit_test(a_single_doubtful_eigenvalue_is_placed),
    cmocka_unit_test(single_precision_sums_all_rows),
};
EK_TEST_MAIN(tests)
