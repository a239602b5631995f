"""How fast models train on JAX and TensorFlow: `python -m benchmarks.training`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from benchmarks.harness.groups import Contestant, Limits, measure
from benchmarks.harness.machine import gpu
from benchmarks.harness.models import CLASSES, motion_clips
from benchmarks.harness.records import Row
from benchmarks.harness.runners import BACKENDS, keras_environment
from benchmarks.harness.script import Quick, ResultFile, measuring, run_script
from benchmarks.harness.trainers import (
    CPU_STEPS,
    GPU_STEPS,
    GPU_WAYS,
    HEAVY_CPU_STEPS,
    PRECISIONS,
    WAYS,
    Source,
    TrainingRunner,
    TrainingVariant,
)
from benchmarks.harness.workers import Worker, WorkerError
from loaders.check import choice
from loaders.errors import ClipzooError
from loaders.lists import index_folder
from loaders.processor import cores
from loaders.terminal import OptionPairs, parse_options, text_console
from zoo.registry import create_model, list_models, model_info

# A round is an epoch: the slowest ones are run 3 times, or this would take hours on a CPU.
LIMITS = Limits(rounds=6, few=3, seconds=3.0, most=12.0, round_seconds=5.0, turn=0.5, patience=60.0)
CPU_VIDEO, GPU_VIDEO = 48, 240  # pixels of made clips: on a GPU, decoding should cost what it costs
HEAVY_CPU_LIMITS = replace(LIMITS, rounds=3, seconds=0.0, round_seconds=20.0, patience=120.0)
GPU_LIMITS = replace(LIMITS, patience=150.0)
QUICK = Limits(rounds=3, seconds=0.5, most=1.0, turn=0.2)


def training(
    model: str,
    *,
    batch: int,
    limits: Limits = LIMITS,
    videos: Path | None = None,
    backends: Sequence[str] = tuple(BACKENDS),
    ways: Sequence[TrainingVariant] | None = None,
    options: dict[str, Any] | None = None,
    workers: int = 2,
    on_gpu: bool = False,
    done: Callable[[Row], object],
) -> None:
    """Measures a model's training in every way, backend by backend, the ways of one backend taking turns.

    Args:
        model: name in the zoo.
        batch: clips in a step.
        limits: how long.
        videos: a folder of clips, one sub-folder per action; without it, clips come from memory alone.
        backends: of Keras; those that are not installed are left out.
        ways: the first is what the others are compared with; those of this device if left out.
        options: of `create_model`, for small tries.
        workers: threads that read clips.
        on_gpu: whether the backend may use the GPU.
        done: called with each row as soon as it is measured.

    Raises:
        ClipzooError: no such model, or no clips.
    """
    found = model_info(model)
    settings = dict(options or {})
    for backend in backends:
        if not find_spec(backend):
            continue
        environment = keras_environment(backend, gpu=on_gpu)
        contestants = [
            Contestant(
                row=Row(
                    model=model,
                    runner=BACKENDS[backend],
                    settings=way.settings,
                    batch=batch,
                    frames=settings.get("frames", found.spec.frames),
                ),
                make=TrainingRunner,
                arguments={
                    "model": model,
                    "options": settings,
                    "way": way,
                    "videos": videos,
                    "workers": workers,
                    "steps": GPU_STEPS if on_gpu else CPU_STEPS if light(model) else HEAVY_CPU_STEPS,
                    "gpu": on_gpu,
                },
                environment=environment,
            )
            for way in ways or (GPU_WAYS if on_gpu else WAYS)
            if videos is not None or way.source == "memory"
        ]
        measure(contestants, [batch], limits=limits, done=done, on_gpu=on_gpu)


def batch_for(model: str, *, on_gpu: bool) -> int:
    """Clips in a step: fewer of those that cost much, so that a step ends within a round's limit."""
    return (32 if light(model) else 8) if on_gpu else (2 if light(model) else 1)


def limits_for(model: str, *, on_gpu: bool) -> Limits:
    """How long: the big two-stream models take a minute to compile on two cores, and ten seconds for a step."""
    return GPU_LIMITS if on_gpu else LIMITS if light(model) else HEAVY_CPU_LIMITS


def light(model: str) -> bool:
    """Whether a step of a few clips ends within seconds on a CPU."""
    return (model_info(model).multiply_adds or 0) < 20e9


def suite(
    models: Annotated[list[str] | None, typer.Option("--models", help="Names; the whole zoo if left out.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="jax or tensorflow; those installed if left out.")] = None,
    videos: Annotated[Path | None, typer.Option(help="Clips, a sub-folder per action; made ones if left out.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Clips in a step; by the model's cost if left out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read clips; one a core if left out.")] = None,
    provider: Annotated[str, typer.Option(help="cpu, or cuda: let the backends use the GPU.")] = "cpu",
    precision: Annotated[list[str] | None, typer.Option(help="float32, mixed bfloat16; both if left out.")] = None,
    clips_from: Annotated[
        list[str] | None, typer.Option("--clips", help="memory, disk cache, videos; all if left out.")
    ] = None,
    set_: OptionPairs = [],  # noqa: B006  Typer copies it
    quick: Quick = False,
    json_file: ResultFile = None,
) -> None:
    """Measure training steps on JAX and TensorFlow: from memory, from the disk cache, from videos."""
    console = text_console()
    installed = [name for name in BACKENDS if find_spec(name)]
    if not installed:
        raise ClipzooError("neither jax nor tensorflow is installed here, and Keras trains on no other: install one")
    unknown = sorted(set(backend or ()) - set(BACKENDS))
    if unknown:
        raise ClipzooError(f"--backend {', '.join(unknown)} must be jax or tensorflow")
    absent = sorted(set(backend or ()) - set(installed))
    if absent:
        raise ClipzooError(f"--backend {', '.join(absent)} is not installed here")
    if provider not in ("cpu", "cuda"):
        raise ClipzooError(f"--provider {provider} must be cpu or cuda: Keras trains on no other")
    on_gpu = provider == "cuda"
    if on_gpu and gpu() is None:
        raise ClipzooError("provider 'cuda': no NVIDIA GPU is found on this host (by nvidia-ml-py, of clipzoo[bench])")
    names = models or (["convnet_gru"] if quick else list_models())
    for name in names:
        model_info(name)
    for what, given, known in (
        ("--precision", precision, PRECISIONS),
        ("--clips", clips_from, get_args(Source)),
    ):
        for value in given or ():
            choice(what, value, known)
    ways = [
        way
        for way in (GPU_WAYS if on_gpu else WAYS)
        if (not precision or way.precision in precision) and (not clips_from or way.source in clips_from)
    ]
    options = parse_options(set_)
    if options:
        _check_options(names, options, backend=installed[0])
    clips = (videos or motion_clips(GPU_VIDEO if on_gpu else CPU_VIDEO)).resolve()
    index_folder(clips)
    with measuring("training", json_file, console, on_gpu=on_gpu, quick=quick, try_out=bool(options)) as results:
        for name in names:
            for one in backend or installed:
                console.print(f"{name}: measuring on {BACKENDS[one]}, all ways taking turns")
                training(
                    name,
                    batch=batch or batch_for(name, on_gpu=on_gpu),
                    limits=QUICK if quick else limits_for(name, on_gpu=on_gpu),
                    videos=clips,
                    backends=[one],
                    ways=ways,
                    options=options,
                    workers=workers or cores(),
                    on_gpu=on_gpu,
                    done=results.add,
                )


def _check_options(models: Sequence[str], options: dict[str, Any], *, backend: str) -> None:
    """In a process of its own: the one that measures others imports no Keras."""
    for model in models:
        try:
            arguments = {"name": model, "classes": CLASSES, **options}
            Worker(create_model, arguments, environment=keras_environment(backend, gpu=False)).close()
        except WorkerError as error:
            raise ClipzooError(f"--set {', '.join(options)}: {error}") from None


if __name__ == "__main__":
    run_script(suite)
