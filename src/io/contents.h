/* What is stored in an HDF5 file, whatever it is: datasets and attributes. Private to src/io. */
#pragma once
#include "io.h"

#define EK_CONTENTS_MAX 32

/* A dataset; of groups at the root, only those of the first. */
typedef struct {
  char       name[2 * EK_NAME]; /* without the leading slash */
  char       type[32];          /* "float32" */
  char       layout[160];       /* "contiguous", "chunked 1 x 21 x 64, deflate" */
  int        rank;
  PetscInt64 shape[EK_MAX_RANK], bytes; /* as stored */
  PetscBool  axis;                      /* one row of finite numbers: the four below are of it */
  double     first, last, least, most;  /* ends; smallest and largest step (0 where there is one value) */
} EkContentsSet;

typedef struct {
  char      name[EK_NAME], text[EK_NAME]; /* a long text is cut short */
  PetscBool number;
  double    value;
} EkContentsAttribute;

typedef struct EkContents_ {
  int                 nsets, nattributes;
  PetscInt64          groups, files, bytes; /* groups at the root; files of a folder, 1 of itself; of all of them */
  EkContentsSet       set[EK_CONTENTS_MAX];
  EkContentsAttribute attribute[EK_CONTENTS_MAX]; /* of the root, then of the first group */
} EkContents;

/* Not collective. What there is no room for is left out. `what` starts the error line. Errors: those of EkH5Open. */
PetscErrorCode EkContentsRead(const char *what, const char *path, EkContents *contents);
/* The dataset of that name, or NULL. */
const EkContentsSet *EkContentsFind(const EkContents *contents, const char *name);
/* Values [0, n) of a row of numbers. */
PetscErrorCode EkContentsReadAxis(const char *what, const char *path, const char *name, PetscInt n, double *values);
