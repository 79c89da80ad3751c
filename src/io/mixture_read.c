#include "mixture.h"
#include <string.h>

int EkMixtureSetOf(EkMixture m, PetscInt sample)
{
  int k = m->nsets - 1;

  while (k > 0 && sample < m->set[k].first) k--;
  return k;
}

/* One number for every sample of every epoch. */
static uint64_t Visit(PetscInt epoch, PetscInt sample)
{
  return (uint64_t)epoch << 32 | (uint32_t)sample;
}

/* First frame of the window. */
static PetscInt WindowOf(EkMixture m, int k, PetscInt epoch, PetscInt sample)
{
  EkRandom stream;

  if (!m->options.window) return 0;
  stream = EkRandomStream((uint64_t)m->seed, EK_RANDOM_WINDOW, Visit(epoch, sample));
  return (PetscInt)EkInteger(&stream, (uint32_t)(m->set[k].info->t_train - m->options.window + 1));
}

void EkMixtureKeys(EkMixture m, PetscInt epoch, PetscInt n, const PetscInt index[], uint64_t keys[])
{
  for (PetscInt i = 0; i < n; i++) {
    EkRandom       stream = EkRandomStream((uint64_t)m->seed, EK_RANDOM_NOISE, Visit(epoch, index[i]));
    const uint64_t high = (uint64_t)(EkUniform(&stream) * 4294967296.0), low = (uint64_t)(EkUniform(&stream) * 4294967296.0);

    keys[i] = high << 32 | low;
  }
}

/* Frames as the file has them -> (frames, C, stride). */
static void Bring(EkMixture m, int k, PetscInt frames, const float *raw, size_t stride, float *out)
{
  const EkDataInfo *own = m->set[k].info;
  const size_t      points = (size_t)own->n[0] * (size_t)own->n[1] * (size_t)own->n[2],
               all = (size_t)m->info.n[0] * (size_t)m->info.n[1] * (size_t)m->info.n[2];
  const PetscBool same = (PetscBool)!memcmp(own->n, m->info.n, sizeof(own->n));

  for (PetscInt t = 0; t < frames; t++) {
    for (PetscInt f = 0; f < m->info.fields; f++, out += stride) {
      const float *plane = raw + ((size_t)t * (size_t)own->fields + (size_t)f) * points;

      if (f >= own->fields) {
        for (size_t i = 0; i < all; i++) out[i] = 1;
      } else if (same)
        memcpy(out, plane, all * sizeof(float));
      else
        EkResamplePlane(m->info.dim, m->axis[k], own->n[1], plane, out);
      memset(out + all, 0, (stride - all) * sizeof(float));
    }
  }
}

static PetscErrorCode ReadOne(EkMixture m, int k, EkSplit split, PetscInt trajectory, PetscInt from, PetscInt frames,
                              size_t stride, float *out)
{
  const EkMixtureSet *set = &m->set[k];

  PetscFunctionBegin;
  if (set->as_it_is) {
    PetscCall(EkDatasetReadFrames(set->dataset, split, 1, &trajectory, &from, frames, stride, out));
    PetscFunctionReturn(0);
  }
  PetscCall(EkDatasetReadFrames(set->dataset, split, 1, &trajectory, &from, frames, EkDatasetPoints(set->dataset), m->raw));
  Bring(m, k, frames, m->raw, stride, out);
  PetscFunctionReturn(0);
}

size_t EkMixtureSampleFloats(EkMixture m, size_t stride)
{
  const PetscInt mask = m->options.mask == EK_MASK_DATA;

  return (size_t)(m->info.t_train + mask) * (size_t)m->info.fields * stride;
}

static void CopyMask(EkMixture m, int k, size_t stride, float *out)
{
  const size_t points = (size_t)m->info.n[0] * (size_t)m->info.n[1] * (size_t)m->info.n[2];

  for (PetscInt f = 0; f < m->info.fields; f++, out += stride) {
    memcpy(out, m->set[k].mask + (size_t)f * points, points * sizeof(float));
    memset(out + points, 0, (stride - points) * sizeof(float));
  }
}

PetscErrorCode EkMixtureReadTraining(EkMixture m, PetscInt epoch, PetscInt n, const PetscInt index[], size_t stride, float *out)
{
  const size_t frames = (size_t)m->info.t_train * (size_t)m->info.fields * stride;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < n; i++, out += EkMixtureSampleFloats(m, stride)) {
    const int      k = EkMixtureSetOf(m, index[i]);
    const PetscInt trajectory = (index[i] - m->set[k].first) / m->set[k].weight;

    PetscCall(ReadOne(m, k, EK_TRAIN, trajectory, WindowOf(m, k, epoch, index[i]), m->info.t_train, stride, out));
    if (m->options.mask == EK_MASK_DATA) CopyMask(m, k, stride, out + frames);
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkMixturePrefetchTraining(EkMixture m, PetscInt epoch, PetscInt n, const PetscInt index[])
{
  PetscFunctionBegin;
  for (PetscInt i = 0; i < n; i++) {
    const int      k = EkMixtureSetOf(m, index[i]);
    const PetscInt trajectory = (index[i] - m->set[k].first) / m->set[k].weight, from = WindowOf(m, k, epoch, index[i]);

    PetscCall(EkDatasetPrefetchFrames(m->set[k].dataset, EK_TRAIN, 1, &trajectory, &from, m->info.t_train));
  }
  PetscFunctionReturn(0);
}

PetscErrorCode EkMixtureReadTest(EkMixture m, int k, PetscInt n, const PetscInt index[], size_t stride, float *out)
{
  const PetscInt frames = m->set[k].info->frames;

  PetscFunctionBegin;
  for (PetscInt i = 0; i < n; i++)
    PetscCall(
        ReadOne(m, k, EK_TEST, index[i], 0, frames, stride, out + (size_t)i * (size_t)frames * (size_t)m->info.fields * stride));
  PetscFunctionReturn(0);
}

PetscInt64 EkMixtureBytesRead(EkMixture m)
{
  PetscInt64 sum = 0;

  for (int k = 0; k < m->nsets; k++) sum += EkDatasetBytesRead(m->set[k].dataset);
  return sum;
}
