#include "initial.h"
#include "initial_1d.h"

static const EkInitial initials[] = {
    [EK_INITIAL_RAND_2D] = {{"2D_rand",
                             "uniform gas under random waves of density, pressure and velocity, windowed in half of the draws"},
                            "cfd2d",
                            EkDrawRand2D},
    [EK_INITIAL_RAND_1D] = {{"1D_rand",
                             "gas under random waves of density, pressure and velocity, windowed in half of the draws"},
                            "cfd1d",
                            EkDrawRand1D},
    [EK_INITIAL_SHOCKS_1D] = {{"1D_shocks", "gas with one random jump each in density, pressure and velocity"},
                              "cfd1d",
                              EkDrawShocks1D},
    [EK_INITIAL_SINES] = {{"sines", "random sines, windowed in a tenth of the draws"}, "burgers1d advection1d", EkDrawSines},
    [EK_INITIAL_TURBULENCE_2D] = {{"2D_turbulence", "uniform gas in random motion of mean speed 1 without divergence"},
                                  "cfd2d",
                                  EkDrawTurbulence2D},
    [EK_INITIAL_KH] =
        {{"KH", "two streams of gas side by side at speeds 1 and -1, the border between them a wave; for boundary periodic_x"},
         "cfd2d",
         EkDrawKelvinHelmholtz},
};
const EkFamily EkInitialFamily = EK_FAMILY("generate_initial", initials);
