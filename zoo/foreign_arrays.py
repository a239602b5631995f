"""Arrays out of other people's files, without their frameworks and without running anything that the files name.

A pickle is a program that may call whatever it names. Here it can name only what a file of arrays needs, and gets
stand-ins even for that: neither PyTorch nor NumPy is handed to it.
"""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from loaders.errors import ClipzooError
from loaders.printable import printable_name
from zoo.unpickling import AllowedGlobal, damaged, unpickle

Tree = dict[str, "np.ndarray | Tree"]

_LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle of PyTorch's files before 1.6
_LEGACY_VERSION = 1001
_STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
_NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}  # what NumPy calls them


def read_pickle(file: Path | bytes) -> Tree:
    """Reads nested dicts of NumPy arrays out of a pickle that names NumPy's arrays and nothing else.

    Args:
        file: its path, or what stands in it.

    Returns:
        name -> array, or a dict of the same kind. The arrays may be read-only, and are in the machine's byte order.

    Raises:
        ClipzooError: no such file; damaged; it names anything but `ndarray`, `dtype` and `_reconstruct`, or holds
            anything but arrays of numbers in dicts.
    """
    data, origin = _contents(file)
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): AllowedGlobal(_refuse_call),
        ("numpy", "dtype"): AllowedGlobal(_Dtype),
    }
    for package in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
        names[f"{package}.multiarray", "_reconstruct"] = AllowedGlobal(_Array)
    return _tree(unpickle(data, 0, origin, names).held, origin)


def read_torch(file: Path | bytes) -> dict[str, np.ndarray]:
    """Reads a state dict out of a file of PyTorch's `save`, of its zip format or of the one before it.

    Args:
        file: path of the `.pt` or `.pth` file, or what stands in it.

    Returns:
        name of a parameter -> array in PyTorch's layout, in the order of the file; read-only. Where the file holds
        other things beside `state_dict`, that alone.

    Raises:
        ClipzooError: no such file; damaged; it names anything that a state dict does not need, or holds something else.
    """
    data, origin = _contents(file)
    try:
        held, numbers = (_from_zip if zipfile.is_zipfile(io.BytesIO(data)) else _from_legacy)(data, origin)
        if isinstance(held, dict) and isinstance(dict.get(held, "state_dict"), dict):
            held = dict.get(held, "state_dict")
        if not isinstance(held, dict):
            raise ValueError(f"it holds no state dict but a {type(held).__name__}")
        return dict(_tensors(held, numbers))
    except ClipzooError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise what they like at damaged bytes
        raise damaged(origin, "PyTorch", error) from None


# === NumPy's arrays ===


def _refuse_call(*_: Any) -> NoReturn:
    raise ValueError("it makes arrays in another way than NumPy pickles them")


class _Dtype:
    """Stands in for NumPy's dtype: `dtype("f4", False, True)`, then the state `(3, "<", ...)`."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: Any, *_: Any) -> None:
        if kind not in _NUMBERS:
            raise ValueError(f"it holds arrays of {kind!r}, not of numbers")
        self.kind, self.order = str(kind), "="

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(field is not None for field in state[2:5]):
            raise ValueError("it holds arrays of records, not of numbers")
        self.order = str(state[1])


class _Array:
    """Stands in for an array: `_reconstruct(ndarray, (0,), b"b")`, then `(1, shape, dtype, fortran, bytes)`."""

    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise ValueError("it holds an array that is none of numbers")
        kind, shape = np.dtype(dtype.order + dtype.kind), tuple(map(_count, shape))
        if prod(shape) * kind.itemsize != len(content):
            raise ValueError(f"an array of shape {shape} has {len(content)} bytes")
        array = np.frombuffer(content, kind).reshape(shape, order="F" if fortran is True else "C")
        self.array = array if kind.isnative else array.astype(kind.newbyteorder("="))


def _tree(held: Any, origin: str) -> Tree:
    """Dicts with arrays in place of what stands in for them. No dict is met twice: a few bytes could hold 2**40."""
    root: Tree = {}
    met, waiting = set[int](), [("", held, root)]
    while waiting:
        where, source, target = waiting.pop()
        if not isinstance(source, dict) or id(source) in met:
            what = "the same dict twice" if isinstance(source, dict) else f"a {type(source).__name__}"
            raise ClipzooError(f"{origin}: holds {what} at {where or 'its top'!r}; it must be arrays in dicts")
        met.add(id(source))
        for name, value in source.items():
            if not isinstance(name, str):
                raise ClipzooError(f"{origin}: holds a name at {where or 'its top'!r} that is no text")
            if isinstance(value, _Array) and value.array is not None:
                target[name] = value.array
            else:
                branch: Tree = {}
                target[name] = branch
                waiting.append((f"{where}.{name}".lstrip("."), value, branch))
    return root


# === PyTorch's tensors ===


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str
    count: int


class _Storages(dict[str, _Storage]):
    """Those that a pickle refers to, by their keys."""

    def __call__(self, reference: Any) -> _Storage:
        kind, storage, key, _, count, *_ = reference
        if kind != "storage" or not isinstance(storage, AllowedGlobal) or storage.what not in _STORAGES:
            raise ValueError(f"it refers to a {kind!r}")
        found = _Storage(np.dtype(_STORAGES[storage.what]), _text(key), _count(count))
        if self.setdefault(found.key, found) != found:
            raise ValueError(f"storage {key!r} is of two kinds")
        return found


@dataclass(frozen=True)
class _Tensor:
    """Numbers of a storage whose bytes may come later in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """A view of these numbers, which are those of the storage."""
        steps = [(n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        count = prod(self.shape)  # more than there are: one number spread over a huge shape
        if count > len(numbers) or (count and self.offset + sum(steps) >= len(numbers)):
            raise ValueError(f"a tensor of shape {self.shape} goes beyond its {len(numbers)} numbers")
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor has no storage")
    return _Tensor(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)))


_TORCH: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): AllowedGlobal(OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2"): AllowedGlobal(_rebuild),
    **{("torch", name): AllowedGlobal(_refuse_call, name) for name in _STORAGES},
}
_Bytes = Callable[[_Storage], np.ndarray]  # a storage's numbers


def _from_zip(data: bytes, origin: str) -> tuple[Any, _Bytes]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if sum(sizes.values()) > len(data):  # PyTorch compresses nothing
        raise ValueError("its entries are larger than the file")
    (name,) = (name for name in sizes if name.endswith("/data.pkl") and name.count("/") == 1)
    folder = name.removesuffix("data.pkl")
    if f"{folder}byteorder" in sizes and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    held = unpickle(archive.read(name), 0, origin, _TORCH, outside=_Storages()).held

    def numbers(storage: _Storage) -> np.ndarray:
        content = archive.read(f"{folder}data/{storage.key}")  # its checksum is looked at
        return _numbers(content, 0, len(content), storage)

    return held, numbers


def _from_legacy(data: bytes, origin: str) -> tuple[Any, _Bytes]:
    first = unpickle(data, 0, origin, {})
    if first.held != _LEGACY:
        raise ValueError("it begins in another way")
    version = unpickle(data, first.end, origin, {})
    system = unpickle(data, version.end, origin, {})
    if version.held != _LEGACY_VERSION or system.held["little_endian"] is not True:
        raise ValueError(f"its version {version.held!r} or its byte order is another")
    storages = _Storages()
    main = unpickle(data, system.end, origin, _TORCH, outside=storages)
    keys = unpickle(data, main.end, origin, {})
    place = keys.end
    starts: dict[str, int] = {}
    for key in keys.held:  # how many numbers, then the numbers
        starts[key] = place
        place += 8 + storages[key].count * storages[key].dtype.itemsize

    def numbers(storage: _Storage) -> np.ndarray:
        start = starts[storage.key]
        if int.from_bytes(data[start : start + 8], "little") != storage.count:
            raise ValueError(f"storage {storage.key!r} has another length")
        return _numbers(data, start + 8, storage.count * storage.dtype.itemsize, storage)

    return main.held, numbers


def _numbers(data: bytes, start: int, size: int, storage: _Storage) -> np.ndarray:
    if size != storage.count * storage.dtype.itemsize or start + size > len(data):
        raise ValueError(f"storage {storage.key!r} is cut short")
    return np.frombuffer(data, storage.dtype.newbyteorder("<"), storage.count, start)


def _tensors(held: dict[Any, Any], numbers: _Bytes) -> Iterator[tuple[str, np.ndarray]]:
    read: dict[_Storage, np.ndarray] = {}  # tensors may share a storage
    for name, tensor in dict.items(held):
        if not isinstance(tensor, _Tensor):
            raise ValueError(f"{name!r} is no tensor but a {type(tensor).__name__}")
        if tensor.storage not in read:
            read[tensor.storage] = numbers(tensor.storage)
        yield _text(name), tensor.array(read[tensor.storage])


# === Both ===


def _contents(file: Path | bytes) -> tuple[bytes, str]:
    if isinstance(file, bytes):
        return file, "checkpoint"
    try:
        return file.read_bytes(), printable_name(str(file))
    except OSError as error:
        raise ClipzooError(f"checkpoint {printable_name(str(file))!r}: cannot be read ({error.strerror})") from None


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(f"{value!r} counts nothing")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no name")
    return value
