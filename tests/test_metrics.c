/* ranks: 1 2 3 4 */
/* Error figures: against PDEBench's own, against their definition, over ranks. */
#include "cases.h"
#include "evenkeel/dft.h"
#include "evenkeel/metrics.h"

#define METRICS CASE_FILE("metrics.h5")
#define FIGURES 8

static EkMesh mesh_of(EkRun run)
{
  EkMeshOptions options = {0, 1, EK_SHARD_NONE};
  EkMesh        mesh;

  EK_OK(EkMeshCreate(run, &options, &mesh));
  return mesh;
}

static void to_array(const EkFigures *f, double out[FIGURES])
{
  int i = 0;

#define EK_COPY(field, name) out[i++] = f->field;
  EK_FIGURES(EK_COPY)
#undef EK_COPY
}

static void expect_equal(const EkFigures *got, const EkFigures *wanted, double tolerance)
{
  double a[FIGURES], b[FIGURES];

  to_array(got, a);
  to_array(wanted, b);
  for (int i = 0; i < FIGURES; i++) {
    if (!(isnan(a[i]) && isnan(b[i])) && !(fabs(a[i] - b[i]) <= tolerance * fabs(b[i])))
      fail_msg("figure %d is %.9g, expected %.9g", i, a[i], b[i]);
  }
}

/* A test set in memory, (sample, frame, field, point), planes apart by a stride larger than a plane. */
typedef struct {
  int      dim;
  PetscInt n[2], samples, frames, fields;
  size_t   stride;
  float   *prediction, *target;
} Set;

static size_t plane(const Set *s, int sample, int frame, int field)
{
  return (size_t)((sample * s->frames + frame) * s->fields + field) * s->stride;
}

static Set new_set(int dim, int nx, int ny, int samples, int frames, int fields)
{
  Set s = {.dim = dim, .n = {nx, dim == 2 ? ny : 1}, .samples = samples, .frames = frames, .fields = fields};

  s.stride = (size_t)(s.n[0] * s.n[1]) + 5;
  s.prediction = calloc(plane(&s, samples, 0, 0), sizeof(float));
  s.target = calloc(plane(&s, samples, 0, 0), sizeof(float));
  return s;
}

static Set random_set(int dim, int nx, int ny, int samples, int frames, int fields)
{
  EkRandom stream = EkRandomStream(4, EK_RANDOM_TEST, 1);
  Set      s = new_set(dim, nx, ny, samples, frames, fields);

  for (size_t i = 0; i < plane(&s, samples, 0, 0); i++) {
    s.target[i] = (float)EkNormal(&stream) + 0.3f;
    s.prediction[i] = s.target[i] + 0.2f * (float)EkNormal(&stream) + 0.01f;
  }
  return s;
}

/* The reference set is stored (sample, points, frame, field). */
static Set reference_set(const char *name)
{
  char    path[64];
  hsize_t n[8];
  int     rank;
  float  *data[2];
  Set     s;

  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof(path), "%s/%s", name, i ? "target" : "prediction");
    data[i] = CaseFloats(METRICS, path, &rank, n);
  }
  s = new_set(rank - 3, (int)n[1], (int)n[2], (int)n[0], (int)n[rank - 2], (int)n[rank - 1]);
  for (int b = 0; b < s.samples; b++) {
    for (int t = 0; t < s.frames; t++) {
      for (int c = 0; c < s.fields; c++) {
        for (int p = 0; p < s.n[0] * s.n[1]; p++) {
          const size_t at = (size_t)(((b * s.n[0] * s.n[1] + p) * s.frames + t) * s.fields + c);

          s.prediction[plane(&s, b, t, c) + (size_t)p] = data[0][at];
          s.target[plane(&s, b, t, c) + (size_t)p] = data[1][at];
        }
      }
    }
  }
  free(data[0]), free(data[1]);
  return s;
}

static void free_set(Set *s)
{
  free(s->prediction), free(s->target);
}

/* Every rank adds the samples whose number leaves its rank, from frame `from` on. */
static void add_set(EkMetrics metrics, const Set *s, EkMesh mesh, int from)
{
  for (int b = mesh->idata; b < s->samples; b += mesh->ndata) {
    for (int t = from; t < s->frames; t++)
      EK_OK(EkMetricsAdd(metrics, t, s->stride, s->prediction + plane(s, b, t, 0), s->target + plane(s, b, t, 0)));
  }
}

static void figures_of(const Set *s, EkMesh mesh, int initial, int from, EkFigures *predicted, EkFigures *published)
{
  EkMetrics metrics;

  EK_OK(EkMetricsCreate(s->dim, s->n, s->fields, s->frames, initial, &metrics));
  add_set(metrics, s, mesh, from);
  EK_OK(EkMetricsReduce(metrics, mesh, s->samples, predicted, published));
  EK_OK(EkMetricsDestroy(&metrics));
  assert_null(metrics);
}

static void figures_match_pdebench(void **state)
{
  EkMesh mesh = mesh_of(EkTestRun());

  (void)state;
  for (int i = 0; i < 2; i++) {
    const char *name = i ? "2d" : "1d";
    Set         s = reference_set(name);
    EkFigures   predicted, published, expected;

    figures_of(&s, mesh, 0, 0, &predicted, &published);
#define EK_READ(field, key) expected.field = CaseNumber(METRICS, name, key);
    EK_FIGURES(EK_READ)
#undef EK_READ
    expect_equal(&published, &expected, 1e-5);
    expect_equal(&predicted, &published, 0);
    free_set(&s);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- by definition ---- */

static double square_modulus(const Set *s, const float *error, int kx, int ky)
{
  double re = 0, im = 0;

  for (int i = 0; i < s->n[0]; i++) {
    for (int j = 0; j < s->n[1]; j++) {
      const double angle = 2 * M_PI * ((double)kx * i / s->n[0] + (double)ky * j / s->n[1]), e = error[i * s->n[1] + j];

      re += e * cos(angle), im -= e * sin(angle);
    }
  }
  return re * re + im * im;
}

/* fRMSE of one field and frame with a transform that is none of ours. */
static void bands_by_definition(const Set *s, int t, int c, double band[3])
{
  const int nx = s->n[0], ny = s->n[1], bins = s->dim == 1 ? nx / 2 + 1 : (nx < ny ? nx : ny) / 2;
  double    power[64] = {0}, sum[3] = {0};
  int       count[3] = {0};
  float     error[1024];

  for (int b = 0; b < s->samples; b++) {
    for (int p = 0; p < nx * ny; p++)
      error[p] = s->prediction[plane(s, b, t, c) + (size_t)p] - s->target[plane(s, b, t, c) + (size_t)p];
    for (int i = 0; i < (s->dim == 1 ? bins : nx / 2); i++) {
      for (int j = 0; j < (s->dim == 1 ? 1 : ny / 2); j++) {
        const int k = (int)floor(sqrt((double)(i * i + j * j)));

        if (k < bins) power[k] += square_modulus(s, error, i, j) / s->samples;
      }
    }
  }
  for (int k = 0; k < bins; k++) {
    const int b = k < 4 ? 0 : k < 12 ? 1 : 2;

    sum[b] += sqrt(power[k]) / (nx * ny), count[b]++;
  }
  for (int b = 0; b < 3; b++) band[b] = count[b] ? sum[b] / count[b] : NAN;
}

/* Grids that are odd, oblong or too coarse for a band. */
static void spectra_match_their_definition_on_awkward_grids(void **state)
{
  static const int grid[][3] = {{1, 33, 1}, {1, 22, 1}, {1, 7, 1}, {2, 31, 27}, {2, 26, 9}, {2, 7, 30}, {2, 25, 25}, {1, 1, 1}};
  EkMesh           mesh = mesh_of(EkTestRun());

  (void)state;
  for (int g = 0; g < 8; g++) {
    Set       s = random_set(grid[g][0], grid[g][1], grid[g][2], 2, 1, 1);
    EkFigures predicted, published, expected;
    double    band[3];

    figures_of(&s, mesh, 0, 0, &predicted, &published);
    bands_by_definition(&s, 0, 0, band);
    expected = predicted;
    expected.fRMSE_low = band[0];
    expected.fRMSE_mid = band[1];
    expected.fRMSE_high = band[2];
    expect_equal(&predicted, &expected, 1e-5);
    assert_int_equal(isnan(predicted.fRMSE_high), s.dim == 1 ? s.n[0] < 24 : s.n[0] < 26 || s.n[1] < 26);
    free_set(&s);
  }
  EK_OK(EkMeshDestroy(&mesh));
}

/* An error that is one constant: every figure is known. A cosine: its band alone sees it. */
static void simple_errors_give_known_figures(void **state)
{
  EkMesh    mesh = mesh_of(EkTestRun());
  Set       s = new_set(2, 32, 40, 2, 1, 1);
  EkFigures f, g;

  (void)state;
  for (size_t i = 0; i < plane(&s, 2, 0, 0); i++) s.target[i] = 4, s.prediction[i] = 4.5f;
  figures_of(&s, mesh, 0, 0, &f, &g);
  expect_equal(&f, &(EkFigures){0.5, 0.125, 0.5, 0.5, 0.5, 0.125, f.fRMSE_mid, f.fRMSE_high}, 1e-6); /* low: one of four bins */
  assert_true(f.fRMSE_mid < 1e-7 && f.fRMSE_high < 1e-7);
  for (int b = 0; b < 2; b++) {
    for (int i = 0; i < 32; i++) {
      for (int j = 0; j < 40; j++)
        s.prediction[plane(&s, b, 0, 0) + (size_t)(i * 40 + j)] = 4 + (float)cos(2 * M_PI * (6.0 * i / 32));
    }
  }
  figures_of(&s, mesh, 0, 0, &f, &g);
  assert_true(fabs(f.fRMSE_mid - 0.5 / 8) < 1e-6 && f.fRMSE_low < 1e-6 && f.fRMSE_high < 1e-6 &&
              fabs(f.RMSE - sqrt(0.5)) < 1e-6 && f.cRMSE < 1e-6);
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- frames and ranks ---- */

static void given_frames_count_as_exact_when_published(void **state)
{
  EkMesh    mesh = mesh_of(EkTestRun());
  Set       s = random_set(2, 28, 30, 3, 5, 2);
  EkFigures predicted, published, again, all, scaled;

  (void)state;
  for (int b = 0; b < s.samples; b++)
    memcpy(s.prediction + plane(&s, b, 0, 0), s.target + plane(&s, b, 0, 0),
           sizeof(float) * (plane(&s, b, 2, 0) - plane(&s, b, 0, 0)));
  figures_of(&s, mesh, 2, 2, &predicted, &published);
  figures_of(&s, mesh, 2, 0, &again, &all); /* the exact frames added as well: no difference */
  expect_equal(&again, &predicted, 0);
  expect_equal(&all, &published, 1e-12);
  memset(&scaled, 0, sizeof(scaled));
#define EK_SCALE(field, name) scaled.field = predicted.field * 3 / 5;
  EK_FIGURES(EK_SCALE)
#undef EK_SCALE
  expect_equal(&published, &scaled, 1e-12);
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
}

static void figures_do_not_depend_on_the_ranks(void **state)
{
  struct EkRun_ lone = *EkTestRun();
  Set           s = random_set(2, 24, 26, 3, 2, 2);
  EkMesh        mesh, alone;
  EkFigures     f, g, f_alone, g_alone;

  (void)state;
  lone.comm = PETSC_COMM_SELF, lone.rank = 0, lone.size = 1;
  mesh = mesh_of(EkTestRun());
  alone = mesh_of(&lone);
  figures_of(&s, mesh, 1, 1, &f, &g); /* at four ranks one has no sample */
  figures_of(&s, alone, 1, 1, &f_alone, &g_alone);
  expect_equal(&f, &f_alone, 1e-12);
  expect_equal(&g, &g_alone, 1e-12);
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
  EK_OK(EkMeshDestroy(&alone));
}

static void reset_forgets(void **state)
{
  EkMesh    mesh = mesh_of(EkTestRun());
  Set       s = random_set(1, 40, 1, 2, 3, 1);
  EkMetrics metrics;
  EkFigures f, g, once, once_all;

  (void)state;
  figures_of(&s, mesh, 0, 0, &once, &once_all);
  EK_OK(EkMetricsCreate(s.dim, s.n, s.fields, s.frames, 0, &metrics));
  add_set(metrics, &s, mesh, 0);
  add_set(metrics, &s, mesh, 0);
  EK_OK(EkMetricsReset(metrics));
  add_set(metrics, &s, mesh, 0);
  EK_OK(EkMetricsReduce(metrics, mesh, 2, &f, &g));
  expect_equal(&f, &once, 0);
  EK_OK(EkMetricsReduce(metrics, mesh, 2, &f, &g)); /* reducing does not consume */
  expect_equal(&f, &once, 0);
  EK_OK(EkMetricsDestroy(&metrics));
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
}

static void a_diverged_prediction_is_not_hidden(void **state)
{
  EkMesh    mesh = mesh_of(EkTestRun());
  Set       s = random_set(1, 32, 1, 3, 1, 1);
  EkFigures f, g;

  (void)state;
  s.prediction[plane(&s, 1, 0, 0) + 7] = NAN;
  figures_of(&s, mesh, 0, 0, &f, &g);
  assert_true(isnan(f.RMSE) && isnan(f.nRMSE) && !isfinite(f.max) && isnan(f.fRMSE_low));
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
}

/* ---- relative errors ---- */

#define STEPS 3

/* Of frames [from, to), by their definition: whole test set, one after the other. */
static double relative_by_definition(const Set *s, const float *mask, int from, int to)
{
  double all = 0;

  for (int b = 0; b < s->samples; b++) {
    for (int c = 0; c < s->fields; c++) {
      double error = 0, norm = 0;

      for (int t = from; t < to; t++) {
        const float *p = s->prediction + plane(s, b, t, c), *y = s->target + plane(s, b, t, c);

        for (int i = 0; i < s->n[0] * s->n[1]; i++) {
          if (mask && mask[i] == 0) continue;
          error += pow((double)p[i] - y[i], 2), norm += pow(y[i], 2);
        }
      }
      all += sqrt(error) / (sqrt(norm) + 1e-8);
    }
  }
  return all / (s->samples * s->fields);
}

static void expect_relative(const Set *s, EkMetrics metrics, EkMesh mesh, const float *mask, int initial)
{
  double full, step[STEPS];

  EK_OK(EkMetricsReduceRelative(metrics, mesh, s->samples, &full, step));
  assert_true(fabs(full / relative_by_definition(s, mask, initial, s->frames) - 1) < 1e-12);
  for (int t = initial; t < s->frames; t++)
    assert_true(fabs(step[t - initial] / relative_by_definition(s, mask, t, t + 1) - 1) < 1e-12);
}

/* With given frames that are added and with ones that are not; points that do not count may hold anything. The other figures know
 * no mask. */
static void relative_errors_match_their_definition(void **state)
{
  EkMesh    mesh = mesh_of(EkTestRun());
  Set       s = random_set(2, 12, 9, 5, STEPS + 2, 2);
  float     mask[12 * 9];
  EkMetrics metrics;
  EkFigures plain, all, f, g;

  (void)state;
  for (int i = 0; i < 12 * 9; i++) mask[i] = i % 9 % 2 == 0 && i / 9 % 2 == 0;
  figures_of(&s, mesh, 2, 0, &plain, &all);
  EK_OK(EkMetricsCreate(2, s.n, 2, s.frames, 2, &metrics));
  for (int from = 0; from < 3; from += 2) {
    for (int masked = 0; masked < 2; masked++) {
      EK_OK(EkMetricsReset(metrics));
      EK_OK(EkMetricsSetMask(metrics, masked ? mask : NULL));
      add_set(metrics, &s, mesh, from);
      expect_relative(&s, metrics, mesh, masked ? mask : NULL, 2);
      expect_relative(&s, metrics, mesh, masked ? mask : NULL, 2); /* reducing does not consume */
      EK_OK(EkMetricsReduce(metrics, mesh, s.samples, &f, &g));
      expect_equal(&f, &plain, 0);
    }
  }
  for (int b = 0; b < s.samples; b++) s.prediction[plane(&s, b, 3, 1) + 1] = NAN;
  EK_OK(EkMetricsReset(metrics));
  add_set(metrics, &s, mesh, 2);
  expect_relative(&s, metrics, mesh, mask, 2);
  EK_OK(EkMetricsDestroy(&metrics));
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
}

/* A prediction of zero is wrong by all there is; an exact one by nothing, where the truth is zero too. */
static void relative_errors_of_simple_fields(void **state)
{
  EkMesh    mesh = mesh_of(EkTestRun());
  Set       s = new_set(1, 16, 1, 4, 2, 2);
  EkMetrics metrics;
  double    full, step[2];

  (void)state;
  for (int b = 0; b < 4; b++) {
    for (int i = 0; i < 16; i++) s.target[plane(&s, b, 0, 0) + (size_t)i] = 3, s.target[plane(&s, b, 1, 0) + (size_t)i] = 4;
    for (int i = 0; i < 16; i++) s.prediction[plane(&s, b, 1, 0) + (size_t)i] = 4;
  }
  EK_OK(EkMetricsCreate(1, s.n, 2, 2, 0, &metrics));
  add_set(metrics, &s, mesh, 0);
  EK_OK(EkMetricsReduceRelative(metrics, mesh, 4, &full, step));
  assert_true(fabs(full - 0.5 * 0.6) < 1e-8 && fabs(step[0] - 0.5) < 1e-8 && step[1] == 0);
  s.prediction[plane(&s, 2, 1, 1)] = NAN;
  EK_OK(EkMetricsReset(metrics));
  add_set(metrics, &s, mesh, 0);
  EK_OK(EkMetricsReduceRelative(metrics, mesh, 4, &full, step));
  assert_true(isnan(full) && isnan(step[1]) && fabs(step[0] - 0.5) < 1e-8);
  EK_OK(EkMetricsDestroy(&metrics));
  free_set(&s);
  EK_OK(EkMeshDestroy(&mesh));
}

/* Rank 0 alone makes the mistake; all ranks are told. */
static void other_orders_are_refused(void **state)
{
  static const int order[][4] = {{1, 3, 2, -1}, {1, 2, -1}, {1, 1, 2, 3}, {2, 3, -1}, {1, 2, 3, 1}};
  const PetscInt   n[1] = {8};
  EkMesh           mesh = mesh_of(EkTestRun());
  EkMetrics        metrics;
  float            x[8] = {1}, half[8] = {1, 0, 0.5f}, none[8] = {0};
  double           full, step[3];

  (void)state;
  EK_OK(EkMetricsCreate(1, n, 1, 4, 1, &metrics));
  for (size_t o = 0; o < sizeof(order) / sizeof(order[0]); o++) {
    EK_OK(EkMetricsReset(metrics));
    for (int i = 0; i < 4 && order[o][i] > 0 && mesh->idata == 0; i++) EK_OK(EkMetricsAdd(metrics, order[o][i], 8, x, x));
    EK_FAILS(EkMetricsReduceRelative(metrics, mesh, 1, &full, step), "in order");
  }
  EK_OK(EkMetricsReset(metrics));
  for (int i = 1; i < 4; i++) EK_OK(EkMetricsAdd(metrics, i, 8, x, x));
  EK_FAILS(EkMetricsSetMask(metrics, NULL), "before the first frame");
  EK_FAILS(EkMetricsReduceRelative(metrics, mesh, 9, &full, step), "trajectories were added of 9");
  EK_FAILS(EkMetricsReduceRelative(metrics, mesh, 0, &full, step), "test set is empty");
  EK_OK(EkMetricsReduceRelative(metrics, mesh, mesh->ndata, &full, step));
  EK_OK(EkMetricsReset(metrics));
  EK_FAILS(EkMetricsSetMask(metrics, half), "point 2 of the mask is 0.5");
  EK_FAILS(EkMetricsSetMask(metrics, none), "no point counts");
  EK_OK(EkMetricsDestroy(&metrics));
  EK_OK(EkMeshDestroy(&mesh));
}

static void mistakes_are_refused(void **state)
{
  EkMesh         mesh = mesh_of(EkTestRun());
  const PetscInt n[2] = {8, 8}, none[2] = {0, 8};
  float          x[64] = {0};
  EkMetrics      metrics;
  EkFigures      f, g;

  (void)state;
  EK_FAILS(EkMetricsCreate(3, n, 1, 1, 0, &metrics), "3 axes");
  EK_FAILS(EkMetricsCreate(2, n, 1, 2, 2, &metrics), "nothing to measure");
  EK_FAILS(EkMetricsCreate(2, none, 1, 2, 0, &metrics), "nothing to measure");
  EK_OK(EkMetricsCreate(2, n, 1, 2, 1, &metrics));
  EK_FAILS(EkMetricsAdd(metrics, 2, 64, x, x), "frame 2 of 2");
  EK_FAILS(EkMetricsReduce(metrics, mesh, 0, &f, &g), "test set is empty");
  EK_FAILS(EkMetricsReduce(metrics, mesh, 3, &f, &g), "frame 1 was added for 0 trajectories of 3");
  EK_OK(EkMetricsDestroy(&metrics));
  EK_OK(EkMetricsDestroy(&metrics));
  EK_OK(EkMeshDestroy(&mesh));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(figures_match_pdebench),
    cmocka_unit_test(spectra_match_their_definition_on_awkward_grids),
    cmocka_unit_test(simple_errors_give_known_figures),
    cmocka_unit_test(given_frames_count_as_exact_when_published),
    cmocka_unit_test(figures_do_not_depend_on_the_ranks),
    cmocka_unit_test(reset_forgets),
    cmocka_unit_test(a_diverged_prediction_is_not_hidden),
    cmocka_unit_test(relative_errors_match_their_definition),
    cmocka_unit_test(relative_errors_of_simple_fields),
    cmocka_unit_test(other_orders_are_refused),
    cmocka_unit_test(mistakes_are_refused),
};
EK_TEST_MAIN(tests)
