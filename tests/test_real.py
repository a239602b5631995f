"""Figures of real clips: what a training leaves, and what the table makes of it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.harness import accuracy_tables
from benchmarks.harness.plots import draw
from benchmarks.harness.records import Results, Row, newest
from benchmarks.real_clips import fewer, planned_row
from loaders import Clip, ClipIndex, ClipzooError, write_csv
from tests.support.commands import invoke_script, refused
from tests.support.results import a_setup
from zoo.evaluation import wilson
from zoo.settings import read_settings


def trained(*, model: str = "i3d", runner: str = "Keras JAX", top1: float = 0.75, of: int = 4, **settings: str) -> Row:
    facts = {"training_top1": 0.9, "validation_top1": 0.8, "calibration_error": 0.1, "top1": top1, "test_clips": of}
    settings = {"clips": "fights", "seed": "0", **settings}
    return Row(model=model, runner=runner, settings=settings, batch=0, turns=[[60.0]], facts=facts)


def listed(index: ClipIndex, folder: Path) -> Path:
    """A list of these clips, copied into a folder."""
    shutil.copytree(index.root, folder)
    write_csv(index, folder / "list.csv")
    return folder / "list.csv"


def test_a_row_is_a_seed_and_folds_are_taken_together() -> None:
    article = trained(model="gru", recipe="article")
    rows = [
        trained(),
        trained(seed="1", top1=0.25),
        trained(model="dtpp", options="alpha 0.5", fold="1 of 2", top1=1.0, of=2),
        trained(model="dtpp", options="alpha 0.5", fold="2 of 2", top1=0.5, of=2),
        trained(model="tsm", fold="1 of 2"),  # one of its folds is missing
        trained(clips="hmdb21", top1=0.0),
        trained(clips="hmdb21", top1=0.25, fold="1 of 1", runner="Keras TensorFlow"),  # another backend is another row
        replace(article, facts={"top1": 0.5, "test_clips": 4}),  # of before more was kept
        trained(crops="3 crops", top1=1.0),
    ]
    low, high = wilson(3, 4)
    heads, *lines = accuracy_tables.real(rows)
    assert ("fights", "i3d", "0", "90.0%", "80.0%", "75.0% of 4", f"{low:.1%} to {high:.1%}", "10.0%") == lines[2]
    assert lines[0][:6] == ("fights", "dtpp, alpha 0.5", "0", "90.0%", "80.0%", "75.0% of 4")
    assert lines[1][:6] == ("fights", "gru, recipe article, JAX", "0", "", "", "50.0% of 4")
    assert lines[4][:6] == ("fights", "i3d, 3 crops", "0", "90.0%", "80.0%", "100.0% of 4")
    assert [line[:3] for line in (lines[3], *lines[5:])] == [("fights", "i3d", "1"), *[("hmdb21", "i3d", "0")] * 2]
    assert len(lines) == 7 and all(len(line) == len(heads) for line in lines)
    assert accuracy_tables.shares("fights", rows) == {"i3d": 0.5, "dtpp": 0.75}
    other = trained(options="modality diff", top1=0.0)
    assert accuracy_tables.shares("fights", [*rows, other]) == accuracy_tables.shares("fights", rows)
    assert accuracy_tables.shares("ucf", rows) == {} and list(accuracy_tables.real([])) == [heads]


def test_trainings_are_compared_on_the_same_clips_film_by_film() -> None:
    files = [f"golf/film{number // 5}_golf_{number}.avi" for number in range(100)]

    def answered(model: str, right: str, **settings: str) -> Row:
        row = trained(model=model, clips="hmdb21", **settings)
        return replace(row, facts={**row.facts, "files": files, "right": right})

    rows = [
        answered("i3d", "1" * 75 + "0" * 25), answered("gru", "10" * 50), answered("gru", "01" * 50, seed="1"),
        answered("lstm", "10100" * 20), trained(model="old", clips="hmdb21"),
    ]  # fmt: skip
    heads, *lines = accuracy_tables.pairs(rows)
    assert [line[:4] for line in lines] == [
        ("hmdb21", "i3d", "lstm", "35.0 points"), ("hmdb21", "i3d", "gru", "25.0 points"),
        ("hmdb21", "gru", "lstm", "10.0 points"),
    ]  # fmt: skip
    assert all(len(line) == len(heads) for line in lines) and lines[2][5] == "< 0.001"  # in every film alike
    low, high = (float(bound) for bound in lines[1][4].split(" to "))
    assert 0 < low < 25 < high < 50  # whole films are right, or wrong
    grouped = answered("gru", "01" * 50, seed="1")
    recipes = [answered("i3d", "1" * 100, recipe="article"), *rows]
    named = [line[1:3] for line in list(accuracy_tables.pairs(recipes))[1:] if "article" in line[1] + line[2]]
    assert named == [("i3d, recipe article", "i3d")]  # another model's recipe is another question
    crops = [
        answered("gru", "1" * 100),
        answered("gru", "0" * 100, seed="1"),
        answered("gru", "1" * 100, crops="3 crops"),
    ]
    assert [line[3] for line in list(accuracy_tables.pairs(crops))[1:]] == ["0.0 points"]  # of the seed that both have
    ways = [*crops, answered("gru", "1" * 100, options="modality diff", recipe="article")]
    assert len(list(accuracy_tables.pairs(ways))) == 1 + 1  # two things differ from each of the others
    apart = [rows[0], replace(grouped, facts={**grouped.facts, "groups": files})]
    ((*_, interval, _),) = list(accuracy_tables.pairs(apart))[1:]
    assert float(interval.split(" to ")[0]) > low  # of clips that have nothing to do with one another


def test_few_clips_are_of_every_class_and_the_test_clips_stay() -> None:
    clips = [Clip(f"{label}{n}.avi", label, split="test" if n < 3 else "train") for label in "ab" for n in range(9)]
    clips += [Clip(f"c{n}.avi", "c", split="validation") for n in range(2)]
    index = ClipIndex(Path("set"), tuple(clips))
    few = fewer(index, 8, seed=0)
    assert few.only("test").clips == index.only("test").clips and set(few) <= set(index)
    assert Counter(clip.label for clip in few if clip.split != "test") == {"a": 3, "b": 3, "c": 2}
    assert set(fewer(index, 14, seed=0)) == set(index) and fewer(index, 8, seed=1).clips != few.clips
    assert fewer(index, 8, seed=0) == few
    for limit in (5, 15):
        with pytest.raises(ClipzooError, match=f"--limit {limit}: must be 6, two of each class, to 14"):
            fewer(index, limit, seed=0)


def test_trainings_on_few_clips_have_a_table_of_their_own() -> None:
    rows = [trained(), trained(limit="60 training clips", seed="1", top1=0.5), trained(limit="60 training clips")]
    assert list(accuracy_tables.limits(rows))[1:] == [("fights", "i3d", "60", "2", "90.0%", "75.0%, 50.0% of 4")]
    assert len(list(accuracy_tables.real(rows))) == 2 and accuracy_tables.shares("fights", rows) == {"i3d": 0.75}
    assert list(accuracy_tables.halves(rows))[1:] == []
    half = replace(trained(options="alpha 0.5"), facts={**trained().facts, "float16_changed": 1})
    assert list(accuracy_tables.halves([half]))[1:] == [("fights", "i3d, alpha 0.5", "0", "4", "1 (25.0%)")]
    folds = [replace(half, settings={**half.settings, "fold": f"{n} of 2"}) for n in (1, 2)]
    assert list(accuracy_tables.halves(folds))[1:] == [("fights", "i3d, alpha 0.5", "0", "8", "2 (25.0%)")]
    assert list(accuracy_tables.halves(folds[:1]))[1:] == []  # one of its folds is missing
    refused = replace(folds[1], facts={"float16_refused": "parity failed", "test_clips": 4})
    said = "1 (25.0%); 1 of 2 files refused by the parity gate"
    assert list(accuracy_tables.halves([folds[0], refused]))[1:] == [("fights", "i3d, alpha 0.5", "0", "4", said)]


def test_every_training_is_kept_whatever_is_measured_later(tmp_path: Path) -> None:
    """They take turns with none: no file is of all that belongs together."""
    for name, rows in (("1", [trained(), trained(seed="1")]), ("2", [trained(seed="2"), trained(top1=0.5)])):
        results = Results.start(tmp_path / "box" / f"real-{name}.jsonl", a_setup(kind="real"))
        for row in rows:
            results.add(row)
    kept = [(row.settings["seed"], row.facts["top1"]) for found in newest("real", tmp_path) for row in found.rows]
    assert kept == [("1", 0.75), ("2", 0.75), ("0", 0.5)]


def test_what_a_trained_model_confuses_is_drawn(tmp_path: Path) -> None:
    results = Results.start(tmp_path / "real-1.jsonl", a_setup(kind="real"))
    results.add(trained())
    assert draw([results]) == []
    more = {"interval": [0.3, 0.9], "mean_class_accuracy": 0.75, "labels": ["a", "b"], "confusion": [[2, 0], [1, 1]]}
    results.add(replace(trained(), facts={**trained().facts, **more}))
    (picture,) = draw([results])
    assert picture.name == "confusion.png" and picture.read_bytes().startswith(b"\x89PNG")


def test_the_curves_of_the_article_s_trainings_are_drawn(tmp_path: Path) -> None:
    results = Results.start(tmp_path / "real-1.jsonl", a_setup(kind="real"))
    row = trained(model="convnet_gru", recipe="article")
    epochs = [{"epoch": n, "loss": 1 / (n + 1), "accuracy": n / 3, "best": float(n == 1)} for n in range(3)]
    judged = [{**each, "val_loss": 1.0, "val_accuracy": 0.5} for each in epochs]
    results.add(replace(row, facts={**row.facts, "history": [{"loss": 1.0}]}))  # of before there was a best epoch
    assert draw([results]) == []
    results.add(replace(row, facts={**row.facts, "history": judged}))
    (picture,) = draw([results])
    assert picture.name == "article.png" and picture.read_bytes().startswith(b"\x89PNG")


def test_what_helps_is_told_from_noise_by_seeds() -> None:
    base, better, noise = [0.50, 0.54, 0.46], [0.60, 0.65, 0.55], [0.60, 0.44, 0.48]

    def tried(technique: str, scores: list[float], known: str = "last_top1") -> list[Row]:
        settings = {"clips": "hmdb21", "technique": technique}
        return [
            replace(trained(), settings={**settings, "seed": str(n)}, facts={"validation_top1": 0.3, known: each})
            for n, each in enumerate(scores)
        ]

    rows = [*tried("auto", base), *tried("EMA", better), *tried("no dropout", noise)]
    rows += tried("warm-up", [0.1], "validation_top1")
    heads, *lines = accuracy_tables.techniques(rows)
    assert [line[2:6] for line in lines] == [
        ("EMA", "3", "60.0%", "10.0 points"), ("no dropout", "3", "50.7%", "0.7 points"), ("nothing", "3", "50.0%", ""),
        ("warm-up", "1", "10.0%", ""),
    ]  # fmt: skip
    assert float(lines[0][7]) < 0.01 < 0.05 < float(lines[1][7]) and lines[1][6].startswith("-")
    assert all(len(line) == len(heads) for line in lines)


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.usefixtures("stripes")
def test_techniques_are_judged_on_validation_clips(motion: ClipIndex, tmp_path: Path) -> None:
    clips = listed(motion.split(validation=0, test=0.3, seed=0), tmp_path / "set")
    out = ("--json", tmp_path / "techniques-1.jsonl", "--seed", "0")
    command = ["techniques", clips, "--model", "stripes_average", "--set", "frames=3", *out]
    refused(invoke_script(*command), "stripes_average: begins from no weights")
    frozen = ("draws=1", "train_from=head", "validation=0.2", "epochs=2")
    for field in frozen:
        command += ["--set", f"recipe.{field}"]
    done = invoke_script(*command, "--technique", "classes balanced", "--technique", "no dropout",
                         "--technique", "frames squeezed into a square")  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, other, third = Results.load(tmp_path / "techniques-1.jsonl").rows
    assert third.facts["options"]["spec"] == {"resize": "stretch"} and "spec" not in other.facts["options"]
    assert one.facts["recipe"]["class_weights"] and not other.facts["recipe"]["class_weights"]
    assert other.facts["options"]["dropout"] == 0.0 and "dropout" not in one.facts["options"]
    assert 0 <= one.facts["last_top1"] <= 1 and 0 <= one.facts["validation_top1"] <= 1
    assert 0 < one.facts["validation_clips"] < 12


@pytest.mark.keras
@pytest.mark.either
@pytest.mark.parametrize("said", ["alpha=0.5", "recipe.draws=2", "spec.modality=diff", "spec.flow.method=tvl1"])
def test_a_row_is_told_from_others_by_all_that_is_set(said: str) -> None:
    plain = planned_row("fights", "mobilenet_gru", read_settings("auto", []), seed=0)
    row = planned_row("fights", "mobilenet_gru", read_settings("auto", [said]), seed=0)
    assert row.key != plain.key, "a training with this setting would be taken for one that is done"


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.usefixtures("stripes")
def test_a_training_leaves_its_figures_once(motion: ClipIndex, tmp_path: Path) -> None:
    index = motion.split(validation=0.2, test=0.3, seed=0)
    clips = listed(index, tmp_path / "set")
    command = ["real_clips", clips, "--model", "stripes_average", "--out", tmp_path / "out"]
    limit = len(index) - len(index.only("test")) - 10
    small = [word for each in ("frames=3", "filters=8", "recipe.learning_rate=0.05") for word in ("--set", each)]
    small += ["--limit", str(limit), "--float16", "--crops", "3"]
    done = invoke_script(*command, *small)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").iterdir()
    (row,) = Results.load(file).rows
    facts = row.facts
    assert len(facts["right"]) == len(facts["files"]) == facts["test_clips"] == len(index.only("test"))
    assert facts["top1"] == pytest.approx(facts["right"].count("1") / len(facts["right"]))
    assert sum(map(sum, facts["confusion"])) == facts["test_clips"]
    assert len(index.only("train")) - 10 <= facts["training_clips"] < limit
    assert row.settings["limit"] == f"{limit} training clips" and row.settings["crops"] == "3 crops"
    assert 0 <= facts["float16_changed"] <= facts["test_clips"]
    assert row.settings["options"] == "frames 3, filters 8" and row.settings["recipe"] == "auto, learning_rate 0.05"
    assert "is there" in invoke_script(*command, *small).stdout
    assert "crops (5) must be 1, 3 or 10" in invoke_script(*command, "--crops", "5").stderr
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.usefixtures("stripes")
def test_a_probe_is_fitted_to_the_training_clips_alone(motion: ClipIndex, tmp_path: Path) -> None:
    index = motion.split(validation=0, test=0.3, seed=0)
    clips = listed(index, tmp_path / "set")
    command = ["real_clips", clips, "--model", "stripes_average", "--set", "frames=3"]
    command += ["--probe", "--out", tmp_path / "out"]
    refused(invoke_script(*command), "stripes_average: begins from no weights")
    refused(invoke_script(*command, "--crops", "3"), "--probe is of one crop")
    frozen = [word for each in ("draws=1", "train_from=head") for word in ("--set", f"recipe.{each}")]
    done = invoke_script(*command, *frozen)
    assert done.returncode == 0, done.stderr
    (row,) = Results.load(max((tmp_path / "out").iterdir())).rows
    assert row.facts["files"] == [clip.file for clip in index.only("test")]
    assert row.facts["training_clips"] == len(index.only("train")) and row.facts["strength"] > 0
    assert row.facts["training_top1"] > 1 / len(index.labels)
    assert "linear probe of stripes_average" in next(islice(accuracy_tables.real([row]), 1, None))[1]
    assert accuracy_tables.shares("set", [row]) == {}  # it is no model


@pytest.mark.keras
@pytest.mark.slow
def test_both_streams_and_their_fusion_answer_the_same_clips(motion: ClipIndex, tmp_path: Path) -> None:
    clips = listed(motion.split(validation=0.2, test=0.3, seed=0), tmp_path / "set")
    small = ("backbone=convnet", "width=0.25", "frames=4", "size=48", "recipe.epochs=1", "recipe.batch=4")
    settings = [word for each in small for word in ("--set", each)]
    out = ("--json", tmp_path / "real-1.jsonl")
    done = invoke_script("two_stream", "real", clips, *settings, *out)
    assert done.returncode == 0, done.stderr
    rgb, flow, fused = rows = Results.load(tmp_path / "real-1.jsonl").rows
    assert [row.model for row in rows] == ["dtpp_rgb", "dtpp_flow", "dtpp"]
    assert rgb.facts["files"] == flow.facts["files"] == fused.facts["files"]
    assert 0 <= fused.facts["rgb_weight"] <= 1 and flow.facts["specs"]["flow"]["stack"] > 1
    alone = {1.0: rgb, 0.0: flow}.get(fused.facts["rgb_weight"])
    assert alone is None or alone.facts["right"] == fused.facts["right"]
    assert len(list(accuracy_tables.pairs(rows))) == 1 + 3  # each against each


@pytest.mark.keras
@pytest.mark.slow
def test_any_two_models_are_fused_with_a_weight_that_is_given(motion: ClipIndex, tmp_path: Path) -> None:
    clips = listed(motion.split(validation=0.2, test=0.3, seed=0), tmp_path / "set")
    streams = ("--stream", "dtpp_rgb", "--stream", "dtpp_rgb spec.modality=rgb_diff")
    small = ("backbone=convnet", "width=0.25", "frames=4", "size=48", "recipe.epochs=2", "recipe.learning_rate=1e-2")
    settings = [word for each in small for word in ("--set", each)]
    folds = ("--folds", 2, "--weight", 0.5, "--json", tmp_path / "real-1.jsonl")
    done = invoke_script("two_stream", "real", clips, *streams, *settings, *folds)
    assert done.returncode == 0, done.stderr
    rows = Results.load(tmp_path / "real-1.jsonl").rows
    fused = "dtpp_rgb + dtpp_rgb (modality rgb_diff)"
    assert [row.model for row in rows] == 2 * ["dtpp_rgb", "dtpp_rgb", fused]
    assert [row.settings["fold"] for row in rows] == 3 * ["1 of 2"] + 3 * ["2 of 2"]
    assert "modality rgb_diff" in rows[1].settings["options"] and len({row.key for row in rows}) == 6
    assert all("weight 0.5" in row.settings["options"] for row in rows[2::3])  # another weight is another row
    assert sorted(file for row in rows[2::3] for file in row.facts["files"]) == sorted(clip.file for clip in motion)
    refused(invoke_script("two_stream", "real", clips, "--stream", "i3d"), "give two models, not 1")
