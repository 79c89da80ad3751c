#include "mixture.h"
#include <stddef.h>

static const EkMember mask_row[] = {
    [EK_MASK_NONE] = {"none", "all fields and points, added ones too: they are trained to be one (as published)"},
    [EK_MASK_DATA] = {"data", "what the file has: its fields, about as many points as it had"},
};
const EkFamily EkMaskFamily = EK_FAMILY("data_mask", mask_row);

#define FIELD(name) offsetof(EkMixtureOptions, name)
#define EACH(name)  offsetof(EkMixtureOptions, each.name)
static const EkKey data_key[] = {
    {"data_file", EK_KEY_PATHS, FIELD(files), NULL, 0, 0, NULL, NULL,
     "trajectories in HDF5, laid out as PDEBench's files (CFD, scalar 1D, Darcy, one group a sample) or as DPOT's (a folder with "
     "train and test, "
     "NAME_train.hdf5); several, comma-separated, are mixed"},
    {"data_weights", EK_KEY_INTS, FIELD(weights), "", 1, 1 << 20, NULL, "visits",
     "of each file's training trajectories in an epoch, one number a file; 1 when not given"},
    {"data_fields", EK_KEY_STRING, EACH(fields), "", 0, 0, NULL, NULL,
     "names of the fields to read, comma-separated, in this order; all when not given (`inspect` shows them); CFD: in DPOT's "
     "order for model_type dpot"},
    {"data_normalize", EK_KEY_CHOICE, EACH(normalize), "none", 0, 0, &EkNormalizeFamily, NULL,
     "what the network gets; figures and predictions are always in the file's units"},
    {"data_test", EK_KEY_INTS, FIELD(test), "-1", -1, PETSC_MAX_INT, NULL, "trajectories",
     "of the file that are the test set, one number for all files or one a file; -1: a tenth of them, or DPOT's own test set"},
    {"data_test_from", EK_KEY_CHOICE, EACH(test_from), "start", 0, 0, &EkTestFromFamily, NULL,
     "where in each file the test set lies"},
    {"data_train", EK_KEY_INTS, FIELD(train), "-1", -1, PETSC_MAX_INT, NULL, "trajectories",
     "are trained on, likewise: those after the test set, or the first where it is the last; -1: all the rest"},
    {"data_reduced_batch", EK_KEY_INT, EACH(reduced_batch), "1", 1, PETSC_MAX_INT, NULL, NULL, "train on every k-th of them"},
    {"data_reduced_resolution", EK_KEY_INT, EACH(reduced_resolution), "1", 1, PETSC_MAX_INT, NULL, NULL,
     "every k-th point of each axis"},
    {"data_reduced_resolution_t", EK_KEY_INT, EACH(reduced_resolution_t), "1", 1, PETSC_MAX_INT, NULL, NULL,
     "every k-th frame (Darcy: no effect)"},
    {"data_resolution", EK_KEY_INT, FIELD(resolution), "0", 0, 1 << 20, NULL, "points",
     "along every axis all samples are brought to by bilinear interpolation; 0: as they are"},
    {"data_channels", EK_KEY_INT, FIELD(channels), "0", 0, EK_MAX_FIELDS, NULL, "fields",
     "all samples have, filled up with ones; 0: as many as the file with most of them"},
    {"data_mask", EK_KEY_CHOICE, FIELD(mask), "none", 0, 0, &EkMaskFamily, NULL, "what counts in the training loss (rel_l2)"},
    {"data_initial_step", EK_KEY_INT, EACH(initial_step), "10", 1, PETSC_MAX_INT, NULL, "frames", "given frames (Darcy: always 1)"},
    {"data_t_train", EK_KEY_INT, EACH(t_train), "-1", -1, PETSC_MAX_INT, NULL, "frames",
     "frames used in training, the given ones included; -1: all"},
    {"data_window", EK_KEY_INT, FIELD(window), "0", 0, PETSC_MAX_INT, NULL, "frames",
     "of a training sample, the given ones included, cut out of those at random in every epoch; 0: all of them"},
    {"data_noise", EK_KEY_REAL, FIELD(noise), "0", 0, 1e6, NULL, NULL,
     "added to given frames in training: deviation over the norm of each field over them (DPOT: 5e-4)"},
    {"data_cache", EK_KEY_BYTES, EACH(cache), "1G", 0, 1e18, NULL, "bytes per rank", "decoded samples kept in memory"},
};
const EkKeyTable EkDataKeys = EK_KEYS("data", data_key);
