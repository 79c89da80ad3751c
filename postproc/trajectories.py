"""Trajectories of data files and of predictions.h5, read a frame at a time (of DPOT's files a trajectory): a file may be larger than memory."""
import os
import re

import h5py
import numpy as np

from rundir import RunError, open_hdf5

AXES = ("x", "y", "z")
CFD_FIELDS = ("density", "pressure", "Vx", "Vy", "Vz")
DPOT_FILE = re.compile(r"data_(\d+)\.hdf5")


class Trajectories:
    """A data file, or a folder of DPOT's. fields: names; times: one a frame, NaN where the file has none; coordinates: an array an
    axis, None where the file has none; shape: the grid, in 3D of the plane that is shown; initial: frames that were given to a
    model; files: of a folder, one a trajectory. Rows are (heading, function of trajectory, field, frame)."""

    def __init__(self, path):
        self.path = path
        self.files = folder_files(path)
        self.file = open_hdf5(os.path.join(path, self.files[0]) if self.files else path)
        self.initial = 0
        names = set(self.file)
        if {"prediction", "target"} <= names:
            self._predictions()
        elif "density" in names:
            self._shared([name for name in CFD_FIELDS if name in names])
        elif {"nu", "tensor"} <= names:
            self._darcy()
        elif "tensor" in names:
            self._shared(["tensor"])
        elif isinstance(self.file.get("data"), h5py.Dataset):
            self._dpot()
        elif any(isinstance(self.file.get(f"{name}/data"), h5py.Dataset) for name in names):
            self._groups()
        else:
            raise RunError(f"{path}: no trajectories in it (found: {', '.join(sorted(names)[:8]) or 'nothing'})")
        if self.dim not in (1, 2, 3) or 0 in (self.count, self.frames, len(self.fields)):
            raise RunError(f"{path}: its datasets have {self.dim} axes of space, {self.count} trajectories, {self.frames} frames")

    def label(self, trajectory):
        return f"trajectory {trajectory}" + (f" ({self.files[trajectory]})" if self.files else "")

    def value(self, reader, trajectory, field, frame):
        """One frame of one field on the grid, float64; in 3D its middle plane along z."""
        try:
            return np.asarray(reader(trajectory, field, frame), dtype=float)
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{self.path}: trajectory {trajectory} cannot be read: {' '.join(str(error).split())}") from None

    def _predictions(self):
        truth, guess = self._dataset("target"), self._dataset("prediction")
        if truth.shape != guess.shape or truth.ndim < 4:
            raise RunError(f"{self.path}: prediction {guess.shape}, target {truth.shape}: must be the same (n, fields, frames, x ...)")
        self.count, count, self.frames = truth.shape[:3]
        self._set_grid(truth.shape[3:])
        fields = self.file.attrs.get("fields", "")
        self.fields = (fields.decode() if isinstance(fields, bytes) else str(fields)).split(",")
        if len(self.fields) != count:
            self.fields = [f"field {i}" for i in range(count)]
        self.initial = int(self.file.attrs.get("initial_step", 0))
        self.times, self.coordinates = np.full(self.frames, np.nan), [None] * 3
        read = [lambda n, f, t, data=data: data[(n, f, t) + self.plane] for data in (truth, guess)]
        self.rows = [("truth", read[0]), ("prediction", read[1]), ("error", lambda n, f, t: self._error(read, n, f, t))]

    def _error(self, read, n, f, t):
        with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, and drawn as a hole
            return np.asarray(read[1](n, f, t), dtype=float) - np.asarray(read[0](n, f, t), dtype=float)

    def _shared(self, fields):
        """Datasets (trajectory, frame, x ...), one a field."""
        data = [self._dataset(name) for name in fields]
        if len({item.shape for item in data}) > 1 or data[0].ndim < 3:
            raise RunError(f"{self.path}: datasets {', '.join(fields)} disagree or have no time axis")
        self.fields, self.count, self.frames = fields, *data[0].shape[:2]
        self._set_grid(data[0].shape[2:])
        self.times = self._times("t-coordinate")
        self.coordinates = [self._axis(f"{axis}-coordinate", n) for axis, n in zip(AXES, data[0].shape[2:])]
        self.rows = [("", lambda n, f, t: data[f][(n, t) + self.plane])]

    def _darcy(self):
        """A coefficient nu and a solution u, neither of them in time."""
        nu, u = self._dataset("nu"), self._dataset("tensor")
        if nu.ndim != 3 or u.shape != (nu.shape[0], 1) + nu.shape[1:]:
            raise RunError(f"{self.path}: nu {nu.shape}, tensor {u.shape}: must be (n, x, y) and (n, 1, x, y)")
        self.fields, self.count, self.frames = ["nu", "tensor"], nu.shape[0], 1
        self._set_grid(nu.shape[1:])
        self.times = np.full(1, np.nan)
        self.coordinates = [self._axis(f"{axis}-coordinate", n) for axis, n in zip(AXES, nu.shape[1:])]
        self.rows = [("", lambda n, f, t: u[n, 0] if f else nu[n])]

    def _groups(self):
        """A group a trajectory with data (frame, x ..., field)."""
        names = sorted(name for name in self.file if isinstance(self.file.get(f"{name}/data"), h5py.Dataset))
        shape = self._dataset(f"{names[0]}/data").shape
        if len(shape) < 3:
            raise RunError(f"{self.path}: dataset '{names[0]}/data' has {len(shape)} axes")
        self.fields = [f"data{i}" for i in range(shape[-1])]
        self.count, self.frames = len(names), shape[0]
        self._set_grid(shape[1:-1])
        self.times = self._times(f"{names[0]}/grid/t")
        self.coordinates = [self._axis(f"{names[0]}/grid/{axis}", n) for axis, n in zip(AXES, shape[1:-1])]
        self.rows = [("", lambda n, f, t: self.file[names[n]]["data"][(t,) + self.plane + (f,)])]

    def _dpot(self):
        """data (x, y, frame, field) of one trajectory, a file each; or of one field (trajectory, x, y, frame), in a file of another name."""
        data = self._dataset("data")
        single = bool(self.files) or DPOT_FILE.fullmatch(os.path.basename(self.path)) is not None
        if data.ndim != 4:
            raise RunError(f"{self.path}: 'data' has {data.ndim} axes, wanted are {'x, y, frame, field' if single else 'trajectory, x, y, frame'}")
        self.count = (len(self.files) or 1) if single else data.shape[0]
        grid, self.frames, fields = (data.shape[:2], *data.shape[2:]) if single else (data.shape[1:3], data.shape[3], 1)
        self.fields = ["data"] if fields == 1 else [f"data{i}" for i in range(fields)]
        self._set_grid(grid)
        self.times, self.coordinates = np.full(self.frames, np.nan), [None] * 3
        self.whole = None, None  # the trajectory that was read last: its frames lie between one another
        self.rows = [("", lambda n, f, t: self._whole(n, single)[..., t, f])]

    def _whole(self, trajectory, single):
        """(x, y, frame, field)"""
        if self.whole[0] != trajectory:
            if self.files:
                self.file.close()
                self.file = open_hdf5(os.path.join(self.path, self.files[trajectory]))
            data = self._dataset("data")
            values = data[()] if single else data[trajectory][..., np.newaxis]
            if values.shape != (*self.shape, self.frames, len(self.fields)):
                raise RunError(f"{self.path}: 'data' of {self.files[trajectory]} is {values.shape}, unlike that of {self.files[0]}")
            self.whole = trajectory, values
        return self.whole[1]

    def _set_grid(self, grid):
        self.dim, self.shape = len(grid), grid[:2]
        self.plane = (slice(None),) * len(grid[:2]) + ((grid[2] // 2,) if len(grid) > 2 else ())

    def _dataset(self, name):
        data = self.file.get(name)
        if not isinstance(data, h5py.Dataset):
            raise RunError(f"{self.path}: '{name}' is not a dataset")
        return data

    def _times(self, name):
        times = self._axis(name, self.frames)
        return np.full(self.frames, np.nan) if times is None else times

    def _axis(self, name, count):
        """The first `count` values, since a time axis may have one more than there are frames; None without them."""
        data = self.file.get(name)
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.shape[0] < count:
            return None
        return np.asarray(data[:count], dtype=float)


def find_file(path):
    """The file itself, predictions.h5 of a run directory, or a folder of DPOT's."""
    if not os.path.isdir(path) or folder_files(path):
        return path
    if not os.path.exists(os.path.join(path, "predictions.h5")):
        raise RunError(f"{path}: no predictions.h5 in it (evaluate_write_predictions says how many it holds), and no train/data_0.hdf5")
    return os.path.join(path, "predictions.h5")


def folder_files(path):
    """DPOT's files in a folder, one a trajectory, numbered as the program does: those of test before those of train."""
    found = []
    for part in ("test", "train"):
        names = os.listdir(os.path.join(path, part)) if os.path.isdir(os.path.join(path, part)) else []
        names = [name for name in names if DPOT_FILE.fullmatch(name)]
        found += [os.path.join(part, name) for name in sorted(names, key=lambda name: (int(DPOT_FILE.fullmatch(name)[1]), len(name)))]
    return found
