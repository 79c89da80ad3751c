/* What the tests of the flow solver share: states on the whole grid, solving on some ranks, Sod's tube, totals. */
#pragma once
#include "evenkeel/cfd.h"
#include "support.h"

/* In one dimension n[1] is 1 and the last field stays 0. */
typedef struct {
  PetscInt n[2];
  double  *field[EK_CFD_FIELDS];
} State;

static inline State NewState(PetscInt nx, PetscInt ny)
{
  State state = {.n = {nx, ny}};

  for (int f = 0; f < EK_CFD_FIELDS; f++) state.field[f] = calloc((size_t)(nx * ny), sizeof(double));
  return state;
}

static inline void FreeState(State *state)
{
  for (int f = 0; f < EK_CFD_FIELDS; f++) free(state->field[f]);
}

static inline void SetCell(State *state, PetscInt i, PetscInt j, double density, double pressure, double u, double v)
{
  const double value[] = {density, pressure, u, v};

  for (int f = 0; f < EK_CFD_FIELDS; f++) state->field[f][i * state->n[1] + j] = value[f];
}

/* Smooth and random, the same on every rank */
static inline void SetRandom(State *state)
{
  EkRandom     random = EkRandomStream(7, EK_RANDOM_TEST, 0);
  double       phase[EK_CFD_FIELDS][2];
  const double base[] = {1, 2, 0.3, -0.2}, amplitude[] = {0.4, 0.9, 0.8, 0.7};

  for (int f = 0; f < EK_CFD_FIELDS; f++) {
    for (int d = 0; d < 2; d++) phase[f][d] = EkUniformIn(&random, 0, 6);
  }
  for (PetscInt i = 0; i < state->n[0]; i++) {
    for (PetscInt j = 0; j < state->n[1]; j++) {
      for (int f = 0; f < EK_CFD_FIELDS; f++) {
        const double x = 2 * M_PI * (double)i / (double)state->n[0], y = 2 * M_PI * (double)j / (double)state->n[1];

        state->field[f][i * state->n[1] + j] = base[f] + amplitude[f] * sin(x + phase[f][0]) * cos(2 * y + phase[f][1]);
      }
    }
  }
}

/* Solves on comm; the result is on every rank of it. */
static inline PetscInt64 Solve(MPI_Comm comm, const EkCfdSpec *spec, State *state, double time)
{
  EkCfd      cfd;
  PetscInt64 steps = 0;
  PetscBool  sound;

  EK_OK(EkCfdCreate(comm, spec, &cfd));
  EK_OK(EkCfdSetState(cfd, (const double *const *)state->field));
  EK_OK(EkCfdAdvance(cfd, time, &steps, &sound));
  assert_true(sound);
  EK_OK(EkCfdGetState(cfd, state->field));
  for (int f = 0; f < spec->dim + 2; f++) MPI_Bcast(state->field[f], (int)(state->n[0] * state->n[1]), MPI_DOUBLE, 0, comm);
  EK_OK(EkCfdDestroy(&cfd));
  return steps;
}

static inline EkCfdSpec Line(PetscInt nx, const char *boundary, double eta, double zeta)
{
  const EkCfdSpec spec = {1, {nx}, {1}, EkFamilyFind(&EkBoundaryFamily, boundary), eta, zeta};

  return spec;
}

static inline EkCfdSpec Box(PetscInt nx, PetscInt ny, const char *boundary, double eta, double zeta)
{
  const EkCfdSpec spec = {2, {nx, ny}, {1, 1}, EkFamilyFind(&EkBoundaryFamily, boundary), eta, zeta};

  return spec;
}

/* Pressure function of the exact Riemann solver (Toro, ch. 4) and its derivative, one side with gas at rest */
static inline double Branch(double p, double pressure, double density, double *slope)
{
  const double g = EK_CFD_GAMMA, c = sqrt(g * pressure / density);

  if (p > pressure) {
    const double a = 2 / ((g + 1) * density), b = (g - 1) / (g + 1) * pressure;

    *slope = sqrt(a / (p + b)) * (1 - 0.5 * (p - pressure) / (p + b));
    return (p - pressure) * sqrt(a / (p + b));
  }
  *slope = pow(p / pressure, -(g + 1) / (2 * g)) / (density * c);
  return 2 * c / (g - 1) * (pow(p / pressure, (g - 1) / (2 * g)) - 1);
}

/* Density of Sod's tube at x/t = s: left rarefaction, contact, right shock */
static inline double SodDensity(double s)
{
  const double g = EK_CFD_GAMMA, rl = 1, pl = 1, rr = 0.125, pr = 0.1, cl = sqrt(g * pl / rl), cr = sqrt(g * pr / rr);
  double       p = 0.3, dl, dr, u;

  for (int i = 0; i < 50; i++) {
    const double f = Branch(p, pl, rl, &dl) + Branch(p, pr, rr, &dr);

    p -= f / (dl + dr);
  }
  u = Branch(p, pr, rr, &dr);
  if (s < -cl) return rl;
  if (s < u - cl * pow(p / pl, (g - 1) / (2 * g))) return rl * pow(2 / (g + 1) - (g - 1) / ((g + 1) * cl) * s, 2 / (g - 1));
  if (s < u) return rl * pow(p / pl, 1 / g);
  if (s < cr * sqrt((g + 1) / (2 * g) * p / pr + (g - 1) / (2 * g))) {
    return rr * (p / pr + (g - 1) / (g + 1)) / ((g - 1) / (g + 1) * p / pr + 1);
  }
  return rr;
}

/* Mass, momentum, energy per volume, and their scales */
static inline void Totals(const State *state, double total[4], double scale[4])
{
  const PetscInt count = state->n[0] * state->n[1];

  for (int k = 0; k < 4; k++) total[k] = scale[k] = 0;
  for (PetscInt c = 0; c < count; c++) {
    const double r = state->field[0][c], u = state->field[2][c], v = state->field[3][c];
    const double q[4] = {r, r * u, r * v, state->field[1][c] / (EK_CFD_GAMMA - 1) + 0.5 * r * (u * u + v * v)};

    for (int k = 0; k < 4; k++) {
      total[k] += q[k];
      scale[k] += fabs(q[k]);
    }
  }
}
