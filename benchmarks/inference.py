"""How fast exported files run in ONNX Runtime, beside Keras and OpenVINO: `python -m benchmarks.inference`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.contestants import KERAS_EXPORT, MATRIX, Subject, own, own_row, peers
from benchmarks.groups import Limits, measure
from benchmarks.results import Row
from benchmarks.runners import OnnxRuntimeRunner
from export.session import Provider
from loaders.errors import ClipzooError

CPU_BATCHES, GPU_BATCHES = (1, 8), (1, 2, 4, 8, 16, 32, 64, 128)
QUICK = Limits(rounds=5, seconds=1.0, most=1.5, turn=0.25)


def bench(
    path: str | Path,
    *,
    provider: Provider = "cpu",
    batches: Sequence[int] = (1, 8),
    seconds: float = 3.0,
    threads: int | None = None,
    done: Callable[[Row], object] = lambda _: None,
) -> list[Row]:
    """Times a file on random clips, from host memory to host memory, in this process and alone.

    Each batch size is warmed up apart, then run for at least 10 rounds and `seconds`.

    Args:
        path: the ONNX file.
        provider: `cpu`, `cuda` or `tensorrt`.
        batches: batch sizes, each >= 1.
        seconds: least time for each, > 0.
        threads: of ONNX Runtime on the CPU.
        done: called with each row as soon as it is measured.

    Returns:
        A row for each batch size.

    Raises:
        ClipzooError: the file cannot be used, or the provider is not in use.
    """
    if not batches or min(batches) < 1 or seconds <= 0:
        raise ClipzooError(f"bench needs batches ({list(batches)}) >= 1 and seconds ({seconds}) > 0")
    runner = OnnxRuntimeRunner(path=Path(path), provider=provider, binding="host", options={}, threads=threads)
    rows = []
    for batch in batches:
        runner.start(batch)
        turns: list[list[float]] = []
        while sum(map(len, turns)) < 10 or sum(map(sum, turns)) < seconds:
            turns.append(runner.turn(seconds / 10))
        row = replace(own_row(runner.classifier, provider), batch=batch, turns=turns, facts=runner.finish())
        rows.append(row)
        done(row)
    return rows


def compare_runtimes(
    subject: Subject,
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


def matrix_beside(row: Row, rows: Sequence[Row]) -> Row | None:
    """The matrix product in the same precision that was measured beside a row, or else with another of its batches."""
    precision = row.settings.get("precision", "")
    found = [r for r in rows if r.runner == MATRIX and r.model == row.model]
    found = [r for r in found if r.settings.get("precision", "") == precision]
    return next((r for r in found if r.batch == row.batch), found[0] if found else None)


def missing_export(subject: Subject, batch: int) -> Row | None:
    """A labelled row where Keras has no ONNX file of the model."""
    prepared = subject.prepared
    if prepared is None or not prepared.keras_onnx_missing.is_file():
        return None
    note = prepared.keras_onnx_missing.read_text(encoding="utf-8").strip()
    return Row(model=prepared.model, runner=KERAS_EXPORT, batch=batch, status="not available", note=note)


def share_of_matrix_rate(row: Row, rows: Sequence[Row]) -> float | None:
    """The multiply-adds of a row's clips a second, as a share of those of the matrix product beside it."""
    matrix = matrix_beside(row, rows)
    if matrix is None:
        return None
    operations, product = row.facts.get("multiply_adds"), matrix.facts.get("floating_point_operations")
    if not operations or not product or not row.measured or not matrix.measured:
        return None
    return float(2 * operations * row.clips_per_second / (product / matrix.median.value))


if __name__ == "__main__":
    from benchmarks.cli_inference import main

    main()
