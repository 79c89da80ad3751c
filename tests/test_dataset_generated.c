/* ranks: 4 */
/* A file that p ranks wrote is read by q ranks: the same bits for every p and q. */
#include "dataset_support.h"
#include "evenkeel/pde.h"

#define RANKS  4
#define POINTS 12

/* The test's run on the first `ranks` ranks; others get size 0. Collective. */
static struct EkRun_ First(int ranks)
{
  struct EkRun_ part = *EkTestRun();

  MPI_Comm_split(part.comm, part.rank < ranks, part.rank, &part.comm);
  part.size = part.rank < ranks ? ranks : 0;
  return part;
}

/* p ranks in groups of up to two. */
static void Write(int p, const char *path)
{
  const EkPde      *pde = (const EkPde *)EkFamilyMember(&EkPdeFamily, EkFamilyFind(&EkPdeFamily, "cfd2d"));
  EkGenerateOptions options = {.set = pde->released, .seed = 5, .ranks_per_sample = 1 + (p > 2)};
  EkGenerateReport  report;
  struct EkRun_     part = First(p);

  options.set.samples = 5;
  options.set.nx = POINTS;
  options.set.frames = 3;
  EK_OK(PetscStrncpy(options.file, path, EK_PATH));
  if (part.size) EK_OK(EkGenerate(&part, &options, &report));
  MPI_Comm_free(&part.comm);
  MPI_Barrier(EkTestRun()->comm);
}

/* Every rank of q its share of all five trajectories; together on rank 0. */
static void Read(int q, const char *path, size_t size, float *all)
{
  EkDataOptions options = Options(path);
  struct EkRun_ part = First(q);

  memset(all, 0, 5 * size * sizeof(float));
  options.test = 5;
  if (part.size) {
    EkDataset  data;
    PetscInt64 lo, hi;

    EK_OK(EkDatasetOpen(&part, &options, &data));
    EkSlice(5, q, part.rank, &lo, &hi);
    for (PetscInt s = (PetscInt)lo; s < hi; s++)
      EK_OK(EkDatasetRead(data, EK_TEST, 1, &s, POINTS * POINTS, all + (size_t)s * size));
    EK_OK(EkDatasetDestroy(&data));
  }
  MPI_Comm_free(&part.comm);
  MPI_Allreduce(MPI_IN_PLACE, all, (int)(5 * size), MPI_FLOAT, MPI_SUM, EkTestRun()->comm);
}

static void written_on_p_ranks_read_on_q(void **state)
{
  const size_t size = 3 * 4 * POINTS * POINTS;
  char         scratch[EK_PATH], path[EK_PATH + 32];
  float       *first = malloc(5 * size * sizeof(float)), *other = malloc(5 * size * sizeof(float));

  (void)state;
  EkTestScratch(scratch);
  for (int p = 1; p <= RANKS; p++) {
    snprintf(path, sizeof(path), "%s/%d.hdf5", scratch, p);
    Write(p, path);
    for (int q = 1; q <= RANKS; q++) {
      Read(q, path, size, p + q == 2 ? first : other);
      if (p + q > 2 && memcmp(first, other, 5 * size * sizeof(float)))
        fail_msg("written on %d ranks, read on %d: other values", p, q);
    }
  }
  assert_true(first[0] > 0 && first[5 * size - 1] != 0);
  free(first);
  free(other);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(written_on_p_ranks_read_on_q)};
EK_TEST_MAIN(tests)
