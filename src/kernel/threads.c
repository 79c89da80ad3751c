#include "evenkeel/kernel.h"
#include <stdlib.h>

#include <omp.h>

/* There with OpenBLAS, absent with another BLAS. The environment is read when the library is loaded, too early for main to set
 * it. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

void EkThreadsSet(void)
{
  if (!getenv("OMP_NUM_THREADS")) omp_set_num_threads(1);
  if (openblas_set_num_threads && !getenv("OPENBLAS_NUM_THREADS") && !getenv("OMP_NUM_THREADS")) openblas_set_num_threads(1);
}
