"""Arrays by layer name, in `.npz` files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from loaders.atomic import replacing
from loaders.errors import ClipzooError

Arrays = dict[str, list[np.ndarray]]  # layer name -> its weights, in Keras's order


def read_npz(file: str | Path) -> Arrays:
    """Arrays by layer out of an `.npz` file with keys `layer.0`, `layer.1`, ..., in Keras's order.

    Raises:
        ClipzooError: not such a file.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            found: dict[str, dict[int, np.ndarray]] = {}
            for key in held.files:
                name, _, place = key.rpartition(".")
                found.setdefault(name, {})[int(place)] = held[key]
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ClipzooError(f"{file}: is no .npz file with keys layer.0, layer.1, ... ({error})") from None
    return {name: [places[place] for place in sorted(places)] for name, places in found.items()}


def write_npz(arrays: Mapping[str, Sequence[np.ndarray]], file: str | Path) -> None:
    """Writes what `read_npz` reads."""
    flat = {f"{name}.{place}": array for name, held in arrays.items() for place, array in enumerate(held)}
    with replacing(file) as partial, partial.open("wb") as out:
        np.savez(out, **flat)  # type: ignore[arg-type]
