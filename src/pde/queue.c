#include "queue.h"

enum { NEXT, DONE, COUNTERS };

struct EkQueue_ {
  PetscInt64  total;
  PetscBool   shared;
  MPI_Win     window;
  PetscInt64 *counter; /* rank 0's are the ones that count */
};

/* Some MPI installations have one-sided communication within a node alone, and say no more than that the window is invalid. */
static PetscErrorCode ShareCounters(MPI_Comm comm, EkQueue queue)
{
  PetscMPIInt rank;
  int         status;

  PetscFunctionBegin;
  PetscCallMPI(MPI_Comm_rank(comm, &rank));
  status = MPI_Win_allocate(rank == 0 ? COUNTERS * sizeof(PetscInt64) : 0, sizeof(PetscInt64), MPI_INFO_NULL, comm,
                            &queue->counter, &queue->window);
  PetscCheck(status == MPI_SUCCESS, comm, PETSC_ERR_SUP,
             "this MPI has no one-sided communication between these ranks (MPI_Win_allocate); Debian's Open MPI on several "
             "nodes: export OMPI_MCA_osc=^ucx");
  PetscCallMPI(MPI_Win_lock_all(0, queue->window));
  if (rank == 0) queue->counter[NEXT] = queue->counter[DONE] = 0;
  PetscCallMPI(MPI_Win_sync(queue->window));
  PetscCallMPI(MPI_Barrier(comm));
  PetscFunctionReturn(0);
}

PetscErrorCode EkQueueCreate(MPI_Comm comm, PetscBool shared, PetscInt total, EkQueue *out)
{
  EkQueue queue;

  PetscFunctionBegin;
  PetscCall(PetscNew(&queue));
  queue->total = total;
  queue->shared = shared;
  if (shared)
    PetscCall(ShareCounters(comm, queue));
  else
    PetscCall(PetscCalloc1(COUNTERS, &queue->counter));
  *out = queue;
  PetscFunctionReturn(0);
}

/* Raises a counter; what it was before */
static PetscErrorCode Raise(EkQueue queue, int which, PetscInt64 by, PetscInt64 *before)
{
  PetscFunctionBegin;
  if (queue->shared) {
    PetscCallMPI(MPI_Fetch_and_op(&by, before, MPIU_INT64, 0, which, MPI_SUM, queue->window));
    PetscCallMPI(MPI_Win_flush(0, queue->window));
  } else {
    *before = queue->counter[which];
    queue->counter[which] += by;
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkQueueNext(EkQueue queue, PetscInt *item)
{
  PetscInt64 next;

  PetscFunctionBegin;
  PetscCall(Raise(queue, NEXT, 1, &next));
  *item = next < queue->total ? (PetscInt)next : -1;
  PetscFunctionReturn(0);
}

PetscErrorCode EkQueueStop(EkQueue queue)
{
  PetscInt64 before;

  PetscFunctionBegin;
  PetscCall(Raise(queue, NEXT, queue->total, &before));
  PetscFunctionReturn(0);
}

PetscErrorCode EkQueueDone(EkQueue queue)
{
  PetscInt64 before;

  PetscFunctionBegin;
  PetscCall(Raise(queue, DONE, 1, &before));
  PetscFunctionReturn(0);
}

PetscErrorCode EkQueueCountDone(EkQueue queue, PetscInt *done)
{
  PetscInt64 count;

  PetscFunctionBegin;
  PetscCall(Raise(queue, DONE, 0, &count));
  *done = (PetscInt)count;
  PetscFunctionReturn(0);
}

PetscErrorCode EkQueueDestroy(EkQueue *queue)
{
  PetscFunctionBegin;
  if (!*queue) PetscFunctionReturn(0);
  if ((*queue)->shared) {
    PetscCallMPI(MPI_Win_unlock_all((*queue)->window));
    PetscCallMPI(MPI_Win_free(&(*queue)->window));
  } else
    PetscCall(PetscFree((*queue)->counter));
  PetscCall(PetscFree(*queue));
  PetscFunctionReturn(0);
}
