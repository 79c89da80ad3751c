#include "evenkeel/base.h"
#include <stdint.h>
#include <stdio.h>

#include <sys/mman.h>

/* Of the address space: what one page is where memory is asked for in large ones (x86-64; on other processors at worst some advice
 * in vain). */
#define LARGE_PAGE ((uintptr_t)1 << 21)

void EkAdviseLargePages(void *start, size_t bytes)
{
  const uintptr_t lo = ((uintptr_t)start + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE, hi = ((uintptr_t)start + bytes) / LARGE_PAGE * LARGE_PAGE;

  /* A system without them refuses, and goes on with the pages it has. */
  if (start && lo < hi) (void)madvise((void *)lo, hi - lo, MADV_HUGEPAGE);
}

PetscErrorCode EkCallocLarge(size_t floats, float **out)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1(floats, out));
  EkAdviseLargePages(*out, floats * sizeof(float));
  PetscCall(PetscArrayzero(*out, floats));
  PetscFunctionReturn(0);
}

/* The kernel's own high-water mark; getrusage's would include the launcher's before exec. */
PetscInt64 EkPeakMemory(void)
{
  char      line[256];
  long long kib = 0;
  FILE     *file = fopen("/proc/self/status", "r");

  if (!file) return 0;
  while (fgets(line, sizeof(line), file)) {
    if (sscanf(line, "VmHWM: %lld kB", &kib) == 1) break;
  }
  fclose(file);
  return (PetscInt64)kib * 1024;
}
