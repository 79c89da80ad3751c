"""Checks of postproc/movie.py on synthetic data files and predictions. Prints a line a check; exit status 1 if one fails."""
import os
import subprocess
import sys
import warnings

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, output_of, run_checks, texts_that_clash  # noqa: E402
import figures  # noqa: E402
import movie as program  # noqa: E402
from trajectories import Trajectories  # noqa: E402

FRAMES = 4


# ---- files --------------------------------------------------------------------------------------------------------------


def numbers(*shape):
    """Every value is another one."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def shared_file(path, fields, grid, count=3, **options):
    """PDEBench's layout: datasets (trajectory, frame, x ...), a time more than there are frames."""
    data = {name: numbers(count, FRAMES, *grid) + 1000 * i for i, name in enumerate(fields)}
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file.create_dataset(name, data=values, **options)
        for axis, n in zip("xyz", grid):
            file[f"{axis}-coordinate"] = ((np.arange(n) + 0.5) / n).astype("f4")
        file["t-coordinate"] = 0.25 * np.arange(FRAMES + 1, dtype="f4")
    return data


def predictions_file(directory, grid=(6, 5)):
    os.makedirs(directory, exist_ok=True)
    target = numbers(2, 2, FRAMES, *grid)
    prediction = target + 3
    prediction[0, 0, 2] -= 10
    with h5py.File(os.path.join(directory, "predictions.h5"), "w") as file:
        file["target"], file["prediction"] = target, prediction
        file.attrs.update(initial_step=2, fields="h,v")
    return target, prediction


def run(*arguments):
    """(exit status, stdout, stderr); a Python warning counts as a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return output_of(program.main, *arguments)


def assert_refused(arguments, *words):
    """Exit status 1 and one plain line that holds the words."""
    status, _, errors = run(*arguments)
    assert status == 1 and len(errors.splitlines()) == 1 and "Traceback" not in errors, (status, errors)
    for word in words:
        assert word in errors, f"'{word}' is not in: {errors}"


def gif_frames(path):
    """Number of pictures and duration of the first (ms)."""
    from PIL import Image
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1), image.info.get("duration")


def pictures(directory):
    return sorted(name for name in os.listdir(directory) if name.endswith(".png"))


# ---- checks --------------------------------------------------------------------------------------------------------------


@check
def every_kind_of_file_is_read(scratch):
    path = os.path.join(scratch, "data.h5")
    for fields, grid in ((("density", "pressure", "Vx"), (7,)), (("density", "pressure", "Vx", "Vy"), (6, 5)),
                         (("density", "pressure", "Vx", "Vy", "Vz"), (6, 5, 4)), (("tensor",), (8,))):
        written = shared_file(path, fields, grid)
        data = Trajectories(path)
        assert data.fields == list(fields) and (data.count, data.frames, data.dim) == (3, FRAMES, len(grid))
        assert np.allclose(data.times, 0.25 * np.arange(FRAMES))
        for f, name in enumerate(fields):
            wanted = written[name][2, 3]
            assert np.array_equal(data.value(data.rows[0][1], 2, f, 3), wanted[:, :, 2] if len(grid) == 3 else wanted)
        data.file.close()
    nu, u = numbers(3, 6, 5), numbers(3, 1, 6, 5) + 7
    with h5py.File(path, "w") as file:
        file["nu"], file["tensor"] = nu, u
    data = Trajectories(path)
    assert data.frames == 1 and np.array_equal(data.value(data.rows[0][1], 1, 0, 0), nu[1])
    assert np.array_equal(data.value(data.rows[0][1], 1, 1, 0), u[1, 0])
    data.file.close()
    groups = numbers(2, FRAMES, 6, 5, 2)
    with h5py.File(path, "w") as file:
        for i in range(2):
            file.create_dataset(f"{i:04d}/data", data=groups[i], compression="lzf")
            file[f"{i:04d}/grid/t"] = np.arange(FRAMES) * 0.5
    data = Trajectories(path)
    assert data.fields == ["data0", "data1"] and (data.count, data.frames, data.dim) == (2, FRAMES, 2) and data.times[3] == 1.5
    assert np.array_equal(data.value(data.rows[0][1], 1, 1, 3), groups[1, 3, :, :, 1])


@check
def files_of_dpot_are_read(scratch):
    """A folder's trajectories are numbered as the program does: test before train, by number; NAME_train.hdf5 has one field."""
    folder = os.path.join(scratch, "set.1")
    written = {}
    for name in ("train/data_10", "train/data_9", "test/data_3"):
        os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
        written[name] = numbers(6, 5, FRAMES, 2) + 1000 * len(written)
        with h5py.File(os.path.join(folder, name + ".hdf5"), "w") as file:
            file["data"] = written[name]
    os.makedirs(os.path.join(folder, "train", "data_1.hdf5.part"))
    data = Trajectories(folder)
    assert data.fields == ["data0", "data1"] and (data.count, data.frames, data.dim, data.shape) == (3, FRAMES, 2, (6, 5))
    for n, name in enumerate(("test/data_3", "train/data_9", "train/data_10")):
        assert np.array_equal(data.value(data.rows[0][1], n, 1, 2), written[name][:, :, 2, 1])
        assert program.title(data, n, 2) == f"set.1 · trajectory {n} ({name}.hdf5) · frame 2"
    data.file.close()
    status, output, errors = run(folder + "/", "--trajectories", "2", "--field", "data1")
    assert status == 0 and not errors, errors
    assert sorted(os.listdir(folder + "_movie")) == ["trajectory_0002", "trajectory_0002.gif"] and "set.1_movie" in output
    one = Trajectories(os.path.join(folder, "train", "data_9.hdf5"))
    assert one.count == 1 and np.array_equal(one.value(one.rows[0][1], 0, 0, 3), written["train/data_9"][:, :, 3, 0])
    one.file.close()
    values = numbers(3, 6, 5, FRAMES)
    with h5py.File(os.path.join(scratch, "ns_train.hdf5"), "w") as file:
        file["data"] = values
    pair = Trajectories(os.path.join(scratch, "ns_train.hdf5"))
    assert pair.fields == ["data"] and pair.count == 3 and np.array_equal(pair.value(pair.rows[0][1], 2, 0, 1), values[2, :, :, 1])
    for name, odd in (("train/data_9", numbers(6, 5, FRAMES, 3)), ("test/data_3", numbers(6, 5))):
        with h5py.File(os.path.join(folder, name + ".hdf5"), "w") as file:
            file["data"] = odd
        assert_refused([folder, "--trajectories", "0,1"], "set.1", "'data'")
    os.truncate(os.path.join(folder, "test", "data_3.hdf5"), 600)
    assert_refused([folder], "data_3.hdf5: not a sound HDF5 file")


@check
def predictions_have_truth_prediction_and_error(scratch):
    target, prediction = predictions_file(scratch)
    data = Trajectories(os.path.join(scratch, "predictions.h5"))
    assert data.fields == ["h", "v"] and data.initial == 2 and [heading for heading, _ in data.rows] == ["truth", "prediction", "error"]
    for (_, reader), wanted in zip(data.rows, (target, prediction, prediction - target)):
        assert np.array_equal(data.value(reader, 1, 0, 3), wanted[1, 0, 3])
    assert "(given)" in program.title(data, 0, 1) and "(given)" not in program.title(data, 0, 2)


@check
def scales_hold_for_all_frames(scratch):
    target, _ = predictions_file(scratch)
    data = Trajectories(os.path.join(scratch, "predictions.h5"))
    truth, guess, error = program.scales(data, 0, [0])[0]
    assert truth == guess == (target[0, 0].min(), target[0, 0].max())
    assert error == (-7, 7), "the largest error of any frame, about zero"
    with h5py.File(os.path.join(scratch, "odd.h5"), "w") as file:
        values = np.full((3, FRAMES, 8), 2.0)
        values[1] = np.nan
        values[2, 1, 3] = np.inf
        file["tensor"] = values
    data = Trajectories(os.path.join(scratch, "odd.h5"))
    assert [program.scales(data, n, [0]) for n in range(3)] == [[[(1.5, 2.5)]], [[(0, 1)]], [[(1.5, 2.5)]]]


@check
def frames_and_gif_of_chosen_trajectories(scratch):
    path, out = os.path.join(scratch, "cfd.hdf5"), os.path.join(scratch, "out")
    shared_file(path, ("density", "pressure", "Vx", "Vy"), (6, 5))
    status, output, errors = run(path, "--trajectories", "0,2", "--field", "Vx", "--out", out, "--fps", "5")
    assert status == 0 and not errors, errors
    assert sorted(os.listdir(out)) == ["trajectory_0000", "trajectory_0000.gif", "trajectory_0002", "trajectory_0002.gif"]
    assert pictures(os.path.join(out, "trajectory_0002")) == [f"frame_{t:03d}.png" for t in range(FRAMES)]
    assert gif_frames(os.path.join(out, "trajectory_0002.gif")) == (FRAMES, 200) and "trajectory_0002.gif" in output
    first, last = (figures.plt.imread(os.path.join(out, "trajectory_0000", f"frame_{t:03d}.png")) for t in (0, 3))
    assert first.shape == last.shape and np.abs(first - last).max() > 0.1, "the picture changes"


@check
def a_value_has_one_colour_in_all_frames(scratch):
    path, out = os.path.join(scratch, "flat.hdf5"), os.path.join(scratch, "out")
    with h5py.File(path, "w") as file:
        values = np.zeros((1, 3, 6, 6), "f4")
        values[0, 1] = 1
        values[0, 2, 3:] = 1
        file["density"] = values
    assert run(path, "--out", out)[0] == 0
    one, two, both = (figures.plt.imread(os.path.join(out, "trajectory_0000", f"frame_{t:03d}.png")) for t in range(3))
    height, width = one.shape[:2]
    left, right = both[2 * height // 3, width // 4], both[2 * height // 3, 3 * width // 4]
    assert np.allclose(left, one[2 * height // 3, width // 4]) and np.allclose(right, two[2 * height // 3, 3 * width // 4])
    assert not np.allclose(left, right), "x runs to the right"


@check
def every_dimension_and_a_run_are_drawn(scratch):
    cases = {"line.hdf5": (("tensor",), (8,)), "box.hdf5": (("density", "pressure", "Vx", "Vy", "Vz"), (6, 5, 4))}
    for name, (fields, grid) in cases.items():
        shared_file(os.path.join(scratch, name), fields, grid)
        status, _, errors = run(os.path.join(scratch, name))
        assert status == 0 and not errors, errors
        assert len(pictures(os.path.join(scratch, name.replace(".hdf5", "_movie"), "trajectory_0000"))) == FRAMES
    for name, grid in (("run1", (8,)), ("run2", (6, 5)), ("run3", (6, 5, 4))):
        predictions_file(os.path.join(scratch, name), grid)
        status, _, errors = run(os.path.join(scratch, name), "--trajectories", "1")
        assert status == 0 and not errors, errors
        assert gif_frames(os.path.join(scratch, name, "movie", "trajectory_0001.gif"))[0] == FRAMES


@check
def a_single_frame_has_no_gif(scratch):
    path = os.path.join(scratch, "darcy.hdf5")
    with h5py.File(path, "w") as file:
        file["nu"], file["tensor"] = numbers(2, 6, 6), numbers(2, 1, 6, 6)
    command = [sys.executable, os.path.join(ROOT, "postproc", "movie.py"), path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert os.listdir(os.path.join(scratch, "darcy_movie")) == ["trajectory_0000"]


@check
def only_what_is_shown_is_read(scratch):
    path = os.path.join(scratch, "large.hdf5")
    shared_file(path, ("tensor",), (64,), chunks=(1, 1, 64), fletcher32=True)
    with h5py.File(path) as file:
        place = [file["tensor"].id.get_chunk_info_by_coord((n, 1, 0)).byte_offset for n in (1, 2)]
    with open(path, "r+b") as file:
        for offset in place:
            file.seek(offset)
            file.write(b"\xff" * 16)
    assert run(path, "--out", os.path.join(scratch, "out"))[0] == 0, "trajectory 0 is sound"
    assert_refused([path, "--trajectories", "2", "--out", os.path.join(scratch, "out")], "large.hdf5", "trajectory 2 cannot be read")


@check
def without_pillow_there_are_frames(scratch):
    path = os.path.join(scratch, "line.hdf5")
    shared_file(path, ("tensor",), (8,))
    hidden = sys.modules.get("matplotlib.animation")
    sys.modules["matplotlib.animation"] = None
    try:
        status, output, errors = run(path)
    finally:
        sys.modules.pop("matplotlib.animation")
        if hidden:
            sys.modules["matplotlib.animation"] = hidden
    assert status == 0 and not errors and "no GIF" in output
    assert os.listdir(os.path.join(scratch, "line_movie")) == ["trajectory_0000"]


@check
def mistakes_are_one_plain_line(scratch):
    path = os.path.join(scratch, "line.hdf5")
    shared_file(path, ("tensor",), (8,))
    assert_refused([os.path.join(scratch, "none.h5")], "none.h5: no such file")
    assert_refused([__file__], "test_movie.py", "not a sound HDF5 file")
    assert_refused([scratch], "no predictions.h5")
    assert_refused([path, "--field", "density"], "--field", "'density'", "there is: tensor")
    assert_refused([path, "--trajectories", "0,3"], "--trajectories: 3 is not there", "0 to 2")
    assert_refused([path, "--out", os.path.join(path, "x")], "line.hdf5")
    for name, data in (("empty.h5", {}), ("odd.h5", {"density": numbers(2, 3, 4), "Vx": numbers(2, 3, 5)}), ("flat.h5", {"tensor": numbers(3)}),
                       ("few.h5", {"prediction": numbers(2, 3), "target": numbers(2, 3)}), ("dark.h5", {"nu": numbers(2, 3, 4), "tensor": numbers(2, 3, 4)})):
        with h5py.File(os.path.join(scratch, name), "w") as file:
            for key, values in data.items():
                file[key] = values
        assert_refused([os.path.join(scratch, name)], name)


@check
def no_text_is_cut_or_overlaps(scratch):
    shared_file(os.path.join(scratch, "cfd.hdf5"), ("density", "pressure", "Vx", "Vy"), (6, 5))
    shared_file(os.path.join(scratch, "line.hdf5"), ("density", "pressure", "Vx"), (8,))
    predictions_file(scratch)
    for name in ("cfd.hdf5", "line.hdf5", "predictions.h5"):
        data = Trajectories(os.path.join(scratch, name))
        fields = range(len(data.fields))
        frames = figures.Frames(data, fields, program.scales(data, 0, fields))
        frames.show(program.values(data, 0, fields, 3), program.title(data, 0, 3))
        assert not texts_that_clash(frames.figure), f"{name}: {texts_that_clash(frames.figure)}"
    figures.plt.close("all")


if __name__ == "__main__":
    sys.exit(run_checks())
