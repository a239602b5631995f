"""Files that are damaged, or say what is not so: each is one sentence, and none is answered from."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pebble import ProcessPool

from export import Classifier, Metadata, ServeOptions, Stream, serving
from export import session as session_module
from export.checksum import DIGEST_KEY, KIND_KEY, add_checksum, verify
from loaders import ClipzooError
from tests.support.commands import HANG
from tests.support.fuzz import DAMAGED, mutate
from tests.support.onnx_files import LABELS, SPEC, turned, write_model


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("sealed") / "model.onnx", sealed=True)


def test_what_is_not_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"\0garbage" * 20)
    (tmp_path / "graph.onnx").write_bytes(b"\x3a\x03abc")  # the message is whole, the graph in it is none
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").write_bytes(b"PK")
    foreign = write_model(tmp_path / "foreign.onnx", metadata=False)
    shape = write_model(tmp_path / "shape.onnx", spec=SPEC.replace(frames=4))
    label = write_model(tmp_path / "label.onnx", labels=("a", "b", "c"))
    for path, said in (
        (tmp_path / "garbage.onnx", "is not an ONNX file, or a damaged one"),
        (tmp_path / "graph.onnx", "without clipzoo's metadata"),
        (tmp_path / "folder.onnx", "is a folder"),
        (tmp_path / "missing.onnx", "no such file"),
        (tmp_path / "run", "is a folder, not an ONNX file; export it first: clipzoo export"),
        (tmp_path / "run" / "model.keras", "is a model of Keras, not an ONNX file; export it first"),
        (Path("i3d_kinetics400"), "if it is a preset, export it first: clipzoo export i3d_kinetics400 model.onnx"),
        (foreign, "without clipzoo's metadata"),
        (shape, "does not fit its input 'video'"),
        (label, "3 labels do not fit"),
    ):
        with pytest.raises(ClipzooError) as error:
            Classifier(path)
        assert said in str(error.value)
        assert path.name in str(error.value)


SPECS = json.dumps({"video": SPEC.to_dict()})
LIES = [
    ("specs", '{"video": {"frames": 3}}', "lacks height, schema, width"),
    ("specs", "[", "damaged"),
    ("specs", "{}", "no input"),
    ("specs", '{"other": ' + json.dumps(SPEC.to_dict()) + "}", "its specs are for other, its inputs video"),
    ("specs", SPECS.replace('"frames": 3', '"frames": [3]'), "frames"),
    ("specs", "[" * 100_000, "damaged"),
    ("specs", '{"video": ' * 900 + "1" + "}" * 900, "ClipSpec"),
    ("labels", "3", "must be a list"),
    ("labels", '"ab"', "must be a list"),
    ("labels", '[["dark"], ["bright"]]', "one line of text"),
    ("labels", '["dark", "dark"]', "'dark' twice"),
    ("labels", '["dark", ""]', "one line of text"),
    ("labels", '["dark", "\\ud800"]', "one line of text"),
    ("labels", '{"dark": 0, "bright": 1}', "must be a list"),
    ("labels", '["dark", ' + "9" * 5000 + "]", "damaged"),
    ("task", '"zzz"', "task ('zzz')"),
    ("task", "[1]", "task ([1])"),
    ("precision", '"int3"', "precision ('int3')"),
    ("model", "3", "no model"),
    ("parity", "3", "damaged"),
    ("versions", '"x"', "damaged"),
    ("schema", "99", "newer"),
    ("schema", '"1"', "schema ('1')"),
    ("schema", "0", "schema (0)"),
]


@pytest.mark.parametrize(("key", "value", "said"), LIES)
def test_metadata_that_is_not_so_is_an_error(tmp_path: Path, key: str, value: str, said: str) -> None:
    file = write_model(tmp_path / "model.onnx", props={f"clipzoo.{key}": value})
    for read in (Classifier, Metadata.read):
        if "its inputs" in said and read is not Classifier:
            continue  # the graph is needed to see it
        with pytest.raises(ClipzooError) as error:
            read(file)
        assert said in str(error.value)
        assert file.name in str(error.value)
        assert len(str(error.value)) < 600


def test_metadata_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    file = write_model(tmp_path / "model.onnx", labels=("dark", "bri\u00e9"))
    file.write_bytes(file.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(ClipzooError, match=r"model\.onnx: has damaged metadata, text that is not UTF-8"):
        Classifier(file)


def constant(name: str, values: list[int]) -> onnx.NodeProto:
    return helper.make_node(
        "Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
    )


WRONG_GRAPHS = {
    "an inner shape broken": [constant("s", [7, -1]), helper.make_node("Reshape", ["normal_logits", "s"], ["logits"])],
    "a huge constant": [
        constant("s", [1 << 20, 1 << 20, 1 << 20]),
        helper.make_node("ConstantOfShape", ["s"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["normal_logits", "sum"], ["logits"]),
    ],
    "too many rows": [helper.make_node("Concat", ["normal_logits", "normal_logits"], ["logits"], axis=0)],
    "too few rows": [
        constant("s", [0]), constant("e", [1]), helper.make_node("Slice", ["normal_logits", "s", "e"], ["logits"])
    ],
    "another rank": [constant("s", [1, -1, 2]), helper.make_node("Reshape", ["normal_logits", "s"], ["logits"])],
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_GRAPHS)
def test_a_graph_that_is_not_so_is_an_error(tmp_path: Path, what: str) -> None:
    file = write_model(tmp_path / "model.onnx", nodes=WRONG_GRAPHS[what])
    with pytest.raises(ClipzooError, match=r"model\.onnx"):
        Classifier(file).scores(np.zeros((3, *SPEC.shape), np.uint8))


def test_a_whole_file_answers_whether_it_is_verified_or_not(sealed: Path) -> None:
    clips = np.full((2, *SPEC.shape), 200, np.uint8)
    for verified in (True, False):
        assert Classifier(sealed, verify=verified).scores(clips)["probabilities"].argmax(axis=1).tolist() == [1, 1]
    names = {prop.key for prop in onnx.load(sealed).metadata_props}
    assert {DIGEST_KEY, KIND_KEY} <= names


def test_the_digest_is_what_the_readme_says(sealed: Path) -> None:
    whole = sealed.read_bytes()
    digest = json.loads(next(prop.value for prop in onnx.load(sealed).metadata_props if prop.key == DIGEST_KEY))
    assert whole.count(digest.encode()) == 1
    assert hashlib.sha256(whole.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_two_hundred_turned_bytes_are_noticed_before_onnx_runtime_sees_the_file(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "onnxruntime", lambda: pytest.fail("ONNX Runtime saw it"))
    for file in turned(sealed, tmp_path / "turned.onnx"):
        with pytest.raises(ClipzooError, match=r"turned\.onnx.* export it again"):
            Classifier(file)


def test_no_byte_of_a_file_can_change_unnoticed(sealed: Path, tmp_path: Path) -> None:
    """Each byte in turn, also those of the key and of the digest themselves."""
    whole, damaged = bytearray(sealed.read_bytes()), tmp_path / "damaged.onnx"
    for place in range(len(whole)):
        for bits in (1, 0x20, 0x80):
            whole[place] ^= bits
            damaged.write_bytes(whole)
            with pytest.raises(ClipzooError):
                verify(damaged)
            whole[place] ^= bits
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        with pytest.raises(ClipzooError):
            Classifier(damaged)
    damaged.write_bytes(whole + b"\0")
    with pytest.raises(ClipzooError):
        Classifier(damaged)


def test_a_file_that_another_tool_changed_opens_where_that_is_wanted(sealed: Path, tmp_path: Path) -> None:
    proto = onnx.load(sealed)
    proto.doc_string = "made smaller"
    onnx.save(proto, tmp_path / "changed.onnx")
    with pytest.raises(ClipzooError, match=r"changed\.onnx: is not what was exported.*verify=False"):
        Classifier(tmp_path / "changed.onnx")
    assert Classifier(tmp_path / "changed.onnx", verify=False).labels == LABELS
    (tmp_path / "sealed.onnx").write_bytes(add_checksum((tmp_path / "changed.onnx").read_bytes()))
    assert Classifier(tmp_path / "sealed.onnx").labels == LABELS


def test_a_digest_that_lies_across_two_reads_is_found(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (7, 64, 100):
        monkeypatch.setattr("export.checksum._CHUNK", size)
        verify(sealed)


def damaged(source: Path, folder: Path, count: int = 500) -> list[Path]:
    rng = np.random.default_rng(0)
    return [mutate(source, folder, DAMAGED[number % len(DAMAGED)], rng) for number in range(count)]


def test_five_hundred_damaged_files_are_refused_wherever_they_go(sealed: Path, tmp_path: Path) -> None:
    whole = sealed.read_bytes()
    for file in damaged(sealed, tmp_path):
        if file.read_bytes() == whole:  # zeros that were zeros
            continue
        for opened in (Classifier, Stream, lambda path: serving._open(path, ServeOptions())):
            with pytest.raises(ClipzooError, match=re.escape(file.name)):
                opened(file)


def _answered(path: Path) -> str:
    """In a process of its own: ONNX Runtime sees what is damaged here."""
    try:
        classifier = Classifier(path)
        clips = {name: np.full((2, *spec.shape), 200, np.uint8) for name, spec in classifier.specs.items()}
        return "answered" if all(np.isfinite(rows).all() for rows in classifier.scores(clips).values()) else "no number"
    except ClipzooError as error:
        return "refused" if path.name in str(error) else str(error)


def test_five_hundred_damaged_files_of_before_digests_end_in_a_sentence_not_in_a_crash(tmp_path: Path) -> None:
    old = Path(__file__).parent / "fixtures" / "old.onnx"
    assert "clipzoo.sha256" not in {prop.key for prop in onnx.load(old).metadata_props}
    files = damaged(old, tmp_path)
    with ProcessPool(1, context=get_context("spawn")) as pool:
        # A crash, or one that hangs, is an exception here.
        found = Counter(pool.map(_answered, files, timeout=HANG).result())
    assert set(found) == {"answered", "refused"} and sum(found.values()) == len(files), found
