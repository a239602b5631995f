"""Whether several devices learn what one does: `python -m benchmarks.devices`."""

from __future__ import annotations

import os
import tempfile
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.harness.records import Row
from benchmarks.harness.runners import BACKENDS
from benchmarks.harness.script import ResultFile, measuring, run_script
from loaders.motion import draw_motion_clips
from loaders.terminal import text_console
from zoo.backend import choose_backend, start_backend

DEVICES = (1, 2, 4)
MODEL, OPTIONS = "convnet_gru", {"frames": 4, "size": 32, "width": 0.125}
WAYS: dict[str, dict[str, Any]] = {
    "batch normalization frozen, dropout 0": {"train_from": "head", "dropout": 0.0, "rate": 3e-2},
    "batch normalization trains, dropout 0.5": {"train_from": "all", "dropout": 0.5, "rate": 3e-3},
}


def main(epochs: Annotated[int, typer.Option(min=1)] = 8, json_file: ResultFile = None) -> None:
    """Train one model on 1, 2 and 4 devices in two ways; of a CPU, four devices are made. `report` draws the losses."""
    console = text_console()
    console.print(choose_backend())
    backend = os.environ["KERAS_BACKEND"]
    virtual_devices(max(DEVICES))
    start_backend(training=True)
    import zoo

    with measuring("devices", json_file, console) as results, tempfile.TemporaryDirectory() as folder:
        # Of the clips to train, the last batch of an epoch holds a few, which 4 devices cannot share evenly.
        index = draw_motion_clips(Path(folder) / "clips", clips=60, frames=8, seed=5)
        for (way, given), devices in product(WAYS.items(), DEVICES):
            recipe = zoo.Recipe(
                epochs=epochs, batch=16, seed=1, learning_rate=given["rate"], train_from=given["train_from"],
                augmentation="none",
            )  # fmt: skip
            run = zoo.train(
                index, MODEL, recipe, out=Path(folder) / f"{given['train_from']}{devices}",
                options=OPTIONS | {"dropout": given["dropout"]}, devices=devices,
            )  # fmt: skip
            history = run.read_history()
            settings = {"way": way, "devices": str(devices)}
            turns = [[row["seconds"] for row in history]]
            facts = {"history": history, "recipe": recipe.to_dict(), "options": OPTIONS}
            results.add(
                Row(model=MODEL, runner=BACKENDS[backend], settings=settings, batch=16, turns=turns, facts=facts)
            )


def virtual_devices(count: int) -> None:
    """Makes several devices of a CPU; before Keras is imported."""
    if os.environ["KERAS_BACKEND"] == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()
        return
    import tensorflow as tf

    (cpu, *_) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


if __name__ == "__main__":
    run_script(main)
