/* What the files of this folder share: a failure of some ranks told to all of them, whole reads and writes, HDF5 without its own
   error printing, tensors on disk. Private to src/io. */
#pragma once
#include "evenkeel/weights.h"
#include <hdf5.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- failures told to every rank ------------------------------------------------------------------------ */

/* Between Begin and End this rank's error is kept instead of printed. End is collective on run->comm: afterwards every rank holds
   the code (0: nobody failed) and the line of the lowest rank that failed, so that it is raised once, or is only a notice.
     PetscCall(EkCatchBegin(&caught));
     code = run->rank == 0 ? Probe(path) : 0;
     PetscCall(EkCatchEnd(run, &caught, code));
     EkCatchRaise(run, &caught);                                                                                    */
typedef struct {
  int  code;
  char text[2048];
} EkCatch;
PetscErrorCode EkCatchBegin(EkCatch *caught);
PetscErrorCode EkCatchEnd(EkRun run, EkCatch *caught, PetscErrorCode mine);
#define EkCatchRaise(run, caught) PetscCheck(!(caught)->code, (run)->comm, (PetscErrorCode)(caught)->code, "%s", (caught)->text)

/* ---- POSIX files ---------------------------------------------------------------------------------------- */

/* `what` starts the error line: a deck key or "checkpoint". Error: missing, a directory, no permission. */
PetscErrorCode EkFileOpen(const char *what, const char *path, int flags, int *fd);
PetscErrorCode EkFileSize(const char *what, const char *path, PetscInt64 *bytes);
/* Bytes really read at `offset`: fewer than n at the end of the file, -1 with errno on failure. */
ssize_t EkFileReadSome(int fd, void *buffer, size_t n, PetscInt64 offset);
/* All n bytes or an error. */
PetscErrorCode EkFileRead(const char *what, const char *path, int fd, void *buffer, size_t n, PetscInt64 offset);
PetscErrorCode EkFileWrite(const char *what, const char *path, int fd, const void *buffer, size_t n, PetscInt64 offset);
/* Makes sure of `bytes` of room in the file (flags: O_CREAT, O_TRUNC or 0). HDF5 does not survive a disk that fills while it
   writes metadata or closes: room comes first, what was too much is cut off when it closes. */
PetscErrorCode EkFileReserve(const char *what, const char *path, int flags, PetscInt64 bytes);
/* fsync and close, both checked: a full disk or quota may show only there. */
PetscErrorCode EkFileFinish(const char *what, const char *path, int fd);
/* Renames and syncs the directory, so that the new name outlives a crash. */
PetscErrorCode EkFileReplace(const char *what, const char *from, const char *to);
/* MPI_Bcast from rank 0 of more bytes than an int counts. */
PetscErrorCode EkBcastBytes(EkRun run, void *data, size_t n);

/* ---- HDF5 ----------------------------------------------------------------------------------------------- */

/* Why the last HDF5 call failed, as its innermost routine has it; "" if it did not say. Must be the first HDF5 call after the
 * failure. */
const char *EkH5Reason(char text[256]);
/* Opens with the POSIX driver and without locks (parallel file systems often have none); everything in the file closes with it.
   Error: missing, not HDF5, truncated (with HDF5's reason). */
PetscErrorCode EkH5Open(const char *what, const char *path, unsigned flags, hid_t *file);
/* Access properties as EkH5Open uses them; the caller closes them. */
PetscErrorCode EkH5Access(hid_t *access);
/* "8 x 21 x 128" */
const char *EkShapeText(int rank, const PetscInt64 shape[], char text[160]);

/* ---- tensors on disk ------------------------------------------------------------------------------------ */

typedef struct {
  char       name[2 * EK_NAME]; /* in a checkpoint GROUP/NAME */
  char       type[16];          /* "F32", "F64", for a counter "I64"; another one cannot be read */
  int        rank;
  PetscBool  is_complex;
  PetscInt64 shape[EK_MAX_RANK], count;
  PetscInt64 address; /* of the first value in the file */
  uint64_t   checksum;
} EkStored;

/* Sum over 32-bit words of word * odd number of its position: parts of an array add up to the sum of the whole. `first` is the
   position of the first word. */
uint64_t EkChecksum(const void *words, size_t n, uint64_t first);

/* One of PyTorch's batch counters, by its name and shape: a whole number, I64 in its files. */
PetscBool EkIsCounter(const EkStored *stored);
/* Header of a safetensors file, strictly checked; tensors in file order. Not collective.
   The caller frees the list. */
PetscErrorCode EkSafetensorsProbe(const char *path, int *n, EkStored **stored);
/* Entry `key` of __metadata__ into *note for the caller, NULL where there is none. Not collective. */
PetscErrorCode EkSafetensorsReadNote(const char *path, const char *key, char **note);
/* notes: entries of __metadata__. Not collective. */
PetscErrorCode EkSafetensorsWrite(const char *path, int n, const EkTensorInfo table[], const float *arena, int nnotes,
                                  const EkNote notes[]);
