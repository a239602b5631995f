"""ClipDataset and fit: the same batches whatever the workers, files that are whole, figures that add up."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

import zoo
from loaders import Augmentation, Clip, ClipDataset, ClipIndex, ClipSpec, ClipzooError, VideoError
from zoo.layers import OutputActivation
from zoo.progress import RichProgress
from zoo.recipe import Recipe
from zoo.training import compile_model, fit

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("stripes")]
SPEC = ClipSpec(frames=4, height=16, width=16)


def small(labels: tuple[str, ...], seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return zoo.create_model("stripes_average", classes=labels, frames=4, size=16, filters=8, dropout=0.0)


def test_batches_have_the_promised_shapes_and_none_is_dropped(motion: ClipIndex) -> None:
    dataset = ClipDataset(motion, SPEC, batch_size=20)
    assert len(dataset) == 3
    sizes = []
    for batch in range(len(dataset)):
        clips, labels = dataset[batch]
        assert isinstance(clips, np.ndarray)
        assert (clips.dtype, clips.shape[1:]) == (np.uint8, SPEC.shape)
        assert (labels.dtype, labels.shape[1:]) == (np.float32, (6,))
        np.testing.assert_array_equal(labels.sum(axis=1), 1)
        sizes.append(len(clips))
    assert sizes == [20, 20, 8]
    with pytest.raises(IndexError):
        dataset[3]
    clips, _ = ClipDataset(motion, {"a": SPEC, "b": SPEC.replace(height=8)}, batch_size=2)[0]
    assert isinstance(clips, dict)
    assert {name: value.shape for name, value in clips.items()} == {"a": (2, 4, 16, 16, 3), "b": (2, 4, 8, 16, 3)}


def test_samples_are_reshuffled_from_seed_and_epoch(motion: ClipIndex) -> None:
    dataset = ClipDataset(motion, SPEC, batch_size=8, shuffle=True, seed=1)
    orders = [dataset.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(48)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    # Samples move between batches; permuting whole batches would keep them together.
    assert {frozenset(orders[0][i : i + 8]) for i in range(0, 48, 8)} != {
        frozenset(orders[1][i : i + 8]) for i in range(0, 48, 8)
    }
    again = ClipDataset(motion, SPEC, batch_size=3, shuffle=True, seed=1, workers=7)
    assert again.order(2).tolist() == orders[2]
    assert ClipDataset(motion, SPEC, shuffle=True, seed=2).order(0).tolist() != orders[0]


def test_augmentation_is_one_draw_a_clip_from_seed_epoch_and_clip(motion: ClipIndex) -> None:
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8), 4, axis=0)
    moved = Augmentation()(still, np.random.default_rng(3))
    assert all((frame == moved[0]).all() for frame in moved)
    assert (moved != still).any()
    plain = Augmentation(zoom=0, flip=True, rotation=0, width_shift=0, height_shift=0)
    flips = {bool((plain(still, np.random.default_rng(n)) == still[:, :, ::-1]).all()) for n in range(12)}
    assert flips == {True, False}

    batches = [
        ClipDataset(motion, SPEC, batch_size=48 // split, augmentation=Augmentation(), seed=4) for split in (1, 3)
    ]
    whole = batches[0][0][0]
    np.testing.assert_array_equal(whole, np.concatenate([batches[1][i][0] for i in range(3)]))
    batches[0].epoch = 1
    assert (batches[0][0][0] != whole).any()


@pytest.mark.parametrize("field", ["zoom", "width_shift", "height_shift", "rotation"])
def test_an_augmentation_out_of_range_is_named(field: str) -> None:
    with pytest.raises(ClipzooError, match=field):
        Augmentation(**{field: -1})


class Seen(keras.utils.PyDataset):
    """Notes which epoch each batch was read for."""

    def __init__(self, dataset: ClipDataset) -> None:
        super().__init__()
        self.dataset = dataset
        self.index = dataset.index
        self.read: list[tuple[int, int]] = []
        self.training = False

    @property
    def epoch(self) -> int:
        return self.dataset.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.training = True
        self.dataset.epoch = epoch

    @property
    def num_batches(self) -> int:
        return len(self.dataset)

    def __getitem__(self, batch: int):  # type: ignore[no-untyped-def]
        if self.training:
            self.read.append((self.dataset.epoch, batch))
        return self.dataset[batch]


@pytest.mark.parametrize("workers", [1, 4])
def test_every_epoch_reads_its_own_order_with_any_number_of_workers(motion: ClipIndex, workers: int) -> None:
    feed = Seen(ClipDataset(motion, SPEC, batch_size=10, shuffle=True, seed=0, workers=workers))
    history = fit(small(motion.labels), feed, recipe=Recipe(epochs=3))
    assert feed.read == [(epoch, batch) for epoch in range(3) for batch in range(5)]  # each once, in order
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert all(0 <= row["data_wait"] <= 1 and row["seconds"] > 0 for row in history)


class Foreign(keras.utils.PyDataset):
    """Somebody else's dataset: shuffles itself between epochs, and asks for several workers."""

    def __init__(self) -> None:
        super().__init__(workers=3)
        self.round = 0

    @property
    def num_batches(self) -> int:
        return 7

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        clips = np.full((2, *SPEC.shape), batch, np.uint8)
        clips[:, 0, 0, 0, 0] = self.round
        return clips, np.eye(2, dtype=np.float32)

    def on_epoch_end(self) -> None:
        self.round += 1


def test_another_dataset_gives_each_epoch_its_own_batches_once_and_in_order() -> None:
    from zoo.prefetching import PrefetchingDataset

    dataset = Foreign()
    feed = PrefetchingDataset(dataset)
    feed[0]  # as Keras does before the first epoch
    seen = []
    for epoch in range(3):
        feed.begin(epoch)
        for batch in range(7):
            clips, _ = feed[batch]
            seen.append((int(clips[0, 0, 0, 0, 0]), int(clips[0, 1, 0, 0, 0])))
    assert seen == [(epoch, batch) for epoch in range(3) for batch in range(7)]
    dataset.round = 0
    assert len(fit(small(("a", "b")), dataset, recipe=Recipe(epochs=3))) == 3
    assert dataset.round == 2  # not Keras's extra call before the first epoch, nor one after the last


def test_the_next_batch_is_fetched_before_a_step_s_figures_are_there() -> None:
    """On JAX, Keras waits for the figures of every step unless each callback that sees them is said to be safe."""
    from zoo.prefetching import PrefetchingDataset, WaitingTimer

    threads = []

    class Noting(WaitingTimer):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            threads.append(threading.current_thread())
            super().on_train_batch_end(batch, logs)

    model = small(("a", "b"))
    compile_model(model, Recipe())
    feed = PrefetchingDataset(Foreign())
    clock = Noting(feed)
    model.fit(feed, epochs=2, verbose=0, callbacks=[clock, RichProgress(Console(quiet=True))])
    assert len(threads) == 14
    if keras.config.backend() == "jax":
        assert threading.main_thread() not in threads
    assert 0 < clock.seconds(skip=1) < clock.seconds()
    assert 0 <= clock.wait(skip=1) <= 1


def test_training_is_the_same_for_the_same_seed_whatever_the_workers(motion: ClipIndex) -> None:
    losses = []
    for workers in (1, 4):
        dataset = ClipDataset(
            motion, SPEC, batch_size=10, shuffle=True, augmentation=Augmentation(), seed=7, workers=workers
        )
        history = fit(small(motion.labels), dataset, recipe=Recipe(epochs=2, seed=7))
        losses.append([row["loss"] for row in history])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_plain_keras_fit_works(motion: ClipIndex) -> None:
    model = small(motion.labels)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    dataset = ClipDataset(motion, zoo.specs(model), batch_size=16, shuffle=True, workers=3)
    history = model.fit(dataset, validation_data=ClipDataset(motion, SPEC, batch_size=16), epochs=3, verbose=0)
    assert len(history.history["val_loss"]) == 3
    assert history.history["loss"][-1] < history.history["loss"][0]


@pytest.mark.either
def test_train_writes_best_and_last_model_figures_and_curves(motion: ClipIndex, tmp_path: Path) -> None:
    model = small(motion.labels)
    index = motion.split(validation=0.25)
    said: list[str] = []
    run = zoo.train(index, model, Recipe(epochs=3, optimizer="sgd"), out=tmp_path, say=said.append)
    assert {path.name for path in run.files} == {
        "curves.png", "history.csv", "labels.txt", "last.keras", "model.keras", "run.json", "split.csv",
    }  # fmt: skip
    assert "mirroring: off: it would turn 'left' into 'right'" in said
    history = run.read_history()
    dataset = ClipDataset(index.only("validation"), zoo.specs(model), batch_size=16)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    assert [float(row["val_loss"]) for row in rows] == [row["val_loss"] for row in history]
    best = zoo.load_model(tmp_path, compile=True).evaluate(dataset, verbose=0, return_dict=True)
    assert best["loss"] == pytest.approx(min(row["val_loss"] for row in history), rel=1e-3)
    last = zoo.load_model(tmp_path / "last.keras", compile=True).evaluate(dataset, verbose=0, return_dict=True)
    assert last["loss"] == pytest.approx(history[-1]["val_loss"], rel=1e-3)
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
@pytest.mark.either
def test_mixed_precision_is_that_of_training_not_of_the_files(motion: ClipIndex, tmp_path: Path) -> None:
    model = zoo.create_model("convnet_gru", classes=motion.labels, frames=4, size=16, width=0.125, units=8)
    dataset = ClipDataset(motion, zoo.specs(model), batch_size=16)
    recipe = Recipe(epochs=2, augmentation="none", precision="mixed_bfloat16")
    history = zoo.train(motion.split(validation=0.25), model, recipe, out=tmp_path).read_history()
    assert history[-1]["loss"] < history[0]["loss"]
    frames = {layer.compute_dtype for layer in model.get_layer("frames")._flatten_layers()}
    over_time = {
        layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.GRU | OutputActivation)
    }
    assert (frames, over_time) == ({"bfloat16"}, {"float32"})
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}

    saved = zoo.load_model(tmp_path / "last.keras")
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}
    clips, _ = dataset[0]
    mixed, plain = (each.predict_on_batch(clips) for each in (model, saved))
    assert mixed.dtype == np.float32
    assert 0 < np.abs(mixed - plain).max() < 0.02


def test_labels_that_do_not_fit_are_an_error(motion: ClipIndex) -> None:
    model = small(("a", "b"))
    with pytest.raises(ClipzooError, match="labels do not fit"):
        fit(model, ClipDataset(motion, zoo.specs(model)))


def test_a_file_that_breaks_under_training_is_named_and_no_batch_shrinks(motion: ClipIndex, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    index = ClipIndex(tmp_path, (Clip("broken.mp4", "a"), Clip("other.mp4", "b")))
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        ClipDataset(index, SPEC)[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"batch_size": 0}, "batch_size"), ({"workers": 0}, "workers"), ({"use_multiprocessing": True}, "keras#20619")],
)
def test_a_bad_dataset_is_refused(motion: ClipIndex, options: dict[str, int], said: str) -> None:
    with pytest.raises(ClipzooError, match=said):
        ClipDataset(motion, SPEC, **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("optimizer", 3),
        ("augmentation", "some"),
        ("monitor", "accuracy"),
        ("class_weights", 1),
        ("validation", -0.1),
        ("seed", -1),
        ("learning_rate", -1.0),
        ("factor", 1.0),
        ("patience", 0),
        ("precision", "half"),
    ],
)
def test_a_bad_recipe_is_named(option: str, value: object) -> None:
    with pytest.raises(ClipzooError, match=option):
        Recipe(**{option: value})  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_stops_with_a_sentence(motion: ClipIndex) -> None:
    model = small(motion.labels)
    weights = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([w * np.nan for w in weights])
    with pytest.raises(ClipzooError, match="loss is nan in epoch 1"):
        fit(model, ClipDataset(motion, zoo.specs(model)), recipe=Recipe(epochs=1))


def test_specs_are_json_in_the_saved_file(tmp_path: Path) -> None:
    import zipfile

    small(("a", "b")).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        config = json.loads(file.read("config.json"))
    carried = [c["config"]["spec"] for c in config["config"]["layers"] if c["class_name"] == "ClipInput"]
    assert carried == [SPEC.to_dict()]


@pytest.mark.keras
@pytest.mark.either
def test_the_record_has_the_crops_that_flow_was_trained_with(motion: ClipIndex, tmp_path: Path) -> None:
    options = {"frames": 2, "size": 16, "width": 0.0625, "spec": {"modality": "flow"}}
    run = zoo.train(
        motion, "convnet_gru", Recipe(epochs=1, augmentation="multiscale"), out=tmp_path / "run", options=options
    )
    again = Recipe.from_dict(run.read_record()["recipe"])
    specs = {"video": ClipSpec(frames=2, height=16, width=16, modality="flow")}
    assert again.augmentation_for(specs, motion.labels) == Recipe(augmentation="multiscale").augmentation_for(
        specs, motion.labels
    )
