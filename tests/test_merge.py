"""Checks of postproc/merge.py on synthetic data files and the program's own. Prints a line a check; exit status 1 if one fails."""
import os
import resource
import subprocess
import sys
import xml.etree.ElementTree

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, output_of, run_checks  # noqa: E402
import merge as program  # noqa: E402

FIELDS = ("density", "pressure", "Vx")  # not in the order of the alphabet


def data_file(path, count, seed, *, fields=FIELDS, points=6, frames=4, step=0.25, eta=0.01, dtype="f4", **options):
    """PDEBench's layout in 1D; the data differ with the seed."""
    draw = np.random.default_rng(seed)
    data = {name: draw.standard_normal((count, frames, points)).astype(dtype) for name in fields}
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file.create_dataset(name, data=values, **options)
        file["x-coordinate"] = ((np.arange(points) + 0.5) / points).astype("f4")
        file["t-coordinate"] = step * np.arange(frames + 1, dtype="f4")
        file.attrs["zeta"], file.attrs["eta"] = 0.5, eta
    return data


def run(*arguments):
    return output_of(program.main, *arguments)


def assert_refused(out, files, *words):
    before = sorted(os.listdir(os.path.dirname(out)))
    status, output, errors = run(out, *files)
    assert status == 1 and not output, (status, output)
    assert errors.startswith("merge.py: ") and errors.count("\n") == 1, errors
    for word in words:
        assert word in errors, f"'{word}' is not in: {errors}"
    assert sorted(os.listdir(os.path.dirname(out))) == before, "something was left behind"


def order_of(file):
    return sorted(file, key=lambda name: h5py.h5o.get_info(file[name].id).addr)


@check
def trajectories_follow_one_another(scratch):
    paths = [os.path.join(scratch, f"{i}.h5") for i in range(3)]
    layouts = ({}, {"chunks": (1, 2, 3)}, {"chunks": (2, 4, 6), "compression": "gzip"})
    data = [data_file(path, 2 + i, i, **layouts[i]) for i, path in enumerate(paths)]
    out = os.path.join(scratch, "new", "out.h5")
    status, output, errors = run(out, *paths)
    assert status == 0 and not errors and "9 trajectories of 3 files" in output, (output, errors)
    with h5py.File(out) as file, h5py.File(paths[0]) as first:
        assert order_of(file) == order_of(first) == [*FIELDS, "x-coordinate", "t-coordinate"]
        for name in FIELDS:
            assert file[name].dtype == np.dtype("<f4") and file[name].chunks is None and file[name].id.get_offset()
            assert np.array_equal(file[name][:], np.concatenate([part[name] for part in data]))
        for name in ("x-coordinate", "t-coordinate"):
            assert np.array_equal(file[name][:], first[name][:])
        assert dict(file.attrs) == dict(first.attrs) == {"zeta": 0.5, "eta": 0.01}
    assert sorted(os.listdir(os.path.join(scratch, "new"))) == ["out.h5", "out.xdmf"]


@check
def blocks_may_be_of_any_size(scratch):
    paths = [os.path.join(scratch, f"{i}.h5") for i in range(2)]
    data = [data_file(path, 5, i) for i, path in enumerate(paths)]
    whole, slab = program.BLOCK_BYTES, 4 * 4 * 6
    try:
        for rows in (0, 1, 2, 3, 5, 7):
            program.BLOCK_BYTES = rows * slab
            out = os.path.join(scratch, f"out{rows}.h5")
            assert run(out, *paths)[0] == 0
            with h5py.File(out) as file:
                assert np.array_equal(file["Vx"][:], np.concatenate([part["Vx"] for part in data])), rows
    finally:
        program.BLOCK_BYTES = whole


@check
def a_file_is_never_in_memory(scratch):
    path = os.path.join(scratch, "large.h5")
    with h5py.File(path, "w") as file:  # 320 MiB, in small pieces: a child's high-water mark starts from ours
        tensor = file.create_dataset("tensor", (80, 1, 1 << 20), "f4")
        for i in range(len(tensor)):
            tensor[i] = i
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    subprocess.run([sys.executable, program.__file__, os.path.join(scratch, "out.h5"), path], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert before < peak < 250 << 10, f"{peak >> 10} MiB"


def generate(path, deck, samples, *keys):
    evenkeel = os.path.join(ROOT, os.environ.get("BUILD", "build/"), "evenkeel")
    subprocess.run([evenkeel, "generate", os.path.join(ROOT, "inputs", deck), "-generate_samples", str(samples), "-generate_file", path, *keys],
                   check=True, stdout=subprocess.DEVNULL)


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


@check
def a_single_file_of_the_program_comes_out_as_it_is(scratch):
    for deck, keys in (("cfd2d_rand.yaml", ("-generate_nx", "8")), ("generate/darcy2d_small.yaml", ("-generate_nx", "16", "-generate_beta", "1"))):
        path, out = os.path.join(scratch, deck.replace("/", "_") + ".h5"), os.path.join(scratch, deck.replace("/", "_") + ".out.h5")
        generate(path, deck, 3, *keys)
        assert run(out, path)[0] == 0
        assert bytes_of(path) == bytes_of(out), deck


# ---- the description beside the file ----------------------------------------------------------------------------------------


@check
def the_description_is_that_of_the_program(scratch):
    """To the byte what `generate` writes beside a file of as many trajectories: 1D and 2D, with frames, without, and with one."""
    steady = ("-generate_nx", "16", "-generate_beta", "1", "-generate_solve")
    for kind, deck, keys in (("cfd2d", "generate/cfd2d_rand_small.yaml", ("-generate_nx", "8", "-generate_frames", "3")),
                             ("cfd1d", "generate/cfd1d_rand_small.yaml", ("-generate_nx", "16", "-generate_frames", "3")),
                             ("darcy", "generate/darcy2d_small.yaml", (*steady, "steady")),
                             ("darcy in time", "generate/darcy2d_small.yaml", (*steady, "transient")),
                             ("a<b> & \"c\"", "generate/advection1d_small.yaml", ("-generate_beta", "1", "-generate_frames", "2"))):
        there = os.path.join(scratch, kind.replace(" ", "_"))
        os.makedirs(os.path.join(there, "whole"))
        parts = [os.path.join(there, f"{seed}.hdf5") for seed in (1, 2)]
        for seed, part in enumerate(parts, 1):
            generate(part, deck, 1 + seed, *keys, "-generate_seed", str(seed))
        generate(os.path.join(there, "whole", f"{kind}.v2.hdf5"), deck, 5, *keys)
        status, output, errors = run(os.path.join(there, f"{kind}.v2.hdf5"), *parts)
        assert status == 0 and not errors and "note" not in output, (output, errors)
        mine, theirs = (bytes_of(os.path.join(there, where, f"{kind}.v2.xdmf")) for where in ("", "whole"))
        assert mine == theirs, f"{kind}: {mine[:3000]}"


@check
def the_description_leads_to_the_data(scratch):
    """Every array of every frame, read where the description says it lies, is what the files have there."""
    paths = [os.path.join(scratch, f"{i}.h5") for i in range(2)]
    data = [data_file(path, 3, i) for i, path in enumerate(paths)]
    for path, values in zip(paths, data):
        values["start"] = values["Vx"][:, :1]  # one frame, the same at all times
        with h5py.File(path, "a") as file:
            file["start"] = values["start"]
    out = os.path.join(scratch, "a&b.hdf5")
    assert run(out, *paths)[0] == 0
    frames = xml.etree.ElementTree.parse(os.path.join(scratch, "a&b.xdmf")).findall("Domain/Grid/Grid")
    assert [float(frame.find("Time").get("Value")) for frame in frames] == [0, 0.25, 0.5, 0.75]
    for t, frame in enumerate(frames):
        assert frame.find("Topology").get("Dimensions") == "2 2 7"
        corner, step = ([float(word) for word in item.text.split()] for item in frame.findall("Geometry/DataItem"))
        assert np.allclose(corner, 0, atol=1e-6) and np.allclose(step, [1 / 20, 1 / 20, 1 / 6])
        arrays = {attribute.get("Name"): attribute.find("DataItem") for attribute in frame.findall("Attribute")}
        assert sorted(arrays) == sorted(f"{name}_{i}" for name in data[0] for i in range(4))
        for name in data[0]:
            whole = np.concatenate([part[name] for part in data])
            for i in range(4):
                box, heavy = arrays[f"{name}_{i}"].findall("DataItem")
                start, stride, count = np.array(box.text.split(), int).reshape(3, -1)
                where, _, dataset = heavy.text.partition(":/")
                with h5py.File(os.path.join(scratch, where)) as file:
                    assert heavy.get("Dimensions").split() == [str(side) for side in file[dataset].shape]
                    slab = file[dataset][tuple(slice(a, a + b * c, b) for a, b, c in zip(start, stride, count))]
                assert np.array_equal(slab.ravel(), whole[i, min(t, whole.shape[1] - 1)]), (name, i, t)


@check
def files_without_a_grid_are_joined_without_a_description(scratch):
    path, out = os.path.join(scratch, "plain.h5"), os.path.join(scratch, "out.h5")
    for others in ({}, {"x-coordinate": np.arange(5, dtype="f4")}):
        with h5py.File(path, "w") as file:
            file["tensor"] = np.zeros((2, 3, 4), "f4")
            for name, values in others.items():
                file[name] = values
        status, output, errors = run(out, path)
        assert status == 0 and not errors and "no description" in output, (output, errors)
        assert sorted(os.listdir(scratch)) == ["out.h5", "plain.h5"]
        os.remove(out)


@check
def a_description_that_cannot_be_written_is_one_plain_line(scratch):
    path, out = os.path.join(scratch, "one.h5"), os.path.join(scratch, "out.h5")
    data_file(path, 2, 1)
    os.mkdir(os.path.join(scratch, "out.xdmf"))
    assert_refused(out, [path], "out.xdmf")


# ---- what is there already --------------------------------------------------------------------------------------------------


@check
def a_file_that_holds_its_parts_is_kept(scratch):
    paths = [os.path.join(scratch, f"{i}.h5") for i in range(3)]
    for i, path in enumerate(paths):
        data_file(path, 1 + i, i)
    out = os.path.join(scratch, "out.h5")
    with open(out + ".merging", "w", encoding="utf-8") as file:  # of a job that was killed
        file.write("half")
    assert run("--keep", out, *paths)[0] == 0 and not os.path.exists(out + ".merging")
    before, time = bytes_of(out), os.stat(out).st_mtime_ns
    for _ in range(2):
        status, output, errors = run("--keep", out, *paths)
        assert status == 0 and not errors and output == f"{out}: kept, holds the 6 trajectories of 3 files already\n", (output, errors)
    assert bytes_of(out) == before and os.stat(out).st_mtime_ns == time
    assert_refused(out, paths, "out.h5 exists already")


@check
def a_file_that_holds_something_else_is_refused(scratch):
    def path(name):
        return os.path.join(scratch, name + ".h5")

    def assert_other(parts, *words):
        before = bytes_of(path("out"))
        assert_refused(path("out"), ["--keep", *parts], "out.h5 exists already and does not hold these files", *words)
        assert bytes_of(path("out")) == before

    for seed, name in enumerate(("one", "two", "three")):
        data_file(path(name), 3, seed)
    assert run(path("out"), path("one"), path("two"))[0] == 0
    assert_other([path("one"), path("two"), path("three")], "it has 6 trajectories, they have 9")
    assert_other([path("one")], "it has 6 trajectories, they have 3")
    assert_other([path("one"), path("three")], "of trajectory 3 is not that of trajectory 0", "three.h5")
    assert_other([path("two"), path("one")], "of trajectory 0", "two.h5")
    with h5py.File(path("two"), "a") as file:
        file["Vx"][2, 3, 5] += 1
    assert_other([path("one"), path("two")], "Vx of trajectory 5 is not that of trajectory 2", "two.h5")
    for name in ("one", "three"):
        data_file(path(name), 3, 0, eta=0.1)
    assert_other([path("one"), path("three")], "attribute eta")
    assert_refused(path("out"), ["--keep", path("one"), path("none")], "none.h5: no such file")
    with open(path("out"), "wb") as file:
        file.write(b"cut")
    assert_other([path("one"), path("three")], "not a sound HDF5 file")


def job(scratch, *arguments):
    """merge.sbatch outside SLURM: (exit status, stdout, stderr)"""
    site = os.path.join(scratch, "site.sh")
    with open(site, "w", encoding="utf-8") as file:
        file.write("site_setup() { :; }\n")
    environment = {**os.environ, "EVENKEEL_HOME": ROOT, "PYTHON": sys.executable, "EVENKEEL_SITE": site}
    done = subprocess.run(["bash", os.path.join(ROOT, "jobscripts", "merge.sbatch"), *arguments], cwd=scratch, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, done.stderr


def data_files(scratch):
    return sorted(name for name in os.listdir(scratch) if name.endswith(".hdf5"))


@check
def the_job_joins_every_beta_and_may_come_again(scratch):
    betas = ("0.1", "0.2", "1", "2e-3")  # b0.1.hdf5 and b0.2.hdf5 look like both parts of beta 0
    for i, beta in enumerate(betas):
        for seed in (1, 2):
            data_file(os.path.join(scratch, f"b{beta}.{seed}.hdf5"), 2, 10 * i + seed)
    names = ("b{beta}.hdf5", "b{beta}.1.hdf5", "b{beta}.2.hdf5")
    for again in (False, True):
        status, output, errors = job(scratch, *names)
        assert status == 0 and not errors, errors
        assert output.count("\n") == len(betas) == output.count(": kept," if again else ": 4 trajectories of 2 files"), output
        assert data_files(scratch) == sorted(f"b{beta}.{end}" for beta in betas for end in ("hdf5", "1.hdf5", "2.hdf5"))
    os.remove(os.path.join(scratch, "b1.2.hdf5"))
    os.remove(os.path.join(scratch, "b0.2.hdf5"))
    status, output, errors = job(scratch, *names)
    assert status == 1 and errors == "merge.py: b1.2.hdf5: no such file\n" and output.count(": kept,") == 2 and "b0.2.hdf5: 4 traj" in output, (output, errors)
    os.remove(os.path.join(scratch, "b2e-3.1.hdf5"))  # of the first part alone
    status, _, errors = job(scratch, *names)
    assert status == 1 and "merge.py: b2e-3.1.hdf5: no such file\n" in errors, errors
    empty = os.path.join(scratch, "empty")
    os.mkdir(empty)
    status, _, errors = job(empty, *names)
    assert status == 1 and errors == "merge.py: b*.1.hdf5: no such file\n", errors


@check
def the_job_takes_a_single_part(scratch):
    for beta in ("0.1", "3"):
        data_file(os.path.join(scratch, f"b{beta}.1.hdf5"), 2, 1)
    for _ in range(2):
        status, output, errors = job(scratch, "b{beta}.hdf5", "b{beta}.1.hdf5")
        assert status == 0 and not errors and output.count("\n") == 2, (output, errors)
    assert data_files(scratch) == ["b0.1.1.hdf5", "b0.1.hdf5", "b3.1.hdf5", "b3.hdf5"]
    status, output, errors = job(scratch, "b0.1.hdf5", "b0.1.1.hdf5")
    assert status == 0 and ": kept," in output, (output, errors)
    assert job(scratch, "b.hdf5", "none.hdf5")[::2] == (1, "merge.py: none.hdf5: no such file\n")


# ---- what is refused --------------------------------------------------------------------------------------------------------


@check
def files_that_disagree_are_refused(scratch):
    def path(name):
        return os.path.join(scratch, name + ".h5")

    data_file(path("one"), 2, 1)
    for name, words, options in (("fields", "datasets: Vx", {"fields": FIELDS[:2]}), ("points", "shape of density", {"points": 7}),
                                 ("frames", "shape of density", {"frames": 3}), ("step", "coordinate t-coordinate", {"step": 0.5}),
                                 ("eta", "attribute eta", {"eta": 0.1}), ("double", "is float64", {"dtype": "f8"})):
        data_file(path(name), 2, 2, **options)
        assert_refused(path("out"), [path("one"), path(name)], name + ".h5", words)
    data_file(path("attribute"), 2, 2)
    with h5py.File(path("attribute"), "a") as file:
        file.attrs["M"] = 1.0
    assert_refused(path("out"), [path("one"), path("attribute")], "attributes: M")
    with h5py.File(path("ragged"), "w") as file:
        file["a"], file["b"] = np.zeros((2, 3), "f4"), np.zeros((4, 3), "f4")
    assert_refused(path("out"), [path("ragged")], "ragged.h5", "4 trajectories")
    with h5py.File(path("groups"), "w") as file:
        file["0000/data"] = np.zeros((2, 3), "f4")
    assert_refused(path("out"), [path("groups")], "0000 is a group")


@check
def values_that_are_not_finite_are_refused(scratch):
    paths = [os.path.join(scratch, f"{i}.h5") for i in range(2)]
    out = os.path.join(scratch, "out.h5")
    for bad in (np.nan, np.inf):
        for path in paths:
            data_file(path, 4, 1)
        with h5py.File(paths[1], "a") as file:
            file["pressure"][2, 1, 3] = bad
        assert_refused(out, paths, "1.h5", "pressure", "first in trajectory 2")


@check
def mistakes_are_one_plain_line(scratch):
    good, out = os.path.join(scratch, "good.h5"), os.path.join(scratch, "out.h5")
    cut, link = os.path.join(scratch, "cut.h5"), os.path.join(scratch, "link.h5")
    data_file(good, 2, 1)
    os.symlink(good, link)
    with open(good, "rb") as whole, open(cut, "wb") as part:
        part.write(whole.read()[:900])
    assert_refused(out, [good, os.path.join(scratch, "none.h5")], "none.h5: no such file")
    assert_refused(out, [good, cut], "cut.h5", "not a sound HDF5 file")
    assert_refused(out, [good, __file__], "test_merge.py", "not a sound HDF5 file")
    assert_refused(out, [good, link], "link.h5 is named twice")
    os.symlink(good, os.path.join(scratch, "begun.h5.part"))
    with open(os.path.join(scratch, "begun.h5.progress"), "w", encoding="utf-8"):
        pass
    assert_refused(out, [good, os.path.join(scratch, "begun.h5.part")], "begun.h5.part is not finished")
    with h5py.File(out, "w"):
        pass
    assert_refused(out, [good], "out.h5 exists already")


if __name__ == "__main__":
    sys.exit(run_checks())
