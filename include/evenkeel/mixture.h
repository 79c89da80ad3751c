/* Samples as a network gets them: of one data file, or of a weighted mixture of several, each brought to one grid and one number
   of fields and cut into windows of frames. Source: DPOT's mixed data set (models-and-data 5.5); a single file as it is, is the
   simplest case. */
#pragma once
#include "evenkeel/dataset.h"

#define EK_SETS_MAX EK_INTS_MAX

typedef enum {
  EK_MASK_NONE, /* everything counts, as published: fields that were added are trained to be one */
  EK_MASK_DATA  /* only what the file has: its fields, and of a grid that was refined about as many points as it had */
} EkMask;
extern const EkFamily EkMaskFamily; /* none data: rows in the order of EkMask */

typedef struct {
  EkDataOptions each; /* what holds for every file; its file, test and train are set file by file, the cache is shared out */
  char          files[EK_PATHS]; /* comma-separated */
  EkInts        test, train;     /* of each file, or one number for all */
  EkInts        weights;         /* how many times an epoch visits each training trajectory of a file; none: once */
  PetscInt      resolution;      /* points along every axis all samples are brought to, bilinearly; 0: as they are */
  PetscInt      channels;        /* fields all samples have, filled up with ones; 0: as many as the file with most of them */
  PetscInt      window; /* frames of a training sample, cut out of the t_train at random in every epoch; 0: all of them */
  int           mask;   /* EkMask of the training loss */
  PetscReal     noise;  /* of the given frames in training: standard deviation over the norm of each field over them */
} EkMixtureOptions;
extern const EkKeyTable EkDataKeys;

typedef struct {
  char              name[EK_NAME]; /* the file's, without folder and ending; numbered where two are alike */
  EkDataset         dataset;
  const EkDataInfo *info;          /* as the file has it: fields, frames, trajectories; grid after reduced_resolution */
  PetscInt          weight, first; /* its training samples are [first, first + weight * info->count[EK_TRAIN]) of the mixture's */
  PetscBool         as_it_is;      /* neither resized nor filled up */
  float *mask; /* (C, points) of ones and zeros: what EK_MASK_DATA counts; NULL where that is everything and nobody asks */
} EkMixtureSet;

typedef struct EkMixture_ *EkMixture;

/* Opens every file. Collective on run->comm. seed: of windows. Errors, one line each, besides EkDatasetOpen's: lists of another
   length than the files', files of different dimension, grids or lengths of training samples that differ where nothing says to
   what to bring them, more fields than data_channels, a window that does not fit, normalisation of files whose fields differ. */
PetscErrorCode EkMixtureOpen(EkRun run, const EkMixtureOptions *options, PetscInt seed, EkMixture *mixture);
/* What a network sees: n, fields and coordinates after resizing and filling up, t_train the frames of a training sample, frames
   those of the longest test trajectory, counts and samples over all files (weights included). Family and names are those of the
   file with most fields. */
PetscErrorCode EkMixtureGetInfo(EkMixture mixture, const EkDataInfo **info);
PetscErrorCode EkMixtureGetSets(EkMixture mixture, int *n, const EkMixtureSet **sets);
/* The set a training sample is from. */
int EkMixtureSetOf(EkMixture mixture, PetscInt sample);

/* Constants of data_normalize, as EkDatasetMeasureNorm and EkDatasetSetNorm: the same for all files, over the frames of their
   training sets, each as often as data_weights has it; scale is 1 where the deviation is 0 but for float's rounding. */
PetscErrorCode EkMixtureMeasureNorm(EkMixture mixture, double mean[], double scale[]);
PetscErrorCode EkMixtureSetNorm(EkMixture mixture, const double mean[], const double scale[]);

/* Floats of a training sample: (t_train, C, stride), and with EK_MASK_DATA (C, stride) of its mask. */
size_t EkMixtureSampleFloats(EkMixture mixture, size_t stride);
/* Training samples index[0..n) as epoch `epoch` has them -> out (n, sample floats). Which window a sample is cut to depends on
   seed, epoch and index alone. Not collective. Errors as EkDatasetReadFrames. */
PetscErrorCode EkMixtureReadTraining(EkMixture mixture, PetscInt epoch, PetscInt n, const PetscInt index[], size_t stride,
                                     float *out);
/* Tells the system that these come next. Not collective, returns at once. */
PetscErrorCode EkMixturePrefetchTraining(EkMixture mixture, PetscInt epoch, PetscInt n, const PetscInt index[]);
/* Test trajectories index[0..n) of one set, whole -> out (n, frames of that set, C, stride). Not collective. */
PetscErrorCode EkMixtureReadTest(EkMixture mixture, int set, PetscInt n, const PetscInt index[], size_t stride, float *out);
/* Keys of the noise of training samples: of seed, epoch and index alone. */
void EkMixtureKeys(EkMixture mixture, PetscInt epoch, PetscInt n, const PetscInt index[], uint64_t keys[]);
/* Bytes this rank has read so far. */
PetscInt64     EkMixtureBytesRead(EkMixture mixture);
PetscErrorCode EkMixtureDestroy(EkMixture *mixture);
