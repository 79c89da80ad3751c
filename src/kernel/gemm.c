#include "evenkeel/kernel.h"

extern void sgemm_(const char *transa, const char *transb, const int *m, const int *n, const int *k, const float *alpha,
                   const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc);

typedef void Cgemm(const char *transa, const char *transb, const int *m, const int *n, const int *k, const float *alpha,
                   const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc);
/* The second one takes three real products for four (OpenBLAS, MKL and others have it, reference BLAS does not). */
extern Cgemm cgemm_;
extern Cgemm cgemm3m_ __attribute__((weak));

/* OpenBLAS's kernels for AVX-512 make four products in two thirds of the time of three, its others make three the faster way. */
static Cgemm *Complex(void)
{
  const PetscBool four = (PetscBool)(EK_WIDE == 16 && EkBlasIsOpenBlas());

  return cgemm3m_ && !four ? cgemm3m_ : cgemm_;
}

/* BLAS counts by columns, so it is given C^T = op(B)^T op(A)^T. */
void EkGemm(int transpose_a, int transpose_b, int M, int N, int K, float alpha, const float *A, size_t a, const float *B,
            size_t b, int accumulate, float *C, size_t c)
{
  const int   lda = (int)a, ldb = (int)b, ldc = (int)c;
  const float beta = accumulate ? 1 : 0;

  if (M > 0 && N > 0)
    sgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &N, &M, &K, &alpha, B, &ldb, A, &lda, &beta, C, &ldc);
}

void EkGemmComplex(EkOperation on_a, EkOperation on_b, int M, int N, int K, float alpha, const float *A, size_t a, const float *B,
                   size_t b, int accumulate, float *C, size_t c)
{
  static const char *const letter[] = {[EK_PLAIN] = "N", [EK_TRANSPOSED] = "T", [EK_ADJOINT] = "C"};
  const int                lda = (int)a, ldb = (int)b, ldc = (int)c;
  const float              scale[2] = {alpha, 0}, beta[2] = {accumulate ? 1 : 0, 0};

  if (M > 0 && N > 0) Complex()(letter[on_b], letter[on_a], &N, &M, &K, scale, B, &ldb, A, &lda, beta, C, &ldc);
}
