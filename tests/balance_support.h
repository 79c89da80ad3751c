/* What the tests of balancing share: a mesh, the deck's defaults, layers of random weights, a refreshed balancer. */
#pragma once
#include "support.h"
#include "evenkeel/balance.h"

enum { AUTO, SVD, GRAM }; /* rows of EkSolverFamily */

static inline EkMesh mesh_of(EkRun run)
{
  EkMeshOptions options = {0, 1, EK_SHARD_NONE};
  EkMesh        mesh;

  EK_OK(EkMeshCreate(run, &options, &mesh));
  return mesh;
}

static inline EkBalanceOptions defaults(void)
{
  EkBalanceOptions options;
  EkProblems       problems;

  EK_OK(EkProblemsCreate(&problems));
  EK_OK(EkKeysRead(EkTestRun(), &EkBalanceKeys, &options, problems));
  EK_OK(EkProblemsRaise(EkTestRun(), &problems));
  return options;
}

static inline EkLayer one_matrix(const char *name, const float *data, PetscInt rows, PetscInt cols)
{
  EkLayer layer = {.nbatches = 1, .scale = 1};

  snprintf(layer.name, sizeof(layer.name), "%s", name);
  layer.batch[0] = (EkMatrixBatch){data, 1, rows, cols, (size_t)(rows * cols), (size_t)cols, 1, PETSC_FALSE, 0};
  return layer;
}

static inline float *random_weights(int stream_index, size_t n)
{
  EkRandom stream = EkRandomStream(11, EK_RANDOM_TEST, (uint64_t)stream_index);
  float   *w = malloc(sizeof(float) * n);

  for (size_t i = 0; i < n; i++) w[i] = (float)(0.1 * EkNormal(&stream));
  return w;
}

/* W = (I - 2 u u^T) diag(sigma) (I - 2 v v^T) with unit vectors u, v: singular values as given. */
static inline float *known_matrix(int m, int n, const double *sigma)
{
  const int least = m < n ? m : n, most = m < n ? n : m;
  EkRandom  stream = EkRandomStream(17, EK_RANDOM_TEST, (uint64_t)(m * 1000 + n));
  double   *u = calloc((size_t)most, sizeof(double)), *v = calloc((size_t)most, sizeof(double)),
         *s = calloc((size_t)most, sizeof(double));
  double nu = 0, nv = 0, usv = 0;
  float *w = malloc(sizeof(float) * (size_t)(m * n));

  for (int i = 0; i < m; i++) u[i] = EkNormal(&stream), nu += u[i] * u[i];
  for (int j = 0; j < n; j++) v[j] = EkNormal(&stream), nv += v[j] * v[j];
  for (int i = 0; i < m; i++) u[i] /= sqrt(nu);
  for (int j = 0; j < n; j++) v[j] /= sqrt(nv);
  for (int k = 0; k < least; k++) {
    s[k] = sigma[k];
    usv += u[k] * s[k] * v[k];
  }
  for (int i = 0; i < m; i++) {
    for (int j = 0; j < n; j++) w[i * n + j] = (float)(4 * u[i] * usv * v[j] - 2 * u[i] * u[j] * s[j] - 2 * s[i] * v[i] * v[j]);
  }
  for (int k = 0; k < least; k++)
    w[k * n + k] = (float)(s[k] + 4 * u[k] * usv * v[k] - 2 * u[k] * u[k] * s[k] - 2 * s[k] * v[k] * v[k]);
  free(u), free(v), free(s);
  return w;
}

/* Creates, refreshes; the caller destroys. */
static inline EkBalance refreshed(EkMesh mesh, const EkBalanceOptions *options, int n, const EkLayer *layer,
                                  const EkLayerState **state)
{
  EkBalance balance;
  int       nlayers;

  EK_OK(EkBalanceCreate(mesh, options, n, layer, &balance));
  EK_OK(EkBalanceRefresh(balance));
  EK_OK(EkBalanceGetLayers(balance, &nlayers, state));
  assert_int_equal(nlayers, n);
  return balance;
}
