/* Inside data generation: initial conditions on a line, rows of EkInitialFamily (EkInitial.draw). The numbers are drawn in the
   same order whatever becomes of them, field by field. Source: PDEBench. */
#pragma once
#include "evenkeel/pde.h"

/* Burgers, advection on [0, 1]: random sines, see initial_1d.c; four modes, windowed in a tenth of the draws. */
PetscErrorCode EkDrawSines(const EkPdeSet *set, EkRandom *stream, double *const field[]);
/* Gas on [-1, 1]: density, pressure, velocity of three modes each, windowed in half of the draws; density and pressure brought to
   [b, b + m] with b and m log-uniform in [1, 10] and [10, 100]. */
PetscErrorCode EkDrawRand1D(const EkPdeSet *set, EkRandom *stream, double *const field[]);
/* Gas on [-1, 1]: density and pressure log-uniform in [1, 10] and [10, 100], the velocity e^[-0.5, 0.5], each constant on either
   side of a jump of its own in the middle half of the line. */
PetscErrorCode EkDrawShocks1D(const EkPdeSet *set, EkRandom *stream, double *const field[]);
