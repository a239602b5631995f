"""The GPU proof and training in every way, tried on the CPU with a small model: the same scripts, files, failures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.gpu import prepared_models
from benchmarks.harness.machine import Gpu, gpu
from benchmarks.harness.prepared import Prepared, prepare, write_matrices
from benchmarks.harness.records import Results
from benchmarks.harness.runners import BACKENDS
from benchmarks.harness.trainers import WAYS
from export import Classifier
from loaders import ClipzooError
from tests.support.commands import HANG, bash, clipzoo, invoke_script, refused, script
from tests.support.onnx_files import SPEC, write_model

SMALL = {"frames": 3, "size": 16, "width": 0.125}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `benchmarks.models` writes, of one small model."""
    folder = tmp_path_factory.mktemp("gpu") / "models"
    prepare("convnet_gru", folder, half=True, keras_export=False, options=SMALL)
    write_matrices(folder)
    return folder


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A folder as `benchmarks.models` writes it, of a file made by hand whose answers are known."""
    prepared = Prepared(tmp_path_factory.mktemp("levels"), "levels")
    write_matrices(prepared.folder)
    clips = np.stack([np.full(SPEC.shape, level, np.uint8) for level in (0, 127, 130, 255)])
    answers = Classifier(write_model(prepared.onnx)).scores({"video": clips})
    np.savez(
        prepared.answers, **{"in:video": clips, **{f"out:{n}": a for n, a in answers.items()}, "multiply_adds": 1000}
    )
    return prepared


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_every_stage_runs_and_leaves_its_file(models: Path, tmp_path: Path) -> None:
    options = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    done = bash(
        "benchmarks/gpu.sh", "--provider", "cpu", "--models", models, "--results", tmp_path, "--quick", *options,
        "check", "correctness", "inference", "training", "accuracy", "report", timeout=3 * 3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CPUExecutionProvider is in use" in done.stdout
    assert "JAX: cpu" in done.stdout
    found = {
        kind: Results.load(next(tmp_path.glob(f"{kind}-*.jsonl")))
        for kind in ("correctness", "inference", "training", "accuracy")
    }
    assert {row.settings["precision"]: row.status for row in found["correctness"].rows} == {
        "float32": "ok",
        "float16": "ok",
    }
    exact, half = found["correctness"].rows
    assert exact.facts["from_keras"] <= 1e-4 < half.facts["from_keras"] <= 2e-2
    assert exact.facts["from_cpu"] == 0
    assert {"ONNX Runtime", "Keras JAX", "Keras TensorFlow"} <= {row.runner for row in found["inference"].rows}
    assert [(row.runner, row.settings) for row in found["training"].rows] == [
        (runner, way.settings) for runner in BACKENDS.values() for way in WAYS
    ]
    for row in found["training"].rows:
        assert row.frames == SMALL["frames"]
        assert row.facts["first_run_seconds"] > 0 <= row.facts["compile_seconds"]
        assert 0 <= row.facts["data_wait"] <= 1
    compiled = [row.facts["compilations"] for row in found["training"].rows if row.runner == "Keras JAX"]
    assert compiled == [0] * len(WAYS)
    learned = found["accuracy"].rows
    assert [row.settings["precision"] for row in learned] == ["float32", "mixed bfloat16"]
    assert all(0 <= row.facts["top1"] <= 1 and 0 < row.facts["clips"] < 60 for row in learned)
    for results in found.values():
        assert all(row.status == "ok" for row in results.rows), [row.note for row in results.rows]
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "peers.png",
        "training.png",
    }
    assert done.stdout.count("| convnet_gru |") >= 4


@pytest.mark.slow
def test_a_wrong_answer_fails_its_stage(models: Path, tmp_path: Path) -> None:
    other = prepare("convnet_gru", tmp_path / "other", keras_export=False, options={**SMALL, "units": 32})
    wrong = Prepared(tmp_path / "wrong", "convnet_gru")
    shutil.copytree(models, wrong.folder)
    shutil.copy(other.onnx, wrong.onnx)
    out = tmp_path / "out.jsonl"
    done = script("gpu", "correctness", "--provider", "cpu", "--folder", wrong.folder, "--json", out)
    assert done.returncode == 1
    assert "convnet_gru in float32: differs by" in done.stderr
    assert "Traceback" not in done.stderr
    assert [row.status for row in Results.load(out).rows] == ["failed", "ok"]


def test_a_host_is_checked_and_its_answers_are_held_against_the_stored_ones(levels: Prepared, tmp_path: Path) -> None:
    on_cpu = ("--provider", "cpu", "--folder")
    done = invoke_script("gpu", "check", *on_cpu, levels.folder)
    assert done.returncode == 0, done.stderr
    assert "CPUExecutionProvider is in use" in done.stdout and "models: levels" in done.stdout

    right, wrong = tmp_path / "right.jsonl", tmp_path / "wrong.jsonl"
    done = invoke_script("gpu", "correctness", *on_cpu, levels.folder, "--json", right)
    assert done.returncode == 0, done.stderr
    (row,) = Results.load(right).rows
    assert (row.status, row.settings["precision"], row.facts["from_keras"]) == ("ok", "float32", 0)
    other = Prepared(tmp_path / "other", "levels")
    shutil.copytree(levels.folder, other.folder)
    with np.load(levels.answers) as stored:
        turned = {name: array[:, ::-1] if name.startswith("out:") else array for name, array in stored.items()}
    np.savez(other.answers, **turned)
    done = invoke_script("gpu", "correctness", *on_cpu, other.folder, "--json", wrong)
    assert done.returncode == 1
    assert "levels in float32: differs by" in done.stderr and "another class for 100% of the clips" in done.stderr
    assert "Traceback" not in done.stderr
    assert [row.status for row in Results.load(wrong).rows] == ["failed"]


def test_what_is_missing_is_named(levels: Prepared, tmp_path: Path) -> None:
    refused(invoke_script("gpu", "check", "--folder", levels.folder), "no NVIDIA GPU is found")
    refused(invoke_script("gpu", "correctness", "--folder", levels.folder), "'cuda' is not in this ONNX Runtime")
    refused(invoke_script("gpu", "check", "--provider", "cpu", "--folder", tmp_path), "python -m benchmarks.models")
    with pytest.raises(ClipzooError, match="holds no models"):
        prepared_models(tmp_path)
    done = bash("benchmarks/gpu.sh", "corectness")
    assert done.returncode == 2
    assert "corectness is neither an option nor a stage" in done.stderr


@pytest.mark.slow
def test_the_parcel_holds_what_a_host_without_network_needs(tmp_path: Path) -> None:
    out, host = tmp_path / "parcel", tmp_path / "host"
    done = bash("benchmarks/gpu_parcel.sh", out, "convnet_gru", WITHOUT_WHEELS="1", PART_MIB="16")
    assert done.returncode == 0, done.stderr
    parts = sorted(out.glob("part-*"))
    assert len(parts) > 1
    assert all(file.stat().st_size <= 16 * 2**20 for part in parts for file in part.iterdir())
    assert "gpu check correctness" in (out / "COMMANDS.md").read_text()

    last = parts[-1] / next(file.name for file in parts[-1].iterdir())
    whole = last.read_bytes()
    for spoiled, said in ((whole[:-1], "is damaged"), (None, "is not in")):
        last.unlink() if spoiled is None else last.write_bytes(spoiled)
        done = bash(out / "join.sh", out, host)
        assert done.returncode == 2
        assert f"{last.name} {said}" in done.stderr
    last.write_bytes(whole)
    done = bash(out / "join.sh", out, host)
    assert done.returncode == 0, done.stderr
    assert (host / "clipzoo" / "COMMIT").read_text().strip()
    assert prepared_models(host / "models") == ["convnet_gru"]
    done = subprocess.run(
        ["bash", "benchmarks/gpu.sh", "--provider", "cpu", "--models", "../models", "check"], cwd=host / "clipzoo",
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(host / "clipzoo")},
        capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "models: convnet_gru" in done.stdout
    refusing = bash("benchmarks/gpu_parcel.sh", out)
    assert refusing.returncode == 2
    assert "is not empty" in refusing.stderr


@pytest.mark.slow
def test_the_gpu_package_works_on_a_cpu_and_names_the_library_that_is_missing(levels: Prepared, tmp_path: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this host has a GPU: nothing is missing")
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["uv", "pip"]
    command = [*pip, "install", "-q", "--no-deps", "--target", str(tmp_path), "onnxruntime-gpu>=1.23"]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert installed.returncode == 0, installed.stderr

    done = clipzoo("bench", levels.onnx, "--seconds", "0.1", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime, CPU" in done.stdout
    done = clipzoo("bench", levels.onnx, "--seconds", "0.1", "--provider", "cuda", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "'cuda' was asked for, but CPUExecutionProvider is in use: libcublas" in done.stderr


def test_what_the_gpu_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class RefusedError(Exception):
        pass

    def refuse(*_: object) -> None:
        raise RefusedError

    asked: list[object] = []
    nvml = SimpleNamespace(
        NVMLError=RefusedError, NVML_CLOCK_SM=1, NVML_TEMPERATURE_GPU=0, nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=asked.append, nvmlDeviceGetHandleByUUID=asked.append,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=12 * 2**20, total=143771 * 2**20),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=3), nvmlDeviceGetName=lambda _: "NVIDIA H200",
        nvmlSystemGetDriverVersion=lambda: "580.159.04", nvmlDeviceGetClockInfo=lambda _, clock: 1980,
        nvmlDeviceGetPowerUsage=lambda _: 344240, nvmlDeviceGetTemperature=refuse,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    for visible in ("", "-1", "2,3", "GPU-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpu() == Gpu("NVIDIA H200", "580.159.04", 12, 143771, 3, clock_mhz=1980, power_watts=344.24, celsius=0)
    assert asked == [0, 0, 2, "GPU-1"]
    nvml.nvmlInit = refuse  # no driver
    assert gpu() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # no library
    assert gpu() is None
