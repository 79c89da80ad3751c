"""Checks of postproc/pairs.py on files as neuraloperator has them, and of PyTorch itself where it is installed. Prints a line a check; exit
status 1 if one fails."""
import os
import subprocess
import sys

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, output_of, run_checks  # noqa: E402
import pairs as program  # noqa: E402
import tensorfiles  # noqa: E402

try:
    import torch
except ImportError:
    torch = None

KINDS = {np.dtype(kind): kind for kind in ("float32", "float64", "float16", "bool", "int64", "complex64")}


def darcy(count, seed, x=6, y=5):
    """Coefficients of 0 and 1, solutions."""
    draw = np.random.default_rng(seed)
    return {"x": draw.standard_normal((count, x, y)) > 0, "y": draw.standard_normal((count, x, y)).astype("f4")}


def burgers(count, seed, frames=4, points=6):
    y = np.random.default_rng(seed).standard_normal((count, frames, points))
    return {"x": y[:, 0].copy(), "y": y, "visc": np.array(0.01)}


def save(path, values):
    """A file of torch.save: arrays as tensors, anything else as it is."""
    def tensor(array):
        return tensorfiles.Tensor(KINDS[array.dtype], array.shape, lambda: array)
    whole = {key: tensor(value) if isinstance(value, np.ndarray) else value for key, value in values.items()} if isinstance(values, dict) else values
    tensorfiles.write_torch(path, whole)
    return path


def run(*arguments):
    return output_of(program.main, *arguments)


def works(*arguments):
    status, output, errors = run(*arguments)
    assert status == 0 and not errors and output.count("\n") == 1, (status, output, errors)
    return output


def refused(scratch, arguments, *words):
    before = sorted(os.listdir(scratch))
    status, output, errors = run(*arguments)
    assert status == 1 and not output, (status, output)
    assert errors.startswith("pairs.py: ") and errors.count("\n") == 1, errors
    for word in words:
        assert word in errors, f"'{word}' is not in: {errors}"
    assert sorted(os.listdir(scratch)) == before, "something was left behind"


def holds(path, wanted):
    """These datasets in this order, contiguous float32 without attributes, and no others."""
    with h5py.File(path) as file:
        assert sorted(file, key=lambda name: h5py.h5o.get_info(file[name].id).addr) == list(wanted), list(file)
        assert not file.attrs
        for name, values in wanted.items():
            dataset = file[name]
            assert dataset.dtype == np.dtype("<f4") and dataset.chunks is None and not dataset.attrs, name
            assert dataset.shape == values.shape and dataset[:].tobytes() == values.astype("<f4").tobytes(), name


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def middles(cells):
    return np.arange(0.5, cells) / cells


def in_darcys_layout(*parts):
    x, y = (np.concatenate([part[key] for part in parts]) for key in "xy")
    return {"tensor": y[:, None], "nu": x, "x-coordinate": middles(x.shape[1]), "y-coordinate": middles(x.shape[2])}


def in_burgers_layout(*parts, dt=None):
    y = np.concatenate([part["y"] for part in parts])
    frames = y.shape[1]
    return {"tensor": y, "x-coordinate": middles(y.shape[2]), "t-coordinate": np.arange(frames + 1) * (dt or 1 / frames)}


# ---- what is written ------------------------------------------------------------------------------------------------------


@check
def darcy_flow_has_coefficient_and_solution(scratch):
    test, train = darcy(2, 1), darcy(7, 2)
    out = f"{scratch}/out.hdf5"
    said = works(save(f"{scratch}/test.pt", test), save(f"{scratch}/train.pt", train), out)
    assert said == f"{out}: Darcy flow, 6 x 5 points, 2 + 7 = 9 samples\n", said
    holds(out, in_darcys_layout(test, train))
    assert sorted(os.listdir(scratch)) == ["out.hdf5", "out.xdmf", "test.pt", "train.pt"]


@check
def burgers_has_trajectories(scratch):
    test, train = burgers(3, 1), burgers(5, 2)
    paths = save(f"{scratch}/test.pt", test), save(f"{scratch}/train.pt", train)
    said = works(*paths, f"{scratch}/a.h5")
    assert said == f"{scratch}/a.h5: Burgers, 4 frames of 6 points, 3 + 5 = 8 samples\n", said
    holds(f"{scratch}/a.h5", in_burgers_layout(test, train))
    works("--dt", "0.06", *paths, f"{scratch}/b.h5")
    holds(f"{scratch}/b.h5", in_burgers_layout(test, train, dt=0.06))


@check
def the_order_is_that_of_the_names(scratch):
    parts = [darcy(1 + i, i) for i in range(3)]
    paths = [save(f"{scratch}/{i}.pt", part) for i, part in enumerate(parts)]
    works(paths[2], paths[0], paths[1], f"{scratch}/a.hdf5")
    holds(f"{scratch}/a.hdf5", in_darcys_layout(parts[2], parts[0], parts[1]))
    works(paths[1], f"{scratch}/b.hdf5")
    holds(f"{scratch}/b.hdf5", in_darcys_layout(parts[1]))


@check
def types_and_a_channel_make_no_difference(scratch):
    """To the byte: what the values are counts, not how the file has them."""
    for name, whole, kinds in (("darcy", darcy(3, 1), ("?", "f8", "f4", "f2", "i8")), ("burgers", burgers(3, 1), ("f8", "f4"))):
        whole["y"] = whole["y"].astype("f4")
        whole["x"] = whole["x"] if name == "darcy" else whole["y"][:, 0]
        outs = []
        for kind in kinds:
            for channels in (lambda a: a, lambda a: a[:, None]):
                x, y = whole["x"].astype(kind), whole["y"].astype("f8" if kind == "f8" else "f4")
                path, out = f"{scratch}/{name}.pt", f"{scratch}/{len(outs)}.h5"
                works(save(path, {"x": channels(x), "y": channels(y)}), out)
                outs.append(bytes_of(out))
                os.remove(out)
        works(save(path, {"y": whole["y"][:, None], "x": whole["x"]}), out)
        holds(out, (in_darcys_layout if name == "darcy" else in_burgers_layout)(whole))
        assert set(outs) == {bytes_of(out)}, name
        os.remove(out)
    whole = darcy(3, 1)
    brief = tensorfiles.Tensor("bfloat16", whole["x"].shape, lambda: np.where(whole["x"], 0x3F80, 0).astype("<u2"))  # 1 and 0
    works(save(path, {**whole, "x": brief}), out)
    holds(out, in_darcys_layout(whole))


@check
def blocks_may_be_of_any_size(scratch):
    test, train = burgers(5, 1), burgers(4, 2)
    paths = save(f"{scratch}/test.pt", test), save(f"{scratch}/train.pt", train)
    whole = program.BLOCK_BYTES
    try:
        for rows in (0, 1, 2, 3, 5, 7):
            program.BLOCK_BYTES = rows * 4 * 4 * 6
            works(*paths, f"{scratch}/{rows}.h5")
            holds(f"{scratch}/{rows}.h5", in_burgers_layout(test, train))
    finally:
        program.BLOCK_BYTES = whole


@check
def the_program_reads_them(scratch):
    evenkeel = os.path.join(ROOT, os.environ.get("BUILD", "build/"), "evenkeel")
    for kind, whole in (("darcy in 2D, 8 trajectories", darcy(8, 1, 8, 8)), ("scalar in 1D, 8 trajectories, 4 frames, 6 points", burgers(8, 1))):
        out = f"{scratch}/{kind[0]}.hdf5"
        works(save(f"{scratch}/a.pt", whole), out)
        done = subprocess.run([evenkeel, "inspect", out], capture_output=True, text=True)
        assert done.returncode == 0 and kind in done.stdout and f"{out}: sound" in done.stdout, done


@check
def it_is_a_command(scratch):
    path = save(f"{scratch}/a.pt", darcy(2, 1))
    for output in (subprocess.PIPE, subprocess.DEVNULL):
        done = subprocess.run([sys.executable, program.__file__, path, f"{scratch}/{output}.h5"], stdout=output, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0 and not done.stderr, done
        holds(f"{scratch}/{output}.h5", in_darcys_layout(darcy(2, 1)))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, program.__file__, path, f"{scratch}/closed.h5"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0 and not done.stderr, done
    holds(f"{scratch}/closed.h5", in_darcys_layout(darcy(2, 1)))


# ---- what is refused ------------------------------------------------------------------------------------------------------


@check
def what_is_no_pair_is_named(scratch):
    out = f"{scratch}/out.hdf5"
    for values, words in (({"x": np.ones(3), "u": np.ones(3)}, "(found: x Tensor, u Tensor)"), ({"x": np.ones(3), "y": [1, 2]}, "(found: x Tensor, y list)"),
                          ({}, "(found: nothing)"), ([1, 2], "(found: list)"), (None, "(found: NoneType)")):
        refused(scratch, (save(f"{scratch}/a.pt", values), out), "a.pt: wanted is a dict with tensors x and y", words)


@check
def shapes_that_disagree_are_named(scratch):
    path, out = f"{scratch}/a.pt", f"{scratch}/out.hdf5"
    for x, y in (((3, 4, 4), (2, 4, 4)), ((3, 4, 4), (3, 4, 5)), ((3, 4), (3, 4)), ((3, 4), (2, 5, 4)), ((3, 4), (3, 4, 5)), ((3,), (3,)), ((), ()),
                 ((3, 2, 4, 4), (3, 2, 4, 4)), ((3, 1, 1, 4, 4), (3, 1, 1, 4, 4)), ((0, 4, 4), (0, 4, 4)), ((3, 4), (3, 0, 4)), ((), (3, 4, 4)),
                 ((3, 4, 4), (3,))):
        refused(scratch, (save(path, {"x": np.ones(x), "y": np.ones(y)}), out), f"a.pt: x is {x}, y is {y}; wanted: x and y of one shape (N, X, Y), Darcy flow, or ")
    refused(scratch, (save(path, {"x": np.ones((2, 3, 3), "c8"), "y": np.ones((2, 3, 3))}), f"{scratch}/b.h5"), "x is complex64; wanted are real numbers")


@check
def files_that_disagree_are_named(scratch):
    first, out = save(f"{scratch}/first.pt", darcy(2, 1)), f"{scratch}/out.hdf5"
    refused(scratch, (first, save(f"{scratch}/b.pt", darcy(2, 1, 6, 6)), out), "b.pt is Darcy flow, 6 x 6 points; ", "first.pt is Darcy flow, 6 x 5 points")
    refused(scratch, (first, save(f"{scratch}/b.pt", burgers(2, 1, 6, 5)), out), "b.pt is Burgers, 6 frames of 5 points; ", "first.pt is Darcy flow, 6 x 5")
    refused(scratch, (first, first, out), "first.pt is named twice")
    os.symlink(first, f"{scratch}/link.pt")
    refused(scratch, (first, f"{scratch}/link.pt", out), "link.pt is named twice")


@check
def values_that_are_not_finite_are_refused(scratch):
    good, out = save(f"{scratch}/good.pt", darcy(2, 1)), f"{scratch}/out.hdf5"
    for key in "xy":
        for bad in (np.nan, np.inf, -np.inf, 1e39):
            whole = {name: values.astype("f8") for name, values in darcy(4, 2).items()}
            whole[key][2, 1, 3] = bad
            refused(scratch, (good, save(f"{scratch}/bad.pt", whole), out), f"bad.pt: {key} has values that are not finite (in float32), first in sample 2")


@check
def trajectories_begin_with_the_initial_condition(scratch):
    path, out = f"{scratch}/a.pt", f"{scratch}/out.hdf5"
    whole = burgers(4, 1)
    works(save(path, {**whole, "x": whole["x"] * (1 + 1e-6)}), f"{scratch}/rounded.h5")
    for x in (whole["y"][:, 1], whole["x"][::-1].copy(), whole["x"] * 1.001):
        refused(scratch, (save(path, {**whole, "x": x}), out), "a.pt: the first frame of y is not x, first in sample 0; wanted is a trajectory")
    whole["x"][3, 2] += 0.1
    refused(scratch, (save(path, whole), out), "first in sample 3")
    whole["x"][3, 2] = np.nan
    refused(scratch, (save(path, whole), out), "x has values that are not finite", "first in sample 3")


@check
def mistakes_are_one_plain_line(scratch):
    good, out = save(f"{scratch}/good.pt", burgers(2, 1)), f"{scratch}/out.hdf5"
    refused(scratch, (f"{scratch}/none.pt", out), "none.pt: cannot be read: No such file")
    refused(scratch, (__file__, out), "test_pairs.py: no file of torch.save: it is no zip archive")
    with open(f"{scratch}/cut.pt", "wb") as file:
        file.write(bytes_of(good)[:-1])
    refused(scratch, (f"{scratch}/cut.pt", out), "cut.pt: truncated")
    refused(scratch, (good, good), "good.pt: the last name is that of the file to write and must end in .hdf5 or .h5")
    refused(scratch, (good, f"{scratch}/none/out.h5"), "none/out.h5: cannot be written: ")
    for dt in ("0", "-1", "nan", "inf"):
        refused(scratch, (f"--dt={dt}", good, out), f"--dt {float(dt):g}: wanted is a number above 0")
    refused(scratch, ("--dt", "0.1", save(f"{scratch}/darcy.pt", darcy(2, 1)), out), "--dt 0.1: Darcy flow has no time")
    os.mkdir(f"{scratch}/out.xdmf")
    refused(scratch, (good, out), "out.xdmf: cannot be written: ")
    with open(out, "wb"):
        pass
    refused(scratch, (good, out), "out.hdf5 exists already")
    assert not bytes_of(out)


@check
def an_interrupted_file_does_not_appear(scratch):
    good, out, inner = save(f"{scratch}/good.pt", darcy(2, 1)), f"{scratch}/out.hdf5", program.xdmf.write

    def interrupt(*_):
        raise KeyboardInterrupt
    program.xdmf.write = interrupt
    try:
        run(good, out)
        raise AssertionError("it has gone on")
    except KeyboardInterrupt:
        assert os.listdir(scratch) == ["good.pt"]
    finally:
        program.xdmf.write = inner
    with open(f"{out}.tmp", "wb") as file:  # of a process that was killed
        file.write(b"half")
    works(good, out)
    assert sorted(os.listdir(scratch)) == ["good.pt", "out.hdf5", "out.xdmf"]


# ---- against PyTorch ------------------------------------------------------------------------------------------------------


def what_torch_saves_is_read(scratch):
    """Views of a larger tensor among them, and a viscosity that is no tensor."""
    whole = darcy(3, 1, 8, 8)
    torch.save({"x": torch.from_numpy(whole["x"])[:, ::2, ::4], "y": torch.from_numpy(whole["y"])[:, ::2, ::4]}, f"{scratch}/darcy.pt")
    works(f"{scratch}/darcy.pt", f"{scratch}/darcy.h5")
    holds(f"{scratch}/darcy.h5", in_darcys_layout({key: values[:, ::2, ::4] for key, values in whole.items()}))
    whole = burgers(3, 1)
    for i, viscosity in enumerate((0.01, np.float64(0.01), np.array(0.01), torch.tensor(0.01))):
        torch.save({"x": torch.from_numpy(whole["x"]), "y": torch.from_numpy(whole["y"]), "visc": viscosity}, f"{scratch}/burgers.pt")
        works(f"{scratch}/burgers.pt", f"{scratch}/burgers{i}.h5")
        holds(f"{scratch}/burgers{i}.h5", in_burgers_layout(whole))


if torch:
    check(what_torch_saves_is_read)

if __name__ == "__main__":
    sys.exit(run_checks())
