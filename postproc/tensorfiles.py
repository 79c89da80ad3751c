"""Named tensors in files, without torch: PyTorch's zip of a pickle and raw storages, and safetensors. Both directions, a tensor at a
time: a file may be larger than memory."""
import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable

import numpy as np


class FileError(Exception):
    """A file that cannot be used; the text is the one line the user sees."""


@dataclass(frozen=True)
class Kind:
    """A torch dtype: its storage class, its name in safetensors ("" for complex ones: pairs of `real`), how numpy sees it."""

    storage: str
    safe: str
    numpy: str
    real: str = ""


KINDS = {
    "float32": Kind("FloatStorage", "F32", "<f4"),
    "float64": Kind("DoubleStorage", "F64", "<f8"),
    "float16": Kind("HalfStorage", "F16", "<f2"),
    "bfloat16": Kind("BFloat16Storage", "BF16", "<u2"),
    "int64": Kind("LongStorage", "I64", "<i8"),
    "int32": Kind("IntStorage", "I32", "<i4"),
    "int16": Kind("ShortStorage", "I16", "<i2"),
    "int8": Kind("CharStorage", "I8", "i1"),
    "uint8": Kind("ByteStorage", "U8", "u1"),
    "bool": Kind("BoolStorage", "BOOL", "?"),
    "complex64": Kind("ComplexFloatStorage", "", "<c8", "float32"),
    "complex128": Kind("ComplexDoubleStorage", "", "<c16", "float64"),
}
OF_STORAGE = {kind.storage: name for name, kind in KINDS.items()}
OF_SAFE = {kind.safe: name for name, kind in KINDS.items() if kind.safe}
OF_REAL = {kind.real: name for name, kind in KINDS.items() if kind.real}


@dataclass
class Tensor:
    """kind: key of KINDS; load() gives the values, contiguous, bfloat16 as the bits of uint16."""

    kind: str
    shape: tuple
    load: Callable

    @property
    def count(self):
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self):
        return self.count * np.dtype(KINDS[self.kind].numpy).itemsize


def widened(tensor):
    """Half precision as float32, which holds each of its values; anything else as it is."""
    if tensor.kind == "float16":
        return Tensor("float32", tensor.shape, lambda: tensor.load().astype("<f4"))
    if tensor.kind == "bfloat16":
        return Tensor("float32", tensor.shape, lambda: (tensor.load().astype("<u4") << 16).view("<f4"))
    return tensor


def as_pairs(tensor):
    """A complex tensor as a real one with a last axis of (re, im)."""
    real = KINDS[tensor.kind].real
    return Tensor(real, (*tensor.shape, 2), lambda: tensor.load().reshape(-1).view(KINDS[real].numpy).reshape(*tensor.shape, 2))


def from_pairs(tensor):
    kind = OF_REAL[tensor.kind]
    return Tensor(kind, tensor.shape[:-1], lambda: tensor.load().reshape(-1).view(KINDS[kind].numpy).reshape(tensor.shape[:-1]))


def replace(path, write):
    """write(path of a temporary file), which gets its name when it is complete."""
    temporary = f"{path}.tmp"
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


# ---- PyTorch, reading ------------------------------------------------------------------------------------------------------


class Namespace:
    """argparse.Namespace as plain data: its values are attributes."""

    def __init__(self, /, **values):
        vars(self).update(values)


class Unread:
    """Stands for what a pickle wants looked up, as a class of its own each, and for what it makes of that: takes everything, does nothing."""

    source = ""  # "module.name"

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, *_, **__):
        pass

    def ignore(self, *_):
        pass

    __setstate__ = __setitem__ = append = extend = add = ignore


def find_unread(value):
    """The first Unread in plain data, None if there is none."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Unread) or isinstance(value, type) and issubclass(value, Unread):
            return value
        value = vars(value) if isinstance(value, Namespace) else value
        if isinstance(value, (dict, list, tuple, set, frozenset)) and id(value) not in seen:
            seen.add(id(value))
            items = [item for pair in value.items() for item in pair] if isinstance(value, dict) else list(value)
            waiting += reversed(items)
    return None


@dataclass
class Storage:
    kind: str
    key: str
    count: int


class Archive:
    """The zip: data.pkl, and raw storages that are mapped when a tensor asks for them, checked the first time."""

    def __init__(self, path):
        self.path = path
        self.zip = open_zip(path)
        found = [name for name in self.zip.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(found) != 1:
            raise FileError(f"{path}: a zip archive, but none of PyTorch's: it has no data.pkl")
        self.root = found[0][: -len("data.pkl")]
        self.mapped = {}
        if self.root + "byteorder" in self.zip.namelist() and self.read("byteorder") != b"little":
            raise FileError(f"{path}: written by a big-endian machine; save it again on another")

    def read(self, name):
        try:
            return self.zip.read(self.root + name)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
            raise FileError(f"{self.path}: {name} in the archive is damaged: {error}") from None

    def storage(self, storage):
        """All values of a storage."""
        if storage.key not in self.mapped:
            self.mapped[storage.key] = self.map(f"data/{storage.key}")
        dtype = np.dtype(KINDS[storage.kind].numpy)
        data = self.mapped[storage.key]
        if len(data) < storage.count * dtype.itemsize:
            raise FileError(f"{self.path}: data/{storage.key} in the archive has {len(data)} bytes for {storage.count} of {storage.kind}")
        return data[: storage.count * dtype.itemsize].view(dtype)

    def map(self, name):
        try:
            info = self.zip.getinfo(self.root + name)
        except KeyError:
            raise FileError(f"{self.path}: {name} is missing in the archive") from None
        if info.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(self.read(name), "u1")
        if not info.file_size:
            return np.zeros(0, "u1")
        with open(self.path, "rb") as file:
            file.seek(info.header_offset + 26)
            start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        if start + info.file_size > os.path.getsize(self.path):
            raise FileError(f"{self.path}: {name} in the archive is truncated")
        data = np.memmap(self.path, "u1", "r", start, info.file_size)
        if zlib.crc32(data) != info.CRC:
            raise FileError(f"{self.path}: {name} in the archive is damaged: its checksum is not that of its data")
        return data

    def rebuild(self, storage, offset, size, stride, _requires_grad=False, _hooks=None, lazy=None):
        """torch._utils._rebuild_tensor_v2; strides count values; lazy: conjugations and signs that torch has put off."""
        is_sound = isinstance(storage, Storage) and isinstance(lazy or {}, dict) and len(size) == len(stride)
        if not is_sound or min([offset, *size, *stride], default=0) < 0:
            raise FileError(f"{self.path}: a tensor in it is damaged: offset {offset}, shape {size}, strides {stride}")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if 0 not in size and last >= storage.count:
            raise FileError(f"{self.path}: a tensor of shape {tuple(size)} goes beyond its storage of {storage.count} values")

        def load():
            values = self.storage(storage)
            if 0 in size:
                return np.zeros(size, values.dtype)
            steps = [step * values.itemsize for step in stride]
            values = np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)
            values = np.conj(values) if lazy and lazy.get("conj") else values
            values = -values if lazy and lazy.get("neg") else values
            return np.ascontiguousarray(values).reshape(size)
        return Tensor(storage.kind, tuple(size), load)


def open_zip(path):
    """Error: no zip archive, with what to do about PyTorch's format of before 1.6."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
        return zipfile.ZipFile(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except zipfile.BadZipFile:
        pass
    if start[:2] == b"PK":
        raise FileError(f"{path}: truncated: the end of the zip archive is missing")
    if start[:1] == b"\x80" or b"ustar" in start:
        raise FileError(f"{path}: in PyTorch's old format, no zip archive; re-save it with PyTorch 1.6 or newer: "
                        f"torch.save(torch.load(FILE, map_location='cpu'), FILE)")
    raise FileError(f"{path}: no file of torch.save: it is no zip archive")


class Unpickler(pickle.Unpickler):
    """Tensors, storages, OrderedDict and Namespace; nothing else is looked up, Unread stands for it, so nothing in the file is ever called."""

    def __init__(self, archive):
        text = archive.read("data.pkl")
        for code, _, _ in pickletools.genops(text):  # what follows has opcodes that allocate whatever the file says
            if code.proto > 4:
                raise FileError(f"{archive.path}: pickle opcode {code.name} is refused: PyTorch writes none")
        super().__init__(io.BytesIO(text), encoding="utf-8")
        self.archive = archive

    def find_class(self, module, name):
        known = {("collections", "OrderedDict"): OrderedDict, ("argparse", "Namespace"): Namespace,
                 ("torch._utils", "_rebuild_tensor_v2"): self.archive.rebuild,
                 ("torch._utils", "_rebuild_parameter"): lambda data, *_: data}
        if module == "torch" and name in OF_STORAGE:
            return OF_STORAGE[name]
        if (module, name) in known:
            return known[module, name]
        return type("Unread", (Unread,), {"source": f"{module}.{name}"})

    def persistent_load(self, saved):
        tag, kind, key, _, count = saved
        refuse_unread(self.archive.path, kind)
        if tag != "storage" or kind not in KINDS or not isinstance(key, str) or not isinstance(count, int):
            raise FileError(f"{self.archive.path}: a storage in it is of no known type: {saved}")
        return Storage(kind, key, count)


def refuse_unread(path, value):
    found = find_unread(value)
    if found is not None:
        raise FileError(f"{path}: holds {found.source}, which is refused: only tensors and plain data are read (of a model, save its state_dict())")


def read_torch(path, optional=()):
    """What torch.load would return, with Tensor for tensors and Namespace for argparse's. Entries of these names may hold Unread."""
    archive = Archive(path)
    try:
        saved = Unpickler(archive).load()
        needed = {key: value for key, value in saved.items() if key not in optional} if isinstance(saved, dict) else saved
        refuse_unread(path, needed)
        return saved
    except FileError:
        raise
    except Exception as error:  # a damaged pickle can break in any way
        raise FileError(f"{path}: data.pkl in the archive is damaged: {type(error).__name__}: {error}") from None


# ---- PyTorch, writing ------------------------------------------------------------------------------------------------------


class Pickle:
    """Protocol 2 by hand: torch's names stand in it without torch. Tensors in the order they come get storages 0, 1, ..."""

    def __init__(self, value):
        self.tensors = []
        self.out = io.BytesIO()
        self.out.write(b"\x80\x02")
        self.put(value)
        self.out.write(b".")

    def put(self, value):
        simple = {None: b"N", True: b"\x88", False: b"\x89"}
        if value is None or value is True or value is False:
            self.out.write(simple[value])
        elif isinstance(value, int):
            self.put_int(value)
        elif isinstance(value, float):
            self.out.write(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            self.out.write(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
        elif isinstance(value, Tensor):
            self.put_tensor(value)
        elif isinstance(value, Namespace):
            self.put_namespace(value)
        elif isinstance(value, dict):
            self.put_dict(value)
        elif isinstance(value, (list, tuple)):
            self.put_list(value)
        else:
            raise TypeError(f"{type(value).__name__} cannot be written")

    def put_int(self, value):
        if -(2**31) <= value < 2**31:
            self.out.write(b"J" + struct.pack("<i", value))
        else:
            self.out.write(b"\x8a\x08" + struct.pack("<q", value))

    def put_global(self, module, name):
        self.out.write(f"c{module}\n{name}\n".encode())

    def put_dict(self, value):
        if isinstance(value, OrderedDict):
            self.put_global("collections", "OrderedDict")
            self.out.write(b")R")
        else:
            self.out.write(b"}")
        self.out.write(b"(")
        for key, item in value.items():
            self.put(key)
            self.put(item)
        self.out.write(b"u")

    def put_namespace(self, value):
        """argparse.Namespace without a call of it, then its attributes: NEWOBJ, BUILD."""
        self.put_global("argparse", "Namespace")
        self.out.write(b")\x81")
        self.put_dict(vars(value))
        self.out.write(b"b")

    def put_list(self, value):
        self.out.write(b"(" if isinstance(value, tuple) else b"](")
        for item in value:
            self.put(item)
        self.out.write(b"t" if isinstance(value, tuple) else b"e")

    def put_tensor(self, tensor):
        """_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)"""
        self.put_global("torch._utils", "_rebuild_tensor_v2")
        self.out.write(b"((")
        self.put("storage")
        self.put_global("torch", KINDS[tensor.kind].storage)
        for item in (str(len(self.tensors)), "cpu", tensor.count):
            self.put(item)
        self.out.write(b"tQ")
        for item in (0, tensor.shape, contiguous(tensor.shape), False, OrderedDict()):
            self.put(item)
        self.out.write(b"tR")
        self.tensors.append(tensor)


def contiguous(shape):
    return tuple(int(np.prod(shape[i + 1:], dtype=np.int64)) for i in range(len(shape)))


def write_torch(path, value):
    """A file for torch.load: dicts, lists, tuples, scalars, texts, Namespaces and Tensors."""
    text = Pickle(value)
    root = os.path.splitext(os.path.basename(path))[0]

    def write(temporary):
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(zipfile.ZipInfo(f"{root}/data.pkl"), text.out.getvalue())
            for i, tensor in enumerate(text.tensors):
                with archive.open(zipfile.ZipInfo(f"{root}/data/{i}"), "w", force_zip64=tensor.bytes >= 2**31) as file:
                    file.write(tensor.load().tobytes())
            archive.writestr(zipfile.ZipInfo(f"{root}/version"), b"3\n")
    replace(path, write)


# ---- safetensors -----------------------------------------------------------------------------------------------------------


def read_safetensors(path):
    """(tensors by name in the header's order, __metadata__)"""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if length > size - 8:
                raise FileError(f"{path}: no safetensors file, or a truncated one")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        return {name: safe_tensor(path, name, entry, 8 + length, size) for name, entry in header.items()}, metadata
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path}: no safetensors file: {error}") from None


def safe_tensor(path, name, entry, data, size):
    if entry["dtype"] not in OF_SAFE:
        raise FileError(f"{path}: tensor '{name}' is of type {entry['dtype']}, which PyTorch has no storage for here")
    begin, end = entry["data_offsets"]
    kind, shape = OF_SAFE[entry["dtype"]], tuple(entry["shape"])
    tensor = Tensor(kind, shape, lambda: np.array(np.memmap(path, KINDS[kind].numpy, "r", data + begin, shape or (1,))).reshape(shape))
    if end - begin != tensor.bytes or begin < 0 or min(shape, default=0) < 0:
        raise FileError(f"{path}: tensor '{name}' has {end - begin} bytes, its shape needs {tensor.bytes}")
    if data + end > size:
        raise FileError(f"{path}: truncated: tensor '{name}' ends at byte {data + end}, the file at {size}")
    if not tensor.count:
        tensor.load = lambda: np.zeros(shape, KINDS[kind].numpy)
    return tensor


def write_safetensors(path, tensors, metadata):
    """Header in the dict's order; data largest values first, so that each lies at a multiple of its size."""
    places, at = {}, 0
    by_width = sorted(tensors, key=lambda name: -np.dtype(KINDS[tensors[name].kind].numpy).itemsize)
    for name in by_width:
        places[name] = (at, at + tensors[name].bytes)
        at = places[name][1]
    header = {"__metadata__": metadata}
    for name, tensor in tensors.items():
        header[name] = {"shape": list(tensor.shape), "dtype": KINDS[tensor.kind].safe, "data_offsets": list(places[name])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(temporary):
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in by_width:
                file.write(tensors[name].load().tobytes())
    replace(path, write)
