#include "io.h"
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Layout: 8 bytes little-endian length of the header, JSON header {NAME: {dtype, shape, data_offsets}}, data. Offsets count from
   the end of the header; the format allows neither gaps nor overlaps. Source: the safetensors format description. */
#define WHAT           "weights"
#define MAX_HEADER     100000000 /* the format's own limit */
#define COMPLEX        "complex" /* key of __metadata__: comma-separated names whose last axis is (re, im) */
#define BAD(cond, ...) PetscCheck(!(cond), PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, __VA_ARGS__)

static const struct {
  const char *name;
  int         bytes;
} dtype[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"I16", 2}, {"U16", 2}, {"F16", 2}, {"BF16", 2},
             {"I32", 4},  {"U32", 4}, {"F32", 4}, {"I64", 8}, {"U64", 8}, {"F64", 8}};

/* 0: a type this table does not know */
static int TypeBytes(const char *name)
{
  for (size_t i = 0; i < sizeof(dtype) / sizeof(dtype[0]); i++) {
    if (!strcmp(dtype[i].name, name)) return dtype[i].bytes;
  }
  return 0;
}

PetscBool EkIsCounter(const EkStored *stored)
{
  static const char suffix[] = "num_batches_tracked";
  const size_t      length = strlen(stored->name), n = sizeof(suffix) - 1;

  return (PetscBool)((stored->rank == 0 || (stored->rank == 1 && stored->shape[0] == 1)) && length >= n && !strcmp(stored->name + length - n, suffix));
}

/* A whole number from 0 to 2^53, where doubles are exact. */
static PetscBool Whole(const cJSON *item, PetscInt64 *value)
{
  const double v = cJSON_IsNumber(item) ? item->valuedouble : -1;

  if (!(v >= 0 && v <= 9007199254740992.0) || v != floor(v)) return PETSC_FALSE;
  *value = (PetscInt64)v;
  return PETSC_TRUE;
}

static PetscErrorCode ParseShape(const char *path, const cJSON *list, EkStored *stored)
{
  const cJSON *item;

  PetscFunctionBegin;
  BAD(!cJSON_IsArray(list), WHAT " '%s': tensor '%s' has no shape", path, stored->name);
  BAD(cJSON_GetArraySize(list) > EK_MAX_RANK, WHAT " '%s': tensor '%s' has %d axes, at most %d can be read", path, stored->name,
      cJSON_GetArraySize(list), EK_MAX_RANK);
  stored->count = 1;
  cJSON_ArrayForEach(item, list)
  {
    PetscInt64 n = 0;

    BAD(!Whole(item, &n) || n > PETSC_MAX_INT, WHAT " '%s': tensor '%s': axis %d has an impossible length", path, stored->name,
        stored->rank);
    BAD(__builtin_mul_overflow(stored->count, n, &stored->count), WHAT " '%s': tensor '%s' has an impossible size", path,
        stored->name);
    stored->shape[stored->rank++] = n;
  }
  PetscFunctionReturn(0);
}

/* Letters of the parameter's name, without what says that this is the optimizer's memory of it. */
static size_t NameLength(const char *name)
{
  const size_t length = strlen(name), prefix = strlen(EK_OPTIMIZER_PREFIX "exp_avg_sq.");

  return strncmp(name, EK_OPTIMIZER_PREFIX, strlen(EK_OPTIMIZER_PREFIX)) || length < prefix ? length : length - prefix;
}

/* end: of this tensor's data in the file */
static PetscErrorCode ParseTensor(const char *path, const cJSON *item, PetscInt64 data_start, EkStored *stored, PetscInt64 *end)
{
  const cJSON *type = cJSON_GetObjectItemCaseSensitive(item, "dtype"),
              *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
  const char *name = item->string ? item->string : "";
  PetscInt64  bytes, from = 0, to = 0;

  PetscFunctionBegin;
  BAD(!*name || NameLength(name) >= EK_NAME, WHAT " '%s': a tensor's name '%.80s' is empty or longer than %d letters", path, name,
      EK_NAME - 1);
  PetscCall(PetscStrncpy(stored->name, name, sizeof(stored->name)));
  BAD(!cJSON_IsString(type) || strlen(type->valuestring) >= sizeof(stored->type), WHAT " '%s': tensor '%s' has no dtype", path,
      name);
  PetscCall(PetscStrncpy(stored->type, type->valuestring, sizeof(stored->type)));
  PetscCall(ParseShape(path, cJSON_GetObjectItemCaseSensitive(item, "shape"), stored));
  BAD(cJSON_GetArraySize(offsets) != 2 || !Whole(cJSON_GetArrayItem(offsets, 0), &from) ||
          !Whole(cJSON_GetArrayItem(offsets, 1), &to) || from > to,
      WHAT " '%s': tensor '%s' has impossible data_offsets", path, name);
  BAD(__builtin_mul_overflow(stored->count, TypeBytes(stored->type), &bytes), WHAT " '%s': tensor '%s' has an impossible size",
      path, name);
  BAD(TypeBytes(stored->type) && bytes != to - from, WHAT " '%s': tensor '%s' has %lld bytes, its shape needs %lld", path, name,
      (long long)(to - from), (long long)bytes);
  stored->address = data_start + from;
  *end = data_start + to;
  PetscFunctionReturn(0);
}

typedef struct {
  EkStored   stored;
  PetscInt64 end;
} Entry;

static int ByAddress(const void *a, const void *b)
{
  const Entry *p = (const Entry *)a, *q = (const Entry *)b;

  if (p->stored.address != q->stored.address) return p->stored.address < q->stored.address ? -1 : 1;
  return p->end < q->end ? -1 : p->end > q->end;
}

static int ByName(const void *a, const void *b)
{
  return strcmp(((const Entry *)a)->stored.name, ((const Entry *)b)->stored.name);
}

static PetscErrorCode CheckLayout(const char *path, int n, Entry *entry, PetscInt64 data_start, PetscInt64 file_bytes)
{
  PetscInt64 at = data_start;

  PetscFunctionBegin;
  qsort(entry, (size_t)n, sizeof(*entry), ByName);
  for (int i = 1; i < n; i++)
    BAD(!strcmp(entry[i].stored.name, entry[i - 1].stored.name), WHAT " '%s': there are two tensors '%s'", path,
        entry[i].stored.name);
  qsort(entry, (size_t)n, sizeof(*entry), ByAddress);
  for (int i = 0; i < n; at = entry[i++].end) {
    const EkStored *stored = &entry[i].stored;
    const char     *name = stored->name;
    char            shape[160];

    BAD(entry[i].end > file_bytes,
        WHAT " '%s' is truncated: tensor '%s', %s %s, ends at byte %lld, the file at %lld; the end is missing, copy it again",
        path, name, stored->type, EkShapeText(stored->rank, stored->shape, shape), (long long)entry[i].end,
        (long long)file_bytes);
    BAD(stored->address < at, WHAT " '%s': tensor '%s' overlaps another", path, name);
    BAD(stored->address > at, WHAT " '%s': there is a gap before tensor '%s'", path, name);
  }
  BAD(at != file_bytes, WHAT " '%s': %lld bytes follow the last tensor", path, (long long)(file_bytes - at));
  PetscFunctionReturn(0);
}

/* Is the name in the comma-separated list? */
static PetscBool IsListed(const char *list, const char *name)
{
  const size_t n = strlen(name);

  for (const char *at = list; (at = strstr(at, name)); at++) {
    if ((at == list || at[-1] == ',') && (!at[n] || at[n] == ',')) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

static PetscErrorCode ParseHeader(const char *path, const cJSON *json, PetscInt64 data_start, PetscInt64 file_bytes, Entry *entry,
                                  int *n)
{
  const cJSON *item,
      *complex_names = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "__metadata__"), COMPLEX);
  const char *list = cJSON_IsString(complex_names) ? complex_names->valuestring : "";

  PetscFunctionBegin;
  *n = 0;
  cJSON_ArrayForEach(item, json)
  {
    EkStored *stored = &entry[*n].stored;

    if (item->string && !strcmp(item->string, "__metadata__")) continue;
    PetscCall(ParseTensor(path, item, data_start, stored, &entry[*n].end));
    stored->is_complex = (PetscBool)(stored->rank && stored->shape[stored->rank - 1] == 2 && IsListed(list, stored->name));
    ++*n;
  }
  PetscCall(CheckLayout(path, *n, entry, data_start, file_bytes));
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadHeader(const char *path, int fd, PetscInt64 file_bytes, char **text, PetscInt64 *length)
{
  unsigned char size[8];
  uint64_t      n = 0;

  PetscFunctionBegin;
  BAD(file_bytes < 8, WHAT " '%s' is not a safetensors file: it has %lld bytes", path, (long long)file_bytes);
  PetscCall(EkFileRead(WHAT, path, fd, size, sizeof(size), 0));
  for (int i = 7; i >= 0; i--) n = n << 8 | size[i];
  BAD(!memcmp(size, "PK\003\004", 4), WHAT " '%s' is a zip archive, as PyTorch's .pth and .pt are: postproc/convert.py %s %s.safetensors",
      path, path, path);
  BAD(n < 2 || n > MAX_HEADER, WHAT " '%s' is not a safetensors file: a header of %llu bytes", path, (unsigned long long)n);
  BAD((PetscInt64)n > file_bytes - 8,
      WHAT " '%s' is truncated: a header of %llu bytes, the file has %lld; the end is missing, copy it again", path,
      (unsigned long long)n, (long long)file_bytes);
  PetscCall(PetscMalloc1(n + 1, text));
  PetscCall(EkFileRead(WHAT, path, fd, *text, (size_t)n, 8));
  (*text)[n] = 0;
  *length = (PetscInt64)n;
  PetscFunctionReturn(0);
}

/* Tensors of a parsed header into a list of their own. */
static PetscErrorCode ListTensors(const char *path, const cJSON *json, PetscInt64 data_start, PetscInt64 file_bytes, int *n,
                                  EkStored **stored)
{
  PetscErrorCode code;
  Entry         *entry;

  PetscFunctionBegin;
  BAD(!cJSON_IsObject(json), WHAT " '%s' is not a safetensors file: its header is not a JSON object", path);
  PetscCall(PetscCalloc1((size_t)cJSON_GetArraySize(json) + 1, &entry));
  code = ParseHeader(path, json, data_start, file_bytes, entry, n);
  if (!code) code = PetscMalloc1((size_t)*n + 1, stored);
  for (int i = 0; i < *n && !code; i++) (*stored)[i] = entry[i].stored;
  PetscCall(PetscFree(entry));
  PetscFunctionReturn(code);
}

/* The header of the file at PATH; *data: where the tensors' bytes begin. The caller deletes the JSON. */
static PetscErrorCode OpenHeader(const char *path, cJSON **json, PetscInt64 *data, PetscInt64 *file_bytes)
{
  PetscErrorCode code;
  PetscInt64     length = 0;
  char          *text = NULL;
  int            fd;

  PetscFunctionBegin;
  *json = NULL;
  PetscCall(EkFileOpen(WHAT, path, O_RDONLY, &fd));
  code = EkFileSize(WHAT, path, file_bytes);
  if (!code) code = ReadHeader(path, fd, *file_bytes, &text, &length);
  close(fd);
  if (!code) *json = cJSON_ParseWithLength(text, (size_t)length);
  *data = 8 + length;
  PetscCall(PetscFree(text));
  PetscFunctionReturn(code);
}

PetscErrorCode EkSafetensorsProbe(const char *path, int *n, EkStored **stored)
{
  PetscErrorCode code;
  PetscInt64     data, file_bytes;
  cJSON         *json;

  PetscFunctionBegin;
  *stored = NULL;
  *n = 0;
  PetscCall(OpenHeader(path, &json, &data, &file_bytes));
  code = ListTensors(path, json, data, file_bytes, n, stored);
  cJSON_Delete(json);
  PetscFunctionReturn(code);
}

PetscErrorCode EkSafetensorsReadNote(const char *path, const char *key, char **note)
{
  PetscErrorCode code = 0;
  PetscInt64     data, file_bytes;
  const cJSON   *item;
  cJSON         *json;

  PetscFunctionBegin;
  *note = NULL;
  PetscCall(OpenHeader(path, &json, &data, &file_bytes));
  item = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "__metadata__"), key);
  if (cJSON_IsString(item)) code = PetscStrallocpy(item->valuestring, note);
  cJSON_Delete(json);
  PetscFunctionReturn(code);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static PetscInt64 TensorBytes(const EkTensorInfo *tensor)
{
  return (PetscInt64)(tensor->is_counter ? sizeof(int64_t) : tensor->count * sizeof(float));
}

/* Where each tensor's data begins: counters first, so that every value lies at a multiple of its size. */
static void PlaceTensors(int n, const EkTensorInfo table[], PetscInt64 start[])
{
  PetscInt64 at = 0;

  for (int floats = 0; floats < 2; floats++) {
    for (int i = 0; i < n; i++) {
      if ((int)table[i].is_counter == floats) continue;
      start[i] = at;
      at += TensorBytes(&table[i]);
    }
  }
}

static cJSON *TensorJson(const EkTensorInfo *tensor, PetscInt64 start)
{
  const double offsets[2] = {(double)start, (double)(start + TensorBytes(tensor))};
  cJSON       *item = cJSON_CreateObject(), *shape = cJSON_AddArrayToObject(item, "shape");

  cJSON_AddStringToObject(item, "dtype", tensor->is_counter ? "I64" : "F32");
  for (int d = 0; d < tensor->rank; d++) cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)tensor->shape[d]));
  cJSON_AddItemToObject(item, "data_offsets", cJSON_CreateDoubleArray(offsets, 2));
  return item;
}

/* The header's text, to be freed with cJSON_free. */
static PetscErrorCode HeaderText(int n, const EkTensorInfo table[], const PetscInt64 start[], int nnotes, const EkNote notes[],
                                 char **text)
{
  cJSON *json = cJSON_CreateObject(), *metadata = cJSON_AddObjectToObject(json, "__metadata__");
  char  *list;

  PetscFunctionBegin;
  PetscCall(PetscCalloc1((size_t)n * EK_NAME + 1, &list));
  cJSON_AddStringToObject(metadata, "format", "pt");
  for (int i = 0; i < n; i++) {
    const size_t used = strlen(list);

    cJSON_AddItemToObject(json, table[i].name, TensorJson(&table[i], start[i]));
    if (table[i].is_complex) snprintf(list + used, (size_t)n * EK_NAME + 1 - used, "%s%s", used ? "," : "", table[i].name);
  }
  if (list[0]) cJSON_AddStringToObject(metadata, COMPLEX, list);
  for (int i = 0; i < nnotes; i++) {
    if (notes[i].text) cJSON_AddStringToObject(metadata, notes[i].key, notes[i].text);
  }
  *text = cJSON_PrintUnformatted(json);
  cJSON_Delete(json);
  PetscCall(PetscFree(list));
  EkCheckAlloc(*text, "the header of a safetensors file");
  PetscFunctionReturn(0);
}

/* Length, text, blanks up to a multiple of 8 bytes. */
static PetscErrorCode WriteHeader(const char *path, int fd, const char *text, PetscInt64 *bytes)
{
  static const char blank[8] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
  const size_t      length = strlen(text), padded = (length + 7) / 8 * 8;
  unsigned char     size[8];

  PetscFunctionBegin;
  for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)padded >> 8 * i);
  PetscCall(EkFileWrite(WHAT, path, fd, size, 8, 0));
  PetscCall(EkFileWrite(WHAT, path, fd, text, length, 8));
  PetscCall(EkFileWrite(WHAT, path, fd, blank, padded - length, 8 + (PetscInt64)length));
  *bytes = 8 + (PetscInt64)padded;
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteAll(const char *path, int fd, int n, const EkTensorInfo table[], const float *arena, int nnotes,
                               const EkNote notes[])
{
  PetscErrorCode code;
  PetscInt64     data = 0, *start;
  char          *text = NULL;

  PetscFunctionBegin;
  PetscCall(PetscMalloc1((size_t)n + 1, &start));
  PlaceTensors(n, table, start);
  code = HeaderText(n, table, start, nnotes, notes, &text);
  if (!code) code = WriteHeader(path, fd, text, &data);
  cJSON_free(text);
  for (int i = 0; i < n && !code; i++) {
    const float  *values = arena + table[i].offset;
    const int64_t number = table[i].is_counter ? (int64_t)values[0] : 0;

    code = EkFileWrite(WHAT, path, fd, table[i].is_counter ? (const void *)&number : (const void *)values,
                       (size_t)TensorBytes(&table[i]), data + start[i]);
  }
  PetscCall(PetscFree(start));
  PetscFunctionReturn(code);
}

PetscErrorCode EkSafetensorsWrite(const char *path, int n, const EkTensorInfo table[], const float *arena, int nnotes,
                                  const EkNote notes[])
{
  PetscErrorCode code;
  char           temporary[EK_PATH + 8];
  int            fd;

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(temporary, sizeof(temporary), "%s.tmp", path));
  PetscCall(EkFileOpen(WHAT, temporary, O_RDWR | O_CREAT | O_TRUNC, &fd));
  code = WriteAll(temporary, fd, n, table, arena, nnotes, notes);
  if (code)
    close(fd);
  else
    code = EkFileFinish(WHAT, temporary, fd);
  if (!code) code = EkFileReplace(WHAT, temporary, path);
  if (code) unlink(temporary);
  PetscFunctionReturn(code);
}
