"""What a benchmark leaves: JSON lines of one schema, a file per machine and run. Written line by line as measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from benchmarks.harness.statistics import Interval, median_interval, percentiles
from loaders.errors import ClipzooError

SCHEMA = 2  # of 1, whose `summary` has clips over the median round, all figures are made anew from its turns
READABLE = (1, SCHEMA)
FOLDER = Path(__file__).resolve().parents[1] / "results"
Kind = Literal[
    "inference", "training", "pipeline", "correctness", "accuracy", "loading", "two_stream", "real", "timeline",
    "devices", "export", "serving", "techniques",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
# A row of these is one, and took turns with none.
TRAININGS: tuple[Kind, ...] = ("accuracy", "two_stream", "real", "timeline", "devices", "techniques")
OURS, KERAS_EXPORT, MATRIX = "ONNX Runtime", "Keras's export", "matrix product"  # names of runners
EXPORT = "to_onnx"
Status = Literal["ok", "out of memory", "too slow", "failed", "not available"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The first line of a result file: what was measured on.

    Attributes:
        kind: of the benchmark.
        machine: name of its folder under `benchmarks/results`.
        device: the processor or GPU that computed.
        cores: that this process may use. (None here and below: it was not recorded, as in figures older than this.)
        memory_gib: of the host.
        driver: of the GPU; None without one.
        load: busy cores before anything was measured, those that the host took away included: how quiet it was.
        versions: library -> version, of those that are installed.
        threads: of ONNX Runtime and OpenVINO; None: their own choice.
        commit: of the checkout; ends in `+` where files differed from it; None outside a checkout.
        started: when, UTC, ISO 8601.
        arguments: of the command.
    """

    kind: Kind
    machine: str
    device: str
    cores: int | None
    memory_gib: float | None
    driver: str | None
    load: float | None
    versions: dict[str, str]
    threads: int | None
    commit: str | None
    started: str
    arguments: list[str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One runner, one model, one batch size: every other line of a result file.

    Attributes:
        model: name in the zoo, or of the file.
        runner: what computed, such as `ONNX Runtime`.
        settings: what else tells rows apart, such as provider, precision, binding; or where clips came from.
        batch: clips in a round.
        status: `ok`, or why there is no figure.
        note: a sentence on the status, or on the figure.
        frames: of a clip.
        turns: seconds of every round, in the order measured, by turn. The rounds of a turn follow each other without
            a gap: their sum is the time that passed. (In training, each is a step's share of an epoch's time.)
            Runners of one group take turns; turn k of one was measured beside turn k of the others.
        sha256: of the file that ran; None where none did.
        parity: of that file, as its metadata has it.
        latencies: of requests in an open loop (`benchmarks.harness.open_loop`): seconds from the moment of each to its
            answer. A turn is then the time in which `batch` clips were answered. Empty elsewhere.
        facts: single figures, such as `session_seconds`, `first_run_seconds`, `peak_memory_mib`, `nodes`.
    """

    model: str
    runner: str
    settings: dict[str, str] = field(default_factory=dict)
    batch: int
    status: Status = "ok"
    note: str = ""
    frames: int = 0
    turns: list[list[float]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    sha256: str | None = None
    parity: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes two rows of two files the same measurement."""
        return self.model, self.runner, ", ".join(self.settings.values()), self.batch

    @property
    def name(self) -> str:
        """Runner and settings, for people."""
        return ", ".join((self.runner, *self.settings.values()))

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return self.status == "ok" and bool(self.turns)

    @property
    def seconds(self) -> list[float]:
        """Every round."""
        return [value for turn in self.turns for value in turn]

    @property
    def turn_seconds(self) -> list[float]:
        """Seconds that a round took in each turn: the time that passed, over its rounds. Slow rounds count in full."""
        return [sum(turn) / len(turn) for turn in self.turns]

    @property
    def round_seconds(self) -> Interval:
        """Seconds of a round in the median turn, with its 95 % interval: rounds of a turn are too alike to count each.

        This is throughput turned over; latency is what `summary` has percentiles of.
        """
        return median_interval(self.turn_seconds)

    @property
    def clips_per_second(self) -> float:
        """Throughput: clips over the time that passed, of the median turn."""
        return float(np.median([self.batch / seconds for seconds in self.turn_seconds]))

    def summary(self) -> dict[str, float]:
        """Latency: milliseconds of a round, or a request: p50, p90, p95 and, of 1,000 or more, p99. Throughput: clips
        and frames over the time that passed, of the median turn. For readers of the file alone: all of it follows from
        `turns` and `latencies`."""
        if not self.measured:
            return {}
        marks = {f"p{p}_ms": 1e3 * value for p, value in percentiles(self.latencies or self.seconds).items()}
        rate = self.clips_per_second
        return {
            **marks,
            "rounds": len(self.seconds),
            "clips_per_second": rate,
            "frames_per_second": rate * self.frames,
        }


def times_as_fast(row: Row, other: Row) -> Interval:
    """How many times as fast `row` is as `other`, measured beside it: the median ratio of throughputs over turns, 95 %
    interval."""
    pairs = zip(row.turn_seconds, other.turn_seconds, strict=False)
    scale = row.batch / other.batch
    return median_interval([theirs / own * scale for own, theirs in pairs])


@dataclass(frozen=True)
class Results:
    """A result file.

    Attributes:
        path: the file.
        setup: what was measured on.
        rows: what was measured.
    """

    path: Path
    setup: Setup
    rows: list[Row]

    @classmethod
    def start(cls, path: str | Path, setup: Setup) -> Self:
        """Begins a file.

        Raises:
            ClipzooError: it is there already, or cannot be written.
        """
        path = Path(path)
        require_new(path)
        line = json.dumps({"schema": SCHEMA, **asdict(setup)}, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(line + "\n", encoding="utf-8")
        except OSError as error:
            raise ClipzooError(f"{path}: cannot be written ({error.strerror})") from None
        return cls(path, setup, [])

    def add(self, row: Row) -> None:
        """Appends a row to the file: a kill costs what is being measured, no more."""
        *turns, latencies = ([float(f"{value:.7g}") for value in each] for each in (*row.turns, row.latencies))
        row = replace(row, turns=turns, latencies=latencies)
        line = json.dumps({**asdict(row), "summary": row.summary()}, ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.rows.append(row)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a file. A torn last line, which a kill leaves, is left out.

        Raises:
            ClipzooError: it cannot be read, is none of ours, damaged, or of another schema.
        """
        path = Path(path)
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise ClipzooError(f"{path}: cannot be read as a result file ({why})") from None
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
        try:
            head, *rows = (json.loads(line) for line in lines)
            schema = head.pop("schema")
        except (ValueError, AttributeError, KeyError, TypeError):
            raise ClipzooError(f"{path}: is not a result file of clipzoo's benchmarks") from None
        if schema not in READABLE:
            age = "an older" if isinstance(schema, int) and schema < SCHEMA else "another"
            raise ClipzooError(f"{path}: is of {age} schema ({schema}, not {SCHEMA}); measure again")
        missing = sorted({f.name for f in fields(Setup)} - set(head))
        if missing:
            raise ClipzooError(f"{path}: is a damaged result file (its first line lacks {', '.join(missing)})")
        try:
            setup = Setup(**head)
            if not isinstance(setup.versions, dict):
                raise ValueError("versions are not a table")
            return cls(path, setup, [_row(row) for row in rows])
        except (TypeError, ValueError, AttributeError) as error:
            raise ClipzooError(f"{path}: is a damaged result file ({error})") from None

    def select(self, **wanted: Any) -> list[Row]:
        """Rows whose attributes have these values."""
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in wanted.items())]


def require_new(path: Path) -> None:
    """Raises a ClipzooError where a result file of this name is there already."""
    if path.exists():
        raise ClipzooError(f"{path}: is there already, and results are not written over; give another name")


def newest(kind: Kind, folder: Path = FOLDER) -> list[Results]:
    """What is known of every machine: its result files, each with the rows that `side_by_side` leaves it."""
    machines = sorted({path.parent for path in folder.glob(f"*/{kind}-*.jsonl")})
    return [results for machine in machines for results in side_by_side(kind, machine)]


def side_by_side(kind: Kind, folder: Path) -> list[Results]:
    """The result files of a folder, oldest first, each with the rows that no newer one measured again.

    Rows of one model, batch and provider always come from one file: only there were they measured side by side. Where
    all of them failed, an older file that has figures counts.
    """
    files = [Results.load(path) for path in sorted(folder.glob(f"{kind}-*.jsonl"))]  # named by their time
    best: dict[tuple[Any, ...], tuple[bool, Path]] = {}
    for found in files:
        for row in found.rows:
            known = best.get(_group(found, row), (False, found.path))
            best[_group(found, row)] = max(known, (row.measured, found.path))
    kept = [
        replace(found, rows=[row for row in found.rows if best[_group(found, row)][1] == found.path]) for found in files
    ]
    return [found for found in kept if found.rows]


def _group(found: Results, row: Row) -> tuple[Any, ...]:
    """Rows with the same were measured side by side, where one file has them; a training is beside no other."""
    if found.setup.kind in TRAININGS:
        return row.key
    provider = next((row.settings["provider"] for row in found.rows if "provider" in row.settings), "")
    return provider, row.model, row.batch


def of_batch(rows: Iterable[Row], batch: int) -> Row | None:
    """Of one runner's rows of a model, that of a batch size, or else the failed one that ended its sweep before."""
    found = [row for row in rows if row.batch == batch or (row.batch < batch and not row.measured)]
    return max(found, key=lambda row: row.batch, default=None)


def _row(record: dict[str, Any]) -> Row:
    known = {f.name for f in fields(Row)} | {"summary"}
    strange: Sequence[str] = sorted(set(record) - known)
    if strange:
        raise ValueError(f"unknown fields {', '.join(strange)}")
    row = Row(**{name: value for name, value in record.items() if name != "summary"})
    tables = isinstance(row.settings, dict) and isinstance(row.facts, dict)
    if not tables or not all(turn and all(map(_is_time, turn)) for turn in (*row.turns, row.latencies or [1])):
        raise ValueError(f"settings, facts or turns of a row of {row.model} are not what they must be")
    return row


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < inf
