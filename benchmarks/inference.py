"""How fast exported files run in ONNX Runtime, beside Keras and OpenVINO: `python -m benchmarks.inference`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from benchmarks.harness.contestants import (
    BenchmarkTarget,
    missing_exports,
    own,
    own_row,
    peers,
)
from benchmarks.harness.groups import Limits, measure
from benchmarks.harness.onnx_runners import OnnxRuntimeRunner
from benchmarks.harness.prepared import Prepared, matrix_file, prepare, stored_answers, write_matrices
from benchmarks.harness.records import Row
from benchmarks.harness.script import PreparedFolder, Quick, ResultFile, measuring, run_script
from export.runtime import Classifier
from export.session import Provider, installed, require_provider
from export.synthetic import synthetic_clips
from loaders.errors import ClipzooError
from loaders.terminal import text_console
from zoo.registry import list_models, model_info

CPU_BATCHES, GPU_BATCHES = (1, 8), (1, 2, 4, 8, 16, 32, 64, 128)
QUICK = Limits(rounds=5, seconds=1.0, most=1.5, turn=0.25)


def bench(
    path: str | Path,
    *,
    provider: Provider | Literal["all"] = "cpu",
    provider_options: Mapping[str, str] | None = None,
    batches: Sequence[int] = (1, 8),
    seconds: float = 3.0,
    threads: int | None = None,
    verify: bool = True,
    done: Callable[[Row], object] = lambda _: None,
) -> list[Row]:
    """Times a file on random clips, from host memory to host memory, in this process.

    Each batch size is warmed up apart, then run for at least 10 rounds and `seconds`; several providers take turns.

    Args:
        path: the ONNX file.
        provider: see `Classifier`; or `all` that are installed, whose rows say in `facts["difference"]` how far an
            answer is from the CPU's at most, on clips that `export.synthetic.synthetic_clips` draws.
        provider_options: of the provider, as ONNX Runtime names them; not with `all`.
        batches: batch sizes, each >= 1.
        seconds: least time for each, > 0.
        threads: of ONNX Runtime on the CPU.
        verify: whether the file must be, byte for byte, what was exported.
        done: called with each row as soon as it is measured.

    Returns:
        A row for each batch size and provider.

    Raises:
        ClipzooError: the file cannot be used, or the provider is not in use.
    """
    if not batches or min(batches) < 1 or not 0 < seconds < inf:
        raise ClipzooError(f"bench needs batches ({list(batches)}) >= 1 and seconds ({seconds}) > 0, but finite")
    given = dict(provider_options or {})
    if given and provider == "all":
        raise ClipzooError(f"options ({', '.join(given)}) are for one provider: name it in place of 'all'")
    runners = {
        name: OnnxRuntimeRunner(
            path=Path(path), provider=name, binding="host", options=given, threads=threads, verify=verify
        )
        for name in (installed() if provider == "all" else [provider])
    }
    facts = {name: {"difference": most} for name, most in _differences(runners).items()} if len(runners) > 1 else {}
    rows = []
    for batch in batches:
        turns: dict[Provider, list[list[float]]] = {name: [] for name in runners}
        for runner in runners.values():
            runner.start(batch)
        while any(sum(map(len, each)) < 10 or sum(map(sum, each)) < seconds for each in turns.values()):
            for name, runner in runners.items():
                turns[name].append(runner.turn(seconds / 10))
        for name, runner in runners.items():
            row = replace(
                own_row(runner.classifier, name), batch=batch, turns=turns[name],
                facts={**runner.finish(), **facts.get(name, {})},
            )  # fmt: skip
            rows.append(row)
            done(row)
    return rows


def _differences(runners: Mapping[Provider, OnnxRuntimeRunner]) -> dict[Provider, float]:
    """How far an answer of each is from the CPU's, at the most."""
    clips = synthetic_clips(runners["cpu"].classifier.specs)
    answers = {name: runner.classifier.scores(clips) for name, runner in runners.items()}
    name = runners["cpu"].classifier.outputs[-1]
    return {each: float(np.abs(found[name] - answers["cpu"][name]).max()) for each, found in answers.items()}


def compare_runtimes(
    subject: BenchmarkTarget,
    *,
    provider: Provider,
    batches: Sequence[int],
    limits: Limits,
    threads: int | None = None,
    done: Callable[[Row], object],
) -> None:
    """Measures one file beside its peers, all of them taking turns.

    Args:
        subject: the file.
        provider: of ONNX Runtime.
        batches: sizes, ascending.
        limits: how long.
        threads: of ONNX Runtime and OpenVINO on the CPU.
        done: called with each row as soon as it is measured.

    Raises:
        ClipzooError: the file cannot be used, or the provider is not in use.
    """
    contestants = own(subject, provider, threads) + peers(subject, provider, threads)
    measure(contestants, batches, limits=limits, done=done, on_gpu=provider != "cpu")


def suite(
    models: Annotated[
        list[str] | None, typer.Option("--models", help="Names in the zoo, or ONNX files; the whole zoo if left out.")
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt, openvino or openvino-bfloat16.")] = "cpu",
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Sizes; 1 and 8 on a CPU, 1 to 128 on a GPU.")] = None,
    folder: PreparedFolder = None,
    quick: Quick = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Least time of a runner and batch; 5, or 1 with --quick.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of ONNX Runtime and OpenVINO on the CPU.")] = None,
    json_file: ResultFile = None,
) -> None:
    """Measure ONNX files beside Keras, OpenVINO and Keras's own export, all taking turns."""
    console = text_console()
    require_provider(provider)
    names = models or (["convnet_gru", "mobilenet_gru"] if quick else list_models())
    for name in names:
        if name.endswith(".onnx"):
            Classifier(name)  # before the files of others are made
        else:
            model_info(name)
    limits = QUICK if quick else Limits()
    if seconds:
        most, turn = seconds * limits.most / limits.seconds, min(limits.turn, seconds / limits.rounds)
        limits = replace(limits, seconds=seconds, most=most, turn=turn)
    batches = sorted(set(batch or ((1,) if quick else CPU_BATCHES if provider == "cpu" else GPU_BATCHES)))
    subjects = []
    for name in names:
        console.print(f"{name}: finding its files, or making them")
        subjects.append(_subject(name, folder, provider))
    with measuring("inference", json_file, console, on_gpu=provider != "cpu", threads=threads, quick=quick) as results:
        for name, subject in zip(names, subjects, strict=True):
            console.print(f"{name}: measuring, all runners taking turns, batch {', '.join(map(str, batches))}")
            for missing in missing_exports(subject, batches):
                results.add(missing)
            compare_runtimes(
                subject,
                provider=provider,  # type: ignore[arg-type]
                batches=batches,
                limits=limits,
                threads=threads,
                done=results.add,
            )


def _subject(name: str, folder: Path | None, provider: str) -> BenchmarkTarget:
    if name.endswith(".onnx"):
        return BenchmarkTarget(onnx=Path(name))
    on_gpu = provider != "cpu"
    prepared = Prepared(folder, name) if folder else prepare(name, half=on_gpu)
    if on_gpu and not folder and not matrix_file(prepared.folder, "float32").is_file():
        write_matrices(prepared.folder)
    prepared.require_onnx()
    half = prepared.half if on_gpu and prepared.half.is_file() else None
    cost = stored_answers(prepared.answers)[2]
    return BenchmarkTarget(onnx=prepared.onnx, prepared=prepared, multiply_adds=cost, half=half)


if __name__ == "__main__":
    run_script(suite)
