"""How fast clips are read, beside other libraries on the same files: `python -m benchmarks.loading VIDEOS`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.harness import decoders
from benchmarks.harness.groups import Contestant, Limits, measure
from benchmarks.harness.readers import READERS, EpochRunner, FilesRunner, FlowRunner, IndexRunner
from benchmarks.harness.records import Row
from benchmarks.harness.runners import keras_environment
from benchmarks.harness.script import ResultFile, measuring, run_script
from loaders.lists import index_folder
from loaders.sampling import uniform
from loaders.spec import ClipSpec, FlowMethod, FlowSpec
from loaders.terminal import text_console

COLD = ClipSpec(frames=5, height=112, width=112)
FLOWS: dict[str, FlowMethod] = {"Farneback": "farneback", "DIS": "dis"}
INDEXED = 100_000  # clips of a list


def loading(
    videos: Path, *, workers: int, clips: int, minutes: float, limits: Limits, done: Callable[[Row], object]
) -> None:
    """Measures the loaders; what is compared takes turns, each in a process of its own.

    Args:
        videos: a folder of clips, one sub-folder per action.
        workers: threads that read.
        clips: for cold reading and flow: this many at the most, evenly over the folder.
        minutes: length of the long file.
        limits: how long.
        done: called with each row as soon as it is measured. Its `model` is what was read: `cold`, every file by each
            reader; `cached`, a ClipDataset's epoch from its caches and decoding; `sparse`, 5 frames out of a long file
            of constant rate, with whether they are those of a full decode, bit for bit; `flow`, stacks of 5 fields at
            25 segments, 224x224, cropped from 256 rows, on one thread; `index`, a list of 100,000 clips.
    """
    paths = [path.resolve() for path in index_folder(videos).paths]
    count, threads = len(paths), {"workers": str(workers)}
    chosen = [paths[i * count // clips] for i in range(clips)] if count > clips else paths

    def files(what: str, readers: list[str], of: list[Path], **facts: object) -> None:
        contestants = []
        for reader in readers:
            row = Row(
                model=what,
                runner=reader,
                settings=threads,
                batch=len(of),
                frames=COLD.frames,
                facts=facts,
            )
            arguments = {"paths": of, "reader": reader, "spec": COLD, "workers": workers}
            contestants.append(Contestant(row=row, make=FilesRunner, arguments=arguments))
        measure(contestants, [len(of)], limits=limits, done=done)

    files("cold", list(READERS), chosen)
    epochs = [
        Contestant(
            row=Row(model="cached", runner=cache, settings=threads, batch=count, frames=COLD.frames),
            make=EpochRunner,
            arguments={"videos": videos.resolve(), "cache": cache, "spec": COLD, "workers": workers},
            environment=keras_environment("jax" if find_spec("jax") else "tensorflow", gpu=False),
        )
        for cache in ("none", "disk", "memory")
    ]
    measure(epochs, [count], limits=limits, done=done)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        frames = write_long(path, minutes=minutes)
        every = decoders.decode_fully(path, COLD)
        taken = np.stack([every[number] for number in uniform(frames, COLD.frames)])
        equal = bool((decoders.clipzoo(COLD)(path) == taken).all())
        del every
        files("sparse", ["clipzoo", "decord"], [path], file_frames=frames, equal_to_full_decode=equal)
    flows = [
        Contestant(
            row=Row(model="flow", runner=name, batch=len(chosen[:6]), frames=25),
            make=FlowRunner,
            arguments={"paths": chosen[:6], "spec": flow_spec(method)},
        )
        for name, method in FLOWS.items()
    ]
    measure(flows, [len(chosen[:6])], limits=limits, done=done)
    index = Contestant(row=Row(model="index", runner="CSV", batch=INDEXED), make=IndexRunner, arguments={})
    measure([index], [INDEXED], limits=limits, done=done)


def flow_spec(method: FlowMethod) -> ClipSpec:
    """The paper's input of a flow stream."""
    return ClipSpec(
        frames=25, height=224, width=224, resize="fit", resize_to=256, modality="flow", stack=5,
        sampling="segments", flow=FlowSpec(method=method),
    )  # fmt: skip


def write_long(path: Path, *, minutes: float, fps: int = 30) -> int:
    """Writes an MPEG-4 file of constant rate whose frames are all different. Returns how many there are."""
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (240, 640, 3), np.uint8), (0, 0), 5)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (320, 240))
    count = round(minutes * 60 * fps)
    for number in range(count):
        frame = np.ascontiguousarray(wide[:, number % 320 : number % 320 + 320])
        writer.write(cv2.putText(frame, str(number), (10, 120), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 3))
    writer.release()
    return count


def main(
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    workers: Annotated[int, typer.Option(min=1)] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    clips: Annotated[int, typer.Option(min=1, help="For cold reading: this many, evenly over the folder.")] = 60,
    minutes: Annotated[float, typer.Option(help="Length of the long file.")] = 10.0,
    json_file: ResultFile = None,
) -> None:
    """Measure the loaders: cold, cached, sparse, flow, memory."""
    console = text_console()
    index_folder(videos)
    limits = Limits(rounds=rounds, few=rounds, seconds=0.0, most=0.0, turn=0.0, round_seconds=inf, patience=3600.0)
    with measuring("loading", json_file, console) as results:
        loading(videos, workers=workers, clips=clips, minutes=minutes, limits=limits, done=results.add)


if __name__ == "__main__":
    run_script(main)
