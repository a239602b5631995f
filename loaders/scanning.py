"""Every file of an index decoded once, each in a process that can be stopped: what is broken, and the true counts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from pebble import ProcessExpired, ProcessPool

from loaders.atomic import write_text
from loaders.check import number, whole
from loaders.decode import check_readable, remember_count
from loaders.errors import ClipzooError, VideoError
from loaders.index import ClipIndex, OnError
from loaders.opening import NO_FRAME, codec_name, open_video, require_file
from loaders.spans import lack
from loaders.spec import ClipSpec

SHORT = 8  # frames; fewer are worth a look
SCHEMA = 1
_JITTER = 0.05  # of a frame; time stamps that are further off are no constant rate


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """What decoding a whole file showed.

    Attributes:
        file: relative to the root of the index.
        bytes: its size.
        modified: its time of change, ns.
        frames: that can be decoded.
        header_frames: that the header claims; -1 if nothing.
        fps: frames a second, as the header says.
        seconds: frames / fps; 0 where there is no fps.
        height: rows as decoded, rotation applied, pixels.
        width: columns.
        rotation: that the metadata asks for, degrees.
        variable_rate: whether frames are not one frame time apart.
        codec: four characters.
        problem: why no clip can be read; None if one can.
    """

    file: str
    bytes: int = 0
    modified: int = 0
    frames: int = 0
    header_frames: int = -1
    fps: float = 0.0
    seconds: float = 0.0
    height: int = 0
    width: int = 0
    rotation: int = 0
    variable_rate: bool = False
    codec: str = ""
    problem: str | None = None

    @property
    def notes(self) -> list[str]:
        """What is unusual about the file, each a few words."""
        if self.problem:
            return [self.problem]
        notes = []
        if self.frames != self.header_frames:
            notes.append(f"header says {self.header_frames}")
        if self.frames < SHORT:
            notes.append("short")
        if self.variable_rate:
            notes.append("variable rate")
        if self.rotation:
            notes.append(f"rotated by {self.rotation}")
        return notes


@dataclass(frozen=True)
class Scan:
    """What scanning the files of an index showed.

    Attributes:
        root: the folder that the files are relative to.
        files: one for each file.
    """

    root: Path
    files: tuple[Scanned, ...]

    def known(self, index: ClipIndex) -> dict[str, Scanned]:
        """What is known of the files of an index that have not changed since, by their names there."""
        files = {clip.file for clip in index}
        return {s.file: s for s in self.files if s.file in files and _unchanged(index.root / s.file, s)}

    def apply(
        self,
        index: ClipIndex,
        on_error: OnError = "skip",
        *,
        specs: Mapping[str, ClipSpec] | None = None,
        workers: int = 2,
    ) -> tuple[ClipIndex, list[VideoError]]:
        """Leaves out what cannot be read, and notes the true counts of the others: nothing is opened or counted again.

        Files that have changed since the scan, or were not in it, are opened, as `ClipIndex.readable` does it.

        Args:
            index: the clips.
            on_error: `skip` leaves out clips that cannot be read, `fail` raises for the first.
            specs: input name -> what will be read for it: clips with too few frames for that cannot be read either.
            workers: threads.

        Returns:
            The other clips, and the error of each left out; raises as `ClipIndex.without` does.
        """
        known = self.known(index)
        problems = {s.file: VideoError(index.root / s.file, s.problem) for s in known.values() if s.problem}
        for scanned in known.values():
            if not scanned.problem:
                remember_count(index.root / scanned.file, scanned.bytes, scanned.modified, scanned.frames)
        strange = [place for place, clip in enumerate(index) if clip.file not in known]
        opened = check_readable(
            [index.path(place) for place in strange],
            specs=specs,
            spans=[index[place].span for place in strange],
            workers=workers,
        )
        errors: list[VideoError | None] = []
        unknown = iter(opened)
        for clip in index:
            if clip.file in known and clip.file not in problems:
                s = known[clip.file]
                errors.append(lack(index.root / s.file, s.frames, s.fps, clip.span, (specs or {}).values()))
            else:
                errors.append(problems[clip.file] if clip.file in known else next(unknown))
        return index.without(errors, on_error)

    def save(self, path: str | Path) -> None:
        """Writes JSON."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """What `save` writes."""
        return {"schema": SCHEMA, "root": str(self.root), "files": [asdict(scanned) for scanned in self.files]}

    @classmethod
    def load(cls, path: str | Path) -> Scan:
        """Reads what `save` wrote.

        Raises:
            ClipzooError: no such file, or not a scan.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
            if fields["schema"] != SCHEMA:
                raise ClipzooError(f"{path}: is a scan of schema {fields['schema']}, not {SCHEMA}; scan again")
            return cls(Path(fields["root"]), tuple(Scanned(**scanned) for scanned in fields["files"]))
        except OSError as error:
            raise ClipzooError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ClipzooError):
                raise
            raise ClipzooError(f"{path}: is not the JSON of `clipzoo scan` ({error!r})") from None


def scan(
    index: ClipIndex, *, workers: int = 2, time_limit: float = 60.0, advance: Callable[[], object] = lambda: None
) -> Scan:
    """Decodes every file of an index once.

    The processes are spawned, so a script that calls this needs `if __name__ == "__main__":`.

    Args:
        index: whose files; a file with several clips is scanned once.
        workers: processes.
        time_limit: seconds for a file; one that takes longer is stopped and reported (mmaction2#472).
        advance: called after each file, to show progress.

    Raises:
        ClipzooError: an argument out of range.
    """
    whole("scan workers", workers)
    if time_limit != math.inf:
        number("scan time_limit", time_limit, above=0, unit="seconds")
    files = list(dict.fromkeys(clip.file for clip in index))
    found: list[Scanned] = []
    pool: Any = ProcessPool(max_workers=min(workers, max(1, len(files))), context=get_context("spawn"))
    try:
        answers = [pool.schedule(scan_file, (str(index.root / file), file), timeout=time_limit) for file in files]
        for file, answer in zip(files, answers, strict=True):
            try:
                found.append(answer.result())
            except NotInTime:
                found.append(_failed(index.root, file, f"was not decoded within {time_limit:g} s"))
            except ProcessExpired as error:
                why = f"ends the process that decodes it (exit code {error.exitcode})"
                found.append(_failed(index.root, file, why))
            advance()
        pool.close()
    finally:
        pool.stop()  # what is not done when somebody interrupts is not waited for
        pool.join()
    return Scan(index.root, tuple(found))


def scan_file(path: str, file: str) -> Scanned:
    """Decodes one file to its end.

    Args:
        path: where it lies.
        file: how it is called in the answer.
    """
    try:
        stat = require_file(path)
    except VideoError as error:
        return Scanned(file=file, problem=error.reason)
    known = Scanned(file=file, bytes=stat.st_size, modified=stat.st_mtime_ns)
    try:
        capture = open_video(path)
    except VideoError as error:
        return replace(known, problem=error.reason)
    try:
        return _decode(capture, known)
    except cv2.error as error:
        return replace(known, problem=f"OpenCV cannot decode it ({error.err or error.msg})")
    finally:
        capture.release()


def _decode(capture: cv2.VideoCapture, known: Scanned) -> Scanned:
    frames, height, width = 0, 0, 0
    times = []
    while capture.grab():
        if not frames:
            ok, frame = capture.retrieve()
            if not ok:
                break
            height, width = frame.shape[:2]
        frames += 1
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    fps = capture.get(cv2.CAP_PROP_FPS)
    fps = fps if 0 < fps < 1e6 else 0.0
    steps = [(second - first) * fps for first, second in pairwise(times)]
    codec = codec_name(capture)
    return replace(
        known,
        frames=frames,
        header_frames=int(capture.get(cv2.CAP_PROP_FRAME_COUNT)),
        fps=fps,
        seconds=frames / fps if fps else 0.0,
        height=height,
        width=width,
        rotation=int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360,
        variable_rate=any(abs(step - 1) > _JITTER for step in steps),
        codec=codec,
        problem=None if frames else NO_FRAME % codec,
    )


def _failed(root: Path, file: str, problem: str) -> Scanned:
    try:
        stat = (root / file).stat()
    except OSError:
        return Scanned(file=file, problem=problem)
    return Scanned(file=file, bytes=stat.st_size, modified=stat.st_mtime_ns, problem=problem)


def _unchanged(path: Path, scanned: Scanned) -> bool:
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return scanned.problem is not None
    return (stat.st_size, stat.st_mtime_ns) == (scanned.bytes, scanned.modified)


def unusual(files: Iterable[Scanned]) -> Sequence[Scanned]:
    """The files with something to say about them, broken ones first."""
    return sorted(
        (scanned for scanned in files if scanned.notes), key=lambda scanned: (not scanned.problem, scanned.file)
    )
