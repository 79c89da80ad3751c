/* The parts of a mixture: mixture_keys.c has its keys, mixture.c opens files and finds what all are brought to, mixture_read.c
 * reads. Private. */
#pragma once
#include "dataset.h"
#include "evenkeel/mixture.h"
#include "resample.h"

struct EkMixture_ {
  EkRun            run;
  EkMixtureOptions options;
  PetscInt         seed;
  EkDataInfo       info;
  int              nsets;
  EkMixtureSet     set[EK_SETS_MAX];
  EkResampleAxis   axis[EK_SETS_MAX][3]; /* of sets that are not as they are */
  float           *raw;                  /* a sample as its file has it */
  size_t           raw_floats;
};
