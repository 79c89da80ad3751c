/* What a continued run does otherwise than the one it continues: rates, rules, data changed between two jobs are allowed, and
 * easily overlooked. */
#include "trainer.h"
#include <string.h>

/* Keys that leave results as they are, and blocks of such keys. */
static const char *const free_key[] = {"train_resume",    "train_max_wall", "train_eval_interval", "train_checkpoint_interval",
                                       "train_recompute", "model_weights",  "model_load"};
static const char *const free_block[] = {"mesh", "evaluate", "out"};

/* A line "  key: value" in its block. */
typedef struct {
  char        name[2 * EK_NAME];
  int         length;
  const char *value;
} Setting;

static PetscBool IsFree(const char *block, const char *name)
{
  for (size_t i = 0; i < sizeof(free_block) / sizeof(free_block[0]); i++)
    if (!strcmp(block, free_block[i])) return PETSC_TRUE;
  for (size_t i = 0; i < sizeof(free_key) / sizeof(free_key[0]); i++)
    if (!strcmp(name, free_key[i])) return PETSC_TRUE;
  return PETSC_FALSE;
}

/* The next line's setting, *text behind it; false at the end. `block` is the one lines belong to. */
static PetscBool NextSetting(const char **text, char block[EK_NAME], Setting *s)
{
  while (**text) {
    const char *line = *text, *end = strchr(line, '\n'), *colon = strchr(line, ':');

    if (!end) end = line + strlen(line);
    *text = *end ? end + 1 : end;
    if (!colon || colon > end) continue;
    if (*line != ' ') {
      snprintf(block, EK_NAME, "%.*s", (int)(colon - line), line);
      continue;
    }
    while (*line == ' ') line++;
    snprintf(s->name, sizeof(s->name), "%s_%.*s", block, (int)(colon - line), line);
    s->value = colon + 1 + (colon[1] == ' ');
    s->length = (int)(end - s->value);
    if (!IsFree(block, s->name)) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}

static PetscBool Find(const char *text, const char *name, Setting *s)
{
  char block[EK_NAME] = "";

  while (NextSetting(&text, block, s))
    if (!strcmp(s->name, name)) return PETSC_TRUE;
  return PETSC_FALSE;
}

static PetscBool Same(const Setting *a, const Setting *b)
{
  return (PetscBool)(a->length == b->length && !strncmp(a->value, b->value, (size_t)a->length));
}

PetscBool EkDeckBlockDiffers(const char *before, const char *now, const char *block)
{
  const char *const text[2] = {before, now};
  Setting           s, other;

  for (int i = 0; i < 2; i++) {
    const char *rest = text[i];
    char        in[EK_NAME] = "";

    while (NextSetting(&rest, in, &s)) {
      if (!strcmp(in, block) && !(Find(text[1 - i], s.name, &other) && Same(&s, &other))) return PETSC_TRUE;
    }
  }
  return PETSC_FALSE;
}

void EkDeckDifferences(const char *before, const char *now, PetscBool epochs_matter, FILE *out)
{
  const char *between = "continues with other settings: ", *text;
  char        block[EK_NAME] = "";
  Setting     s, other;

  if (!*before) return; /* a checkpoint from before there was a deck in it */
  for (text = now; NextSetting(&text, block, &s);) {
    const PetscBool had = Find(before, s.name, &other);

    if (had && Same(&s, &other)) continue;
    if (!strcmp(s.name, "train_epochs") && !epochs_matter) continue;
    if (had)
      fprintf(out, "%s%s %.*s (was %.*s)", between, s.name, s.length, s.value, other.length, other.value);
    else
      fprintf(out, "%s%s %.*s (was not set)", between, s.name, s.length, s.value);
    between = ", ";
  }
  *block = 0;
  for (text = before; NextSetting(&text, block, &s);) {
    if (Find(now, s.name, &other)) continue;
    fprintf(out, "%s%s is not set (was %.*s)", between, s.name, s.length, s.value);
    between = ", ";
  }
  if (!strcmp(between, ", ")) fprintf(out, "\n");
}
