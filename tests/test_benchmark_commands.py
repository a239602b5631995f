"""The benchmarks' scripts as a person types them."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.compare import compare
from benchmarks.harness.plots import draw
from benchmarks.harness.records import Results
from loaders import ClipSpec, ClipzooError
from tests.support.commands import HANG, ROOT, invoke_script, refused, script, wait_for
from tests.support.onnx_files import write_model

BIG = ClipSpec(frames=8, height=256, width=256)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX file whose run takes milliseconds."""
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx", spec=BIG, shape=BIG.shape)


@pytest.mark.slow
def test_the_commands_measure_compare_and_draw(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "box" / "inference-1.jsonl"
    done = script(
        "inference",
        "--models",
        file,
        "--batch",
        1,
        "--batch",
        2,
        "--batch",
        3,
        "--quick",
        "--seconds",
        0.1,
        "--json",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert "GFLOP/s" in done.stdout
    results = Results.load(out)
    assert {row.batch for row in results.rows} == {1, 2, 3}
    assert results.setup.versions["onnxruntime"]
    assert results.setup.arguments[0] == "--models"
    pictures = draw([results])
    assert [path.name for path in pictures] == ["peers.png", "throughput.png", "latency.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    few = replace(results, rows=[row for row in results.rows if row.batch < 3])
    assert [path.name for path in draw([few])] == ["peers.png"]

    longer, slower = (Results.start(tmp_path / f"{name}.jsonl", results.setup) for name in ("longer", "slower"))
    for row in results.rows:
        steady = [row.round_seconds.value * (1 + turn / 1000) for turn in range(12)]
        longer.add(replace(row, turns=[[value] for value in steady]))
        slower.add(replace(row, turns=[[2 * value] for value in steady]))
    assert [round(d.ratio.value, 3) for d in compare(longer, slower)] == [0.5] * len(results.rows)
    done = script("compare", longer.path, slower.path)
    assert done.returncode == 0, done.stderr
    assert f"{len(results.rows)} of {len(results.rows)} rows differ" in done.stdout
    done = invoke_script("compare", out, out)
    assert f"0 of {len(results.rows)} rows differ" in done.stdout


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "benchmarks.inference", "--models", str(file), "--quick", "--json", str(out)]
    command += ["--seconds", "0.1"]
    for batch in range(1, 40):
        command += ["--batch", str(batch)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: out.is_file() and len(out.read_text().splitlines()) > 1)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert "interrupted; what was measured is kept" in said
    assert "Traceback" not in errors
    assert Results.load(out).rows


def test_mistakes_are_sentences(file: Path, tmp_path: Path) -> None:
    foreign = write_model(tmp_path / "foreign.onnx", metadata=False)
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "old.jsonl").write_text('{"schema": 0}\n')
    to = ("--json", tmp_path / "out.jsonl")

    def refuses(said: str, module: str, *words: object) -> None:
        refused(invoke_script(module, *words), said)

    refuses("'cuda' is not in this ONNX Runtime", "inference", "--models", file, "--provider", "cuda", *to)
    refuses("must be one of cpu, cuda, tensorrt", "inference", "--models", file, "--provider", "npu", *to)
    refuses("did you mean convnet_gru", "inference", "--models", "convnet_grub", *to)
    refuses("without clipzoo's metadata", "inference", "--models", foreign, *to)
    refuses("is not an ONNX file", "inference", "--models", tmp_path / "text.onnx", *to)
    refuses("no such file", "inference", "--models", tmp_path / "none.onnx", *to)
    refuses("python -m benchmarks.models", "inference", "--models", "convnet_gru", "--folder", tmp_path, *to)
    refuses("no NVIDIA GPU is found", "training", "--models", "convnet_gru", "--provider", "cuda", *to)
    refuses("torch", "training", "--backend", "torch", *to)
    refuses("must be one of", "training", "--precision", "half", *to)
    refuses("must be one of", "training", "--clips", "disk", *to)
    refuses("no option 'nosuch'", "training", "--models", "convnet_gru", "--set", "nosuch=3", *to)
    refuses("older schema", "compare", tmp_path / "old.jsonl", tmp_path / "old.jsonl")
    refuses("nowhere", "pipeline", "--models", file, "--videos", tmp_path / "nowhere", *to)
    refuses("python -m benchmarks.models", "pipeline", "--folder", tmp_path, *to)
    there = ("--json", tmp_path / "old.jsonl")
    refuses("is there already", "inference", *there)
    # before the files of the whole zoo are made
    refuses("no such file", "inference", "--models", "dtpp", "--models", tmp_path / "none.onnx", *to)
    for bandwidth in ("0", "nan", "inf"):
        refuses("must be > 0, but finite", "cluster", "--bandwidth", bandwidth)
    refuses("must be a multiple of 4", "cluster", "--batch", "5")
    refuses("is no folder with result files", "report", "--results", tmp_path)
    assert not (tmp_path / "out.jsonl").exists()


def test_training_needs_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(ClipzooError, match="neither jax nor tensorflow is installed"):
        training.suite()
    monkeypatch.setattr(training, "find_spec", lambda name: name == "jax" or None)
    with pytest.raises(ClipzooError, match="--backend tensorflow is not installed here"):
        training.suite(backend=["tensorflow"])
