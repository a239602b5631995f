"""The process that makes a model's files: TensorFlow, nothing else. `benchmarks.harness.models.prepare` starts it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.harness.models import (
    CLASSES,
    Prepared,
    decoded_clips,
    enliven,
    model_input,
    random_clips,
    with_time_distributed,
)
from export.convert import to_onnx
from loaders.atomic import replacing
from zoo.contract import specs, with_logits
from zoo.cost import multiply_adds
from zoo.registry import create_model
from zoo.saving import load_model


def ours(prepared: Prepared, options: dict[str, Any]) -> None:
    """The Keras file, our ONNX file and the answers."""
    model = enliven(create_model(prepared.model, classes=CLASSES, **options))
    with replacing(prepared.keras) as partial:
        model.save(partial)
    clips = decoded_clips(specs(model))
    to_onnx(prepared.keras, prepared.onnx, clips=clips)
    answers = with_logits(model).predict(model_input(clips), verbose=0)
    arrays = {f"in:{name}": values for name, values in clips.items()}
    arrays |= {f"out:{name}": np.asarray(values) for name, values in answers.items()}
    arrays["multiply_adds"] = np.array(multiply_adds(model))
    with replacing(prepared.answers) as partial:
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]


def half(prepared: Prepared, _: dict[str, Any]) -> None:
    """Our file in float16."""
    clips = decoded_clips(specs(load_model(prepared.keras)))
    to_onnx(prepared.keras, prepared.half, clips=clips, precision="float16")


def keras_export(prepared: Prepared, _: dict[str, Any]) -> None:
    """What a Keras user gets who writes TimeDistributed and calls `model.export(format="onnx")`."""
    model = load_model(prepared.keras)
    copy = with_time_distributed(model)
    copy.predict_on_batch(model_input(random_clips(specs(model), 1)))  # Keras exports no model that was never called
    with replacing(prepared.keras_onnx) as partial:
        copy.export(partial, format="onnx", verbose=False)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keras.config.disable_traceback_filtering()
    folder, name, options, what = sys.argv[1:]
    {"ours": ours, "half": half, "keras": keras_export}[what](Prepared(Path(folder), name), json.loads(options))
