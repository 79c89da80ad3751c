/* The constants of data_normalize: measured once when a training begins, then carried by its checkpoints and weights. */
#include "trainer.h"
#include "evenkeel/weights.h"
#include <cJSON.h>
#include <math.h>
#include <string.h>

static PetscBool Wanted(EkSession s)
{
  return (PetscBool)(s->deck.data.each.normalize == EK_NORMALIZE_FIELD);
}

PetscErrorCode EkSessionMeasureNorm(EkSession s)
{
  double mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS];

  PetscFunctionBegin;
  if (!Wanted(s)) PetscFunctionReturn(0);
  PetscCall(EkPhaseBegin(s->run, IO));
  PetscCall(EkMixtureMeasureNorm(s->mixture, mean, scale));
  PetscCall(EkMixtureSetNorm(s->mixture, mean, scale));
  PetscCall(EkPhaseEnd(s->run, IO));
  PetscFunctionReturn(0);
}

cJSON *EkSessionNormJson(EkSession s)
{
  const EkDataInfo *info = s->info;
  cJSON            *json, *names;

  if (!Wanted(s)) return NULL;
  json = cJSON_CreateObject();
  names = cJSON_AddArrayToObject(json, "fields");
  for (PetscInt f = 0; f < info->fields; f++) cJSON_AddItemToArray(names, cJSON_CreateString(info->field[f]));
  cJSON_AddItemToObject(json, "mean", cJSON_CreateDoubleArray(info->mean, (int)info->fields));
  cJSON_AddItemToObject(json, "scale", cJSON_CreateDoubleArray(info->scale, (int)info->fields));
  return json;
}

/* The constants of this dataset's fields; false where the text is not about them. */
static PetscBool Parse(const EkDataInfo *info, const cJSON *json, double mean[], double scale[])
{
  const cJSON *names = cJSON_GetObjectItemCaseSensitive(json, "fields"), *means = cJSON_GetObjectItemCaseSensitive(json, "mean"),
              *scales = cJSON_GetObjectItemCaseSensitive(json, "scale");

  if (cJSON_GetArraySize(names) != info->fields) return PETSC_FALSE;
  for (int f = 0; f < (int)info->fields; f++) {
    const cJSON *name = cJSON_GetArrayItem(names, f), *m = cJSON_GetArrayItem(means, f), *s = cJSON_GetArrayItem(scales, f);

    if (!cJSON_IsString(name) || strcmp(name->valuestring, info->field[f])) return PETSC_FALSE;
    if (!cJSON_IsNumber(m) || !cJSON_IsNumber(s) || !(s->valuedouble > 0)) return PETSC_FALSE;
    mean[f] = m->valuedouble;
    scale[f] = s->valuedouble;
  }
  return PETSC_TRUE;
}

PetscErrorCode EkSessionRestoreNorm(EkSession s, const char *path, const char *note)
{
  double    mean[EK_MAX_FIELDS], scale[EK_MAX_FIELDS];
  cJSON    *json;
  PetscBool good;

  PetscFunctionBegin;
  PetscCheck(!note || Wanted(s), s->run->comm, PETSC_ERR_USER_INPUT,
             "data_normalize: '%s' was trained on normalised data, the deck says %s; set it to field", path,
             EkFamilyMember(&EkNormalizeFamily, s->deck.data.each.normalize)->name);
  if (!Wanted(s)) PetscFunctionReturn(0);
  PetscCheck(note, s->run->comm, PETSC_ERR_USER_INPUT,
             "data_normalize: '%s' holds no constants to normalise with: it was trained on the data as they are", path);
  json = cJSON_Parse(note);
  good = Parse(s->info, json, mean, scale);
  cJSON_Delete(json);
  PetscCheck(good, s->run->comm, PETSC_ERR_USER_INPUT,
             "data_normalize: '%s' holds constants of other fields than those read from %s: %s", path, s->deck.data.files, note);
  PetscCall(EkMixtureSetNorm(s->mixture, mean, scale));
  PetscFunctionReturn(0);
}

PetscErrorCode EkSessionLoadNorm(EkSession s)
{
  const char    *path = s->deck.model.weights;
  char          *note = NULL;
  PetscErrorCode code;

  PetscFunctionBegin;
  if (*path) PetscCall(EkWeightsReadNote(s->run, path, EK_NOTE_NORM, &note));
  code = EkSessionRestoreNorm(s, path, note);
  PetscCall(PetscFree(note));
  PetscFunctionReturn(code);
}

PetscErrorCode EkSessionTellNorm(EkSession s)
{
  const char *path = s->deck.model.weights;
  char       *note = NULL;

  PetscFunctionBegin;
  if (!*path || Wanted(s)) PetscFunctionReturn(0);
  PetscCall(EkWeightsReadNote(s->run, path, EK_NOTE_NORM, &note));
  if (note) {
    PetscCall(PetscPrintf(s->run->comm,
                          "notice: '%s' was trained on normalised data, data_normalize is none here: the weights meet values of "
                          "another size\n",
                          path));
  }
  PetscCall(PetscFree(note));
  PetscFunctionReturn(0);
}

PetscErrorCode EkSessionWriteWeights(EkSession s, const char *path)
{
  cJSON         *json = EkSessionNormJson(s);
  char          *text = json ? cJSON_PrintUnformatted(json) : NULL;
  const EkNote   note = {EK_NOTE_NORM, text};
  PetscErrorCode code;

  PetscFunctionBegin;
  code = EkWeightsWriteNoted(s->run, path, s->params->n, s->params->table, s->params->weights, 1, &note);
  cJSON_free(text);
  cJSON_Delete(json);
  PetscFunctionReturn(code);
}

void EkSessionDenormalise(EkSession s, PetscInt frames, const float *from, float *to)
{
  const EkDataInfo *info = s->info;
  const size_t      stride = s->shape.grid.stride;

  for (PetscInt t = 0; t < frames; t++) {
    for (PetscInt f = 0; f < info->fields; f++, from += stride, to += stride) {
      const double mean = info->mean[f], scale = info->scale[f];

      for (size_t i = 0; i < s->shape.grid.points; i++) to[i] = (float)(from[i] * scale + mean);
    }
  }
}
