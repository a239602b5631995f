"""What an export costs and what comes of it, in each precision: `python -m benchmarks.export`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer

from benchmarks.harness.contestants import BenchmarkTarget, missing_exports
from benchmarks.harness.groups import Contestant, Limits, measure
from benchmarks.harness.models import model_input, motion_clips
from benchmarks.harness.prepared import Prepared, prepare, stored_answers
from benchmarks.harness.records import EXPORT, Row
from benchmarks.harness.runners import BACKENDS, Round, Runner, keras_environment
from benchmarks.harness.script import PreparedFolder, Quick, ResultFile, measuring, run_script
from benchmarks.harness.workers import Worker
from benchmarks.inference import QUICK, compare_runtimes
from export.metadata import Metadata, Precision
from export.parity import compare
from export.runtime import Classifier
from export.synthetic import synthetic_clips
from loaders.check import choice
from loaders.digest import sha256
from loaders.terminal import text_console
from zoo.registry import model_info

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MODELS = ("convnet_gru", "mobilenet_gru", "tsm_mobilenetv2")
CALIBRATION = 156  # made clips: a third give the ranges of int8, which is held against float32 on 100 at least
CLIPS, SEED = 32, 1  # none of them is one that the export itself compared on
EXPORTS = Limits(rounds=3, few=3, seconds=0.0, most=0.0, round_seconds=600.0, turn=0.0, patience=600.0)


class ExportRunner(Runner):
    """`to_onnx` of a Keras file. A round is one export, gate included; each starts a fresh process, as everyone's does.

    Args:
        keras: the `.keras` file.
        out: the file to write, over the one of the round before.
        precision: of it.
        calibrate: a folder of videos, for int8.
    """

    def __init__(self, *, keras: Path, out: Path, precision: Precision, calibrate: Path | None) -> None:
        super().__init__()
        self.keras, self.out, self.precision, self.calibrate = keras, out, precision, calibrate
        self._seconds = inf  # no round is run uncounted

    def start(self, batch: int) -> float:
        """Nothing to warm up: each round is a process that is new."""
        self._round = self.prepare(batch)
        return 0.0

    def prepare(self, batch: int) -> Round:
        from export.convert import to_onnx

        return lambda: to_onnx(self.keras, self.out, precision=self.precision, calibrate=self.calibrate)

    def finish(self) -> dict[str, Any]:
        import onnx

        graph = onnx.load(str(self.out)).graph
        return {
            **super().finish(), "graph_nodes": len(graph.node), "file_bytes": self.out.stat().st_size,
            "quantization": Metadata.read(self.out).quantization,
        }  # fmt: skip


class KerasReference:
    """Keras's answers to seeded clips, on the backend of its process, for files to be held against.

    Args:
        keras: the `.keras` file.
        clips: how many, of `export.synthetic.synthetic_clips`.
        seed: of them.
    """

    def __init__(self, *, keras: Path, clips: int, seed: int) -> None:
        from zoo.contract import specs, with_logits
        from zoo.saving import load_model

        model = load_model(keras)
        self.clips = synthetic_clips(specs(model), clips=clips, seed=seed)
        answers = with_logits(model).predict(model_input(self.clips), batch_size=8, verbose=0)
        self.answers = {name: np.asarray(values) for name, values in answers.items()}

    def agreement(self, path: Path) -> dict[str, Any]:
        """How far a file's answers are from these: the largest `difference`, as `export.parity.Parity` has it; the
        share of clips with the `same_decision`; and how many `decisions` Keras made, of which one proves little."""
        classifier = Classifier(path)
        metadata = classifier.metadata
        found = compare(self.answers, classifier.scores(self.clips), source="seeded clips", task=metadata.task)
        kind = metadata.kind
        return {
            "difference": max(found.differences.values()),
            "same_decision": found.same_decision,
            "clips": found.clips,
            "decisions": len(np.unique(kind.decide(self.answers[kind.answer]), axis=0)),
        }


def export(
    prepared: Prepared,
    folder: Path,
    *,
    precisions: Sequence[Precision] = PRECISIONS,
    calibrate: Path | None = None,
    limits: Limits = EXPORTS,
    backends: Sequence[str] = tuple(BACKENDS),
    clips: int = CLIPS,
    done: Callable[[Row], object],
) -> dict[str, Path]:
    """Exports a model in each precision, all taking turns, and holds what was written against Keras.

    Args:
        prepared: the model's files, of which the `.keras` file is used.
        folder: where the files are written.
        precisions: one that the gate refuses is a labeled row.
        calibrate: a folder of videos, for int8.
        limits: how often.
        backends: of Keras, to be held against; those that are not installed are left out.
        clips: that are compared, seeded.
        done: called with each row; a turn is one export.

    Returns:
        Precision -> the file, of those that were made.
    """
    files: dict[str, Path] = {precision: folder / f"{prepared.model}.{precision}.onnx" for precision in precisions}
    contestants = [
        Contestant(
            row=Row(model=prepared.model, runner=EXPORT, settings={"precision": precision}, batch=1),
            make=ExportRunner,
            arguments={
                "keras": prepared.keras, "out": path, "precision": precision,
                "calibrate": calibrate if precision == "int8" else None,
            },
        )
        for precision, path in files.items()
    ]  # fmt: skip
    rows: list[Row] = []
    measure(contestants, [1], limits=limits, done=rows.append)
    made = {row.settings["precision"]: files[row.settings["precision"]] for row in rows if row.measured}
    beside = _agreements(prepared.keras, made, backends, clips)
    # One that failed was done before the others.
    for row in sorted(rows, key=lambda row: list(files).index(row.settings["precision"])):
        path = made.get(row.settings["precision"])
        if path is not None:
            metadata = Metadata.read(path)
            row = replace(
                row, facts={**row.facts, "beside": beside[row.settings["precision"]]}, sha256=sha256(path),
                parity=metadata.parity, frames=next(iter(metadata.specs.values())).frames,
            )  # fmt: skip
        done(row)
    return made


def _agreements(
    keras: Path, made: Mapping[str, Path], backends: Sequence[str], clips: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Precision -> name of Keras's backend -> how far the file agrees with it."""
    found: dict[str, dict[str, dict[str, Any]]] = {precision: {} for precision in made}
    for backend in backends:
        if made and find_spec(backend):
            worker = Worker(
                KerasReference, {"keras": keras, "clips": clips, "seed": SEED},
                environment=keras_environment(backend, gpu=False), limit=EXPORTS.patience,
            )  # fmt: skip
            try:
                for precision, path in made.items():
                    found[precision][BACKENDS[backend]] = worker.call("agreement", path)
            finally:
                worker.close()
    return found


def suite(
    models: Annotated[
        list[str] | None, typer.Option("--models", help=f"Names in the zoo; {', '.join(MODELS)} if left out.")
    ] = None,
    precision: Annotated[list[str] | None, typer.Option(help="float32, float16, int8; all if left out.")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="A folder of videos, for int8; made ones if left out.")] = None,
    throughput: Annotated[
        bool, typer.Option(help="Measure the files beside Keras, OpenVINO and Keras's own export too.")
    ] = True,
    folder: PreparedFolder = None,
    quick: Quick = False,
    json_file: ResultFile = None,
) -> None:
    """Measure exports: seconds, nodes, bytes, parity, classes as Keras's; and throughput, as benchmarks.inference."""
    console = text_console()
    names = models or (list(MODELS[:1]) if quick else list(MODELS))
    for name in names:
        model_info(name)
    for value in precision or ():
        choice("--precision", value, PRECISIONS)
    wanted: list[Precision] = [each for each in PRECISIONS if not precision or each in precision]
    subjects = []
    for name in names:
        console.print(f"{name}: finding its files, or making them")
        subjects.append(Prepared(folder, name) if folder else prepare(name))
        subjects[-1].require_onnx()
    videos = (calibrate or _near(motion_clips(clips=CALIBRATION))) if "int8" in wanted else None
    limits = replace(EXPORTS, rounds=1, few=1) if quick else EXPORTS
    with measuring("export", json_file, console, quick=quick) as results, tempfile.TemporaryDirectory() as written:
        for prepared in subjects:
            console.print(f"{prepared.model}: exporting in {', '.join(wanted)}, taking turns")
            made = export(
                prepared, Path(written), precisions=wanted, calibrate=videos, limits=limits, done=results.add
            )  # fmt: skip
            if not throughput or not made:
                continue
            console.print(f"{prepared.model}: measuring what was written, all runners taking turns, batch 1")
            for missing in missing_exports(BenchmarkTarget(onnx=prepared.onnx, prepared=prepared), [1]):
                results.add(missing)
            subject = BenchmarkTarget(
                onnx=made.pop("float32", prepared.onnx), prepared=prepared, others=made,
                multiply_adds=stored_answers(prepared.answers)[2],
            )  # fmt: skip
            compare_runtimes(
                subject, provider="cpu", batches=[1], limits=QUICK if quick else Limits(), done=results.add
            )


def _near(folder: Path) -> Path:
    """As it is called from here: files and rows name it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


if __name__ == "__main__":
    run_script(suite)
