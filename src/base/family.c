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
