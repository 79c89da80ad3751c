/* ranks: 1 2 */
#include "evenkeel/results.h"
#include "evenkeel/xdmf.h"
#include "datafile_support.h"
#include <ctype.h>
#include <hdf5.h>

/* ---- a reader of XML that accepts nothing but well-formed elements ------------------------------------------------- */

#define ELEMENTS 20000
#define DEPTH    16

typedef struct {
  char name[32], attributes[512], text[256];
  int  parent, nchildren, child[64];
} Element;

typedef struct {
  Element *element;
  int      n;
} Document;

static const char *const entity[][2] = {{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}};

/* One character of text or of an attribute's value. */
static const char *Character(const char *at, char *out)
{
  assert_true(*at && *at != '<' && *at != '>');
  *out = *at;
  if (*at != '&') return at + 1;
  for (size_t i = 0; i < sizeof(entity) / sizeof(entity[0]); i++) {
    if (strncmp(at, entity[i][0], strlen(entity[i][0]))) continue;
    *out = entity[i][1][0];
    return at + strlen(entity[i][0]);
  }
  fail_msg("an & that starts no entity: %.20s", at);
  return at;
}

static const char *Word(const char *at, char *word, size_t room)
{
  size_t n = 0;

  while (isalnum((unsigned char)*at)) {
    assert_true(n + 1 < room);
    word[n++] = *at++;
  }
  assert_true(n > 0);
  word[n] = 0;
  return at;
}

/* ` name="value"` ...: kept as `name=value` with a newline behind each. */
static const char *Attributes(const char *at, char *kept, size_t room)
{
  char  *end = kept + room - 2;
  size_t n;

  while (*at == ' ') {
    if (at[1] == '/' || at[1] == '?') return at + 1;
    at = Word(at + 1, kept, room);
    n = strlen(kept);
    kept += n;
    *kept++ = '=';
    assert_int_equal(*at++, '=');
    assert_int_equal(*at++, '"');
    while (*at != '"') {
      assert_true(kept < end);
      at = Character(at, kept++);
    }
    *kept++ = '\n';
    at++;
  }
  *kept = 0;
  return at;
}

static Document Parse(const char *at)
{
  Document d = {calloc(ELEMENTS, sizeof(Element)), 0};
  int      open[DEPTH], depth = 0;
  char     name[32];

  assert_int_equal(strncmp(at, "<?xml version=\"1.0\" ?>\n", 23), 0);
  for (at += 23; *at;) {
    if (*at != '<') {
      char *text = depth ? d.element[open[depth - 1]].text : name, c;

      at = Character(at, &c);
      if (isspace((unsigned char)c) && c != ' ') continue;
      assert_true(depth > 0 && strlen(text) + 2 < sizeof(d.element[0].text));
      text[strlen(text)] = c;
    } else if (at[1] == '/') {
      at = Word(at + 2, name, sizeof(name));
      assert_int_equal(*at++, '>');
      assert_true(depth > 0);
      assert_string_equal(name, d.element[open[--depth]].name);
    } else {
      Element *e = &d.element[d.n];

      assert_true(d.n < ELEMENTS && depth < DEPTH && (depth > 0 || d.n == 0));
      at = Word(at + 1, e->name, sizeof(e->name));
      at = Attributes(at, e->attributes, sizeof(e->attributes));
      e->parent = depth ? open[depth - 1] : -1;
      if (depth) {
        Element *parent = &d.element[e->parent];

        if (parent->nchildren < 64) parent->child[parent->nchildren] = d.n;
        parent->nchildren++;
      }
      if (*at == '/')
        at++;
      else
        open[depth++] = d.n;
      assert_int_equal(*at++, '>');
      d.n++;
    }
  }
  assert_int_equal(depth, 0);
  return d;
}

static const char *Get(const Element *e, const char *name, char value[256])
{
  const size_t length = strlen(name);

  for (const char *line = e->attributes; *line; line = strchr(line, '\n') + 1) {
    if (strncmp(line, name, length) || line[length] != '=') continue;
    snprintf(value, 256, "%.*s", (int)(strchr(line, '\n') - line - (long)length - 1), line + length + 1);
    return value;
  }
  fail_msg("%s has no %s", e->name, name);
  return NULL;
}

static int NumbersIn(const char *text, double *number)
{
  int   n = 0;
  char *end;

  for (;; text = end) {
    const double value = strtod(text, &end);

    if (end == text) return n;
    assert_true(n < 24);
    number[n++] = value;
  }
}

/* ---- what a description says, held against the file --------------------------------------------------------------- */

typedef struct {
  Document    xml;
  const char *path; /* of the description */
  int         dim;
  PetscInt    n[3];
} Described;

/* The array of a hyperslab item, read where the item says; every part of it lies inside the dataset. Returns its size. */
static size_t ReadSlab(const Described *d, const Element *item, float *values)
{
  const Element *choice = &d->xml.element[item->child[0]], *heavy = &d->xml.element[item->child[1]];
  char           folder[EK_PATH], path[3 * EK_PATH], value[256], name[256];
  double         box[24], shape[24], cells[24];
  hsize_t        start[8], stride[8], count[8], real[8], floats = 1;
  hid_t          file, set, space, memory;
  int            rank;

  assert_int_equal(item->nchildren, 2);
  rank = NumbersIn(Get(heavy, "Dimensions", value), shape);
  assert_int_equal(NumbersIn(choice->text, box), 3 * rank);
  assert_int_equal(NumbersIn(Get(item, "Dimensions", value), cells), 3);
  assert_string_equal(Get(heavy, "Format", value), "HDF");
  assert_string_equal(Get(heavy, "Precision", value), "4");
  assert_true(heavy->text[0] != '/' && strchr(heavy->text, ':') && !strchr(strchr(heavy->text, ':') + 2, ':'));
  snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(d->path, '/') - d->path), d->path);
  snprintf(name, sizeof(name), "%s", strchr(heavy->text, ':') + 1);
  snprintf(path, sizeof(path), "%s/%.*s", folder, (int)(strchr(heavy->text, ':') - heavy->text), heavy->text);
  file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(file >= 0);
  set = H5Dopen2(file, name, H5P_DEFAULT);
  assert_true(set >= 0);
  space = H5Dget_space(set);
  assert_int_equal(H5Sget_simple_extent_dims(space, real, NULL), rank);
  for (int i = 0; i < rank; i++) {
    start[i] = (hsize_t)box[i], stride[i] = (hsize_t)box[rank + i], count[i] = (hsize_t)box[2 * rank + i];
    assert_true(real[i] == (hsize_t)shape[i] && stride[i] >= 1 && count[i] >= 1 &&
                start[i] + (count[i] - 1) * stride[i] < real[i]);
    floats *= count[i];
  }
  assert_true((double)floats == cells[0] * cells[1] * cells[2]);
  memory = H5Screate_simple(rank, count, NULL);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, NULL);
  assert_true(H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values) >= 0);
  H5Sclose(memory), H5Sclose(space), H5Dclose(set), H5Fclose(file);
  return (size_t)floats;
}

/* The mesh of a frame: cells in the order of the axes, the first one's corner half a step before the first coordinate. */
static void CheckMesh(const Described *d, const Element *grid)
{
  const Element *topology = &d->xml.element[grid->child[1]], *geometry = &d->xml.element[grid->child[2]];
  double         points[24], corner[24], step[24];
  char           value[256];

  assert_string_equal(Get(topology, "TopologyType", value), "3DCoRectMesh");
  assert_string_equal(Get(geometry, "GeometryType", value), "ORIGIN_DXDYDZ");
  assert_int_equal(NumbersIn(Get(topology, "Dimensions", value), points), 3);
  assert_int_equal(NumbersIn(d->xml.element[geometry->child[0]].text, corner), 3);
  assert_int_equal(NumbersIn(d->xml.element[geometry->child[1]].text, step), 3);
  for (int a = 0; a < 3; a++) {
    const int axis = a - (3 - d->dim);

    assert_true(points[a] == (axis < 0 ? 2 : (double)d->n[axis] + 1));
    assert_true(step[a] > 0);
    if (axis >= 0) assert_true(fabs(corner[a]) < 1e-6 && fabs(step[a] * (double)d->n[axis] - 1) < 1e-6); /* the unit box */
  }
}

static Described Open(const char *path, int dim)
{
  Described d = {.path = path, .dim = dim, .n = {NX, NY, NZ}};
  char     *text, *whole;
  long      size;

  size = EkTestFileBytes(path, &text);
  whole = calloc((size_t)size + 1, 1);
  memcpy(whole, text, (size_t)size);
  d.xml = Parse(whole);
  free(whole);
  free(text);
  return d;
}

/* Value of the files below. */
static float Value(int set, PetscInt trajectory, size_t i)
{
  return (float)(1000 * set + 100 * trajectory) + 0.25f * (float)i;
}

/* Frames, times, arrays named fields[f]_0 ... and their values. timeless: set f has one frame. */
static void CheckDescription(const char *path, int dim, int nfields, const char *const fields[], PetscInt shown, int frames,
                             PetscBool timeless)
{
  Described      d = Open(path, dim);
  const Element *all = &d.xml.element[2];
  const size_t   points = NX * (dim > 1 ? NY : 1) * (dim > 2 ? NZ : 1);
  char           value[256], name[256];
  static float   slab[NX * NY * NZ];
  PetscBool      seen[8][8] = {{0}};

  assert_string_equal(d.xml.element[0].name, "Xdmf");
  assert_string_equal(Get(all, "CollectionType", value), "Temporal");
  assert_int_equal(all->nchildren, 1 + frames);
  for (int t = 0; t < frames; t++) {
    const Element *grid = &d.xml.element[all->child[1 + t]];

    assert_int_equal(grid->nchildren, 3 + nfields * (int)shown);
    assert_true(fabs(strtod(Get(&d.xml.element[grid->child[0]], "Value", value), NULL) - (timeless ? 0 : 0.05 * t)) < 1e-6);
    CheckMesh(&d, grid);
    for (int a = 0; a < nfields * (int)shown; a++) {
      const Element *attribute = &d.xml.element[grid->child[3 + a]];
      const char    *dash;
      int            f = 0;
      PetscInt       s;

      snprintf(name, sizeof(name), "%s", Get(attribute, "Name", value));
      dash = strrchr(name, '_');
      s = atoi(dash + 1);
      while (strncmp(name, fields[f], strlen(fields[f])) || name + strlen(fields[f]) != dash) assert_true(++f < nfields);
      assert_string_equal(Get(attribute, "Center", value), "Cell");
      assert_int_equal(ReadSlab(&d, &d.xml.element[attribute->child[0]], slab), points);
      for (size_t i = 0; i < points; i++) assert_true(slab[i] == Value(f, s, (size_t)t * points + i));
      seen[f][s] = PETSC_TRUE;
    }
  }
  for (int f = 0; f < nfields; f++) {
    for (PetscInt s = 0; s < shown; s++) assert_true(seen[f][s]);
  }
  free(d.xml.element);
}

static void TestDataFile(const char *name, int nfields, const char *const fields[], const PetscBool timed[], int dim,
                         PetscInt samples)
{
  EkFileSpec   spec = Spec(name, nfields, fields, timed, dim, samples);
  const size_t floats = (size_t)(timed ? 1 : FRAMES) * NX * (dim > 1 ? NY : 1) * (dim > 2 ? NZ : 1);
  float       *data = malloc((size_t)nfields * (size_t)samples * floats * sizeof(float));
  char         path[2 * EK_PATH];

  for (int f = 0; f < nfields; f++) {
    for (PetscInt s = 0; s < samples; s++) {
      for (size_t i = 0; i < floats; i++) data[((size_t)f * (size_t)samples + (size_t)s) * floats + i] = Value(f, s, i);
    }
  }
  WriteFile(&spec, nfields, samples, floats, data);
  free(data);
  EK_OK(EkXdmfWriteFile(EkTestRun(), spec.path));
  snprintf(path, sizeof(path), "%.*s.xdmf", (int)(strrchr(spec.path, '.') - spec.path), spec.path);
  if (EkTestRun()->rank == 0)
    CheckDescription(path, dim, nfields, fields, samples < 4 ? samples : 4, timed ? 1 : FRAMES, (PetscBool)(timed != NULL));
}

static const char *const cfd[] = {"density", "pressure", "Vx", "Vy", "Vz"};

/* The first four trajectories of six; of three all. */
static void TestCfd1d(void **state)
{
  (void)state;
  TestDataFile("cfd1d.hdf5", 3, cfd, NULL, 1, 6);
}

static void TestCfd2d(void **state)
{
  (void)state;
  TestDataFile("cfd2d.hdf5", 4, cfd, NULL, 2, 3);
}

static void TestCfd3d(void **state)
{
  (void)state;
  TestDataFile("cfd3d.hdf5", 5, cfd, NULL, 3, 2);
}

static void TestScalar(void **state)
{
  (void)state;
  TestDataFile("scalar.h5", 1, (const char *const[]){"tensor"}, NULL, 1, 5);
}

static void TestDarcy(void **state)
{
  (void)state;
  TestDataFile("darcy.hdf5", 2, (const char *const[]){"nu", "tensor"}, (const PetscBool[]){PETSC_FALSE, PETSC_TRUE}, 2, 5);
}

/* What XML cannot hold as it is. */
static void TestNamesAreEscaped(void **state)
{
  (void)state;
  TestDataFile("a<b> & \"c\".v2.hdf5", 1, (const char *const[]){"tensor"}, NULL, 1, 1);
}

/* (n, frames, fields, stride) as the evaluator has them -> prediction, target and error of every field. */
static void TestPredictions(void **state)
{
  enum { N = 5, FIELDS = 2, STRIDE = NX * NY + 3 };
  static const char *const kind[] = {"prediction", "target", "error"};
  static float             prediction[N][FRAMES][FIELDS][STRIDE], target[N][FRAMES][FIELDS][STRIDE], x[NX], y[NY], slab[NX * NY];
  EkDataInfo               info = {.dim = 2,
                                   .n = {NX, NY, 1},
                                   .fields = FIELDS,
                                   .frames = FRAMES,
                                   .initial_step = 2,
                                   .field = {"h", "v"},
                                   .coordinate = {x, y}};
  char                     folder[EK_PATH], path[2 * EK_PATH], value[256], name[256];
  int                      arrays = 0;

  (void)state;
  EkTestScratch(folder);
  if (EkTestRun()->rank) return;
  for (int i = 0; i < NX; i++) x[i] = ((float)i + 0.5f) / NX;
  for (int i = 0; i < NY; i++) y[i] = ((float)i + 0.5f) / NY;
  for (int k = 0; k < N * FRAMES * FIELDS; k++) {
    for (int i = 0; i < STRIDE; i++) {
      prediction[k / (FRAMES * FIELDS)][k / FIELDS % FRAMES][k % FIELDS][i] = (float)(k * 100 + i);
      target[k / (FRAMES * FIELDS)][k / FIELDS % FRAMES][k % FIELDS][i] = (float)(k * 7 + 2 * i);
    }
  }
  snprintf(path, sizeof(path), "%s/predictions.h5", folder);
  EK_OK(EkPredictionsWrite(path, &info, N, STRIDE, &prediction[0][0][0][0], &target[0][0][0][0]));
  EK_OK(EkXdmfWritePredictions(path, &info, N));
  snprintf(path, sizeof(path), "%s/predictions.xdmf", folder);
  Described d = Open(path, 2);
  for (int e = 0; e < d.xml.n; e++) {
    const Element *attribute = &d.xml.element[e], *grid = &d.xml.element[PetscMax(attribute->parent, 0)];
    int            t = 0, found = 0;

    if (strcmp(attribute->name, "Attribute")) continue;
    while (d.xml.element[2].child[1 + t] != attribute->parent) t++;
    CheckMesh(&d, grid);
    assert_int_equal(ReadSlab(&d, &d.xml.element[attribute->child[0]], slab), NX * NY);
    for (int k = 0; k < 3; k++) {
      for (int c = 0; c < FIELDS; c++) {
        for (int s = 0; s < 4; s++) {
          snprintf(name, sizeof(name), "%s_%s_%d", info.field[c], kind[k], s);
          if (strcmp(Get(attribute, "Name", value), name)) continue;
          found++;
          for (int i = 0; i < NX * NY; i++) {
            const float p = prediction[s][t][c][i], q = target[s][t][c][i];

            assert_true(slab[i] == (k == 0 ? p : k == 1 ? q : p - q));
          }
        }
      }
    }
    assert_int_equal(found, 1);
    arrays++;
  }
  assert_int_equal(arrays, FRAMES * 3 * FIELDS * 4);
  free(d.xml.element);
}

static void TestErrors(void **state)
{
  char folder[EK_PATH], path[2 * EK_PATH];

  (void)state;
  EkTestScratch(folder);
  EK_FAILS(EkXdmfWriteFile(EkTestRun(), "README.md"), "xdmf: 'README.md' is not an HDF5 file");
  snprintf(path, sizeof(path), "%s/empty.h5", folder);
  if (EkTestRun()->rank == 0) H5Fclose(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  MPI_Barrier(EkTestRun()->comm);
  EK_FAILS(EkXdmfWriteFile(EkTestRun(), path), "has no trajectories");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(TestCfd1d),       cmocka_unit_test(TestCfd2d),  cmocka_unit_test(TestCfd3d),
    cmocka_unit_test(TestScalar),      cmocka_unit_test(TestDarcy),  cmocka_unit_test(TestNamesAreEscaped),
    cmocka_unit_test(TestPredictions), cmocka_unit_test(TestErrors),
};
EK_TEST_MAIN(tests)
