"""Workers of Ray: the answers of this process, each once, also where workers are killed with clips in hand."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import export.corpus
from export import Classifier, extract_corpus, extract_features, predict_corpus, to_onnx
from loaders import ClipIndex, DiskCache, draw_motion_clips, index_files, scan
from loaders.cache_filling import fill_all
from loaders.scan_corpus import scan_corpus
from loaders.spec import ClipSpec
from tests.support.commands import clipzoo, refused, wait_for
from tests.support.held import HeldWorker, PoisonedWorker
from tests.support.onnx_files import write_model

pytest.importorskip("ray", reason="needs Ray Data: the extra `ray`")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray with room for four workers; in this process `local` means it."""
    import ray

    from loaders.spread import _cluster

    with _cluster("local", 4, gpu=False):
        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipIndex:
    """96 clips, and one that cannot be read."""
    root = tmp_path_factory.mktemp("corpus")
    draw_motion_clips(root, clips=96, frames=4, seed=1)
    (root / "left" / "broken.mp4").write_bytes(b"this is no video")
    return index_files(root)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.mark.usefixtures("cluster")
def test_two_of_four_workers_are_killed_and_every_answer_is_there_once(
    clips: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_corpus(model, clips, tmp_path / "here.parquet")
    taken = tmp_path / "taken"
    taken.mkdir()
    monkeypatch.setattr(export.corpus, "ClipWorker", partial(HeldWorker, folder=str(taken)))

    def kill() -> None:
        four = wait_for(lambda: found if len(found := sorted(taken.glob("[0-9]*-0"))) == 4 else None)
        for holds in four[:2]:
            os.kill(int(holds.name.partition("-")[0]), signal.SIGKILL)
            killed.append(holds.read_text())
        (taken / "go").touch()

    killed: list[str] = []
    killer = threading.Thread(target=kill)
    killer.start()
    seen: list[int] = []
    done = predict_corpus(
        model, clips, tmp_path / "there.parquet", ray="local", ray_workers=4, advance=seen.append, workers=1
    )
    killer.join()
    assert (done.clips, done.before, done.errors, sum(seen)) == (97, 0, 1, 97)
    here, there = (pyarrow.parquet.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert Counter(there["file"].to_pylist()) == Counter(str(path) for path in clips.paths)
    assert there.equals(here)
    # What was lost is what the two had in hand, and nothing else was done twice.
    times = Counter(holds.read_text() for holds in taken.glob("[0-9]*-*"))
    assert len(times) == 25 and {names for names, count in times.items() if count > 1} == set(killed)
    assert len({holds.name.partition("-")[0] for holds in taken.glob("[0-9]*-*")}) > 4  # others in their place


@pytest.mark.usefixtures("cluster")
def test_a_clip_that_ends_every_worker_is_a_row_with_an_error(
    motion: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = str(motion.path(5))
    monkeypatch.setattr(export.corpus, "ClipWorker", partial(PoisonedWorker, poison=poison))
    done = predict_corpus(model, motion, tmp_path / "a.parquet", ray="local", ray_workers=2)
    assert (done.clips, done.errors) == (48, 1)
    assert done.first_error == f"{poison}: ends the process that reads it"


@pytest.mark.usefixtures("cluster")
def test_scan_and_cache_give_what_they_give_here(clips: ClipIndex, tmp_path: Path) -> None:
    here, seen, keep = scan(clips), list[int](), tmp_path / "scan.json"
    assert scan_corpus(clips, ray="local", ray_workers=2, keep=keep, advance=seen.append) == here
    assert sum(seen) == 97
    (tmp_path / "scan.json.parts" / "000001.parquet").unlink()
    assert scan_corpus(clips, ray="local", ray_workers=2, keep=keep, advance=seen.append) == here
    assert seen[-2:] == [97 - 32, 32]  # what was there, and what was not
    specs, chosen = [ClipSpec(frames=2, height=16, width=16)], range(0, 97, 2)
    made = list(fill_all(tmp_path / "there", clips, chosen, specs, ["test"], ray="local", ray_workers=2))
    assert sorted(map(str, made)) == sorted(
        map(str, fill_all(tmp_path / "here", clips, chosen, specs, ["test"], workers=1))
    )
    assert DiskCache(tmp_path / "there").size() == DiskCache(tmp_path / "here").size() > 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "here").rglob("*.npy")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").rglob("*.npy")} == files != {}


@pytest.mark.keras
@pytest.mark.usefixtures("cluster")
def test_features_are_those_of_this_process(clips: ClipIndex, tmp_path: Path) -> None:
    from tests.support.models import lively

    to_onnx(lively("mobilenet_average"), tmp_path / "model.onnx", features=True)
    here = extract_features(Classifier(tmp_path / "model.onnx"), clips, on_error="skip")
    there = extract_corpus(tmp_path / "model.onnx", clips, tmp_path / "f.npz", ray="local", ray_workers=2)
    assert there.files == here.files and there.specs == here.specs and len(there.left_out) == 1
    np.testing.assert_allclose(there.features, here.features, atol=1e-5)
    assert not list(tmp_path.glob("*.parts"))
    with np.load(tmp_path / "f.npz") as held:
        np.testing.assert_array_equal(held["features"], there.features)


def test_the_command_starts_ray_and_says_nothing_of_it(clips: ClipIndex, model: Path, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("ray*"))
    done = clipzoo("predict", model, clips.root, "--out", tmp_path / "a.parquet", "--ray", "local", "--ray-workers", 2)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines()[0].endswith("97 clips, 1 with an error")
    assert len(done.stdout.splitlines()) == 2
    assert set(Path("/tmp").glob("ray*")) == before
    predict_corpus(model, clips, tmp_path / "here.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").equals(
        pyarrow.parquet.read_table(tmp_path / "here.parquet")
    )


def test_an_address_is_a_ray_that_runs(cluster: str, clips: ClipIndex, model: Path, tmp_path: Path) -> None:
    asked = (clips.root, "--ray", cluster, "--ray-workers", 2, "--out")
    done = clipzoo("predict", model, *asked, tmp_path / "a.parquet")
    assert done.returncode == 0 and not done.stderr, done.stderr
    predict_corpus(model, clips, tmp_path / "here.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").equals(
        pyarrow.parquet.read_table(tmp_path / "here.parquet")
    )
    wrong = write_model(tmp_path / "wrong.onnx", labels=("one", "two", "three"))
    refused(clipzoo("predict", wrong, *asked, tmp_path / "b.parquet"), "its 3 labels do not fit")
    done = clipzoo("predict", model, clips.root, "--ray", cluster, "--ray-workers", 99, "--out", tmp_path / "b.parquet")
    refused(done, "has 4 processors, and each of 99 workers takes one; give fewer --ray-workers")
