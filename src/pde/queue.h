/* Two counters on rank 0 that any rank reads and raises at any time: the next item of a list to be worked on, and how many are
 * done. */
#pragma once
#include "evenkeel/base.h"

typedef struct EkQueue_ *EkQueue;
/* Items 0..total-1. `shared`: more than one rank takes items. Collective on comm. Error: MPI has no
   one-sided communication between them. */
PetscErrorCode EkQueueCreate(MPI_Comm comm, PetscBool shared, PetscInt total, EkQueue *queue);
/* Next item, -1 when there is none left. Not collective. */
PetscErrorCode EkQueueNext(EkQueue queue, PetscInt *item);
/* No rank gets another item. Not collective. */
PetscErrorCode EkQueueStop(EkQueue queue);
/* One more item is done; the count of those done on all ranks. Not collective. */
PetscErrorCode EkQueueDone(EkQueue queue);
PetscErrorCode EkQueueCountDone(EkQueue queue, PetscInt *done);
/* Collective. */
PetscErrorCode EkQueueDestroy(EkQueue *queue);
