#include "evenkeel/keys.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Value of `-name`: the run's, else the default; found says which. A flag without value reads as "true". */
static PetscErrorCode Lookup(EkRun run, const EkKey *key, char text[EK_PATHS], PetscBool *found)
{
  char name[EK_NAME + 1];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "-%s", key->name));
  PetscCall(PetscOptionsGetString(run->options, NULL, name, text, EK_PATHS, found));
  if (*found && !*text && key->type == EK_KEY_BOOL) PetscCall(PetscStrncpy(text, "true", EK_PATHS));
  if (!*found && key->value) PetscCall(PetscStrncpy(text, key->value, EK_PATHS));
  PetscFunctionReturn(0);
}

static PetscBool ParseReal(const char *text, double *value)
{
  char *end;

  *value = strtod(text, &end);
  return (PetscBool)(end != text && !*end && *value == *value);
}

static PetscBool ParseInteger(const char *text, double *value)
{
  return (PetscBool)(ParseReal(text, value) && *value == (double)(PetscInt64)*value);
}

static PetscBool ParseBytes(const char *text, double *value)
{
  char       *end;
  const char *suffix = "kMGT", *s;

  *value = strtod(text, &end);
  if (end == text) return PETSC_FALSE;
  if (*end && (s = strchr(suffix, *end))) {
    for (; s >= suffix; s--) *value *= 1024;
    end++;
  }
  return (PetscBool) !*end;
}

/* hh:mm:ss, mm:ss or seconds */
static PetscBool ParseWall(const char *text, double *value)
{
  double part;
  char  *end;

  *value = 0;
  for (int i = 0; i < 3; i++, text = end + 1) {
    part = strtod(text, &end);
    if (end == text || part < 0) return PETSC_FALSE;
    *value = 60 * *value + part;
    if (!*end) return PETSC_TRUE;
    if (*end != ':') return PETSC_FALSE;
  }
  return PETSC_FALSE;
}

static PetscErrorCode CheckRange(const EkKey *key, double value, EkProblems problems, PetscBool *fine)
{
  PetscFunctionBegin;
  *fine = (PetscBool)(value >= key->min && value <= key->max);
  if (*fine) PetscFunctionReturn(0);
  if (key->min > -EK_ANY && key->max < EK_ANY) {
    PetscCall(EkProblemsAdd(problems, "%s: %g is out of range, must be between %g and %g", key->name, value,
                            key->min == EK_POSITIVE ? 0 : key->min, key->max));
  } else if (key->min > -EK_ANY) {
    PetscCall(EkProblemsAdd(problems, "%s: %g is out of range, must be %s %g", key->name, value,
                            key->min == EK_POSITIVE ? "greater than" : "at least", key->min == EK_POSITIVE ? 0 : key->min));
  } else
    PetscCall(EkProblemsAdd(problems, "%s: %g is out of range, must be at most %g", key->name, value, key->max));
  PetscFunctionReturn(0);
}

/* Comma-separated numbers of a list key; count 0 where there is a problem. */
static PetscErrorCode ParseList(const EkKey *key, const char *text, int max, double value[], int *count, EkProblems problems)
{
  const PetscBool whole = (PetscBool)(key->type == EK_KEY_INTS);
  const char     *kind = whole ? "whole numbers" : "numbers";
  char           *save = NULL, copy[EK_PATHS];
  PetscBool       fine = PETSC_TRUE;
  int             n = 0;

  PetscFunctionBegin;
  *count = 0;
  PetscCall(PetscStrncpy(copy, text, sizeof(copy)));
  for (char *word = strtok_r(copy, ", ", &save); word && fine; word = strtok_r(NULL, ", ", &save), n++) {
    if (n == max || !(whole ? ParseInteger : ParseReal)(word, &value[n])) {
      PetscCall(EkProblemsAdd(problems, "%s: '%s' is not a list of up to %d %s", key->name, text, max, kind));
      PetscFunctionReturn(0);
    }
    PetscCall(CheckRange(key, value[n], problems, &fine));
  }
  if (fine) *count = n;
  if (!n && *text) PetscCall(EkProblemsAdd(problems, "%s: '%s' is not a list of %s", key->name, text, kind));
  PetscFunctionReturn(0);
}

static PetscErrorCode StoreInts(const EkKey *key, const char *text, EkInts *field, EkProblems problems)
{
  double value[EK_INTS_MAX];

  PetscFunctionBegin;
  PetscCall(ParseList(key, text, EK_INTS_MAX, value, &field->n, problems));
  for (int i = 0; i < field->n; i++) field->v[i] = (PetscInt)value[i];
  PetscFunctionReturn(0);
}

static PetscErrorCode StoreChoice(const EkKey *key, const char *text, int *field, EkProblems problems)
{
  char names[1024];

  PetscFunctionBegin;
  *field = EkFamilyFind(key->family, text);
  if (*field < 0) {
    PetscCall(EkFamilyNames(key->family, names, sizeof(names)));
    PetscCall(EkProblemsAdd(problems, "%s: '%s' is not known; there is: %s", key->name, text, names));
    *field = 0;
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode StoreNumber(const EkKey *key, const char *text, void *field, EkProblems problems)
{
  static const char *const wanted[] = {[EK_KEY_INT] = "a whole number",
                                       [EK_KEY_REAL] = "a number",
                                       [EK_KEY_WALL] = "a duration hh:mm:ss",
                                       [EK_KEY_BYTES] = "a size such as 512M or 4G"};
  double                   value = 0;
  PetscBool                fine = PETSC_FALSE;

  PetscFunctionBegin;
  if (key->type == EK_KEY_INT)
    fine = ParseInteger(text, &value);
  else if (key->type == EK_KEY_REAL)
    fine = ParseReal(text, &value);
  else if (key->type == EK_KEY_WALL)
    fine = ParseWall(text, &value);
  else
    fine = ParseBytes(text, &value);
  if (!fine) {
    PetscCall(EkProblemsAdd(problems, "%s: '%s' is not %s", key->name, text, wanted[key->type]));
    PetscFunctionReturn(0);
  }
  PetscCall(CheckRange(key, value, problems, &fine));
  if (!fine) PetscFunctionReturn(0);
  if (key->type == EK_KEY_INT)
    *(PetscInt *)field = (PetscInt)value;
  else if (key->type == EK_KEY_BYTES)
    *(PetscInt64 *)field = (PetscInt64)value;
  else
    *(double *)field = value;
  PetscFunctionReturn(0);
}

static PetscErrorCode StoreBool(const EkKey *key, const char *text, PetscBool *field, EkProblems problems)
{
  static const char *const word[2][4] = {{"no", "false", "off", "0"}, {"yes", "true", "on", "1"}};

  PetscFunctionBegin;
  for (int i = 0; i < 8; i++) {
    if (strcasecmp(text, word[i / 4][i % 4])) continue;
    *field = (PetscBool)(i / 4);
    PetscFunctionReturn(0);
  }
  PetscCall(EkProblemsAdd(problems, "%s: '%s' is not yes or no", key->name, text));
  PetscFunctionReturn(0);
}

static PetscErrorCode StoreText(const EkKey *key, const char *text, char *field, size_t size, EkProblems problems)
{
  PetscFunctionBegin;
  if (strlen(text) >= size) PetscCall(EkProblemsAdd(problems, "%s: is longer than %zu letters", key->name, size - 1));
  PetscCall(PetscStrncpy(field, text, size));
  PetscFunctionReturn(0);
}

static PetscErrorCode Store(const EkKey *key, char *text, void *field, EkProblems problems)
{
  PetscFunctionBegin;
  switch (key->type) {
  case EK_KEY_BOOL:
    PetscCall(StoreBool(key, text, (PetscBool *)field, problems));
    break;
  case EK_KEY_INTS:
    PetscCall(StoreInts(key, text, (EkInts *)field, problems));
    break;
  case EK_KEY_REALS:
    PetscCall(ParseList(key, text, EK_REALS_MAX, ((EkReals *)field)->v, &((EkReals *)field)->n, problems));
    break;
  case EK_KEY_STRING:
    PetscCall(StoreText(key, text, (char *)field, EK_PATH, problems));
    break;
  case EK_KEY_PATHS:
    PetscCall(StoreText(key, text, (char *)field, EK_PATHS, problems));
    break;
  case EK_KEY_CHOICE:
    PetscCall(StoreChoice(key, text, (int *)field, problems));
    break;
  default:
    /* an unset number keeps the field's zero */
    if (*text) PetscCall(StoreNumber(key, text, field, problems));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkKeysRead(EkRun run, const EkKeyTable *table, void *options, EkProblems problems)
{
  char      text[EK_PATHS];
  PetscBool found;

  PetscFunctionBegin;
  for (int i = 0; i < table->count; i++) {
    const EkKey *key = &table->keys[i];

    text[0] = 0;
    PetscCall(Lookup(run, key, text, &found));
    if (!key->value && (!found || !*text)) {
      PetscCall(EkProblemsAdd(problems, "%s is required: %s", key->name, key->help));
      continue;
    }
    if (found && !*text && key->value && *key->value) {
      PetscCall(EkProblemsAdd(problems, "%s has no value", key->name));
      continue;
    }
    PetscCall(Store(key, text, (char *)options + key->offset, problems));
  }
  PetscFunctionReturn(0);
}

static int Least(int a, int b, int c)
{
  return a < b ? (a < c ? a : c) : (b < c ? b : c);
}

/* Levenshtein distance; b under EK_NAME letters */
static int Distance(const char *a, const char *b)
{
  int row[EK_NAME + 1], n = (int)strlen(b);

  for (int j = 0; j <= n; j++) row[j] = j;
  for (int i = 1; a[i - 1]; i++) {
    int corner = row[0];

    row[0] = i;
    for (int j = 1; j <= n; j++) {
      const int above = row[j];

      row[j] = Least(above + 1, row[j - 1] + 1, corner + (a[i - 1] != b[j - 1]));
      corner = above;
    }
  }
  return row[n];
}

static const EkKey *FindKey(int n, const EkKeyTable *const tables[], const char *name)
{
  for (int t = 0; t < n; t++) {
    for (int i = 0; i < tables[t]->count; i++) {
      if (!strcmp(tables[t]->keys[i].name, name)) return &tables[t]->keys[i];
    }
  }
  return NULL;
}

static const char *Nearest(int n, const EkKeyTable *const tables[], const char *name)
{
  const char *nearest = "";
  int         least = 1000;

  for (int t = 0; t < n; t++) {
    for (int i = 0; i < tables[t]->count; i++) {
      const int d = Distance(name, tables[t]->keys[i].name);

      if (d < least) {
        least = d;
        nearest = tables[t]->keys[i].name;
      }
    }
  }
  return nearest;
}

PetscErrorCode EkKeysCheckAll(EkRun run, int nused, const EkKeyTable *const used[], int nknown, const EkKeyTable *const known[],
                              EkProblems problems)
{
  char *all, *save = NULL;

  PetscFunctionBegin;
  PetscCall(PetscOptionsGetAll(run->options, &all));
  for (char *word = strtok_r(all, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
    char      name[EK_PATH], probe[EK_PATH];
    PetscBool set;

    /* values are skipped: only words that really are names of options count */
    if (word[0] != '-' || (word[1] >= '0' && word[1] <= '9')) continue;
    PetscCall(PetscOptionsGetString(run->options, NULL, word, probe, sizeof(probe), &set));
    if (!set) continue;
    PetscCall(PetscStrncpy(name, word + 1, sizeof(name)));
    if (EkIsPetscOption(name) || FindKey(nused, used, name)) continue;
    if (FindKey(nknown, known, name))
      PetscCall(EkProblemsAdd(problems, "%s is not used by this command", name));
    else if (!nused)
      PetscCall(EkProblemsAdd(problems, "unknown key %s; this command takes none", name));
    else
      PetscCall(EkProblemsAdd(problems, "unknown key %s; the nearest known one is %s", name, Nearest(nused, used, name)));
  }
  PetscCall(PetscFree(all));
  PetscFunctionReturn(0);
}

/* Quoted where YAML would read more than letters into it. */
static void WriteString(FILE *file, const char *text)
{
  const char *quote = strpbrk(text, " #:,{}[]&*!|>'\"%@`\\") ? "\"" : "";

  fputs(quote, file);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') fputc('\\', file);
    fputc(*text, file);
  }
  fputs(quote, file);
}

/* The fewest digits that read back as the same number. */
static void WriteReal(FILE *file, double value)
{
  char text[32];

  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, sizeof(text), "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  fputs(text, file);
}

static void WriteValue(FILE *file, const EkKey *key, const void *field)
{
  const EkInts  *ints = (const EkInts *)field;
  const EkReals *reals = (const EkReals *)field;
  const double  *real = (const double *)field;

  switch (key->type) {
  case EK_KEY_BOOL:
    fprintf(file, "%s", *(const PetscBool *)field ? "true" : "false");
    break;
  case EK_KEY_INT:
    fprintf(file, "%lld", (long long)*(const PetscInt *)field);
    break;
  case EK_KEY_INTS:
    fputc('[', file);
    for (int i = 0; i < ints->n; i++) fprintf(file, "%s%lld", i ? ", " : "", (long long)ints->v[i]);
    fputc(']', file);
    break;
  case EK_KEY_REAL:
    WriteReal(file, *real);
    break;
  case EK_KEY_REALS:
    fputc('[', file);
    for (int i = 0; i < reals->n; i++) {
      if (i) fputs(", ", file);
      WriteReal(file, reals->v[i]);
    }
    fputc(']', file);
    break;
  case EK_KEY_STRING:
  case EK_KEY_PATHS:
    WriteString(file, (const char *)field);
    break;
  case EK_KEY_CHOICE:
    fprintf(file, "%s", EkFamilyMember(key->family, *(const int *)field)->name);
    break;
  case EK_KEY_WALL:
    fprintf(file, "\"%02d:%02d:%02.9g\"", (int)(*real / 3600), (int)(*real / 60) % 60, fmod(*real, 60));
    break;
  case EK_KEY_BYTES:
    fprintf(file, "%lld", (long long)*(const PetscInt64 *)field);
    break;
  }
}

/* Unset strings, lists, durations and numbers are left out, so that loading the file leaves them unset too. */
static PetscBool IsUnset(const EkKey *key, const void *field)
{
  if (key->type == EK_KEY_STRING || key->type == EK_KEY_PATHS) return (PetscBool) !*(const char *)field;
  if (key->type == EK_KEY_INTS) return (PetscBool) !((const EkInts *)field)->n;
  if (key->type == EK_KEY_REALS) return (PetscBool) !((const EkReals *)field)->n;
  if (!key->value || *key->value) return PETSC_FALSE;
  if (key->type == EK_KEY_WALL) return (PetscBool)(*(const double *)field == 0);
  if (key->min <= 0) return PETSC_FALSE; /* zero is a value: the module has settled it */
  if (key->type == EK_KEY_INT) return (PetscBool) !*(const PetscInt *)field;
  return (PetscBool)(key->type == EK_KEY_REAL && *(const double *)field == 0);
}

PetscErrorCode EkKeyGiven(EkRun run, const EkKey *key, PetscBool *given)
{
  char name[EK_NAME + 1];

  PetscFunctionBegin;
  PetscCall(PetscSNPrintf(name, sizeof(name), "-%s", key->name));
  PetscCall(PetscOptionsHasName(run->options, NULL, name, given));
  PetscFunctionReturn(0);
}

const char *EkKeyWord(const EkKeyTable *table, const EkKey *key)
{
  return key->name + strlen(table->block) + 1;
}

PetscErrorCode EkKeysWriteYaml(FILE *file, const EkKeyTable *table, const void *options, EkKeyUse uses, PetscBool continued)
{
  PetscFunctionBegin;
  if (!continued) fprintf(file, "%s:\n", table->block);
  for (int i = 0; i < table->count; i++) {
    const EkKey *key = &table->keys[i];
    const void  *field = (const char *)options + key->offset;

    if ((uses && !uses(options, key)) || IsUnset(key, field)) continue;
    fprintf(file, "  %s: ", EkKeyWord(table, key));
    WriteValue(file, key, field);
    fputc('\n', file);
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ValueText(const EkKey *key, const void *options, char **text)
{
  size_t length;
  FILE  *file = open_memstream(text, &length);

  PetscFunctionBegin;
  EkCheckAlloc(file, "a key's value");
  WriteValue(file, key, (const char *)options + key->offset);
  fclose(file);
  PetscFunctionReturn(0);
}

PetscErrorCode EkKeysDifference(const EkKeyTable *table, const void *options, const void *wanted, char *text, size_t length)
{
  size_t used = 0;

  PetscFunctionBegin;
  text[0] = 0;
  for (int i = 0; i < table->count; i++) {
    const EkKey *key = &table->keys[i];
    char        *is, *should;

    PetscCall(ValueText(key, options, &is));
    PetscCall(ValueText(key, wanted, &should));
    if (strcmp(is, should) && used < length)
      used += (size_t)snprintf(text + used, length - used, "%s%s: %s", used ? ", " : "", EkKeyWord(table, key), should);
    free(is);
    free(should);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkKeysPrint(FILE *file, const EkKeyTable *table)
{
  char names[1024];

  PetscFunctionBegin;
  for (int i = 0; i < table->count; i++) {
    const EkKey *key = &table->keys[i];

    fprintf(file, "  %-26s %-12s %s", key->name, !key->value ? "required" : *key->value ? key->value : "-", key->help);
    if (key->unit && *key->unit) fprintf(file, " [%s]", key->unit);
    if (key->type == EK_KEY_CHOICE) {
      PetscCall(EkFamilyNames(key->family, names, sizeof(names)));
      fprintf(file, " (%s)", names);
    }
    fputc('\n', file);
  }
  PetscFunctionReturn(0);
}
