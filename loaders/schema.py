"""Schemas of the input contract: what a file of an older one says, in the words of today. Read here, and for good.

Schema 1 spelled values as the British do. Schema 2 has American spellings, and the modality `grouped`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loaders.errors import ClipzooError

SCHEMA = 2
# Field of a ClipSpec or an Augmentation -> a value of schema 1 -> the same value now.
RENAMED: Mapping[str, Mapping[str, str]] = {"pairs": {"neighbours": "neighbors"}, "crop": {"centre": "center"}}


def upgraded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a ClipSpec as a file has it, in the words of this schema; what has no schema stays as it is.

    Raises:
        ClipzooError: the schema is a newer one.
    """
    schema = fields.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ClipzooError(
            f"ClipSpec schema {schema} is newer than {SCHEMA}, the one that this clipzoo knows; update clipzoo"
        )
    return {**_swapped(fields, RENAMED), "schema": SCHEMA} if schema == 1 else dict(fields)


def upgraded_run(record: Mapping[str, Any]) -> dict[str, Any]:
    """A `run.json`, whose schema is that of its specs, in the words of this schema; raises as `upgraded` does."""
    specs = record["specs"]
    first = any(fields.get("schema") == 1 for fields in specs.values())
    upgraded_specs = {name: upgraded(fields) for name, fields in specs.items()}
    return {**(_swapped(record, RENAMED) if first else record), "specs": upgraded_specs}


def _swapped(table: Mapping[str, Any], names: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A table, and the tables in it, with other names for values."""
    return {
        name: names.get(name, {}).get(value, value)
        if isinstance(value, str)
        else _swapped(value, names)
        if isinstance(value, Mapping)
        else value
        for name, value in table.items()
    }
