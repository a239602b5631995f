"""Rows and first lines of result files, to be changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.harness.machine import setup
from benchmarks.harness.records import OURS, Row, Setup


def a_setup(**changes: Any) -> Setup:
    return replace(setup("inference", on_gpu=False), **changes)


def a_row(**changes: Any) -> Row:
    turns = changes.pop("turns", [[0.010, 0.012], [0.011], [0.010, 0.010, 0.013]])
    facts = {"session_seconds": 0.1, "first_run_seconds": 0.2, "peak_memory_mib": 50.0}
    return Row(**{"model": "m", "runner": OURS, "batch": 4, "frames": 5, "turns": turns, "facts": facts, **changes})
