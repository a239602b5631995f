"""The three generators of keras-video-generators 1.0.14 by their names and parameters, on top of ClipDataset.

For scripts that move over; new code is better off with `index_pattern`, ClipSpec and ClipDataset. Pixels come as
float32 times `rescale`, as that package gives them. What is different is what was wrong there: the last frame is
sampled, windows slide, the split has a seed, the last batch is kept, nothing is cached unless asked for, validation and
test are not shuffled, `target_shape` is (height, width), and an unknown parameter is an error.

A model of this zoo takes uint8, 0 to 255, and scales inside: of floats that were scaled before it learns nothing. What
it takes, by plain `model.fit` too, is `VideoFrameGenerator(rescale=None, ...)`, or `generator.unscaled()`, which
`zoo.training.fit` calls by itself. `rescale=1` gives floats, and is not enough.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import numpy as np

from loaders.ahead import ReadAhead
from loaders.augment import Augmentation
from loaders.check import names, number
from loaders.dataset import ClipDataset
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import index_pattern
from loaders.spec import ClipSpec, FlowSpec, Modality

METHOD_OPTICAL_FLOW, METHOD_FLOW_MASK, METHOD_DIFF_MASK, METHOD_ABS_DIFF = 1, 2, 3, 4
_MODALITIES: dict[int, Modality] = {
    METHOD_OPTICAL_FLOW: "flow_hsv",
    METHOD_FLOW_MASK: "flow_mask",
    METHOD_DIFF_MASK: "diff_mask",
    METHOD_ABS_DIFF: "diff",
}


class VideoFrameGenerator(ClipDataset):
    """`nb_frames` frames spread over each file.

    Args:
        rescale: multiplies the pixels, 0 to 255, and makes them float32; None leaves them as they are, uint8, which is
            what models of this zoo take.
        nb_frames: frames in a clip.
        classes: those to use, in the order of the outputs; all that are found if left out.
        batch_size: clips in a batch.
        use_frame_cache: keep decoded clips in memory, up to 2 GiB.
        target_shape: (height, width), pixels.
        shuffle: of the training part, each epoch anew.
        transformation: an Augmentation.
        split_val: share for validation; the rest is for training.
        split_test: share for testing; likewise.
        nb_channel: 3 for RGB, 1 for gray.
        glob_pattern: with `{classname}` where the name of the class stands.
        use_headers: no longer needed: a header is believed only where it is true.
        seed: of split, order and augmentation.
        workers: threads.
        split: what `split_val` was called before, in the article too.

    Raises:
        ClipzooError: a value out of range, a parameter that there is not, or no clips.
    """

    def __init__(
        self,
        *,
        rescale: float | None = 1 / 255,
        nb_frames: int = 5,
        classes: Sequence[str] | None = None,
        batch_size: int = 16,
        use_frame_cache: bool = False,
        target_shape: tuple[int, int] = (224, 224),
        shuffle: bool = True,
        transformation: Augmentation | None = None,
        split_val: float | None = None,
        split_test: float | None = None,
        nb_channel: int = 3,
        glob_pattern: str = "./videos/{classname}/*.avi",
        use_headers: bool = True,
        seed: int = 0,
        workers: int = 2,
        split: float | None = None,
        _fields: Mapping[str, Any] | None = None,
        _window: float | None = None,
        **unknown: Any,
    ) -> None:
        _refuse(unknown, type(self))
        if split is not None and split_val is not None:
            raise ClipzooError(f"split ({split}) is the old name of split_val ({split_val}): give split_val alone")
        if rescale is not None:
            number("rescale", rescale, above=0)
        if nb_channel not in (1, 3):
            raise ClipzooError(f"nb_channel ({nb_channel!r}) must be 3 or 1")
        if not isinstance(target_shape, Sequence) or len(target_shape) != 2:
            raise ClipzooError(f"target_shape ({target_shape!r}) must be (height, width), pixels")
        if transformation is not None and not isinstance(transformation, Augmentation):
            raise ClipzooError(
                f"transformation must be a loaders.Augmentation, not {type(transformation).__name__}: "
                "zoom_range is zoom, horizontal_flip flip, rotation_range rotation, width_shift_range width_shift"
            )
        spec = ClipSpec(
            frames=nb_frames,
            height=target_shape[0],
            width=target_shape[1],
            **(_fields or {"modality": "rgb" if nb_channel == 3 else "gray"}),
        )
        whole = index_pattern(glob_pattern)
        if _window is not None:
            whole = whole.windows(_window)
        if classes is not None:
            kept = tuple(clip for clip in whole if clip.label in classes)
            whole = ClipIndex(whole.root, kept, tuple(classes))
        # What is asked for alone, as there: no share that is not given is taken.
        self._whole = whole.split(
            validation=(split if split_val is None else split_val) or 0.0, test=split_test or 0.0, seed=seed
        )
        self.rescale = rescale
        super().__init__(
            self._whole.only("train"),
            spec,
            batch_size=batch_size,
            shuffle=shuffle,
            augmentation=transformation,
            cache="memory" if use_frame_cache else None,
            seed=seed,
            workers=workers,
        )

    def __getitem__(self, batch: int) -> Any:
        return self._scaled(super().__getitem__(batch))

    def read_now(self, batch: int) -> Any:
        return self._scaled(super().read_now(batch))

    def _scaled(self, batch: Any) -> Any:
        if self.rescale is None:
            return batch
        clips, *labels = batch
        return np.multiply(np.asarray(clips), self.rescale, dtype=np.float32), *labels

    def unscaled(self) -> VideoFrameGenerator:
        """The same batches as uint8, 0 to 255, for models that scale inside, as those of this zoo do.

        Clips, order, epochs, shuffle, augmentation and cache are those of the generator; the epoch begins where it
        stands.
        """
        part = copy.copy(self)
        part.rescale = None
        part._ahead = ReadAhead(part._read, self._workers)
        return part

    def get_validation_generator(self) -> ClipDataset:
        """The validation part, in order and unchanged."""
        return self._part("validation")

    def get_test_generator(self) -> ClipDataset:
        """The test part, in order and unchanged."""
        return self._part("test")

    def _part(self, name: str) -> ClipDataset:
        part = object.__new__(VideoFrameGenerator)
        part.rescale = self.rescale
        ClipDataset.__init__(
            part,
            self._whole.only(name),
            self.specs,
            batch_size=self.batch_size,
            cache=self.cache,
            workers=self._workers,
        )
        return part


def _refuse(unknown: Mapping[str, Any], kind: type) -> None:
    """Raises ClipzooError for a parameter that a generator has not, with the names that come near."""
    parameters = (*signature(kind).parameters.values(), *signature(VideoFrameGenerator).parameters.values())
    known = {each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY and each.name[0] != "_"}
    names(kind.__name__, unknown, known, noun="parameter")


class SlidingFrameGenerator(VideoFrameGenerator):
    """Windows of `sequence_time` seconds that slide by half their length: more samples a file.

    Args:
        sequence_time: how long the movement lasts, seconds; None: the whole file.
    """

    def __init__(self, *, sequence_time: float | None = None, **options: Any) -> None:
        super().__init__(_window=sequence_time, **options)


class OpticalFlowGenerator(VideoFrameGenerator):
    """`nb_frames` pictures of motion, made of nb_frames + 1 frames spread over each file.

    Args:
        method: one of the METHOD_ numbers.
        flowlevel: pyramid levels of Farneback's flow.
        iterations: at each level.
        winsize: its averaging window, pixels.
    """

    def __init__(
        self,
        *,
        method: int = METHOD_OPTICAL_FLOW,
        flowlevel: int = 3,
        iterations: int = 3,
        winsize: int = 15,
        **options: Any,
    ) -> None:
        if method not in _MODALITIES:
            raise ClipzooError(f"method ({method}) must be one of {', '.join(map(str, _MODALITIES))}")
        fields: dict[str, Any] = {"modality": _MODALITIES[method], "pairs": "sampled"}
        if method in (METHOD_OPTICAL_FLOW, METHOD_FLOW_MASK):
            fields["flow"] = FlowSpec(method="farneback", levels=flowlevel, iterations=iterations, window=winsize)
        super().__init__(_fields=fields, **options)
