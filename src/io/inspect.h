/* The parts of an inspection: inspect_trajectory.c looks at one trajectory, inspect.c sends every rank through its share and
   judges, inspect_report.c tells. Private. */
#pragma once
#include "contents.h"
#include "evenkeel/inspect.h"

/* Of the finite values; m2: sum of squared distances from the mean. */
typedef struct {
  double     min, max, mean, m2;
  PetscInt64 n, nonfinite;
} EkMoments;

/* Everything that is kept of one trajectory; travels between ranks as bytes. -1: not so. */
typedef struct {
  PetscInt  trajectory;
  PetscInt  zero, constant;       /* first frame of the zeros, of the equal frames, that the trajectory ends with */
  PetscInt  bad_frame, bad_field; /* first value that is not finite */
  PetscInt  low_frame, low_field; /* first frame with a value not above zero where it must be; the least value there */
  double    low;
  EkDrift   drift[EK_TOTALS]; /* the worst */
  PetscBool jumps;            /* from one edge of the box to the opposite one, more than next to them */
  uint64_t  hash[2];
  EkMoments field[EK_MAX_FIELDS];
} EkFacts;

/* What the trajectories of a file are like. Planes of `points` values in the order (frame, channel). */
typedef struct {
  PetscInt  frames, channels;
  int       dim;
  size_t    n[3], points;
  PetscBool pair;                    /* Darcy: the frames are different fields, not moments in time */
  int       nfields;                 /* channels, or frames of a pair */
  PetscBool positive[EK_MAX_FIELDS]; /* must be above zero */
  PetscBool cfd;
  int       density, pressure, nvelocities, velocity[3]; /* channels */
} EkSubject;

void      EkSubjectInit(const EkDataInfo *info, EkSubject *subject, char name[EK_MAX_FIELDS][EK_NAME]);
EkMoments EkMomentsEmpty(void);
/* The moments of both together. */
EkMoments EkMomentsJoin(EkMoments a, EkMoments b);
/* data (frames, channels, points). drift[k]: largest so far per frame, -1 where there is none; grows. */
void EkTrajectoryExamine(const EkSubject *subject, const float *data, EkFacts *facts, double *const drift[EK_TOTALS]);
