#include "inspect.h"
#include <cJSON.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#define LISTED 10 /* trajectories a line names */

static const char *const total_name[EK_TOTALS] = {"mass", "momentum", "energy"};

/* Keys of the JSON; what the line says of one trajectory and of several. */
static const struct {
  const char *key, *one, *many;
} flaw_row[EK_FLAWS] = {
    [EK_FLAW_NONFINITE] = {"nonfinite", "trajectory is not finite", "trajectories are not finite"},
    [EK_FLAW_FROZEN] = {"frozen", "trajectory stands still at its end", "trajectories stand still at their end"},
    [EK_FLAW_DUPLICATE] = {"duplicates", "trajectory repeats another one", "trajectories repeat other ones"},
    [EK_FLAW_UNPHYSICAL] = {"unphysical", "trajectory is unphysical", "trajectories are unphysical"},
    [EK_FLAW_MASS] = {"mass_drift", "trajectory gains or loses mass", "trajectories gain or lose mass"},
};

/* Not printf's %g alone: a dash where there is no number. */
static const char *Number(double value, char text[32])
{
  if (isnan(value)) return "-";
  snprintf(text, 32, "%.6g", value);
  return text;
}

/* ---- the screen ---------------------------------------------------------------------------------------------- */

static void PrintHead(EkInspection p)
{
  const EkDataInfo *d = p->info;
  PetscInt64        n[3] = {d->n[0], d->n[1], d->n[2]};
  char              grid[160], frames[32] = "";

  /* fields that are kept as frames are no moments in time */
  if (p->nfields == d->fields) snprintf(frames, sizeof(frames), "%lld frames, ", (long long)d->frames);
  printf("%s: %s in %dD, %lld trajectories, %s%s points, %d field%s; %.6g MB\n", p->options.file, d->family, d->dim,
         (long long)d->samples, frames, EkShapeText(d->dim, n, grid), p->nfields, p->nfields == 1 ? "" : "s",
         1e-6 * (double)p->contents->bytes);
  if (p->partial) {
    printf("the file is not finished: %lld of %lld trajectories are there, the rest is left out\n",
           (long long)(d->samples - p->missing), (long long)d->samples);
  }
}

static void PrintSets(const EkContents *c)
{
  char shape[160];

  printf("\n%-18s %-10s %-24s %14s  %s\n", "dataset", "type", "shape", "bytes", "layout");
  for (int i = 0; i < c->nsets; i++) {
    const EkContentsSet *s = &c->set[i];

    printf("%-18s %-10s %-24s %14lld  %s\n", s->name, s->type, EkShapeText(s->rank, s->shape, shape), (long long)s->bytes,
           s->layout);
  }
  if (c->groups > 1) printf("(of the first of %lld groups)\n", (long long)c->groups);
  if (c->files > 1) printf("(of the first of %lld files)\n", (long long)c->files);
}

static void PrintAttributes(const EkContents *c)
{
  char text[32];

  if (c->nattributes) printf("\n%-18s %s\n", "attribute", "value");
  for (int i = 0; i < c->nattributes; i++) {
    const EkContentsAttribute *a = &c->attribute[i];

    printf("%-18s %s\n", a->name, a->number ? Number(a->value, text) : a->text);
  }
}

/* Steps of float32 coordinates differ in the last digits: even is what agrees to a thousandth. */
static PetscBool IsEven(const EkContentsSet *s)
{
  return (PetscBool)(s->most - s->least <= 1e-3 * fmax(fabs(s->most), fabs(s->least)));
}

static void PrintCoordinates(const EkContents *c)
{
  char a[32], b[32];

  printf("\n%-18s %14s %14s %14s\n", "coordinate", "first", "last", "step");
  for (int i = 0; i < c->nsets; i++) {
    const EkContentsSet *s = &c->set[i];

    if (!s->axis) continue;
    printf("%-18s %14s %14s ", s->name, Number(s->first, a), Number(s->last, b));
    if (IsEven(s))
      printf("%14s\n", Number(s->shape[0] > 1 ? (s->last - s->first) / (double)(s->shape[0] - 1) : NAN, a));
    else
      printf("%s to %s\n", Number(s->least, a), Number(s->most, b));
  }
}

static void PrintFields(EkInspection p)
{
  char a[4][32];

  printf("\n%-18s %14s %14s %14s %14s %12s\n", "field", "min", "max", "mean", "std", "not finite");
  for (int f = 0; f < p->nfields; f++) {
    const EkFieldSummary *s = &p->field[f];

    printf("%-18s %14s %14s %14s %14s %12lld\n", s->name, Number(s->min, a[0]), Number(s->max, a[1]), Number(s->mean, a[2]),
           Number(s->std, a[3]), (long long)s->nonfinite);
  }
}

static void PrintDrift(EkInspection p)
{
  char text[32];

  if (!p->drift[0]) return;
  printf("\n%-18s %14s %14s %14s\n", "total of", "largest drift", "trajectory", "frame");
  for (int k = 0; k < EK_TOTALS; k++) {
    if (p->worst[k].value < 0)
      printf("%-18s %14s\n", total_name[k], "-");
    else
      printf("%-18s %14s %14lld %14lld\n", total_name[k], Number(p->worst[k].value, text), (long long)p->worst[k].trajectory,
             (long long)p->worst[k].frame);
  }
}

/* What is no flaw but would be one in a periodic box. */
static void PrintLeaks(EkInspection p)
{
  char text[32];

  if (!p->leaking) return;
  printf("\nmass is not conserved in %lld trajector%s (by up to %s), as open boundaries allow; they are open %s\n",
         (long long)p->leaking, p->leaking == 1 ? "y" : "ies", Number(p->worst[EK_TOTAL_MASS].value, text),
         p->named ? "by the file's name" : "by the jump of values from edge to edge");
}

static void PrintFinding(EkInspection p, EkFlaw flaw, const EkFinding *f)
{
  const long long frame = (long long)f->frame;
  char            text[32];

  printf("%lld", (long long)f->trajectory);
  switch (flaw) {
  case EK_FLAW_NONFINITE:
    printf(" (%s value%s, first in %s of frame %lld)", Number(f->value, text), f->value == 1 ? "" : "s", p->field[f->field].name,
           frame);
    break;
  case EK_FLAW_FROZEN:
    printf(" (%s from frame %lld on)", f->zero ? "zero" : "constant", frame);
    break;
  case EK_FLAW_DUPLICATE:
    printf(" (the same as %lld)", (long long)f->other);
    break;
  case EK_FLAW_UNPHYSICAL:
    printf(" (%s %s in frame %lld)", p->field[f->field].name, Number(f->value, text), frame);
    break;
  case EK_FLAW_MASS:
    printf(" (by %s until frame %lld)", Number(f->value, text), frame);
    break;
  default:
    break;
  }
}

static void PrintFlaws(EkInspection p)
{
  printf("\n");
  for (int k = 0; k < EK_FLAWS; k++) {
    const PetscInt n = p->count[k];

    if (!n) continue;
    printf("%lld %s: ", (long long)n, n == 1 ? flaw_row[k].one : flaw_row[k].many);
    for (PetscInt i = 0; i < n && i < LISTED; i++) {
      if (i) printf(", ");
      PrintFinding(p, (EkFlaw)k, &p->finding[k][i]);
    }
    if (n > LISTED) printf(" and %lld more", (long long)(n - LISTED));
    printf("\n");
  }
  if (p->count[EK_FLAW_MASS] && !p->named)
    printf(
        "(the boundaries are taken to be periodic, for values go on across them; if they are open, raise -inspect_mass_drift)\n");
  printf("%s: %s\n", p->options.file, p->sound ? "sound" : p->missing ? "not finished" : "something is wrong");
}

PetscErrorCode EkInspectionPrint(EkInspection p)
{
  char time[32];

  PetscFunctionBegin;
  if (p->run->rank) PetscFunctionReturn(0);
  PrintHead(p);
  PrintSets(p->contents);
  PrintAttributes(p->contents);
  PrintCoordinates(p->contents);
  PrintFields(p);
  PrintDrift(p);
  PrintLeaks(p);
  PrintFlaws(p);
  printf("%.6g MB read in %s on %d rank%s, %.3g MB/s\n", 1e-6 * (double)p->bytes, EkDuration(p->seconds, time), (int)p->run->size,
         p->run->size == 1 ? "" : "s", 1e-6 * (double)p->bytes / p->seconds);
  fflush(stdout);
  PetscFunctionReturn(0);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static void AddNumber(cJSON *object, const char *key, double value)
{
  if (isfinite(value))
    cJSON_AddNumberToObject(object, key, value);
  else
    cJSON_AddNullToObject(object, key);
}

static void AddShape(cJSON *object, const char *key, int rank, const PetscInt64 shape[])
{
  cJSON *list = cJSON_AddArrayToObject(object, key);

  for (int d = 0; d < rank; d++) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)shape[d]));
}

static void AddContents(cJSON *json, const EkContents *c)
{
  cJSON *sets = cJSON_AddArrayToObject(json, "datasets"), *attributes = cJSON_AddObjectToObject(json, "attributes");

  for (int i = 0; i < c->nsets; i++) {
    const EkContentsSet *s = &c->set[i];
    cJSON               *set = cJSON_CreateObject();

    cJSON_AddItemToArray(sets, set);
    cJSON_AddStringToObject(set, "name", s->name);
    cJSON_AddStringToObject(set, "type", s->type);
    AddShape(set, "shape", s->rank, s->shape);
    cJSON_AddNumberToObject(set, "bytes", (double)s->bytes);
    cJSON_AddStringToObject(set, "layout", s->layout);
    if (!s->axis) continue;
    AddNumber(set, "first", s->first);
    AddNumber(set, "last", s->last);
    AddNumber(set, "smallest_step", s->least);
    AddNumber(set, "largest_step", s->most);
  }
  for (int i = 0; i < c->nattributes; i++) {
    const EkContentsAttribute *a = &c->attribute[i];

    if (a->number)
      AddNumber(attributes, a->name, a->value);
    else
      cJSON_AddStringToObject(attributes, a->name, a->text);
  }
}

static void AddFields(cJSON *json, EkInspection p)
{
  cJSON *fields = cJSON_AddObjectToObject(json, "fields");

  for (int f = 0; f < p->nfields; f++) {
    cJSON *field = cJSON_AddObjectToObject(fields, p->field[f].name);

    AddNumber(field, "min", p->field[f].min);
    AddNumber(field, "max", p->field[f].max);
    AddNumber(field, "mean", p->field[f].mean);
    AddNumber(field, "std", p->field[f].std);
    cJSON_AddNumberToObject(field, "nonfinite", (double)p->field[f].nonfinite);
  }
}

static void AddDrifts(cJSON *json, EkInspection p)
{
  cJSON *drifts = p->drift[0] ? cJSON_AddObjectToObject(json, "drift") : NULL;

  if (drifts) {
    cJSON_AddStringToObject(json, "boundaries", p->edges == EK_EDGES_OPEN ? "open" : "periodic");
    cJSON_AddBoolToObject(json, "boundaries_by_name", p->named);
  }
  for (int k = 0; k < EK_TOTALS && drifts; k++) {
    cJSON          *drift = cJSON_AddObjectToObject(drifts, total_name[k]), *frames;
    const PetscBool any = (PetscBool)(p->worst[k].value >= 0);

    AddNumber(drift, "largest", any ? p->worst[k].value : NAN);
    AddNumber(drift, "trajectory", any ? (double)p->worst[k].trajectory : NAN);
    AddNumber(drift, "frame", any ? (double)p->worst[k].frame : NAN);
    frames = cJSON_AddArrayToObject(drift, "frames");
    for (PetscInt t = 0; t < p->info->frames; t++)
      cJSON_AddItemToArray(frames, p->drift[k][t] < 0 ? cJSON_CreateNull() : cJSON_CreateNumber(p->drift[k][t]));
  }
}

static void AddFlaws(cJSON *json, EkInspection p)
{
  cJSON *flaws = cJSON_AddObjectToObject(json, "flaws");

  for (int k = 0; k < EK_FLAWS; k++) {
    cJSON *list = cJSON_AddArrayToObject(flaws, flaw_row[k].key);

    for (PetscInt i = 0; i < p->count[k]; i++) {
      const EkFinding *f = &p->finding[k][i];
      cJSON           *entry = cJSON_CreateObject();

      cJSON_AddItemToArray(list, entry);
      cJSON_AddNumberToObject(entry, "trajectory", (double)f->trajectory);
      if (f->frame >= 0) cJSON_AddNumberToObject(entry, "frame", (double)f->frame);
      if (f->other >= 0) cJSON_AddNumberToObject(entry, "same_as", (double)f->other);
      if (f->field >= 0) cJSON_AddStringToObject(entry, "field", p->field[f->field].name);
      if (k == EK_FLAW_FROZEN)
        cJSON_AddBoolToObject(entry, "zero", f->zero);
      else if (k != EK_FLAW_DUPLICATE)
        AddNumber(entry, k == EK_FLAW_NONFINITE ? "values" : k == EK_FLAW_MASS ? "drift" : "value", f->value);
    }
  }
}

static PetscErrorCode WriteJson(EkInspection p)
{
  const EkDataInfo *d = p->info;
  const PetscInt64  n[3] = {d->n[0], d->n[1], d->n[2]};
  cJSON            *json = cJSON_CreateObject();
  char             *text;
  FILE             *file;
  int               failed;

  PetscFunctionBegin;
  cJSON_AddStringToObject(json, "file", p->options.file);
  cJSON_AddNumberToObject(json, "bytes", (double)p->contents->bytes);
  cJSON_AddStringToObject(json, "family", d->family);
  cJSON_AddNumberToObject(json, "trajectories", (double)d->samples);
  cJSON_AddNumberToObject(json, "missing", (double)p->missing);
  cJSON_AddNumberToObject(json, "frames", (double)d->frames);
  AddShape(json, "grid", d->dim, n);
  cJSON_AddBoolToObject(json, "finished", !p->partial);
  cJSON_AddBoolToObject(json, "sound", p->sound);
  AddContents(json, p->contents);
  AddFields(json, p);
  AddDrifts(json, p);
  AddFlaws(json, p);
  text = cJSON_Print(json);
  cJSON_Delete(json);
  EkCheckAlloc(text, "the report as JSON");
  file = fopen(p->options.out, "w");
  failed = !file || fprintf(file, "%s\n", text) < 0;
  if (file) failed |= fclose(file);
  cJSON_free(text);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "inspect_out: cannot write '%s': %s", p->options.out,
             strerror(errno));
  PetscFunctionReturn(0);
}

PetscErrorCode EkInspectionWrite(EkInspection p)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(p->run, p->run->comm, p->run->rank == 0 ? WriteJson(p) : 0));
  PetscFunctionReturn(0);
}
