#!/usr/bin/env python3
"""Joins data files of PDEBench's layout along their first axis: the trajectories of the first file, then those of the second, and so on.

  merge.py [--keep] OUT.hdf5 FILE [FILE ...]

The files must have the same datasets, coordinates and attributes, float32 throughout and every value finite. OUT is contiguous, has its
datasets in the files' order and appears when it is complete, with OUT.xdmf beside it for ParaView; what is read at a time is a few
trajectories. So an OUT that is there is complete: with --keep it stays if it holds these files, as many trajectories with each file's
first and last in their places; a job that is queued again then has nothing to do.
"""
import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass

import needs  # noqa: F401 (tells of missing modules, so before the others)

import h5py
import numpy as np

import xdmf

BLOCK_BYTES = 64 << 20  # read at a time, unless one trajectory is more
FLOAT32 = np.dtype("<f4")


class MergeError(Exception):
    """Files that cannot be joined; the text is the one line the user sees."""


@dataclass
class Contents:
    """What a file holds: datasets in their order. Those of one axis are coordinates, the others have a trajectory an entry."""

    path: str
    file: h5py.File
    datasets: list
    attributes: dict

    @property
    def data(self):
        return [dataset for dataset in self.datasets if dataset.ndim > 1]

    @property
    def coordinates(self):
        return [dataset for dataset in self.datasets if dataset.ndim == 1]

    @property
    def count(self):
        return self.data[0].shape[0]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="file to write; must not exist, unless --keep is given")
    parser.add_argument("files", metavar="FILE", nargs="+", help="files to join, in this order")
    parser.add_argument("--keep", action="store_true", help="leave an OUT that holds these files already, status 0")
    options = parser.parse_args(arguments)
    try:
        if options.keep and os.path.exists(options.out):
            print(f"{options.out}: kept, holds the {require_joined(options.out, options.files)} trajectories of {len(options.files)} files already")
            return 0
        count, described = merge(options.out, options.files)
    except (MergeError, OSError) as error:
        print(f"merge.py: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {count} trajectories of {len(options.files)} files")
    if not described:
        print("note: no dataset lies over its coordinates, so there is no description for ParaView")
    return 0


def merge(out, paths):
    """Number of trajectories, and the description's path or None."""
    if os.path.exists(out):
        raise MergeError(f"{out} exists already")
    with ExitStack() as stack:
        files = read_files(paths, stack)
        return sum(file.count for file in files), write(out, files)


def require_joined(out, paths):
    """Number of trajectories of `out`, which is what has been made of the files."""
    with ExitStack() as stack:
        files = read_files(paths, stack)
        try:
            joined = read_contents(out, stack)
            require_same(files[0], joined)
            require_ends(joined, files)
        except MergeError as error:
            raise MergeError(f"{out} exists already and does not hold these files: {error}") from None
        return joined.count


# ---- what is there ------------------------------------------------------------------------------------------------------


def read_files(paths, stack):
    """Those to join: different files, alike in everything but their trajectories."""
    files = [read_contents(path, stack) for path in paths]
    for i, other in enumerate(files):
        for one in files[:i]:
            if os.path.samefile(one.path, other.path):
                raise MergeError(f"{other.path} is named twice")
        require_same(files[0], other)
    return files


def read_contents(path, stack):
    if path.endswith(".part") and os.path.exists(path[:-len(".part")] + ".progress"):
        raise MergeError(f"{path} is not finished; generate goes on where it was")
    try:
        file = stack.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise MergeError(f"{path}: {'no such file' if not os.path.exists(path) else f'not a sound HDF5 file ({error})'}") from None
    for name, item in file.items():
        if not isinstance(item, h5py.Dataset):
            raise MergeError(f"{path}: {name} is a group; only files whose datasets hold all trajectories can be joined")
        if item.dtype != FLOAT32:
            raise MergeError(f"{path}: {name} is {item.dtype}, not little-endian float32")
        if item.ndim == 0 or len(item.attrs):
            raise MergeError(f"{path}: {name} {'has no axis' if item.ndim == 0 else 'has attributes of its own'}; not PDEBench's layout")
    # The file does not record an order of names; object headers lie in the order of creation.
    datasets = sorted(file.values(), key=lambda dataset: h5py.h5o.get_info(dataset.id).addr)
    contents = Contents(path, file, datasets, read_attributes(file))
    if not contents.data:
        raise MergeError(f"{path}: no dataset has a trajectory an entry")
    for dataset in contents.data:
        if len(dataset) != contents.count:
            raise MergeError(f"{path}: {name_of(dataset)} has {len(dataset)} trajectories, {name_of(contents.data[0])} {contents.count}")
    return contents


def read_attributes(file):
    """In the order in which they were made; a file lists them by name."""
    order = {"index_type": h5py.h5.INDEX_CRT_ORDER, "order": h5py.h5.ITER_INC}
    names = [h5py.h5a.open(file.id, index=i, **order).name.decode() for i in range(len(file.attrs))]
    return {name: file.attrs[name] for name in names}


def name_of(dataset):
    return dataset.name.lstrip("/")


def require_same(first, other):
    def differ(what):
        raise MergeError(f"{other.path} and {first.path} differ in {what}")

    if {d.name for d in first.datasets} != {d.name for d in other.datasets}:
        differ("their datasets: " + ", ".join(sorted({name_of(d) for d in first.datasets} ^ {name_of(d) for d in other.datasets})))
    for mine in first.datasets:
        theirs = other.file[mine.name]
        if mine.ndim != theirs.ndim or mine.shape[mine.ndim > 1 :] != theirs.shape[mine.ndim > 1 :]:
            differ(f"the shape of {name_of(mine)}: {theirs.shape} and {mine.shape}")
        if mine.ndim == 1 and not np.array_equal(mine[:], theirs[:]):
            differ(f"the coordinate {name_of(mine)}")
    if first.attributes.keys() != other.attributes.keys():
        differ("their attributes: " + ", ".join(sorted(first.attributes.keys() ^ other.attributes.keys())))
    for name, value in first.attributes.items():
        if not np.array_equal(value, other.attributes[name]):
            differ(f"the attribute {name}: {other.attributes[name]} and {value}")


def require_ends(joined, files):
    """As many trajectories as all files, and the first and last of each where they belong."""
    count, at = sum(file.count for file in files), 0
    if joined.count != count:
        raise MergeError(f"it has {joined.count} trajectories, they have {count}")
    for file in files:
        for dataset in file.data:
            for i in range(0, file.count, max(1, file.count - 1)):
                if not np.array_equal(dataset[i], joined.file[dataset.name][at + i]):
                    raise MergeError(f"{name_of(dataset)} of trajectory {at + i} is not that of trajectory {i} of {file.path}")
        at += file.count


# ---- what is written ----------------------------------------------------------------------------------------------------


def write(out, files):
    part = f"{out}.merging"
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    try:
        with h5py.File(part, "w", libver=("earliest", "latest")) as target:
            create(target, files)
            for dataset in files[0].data:
                join(target[dataset.name], files)
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        described = xdmf.write(part, out)
        os.rename(part, out)
        return described
    except BaseException:
        if os.path.exists(part):
            os.remove(part)
        raise


def create(target, files):
    """Every dataset in its place, the attributes: as the program's own files are, byte for byte."""
    first, count = files[0], sum(file.count for file in files)
    for dataset in first.datasets:
        shape = dataset.shape if dataset.ndim == 1 else (count, *dataset.shape[1:])
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        layout.set_obj_track_times(False)
        h5py.h5d.create(target.id, dataset.name.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), dcpl=layout)
        if dataset.ndim == 1:
            values = dataset[:]
            require_finite(dataset, values)
            target[dataset.name][:] = values
    for name, value in first.attributes.items():
        target.attrs[name] = value


def join(target, files):
    at = 0
    for file in files:
        source = file.file[target.name]
        rows = max(1, BLOCK_BYTES // (FLOAT32.itemsize * int(np.prod(source.shape[1:]))))
        for start in range(0, len(source), rows):
            block = source[start : start + rows]
            require_finite(source, block, start)
            target[at : at + len(block)] = block
            at += len(block)


def require_finite(dataset, values, start=0):
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(bad):
        what = "value" if dataset.ndim == 1 else "trajectory"
        raise MergeError(f"{dataset.file.filename}: {name_of(dataset)} has values that are not finite, first in {what} {start + bad[0]}")


if __name__ == "__main__":
    sys.exit(main())
