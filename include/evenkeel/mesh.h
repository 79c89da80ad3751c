/* The process mesh: world = data x space. Ranks along `data` hold different samples of a global batch, ranks along `space` hold
   slabs of the same sample (reserved: mesh_space > 1 is refused until the sliced operators exist). All collectives on floats go
   through here. Counts of sums may exceed INT_MAX, those of ReduceScatter and Allgather may not. */
#pragma once
#include "evenkeel/keys.h"

typedef enum { EK_SHARD_NONE, EK_SHARD_OPTIMIZER } EkShard;
typedef struct {
  PetscInt data, space; /* ranks along each axis; data 0: all the ranks there are */
  int      shard;       /* EkShard */
} EkMeshOptions;
extern const EkKeyTable EkMeshKeys;
extern const EkFamily   EkShardFamily;

typedef struct EkMesh_ *EkMesh;
struct EkMesh_ {
  EkRun       run;
  MPI_Comm    world, data, space; /* data: ranks with my place in space; space: ranks with my place in data */
  PetscMPIInt ndata, idata, nspace, ispace;
  EkShard     shard;
  PetscMPIInt exchange; /* EkMeshReduceScatter: up to so many ranks send to each other directly, more use MPI's reduce-scatter */
};

/* Collective on run->comm. Error (on the world): product differs from the world size, space > 1. */
PetscErrorCode EkMeshCreate(EkRun run, const EkMeshOptions *options, EkMesh *mesh);
PetscErrorCode EkMeshDestroy(EkMesh *mesh);

/* Part `i` of `parts` of 0..n-1: [lo, hi), sizes differ by at most one, larger parts first. */
void EkSlice(PetscInt64 n, PetscInt64 parts, PetscInt64 i, PetscInt64 *lo, PetscInt64 *hi);
/* All parts of the first `most` of them, `unit` values each, as MPI's gathers want them: how many, where they begin. Not
   collective. Error: more than an int counts. */
PetscErrorCode EkSliceCounts(PetscInt64 n, PetscInt64 parts, PetscInt64 most, PetscInt64 unit, PetscMPIInt count[],
                             PetscMPIInt first[]);

/* Sums over the data axis, in place. Collective on mesh->data. */
PetscErrorCode EkMeshSum(EkMesh mesh, size_t n, float *values);
PetscErrorCode EkMeshSumDouble(EkMesh mesh, int n, double *values);
PetscErrorCode EkMeshMaxDouble(EkMesh mesh, int n, double *values);
/* Rank i's part [lo, hi) of an arena of n floats that is divided over the data axis; cut between pairs of floats. */
void EkMeshSlice(EkMesh mesh, size_t n, int i, size_t *lo, size_t *hi);
/* values: n floats on every rank; after it, this rank's EkMeshSlice holds the sum, the rest is undefined. */
PetscErrorCode EkMeshReduceScatter(EkMesh mesh, size_t n, float *values);
/* The inverse: every rank's slice is gathered into all n values everywhere. */
PetscErrorCode EkMeshAllgather(EkMesh mesh, size_t n, float *values);
