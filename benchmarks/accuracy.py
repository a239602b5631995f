"""How good models become in a few minutes, on every backend and in both precisions: `python -m benchmarks.accuracy`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.harness.records import Row
from benchmarks.harness.runners import BACKENDS, figures, keras_device, keras_environment
from benchmarks.harness.script import Quick, ResultFile, measuring, run_script
from benchmarks.harness.trainers import PRECISIONS
from benchmarks.harness.workers import Worker, WorkerError
from loaders.errors import ClipzooError
from loaders.motion import MOTIONS, draw_motion_clips
from loaders.processor import cores
from loaders.terminal import text_console
from zoo.registry import model_info

SMALL: dict[str, Any] = {"size": 48, "dropout": 0.0}  # clips are drawn at 48x48
OPTIONS: dict[str, dict[str, Any]] = {
    "convnet_gru": {"frames": 6, "width": 0.25, **SMALL},
    "mobilenet_gru": {"frames": 6, "alpha": 0.5, **SMALL, "size": 96},
    "dtpp_rgb": {"frames": 8, "backbone": "convnet", "width": 0.25, **SMALL},
}
BATCH = 16


class AccuracyWorker:
    """Trains one model on made motion clips, in a process of its own.

    Args:
        precision: of `benchmarks.harness.trainers.PRECISIONS`.
        gpu: whether the backend must be on a GPU.
    """

    def __init__(self, *, precision: str, gpu: bool) -> None:
        self.device = keras_device(gpu=gpu)
        self.precision = PRECISIONS[precision]

    def learn(self, model: str, folder: Path, *, epochs: int, seed: int) -> dict[str, Any]:
        """The row's facts: `top1` after the last epoch on test clips that training never saw, its 95 % `interval`,
        `clips`, the `seconds` of training, and the `keras_device`."""
        from export.scoring import score
        from loaders.lists import index_folder
        from zoo.learning import train
        from zoo.recipe import Recipe
        from zoo.saving import load_model

        index = index_folder(folder).split(seed=seed)
        recipe = Recipe(
            epochs=epochs, batch=BATCH, augmentation="none", patience=2, precision=self.precision, seed=seed
        )
        with tempfile.TemporaryDirectory() as out:
            options = OPTIONS.get(model, {})
            run = train(index, model, recipe, out=out, options=options, cache="memory", workers=cores())
            seconds = run.read_record()["seconds"]
            result = score(load_model(run.last), index.only("test"), batch=BATCH, workers=cores()).evaluate()
        return {
            **figures(result), "seconds": seconds, "epochs": epochs, "seed": seed, "keras_device": self.device,
        }  # fmt: skip


def suite(
    models: Annotated[list[str] | None, typer.Option("--models", help="Names in the zoo.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="jax or tensorflow; those installed if left out.")] = None,
    provider: Annotated[str, typer.Option(help="cpu, or cuda: let the backends use the GPU.")] = "cpu",
    clips: Annotated[int, typer.Option(min=60, help="To draw; 15 % for validation, 15 % for the test.")] = 600,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of training; 12, or 60 on a GPU, if left out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of clips, split, weights and order.")] = 0,
    quick: Quick = False,
    json_file: ResultFile = None,
) -> None:
    """Train small models on made clips that only motion tells apart, and classify clips they never saw."""
    console = text_console()
    names = models or list(OPTIONS)
    for name in names:
        model_info(name)
    on_gpu = provider == "cuda"
    clips, epochs = (60, 1) if quick else (clips, epochs or (60 if on_gpu else 12))
    installed = [name for name in backend or BACKENDS if find_spec(name)]
    if not installed:
        raise ClipzooError(f"none of {', '.join(backend or BACKENDS)} is installed")
    title = f"{clips} motion clips, chance {1 / len(MOTIONS):.1%}, {epochs} epochs, seed {seed}"
    with (
        measuring("accuracy", json_file, console, on_gpu=on_gpu, quick=quick) as results,
        tempfile.TemporaryDirectory() as folder,
    ):
        console.print(title)
        draw_motion_clips(folder, clips=clips, seed=seed)
        for name in names:
            for keras_backend in installed[:1] if quick else installed:
                for precision in PRECISIONS:
                    row = Row(
                        model=name, runner=BACKENDS[keras_backend], settings={"precision": precision}, batch=BATCH
                    )
                    results.add(learn(row, keras_backend, Path(folder), epochs=epochs, seed=seed, gpu=on_gpu))


def learn(row: Row, backend: str, folder: Path, *, epochs: int, seed: int, gpu: bool) -> Row:
    """Fills a row: a turn is the whole training."""
    worker = None
    try:
        arguments = {"precision": row.settings["precision"], "gpu": gpu}
        worker = Worker(AccuracyWorker, arguments, environment=keras_environment(backend, gpu=gpu))
        facts = worker.call("learn", row.model, folder, epochs=epochs, seed=seed)
    except WorkerError as error:
        return replace(row, status=error.status, note=str(error))
    finally:
        if worker is not None:
            worker.close()
    return replace(row, turns=[[facts["seconds"]]], facts=facts)


if __name__ == "__main__":
    run_script(suite)
