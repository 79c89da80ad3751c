#!/usr/bin/env python3
"""neuraloperator's data files (torch.save of {"x": input, "y": solution}) as one HDF5 file in PDEBench's layout.

  pairs.py FILE.pt [FILE.pt ...] OUT.hdf5

The samples follow one another in the files' order: the test set first, as Evenkeel splits. What the tensors are is told by their shapes,
each with or without an axis of one channel after N:

  Darcy flow   x (N, X, Y) coefficient        y (N, X, Y) solution       nu (N, X, Y), tensor (N, 1, X, Y)
  Burgers      x (N, X) initial condition     y (N, T, X) trajectory     tensor (N, T, X), its first frame being x

Values are written as float32, coordinates as PDEBench has them on the unit interval: middles of cells, and one time more than frames. A few
samples are read at a time. OUT appears when it is complete, with OUT.xdmf beside it for ParaView. Needs h5py and numpy, not torch.
"""
import argparse
import math
import os
import sys
from dataclasses import dataclass

import needs  # noqa: F401 (tells of missing modules, so before the others)

import h5py
import numpy as np

import tensorfiles
import xdmf
from tensorfiles import KINDS, FileError, Tensor

BLOCK_BYTES = 64 << 20  # of float32 written at a time, unless one sample is more
SAME = 1e-5  # the first frame is the initial condition: relative to the largest value
WANTED = "x and y of one shape (N, X, Y), Darcy flow, or x (N, X) and y (N, T, X), Burgers, with or without one channel after N"


@dataclass
class Pair:
    """What a file holds: tensors without their axis of one channel."""

    path: str
    x: Tensor
    y: Tensor

    @property
    def count(self):
        return self.y.shape[0]

    @property
    def is_darcy(self):
        return len(self.x.shape) == 3

    @property
    def called(self):
        """ "Darcy flow, 16 x 16 points" """
        _, *sides = self.y.shape
        return f"Darcy flow, {sides[0]} x {sides[1]} points" if self.is_darcy else f"Burgers, {sides[0]} frames of {sides[1]} points"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="+", help="files of torch.save, .pt or .pth, in this order")
    parser.add_argument("out", metavar="OUT", help="file to write, .hdf5 or .h5; must not exist")
    parser.add_argument("--dt", type=float, help="Burgers: time from frame to frame, which the files do not hold (0.06 in burgers_*_16.pt); "
                        "without it t-coordinate ends at 1")
    options = parser.parse_args(arguments)
    try:
        pairs = convert(options.files, options.out, options.dt)
    except (FileError, MemoryError) as error:
        print(f"pairs.py: {error or 'out of memory'}", file=sys.stderr)
        return 1
    counts = [pair.count for pair in pairs]
    print(f"{options.out}: {pairs[0].called}, {' + '.join(map(str, counts))} = {sum(counts)} samples")
    return 0


def convert(paths, out, dt=None):
    """The pairs that OUT was made of."""
    if os.path.splitext(out)[1].lower() not in (".hdf5", ".h5"):
        raise FileError(f"{out}: the last name is that of the file to write and must end in .hdf5 or .h5")
    if os.path.exists(out):
        raise FileError(f"{out} exists already")
    pairs = []
    for path in paths:
        pairs.append(read_pair(path))
        require_alike(pairs[-1], pairs[:-1])
    if dt is not None and (pairs[0].is_darcy or not 1e-30 < dt < 1e30):
        raise FileError(f"--dt {dt:g}: " + ("Darcy flow has no time" if pairs[0].is_darcy else "wanted is a number above 0"))
    tensorfiles.replace(out, lambda part: write(part, out, pairs, dt))
    return pairs


# ---- what is there ------------------------------------------------------------------------------------------------------


def read_pair(path):
    saved = tensorfiles.read_torch(path, optional=("visc",))  # Burgers' viscosity, which PDEBench's files do not hold
    if not isinstance(saved, dict) or not all(isinstance(saved.get(key), Tensor) for key in "xy"):
        found = [f"{key} {type(value).__name__}" for key, value in saved.items()] if isinstance(saved, dict) else [type(saved).__name__]
        raise FileError(f"{path}: wanted is a dict with tensors x and y (found: {', '.join(found[:8]) or 'nothing'})")
    for key in "xy":
        if KINDS[saved[key].kind].real:
            raise FileError(f"{path}: {key} is {saved[key].kind}; wanted are real numbers")
    x, y = without_channel(saved["x"], (3, 4)), without_channel(saved["y"], (4,))
    wanted = y.shape if len(x.shape) == 3 else (*y.shape[:1], *y.shape[2:])
    if len(y.shape) != 3 or x.shape != wanted or 0 in y.shape:
        raise FileError(f"{path}: x is {saved['x'].shape}, y is {saved['y'].shape}; wanted: {WANTED}")
    return Pair(path, x, y)


def without_channel(tensor, axes):
    """Where it has as many axes as have one of them for a single channel."""
    whole = tensorfiles.widened(tensor)
    if len(whole.shape) not in axes or whole.shape[1] != 1:
        return whole
    shape = (whole.shape[0], *whole.shape[2:])
    return Tensor(whole.kind, shape, lambda: whole.load().reshape(shape))


def require_alike(pair, others):
    for other in others:
        if os.path.samefile(pair.path, other.path):
            raise FileError(f"{pair.path} is named twice")
        if pair.called != other.called:
            raise FileError(f"{pair.path} is {pair.called}; {other.path} is {other.called}")


# ---- what is written ----------------------------------------------------------------------------------------------------


def write(part, out, pairs, dt):
    count, sides = sum(pair.count for pair in pairs), pairs[0].y.shape[1:]
    with h5py.File(part, "w") as file:
        if pairs[0].is_darcy:
            join(file, "tensor", (count, 1, *sides), pairs, "y")
            join(file, "nu", (count, *sides), pairs, "x")
            coordinates = {"x-coordinate": middles(sides[0]), "y-coordinate": middles(sides[1])}
        else:
            join(file, "tensor", (count, *sides), pairs, "y")
            for pair in pairs:
                require_initial(pair)
            coordinates = {"x-coordinate": middles(sides[1]), "t-coordinate": np.linspace(0, sides[0] * dt if dt else 1, sides[0] + 1)}
        for name, values in coordinates.items():
            file.create_dataset(name, data=values, dtype="<f4")
    try:
        xdmf.write(part, out)
    except OSError as error:
        raise FileError(f"{xdmf.path_beside(out)}: cannot be written: {error.strerror or error}") from None


def middles(cells):
    return (np.arange(cells) + 0.5) / cells


def join(file, name, shape, pairs, key):
    target, at = file.create_dataset(name, shape, "<f4"), 0
    for pair in pairs:
        for block in blocks(pair, key):
            target[at: at + len(block)] = block.reshape(-1, *shape[1:])
            at += len(block)


def blocks(pair, key):
    """x or y, a few samples at a time, as float32. Error: values that are not finite."""
    tensor = getattr(pair, key)
    values = tensor.load()
    rows = max(1, BLOCK_BYTES // (4 * math.prod(tensor.shape[1:])))
    for start in range(0, pair.count, rows):
        with np.errstate(over="ignore"):  # is infinite then, and refused
            block = values[start: start + rows].astype("<f4")
        bad = np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(axis=1))
        if len(bad):
            raise FileError(f"{pair.path}: {key} has values that are not finite (in float32), first in sample {start + bad[0]}")
        yield block


def require_initial(pair):
    """y begins with x: else the trajectory is none, or its first frame is missing."""
    first = pair.y.load()[:, 0].astype("<f4")
    x = np.concatenate(list(blocks(pair, "x")))
    bad = np.flatnonzero(np.abs(first - x).max(axis=1) > SAME * np.abs(x).max(axis=1))
    if len(bad):
        raise FileError(f"{pair.path}: the first frame of y is not x, first in sample {bad[0]}; wanted is a trajectory from its initial condition on")


if __name__ == "__main__":
    sys.exit(main())
