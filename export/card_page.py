"""The text of a model card, and of the `config.json` beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from inspect import getsource
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from export import reference
from export.card_facts import CardFacts, onnx_name
from loaders.errors import ClipzooError
from loaders.printable import printable_name
from loaders.split import Split
from loaders.tasks import FEATURES
from zoo.evaluation import Evaluation, LabelEvaluation, Result
from zoo.registry import model_info

_PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
_SEEN: dict[Split, str] = {
    "test": "",
    "validation": ", on which the best epoch was chosen",
    "train": ", which it was trained on",
}
_OPTIONS = ("backbone", "alpha", "width", "pooling", "units", "head", "shift")  # of the model, where one was said
_WEIGHTS = ("weights", "author", "license", "data", "package")


def config(facts: CardFacts) -> str:
    """`config.json`: labels as the libraries of the Hub have them, and the input contract."""
    metadata = facts.metadata
    width = len(metadata.labels)
    outputs = {name: {"dtype": "float32", "shape": ["batch", width]} for name in metadata.kind.outputs}
    if metadata.features:
        outputs[FEATURES] = {"dtype": "float32", "shape": ["batch", "width"]}
    fields = {
        "model": metadata.model,
        "task": metadata.task,
        "problem_type": _PROBLEMS[metadata.task],
        "id2label": {str(place): label for place, label in enumerate(metadata.labels)},
        "label2id": {label: place for place, label in enumerate(metadata.labels)},
        "inputs": {
            name: {"dtype": "uint8", "shape": ["batch", *spec.shape], "spec": spec.to_dict()}
            for name, spec in metadata.specs.items()
        },
        "outputs": outputs,
        "files": {precision: onnx_name(precision) for precision in facts.models},
    }
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def card_page(facts: CardFacts) -> str:
    """`README.md`: YAML that the Hub reads, and what people read."""
    sections = (_head, _figures, _use, _without, _training, _weights)
    text = "\n".join(line for section in sections for line in (*section(facts), ""))
    return str(ModelCard(f"---\n{_front_matter(facts).to_yaml()}\n---\n\n{text}"))


def _front_matter(facts: CardFacts) -> ModelCardData:
    results = None
    if facts.result is not None:
        result, split = facts.result
        results = [
            EvalResult(
                task_type="video-classification",
                dataset_type=facts.dataset,
                dataset_name=facts.dataset,
                dataset_split=split,
                metric_type=kind,
                metric_name=title,
                metric_value=round(value, 4),
            )
            for kind, title, value in _metrics(result)
        ]
    return ModelCardData(
        license=facts.license,
        library_name="onnx",
        pipeline_tag="video-classification" if facts.metadata.kind.classes else None,
        tags=["clipzoo", "onnx", "keras", "video", "action-recognition"],
        eval_results=results,
        model_name=facts.title if results else None,
    )


def _metrics(result: Result) -> list[tuple[str, str, float]]:
    """Type, name with interval and number of clips, and value of each figure of a model index."""
    clips = f"{result.clips} clips"
    if isinstance(result, Evaluation):
        return [("accuracy", f"top-1 ({_interval(result.interval)}, {clips})", result.top1)]
    if isinstance(result, LabelEvaluation):
        return [
            ("mean_average_precision", f"mean average precision ({clips})", result.mean_average_precision),
            ("exact_match", f"all labels right ({_interval(result.interval)}, {clips})", result.all_right),
        ]
    return [
        ("mae", f"mean absolute error of {label} ({clips})", error)
        for label, error in result.mean_absolute_error.items()
    ]


def _interval(interval: tuple[float, float]) -> str:
    return f"95 % interval {interval[0]:.1%} to {interval[1]:.1%}"


def _head(facts: CardFacts) -> list[str]:
    metadata, kind = facts.metadata, facts.metadata.kind
    summary = ""
    with suppress(ClipzooError):  # a model that is not of the zoo
        summary = f": {model_info(metadata.model).summary}"
    rows = [("model", f"`{metadata.model}`{summary}")]
    chosen = facts.record.get("options") or {}
    if said := [f"{name} {chosen[name]}" for name in _OPTIONS if name in chosen]:
        rows.append(("options", ", ".join(said)))
    rows.append(("task", f"{metadata.task}, {kind.count(len(metadata.labels))}"))
    for name, spec in metadata.specs.items():
        shape = ", ".join(map(str, ("batch", *spec.shape)))
        rows.append((f"input `{name}`", f"uint8 ({shape}), {spec.modality}, {spec.frames} frames"))
    rows.append(
        ("outputs", ", ".join(f"`{name}`" for name in kind.outputs) + f", float32 (batch, {len(metadata.labels)})")
    )
    for precision in facts.models:
        name = onnx_name(precision)
        rows.append((f"[{name}]({name})", f"{precision}, {facts.sizes[precision] / 2**20:.1f} MiB"))
    return [
        f"# {_text(facts.title)}",
        "",
        "Names actions in video." if kind.classes else "Tells numbers from video.",
        "One ONNX file takes clips as uint8 pixels; scaling is inside. Its metadata and [config.json](config.json)"
        " have the labels, and say which frames and pixels it takes.",
        "",
        *_table(("", ""), rows),
    ]


def _figures(facts: CardFacts) -> list[str]:
    lines = ["## Figures", ""]
    if facts.result is None:
        lines.append("This model was not measured on test clips.")
    else:
        result, split = facts.result
        lines += [f"On the {split} clips of {_text(facts.dataset)}{_SEEN[split]}:", ""]
        lines += [f"- {_text(line)}" for line in result.lines()]
        heading, *rows = result.table()
        lines += [
            "",
            "<details><summary>By label</summary>",
            "",
            *_table(heading, [[_text(c) for c in r] for r in rows]),
        ]
        lines += ["", "</details>"]
    parity = facts.metadata.parity
    if {"clips", "tolerance"} <= set(parity):
        lines += [
            "",
            f"ONNX Runtime and Keras gave the same answers, within {parity['tolerance']:g}, to {parity['clips']} clips "
            "when the file was written.",
        ]
    titles = {"curves.png": "Loss and metric by epoch", "confusion.png": "The last evaluation"}
    for name in facts.pictures:
        lines += ["", f"![{titles[name]}]({name})"]
    return lines


def _use(facts: CardFacts) -> list[str]:
    kind = facts.metadata.kind
    shown = "answer.label, answer.probability" if kind.classes else "answer.values"
    return [
        "## Use",
        "",
        "With clipzoo and its extra `runtime` (NumPy, OpenCV, ONNX Runtime; no Keras):",
        "",
        "```",
        f"hf download {facts.repo} --local-dir model",
        "clipzoo predict model/onnx/model.onnx video.mp4",
        "```",
        "",
        "```python",
        "import export",
        "",
        'classifier = export.Classifier("model/onnx/model.onnx")',
        'answer = classifier.predict("video.mp4")  # also a folder, a list, or frames',
        f"print({shown})",
        "```",
    ]


def _without(facts: CardFacts) -> list[str]:
    metadata = facts.metadata
    lines = ["## Use without clipzoo", ""]
    strange = [name for name, spec in metadata.specs.items() if spec.modality != "rgb"]
    if strange:
        return [
            *lines,
            f"{', '.join(f'`{name}`' for name in strange)} is more than frames as they are. `loaders.read_inputs` of "
            "clipzoo makes it; the contract in clipzoo's `export/README.md`, rules 5 to 10, says how, and "
            "`config.json` has all settings.",
        ]
    answer = metadata.kind.answer
    return [
        *lines,
        "This program needs NumPy, OpenCV and ONNX Runtime. It takes the same frames and pixels, bit for bit.",
        "",
        "```python",
        "import json",
        "",
        getsource(reference).replace("import numpy as np\n", "import numpy as np\nimport onnxruntime\n", 1).rstrip(),
        "",
        "",
        'config = json.load(open("model/config.json", encoding="utf-8"))',
        'clips = {name: read("video.mp4", each["spec"])[None] for name, each in config["inputs"].items()}',
        'session = onnxruntime.InferenceSession("model/onnx/model.onnx", providers=["CPUExecutionProvider"])',
        f'answer = session.run(["{answer}"], clips)[0][0]',
        "for place in answer.argsort()[::-1][:5]:",
        '    print(config["id2label"][str(place)], answer[place])',
        "```",
    ]


def _training(facts: CardFacts) -> list[str]:
    record, versions = facts.record, facts.record.get("versions", {})
    rows = [("clips", _text(facts.dataset))]
    if isinstance(record.get("clips"), dict):
        rows.append(("splits", ", ".join(f"{count} {split}" for split, count in record["clips"].items())))
    if isinstance(record.get("refit"), dict) and "clips" in record["refit"]:
        rows.append(
            ("trained once more", f"on {record['refit']['clips']} clips, those for validation too; that is this model")
        )
    if isinstance(record.get("best"), dict) and "epoch" in record["best"]:
        rows.append(("best epoch", f"{record['best']['epoch'] + 1:g}"))
    used = [f"{name} {versions[name]}" for name in ("clipzoo", "keras") if name in versions]
    rows.append(("trained with", ", ".join([*used, *([record["backend"]] if "backend" in record else [])])))
    lines = ["## Training", "", *_table(("", ""), rows)]
    if isinstance(record.get("recipe"), dict):
        recipe = json.dumps(record["recipe"], indent=2, ensure_ascii=False)
        lines += ["", "<details><summary>Recipe</summary>", "", "```json", recipe, "```", "", "</details>"]
    return lines


def _weights(facts: CardFacts) -> list[str]:
    stated = f"`{facts.license}`" if facts.license else "none is stated"
    lines = ["## Licenses", "", f"License of this model: {stated}."]
    origins = facts.metadata.origins
    if not origins:
        return [*lines, "Its weights began from random numbers, or from weights that it does not name."]
    rows = [[_text(each.get(field, "not known")) for field in _WEIGHTS] for each in origins]
    return [*lines, "Its weights began from those of others:", "", *_table(_WEIGHTS, rows)]


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows)]


def _text(text: Any) -> str:
    """Text that is no Markdown and no HTML: names of classes and folders are anybody's."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~])", r"\\\1", printable_name(str(text)))
