#include "initial_1d.h"
#include <math.h>

#define MOST_MODES 4

/* What sets one family of random sines apart from another */
typedef struct {
  PetscInt nx;
  double   low, length; /* of the line */
  int      modes;
  double   windowed; /* share of the draws */
} Recipe;

typedef struct {
  double wavenumber[MOST_MODES], amplitude[MOST_MODES], phase[MOST_MODES];
  int    folded, negative, windowed;
  double window[2];
} Waves;

/* Two picks among the modes (a mode picked twice has its wavenumber doubled; one not picked is a constant), an amplitude in [0,
   1) and a phase for every mode, magnitude in a tenth of the draws, sign, whether there is a window, and its edges. The waves'
   period is the distance between the first and the last cell centre. */
static Waves DrawWaves(EkRandom *stream, const Recipe *recipe)
{
  const double period = recipe->length * (double)(recipe->nx - 1) / (double)recipe->nx;
  int          picked[MOST_MODES] = {0};
  Waves        waves;

  for (int i = 0; i < 2; i++) picked[EkInteger(stream, (uint32_t)recipe->modes)]++;
  for (int j = 0; j < recipe->modes; j++) waves.wavenumber[j] = 2 * M_PI * (j + 1) * picked[j] / period;
  for (int j = 0; j < recipe->modes; j++) waves.amplitude[j] = EkUniform(stream);
  for (int j = 0; j < recipe->modes; j++) waves.phase[j] = EkUniformIn(stream, 0, 2 * M_PI);
  waves.folded = EkUniform(stream) < 0.1;
  waves.negative = EkInteger(stream, 2) == 1;
  waves.windowed = EkUniform(stream) < recipe->windowed;
  waves.window[0] = EkUniformIn(stream, 0.1, 0.45);
  waves.window[1] = EkUniformIn(stream, 0.55, 0.9);
  return waves;
}

static double EvaluateWaves(const Waves *waves, int modes, double x)
{
  double u = 0;

  for (int j = 0; j < modes; j++) u += waves->amplitude[j] * sin(waves->wavenumber[j] * x + waves->phase[j]);
  if (waves->folded) u = fabs(u);
  if (waves->negative) u = -u;
  if (waves->windowed) u *= 0.5 * (tanh((x - waves->window[0]) / 0.01) - tanh((x - waves->window[1]) / 0.01));
  return u;
}

static void DrawField(EkRandom *stream, const Recipe *recipe, double *u)
{
  const Waves waves = DrawWaves(stream, recipe);

  for (PetscInt i = 0; i < recipe->nx; i++) {
    const double x = recipe->low + recipe->length * ((double)i + 0.5) / (double)recipe->nx;

    u[i] = EvaluateWaves(&waves, recipe->modes, x);
  }
}

PetscErrorCode EkDrawSines(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  const Recipe recipe = {set->nx, 0, 1, 4, 0.1};

  PetscFunctionBegin;
  DrawField(stream, &recipe, field[0]);
  PetscFunctionReturn(0);
}

static double LogUniform(EkRandom *stream, double low, double high)
{
  return exp(EkUniformIn(stream, log(low), log(high)));
}

/* From [least, most] to [base, base + range] */
static void Rescale(PetscInt n, double range, double base, double *u)
{
  double least = u[0], most = u[0];

  for (PetscInt i = 0; i < n; i++) {
    least = fmin(least, u[i]);
    most = fmax(most, u[i]);
  }
  for (PetscInt i = 0; i < n; i++) u[i] = base + (most > least ? range * ((u[i] - least) / (most - least)) : 0);
}

PetscErrorCode EkDrawRand1D(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  static const double bounds[2][2] = {{1, 10}, {10, 100}};
  const Recipe        recipe = {set->nx, -1, 2, 3, 0.5};

  PetscFunctionBegin;
  for (int f = 0; f < 3; f++) {
    DrawField(stream, &recipe, field[f]);
    if (f < 2) {
      const double range = LogUniform(stream, bounds[f][0], bounds[f][1]), base = LogUniform(stream, bounds[f][0], bounds[f][1]);

      Rescale(set->nx, range, base, field[f]);
    }
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDrawShocks1D(const EkPdeSet *set, EkRandom *stream, double *const field[])
{
  const double bounds[3][2] = {{1, 10}, {10, 100}, {exp(-0.5), exp(0.5)}};

  PetscFunctionBegin;
  for (int f = 0; f < 3; f++) {
    const PetscInt jump = (PetscInt)((double)set->nx * EkUniformIn(stream, 0.25, 0.75));
    const double   left = LogUniform(stream, bounds[f][0], bounds[f][1]), right = LogUniform(stream, bounds[f][0], bounds[f][1]);

    for (PetscInt i = 0; i < set->nx; i++) field[f][i] = i < jump ? left : right;
  }
  PetscFunctionReturn(0);
}
