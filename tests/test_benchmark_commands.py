"""The benchmarks' scripts as a person types them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.compare import compare
from benchmarks.plots import draw
from benchmarks.results import Results
from loaders import ClipSpec, ClipzooError
from tests.support.commands import ROOT, refused, script
from tests.support.onnx_files import write_model

BIG = ClipSpec(frames=8, height=256, width=256)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX file whose run takes milliseconds."""
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx", spec=BIG, shape=BIG.shape)


def test_the_commands_measure_compare_and_draw(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "box" / "inference-1.jsonl"
    done = script("inference", "--models", file, "--batch", 1, "--batch", 2, "--quick", "--json", out)
    assert done.returncode == 0, done.stderr
    assert "GFLOP/s" in done.stdout
    results = Results.load(out)
    assert {row.batch for row in results.rows} == {1, 2}
    assert results.setup.versions["onnxruntime"]
    assert results.setup.arguments[0] == "--models"
    pictures = draw([results])
    assert [path.name for path in pictures] == ["peers.png", "throughput.png", "latency.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)

    longer, slower = (Results.start(tmp_path / f"{name}.jsonl", results.setup) for name in ("longer", "slower"))
    for row in results.rows:
        steady = [row.round_seconds.value * (1 + turn / 1000) for turn in range(12)]
        longer.add(replace(row, turns=[[value] for value in steady]))
        slower.add(replace(row, turns=[[2 * value] for value in steady]))
    assert [round(d.ratio.value, 3) for d in compare(longer, slower)] == [0.5] * len(results.rows)
    done = script("compare", longer.path, slower.path)
    assert done.returncode == 0, done.stderr
    assert f"{len(results.rows)} of {len(results.rows)} rows differ" in done.stdout
    done = script("compare", out, out)
    assert f"0 of {len(results.rows)} rows differ" in done.stdout


def test_ctrl_c_keeps_what_was_measured(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "benchmarks.inference", "--models", str(file), "--quick", "--json", str(out)]
    for batch in range(1, 40):
        command += ["--batch", str(batch)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        time.sleep(0.1)
        if out.is_file() and len(out.read_text().splitlines()) > 1:
            break
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what was measured is kept" in said
    assert "Traceback" not in errors
    assert Results.load(out).rows


def test_mistakes_are_sentences(file: Path, tmp_path: Path) -> None:
    foreign = write_model(tmp_path / "foreign.onnx", metadata=False)
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "old.jsonl").write_text('{"schema": 0}\n')
    to = ("--json", tmp_path / "out.jsonl")
    refused(script("inference", "--models", file, "--provider", "cuda", *to), "'cuda' is not in this ONNX Runtime")
    refused(script("inference", "--models", file, "--provider", "npu", *to), "must be one of cpu, cuda, tensorrt")
    refused(script("inference", "--models", "convnet_grub", *to), "did you mean convnet_gru")
    refused(script("inference", "--models", foreign, *to), "without clipzoo's metadata")
    refused(script("inference", "--models", tmp_path / "text.onnx", *to), "is not an ONNX file")
    refused(script("inference", "--models", tmp_path / "none.onnx", *to), "no such file")
    refused(script("inference", "--models", "convnet_gru", "--folder", tmp_path, *to), "python -m benchmarks.models")
    refused(script("training", "--models", "convnet_gru", "--provider", "cuda", *to), "finds no GPU")
    refused(script("training", "--backend", "torch", *to), "torch")
    refused(script("training", "--models", "convnet_gru", "--set", "nosuch=3", *to), "no option 'nosuch'")
    refused(script("compare", tmp_path / "old.jsonl", tmp_path / "old.jsonl"), "older schema")
    refused(script("pipeline", "--models", file, "--videos", tmp_path / "nowhere", *to), "nowhere")
    refused(script("pipeline", "--folder", tmp_path, *to), "python -m benchmarks.models")
    there = ("--json", tmp_path / "old.jsonl")
    refused(script("inference", *there), "is there already")
    # before the files of the whole zoo are made
    refused(script("inference", "--models", "dtpp", "--models", tmp_path / "none.onnx", *to), "no such file")
    for bandwidth in ("0", "nan", "inf"):
        refused(script("cluster", "--bandwidth", bandwidth), "must be > 0, but finite")
    refused(script("cluster", "--batch", "5"), "must be a multiple of 4")
    refused(script("report", "--results", tmp_path), "is no folder with result files")
    assert not (tmp_path / "out.jsonl").exists()


def test_training_needs_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(ClipzooError, match="neither jax nor tensorflow is installed"):
        training.suite()
    monkeypatch.setattr(training, "find_spec", lambda name: name == "jax" or None)
    with pytest.raises(ClipzooError, match="--backend tensorflow is not installed here"):
        training.suite(backend=["tensorflow"])
