"""How to train: all that decides the weights but the model and the clips. Keras is imported when it is needed."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from loaders.augment import FLOW_SCALES, Augmentation
from loaders.check import choice, names, number, whole
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec

if TYPE_CHECKING:
    import keras

Precision = Literal["float32", "mixed_bfloat16"]
Monitor = Literal["loss", "class_accuracy"]
AugmentationName = Literal["all", "noflip", "multiscale", "none"]
AUGMENTATIONS: Mapping[str, Callable[[], Augmentation | None]] = {
    "all": Augmentation,
    "noflip": lambda: Augmentation(flip=False),
    "multiscale": Augmentation.multiscale,
    "none": lambda: None,
}
# What a name alone means, where Keras's own default is not what people train videos with.
_BY_NAME: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"learning_rate": 1e-2, "momentum": 0.9, "nesterov": True},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the training clips, >= 1.
        batch: clips in a batch, >= 1.
        augmentation: what changes the training clips: an Augmentation, a table of its fields, or `all` (the article's
            set), `noflip`, `multiscale` (arXiv 1711.04161) or `none`. Mirroring is left out whatever it says where the
            labels tell left from right; see `mirrored_labels`.
        optimizer: any of Keras: its name, its config (`{"class_name": "AdamW", "config": {"weight_decay": 1e-4}}`), or
            an instance, of which each training gets a fresh copy. `sgd` alone is with Nesterov momentum 0.9.
        learning_rate: at the start, > 0, or a schedule of Keras (a config or an instance), which steps count for;
            None: the optimizer's own, which is 1e-3 for `adam` and 1e-2 for `sgd`.
        patience: epochs without a better value of `monitor` after which the learning rate falls; a schedule falls by
            itself.
        factor: what it is multiplied by then, between 0 and 1.
        monitor: what decides on the best model and on the learning rate, on the validation clips: `loss`, or
            `class_accuracy`, the mean of the per-class accuracies. Where there are no validation clips, the last epoch
            is the model.
        clip_norm: what the norm of all gradients together, of the mean over the accumulated batches, is cut to; None:
            as the optimizer has it.
        accumulate: batches whose gradients make one step.
        precision: `float32`; `mixed_bfloat16`: what is done to every frame is done in bfloat16 (`set_precision`); None:
            what the model's layers have, which is float32 unless they were made otherwise.
        class_weights: whether every class counts alike, however many clips it has.
        train_from: what trains: `all` of the model; the `head`, which is all behind the backbone or trunk; or the name
            of a layer in it, which trains with all that comes after. What stands before is frozen, its batch
            normalization as in inference.
        draws: how many augmented draws of each training clip the frozen part is asked for, once, before training; each
            epoch takes one of them, and only the rest is computed again. 0: all is computed in every epoch.
        mixup: alpha by which clips, or with draws their features, and labels are mixed, see ClipDataset; 0 for none.
        label_smoothing: share of each label that all classes have alike, 0 <= label_smoothing < 1; for one class a
            clip. The loss of validation clips is of smoothed labels too.
        validation: share of the clips for validation where the index has none, 0 <= validation < 1. 0: all of them
            train, as many epochs as the recipe says: for a recipe that has proved itself.
        refit: whether the model is trained once more, from the weights that it began with, on training and validation
            clips together: for as many steps, now that the first training has shown what they are worth. Needs a
            schedule as `learning_rate`; else the validation clips would decide on the rate.
        test: share kept apart for testing, likewise, 0 <= test < 1.
        seed: of the split, first weights, order, augmentation and dropout.

    Raises:
        ClipzooError: a field is out of its range; the message names field, value and rule.
    """

    epochs: int = 30
    batch: int = 16
    augmentation: Augmentation | Mapping[str, Any] | AugmentationName | None = "all"
    optimizer: str | Mapping[str, Any] | keras.optimizers.Optimizer = "adam"
    learning_rate: float | Mapping[str, Any] | keras.optimizers.schedules.LearningRateSchedule | None = None
    patience: int = 4
    factor: float = 0.5
    monitor: Monitor = "loss"
    clip_norm: float | None = None
    accumulate: int = 1
    precision: Precision | None = None
    class_weights: bool = False
    train_from: str = "all"
    draws: int = 0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    validation: float = 0.15
    refit: bool = False
    test: float = 0.15
    seed: int = 0
    _augmentation: Augmentation | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience", "accumulate"):
            whole(f"Recipe {name}", getattr(self, name))
        whole("Recipe seed", self.seed, least=0, most=2**32 - 1)
        number("Recipe factor", self.factor, above=0, below=1)
        number("Recipe mixup", self.mixup, least=0)
        number("Recipe label_smoothing", self.label_smoothing, least=0, below=1)
        whole("Recipe draws", self.draws, least=0)
        if not isinstance(self.train_from, str) or not self.train_from:
            raise ClipzooError(f"Recipe train_from ({self.train_from!r}) must be 'head', 'all' or the name of a layer")
        if self.draws and self.train_from == "all":
            raise ClipzooError(f"Recipe draws ({self.draws}) keeps what a frozen part gives; say train_from='head' too")
        number("Recipe validation", self.validation, least=0, below=1)
        number("Recipe test", self.test, least=0, below=1)
        if isinstance(self.learning_rate, int | float | str):
            number("Recipe learning_rate", self.learning_rate, above=0)
        if self.refit and (self.learning_rate is None or isinstance(self.learning_rate, int | float | str)):
            raise ClipzooError(
                f"Recipe refit needs a schedule as learning_rate ({self.learning_rate}), such as that of recipe auto: "
                "a rate that falls when validation clips say so cannot fall without them"
            )
        if self.clip_norm is not None:
            number("Recipe clip_norm", self.clip_norm, above=0)
        choice("Recipe monitor", self.monitor, get_args(Monitor))
        if self.precision is not None:
            choice("Recipe precision", self.precision, get_args(Precision))
        for name in ("class_weights", "refit"):
            if not isinstance(getattr(self, name), bool):
                raise ClipzooError(f"Recipe {name} ({getattr(self, name)!r}) must be true or false")
        if not isinstance(self.optimizer, str | Mapping) and not hasattr(self.optimizer, "apply_gradients"):
            raise ClipzooError(
                f"Recipe optimizer ({self.optimizer!r}) must be a name, a config or an optimizer of Keras"
            )
        object.__setattr__(self, "_augmentation", _augmentation(self.augmentation))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """Reads a table of fields, such as that of a TOML file or what `to_dict` wrote.

        Raises:
            ClipzooError: a field is unknown (the message has the near names) or out of its range.
        """
        names("Recipe", fields, (each.name for each in dataclasses.fields(cls) if each.init))
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON; the optimizer with all its settings. Needs Keras."""
        optimizer = _plain(self.make_optimizer())
        augmentation = dataclasses.asdict(self._augmentation) if self._augmentation else "none"
        if isinstance(augmentation, dict):
            function = augmentation.pop("function")  # code, which no file holds
            augmentation |= {"function": getattr(function, "__qualname__", repr(function))} if function else {}
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.init}
        rate = optimizer["config"]["learning_rate"]
        return {**fields, "augmentation": augmentation, "optimizer": optimizer, "learning_rate": rate}

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """A fresh optimizer, as the fields say.

        Raises:
            ClipzooError: Keras has no such optimizer or schedule, or does not take its settings.
        """
        import keras

        import_module("zoo.caffe_sgd")  # Keras finds it by name then
        given, changes = self.optimizer, {}
        if isinstance(given, str):
            changes = dict(_BY_NAME.get(given.lower(), {}))
        try:
            made = keras.optimizers.get(dict(given) if isinstance(given, Mapping) else given)
            config = _plain(made)
            if self.learning_rate is not None:
                changes["learning_rate"] = _schedule(self.learning_rate)
            if self.clip_norm is not None:
                changes["global_clipnorm"] = self.clip_norm
            if self.accumulate > 1:
                changes["gradient_accumulation_steps"] = self.accumulate
            return keras.optimizers.deserialize({**config, "config": {**config["config"], **changes}})
        except ClipzooError:
            raise
        except Exception as error:  # Keras raises ValueError, TypeError and what its parts raise
            what = f"optimizer {given!r}, learning_rate {self.learning_rate!r}"
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ClipzooError(f"Recipe {what}: Keras does not take it ({reason})") from None

    def augmentation_for(self, specs: Mapping[str, ClipSpec], labels: Sequence[str]) -> Augmentation | None:
        """What changes the training clips of a model with these inputs and labels.

        Mirroring is off where the labels tell left from right; the multi-scale crop of flow is without the smallest
        scale (arXiv 1711.04161).
        """
        chosen = self._augmentation
        if chosen is None:
            return None
        if chosen.flip and mirrored_labels(labels):
            chosen = dataclasses.replace(chosen, flip=False)
        named = isinstance(self.augmentation, str)
        if named and any(spec.modality == "flow" for spec in specs.values()):
            chosen = dataclasses.replace(chosen, scales=FLOW_SCALES)
        return chosen


def mirrored_labels(labels: Sequence[str]) -> tuple[str, str] | None:
    """Two labels that a mirror turns into each other: exchanging the words left and right in one gives the other.

    `turn_left` and `turn right` are no such pair, `turn left` and `Turn Right` are; `left` stands for a whole word,
    between anything but letters.
    """
    places = {label.casefold(): label for label in labels}
    exchanged = {"left": "right", "right": "left"}
    for lower, label in places.items():
        turned = re.sub(r"(?<![^\W\d_])(left|right)(?![^\W\d_])", lambda word: exchanged[word[0]], lower)
        if turned != lower and turned in places:
            return label, places[turned]
    return None


def _augmentation(given: object) -> Augmentation | None:
    if given is None or isinstance(given, Augmentation):
        return given
    if isinstance(given, Mapping):
        names("Augmentation", given, (each.name for each in dataclasses.fields(Augmentation)))
        if isinstance(given.get("function"), str):
            raise ClipzooError(f"Augmentation function ({given['function']!r}) is code of yours, which no file holds")
        return Augmentation(**given)
    choice("Recipe augmentation", given, AUGMENTATIONS)
    return AUGMENTATIONS[str(given)]()


def _schedule(given: Any) -> Any:
    import keras

    if isinstance(given, Mapping):
        name = given.get("class_name")
        if not hasattr(keras.optimizers.schedules, str(name)) and given.get("registered_name") is None:
            raise ClipzooError(f"Recipe learning_rate: Keras has no schedule {name!r}, such as CosineDecay")
        given = keras.optimizers.schedules.deserialize(dict(given))
    return keras.optimizers.schedules.serialize(given) if hasattr(given, "get_config") else float(given)


def _plain(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Class name and config alone, with numbers that JSON takes."""
    import keras

    held = keras.optimizers.serialize(optimizer)
    name = held.get("registered_name") or held["class_name"]
    config = json.loads(json.dumps(held["config"], default=float))
    del config["name"]  # Keras counts them up
    if isinstance(config["learning_rate"], float):
        config["learning_rate"] = float(f"{config['learning_rate']:.7g}")  # Keras holds it in float32
    return {"class_name": name, "config": config}
