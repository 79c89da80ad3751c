#include "evenkeel/mesh.h"
#include <string.h>
#include <stddef.h>

/* A node's worth of ranks: up to so many exchange the pieces of a scattered sum directly. */
#define EXCHANGE 16

static const EkMember shard_row[] = {
    [EK_SHARD_NONE] = {"none", "every rank updates all parameters"},
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
  PetscCheck(options->space == 1, run->comm, PETSC_ERR_SUP, "mesh_space: %d ranks a sample are not supported yet, only 1",
             (int)options->space);
  PetscCheck(data * options->space == run->size, run->comm, PETSC_ERR_USER_INPUT,
             "mesh_data %d x mesh_space %d does not match the %d ranks of this run", (int)data, (int)options->space, run->size);
  PetscCall(PetscNew(&mesh));
  mesh->run = run;
  mesh->world = run->comm;
  mesh->ndata = (PetscMPIInt)data;
  mesh->nspace = (PetscMPIInt)options->space;
  mesh->idata = run->rank / mesh->nspace;
  mesh->ispace = run->rank % mesh->nspace;
  mesh->shard = (EkShard)options->shard;
  mesh->exchange = EXCHANGE;
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

PetscErrorCode EkSliceCounts(PetscInt64 n, PetscInt64 parts, PetscInt64 most, PetscInt64 unit, PetscMPIInt count[],
                             PetscMPIInt first[])
{
  PetscFunctionBegin;
  PetscCheck(PetscMin(n, most) * unit <= PETSC_MPI_INT_MAX, PETSC_COMM_SELF, PETSC_ERR_ARG_OUTOFRANGE,
             "%lld values exceed one message", (long long)(PetscMin(n, most) * unit));
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

/* Messages of about this many values: they stay in cache while they are summed, and MPI takes as much room again, or
   twice that. */
#define CHUNK ((size_t)1 << 18)

PetscErrorCode EkMeshSum(EkMesh mesh, size_t n, float *values)
{
  PetscFunctionBegin;
  if (mesh->ndata == 1) PetscFunctionReturn(0);
  for (size_t i = 0; i < n; i += CHUNK) {
    PetscCallMPI(
        MPI_Allreduce(MPI_IN_PLACE, values + i, (PetscMPIInt)(n - i < CHUNK ? n - i : CHUNK), MPI_FLOAT, MPI_SUM, mesh->data));
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

/* How much of a slice of `count` values the piece from `at` on holds. */
static PetscMPIInt PieceOf(PetscMPIInt count, size_t at, size_t piece)
{
  return (PetscMPIInt)((size_t)count > at ? PetscMin((size_t)count - at, piece) : 0);
}

/* A sum that is scattered, piece by piece. */
typedef struct {
  PetscMPIInt *count, *start;          /* every rank's slice */
  PetscMPIInt *send, *from, *get, *to; /* of one piece */
  float       *room;                   /* a piece of every rank */
} Scatter;

/* Each rank gets what the others have for its slice and adds it in the order of ranks. */
static PetscErrorCode ExchangePiece(EkMesh mesh, Scatter *s, size_t at, size_t piece, float *values)
{
  const int         me = mesh->idata;
  const PetscMPIInt mine = PieceOf(s->count[me], at, piece);

  PetscFunctionBegin;
  for (int i = 0; i < mesh->ndata; i++) {
    s->send[i] = i == me ? 0 : PieceOf(s->count[i], at, piece);
    s->from[i] = s->start[i] + (s->send[i] ? (PetscMPIInt)at : 0);
    s->get[i] = i == me ? 0 : mine;
    s->to[i] = i * mine;
  }
  PetscCallMPI(MPI_Alltoallv(values, s->send, s->from, MPI_FLOAT, s->room, s->get, s->to, MPI_FLOAT, mesh->data));
  for (int i = 0; i < mesh->ndata; i++)
    if (s->get[i]) PetscCallMPI(MPI_Reduce_local(s->room + s->to[i], values + s->start[me] + at, mine, MPI_FLOAT, MPI_SUM));
  PetscFunctionReturn(0);
}

/* MPI wants the slices' pieces one after the other. */
static PetscErrorCode ReducePiece(EkMesh mesh, Scatter *s, size_t at, size_t piece, float *values)
{
  const int me = mesh->idata;
  float    *packed = s->room;

  PetscFunctionBegin;
  for (int i = 0; i < mesh->ndata; i++) {
    s->send[i] = PieceOf(s->count[i], at, piece);
    if (s->send[i]) memcpy(packed, values + s->start[i] + at, (size_t)s->send[i] * sizeof(float));
    packed += s->send[i];
  }
  PetscCallMPI(MPI_Reduce_scatter(s->room, values + s->start[me] + PetscMin(at, (size_t)s->count[me]), s->send, MPI_FLOAT,
                                  MPI_SUM, mesh->data));
  PetscFunctionReturn(0);
}

/* Among few ranks every message goes to its end at once: that saves the copies Open MPI's reduce-scatter makes, which on one node
   take longer than the sums (31 MB on two ranks 6 ms for 29). Among many these messages would meet on the links; there MPI's own
   halving wins. */
PetscErrorCode EkMeshReduceScatter(EkMesh mesh, size_t n, float *values)
{
  const size_t piece = PetscMax(CHUNK / (size_t)mesh->ndata, 1);
  size_t       longest = 0;
  Scatter      s;

  PetscFunctionBegin;
  if (mesh->ndata == 1) PetscFunctionReturn(0);
  PetscCall(SliceCounts(mesh, n, &s.count, &s.start));
  PetscCall(PetscMalloc4(mesh->ndata, &s.send, mesh->ndata, &s.from, mesh->ndata, &s.get, mesh->ndata, &s.to));
  PetscCall(PetscMalloc1((size_t)mesh->ndata * piece, &s.room));
  for (int i = 0; i < mesh->ndata; i++) longest = PetscMax(longest, (size_t)s.count[i]);
  for (size_t at = 0; at < longest; at += piece)
    PetscCall((mesh->ndata <= mesh->exchange ? ExchangePiece : ReducePiece)(mesh, &s, at, piece, values));
  PetscCall(PetscFree(s.room));
  PetscCall(PetscFree4(s.send, s.from, s.get, s.to));
  PetscCall(PetscFree2(s.count, s.start));
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
