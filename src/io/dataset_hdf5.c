#include "dataset.h"
#include <string.h>

#define KEY EK_DATA_FILE

size_t EkDatasetRowFloats(EkDataset d, const EkSource *source)
{
  return (size_t)d->layout.n[1] * (size_t)d->layout.n[2] * (size_t)source->channels;
}

size_t EkDatasetSpan(EkDataset d)
{
  return d->rows ? ((size_t)d->rows - 1) * (size_t)d->options.reduced_resolution + 1 : 0;
}

PetscErrorCode EkDatasetReserveBounce(EkDataset d, size_t floats)
{
  PetscFunctionBegin;
  if (floats <= d->bounce_floats) PetscFunctionReturn(0);
  PetscCall(PetscFree(d->bounce));
  d->bounce_floats = 0;
  PetscCall(PetscMalloc1(floats, &d->bounce));
  d->bounce_floats = floats;
  PetscFunctionReturn(0);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* Where a chunk spans several trajectories, all chunks of one trajectory have to stay in memory, or each of them is decompressed
   again for the next trajectory: *wanted bytes in *nchunks chunks. Else each is wanted once, and room for one (*least) serves:
   without any, HDF5 reads what is not compressed line by line. 0 chunks: the dataset is not chunked. */
static PetscErrorCode ChunkCache(EkDataset d, const EkSource *source, hid_t set, size_t *nchunks, size_t *least, size_t *wanted)
{
  const hid_t create = H5Dget_create_plist(set);
  hsize_t     chunk[EK_MAX_RANK];
  PetscInt64  shape[EK_MAX_RANK];
  int         rank;

  PetscFunctionBegin;
  *nchunks = *least = *wanted = 0;
  PetscCall(EkSetShape(set, d->options.file, source->name, &rank, shape));
  if (H5Pget_layout(create) != H5D_CHUNKED || H5Pget_chunk(create, rank, chunk) != rank) rank = 0;
  H5Pclose(create);
  if (!rank) PetscFunctionReturn(0);
  *nchunks = 1;
  *least = (size_t)source->bytes;
  for (int i = 0; i < rank; i++) *least *= (size_t)chunk[i];
  for (int i = 1; i < rank; i++) *nchunks *= ((size_t)shape[i] + (size_t)chunk[i] - 1) / (size_t)chunk[i];
  *wanted = chunk[0] > 1 ? *nchunks * *least : 0;
  *least = PetscMin(*least, (size_t)1 << 20); /* as much as HDF5 gives by itself */
  PetscFunctionReturn(0);
}

/* The room comes out of data_cache, so that memory stays within it. */
static PetscErrorCode OpenSet(EkDataset d, int i)
{
  const EkSource *source = &d->layout.source[i];
  size_t          nchunks, least, wanted;
  hid_t           access;

  PetscFunctionBegin;
  PetscCall(EkSetOpen(d->file, d->options.file, source->name, &d->set[i]));
  PetscCall(ChunkCache(d, source, d->set[i], &nchunks, &least, &wanted));
  if (!nchunks) PetscFunctionReturn(0);
  if (d->kept_bytes + (PetscInt64)wanted > d->options.cache) wanted = 0;
  d->kept_bytes += (PetscInt64)wanted;
  H5Dclose(d->set[i]);
  access = H5Pcreate(H5P_DATASET_ACCESS);
  H5Pset_chunk_cache(access, 20 * nchunks + 1, PetscMax(least, wanted), 1);
  d->set[i] = H5Dopen2(d->file, source->name, access);
  H5Pclose(access);
  EkCallHDF5(d->set[i], KEY " %s: dataset '%s' cannot be opened", d->options.file, source->name);
  PetscFunctionReturn(0);
}

/* By itself HDF5 keeps what it has seen of a file's structure: 70 MB after ten thousand groups, none of which is looked at twice.
 */
static PetscErrorCode LimitMetadata(EkDataset d)
{
  H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};

  PetscFunctionBegin;
  EkCallHDF5(H5Fget_mdc_config(d->file, &config), KEY " %s: HDF5 does not say how it caches", d->options.file);
  config.set_initial_size = 1;
  config.initial_size = config.min_size = config.max_size = 1 << 20;
  EkCallHDF5(H5Fset_mdc_config(d->file, &config), KEY " %s: HDF5 takes no limit of its cache", d->options.file);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetOpenSources(EkDataset d)
{
  PetscFunctionBegin;
  if (d->layout.name_bytes) PetscCall(PetscCalloc1(d->layout.samples, &d->address));
  if (d->layout.last) PetscFunctionReturn(0);
  PetscCall(EkFileOpen(KEY, d->options.file, O_RDONLY, &d->fd));
  if (d->layout.groups) {
    PetscCall(EkH5Open(KEY, d->options.file, H5F_ACC_RDONLY, &d->file));
    PetscCall(LimitMetadata(d));
    PetscFunctionReturn(0);
  }
  for (int i = 0; i < d->layout.nsources; i++) {
    if (d->layout.source[i].address >= 0) continue;
    if (d->file < 0) PetscCall(EkH5Open(KEY, d->options.file, H5F_ACC_RDONLY, &d->file));
    PetscCall(OpenSet(d, i));
  }
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
  PetscCall(PetscFree(d->address));
  PetscFunctionReturn(0);
}

/* ---- groups ------------------------------------------------------------------------------------------------- */

static const char *GroupName(EkDataset d, PetscInt64 trajectory)
{
  return d->group + (size_t)trajectory * (size_t)d->layout.name_bytes;
}

const char *EkDatasetSetName(EkDataset d, int source, PetscInt64 trajectory, char text[EK_PATH])
{
  if (d->layout.name_bytes)
    snprintf(text, EK_PATH, "%s/%s", GroupName(d, trajectory), d->layout.source[source].name);
  else
    snprintf(text, EK_PATH, "%s", d->layout.source[source].name);
  return text;
}

/* A group's data must be as the first one's. */
static PetscErrorCode CheckGroup(EkDataset d, hid_t set, const char *name)
{
  const EkLayout *layout = &d->layout;
  const int       want_rank = 2 + layout->dim;
  PetscInt64      shape[EK_MAX_RANK], want[EK_MAX_RANK] = {layout->frames};
  char            text[160], want_text[160];
  int             rank;

  PetscFunctionBegin;
  for (int i = 0; i < layout->dim; i++) want[1 + i] = layout->n[i];
  want[1 + layout->dim] = layout->source[0].channels;
  PetscCall(EkSetShape(set, d->options.file, name, &rank, shape));
  PetscCheck(rank == want_rank && !memcmp(shape, want, (size_t)rank * sizeof(*shape)), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: groups disagree: '%s' is %s, that of group '%s' %s", d->options.file, name, EkShapeText(rank, shape, text),
             d->group, EkShapeText(want_rank, want, want_text));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetLocate(EkDataset d, int i, PetscInt64 trajectory, PetscInt64 *address)
{
  const EkSource *source = &d->layout.source[i];
  PetscErrorCode  code;
  PetscInt        bytes;
  char            name[EK_PATH];
  hid_t           set;

  PetscFunctionBegin;
  *address = source->address;
  if (!d->layout.groups) {
    if (*address >= 0)
      *address += trajectory * source->frames * d->layout.n[0] * (PetscInt64)(EkDatasetRowFloats(d, source) * sizeof(float));
    PetscFunctionReturn(0);
  }
  *address = d->address[trajectory];
  if (*address) PetscFunctionReturn(0);
  EkDatasetSetName(d, i, trajectory, name);
  PetscCall(EkSetOpen(d->file, d->options.file, name, &set));
  code = CheckGroup(d, set, name);
  if (!code) code = EkSetStorage(set, d->options.file, name, address, &bytes);
  H5Dclose(set);
  if (!code) d->address[trajectory] = *address;
  PetscFunctionReturn(code);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* The part's frames and rows of an open dataset: (trajectory,) (frames,) rows, the rest of the grid (, channels). */
static PetscErrorCode ReadOpen(EkDataset d, const EkPart *part, hid_t set)
{
  const EkSource *source = &d->layout.source[part->source];
  const hid_t     space = H5Dget_space(set);
  hsize_t         start[EK_MAX_RANK] = {0}, count[EK_MAX_RANK];
  int             axis = 0;
  hid_t           memory;
  herr_t          failed;
  char            reason[256], name[EK_PATH];

  PetscFunctionBegin;
  EkCallHDF5(H5Sget_simple_extent_dims(space, count, NULL), KEY " %s: dataset '%s' has no shape", d->options.file, source->name);
  if (!d->layout.groups) {
    start[axis] = (hsize_t)part->trajectory;
    count[axis++] = 1;
  }
  if (!source->timeless) {
    start[axis] = (hsize_t)part->from * (hsize_t)d->step_t;
    count[axis++] = (hsize_t)((part->frames - 1) * d->step_t + 1);
  }
  start[axis] = (hsize_t)d->row * (hsize_t)d->options.reduced_resolution;
  count[axis] = (hsize_t)EkDatasetSpan(d);
  memory = H5Screate_simple(H5Sget_simple_extent_ndims(space), count, NULL);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  failed = H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, d->bounce);
  if (failed < 0) EkH5Reason(reason);
  H5Sclose(memory);
  H5Sclose(space);
  PetscCheck(failed >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ, KEY " %s: dataset '%s', trajectory %lld cannot be read: %s",
             d->options.file, EkDatasetSetName(d, part->source, part->trajectory, name), (long long)part->trajectory, reason);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetReadConverted(EkDataset d, const EkPart *part)
{
  const EkSource *source = &d->layout.source[part->source];
  const size_t    floats = (size_t)((part->frames - 1) * d->step_t + 1) * EkDatasetSpan(d) * EkDatasetRowFloats(d, source);
  PetscErrorCode  code;
  char            name[EK_PATH];
  hid_t           set = d->set[part->source];

  PetscFunctionBegin;
  PetscCall(EkDatasetReserveBounce(d, floats));
  if (d->layout.groups)
    PetscCall(EkSetOpen(d->file, d->options.file, EkDatasetSetName(d, part->source, part->trajectory, name), &set));
  code = ReadOpen(d, part, set);
  if (d->layout.groups) H5Dclose(set);
  if (!code) d->bytes_read += (PetscInt64)floats * source->bytes;
  PetscFunctionReturn(code);
}
