"""Options that have another name now: whoever gives the old one reads the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from typer.core import TyperCommand

from loaders.errors import ClipzooError

# What the new form is, or a whole sentence in brackets where there is none; or, of an option that means something else
# now, a function of its value that gives it or None.
New = str | Callable[[str], str | None]


def renamed_options(table: Mapping[str, New]) -> type[TyperCommand]:
    """The class of a command with options that were renamed: `cls=renamed_options({"--part": "--split"})`."""

    class Renamed(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            for place, argument in enumerate(args):
                if argument == "--":
                    break
                name, equals, value = argument.partition("=")
                new = table.get(name)
                if callable(new):
                    new = new(value if equals else next(iter(args[place + 1 :]), ""))
                if new is not None and new.startswith("("):
                    raise ClipzooError(f"{argument if equals else name}: {new[1:-1]}")
                if new is not None:
                    raise ClipzooError(f"{argument if equals else name}: the option is {new} now")
            return list(super().parse_args(ctx, args))

    return Renamed


def list_not_split(value: str) -> str | None:
    """`--split` was the list; it is the name of a split now."""
    return f"--list {value}" if value.lower().endswith(".csv") else None
