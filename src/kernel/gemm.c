#include "evenkeel/kernel.h"

extern void sgemm_(const char *transa, const char *transb, const int *m, const int *n, const int *k, const float *alpha,
                   const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc);

/* BLAS counts by columns, so it is given C^T = op(B)^T op(A)^T. */
void EkGemm(int transpose_a, int transpose_b, int M, int N, int K, float alpha, const float *A, size_t a, const float *B,
            size_t b, int accumulate, float *C, size_t c)
{
  const int   lda = (int)a, ldb = (int)b, ldc = (int)c;
  const float beta = accumulate ? 1 : 0;

  if (M > 0 && N > 0)
    sgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &N, &M, &K, &alpha, B, &ldb, A, &lda, &beta, C, &ldc);
}
