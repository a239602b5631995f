"""PyTorch's files, written as PyTorch writes them, without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np


class FloatStorage:
    """Pickles as `torch.FloatStorage`."""


class Tensor:
    """Pickles as PyTorch's tensors do; `strides` and `offset` are those of a view."""

    def __init__(self, array: np.ndarray, *, key: str, count: int | None = None, **view: Any) -> None:
        self.array, self.key, self.view = array, key, view
        self.count = array.size if count is None else count


def pickled(state: Any, *, legacy: bool) -> bytes:
    """The pickle of a state dict. Names of PyTorch are put in by hand, as there is no PyTorch here."""
    out = io.BytesIO()

    class Pickler(pickle._Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, Stored):
                rest = (None,) if legacy else ()
                return ("storage", Names("torch\nFloatStorage"), value.key, "cpu", value.count, *rest)
            return None

        def save(self, value: Any, save_persistent_id: bool = True) -> None:
            if isinstance(value, Names):
                self.write(b"c" + value.text.encode() + b"\n")
            elif isinstance(value, Tensor):
                shape = value.view.get("shape", value.array.shape)
                strides = value.view.get("strides", tuple(step // 4 for step in value.array.strides))
                args = (Stored(value), value.view.get("offset", 0), shape, strides, False, OrderedDict())
                self.save(Names("torch._utils\n_rebuild_tensor_v2"))
                self.save(args)
                self.write(pickle.REDUCE)
            else:
                super().save(value, save_persistent_id)

    Pickler(out, protocol=2).dump(state)
    return out.getvalue()


class Names:
    def __init__(self, text: str) -> None:
        self.text = text


class Stored:
    def __init__(self, tensor: Tensor) -> None:
        self.key, self.count = tensor.key, tensor.count


def legacy(state: Any) -> bytes:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, system))
    tensors = {tensor.key: tensor for tensor in state.values() if isinstance(tensor, Tensor)}
    end = pickle.dumps(sorted(tensors), protocol=2)
    for key in sorted(tensors):
        end += struct.pack("<q", tensors[key].array.size) + tensors[key].array.tobytes()
    return start + pickled(state, legacy=True) + end


def zipped(state: Any, compression: int = zipfile.ZIP_STORED, order: bytes = b"little") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled(state, legacy=False))
        archive.writestr("net/byteorder", order)
        held = state.get("state_dict", state)
        for tensor in (t for t in held.values() if isinstance(t, Tensor)):
            if f"net/data/{tensor.key}" not in archive.namelist():
                archive.writestr(f"net/data/{tensor.key}", tensor.array.tobytes())
        archive.writestr("net/version", "3\n")
    return out.getvalue()
