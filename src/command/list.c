#include "evenkeel/command.h"
#include "evenkeel/graph.h"
#include <string.h>

static PetscErrorCode PrintFamily(const EkFamily *family)
{
  PetscFunctionBegin;
  printf("\n%s\n", family->name);
  for (int i = 0; i < family->count; i++)
    printf("  %-26s %s\n", EkFamilyMember(family, i)->name, EkFamilyMember(family, i)->help);
  PetscFunctionReturn(0);
}

PetscErrorCode EkCommandList(EkRun run, int *exit_status)
{
  const EkKeyTable *const *table;
  const EkFamily *const   *family;
  int                      ntables, nfamilies;

  PetscFunctionBegin;
  *exit_status = 0;
  PetscCheck(run->argc < 2 || strcmp(run->argv[0], "list"), run->comm, PETSC_ERR_USER_INPUT,
             "list: takes nothing more, '%s' is too much; it shows all there is", run->argv[1]);
  if (run->rank) PetscFunctionReturn(0);
  printf("evenkeel %s\n\ncommands\n", EkVersion());
  for (int i = 0; i < EkCommandFamily.count; i++) {
    const EkCommand *command = (const EkCommand *)EkFamilyMember(&EkCommandFamily, i);

    printf("  %-10s %-42s %s\n", command->member.name, command->usage, command->member.help);
  }
  printf("\nkeys: name, default, meaning [unit] (members). In a deck, a_b is `a: {b: ...}`.\n");
  table = EkAllKeyTables(&ntables);
  for (int i = 0; i < ntables; i++) PetscCall(EkKeysPrint(stdout, table[i]));
  family = EkAllFamilies(&nfamilies);
  for (int i = 0; i < nfamilies; i++) PetscCall(PrintFamily(family[i]));
  printf("\noperators\n");
  for (int i = 0; i < EkOperatorCount(); i++) printf("  %-26s %s\n", EkOperatorMember(i)->name, EkOperatorMember(i)->help);
  PetscFunctionReturn(0);
}
