"""What `--recipe` and `--set` say: tables of the model, the recipe and the spec."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.check import names, near
from loaders.errors import ClipzooError
from loaders.schema import upgraded, upgraded_run
from loaders.terminal import parse_value, set_in
from zoo.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What `--recipe` and `--set` say, as tables.

    Attributes:
        model: options of the model; `name` is its name.
        recipe: fields of the Recipe.
        spec: fields of the ClipSpec.
        named: the recipe, of `zoo.recipes.RECIPES`, that all this goes on top of.
    """

    model: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    named: str = "auto"

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model` takes of it: `model`, and `spec` where it says something."""
        return {**self.model, **({"spec": self.spec} if self.spec else {})}


TABLES = ("model", "recipe", "spec")


def read_settings(recipe: str | None, pairs: Sequence[str]) -> Overrides:
    """Reads a recipe and what is set on top of it.

    Args:
        recipe: a name of `zoo.recipes.RECIPES`; a TOML file with the tables `model`, `recipe` and `spec`; or the
            `run.json` of a run, to do it again; or a JSON file of a ClipSpec.
        pairs: `KEY=VALUE`: `model.units=128`, `recipe.learning_rate=3e-4`, `spec.flow.method=tvl1`. A key without a
            table is the model's. Values are JSON, or text where they are not.

    Raises:
        ClipzooError: no such recipe, a file that cannot be read, an unknown table, or a pair that is none.
    """
    named = "auto"
    if recipe in RECIPES:
        named, recipe = str(recipe), None
    tables: dict[str, Any] = {name: {} for name in TABLES}
    if recipe is not None:
        if recipe == "two_stream":
            raise ClipzooError("--recipe two_stream is called dtpp now: say --recipe dtpp")
        tables |= _read(recipe)
        if tables["recipe"] and Path(recipe).suffix == ".json":
            named = "article"  # a run says all of its own, what it leaves out are the builder's defaults
    alone: dict[str, Any] = {name: {} for name in TABLES}
    said: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        path = [piece.strip() for piece in key.split(".")]
        if not equals or not all(path):
            raise ClipzooError(f"--set {pair!r} must be KEY=VALUE, such as alpha=0.25 or recipe.learning_rate=3e-4")
        if len(path) == 1:
            path = ["model", *path]
        names("--set", path[:1], TABLES, noun="table")
        value = parse_value(text)
        for each in (tables, alone):
            set_in(each, path, value)
        said[".".join(path)] = f"--set {pair}"
    _agree(alone, said)
    _let_win(alone, tables)
    _check_model(tables["model"], said, recipe)
    return Overrides(**tables, named=named)


def _twins(tables: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Keys that say the same of an input, of those that are there, and whether they agree."""
    model, spec = tables.get("model", {}), tables.get("spec", {})
    size = model.get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    for mine, other, value in (("frames", "frames", model.get("frames")), ("size", "height", height),
                               ("size", "width", width)):  # fmt: skip
        if mine in model and isinstance(spec, Mapping) and other in spec:
            yield f"model.{mine}", f"spec.{other}", spec[other] == value


def _agree(tables: Mapping[str, Any], said: Mapping[str, str]) -> None:
    for one, other, same in _twins(tables):
        if not same:
            raise ClipzooError(f"{said[one]} and {said[other]} say two things of one; leave one of them out")


def _let_win(alone: Mapping[str, Any], tables: dict[str, Any]) -> None:
    """What is set goes before what a file says by another name for it."""
    for one, other, same in list(_twins(tables)):
        table, name = other.split(".")
        if not same and name in alone[table]:
            size = tables["model"].pop(one.removeprefix("model."), None)
            if one == "model.size":
                height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
                tables["spec"] = {"height": height, "width": width, **tables["spec"]}


def _check_model(model: Mapping[str, Any], said: Mapping[str, str], recipe: str | None) -> None:
    for name in TABLES:
        if name in model:
            where = said.get(f"model.{name}", f"--recipe {recipe}: [model] {name} = {model[name]!r}")
            raise ClipzooError(f"{where}: {name} is a table, not an option of the model; say {name}.FIELD=VALUE")
    if "classes" in model:
        where = said.get("model.classes", f"--recipe {recipe}: [model] classes")
        raise ClipzooError(f"{where}: the labels of the clips say which classes there are; leave it out")


def _read(recipe: str) -> dict[str, Any]:
    path = Path(recipe)
    if path.suffix not in (".toml", ".json"):
        raise ClipzooError(f"--recipe {recipe!r} is neither a recipe's name, a .toml file nor a run.json; "
                           f"{near(recipe, RECIPES)}")  # fmt: skip
    try:
        text = path.read_text(encoding="utf-8")
        held = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ClipzooError(f"--recipe {path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ClipzooError(f"--recipe {path}: is not {path.suffix[1:].upper()} ({error})") from None
    if path.suffix == ".json":
        held = _of_run(held, path)
    names(f"--recipe {path}:", held, TABLES, noun="table")
    for name, table in held.items():
        if not isinstance(table, Mapping):
            raise ClipzooError(f"--recipe {path}: {name} ({table!r}) must be a table, [{name}]")
    return {name: dict(table) for name, table in held.items()}


def _of_run(record: Any, path: Path) -> dict[str, Any]:
    """The tables of a `run.json`, or of a file that holds a spec alone."""
    if isinstance(record, Mapping) and {"frames", "height", "width"} <= set(record):
        return {"spec": {name: value for name, value in upgraded(record).items() if name not in ("schema", "channels")}}
    if not isinstance(record, Mapping) or not {"model", "recipe", "specs"} <= set(record):
        raise ClipzooError(f"--recipe {path}: is neither the record of a run nor a spec")
    record = upgraded_run(record)
    specs = list(record["specs"].values())
    own = {"schema", "channels", "modality", "stack"} if len(specs) > 1 else {"schema", "channels"}
    spec = {name: value for name, value in specs[0].items() if name not in own and value is not None}
    options = record.get("options") or {}
    return {"model": {"name": record["model"], **options}, "recipe": dict(record["recipe"]), "spec": spec}
