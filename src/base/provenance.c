#include "evenkeel/base.h"
#include <cJSON.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef EK_GIT_VERSION
#define EK_GIT_VERSION "unknown"
#endif
#ifndef EK_BUILD_FLAGS
#define EK_BUILD_FLAGS "unknown"
#endif

extern char **environ;

const char *EkVersion(void)
{
  return EK_GIT_VERSION;
}

static void AddCommandLine(cJSON *json, EkRun run)
{
  cJSON *words = cJSON_AddArrayToObject(json, "command_line");

  for (int i = 0; i < run->raw_argc; i++) cJSON_AddItemToArray(words, cJSON_CreateString(run->raw_argv[i]));
}

static void AddSlurm(cJSON *json)
{
  cJSON *slurm = cJSON_AddObjectToObject(json, "slurm");

  for (char **entry = environ; *entry; entry++) {
    const char *equals = strchr(*entry, '=');

    if (equals && !strncmp(*entry, "SLURM_", 6) && equals - *entry < EK_NAME) {
      char name[EK_NAME];

      memcpy(name, *entry, (size_t)(equals - *entry));
      name[equals - *entry] = 0;
      cJSON_AddStringToObject(slurm, name, equals + 1);
    }
  }
}

static PetscErrorCode AddHosts(cJSON *json, EkRun run, const char *hosts)
{
  cJSON *list = cJSON_AddArrayToObject(json, "hosts");

  PetscFunctionBegin;
  for (int i = 0; i < run->size; i++) cJSON_AddItemToArray(list, cJSON_CreateString(hosts + (size_t)i * EK_NAME));
  PetscFunctionReturn(0);
}

static PetscErrorCode AddLibraries(cJSON *json)
{
  cJSON *libraries = cJSON_AddObjectToObject(json, "libraries");
  char   text[MPI_MAX_LIBRARY_VERSION_STRING];
  int    length;

  PetscFunctionBegin;
  PetscCall(PetscGetVersion(text, sizeof(text)));
  cJSON_AddStringToObject(libraries, "petsc", text);
  PetscCallMPI(MPI_Get_library_version(text, &length));
  cJSON_AddStringToObject(libraries, "mpi", text);
  cJSON_AddStringToObject(libraries, "cjson", cJSON_Version());
  if (EkBlasIsOpenBlas()) cJSON_AddStringToObject(libraries, "blas", EkBlasConfig());
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteJson(EkRun run, const char *dir, PetscInt data, PetscInt space, const char *hosts)
{
  cJSON    *json = cJSON_CreateObject(), *mesh;
  char      path[EK_PATH], stamp[EK_NAME], *text;
  FILE     *file;
  time_t    now = time(NULL);
  struct tm utc;
  PetscBool written;

  PetscFunctionBegin;
  strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  cJSON_AddStringToObject(json, "version", EkVersion());
  cJSON_AddStringToObject(json, "build_flags", EK_BUILD_FLAGS);
  cJSON_AddStringToObject(json, "started", stamp);
  cJSON_AddStringToObject(json, "deck", run->deck);
  AddCommandLine(json, run);
  mesh = cJSON_AddObjectToObject(json, "mesh");
  cJSON_AddNumberToObject(mesh, "data", (double)data);
  cJSON_AddNumberToObject(mesh, "space", (double)space);
  PetscCall(AddHosts(json, run, hosts));
  PetscCall(AddLibraries(json));
  AddSlurm(json);
  text = cJSON_Print(json);
  cJSON_Delete(json);
  PetscCall(PetscSNPrintf(path, sizeof(path), "%s/run.json", dir));
  file = fopen(path, "w");
  written = (PetscBool)(file && fputs(text, file) >= 0);
  if (file && fclose(file)) written = PETSC_FALSE;
  cJSON_free(text);
  PetscCheck(written, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "out_dir: cannot write '%s'", path);
  PetscFunctionReturn(0);
}

PetscErrorCode EkProvenanceWrite(EkRun run, const char *dir, PetscInt mesh_data, PetscInt mesh_space)
{
  char           mine[EK_NAME] = "", *hosts = NULL;
  PetscErrorCode failed = 0;

  PetscFunctionBegin;
  gethostname(mine, sizeof(mine) - 1);
  if (run->rank == 0) PetscCall(PetscMalloc1((size_t)run->size * EK_NAME, &hosts));
  PetscCallMPI(MPI_Gather(mine, EK_NAME, MPI_CHAR, hosts, EK_NAME, MPI_CHAR, 0, run->comm));
  if (run->rank == 0) failed = WriteJson(run, dir, mesh_data, mesh_space, hosts);
  PetscCall(PetscFree(hosts));
  PetscCall(EkAgree(run, run->comm, failed));
  PetscFunctionReturn(0);
}
