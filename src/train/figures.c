/* Error figures for people and for programs: the table on the screen, the JSON of summary.json and evaluate.json. */
#include "trainer.h"
#include <cJSON.h>
#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- on the screen ---------------------------------------------------------------------------------------------- */

static const char *Figure(double value, char text[32])
{
  if (isnan(value))
    snprintf(text, 32, "-");
  else
    snprintf(text, 32, "%.6g", value);
  return text;
}

/* Mean over the files that have a test set: of the whole rollout, of single steps. */
static void MeanRelative(int n, const EkSetFigures sets[], double *full, double *step)
{
  double count = 0;

  *full = *step = 0;
  for (int k = 0; k < n; k++) {
    if (!sets[k].samples) continue;
    count++;
    *full += sets[k].relative;
    *step += sets[k].relative_step;
  }
  *full = count > 0 ? *full / count : NAN;
  *step = count > 0 ? *step / count : NAN;
}

static void PrintSets(int n, const EkSetFigures sets[])
{
  char a[32], b[32], c[32];

  printf("%-32s %8s %14s %14s %14s\n", "test set of", "samples", "nRMSE", "RMSE", "L2RE");
  for (int k = 0; k < n; k++) {
    printf("%-32s %8d %14s %14s %14s\n", sets[k].name, (int)sets[k].samples, Figure(sets[k].predicted.nRMSE, a),
           Figure(sets[k].predicted.RMSE, b), Figure(sets[k].relative, c));
  }
}

PetscErrorCode EkFiguresPrint(EkRun run, const EkFigures *predicted, const EkFigures *published, int n, const EkSetFigures sets[])
{
  double full, step;
  char   a[32], b[32];

  PetscFunctionBegin;
  if (run->rank) PetscFunctionReturn(0);
  MeanRelative(n, sets, &full, &step);
  printf("%-12s %16s %16s\n", n > 1 ? "mean of sets" : "test set", "predicted frames", "all frames");
#define EK_PRINT_FIGURE(field, name) printf("%-12s %16s %16s\n", name, Figure(predicted->field, a), Figure(published->field, b));
  EK_FIGURES(EK_PRINT_FIGURE)
#undef EK_PRINT_FIGURE
  printf("%-12s %16s (mean of single steps %s)\n", "L2RE", Figure(full, a), Figure(step, b));
  if (n > 1) PrintSets(n, sets);
  PetscFunctionReturn(0);
}

/* ---- in a file -------------------------------------------------------------------------------------------------- */

/* A figure that is not defined is null. */
static void AddNumber(cJSON *object, const char *name, double value)
{
  if (isnan(value))
    cJSON_AddNullToObject(object, name);
  else
    cJSON_AddNumberToObject(object, name, value);
}

static void AddFigures(cJSON *json, const char *name, const EkFigures *figures)
{
  cJSON *object = cJSON_AddObjectToObject(json, name);

#define EK_ADD(field, key) AddNumber(object, key, figures->field);
  EK_FIGURES(EK_ADD)
#undef EK_ADD
}

static void AddRelative(cJSON *json, double full, double step_mean, const EkSetFigures *set)
{
  cJSON *object = cJSON_AddObjectToObject(json, "L2RE"), *steps;

  AddNumber(object, "full", full);
  AddNumber(object, "step_mean", step_mean);
  if (!set || !set->samples) return;
  steps = cJSON_AddArrayToObject(object, "steps");
  for (int i = 0; i < set->steps; i++)
    cJSON_AddItemToArray(steps, isnan(set->step[i]) ? cJSON_CreateNull() : cJSON_CreateNumber(set->step[i]));
}

static void AddSets(cJSON *json, int n, const EkSetFigures sets[])
{
  cJSON *all = cJSON_AddObjectToObject(json, "sets");

  for (int k = 0; k < n; k++) {
    cJSON *one = cJSON_AddObjectToObject(all, sets[k].name);

    cJSON_AddNumberToObject(one, "samples", (double)sets[k].samples);
    AddFigures(one, "metrics", &sets[k].predicted);
    AddFigures(one, "metrics_published", &sets[k].published);
    AddRelative(one, sets[k].relative, sets[k].relative_step, &sets[k]);
  }
}

PetscErrorCode EkFiguresWrite(const char *path, const EkFigures *predicted, const EkFigures *published, int n,
                              const EkSetFigures sets[], cJSON *json)
{
  double full, step;
  char  *text;
  FILE  *file;
  int    failed;

  PetscFunctionBegin;
  MeanRelative(n, sets, &full, &step);
  AddFigures(json, "metrics", predicted);
  AddFigures(json, "metrics_published", published);
  AddRelative(json, full, step, n == 1 ? &sets[0] : NULL);
  if (n > 1) AddSets(json, n, sets);
  text = cJSON_Print(json);
  file = fopen(path, "w");
  failed = !file || fprintf(file, "%s\n", text) < 0;
  if (file) failed |= fclose(file);
  cJSON_free(text);
  cJSON_Delete(json);
  PetscCheck(!failed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "out_dir: cannot write '%s': %s", path, strerror(errno));
  PetscFunctionReturn(0);
}
