"""The steps of one input out of frames that enter one by one: which are kept, and what each step is made of."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from loaders.clip import clip_from_frames
from loaders.errors import ClipzooError
from loaders.sampling import stride_of
from loaders.spec import ClipSpec


class Step(NamedTuple):
    """A step of a clip.

    Attributes:
        pixels: uint8 (height, width, channels), as the spec has them.
        seconds: when its first frame entered; None where frames have no time.
    """

    pixels: np.ndarray
    seconds: float | None


class _Held(NamedTuple):
    frame: np.ndarray
    kept: bool  # whether a step begins here
    seconds: float | None


class Steps:
    """Makes the steps of an input while frames enter; each is made once, by the rules of `clip_from_frames`.

    Of dense sampling, a step begins every `stride` frames, or every `interval` seconds; of the samplings that take a
    whole clip, however long it is, every `window / frames` seconds. With a time, it is the frame that lies nearest.
    Where frames come more slowly, each is kept.

    Args:
        spec: of the input.
        fps: frames a second of the source, where it is known: then stride and interval are what they are for a file.
        window: seconds of a clip, for samplings that take a whole one.
    """

    def __init__(self, spec: ClipSpec, *, fps: float | None, window: float) -> None:
        self.spec = spec
        self.fps = fps
        self.interval: float | None = None  # seconds; None: frames are counted
        if spec.sampling != "dense":
            self.interval = window / spec.frames
        elif fps is not None:
            self.interval = stride_of(spec, fps) / fps
        else:
            self.interval = spec.interval
        self._one = spec.replace(frames=1, sampling="uniform", stride=1, interval=None, short="spread")
        self._held: deque[_Held] = deque(maxlen=spec.reach)
        self._number = 0
        self._before: float | None = None  # the time of the frame before
        self._next: float | None = None  # when the next step is due

    def take(self, frame: np.ndarray, seconds: float | None) -> Step | None:
        """Takes a frame, uint8 (height, width, 3), RGB; they come in their order.

        Returns:
            The step that it completes, or None.

        Raises:
            ClipzooError: the frame needs a time and has none, or has another size than those it is compared with.
        """
        kept = self._keeps(seconds)
        self._number, self._before = self._number + 1, seconds
        if not kept and (self.spec.reach == 1 or self.spec.pairs == "sampled"):
            return None
        # Whoever gives frames may use their memory again.
        self._held.append(_Held(frame if self.spec.reach == 1 else frame.copy(), kept, seconds))
        first = self._held[0]
        if len(self._held) < self.spec.reach or not first.kept:
            return None
        (pixels,) = clip_from_frames([held.frame for held in self._held], self._one)
        if self.spec.reach == 1:
            self._held.clear()
        return Step(pixels, first.seconds)

    def _keeps(self, seconds: float | None) -> bool:
        if self.interval is None:
            return self._number % self.spec.stride == 0
        if seconds is None:
            raise ClipzooError(
                f"sampling {self.spec.sampling!r} keeps a frame every {self.interval:.3g} s: give the time of each "
                "frame, seconds, or the frames a second of the source, fps"
            )
        gap = 1 / self.fps if self.fps else seconds - (seconds if self._before is None else self._before)
        slack = min(gap, self.interval) / 2  # the next frame would lie farther away
        due = seconds if self._next is None else self._next
        if seconds + slack < due:
            return False
        self._next = due + ((seconds + slack - due) // self.interval + 1) * self.interval
        return True
