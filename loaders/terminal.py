"""What the commands share about clips: the options that choose them, and how they are checked and shown."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from loaders.atomic import write_text
from loaders.errors import ClipzooError
from loaders.index import ClipIndex
from loaders.lists import csv_columns, existing_folder, index_csv, index_files, index_folder
from loaders.printable import printable, printable_json
from loaders.schema import SCHEMA
from loaders.spec import ClipSpec, FlowSpec
from loaders.tasks import Task


class OnErrorChoice(StrEnum):
    """What to do with a file that cannot be read."""

    SKIP = "skip"
    FAIL = "fail"


class _TextConsole(Console):
    """Prints what steers a terminal as text: names of files and classes are anybody's."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


# Whether the command that runs was given `--json -`.
_JSON_ON_STDOUT: ContextVar[bool] = ContextVar("json_on_stdout", default=False)


def text_console(*, stderr: bool = False) -> Console:
    """Where commands print. File and class names may hold brackets, which are no markup; lines are not broken.

    Where a command prints its figures as JSON (`--json -`), all else goes to stderr.
    """
    console = _TextConsole(stderr=stderr or _JSON_ON_STDOUT.get(), markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = 1000  # a pipe or a log has room: nothing of a table is cut
    return console


ListFile = Annotated[Path | None, typer.Option("--list", help="CSV list: file,label[,split][,group][,start,end].")]
LabelColumns = Annotated[
    list[str], typer.Option("--label", help="Column of the list with the labels; several times for several columns.")
]


def _json_name(context: typer.Context, path: Path | None) -> Path | None:
    """What is no name of a JSON file is a slip: `--json` was a switch, and a video may stand behind it."""
    if path is not None and str(path) != "-" and path.suffix.lower() not in (".json", ".jsonl"):
        raise ClipzooError(f"--json {path}: takes the name of a file that ends in .json, or - to print the figures")
    if str(path) == "-":
        _JSON_ON_STDOUT.set(True)
        context.call_on_close(lambda: _JSON_ON_STDOUT.set(False))
    return path


JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", callback=_json_name, help="Write the figures here; - prints them."),
]


RayAddress = Annotated[
    str | None,
    typer.Option("--ray", metavar="local|ADDRESS", help="Work in processes of Ray: started here, or running there."),
]
RayWorkers = Annotated[
    int | None, typer.Option(min=1, help="With --ray: how many; as many as there is room for, if left out.")
]


def check_ray(ray: str | None, ray_workers: int | None) -> None:
    """Raises ClipzooError where there are workers of Ray, and no Ray."""
    if ray is None and ray_workers is not None:
        raise ClipzooError(f"--ray-workers {ray_workers} needs --ray local, or --ray ADDRESS")


def write_json(path: Path, figures: object, console: Console) -> None:
    """What `--json FILE` writes, or prints where the file is `-`; raises ClipzooError where it cannot be written."""
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False)
    if str(path) == "-":
        echo_json(text)
    else:
        write_text(path, printable_json(text) + "\n")
        console.print(f"wrote {path}")


def echo_json(text: str) -> None:
    """Prints JSON on stdout; what the terminal has no letters for is escaped."""
    text = printable_json(text)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = re.sub("[^\\x00-\\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    typer.echo(text)


def index_videos(
    videos: Path,
    list_file: Path | None,
    *,
    label: list[str] | None = None,
    task: Task = "classification",
    labeled: bool = True,
) -> ClipIndex:
    """The clips under a folder: those of a CSV list, or all of them, a sub-folder a class.

    With `labeled=False` a list may be without labels, or have others, and a folder without sub-folders.

    Raises:
        ClipzooError: labels other than classes without a list.
    """
    if list_file is None:
        if label or task != "classification":
            raise ClipzooError(f"labels of {', '.join(label or [task])} stand in a list: give --list LIST.csv")
        return index_folder(videos) if labeled else _any_folder(videos)
    columns = label or ["label"]
    if not labeled and not set(columns) <= set(csv_columns(list_file)):
        return index_csv(list_file, root=videos, label=None)
    return index_csv(list_file, root=videos, label=columns[0] if len(columns) == 1 else columns, task=task)


def _any_folder(videos: Path) -> ClipIndex:
    """All video files under a folder, with labels where each lies in a sub-folder that is a class."""
    files = index_files(existing_folder(videos))
    if all("/" in clip.file for clip in files):
        with suppress(ClipzooError):  # a sub-folder without a video, or with a name that is no class
            return index_folder(videos)
    return files


def drop_broken(
    index: ClipIndex,
    *,
    on_error: OnErrorChoice,
    workers: int,
    stderr: Console,
    scan: Path | None = None,
    specs: Mapping[str, ClipSpec] | None = None,
) -> ClipIndex:
    """Names what cannot be read once on `stderr`, and leaves it out or raises as `on_error` says.

    Args:
        index: the clips.
        specs: input name -> what will be read for it; clips with too few frames for that cannot be read either.
        on_error: which.
        workers: files that are opened side by side.
        stderr: where to print.
        scan: what `clipzoo scan --json` wrote: what it says of a file, opening the file need not show.
    """
    if scan is not None:
        from loaders.scanning import Scan

        scanned = Scan.load(scan)
        if not scanned.known(index):
            stderr.print(f"note: --scan {scan} is of none of these files, or all have changed since; they are checked")
        kept, broken = scanned.apply(index, on_error.value, specs=specs, workers=workers)
    else:
        with bar(stderr, "checking clips", len({clip.file for clip in index})) as advance:
            kept, broken = index.readable(specs=specs, on_error=on_error.value, workers=workers, advance=advance)
    for error in broken:
        stderr.print(f"left out: {error}")
    return kept


def parse_spec(text: str) -> dict[str, ClipSpec]:
    """Reads `--spec`: `field=value,...`, with `size` for height and width and `method` and `bound` for the flow's; or
    a JSON file that holds a spec, or, as a run.json does, a table `specs` of them by input.

    Raises:
        ClipzooError: no such field, or a value out of its range.
    """
    if "=" not in text:
        try:
            held = json.loads(Path(text).read_text(encoding="utf-8"))
        except OSError:
            raise ClipzooError(f"--spec {text!r} is neither field=value,... nor a file") from None
        except ValueError as error:
            raise ClipzooError(f"--spec {text}: is not JSON ({error})") from None
        tables = held.get("specs", {"video": held}) if isinstance(held, dict) else {"video": held}
        if not isinstance(tables, dict) or not tables:
            raise ClipzooError(f"--spec {text}: its `specs` must be a table of specs by input")
        return {name: ClipSpec.from_dict(fields) for name, fields in tables.items()}
    fields: dict[str, object] = parse_fields(text)
    return {"video": ClipSpec.from_dict({"schema": SCHEMA, **fields})}


def parse_fields(text: str) -> dict[str, Any]:
    """`field=value,...` as fields of a ClipSpec; those of its flow go into `flow`."""
    fields: dict[str, Any] = {}
    flow: dict[str, Any] = {}
    for pair in text.split(","):
        name, equals, value = (piece.strip() for piece in pair.partition("="))
        if not equals or not name:
            raise ClipzooError(f"--spec {pair!r} must be field=value, such as frames=5")
        given, (first, *inner) = parse_value(value), name.split(".")
        if name == "size":
            fields["height"] = fields["width"] = given
        elif name in {field.name for field in dataclasses.fields(FlowSpec)}:
            flow[name] = given
        elif first == "flow" and inner:
            set_in(flow, inner, given)
        else:
            fields[name] = given
    return {**fields, "flow": FlowSpec.from_dict(flow)} if flow else fields


def parse_value(text: str) -> Any:
    """What stands behind `=`: JSON, or text where it is none, such as a name or a path."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def set_in(table: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Sets what a dotted key names, such as `spec.flow.method`; tables on the way are copied, or made."""
    for piece in path[:-1]:
        inner = table.get(piece)
        table[piece] = table = dict(inner) if isinstance(inner, Mapping) else {}
    table[path[-1]] = value


OptionPairs = Annotated[
    list[str], typer.Option("--set", metavar="OPTION=VALUE", help="Option of the model, such as alpha=0.25.")
]


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Reads `--set OPTION=VALUE`, given any number of times; values are JSON, or text where they are not.

    Raises:
        ClipzooError: not of that form.
    """
    found = split_pairs(pairs, option="--set", form="OPTION=VALUE", example="alpha=0.25")
    return {name: parse_value(text) for name, text in found.items()}


def split_pairs(pairs: Sequence[str], *, option: str, form: str, example: str) -> dict[str, str]:
    """Name -> text, of an option that is given any number of times; raises ClipzooError for another form."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise ClipzooError(f"{option} {pair!r} must be {form}, such as {example}")
        found[name.strip()] = text
    return found


@contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar that goes away when done; yields what to call after each step, or with the number of steps."""
    if not console.is_terminal:  # a bar that is disabled ends with an empty line in Rich up to 14
        yield lambda count=1: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count=1: progress.advance(task, count)
