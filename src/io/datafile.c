#include "evenkeel/datafile.h"
#include "io.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "slabs are written as they lie in memory");

#define SYNC_SECONDS 5.0 /* between two times that data are forced to the disk, so that a fast solver does not wait for it */
#define MAX_PENDING  256
#define KEY          "generate_file"

struct EkDataFile_ {
  EkRun      run;
  EkFileSpec spec;
  char       part[EK_PATH + 16], progress[EK_PATH + 16];
  PetscInt64 offset[EK_FILE_SETS]; /* of each dataset's data in the file (bytes) */
  size_t     header;               /* bytes of the progress file before the marks */
  char      *mark;                 /* as the progress file was when it was opened: one character a trajectory */
  PetscInt   nmissing, *missing;
  int        data, marks; /* file descriptors of PATH.part and PATH.progress */
  int        npending;
  PetscInt   pending[MAX_PENDING]; /* written, not yet on the disk */
  char       pending_mark[MAX_PENDING];
  double     synced;
};

/* ---- the spec ------------------------------------------------------------------------------------------ */

PetscErrorCode EkFileSpecAddData(EkFileSpec *spec, const char *name, int rank, const PetscInt shape[])
{
  EkFileSet *set = &spec->set[spec->nsets];

  PetscFunctionBegin;
  PetscCheck(spec->nsets < EK_FILE_SETS, PETSC_COMM_SELF, PETSC_ERR_PLIB, "more than %d datasets", EK_FILE_SETS);
  PetscCall(PetscStrncpy(set->name, name, EK_NAME));
  PetscCall(PetscArraycpy(set->shape, shape, rank));
  set->rank = rank;
  set->coordinate = PETSC_FALSE;
  spec->nsets++;
  PetscFunctionReturn(0);
}

PetscErrorCode EkFileSpecAddCoordinate(EkFileSpec *spec, const char *name, PetscInt n, double first, double step)
{
  PetscFunctionBegin;
  PetscCall(EkFileSpecAddData(spec, name, 1, &n));
  spec->set[spec->nsets - 1].coordinate = PETSC_TRUE;
  spec->set[spec->nsets - 1].first = first;
  spec->set[spec->nsets - 1].step = step;
  PetscFunctionReturn(0);
}

PetscErrorCode EkFileSpecAddAttribute(EkFileSpec *spec, const char *name, double value)
{
  EkFileAttribute *attribute = &spec->attribute[spec->nattributes];

  PetscFunctionBegin;
  PetscCheck(spec->nattributes < EK_FILE_SETS, PETSC_COMM_SELF, PETSC_ERR_PLIB, "more than %d attributes", EK_FILE_SETS);
  PetscCall(PetscStrncpy(attribute->name, name, EK_NAME));
  attribute->value = value;
  spec->nattributes++;
  PetscFunctionReturn(0);
}

/* Bytes of one slab of a dataset, or of a whole coordinate */
static PetscInt64 SlabBytes(const EkFileSet *set)
{
  PetscInt64 bytes = sizeof(float);

  for (int d = set->coordinate ? 0 : 1; d < set->rank; d++) bytes *= set->shape[d];
  return bytes;
}

static PetscInt64 SetBytes(const EkFileSet *set)
{
  return set->coordinate ? SlabBytes(set) : SlabBytes(set) * set->shape[0];
}

/* ---- HDF5: rank 0 only --------------------------------------------------------------------------------- */

/* HDF5's word for a failure of `act` on `name`; the innermost one names the system's error. */
#define CheckH5(file, expr, act, name)                                                                                           \
  do {                                                                                                                           \
    if ((expr) < 0) {                                                                                                            \
      char reason_[256];                                                                                                         \
      SETERRQ(PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, KEY ": cannot %s %s in '%s': %s", (act), (name), (file)->part,              \
              EkH5Reason(reason_));                                                                                              \
    }                                                                                                                            \
  } while (0)

static PetscErrorCode WriteCoordinate(EkDataFile file, const EkFileSet *set, hid_t dataset)
{
  float *value;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(set->shape[0], &value));
  for (PetscInt i = 0; i < set->shape[0]; i++) value[i] = (float)(set->first + (double)i * set->step);
  CheckH5(file, H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, value), "write", set->name);
  PetscCall(PetscFree(value));
  PetscFunctionReturn(0);
}

/* Contiguous, allocated now (its place must be known), not filled (every byte is written later), without times (equal runs, equal
 * bytes) */
static PetscErrorCode CreateSet(EkDataFile file, hid_t h5, int s)
{
  const EkFileSet *set = &file->spec.set[s];
  hsize_t          shape[EK_MAX_RANK];
  hid_t            space, layout, dataset;

  PetscFunctionBegin;
  for (int d = 0; d < set->rank; d++) shape[d] = (hsize_t)set->shape[d];
  CheckH5(file, space = H5Screate_simple(set->rank, shape, NULL), "describe", set->name);
  CheckH5(file, layout = H5Pcreate(H5P_DATASET_CREATE), "describe", set->name);
  CheckH5(file, H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY), "describe", set->name);
  CheckH5(file, H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), "describe", set->name);
  CheckH5(file, H5Pset_obj_track_times(layout, 0), "describe", set->name);
  CheckH5(file, dataset = H5Dcreate2(h5, set->name, H5T_IEEE_F32LE, space, H5P_DEFAULT, layout, H5P_DEFAULT), "create",
          set->name);
  if (set->coordinate) PetscCall(WriteCoordinate(file, set, dataset));
  file->offset[s] = (PetscInt64)H5Dget_offset(dataset);
  CheckH5(file, H5Dclose(dataset), "write", set->name);
  CheckH5(file, H5Pclose(layout), "write", set->name);
  CheckH5(file, H5Sclose(space), "write", set->name);
  PetscFunctionReturn(0);
}

static PetscErrorCode CreateAttribute(EkDataFile file, hid_t h5, const EkFileAttribute *attribute)
{
  hid_t space, id;

  PetscFunctionBegin;
  CheckH5(file, space = H5Screate(H5S_SCALAR), "describe", attribute->name);
  CheckH5(file, id = H5Acreate2(h5, attribute->name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT), "create", attribute->name);
  CheckH5(file, H5Awrite(id, H5T_NATIVE_DOUBLE, &attribute->value), "write", attribute->name);
  CheckH5(file, H5Aclose(id), "write", attribute->name);
  CheckH5(file, H5Sclose(space), "write", attribute->name);
  PetscFunctionReturn(0);
}

static PetscErrorCode FillHDF5(EkDataFile file, hid_t h5)
{
  PetscFunctionBegin;
  for (int s = 0; s < file->spec.nsets; s++) PetscCall(CreateSet(file, h5, s));
  for (int a = 0; a < file->spec.nattributes; a++) PetscCall(CreateAttribute(file, h5, &file->spec.attribute[a]));
  PetscFunctionReturn(0);
}

/* In HDF5's oldest format: that of the released files */
static PetscErrorCode CreateHDF5(EkDataFile file)
{
  hid_t          access, h5;
  PetscErrorCode filled;
  herr_t         closed;

  PetscFunctionBegin;
  PetscCall(EkH5Access(&access));
  CheckH5(file, H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST), "begin", "data");
  CheckH5(file, h5 = H5Fcreate(file->part, H5F_ACC_TRUNC, H5P_DEFAULT, access), "begin", "data");
  filled = FillHDF5(file, h5);
  closed = H5Fclose(h5);
  if (!filled) CheckH5(file, closed, "write", "all data");
  H5Pclose(access);
  PetscFunctionReturn(filled);
}

/* The part of an earlier run: where its datasets are */
static PetscErrorCode FindSets(EkDataFile file)
{
  hid_t h5;

  PetscFunctionBegin;
  PetscCall(EkH5Open(KEY, file->part, H5F_ACC_RDONLY, &h5));
  for (int s = 0; s < file->spec.nsets; s++) {
    const hid_t dataset = H5Dopen2(h5, file->spec.set[s].name, H5P_DEFAULT);

    file->offset[s] = dataset < 0 ? -1 : (PetscInt64)H5Dget_offset(dataset);
    if (dataset >= 0) H5Dclose(dataset);
  }
  H5Fclose(h5);
  PetscFunctionReturn(0);
}

/* ---- room: rank 0 -------------------------------------------------------------------------------------- */

static PetscErrorCode MakeFolders(const char *path)
{
  char folder[EK_PATH];

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(folder, path, sizeof(folder)));
  for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    PetscCheck(!access(folder, F_OK) || !mkdir(folder, 0777) || errno == EEXIST, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
               KEY ": cannot make folder '%s': %s", folder, strerror(errno));
    *slash = '/';
  }
  PetscFunctionReturn(0);
}

/* Asked before anything is created: filling a shared disk to the brim only to find that it does not suffice would hurt others. */
static PetscErrorCode CheckRoom(EkDataFile file, PetscInt64 bytes)
{
  struct statvfs disk;
  double         room;

  PetscFunctionBegin;
  if (fstatvfs(file->marks, &disk)) PetscFunctionReturn(0);
  room = (double)disk.f_bavail * (double)disk.f_frsize;
  PetscCheck((double)bytes <= room, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, KEY ": '%s' needs %.4g GB, the disk has %.4g GB left",
             file->spec.path, 1e-9 * (double)bytes, 1e-9 * room);
  PetscFunctionReturn(0);
}

/* All blocks of the file, so that a quota shows now and not after hours. Room is tried before HDF5 sees the file, because HDF5
 * ends in a crash when its own writes fail, and kept when HDF5 has cut the file to its size. */
static PetscErrorCode CreateWithRoom(EkDataFile file)
{
  PetscInt64 bytes = 65536; /* more than HDF5's own records take */

  PetscFunctionBegin;
  for (int s = 0; s < file->spec.nsets; s++) bytes += SetBytes(&file->spec.set[s]);
  PetscCall(CheckRoom(file, bytes));
  PetscCall(EkFileReserve(KEY, file->part, O_CREAT, bytes));
  PetscCall(CreateHDF5(file));
  PetscCall(EkFileSize(KEY, file->part, &bytes));
  PetscCall(EkFileReserve(KEY, file->part, O_CREAT, bytes));
  PetscFunctionReturn(0);
}

/* ---- begin or continue: rank 0 ------------------------------------------------------------------------- */

/* One writer at a time; a file system without locks is trusted. The lock goes with the descriptor, which rank 0 keeps. */
static PetscErrorCode Lock(EkDataFile file)
{
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

  PetscFunctionBegin;
  PetscCheck(!fcntl(file->marks, F_SETLK, &lock) || (errno != EACCES && errno != EAGAIN), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
             KEY ": '%s' is being written by another run", file->spec.path);
  PetscFunctionReturn(0);
}

static PetscErrorCode Begin(EkDataFile file)
{
  const size_t n = (size_t)file->spec.samples;

  PetscFunctionBegin;
  PetscCall(CreateWithRoom(file));
  memset(file->mark, '.', n);
  file->mark[n] = '\n';
  PetscCall(EkFileWrite(KEY, file->progress, file->marks, file->mark, n + 1, (PetscInt64)file->header));
  /* the identity comes last: a progress file without it is not continued */
  PetscCall(EkFileWrite(KEY, file->progress, file->marks, file->spec.identity, file->header, 0));
  PetscFunctionReturn(0);
}

/* The first line in which the identities differ becomes the message. */
static PetscErrorCode RefuseIdentity(EkDataFile file, const char *there)
{
  const char *here = file->spec.identity;
  int         a, b;

  PetscFunctionBegin;
  for (;;) {
    a = (int)strcspn(here, "\n");
    b = (int)strcspn(there, "\n");
    if (a != b || strncmp(here, there, (size_t)a) || !here[a] || !there[b]) break;
    here += a + 1;
    there += b + 1;
  }
  for (; a && *here == ' '; here++) a--;
  for (; b && *there == ' '; there++) b--;
  SETERRQ(PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED,
          KEY ": '%s' was begun with '%.*s', now it is '%.*s': delete it and its .progress, or choose another file", file->part,
          b, there, a, here);
}

#define CheckWhole(file, condition)                                                                                              \
  PetscCheck(condition, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, KEY ": '%s' or its .progress is damaged: delete both",       \
             (file)->part)

static PetscErrorCode Continue(EkDataFile file, const char *there)
{
  const size_t n = (size_t)file->spec.samples;
  PetscInt64   bytes;

  PetscFunctionBegin;
  if (strncmp(there, file->spec.identity, file->header)) PetscCall(RefuseIdentity(file, there));
  CheckWhole(file, strlen(there) == file->header + n + 1);
  memcpy(file->mark, there + file->header, n + 1);
  for (size_t i = 0; i < n; i++)
    CheckWhole(file, file->mark[i] == '.' || (file->mark[i] >= 'A' && file->mark[i] <= 'A' + EK_MAX_REDRAWS));
  PetscCall(FindSets(file));
  PetscCall(EkFileSize(KEY, file->part, &bytes));
  for (int s = 0; s < file->spec.nsets; s++)
    CheckWhole(file, file->offset[s] >= 0 && file->offset[s] + SetBytes(&file->spec.set[s]) <= bytes);
  PetscFunctionReturn(0);
}

/* The whole progress file as text */
static PetscErrorCode ReadProgress(EkDataFile file, char **text)
{
  PetscInt64 bytes;

  PetscFunctionBegin;
  PetscCall(EkFileSize(KEY, file->progress, &bytes));
  PetscCall(PetscCalloc1((size_t)bytes + 1, text));
  PetscCall(EkFileRead(KEY, file->progress, file->marks, *text, (size_t)bytes, 0));
  PetscFunctionReturn(0);
}

static PetscErrorCode OpenOnFirst(EkDataFile file)
{
  PetscErrorCode begun;
  char          *text;

  PetscFunctionBegin;
  PetscCheck(access(file->spec.path, F_OK), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN,
             KEY ": '%s' is there already: delete it or choose another file", file->spec.path);
  PetscCall(MakeFolders(file->spec.path));
  PetscCall(EkFileOpen(KEY, file->progress, O_RDWR | O_CREAT, &file->marks));
  PetscCall(Lock(file));
  PetscCall(ReadProgress(file, &text));
  if (*text && !access(file->part, F_OK)) {
    PetscCall(Continue(file, text));
  } else {
    begun = Begin(file);
    if (begun) {
      unlink(file->part);
      unlink(file->progress);
    }
    PetscCall(begun);
  }
  PetscCall(PetscFree(text));
  PetscFunctionReturn(0);
}

/* ---- every rank ---------------------------------------------------------------------------------------- */

static PetscErrorCode OpenOnAll(EkDataFile file)
{
  PetscFunctionBegin;
  PetscCall(EkFileOpen(KEY, file->part, O_WRONLY, &file->data));
  if (file->marks < 0) PetscCall(EkFileOpen(KEY, file->progress, O_WRONLY, &file->marks));
  PetscFunctionReturn(0);
}

static PetscErrorCode ListMissing(EkDataFile file)
{
  PetscFunctionBegin;
  PetscCall(PetscMalloc1(file->spec.samples, &file->missing));
  for (PetscInt i = 0; i < file->spec.samples; i++) {
    if (file->mark[i] == '.') file->missing[file->nmissing++] = i;
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode Open(EkDataFile file)
{
  EkRun   run = file->run;
  EkCatch caught;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1(file->spec.samples + 1, &file->mark));
  PetscCall(EkCatchBegin(&caught));
  PetscCall(EkCatchEnd(run, &caught, run->rank == 0 ? OpenOnFirst(file) : 0));
  EkCatchRaise(run, &caught);
  PetscCallMPI(MPI_Bcast(file->offset, EK_FILE_SETS, MPIU_INT64, 0, run->comm));
  PetscCall(EkBcastBytes(run, file->mark, (size_t)file->spec.samples + 1));
  PetscCall(EkCatchBegin(&caught));
  PetscCall(EkCatchEnd(run, &caught, OpenOnAll(file)));
  EkCatchRaise(run, &caught);
  PetscCall(ListMissing(file));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDataFileOpen(EkRun run, const EkFileSpec *spec, EkDataFile *out)
{
  EkDataFile     file;
  PetscErrorCode opened;

  PetscFunctionBegin;
  PetscCall(PetscNew(&file));
  file->run = run;
  file->spec = *spec;
  file->data = -1;
  file->marks = -1;
  file->header = strlen(spec->identity);
  file->synced = EkTime();
  PetscCall(PetscSNPrintf(file->part, sizeof(file->part), "%s.part", spec->path));
  PetscCall(PetscSNPrintf(file->progress, sizeof(file->progress), "%s.progress", spec->path));
  opened = Open(file);
  if (opened) PetscCall(EkDataFileDestroy(&file));
  *out = file;
  PetscFunctionReturn(opened);
}

PetscErrorCode EkDataFileGetMissing(EkDataFile file, PetscInt *n, const PetscInt **missing)
{
  PetscFunctionBegin;
  *n = file->nmissing;
  *missing = file->missing;
  PetscFunctionReturn(0);
}

PetscErrorCode EkDataFileWrite(EkDataFile file, int set, PetscInt trajectory, const float *slab)
{
  const PetscInt64 bytes = SlabBytes(&file->spec.set[set]);

  PetscFunctionBegin;
  PetscCall(EkFileWrite(KEY, file->part, file->data, slab, (size_t)bytes, file->offset[set] + bytes * trajectory));
  PetscFunctionReturn(0);
}

PetscErrorCode EkDataFileFlush(EkDataFile file)
{
  PetscFunctionBegin;
  if (!file->npending) PetscFunctionReturn(0);
  PetscCheck(!fdatasync(file->data), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, KEY ": cannot write '%s': %s", file->part,
             strerror(errno));
  for (int i = 0; i < file->npending; i++) {
    PetscCall(
        EkFileWrite(KEY, file->progress, file->marks, &file->pending_mark[i], 1, (PetscInt64)file->header + file->pending[i]));
  }
  file->npending = 0;
  file->synced = EkTime();
  PetscFunctionReturn(0);
}

PetscErrorCode EkDataFileMark(EkDataFile file, PetscInt trajectory, PetscInt redraws)
{
  PetscFunctionBegin;
  file->pending[file->npending] = trajectory;
  file->pending_mark[file->npending++] = (char)('A' + redraws);
  if (file->npending == MAX_PENDING || EkTime() > file->synced + SYNC_SECONDS) PetscCall(EkDataFileFlush(file));
  PetscFunctionReturn(0);
}

/* Rank 0, when everybody has flushed */
static PetscErrorCode Conclude(EkDataFile file, PetscInt *done, PetscInt *redraws)
{
  const char *mark;
  char       *text;

  PetscFunctionBegin;
  PetscCall(ReadProgress(file, &text));
  mark = text + file->header;
  *done = *redraws = 0;
  for (PetscInt i = 0; i < file->spec.samples; i++) {
    if (mark[i] == '.') continue;
    ++*done;
    *redraws += mark[i] - 'A';
  }
  PetscCall(PetscFree(text));
  if (*done < file->spec.samples) PetscFunctionReturn(0);
  PetscCheck(!fsync(file->data), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, KEY ": cannot write '%s': %s", file->part,
             strerror(errno));
  PetscCall(EkFileReplace(KEY, file->part, file->spec.path));
  unlink(file->progress);
  PetscFunctionReturn(0);
}

PetscErrorCode EkDataFileFinish(EkDataFile file, PetscBool *complete, PetscInt *redraws)
{
  EkRun    run = file->run;
  PetscInt count[2];
  EkCatch  caught;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  PetscCall(EkCatchEnd(run, &caught, EkDataFileFlush(file)));
  EkCatchRaise(run, &caught);
  PetscCall(EkCatchBegin(&caught));
  PetscCall(EkCatchEnd(run, &caught, run->rank == 0 ? Conclude(file, &count[0], &count[1]) : 0));
  EkCatchRaise(run, &caught);
  PetscCallMPI(MPI_Bcast(count, 2, MPIU_INT, 0, run->comm));
  *complete = (PetscBool)(count[0] == file->spec.samples);
  *redraws = count[1];
  PetscFunctionReturn(0);
}

PetscErrorCode EkDataFileDestroy(EkDataFile *file)
{
  PetscFunctionBegin;
  if (!*file) PetscFunctionReturn(0);
  if ((*file)->data >= 0) close((*file)->data);
  if ((*file)->marks >= 0) close((*file)->marks);
  PetscCall(PetscFree((*file)->mark));
  PetscCall(PetscFree((*file)->missing));
  PetscCall(PetscFree(*file));
  PetscFunctionReturn(0);
}
