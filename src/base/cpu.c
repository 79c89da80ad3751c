#include "evenkeel/base.h"
#include <stdlib.h>
#include <string.h>

#include <omp.h>
#include <unistd.h>

/* There with OpenBLAS, absent with another BLAS. */
extern void  openblas_set_num_threads(int threads) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));
extern char *openblas_get_config(void) __attribute__((weak));

/* The environment is read when the library is loaded, too early for main to set it. */
static void SetThreads(void)
{
  if (!getenv("OMP_NUM_THREADS")) omp_set_num_threads(1);
  if (openblas_set_num_threads && !getenv("OPENBLAS_NUM_THREADS") && !getenv("OMP_NUM_THREADS")) openblas_set_num_threads(1);
}

static void FlushDenormals(void)
{
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); /* results (bit 15) and operands (bit 6) */
#elif defined(__aarch64__)
  __builtin_aarch64_set_fpcr(__builtin_aarch64_get_fpcr() | 1u << 24);
#endif
}

void EkCpuSetup(void)
{
  SetThreads();
  FlushDenormals();
}

const char *EkBlasCore(const char *chosen, int avx2, int avx512)
{
  if (strcmp(chosen, "Prescott") || !avx2) return NULL;
  return avx512 ? "SkylakeX" : "Haswell";
}

void EkBlasChoose(char **argv)
{
#ifdef __x86_64__
  const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  const char *core;
  char        self[EK_PATH];
  ssize_t     length;

  if (!openblas_get_corename || getenv("OPENBLAS_CORETYPE")) return;
  core = EkBlasCore(openblas_get_corename(), avx2, avx512);
  if (!core) return;
  /* Whatever goes wrong here costs speed alone. By its own path, for the process is named after that. */
  length = readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (length <= 0 || setenv("OPENBLAS_CORETYPE", core, 1)) return;
  self[length] = 0;
  execv(self, argv);
#else
  (void)argv;
#endif
}

PetscBool EkBlasIsOpenBlas(void)
{
  return (PetscBool)(openblas_get_config != NULL);
}

const char *EkBlasConfig(void)
{
  return EkBlasIsOpenBlas() ? openblas_get_config() : NULL;
}
