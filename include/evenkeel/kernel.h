/* Numerical kernels behind plain C calls: sizes and pointers, no options, no communication, no errors after creation.
   A field is planar: `channels` planes of `points` floats, neighbouring planes EkPlaneStride(points) floats apart; what lies between points and
   the stride is scratch that pointwise kernels may overwrite and reductions never read. */
#pragma once
#include "evenkeel/base.h"

/* Vector registers are 8 floats wide here; columns are handled in whole vectors. */
#define EK_LANES 8
#define EK_ROUND_UP(n, unit) (((n) + (unit) - 1) / (unit) * (unit))

/* Channels of a block: those of one vector register, which oneDNN's convolutions want. */
#ifdef __AVX512F__
#define EK_BLOCK 16
#else
#define EK_BLOCK 8
#endif

/* BLAS or oneDNN threads and MPI ranks fight: one thread a rank unless OPENBLAS_NUM_THREADS or OMP_NUM_THREADS says otherwise. Call once, in main. */
void EkThreadsSet(void);

/* Floats between channel planes of `points` values everywhere in the program: a whole odd number of cache lines, so that rows of
   planes do not fall into one cache set. */
size_t EkPlaneStride(PetscInt64 points);

/* ---- small dense products: the tile engine of the fused chains -------------------------------------------- */

/* C[m][p] = S[m][p] + bias[m] + sum_k a(m, k) * B[k][p] for p in 0..n-1, a(m, k) = A[m*row + k*column]. B, S, C: arrays of row pointers; S (may be C itself, to
   accumulate) or bias NULL count as zero; n a multiple of EK_LANES. Written for few rows (M, K up to some hundreds) and operands that stay in cache, where a
   packing GEMM loses half its time. The order of the sum over k is fixed: a column's result depends on nothing but its own inputs. */
void EkTileMultiply(int M, int K, size_t n, const float *A, size_t row, size_t column, const float *const B[], const float *const S[], const float *bias,
                    float *const C[]);
/* C[m*row + k*column] += sum_{p < n} A[m][p] * B[k][p]; any n. */
void EkTileOuter(int M, int K, size_t n, const float *const A[], const float *const B[], float *C, size_t row, size_t column);
/* C[m] += sum_{p < n} A[m][p] */
void EkTileSum(int M, size_t n, const float *const A[], float *C);
/* Columns a fused chain works on at a time: its rows stay in the first two levels of cache. */
#define EK_TILE 256

/* ---- activation ---------------------------------------------------------------------------------------- */

/* GELU in its erf form, y = x Phi(x); slope = Phi(x) + x phi(x). Absolute error of Phi below 1e-7 (Abramowitz & Stegun 7.1.26). In place allowed. */
void EkGelu(size_t n, const float *x, float *y);
void EkGeluWithSlope(size_t n, const float *x, float *y, float *slope);

/* ---- truncated real Fourier transform -------------------------------------------------------------------- */

/* A plane of n[0] x n[1] reals (1D: n[0] = 1) and its kept coefficients: along the last axis k2 = 0..m2-1, along the first k1 = 0..m1-1 (segment 0)
   and k1 = -m1..-1 (segment 1); 1D has one segment. A segment is `segment` floats of real parts, then as many of imaginary parts,
   row k1, column k2, zero-padded to a multiple of EK_LANES. */
typedef enum { EK_TRANSFORM_FFT, EK_TRANSFORM_GEMM, EK_TRANSFORM_COUNT } EkTransformMethod;
typedef struct EkTransform_ *EkTransform;
typedef struct {
  int    dim;
  int    n[2], m[2];    /* m[0] = 1 in 1D */
  int    segments;      /* 1 or 2 */
  int    modes;         /* kept coefficients of a segment: m[0]*m[1] */
  size_t segment;       /* floats of one part of a segment */
  size_t plane;         /* floats of a plane's spectrum: segments * 2 * segment */
} EkTransformShape;

/* Error: 2 m[0] > n[0] or m[1] > n[1]/2 + 1 ("model_modes"), FFTW without a plan. */
PetscErrorCode EkTransformCreate(int dim, const PetscInt n[], const PetscInt modes[], EkTransformMethod method, EkTransform *transform);
const EkTransformShape *EkTransformGetShape(EkTransform transform);
/* X[k] = s_k2 sum_{r,j} x[r,j] exp(-2 pi i (k1 r/n0 + k2 j/n1)): s = 1, or when `inverse_weights` s = c_k2/(n0 n1), c = 1 for k2 = 0 and n1/2, else 2.
   planes: how many; strides in floats. The plain form is the forward transform, the weighted one the adjoint of the inverse. */
void EkTransformAnalyse(EkTransform transform, int inverse_weights, int planes, const float *x, size_t x_stride, float *X);
/* x[r,j] (+)= Re sum_k s_k2 X[k] exp(+2 pi i (...)): the plain form is the adjoint of the forward transform, the weighted one the inverse transform
   as PyTorch's irfft2 has it (imaginary parts of columns 0 and n1/2 are ignored; models-and-data 3.2). */
void EkTransformSynthesise(EkTransform transform, int inverse_weights, int planes, const float *X, float *x, size_t x_stride, int accumulate);
/* Flops of one plane, one direction. */
double         EkTransformFlops(EkTransform transform);
PetscErrorCode EkTransformDestroy(EkTransform *transform);

/* Per-mode complex products between spectra in the layout above and PyTorch weights w[segment] (in, out, m1, m2, 2), interleaved.
   Y[b,o,k] = sum_i X[b,i,k] W[i,o,k] */
void EkModesForward(const EkTransformShape *shape, int batch, int in, int out, const float *const w[], const float *X, float *Y);
/* X[b,i,k] = sum_o Y[b,o,k] conj(W[i,o,k]) */
void EkModesBackward(const EkTransformShape *shape, int batch, int in, int out, const float *const w[], const float *Y, float *X);
/* W[i,o,k] += sum_b conj(X[b,i,k]) Y[b,o,k] */
void EkModesWeights(const EkTransformShape *shape, int batch, int in, int out, const float *X, const float *Y, float *const w[]);
