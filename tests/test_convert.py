"""Checks of postproc/convert.py on files that PyTorch made, and against PyTorch itself where it is installed. Prints a line a check; exit
status 1 if one fails."""
import argparse
import collections
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TORCH = os.path.join(ROOT, "tests", "data", "torch")
sys.path.insert(0, os.path.join(ROOT, "postproc"))
from checks import check, output_of, run_checks  # noqa: E402
import convert as program  # noqa: E402
import tensorfiles  # noqa: E402

try:
    import torch
except ImportError:
    torch = None

NAMES = ["pos_embed", "bias", "w0.weight", "w0.bias", "conv0.weights1", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
         "norm.num_batches_tracked", "cls_head.weight", "cls_head.bias"]
REACHED = [name for name in NAMES if "cls_head" not in name and name.rsplit(".", 1)[-1] not in program.BUFFERS]


def made(name):
    return os.path.join(TORCH, name)


def run(*arguments):
    return output_of(program.main, *arguments)


def works(*arguments):
    status, out, error = run(*arguments)
    assert status == 0 and not error, error
    return out


def refused(words, *arguments):
    status, out, error = run(*arguments)
    assert status == 1 and not out and error.count("\n") == 1, (status, out, error)
    assert words in error, f"'{words}' is not in '{error}'"


def values(tensors):
    return {name: tensor.load() for name, tensor in tensors.items()}


def same(one, other):
    assert list(one) == list(other), (list(one), list(other))
    for name in one:
        assert one[name].dtype == other[name].dtype and one[name].shape == other[name].shape, name
        assert one[name].tobytes() == other[name].tobytes(), name


def same_bytes(one, other):
    with open(one, "rb") as a, open(other, "rb") as b:
        assert a.read() == b.read()


# ---- from PyTorch -------------------------------------------------------------------------------------------------------


def kinds():
    """What make.py put into kinds.pth, half precision widened."""
    base = np.arange(12, dtype="f4").reshape(3, 4)
    pairs = (base + 1j * (-base - np.float32(0.5))).astype("c8")
    return {"plain": base / 8, "double": base.astype("f8") / 3, "half": base / 8, "bfloat16": base / 8, "long": base.astype("i8") - 5,
            "int": base.astype("i4"), "short": base.astype("i2"), "byte": base.astype("u1"), "bool": base > 4, "complex": pairs,
            "complex128": pairs.astype("c16"), "transposed": base.T.copy(), "window": base[1:, 1:3].copy(), "same": base,
            "expanded": np.repeat(base[:, :1], 2, axis=1), "complex_column": pairs[:, 1].copy(), "scalar": np.array(2.5, "f4"),
            "complex_scalar": np.array(1 - 2j, "c8"), "counter": np.array(7, "i8"), "none": np.zeros((0, 4), "f4"), "parameter": base[0].copy()}


def real(array):
    """Complex numbers as pairs."""
    if not np.iscomplexobj(array):
        return array
    return array.reshape(-1).view("f4" if array.dtype == "c8" else "f8").reshape(*array.shape, 2)


@check
def every_dtype_and_stride_is_read(scratch):
    out = works(made("kinds.pth"), f"{scratch}/a.safetensors")
    tensors, metadata = tensorfiles.read_safetensors(f"{scratch}/a.safetensors")
    same(values(tensors), {name: real(array) for name, array in kinds().items()})
    assert metadata == {"format": "pt", "complex": "complex,complex128,complex_column,complex_scalar"}
    assert out == (f"21 tensors, 115 parameters -> {scratch}/a.safetensors\nhalf precision widened to float32: 2 tensors\n"), out


@check
def a_safetensors_file_is_well_formed(scratch):
    """Data without gaps, each at a multiple of its size; the header padded to 8 bytes."""
    works(made("kinds.pth"), f"{scratch}/a.safetensors")
    with open(f"{scratch}/a.safetensors", "rb") as file:
        raw = file.read()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8: 8 + length])
    header.pop("__metadata__")
    at = 0
    for entry in sorted(header.values(), key=lambda entry: (entry["data_offsets"], -np.prod(entry["shape"]))):
        begin, end = entry["data_offsets"]
        width = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "I16": 2, "U8": 1, "BOOL": 1}[entry["dtype"]]
        assert begin == at and begin % width == 0 and end - begin == width * np.prod(entry["shape"]), entry
        at = end
    assert length % 8 == 0 and at == len(raw) - 8 - length


@check
def wrappers_prefixes_and_moments(scratch):
    out = works(made("published.pth"), f"{scratch}/a.safetensors")
    assert out.splitlines()[1:] == ["Adam's moments of 7 tensors after 2 updates", "taken off the names: module."], out
    assert out.startswith("12 tensors, 53 parameters -> "), out
    same_bytes(f"{scratch}/a.safetensors", made("published.safetensors"))
    works(made("adam.pth"), f"{scratch}/b.safetensors")
    same_bytes(f"{scratch}/b.safetensors", made("adam.safetensors"))
    tensors, metadata = tensorfiles.read_safetensors(made("adam.safetensors"))
    assert list(tensors) == NAMES + [f"optimizer.{key}.{name}" for name in REACHED for key in program.MOMENTS]
    assert metadata["optimizer_steps"] == "2" and metadata["epoch"] == "7" and metadata["loss"] == "0.25"
    assert metadata["complex"] == "conv0.weights1,optimizer.exp_avg.conv0.weights1,optimizer.exp_avg_sq.conv0.weights1"
    group = json.loads(metadata["optimizer_group"])
    assert group["lr"] == 0.01 and group["betas"] == [0.9, 0.999] and "params" not in group
    second = tensorfiles.read_safetensors(made("published.safetensors"))[0]["optimizer.exp_avg_sq.conv0.weights1"].load()
    assert second.shape == (2, 3, 2) and (second[..., 0] > 0).all() and np.abs(second[..., 1]).max() < 1e-6


@check
def the_optimizer_can_stay(scratch):
    out = works(made("adam.pth"), f"{scratch}/a.safetensors", "--no-optimizer")
    tensors, metadata = tensorfiles.read_safetensors(f"{scratch}/a.safetensors")
    assert list(tensors) == NAMES and "optimizer_steps" not in metadata and "left out: optimizer" in out


# ---- to PyTorch ---------------------------------------------------------------------------------------------------------


def flat(value, where=""):
    """Leaves of nested dicts by their path."""
    if isinstance(value, tensorfiles.Namespace):
        return {f"{where}/Namespace": None} | flat(vars(value), where)
    if not isinstance(value, dict):
        return {where: value.load() if isinstance(value, tensorfiles.Tensor) else value}
    return {path: leaf for key, item in value.items() for path, leaf in flat(item, f"{where}/{key}").items()}


def same_trees(one, other):
    one, other = flat(one), flat(other)
    assert sorted(one) == sorted(other), set(one) ^ set(other)
    for path, leaf in one.items():
        if isinstance(leaf, np.ndarray) and isinstance(other[path], np.ndarray):
            same({path: leaf}, {path: other[path]})
        else:
            assert float(np.asarray(leaf)) == float(np.asarray(other[path])) if path.endswith("step") else leaf == other[path], path


@check
def and_back_again(scratch):
    """What torch wrote and what comes back are the same trees, dtypes and bits; the second safetensors the same bytes."""
    saved = tensorfiles.read_torch(made("adam.pth"))
    out = works(made("adam.safetensors"), f"{scratch}/a.pth", "--like", "pdebench")
    assert out.splitlines()[1:] == ["Adam's moments of 7 tensors after 2 updates"], out
    back = tensorfiles.read_torch(f"{scratch}/a.pth")
    assert isinstance(back["optimizer_state_dict"]["param_groups"][0]["betas"], tuple)
    same_trees(saved, back)
    works(f"{scratch}/a.pth", f"{scratch}/b.safetensors")
    same_bytes(f"{scratch}/b.safetensors", made("adam.safetensors"))
    works(made("published.safetensors"), f"{scratch}/c.pth", "--like", "dpot")
    back = tensorfiles.read_torch(f"{scratch}/c.pth")
    saved = tensorfiles.read_torch(made("published.pth"))
    saved["model"] = {name.removeprefix("module."): value for name, value in saved["model"].items()}
    assert list(back) == list(saved) == ["args", "model", "optimizer"] and list(back["model"]) == list(saved["model"]) == NAMES
    same_trees(saved, back)
    works(f"{scratch}/c.pth", f"{scratch}/d.safetensors")
    same_bytes(f"{scratch}/d.safetensors", made("published.safetensors"))


@check
def plain_arguments_are_kept(scratch):
    """Of a Namespace what JSON holds, each value of its type; what it does not hold is named."""
    plain = {"lr": 1e-3, "width": 512, "seed": 2**62, "resume": None, "use_ln": False, "name": "a \"b\" \u00e9",
             "weights": [8, 2.5, None, ["x", True]], "none": [], "self": 1}
    one = tensorfiles.Tensor("float32", (2,), lambda: np.ones(2, "f4"))
    args = tensorfiles.Namespace(**plain, device={"index": 0}, mean=one, inner=tensorfiles.Namespace(a=1))
    tensorfiles.write_torch(f"{scratch}/a.pth", {"args": args, "model": {"a": one}})
    out = works(f"{scratch}/a.pth", f"{scratch}/a.safetensors")
    assert out.endswith("left out: args.device, args.mean, args.inner\n"), out
    out = works(f"{scratch}/a.safetensors", f"{scratch}/b.pth", "--like", "dpot", "--no-optimizer")
    assert "left out" not in out, out
    back = vars(tensorfiles.read_torch(f"{scratch}/b.pth")["args"])
    assert list(back.items()) == list(plain.items()) and [type(value) for value in back.values()] == [type(value) for value in plain.values()]
    assert "left out: args (--like" in works(f"{scratch}/a.safetensors", f"{scratch}/c.pth")
    for text in ("no JSON", "[1]", '{"a": {"b": 1}}', '{"a": 1e400, "b": 9223372036854775808}'):
        tensorfiles.write_safetensors(f"{scratch}/bad.safetensors", {"a": one}, {"args": text})
        refused("bad.safetensors: args in __metadata__ is no JSON object of plain values: ", f"{scratch}/bad.safetensors", f"{scratch}/d.pth",
                "--like", "dpot")


@check
def every_dtype_is_written(scratch):
    works(made("kinds.pth"), f"{scratch}/a.safetensors")
    works(f"{scratch}/a.safetensors", f"{scratch}/b.pth")
    same(values(tensorfiles.read_torch(f"{scratch}/b.pth")), kinds())


@check
def a_bare_state_dict_has_no_moments(scratch):
    out = works(made("adam.safetensors"), f"{scratch}/a.pt")
    assert "left out: optimizer (--like dpot or pdebench keeps it)" in out
    assert list(tensorfiles.read_torch(f"{scratch}/a.pt")) == NAMES
    works(made("adam.safetensors"), f"{scratch}/b.pt", "--like", "dpot", "--no-optimizer")
    assert list(tensorfiles.read_torch(f"{scratch}/b.pt")) == ["model"]


@check
def what_the_file_does_not_say_is_pytorchs_default(scratch):
    works(made("adam.pth"), f"{scratch}/a.safetensors", "--no-optimizer")
    tensors, metadata = tensorfiles.read_safetensors(f"{scratch}/a.safetensors")
    tensorfiles.write_safetensors(f"{scratch}/b.safetensors", tensors, {"format": "pt", "complex": metadata["complex"]})
    works(f"{scratch}/b.safetensors", f"{scratch}/b.pth", "--like", "pdebench")
    back = tensorfiles.read_torch(f"{scratch}/b.pth")
    assert back["epoch"] == 0 and back["loss"] == np.inf and back["optimizer_state_dict"]["state"] == {}
    group = back["optimizer_state_dict"]["param_groups"][0]
    assert group["lr"] == 1e-3 and group["betas"] == (0.9, 0.999) and group["params"] == list(range(9))


@check
def what_export_writes_is_read(scratch):
    """Notes of the program's own files go along: constants of normalised data, the param_group."""
    tensors, metadata = tensorfiles.read_safetensors(made("adam.safetensors"))
    notes = metadata | {"normalize": '{"fields":["u"],"mean":[1],"scale":[2]}'}
    tensorfiles.write_safetensors(f"{scratch}/a.safetensors", tensors, notes)
    works(f"{scratch}/a.safetensors", f"{scratch}/a.pth", "--like", "dpot")
    works(f"{scratch}/a.pth", f"{scratch}/b.safetensors")
    assert tensorfiles.read_safetensors(f"{scratch}/b.safetensors")[1]["normalize"] == notes["normalize"]
    assert "left out: optimizer, normalize" in works(f"{scratch}/a.safetensors", f"{scratch}/c.pth")


# ---- what is refused ----------------------------------------------------------------------------------------------------


def pickled(path, text, storages=()):
    """A zip like torch's around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", text)
        for i, data in enumerate(storages):
            archive.writestr(f"x/data/{i}", data)


class Call:
    """Pickles to a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@check
def nothing_in_a_pickle_is_called(scratch):
    pickled(f"{scratch}/evil.pth", pickle.dumps({"model": Call(f"touch {scratch}/called")}, protocol=2))
    refused("holds posix.system, which is refused: only tensors and plain data are read", f"{scratch}/evil.pth", f"{scratch}/a.safetensors")
    assert sorted(os.listdir(scratch)) == ["evil.pth"]
    for module, name in (("builtins", "eval"), ("torch", "load"), ("torch._utils", "_rebuild_sparse_tensor"), ("numpy", "load")):
        pickled(f"{scratch}/evil.pth", f"c{module}\n{name}\n.".encode())
        refused(f"holds {module}.{name}, which is refused", f"{scratch}/evil.pth", f"{scratch}/a.safetensors")
    refused("holds __main__.Model, which is refused", made("module.pth"), f"{scratch}/a.safetensors")


class Global:
    """A name that is looked up; with arguments a call of it, with a state an object of that class."""

    def __init__(self, module, name, arguments=None, state=None):
        self.module, self.name, self.arguments, self.state = module, name, arguments, state


class Pickle(tensorfiles.Pickle):
    """Also of Globals."""

    def put(self, value):
        if not isinstance(value, Global):
            super().put(value)
            return
        self.put_global(value.module, value.name)
        if value.state is not None:
            self.out.write(b")\x81")
            self.put(value.state)
            self.out.write(b"b")
        elif value.arguments is not None:
            self.put(value.arguments)
            self.out.write(b"R")


def saved_with(path, value):
    text = Pickle(value)
    pickled(path, text.out.getvalue(), [tensor.load().tobytes() for tensor in text.tensors])


def strange(command):
    """Arguments as programs have them, and one of ill will."""
    inner = Global("__main__", "Net", state={"width": 3, "f": Global("torch.nn.functional", "relu")})
    return {"f": Global("torch.nn.modules.activation", "GELU"), "device": Global("torch", "device", ("cuda",)), "net": inner,
            "attack": Global("os", "system", (command,)), "several": [1, (Global("pathlib", "PosixPath", ("a",)),)],
            "by_name": {"x": Global("builtins", "eval", ("1 / 0",))}}


@check
def arguments_that_are_looked_up_are_left_out(scratch):
    """Classes, functions, devices, objects are named and not looked up; weights, moments and the other arguments are what they were."""
    saved = tensorfiles.read_torch(made("published.pth"))
    args = {**strange(f"touch {scratch}/called"), **vars(saved["args"])}
    saved_with(f"{scratch}/a.pth", {**saved, "args": tensorfiles.Namespace(**args)})
    out = works(f"{scratch}/a.pth", f"{scratch}/a.safetensors")
    assert out.endswith("left out: args.f, args.device, args.net, args.attack, args.several, args.by_name\n"), out
    same_bytes(f"{scratch}/a.safetensors", made("published.safetensors"))
    saved_with(f"{scratch}/b.pth", {**saved, "args": Global("types", "SimpleNamespace", (), {"lr": 1})})
    assert works(f"{scratch}/b.pth", f"{scratch}/b.safetensors").endswith("left out: args\n")
    for protocol in range(2, 5):
        args = argparse.Namespace(f=os.path.join, path=pathlib.Path("a"), call=Call(f"touch {scratch}/called"), counts=Counts("aab"), s={str, 1})
        pickled(f"{scratch}/c.pth", pickle.dumps({"args": args, "model": {"a": 1}}, protocol))
        refused("entry 'a' of the state_dict is no tensor but int", f"{scratch}/c.pth", f"{scratch}/c.safetensors")
    assert sorted(os.listdir(scratch)) == ["a.pth", "a.safetensors", "b.pth", "b.safetensors", "c.pth"]


class Counts(collections.Counter):
    """Pickles to a call of a class and a state."""


@check
def elsewhere_they_are_refused(scratch):
    """Also where they are hidden: in keys, in the optimizer's groups, behind a cycle."""
    saved = tensorfiles.read_torch(made("published.pth"))
    gelu, bad = Global("torch.nn.modules.activation", "GELU"), f"{scratch}/bad.pth"
    ring = tensorfiles.Namespace(a=1)
    group = {**saved["optimizer"]["param_groups"][0], "f": [gelu]}
    for other in ({"model": {**saved["model"], "x": gelu}}, {"optimizer": {**saved["optimizer"], "param_groups": [group]}}, {"scheduler": gelu},
                  {"scheduler": tensorfiles.Namespace(f=gelu)}, {"model": {"a": Global("torch._utils", "_rebuild_sparse_tensor", (1, 2))}},
                  {"scheduler": {Global("torch", "device", ("cpu",)): 1}}):
        saved_with(bad, {**saved, **other})
        refused("which is refused: only tensors and plain data are read", bad, f"{scratch}/a.safetensors")
    vars(ring)["ring"] = [ring]
    assert tensorfiles.find_unread({"a": ring, "b": [ring]}) is None
    assert sorted(os.listdir(scratch)) == ["bad.pth"]


@check
def the_old_format_says_what_to_do(scratch):
    refused("old format, no zip archive; re-save it with PyTorch 1.6 or newer: torch.save(torch.load(FILE, map_location='cpu'), FILE)",
            made("old.pth"), f"{scratch}/a.safetensors")


def tensor(count, size, stride, offset=0):
    """A pickle of {"a": tensor}, laid out as wanted."""
    text = tensorfiles.Pickle({"a": tensorfiles.Tensor("float32", (count,), None)}).out.getvalue()
    was = tensorfiles.Pickle({"x": (0, (count,), (1,))}).out.getvalue()[2 + 1 + 1 + 6 + 1: -3]
    now = tensorfiles.Pickle({"x": (offset, size, stride)}).out.getvalue()[2 + 1 + 1 + 6 + 1: -3]
    assert text.count(was) == 1
    return text.replace(was, now)


@check
def damaged_files_are_named(scratch):
    bad, out = f"{scratch}/bad.pth", f"{scratch}/a.safetensors"
    with open(made("adam.pth"), "rb") as file:
        sound = file.read()
    for cut in (0, 1, 100, len(sound) // 2, len(sound) - 1):
        with open(bad, "wb") as file:
            file.write(sound[:cut])
        refused("bad.pth: truncated" if cut > 1 else "bad.pth: no file of torch.save", bad, out)
    with zipfile.ZipFile(made("adam.pth")) as archive:
        info = archive.getinfo("adam/data/0") if "adam/data/0" in archive.namelist() else archive.getinfo("archive/data/0")
    at = info.header_offset + 30 + sum(struct.unpack("<HH", sound[info.header_offset + 26: info.header_offset + 30]))
    with open(bad, "wb") as file:
        file.write(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1:])
    refused("data/0 in the archive is damaged: its checksum", bad, out)
    pickled(bad, tensor(6, (2, 3), (3, 1)), [np.arange(6, dtype="f4").tobytes()])
    works(bad, out)
    os.unlink(out)
    for size, stride, offset in (((2, 3), (3, 2), 0), ((6,), (1,), 1), ((2,), (-1,), 1), ((2, 3), (1,), 0)):
        pickled(bad, tensor(6, size, stride, offset), [np.arange(6, dtype="f4").tobytes()])
        refused("bad.pth: a tensor ", bad, out)
    pickled(bad, tensor(6, (6,), (1,)), [b"1234"])
    refused("data/0 in the archive has 4 bytes for 6 of float32", bad, out)
    pickled(bad, tensor(6, (6,), (1,)))
    refused("data/0 is missing in the archive", bad, out)
    pickled(bad, b"\x80\x02}")
    refused("data.pkl in the archive is damaged", bad, out)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("hello", "world")
    refused("it has no data.pkl", bad, out)
    assert sorted(os.listdir(scratch)) == ["bad.pth"]


@check
def random_damage_is_refused_in_one_line(scratch):
    """Bytes of data.pkl changed at random: converted or refused, nothing else."""
    with zipfile.ZipFile(made("published.pth")) as archive:
        names = archive.namelist()
        parts = {name: archive.read(name) for name in names}
    text = next(name for name in names if name.endswith("data.pkl"))
    random, failed = np.random.default_rng(1), 0
    for _ in range(300):
        broken = bytearray(parts[text])
        for at in random.integers(0, len(broken), 1 + random.integers(3)):
            broken[at] = random.integers(256)
        with zipfile.ZipFile(f"{scratch}/bad.pth", "w") as archive:
            for name in names:
                archive.writestr(name, bytes(broken) if name == text else parts[name])
        status, _, error = run(f"{scratch}/bad.pth", f"{scratch}/a.safetensors")
        assert status == 0 or error.startswith("convert.py: "), error
        failed += status
    assert 100 < failed < 300, failed


@check
def what_is_no_state_dict_is_named(scratch):
    bad, out = f"{scratch}/bad.pth", f"{scratch}/a.safetensors"
    tensorfiles.write_torch(bad, {"net": {"a": 1}, "epoch": 3})
    refused("no state_dict in it, nor 'model' or 'model_state_dict' that holds one (found: net, epoch)", bad, out)
    tensorfiles.write_torch(bad, {"model": {"a": 1.5}})
    refused("entry 'a' of the state_dict is no tensor but float", bad, out)
    tensorfiles.write_torch(bad, {"model": {}})
    refused("its state_dict is empty", bad, out)
    one = tensorfiles.Tensor("float32", (2,), lambda: np.ones(2, "f4"))
    state = {"model": {"a": one, "b": one}, "optimizer": {"state": {}, "param_groups": [{"params": [0, 1], "lr": 0.1}]}}
    tensorfiles.write_torch(bad, state)
    assert "left out: optimizer (it has made no update)" in works(bad, out)
    state["optimizer"]["state"] = {1: {"momentum_buffer": one}}
    tensorfiles.write_torch(bad, state)
    assert "left out: optimizer (no moments of Adam)" in works(bad, out)
    state["optimizer"]["state"] = {1: {"step": 3, "exp_avg": one, "exp_avg_sq": one}}
    tensorfiles.write_torch(bad, state)
    works(bad, out)
    assert list(tensorfiles.read_safetensors(out)[0]) == ["a", "b", "optimizer.exp_avg.b", "optimizer.exp_avg_sq.b"]
    state["optimizer"]["param_groups"][0]["params"] = [0, 1, 2]
    tensorfiles.write_torch(bad, state)
    refused("the optimizer has 3 parameters in 1 group, the model 2: which moments are whose is not known; --no-optimizer", bad, out)
    works(bad, out, "--no-optimizer")
    state["optimizer"]["param_groups"][0]["params"] = [0, 1]
    state["model"]["b"] = tensorfiles.Tensor("float32", (3,), lambda: np.ones(3, "f4"))
    tensorfiles.write_torch(bad, state)
    refused("exp_avg 1 is of another shape than 'b', (3,)", bad, out)


@check
def bad_safetensors_are_named(scratch):
    bad, out = f"{scratch}/bad.safetensors", f"{scratch}/a.pth"
    one = {"a": tensorfiles.Tensor("float32", (3,), lambda: np.ones(3, "f4"))}
    tensorfiles.write_safetensors(bad, one, {"format": "pt", "complex": "a"})
    refused("'a' is listed as complex, but is float32 of shape (3,), not pairs", bad, out)
    one["optimizer.exp_avg.a"] = one["a"]
    tensorfiles.write_safetensors(bad, one, {})
    refused("the moments of 'a' are incomplete", bad, out, "--like", "dpot")
    one["optimizer.exp_avg_sq.a"] = one["a"]
    tensorfiles.write_safetensors(bad, one, {})
    refused("does not say of how many updates", bad, out, "--like", "dpot")
    one["optimizer.exp_avg.b"] = one["a"]
    tensorfiles.write_safetensors(bad, one, {"optimizer_steps": "1"})
    refused("'optimizer.exp_avg.b' is the moment of no parameter", bad, out, "--like", "dpot")
    with open(bad, "rb") as file:
        sound = file.read()
    for cut, words in ((len(sound) - 1, "truncated"), (20, "truncated"), (3, "truncated")):
        with open(bad, "wb") as file:
            file.write(sound[:cut])
        refused(words, bad, out)
    with open(bad, "wb") as file:
        file.write(struct.pack("<Q", 8) + b"not json")
    refused("no safetensors file", bad, out)
    assert not os.path.exists(out)


@check
def names_of_files_decide_the_direction(scratch):
    refused("one must end in .pth or .pt, the other in .safetensors", made("adam.pth"), f"{scratch}/a.pth")
    refused("--like is for writing .pth", made("adam.pth"), f"{scratch}/a.safetensors", "--like", "dpot")
    refused("none.pth: cannot be read: No such file", f"{scratch}/none.pth", f"{scratch}/a.safetensors")
    refused("cannot be written: No such file", made("adam.pth"), f"{scratch}/none/a.safetensors")
    path = os.path.join(ROOT, "postproc", "convert.py")
    done = subprocess.run([sys.executable, path, made("adam.pth"), f"{scratch}/a.safetensors"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("12 tensors, 53 parameters"), done


# ---- against PyTorch ----------------------------------------------------------------------------------------------------


def torch_load(path):
    """Without running anything of the file, where this PyTorch can."""
    try:
        return torch.load(path, weights_only=True)
    except (TypeError, pickle.UnpicklingError):
        return torch.load(path)


def network():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2), torch.nn.Linear(2, 2))
    model.register_parameter("spectral", torch.nn.Parameter(torch.randn(2, 3, dtype=torch.complex64)))
    return model


def step(model, optimizer, x):
    optimizer.zero_grad()
    (model[2](model[1](model[0](x))).pow(2).sum() + (model.spectral - 1).abs().pow(2).sum()).backward()
    optimizer.step()


def torch_goes_on_where_it_was(scratch):
    """A training through both conversions is the training that was never interrupted, to the bit."""
    torch.manual_seed(3)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
    x = torch.randn(6, 5, 3)
    for i in range(3):
        step(model, optimizer, x[i])
    torch.save({"epoch": 3, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "loss": 1.0},
               f"{scratch}/a.pth")
    works(f"{scratch}/a.pth", f"{scratch}/a.safetensors")
    works(f"{scratch}/a.safetensors", f"{scratch}/b.pth", "--like", "pdebench")
    saved = torch_load(f"{scratch}/b.pth")
    other = network()
    other.load_state_dict(saved["model_state_dict"])
    again = torch.optim.Adam(other.parameters())
    again.load_state_dict(saved["optimizer_state_dict"])
    for i in range(3, 6):
        step(model, optimizer, x[i])
        step(other, again, x[i])
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def torch_reads_every_dtype(scratch):
    works(made("kinds.pth"), f"{scratch}/a.safetensors")
    works(f"{scratch}/a.safetensors", f"{scratch}/b.pth")
    same({name: value.numpy() for name, value in torch_load(f"{scratch}/b.pth").items()}, kinds())
    tensors = {"a": tensorfiles.Tensor("bfloat16", (2,), lambda: np.array([0x3F80, 0xC000], "<u2")),
               "b": tensorfiles.Tensor("float16", (2,), lambda: np.array([1, -2], "<f2"))}
    tensorfiles.write_safetensors(f"{scratch}/half.safetensors", tensors, {"format": "pt"})
    works(f"{scratch}/half.safetensors", f"{scratch}/half.pth")
    back = torch_load(f"{scratch}/half.pth")
    assert back["a"].dtype == torch.bfloat16 and back["a"].tolist() == [1, -2]
    assert back["b"].dtype == torch.float16 and back["b"].tolist() == [1, -2]


def torch_reads_arguments(scratch):
    """What torch gets is argparse's own, as it was."""
    works(made("published.safetensors"), f"{scratch}/a.pth", "--like", "dpot")
    saved, back = torch.load(made("published.pth")), torch.load(f"{scratch}/a.pth")
    assert isinstance(back["args"], argparse.Namespace) and back["args"] == saved["args"] and back["args"].width == 20
    assert list(saved) == list(back) and saved["optimizer"]["param_groups"] == back["optimizer"]["param_groups"]


if torch:
    check(torch_goes_on_where_it_was)
    check(torch_reads_arguments)
    check(torch_reads_every_dtype)

if __name__ == "__main__":
    sys.exit(run_checks())
