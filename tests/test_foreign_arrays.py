"""Arrays out of pickles and PyTorch's files, and nothing else out of them."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders.errors import ClipzooError
from tests.support.torch_files import Tensor, legacy, zipped
from zoo.foreign_arrays import read_pickle, read_torch

ARRAYS = {
    "params": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "bias": np.array([1, 2], ">i4")},
    "stats": {"deep": {"mean": np.asfortranarray(np.eye(3, 2)), "none": np.zeros((0, 3), np.float16)}},
}


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("package", [b"numpy.core", b"numpy._core"])
def test_a_pickle_of_arrays_is_read(protocol: int, package: bytes, tmp_path: Path) -> None:
    data = pickle.dumps(ARRAYS, protocol=protocol)
    written = next(name for name in (b"numpy._core", b"numpy.core") if name in data)
    if protocol < 4 or written == package:  # protocol 4 says how long a name is
        data = data.replace(written, package)
    (tmp_path / "arrays.ckpt").write_bytes(data)
    for found in (read_pickle(data), read_pickle(tmp_path / "arrays.ckpt")):
        for branch in ("params", "stats"):
            assert found[branch].keys() == ARRAYS[branch].keys()
        np.testing.assert_array_equal(found["params"]["kernel"], ARRAYS["params"]["kernel"])
        np.testing.assert_array_equal(found["params"]["bias"], [1, 2])
        assert found["params"]["bias"].dtype == np.int32 and found["params"]["bias"].dtype.isnative
        np.testing.assert_array_equal(found["stats"]["deep"]["mean"], np.eye(3, 2))
        assert found["stats"]["deep"]["none"].shape == (0, 3)


class Calls:
    """Pickles as a call of `function` with these arguments, then of `state`."""

    def __init__(self, function: Callable[..., Any], *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


RECONSTRUCT, NDARRAY, DTYPE = (
    named("numpy.core.multiarray", "_reconstruct"),
    named("numpy", "ndarray"),
    named("numpy", "dtype"),
)


def array_of(state: bytes) -> bytes:
    """The pickle of {"a": an array with this state}."""
    return b"\x80\x03}\x8c\x01a" + RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R" + state + b"bs."


def bomb() -> dict[str, Any]:
    inner: dict[str, Any] = {"a": np.zeros(1)}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    return inner


def cycle() -> dict[str, Any]:
    own: dict[str, Any] = {}
    own["own"] = own
    return own


def nested() -> bytes:
    return b"\x80\x03" + b"}\x8c\x01a" * 100_000 + b"}" + b"s" * 100_000 + b"."


WHOLE = pickle.dumps(ARRAYS, protocol=4)
BAD_PICKLES: dict[str, tuple[bytes, str]] = {
    "a command": (pickle.dumps({"a": Calls(os.system, "touch canary")}), "system"),
    "a builtin": (pickle.dumps({"a": Calls(eval, "1")}), "builtins.eval"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0aos.environ\x93.", "numpy.os.environ"),
    "an attribute of an allowed module": (named("numpy", "load") + b"\x8c\x01xtR.", "numpy.load"),
    "an object of another module": (pickle.dumps({"a": Path("x")}), "pathlib"),
    "an old instance": (b"(S'x'\nios\nsystem\n.", "os.system"),
    "an extension": (b"\x82\x01.", "damaged"),
    "a persistent id": (b"Pname\n.", "damaged"),
    "a call of ndarray": (NDARRAY + b"(I1\ntR.", "in another way"),
    "a changed name": (DTYPE + b"}\x8c\x01acos\nsystem\nsb.", "os.system"),
    "a stand-in that is changed": (DTYPE + b"}\x8c\x04callK\x01sb.", "changes what it names"),
    "objects": (pickle.dumps({"a": np.array([{}, None], object)}), "'O8'"),
    "records": (pickle.dumps({"a": np.zeros(2, [("x", "f4")])}), "'V4'"),
    "text": (pickle.dumps({"a": np.array(["x"])}), "'U1'"),
    "an object array behind a float's name": (
        array_of(b"(K\x01K\x01\x85" + DTYPE + b"\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<N}\x8c\x01a]sNJ\xff\xff\xff\xffJ"
                 b"\xff\xff\xff\xffK\x00tb\x89C\x04abcdt"), "records",
    ),
    "a shape larger than its bytes": (
        array_of(b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"\x8c\x02f4\x89\x88\x87R\x89C\x04abcdt"), "4 bytes"
    ),
    "a negative shape": (
        array_of(b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x8c\x02f4\x89\x88\x87R\x89C\x04abcdt"), "counts nothing"
    ),
    "a huge place in the memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "place 2147483647"),
    "a huge length": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.", "damaged"),
    "doubled 60 times": (pickle.dumps(bomb()), "the same dict twice"),
    "itself": (pickle.dumps(cycle()), "the same dict twice"),
    "an array alone": (pickle.dumps(np.zeros(2)), "at 'its top'"),
    "a list": (pickle.dumps({"a": {"b": [np.zeros(2)]}}), "a list at 'a.b'"),
    "a number as a name": (pickle.dumps({1: np.zeros(2)}), "no text"),
    "nothing": (b"", "damaged"),
    "no pickle": (b"this is no pickle", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_PICKLES)
def test_a_pickle_of_anything_else_is_one_sentence(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, said = BAD_PICKLES[what]
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.ckpt"
    file.write_bytes(data)
    for read in (read_pickle, read_torch):
        with pytest.raises(ClipzooError) as error:
            read(file)
        sentence = str(error.value)
        assert "bad.ckpt" in sentence and "\n" not in sentence and len(sentence) < 400
        if read is read_pickle:
            assert said in sentence
    assert list(tmp_path.iterdir()) == [file], "what the pickle names was run"


def test_100_000_dicts_in_each_other_do_not_end_the_process() -> None:
    try:
        read_pickle(nested())
    except ClipzooError as error:
        assert "\n" not in str(error)


def test_a_pickle_cut_anywhere_is_one_sentence() -> None:
    for end in range(len(WHOLE)):
        with pytest.raises(ClipzooError, match="checkpoint: "):
            read_pickle(WHOLE[:end])


def test_a_flipped_byte_gives_arrays_or_one_sentence() -> None:
    rng = np.random.default_rng(0)
    for whole, read in ((WHOLE, read_pickle), (legacy(STATE), read_torch), (zipped(STATE), read_torch)):
        for place in rng.integers(0, len(whole), 400):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            try:
                read(bytes(damaged))
            except ClipzooError as error:
                assert "\n" not in str(error)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (read_pickle, read_torch):
        with pytest.raises(ClipzooError, match=r"none\.pt.*cannot be read"):
            read(tmp_path / "none.pt")


# === PyTorch's files ===

STATE = OrderedDict(
    [
        ("conv.weight", Tensor(np.arange(24, dtype="<f4").reshape(2, 3, 4), key="0")),
        ("conv.bias", Tensor(np.array([5, 6], "<f4"), key="1")),
        # Rows 1 and 2 of a matrix of 4 x 3 whose columns lie in a row.
        ("view", Tensor(np.arange(12, dtype="<f4"), key="2", shape=(2, 3), strides=(1, 4), offset=1)),
        ("count", Tensor(np.array(7, "<f4"), key="3")),
    ]
)


@pytest.mark.parametrize("write", [legacy, zipped])
def test_a_state_dict_is_read_without_torch(write: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(write(STATE))
    found = read_torch(tmp_path / "net.pth")
    assert list(found) == list(STATE)
    np.testing.assert_array_equal(found["conv.weight"], STATE["conv.weight"].array)
    np.testing.assert_array_equal(found["conv.bias"], [5, 6])
    np.testing.assert_array_equal(found["view"], [[1, 5, 9], [2, 6, 10]])
    assert found["count"] == 7 and found["count"].shape == ()
    assert "torch" not in sys.modules


def test_a_state_dict_beside_other_things_is_found() -> None:
    found = read_torch(zipped({"epoch": 3, "arch": "net", "state_dict": STATE}))
    assert list(found) == list(STATE)


SHORT = Tensor(np.zeros(4, "<f4"), key="0", count=9)
BAD_STATES: dict[str, tuple[Any, str]] = {
    "no tensor": ({"epoch": 3}, "'epoch' is no tensor but a int"),
    "a command": ({"a": Calls(os.system, "true")}, "system"),
    "beyond its storage": ({"a": Tensor(np.zeros(4, "<f4"), key="0", offset=1)}, "goes beyond"),
    "one number spread": ({"a": Tensor(np.zeros(4, "<f4"), key="0", shape=(2**35,), strides=(0,))}, "goes beyond"),
    "backwards": ({"a": Tensor(np.zeros(4, "<f4"), key="0", strides=(-1,), offset=3)}, "counts nothing"),
    "fewer bytes than said": ({"a": SHORT}, "storage '0'"),
    "one key for two": ({"a": Tensor(np.zeros(4, "<f4"), key="0"), "b": SHORT}, "two kinds"),
    "a name that is none": ({5: Tensor(np.zeros(4, "<f4"), key="0")}, "no name"),
    "a rebuilt number": ({"a": Calls(OrderedDict, ((1, 2),))}, "no tensor but a OrderedDict"),
}


@pytest.mark.parametrize("write", [legacy, zipped])
@pytest.mark.parametrize("what", BAD_STATES)
def test_a_bad_state_dict_is_one_sentence(what: str, write: Callable[..., bytes], tmp_path: Path) -> None:
    state, said = BAD_STATES[what]
    (tmp_path / "bad.pth").write_bytes(write(state))
    with pytest.raises(ClipzooError) as error:
        read_torch(tmp_path / "bad.pth")
    assert said in str(error.value) and "bad.pth" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("write", [legacy, zipped])
def test_a_state_dict_cut_anywhere_is_one_sentence(write: Callable[..., bytes]) -> None:
    whole = write(STATE)
    for end in range(0, len(whole), 3):
        with pytest.raises(ClipzooError):
            read_torch(whole[:end])


def test_a_zip_of_other_kinds_is_one_sentence() -> None:
    huge = {"a": Tensor(np.zeros(10**6, "<f4"), key="0")}
    with pytest.raises(ClipzooError, match="larger than the file"):
        read_torch(zipped(huge, zipfile.ZIP_DEFLATED))
    with pytest.raises(ClipzooError, match="big-endian"):
        read_torch(zipped(STATE, order=b"big"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(ClipzooError, match="damaged, or no PyTorch file"):
        read_torch(out.getvalue())
