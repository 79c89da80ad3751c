/* DPOT's layouts (models-and-data 5.5): a folder whose train/ and test/ hold a file data_I.hdf5 a trajectory, `data` (X, Y, T,
   C); or one file NAME_train.hdf5, `data` (N, X, Y, T) of one field, with its partner NAME_test.hdf5. A value's frame and field
   are its last two axes, so that a trajectory is read whole and taken apart in memory. */
#include "dataset.h"
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY         EK_DATA_FILE
#define MOST_DIGITS 12

static const char *const part_name[2] = {"test", "train"}; /* in the order of the trajectories */

PetscBool EkDatasetIsFolder(const EkDataOptions *options)
{
  struct stat status;

  return (PetscBool)(!stat(options->file, &status) && S_ISDIR(status.st_mode));
}

PetscErrorCode EkDatasetMakeCoordinate(PetscInt n, float **values)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1(n, values));
  for (PetscInt i = 0; i < n; i++) (*values)[i] = (float)(((double)i + 0.5) / (double)n);
  PetscFunctionReturn(0);
}

/* ---- what is there ------------------------------------------------------------------------------------------ */

/* A trajectory's file: its number, and as many digits as its name has ("007"). */
typedef struct {
  long number;
  int  digits;
} Numbered;

/* Is it data_I.hdf5? */
static PetscBool IsTrajectory(const char *name, Numbered *file)
{
  char *end;

  if (strncmp(name, "data_", 5) || !isdigit((unsigned char)name[5])) return PETSC_FALSE;
  file->number = strtol(name + 5, &end, 10);
  file->digits = (int)(end - name) - 5;
  return (PetscBool)(!strcmp(end, ".hdf5") && file->digits <= MOST_DIGITS);
}

static int Ascending(const void *a, const void *b)
{
  const Numbered *x = (const Numbered *)a, *y = (const Numbered *)b;

  if (x->number != y->number) return x->number > y->number ? 1 : -1;
  return x->digits - y->digits;
}

/* Files of the trajectories of one part, ascending; none where there is no such folder. */
static PetscErrorCode ListPart(const char *folder, const char *part, PetscInt *n, Numbered **number)
{
  char           path[EK_PATH + EK_NAME];
  struct dirent *entry;
  PetscInt       room = 0;
  DIR           *directory;

  PetscFunctionBegin;
  *n = 0;
  *number = NULL;
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/%s", folder, part));
  directory = opendir(path);
  if (!directory) PetscFunctionReturn(0);
  while ((entry = readdir(directory))) {
    Numbered file;

    if (!IsTrajectory(entry->d_name, &file)) continue;
    if (*n == room) PetscCall(PetscRealloc((size_t)(room = 2 * room + 256) * sizeof(**number), number));
    (*number)[(*n)++] = file;
  }
  closedir(directory);
  if (*n) qsort(*number, (size_t)*n, sizeof(**number), Ascending);
  PetscFunctionReturn(0);
}

static PetscErrorCode ListFolder(const EkDataOptions *options, EkLayout *layout, char **names)
{
  PetscInt  n[2], s = 0;
  Numbered *number[2];

  PetscFunctionBegin;
  for (int p = 0; p < 2; p++) PetscCall(ListPart(options->file, part_name[p], &n[p], &number[p]));
  layout->samples = n[0] + n[1];
  layout->set_apart = n[0] && n[1] ? n[0] : -1;
  layout->name_bytes = 32;
  PetscCheck(layout->samples, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: is a folder; wanted are train/data_0.hdf5, ... and test/data_0.hdf5, ... in it", options->file);
  PetscCall(PetscCalloc1((size_t)layout->samples * (size_t)layout->name_bytes, names));
  for (int p = 0; p < 2; p++) {
    for (PetscInt i = 0; i < n[p]; i++, s++)
      snprintf(*names + (size_t)s * (size_t)layout->name_bytes, (size_t)layout->name_bytes, "%s/data_%0*ld.hdf5", part_name[p],
               number[p][i].digits, number[p][i].number);
    PetscCall(PetscFree(number[p]));
  }
  PetscFunctionReturn(0);
}

/* Shape and storage of `data` in an open file. */
static PetscErrorCode LookAt(hid_t file, const char *path, int *rank, PetscInt64 shape[EK_MAX_RANK], PetscInt64 *address,
                             PetscInt *bytes)
{
  PetscErrorCode code;
  hid_t          set;

  PetscFunctionBegin;
  PetscCall(EkSetOpen(file, path, "data", &set));
  code = EkSetShape(set, path, "data", rank, shape);
  if (!code) code = EkSetStorage(set, path, "data", address, bytes);
  H5Dclose(set);
  PetscFunctionReturn(code);
}

static PetscErrorCode LookInto(const char *path, int *rank, PetscInt64 shape[EK_MAX_RANK], PetscInt64 *address, PetscInt *bytes)
{
  PetscErrorCode code;
  hid_t          file;

  PetscFunctionBegin;
  PetscCall(EkH5Open(KEY, path, H5F_ACC_RDONLY, &file));
  code = LookAt(file, path, rank, shape, address, bytes);
  H5Fclose(file);
  PetscFunctionReturn(code);
}

/* (X, Y, T, C): one source that gives all fields. */
static PetscErrorCode Describe(EkLayout *layout, const PetscInt64 x[4])
{
  EkSource *source = &layout->source[0];

  PetscFunctionBegin;
  layout->last = PETSC_TRUE;
  layout->dim = 2;
  layout->nsources = 1;
  layout->n[0] = (PetscInt)x[0];
  layout->n[1] = (PetscInt)x[1];
  layout->frames = (PetscInt)x[2];
  layout->fields = (PetscInt)x[3];
  *source = (EkSource){.frames = layout->frames, .channels = layout->fields, .taken = layout->fields};
  PetscCall(PetscStrncpy(source->name, "data", sizeof(source->name)));
  for (PetscInt f = 0; f < layout->fields; f++) {
    source->channel[f] = f;
    snprintf(layout->field[f], EK_NAME, layout->fields == 1 ? "data" : "data%d", (int)f);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode FolderFile(const EkDataOptions *options, const char *name, char path[2 * EK_PATH])
{
  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(path, 2 * EK_PATH, "%s/%s", options->file, name));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetProbeFolder(const EkDataOptions *options, EkLayout *layout, char **names)
{
  PetscInt64 shape[EK_MAX_RANK], address;
  PetscInt   bytes;
  char       path[2 * EK_PATH], text[160];
  int        rank;

  PetscFunctionBegin;
  PetscCall(ListFolder(options, layout, names));
  PetscCall(FolderFile(options, *names, path));
  PetscCall(LookInto(path, &rank, shape, &address, &bytes));
  PetscCheck(rank == 4 && shape[3] <= EK_MAX_FIELDS, PETSC_COMM_SELF, PETSC_ERR_SUP,
             KEY " %s: 'data' is %s; wanted are points along x, along y, frames, and up to %d fields", path,
             EkShapeText(rank, shape, text), EK_MAX_FIELDS);
  PetscCall(Describe(layout, shape));
  layout->folder = PETSC_TRUE;
  layout->source[0].bytes = bytes;
  PetscFunctionReturn(0);
}

/* NAME_train... -> NAME_test...; *text is "" where the name has no such part. */
static PetscErrorCode PartnerOf(const char *path, char text[2 * EK_PATH])
{
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *word = strstr(name, "_train");

  PetscFunctionBegin;
  text[0] = 0;
  if (word) PetscCall(PetscSNPrintf(text, 2 * EK_PATH, "%.*s_test%s", (int)(word - path), path, word + strlen("_train")));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetProbePair(hid_t file, const EkDataOptions *options, EkLayout *layout, const PetscInt64 shape[])
{
  const PetscInt64 one[4] = {shape[1], shape[2], shape[3], 1};
  PetscInt64       own[EK_MAX_RANK], other[EK_MAX_RANK], address;
  PetscInt         bytes;
  char             partner[2 * EK_PATH], text[160], want[160];
  struct stat      status;
  int              rank;

  PetscFunctionBegin;
  PetscCall(Describe(layout, one));
  PetscCall(LookAt(file, options->file, &rank, own, &layout->source[0].address, &layout->source[0].bytes));
  layout->samples = (PetscInt)shape[0];
  PetscCall(PartnerOf(options->file, partner));
  if (!*partner || stat(partner, &status)) PetscFunctionReturn(0);
  PetscCall(LookInto(partner, &rank, other, &address, &bytes));
  PetscCheck(rank == 4 && !memcmp(other + 1, shape + 1, 3 * sizeof(*shape)), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
             KEY " %s: 'data' is %s, that of its test set %s is %s", options->file, EkShapeText(4, shape, want), partner,
             EkShapeText(rank, other, text));
  layout->set_apart = (PetscInt)other[0];
  layout->samples += (PetscInt)other[0];
  PetscFunctionReturn(0);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* The file a trajectory lies in, and its place there. */
static PetscErrorCode PieceOf(EkDataset d, PetscInt64 trajectory, PetscInt64 *piece, PetscInt64 *place, char path[2 * EK_PATH])
{
  const PetscInt64 apart = d->layout.set_apart < 0 ? 0 : d->layout.set_apart;

  PetscFunctionBegin;
  if (d->layout.folder) {
    *piece = trajectory;
    *place = 0;
    PetscFunctionReturn(FolderFile(&d->options, d->group + (size_t)trajectory * (size_t)d->layout.name_bytes, path));
  }
  *piece = trajectory >= apart;
  *place = trajectory - (*piece ? apart : 0);
  if (*piece)
    PetscCall(PetscStrncpy(path, d->options.file, 2 * EK_PATH));
  else
    PetscCall(PartnerOf(d->options.file, path));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetFolderFiles(EkDataset d, char first[2 * EK_PATH], PetscInt64 *files, PetscInt64 *bytes)
{
  char       path[2 * EK_PATH];
  PetscInt64 piece, place, size;

  PetscFunctionBegin;
  *files = *bytes = 0;
  if (!d->layout.folder) PetscFunctionReturn(0);
  *files = d->layout.samples;
  for (PetscInt i = 0; i < d->layout.samples; i++) {
    PetscCall(PieceOf(d, i, &piece, &place, i ? path : first));
    PetscCall(EkFileSize("inspect", i ? path : first, &size));
    *bytes += size;
  }
  PetscFunctionReturn(0);
}

/* d->fd becomes the trajectory's file; *address: of its first value there, -1: only HDF5 can read it. */
static PetscErrorCode OpenPiece(EkDataset d, PetscInt64 trajectory, PetscInt64 *address, PetscInt64 *place,
                                char path[2 * EK_PATH])
{
  const EkSource  *source = &d->layout.source[0];
  const PetscInt64 want[4] = {d->layout.n[0], d->layout.n[1], source->frames, source->channels};
  PetscInt64       shape[EK_MAX_RANK], piece, *known;
  PetscInt         bytes;
  char             text[160], want_text[160];
  int              rank;

  PetscFunctionBegin;
  PetscCall(PieceOf(d, trajectory, &piece, place, path));
  if (piece != d->piece) {
    if (d->fd >= 0) close(d->fd);
    d->fd = -1;
    d->piece = -1;
    PetscCall(EkFileOpen(KEY, path, O_RDONLY, &d->fd));
    d->piece = piece;
  }
  known = d->layout.folder ? &d->address[trajectory] : &d->pair_address[piece];
  if (!*known) {
    PetscCall(LookInto(path, &rank, shape, known, &bytes));
    PetscCheck(!d->layout.folder || (rank == 4 && !memcmp(shape, want, sizeof(want))), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
               KEY " %s: 'data' is %s, that of '%s' %s", path, EkShapeText(rank, shape, text), d->group,
               EkShapeText(4, want, want_text));
  }
  *address = *known;
  PetscFunctionReturn(0);
}

/* Values of one trajectory. */
static size_t Floats(EkDataset d)
{
  const EkSource *source = &d->layout.source[0];

  return (size_t)d->layout.n[0] * (size_t)d->layout.n[1] * (size_t)source->frames * (size_t)source->channels;
}

/* Through HDF5: chunked, compressed, or not float32. */
static PetscErrorCode ReadConverted(EkDataset d, const EkPart *part, const char *path, PetscInt64 place)
{
  const EkLayout *layout = &d->layout;
  const hsize_t   start[4] = {(hsize_t)place},
                count[4] = {1, (hsize_t)layout->n[0], (hsize_t)layout->n[1], (hsize_t)layout->frames};
  hid_t  file, set, space, memory;
  herr_t failed;
  char   reason[256] = "";

  PetscFunctionBegin;
  PetscCall(EkH5Open(KEY, path, H5F_ACC_RDONLY, &file));
  set = H5Dopen2(file, "data", H5P_DEFAULT);
  space = H5Dget_space(set);
  if (!layout->folder) H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  memory = H5Screate_simple(1, (const hsize_t[1]){(hsize_t)Floats(d)}, NULL);
  failed = H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, d->bounce);
  if (failed < 0) EkH5Reason(reason);
  H5Sclose(memory);
  H5Sclose(space);
  H5Dclose(set);
  H5Fclose(file);
  PetscCheck(failed >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ, KEY " %s: dataset 'data', trajectory %lld cannot be read: %s",
             path, (long long)part->trajectory, reason);
  d->bytes_read += (PetscInt64)(Floats(d) * (size_t)layout->source[0].bytes);
  PetscFunctionReturn(0);
}

/* Kept points, frames and fields of the bounce buffer into their planes. A point's values lie together and go to one place of as
   many planes, which all advance with the points: each plane's line stays in cache until it is full. */
static void TakeApart(EkDataset d, const EkPart *part)
{
  const EkSource *source = &d->layout.source[0];
  const size_t    k = (size_t)d->options.reduced_resolution, channels = (size_t)source->channels,
               point = (size_t)source->frames * channels;
  size_t at = 0;

  for (PetscInt i = d->row; i < d->row + d->rows; i++) {
    for (PetscInt j = 0; j < d->info.n[1]; j++, at++) {
      const float *from = d->bounce + ((size_t)i * k * (size_t)d->layout.n[1] + (size_t)j * k) * point;

      for (PetscInt t = 0; t < part->frames; t++) {
        const float *value = from + (size_t)(part->from + t) * (size_t)d->step_t * channels;
        float       *to = part->plane + (size_t)t * part->pitch + at;

        for (PetscInt f = 0; f < source->taken; f++, to += part->stride) *to = value[source->channel[f]];
      }
    }
  }
}

PetscErrorCode EkDatasetReadLast(EkDataset d, const EkPart *part)
{
  const size_t bytes = Floats(d) * sizeof(float);
  PetscInt64   address, place;
  char         path[2 * EK_PATH];

  PetscFunctionBegin;
  PetscCall(EkDatasetReserveBounce(d, Floats(d)));
  PetscCall(OpenPiece(d, part->trajectory, &address, &place, path));
  if (address < 0)
    PetscCall(ReadConverted(d, part, path, place));
  else
    PetscCall(EkDatasetCheckRead(d, part, EkFileReadSome(d->fd, d->bounce, bytes, address + place * (PetscInt64)bytes), bytes));
  TakeApart(d, part);
  PetscCall(EkDatasetFinishFrames(d, part, 0, part->frames));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDatasetPrefetchLast(EkDataset d, PetscInt64 trajectory)
{
  const size_t bytes = Floats(d) * sizeof(float);
  PetscInt64   address, place;
  char         path[2 * EK_PATH];

  PetscFunctionBegin;
  if (d->layout.folder && !d->address[trajectory]) PetscFunctionReturn(0); /* to look where it is takes as long as to read it */
  PetscCall(OpenPiece(d, trajectory, &address, &place, path));
  /* advice: where the system takes none, reading works all the same */
  if (address >= 0) posix_fadvise(d->fd, (off_t)(address + place * (PetscInt64)bytes), (off_t)bytes, POSIX_FADV_WILLNEED);
  PetscFunctionReturn(0);
}
