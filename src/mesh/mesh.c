#include "evenkeel/mesh.h"
#include <string.h>
#include <stddef.h>

static const EkMember shard_row[] = {
    [EK_SHARD_NONE]      = {"none", "every rank updates all parameters"},
    [EK_SHARD_OPTIMIZER] = {"optimizer", "optimizer state is divided over the data axis"},
};
const EkFamily EkShardFamily = EK_FAMILY("mesh_shard", shard_row);

#define FIELD(name) offsetof(EkMeshOptions, name)
static const EkKey mesh_key[] = {
    {"mesh_data", EK_KEY_INT, FIELD(data), "0", 0, 1 << 20, NULL, "ranks", "ranks along the data axis; 0: all there are"},
    {"mesh_space", EK_KEY_INT, FIELD(space), "1", 1, 1 << 20, NULL, "ranks", "ranks that share a sample"},
    {"mesh_shard", EK_KEY_CHOICE, FIELD(shard), "none", 0, 0, &EkShardFamily, NULL, "what is divided over the data axis"},
};
#undef FIELD
const EkKeyTable EkMeshKeys = EK_KEYS("mesh", mesh_key);

PetscErrorCode EkMeshCreate(EkRun run, const EkMeshOptions *options, EkMesh *out)
{
  EkMesh         mesh;
  const PetscInt data = options->data ? options->data : run->size / options->space;

  PetscFunctionBegin;
  PetscCheck(options->space == 1, run->comm, PETSC_ERR_SUP, "mesh_space: %d ranks a sample are not supported yet, only 1", (int)options->space);
  PetscCheck(data * options->space == run->size, run->comm, PETSC_ERR_USER_INPUT, "mesh_data %d x mesh_space %d does not match the %d ranks of this run", (int)data, (int)options->space, run->size);
  PetscCall(PetscNew(&mesh));
  mesh->run    = run;
  mesh->world  = run->comm;
  mesh->ndata  = (PetscMPIInt)data;
  mesh->nspace = (PetscMPIInt)options->space;
  mesh->idata  = run->rank / mesh->nspace;
  mesh->ispace = run->rank % mesh->nspace;
  mesh->shard  = (EkShard)options->shard;
  PetscCallMPI(MPI_Comm_split(run->comm, mesh->ispace, run->rank, &mesh->data));
  PetscCallMPI(MPI_Comm_split(run->comm, mesh->idata, run->rank, &mesh->space));
  *out = mesh;
  PetscFunctionReturn(0);
}

PetscErrorCode EkMeshDestroy(EkMesh *mesh)
{
  PetscFunctionBegin;
  if (!*mesh) PetscFunctionReturn(0);
  PetscCallMPI(MPI_Comm_free(&(*mesh)->data));
  PetscCallMPI(MPI_Comm_free(&(*mesh)->space));
  PetscCall(PetscFree(*mesh));
  PetscFunctionReturn(0);
}

void EkSlice(PetscInt64 n, PetscInt64 parts, PetscInt64 i, PetscInt64 *lo, PetscInt64 *hi)
{
  const PetscInt64 each = n / parts, extra = n % parts;

  *lo = i * each + (i < extra ? i : extra);
  *hi = *lo + each + (i < extra);
}

PetscErrorCode EkSliceCounts(PetscInt64 n, PetscInt64 parts, PetscInt64 most, PetscInt64 unit, PetscMPIInt count[], PetscMPIInt first[])
{
  PetscFunctionBegin;
  PetscCheck(PetscMin(n, most) * unit <= PETSC_MPI_INT_MAX, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE, "%lld values exceed one message", (long long)(PetscMin(n, most) * unit));
  for (PetscInt64 i = 0; i < parts; i++) {
    PetscInt64 lo, hi;

    EkSlice(n, parts, i, &lo, &hi);
    first[i] = (PetscMPIInt)(PetscMin(lo, most) * unit);
    count[i] = (PetscMPIInt)(PetscMin(hi, most) * unit) - first[i];
  }
  PetscFunctionReturn(0);
}

/* In pairs of floats, so that a complex number is never cut. */
void EkMeshSlice(EkMesh mesh, size_t n, int i, size_t *lo, size_t *hi)
{
  PetscInt64 first, end;

  EkSlice((PetscInt64)(n / 2), mesh->ndata, i, &first, &end);
  *lo = 2 * (size_t)first;
  *hi = i == mesh->ndata - 1 ? n : 2 * (size_t)end;
}

/* Messages of about this many values: they stay in cache while they are summed, and MPI takes as much room again, or twice that. */
#define CHUNK ((size_t)1 << 18)

PetscErrorCode EkMeshSum(EkMesh mesh, size_t n, float *values)
{
  PetscFunctionBegin;
  if (mesh->ndata == 1) PetscFunctionReturn(0);
  for (size_t i = 0; i < n; i += CHUNK) {
    PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, values + i, (PetscMPIInt)(n - i < CHUNK ? n - i : CHUNK), MPI_FLOAT, MPI_SUM, mesh->data));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkMeshSumDouble(EkMesh mesh, int n, double *values)
{
  PetscFunctionBegin;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, mesh->data));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMeshMaxDouble(EkMesh mesh, int n, double *values)
{
  PetscFunctionBegin;
  PetscCallMPI(MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_MAX, mesh->data));
  PetscFunctionReturn(0);
}

static PetscErrorCode SliceCounts(EkMesh mesh, size_t n, PetscMPIInt **count, PetscMPIInt **start)
{
  size_t lo, hi;

  PetscFunctionBegin;
  PetscCheck(n <= PETSC_MPI_INT_MAX, mesh->world, PETSC_ERR_SUP, "mesh_shard optimizer: %zu parameters exceed one message", n);
  PetscCall(PetscMalloc2(mesh->ndata, count, mesh->ndata, start));
  for (int i = 0; i < mesh->ndata; i++) {
    EkMeshSlice(mesh, n, i, &lo, &hi);
    PetscCall(PetscMPIIntCast((PetscInt)(hi - lo), &(*count)[i]));
    PetscCall(PetscMPIIntCast((PetscInt)lo, &(*start)[i]));
  }
  PetscFunctionReturn(0);
}

/* A piece of every rank's slice from `at` on, one after the other. */
static void PackPieces(EkMesh mesh, size_t n, size_t at, size_t piece, const float *values, float *packed, PetscMPIInt count[])
{
  for (int i = 0; i < mesh->ndata; i++) {
    size_t lo, hi;

    EkMeshSlice(mesh, n, i, &lo, &hi);
    count[i] = (PetscMPIInt)(lo + at < hi ? PetscMin(piece, hi - lo - at) : 0);
    memcpy(packed, values + lo + at, (size_t)count[i] * sizeof(float));
    packed += count[i];
  }
}

PetscErrorCode EkMeshReduceScatter(EkMesh mesh, size_t n, float *values)
{
  const size_t piece = PetscMax(CHUNK / (size_t)mesh->ndata, 1);
  size_t       lo, hi, longest = 0;
  PetscMPIInt *count;
  float       *packed;

  PetscFunctionBegin;
  if (mesh->ndata == 1) PetscFunctionReturn(0);
  for (int i = 0; i < mesh->ndata; i++) {
    EkMeshSlice(mesh, n, i, &lo, &hi);
    longest = PetscMax(longest, hi - lo);
  }
  PetscCall(PetscMalloc1(mesh->ndata, &count));
  PetscCall(PetscMalloc1((size_t)mesh->ndata * piece, &packed));
  EkMeshSlice(mesh, n, mesh->idata, &lo, &hi);
  for (size_t at = 0; at < longest; at += piece) {
    PackPieces(mesh, n, at, piece, values, packed, count);
    PetscCallMPI(MPI_Reduce_scatter(packed, values + PetscMin(lo + at, hi), count, MPI_FLOAT, MPI_SUM, mesh->data));
  }
  PetscCall(PetscFree(packed));
  PetscCall(PetscFree(count));
  PetscFunctionReturn(0);
}

PetscErrorCode EkMeshAllgather(EkMesh mesh, size_t n, float *values)
{
  PetscMPIInt *count, *start;

  PetscFunctionBegin;
  if (mesh->ndata == 1) PetscFunctionReturn(0);
  PetscCall(SliceCounts(mesh, n, &count, &start));
  PetscCallMPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, count, start, MPI_FLOAT, mesh->data));
  PetscCall(PetscFree2(count, start));
  PetscFunctionReturn(0);
}
