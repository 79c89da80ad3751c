/* Named weights on disk: safetensors (PyTorch's exchange format) and the weights inside a checkpoint; with them what Adam
 * remembers of each. */
#pragma once
#include "evenkeel/base.h"

/* In a safetensors file, Adam's moments of tensor NAME are the tensors optimizer.exp_avg.NAME and optimizer.exp_avg_sq.NAME
   (torch's names: the second moment of a complex tensor is complex), its number of updates the entry EK_NOTE_STEPS of
   __metadata__, and what torch keeps in a param_group the JSON text of EK_NOTE_GROUP. In a checkpoint they are the groups adam_m
   and adam_v and entries of the meta text. */
#define EK_OPTIMIZER_PREFIX "optimizer."
#define EK_NOTE_STEPS       "optimizer_steps"
#define EK_NOTE_GROUP       "optimizer_group"
#define EK_NOTE_NORM        "normalize"
typedef enum { EK_MEMORY_WEIGHTS, EK_MEMORY_FIRST, EK_MEMORY_SECOND } EkWeightsMemory;

/* An entry of __metadata__; none where text is NULL. */
typedef struct {
  const char *key, *text;
} EkNote;

/* Rank 0 writes all n tensors of the arena as float32 safetensors (counters as int64), keys in table order; a temporary file is
   renamed when complete. Key `complex` of the file's __metadata__ lists the tensors whose last axis is (re, im). Collective on
   run->comm. */
PetscErrorCode EkWeightsWrite(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena);

/* The same with more entries of __metadata__. */
PetscErrorCode EkWeightsWriteNoted(EkRun run, const char *path, int n, const EkTensorInfo table[], const float *arena, int nnotes,
                                   const EkNote notes[]);
/* What a weight file says under `key` besides its tensors: of a checkpoint the entry of its meta text (anything but a string as
   JSON), of a safetensors file that of its __metadata__. *note is NULL where there is none, else PetscMalloc'ed for the caller on
   every rank. Collective: rank 0 reads the header alone. */
PetscErrorCode EkWeightsReadNote(EkRun run, const char *path, const char *key, char **note);

/* Fills the arena from PATH (.safetensors, or a checkpoint by its HDF5 signature). Collective: rank 0 reads, broadcasts. Every
   tensor that does not fit (missing, surplus, other shape, other type, not finite) is listed by name with the shape found and the
   shape wanted (the first EK_LISTED of them), then one error. Tensors are matched by name, the order in the file does not matter.
   F32 and F64 are taken, I64 for a counter, which may also be missing (0) or be there without being wanted. The optimizer's
   tensors are passed over. */
PetscErrorCode EkWeightsRead(EkRun run, const char *path, int n, const EkTensorInfo table[], float *arena);

/* Less than everything, or something else than weights. All zero: EkWeightsRead. */
typedef struct {
  EkWeightsMemory memory;
  const char
      *parts; /* EkInParts: what lies outside is left as it is in the arena, and passed over in the file; NULL: everything */
  const char *resize; /* this tensor (1, D, X, Y) is interpolated where the file has it on another grid (bilinear, corners not
                         aligned, as torch's interpolate has it), with a notice; NULL: none */
  const char *hint;   /* a line more for the list of what does not fit; NULL or "": none */
  int *missing; /* tensors that are missing become zero instead of an error, here is how many: names without running statistics;
                   NULL: error */
} EkWeightsChoice;
PetscErrorCode EkWeightsReadChosen(EkRun run, const char *path, const EkWeightsChoice *choice, int n, const EkTensorInfo table[],
                                   float *arena);

/* Comma-separated parts; a tensor belongs to part P if its name is P or begins with P and '.' or '_'. NULL: everything does. */
PetscBool EkInParts(const char *name, const char *parts);

/* The tensors of one memory of a weight file, whatever they are: for `export`, `spectrum`, `inspect`. Table and arena are
   PetscMalloc'ed for the caller on every rank. Collective. */
PetscErrorCode EkWeightsReadAll(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena);
PetscErrorCode EkWeightsReadMemory(EkRun run, const char *path, EkWeightsMemory memory, int *n, EkTensorInfo **table,
                                   float **arena);
/* What of a file can be read: tensors of other types than F32 and F64 are left out, with a notice. */
PetscErrorCode EkWeightsReadReadable(EkRun run, const char *path, int *n, EkTensorInfo **table, float **arena);
/* Their table alone, from the header. Offsets are those ReadAll would give. Collective. */
PetscErrorCode EkWeightsList(EkRun run, const char *path, EkWeightsMemory memory, int *n, EkTensorInfo **table);

/* Where value i of a tensor lies: "7", or "(0, 7, 0, 0)" of several axes. Returns text. */
const char *EkValuePlace(const EkTensorInfo *tensor, PetscInt64 i, char text[160]);

#define EK_LISTED 20 /* names or lines at most, then "and n more" */
