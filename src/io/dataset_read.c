#include "dataset.h"
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#define KEY EK_DATA_FILE
/* Read this much at a time: it stays in the second-level cache while it is strided and checked. */
#define CHUNK_BYTES  (256 << 10)
#define CHUNK_FLOATS (CHUNK_BYTES / sizeof(float))
#define MAX_PLANES   512 /* vectors of one preadv, under every IOV_MAX */

size_t EkDatasetPoints(EkDataset d)
{
  return (size_t)d->rows * (size_t)d->info.n[1] * (size_t)d->info.n[2];
}

PetscInt EkDatasetFrames(EkDataset d, EkSplit split)
{
  return split == EK_TRAIN ? d->info.t_train : d->info.frames;
}

/* ---- from the file's order into planes ------------------------------------------------------------------------ */

/* NaN and infinity times zero are NaN, and a NaN stays in the sum. */
static PetscBool IsFinite(size_t n, const float *x)
{
  float zero = 0;

#pragma omp simd reduction(+ : zero)
  for (size_t i = 0; i < n; i++) zero += x[i] * 0.0f;
  return (PetscBool)(zero == 0.0f);
}

/* A stride the compiler knows makes shuffles instead of gathers. */
static void CopyLine(size_t n, size_t step, const float *from, float *to)
{
  switch (step) {
  case 1:
    memcpy(to, from, n * sizeof(float));
    break;
  case 2:
    for (size_t i = 0; i < n; i++) to[i] = from[2 * i];
    break;
  case 4:
    for (size_t i = 0; i < n; i++) to[i] = from[4 * i];
    break;
  default:
    for (size_t i = 0; i < n; i++) to[i] = from[i * step];
  }
}

/* `rows` kept rows of one frame, from values of the file that begin at the first of them, into the planes of the source's fields.
 */
static void Unpack(EkDataset d, const EkPart *part, PetscInt rows, const float *raw, float *plane)
{
  const EkSource *source = &d->layout.source[part->source];
  const int       dim = d->layout.dim;
  const size_t    k = (size_t)d->options.reduced_resolution, channels = (size_t)source->channels,
               row = EkDatasetRowFloats(d, source), length = (size_t)(dim == 1 ? rows : d->info.n[dim - 1]),
               outer = dim > 1 ? (size_t)rows : 1, inner = dim > 2 ? (size_t)d->info.n[1] : 1;

  for (PetscInt f = 0; f < source->taken; f++, plane += part->stride) {
    const float *from = raw + source->channel[f];
    float       *to = plane;

    for (size_t i = 0; i < outer; i++) {
      for (size_t j = 0; j < inner; j++, to += length) {
        CopyLine(length, k * channels, from + i * k * row + j * k * (size_t)d->layout.n[2] * channels, to);
      }
    }
  }
}

/* (x - mean)/scale in double, for fields whose mean is large beside their spread. */
static void Normalise(EkDataset d, PetscInt field, float *plane)
{
  const size_t points = EkDatasetPoints(d);
  const double mean = d->info.mean[field], factor = 1 / d->info.scale[field];

  for (size_t i = 0; i < points; i++) plane[i] = (float)((plane[i] - mean) * factor);
}

PetscErrorCode EkDatasetFinishFrames(EkDataset d, const EkPart *part, PetscInt first, PetscInt n)
{
  const EkSource *source = &d->layout.source[part->source];
  const size_t    points = EkDatasetPoints(d);
  char            name[EK_PATH];

  PetscFunctionBegin;
  for (PetscInt t = first; t < first + n; t++) {
    for (PetscInt f = 0; f < source->taken; f++) {
      float *plane = part->plane + (size_t)t * part->pitch + (size_t)f * part->stride;

      memset(plane + points, 0, (part->stride - points) * sizeof(float));
      PetscCheck(d->options.unsound || IsFinite(points, plane), PETSC_COMM_SELF, PETSC_ERR_FP,
                 KEY " %s: dataset '%s', trajectory %lld, frame %lld: a value is not finite", d->options.file,
                 EkDatasetSetName(d, part->source, part->trajectory, name), (long long)part->trajectory,
                 (long long)(part->from + t) * d->step_t);
      if (d->normalised) Normalise(d, source->field + f, plane);
    }
  }
  PetscFunctionReturn(0);
}

/* ---- contiguous data ---------------------------------------------------------------------------------------- */

PetscErrorCode EkDatasetCheckRead(EkDataset d, const EkPart *part, ssize_t got, size_t wanted)
{
  const int error = errno;
  char      name[EK_PATH];

  PetscFunctionBegin;
  PetscCheck(got == (ssize_t)wanted, PETSC_COMM_SELF, PETSC_ERR_FILE_READ,
             KEY " %s: dataset '%s', trajectory %lld cannot be read: %s", d->options.file,
             EkDatasetSetName(d, part->source, part->trajectory, name), (long long)part->trajectory,
             got < 0 ? strerror(error) : "the file ends before");
  d->bytes_read += got;
  PetscFunctionReturn(0);
}

/* n frames from t on, which follow one another in the file, straight into their planes. */
static PetscErrorCode ReadPlanes(EkDataset d, const EkPart *part, PetscInt64 offset, PetscInt t, PetscInt n)
{
  const size_t bytes = EkDatasetPoints(d) * sizeof(float);
  float       *plane = part->plane + (size_t)t * part->pitch;
  struct iovec vector[MAX_PLANES];
  ssize_t      got;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < n; i++) vector[i] = (struct iovec){plane + (size_t)i * part->pitch, bytes};
  got = preadv(d->fd, vector, (int)n, (off_t)offset);
  if (got == (ssize_t)((size_t)n * bytes)) {
    d->bytes_read += got;
    PetscFunctionReturn(0);
  }
  /* interrupted or at the end of the file: plane by plane, to know which */
  for (PetscInt i = 0; i < n; i++) {
    got = EkFileReadSome(d->fd, plane + (size_t)i * part->pitch, bytes, offset + (PetscInt64)i * (PetscInt64)bytes);
    PetscCall(EkDatasetCheckRead(d, part, got, bytes));
  }
  PetscFunctionReturn(0);
}

/* n whole frames from t on by way of the bounce buffer. */
static PetscErrorCode ReadFrames(EkDataset d, const EkPart *part, PetscInt64 offset, PetscInt t, PetscInt n)
{
  const size_t frame = (size_t)d->layout.n[0] * EkDatasetRowFloats(d, &d->layout.source[part->source]),
               bytes = (size_t)n * frame * sizeof(float);

  PetscFunctionBegin;
  PetscCall(EkDatasetCheckRead(d, part, EkFileReadSome(d->fd, d->bounce, bytes, offset), bytes));
  for (PetscInt i = 0; i < n; i++)
    Unpack(d, part, d->rows, d->bounce + (size_t)i * frame, part->plane + (size_t)(t + i) * part->pitch);
  PetscFunctionReturn(0);
}

/* The rows of frame t, some at a time; offset: of the first. */
static PetscErrorCode ReadRows(EkDataset d, const EkPart *part, PetscInt64 offset, PetscInt t)
{
  const size_t row = EkDatasetRowFloats(d, &d->layout.source[part->source]), k = (size_t)d->options.reduced_resolution,
               kept = (size_t)d->info.n[1] * (size_t)d->info.n[2];
  const PetscInt most = (PetscInt)PetscMax((size_t)1, CHUNK_FLOATS / (k * row));

  PetscFunctionBegin;
  for (PetscInt r = 0; r < d->rows; r += most) {
    const PetscInt n = PetscMin(most, d->rows - r);
    const size_t   bytes = (((size_t)n - 1) * k + 1) * row * sizeof(float);
    const ssize_t  got = EkFileReadSome(d->fd, d->bounce, bytes, offset + (PetscInt64)((size_t)r * k * row * sizeof(float)));

    PetscCall(EkDatasetCheckRead(d, part, got, bytes));
    Unpack(d, part, n, d->bounce, part->plane + (size_t)t * part->pitch + (size_t)r * kept);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadContiguous(EkDataset d, const EkPart *part, PetscInt64 address)
{
  const EkSource *source = &d->layout.source[part->source];
  const size_t    row = EkDatasetRowFloats(d, source), frame = (size_t)d->layout.n[0] * row;
  const PetscBool direct = (PetscBool)(d->options.reduced_resolution == 1 && source->channels == 1),
                  whole = (PetscBool)(d->rows == d->info.n[0]), small = (PetscBool)(frame <= CHUNK_FLOATS);
  const PetscInt most = d->step_t == 1 && whole && (small || direct)
                            ? (PetscInt)PetscMax((size_t)1, PetscMin(CHUNK_FLOATS / frame, (size_t)MAX_PLANES))
                            : 1;

  PetscFunctionBegin;
  if (!direct) PetscCall(EkDatasetReserveBounce(d, PetscMax(CHUNK_FLOATS, row)));
  for (PetscInt t = 0, n; t < part->frames; t += n) {
    const PetscInt64 start = address + (PetscInt64)((size_t)(part->from + t) * (size_t)d->step_t * frame * sizeof(float)),
                     first = start + (PetscInt64)((size_t)d->row * (size_t)d->options.reduced_resolution * row * sizeof(float));

    n = PetscMin(most, part->frames - t);
    if (direct)
      PetscCall(ReadPlanes(d, part, first, t, n));
    else if (whole && small)
      PetscCall(ReadFrames(d, part, start, t, n));
    else
      PetscCall(ReadRows(d, part, first, t));
    PetscCall(EkDatasetFinishFrames(d, part, t, n));
  }
  PetscFunctionReturn(0);
}

/* ---- samples ------------------------------------------------------------------------------------------------ */

static PetscErrorCode ReadThroughHDF5(EkDataset d, const EkPart *part)
{
  const size_t frame = EkDatasetSpan(d) * EkDatasetRowFloats(d, &d->layout.source[part->source]);

  PetscFunctionBegin;
  PetscCall(EkDatasetReadConverted(d, part));
  for (PetscInt t = 0; t < part->frames; t++)
    Unpack(d, part, d->rows, d->bounce + (size_t)t * (size_t)d->step_t * frame, part->plane + (size_t)t * part->pitch);
  PetscCall(EkDatasetFinishFrames(d, part, 0, part->frames));
  PetscFunctionReturn(0);
}

/* Frames of a source that are in the sample's first `frames`. */
static PetscInt KeptFrames(EkDataset d, const EkSource *source, PetscInt frames)
{
  return PetscMin((source->frames - 1) / d->step_t + 1, frames - source->frame);
}

PetscErrorCode EkDatasetReadSample(EkDataset d, PetscInt64 trajectory, PetscInt from, PetscInt frames, size_t stride, float *out)
{
  const size_t pitch = (size_t)d->info.fields * stride;
  PetscInt64   address;

  PetscFunctionBegin;
  for (int i = 0; i < d->layout.nsources && d->rows; i++) {
    const EkSource *source = &d->layout.source[i];
    float          *first = out + (size_t)source->frame * pitch + (size_t)source->field * stride;
    const EkPart    part = {i, trajectory, from, KeptFrames(d, source, from + frames) - from, first, pitch, stride};

    if (d->layout.last) {
      PetscCall(EkDatasetReadLast(d, &part));
      continue;
    }
    PetscCall(EkDatasetLocate(d, i, trajectory, &address));
    if (address >= 0)
      PetscCall(ReadContiguous(d, &part, address));
    else
      PetscCall(ReadThroughHDF5(d, &part));
  }
  PetscFunctionReturn(0);
}

/* Copies planes between different strides; the rest of a wider plane is zeroed. */
static void CopyPlanes(EkDataset d, PetscInt frames, const float *from, size_t from_stride, float *to, size_t to_stride)
{
  const size_t points = EkDatasetPoints(d), planes = (size_t)frames * (size_t)d->info.fields;

  for (size_t p = 0; p < planes; p++, from += from_stride, to += to_stride) {
    memcpy(to, from, points * sizeof(float));
    memset(to + points, 0, (to_stride - points) * sizeof(float));
  }
}

/* The first samples that fit stay for good. Every epoch visits each sample once, so no policy that evicts hits more often, and
   the most usual one (least recently used) would never hit. What is kept is whole, whatever part of it was asked for. */
static PetscErrorCode KeepSample(EkDataset d, EkSplit split, PetscInt64 trajectory, float **kept)
{
  const PetscInt   frames = EkDatasetFrames(d, split);
  const size_t     floats = (size_t)frames * (size_t)d->info.fields * EkDatasetPoints(d);
  const PetscInt64 bytes = (PetscInt64)(floats * sizeof(float));
  PetscErrorCode   code;

  PetscFunctionBegin;
  if (!bytes || d->kept_bytes + bytes > d->options.cache) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(floats, kept));
  code = EkDatasetReadSample(d, trajectory, 0, frames, EkDatasetPoints(d), *kept);
  if (code)
    PetscCall(PetscFree(*kept));
  else
    d->kept_bytes += bytes;
  PetscFunctionReturn(code);
}

static PetscErrorCode Locate(EkDataset d, EkSplit split, PetscInt index, PetscInt64 *trajectory, float ***kept)
{
  PetscFunctionBegin;
  PetscCheck(index >= 0 && index < d->info.count[split], PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             KEY " %s: sample %" PetscInt_FMT " asked for, the %s set has %" PetscInt_FMT, d->options.file, index,
             split == EK_TEST ? "test" : "training", d->info.count[split]);
  *trajectory = d->first[split] + (PetscInt64)index * d->stride[split];
  *kept = &d->kept[split == EK_TEST ? index : d->info.count[EK_TEST] + index];
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetReadFrames(EkDataset d, EkSplit split, PetscInt n, const PetscInt index[], const PetscInt first[],
                                   PetscInt frames, size_t stride, float *out)
{
  const PetscInt all = EkDatasetFrames(d, split);
  const size_t   points = EkDatasetPoints(d), frame = (size_t)d->info.fields * points;
  PetscInt64     trajectory = 0;
  float        **kept = NULL;

  PetscFunctionBegin;
  PetscCheck(stride >= points, PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "planes of %zu values do not fit a stride of %zu", points,
             stride);
  d->begun = PETSC_TRUE;
  for (PetscInt i = 0; i < n; i++, out += (size_t)frames * (size_t)d->info.fields * stride) {
    const PetscInt from = first ? first[i] : 0;

    PetscCheck(from >= 0 && frames > 0 && from + frames <= all && (!d->layout.pair || frames == all), PETSC_COMM_SELF,
               PETSC_ERR_ARG_OUTOFRANGE, KEY " %s: frames %" PetscInt_FMT " to %" PetscInt_FMT " of %" PetscInt_FMT,
               d->options.file, from, from + frames, all);
    PetscCall(Locate(d, split, index[i], &trajectory, &kept));
    if (!*kept) PetscCall(KeepSample(d, split, trajectory, kept));
    if (*kept)
      CopyPlanes(d, frames, *kept + (size_t)from * frame, points, out, stride);
    else
      PetscCall(EkDatasetReadSample(d, trajectory, from, frames, stride, out));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetRead(EkDataset d, EkSplit split, PetscInt n, const PetscInt index[], size_t stride, float *out)
{
  PetscFunctionBegin;
  PetscCall(EkDatasetReadFrames(d, split, n, index, NULL, EkDatasetFrames(d, split), stride, out));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetPrefetchFrames(EkDataset d, EkSplit split, PetscInt n, const PetscInt index[], const PetscInt first[],
                                       PetscInt frames)
{
  PetscInt64 trajectory = 0, address;
  float    **kept = NULL;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < n; i++) {
    const PetscInt from = first ? first[i] : 0;

    PetscCall(Locate(d, split, index[i], &trajectory, &kept));
    if (d->layout.last && !*kept) PetscCall(EkDatasetPrefetchLast(d, trajectory));
    for (int s = 0; s < d->layout.nsources && !*kept && !d->layout.last; s++) {
      const EkSource *source = &d->layout.source[s];
      const PetscInt  span = (KeptFrames(d, source, from + frames) - from - 1) * d->step_t + 1;
      const size_t    frame = (size_t)d->layout.n[0] * EkDatasetRowFloats(d, source) * sizeof(float);

      if (d->layout.groups && !d->address[trajectory]) continue; /* to look where it is takes as long as to read it */
      PetscCall(EkDatasetLocate(d, s, trajectory, &address));
      if (address < 0) continue;
      /* advice: where the system takes none, reading works all the same */
      posix_fadvise(d->fd, (off_t)(address + (PetscInt64)((size_t)from * (size_t)d->step_t * frame)),
                    (off_t)((size_t)span * frame), POSIX_FADV_WILLNEED);
    }
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetPrefetch(EkDataset d, EkSplit split, PetscInt n, const PetscInt index[])
{
  PetscFunctionBegin;
  PetscCall(EkDatasetPrefetchFrames(d, split, n, index, NULL, EkDatasetFrames(d, split)));
  PetscFunctionReturn(0);
}
