/* What a data file is and whether it is sound: statistics of every field, trajectories that are not finite, stand still, repeat
   others, are unphysical or, in a periodic box, lose mass. Reads the file once, each rank its share of the trajectories. */
#pragma once
#include "evenkeel/dataset.h"

typedef struct {
  char      file[EK_PATH]; /* not a key: an argument */
  char      out[EK_PATH];  /* JSON with everything; "": none */
  PetscReal mass_drift;    /* CFD: |mass(t) - mass(0)|/mass(0) beyond which a trajectory in a periodic box is wrong */
  PetscInt  frozen;        /* a trajectory whose last so many frames are equal bit by bit is wrong; 0: none is */
  PetscBool progress;      /* not a key: a line every few seconds */
} EkInspectOptions;
extern const EkKeyTable EkInspectKeys;

typedef enum { EK_FLAW_NONFINITE, EK_FLAW_FROZEN, EK_FLAW_DUPLICATE, EK_FLAW_UNPHYSICAL, EK_FLAW_MASS, EK_FLAWS } EkFlaw;
/* What is wrong with one trajectory. Frozen: `field` -1. Duplicate: `other` has the same values. */
typedef struct {
  PetscInt  trajectory, frame; /* first frame that is wrong; frozen: constant from it on; drift: the worst */
  PetscInt  other;
  int       field; /* the first one: not finite, or not above zero */
  PetscBool zero;  /* frozen at zero in every field */
  double    value; /* how many are not finite; the value that is not above zero; the relative drift */
} EkFinding;

/* Over all trajectories, frames and points; minimum to deviation over the finite values (NaN where there are none). */
typedef struct {
  char       name[EK_NAME];
  double     min, max, mean, std;
  PetscInt64 nonfinite;
} EkFieldSummary;

/* Totals of CFD data with gamma = 5/3, relative change against frame 0. Momentum: |P(t) - P(0)| over the sum of density * |v| in
 * frame 0. */
typedef enum { EK_TOTAL_MASS, EK_TOTAL_MOMENTUM, EK_TOTAL_ENERGY, EK_TOTALS } EkTotal;
typedef struct {
  PetscInt trajectory, frame;
  double   value; /* -1: there is none */
} EkDrift;

/* Edges of the box. PDEBench's file names have them (periodic, trans); of another name, they are open where most trajectories'
   density jumps from one edge to the opposite one by more than twice what it does next to them. */
typedef enum { EK_EDGES_UNKNOWN, EK_EDGES_PERIODIC, EK_EDGES_OPEN } EkEdges;

typedef struct EkInspection_ *EkInspection;
struct EkInspection_ {
  EkRun               run;
  EkInspectOptions    options;
  EkDataset           dataset;
  const EkDataInfo   *info;
  PetscBool           partial; /* FILE.progress is there: `missing` trajectories are not written yet and were left out */
  PetscInt            missing;
  PetscInt            count[EK_FLAWS];   /* trajectories with that flaw */
  PetscBool           sound;             /* no flaw, nothing missing; up to here the same on every rank, from here on rank 0's */
  EkFinding          *finding[EK_FLAWS]; /* [count], ascending by trajectory */
  int                 nfields;
  EkFieldSummary      field[EK_MAX_FIELDS];
  EkDrift             worst[EK_TOTALS]; /* over trajectories and frames */
  EkEdges             edges;            /* UNKNOWN: not CFD */
  PetscBool           named;            /* the file's name says so */
  PetscInt            leaking;          /* trajectories whose mass drifts as open edges allow: no flaw */
  double             *drift[EK_TOTALS]; /* [frames], largest over trajectories; -1: there is none. NULL: not CFD */
  struct EkContents_ *contents;         /* datasets and attributes, as they are stored */
  double              seconds;          /* of reading and looking */
  PetscInt64          bytes;            /* read */
};

/* Everything about options->file; figures and findings do not depend on the number of ranks. A file that is being generated
   (FILE.part beside FILE.progress) is taken as far as it goes. Collective on run->comm. Memory: one trajectory a rank, half a
   kilobyte a trajectory on rank 0. Errors: those of EkDatasetOpen and EkDatasetRead (values that are not finite are findings, not
   errors). */
PetscErrorCode EkInspect(EkRun run, const EkInspectOptions *options, EkInspection *inspection);
/* The tables and, per flaw, one line with the first ten trajectories. Rank 0 prints. */
PetscErrorCode EkInspectionPrint(EkInspection inspection);
/* Writes options->out; the same bytes on any number of ranks. Collective. Error: the file cannot be written. */
PetscErrorCode EkInspectionWrite(EkInspection inspection);
PetscErrorCode EkInspectionDestroy(EkInspection *inspection);
