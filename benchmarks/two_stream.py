"""What the two-stream model sees: `python -m benchmarks.two_stream motion|real|...`. KERAS_BACKEND chooses."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.harness.records import Row
from benchmarks.harness.runners import BACKENDS, figures
from benchmarks.harness.script import ResultFile, keys_of, measuring, run_group
from benchmarks.real_clips import clips_of, facts_of, folds_of, judge, planned_row, train_by_plan
from loaders.augment import Augmentation
from loaders.cache import MemoryCache
from loaders.errors import ClipzooError
from loaders.index import Clip, ClipIndex
from loaders.lists import index_csv
from loaders.motion import draw_motion_clips
from loaders.processor import cores
from loaders.spec import FlowSpec
from loaders.terminal import text_console
from zoo.backend import start_backend
from zoo.fusion import sweep
from zoo.recipe import Recipe
from zoo.scores import Scores
from zoo.settings import Overrides, read_settings

app = typer.Typer(no_args_is_help=True)
Seed = Annotated[int, typer.Option(min=0)]

SMALL: dict[str, Any] = {"backbone": "convnet", "width": 0.25, "dropout": 0.0}
# Small frames, small motions: a window of 5 pixels, and a bound of 4.
FLOW: dict[str, Any] = {"stack": 1, "flow": FlowSpec(method="farneback", window=5, bound=4)}


def train_stream(
    row: Row,
    index: ClipIndex,
    recipe: Recipe,
    *,
    cache: MemoryCache,
    single_frames: bool = False,
    **options: Any,
) -> tuple[dict[str, Scores], Row]:
    """Trains one stream and scores validation and test clips with its best epoch.

    Args:
        row: what is known of it before; its model is the one that is trained.
        index: with splits.
        recipe: how to train.
        cache: of decoded clips.
        single_frames: score one frame of each clip, picked at random by the recipe's seed.
        options: of `create_model`.

    Returns:
        Scores by split, and the row with its figures; its one turn is the whole training.
    """
    from export.scoring import score
    from zoo.contract import specs
    from zoo.learning import train
    from zoo.saving import load_model

    with tempfile.TemporaryDirectory() as out:
        run = train(index, row.model, recipe, out=out, options=options, cache=cache)
        model, seconds = load_model(run.model), run.read_record()["seconds"]
    measured = _one_frame_each(index, recipe.seed) if single_frames else index
    found = {split: score(model, measured.only(split), batch=recipe.batch) for split in ("validation", "test")}
    facts = {**row.facts, **figures(found["test"].evaluate()), "parameters": model.count_params()}
    frames = next(iter(specs(model).values())).frames
    return found, replace(row, frames=frames, turns=[[seconds]], facts=facts)


def _one_frame_each(index: ClipIndex, seed: int) -> ClipIndex:
    """Of every clip the window of one frame, at random: all frames of a clip together would tell its motion."""
    rng = np.random.default_rng(seed)
    frames: dict[str, list[Clip]] = {}
    for clip in index.windows(1e-6, stride=1e-6):  # a window has one frame at the least
        frames.setdefault(clip.file, []).append(clip)
    return replace(index, clips=tuple(each[rng.integers(len(each))] for each in frames.values()))


@app.command()
def motion(seed: Seed = 0, clips: int = 600, epochs: int = 14, json_file: ResultFile = None) -> None:
    """Made clips whose classes only motion tells apart: the flow stream, and an RGB model of one frame."""
    with measuring("two_stream", json_file, _start()) as results, tempfile.TemporaryDirectory() as folder:
        index = draw_motion_clips(folder, clips=clips, seed=seed).split(validation=0.15, test=0.25, seed=seed)
        rows: dict[str, tuple[str, dict[str, Any]]] = {
            "flow stream": ("dtpp_flow", {"frames": 8, "spec": FLOW}),
            # A frame picked at random, in training and test: the middle one would tell where a bar is on its way.
            "RGB of one frame": (
                "dtpp_rgb", {"frames": 1, "levels": (1,), "spec": {"sampling": "dense"}, "single_frames": True},
            ),
        }  # fmt: skip
        for stream, (name, options) in rows.items():
            settings = {"experiment": "motion", "stream": stream, "seed": str(seed)}
            row = _row(name, settings, _recipe(epochs, seed), drawn_clips=clips)
            _, row = train_stream(row, index, _recipe(epochs, seed), cache=MemoryCache(), size=48, **SMALL, **options)
            results.add(row)


@app.command()
def ablation(seed: Seed = 0, clips: int = 600, epochs: int = 14, json_file: ResultFile = None) -> None:
    """The paper's ablation on made clips: levels of the pyramid, maximum against average, RGB, flow and fused."""
    with measuring("two_stream", json_file, _start()) as results, tempfile.TemporaryDirectory() as folder:
        index = draw_motion_clips(folder, clips=clips, seed=seed).split(validation=0.15, test=0.25, seed=seed)
        caches = {"rgb": MemoryCache(), "flow": MemoryCache()}
        for levels, pooling in (((1,), "max"), ((1, 2), "max"), ((1, 2, 4), "max"), ((1, 2, 4), "average")):
            both = {}
            for modality, fields in (("rgb", {}), ("flow", FLOW)):
                pyramid = f"levels {','.join(map(str, levels))} {pooling}"
                settings = {"experiment": "ablation", "pyramid": pyramid, "stream": modality, "seed": str(seed)}
                row = _row(f"dtpp_{modality}", settings, _recipe(epochs, seed), drawn_clips=clips)
                both[modality], row = train_stream(
                    row, index, _recipe(epochs, seed), cache=caches[modality], frames=8, size=48, levels=levels,
                    pooling=pooling, spec=fields, **SMALL,
                )  # fmt: skip
                results.add(row)
            results.add(_fused(row, both["rgb"], both["flow"]))


@app.command()
def fights(
    data: Annotated[Path, typer.Argument(help="Folder with fights/ and weights/.")],
    seed: Seed = 0,
    epochs: int = 8,
    frames: int = 8,
    size: int = 112,
    json_file: ResultFile = None,
) -> None:
    """Real clips, grouped split: RGB with ImageNet weights, flow by cross-modality, fused; beside mobilenet_gru.

    All of them are cropped by the scales of RGB, down to 0.66.
    """
    index = index_csv(data / "fights" / "split.csv")
    weights = str(data / "weights" / "mobilenet_v1_025_224_imagenet_notop.h5")
    shared: dict[str, Any] = {"size": size, "backbone_weights": weights, "alpha": 0.25, "frames": frames}
    recipe = Recipe(epochs=epochs, batch=8, augmentation=Augmentation.multiscale(), patience=3, seed=seed)
    both = {}
    with measuring("two_stream", json_file, _start()) as results:
        for modality, fields in (("rgb", {}), ("flow", {"stack": 5})):
            settings = {"experiment": "fights", "stream": modality, "seed": str(seed)}
            row = _row(f"dtpp_{modality}", settings, recipe, size=size)
            both[modality], row = train_stream(
                row, index, replace(recipe, learning_rate=3e-4), cache=MemoryCache(8 * 2**30),
                backbone="mobilenet", dropout=0.5, spec=fields, **shared,
            )  # fmt: skip
            results.add(row)
        results.add(_fused(row, both["rgb"], both["flow"]))
        resize = {"resize": "fit", "resize_to": round(size * 256 / 224)}
        settings = {"experiment": "fights", "stream": "mobilenet_gru", "seed": str(seed)}
        row = _row("mobilenet_gru", settings, recipe, size=size)
        recipe = replace(recipe, train_from="conv_pw_12")
        results.add(train_stream(row, index, recipe, cache=MemoryCache(), spec=resize, **shared)[1])


@app.command()
def real(
    clips: Annotated[Path, typer.Argument(help="A list: file, label, split, group. Its folder holds the files.")],
    stream: Annotated[list[str], typer.Option(help="A model, and KEY=VALUE of it alone: 'i3d size=112'. Give two.")] = [  # noqa: B006
        "dtpp_rgb",
        "dtpp_flow",
    ],
    weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the first; chosen on the validation clips, if left out.")
    ] = None,
    seed: Annotated[list[int], typer.Option(help="Of each training, and of folds; give it again for more.")] = [0],  # noqa: B006
    folds: Annotated[int, typer.Option(help="Answer every clip once, in so many parts; 0: the list's own split.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of both streams, as of `clipzoo train`.")
    ] = None,
    json_file: ResultFile = None,
) -> None:
    """Real clips: two models of different modalities by the recipe auto, and their fusion, each as an ONNX file.

    Rows are beside those of `real_clips`; a stream that has one already, of the same settings, keeps it.
    """
    if len(stream) != 2:
        raise ClipzooError(f"--stream: give two models, not {len(stream)}")
    # The training on validation clips too leaves none to choose on.
    both = [*(settings or []), *(["recipe.refit=false"] if weight is None else [])]
    pair = [(words[0], words[1:]) for words in map(shlex.split, stream)]
    given = [read_settings("auto", [*both, *alone]) for _, alone in pair]
    index = index_csv(clips, root=clips.parent)
    done = keys_of("real", json_file.parent if json_file else None)
    common = read_settings("auto", both)
    fused = common if weight is None else replace(common, model={**common.model, "weight": weight})
    with measuring("real", json_file, _start()) as results:
        for each in seed:
            for fold, part in folds_of(index, folds, seed=each):
                plan = partial(planned_row, clips.parent.name, seed=each, fold=fold)
                row = plan(_named(pair), fused)
                plans = [(plan(name, of), of) for (name, _), of in zip(pair, given, strict=True)]
                if row.key not in done:
                    for one in _train_and_fuse(part, plans, row, weight=weight, seed=each):
                        if one.key not in done:
                            results.add(one)


def _named(streams: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The fusion of models by their names, and of what each has alone; `dtpp` is that of its own two streams."""
    if [*streams] == [("dtpp_rgb", []), ("dtpp_flow", [])]:
        return "dtpp"
    said = [", ".join(word.rpartition(".")[2].replace("=", " ") for word in words) for _, words in streams]
    return " + ".join(f"{name} ({own})" if own else name for (name, _), own in zip(streams, said, strict=True))


def _train_and_fuse(
    index: ClipIndex, streams: Sequence[tuple[Row, Overrides]], fused: Row, *, weight: float | None, seed: int
) -> Iterator[Row]:
    """The rows of two streams and of their fusion, with the figures of their ONNX files."""
    from export.convert import to_onnx
    from export.runtime import Classifier
    from export.scoring import score
    from zoo.saving import load_model
    from zoo.two_stream import fuse

    models, scores = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, (row, given) in enumerate(streams):
            run = train_by_plan(index, row.model, given, seed=seed, out=Path(folder) / str(number))
            file, used = run.folder / "model.onnx", clips_of(run, index)
            to_onnx(run.folder, file)
            models.append(load_model(run.model))
            splits = ("test",) if weight is not None else ("validation", "test")
            classifier = Classifier(file)
            scores.append({split: score(classifier, used.only(split), workers=cores()) for split in splits})
            facts = {**facts_of(run), **judge(scores[-1]["test"], used)}
            yield replace(row, turns=[[facts["training_seconds"]]], facts=facts)
        if weight is None:
            first, second = scores
            weight = sweep((first["validation"], second["validation"]), (first["test"], second["test"])).chosen
        both = Path(folder) / "fused.onnx"
        to_onnx(fuse(*models, weight=weight), both)
        facts = {**judge(score(Classifier(both), used.only("test"), workers=cores()), used), "rgb_weight": weight}
        yield replace(fused, facts=facts)


def _recipe(epochs: int, seed: int) -> Recipe:
    return Recipe(epochs=epochs, augmentation="none", patience=3, seed=seed)


def _start() -> Console:
    console = text_console()
    console.print(start_backend(training=True))
    return console


def _row(model: str, settings: dict[str, str], recipe: Recipe, **facts: Any) -> Row:
    runner = BACKENDS[os.environ["KERAS_BACKEND"]]
    return Row(
        model=model, runner=runner, settings=settings, batch=recipe.batch, facts={"epochs": recipe.epochs, **facts}
    )


def _fused(row: Row, rgb: dict[str, Scores], flow: dict[str, Scores]) -> Row:
    """Beside the row of one of its streams."""
    found = sweep((rgb["validation"], flow["validation"]), (rgb["test"], flow["test"]))
    facts = {name: value for name, value in row.facts.items() if name != "parameters"}
    facts |= {**figures(found.result), "rgb_weight": found.chosen}
    return replace(row, model="dtpp", settings={**row.settings, "stream": "fused"}, turns=[], facts=facts)


if __name__ == "__main__":
    run_group(app)
