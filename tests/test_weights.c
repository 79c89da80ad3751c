/* ranks: 1 2 3 */
#include "support.h"
#include "evenkeel/weights.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#define NTENSORS 5
#define TOTAL    2000

static const EkTensorInfo table[NTENSORS] = {
    {"conv0.weights1", 5, {3, 5, 4, 7, 2}, PETSC_TRUE, PETSC_FALSE, 0, 840},
    {"w0.weight", 3, {5, 3, 1}, PETSC_FALSE, PETSC_FALSE, 848, 15},
    {"w0.bias", 1, {5}, PETSC_FALSE, PETSC_FALSE, 864, 5},
    {"scale", 0, {0}, PETSC_FALSE, PETSC_FALSE, 872, 1},
    {"fc1.weight", 2, {128, 5}, PETSC_FALSE, PETSC_FALSE, 880, 640},
};

static void Fill(float arena[TOTAL], uint64_t seed)
{
  EkRandom stream = EkRandomStream(seed, EK_RANDOM_TEST, 0);

  for (int i = 0; i < TOTAL; i++) arena[i] = (float)EkNormal(&stream);
}

static void File(char path[EK_PATH], const char *dir, const char *name)
{
  EK_OK(PetscSNPrintf(path, EK_PATH, "%s/%s", dir, name));
}

/* A file of any bytes: length of the header (or the one given), header, data bytes. */
static void Raw(const char *path, long long length, const char *header, size_t nheader, const void *data, size_t ndata)
{
  MPI_Barrier(EkTestRun()->comm);
  if (EkTestRun()->rank == 0) {
    FILE *file = fopen(path, "w");

    for (int i = 0; i < 8; i++) fputc((int)((unsigned long long)(length < 0 ? (long long)nheader : length) >> 8 * i & 255), file);
    fwrite(header, 1, nheader, file);
    fwrite(data, 1, ndata, file);
    fclose(file);
  }
  MPI_Barrier(EkTestRun()->comm);
}

/* ---- round trips -------------------------------------------------------------------------------------------- */

static void what_is_written_is_read(void **state)
{
  float dir_free[TOTAL], got[TOTAL];
  char  dir[EK_PATH], path[EK_PATH];

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  Fill(dir_free, 1);
  EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, dir_free));
  for (int i = 0; i < TOTAL; i++) got[i] = -7;
  EK_OK(EkWeightsRead(EkTestRun(), path, NTENSORS, table, got));
  for (int t = 0, at = 0; t < NTENSORS; t++) {
    for (; at < (int)table[t].offset; at++) assert_true(got[at] == -7);
    assert_memory_equal(got + at, dir_free + at, table[t].count * sizeof(float));
    at += (int)table[t].count;
  }
}

static void the_header_is_padded_json(void **state)
{
  float    arena[TOTAL];
  char     dir[EK_PATH], path[EK_PATH], text[4096];
  uint64_t length = 0;
  FILE    *file;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  Fill(arena, 1);
  EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, arena));
  file = fopen(path, "r");
  assert_true(fread(&length, 8, 1, file) == 1 && length % 8 == 0 && length < sizeof(text));
  assert_true(fread(text, 1, length, file) == length);
  text[length] = 0;
  assert_true(text[0] == '{');
  assert_non_null(strstr(text, "\"w0.weight\":{\"shape\":[5,3,1],\"dtype\":\"F32\",\"data_offsets\":[3360,3420]}"));
  fclose(file);
}

static void everything_there_is(void **state)
{
  float         arena[TOTAL], *got;
  EkTensorInfo *found;
  char          dir[EK_PATH], path[EK_PATH];
  int           n;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  Fill(arena, 2);
  EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, arena));
  EK_OK(EkWeightsReadAll(EkTestRun(), path, &n, &found, &got));
  assert_int_equal(n, NTENSORS);
  for (int t = 0; t < n; t++) {
    assert_string_equal(found[t].name, table[t].name);
    assert_int_equal(found[t].rank, table[t].rank);
    assert_memory_equal(found[t].shape, table[t].shape, (size_t)table[t].rank * sizeof(PetscInt));
    assert_int_equal(found[t].is_complex, table[t].is_complex);
    assert_int_equal(found[t].count, table[t].count);
    assert_memory_equal(got + found[t].offset, arena + table[t].offset, table[t].count * sizeof(float));
  }
  EK_OK(PetscFree(found));
  EK_OK(PetscFree(got));
}

/* As PyTorch may write it: other order, metadata, double precision, a batch counter, blanks. */
static void any_order_doubles_and_counters(void **state)
{
  static const EkTensorInfo want[2] = {{"b", 1, {2}, PETSC_FALSE, PETSC_FALSE, 0, 2},
                                       {"a", 2, {1, 3}, PETSC_FALSE, PETSC_FALSE, 2, 3}};
  static const char         header[] = " {\"bn.num_batches_tracked\": "
                                       "{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[8,16]},\n\"__metadata__\":{\"format\":\"pt\"},"
                                       "\"a\":{\"data_offsets\":[16,40],\"dtype\":\"F64\",\"shape\":[1,3]}, "
                                       "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                       "\"none\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[16,16]}}   ";
  static const EkTensorInfo all[3] = {{"b", 1, {2}, PETSC_FALSE, PETSC_FALSE, 0, 2},
                                      {"a", 2, {1, 3}, PETSC_FALSE, PETSC_FALSE, 2, 3},
                                      {"none", 2, {0, 4}, PETSC_FALSE, PETSC_FALSE, 5, 0}};
  char                      data[40] = {0}, dir[EK_PATH], path[EK_PATH];
  float                     got[5];

  (void)state;
  memcpy(data, (float[]){1.5f, -2.0f}, 8);
  memcpy(data + 16, (double[]){1e-3, 0.1, 3.0}, 24);
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  Raw(path, -1, header, sizeof(header) - 1, data, sizeof(data));
  EK_OK(EkWeightsRead(EkTestRun(), path, 3, all, got));
  assert_true(got[0] == 1.5f && got[1] == -2.0f && got[2] == 1e-3f && got[3] == 0.1f && got[4] == 3.0f);
  EK_FAILS(EkWeightsRead(EkTestRun(), path, 2, want, got), "1 of its or the model's tensors do not fit");
}

/* I64 in the file, at a multiple of its size whatever comes before it in the table; missing ones are zero, those nobody wants are
 * passed over. */
static void counters_are_whole_numbers(void **state)
{
  static const EkTensorInfo all[3] = {{"n.weight", 1, {3}, PETSC_FALSE, PETSC_FALSE, 0, 3},
                                      {"n.num_batches_tracked", 0, {0}, PETSC_FALSE, PETSC_TRUE, 3, 1},
                                      {"c.weight", 1, {2}, PETSC_FALSE, PETSC_FALSE, 4, 2}};
  const EkTensorInfo        none[2] = {all[0], all[2]};
  EkTensorInfo              array[3] = {all[0], all[1], all[2]};
  const float               arena[6] = {1.5f, -2.0f, 0.25f, 123457, 3, 4};
  float                     got[6] = {0}, *everything;
  EkTensorInfo             *found;
  char                      dir[EK_PATH], path[EK_PATH], *bytes;
  int64_t                   counter;
  uint64_t                  header;
  int                       n;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  EK_OK(EkWeightsWrite(EkTestRun(), path, 3, all, arena));
  EkTestFileBytes(path, &bytes);
  memcpy(&header, bytes, sizeof(header));
  memcpy(&counter, bytes + 8 + header, sizeof(counter));
  assert_true(counter == 123457 && header % 8 == 0);
  bytes[8 + header] = 0;
  assert_non_null(strstr(bytes + 8, "\"n.num_batches_tracked\":{\"shape\":[],\"dtype\":\"I64\",\"data_offsets\":[0,8]}"));
  free(bytes);
  EK_OK(EkWeightsRead(EkTestRun(), path, 3, all, got));
  assert_memory_equal(got, arena, sizeof(arena));
  EK_OK(EkWeightsRead(EkTestRun(), path, 2, none, got));
  EK_OK(EkWeightsReadAll(EkTestRun(), path, &n, &found, &everything));
  assert_int_equal(n, 3);
  for (int i = 0; i < 3; i++) assert_int_equal(found[i].is_counter, !strcmp(found[i].name, "n.num_batches_tracked"));
  EK_OK(PetscFree(found));
  EK_OK(PetscFree(everything));
  array[1].rank = 1, array[1].shape[0] = 1; /* what numpy makes of it */
  EK_OK(EkWeightsWrite(EkTestRun(), path, 3, array, arena));
  memset(got, 0, sizeof(got));
  EK_OK(EkWeightsRead(EkTestRun(), path, 3, all, got));
  assert_memory_equal(got, arena, sizeof(arena));
  array[1].shape[0] = array[1].count = 2, array[2].offset = 0, array[1].offset = 2;
  EK_OK(EkWeightsWrite(EkTestRun(), path, 3, array, arena));
  EK_FAILS(EkWeightsRead(EkTestRun(), path, 3, all, got), "n.num_batches_tracked");
  EK_OK(EkWeightsWrite(EkTestRun(), path, 2, none, arena));
  EK_OK(EkWeightsRead(EkTestRun(), path, 3, all, got));
  assert_true(got[3] == 0 && got[2] == 0.25f && got[5] == 4);
}

/* ---- what does not fit ---------------------------------------------------------------------------------------- */

/* Runs a read that must fail and returns what rank 0 printed. */
static void Printed(const char *path, int n, const EkTensorInfo want[], char *text, size_t room)
{
  float arena[TOTAL];
  int   kept = dup(2), file;
  char  log[EK_PATH];

  EK_OK(PetscSNPrintf(log, sizeof(log), "%s.%d.log", path, EkTestRun()->rank));
  file = open(log, O_RDWR | O_CREAT | O_TRUNC, 0666);
  fflush(stderr);
  dup2(file, 2);
  EK_FAILS(EkWeightsRead(EkTestRun(), path, n, want, arena), "tensors do not fit");
  fflush(stderr);
  dup2(kept, 2);
  close(kept);
  memset(text, 0, room);
  assert_true(pread(file, text, room - 1, 0) >= 0);
  close(file);
  if (EkTestRun()->rank) assert_string_equal(text, "");
}

static void every_misfit_is_listed(void **state)
{
  EkTensorInfo  want[NTENSORS];
  float         arena[TOTAL], *got = NULL;
  EkTensorInfo *found = NULL;
  char          dir[EK_PATH], path[EK_PATH], text[4096];
  int           n;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  Fill(arena, 3);
  arena[870 - 4] = NAN; /* w0.bias[2] */
  EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, arena));
  memcpy(want, table, sizeof(table));
  want[0].shape[0] = 4;
  snprintf(want[1].name, sizeof(want[1].name), "w9.weight");
  want[4].rank = 3, want[4].shape[2] = 1;
  Printed(path, NTENSORS, want, text, sizeof(text));
  if (EkTestRun()->rank == 0) {
    assert_non_null(strstr(text, "a.safetensors': conv0.weights1: found F32 3 x 5 x 4 x 7 x 2, wanted F32 4 x 5 x 4 x 7 x 2\n"));
    assert_non_null(strstr(text, "w9.weight: missing, wanted F32 5 x 3 x 1\n"));
    assert_non_null(strstr(text, "w0.weight: found F32 5 x 3 x 1, the model has no such tensor\n"));
    assert_non_null(strstr(text, "w0.bias: found F32 5, wanted F32 5, but value 2 is not finite\n"));
    assert_non_null(strstr(text, "fc1.weight: found F32 128 x 5, wanted F32 128 x 5 x 1\n"));
    assert_null(strstr(text, "scale"));
  }
  EK_FAILS(EkWeightsReadAll(EkTestRun(), path, &n, &found, &got), "tensor 'w0.bias', F32 5: value 2 is not finite");
  assert_true(!found && !got);
}

/* By index along each axis, (re, im) included; the first of two. */
static void the_place_of_a_bad_value_is_said(void **state)
{
  static const struct {
    size_t      at;
    const char *place, *all;
  } bad[] = {{0 + (((2 * 5 + 4) * 4 + 1) * 7 + 6) * 2 + 1,
              "conv0.weights1: found F32 3 x 5 x 4 x 7 x 2, wanted F32 3 x 5 x 4 x 7 x 2, but value (2, 4, 1, 6, 1) is",
              "tensor 'conv0.weights1', F32 3 x 5 x 4 x 7 x 2: value (2, 4, 1, 6, 1) is not finite"},
             {848 + 3 * 3 + 1, "w0.weight: found F32 5 x 3 x 1, wanted F32 5 x 3 x 1, but value (3, 1, 0) is not finite\n",
              "value (3, 1, 0) is not finite"},
             {872, "scale: found F32 scalar, wanted F32 scalar, but value 0 is not finite\n", "'scale', F32 scalar: value 0 is"}};
  float         arena[TOTAL], *got;
  EkTensorInfo *found;
  char          dir[EK_PATH], path[EK_PATH], text[4096];
  int           n;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    Fill(arena, 3);
    arena[bad[i].at] = i ? NAN : -INFINITY;
    EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, arena));
    Printed(path, NTENSORS, table, text, sizeof(text));
    if (EkTestRun()->rank == 0 && !strstr(text, bad[i].place)) fail_msg("'%s' is not in: %s", bad[i].place, text);
    EK_FAILS(EkWeightsReadAll(EkTestRun(), path, &n, &found, &got), bad[i].all);
  }
}

/* Axes in the order of another framework, those of pairs (re, im) apart; the same shape in another type is no reason. */
static void reversed_axes_are_recognised(void **state)
{
#define REVERSED "; its axes are reversed, or as TensorFlow and JAX have them (x, y, in, out instead of out, in, x, y)\n"
  static const EkTensorInfo there[] = {{"a", 4, {4, 4, 7, 19}, PETSC_FALSE, PETSC_FALSE, 0, 1},
                                       {"b", 5, {3, 2, 5, 6, 2}, PETSC_TRUE, PETSC_FALSE, 0, 1},
                                       {"c", 3, {3, 5, 6}, PETSC_FALSE, PETSC_FALSE, 0, 1},
                                       {"d", 2, {5, 3}, PETSC_FALSE, PETSC_FALSE, 0, 1},
                                       {"e", 3, {1, 7, 9}, PETSC_FALSE, PETSC_FALSE, 0, 1}},
                            want[] = {{"a", 4, {19, 7, 4, 4}, PETSC_FALSE, PETSC_FALSE, 0, 1},
                                      {"b", 5, {6, 5, 2, 3, 2}, PETSC_TRUE, PETSC_FALSE, 0, 1},
                                      {"c", 3, {5, 3, 6}, PETSC_FALSE, PETSC_FALSE, 0, 1},
                                      {"d", 2, {3, 5}, PETSC_FALSE, PETSC_FALSE, 0, 1},
                                      {"e", 3, {7, 9, 1}, PETSC_FALSE, PETSC_FALSE, 0, 1}};
  static const char *const line[] = {"a: found F32 4 x 4 x 7 x 19, wanted F32 19 x 7 x 4 x 4" REVERSED,
                                     "b: found F32 3 x 2 x 5 x 6 x 2, wanted F32 6 x 5 x 2 x 3 x 2" REVERSED,
                                     "c: found F32 3 x 5 x 6, wanted F32 5 x 3 x 6; it is transposed\n",
                                     "d: found F32 5 x 3, wanted F32 3 x 5; it is transposed\n",
                                     "e: found F32 1 x 7 x 9, wanted F32 7 x 9 x 1\n"};
#undef REVERSED
  static const float arena[4 * 4 * 7 * 19]; /* of the largest: all begin there */
  EkTensorInfo       stored[5];
  char               dir[EK_PATH], path[EK_PATH], text[4096];

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  memcpy(stored, there, sizeof(there));
  for (int t = 0; t < 5; t++) {
    for (int d = 0; d < stored[t].rank; d++) stored[t].count *= (size_t)stored[t].shape[d];
  }
  EK_OK(EkWeightsWrite(EkTestRun(), path, 5, stored, arena));
  Printed(path, 5, want, text, sizeof(text));
  for (int t = 0; t < 5 && EkTestRun()->rank == 0; t++) {
    if (!strstr(text, line[t])) fail_msg("'%s' is not in: %s", line[t], text);
  }
}

static void other_types_are_named(void **state)
{
  static const EkTensorInfo want[1] = {{"a", 1, {2}, PETSC_FALSE, PETSC_FALSE, 0, 2}};
  static const char *const  type[] = {"F16", "BF16", "I64", "C64", "F8_E4M3"};
  static const int          bytes[] = {4, 4, 16, 16, 2};
  const char                zero[16] = {0};
  char                      dir[EK_PATH], path[EK_PATH], header[256], text[4096];
  EkTensorInfo             *found;
  float                    *got;
  int                       n;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  for (size_t i = 0; i < sizeof(type) / sizeof(type[0]); i++) {
    snprintf(header, sizeof(header), "{\"a\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,%d]}}", type[i], bytes[i]);
    Raw(path, -1, header, strlen(header), zero, (size_t)bytes[i]);
    Printed(path, 1, want, text, sizeof(text));
    if (EkTestRun()->rank == 0) assert_true(strstr(text, type[i]) && strstr(text, "wanted F32 2\n"));
    EK_FAILS(EkWeightsReadAll(EkTestRun(), path, &n, &found, &got), "only F32 and F64 can be read");
  }
}

/* ---- broken files --------------------------------------------------------------------------------------------- */

static void broken_headers(void **state)
{
#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
  static const struct {
    const char *header;
    long long   length;
    const char *text;
  } broken[] = {
      {"{" A "}", 1LL << 40, "a header of 1099511627776 bytes"},
      {"{" A "}", -2, "not a safetensors file"}, /* stands for the largest length */
      {"{" A "}", 100, "is truncated: a header of 100 bytes, the file has 70; the end is missing, copy it again"},
      {"{" A "}", 1, "a header of 1 bytes"},
      {"[" A "]", -1, "not a JSON object"},
      {"{" A, -1, "not a JSON object"},
      {"7", 2, "not a JSON object"},
      {"{" A "," A "}", -1, "there are two tensors 'a'"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", -1, "tensor 'a' has 4 bytes, its shape needs 8"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", -1,
       "is truncated: tensor 'a', F32 3, ends at byte 75, the file at 71; the end is missing, copy it again"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", -1, "impossible data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", -1, "impossible data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", -1, "impossible data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,1e300]}}", -1, "impossible data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":\"0,8\"}}", -1, "impossible data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", -1, "impossible data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", -1, "tensor 'a' has no shape"},
      {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", -1, "tensor 'a' has no dtype"},
      {"{\"a\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", -1, "tensor 'a' has no dtype"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}", -1, "axis 0 has an impossible length"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", -1, "axis 0 has an impossible length"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2000000000,2000000000,2000000000],\"data_offsets\":[0,8]}}", -1, "impossible size"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2000000000,2000000000,2],\"data_offsets\":[0,8]}}", -1, "impossible size"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", -1, "has 7 axes"},
      {"{\"a\":7}", -1, "tensor 'a' has no dtype"},
      {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", -1, "tensor 'b' overlaps another"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", -1, "there is a gap before tensor 'a'"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1, "4 bytes follow the last tensor"},
      {"{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, "is empty or longer"},
      {"{\"a_name_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
       "offsets\":[0,8]}}",
       -1, "is empty or longer than 63"},
  };
#undef A
  static const EkTensorInfo want[1] = {{"a", 1, {2}, PETSC_FALSE, PETSC_FALSE, 0, 2}};
  const float               value[2] = {1, 2};
  char                      dir[EK_PATH], path[EK_PATH];
  float                     got[2];

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
    const long long length = broken[i].length == -2 ? 0x7fffffffffffffffLL : broken[i].length;

    Raw(path, length, broken[i].header, strlen(broken[i].header), value, sizeof(value));
    EK_FAILS(EkWeightsRead(EkTestRun(), path, 1, want, got), broken[i].text);
  }
  File(path, dir, "none");
  EK_FAILS(EkWeightsRead(EkTestRun(), path, 1, want, got), "none': no such file");
  EK_FAILS(EkWeightsRead(EkTestRun(), dir, 1, want, got), "is not a file");
}

/* Bytes of a sound file changed at random, or the file cut: read rightly or refused, never a crash, never values from elsewhere.
 */
static void random_damage(void **state)
{
  static const EkTensorInfo want[2] = {{"fc.weight", 2, {2, 3}, PETSC_FALSE, PETSC_FALSE, 0, 6},
                                       {"fc.bias", 1, {2}, PETSC_FALSE, PETSC_FALSE, 6, 2}};
  static const char         letters[] = "{}[]\",:0123456789-.eEnulltruefalse\\u0000 ";
  const float               value[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  EkRandom                  random = EkRandomStream(1, EK_RANDOM_TEST, 9);
  char                      dir[EK_PATH], path[EK_PATH], sound[1024], bytes[1024];
  int                       size, fd, refused = 0;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  EK_OK(EkWeightsWrite(EkTestRun(), path, 2, want, value));
  fd = open(path, O_RDONLY);
  size = (int)read(fd, sound, sizeof(sound));
  close(fd);
  MPI_Barrier(EkTestRun()->comm);
  for (int trial = 0; trial < 2000; trial++) {
    const int changes = 1 + (int)EkInteger(&random, 3),
              cut = EkInteger(&random, 8) ? size : (int)EkInteger(&random, (uint32_t)size);
    float         *got = NULL;
    EkTensorInfo  *found = NULL;
    PetscErrorCode code;
    int            n;

    memcpy(bytes, sound, (size_t)size);
    for (int c = 0; c < changes; c++) {
      const uint32_t at = EkInteger(&random, (uint32_t)size - 32); /* not in the data: that is not checked */

      bytes[at] = EkInteger(&random, 2) ? letters[EkInteger(&random, sizeof(letters))] : (char)EkInteger(&random, 256);
    }
    if (EkTestRun()->rank == 0) {
      fd = open(path, O_WRONLY | O_TRUNC);
      assert_int_equal(write(fd, bytes, (size_t)cut), cut);
      close(fd);
    }
    MPI_Barrier(EkTestRun()->comm);
    code = EkWeightsReadAll(EkTestRun(), path, &n, &found, &got);
    refused += code != 0;
    if (code)
      assert_true(!found && !got);
    else {
      for (int i = 0; i < n; i++)
        assert_true(found[i].offset + found[i].count <= 8 && got[found[i].offset] >= 1 && got[found[i].offset] <= 8);
    }
    EK_OK(PetscFree(found));
    EK_OK(PetscFree(got));
    MPI_Barrier(EkTestRun()->comm);
  }
  assert_true(refused > 1000 && refused < 2000);
}

static void cut_anywhere(void **state)
{
  float       arena[TOTAL], got[TOTAL];
  char        dir[EK_PATH], path[EK_PATH];
  struct stat status;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  Fill(arena, 1);
  EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, arena));
  assert_int_equal(stat(path, &status), 0);
  for (off_t at = status.st_size - 1; at >= 0; at -= at < 700 ? 13 : 411) {
    MPI_Barrier(EkTestRun()->comm);
    if (EkTestRun()->rank == 0) assert_int_equal(truncate(path, at), 0);
    MPI_Barrier(EkTestRun()->comm);
    EK_FAILS(EkWeightsRead(EkTestRun(), path, NTENSORS, table, got), "safetensors");
  }
}

static void a_full_disk_leaves_the_old_file(void **state)
{
  static const rlim_t room[] = {0, 4, 100, 1000, 5000};
  float               arena[TOTAL], other[TOTAL], got[TOTAL];
  char                dir[EK_PATH], path[EK_PATH], temporary[EK_PATH];
  struct rlimit       limit;

  (void)state;
  EkTestScratch(dir);
  File(path, dir, "a.safetensors");
  File(temporary, dir, "a.safetensors.tmp");
  Fill(arena, 1);
  Fill(other, 2);
  EK_OK(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, arena));
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &limit);
  for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
    limit.rlim_cur = room[i];
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    EK_FAILS(EkWeightsWrite(EkTestRun(), path, NTENSORS, table, other), "File too large");
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_true(access(temporary, F_OK) != 0);
    EK_OK(EkWeightsRead(EkTestRun(), path, NTENSORS, table, got));
    assert_true(got[0] == arena[0] && got[880] == arena[880]);
  }
  signal(SIGXFSZ, SIG_DFL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_written_is_read),
    cmocka_unit_test(the_header_is_padded_json),
    cmocka_unit_test(everything_there_is),
    cmocka_unit_test(any_order_doubles_and_counters),
    cmocka_unit_test(counters_are_whole_numbers),
    cmocka_unit_test(every_misfit_is_listed),
    cmocka_unit_test(the_place_of_a_bad_value_is_said),
    cmocka_unit_test(reversed_axes_are_recognised),
    cmocka_unit_test(other_types_are_named),
    cmocka_unit_test(broken_headers),
    cmocka_unit_test(random_damage),
    cmocka_unit_test(cut_anywhere),
    cmocka_unit_test(a_full_disk_leaves_the_old_file),
};
EK_TEST_MAIN(tests)
