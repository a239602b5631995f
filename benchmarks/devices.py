"""Whether several devices learn what one does: `python -m benchmarks.devices`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import VERSIONED
from benchmarks.results import FOLDER
from benchmarks.script import run_script
from loaders.atomic import replacing, write_text
from loaders.motion import draw_motion_clips
from loaders.terminal import text_console
from zoo.backend import choose_backend, start_backend, versions

DEVICES = (1, 2, 4)
MODEL, OPTIONS = "convnet_gru", {"frames": 4, "size": 32, "width": 0.125}
WAYS: dict[str, dict[str, Any]] = {
    "batch normalization frozen, dropout 0": {"train_from": "head", "dropout": 0.0},
    "batch normalization trains, dropout 0.5": {"train_from": "all", "dropout": 0.5},
}
Curves = Mapping[str, Mapping[int, list[dict[str, float]]]]


def main(
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    out: Annotated[Path, typer.Option(help="Folder of the result files.")] = FOLDER / "devices",
) -> None:
    """Train one model on 1, 2 and 4 devices in two ways, and draw the losses; of a CPU, four devices are made."""
    console = text_console()
    console.print(choose_backend())
    backend = os.environ["KERAS_BACKEND"]
    virtual_devices(max(DEVICES))
    start_backend(training=True)
    import keras

    import zoo

    there = keras.distribution.list_devices()
    curves: dict[str, dict[int, list[dict[str, float]]]] = {way: {} for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        # Of the clips to train, the last batch of an epoch holds a few, which 4 devices cannot share evenly.
        index = draw_motion_clips(Path(folder) / "clips", clips=60, frames=8, seed=5)
        for way, settings in WAYS.items():
            recipe = zoo.Recipe(
                epochs=epochs, batch=16, seed=1, learning_rate=3e-3, train_from=settings["train_from"],
                augmentation="none",
            )  # fmt: skip
            for devices in DEVICES:
                run = zoo.train(
                    index, MODEL, recipe, out=Path(folder) / f"{settings['train_from']}{devices}",
                    options=OPTIONS | {"dropout": settings["dropout"]}, devices=devices,
                )  # fmt: skip
                curves[way][devices] = run.read_history()
                console.print(f"{way}: {devices} device(s), loss {curves[way][devices][-1]['loss']:.6f}")
    rows = {
        "backend": backend, "devices": there, "model": MODEL, "options": OPTIONS, "ways": WAYS,
        "versions": versions(VERSIONED), "curves": curves,
        "largest_difference": {way: difference(found) for way, found in curves.items()},
    }  # fmt: skip
    write_text(out / f"{backend}.json", json.dumps(rows, indent=1) + "\n")
    draw(curves, out / f"{backend}.png", title=f"{MODEL} on {backend}, {there[0].partition(':')[0].upper()} devices")
    for way, most in rows["largest_difference"].items():
        console.print(f"{way}: losses differ by {most:.2g} of one device's at the most")
    console.print(f"wrote {out / f'{backend}.json'}, {out / f'{backend}.png'}")


def virtual_devices(count: int) -> None:
    """Makes several devices of a CPU; before Keras is imported."""
    if os.environ["KERAS_BACKEND"] == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()
        return
    import tensorflow as tf

    (cpu, *_) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def difference(found: Mapping[int, list[dict[str, float]]]) -> float:
    """The largest relative difference of a loss, training's or validation's, from one device's."""
    return max(
        abs(row[name] - one[name]) / one[name]
        for rows in found.values()
        for row, one in zip(rows, found[1], strict=True)
        for name in ("loss", "val_loss")
    )


def draw(curves: Curves, path: Path, *, title: str) -> None:
    """Draws a panel for each way, and in it a line for each number of devices, the first one broad behind the rest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (way, found) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        for (devices, rows), width, color in zip(
            found.items(), (7, 3.5, 1.2), ("#BFD7EA", "#E69F00", "#000000"), strict=True
        ):
            epochs = [row["epoch"] + 1 for row in rows]
            label = f"{devices} device{'s' if devices > 1 else ''}"
            axes.plot(epochs, [row["loss"] for row in rows], color=color, linewidth=width, label=label)
            axes.plot(epochs, [row["val_loss"] for row in rows], color=color, linewidth=width, linestyle="--")
        axes.set(title=way, xlabel="epoch", ylabel="loss")
        axes.text(0.02, 0.02, "dashed: validation", transform=axes.transAxes, fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, facecolor="white")


if __name__ == "__main__":
    run_script(main)
