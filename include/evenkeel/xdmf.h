/* Descriptions (XDMF 3, XML) of HDF5 files that ParaView and VisIt open; the numbers stay in the HDF5 file, which is named
   relative to the description. NAME.hdf5 and NAME.h5 are described by NAME.xdmf beside them, one grid a frame; the first four
   trajectories are arrays of that grid. */
#pragma once
#include "evenkeel/dataset.h"

/* A file as EkDataFile writes it (datasets at the root over (trajectory, frame, grid) or (trajectory, grid)). Rank 0 works.
   Collective on run->comm. Errors: the file cannot be read or has no such datasets, the description cannot be written. */
PetscErrorCode EkXdmfWriteFile(EkRun run, const char *path);
/* What EkPredictionsWrite wrote, n trajectories: prediction, target and error of every field. Not collective. */
PetscErrorCode EkXdmfWritePredictions(const char *path, const EkDataInfo *info, PetscInt n);
