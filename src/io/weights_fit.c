/* Tensors of a weight file into the places of a table: what fits is read, what does not is listed. */
#include "resample.h"
#include "source.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "weights"

PetscBool EkInParts(const char *name, const char *parts)
{
  if (!parts) return PETSC_TRUE;
  for (const char *part = parts; *part; part += part[0] == ',') {
    const size_t n = strcspn(part, ",");

    if (n && !strncmp(name, part, n) && (!name[n] || name[n] == '.' || name[n] == '_')) return PETSC_TRUE;
    part += n;
  }
  return PETSC_FALSE;
}

/* Rank 0's work: what is wanted from where, and what was found wrong or worth telling. */
typedef struct {
  const EkSource        *source;
  const EkWeightsChoice *choice;
  PetscBool             *used; /* [source->n] the table wants this tensor of the file */
  FILE                  *lines;
  int                    misfits, missing;
  PetscBool              explained; /* a misfit says itself what may have happened: no need for the hint */
} Fit;

__attribute__((format(printf, 2, 3))) static void Misfit(Fit *fit, const char *format, ...)
{
  va_list arguments;

  if (fit->misfits++ >= EK_LISTED) return;
  va_start(arguments, format);
  vfprintf(fit->lines, format, arguments);
  va_end(arguments);
}

/* ---- shapes ------------------------------------------------------------------------------------------------- */

/* One value may be an array of one: numpy turns scalars into that. */
static PetscBool SameShape(const EkStored *stored, const EkTensorInfo *wanted)
{
  if (!wanted->rank && stored->rank == 1 && stored->shape[0] == 1) return PETSC_TRUE;
  if (stored->rank != wanted->rank || (stored->is_complex && !wanted->is_complex)) return PETSC_FALSE;
  for (int d = 0; d < wanted->rank; d++) {
    if (stored->shape[d] != wanted->shape[d]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static const char *WantedText(const EkTensorInfo *wanted, char text[160])
{
  PetscInt64 shape[EK_MAX_RANK];

  for (int d = 0; d < wanted->rank; d++) shape[d] = wanted->shape[d];
  return EkShapeText(wanted->rank, shape, text);
}

/* Is the file's shape the wanted one with the order of its first `axes` axes reversed? */
static PetscBool IsReversed(const EkStored *stored, const EkTensorInfo *wanted, int axes)
{
  for (int d = 0; d < stored->rank; d++) {
    if (stored->shape[d] != wanted->shape[d < axes ? axes - 1 - d : d]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

/* What may have happened to a tensor of another shape than wanted. */
static const char *Reason(const EkStored *stored, const EkTensorInfo *wanted)
{
  if (stored->is_complex && !wanted->is_complex) return "; it is complex, the model's is real";
  if (wanted->is_complex && !stored->is_complex && stored->rank == wanted->rank - 1)
    return "; it is real, the model's is complex";
  if (stored->rank < 2 || stored->rank != wanted->rank || SameShape(stored, wanted)) return "";
  if (IsReversed(stored, wanted, 2)) return "; it is transposed";
  if (IsReversed(stored, wanted, wanted->rank - wanted->is_complex))
    return "; its axes are reversed, or as TensorFlow and JAX have them (x, y, in, out instead of out, in, x, y)";
  return "";
}

/* ---- interpolation ------------------------------------------------------------------------------------------ */

static PetscBool CanResize(const EkWeightsChoice *choice, const EkStored *stored, const EkTensorInfo *wanted)
{
  if (!choice->resize || strcmp(wanted->name, choice->resize) || stored->rank != 4 || wanted->rank != 4) return PETSC_FALSE;
  return (PetscBool)(stored->shape[0] == wanted->shape[0] && stored->shape[1] == wanted->shape[1] && stored->count > 0);
}

/* Planes of shape[2] x shape[3] points onto those of `wanted`. */
static PetscErrorCode Resize(const EkStored *stored, const float *from, const EkTensorInfo *wanted, float *to)
{
  const PetscInt64 planes = stored->shape[0] * stored->shape[1];
  const size_t     old = (size_t)(stored->shape[2] * stored->shape[3]), new = (size_t)wanted->shape[2] * (size_t)wanted->shape[3];
  EkResampleAxis   axis[2];

  PetscFunctionBegin;
  for (int d = 0; d < 2; d++) PetscCall(EkResampleAxisCreate((PetscInt)stored->shape[2 + d], wanted->shape[2 + d], &axis[d]));
  for (PetscInt64 p = 0; p < planes; p++, from += old, to += new) EkResamplePlane(2, axis, (PetscInt)stored->shape[3], from, to);
  for (int d = 0; d < 2; d++) PetscCall(EkResampleAxisDestroy(&axis[d]));
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadResized(const Fit *fit, const EkStored *stored, const EkTensorInfo *wanted, float *out)
{
  PetscErrorCode code;
  float         *there;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)stored->count, &there));
  code = EkSourceRead(fit->source, stored, there);
  if (!code) code = Resize(stored, there, wanted, out);
  PetscCall(PetscFree(there));
  PetscCall(code);
  if (fit->choice->memory == EK_MEMORY_WEIGHTS)
    printf(WHAT " '%s': %s interpolated from %lld x %lld to %lld x %lld points\n", fit->source->path, wanted->name,
           (long long)stored->shape[2], (long long)stored->shape[3], (long long)wanted->shape[2], (long long)wanted->shape[3]);
  PetscFunctionReturn(0);
}

/* ---- fitting ------------------------------------------------------------------------------------------------ */

static const EkStored *FindStored(Fit *fit, const char *name)
{
  for (int i = 0; i < fit->source->n; i++) {
    if (strcmp(fit->source->stored[i].name, name)) continue;
    fit->used[i] = PETSC_TRUE;
    return &fit->source->stored[i];
  }
  return NULL;
}

/* Does it belong to a module's running statistics? No optimizer remembers anything of those. */
static PetscBool IsBuffer(const EkTensorInfo *tensor)
{
  const char *last = strrchr(tensor->name, '.');

  return (PetscBool)(tensor->is_counter || (last && EkWordIn(last + 1, "running_mean running_var")));
}

/* A counter that is missing is zero. */
static void FitMissing(Fit *fit, const EkTensorInfo *wanted, float *out)
{
  const PetscBool quiet = (PetscBool)(wanted->is_counter || fit->choice->missing);
  char            want[160];

  if (quiet) {
    memset(out, 0, wanted->count * sizeof(*out));
    fit->missing += !IsBuffer(wanted);
  } else
    Misfit(fit, "%s: missing, wanted F32 %s\n", wanted->name, WantedText(wanted, want));
}

/* Reads one wanted tensor, or adds the line that says why it does not fit. */
static PetscErrorCode FitTensor(Fit *fit, const EkTensorInfo *wanted, float *out)
{
  const EkStored *stored = FindStored(fit, wanted->name);
  char            found[160], want[160], place[160];
  const char     *reason;
  PetscInt64      bad;

  PetscFunctionBegin;
  if (!stored) {
    FitMissing(fit, wanted, out);
    PetscFunctionReturn(0);
  }
  if (EkSourceIsReadable(stored) && SameShape(stored, wanted))
    PetscCall(EkSourceRead(fit->source, stored, out));
  else if (EkSourceIsReadable(stored) && CanResize(fit->choice, stored, wanted))
    PetscCall(ReadResized(fit, stored, wanted, out));
  else {
    reason = Reason(stored, wanted);
    if (*reason) fit->explained = PETSC_TRUE;
    Misfit(fit, "%s: found %s %s, wanted %s %s%s\n", wanted->name, stored->type, EkShapeText(stored->rank, stored->shape, found),
           wanted->is_counter ? "I64" : "F32", WantedText(wanted, want), reason);
    PetscFunctionReturn(0);
  }
  bad = EkNotFinite(wanted->count, out);
  if (bad >= 0)
    Misfit(fit, "%s: found %s %s, wanted F32 %s, but value %s is not finite\n", wanted->name, stored->type,
           EkShapeText(stored->rank, stored->shape, found), WantedText(wanted, want), EkValuePlace(wanted, bad, place));
  PetscFunctionReturn(0);
}

static PetscErrorCode FitTable(Fit *fit, int n, const EkTensorInfo table[], float *arena)
{
  char found[160];

  PetscFunctionBegin;
  for (int i = 0; i < n; i++) {
    if (EkInParts(table[i].name, fit->choice->parts)) PetscCall(FitTensor(fit, &table[i], arena + table[i].offset));
  }
  for (int i = 0; i < fit->source->n; i++) {
    const EkStored *stored = &fit->source->stored[i];

    if (fit->used[i] || EkIsCounter(stored) || !EkInParts(stored->name, fit->choice->parts)) continue;
    Misfit(fit, "%s: found %s %s, the model has no such tensor\n", stored->name, stored->type,
           EkShapeText(stored->rank, stored->shape, found));
  }
  PetscFunctionReturn(0);
}

/* Rank 0; *text is freed with free. */
static PetscErrorCode FitRoot(Fit *fit, int n, const EkTensorInfo table[], float *arena, char **text)
{
  const char    *hint = fit->choice->hint;
  PetscErrorCode code;
  size_t         length;

  PetscFunctionBegin;
  fit->lines = open_memstream(text, &length);
  EkCheckAlloc(fit->lines, "a list of tensors");
  code = PetscCalloc1((size_t)fit->source->n + 1, &fit->used);
  if (!code) code = FitTable(fit, n, table, arena);
  if (fit->misfits > EK_LISTED) fprintf(fit->lines, "and %d more\n", fit->misfits - EK_LISTED);
  if (fit->misfits && !fit->explained && hint && *hint) fprintf(fit->lines, "%s\n", hint);
  fclose(fit->lines);
  PetscCall(PetscFree(fit->used));
  PetscFunctionReturn(code);
}

/* The lines of rank 0 on every rank, each printed once, then one error that counts them. */
static PetscErrorCode RaiseMisfits(EkRun run, const char *path, int misfits, char *text)
{
  PetscInt64 size[2] = {misfits, run->rank ? 0 : (PetscInt64)strlen(text) + 1};
  EkProblems problems;
  char      *copy, *save = NULL;

  PetscFunctionBegin;
  PetscCall(EkBcastBytes(run, size, sizeof(size)));
  if (!size[0]) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(size[1], &copy));
  if (run->rank == 0) memcpy(copy, text, (size_t)size[1]);
  PetscCall(EkBcastBytes(run, copy, (size_t)size[1]));
  PetscCall(EkProblemsCreate(&problems));
  for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    PetscCall(EkProblemsAdd(problems, WHAT " '%s': %s", path, line));
  PetscCall(PetscFree(copy));
  PetscCheck(!EkProblemsRaise(run, &problems), run->comm, PETSC_ERR_FILE_UNEXPECTED,
             WHAT " '%s': %lld of its or the model's tensors do not fit", path, (long long)size[0]);
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadInto(const EkSource *source, const EkWeightsChoice *choice, int n, const EkTensorInfo table[],
                               float *arena)
{
  EkRun          run = source->run;
  Fit            fit = {.source = source, .choice = choice};
  EkCatch        caught;
  PetscErrorCode code;
  char          *text = NULL;

  PetscFunctionBegin;
  PetscCall(EkCatchBegin(&caught));
  code = run->rank == 0 ? FitRoot(&fit, n, table, arena, &text) : 0;
  PetscCall(EkCatchEnd(run, &caught, code));
  EkCatchRaise(run, &caught);
  code = RaiseMisfits(run, source->path, fit.misfits, text);
  free(text);
  PetscCall(code);
  for (int i = 0; i < n; i++) {
    if (EkInParts(table[i].name, choice->parts))
      PetscCall(EkBcastBytes(run, arena + table[i].offset, table[i].count * sizeof(float)));
  }
  if (!choice->missing) PetscFunctionReturn(0);
  *choice->missing = fit.missing;
  PetscCallMPI(MPI_Bcast(choice->missing, 1, MPI_INT, 0, run->comm));
  PetscFunctionReturn(0);
}

PetscErrorCode EkWeightsReadChosen(EkRun run, const char *path, const EkWeightsChoice *choice, int n, const EkTensorInfo table[],
                                   float *arena)
{
  EkSource       source;
  PetscErrorCode code;

  PetscFunctionBegin;
  code = EkSourceOpen(run, path, choice->memory, &source);
  if (!code) code = ReadInto(&source, choice, n, table, arena);
  PetscCall(EkSourceClose(&source));
  PetscFunctionReturn(code);
}

PetscErrorCode EkWeightsRead(EkRun run, const char *path, int n, const EkTensorInfo table[], float *arena)
{
  static const EkWeightsChoice everything;

  PetscFunctionBegin;
  PetscCall(EkWeightsReadChosen(run, path, &everything, n, table, arena));
  PetscFunctionReturn(0);
}
