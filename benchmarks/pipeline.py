"""From video file to label by `export.Classifier`, and what of it takes the time: `python -m benchmarks.pipeline`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from benchmarks.harness.groups import Contestant, Limits, measure
from benchmarks.harness.models import motion_clips
from benchmarks.harness.prepared import onnx_of
from benchmarks.harness.records import Row
from benchmarks.harness.runners import Round, Runner
from benchmarks.harness.script import PreparedFolder, Quick, ResultFile, measuring, run_script
from export.runtime import Classifier
from export.session import Provider, require_provider
from loaders.clip import read_batches
from loaders.digest import sha256
from loaders.errors import ClipzooError
from loaders.lists import index_folder
from loaders.terminal import text_console

Step = Literal["decoding alone", "inference alone", "one after the other", "overlapped"]
STEPS: tuple[Step, ...] = ("overlapped", "one after the other", "decoding alone", "inference alone")
QUICK = Limits(rounds=3, seconds=0.5, most=1.0)
BATCH = 8


class PipelineRunner(Runner):
    """Video files through one step of the way, or all of it. A round is every file once.

    Args:
        path: the ONNX file.
        files: video files.
        step: which part. `overlapped` is what `Classifier.predict` does: threads decode the next batches while the
            network answers.
        provider: of ONNX Runtime.
        workers: threads that decode.
    """

    def __init__(self, *, path: Path, files: Sequence[Path], step: Step, provider: Provider, workers: int) -> None:
        super().__init__()
        self.classifier = Classifier(path, provider=provider)
        self.files, self.step, self.workers = list(files), step, workers

    def prepare(self, batch: int) -> Round:
        decoded: list[dict[str, np.ndarray]] = self._decode() if self.step == "inference alone" else []
        rounds: dict[Step, Round] = {
            "decoding alone": self._decode,
            "inference alone": lambda: self._infer(decoded),
            "one after the other": lambda: self._infer(self._decode()),
            "overlapped": lambda: list(self.classifier.answers(self.files, batch_size=BATCH, workers=self.workers)),
        }
        return rounds[self.step]

    def _decode(self) -> list[dict[str, np.ndarray]]:
        read = read_batches(self.files, self.classifier.specs, batch_size=BATCH, workers=self.workers)
        return [batch.clips for batch in read]

    def _infer(self, batches: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        return [self.classifier.scores(clips) for clips in batches]


def pipeline(
    path: Path,
    files: Sequence[Path],
    *,
    provider: Provider = "cpu",
    workers: int = 2,
    limits: Limits | None = None,
    done: Callable[[Row], object],
) -> None:
    """Measures the way from files to labels and its parts, taking turns.

    Args:
        path: the ONNX file.
        files: video files, all of them in each round, 8 to a batch.
        provider: of ONNX Runtime.
        workers: threads that decode.
        limits: how long.
        done: called with each row as soon as it is measured.

    Raises:
        ClipzooError: the ONNX file cannot be used.
    """
    metadata = Classifier(path, provider=provider).metadata
    contestants = [
        Contestant(
            row=Row(
                model=metadata.model,
                runner="Classifier",
                settings={"step": step, "provider": provider, "workers": str(workers)},
                batch=len(files),
                frames=next(iter(metadata.specs.values())).frames,
                sha256=sha256(path),
                parity=metadata.parity,
            ),
            make=PipelineRunner,
            arguments={"path": path, "files": files, "step": step, "provider": provider, "workers": workers},
        )
        for step in STEPS
    ]
    measure(contestants, [len(files)], limits=limits or Limits(), done=done, on_gpu=provider != "cpu")


def suite(
    models: Annotated[list[str] | None, typer.Option("--models", help="Names in the zoo, or ONNX files.")] = None,
    videos: Annotated[Path | None, typer.Option(help="Clips, a sub-folder per action; made ones if left out.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="This many of them.")] = 24,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt, openvino or openvino-bfloat16.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = 2,
    folder: PreparedFolder = None,
    quick: Quick = False,
    json_file: ResultFile = None,
) -> None:
    """Measure video file to label: decoding alone, inference alone, one after the other, overlapped."""
    console = text_console()
    require_provider(provider)
    names = models or (["mobilenet_gru"] if quick else ["convnet_gru", "mobilenet_gru", "mobilenetv2_gru"])
    files = _files(videos, clips)
    paths = [onnx_of(name, folder) for name in names]
    with measuring("pipeline", json_file, console, on_gpu=provider != "cpu", quick=quick) as results:
        for onnx in paths:
            limits = QUICK if quick else None
            pipeline(onnx, files, provider=provider, workers=workers, limits=limits, done=results.add)  # type: ignore[arg-type]


def _files(videos: Path | None, clips: int) -> list[Path]:
    videos = videos or motion_clips()
    found = [path.resolve() for path in index_folder(videos).paths]
    if len(found) < clips:
        raise ClipzooError(f"{videos}: has {len(found)} clips, fewer than the {clips} asked for; give --clips")
    return [found[i * len(found) // clips] for i in range(clips)]


if __name__ == "__main__":
    run_script(suite)
