"""A run as a folder for the Hugging Face Hub: card, `config.json`, ONNX files, pictures. No network is used."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from export.card_facts import REPO, CardFacts, onnx_name
from export.checksum import read_props, verify
from export.conversion_process import working_folder
from export.folders import entries
from export.metadata import PREFIX, Metadata, Precision
from export.parity import ParityError
from loaders.atomic import replacing, write_text
from loaders.errors import ClipzooError, WriteError
from loaders.spec import ClipSpec
from loaders.split import Split
from zoo.evaluation import Result
from zoo.run import Run
from zoo.run_scores import kept

CONFIG = "config.json"
_PICTURES = ("curves.png", "confusion.png")


@dataclass(frozen=True, kw_only=True)
class HubFolder:
    """What `write_card` made.

    Attributes:
        files: that were written, relative to the folder.
        evaluation: the figures on the card, as people read them; none where the run keeps no scores.
        upload: the command that uploads the folder.
    """

    files: tuple[str, ...]
    evaluation: tuple[str, ...]
    upload: str


def write_card(
    run: str | Path,
    out: str | Path,
    *,
    repo: str = REPO,
    dataset: str | None = None,
    license: str | None = None,
    overwrite: bool = False,
) -> HubFolder:
    """Makes a folder of a run that can be uploaded to the Hugging Face Hub as it is.

    It holds `README.md`, the model card, with figures if the run keeps the scores that they come from (`Run.scores`);
    `config.json`, with the labels and the input contract; `onnx/model.onnx`, and the other precisions that lie in the
    run's folder (`onnx/model_fp16.onnx`); and the pictures of the run. A float32 file that is not there is exported.
    No path of this machine stands in any of them.

    Args:
        run: its folder.
        out: the folder to make.
        repo: what it will be on the Hub, `owner/name`, for the commands on the card.
        dataset: what the clips are called; the name of their folder if left out.
        license: of the model, as the Hub names licenses; the card says that none is stated if left out.
        overwrite: whether `out` may hold files. Those of a card are replaced, or removed where the run has them no
            longer; all others stay. Files of those names that are of no card are never replaced.

    Raises:
        ClipzooError: no run; a folder that is not empty; an ONNX file or scores in the run's folder that are of another
            model; or, where a file has to be exported, as `to_onnx`. Nothing is written then.
        WriteError: the folder cannot be written.
    """
    from export.card_page import card_page, config  # needs huggingface_hub

    owner, out = Run(Path(run)), Path(out)
    record = owner.read_record()
    _require_free(out, overwrite=overwrite)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ClipzooError(f"repo ({repo!r}) must be OWNER/NAME, as it will be on the Hub")
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ClipzooError(f"license ({license!r}) must be as the Hub names it, such as apache-2.0, mit or other")
    models = _exported(owner, record)
    with working_folder() as made:
        if "float32" not in models:
            from export.convert import to_onnx

            models = {"float32": made / "model.onnx", **models}
            try:
                to_onnx(owner.folder, models["float32"])
            except ParityError as error:
                own = f"clipzoo export {owner.folder} {owner.folder / 'model.onnx'} --force"
                raise ParityError(f"{error}; that is: {own}. The card takes the file") from None
        metadata = {precision: Metadata.read(path) for precision, path in models.items()}
        result = _evaluation(owner, metadata["float32"])
        files = {onnx_name(precision): path for precision, path in models.items()}
        files |= {path.name: path for path in (owner.curves, owner.confusion) if path.is_file()}
        if result is not None:  # the run's own may be of another evaluation than its scores
            from zoo.pictures import draw_result

            files[owner.confusion.name] = made / "confusion.png"
            draw_result(result[0], files[owner.confusion.name])
        facts = CardFacts(
            record=record,
            models=metadata,
            sizes={precision: path.stat().st_size for precision, path in models.items()},
            result=result,
            pictures=tuple(name for name in _PICTURES if name in files),
            repo=repo,
            dataset=dataset or Path(record["videos"]).name or "clips",
            license=license,
        )
        texts = {"README.md": card_page(facts), CONFIG: config(facts)}
        for name, path in files.items():
            with replacing(out / name) as partial:
                shutil.copyfile(path, partial)
    for name, text in texts.items():
        write_text(out / name, text)
    for name in {*_PICTURES, *map(onnx_name, get_args(Precision))} - set(files):
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(out / name, error.strerror or str(error)) from None
    return HubFolder(
        files=(*texts, *files),
        evaluation=tuple(result[0].lines()) if result else (),
        upload=f"hf upload {repo} {shlex.quote(str(out))}",
    )


def _require_free(out: Path, *, overwrite: bool) -> None:
    """Raises ClipzooError where `out` holds files and may not, or files that a card would replace and that are none."""
    there = entries(out)
    if there and not overwrite:
        raise ClipzooError(f"{out}: is not empty; give another folder, or --overwrite to replace the files of a card")
    ours = sorted({"README.md", CONFIG, "onnx", *_PICTURES} & set(there))
    try:
        known = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if ours and not (isinstance(known, dict) and {"id2label", "inputs", "files"} <= known.keys()):
        raise ClipzooError(
            f"{out}: its {', '.join(ours)} would be replaced, and are of no card that was made here; give another "
            "folder, or move them away"
        )


def _exported(run: Run, record: Mapping[str, Any]) -> dict[str, Path]:
    """The exported files in a run's folder by precision, float32 first. Of several of one, that named `model.onnx`.

    Raises:
        ClipzooError: one is not what was exported, or of another model than the run; or of several of one precision
            none has that name.
    """
    found: dict[str, Path] = {}
    for path in sorted(run.folder.glob("*.onnx")):
        if f"{PREFIX}schema" not in read_props(path):
            continue  # of another tool
        verify(path)
        metadata = Metadata.read(path)
        if metadata.stream:
            continue  # the card's programs give clips
        specs = {name: ClipSpec.from_dict(fields) for name, fields in record.get("specs", {}).items()}
        if (metadata.labels, metadata.specs) != (tuple(record.get("labels", ())), specs):
            raise ClipzooError(
                f"{path}: has other labels or another input than the run; take it away, or export the run again"
            )
        other = found.setdefault(metadata.precision, path)
        if "model.onnx" not in (path.name, other.name) and other != path:
            raise ClipzooError(
                f"{run.folder}: {other.name} and {path.name} are both {metadata.precision}; keep one of them"
            )
        if path.name == "model.onnx":
            found[metadata.precision] = path
    for path in found.values():
        with suppress(OSError):  # a run may be given away without its model
            if path.stat().st_mtime < run.model.stat().st_mtime:
                warnings.warn(
                    f"{path} is older than {run.model.name}; if the run was trained again since, export it again",
                    stacklevel=3,
                )
    return dict(sorted(found.items(), key=lambda each: each[0] != "float32"))


def _evaluation(run: Run, metadata: Metadata) -> tuple[Result, Split] | None:
    """The figures of the scores that a run keeps, and the split of their clips; None where it keeps none.

    Raises:
        ClipzooError: they are not of this model, or not of the clips of one split.
    """
    if not run.scores.is_file():
        return None
    found = kept(run, run.index(root=run.folder))  # the list alone is needed: the videos may be far away
    if found is None or found.scores.labels != metadata.labels:
        raise ClipzooError(
            f"{run.scores}: is not of this model and the clips of one split of the run; measure again: "
            f"clipzoo evaluate {run.folder} VIDEOS"
        )
    return found.scores.evaluate(), found.split
