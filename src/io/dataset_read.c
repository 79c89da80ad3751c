#include "dataset.h"
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

/* Read this much at a time: it stays in the second-level cache while it is strided and checked. */
#define CHUNK_BYTES (256 << 10)
#define MAX_PLANES  512 /* vectors of one preadv, under every IOV_MAX */

static size_t RawPoints(const EkLayout *layout)
{
  return (size_t)layout->n[0] * (size_t)layout->n[1];
}
static size_t Points(EkDataset d)
{
  return (size_t)d->info.n[0] * (size_t)d->info.n[1];
}

/* Kept frames of one source. */
static PetscInt KeptFrames(EkDataset d, const EkSource *source)
{
  return (source->frames - 1) / d->step_t + 1;
}

PetscErrorCode EkDatasetOpenSources(EkDataset d)
{
  const size_t points = RawPoints(&d->layout);
  size_t       floats = 0;
  char         reason[256];

  PetscFunctionBegin;
  d->chunk = PetscMax(1, PetscMin(CHUNK_BYTES / sizeof(float) / points, (size_t)MAX_PLANES));
  PetscCall(EkFileOpen("data_file", d->options.file, O_RDONLY, &d->fd));
  for (int i = 0; i < d->layout.nsources; i++) {
    const EkSource *source = &d->layout.source[i];

    if (source->address >= 0) {
      if (d->options.reduced_resolution > 1) floats = PetscMax(floats, points * d->chunk);
      continue;
    }
    floats = PetscMax(floats, points * (size_t)source->frames);
    if (d->file < 0) PetscCall(EkH5Open("data_file", d->options.file, H5F_ACC_RDONLY, &d->file));
    d->set[i] = H5Dopen2(d->file, source->name, H5P_DEFAULT);
    PetscCheck(d->set[i] >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ, "data_file %s: dataset '%s' cannot be opened: %s",
               d->options.file, source->name, EkH5Reason(reason));
  }
  if (floats) PetscCall(PetscMalloc1(floats, &d->bounce));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetCloseSources(EkDataset d)
{
  PetscFunctionBegin;
  for (int i = 0; i < EK_MAX_FIELDS; i++) {
    if (d->set[i] >= 0) H5Dclose(d->set[i]);
  }
  if (d->file >= 0) H5Fclose(d->file);
  if (d->fd >= 0) close(d->fd);
  PetscCall(PetscFree(d->bounce));
  PetscFunctionReturn(0);
}

/* NaN and infinity times zero are NaN, and a NaN stays in the sum. */
static PetscBool IsFinite(size_t n, const float *x)
{
  float zero = 0;

#pragma omp simd reduction(+ : zero)
  for (size_t i = 0; i < n; i++) zero += x[i] * 0.0f;
  return (PetscBool)(zero == 0.0f);
}

static void Decimate(EkDataset d, const float *raw, float *plane)
{
  const PetscInt k = d->options.reduced_resolution, ny = d->layout.n[1];

  if (k == 1) {
    memcpy(plane, raw, Points(d) * sizeof(float));
    return;
  }
  for (PetscInt i = 0; i < d->info.n[0]; i++) {
    const float *row = raw + (size_t)i * k * ny;

    for (PetscInt j = 0; j < d->info.n[1]; j++) *plane++ = row[(size_t)j * k];
  }
}

/* Planes of consecutive frames, straight from the file where nothing is strided. */
static ssize_t ReadPlanes(EkDataset d, PetscInt64 offset, size_t n, float *plane, size_t pitch)
{
  const size_t points = RawPoints(&d->layout);
  struct iovec part[MAX_PLANES];
  ssize_t      got, all = 0;

  for (size_t t = 0; t < n; t++) part[t] = (struct iovec){plane + t * pitch, points * sizeof(float)};
  got = preadv(d->fd, part, (int)n, (off_t)offset);
  if (got == (ssize_t)(n * points * sizeof(float))) return got;
  /* interrupted or at the end of the file: plane by plane, to know which */
  for (size_t t = 0; t < n; t++) {
    got = EkFileReadSome(d->fd, plane + t * pitch, points * sizeof(float), offset + all);
    if (got < 0) return -1;
    all += got;
  }
  return all;
}

static ssize_t ReadStrided(EkDataset d, PetscInt64 offset, size_t n, float *plane, size_t pitch)
{
  const size_t  points = RawPoints(&d->layout);
  const ssize_t got = EkFileReadSome(d->fd, d->bounce, n * points * sizeof(float), offset);

  for (size_t t = 0; got > 0 && t < n; t++) Decimate(d, d->bounce + t * points, plane + t * pitch);
  return got;
}

/* Zeroes the tail of each plane and looks for values that are not finite. */
static PetscErrorCode FinishPlanes(EkDataset d, const EkSource *source, PetscInt64 trajectory, PetscInt first, size_t n,
                                   float *plane, size_t pitch, size_t stride)
{
  const size_t points = Points(d);

  PetscFunctionBegin;
  for (size_t t = 0; t < n; t++, plane += pitch) {
    memset(plane + points, 0, (stride - points) * sizeof(float));
    PetscCheck(IsFinite(points, plane), PETSC_COMM_SELF, PETSC_ERR_FP,
               "data_file %s: dataset '%s', trajectory %lld, frame %lld: a value is not finite", d->options.file, source->name,
               (long long)trajectory, (long long)(first + (PetscInt)t) * d->step_t);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadContiguous(EkDataset d, const EkSource *source, PetscInt64 trajectory, size_t stride, float *first)
{
  const size_t     frame_bytes = RawPoints(&d->layout) * sizeof(float), pitch = (size_t)d->info.fields * stride;
  const PetscInt   kept = KeptFrames(d, source), step = d->step_t;
  const PetscInt64 base = source->address + trajectory * source->frames * (PetscInt64)frame_bytes;

  PetscFunctionBegin;
  for (PetscInt t = 0, n; t < kept; t += n) {
    const PetscInt64 offset = base + (PetscInt64)t * step * (PetscInt64)frame_bytes;
    float           *plane = first + (size_t)t * pitch;
    ssize_t          got;

    n = step == 1 ? PetscMin((PetscInt)d->chunk, kept - t) : 1;
    got = d->options.reduced_resolution == 1 ? ReadPlanes(d, offset, (size_t)n, plane, pitch)
                                             : ReadStrided(d, offset, (size_t)n, plane, pitch);
    PetscCheck(got == (ssize_t)((size_t)n * frame_bytes), PETSC_COMM_SELF, PETSC_ERR_FILE_READ,
               "data_file %s: dataset '%s', trajectory %lld cannot be read: %s", d->options.file, source->name,
               (long long)trajectory, got < 0 ? strerror(errno) : "the file ends before");
    d->bytes_read += got;
    PetscCall(FinishPlanes(d, source, trajectory, t, (size_t)n, plane, pitch, stride));
  }
  PetscFunctionReturn(0);
}

/* One trajectory of set `i` into the bounce buffer, converted to float. */
static PetscErrorCode ReadSet(EkDataset d, int i, PetscInt64 trajectory)
{
  const hid_t space = H5Dget_space(d->set[i]);
  hsize_t     start[EK_MAX_RANK] = {(hsize_t)trajectory}, count[EK_MAX_RANK];
  hid_t       memory;
  herr_t      failed;
  char        reason[256];

  PetscFunctionBegin;
  EkCallHDF5(H5Sget_simple_extent_dims(space, count, NULL), "data_file %s: dataset '%s' has no shape", d->options.file,
             d->layout.source[i].name);
  count[0] = 1;
  memory = H5Screate_simple(H5Sget_simple_extent_ndims(space), count, NULL);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  failed = H5Dread(d->set[i], H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, d->bounce);
  if (failed < 0) EkH5Reason(reason);
  H5Sclose(memory);
  H5Sclose(space);
  PetscCheck(failed >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ, "data_file %s: dataset '%s', trajectory %lld cannot be read: %s",
             d->options.file, d->layout.source[i].name, (long long)trajectory, reason);
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadConverted(EkDataset d, int i, PetscInt64 trajectory, size_t stride, float *first)
{
  const EkSource *source = &d->layout.source[i];
  const size_t    points = RawPoints(&d->layout), pitch = (size_t)d->info.fields * stride;
  const PetscInt  kept = KeptFrames(d, source);

  PetscFunctionBegin;
  PetscCall(ReadSet(d, i, trajectory));
  d->bytes_read += (PetscInt64)points * source->frames * source->bytes;
  for (PetscInt t = 0; t < kept; t++) Decimate(d, d->bounce + (size_t)t * d->step_t * points, first + (size_t)t * pitch);
  PetscCall(FinishPlanes(d, source, trajectory, 0, (size_t)kept, first, pitch, stride));
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadSample(EkDataset d, PetscInt64 trajectory, size_t stride, float *out)
{
  PetscFunctionBegin;
  for (int i = 0; i < d->layout.nsources; i++) {
    const EkSource *source = &d->layout.source[i];
    float          *first = out + ((size_t)source->frame * (size_t)d->info.fields + (size_t)source->field) * stride;

    if (source->address >= 0)
      PetscCall(ReadContiguous(d, source, trajectory, stride, first));
    else
      PetscCall(ReadConverted(d, i, trajectory, stride, first));
  }
  PetscFunctionReturn(0);
}

/* Copies planes between different strides; the rest of a wider plane is zeroed. */
static void CopyPlanes(EkDataset d, const float *from, size_t from_stride, float *to, size_t to_stride)
{
  const size_t points = Points(d), planes = (size_t)d->info.frames * (size_t)d->info.fields;

  for (size_t p = 0; p < planes; p++, from += from_stride, to += to_stride) {
    memcpy(to, from, points * sizeof(float));
    memset(to + points, 0, (to_stride - points) * sizeof(float));
  }
}

/* The first samples that fit stay for good. Every epoch visits each sample once, so no policy that evicts hits more often, and
   the most usual one (least recently used) would never hit. */
static PetscErrorCode KeepSample(EkDataset d, size_t stride, const float *sample, float **kept)
{
  const PetscInt64 bytes = (PetscInt64)(d->sample_floats * sizeof(float));

  PetscFunctionBegin;
  if (d->kept_bytes + bytes > d->options.cache) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(d->sample_floats, kept));
  d->kept_bytes += bytes;
  CopyPlanes(d, sample, stride, *kept, Points(d));
  PetscFunctionReturn(0);
}

static PetscErrorCode Locate(EkDataset d, EkSplit split, PetscInt index, PetscInt64 *trajectory, float ***kept)
{
  PetscFunctionBegin;
  PetscCheck(index >= 0 && index < d->info.count[split], PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "data_file %s: sample %" PetscInt_FMT " asked for, the %s set has %" PetscInt_FMT, d->options.file, index,
             split == EK_TEST ? "test" : "training", d->info.count[split]);
  *trajectory = d->first[split] + (PetscInt64)index * d->stride[split];
  *kept = &d->kept[split == EK_TEST ? index : d->info.count[EK_TEST] + index];
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetRead(EkDataset d, EkSplit split, PetscInt n, const PetscInt index[], size_t stride, float *out)
{
  const size_t sample_stride = (size_t)d->info.frames * (size_t)d->info.fields * stride;
  PetscInt64   trajectory = 0;
  float      **kept = NULL;

  PetscFunctionBegin;
  PetscCheck(stride >= Points(d), PETSC_COMM_SELF, PETSC_ERR_ARG_SIZ, "planes of %zu values do not fit a stride of %zu",
             Points(d), stride);
  for (PetscInt i = 0; i < n; i++, out += sample_stride) {
    PetscCall(Locate(d, split, index[i], &trajectory, &kept));
    if (*kept)
      CopyPlanes(d, *kept, Points(d), out, stride);
    else {
      PetscCall(ReadSample(d, trajectory, stride, out));
      PetscCall(KeepSample(d, stride, out, kept));
    }
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetPrefetch(EkDataset d, EkSplit split, PetscInt n, const PetscInt index[])
{
  const PetscInt64 frame_bytes = (PetscInt64)(RawPoints(&d->layout) * sizeof(float));
  PetscInt64       trajectory = 0;
  float          **kept = NULL;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < n; i++) {
    PetscCall(Locate(d, split, index[i], &trajectory, &kept));
    for (int s = 0; s < d->layout.nsources && !*kept; s++) {
      const EkSource *source = &d->layout.source[s];

      /* advice: where the system takes none, reading works all the same */
      if (source->address < 0) continue;
      posix_fadvise(d->fd, (off_t)(source->address + trajectory * source->frames * frame_bytes),
                    (off_t)(source->frames * frame_bytes), POSIX_FADV_WILLNEED);
    }
  }
  PetscFunctionReturn(0);
}
