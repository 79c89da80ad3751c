/* Deck keys: one table a module says name, type, default, range, unit and meaning; reading, checking, `list`, `-help` and
   resolved.yaml all follow from it. */
#pragma once
#include "evenkeel/base.h"
#include <stdio.h>

typedef enum {
  EK_KEY_BOOL,   /* PetscBool */
  EK_KEY_INT,    /* PetscInt */
  EK_KEY_INTS,   /* EkInts: 1 to EK_INTS_MAX values, comma-separated */
  EK_KEY_REAL,   /* PetscReal */
  EK_KEY_REALS,  /* EkReals: 1 to EK_REALS_MAX values, comma-separated */
  EK_KEY_STRING, /* char[EK_PATH] */
  EK_KEY_PATHS,  /* char[EK_PATHS]: one or more paths, comma-separated */
  EK_KEY_CHOICE, /* int: row of the family */
  EK_KEY_WALL,   /* double: seconds, written hh:mm:ss */
  EK_KEY_BYTES   /* PetscInt64: bytes, written with an optional k, M or G (powers of 1024) */
} EkKeyType;

#define EK_PATHS    8192
#define EK_INTS_MAX 16
typedef struct {
  int      n;
  PetscInt v[EK_INTS_MAX];
} EkInts;
#define EK_REALS_MAX 8
typedef struct {
  int       n;
  PetscReal v[EK_REALS_MAX];
} EkReals;

typedef struct {
  const char     *name; /* "train_lr": block, underscore, key */
  EkKeyType       type;
  size_t          offset;   /* of the field in the module's options struct */
  const char     *value;    /* default, as a deck would write it; NULL: required; "": unset */
  double          min, max; /* numbers: allowed range, both ends included */
  const EkFamily *family;   /* EK_KEY_CHOICE */
  const char     *unit, *help;
} EkKey;

typedef struct {
  const char  *block; /* "train" */
  const EkKey *keys;
  int          count;
} EkKeyTable;
#define EK_KEYS(block, table)                                                                                                    \
  {                                                                                                                              \
    (block), (table), (int)(sizeof(table) / sizeof((table)[0]))                                                                  \
  }
/* Smallest positive number: a range that excludes 0. */
#define EK_POSITIVE 1e-300
#define EK_ANY      1e300

/* Fills `options` from the run's keys over the defaults; each mistake (missing, not a number, out of range, unknown member with
   the known ones) is one problem. Not collective, same result on every rank. */
PetscErrorCode EkKeysRead(EkRun run, const EkKeyTable *table, void *options, EkProblems problems);
/* Every key of the run must be in one of the `used` tables. A key of another known table is "not used by this command", any other
   is unknown, with the nearest known key. PETSc's own options (-log_view, -malloc_*, -options_*, ...) are left to PETSc. */
PetscErrorCode EkKeysCheckAll(EkRun run, int nused, const EkKeyTable *const used[], int nknown, const EkKeyTable *const known[],
                              EkProblems problems);
/* Did the deck or the command line give this key? Not collective, same result on every rank. */
PetscErrorCode EkKeyGiven(EkRun run, const EkKey *key, PetscBool *given);
/* Does the key mean anything under these options? Where one choice (a model, a PDE) has no use for the keys of another. */
typedef PetscBool (*EkKeyUse)(const void *options, const EkKey *key);
/* Writes the block as YAML that loads again to the same values, without keys that have no use (uses NULL: all have); continued:
   the table before it belongs to the same block. */
PetscErrorCode EkKeysWriteYaml(FILE *file, const EkKeyTable *table, const void *options, EkKeyUse uses, PetscBool continued);
/* The keys that say something else in `wanted` than in `options`, as YAML on one line, "embed_dim: 64, depth: 4". */
PetscErrorCode EkKeysDifference(const EkKeyTable *table, const void *options, const void *wanted, char *text, size_t length);
/* The key's name without its block: "lr". */
const char *EkKeyWord(const EkKeyTable *table, const EkKey *key);
/* Name, default, unit, meaning, members: for `list` and -help. */
PetscErrorCode EkKeysPrint(FILE *file, const EkKeyTable *table);
