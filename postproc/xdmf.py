"""Descriptions (XDMF 3, XML) of data files for ParaView and VisIt: what `evenkeel generate` writes beside its files, to the byte.

The numbers stay in the HDF5 file. A grid a frame; the first four trajectories are arrays of it: as grids of their own they would share
one place in space and hide each other."""
import os
from xml.sax.saxutils import escape

import h5py
import numpy as np

AXES = ("x-coordinate", "y-coordinate", "z-coordinate")
TIME = "t-coordinate"
SHOWN = 4
AXES_NOTE = "the last axis of the data, which varies fastest, is drawn along x"


def path_beside(path):
    """NAME.hdf5 and NAME.h5: NAME.xdmf"""
    stem, kind = os.path.splitext(path)
    return (stem if kind in (".hdf5", ".h5") else path) + ".xdmf"


def write(path, name=None):
    """Describes the file `path`, which is or will be called `name`, beside that; the description's path, or None where there is nothing
    to show: no x-coordinate, or no dataset over the coordinates' grid."""
    with h5py.File(path, "r", locking=False) as file:
        text = description(file, os.path.basename(name or path))
    if text is None:
        return None
    out = path_beside(name or path)
    part = f"{out}.part"
    try:
        with open(part, "wb") as handle:
            handle.write(text.encode("utf-8", "surrogateescape"))
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(part, out)
    except OSError:
        if os.path.exists(part):
            os.remove(part)
        raise
    return out


def description(file, name):
    """The text, or None."""
    axes = coordinates(file)
    shape = tuple(len(axis) for axis in axes)
    shown = [dataset for dataset in file.values() if axes and fits(dataset, shape)]
    if not shown:
        return None
    frames = max(dataset.shape[1] if is_timed(dataset, shape) else 1 for dataset in shown)
    times = read_axis(file, TIME)
    if times is None or len(times) < frames:
        times = np.arange(frames)  # the frame's number
    lines = ['<?xml version="1.0" ?>', '<Xdmf Version="3.0">', "  <Domain>",
             f'    <Grid Name="{quoted(name)}" GridType="Collection" CollectionType="Temporal">',
             f'      <Information Name="axes" Value="{AXES_NOTE}"/>']
    for frame in range(frames):
        lines += [f'      <Grid Name="frame {frame}" GridType="Uniform">', f'        <Time Value="{times[frame]:.9g}"/>', *mesh(axes)]
        for dataset in shown:
            for trajectory in range(min(len(dataset), SHOWN)):
                lines += array(dataset, shape, name, trajectory, frame)
        lines.append("      </Grid>")
    return "\n".join(lines + ["    </Grid>", "  </Domain>", "</Xdmf>", ""])


def coordinates(file):
    """One array an axis of the grid, as double precision has them."""
    axes = []
    for name in AXES:
        axis = read_axis(file, name)
        if axis is None:
            break
        axes.append(axis)
    return axes


def read_axis(file, name):
    """None unless it is one row of finite numbers."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1 or dataset.dtype.kind not in "fiu" or not len(dataset):
        return None
    values = dataset[:].astype(float)
    return values if np.isfinite(values).all() else None


def fits(dataset, shape):
    """It covers the grid, for every trajectory and, with one axis more, every frame."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype not in (np.dtype("<f4"), np.dtype("<f8")):
        return False
    return dataset.ndim - len(shape) in (1, 2) and dataset.shape[-len(shape):] == shape


def is_timed(dataset, shape):
    return dataset.ndim == len(shape) + 2


def mesh(axes):
    """Cells along the three axes, slowest first. Always three: one layer of cells in 2D, a bar in 1D, a twentieth of the longest side
    thick; two-dimensional meshes lie in different planes in different readers. The corner is the first cell's."""
    steps = [(axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else 1 for axis in axes]
    thick = max(len(axis) * abs(step) for axis, step in zip(axes, steps)) / 20
    absent = 3 - len(axes)
    corner = [0] * absent + [axis[0] - 0.5 * step for axis, step in zip(axes, steps)]
    points = [count + 1 for count in cells([len(axis) for axis in axes])]
    item = '          <DataItem Format="XML" Dimensions="3">{:.9g} {:.9g} {:.9g}</DataItem>'.format
    return [f'        <Topology TopologyType="3DCoRectMesh" Dimensions="{numbers(points)}"/>',
            '        <Geometry GeometryType="ORIGIN_DXDYDZ">', item(*corner), item(*[thick] * absent, *steps), "        </Geometry>"]


def array(dataset, shape, name, trajectory, frame):
    """The grid of one trajectory in one frame, as a box of the dataset: start, stride, count."""
    moving = is_timed(dataset, shape) and dataset.shape[1] > 1
    start = [trajectory, *([frame if moving else 0] * (dataset.ndim - len(shape) - 1)), *[0] * len(shape)]
    count = [1] * (dataset.ndim - len(shape)) + list(shape)
    box = "  ".join(map(numbers, (start, [1] * dataset.ndim, count)))
    own = quoted(dataset.name.lstrip("/"))
    return [f'        <Attribute Name="{own}_{trajectory}" AttributeType="Scalar" Center="Cell">',
            f'          <DataItem ItemType="HyperSlab" Dimensions="{numbers(cells(shape))}">',
            f'            <DataItem Format="XML" Dimensions="3 {dataset.ndim}">{box}</DataItem>',
            f'            <DataItem Format="HDF" NumberType="Float" Precision="{dataset.dtype.itemsize}" '
            f'Dimensions="{numbers(dataset.shape)}">{quoted(name)}:/{own}</DataItem>',
            "          </DataItem>", "        </Attribute>"]


def cells(shape):
    return [1] * (3 - len(shape)) + list(shape)


def numbers(values):
    return " ".join(map(str, values))


def quoted(text):
    return escape(text, {'"': "&quot;"})
