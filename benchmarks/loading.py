"""How fast clips are read, beside decord on the same files and frames: `python -m benchmarks.loading VIDEOS`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from loaders.atomic import write_text
from loaders.canvas import INTERPOLATIONS
from loaders.clip import read_clip
from loaders.lists import index_folder
from loaders.sampling import sample
from loaders.spec import ClipSpec
from loaders.terminal import text_console


def compare(paths: Sequence[Path], spec: ClipSpec, *, workers: int, rounds: int) -> dict[str, Any]:
    """Reads every file once a round by either way, alternating.

    Args:
        paths: the video files.
        spec: what to read of each.
        workers: threads that read files side by side; each decoder uses one thread a file.
        rounds: of each way, after one that is not counted.

    Returns:
        Clips a second of the median round by way, and the median of the paired ratios clipzoo / decord.
    """
    ways: dict[str, Callable[[Path], np.ndarray]] = {"clipzoo": lambda path: read_clip(path, spec)}
    ways["decord"] = _decord(spec)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(workers) as pool:
        for number in range(rounds + 1):
            for name, read in ways.items():
                start = time.perf_counter()
                for clip in pool.map(read, paths):
                    assert clip.shape == spec.shape
                if number:
                    seconds[name].append(time.perf_counter() - start)
    ratios = [peer / own for own, peer in zip(seconds["clipzoo"], seconds["decord"], strict=True)]
    return {
        "clips": len(paths),
        "spec": spec.to_dict(),
        "workers": workers,
        "rounds": rounds,
        "opencv": cv2.__version__,
        "clips_per_second": {name: len(paths) / median(values) for name, values in seconds.items()},
        "ratio": median(ratios),
        "seconds": seconds,
    }


def _decord(spec: ClipSpec) -> Callable[[Path], np.ndarray]:
    """decord's exact random access to the same frames, resized by the same OpenCV call."""
    from decord import VideoReader, cpu

    def read(path: Path) -> np.ndarray:
        reader = VideoReader(str(path), ctx=cpu(0), num_threads=1)
        frames = reader.get_batch(sample(len(reader), spec)).asnumpy()
        size = (spec.width, spec.height)
        return np.stack([cv2.resize(frame, size, interpolation=INTERPOLATIONS[spec.interpolation]) for frame in frames])

    return read


def main(
    videos: Annotated[Path, typer.Argument(help="Folder of clips, one sub-folder per action.")],
    workers: Annotated[int, typer.Option(min=1)] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    clips: Annotated[int, typer.Option(min=1, help="Read this many, evenly over the folder.")] = 60,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures and raw samples here.")] = None,
) -> None:
    """Read 5 uniform frames at 112x112 of each clip, by clipzoo and by decord."""
    paths = index_folder(videos).paths
    chosen = [paths[i * len(paths) // clips] for i in range(clips)] if len(paths) > clips else paths
    result = compare(chosen, ClipSpec(frames=5, height=112, width=112), workers=workers, rounds=rounds)
    console = text_console()
    for name, rate in result["clips_per_second"].items():
        console.print(f"{name:8} {rate:7.1f} clips/s")
    console.print(f"clipzoo / decord {result['ratio']:.2f} (median of {rounds} alternating rounds, {workers} workers)")
    if json_file:
        write_text(json_file, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
