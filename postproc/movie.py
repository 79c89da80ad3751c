#!/usr/bin/env python3
"""Draws trajectories of a data file, or of a run's predictions beside the truth and the error, as PNG frames and one GIF each.

  movie.py FILE            the first trajectory, every field; frames and GIF in NAME_movie beside the file
  movie.py FOLDER          the same of DPOT's train/ and test/data_N.hdf5, in FOLDER_movie
  movie.py RUN             the same of RUN/predictions.h5, in RUN/movie
"""
import argparse
import os
import sys

import needs  # noqa: F401 (tells of missing modules, so before the others)

import numpy as np

import figures
import rundir
import trajectories

GRID = {1: "", 2: "", 3: " · middle plane along z"}


def main(arguments=None):
    options = parse(arguments)
    try:
        data = trajectories.Trajectories(trajectories.find_file(options.source))
        fields = choose_fields(data, options.field)
        for trajectory in options.trajectories:
            if not 0 <= trajectory < data.count:
                raise rundir.RunError(f"--trajectories: {trajectory} is not there, {data.path} has 0 to {data.count - 1}")
        out = options.out or default_directory(options.source, data)
        for trajectory in options.trajectories:
            film(data, trajectory, fields, out, options.fps)
    except (rundir.RunError, OSError) as error:
        print(f"movie.py: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="FILE_OR_RUN", help="data file, DPOT's folder, predictions.h5 or run directory")
    parser.add_argument("--trajectories", metavar="N[,N]", type=numbers, default=[0], help="which ones (default: 0)")
    parser.add_argument("--field", metavar="NAME[,NAME]", help="which fields (default: all)")
    parser.add_argument("--out", metavar="DIR", help="where to write")
    parser.add_argument("--fps", metavar="N", type=positive, default=8, help="frames a second of the GIF (default: 8)")
    return parser.parse_args(arguments)


def numbers(text):
    return [int(part) for part in text.split(",")]


def positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def choose_fields(data, wanted):
    """Places of the fields in the file."""
    names = wanted.split(",") if wanted else data.fields
    for name in names:
        if name not in data.fields:
            raise rundir.RunError(f"--field: {data.path} has no '{name}'; there is: {', '.join(data.fields)}")
    return [data.fields.index(name) for name in names]


def default_directory(source, data):
    if data.files:
        return os.path.normpath(source) + "_movie"
    if os.path.isdir(source):
        return os.path.join(source, "movie")
    return os.path.splitext(source)[0] + "_movie"


def film(data, trajectory, fields, out, fps):
    """trajectory_NNNN/frame_NNN.png for every frame and, of more than one, trajectory_NNNN.gif."""
    name = f"trajectory_{trajectory:04d}"
    directory = os.path.join(out, name)
    os.makedirs(directory, exist_ok=True)
    pictures = figures.Frames(data, fields, scales(data, trajectory, fields))
    writer = open_gif(pictures.figure, os.path.join(out, name + ".gif"), fps) if data.frames > 1 else None
    for frame in range(data.frames):
        pictures.show(values(data, trajectory, fields, frame), title(data, trajectory, frame))
        pictures.figure.savefig(os.path.join(directory, f"frame_{frame:03d}.png"))
        if writer:
            writer.grab_frame()
    if writer:
        writer.finish()
        print(f"wrote {os.path.join(out, name)}.gif")
    figures.plt.close(pictures.figure)
    print(f"wrote {data.frames} frame{'s' if data.frames > 1 else ''} in {directory}")


def values(data, trajectory, fields, frame):
    """[field][row of data.rows]: grids."""
    return [[data.value(reader, trajectory, field, frame) for _, reader in data.rows] for field in fields]


def scales(data, trajectory, fields):
    """[field][row]: lowest and highest value over all frames; a prediction has the truth's, an error one about zero."""
    found = [[[np.inf, -np.inf] for _ in data.rows] for _ in fields]
    for frame in range(data.frames):
        for field, grids in zip(found, values(data, trajectory, fields, frame)):
            for scale, grid in zip(field, grids):
                finite = grid[np.isfinite(grid)]
                if finite.size:
                    scale[:] = min(scale[0], finite.min()), max(scale[1], finite.max())
    for field in found:
        for i, (low, high) in enumerate(field):
            if data.rows[i][0] == "error":
                high = max(abs(low), abs(high)) if high >= low else 0
                low = -high
            elif data.rows[i][0] == "prediction":
                low, high = field[0]
            field[i] = (low, high) if high > low else (low - 0.5, low + 0.5) if high == low else (0, 1)
    return found


def title(data, trajectory, frame):
    parts = [rundir.name_of(data.path), data.label(trajectory)]
    if np.isfinite(data.times[frame]):
        parts.append(f"t = {data.times[frame]:.4g}")
    elif data.frames > 1:
        parts.append(f"frame {frame}" + (" (given)" if frame < data.initial else ""))
    return " · ".join(parts) + GRID[data.dim]


def open_gif(figure, path, fps):
    """None, with a notice, where pillow is missing: the frames are there all the same."""
    try:
        from matplotlib.animation import PillowWriter
        writer = PillowWriter(fps=fps)
        writer.setup(figure, path, dpi=100)
    except ImportError:
        print("note: no GIF without the Python package pillow")
        return None
    return writer


if __name__ == "__main__":
    sys.exit(main())
