/* Numerical kernels behind plain C calls: sizes and pointers, no options, no communication, no errors after creation.
   A field is planar: `channels` planes of `points` floats, neighbouring planes EkPlaneStride(points) floats apart; what lies
   between points and the stride is scratch that pointwise kernels may overwrite and reductions never read. */
#pragma once
#include "evenkeel/base.h"

/* Floats of the vectors that most kernels go by, and of the widest registers there are, by whose columns products go. */
#define EK_LANES 8
#ifdef __AVX512F__
#define EK_WIDE 16
#else
#define EK_WIDE 8
#endif
#define EK_ROUND_UP(n, unit) (((n) + (unit)-1) / (unit) * (unit))

/* Channels of a block, as oneDNN's convolutions want them. */
#define EK_BLOCK EK_WIDE

/* Floats between channel planes of `points` values everywhere in the program: a whole odd number of cache lines, so that rows of
   planes do not fall into one cache set. */
size_t EkPlaneStride(PetscInt64 points);

/* ---- small dense products: the tile engine of the fused chains -------------------------------------------- */

/* C[m][p] = S[m][p] + bias[m] + sum_k a(m, k) * B[k][p] for p in 0..n-1, a(m, k) = A[m*row + k*column]. B, S, C: arrays of row
   pointers; S (may be C itself, to accumulate) or bias NULL count as zero; n a multiple of EK_WIDE. Written for few rows (M, K
   up to some hundreds) and operands that stay in cache, where a packing GEMM loses half its time. The order of the sum over k is
   fixed: a column's result depends on nothing but its own inputs. */
void EkTileMultiply(int M, int K, size_t n, const float *A, size_t row, size_t column, const float *const B[],
                    const float *const S[], const float *bias, float *const C[]);
/* C[m*row + k*column] += sum_{p < n} A[m][p] * B[k][p]; any n. */
void EkTileOuter(int M, int K, size_t n, const float *const A[], const float *const B[], float *C, size_t row, size_t column);
/* C[m] += sum_{p < n} A[m][p] */
void EkTileSum(int M, size_t n, const float *const A[], float *C);
/* Sums over a row in double: of x; of (x - mean)^2; of (x - less) y. */
double EkRowSum(size_t n, const float *x);
double EkRowSquares(size_t n, const float *x, double mean);
double EkRowProduct(size_t n, const float *x, float less, const float *y);
/* to[j*column + i] (+)= from[i*row + j]: rows become columns; sizes of any kind, fastest in eights. */
void EkTranspose(size_t rows, size_t columns, const float *from, size_t row, int accumulate, float *to, size_t column);
/* Columns a fused chain works on at a time: its rows stay in the first two levels of cache. */
#define EK_TILE 256

/* ---- large dense products: BLAS ---------------------------------------------------------------------------- */

/* C = alpha op(A) op(B), added to C when `accumulate`; row-major, C of M rows and N columns, op the transpose where told; a, b,
   c: floats between the rows of what is stored. Reaches its full speed from some 64 rows and columns on. */
void EkGemm(int transpose_a, int transpose_b, int M, int N, int K, float alpha, const float *A, size_t a, const float *B,
            size_t b, int accumulate, float *C, size_t c);
/* The same of complex numbers, real and imaginary part side by side; counts and distances in complex numbers, alpha real. With
   three real products for four where BLAS is faster so: errors stay small against the norms of what is multiplied, not against a
   small result's. */
typedef enum { EK_PLAIN, EK_TRANSPOSED, EK_ADJOINT } EkOperation;
void EkGemmComplex(EkOperation on_a, EkOperation on_b, int M, int N, int K, float alpha, const float *A, size_t a, const float *B,
                   size_t b, int accumulate, float *C, size_t c);

/* ---- activation ---------------------------------------------------------------------------------------- */

/* GELU in its erf form, y = x Phi(x); slope = Phi(x) + x phi(x). Absolute error of Phi below 1e-7 (Abramowitz & Stegun 7.1.26).
 * In place allowed. */
void EkGelu(size_t n, const float *x, float *y);
void EkGeluWithSlope(size_t n, const float *x, float *y, float *slope);

/* ---- noise ----------------------------------------------------------------------------------------------- */

/* Numbers first .. first + n - 1 of a sequence of independent N(0,1) values named by (key, stream): Philox4x32-10 (Salmon et al.,
   SC11) and Box-Muller in single precision, |value| < 6.7. The same bits whatever the pieces the sequence is asked for in;
   fastest where pieces begin and end at multiples of EK_NORMAL_GROUP. */
#define EK_NORMAL_GROUP 64
void EkRowNormal(uint64_t key, uint32_t stream, uint64_t first, size_t n, float *out);

/* ---- truncated real Fourier transform -------------------------------------------------------------------- */

/* A plane of n[0] x n[1] reals (1D: n[0] = 1) and its kept coefficients: along the last axis k2 = 0..m2-1, along the first k1 =
   0..m1-1 (segment 0) and k1 = -m1..-1 (segment 1); 1D has one segment. A segment is `segment` floats of real parts, then as many
   of imaginary parts, row k1, column k2, zero-padded to a multiple of EK_WIDE; a corner's has the parts side by side. */
typedef enum { EK_TRANSFORM_FFT, EK_TRANSFORM_GEMM, EK_TRANSFORM_COUNT } EkTransformMethod;
typedef struct EkTransform_ *EkTransform;
typedef struct {
  int    dim;
  int    n[2], m[2]; /* m[0] = 1 in 1D */
  int    segments;   /* 1 (1D, corner) or 2 */
  int    modes;      /* kept coefficients of a segment: m[0]*m[1] */
  size_t segment;    /* floats of one part of a segment */
  int    step;       /* floats from a real part to the next, and to its imaginary part */
  size_t imaginary;
  size_t plane; /* floats of a plane's spectrum: segments * 2 * segment */
} EkTransformShape;

/* Error: 2 m[0] > n[0] or m[1] > n[1]/2 + 1 ("model_modes"), FFTW without a plan. */
PetscErrorCode EkTransformCreate(int dim, const PetscInt n[], const PetscInt modes[], EkTransformMethod method,
                                 EkTransform *transform);
/* 2D, one segment, by FFT: rows k1 = 0..m0-1 of all n[0] and columns k2 = 0..m1-1 below `modes`, as many as there are; for
   complex products, step 2. */
PetscErrorCode          EkTransformCreateCorner(const PetscInt n[], PetscInt modes, EkTransform *transform);
const EkTransformShape *EkTransformGetShape(EkTransform transform);
/* X[k] = s_k2 sum_{r,j} x[r,j] exp(-2 pi i (k1 r/n0 + k2 j/n1)): s = 1, or when `inverse_weights` s = c_k2/(n0 n1), c = 1 for k2
   = 0 and n1/2, else 2. planes: how many; strides in floats. The plain form is the forward transform, the weighted one the
   adjoint of the inverse. */
void EkTransformAnalyse(EkTransform transform, int inverse_weights, int planes, const float *x, size_t x_stride, float *X);
/* x[r,j] (+)= Re sum_k s_k2 X[k] exp(+2 pi i (...)): the plain form is the adjoint of the forward transform, the weighted one the
   inverse transform as PyTorch's irfft2 has it (imaginary parts of columns 0 and n1/2 are ignored; models-and-data 3.2). */
void EkTransformSynthesise(EkTransform transform, int inverse_weights, int planes, const float *X, float *x, size_t x_stride,
                           int accumulate);
/* Flops of one plane, one direction. */
double EkTransformFlops(EkTransform transform);
/* Bytes of its tables and work space, without what FFTW keeps for its plans. */
size_t         EkTransformMemory(EkTransform transform);
PetscErrorCode EkTransformDestroy(EkTransform *transform);

/* Per-mode complex products between spectra in the layout above and PyTorch weights w[segment] (in, out, m1, m2, 2), interleaved.
   Y[b,o,k] = sum_i X[b,i,k] W[i,o,k] */
void EkModesForward(const EkTransformShape *shape, int batch, int in, int out, const float *const w[], const float *X, float *Y);
/* X[b,i,k] = sum_o Y[b,o,k] conj(W[i,o,k]) */
void EkModesBackward(const EkTransformShape *shape, int batch, int in, int out, const float *const w[], const float *Y, float *X);
/* W[i,o,k] += sum_b conj(X[b,i,k]) Y[b,o,k] */
void EkModesWeights(const EkTransformShape *shape, int batch, int in, int out, const float *X, const float *Y, float *const w[]);

/* ---- blocked fields ---------------------------------------------------------------------------------------- */

/* Channels of a blocked field with the lanes that only fill its last block. A block is (points, EK_BLOCK): lane c % EK_BLOCK of
   block c / EK_BLOCK is channel c; lanes beyond the last channel are zero, and every kernel here leaves them so when what it is
   given for them (bias, scale, ...) is zero. */
#define EK_BLOCKED_CHANNELS(channels) EK_ROUND_UP((size_t)(channels), EK_BLOCK)

/* Lanes [lane, lane + lanes) of a block from as many planes, `stride` floats apart; and planes (+)= lanes. */
void EkBlockFromPlanes(size_t points, int lanes, const float *planes, size_t stride, float *block, int lane);
void EkBlockToPlanes(size_t points, int lanes, const float *block, int lane, int accumulate, float *planes, size_t stride);
/* Lanes [to_lane, to_lane + lanes) of `to` (+)= those of `from` that begin at from_lane. */
void EkBlockMoveLanes(size_t points, int lanes, const float *from, int from_lane, int accumulate, float *to, int to_lane);
/* Lanes from `lane` on become zero. */
void EkBlockClear(size_t points, float *block, int lane);
/* x[p][l] += bias[l]; bias[l] += sum_p x[p][l] for the first `lanes` lanes. */
void EkBlockAddBias(size_t points, const float bias[EK_BLOCK], float *x);
void EkBlockSum(size_t points, int lanes, const float *x, float bias[]);
/* Largest of 2 (x 2) neighbours of a block on n[0] (x n[1]) points, NaN if there is one; backward: the gradient goes to the first
 * that is largest. */
void EkBlockMaxPool(int dim, const PetscInt n[], const float *x, float *y);
void EkBlockMaxPoolBackward(int dim, const PetscInt n[], const float *x, const float *y, const float *dy, int accumulate,
                            float *dx);

/* A block's sums of values and of squares are added to sum and square, in double: their mean may be much larger than their
 * deviation. */
void EkBlockMoments(size_t points, const float *x, double sum[EK_BLOCK], double square[EK_BLOCK]);
/* y = tanh((x - mean) scale + shift) lane by lane; absolute error of tanh below 3e-7, relative below 1e-6. */
typedef struct {
  float mean[EK_BLOCK], scale[EK_BLOCK], shift[EK_BLOCK];
} EkBlockNorm;
void EkBlockNormTanh(size_t points, const EkBlockNorm *norm, const float *x, float *y);
/* With z the argument of tanh and dz = dy (1 - y^2) its gradient: sum += sum_p dz, product += sum_p dz (x - mean). */
void EkBlockNormTanhSums(size_t points, const float mean[EK_BLOCK], const float *x, const float *y, const float *dy,
                         double sum[EK_BLOCK], double product[EK_BLOCK]);
/* dx (+)= dz scale + (x - mean) slope + shift: scale and shift of `norm`, slope apart. */
void EkBlockNormTanhBackward(size_t points, const EkBlockNorm *norm, const float slope[EK_BLOCK], const float *x, const float *y,
                             const float *dy, int accumulate, float *dx);

/* ---- convolution ------------------------------------------------------------------------------------------- */

/* From x, `in` channels on n points, to y, `out` channels on n/stride points; (kernel - 1)/2 zeros around. Fields are blocked, a
   batch's samples one after the other. Weights (out, in, kernel[, kernel]). Planes of more than a few points with
   3 x 3 taps by Winograd's minimal filtering, a quarter of the products and an error of 1e-6 of the result's size (plain sums:
   4e-7); others by matrix products where y has few points, the rest by oneDNN, and what that needs for a batch size is made when
   the size first comes and kept. Errors: zeros that do not make y as long as x over the stride (an even kernel with stride 1),
   other dimensions than 1 and 2. */
typedef struct {
  int      dim;
  PetscInt n[3], in, out, kernel, stride;
} EkConvShape;
typedef enum {
  EK_CONV_FORWARD, /* x -> y */
  EK_CONV_DATA,    /* dy -> dx, the adjoint; the forward pass of a transposed convolution */
  EK_CONV_WEIGHTS, /* x, dy -> dweights */
  EK_CONV_PASSES
} EkConvPass;
typedef struct EkConvolution_ *EkConvolution;
PetscErrorCode                 EkConvolutionCreate(const EkConvShape *shape, EkConvolution *convolution);
PetscErrorCode                 EkConvolutionDestroy(EkConvolution *convolution);
/* The code that runs a pass: "sgemm", "winograd", or oneDNN's name, of which "ref..." is its reference code, some twenty times
 * slower than the rest. Belongs to the convolution. */
PetscErrorCode EkConvolutionCode(EkConvolution convolution, EkConvPass pass, int batch, const char **code);
/* Flops of one pass of one sample, as the sums are written: minimal filtering does fewer. */
double EkConvolutionFlops(const EkConvShape *shape);

/* Floats of scratch that a pass of up to `batch` samples wants, perhaps none: then it may be NULL. Without gradients: FORWARD and
   DATA alone. */
size_t EkConvolutionScratch(const EkConvShape *shape, int batch, PetscBool gradients);
/* Weights as a pass wants them, kept for all convolutions of a run that share them: one copy, at most `in` and `out` rounded up
   to whole blocks, or four times that for minimal filtering of many tiles; few tiles read the weights as they are. */
typedef struct EkPacked_ *EkPacked;
PetscErrorCode            EkPackedDestroy(EkPacked *packed);
/* FORWARD or DATA: to = pass(from). *packed (NULL at first) is made anew when `run` differs from the one it was made in, or the
 * pass does; products leave it. */
PetscErrorCode EkConvolutionApply(EkConvolution convolution, EkConvPass pass, int batch, const float *weights, PetscInt64 run,
                                  EkPacked *packed, float *scratch, const float *from, float *to);
/* dweights += gradient from x and dy. */
PetscErrorCode EkConvolutionWeights(EkConvolution convolution, int batch, const float *x, const float *dy, float *scratch,
                                    float *dweights);
