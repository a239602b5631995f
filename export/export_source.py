"""What is exported: a model of the zoo, which says itself what it takes and gives, or any other one, described."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from export.custom import HOW, import_modules
from export.describe import ModelDescription
from export.final_activation import LEAST, are_probabilities, final_activation, to_logits, without_final_activation
from loaders.errors import ClipzooError
from loaders.spec import ClipSpec
from loaders.tasks import TASKS, Task, TaskKind, task_kind
from zoo import contract, embedding
from zoo.layers import ClipInput, OutputActivation
from zoo.precision import set_precision
from zoo.saving import load_keras, model_file


class ExportSource:
    """A loaded model, with what is known of it.

    Args:
        model: any Keras model.
        described: what the caller said of it; nothing of what the model says itself.
        features: whether what its head is given is an output too.

    Attributes:
        name: of the model.
        specs: input name -> ClipSpec.
        labels: names, in the order of the outputs.
        task: what they are.
        takes_bytes: whether its inputs are whole numbers.

    Raises:
        ClipzooError: something is not known, is said twice, or does not fit the model.
    """

    def __init__(self, model: keras.Model, described: ModelDescription, *, features: bool = False) -> None:
        self.model, self.described, self.name = model, described, model.name
        layers = getattr(model, "layers", [])
        self.has_inputs = any(isinstance(layer, ClipInput) for layer in layers)
        self.has_answer = any(isinstance(layer, OutputActivation) for layer in layers)
        self.specs = self._specs()
        self.takes_bytes = self._bytes()
        self.labels, self.task = self._labels()
        if not self.has_answer:
            self._check_outputs()
        if features and not self.of_the_zoo:
            raise ClipzooError(
                f"model {self.name!r} is none of the zoo's, so nothing says what its features are: leave out features "
                "(--features)"
            )
        self.features = embedding.feature_layer(model) if features else ""

    @property
    def kind(self) -> TaskKind:
        """What follows from the task."""
        return task_kind(self.task)

    @property
    def of_the_zoo(self) -> bool:
        """Whether the model says itself what it takes and gives."""
        return self.has_inputs and self.has_answer

    @property
    def origins(self) -> list[dict[str, str]]:
        """Where its weights began, as far as the model says."""
        return contract.origins(self.model) if self.has_inputs else []

    def _whole(self) -> keras.Model:
        """A model of the zoo with all its outputs."""
        return embedding.with_features(self.model) if self.features else contract.with_logits(self.model)

    def ask(self, clips: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the model says of uint8 clips by input, asked as it was given: nothing before it, nothing behind it, and
        the pixels scaled here.

        Returns:
            Its answer, (clips, labels), by the name of the task's last output; of a model of the zoo all its outputs.

        Raises:
            ClipzooError: it says something else than its labels.
        """
        if self.of_the_zoo:
            found: dict[str, np.ndarray] = self._whole().predict(dict(clips), batch_size=4, verbose=0)
            return found
        answers = []
        for number in range(len(next(iter(clips.values())))):
            one: dict[str, Any] = {name: np.array(values[number : number + 1]) for name, values in clips.items()}
            if not self.has_inputs and not self.takes_bytes:
                mean, std = self.described.mean, self.described.std
                one = {n: np.float32((pixels - np.array(mean[n])) / np.array(std[n])) for n, pixels in one.items()}
            said = keras.tree.flatten(self.model.predict_on_batch(self._arranged(one)))
            shapes = [np.shape(each)[1:] for each in said]
            if shapes != [(len(self.labels),)]:
                self._refuse(shapes)
            answers.append(np.asarray(said[0], np.float32))
        return {self.kind.answer: np.concatenate(answers)}

    def outputs(
        self, clips: Mapping[str, np.ndarray], said: Mapping[str, np.ndarray]
    ) -> tuple[keras.Model, dict[str, np.ndarray]]:
        """The network to convert, and what it must give.

        Args:
            clips: uint8, by input.
            said: what `ask` gave for them. To be called once, after `ask`: a softmax is taken off the model.

        Returns:
            The network, from uint8 clips to outputs by name; and the outputs for `clips`: the last as the model says
            it, the logits as the network has them, for the model may not know its own.

        Raises:
            ClipzooError: the model ends in the activation of another task.
        """
        if self.of_the_zoo:
            return self._whole(), dict(said)
        inputs, features = self._inputs()
        tensors, answer = self._tail(self._arranged(features), said[self.kind.answer])
        named = {name: tensors[name] for name in self.kind.outputs}
        network = keras.Model(list(inputs.values()), named, name=self.name)
        reference = network.predict(dict(clips), batch_size=4, verbose=0)
        return network, {**reference, self.kind.answer: answer.astype(np.float32)}

    def _specs(self) -> dict[str, ClipSpec]:
        if self.has_inputs:
            if self.described.specs:
                raise ClipzooError(f"model {self.name!r} says itself what it takes, by its ClipInput: leave spec out")
            return contract.specs(self.model)
        shapes = self._shapes()
        if not self.described.specs:
            shape = next(iter(shapes.values()), ())
            known = dict(zip(("frames", "height", "width"), shape, strict=False)) if len(shape) == 4 else {}
            example = ", ".join(f"{name}={size or '...'}" for name, size in known.items()) or "frames=..., ..."
            raise ClipzooError(
                f"model {self.name!r} is none of the zoo's and does not say what it takes: give "
                f"spec=ClipSpec({example}) and labels=[...] (--spec, --labels), and mean and std as it was trained"
            )
        specs = dict(self.described.specs)
        if len(shapes) == 1 and len(specs) == 1:
            shapes = {next(iter(specs)): next(iter(shapes.values()))}
        if shapes and set(shapes) != set(specs):
            raise ClipzooError(
                f"model {self.name!r} has the inputs {', '.join(shapes)}, spec describes {', '.join(specs)}"
            )
        for name, shape in shapes.items():
            wanted = specs[name].shape
            if len(shape) != 4 or any(size not in (None, want) for size, want in zip(shape, wanted, strict=True)):
                raise ClipzooError(
                    f"input {name!r} of model {self.name!r} takes {_text(shape)}, its spec gives {_text(wanted)}: "
                    "frames, height, width, channels"
                )
        return {name: specs[name] for name in shapes or specs}

    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each input without the batch; none where the model is a class that does not say."""
        return {tensor.name: tuple(tensor.shape[1:]) for tensor in getattr(self.model, "inputs", None) or ()}

    def _labels(self) -> tuple[tuple[str, ...], Task]:
        if self.has_answer:
            if self.described.labels or self.described.task:
                raise ClipzooError(f"model {self.name!r} knows its labels and its task: leave labels and task out")
            return contract.labels(self.model), contract.task(self.model)
        if not self.described.labels:
            raise ClipzooError(f"model {self.name!r} does not know its labels: give labels=[...] (--labels)")
        return self.described.labels, self.described.task or "classification"

    def _check_outputs(self) -> None:
        shapes = [tuple(tensor.shape[1:]) for tensor in getattr(self.model, "outputs", None) or ()]
        if shapes and shapes != [(len(self.labels),)]:
            self._refuse(shapes)

    def _refuse(self, shapes: Sequence[Sequence[int | None]]) -> None:
        hint = ""
        if shapes == [(1,)] and self.kind.fewest > 1:
            hint = '; for one probability of one class, give that class alone, and task="multilabel"'
        raise ClipzooError(
            f"model {self.name!r} gives {', '.join(map(_text, shapes))} for a clip, where "
            f"{self.kind.count(len(self.labels))} need one output of ({len(self.labels)}){hint}"
        )

    def _inputs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs of the file, and what the model is given of them, both by name."""
        if self.has_inputs:
            inputs = {tensor.name: tensor for tensor in self.model.inputs}
            return inputs, inputs
        inputs = {name: keras.Input(spec.shape, dtype="uint8", name=name) for name, spec in self.specs.items()}
        if self.takes_bytes:
            return inputs, inputs
        pixels = {
            name: ClipInput(
                spec,
                mean=self.described.mean[name],
                std=self.described.std[name],
                channel_order=spec.color_order,
                dtype="float32",
                name=f"{name}_pixels",
            )(inputs[name])
            for name, spec in self.specs.items()
        }
        return inputs, pixels

    def _bytes(self) -> bool:
        """Whether the inputs are whole numbers, as those of a model that scales pixels itself may be."""
        tensors = getattr(self.model, "inputs", None) or ()
        whole = [tensor.dtype for tensor in tensors if not tensor.dtype.startswith(("float", "bfloat"))]
        plain = all(mean == 0 for mean in self.described.mean.values())
        plain = plain and all(std == 1 for std in self.described.std.values())
        if whole and not plain:
            raise ClipzooError(
                f"model {self.name!r} takes {whole[0]}, so it scales pixels itself: leave mean and std out"
            )
        return bool(whole)

    def _arranged(self, features: Mapping[str, Any]) -> Any:
        """Inputs as the model takes them: one alone, several in its order, or by name where it has none."""
        if len(features) == 1:
            return next(iter(features.values()))
        names = self._shapes()
        return [features[name] for name in names] if names else dict(features)

    def _tail(self, features: Any, given: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """Outputs by name, and what the last of them must be where the model says `given`."""
        kind, end = self.kind, final_activation(self.model)
        activate = keras.activations.get(kind.activation)
        if self.has_answer:
            return contract.with_logits(self.model)(features), given
        if not kind.classes:
            return {kind.answer: _only(self.model(features))}, given
        if end in ("softmax", "sigmoid"):
            if end != kind.activation:
                fits = next(name for name, other in TASKS.items() if other.activation == end)
                raise ClipzooError(f"model {self.name!r} ends in {end}, so its task is {fits}, not {self.task}")
            logits = _only(without_final_activation(self.model)(features))
            return {"logits": logits, kind.answer: activate(logits)}, given
        answer = _only(self.model(features))
        if end != "linear" and are_probabilities(given, kind):
            return {"logits": to_logits(ops.clip(answer, LEAST, 1 - LEAST), kind), kind.answer: answer}, given
        return {"logits": answer, kind.answer: activate(answer)}, kind.activate(given)


def load(request: Mapping[str, Any]) -> keras.Model:
    """Loads the model of a request; it computes in float32.

    Raises:
        ClipzooError: no such file, not a Keras file, or layers that nobody registered.
    """
    sys.path += [folder for folder in request.get("path", ()) if folder not in sys.path]
    import_modules(request["modules"])
    if request["trusted"]:  # it comes out of the memory of the process that asks
        keras.config.enable_unsafe_deserialization()
    file = model_file(request["model"])
    try:
        model = load_keras(file)
    except ClipzooError as error:
        said = str(error.__cause__)
        unknown = re.search(r"Could not locate (class|function) '([^']+)'", said)
        what = "the model" if request["trusted"] else str(file)
        if unknown:
            modules = "" if request["trusted"] else "; then name that module: modules=[...] (--import)"
            raise ClipzooError(f"{what}: its {unknown[1]} {unknown[2]} is not registered: {HOW}{modules}") from None
        if "Lambda" in said and "safe_mode" in said:
            raise ClipzooError(
                f"{file}: holds a Lambda layer, which is code of whoever wrote the file; if you trust it, load it with "
                "keras.saving.load_model(file, safe_mode=False) and give the model to export.to_onnx"
            ) from None
        raise
    set_precision(model, "float32")
    return model


def _only(outputs: Any) -> Any:
    """The one output, where it stands in a list or under a name."""
    (tensor,) = keras.tree.flatten(outputs)
    return tensor


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
