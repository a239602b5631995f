"""Many clips into one Parquet file: every answer once, whatever was interrupted, and no traceback for what is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import loaders.parquet_parts
import loaders.spread
from export import Classifier, predict_corpus
from export.corpus import ClipWorker
from loaders import Clip, ClipIndex, ClipzooError, index_files
from tests.support.commands import invoke, refused
from tests.support.onnx_files import LABELS, write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


def rows(path: Path) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(path).to_pylist()


def test_the_rows_are_what_predict_answers(videos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.parquet"
    done = invoke("predict", model, videos, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "17 clips, 1 with an error" in done.stdout and "broken.mp4: is not a video" in done.stdout
    with pytest.warns(UserWarning, match="left out"):
        wanted = {each.file: each for each in Classifier(model).predict(videos, on_error="skip")}
    found = rows(out)
    assert [row["file"] for row in found] == [str(path) for path in index_files(videos).paths]
    for row in found:
        if row["file"].endswith("broken.mp4"):
            assert row["error"] == "is not a video that OpenCV can open"
            assert row["label"] is None and row["probabilities"] is None
            continue
        answer = wanted.pop(row["file"])
        assert (row["label"], row["error"], row["labels"]) == (answer.label, None, list(answer.labels))
        assert row["probability"] == pytest.approx(answer.probability, abs=1e-7)
        assert dict(zip(LABELS, row["probabilities"], strict=True)) == pytest.approx(answer.probabilities, abs=1e-7)
    assert not wanted
    held = pyarrow.parquet.read_schema(out).metadata
    assert json.loads(held[b"clipzoo.labels"]) == list(LABELS)
    assert not list(tmp_path.glob("*.parts"))
    assert "there already" in invoke("predict", model, videos, "--out", out).stdout


def test_where_no_clip_has_an_answer_the_command_fails(videos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.parquet"
    broken = next(videos.rglob("broken.mp4"))
    refused(invoke("predict", model, broken, "--out", out), "no clip has an answer", "is not a video")
    assert [row["error"] for row in rows(out)] == ["is not a video that OpenCV can open"]


def test_a_list_of_spans_is_a_corpus(motion: ClipIndex, model: Path, tmp_path: Path) -> None:
    (motion.root / "spans.csv").write_text(f"file,start,end\n{motion[3].file},0,0.2\n{motion[1].file},,\n")
    done = invoke("predict", model, motion.root / "spans.csv", "--out", tmp_path / "a.parquet")
    assert done.returncode == 0, done.stderr
    first, second = rows(tmp_path / "a.parquet")
    assert (first["file"], first["start"], first["end"]) == (str(motion.path(3)), 0.0, 0.2)
    assert (second["file"], second["start"], second["end"]) == (str(motion.path(1)), None, None)
    spans = next(Classifier(model).answers([motion.path(3)], spans=[(0.0, 0.2)]))
    np.testing.assert_array_equal(np.float32(first["probabilities"]), spans[0])


class Interrupted:
    """Fails when the third part is written, then lets all be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        self.read: list[str] = []
        self.fails, self.written = True, 0
        answer, write = ClipWorker.__call__, pyarrow.parquet.write_table

        def counted(worker: ClipWorker, items: Sequence[Any]) -> list[dict[str, Any]]:
            self.read += [item.file for item in items]
            return answer(worker, items)

        def fails(table: Any, path: Path) -> None:
            self.written += 1
            if self.fails and self.written == 3:
                path.write_bytes(b"half")
                raise error
            write(table, path)

        monkeypatch.setattr(ClipWorker, "__call__", counted)
        monkeypatch.setattr(pyarrow.parquet, "write_table", fails)


def test_an_interrupted_run_goes_on(
    motion: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_corpus(model, motion, tmp_path / "whole.parquet")
    run = Interrupted(monkeypatch, KeyboardInterrupt())
    out = tmp_path / "answers.parquet"
    with pytest.raises(KeyboardInterrupt):
        predict_corpus(model, motion, out)
    assert not out.exists()
    assert sorted(file.name for file in (tmp_path / "answers.parquet.parts").glob("*.parquet")) == [
        "000000.parquet",
        "000001.parquet",
    ]
    run.fails, run.read = False, []
    seen: list[int] = []
    done = predict_corpus(model, motion, out, batch_size=3, workers=1, advance=seen.append)
    assert run.read == [str(path) for path in motion.paths[8:]]  # and none of the two parts
    assert (done.clips, done.before, done.errors) == (48, 8, 0)
    assert seen[0] == 8 and sum(seen) == 48
    assert rows(out) == rows(tmp_path / "whole.parquet")


def test_a_full_disk_leaves_the_parts_that_are_whole(
    videos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "answers.parquet"
    run = Interrupted(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    said = "No space left on device", "2 of 5 parts are whole: make room, and run it again"
    refused(invoke("predict", model, videos, "--out", out), *said)
    assert len(list((tmp_path / "answers.parquet.parts").glob("*.parquet"))) == 2
    run.fails = False
    assert invoke("predict", model, videos, "--out", out).returncode == 0
    assert len(rows(out)) == 17


def test_a_disk_that_is_full_when_all_becomes_one_file(
    motion: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "answers.parquet"

    write = pyarrow.parquet.ParquetWriter.write_table

    def full(writer: Any, *args: Any, **options: Any) -> None:
        if Path(writer.where).parent == tmp_path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(writer, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.parquet.ParquetWriter, "write_table", full)
        with pytest.raises(ClipzooError, match="12 of 12 parts are whole"):
            predict_corpus(model, motion, out)
    assert predict_corpus(model, motion, out).before == 48
    assert len(rows(out)) == 48


@pytest.fixture
def out(motion: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a run that was interrupted after its first parts."""
    out = tmp_path / "answers.parquet"
    with monkeypatch.context() as patch:
        Interrupted(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            predict_corpus(model, motion, out)
    return out


def test_parts_of_another_model_or_list_are_refused(motion: ClipIndex, model: Path, tmp_path: Path, out: Path) -> None:
    other = write_model(tmp_path / "other.onnx", props={"clipzoo.versions": '{"keras": "another"}'})
    fewer = ClipIndex(motion.root, motion.clips[:-1])
    for wrong, index, what in ((other, motion, "model"), (model, fewer, "list or state of the clips")):
        with pytest.raises(ClipzooError, match=f"answers.parquet.parts: holds parts of another {what}; delete it"):
            predict_corpus(wrong, index, out)
    predict_corpus(model, motion, out)
    for wrong, index, what in ((other, motion, "model"), (model, fewer, "list or state of the clips")):
        with pytest.raises(ClipzooError, match=f"is there, and holds answers of another {what}; delete it"):
            predict_corpus(wrong, index, out)
    out.write_bytes(b"no Parquet")
    with pytest.raises(ClipzooError, match=r"answers\.parquet: is no Parquet file"):
        predict_corpus(model, motion, out)


def test_answers_for_one_folder_are_not_those_for_another(motion: ClipIndex, model: Path, tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        shutil.copytree(motion.root / "up", tmp_path / day / "up")
    out = tmp_path / "answers.parquet"
    assert predict_corpus(model, index_files(tmp_path / "monday"), out).before == 0
    assert predict_corpus(model, index_files(tmp_path / "monday"), out).before == 8
    with pytest.raises(ClipzooError, match="of another list or state of the clips"):
        predict_corpus(model, index_files(tmp_path / "tuesday"), out)
    changed = index_files(tmp_path / "monday").path(0)
    changed.write_bytes(motion.path(0).read_bytes())
    with pytest.raises(ClipzooError, match="of another list or state of the clips"):
        predict_corpus(model, index_files(tmp_path / "monday"), out)


def test_two_commands_do_not_write_one_file(motion: ClipIndex, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.parquet"
    seen: list[str] = []

    def other(_: int) -> None:  # while the first is at it
        with pytest.raises(ClipzooError, match="another command writes it now") as caught:
            predict_corpus(model, motion, out)
        seen.append(str(caught.value))

    assert predict_corpus(model, motion, out, advance=other).clips == len(motion) == len(rows(out))
    assert seen and not list(tmp_path.glob("*.parts"))


def test_a_part_that_cannot_be_read_is_made_anew(motion: ClipIndex, model: Path, tmp_path: Path, out: Path) -> None:
    (tmp_path / "answers.parquet.parts" / "000001.parquet").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"000001\.parquet: damaged, and made anew"):
        assert predict_corpus(model, motion, out).before == 4  # those of the part that is whole


def test_without_ray_a_sentence_says_how_to_get_it(
    motion: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders.spread, "find_spec", lambda name: None)
    said = 'Ray Data is not installed: pip install "clipzoo[ray]"'
    refused(invoke("predict", model, motion.root, "--out", tmp_path / "a.parquet", "--ray", "local"), said)
    refused(invoke("scan", motion.root, "--ray", "local"), said)
    spec = ("--spec", "frames=2,size=16")
    refused(invoke("cache", motion.root, *spec, "--out", tmp_path / "cache", "--ray", "local"), said)


def test_an_address_where_nobody_listens_is_a_sentence(
    motion: ClipIndex, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders.spread, "find_spec", lambda name: True)  # whether or not Ray is here
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        for address in (f"127.0.0.1:{bound.getsockname()[1]}", f"ray://127.0.0.1:{bound.getsockname()[1]}"):
            done = invoke("predict", model, motion.root, "--out", tmp_path / "a.parquet", "--ray", address)
            refused(done, f"--ray {address}: nothing answers there (Connection refused)")
    done = invoke("predict", model, motion.root, "--out", tmp_path / "a.parquet", "--ray", "here")
    refused(done, "--ray 'here' must be local, auto, or the host:port of a Ray that runs")


def test_options_that_do_not_go_together(motion: ClipIndex, model: Path, tmp_path: Path) -> None:
    refused(
        invoke("predict", model, tmp_path / "none", "--out", tmp_path / "a.parquet"), "none: no such file or folder"
    )
    assert not list(tmp_path.glob("a.parquet*"))
    out = ("--out", tmp_path / "a.parquet")
    refused(invoke("predict", model, motion.root, "--ray", "local"), "needs --out FILE.parquet")
    refused(invoke("predict", model, motion.root, *out, "--ray-workers", 2), "--ray-workers 2 needs --ray")
    refused(invoke("predict", model, motion.root, *out, "--window", 2), "not with --window")
    refused(invoke("predict", model, motion.root, *out, "--on-error", "fail"), "not with --on-error")
    refused(invoke("predict", model, motion.root, "--out", tmp_path / "a.csv"), "ends in .parquet")
    refused(
        invoke("features", tmp_path, motion.root, *out, "--ray", "local"), "--ray local: its workers run .onnx files"
    )
    refused(invoke("predict", tmp_path / "none.onnx", motion.root, *out), "none.onnx: no such file")


def test_the_error_of_the_model_is_no_clip_s(motion: ClipIndex, tmp_path: Path) -> None:
    wrong = write_model(tmp_path / "wrong.onnx", labels=("one", "two", "three"))
    index = ClipIndex(motion.root, (Clip(motion[0].file),))
    with pytest.raises(ClipzooError, match="its 3 labels do not fit"):
        predict_corpus(wrong, index, tmp_path / "a.parquet")
    assert not list(tmp_path.glob("*.parts"))
