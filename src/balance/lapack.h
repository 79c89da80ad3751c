/* The Fortran routines this layer calls. Character arguments are single letters, their hidden lengths are left out as PETSc does.
 */
#pragma once

/* BLAS: C := alpha A^T A + beta C, one triangle; y := alpha op(A) x + beta y; C := alpha op(A) op(B) + beta C */
void ssyrk_(const char *uplo, const char *trans, const int *n, const int *k, const float *alpha, const float *a, const int *lda,
            const float *beta, float *c, const int *ldc);
void dsyrk_(const char *uplo, const char *trans, const int *n, const int *k, const double *alpha, const double *a, const int *lda,
            const double *beta, double *c, const int *ldc);
void zherk_(const char *uplo, const char *trans, const int *n, const int *k, const double *alpha, const double *a, const int *lda,
            const double *beta, double *c, const int *ldc);
void dgemv_(const char *trans, const int *m, const int *n, const double *alpha, const double *a, const int *lda, const double *x,
            const int *incx, const double *beta, double *y, const int *incy);
void dgemm_(const char *transa, const char *transb, const int *m, const int *n, const int *k, const double *alpha,
            const double *a, const int *lda, const double *b, const int *ldb, const double *beta, double *c, const int *ldc);

/* LAPACK: eigenvalues of symmetric and Hermitian matrices, singular values */
void ssyev_(const char *jobz, const char *uplo, const int *n, float *a, const int *lda, float *w, float *work, const int *lwork,
            int *info);
void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
            const int *lwork, int *info);
void zheev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
            const int *lwork, double *rwork, int *info);
/* A = L D L^T of a symmetric matrix, D with blocks of 1 and 2 (ipiv < 0); A^-1 b with it */
void ssytrf_(const char *uplo, const int *n, float *a, const int *lda, int *ipiv, float *work, const int *lwork, int *info);
void ssytrs_(const char *uplo, const int *n, const int *nrhs, const float *a, const int *lda, const int *ipiv, float *b,
             const int *ldb, int *info);
void dsytrf_(const char *uplo, const int *n, double *a, const int *lda, int *ipiv, double *work, const int *lwork, int *info);
void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s, double *u, const int *ldu,
             double *vt, const int *ldvt, double *work, const int *lwork, int *iwork, int *info);
void zgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s, double *u, const int *ldu,
             double *vt, const int *ldvt, double *work, const int *lwork, double *rwork, int *iwork, int *info);

/* BLACS and ScaLAPACK */
int  Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int cols);
void Cblacs_gridinfo(int context, int *rows, int *cols, int *row, int *col);
void Cblacs_set(int context, int what, const int *value);
void Cblacs_gridexit(int context);
int  numroc_(const int *n, const int *block, const int *process, const int *source, const int *processes);
void descinit_(int desc[9], const int *m, const int *n, const int *mb, const int *nb, const int *rsrc, const int *csrc,
               const int *context, const int *lld, int *info);
void pdgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a, const int *ia, const int *ja,
              const int desca[9], double *s, double *u, const int *iu, const int *ju, const int descu[9], double *vt, const int *ivt,
              const int *jvt, const int descvt[9], double *work, const int *lwork, int *info);
void pssyev_(const char *jobz, const char *uplo, const int *n, float *a, const int *ia, const int *ja, const int desca[9],
             float *w, float *z, const int *iz, const int *jz, const int descz[9], float *work, const int *lwork, int *info);
void pdsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *ia, const int *ja, const int desca[9],
             double *w, double *z, const int *iz, const int *jz, const int descz[9], double *work, const int *lwork, int *info);
