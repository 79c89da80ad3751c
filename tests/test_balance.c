/* ranks: 1 2 3 4 */
/* The balancer: eigenvalues by every route on every number of ranks, exclusion, state, errors. */
#include "cases.h"
#include "balance_support.h"

#define SPECTRA CASE_FILE("spectra.h5")
static const char *const reference_name[] = {"conv1d_k1",      "conv1d_k3",    "conv2d_1x1",    "conv2d_3x3",
                                             "heavy_257x129",  "heavy_96x96",  "linear_128x20", "linear_20x42",
                                             "linear_257x129", "linear_4x128", "linear_96x96",  "rank_deficient"};
#define REFERENCES ((int)(sizeof(reference_name) / sizeof(reference_name[0])))

/* A module of the reference file as the published code cuts it into matrices. */
static EkLayer reference_layer(const char *name, float **weight)
{
  char    path[128];
  hsize_t n[8];
  int     rank;
  EkLayer layer;

  snprintf(path, sizeof(path), "%s/weight", name);
  *weight = CaseFloats(SPECTRA, path, &rank, n);
  layer = one_matrix(name, *weight, (PetscInt)n[0], (PetscInt)n[1]);
  if (rank == 4) { /* Conv2d: one out x in matrix per tap */
    const size_t taps = n[2] * n[3];

    layer.scale = 0.5;
    layer.batch[0] =
        (EkMatrixBatch){*weight, (PetscInt)taps, (PetscInt)n[0], (PetscInt)n[1], 1, n[1] * taps, taps, PETSC_FALSE, 0};
  } else if (rank == 3) { /* Conv1d: one in x tap matrix per output */
    layer.batch[0] =
        (EkMatrixBatch){*weight, (PetscInt)n[0], (PetscInt)n[1], (PetscInt)n[2], n[1] * n[2], n[2], 1, PETSC_FALSE, 0};
  }
  return layer;
}

static void expect_same_on_all_ranks(size_t n, const double *values)
{
  double *first = malloc(sizeof(double) * n);
  int     same;

  memcpy(first, values, sizeof(double) * n);
  MPI_Bcast(first, (int)n, MPI_DOUBLE, 0, EkTestRun()->comm);
  same = !memcmp(first, values, sizeof(double) * n);
  free(first);
  assert_true(same);
}

/* ---- against the published estimator ---- */

static void expect_reference(const char *name, const EkLayerState *s, double lambda_tolerance)
{
  char    path[128];
  hsize_t n[8];
  int     rank;
  float  *lambda;

  snprintf(path, sizeof(path), "%s/eigenvalues", name);
  lambda = CaseFloats(SPECTRA, path, &rank, n);
  assert_int_equal(s->neigs, (int)n[0]);
  for (hsize_t i = 0; i < n[0]; i++) {
    if (!(fabs(s->eigenvalues[i] - lambda[i]) <= lambda_tolerance * lambda[n[0] - 1]))
      fail_msg("%s: eigenvalue %d is %g, expected %g", name, (int)i, s->eigenvalues[i], lambda[i]);
  }
  free(lambda);
  assert_int_equal(s->num_evals, (int)CaseNumber(SPECTRA, name, "kept"));
  if (!(fabs(s->alpha - CaseNumber(SPECTRA, name, "alpha_xmin_mid")) < 1e-3)) fail_msg("%s: alpha is %g", name, s->alpha);
  assert_true(fabs(s->D - CaseNumber(SPECTRA, name, "D_xmin_mid")) < 1e-3);
  assert_true(fabs(s->stable_rank * s->spectral_norm - s->norm) < 1e-9 * s->norm);
  assert_int_equal(s->tail, s->neigs - s->num_evals + s->num_evals / 2);
}

static void every_route_matches_the_published_estimator(void **unused)
{
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  EkLayer          layer[REFERENCES];
  float           *weight[REFERENCES];

  (void)unused;
  for (int l = 0; l < REFERENCES; l++) layer[l] = reference_layer(reference_name[l], &weight[l]);
  for (int route = 0; route < 6; route++) {
    const EkLayerState *state;
    EkBalance           balance;

    options.solver = route / 2;
    options.scalapack_min = route % 2 ? 96 : 1024; /* at three ranks the first leaves some to ScaLAPACK */
    balance = refreshed(mesh, &options, REFERENCES, layer, &state);
    for (int l = 0; l < REFERENCES; l++) {
      expect_reference(reference_name[l], &state[l], 2e-6);
      assert_int_equal(state[l].balanced, state[l].num_evals >= 13);
      assert_true(state[l].balanced || state[l].ratio == 1);
      expect_same_on_all_ranks((size_t)state[l].neigs, state[l].eigenvalues);
      expect_same_on_all_ranks(1, &state[l].ratio);
    }
    EK_OK(EkBalanceDestroy(&balance));
  }
  for (int l = 0; l < REFERENCES; l++) free(weight[l]);
  EK_OK(EkMeshDestroy(&mesh));
}

/* Whether the view says that ScaLAPACK is at work; known on rank 0. */
static PetscBool says_scalapack(EkBalance balance)
{
  FILE *file = tmpfile();
  char  text[8192];

  EK_OK(EkBalanceView(balance, file));
  rewind(file);
  text[fread(text, 1, sizeof(text) - 1, file)] = 0;
  fclose(file);
  return (PetscBool)(strstr(text, "scalapack") != NULL);
}

/* One layer at a time: alone it keeps the other ranks waiting, so that it is distributed. */
static void distributed_solvers_match_the_published_estimator(void **unused)
{
  static const char *const name[] = {"linear_257x129", "heavy_96x96", "heavy_257x129", "linear_96x96"};
  EkMesh                   mesh = mesh_of(EkTestRun());
  EkBalanceOptions         options = defaults();

  (void)unused;
  options.scalapack_min = 96;
  for (int l = 0; l < 4; l++) {
    float  *weight;
    EkLayer layer = reference_layer(name[l], &weight);

    for (options.solver = AUTO; options.solver <= GRAM; options.solver++) {
      const EkLayerState *state;
      EkBalance           balance = refreshed(mesh, &options, 1, &layer, &state);

      expect_reference(name[l], state, 2e-6);
      expect_same_on_all_ranks((size_t)state->neigs, state->eigenvalues);
      assert_int_equal(says_scalapack(balance), EkTestRun()->size > 1 && EkTestRun()->rank == 0);
      EK_OK(EkBalanceDestroy(&balance));
    }
    free(weight);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* The other two fits, which ranks share among them. */
static void scans_match_the_published_estimator(void **unused)
{
  static const char *const fit[][2] = {{"dks", "alpha_DKS"}, {"xmin_peak", "alpha_xmin_peak"}};
  EkMesh                   mesh = mesh_of(EkTestRun());
  EkBalanceOptions         options = defaults();
  EkLayer                  layer[REFERENCES];
  float                   *weight[REFERENCES];

  (void)unused;
  for (int l = 0; l < REFERENCES; l++) layer[l] = reference_layer(reference_name[l], &weight[l]);
  for (int f = 0; f < 2; f++) {
    const EkLayerState *state;
    EkBalance           balance;

    options.fit = EkFamilyFind(&EkFitFamily, fit[f][0]);
    balance = refreshed(mesh, &options, REFERENCES, layer, &state);
    for (int l = 0; l < REFERENCES; l++)
      assert_true(fabs(state[l].alpha - CaseNumber(SPECTRA, reference_name[l], fit[f][1])) < 1e-3);
    EK_OK(EkBalanceDestroy(&balance));
  }
  for (int l = 0; l < REFERENCES; l++) free(weight[l]);
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- against known spectra ---- */

static void every_route_finds_known_spectra(void **unused)
{
  static const int size[][2] = {{40, 40}, {33, 70}, {300, 96}, {96, 500}, {1100, 40}, {130, 129}, {290, 280}};
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();

  (void)unused;
  for (int t = 0; t < 7; t++) {
    const int m = size[t][0], n = size[t][1], least = m < n ? m : n;
    double    sigma[512];
    float    *w;
    EkLayer   layer;

    for (int k = 0; k < least; k++) sigma[k] = pow(k + 1, -0.6);
    w = known_matrix(m, n, sigma);
    layer = one_matrix("known", w, m, n);
    for (options.solver = SVD; options.solver <= GRAM; options.solver++) {
      for (options.scalapack_min = 32; options.scalapack_min <= 1024; options.scalapack_min *= 32) {
        const EkLayerState *state;
        EkBalance           balance = refreshed(mesh, &options, 1, &layer, &state);

        for (int k = 0; k < least; k++) {
          if (!(fabs(state->eigenvalues[least - 1 - k] - sigma[k] * sigma[k]) < 2e-6))
            fail_msg("%d x %d, solver %d, scalapack_min %d: eigenvalue %d is %g, expected %g", m, n, options.solver,
                     (int)options.scalapack_min, k, state->eigenvalues[least - 1 - k], sigma[k] * sigma[k]);
        }
        EK_OK(EkBalanceDestroy(&balance));
      }
    }
    free(w);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* A + iB has the singular values of [A -B; B A], where each appears twice; stored either way round, imaginary parts beside the
   real ones or after them all. */
static void complex_matrices_equal_their_real_embedding(void **unused)
{
  enum { M = 50, N = 40 };
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float              *z = random_weights(1, 2 * M * N), *real = malloc(sizeof(float) * 4 * M * N), apart[2 * M * N];
  EkLayer             embedded = one_matrix("embedded", real, 2 * M, 2 * N), layer[3];
  const EkLayerState *state, *expected;

  (void)unused;
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < N; j++) {
      const float re = z[2 * (i * N + j)], im = z[2 * (i * N + j) + 1];

      real[i * 2 * N + j] = real[(i + M) * 2 * N + j + N] = re;
      real[i * 2 * N + j + N] = -im;
      real[(i + M) * 2 * N + j] = im;
      apart[i * N + j] = re;
      apart[M * N + i * N + j] = im;
    }
  }
  layer[0] = one_matrix("complex", z, M, N);
  layer[0].batch[0] = (EkMatrixBatch){z, 1, M, N, 0, 2 * N, 2, PETSC_TRUE, 0};
  layer[1] = layer[0];
  layer[1].batch[0] = (EkMatrixBatch){z, 1, N, M, 0, 2, 2 * N, PETSC_TRUE, 0};
  layer[2] = layer[0];
  layer[2].batch[0] = (EkMatrixBatch){apart, 1, M, N, 0, N, 1, PETSC_TRUE, M * N};
  for (options.solver = SVD; options.solver <= GRAM; options.solver++) {
    for (options.scalapack_min = 32; options.scalapack_min <= 1024; options.scalapack_min *= 32) {
      EkBalance reference = refreshed(mesh, &options, 1, &embedded, &expected);

      for (int l = 0; l < 3; l++) {
        EkBalance balance = refreshed(mesh, &options, 1, &layer[l], &state);

        assert_int_equal(state->neigs, N);
        for (int k = 0; k < N; k++)
          assert_true(fabs(state->eigenvalues[k] - expected->eigenvalues[2 * k]) < 2e-6 * expected->spectral_norm);
        EK_OK(EkBalanceDestroy(&balance));
      }
      EK_OK(EkBalanceDestroy(&reference));
    }
  }
  free(z), free(real);
  EK_OK(EkMeshDestroy(&mesh));
}

/* A filter asks on which side of it a value lies: what single precision would get wrong. */
static void singular_values_are_those_of_double_precision(void **unused)
{
  enum { M = 130, N = 96 };
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float              *w = random_weights(39, M * N);
  EkLayer             layer = one_matrix("svd", w, M, N);
  const EkLayerState *state[2];
  EkBalance           balance[2];

  (void)unused;
  options.solver = SVD;
  for (int i = 0; i < 2; i++) {
    options.scalapack_min = i ? 1024 : 32;
    balance[i] = refreshed(mesh, &options, 1, &layer, &state[i]);
  }
  for (int k = 0; k < N; k++)
    assert_true(fabs(state[0]->eigenvalues[k] - state[1]->eigenvalues[k]) < 1e-13 * state[0]->spectral_norm);
  for (int i = 0; i < 2; i++) EK_OK(EkBalanceDestroy(&balance[i]));
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

/* Three layers with spectra of three shapes; the weights are to be freed. */
static float *three_spectra(EkLayer layer[3])
{
  enum { ROWS = 60, COLS = 50, EACH = ROWS * COLS };
  float *w = random_weights(40, 3 * EACH);

  for (int l = 0; l < 3; l++) {
    for (int i = 0; i < EACH; i++) w[l * EACH + i] *= expf(0.03f * (float)(l * (i / COLS)));
    layer[l] = one_matrix("spectrum", w + (size_t)l * EACH, ROWS, COLS);
  }
  return w;
}

/* Other measures of a spectrum in alpha's place. */
static void rules_take_other_metrics(void **unused)
{
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  EkLayer             layer[3];
  float              *w = three_spectra(layer);
  const EkLayerState *state;

  (void)unused;
  options.rule = EkFamilyFind(&EkRuleFamily, "tb_linear_map");
  for (options.metric = 0; options.metric < EkMetricFamily.count; options.metric++) {
    EkBalance balance = refreshed(mesh, &options, 3, layer, &state);
    double    value[3], ratio[3];

    for (int l = 0; l < 3; l++) {
      const double of[] = {state[l].alpha, state[l].stable_rank, state[l].spectral_norm};

      value[l] = of[options.metric];
    }
    EK_OK(EkRatios(&options, 3, value, ratio));
    for (int l = 0; l < 3; l++) assert_true(fabs(state[l].ratio - ratio[l]) < 1e-12 && state[l].balanced);
    EK_OK(EkBalanceDestroy(&balance));
  }
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

/* Ratios of another rule are those of a refresh under it. */
static void a_rule_applies_to_known_exponents(void **unused)
{
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  EkLayer             layer[3];
  float              *w = three_spectra(layer);
  const EkLayerState *state, *expected;
  const double       *kept;
  EkBalance           balance, other;
  size_t              count;
  int                 n;

  (void)unused;
  options.rule = EkFamilyFind(&EkRuleFamily, "tb_sigmoid");
  balance = refreshed(mesh, &options, 3, layer, &state);
  EK_OK(EkBalanceGetState(balance, &count, &kept));
  options.rule = EkFamilyFind(&EkRuleFamily, "tb_linear_map");
  other = refreshed(mesh, &options, 3, layer, &expected);
  for (int l = 0; l < 3; l++) assert_true(state[l].ratio != expected[l].ratio);
  EK_OK(EkBalanceDestroy(&other));
  EK_OK(EkBalanceCreate(mesh, &options, 3, layer, &other));
  EK_OK(EkBalancePutState(other, count, kept));
  EK_OK(EkBalanceGetLayers(other, &n, &expected));
  for (int l = 0; l < 3; l++) assert_true(state[l].ratio == expected[l].ratio);
  EK_OK(EkBalanceApplyRule(other));
  EK_OK(EkBalanceDestroy(&balance));
  balance = refreshed(mesh, &options, 3, layer, &state);
  for (int l = 0; l < 3; l++) assert_true(state[l].ratio == expected[l].ratio && isfinite(state[l].ratio));
  EK_OK(EkBalanceDestroy(&other));
  EK_OK(EkBalanceDestroy(&balance));
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- properties ---- */

static void pooled_batches_are_the_union_of_their_parts(void **unused)
{
  enum { COUNT = 30, ROWS = 12, COLS = 9 };
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float              *w = random_weights(2, COUNT * ROWS * COLS), *w2 = random_weights(3, COUNT * ROWS * COLS);
  EkLayer             pooled = {.name = "pooled", .nbatches = 2, .scale = 0.5}, part[2 * COUNT];
  const EkLayerState *state, *parts;
  EkBalance           balance, separate;
  double              norm = 0, largest = 0, sum = 0;

  (void)unused;
  pooled.batch[0] =
      (EkMatrixBatch){w, COUNT, ROWS, COLS, 1, COUNT * COLS, COUNT, PETSC_FALSE, 0}; /* the matrices interleaved, as taps are */
  pooled.batch[1] = (EkMatrixBatch){w2, COUNT, ROWS, COLS, ROWS * COLS, COLS, 1, PETSC_FALSE, 0};
  for (int k = 0; k < COUNT; k++) {
    part[k] = one_matrix("part", w, ROWS, COLS);
    part[k].batch[0] = pooled.batch[0];
    part[k].batch[0].data = w + k;
    part[k].batch[0].count = 1;
    part[COUNT + k] = one_matrix("part", w2 + (size_t)k * ROWS * COLS, ROWS, COLS);
    part[k].scale = part[COUNT + k].scale = 0.5;
  }
  balance = refreshed(mesh, &options, 1, &pooled, &state);
  separate = refreshed(mesh, &options, 2 * COUNT, part, &parts);
  assert_int_equal(state->neigs, 2 * COUNT * COLS);
  for (int k = 0; k < 2 * COUNT; k++) {
    norm += parts[k].norm;
    largest = fmax(largest, parts[k].spectral_norm);
  }
  for (int i = 0; i < state->neigs; i++) {
    assert_true(i == 0 || state->eigenvalues[i - 1] <= state->eigenvalues[i]);
    sum += state->eigenvalues[i];
  }
  assert_true(fabs(state->norm - norm) < 1e-12 * norm && fabs(sum - norm) < 1e-12 * norm && state->spectral_norm == largest);
  EK_OK(EkBalanceDestroy(&balance));
  EK_OK(EkBalanceDestroy(&separate));
  free(w), free(w2);
  EK_OK(EkMeshDestroy(&mesh));
}

/* Sum of eigenvalues = squared Frobenius norm; alpha of the middle fit does not know the scale of the weights. */
static void alpha_is_scale_free_and_norm_is_frobenius(void **unused)
{
  enum { M = 60, N = 50 };
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float              *w = random_weights(4, M * N), *large = malloc(sizeof(float) * M * N);
  EkLayer             layer[2] = {one_matrix("plain", w, M, N), one_matrix("scaled", large, M, N)};
  const EkLayerState *state;
  EkBalance           balance;
  double              square = 0;

  (void)unused;
  for (int i = 0; i < M * N; i++) {
    large[i] = 64 * w[i];
    square += (double)w[i] * w[i];
  }
  options.eig_filter = 1e-9;
  layer[0].relative_filter = layer[1].relative_filter = PETSC_TRUE;
  balance = refreshed(mesh, &options, 2, layer, &state);
  assert_true(fabs(state[0].norm - square) < 1e-12 * square);
  assert_true(fabs(state[1].norm - 4096 * square) < 1e-9 * square);
  assert_true(fabs(state[0].alpha - state[1].alpha) < 1e-9);
  assert_true(state[0].ratio == state[1].ratio || fabs(state[0].ratio - 1) < 1e-7);
  EK_OK(EkBalanceDestroy(&balance));
  free(w), free(large);
  EK_OK(EkMeshDestroy(&mesh));
}

/* A run of this rank by itself. */
static void results_do_not_depend_on_the_ranks(void **unused)
{
  enum { L = 9 };
  struct EkRun_       lone = *EkTestRun();
  EkBalanceOptions    options = defaults();
  EkMesh              mesh, alone;
  EkLayer             layer[L];
  float              *w[L];
  const EkLayerState *state, *expected;
  EkBalance           balance, reference;

  (void)unused;
  lone.comm = PETSC_COMM_SELF, lone.rank = 0, lone.size = 1;
  mesh = mesh_of(EkTestRun());
  alone = mesh_of(&lone);
  for (int l = 0; l < L; l++) {
    const int n = 15 + 7 * l;

    w[l] = random_weights(20 + l, (size_t)((n + 11) * n * (l + 1)));
    layer[l] = one_matrix("layer", w[l], n + 11, n);
    layer[l].batch[0] = (EkMatrixBatch){w[l], l + 1, n + 11, n, (size_t)((n + 11) * n), (size_t)n, 1, PETSC_FALSE, 0};
    for (int k = 0; k <= l; k++) w[l][k] *= (float)(1 + 3 * k);
  }
  balance = refreshed(mesh, &options, L, layer, &state);
  reference = refreshed(alone, &options, L, layer, &expected);
  for (int l = 0; l < L; l++) {
    assert_true(state[l].balanced && state[l].alpha == expected[l].alpha && state[l].ratio == expected[l].ratio);
    assert_memory_equal(state[l].eigenvalues, expected[l].eigenvalues, sizeof(double) * (size_t)state[l].neigs);
  }
  EK_OK(EkBalanceDestroy(&balance));
  EK_OK(EkBalanceDestroy(&reference));
  for (int l = 0; l < L; l++) free(w[l]);
  EK_OK(EkMeshDestroy(&mesh));
  EK_OK(EkMeshDestroy(&alone));
}

/* Distributed solvers included: the same weights on the same ranks give the same bits. */
static void refreshes_repeat_bitwise(void **unused)
{
  enum { M = 150, N = 120 };
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  float           *w = random_weights(38, M * N);
  EkLayer          layer = one_matrix("repeated", w, M, N);

  (void)unused;
  options.scalapack_min = 96;
  for (options.solver = SVD; options.solver <= GRAM; options.solver++) {
    const EkLayerState *state;
    EkBalance           balance = refreshed(mesh, &options, 1, &layer, &state);
    double              first[N];

    memcpy(first, state->eigenvalues, sizeof(first));
    for (int i = 0; i < 20; i++) {
      if (i % 3 == EkTestRun()->rank) usleep(200); /* another rank comes late each time */
      EK_OK(EkBalanceRefresh(balance));
      assert_memory_equal(first, state->eigenvalues, sizeof(first));
    }
    EK_OK(EkBalanceDestroy(&balance));
  }
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- exclusion ---- */

static void small_layers_keep_the_base_rate(void **unused)
{
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  float           *w = random_weights(30, 64 * 64);
  EkLayer layer[] = {one_matrix("twelve", w, 40, 12), one_matrix("thirteen", w, 40, 13), one_matrix("thirty", w, 40, 30)};
  const EkLayerState *state;
  EkBalance           balance = refreshed(mesh, &options, 3, layer, &state);
  double              mean;

  (void)unused;
  assert_true(!state[0].balanced && state[0].ratio == 1 && isfinite(state[0].alpha));
  assert_true(state[1].balanced && state[2].balanced);
  mean = (state[1].alpha + state[2].alpha) / 2; /* the excluded one does not enter it */
  for (int l = 1; l < 3; l++) {
    const double expected = pow(10, 1 / (1 + exp(-10 * (state[l].alpha - mean))) - 0.5);

    assert_true(fabs(state[l].ratio / expected - 1) < 1e-12);
  }
  EK_OK(EkBalanceDestroy(&balance));
  options.min_eigs = 1000;
  balance = refreshed(mesh, &options, 3, layer, &state);
  for (int l = 0; l < 3; l++) assert_true(!state[l].balanced && state[l].ratio == 1);
  EK_OK(EkBalanceDestroy(&balance));
  options = defaults();
  options.rule = EkFamilyFind(&EkRuleFamily, "none");
  balance = refreshed(mesh, &options, 3, layer, &state);
  for (int l = 0; l < 3; l++) assert_true(!state[l].balanced && state[l].ratio == 1 && state[l].alpha > 1);
  EK_OK(EkBalanceDestroy(&balance));
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

/* What the first rank prints to PETSC_STDOUT while two refreshes run. */
static void two_refreshes_printed(EkBalance balance, char *text, size_t size)
{
  FILE *standard = PETSC_STDOUT, *memory = tmpfile();

  PETSC_STDOUT = memory;
  EK_OK(EkBalanceRefresh(balance));
  EK_OK(EkBalanceRefresh(balance));
  PETSC_STDOUT = standard;
  rewind(memory);
  text[fread(text, 1, size - 1, memory)] = 0;
  fclose(memory);
}

static void hopeless_layers_are_said_so_once(void **unused)
{
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  float           *w = random_weights(31, 40 * 40), *zero = calloc(900, sizeof(float)), *identity = calloc(900, sizeof(float));
  EkLayer layer[] = {one_matrix("zero", zero, 30, 30), one_matrix("flat", identity, 30, 30), one_matrix("good", w, 40, 40),
                     one_matrix("fine", w, 40, 20)};
  const EkLayerState *state;
  EkBalance           balance;
  char                text[1024];
  int                 n;

  (void)unused;
  for (int i = 0; i < 30; i++) identity[31 * i] = 1;
  EK_OK(EkBalanceCreate(mesh, &options, 4, layer, &balance));
  two_refreshes_printed(balance, text, sizeof(text));
  EK_OK(EkBalanceGetLayers(balance, &n, &state));
  assert_true(!state[0].balanced && state[0].ratio == 1 && state[0].num_evals == 0 && isnan(state[0].alpha) &&
              state[0].norm == 0);
  assert_true(!state[1].balanced && state[1].ratio == 1 && state[1].num_evals == 30 && isinf(state[1].alpha));
  assert_true(state[2].balanced && state[3].balanced && state[2].ratio != 1);
  if (EkTestRun()->rank == 0) {
    assert_non_null(strstr(text, "layer zero: its weights are all zero"));
    assert_non_null(strstr(text, "layer flat: no power law"));
    assert_null(strstr(strstr(text, "layer zero") + 1, "layer zero")); /* once, not at every refresh */
    assert_null(strstr(text, "good"));
  } else
    assert_int_equal(strlen(text), 0);
  EK_OK(EkBalanceDestroy(&balance));
  free(w), free(zero), free(identity);
  EK_OK(EkMeshDestroy(&mesh));
}

/* xmin_peak may have no start to choose: bins wider than its window, the fullest filled at its upper end, all below it under the
   lower bound. The published code gives alpha 0 then, which must not enter the mean of the others. */
static void layers_without_a_start_keep_the_base_rate(void **unused)
{
  enum { N = 30 };
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float              *w = random_weights(39, 40 * 40), *gap = calloc(N * N, sizeof(float));
  EkLayer             layer[] = {one_matrix("good", w, 40, 40), one_matrix("fine", w, 40, 20), one_matrix("gap", gap, N, N)};
  const EkLayerState *state, *without;
  EkBalance           balance, reference;

  (void)unused;
  /* twenty decades of eigenvalues, 1e-4 to 1e16: bins of a fifth of a decade, 1.58; the window ends at 1.5 */
  for (int i = 0; i < N; i++) gap[(N + 1) * i] = (float)sqrt(pow(10, -4 + 0.2 * 60.97) * (1 + 1e-4 * i));
  gap[0] = 1e-2f;
  gap[(N + 1) * (N - 1)] = 1e8f;
  options.solver = SVD;
  options.fit = EkFamilyFind(&EkFitFamily, "xmin_peak");
  balance = refreshed(mesh, &options, 3, layer, &state);
  reference = refreshed(mesh, &options, 2, layer, &without);
  assert_true(state[2].alpha == 0 && state[2].num_evals == N);
  assert_true(!state[2].balanced && state[2].ratio == 1);
  assert_true(without[0].ratio != 1);
  for (int l = 0; l < 2; l++) assert_true(state[l].balanced && state[l].ratio == without[l].ratio);
  EK_OK(EkBalanceDestroy(&balance));
  EK_OK(EkBalanceDestroy(&reference));
  free(w), free(gap);
  EK_OK(EkMeshDestroy(&mesh));
}

/* The norm is that of the weights, dropped eigenvalues included. */
static void dropped_eigenvalues_count_in_the_norm(void **unused)
{
  enum { N = 60 };
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  double              sigma[N], norm = 0, dropped = 0;
  float              *w;
  EkLayer             layer;
  const EkLayerState *state;
  EkBalance           balance;

  (void)unused;
  for (int k = 0; k < N; k++) {
    sigma[k] = sqrt(N - k - 0.5);
    norm += N - k - 0.5;
    dropped += k < 40 ? 0 : N - k - 0.5;
  }
  layer = one_matrix("known", w = known_matrix(N, N, sigma), N, N);
  options.eig_filter = 20;
  balance = refreshed(mesh, &options, 1, &layer, &state);
  assert_true(state->num_evals == 40 && state->neigs == N);
  assert_true(fabs(state->norm - norm) < 0.01 * dropped);
  assert_true(fabs(state->stable_rank * sigma[0] * sigma[0] - norm) < 0.01 * dropped);
  EK_OK(EkBalanceDestroy(&balance));
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

/* Nothing passes the absolute filter: the fit takes what there is, the count says 0. The relative filter keeps them. */
static void filters_are_absolute_or_relative(void **unused)
{
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();
  float           *w = random_weights(32, 900), *tiny = malloc(sizeof(float) * 900);
  EkLayer layer[] = {one_matrix("plain", w, 30, 30), one_matrix("absolute", tiny, 30, 30), one_matrix("relative", tiny, 30, 30)};
  const EkLayerState *state;
  EkBalance           balance;

  (void)unused;
  for (int i = 0; i < 900; i++) tiny[i] = w[i] / 1024;
  layer[0].relative_filter = layer[2].relative_filter = PETSC_TRUE;
  balance = refreshed(mesh, &options, 3, layer, &state);
  assert_true(state[1].num_evals == 0 && !state[1].balanced && state[1].ratio == 1 && state[1].alpha > 1);
  assert_int_equal(state[1].tail, 15); /* a place in all of them, whatever was dropped */
  assert_true(state[2].balanced && state[2].num_evals == state[0].num_evals && fabs(state[2].alpha - state[0].alpha) < 1e-9);
  EK_OK(EkBalanceDestroy(&balance));
  free(w), free(tiny);
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- over time ---- */

static void state_round_trip_restores_everything(void **unused)
{
  EkMesh              mesh = mesh_of(EkTestRun());
  EkBalanceOptions    options = defaults();
  float              *w = random_weights(33, 3 * 900), *zero = calloc(400, sizeof(float));
  EkLayer             layer[] = {one_matrix("a", w, 30, 30), one_matrix("b", w + 900, 45, 20), one_matrix("c", w + 1800, 15, 60),
                                 one_matrix("z", zero, 20, 20)};
  const EkLayerState *before, *after;
  EkBalance           first, second;
  const double       *state;
  size_t              count;
  char                text[256];
  int                 n;

  (void)unused;
  options.fixed = PETSC_TRUE;
  EK_OK(EkBalanceCreate(mesh, &options, 4, layer, &first));
  two_refreshes_printed(first, text, sizeof(text));
  EK_OK(EkBalanceGetLayers(first, &n, &before));
  for (int i = 0; i < 900; i++) w[i] += (float)(i % 31 == 0); /* the weights move on */
  EK_OK(EkBalanceRefresh(first));
  EK_OK(EkBalanceGetState(first, &count, &state));
  expect_same_on_all_ranks(count, state);
  EK_OK(EkBalanceCreate(mesh, &options, 4, layer, &second));
  EK_OK(EkBalanceGetLayers(second, &n, &after));
  for (int l = 0; l < 4; l++)
    assert_true(after[l].ratio == 1 && !after[l].balanced && isnan(after[l].alpha)); /* before any refresh */
  EK_OK(EkBalancePutState(second, count, state));
  for (int l = 0; l < 4; l++) {
    assert_true(after[l].ratio == before[l].ratio && after[l].balanced == before[l].balanced &&
                after[l].num_evals == before[l].num_evals);
    assert_true(l == 3 || (after[l].alpha == before[l].alpha && after[l].D == before[l].D && after[l].tail == before[l].tail));
    assert_true(after[l].norm == before[l].norm && after[l].spectral_norm == before[l].spectral_norm &&
                after[l].stable_rank == before[l].stable_rank);
  }
  two_refreshes_printed(second, text, sizeof(text)); /* goes on as the first one would: fixed alphas, nothing said twice */
  EK_OK(EkBalanceRefresh(first));
  assert_int_equal(strlen(text), 0);
  for (int l = 0; l < 4; l++) assert_true(after[l].ratio == before[l].ratio);
  EK_FAILS(EkBalancePutState(second, count - 1, state), "balancing state");
  EK_OK(EkBalanceDestroy(&first));
  EK_OK(EkBalanceDestroy(&second));
  EK_OK(EkBalanceDestroy(&second));
  free(w), free(zero);
  EK_OK(EkMeshDestroy(&mesh));
}

static void fixed_keeps_the_first_ratios(void **unused)
{
  EkMesh           mesh = mesh_of(EkTestRun());
  EkBalanceOptions options = defaults();

  (void)unused;
  for (int fixed = 0; fixed < 2; fixed++) {
    float              *w = random_weights(34, 2 * 900);
    EkLayer             layer[] = {one_matrix("a", w, 30, 30), one_matrix("b", w + 900, 45, 20)};
    const EkLayerState *state;
    EkBalance           balance;
    double              ratio[2], alpha[2];

    options.fixed = (PetscBool)fixed;
    balance = refreshed(mesh, &options, 2, layer, &state);
    for (int l = 0; l < 2; l++) ratio[l] = state[l].ratio, alpha[l] = state[l].alpha;
    for (int i = 0; i < 900; i++) w[i] = i % 31 ? w[i] : 30.0f / (1 + i / 31); /* heavier tail */
    EK_OK(EkBalanceRefresh(balance));
    assert_true(state[0].alpha != alpha[0]);
    assert_int_equal(state[0].ratio == ratio[0] && state[1].ratio == ratio[1], fixed);
    EK_OK(EkBalanceDestroy(&balance));
    free(w);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- errors and the view ---- */

static void view_says_who_does_what(void **unused)
{
  const EkRun         run = EkTestRun();
  EkMesh              mesh = mesh_of(run);
  EkBalanceOptions    options = defaults();
  float              *w = random_weights(37, 12000);
  EkLayer             layer[] = {one_matrix("fc0", w, 20, 42), one_matrix("wide", w, 100, 120), one_matrix("fc1", w, 128, 20)};
  const EkLayerState *state;
  EkBalance           balance;
  FILE               *file = tmpfile();
  char                text[4096];

  (void)unused;
  options.scalapack_min = 96;
  balance = refreshed(mesh, &options, 3, layer, &state);
  EK_OK(EkBalanceView(balance, file));
  rewind(file);
  text[fread(text, 1, sizeof(text) - 1, file)] = 0;
  if (run->rank == 0) {
    for (int l = 0; l < 3; l++) assert_non_null(strstr(text, layer[l].name));
    assert_int_equal(strstr(text, "scalapack") != NULL, run->size > 1);
    assert_non_null(strstr(text, "100x120"));
    assert_non_null(strstr(text, "predicted"));
  } else
    assert_int_equal(strlen(text), 0);
  fclose(file);
  EK_OK(EkBalanceDestroy(&balance));
  free(w);
  EK_OK(EkMeshDestroy(&mesh));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_route_matches_the_published_estimator),
    cmocka_unit_test(distributed_solvers_match_the_published_estimator),
    cmocka_unit_test(scans_match_the_published_estimator),
    cmocka_unit_test(every_route_finds_known_spectra),
    cmocka_unit_test(complex_matrices_equal_their_real_embedding),
    cmocka_unit_test(singular_values_are_those_of_double_precision),
    cmocka_unit_test(rules_take_other_metrics),
    cmocka_unit_test(a_rule_applies_to_known_exponents),
    cmocka_unit_test(pooled_batches_are_the_union_of_their_parts),
    cmocka_unit_test(alpha_is_scale_free_and_norm_is_frobenius),
    cmocka_unit_test(results_do_not_depend_on_the_ranks),
    cmocka_unit_test(refreshes_repeat_bitwise),
    cmocka_unit_test(small_layers_keep_the_base_rate),
    cmocka_unit_test(hopeless_layers_are_said_so_once),
    cmocka_unit_test(layers_without_a_start_keep_the_base_rate),
    cmocka_unit_test(filters_are_absolute_or_relative),
    cmocka_unit_test(dropped_eigenvalues_count_in_the_norm),
    cmocka_unit_test(state_round_trip_restores_everything),
    cmocka_unit_test(fixed_keeps_the_first_ratios),
    cmocka_unit_test(view_says_who_does_what),
};
EK_TEST_MAIN(tests)
