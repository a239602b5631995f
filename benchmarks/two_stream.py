"""What the two-stream model sees: `python -m benchmarks.two_stream motion|ablation|fights`. KERAS_BACKEND chooses."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from loaders.atomic import write_text
from loaders.augment import Augmentation
from loaders.cache import MemoryCache
from loaders.index import Clip, ClipIndex
from loaders.lists import index_csv
from loaders.motion import draw_motion_clips
from loaders.spec import FlowSpec
from loaders.terminal import text_console
from zoo.backend import start_backend
from zoo.evaluation import Evaluation
from zoo.fusion import sweep
from zoo.recipe import Recipe
from zoo.scores import Scores

app = typer.Typer(no_args_is_help=True)
Out = Annotated[Path | None, typer.Option("--json", help="Write the figures here.")]
Seed = Annotated[int, typer.Option(min=0)]

SMALL: dict[str, Any] = {"backbone": "convnet", "width": 0.25, "dropout": 0.0}
# Small frames, small motions: a window of 5 pixels, and a bound of 4.
FLOW: dict[str, Any] = {"stack": 1, "flow": FlowSpec(method="farneback", window=5, bound=4)}


def train_stream(
    name: str,
    index: ClipIndex,
    recipe: Recipe,
    *,
    cache: MemoryCache,
    single_frames: bool = False,
    **options: Any,
) -> tuple[dict[str, Scores], float, int]:
    """Trains one stream and scores validation and test clips with its best epoch.

    Args:
        name: of the model.
        index: with splits.
        recipe: how to train.
        cache: of decoded clips.
        single_frames: score one frame of each clip, picked at random by the recipe's seed.
        options: of `create_model`.

    Returns:
        Scores by split, seconds of training, parameters.
    """
    from export.scoring import score
    from zoo.run import train
    from zoo.saving import load_model

    with tempfile.TemporaryDirectory() as out:
        run = train(index, name, recipe, out=out, options=options, cache=cache)
        model, seconds = load_model(run.model), run.read_record()["seconds"]
    measured = _one_frame_each(index, recipe.seed) if single_frames else index
    found = {split: score(model, measured.only(split), batch=recipe.batch) for split in ("validation", "test")}
    return found, seconds, model.count_params()


def _one_frame_each(index: ClipIndex, seed: int) -> ClipIndex:
    """Of every clip the window of one frame, at random: all frames of a clip together would tell its motion."""
    rng = np.random.default_rng(seed)
    frames: dict[str, list[Clip]] = {}
    for clip in index.windows(1e-6, stride=1e-6):  # a window has one frame at the least
        frames.setdefault(clip.file, []).append(clip)
    return replace(index, clips=tuple(each[rng.integers(len(each))] for each in frames.values()))


@app.command()
def motion(seed: Seed = 0, clips: int = 600, epochs: int = 14, json_file: Out = None) -> None:
    """Made clips whose classes only motion tells apart: the flow stream, and an RGB model of one frame."""
    console = _start()
    with tempfile.TemporaryDirectory() as folder:
        index = draw_motion_clips(folder, clips=clips, seed=seed).split(validation=0.15, test=0.25, seed=seed)
        rows: dict[str, tuple[str, dict[str, Any]]] = {
            "flow stream": ("dtpp_flow", {"frames": 8, "spec": FLOW}),
            # A frame picked at random, in training and test: the middle one would tell where a bar is on its way.
            "RGB of one frame": (
                "dtpp_rgb", {"frames": 1, "levels": (1,), "spec": {"sampling": "dense"}, "single_frames": True},
            ),
        }  # fmt: skip
        figures = {}
        for what, (name, options) in rows.items():
            scores, seconds, parameters = train_stream(
                name, index, _recipe(epochs, seed), cache=MemoryCache(), size=48, **SMALL, **options
            )
            figures[what] = _figures(scores["test"].evaluate(), seconds, parameters)
    _print(console, figures, f"{clips} motion clips, chance {1 / 6:.1%}")
    _write(json_file, {"seed": seed, "clips": clips, "epochs": epochs, "rows": figures}, console)


@app.command()
def ablation(seed: Seed = 0, clips: int = 600, epochs: int = 14, json_file: Out = None) -> None:
    """The paper's ablation on made clips: levels of the pyramid, maximum against average, RGB, flow and fused."""
    console = _start()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        index = draw_motion_clips(folder, clips=clips, seed=seed).split(validation=0.15, test=0.25, seed=seed)
        caches = {"rgb": MemoryCache(), "flow": MemoryCache()}
        for levels, pooling in (((1,), "max"), ((1, 2), "max"), ((1, 2, 4), "max"), ((1, 2, 4), "average")):
            both = {}
            for modality, fields in (("rgb", {}), ("flow", FLOW)):
                scores, seconds, parameters = train_stream(
                    f"dtpp_{modality}", index, _recipe(epochs, seed), cache=caches[modality], frames=8, size=48,
                    levels=levels, pooling=pooling, spec=fields, **SMALL,
                )  # fmt: skip
                both[modality] = scores
                name = f"levels {','.join(map(str, levels))} {pooling}, {modality}"
                figures[name] = _figures(scores["test"].evaluate(), seconds, parameters)
            fused = _fused(both["rgb"], both["flow"])
            figures[f"levels {','.join(map(str, levels))} {pooling}, fused"] = fused
    _print(console, figures, f"{clips} motion clips, seed {seed}")
    _write(json_file, {"seed": seed, "clips": clips, "epochs": epochs, "rows": figures}, console)


@app.command()
def fights(
    data: Annotated[Path, typer.Argument(help="Folder with fights/ and weights/.")],
    seed: Seed = 0,
    epochs: int = 8,
    frames: int = 8,
    size: int = 112,
    json_file: Out = None,
) -> None:
    """Real clips, grouped split: RGB with ImageNet weights, flow by cross-modality, fused; beside mobilenet_gru.

    All of them are cropped by the scales of RGB, down to 0.66.
    """
    console = _start()
    index = index_csv(data / "fights" / "split.csv")
    weights = str(data / "weights" / "mobilenet_v1_025_224_imagenet_notop.h5")
    shared: dict[str, Any] = {"size": size, "backbone_weights": weights, "alpha": 0.25, "frames": frames}
    recipe = Recipe(epochs=epochs, batch=8, augmentation=Augmentation.multiscale(), patience=3, seed=seed)
    figures, both = {}, {}
    for modality, fields in (("rgb", {}), ("flow", {"stack": 5})):
        both[modality], seconds, parameters = train_stream(
            f"dtpp_{modality}", index, replace(recipe, learning_rate=3e-4), cache=MemoryCache(8 * 2**30),
            backbone="mobilenet", dropout=0.5, spec=fields, **shared,
        )  # fmt: skip
        figures[modality] = _figures(both[modality]["test"].evaluate(), seconds, parameters)
    figures["fused"] = _fused(both["rgb"], both["flow"])
    resize = {"resize": "fit", "resize_to": round(size * 256 / 224)}
    scores, seconds, parameters = train_stream(
        "mobilenet_gru", index, replace(recipe, train_from="conv_pw_12"), cache=MemoryCache(), spec=resize, **shared
    )
    figures["mobilenet_gru"] = _figures(scores["test"].evaluate(), seconds, parameters)
    _print(console, figures, f"fights, {frames} frames of {size}x{size}, {epochs} epochs, seed {seed}")
    _write(json_file, {"seed": seed, "epochs": epochs, "frames": frames, "size": size, "rows": figures}, console)


def _recipe(epochs: int, seed: int) -> Recipe:
    return Recipe(epochs=epochs, augmentation="none", patience=3, seed=seed)


def _start() -> Console:
    console = text_console()
    console.print(start_backend(training=True))
    return console


def _fused(rgb: dict[str, Scores], flow: dict[str, Scores]) -> dict[str, Any]:
    found = sweep((rgb["validation"], flow["validation"]), (rgb["test"], flow["test"]))
    return {**_figures(found.result, 0.0, 0), "rgb_weight": found.chosen}


def _figures(result: Evaluation | Any, seconds: float, parameters: int) -> dict[str, Any]:
    return {
        "top1": result.top1,
        "interval": list(result.interval),
        "mean_class_accuracy": result.mean_class_accuracy,
        "clips": result.clips,
        "seconds": round(seconds, 1),
        "parameters": parameters,
    }


def _print(console: Console, figures: dict[str, dict[str, Any]], title: str) -> None:
    table = Table("model", "test top-1", "95 % interval", "training", title=f"{title}, {os.environ['KERAS_BACKEND']}")
    for name, row in figures.items():
        low, high = row["interval"]
        note = f" (RGB {row['rgb_weight']:g})" if "rgb_weight" in row else ""
        took = f"{row['seconds']:.0f} s" if row["seconds"] else "-"
        table.add_row(name + note, f"{row['top1']:.1%}", f"{low:.1%} to {high:.1%}", took)
    console.print(table)


def _write(path: Path | None, figures: dict[str, Any], console: Console) -> None:
    if path:
        write_text(path, json.dumps({"backend": os.environ["KERAS_BACKEND"], **figures}, indent=1) + "\n")
        console.print(f"wrote {path}")


if __name__ == "__main__":
    app()
