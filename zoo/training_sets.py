"""What a training is fed with: clips, or features of them where a part of the model is frozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from loaders.cache import Cache, DiskCache, MemoryCache
from loaders.dataset import ClipDataset
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from zoo.contract import specs
from zoo.devices import DeviceLayout, copy_on_one_device, current_layout, outside_layout
from zoo.features import FeatureDataset
from zoo.fetching import kept_in
from zoo.frozen import cut
from zoo.recipe import Recipe

TrainingSets = tuple[keras.Model, keras.utils.PyDataset, keras.utils.PyDataset | None]


def training_sets(
    model: keras.Model,
    index: ClipIndex,
    recipe: Recipe,
    *,
    cache: Any = None,
    workers: int = 2,
    say: Callable[[str], object] = lambda line: None,
) -> TrainingSets:
    """What trains, and the training and validation sets for it.

    Args:
        model: frozen as the recipe says.
        index: with splits.
        recipe: with `draws`, what its frozen part gives is computed here, once.
        cache: of clips, or of features: `memory`, a folder, any Cache. None: no clip is kept; features are, under
            `zoo.fetching.kept_in()`.
        workers: threads that read clips.
        say: called with lines of progress.

    Returns:
        The model, or its part behind the frozen one; the two sets, of which the second is None without validation
        clips.

    Raises:
        VideoError: a clip cannot be read.
        ClipzooError: as `zoo.frozen.cut`.
    """
    contract = specs(model)
    augmentation = recipe.augmentation_for(contract, index.labels)
    train, validation = index.only("train"), index.only("validation") if index.counts()["validation"] else None
    over = current_layout()
    batch = recipe.batch if over is None else over.share(recipe.batch)
    common: dict[str, Any] = {"batch_size": batch, "workers": workers}
    if over is not None and (note := over.waste(recipe.batch)):
        say(note)
    if not recipe.draws:
        trained = ClipDataset(
            train, contract, shuffle=True, augmentation=augmentation, mixup=recipe.mixup, seed=recipe.seed,
            split="train", cache=cache, **common,
        )  # fmt: skip
        common |= {"split": "validation", "cache": trained.cache}
        checked: Any = ClipDataset(validation, contract, **common) if validation else None
        return model, _share(trained, over), _share(checked, over)
    parts = cut(model, recipe.train_from)
    common |= {"cache": kept_features(cache, say), "say": say}
    frozen = copy_on_one_device(parts.frozen)
    with outside_layout():
        drawn = FeatureDataset(
            frozen, contract, train, draws=recipe.draws, augmentation=augmentation, mixup=recipe.mixup, shuffle=True,
            seed=recipe.seed, **common,
        )  # fmt: skip
        known = FeatureDataset(frozen, contract, validation, **common) if validation else None
    return parts.rest, _share(drawn, over), _share(known, over)


def _share(dataset: Any, over: DeviceLayout | None) -> Any:
    return dataset if dataset is None or over is None or over.hosts == 1 else dataset.shard(over.host, over.hosts)


def kept_features(cache: Any, say: Callable[[str], object]) -> Cache:
    """Where features are kept: `cache` as `training_sets` takes it; in memory alone where no folder can be written."""
    if cache == "memory":
        return MemoryCache()
    if cache is not None:
        return DiskCache(cache) if isinstance(cache, str | Path) else cache
    folder = kept_in() / "features"
    try:
        return DiskCache(folder)
    except ClipzooError as error:
        say(f"note: features are kept in memory alone ({error})")
        return MemoryCache()
