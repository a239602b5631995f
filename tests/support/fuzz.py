"""Damaged files by the thousand: `python -m tests.support.fuzz CLIPS`. Exit status 1 if one is read wrongly."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from pebble import ProcessExpired, ProcessPool

import loaders.decode
from benchmarks.harness.decoders import decode_fully
from loaders.atomic import write_text
from loaders.clip import read_clip
from loaders.errors import VideoError
from loaders.sampling import uniform
from loaders.spec import ClipSpec
from loaders.terminal import bar, text_console

SPECS = (ClipSpec(frames=2, height=32, width=48), ClipSpec(frames=7, height=32, width=48))
_LONG = loaders.decode.LONG
KINDS = ("truncated", "bytes flipped", "block zeroed", "header damaged", "block twice", "wrong extension", "whole",
         "empty", "a folder", "no permission", "newline in its name")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One damaged file.

    Attributes:
        path: where it lies.
        kind: what was done to it.
        source: the file that it was made from.
        outcome: `read` (the frames of a full decode), `refused`, `by time stamp` (sought in a damaged file: the frames
            whose time stamps are those of their numbers, where a full decode drops or conceals some), or what went
            wrong.
    """

    path: Path
    kind: str
    source: str
    outcome: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is a fault of the loaders."""
        return self.outcome not in OUTCOMES


OUTCOMES = ("read", "by time stamp", "refused")
DAMAGED = KINDS[:5]


def mutate(source: Path, folder: Path, kind: str, rng: np.random.Generator) -> Path:
    """Writes a damaged copy of a file into `folder`. Equal states of `rng` give equal bytes."""
    data = bytearray(source.read_bytes())
    size = len(data)
    name = f"{source.stem}-{rng.integers(1 << 40):x}"
    path = folder / f"{name}{source.suffix}"
    at = int(rng.integers(size))
    length = int(min(size - at, 10 ** rng.uniform(0, 5)))
    match kind:
        case "truncated":
            data = data[:at]
        case "bytes flipped":
            for place in rng.integers(0, size, int(10 ** rng.uniform(0, 3))):
                data[place] ^= 1 << int(rng.integers(8))
        case "block zeroed":
            data[at : at + length] = bytes(length)
        case "header damaged":
            for place in rng.integers(0, min(size, 4096), int(rng.integers(1, 20))):
                data[place] = int(rng.integers(256))
        case "block twice":
            data[at:at] = data[at : at + length]
        case "wrong extension":
            path = folder / f"{name}{rng.choice(['.mp4', '.avi', '.mkv', '.gif', '.ts', '.png', ''])}"
        case "empty":
            data = bytearray()
        case "a folder":
            path.mkdir()
            return path
        case "newline in its name":
            path = folder / f"{name}\nrm -rf {source.suffix}"
    path.write_bytes(bytes(data))
    if kind == "no permission":
        path.chmod(0)
    return path


def attempt(path: str, number: int, kind: str) -> str:
    """Reads one file, and compares it with a full decode; runs in a process of its own."""
    cv2.setNumThreads(1)
    spec = SPECS[number % len(SPECS)]
    loaders.decode.LONG = _LONG
    try:
        clip = read_clip(path, spec)
    except VideoError as error:
        return "refused" if path in str(error) else f"refused without its name: {error}"
    except Exception as error:
        return f"raised {error!r}"
    if clip.shape != spec.shape or clip.dtype != np.uint8:
        return f"gave {clip.dtype} {clip.shape}"
    frames = decode_fully(path, spec)
    expected = np.stack([frames[place] for place in uniform(len(frames), spec.frames)])
    if (clip == expected).all():
        return "read"
    loaders.decode.LONG = 1 << 60  # no seeking
    if kind in DAMAGED and (read_clip(path, spec) == expected).all():
        return "by time stamp"
    return f"gave other frames than a decode of all {len(frames)}"


def fuzz(
    sources: Sequence[Path], *, mutants: int, seed: int, workers: int = 2, time_limit: float = 60.0
) -> list[Mutant]:
    """Makes damaged files and reads them, each under a time limit.

    Args:
        sources: files to damage.
        mutants: how many to make.
        seed: of all of it.
        workers: processes.
        time_limit: seconds for a file.
    """
    rng = np.random.default_rng(seed)
    console = text_console(stderr=True)
    done = []
    with tempfile.TemporaryDirectory() as text, ProcessPool(workers, context=get_context("spawn")) as pool:
        folder = Path(text)
        with bar(console, "reading damaged files", mutants) as advance:
            for start in range(0, mutants, 50):  # few at a time: they are on the disk
                batch = []
                for number in range(start, min(mutants, start + 50)):
                    kind, source = KINDS[number % len(KINDS)], sources[int(rng.integers(len(sources)))]
                    path = mutate(source, folder, kind, rng)
                    future = pool.schedule(attempt, (str(path), number, kind), timeout=time_limit)
                    batch.append((Mutant(path=path, kind=kind, source=source.name), future))
                for mutant, future in batch:
                    try:
                        outcome = future.result()
                    except NotInTime:
                        outcome = f"hung for {time_limit:g} s"
                    except ProcessExpired as error:
                        outcome = f"ended its process ({error.exitcode})"
                    if mutant.kind == "no permission" and os.geteuid() == 0 and outcome == "read":
                        outcome = "refused"  # nothing is forbidden to root
                    done.append(Mutant(path=mutant.path, kind=mutant.kind, source=mutant.source, outcome=outcome))
                    if not done[-1].wrong:
                        shutil.rmtree(mutant.path) if mutant.path.is_dir() else mutant.path.unlink()
                    advance()
    return done


def main(
    clips: Annotated[Path, typer.Argument(help="Folder of video files to damage.")],
    mutants: Annotated[int, typer.Option(min=1)] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what happened here.")] = None,
) -> None:
    """Damage files, read them, and compare each clip with a full decode."""
    console = text_console()
    sources = sorted(path for path in clips.iterdir() if path.is_file())
    found = fuzz(sources, mutants=mutants, seed=seed, workers=workers)
    counts = Counter((mutant.kind, "wrong" if mutant.wrong else mutant.outcome) for mutant in found)
    for kind in KINDS:
        outcomes = (f"{what} {counts[kind, what]:4d}" for what in (*OUTCOMES, "wrong"))
        console.print(f"{kind:20} " + "  ".join(outcomes))
    wrong = [mutant for mutant in found if mutant.wrong]
    for mutant in wrong:
        console.print(f"wrong: {mutant.path.name!r} ({mutant.kind}, of {mutant.source}): {mutant.outcome}")
    console.print(f"{len(found)} files from seed {seed}: {len(wrong)} read wrongly")
    if json_file:
        table = {kind: {what: counts[kind, what] for what in (*OUTCOMES, "wrong")} for kind in KINDS}
        figures = {"mutants": len(found), "seed": seed, "outcomes": table, "wrong": [m.outcome for m in wrong]}
        write_text(json_file, json.dumps(figures, indent=1) + "\n")
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
