#include "evenkeel/xdmf.h"
#include "contents.h"
#include <math.h>
#include <string.h>

/* Trajectories lie side by side as arrays density_0, density_1 ... of one grid: in ParaView one reader, one time slider and a
   list of arrays to colour by. As grids of their own they would share one place in space and hide each other. */
#define SHOWN 4

/* Values of one frame: the box `start` with the whole grid along the last axes. */
typedef struct {
  char       name[3 * EK_NAME], set[2 * EK_NAME];
  int        rank, time, bytes; /* time: the axis of frames, -1: none; bytes a value */
  PetscInt64 shape[EK_MAX_RANK], start[EK_MAX_RANK];
} Array;

typedef struct {
  const char *path;
  int         dim, narrays, room;
  PetscInt64  n[3], frames;
  double      first[3], step[3], *time; /* of cell centres; time NULL: the frame's number */
  Array      *array;
} Picture;

/* ---- XML ------------------------------------------------------------------------------------------------------ */

static void Escape(FILE *xml, const char *text)
{
  for (; *text; text++) {
    if (*text == '&')
      fputs("&amp;", xml);
    else if (*text == '<')
      fputs("&lt;", xml);
    else if (*text == '>')
      fputs("&gt;", xml);
    else if (*text == '"')
      fputs("&quot;", xml);
    else
      fputc(*text, xml);
  }
}

static const char *FileName(const char *path)
{
  const char *slash = strrchr(path, '/');

  return slash ? slash + 1 : path;
}

static void Numbers(FILE *xml, int n, const PetscInt64 number[])
{
  for (int i = 0; i < n; i++) fprintf(xml, "%s%lld", i ? " " : "", (long long)number[i]);
}

/* Cells along the three axes, slowest first. Always three: one layer of cells in 2D, a bar in 1D. Two-dimensional meshes lie in
   different planes in ParaView's two XDMF readers and in VisIt, and there are no one-dimensional ones. */
static void Cells(const Picture *p, PetscInt64 cells[3])
{
  for (int d = 0; d < 3; d++) cells[d] = d < 3 - p->dim ? 1 : p->n[d - (3 - p->dim)];
}

/* Corner of the first cell, since the values are those of cells. An axis that the data do not have is as wide as a twentieth of
 * the longest. */
static void WriteMesh(FILE *xml, const Picture *p)
{
  PetscInt64 points[3];
  double     corner[3] = {0}, step[3], longest = 0;
  const int  absent = 3 - p->dim;

  Cells(p, points);
  for (int d = 0; d < p->dim; d++) longest = fmax(longest, (double)p->n[d] * fabs(p->step[d]));
  for (int d = 0; d < 3; d++) {
    points[d]++;
    step[d] = d < absent ? longest / 20 : p->step[d - absent];
    if (d >= absent) corner[d] = p->first[d - absent] - 0.5 * step[d];
  }
  fprintf(xml, "        <Topology TopologyType=\"3DCoRectMesh\" Dimensions=\"");
  Numbers(xml, 3, points);
  fprintf(xml, "\"/>\n        <Geometry GeometryType=\"ORIGIN_DXDYDZ\">\n");
  fprintf(xml, "          <DataItem Format=\"XML\" Dimensions=\"3\">%.9g %.9g %.9g</DataItem>\n", corner[0], corner[1],
          corner[2]);
  fprintf(xml, "          <DataItem Format=\"XML\" Dimensions=\"3\">%.9g %.9g %.9g</DataItem>\n        </Geometry>\n", step[0],
          step[1], step[2]);
}

static void WriteArray(FILE *xml, const Picture *p, const Array *a, PetscInt64 frame)
{
  PetscInt64 cells[3], box[3][EK_MAX_RANK];

  Cells(p, cells);
  for (int d = 0; d < a->rank; d++) {
    box[0][d] = d == a->time ? frame : a->start[d];
    box[1][d] = 1;
    box[2][d] = d < a->rank - p->dim ? 1 : a->shape[d];
  }
  fprintf(xml, "        <Attribute Name=\"");
  Escape(xml, a->name);
  fprintf(xml, "\" AttributeType=\"Scalar\" Center=\"Cell\">\n          <DataItem ItemType=\"HyperSlab\" Dimensions=\"");
  Numbers(xml, 3, cells);
  fprintf(xml, "\">\n            <DataItem Format=\"XML\" Dimensions=\"3 %d\">", a->rank);
  for (int row = 0; row < 3; row++) {
    fputs(row ? "  " : "", xml);
    Numbers(xml, a->rank, box[row]);
  }
  fprintf(xml, "</DataItem>\n            <DataItem Format=\"HDF\" NumberType=\"Float\" Precision=\"%d\" Dimensions=\"", a->bytes);
  Numbers(xml, a->rank, a->shape);
  fprintf(xml, "\">");
  Escape(xml, FileName(p->path));
  fprintf(xml, ":/");
  Escape(xml, a->set);
  fprintf(xml, "</DataItem>\n          </DataItem>\n        </Attribute>\n");
}

static void WriteXml(FILE *xml, const Picture *p)
{
  fprintf(xml, "<?xml version=\"1.0\" ?>\n<Xdmf Version=\"3.0\">\n  <Domain>\n    <Grid Name=\"");
  Escape(xml, FileName(p->path));
  fprintf(xml, "\" GridType=\"Collection\" CollectionType=\"Temporal\">\n");
  fprintf(xml,
          "      <Information Name=\"axes\" Value=\"the last axis of the data, which varies fastest, is drawn along x\"/>\n");
  for (PetscInt64 t = 0; t < p->frames; t++) {
    fprintf(xml, "      <Grid Name=\"frame %lld\" GridType=\"Uniform\">\n        <Time Value=\"%.9g\"/>\n", (long long)t,
            p->time ? p->time[t] : (double)t);
    WriteMesh(xml, p);
    for (int i = 0; i < p->narrays; i++) WriteArray(xml, p, &p->array[i], t);
    fprintf(xml, "      </Grid>\n");
  }
  fprintf(xml, "    </Grid>\n  </Domain>\n</Xdmf>\n");
}

/* NAME.hdf5 -> NAME.xdmf */
static void XdmfPath(const char *path, char out[EK_PATH + 16])
{
  const char *dot = strrchr(FileName(path), '.');
  const int   base = dot && (!strcmp(dot, ".hdf5") || !strcmp(dot, ".h5")) ? (int)(dot - path) : (int)strlen(path);

  snprintf(out, EK_PATH + 16, "%.*s.xdmf", base, path);
}

static PetscErrorCode Write(const Picture *p)
{
  char   path[EK_PATH + 16], part[EK_PATH + 32], *text = NULL;
  size_t bytes = 0;
  FILE  *xml = open_memstream(&text, &bytes);
  int    fd;

  PetscFunctionBegin;
  EkCheckAlloc(xml, "a description as XDMF");
  WriteXml(xml, p);
  EkCheckAlloc(!fclose(xml) && text ? text : NULL, "a description as XDMF");
  XdmfPath(p->path, path);
  snprintf(part, sizeof(part), "%s.part", path);
  PetscCall(EkFileOpen("xdmf", part, O_WRONLY | O_CREAT | O_TRUNC, &fd));
  PetscCall(EkFileWrite("xdmf", part, fd, text, bytes, 0));
  PetscCall(EkFileFinish("xdmf", part, fd));
  PetscCall(EkFileReplace("xdmf", part, path));
  free(text);
  PetscFunctionReturn(0);
}

/* ---- what there is to show --------------------------------------------------------------------------------------- */

static PetscErrorCode AddArray(Picture *p, const Array *array)
{
  PetscFunctionBegin;
  if (p->narrays == p->room) {
    p->room = p->room ? 2 * p->room : 16;
    PetscCall(PetscRealloc((size_t)p->room * sizeof(Array), &p->array));
  }
  p->array[p->narrays++] = *array;
  PetscFunctionReturn(0);
}

static void SetAxis(Picture *p, int d, PetscInt64 n, double first, double last)
{
  p->n[d] = n;
  p->first[d] = first;
  p->step[d] = n > 1 ? (last - first) / (double)(n - 1) : 1;
}

/* The dataset covers the grid, for every trajectory and, with one axis more, every frame. */
static PetscBool Fits(const Picture *p, const EkContentsSet *s)
{
  const int lead = s->rank - p->dim;

  if ((lead != 1 && lead != 2) || (strcmp(s->type, "float32") && strcmp(s->type, "float64"))) return PETSC_FALSE;
  for (int d = 0; d < p->dim; d++) {
    if (s->shape[lead + d] != p->n[d]) return PETSC_FALSE;
  }
  return PETSC_TRUE;
}

static PetscErrorCode AddSet(Picture *p, const EkContentsSet *s)
{
  const PetscBool timed = (PetscBool)(s->rank == p->dim + 2);
  Array array = {.rank = s->rank, .time = timed && s->shape[1] > 1 ? 1 : -1, .bytes = !strcmp(s->type, "float64") ? 8 : 4};

  PetscFunctionBegin;
  PetscCall(PetscStrncpy(array.set, s->name, sizeof(array.set)));
  for (int d = 0; d < s->rank; d++) array.shape[d] = s->shape[d];
  if (timed) p->frames = PetscMax(p->frames, s->shape[1]);
  for (PetscInt64 i = 0; i < PetscMin(s->shape[0], (PetscInt64)SHOWN); i++) {
    array.start[0] = i;
    snprintf(array.name, sizeof(array.name), "%.100s_%lld", s->name, (long long)i);
    PetscCall(AddArray(p, &array));
  }
  PetscFunctionReturn(0);
}

static PetscErrorCode ReadTimes(Picture *p, const EkContents *contents)
{
  const EkContentsSet *t = EkContentsFind(contents, "t-coordinate");

  PetscFunctionBegin;
  if (!t || !t->axis || t->shape[0] < p->frames) PetscFunctionReturn(0);
  PetscCall(PetscMalloc1(p->frames, &p->time));
  PetscCall(EkContentsReadAxis("xdmf", p->path, t->name, (PetscInt)p->frames, p->time));
  PetscFunctionReturn(0);
}

static PetscErrorCode WriteFile(const char *path)
{
  static const char *const axis[] = {"x-coordinate", "y-coordinate", "z-coordinate"};
  Picture                  p = {.path = path, .frames = 1};
  EkContents              *contents;

  PetscFunctionBegin;
  PetscCall(PetscNew(&contents));
  PetscCall(EkContentsRead("xdmf", path, contents));
  for (const EkContentsSet *s; p.dim < 3 && (s = EkContentsFind(contents, axis[p.dim])) && s->axis; p.dim++)
    SetAxis(&p, p.dim, s->shape[0], s->first, s->last);
  for (int i = 0; i < contents->nsets && p.dim; i++) {
    if (Fits(&p, &contents->set[i])) PetscCall(AddSet(&p, &contents->set[i]));
  }
  PetscCheck(p.narrays, PETSC_COMM_SELF, PETSC_ERR_FILE_UNEXPECTED, "xdmf: '%s' has no trajectories over its x-coordinate", path);
  PetscCall(ReadTimes(&p, contents));
  PetscCall(Write(&p));
  PetscCall(PetscFree(contents));
  PetscCall(PetscFree(p.time));
  PetscCall(PetscFree(p.array));
  PetscFunctionReturn(0);
}

PetscErrorCode EkXdmfWriteFile(EkRun run, const char *path)
{
  PetscFunctionBegin;
  PetscCall(EkAgree(run, run->comm, run->rank == 0 ? WriteFile(path) : 0));
  PetscFunctionReturn(0);
}

PetscErrorCode EkXdmfWritePredictions(const char *path, const EkDataInfo *info, PetscInt n)
{
  static const char *const kind[] = {"prediction", "target", "error"};
  Picture                  p = {.path = path, .frames = info->frames, .dim = info->dim};
  Array                    array = {.rank = 3 + info->dim, .time = 2, .bytes = 4, .shape = {n, info->fields, info->frames}};

  PetscFunctionBegin;
  for (int d = 0; d < info->dim; d++) {
    array.shape[3 + d] = info->n[d];
    SetAxis(&p, d, info->n[d], info->coordinate[d][0], info->coordinate[d][info->n[d] - 1]);
  }
  for (int k = 0; k < 3; k++) {
    PetscCall(PetscStrncpy(array.set, kind[k], sizeof(array.set)));
    for (array.start[1] = 0; array.start[1] < info->fields; array.start[1]++) {
      for (array.start[0] = 0; array.start[0] < PetscMin(n, SHOWN); array.start[0]++) {
        snprintf(array.name, sizeof(array.name), "%s_%s_%lld", info->field[array.start[1]], kind[k], (long long)array.start[0]);
        PetscCall(AddArray(&p, &array));
      }
    }
  }
  PetscCall(Write(&p));
  PetscCall(PetscFree(p.array));
  PetscFunctionReturn(0);
}
