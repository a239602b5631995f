"""An exported file on a stream of frames: an answer every now and then, of the newest of them."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from export.prediction import Prediction, predicted
from export.runtime import Classifier
from export.session import Provider
from export.stateful import Stateful, open_exported
from export.steps import Steps
from export.timeline import SECONDS
from loaders.check import number
from loaders.clip import require_rgb
from loaders.errors import ClipzooError


class _Network(Protocol):
    """What computes: a file that takes clips, or one that takes frames and states."""

    path: Path

    def keep(self, pixels: np.ndarray, states: dict[str, np.ndarray]) -> np.ndarray:
        """What is kept of a step; states may be changed."""

    def answer(self, kept: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities or numbers, (labels,), for what was kept of the steps of a clip, by input."""

    def states(self) -> dict[str, np.ndarray]:
        """At the beginning of a stream."""


class _Clips:
    """A file that takes clips: the steps are kept as they are."""

    def __init__(self, classifier: Classifier) -> None:
        self.path, self._classifier = classifier.path, classifier

    def keep(self, pixels: np.ndarray, states: dict[str, np.ndarray]) -> np.ndarray:
        return pixels

    def answer(self, kept: Mapping[str, np.ndarray]) -> np.ndarray:
        found = self._classifier.scores({name: steps[None] for name, steps in kept.items()}, names=["the stream"])
        return found[self._classifier.outputs[-1]][0]

    def states(self) -> dict[str, np.ndarray]:
        return {}


@dataclass
class _Memory:
    """All that changes while frames enter."""

    steps: dict[str, Steps]
    kept: dict[str, deque[np.ndarray]]
    states: dict[str, np.ndarray]
    starts: deque[float | None]  # of the steps of the first input
    frames: int = 0
    seconds: float | None = None  # of the newest frame
    wait: int = 0  # steps until the next answer is due


@dataclass(frozen=True)
class StreamState:
    """Where a stream stands; `Stream.restore` takes it up again, and may do so in another process.

    Attributes:
        file: SHA-256 of the ONNX file that it is of.
        memory: what is known of the frames so far.
    """

    file: str
    memory: _Memory = field(repr=False)


class Stream:
    """An exported model on frames that enter one by one.

    A frame is kept every `interval` seconds, or every `stride` frames, of the spec; of samplings that take a whole
    clip, `frames` of them in `window` seconds. Whatever enters between is left, or is what a kept one is compared with.

    | the file | what an answer is |
    |---|---|
    | takes clips | that of `Classifier` for the last `frames` kept frames, which a ring holds |
    | takes frames, by `to_onnx(stream=True)` | the consensus of the last `frames` kept: the mean of their logits |

    The second computes each frame once, and so answers at each for the work of one. For the first `frames` kept frames
    its answer is that of the clip-wise model for the same frames, within 1e-4. Later it is not: frames of the window
    know of those before it, where the clip-wise model sees zeros.

    Args:
        path: the ONNX file.
        fps: frames a second of the source, where it is known. Stride and interval are then what they are for a file,
            and frames need no time.
        window: seconds of a clip, of samplings that take a whole one; 2 if left out.
        hop: seconds between two answers; half a clip if left out, and each kept frame for a file that takes frames.
        provider: as of `Classifier`.
        threads: likewise.
        provider_options: likewise.
        verify: likewise.

    Attributes:
        metadata: the file's contract.
        stateful: whether the file takes frames.

    Raises:
        ClipzooError: as `Classifier`; an argument out of range; a window for dense sampling; a hop where nothing says
            how long a step is.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | None = None,
        window: float | None = None,
        hop: float | None = None,
        provider: Provider = "cpu",
        threads: int | None = None,
        provider_options: Mapping[str, str] | None = None,
        verify: bool = True,
    ) -> None:
        for what, value, most, unit in (
            ("fps", fps, 1e6, ""),
            ("window", window, 86400, "seconds"),
            ("hop", hop, 86400, "seconds"),
        ):
            if value is not None:
                number(what, value, above=0, most=most, unit=unit)
        opened = open_exported(
            path, verify=verify, provider=provider, threads=threads, provider_options=provider_options
        )
        self.metadata = opened.metadata
        self.stateful = isinstance(opened, Stateful)
        self._network: _Network = opened if isinstance(opened, Stateful) else _Clips(opened)
        specs = self.metadata.specs
        if window is not None and all(spec.sampling == "dense" for spec in specs.values()):
            raise ClipzooError(
                f"window ({window:g} s) is for samplings that take a whole clip; dense sampling says itself how long "
                "one is"
            )
        self._fps, self._window = fps, SECONDS if window is None else window
        self.reset()
        first, spec = next(iter(self._memory.steps.values())), next(iter(specs.values()))
        if hop is None:
            self._hop = 1 if self.stateful else max(1, spec.frames // 2)
        elif first.interval is None:
            raise ClipzooError(f"hop ({hop:g} s): a stride of {spec.stride} frames has no time: give fps too")
        else:
            self._hop = max(1, round(hop / first.interval))

    def reset(self) -> None:
        """Begins anew, as if no frame had entered."""
        specs = self.metadata.specs
        self._memory = _Memory(
            steps={name: Steps(spec, fps=self._fps, window=self._window) for name, spec in specs.items()},
            kept={name: deque(maxlen=spec.frames) for name, spec in specs.items()},
            states=self._network.states(),
            starts=deque(maxlen=next(iter(specs.values())).frames),
        )

    def push(self, frame: np.ndarray, *, seconds: float | None = None) -> Prediction | None:
        """Takes a frame, and answers where an answer is due: `take`, then `answer`.

        Returns:
            The answer, with start and end of its frames, seconds; None where none is due.
        """
        return self.answer() if self.take(frame, seconds=seconds) else None

    def take(self, frame: np.ndarray, *, seconds: float | None = None) -> bool:
        """Takes a frame without an answer; a file that takes frames computes it here, if it is kept.

        Args:
            frame: uint8 (height, width, 3), RGB, any size.
            seconds: its time, from any beginning, not before that of the frame before; by `fps`, if left out.

        Returns:
            Whether an answer is due: `frames` are kept, and the last answer is a hop ago.

        Raises:
            ClipzooError: no such frame, a time that falls or that is missing, or as `Classifier.scores`.
        """
        require_rgb(frame)
        memory = self._memory
        if seconds is None and self._fps is not None:
            seconds = memory.frames / self._fps
        if seconds is not None:
            number("seconds", seconds)
            if memory.seconds is not None and seconds < memory.seconds:
                raise ClipzooError(
                    f"seconds ({seconds:g}) must not be before the frame before ({memory.seconds:g}); reset() begins "
                    "anew"
                )
        for place, (name, steps) in enumerate(memory.steps.items()):
            step = steps.take(frame, seconds)
            if step is None:
                continue
            memory.kept[name].append(self._network.keep(step.pixels, memory.states))
            if place == 0:
                memory.starts.append(step.seconds)
                memory.wait -= 1
        memory.frames, memory.seconds = memory.frames + 1, seconds
        return memory.wait <= 0 and self._full

    def answer(self) -> Prediction:
        """What the model says of the last `frames` kept frames, due or not.

        Raises:
            ClipzooError: there are not so many yet, or as `Classifier.scores`.
        """
        memory = self._memory
        if not self._full:
            have = {name: f"{len(kept)} of {kept.maxlen}" for name, kept in memory.kept.items()}
            raise ClipzooError(f"{self._network.path}: no answer yet, for it has {', '.join(have.values())} frames")
        row = self._network.answer({name: np.stack(kept) for name, kept in memory.kept.items()})
        memory.wait = self._hop
        return replace(predicted(row, self.metadata), start=memory.starts[0], end=memory.seconds)

    def warm_up(self) -> None:
        """Computes once and forgets it, so that the first answer takes no longer than the others; the stream begins
        anew."""
        for name, spec in self.metadata.specs.items():
            blank = self._network.keep(np.zeros(spec.shape[1:], np.uint8), self._memory.states)
            self._memory.kept[name].extend([blank] * spec.frames)
        self._network.answer({name: np.stack(kept) for name, kept in self._memory.kept.items()})
        self.reset()

    @property
    def state(self) -> StreamState:
        """Where the stream stands; a copy, which later frames do not change."""
        return StreamState(self._digest, copy.deepcopy(self._memory))

    def restore(self, state: StreamState) -> None:
        """Goes on where `state` stood.

        Raises:
            ClipzooError: it is no state, or that of another file.
        """
        if not isinstance(state, StreamState):
            raise ClipzooError(f"{state!r} is no state of a stream; give what `state` of a Stream gave")
        if state.file != self._digest:
            raise ClipzooError(
                f"{self._network.path}: the state is of another file, SHA-256 {state.file[:12]}... and not "
                f"{self._digest[:12]}...; restore it on the file that gave it"
            )
        self._memory = copy.deepcopy(state.memory)

    @property
    def spacing(self) -> int:
        """How many frames of the source come for one that is kept, where `fps` is known; else 1."""
        interval = next(iter(self._memory.steps.values())).interval
        return max(1, round(interval * self._fps)) if interval and self._fps else 1

    @property
    def _full(self) -> bool:
        return all(len(kept) == kept.maxlen for kept in self._memory.kept.values())

    @cached_property
    def _digest(self) -> str:
        with self._network.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
