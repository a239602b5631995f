"""What the tables of speed say: cells, the heads first; and the table of each kind of result."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from benchmarks.harness.accuracy_tables import accuracy, devices, real, techniques, timeline, two_stream
from benchmarks.harness.contestants import share_of_matrix_rate
from benchmarks.harness.records import EXPORT, KERAS_EXPORT, MATRIX, OURS, Kind, Row, newest, of_batch, times_as_fast
from benchmarks.harness.render import Cells, Lines
from benchmarks.harness.statistics import FEWEST, SETTLED
from benchmarks.harness.trainers import TrainingVariant

Rows = Sequence[Row]
PEERS = (
    ("Keras TensorFlow", ""),
    ("Keras JAX", ""),
    ("OpenVINO", "float32"),
    ("OpenVINO", "default"),
    (KERAS_EXPORT, ""),
)


def inference(rows: Rows) -> Iterable[Cells]:
    """ONNX Runtime beside its peers."""
    first, *others = [", ".join(filter(None, peer)) for peer in PEERS]
    yield (
        "model", "batch", "runs on", "p50 ms", "p95 ms", "clips/s", "frames/s", "of matrix rate",
        f"times as fast as {first}", *(f"as {other}" for other in others),
    )  # fmt: skip
    for row in rows:
        if row.runner != OURS:
            continue
        name = (row.model, str(row.batch), ", ".join(row.settings.values()))
        if not row.measured:
            yield *name, f"{row.status}: {row.note}", *[""] * (4 + len(PEERS))
            continue
        figures = row.summary()
        share = share_of_matrix_rate(row, rows)  # on a GPU measured with the first batch size alone
        yield (
            *name,
            f"{figures['p50_ms']:.1f}",
            f"{figures['p95_ms']:.1f}" if figures["rounds"] >= 20 else "",
            f"{figures['clips_per_second']:.1f}{mark(row)}",
            f"{figures['frames_per_second']:.0f}",
            f"{share:.0%}" if share else "",
            *(_beside(row, peer_of(row, rows, *peer)) for peer in PEERS),
        )


def peer_of(row: Row, rows: Rows, runner: str, precision: str) -> Row | None:
    """What a row of ours is held against; `precision` is empty where the runner has one alone."""
    found = [r for r in rows if r.model == row.model and r.runner == runner]
    return of_batch([r for r in found if precision in ("", r.settings.get("precision"))], row.batch)


def _beside(row: Row, other: Row | None) -> str:
    if other is None or other.measured:
        return _times(row, other) if other else ""
    if other.status == "too slow" and other.turns and other.batch == row.batch:
        return f"over {row.batch / other.batch * other.turns[0][0] / row.round_seconds.value:.1f}"
    return other.status


def start_up(rows: Rows) -> Iterable[Cells]:
    """What happens before the first answer, and memory."""
    names = list(dict.fromkeys(row.name for row in rows if row.measured and row.runner != MATRIX))
    yield "model", "nodes", *names
    for model in dict.fromkeys(row.model for row in rows):
        of_model = [row for row in rows if row.model == model and row.batch == 1 and row.measured]
        found = {row.name: row for row in of_model if row.name in names}
        if not found:
            continue
        cells = []
        for name in names:
            facts = found[name].facts if name in found else None
            times = facts and f"{facts['session_seconds']:.2f} + {facts['first_run_seconds']:.2f} s"
            cells.append(f"{times}, {_memory(found[name]):.0f} MiB" if facts else "")
        placed: dict[str, int] = next((row.facts["nodes"] for row in found.values() if "nodes" in row.facts), {})
        nodes = ", ".join(f"{n} {where.removesuffix('ExecutionProvider')}" for where, n in sorted(placed.items()))
        yield model, nodes, *cells


def correctness(rows: Rows) -> Iterable[Cells]:
    """How near the answers of every precision are to Keras's."""
    yield "model", "computes in", "from Keras", "from the CPU provider", "allowed", "same class", "nodes elsewhere", ""
    for row in rows:
        facts = row.facts
        figures = [""] * 5
        if facts:
            figures = [f"{facts['from_keras']:.1e}", f"{facts['from_cpu']:.1e}", f"{facts['allowed']:g}"]
            figures += [f"{facts['same_decision']:.0%}", str(len(facts["elsewhere"]))]
        yield row.model, row.settings["precision"], *figures, row.note


def training(rows: Rows) -> Iterable[Cells]:
    """Clips a second of training steps."""
    ways = {
        "with TimeDistributed": TrainingVariant(time="TimeDistributed"),
        "in bfloat16": TrainingVariant(precision="mixed bfloat16"),
        "from the disk cache": TrainingVariant(source="disk cache"),
        "from videos": TrainingVariant(source="videos"),
    }
    yield (
        "model", "backend", "batch", "from memory, clips/s", "compiled in, s", "memory, MiB",
        *(f"{way}: times as fast" for way in ways), "waiting, cache and videos", "compiled after the first epoch",
    )  # fmt: skip
    for first in rows:
        if first.settings != TrainingVariant().settings:
            continue
        same = (first.model, first.runner, first.batch)
        beside = [row for row in rows if (row.model, row.runner, row.batch) == same]
        name = (first.model, first.runner.removeprefix("Keras "), str(first.batch))
        if not first.measured:
            yield *name, f"{first.status}: {first.note}", *[""] * 8
            continue
        others = [next((row for row in beside if row.settings == way.settings), None) for way in ways.values()]
        yield (
            *name,
            f"{first.clips_per_second:.2f}{mark(first)}",
            f"{first.facts['compile_seconds']:.0f}",
            f"{_memory(first):.0f}",
            *("" if row is None else _times(row, first) if row.measured else row.status for row in others),
            ", ".join(f"{row.facts['data_wait']:.0%}" for row in others[2:] if row is not None and row.measured),
            str(max(row.facts.get("compilations", 0) for row in (first, *others) if row is not None)),
        )


def pipeline(rows: Rows) -> Iterable[Cells]:
    """From video file to label."""
    yield (
        "model", "files", "overlapped, clips/s", "times as fast as one after the other", "decoding alone",
        "inference alone",
    )  # fmt: skip
    for row in rows:
        if row.settings["step"] != "overlapped" or not row.measured:
            continue
        alike = [each for each in rows if each.model == row.model and each.measured]
        steps = {
            each.settings["step"]: each
            for each in alike
            if {**each.settings, "step": ""} == {**row.settings, "step": ""}
        }
        apart = steps.get("one after the other")
        alone = (steps.get(f"{part} alone") for part in ("decoding", "inference"))
        yield (
            row.model, str(row.batch), f"{row.clips_per_second:.1f}{mark(row)}", _times(row, apart) if apart else "",
            *(f"{each.clips_per_second:.1f}" if each else "" for each in alone),
        )  # fmt: skip


def loading(rows: Rows) -> Iterable[Cells]:
    """How fast clips are read."""
    yield "what", "measured"
    found = {(row.model, row.runner): row for row in rows if row.measured}
    own, decoding = found.get(("cold", "clipzoo")), found.get(("cached", "none"))
    for (what, reader), row in found.items():
        if what == "cold":
            ratio = f"; clipzoo is {times_as_fast(own, row).value:.2f} times as fast" if own and row is not own else ""
            yield f"cold, 5 frames of 112x112, {reader}", f"{row.clips_per_second:.1f} clips/s{ratio}"
        elif what == "cached" and decoding and row is not decoding:
            ratio = f"{row.clips_per_second / decoding.clips_per_second:.0f} times decoding"
            yield f"cached, from {reader}", f"{row.clips_per_second:.0f} clips/s, {ratio}"
    sparse, decord = (found.get(("sparse", reader)) for reader in ("clipzoo", "decord"))
    if sparse and decord:
        exact = "bit for bit a full decode's" if sparse.facts["equal_to_full_decode"] else "NOT those of a full decode"
        cost = times_as_fast(decord, sparse).value
        yield f"5 of {sparse.facts['file_frames']:,} frames", f"{cost:.2f} times decord's cost; {exact}"
    flows = [f"{row.runner} {row.clips_per_second:.1f}" for row in found.values() if row.model == "flow"]
    if flows:
        yield "flow, 25 stacks of 5 at 224x224, one thread", f"{', '.join(flows)} clips/s"
    if decoding:
        yield "memory after epochs 1, 2, 3", f"{', '.join(f'{mib:.0f}' for mib in decoding.facts['epochs_mib'])} MiB"
    index = found.get(("index", "CSV"))
    if index:
        cost_of = f"{index.round_seconds.value:.1f} s, {index.facts['index_mib']:.0f} MiB"
        yield f"index of {index.batch:,} clips from CSV", cost_of


def export(rows: Rows) -> Iterable[Cells]:
    """What exports cost, how near they are to Keras, and how fast."""
    first, *others = [", ".join(filter(None, peer)) for peer in PEERS]
    yield (
        "model", "precision", "nodes", "MiB", "seconds", "parity", "largest difference from Keras",
        "same class as Keras", "clips/s", f"times as fast as {first}", *(f"as {other}" for other in others),
    )  # fmt: skip
    for row in rows:
        if row.runner != EXPORT:
            continue
        precision = row.settings["precision"]
        if not row.measured:
            said = row.note.partition(";")[0]  # behind it stands what to do
            yield row.model, precision, f"{row.status}: {said}", *[""] * (6 + len(PEERS))
            continue
        facts, beside = row.facts, row.facts["beside"]
        ours = [each for each in rows if (each.model, each.runner) == (row.model, OURS)]
        rate = next((each for each in ours if each.settings.get("precision", "float32") == precision), None)
        figures = [""] * (1 + len(PEERS))
        if rate is not None:
            peers = [_beside(rate, peer_of(rate, rows, *peer)) if rate.measured else "" for peer in PEERS]
            figures = [f"{rate.clips_per_second:.1f}{mark(rate)}" if rate.measured else rate.status, *peers]
        yield (
            row.model, precision, str(facts["graph_nodes"]), f"{facts['file_bytes'] / 2**20:.1f}", _seconds(row),
            _parity(row), f"{max(each['difference'] for each in beside.values()):.1e}" if beside else "",
            _agreement(beside), *figures,
        )  # fmt: skip


def _seconds(row: Row) -> str:
    """Of the median round, with the shortest and the longest where there are several."""
    found = row.round_seconds
    return f"{found.value:.1f}" + (f" ({found.low:.1f} to {found.high:.1f})" if len(row.turns) > 1 else "")


def _parity(row: Row) -> str:
    """What the gate of the export found."""
    quantization, parity = row.facts["quantization"], row.parity or {}
    if quantization:
        return f"{quantization['agreement']:.1%} of {quantization['clips']} clips as float32"
    return f"{max(parity.get(name, 0.0) for name in ('logits', 'probabilities', 'values')):.1e}"


def _agreement(beside: dict[str, dict[str, Any]]) -> str:
    """With each backend; on how many clips, and how many classes Keras said, of which one would prove little."""
    shares = ", ".join(f"{name.removeprefix('Keras ')} {each['same_decision']:.0%}" for name, each in beside.items())
    least = min(beside.values(), key=lambda each: each["decisions"], default=None)
    return f"{shares} ({least['clips']} clips; said: {least['decisions']})" if least else ""


def serving(rows: Rows) -> Iterable[Cells]:
    """Requests that come when they come; of cameras, the most that are served in time."""
    yield (
        "model", "load", "offered/s", "clips/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "answered", "refused",
        "mean batch",
    )  # fmt: skip
    for row in rows:
        name, facts = (row.model, row.settings["load"]), row.facts
        if not row.measured:
            yield *name, f"{row.status}: {row.note}", *[""] * 8
            continue
        if "cameras" in facts and row is not most_cameras(row.model, rows):
            continue
        figures = row.summary() if row.latencies else {}  # in a closed loop nobody waits
        few = {"p90_ms": 10, "p95_ms": 20}  # samples, of which one lies beyond it
        figures = {name: value for name, value in figures.items() if len(row.latencies) >= few.get(name, 0)}
        yield (
            *name, f"{facts['offered_per_second']:.1f}" if "offered_per_second" in facts else "",
            f"{row.clips_per_second:.1f}",
            *(f"{figures[p]:.0f}" if p in figures else "" for p in ("p50_ms", "p90_ms", "p95_ms", "p99_ms")),
            str(facts["answered"]), f"{facts['refused_share']:.1%}", f"{facts['mean_batch']:.1f}",
        )  # fmt: skip


def most_cameras(model: str, rows: Rows) -> Row | None:
    """Of a model's loads by cameras, the greatest that was served in time; None where none was."""
    found = [row for row in rows if row.model == model and row.measured and row.facts.get("in_time")]
    return max(found, key=lambda row: row.facts["cameras"], default=None)


KINDS: dict[Kind, Lines] = {
    "inference": inference, "training": training, "pipeline": pipeline, "correctness": correctness,
    "accuracy": accuracy, "loading": loading, "two_stream": two_stream, "real": real, "timeline": timeline,
    "devices": devices, "export": export, "serving": serving, "techniques": techniques,
}  # fmt: skip


def speeds(models: Collection[str]) -> tuple[str, dict[str, Row]]:
    """The processor on which most of these models were measured, and the row of each.

    They are of our file in ONNX Runtime, batch 1.
    """
    found: dict[str, dict[str, Row]] = {}
    for results in newest("inference"):
        device = f"{results.setup.device}, {results.setup.cores} cores"
        for row in results.select(runner=OURS, batch=1, settings={"provider": "CPU"}):
            if row.measured and row.model in models:
                found.setdefault(device, {})[row.model] = row
    return max(found.items(), key=lambda item: len(item[1]), default=("", {}))


def mark(row: Row) -> str:
    """A star where throughput is not settled, too few turns could tell, or nobody took turns with it."""
    unsettled = row.round_seconds.width >= SETTLED or len(row.turns) < FEWEST
    return "*" if unsettled or "alone" in row.note else ""


def _times(row: Row, other: Row) -> str:
    """With its interval, where there are turns enough for one."""
    ratio = times_as_fast(row, other)
    alone = " (alone)" if "alone" in row.note + other.note else ""
    if min(len(row.turns), len(other.turns)) < FEWEST:
        return f"{ratio.value:.2f}{alone}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}){alone}"


def _memory(row: Row) -> float:
    """MiB: the GPU's, where one computed."""
    return float(row.facts.get("gpu_memory_mib") or row.facts["peak_memory_mib"])
