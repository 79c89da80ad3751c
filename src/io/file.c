#include "io.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static PetscErrorCode Keep(MPI_Comm comm, int line, const char *function, const char *file, PetscErrorCode code,
                           PetscErrorType type, const char *message, void *context)
{
  EkCatch *caught = (EkCatch *)context;

  (void)comm, (void)line, (void)function, (void)file;
  if (type == PETSC_ERROR_INITIAL) snprintf(caught->text, sizeof(caught->text), "%s", message ? message : "");
  return code;
}

PetscErrorCode EkCatchBegin(EkCatch *caught)
{
  PetscFunctionBegin;
  memset(caught, 0, sizeof(*caught));
  PetscCall(PetscPushErrorHandler(Keep, caught));
  PetscFunctionReturn(0);
}

PetscErrorCode EkCatchEnd(EkRun run, EkCatch *caught, PetscErrorCode mine)
{
  int lowest = mine ? run->rank : run->size;

  PetscFunctionBegin;
  PetscCall(PetscPopErrorHandler());
  caught->code = (int)mine;
  if (mine && !caught->text[0]) snprintf(caught->text, sizeof(caught->text), "error %d", (int)mine);
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, run->comm));
  if (lowest < run->size) PetscCallMPI(MPI_Bcast(caught, (PetscMPIInt)sizeof(*caught), MPI_BYTE, lowest, run->comm));
  PetscFunctionReturn(0);
}

static const char *Why(int error)
{
  return error == ENOENT ? "no such file" : strerror(error);
}

PetscErrorCode EkFileOpen(const char *what, const char *path, int flags, int *fd)
{
  struct stat status;

  PetscFunctionBegin;
  *fd = open(path, flags | O_CLOEXEC, 0666);
  PetscCheck(*fd >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "%s: cannot open '%s': %s", what, path, Why(errno));
  if (fstat(*fd, &status) || S_ISREG(status.st_mode)) PetscFunctionReturn(0);
  close(*fd);
  SETERRQ(PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "%s: '%s' is not a file", what, path);
}

PetscErrorCode EkFileSize(const char *what, const char *path, PetscInt64 *bytes)
{
  struct stat status;

  PetscFunctionBegin;
  PetscCheck(!stat(path, &status), PETSC_COMM_SELF, PETSC_ERR_FILE_OPEN, "%s: cannot open '%s': %s", what, path, Why(errno));
  *bytes = (PetscInt64)status.st_size;
  PetscFunctionReturn(0);
}

ssize_t EkFileReadSome(int fd, void *buffer, size_t n, PetscInt64 offset)
{
  size_t done = 0;

  while (done < n) {
    const ssize_t got = pread(fd, (char *)buffer + done, n - done, (off_t)(offset + (PetscInt64)done));

    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += (size_t)got;
  }
  return (ssize_t)done;
}

PetscErrorCode EkFileRead(const char *what, const char *path, int fd, void *buffer, size_t n, PetscInt64 offset)
{
  ssize_t got;

  PetscFunctionBegin;
  got = EkFileReadSome(fd, buffer, n, offset);
  PetscCheck(got >= 0, PETSC_COMM_SELF, PETSC_ERR_FILE_READ, "%s: cannot read '%s': %s", what, path, strerror(errno));
  PetscCheck((size_t)got == n, PETSC_COMM_SELF, PETSC_ERR_FILE_READ,
             "%s: '%s' is cut short: it ends at byte %lld, %lld were expected", what, path, (long long)(offset + got),
             (long long)(offset + (PetscInt64)n));
  PetscFunctionReturn(0);
}

PetscErrorCode EkFileWrite(const char *what, const char *path, int fd, const void *buffer, size_t n, PetscInt64 offset)
{
  size_t done = 0;

  PetscFunctionBegin;
  while (done < n) {
    const ssize_t put = pwrite(fd, (const char *)buffer + done, n - done, (off_t)(offset + (PetscInt64)done));

    if (put < 0 && errno == EINTR) continue;
    PetscCheck(put > 0, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot write '%s': %s", what, path,
               strerror(put ? errno : ENOSPC));
    done += (size_t)put;
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkFileFinish(const char *what, const char *path, int fd)
{
  int error = 0;

  PetscFunctionBegin;
  if (fsync(fd)) error = errno;
  if (close(fd) && !error) error = errno;
  PetscCheck(!error, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot write '%s': %s", what, path, strerror(error));
  PetscFunctionReturn(0);
}

PetscErrorCode EkFileReplace(const char *what, const char *from, const char *to)
{
  char  directory[EK_PATH];
  char *slash;
  int   fd;

  PetscFunctionBegin;
  PetscCheck(!rename(from, to), PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot rename '%s' to '%s': %s", what, from, to,
             strerror(errno));
  PetscCall(PetscStrncpy(directory, to, sizeof(directory)));
  slash = strrchr(directory, '/');
  if (!slash)
    PetscCall(PetscStrncpy(directory, ".", sizeof(directory)));
  else
    slash[slash == directory] = 0;
  fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) PetscFunctionReturn(0); /* a directory may be writable and not readable: the name is in place all the same */
  fsync(fd);                          /* some file systems refuse it for directories */
  close(fd);
  PetscFunctionReturn(0);
}

PetscErrorCode EkBcastBytes(EkRun run, void *data, size_t n)
{
  const size_t chunk = (size_t)1 << 30;

  PetscFunctionBegin;
  for (size_t i = 0; i < n; i += chunk) {
    PetscCallMPI(MPI_Bcast((char *)data + i, (PetscMPIInt)(n - i < chunk ? n - i : chunk), MPI_BYTE, 0, run->comm));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkFileReserve(const char *what, const char *path, int flags, PetscInt64 bytes)
{
  int fd, error;

  PetscFunctionBegin;
  PetscCall(EkFileOpen(what, path, O_RDWR | flags, &fd));
  do error = fallocate(fd, 0, 0, (off_t)bytes) ? errno : 0;
  while (error == EINTR); /* a signal for the run, which is on its way to a checkpoint */
  close(fd);
  /* A file system without reservation: the writes will tell. posix_fallocate would write a byte into every block instead. */
  if (error == EOPNOTSUPP || error == ENOSYS || error == EINVAL) error = 0;
  PetscCheck(!error, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: there is no room for the %.4g GB of '%s': %s", what,
             1e-9 * (double)bytes, path, strerror(error));
  PetscFunctionReturn(0);
}
