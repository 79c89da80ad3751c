/* The communication of one training step and of one refresh without the arithmetic: the same collectives in the same order and
   sizes as src/train/loop.c, src/mesh/mesh.c and src/balance/balance.c, and between them pauses as long as the arithmetic.
     mpirun -n P skeleton name=value ...       under MPI: what the network itself takes
     smpirun ... skeleton name=value ...       compiled by smpicc with -DSIMULATED: on a described cluster
     mpirun -n 2 skeleton calibrate            latency (s), bandwidth (bytes/s), seconds of adding a float
   Sizes come from describe.c, seconds from a measured run on one rank. Prints one CSV row:
     ranks,batch,step,forward,backward,allreduce,optimizer,io,spectra       (s, each the slowest rank's; spectra is one refresh)
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef SIMULATED
#include <smpi/smpi.h>
#define SharedAlloc(bytes) SMPI_SHARED_MALLOC(bytes) /* one copy for all simulated ranks: nobody looks at the values */
#define SharedFree(buffer) SMPI_SHARED_FREE(buffer)
#else
#define SharedAlloc(bytes) calloc((bytes), 1)
#define SharedFree(buffer) free(buffer)
#endif

#define SUMS_MAX 4096

typedef enum { FORWARD, BACKWARD, ALLREDUCE, OPTIMIZER, IO, SPECTRA, PHASES } Phase;
typedef struct {
  int n, size[SUMS_MAX];
} Sums;
typedef struct {
  long   floats, batch, chunk, pieces, eigenvalues, state, steps, exchange;
  int    sharded;
  double forward, backward, io; /* a sample */
  double optimizer, refresh;    /* the whole, on one rank */
  double add;                   /* a float of a sum; a simulation does not charge for it otherwise */
  double crowd;                 /* arithmetic on a node full of ranks over that of one rank alone */
  long   cores;                 /* of a node; 0: not known */
  double share;                 /* of a refresh: the busiest rank's */
  Sums   forward_sums, backward_sums;
} Step;
typedef struct {
  int     rank, size, *count, *start, *get, *to;
  float  *values, *room;
  double *small, phase[PHASES];
} State;

static double Smaller(double a, double b)
{
  return a < b ? a : b;
}
static double Larger(double a, double b)
{
  return a > b ? a : b;
}

/* ---- arguments ---- */

static int ReadSums(const char *text, Sums *sums)
{
  char *end;

  for (sums->n = 0; *text && sums->n < SUMS_MAX; text = *end == ',' ? end + 1 : end) {
    sums->size[sums->n] = (int)strtol(text, &end, 10);
    if (end == text || sums->size[sums->n++] < 1) return 0;
  }
  return !*text;
}

/* "2:0.52,4:0.3" at p ranks; what is not listed: an even share */
static double ReadShare(const char *text, int p)
{
  char *end;

  while (*text) {
    const long ranks = strtol(text, &end, 10);

    if (end == text || *end != ':') return 0;
    text = end + 1;
    if (ranks == p) return strtod(text, NULL);
    text = strchr(text, ',');
    if (!text) break;
    text++;
  }
  return 1.0 / p;
}

static int ReadNumber(Step *s, const char *name, const char *text)
{
  const struct {
    const char *name;
    long       *whole;
    double     *real;
  } known[] = {{"floats", &s->floats, NULL},
               {"batch", &s->batch, NULL},
               {"chunk", &s->chunk, NULL},
               {"pieces", &s->pieces, NULL},
               {"steps", &s->steps, NULL},
               {"exchange", &s->exchange, NULL},
               {"eigenvalues", &s->eigenvalues, NULL},
               {"balance_state", &s->state, NULL},
               {"forward", NULL, &s->forward},
               {"backward", NULL, &s->backward},
               {"optimizer", NULL, &s->optimizer},
               {"io", NULL, &s->io},
               {"refresh", NULL, &s->refresh},
               {"crowd", NULL, &s->crowd},
               {"cores", &s->cores, NULL},
               {"add", NULL, &s->add}};
  char *end;

  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
    if (strcmp(name, known[i].name)) continue;
    if (known[i].whole)
      *known[i].whole = strtol(text, &end, 10);
    else
      *known[i].real = strtod(text, &end);
    return end != text && !*end && (known[i].whole ? *known[i].whole >= 0 : *known[i].real >= 0);
  }
  return 0;
}

static int ReadArgument(Step *s, const char *argument, int ranks)
{
  const char *value = strchr(argument, '=');
  char        name[32];

  if (!value || value - argument >= (long)sizeof(name)) return 0;
  memcpy(name, argument, (size_t)(value - argument));
  name[value++ - argument] = 0;
  if (!strcmp(name, "forward_sums")) return ReadSums(value, &s->forward_sums);
  if (!strcmp(name, "backward_sums")) return ReadSums(value, &s->backward_sums);
  if (!strcmp(name, "balance_shares")) return (s->share = ReadShare(value, ranks)) > 0;
  if (!strcmp(name, "sharded")) return s->sharded = *value == '1', (*value == '0' || *value == '1') && !value[1];
  return ReadNumber(s, name, value);
}

/* ---- pauses ---- */

static void Compute(double seconds)
{
#ifdef SIMULATED
  if (seconds > 0) smpi_execute(seconds);
#else
  const double end = MPI_Wtime() + seconds;

  while (MPI_Wtime() < end) continue;
#endif
}

#ifdef SIMULATED
static void Wait(double seconds)
{
  if (seconds > 0) usleep((useconds_t)(1e6 * seconds));
}
#endif

static long MySlice(long n, int parts, int i)
{
  return n / parts + (i < n % parts);
}

/* ---- one step ---- */

/* Arithmetic in equal parts with the sums of BatchNorm between them. */
static void ComputeWithSums(State *state, double seconds, const Sums *sums)
{
  for (int i = 0; i < sums->n; i++) {
    Compute(seconds / (sums->n + 1));
    MPI_Allreduce(MPI_IN_PLACE, state->small, sums->size[i], MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  }
  Compute(seconds / (sums->n + 1));
}

/* Slices of which every rank has a piece of n floats from `at` on: the exchange among few ranks, the
 * reduce-scatter among many. */
static void ScatterPiece(const Step *s, State *state, long n, long at)
{
  int mine, start = 0;

  for (int i = 0; i < state->size; i++) {
    const long slice = 2 * MySlice(s->floats / 2, state->size, i), left = slice - at;

    state->count[i] = (int)(left < 0 ? 0 : left < n ? left : n);
    state->start[i] = start + (state->count[i] ? (int)at : 0);
    start += (int)slice;
  }
  if (state->size > s->exchange) {
    MPI_Reduce_scatter(state->values, state->room, state->count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    return;
  }
  mine = state->count[state->rank];
  state->count[state->rank] = 0;
  for (int i = 0; i < state->size; i++) {
    state->get[i] = i == state->rank ? 0 : mine;
    state->to[i] = i * mine;
  }
  MPI_Alltoallv(state->values, state->count, state->start, MPI_FLOAT, state->room, state->get, state->to, MPI_FLOAT,
                MPI_COMM_WORLD);
}

/* One piece of the gradient sum. */
static void SumPiece(const Step *s, State *state, long n, long at)
{
  if (s->sharded)
    ScatterPiece(s, state, n, at);
  else
    MPI_Allreduce(MPI_IN_PLACE, state->values, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

/* As EkMeshSum and EkMeshReduceScatter. In a simulation pieces are alike: after `pieces` of them the rest takes what the last
 * did. */
static void SumGradients(const Step *s, State *state)
{
  const long whole = s->sharded ? 2 * MySlice(s->floats / 2, state->size, 0) : s->floats;
  const long each = s->sharded ? (s->chunk / state->size > 0 ? s->chunk / state->size : 1) : s->chunk;
  long       done = 0;
#ifdef SIMULATED
  double last = 0;
#endif

  for (long at = 0; at < whole; at += each, done++) {
#ifdef SIMULATED
    if (s->pieces && done == s->pieces) {
      Wait(last * (double)(whole - at) / (double)each);
      break;
    }
    last = MPI_Wtime();
#endif
    SumPiece(s, state, whole - at < each ? whole - at : each, at);
#ifdef SIMULATED
    Compute(s->add * (double)(whole - at < each ? whole - at : each) * (s->sharded ? state->size - 1.0 : 1 - 1.0 / state->size));
#endif
#ifdef SIMULATED
    last = MPI_Wtime() - last;
#endif
  }
}

static void GatherWeights(const Step *s, State *state)
{
  state->start[0] = 0;
  for (int i = 0; i < state->size; i++) {
    state->count[i] = (int)(2 * MySlice(s->floats / 2, state->size, i));
    if (i) state->start[i] = state->start[i - 1] + state->count[i - 1];
  }
  MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, state->values, state->count, state->start, MPI_FLOAT, MPI_COMM_WORLD);
}

static void Lap(State *state, Phase phase, double *since)
{
  const double now = MPI_Wtime();

  state->phase[phase] += now - *since;
  *since = now;
}

static void OneStep(const Step *s, State *state)
{
  const double mine = (double)MySlice(s->batch, state->size, state->rank);
  const int    coupled = s->forward_sums.n > 0;
  double       since = MPI_Wtime();
  int          agreed[2] = {0, 0};

  Compute(mine * s->io);
  Lap(state, IO, &since);
  if (coupled) MPI_Allreduce(MPI_IN_PLACE, agreed, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  since = MPI_Wtime();
  ComputeWithSums(state, mine * s->forward, &s->forward_sums);
  Lap(state, FORWARD, &since);
  ComputeWithSums(state, mine * s->backward, &s->backward_sums);
  Lap(state, BACKWARD, &since);
  MPI_Allreduce(MPI_IN_PLACE, state->small, 3, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  if (state->size > 1) SumGradients(s, state);
  Lap(state, ALLREDUCE, &since);
  Compute(s->sharded ? s->optimizer / state->size : s->optimizer);
  Lap(state, OPTIMIZER, &since);
  if (s->sharded && state->size > 1) GatherWeights(s, state);
  Lap(state, ALLREDUCE, &since);
}

/* EkBalanceRefresh: eigenvalues where they are computed, gathered on all ranks; the first rank's figures to all. */
static void Refresh(const Step *s, State *state)
{
  double since = MPI_Wtime();

  for (int i = 0, at = 0; i < state->size; at += state->count[i++]) {
    state->count[i] = (int)MySlice(s->eigenvalues, state->size, i);
    state->start[i] = at;
  }
  Compute(s->refresh * s->share);
  MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, state->small, state->count, state->start, MPI_DOUBLE, MPI_COMM_WORLD);
  MPI_Bcast(state->small, (int)s->state + 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  Lap(state, SPECTRA, &since);
}

/* The seconds are one rank's that has a node for itself; with others beside it, it has less of the caches, the memory and the
   clock. Between one rank and a full node the slowdown is taken to grow evenly. */
static void Crowd(Step *s, int ranks)
{
  const long   neighbours = (ranks < s->cores ? ranks : s->cores) - 1;
  const double factor = neighbours > 0 ? 1 + (s->crowd - 1) * (double)neighbours / (double)(s->cores - 1) : 1;

  s->io *= factor;
  s->forward *= factor;
  s->backward *= factor;
  s->optimizer *= factor;
  s->refresh *= factor;
}

/* ---- runs ---- */

static int Ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;

  return (x > y) - (x < y);
}

/* The median step as the program reports it. */
static double Steps(const Step *s, State *state)
{
  double *seconds = malloc((size_t)s->steps * sizeof(double)), median;

  for (long i = 0; i < s->steps; i++) {
    MPI_Barrier(MPI_COMM_WORLD);
    seconds[i] = MPI_Wtime();
    OneStep(s, state);
    seconds[i] = MPI_Wtime() - seconds[i];
  }
  qsort(seconds, (size_t)s->steps, sizeof(double), Ascending);
  median = seconds[s->steps / 2];
  free(seconds);
  return median;
}

static void Run(const Step *s, State *state)
{
  double mine[PHASES + 1], most[PHASES + 1];

  mine[PHASES] = Steps(s, state);
  for (int p = 0; p < PHASES; p++) mine[p] = state->phase[p] / (double)s->steps;
  state->phase[SPECTRA] = 0;
  MPI_Barrier(MPI_COMM_WORLD);
  Refresh(s, state);
  mine[SPECTRA] = state->phase[SPECTRA];
  MPI_Reduce(mine, most, PHASES + 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  if (state->rank) return;
  printf("%d,%ld,%.9g", state->size, s->batch, most[PHASES]);
  for (int p = 0; p < PHASES; p++) printf(",%.9g", most[p]);
  printf("\n");
}

/* Seconds of a message there, the best of many. */
static double OneWay(int rank, int bytes, float *values)
{
  double best = 1e9;

  for (int i = 0; i < 200; i++) {
    double start = MPI_Wtime();

    if (rank == 0)
      MPI_Send(values, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD),
          MPI_Recv(values, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank == 1)
      MPI_Recv(values, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
          MPI_Send(values, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    best = Smaller(best, 0.5 * (MPI_Wtime() - start));
  }
  return best;
}

/* Seconds a float takes to be added to another, by the MPI library itself. */
static double AddSeconds(float *a, float *b, int n)
{
  double best = 1e9;

  for (int i = 0; i < 50; i++) {
    const double start = MPI_Wtime();

    MPI_Reduce_local(a, b, n, MPI_FLOAT, MPI_SUM);
    best = Smaller(best, MPI_Wtime() - start);
  }
  return best / n;
}

static void Calibrate(State *state)
{
  const int n = 1 << 18;
  float    *values = calloc((size_t)(2 * n), sizeof(float));
  double    small, large, add;

  small = OneWay(state->rank, 8, values);
  large = OneWay(state->rank, 1 << 20, values);
  add = AddSeconds(values, values + n, n);
  if (state->rank == 0) printf("LATENCY=%.4g\nBANDWIDTH=%.4g\nADD=%.4g\n", small, (1 << 20) / Larger(large - small, 1e-9), add);
  free(values);
}

static void RunOn(const Step *s, State *state)
{
  const size_t room = (size_t)(s->chunk + state->size);
  const size_t doubles = (size_t)(s->eigenvalues + s->state + SUMS_MAX * 4);

  state->values = SharedAlloc((size_t)(s->floats > s->chunk ? s->floats : s->chunk) * sizeof(float));
  state->room = SharedAlloc(room * sizeof(float));
  state->small = SharedAlloc(doubles * sizeof(double));
  state->count = malloc((size_t)state->size * sizeof(int));
  state->start = malloc((size_t)state->size * sizeof(int));
  state->get = malloc((size_t)state->size * sizeof(int));
  state->to = malloc((size_t)state->size * sizeof(int));
  Run(s, state);
  free(state->count);
  free(state->start);
  free(state->get);
  free(state->to);
  SharedFree(state->values);
  SharedFree(state->room);
  SharedFree(state->small);
}

/* 0, and a line on rank 0, for arguments that cannot be used. */
static int ReadArguments(Step *s, const State *state, int argc, char **argv)
{
  for (int i = 1; i < argc; i++) {
    if (ReadArgument(s, argv[i], state->size)) continue;
    if (state->rank == 0) fprintf(stderr, "skeleton: '%s' is none of its name=value\n", argv[i]);
    return 0;
  }
  if (s->batch && s->steps && s->chunk && s->floats) return 1;
  if (state->rank == 0) fprintf(stderr, "skeleton: floats, batch, steps and chunk have to be given and positive\n");
  return 0;
}

int main(int argc, char **argv)
{
  Step  s = {.chunk = 1 << 18, .steps = 1, .crowd = 1}; /* CHUNK of src/mesh/mesh.c */
  State state = {0};
  int   good = 1;

  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &state.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &state.size);
  s.share = 1.0 / state.size;
  if (argc == 2 && !strcmp(argv[1], "calibrate") && state.size == 2)
    Calibrate(&state);
  else if ((good = ReadArguments(&s, &state, argc, argv))) {
    Crowd(&s, state.size);
    RunOn(&s, &state);
  }
  MPI_Finalize();
  return !good;
}
