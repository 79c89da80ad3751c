/* Inside data generation: initial conditions on the unit box, and the random fields on its n x n cell centres, x slow, of which
   several are made. Source: PDEBench. */
#pragma once
#include "evenkeel/pde.h"

/* Rows of EkInitialFamily. */
typedef enum {
  EK_INITIAL_RAND_2D,
  EK_INITIAL_RAND_1D,
  EK_INITIAL_SHOCKS_1D,
  EK_INITIAL_SINES,
  EK_INITIAL_TURBULENCE_2D,
  EK_INITIAL_KH
} EkInitialRow;

/* f(x, y) = sum over 64 modes of |k|^(-1/2) sin(k.x + phase), k = 2 pi (i, j), i and j in -4..-1, 1..4; phases drawn mode by
 * mode. */
PetscErrorCode EkRandomWaves(EkRandom *stream, PetscInt n, double *f);
/* 1 inside a random rectangle, 0 outside, edges 0.01 wide. Its sides are in [0.1, 0.45] and [0.55, 0.9]; x is drawn first. */
PetscErrorCode EkRandomWindow(EkRandom *stream, PetscInt n, double *w);

/* Gas in the unit box (EkInitial.draw). set->M always is the mean speed over the sound speed of the undisturbed gas: of mean
   density and pressure, before any window. */

/* Density d0 and temperature T0 = p/rho, both random in [0.1, 10], under random waves: density and pressure differ from them by
   random 1 to 20 % in the mean, mean speed M sqrt(gamma T0). In half of the draws the waves fill a random rectangle only. */
PetscErrorCode EkDrawRand2D(const EkPdeSet *set, EkRandom *stream, double *const field[]);
/* Density 1, pressure 1/(gamma M^2), velocities of random waves without divergence at a mean speed of 1. PDEBench's own
   projection is off by one wavenumber and leaves some divergence. */
PetscErrorCode EkDrawTurbulence2D(const EkPdeSet *set, EkRandom *stream, double *const field[]);
/* Two streams along x at speeds 1 (above) and -1, the border at y = 1/2 + 0.005 sin(2 pi n x) with n in 1..3; densities of random
   ratio in [1/2, 2] and mean 1, pressure 1/(gamma M^2). A cell on the border holds the mean of what is in it: PDEBench goes by
   its centre, and on fewer than 100 cells there is no wave. */
PetscErrorCode EkDrawKelvinHelmholtz(const EkPdeSet *set, EkRandom *stream, double *const field[]);
