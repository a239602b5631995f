"""Checks of what users give: one sentence that names the value and the rule."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from loaders.errors import ClipzooError

_MANY = 40  # names in a sentence; a model may have hundreds of classes


def whole(what: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    """Raises ClipzooError unless `value` is a whole number (NumPy's too) from `least` to `most`; True is none."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        found = int(value)
        if least <= found and (most is None or found <= most):
            return
    rule = f">= {least}" if most is None else f"from {least} to {most}"
    raise ClipzooError(f"{what} ({value!r}) must be a whole number {rule}")


def number(
    what: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> None:
    """Raises ClipzooError unless `value` is a finite number (NumPy's too) within the bounds that are given.

    Args:
        what: its name, for the message.
        value: what was given; True is no number.
        least: value >= least.
        above: value > above.
        most: value <= most.
        below: value < below.
        unit: of the value, for the message.
    """
    kind, fits = "number", False
    if isinstance(value, Real) and not isinstance(value, bool):
        found = float(value)
        kind = "number" if math.isfinite(found) else "finite number"
        fits = (
            math.isfinite(found)
            and (least is None or found >= least)
            and (above is None or found > above)
            and (most is None or found <= most)
            and (below is None or found < below)
        )
    if not fits:
        bounds = ((">=", least), ("above", above), ("at most", most), ("below", below))
        rules = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        raise ClipzooError(f"{what} ({value!r}) must be a {kind}{' ' if rules else ''}{rules}{unit and ' ' + unit}")


def choice(what: str, value: object, choices: Iterable[str], *, renamed: Mapping[str, str] | None = None) -> None:
    """Raises ClipzooError unless `value` is one of `choices`; of one that was `renamed` it says the name of now."""
    known = tuple(choices)
    if renamed and isinstance(value, str) and value in renamed:
        raise ClipzooError(f"{what} ({value!r}) is called {renamed[value]!r} now")
    if not isinstance(value, str) or value not in known:
        raise ClipzooError(f"{what} ({value!r}) must be one of {', '.join(known)}")


def near(name: str, names: Iterable[str]) -> str:
    """`did you mean a or b?`, or, where nothing is near, `there are ...`, the first of them where they are many."""
    known = list(names)
    found = [each for each in known if each.casefold() == name.casefold()]
    found = found or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(found)}?"
    more = f" and {len(known) - _MANY} more" if len(known) > _MANY else ""
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known[:_MANY])}{more}"


def names(what: str, given: Iterable[str], known: Iterable[str], *, noun: str = "field") -> None:
    """Raises ClipzooError for the first name that is not known, with the near ones: `Recipe has no field 'epoch'`."""
    there = sorted(known)
    for name in given:
        if name not in there:
            raise ClipzooError(f"{what} has no {noun} {name!r}; {near(str(name), there)}")
