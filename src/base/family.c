#include "evenkeel/base.h"
#include <string.h>

const EkMember *EkFamilyMember(const EkFamily *family, int i)
{
  return (const EkMember *)((const char *)family->rows + (size_t)i * family->stride);
}

int EkFamilyFind(const EkFamily *family, const char *name)
{
  for (int i = 0; i < family->count; i++) {
    if (!strcmp(EkFamilyMember(family, i)->name, name)) return i;
  }
  return -1;
}

PetscErrorCode EkFamilyNames(const EkFamily *family, char *text, size_t length)
{
  PetscFunctionBegin;
  text[0] = 0;
  for (int i = 0; i < family->count; i++) {
    if (i) PetscCall(PetscStrlcat(text, " ", length));
    PetscCall(PetscStrlcat(text, EkFamilyMember(family, i)->name, length));
  }
  PetscFunctionReturn(0);
}

PetscBool EkWordIn(const char *word, const char *words)
{
  const size_t n = strlen(word);

  for (const char *at = words; (at = strstr(at, word)); at += n) {
    if ((at == words || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return PETSC_TRUE;
  }
  return PETSC_FALSE;
}
