"""What the tables of trained models say: cells, the heads first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from operator import ne
from statistics import fmean

from benchmarks.harness.records import Row
from benchmarks.harness.render import Cells
from benchmarks.harness.statistics import paired_difference, paired_seeds
from loaders.official import film
from zoo.evaluation import wilson

Rows = Sequence[Row]
AUTO = "auto"  # the technique that the others are compared with
WAYS = ("recipe", "crops", "probe")  # one thing may differ in a comparison: the model, its options, or one of these


def accuracy(rows: Rows) -> Iterable[Cells]:
    """How good models become on made clips."""
    yield "model", "backend", "precision", "right (top-1)", "95 % interval", "test clips", "trained in, s"
    for row in rows:
        name = (row.model, row.runner.removeprefix("Keras "), row.settings["precision"])
        if row.measured:
            yield *name, *_share(row), str(row.facts["clips"]), f"{row.facts['seconds']:.0f}"
        else:
            yield *name, f"{row.status}: {row.note}", "", "", ""


def motion(rows: Rows) -> Iterable[Cells]:
    """The two-stream model on drawn motion clips."""
    yield "drawn motion clips, chance 16.7%", "test top-1", "95 % interval"
    for row in _of("motion", rows):
        yield f"{row.settings['stream']}, {row.runner.removeprefix('Keras ').lower()}", *_share(row)


def ablation(rows: Rows) -> Iterable[Cells]:
    """Levels and pooling of the pyramid, in the form of the paper's table."""
    yield "pyramid, drawn motion clips", "RGB", "flow", "fused"
    found = {(row.settings["pyramid"], row.settings["stream"]): row for row in _of("ablation", rows)}
    for pyramid in dict.fromkeys(pyramid for pyramid, _ in found):
        yield pyramid, *(_share(found[pyramid, stream])[0] for stream in ("rgb", "flow", "fused"))


def fights(rows: Rows) -> Iterable[Cells]:
    """The two-stream model on real clips, every seed."""
    yield "fights, grouped split, 60 test clips", "test top-1", "95 % interval"
    for row in _of("fights", rows):
        cost = f", trained in {sum(row.seconds):.0f} s" if row.turns else ""
        weight = f" (RGB weighs {row.facts['rgb_weight']:g})" if "rgb_weight" in row.facts else ""
        yield f"{row.settings['stream']}, seed {row.settings['seed']}{cost}{weight}", *_share(row)


def _of(experiment: str, rows: Rows) -> list[Row]:
    return [row for row in rows if row.settings["experiment"] == experiment]


def two_stream(rows: Rows) -> Iterable[Cells]:
    """The table of the first row's experiment: a file has one."""
    experiment = rows[0].settings["experiment"] if rows else "motion"
    return {"motion": motion, "ablation": ablation, "fights": fights}[experiment](rows)


def real(rows: Rows) -> Iterable[Cells]:
    """Models on real clips: a row for each dataset, model, backend and seed; of folds, all clips together."""
    yield "dataset", "model", "seed", "training top-1", "validation top-1", "test top-1", "95 % interval", "ECE"
    found = sorted(_trainings(rows).items(), key=lambda each: (each[0][:2], each[0][4:8], each[0][2], each[0][3]))
    for (clips, _, runner, seed, _, recipe, *_), parts in found:
        right, clips_in_all = _right(parts)
        low, high = wilson(right, clips_in_all)
        figures = [
            f"{fmean(part.facts[name] for part in parts):.1%}" if name in parts[0].facts else ""
            for name in ("training_top1", "validation_top1", "calibration_error")
        ]
        test = f"{right / clips_in_all:.1%} of {clips_in_all}"
        name = _name(parts[0]) + (f", {runner.removeprefix('Keras ')}" if recipe else "")
        yield clips, name, seed, *figures[:2], test, f"{low:.1%} to {high:.1%}", figures[2]


def limits(rows: Rows) -> Iterable[Cells]:
    """What is learnt of few clips: a row for each model and number of training clips, the mean of its seeds."""
    yield "dataset", "model", "training clips", "seeds", "training top-1", "test top-1, each seed"
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if limit := row.settings.get("limit", ""):
            found.setdefault((row.settings["clips"], _name(row), int(limit.partition(" ")[0])), []).append(row)
    for (clips, name, count), parts in sorted(found.items()):
        trained = f"{fmean(row.facts['training_top1'] for row in parts):.1%}"
        tested = ", ".join(f"{row.facts['top1']:.1%}" for row in sorted(parts, key=lambda row: row.settings["seed"]))
        yield clips, name, str(count), str(len(parts)), trained, f"{tested} of {parts[0].facts['test_clips']}"


def techniques(rows: Rows) -> Iterable[Cells]:
    """What one thing changed in the recipe `auto` does to top-1 on validation clips: a row for each, over its seeds.

    After the last epoch; older rows know that of the best epoch by loss alone.
    """
    yield "dataset", "model", "changed", "seeds", "validation top-1", "better than auto by", "95 % interval", "p"
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        of = found.setdefault((row.settings["clips"], _name(row)), {}).setdefault(row.settings["technique"], {})
        of[row.settings["seed"]] = row.facts.get("last_top1", row.facts["validation_top1"])
    for (clips, name), ways in sorted(found.items()):
        base = ways.get(AUTO, {})
        for way, scores in sorted(ways.items(), key=lambda each: -fmean(each[1].values())):
            seeds = sorted(scores.keys() & base.keys())
            cells = [clips, name, "nothing" if way == AUTO else way, str(len(scores)), f"{fmean(scores.values()):.1%}"]
            if way == AUTO or len(seeds) < 2:
                yield *cells, "", "", ""
                continue
            gain, p = paired_seeds([base[seed] for seed in seeds], [scores[seed] for seed in seeds])
            low, value, high = (f"{round(100 * each, 1) + 0.0:.1f}" for each in (gain.low, gain.value, gain.high))
            yield *cells, f"{value} points", f"{low} to {high}", f"{p:.3f}"


def halves(rows: Rows) -> Iterable[Cells]:
    """Test clips that a float16 file answers otherwise than float32; of folds, all clips together."""
    yield "dataset", "model", "seed", "test clips", "other answers in float16"
    for (dataset, _, _, seed, *_), parts in _trainings(rows).items():
        refused = sum("float16_refused" in part.facts for part in parts)
        written = [part for part in parts if "float16_changed" in part.facts]
        if len(written) + refused < len(parts):
            continue
        said = [f"{refused} of {len(parts)} files refused by the parity gate"] if refused else []
        changed, clips = (sum(part.facts[name] for part in written) for name in ("float16_changed", "test_clips"))
        if written:
            said.insert(0, f"{changed} ({changed / clips:.1%})")
        yield dataset, _name(parts[0]), seed, str(clips), "; ".join(said)


def pairs(rows: Rows) -> Iterable[Cells]:
    """Which models are better than which by the same recipe, on the same test clips, and which recipes of one model; of
    several seeds, the mean of each clip; of one model, the seeds that both have.
    """
    yield "dataset", "model", "better than", "by", "95 % interval", "p"
    found: dict[str, dict[str, list[Row]]] = {}
    for (clips, *_), parts in _trainings(rows).items():
        if all("right" in part.facts for part in parts):
            found.setdefault(clips, {}).setdefault(_name(parts[0]), []).extend(parts)
    for clips, models in found.items():
        groups = {file: group for parts in models.values() for part in parts for file, group in _groups(part).items()}
        lines = []
        for one, other in combinations(models, 2):
            kinds = {models[name][0].model for name in (one, other)}
            own = ("options", *WAYS) if len(kinds) == 1 else WAYS  # each model has options of its own
            ways = [[models[name][0].settings.get(each) for each in own] for name in (one, other)]
            if len(kinds) - 1 + sum(map(ne, *ways)) > 1:
                continue
            seeds = [{row.settings["seed"] for row in models[name]} for name in (one, other)]
            both = seeds[0] & seeds[1] if len(kinds) == 1 else set()
            means = {
                name: _means([row for row in models[name] if not both or row.settings["seed"] in both])
                for name in (one, other)
            }
            shared = sorted(means[one].keys() & means[other].keys())
            if not shared:
                continue
            worse, better = sorted((one, other), key=lambda name: fmean(means[name][file] for file in shared))
            less, more = ([means[name][file] for file in shared] for name in (worse, better))
            difference, p = paired_difference(less, more, [groups[file] for file in shared])
            lines.append((better, worse, difference, p))
        for better, worse, difference, p in sorted(lines, key=lambda line: -line[2].value):
            by, low, high = (f"{100 * value:.1f}" for value in (difference.value, difference.low, difference.high))
            yield clips, better, worse, f"{by} points", f"{low} to {high}", f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _name(row: Row) -> str:
    """The model or what of it, its options, the recipe and the crops, where they are not the defaults."""
    of = row.settings
    recipe = of.get("recipe")
    model = f"{of['probe']} of {row.model}" if "probe" in of else row.model
    return ", ".join(filter(None, (model, of.get("options"), recipe and f"recipe {recipe}", of.get("crops"))))


def _means(parts: Sequence[Row]) -> dict[str, float]:
    """File -> how often it was answered right."""
    answers: dict[str, list[int]] = {}
    for part in parts:
        for file, right in zip(part.facts["files"], part.facts["right"], strict=True):
            answers.setdefault(file, []).append(int(right))
    return {file: fmean(each) for file, each in answers.items()}


def _groups(part: Row) -> dict[str, str]:
    """File -> what it was cut from; rows of before this was kept are of HMDB51, whose names say it."""
    groups = part.facts.get("groups") or [film(file) or file for file in part.facts["files"]]
    return dict(zip(part.facts["files"], groups, strict=True))


def shares(clips: str, rows: Rows) -> dict[str, float]:
    """Model -> top-1 on the test clips of a dataset by the recipe `auto`, one crop of each, the mean of its seeds.

    Of its own modality: what was read otherwise is another model.
    """
    found: dict[str, list[float]] = {}
    for (dataset, model, _, _, options, *others, _), parts in _trainings(rows).items():
        if dataset == clips and not any(others) and "modality " not in options:
            right, clips_in_all = _right(parts)
            found.setdefault(model, []).append(right / clips_in_all)
    return {model: fmean(values) for model, values in found.items()}


def _trainings(rows: Rows) -> dict[tuple[str, ...], list[Row]]:
    """One training, or all folds of one seed, which together answer every clip once; those that are whole.

    Trainings on a part of the training clips are for `limits`.
    """
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in (each for each in rows if "limit" not in each.settings):
        settings = row.settings
        folds = settings.get("fold", "1 of 1").partition(" of ")[2]
        more = (settings["seed"], *(settings.get(name, "") for name in ("options", "recipe", "crops", "probe")), folds)
        found.setdefault((settings["clips"], row.model, row.runner, *more), []).append(row)
    return {key: parts for key, parts in found.items() if len(parts) == int(key[-1])}


def _right(parts: Rows) -> tuple[int, int]:
    """How many test clips were answered right, and how many there are."""
    clips = [part.facts["test_clips"] for part in parts]
    return sum(round(part.facts["top1"] * n) for part, n in zip(parts, clips, strict=True)), sum(clips)


def timeline(rows: Rows) -> Iterable[Cells]:
    """How well actions are found in long videos."""
    overlaps = list(rows[0].facts["mean_average_precision"]) if rows else []
    names = ("clips", "seed", "windows", "thresholds")
    yield "model", *names, "segments found, of", *(f"mAP at tIoU {overlap}" for overlap in overlaps)
    for row in rows:
        found, true = (sum(map(len, row.facts[name].values())) for name in ("found", "truth"))
        precision = row.facts["mean_average_precision"]
        told = (row.model, *(row.settings.get(name, "") for name in names), f"{found} of {true}")
        yield *told, *(f"{precision[each]:.1%}" for each in overlaps)


def devices(rows: Rows) -> Iterable[Cells]:
    """Whether several devices learn what one does."""
    yield "model", "backend", "what trains", "devices", "loss, last epoch", "largest difference from one device"
    one = {(row.runner, row.settings["way"]): row.facts["history"] for row in rows if row.settings["devices"] == "1"}
    for row in rows:
        found, wanted = row.facts["history"], one[row.runner, row.settings["way"]]
        most = max(
            abs(each[name] - other[name]) / other[name]
            for each, other in zip(found, wanted, strict=True)
            for name in ("loss", "val_loss")
        )
        name = (row.model, row.runner.removeprefix("Keras "), row.settings["way"], row.settings["devices"])
        yield *name, f"{found[-1]['loss']:.6f}", f"{most:.1g}" if found is not wanted else ""


def _share(row: Row) -> tuple[str, str]:
    """Top-1 and its interval."""
    low, high = row.facts["interval"]
    return f"{row.facts['top1']:.1%}", f"{low:.1%} to {high:.1%}"
