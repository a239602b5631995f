"""Lazy package attributes (PEP 562), so that importing a package costs nothing until a name is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__getattr__` and `__dir__` for a package whose public names live in its modules.

    Args:
        package: the package's `__name__`.
        names: public name -> module of the package that defines it.
    """

    def getattribute(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(f"{package}.{names[name]}"), name)
        if name in names.values():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(names))}")

    return getattribute, lambda: sorted({*names, *names.values()})
