"""The pages' tables of inference, training and the pipeline, one for every machine, from its newest result files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.harness.contestants import KERAS_EXPORT, MATRIX, OURS, share_of_matrix_rate
from benchmarks.harness.records import FOLDER, Kind, Results, Row, newest, of_batch, times_as_fast
from benchmarks.harness.statistics import FEWEST, SETTLED
from benchmarks.harness.trainers import Way

PEERS = (
    ("Keras TensorFlow", ""),
    ("Keras JAX", ""),
    ("OpenVINO", "float32"),
    ("OpenVINO", "default"),
    (KERAS_EXPORT, ""),
)


def inference() -> str:
    """ONNX Runtime beside its peers."""
    return _per_machine("inference", _inference)


def speeds() -> tuple[str, dict[str, float]]:
    """The processor with the most models, and for each its clips a second: our file, ONNX Runtime, batch 1."""
    found: dict[str, dict[str, float]] = {}
    for results in newest("inference"):
        device = f"{results.setup.device}, {results.setup.cores} cores"
        for row in results.select(runner=OURS, batch=1, settings={"provider": "CPU"}):
            if row.measured:
                found.setdefault(device, {})[row.model] = row.clips_per_second
    return max(found.items(), key=lambda item: len(item[1]), default=("", {}))


def start_up() -> str:
    """What happens before the first answer, and memory."""
    return _per_machine("inference", _start_up)


def training() -> str:
    """Clips a second of training steps."""
    return _per_machine("training", _training)


def pipeline() -> str:
    """From video file to label."""
    return _per_machine("pipeline", _pipeline)


def correctness() -> str:
    """How near the answers of every precision are to Keras's."""
    return _per_machine("correctness", _correctness)


def accuracy() -> str:
    """How good models become on made clips."""
    return _per_machine("accuracy", _accuracy)


def table(results: Results) -> str:
    """The table of one result file, of whatever kind."""
    kinds: dict[Kind, Callable[[Results], Iterable[str]]] = {
        "inference": _inference, "training": _training, "pipeline": _pipeline, "correctness": _correctness,
        "accuracy": _accuracy,
    }  # fmt: skip
    return "\n".join((setting(results), "", *kinds[results.setup.kind](results)))


def setting(results: Results) -> str:
    """What was measured on, in one line."""
    found = results.setup
    names = ("onnxruntime", "onnxruntime-gpu", "openvino", "keras", "tensorflow", "jax", "numpy")
    versions = ", ".join(f"{name} {found.versions[name]}" for name in names if name in found.versions)
    driver = f", driver {found.driver}" if found.driver else ""
    where = results.path.relative_to(FOLDER.parent.parent) if results.path.is_relative_to(FOLDER) else results.path
    products = [row for row in results.rows if row.runner == MATRIX and row.measured]
    rates = sorted(row.facts["floating_point_operations"] / row.round_seconds.value / 1e9 for row in products)
    matrix = f"; during it, the matrix product ran at {rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s" if rates else ""
    return (
        f"{found.device}{driver}, {found.cores} cores, {found.started[:10]}, commit {found.commit}; {versions}. "
        f"Before the run, {found.load:g} cores were busy{matrix}. `{Path(where).as_posix()}`"
    )


def _per_machine(kind: Kind, table: Callable[[Results], Iterable[str]]) -> str:
    """One table for each machine, of all its files that fill the same columns. What a row is held against is of its own
    file: of two providers, each has its peers beside it."""
    parts: list[str] = []
    for _, found in groupby(newest(kind), key=lambda results: results.path.parent):
        bodies: dict[tuple[str, ...], list[str]] = {}
        for results in found:
            parts.append(setting(results))
            first, second, *rows = table(results)
            bodies.setdefault((first, second), []).extend(rows)
        parts += ["\n".join((*head, *sorted(rows, key=_order))) for head, rows in bodies.items()]
    return "\n\n".join(parts)


def _order(line: str) -> tuple[str, int]:
    """Of lines from several files: by model, then by batch where that comes next."""
    model, second, *_ = line.split(" | ")
    return model, int(second) if second.isdigit() else 0


def _inference(results: Results) -> Iterable[str]:
    heads = [", ".join(filter(None, peer)) for peer in PEERS]
    yield "| model | batch | runs on | p50 ms | p95 ms | clips/s | frames/s | of matrix rate | times as fast as " + (
        " | as ".join(heads) + " |"
    )
    yield "|---" * (8 + len(heads)) + "|"
    for row in results.rows:
        if row.runner != OURS:
            continue
        of_model = results.select(model=row.model)
        name = f"| {row.model} | {row.batch} | {', '.join(row.settings.values())}"
        if not row.measured:
            yield f"{name} | {row.status}: {row.note} |" + " |" * (4 + len(heads))
            continue
        figures = row.summary()
        share = share_of_matrix_rate(row, results.rows)  # on a GPU measured with the first batch size alone
        cells = [
            f"{figures['p50_ms']:.1f}",
            f"{figures['p95_ms']:.1f}" if figures["rounds"] >= 20 else "",
            f"{figures['clips_per_second']:.1f}{mark(row)}",
            f"{figures['frames_per_second']:.0f}",
            f"{share:.0%}" if share else "",
            *(_ratio(row, of_model, *peer) for peer in PEERS),
        ]
        yield f"{name} | {' | '.join(cells)} |"


def _ratio(row: Row, of_model: Sequence[Row], runner: str, precision: str) -> str:
    found = [r for r in of_model if r.runner == runner and precision in ("", r.settings.get("precision"))]
    other = of_batch(found, row.batch)
    if other is None:
        return ""
    if not other.measured:
        slow = other.status == "too slow" and other.turns and other.batch == row.batch
        return (
            f"over {row.batch / other.batch * other.turns[0][0] / row.round_seconds.value:.1f}"
            if slow
            else other.status
        )
    return _times(row, other)


def _start_up(results: Results) -> Iterable[str]:
    names = list(dict.fromkeys(row.name for row in results.rows if row.measured and row.runner != MATRIX))
    yield f"| model | nodes | {' | '.join(names)} |"
    yield "|---" * (2 + len(names)) + "|"
    for model in dict.fromkeys(row.model for row in results.rows):
        found = {row.name: row for row in results.select(model=model, batch=1) if row.name in names and row.measured}
        if not found:
            continue
        cells = []
        for name in names:
            facts = found[name].facts if name in found else None
            memory = facts and (facts.get("gpu_memory_mib") or facts["peak_memory_mib"])
            times = facts and f"{facts['session_seconds']:.2f} + {facts['first_run_seconds']:.2f} s"
            cells.append(f"{times}, {memory:.0f} MiB" if facts else "")
        placed: dict[str, int] = next((row.facts["nodes"] for row in found.values() if "nodes" in row.facts), {})
        nodes = ", ".join(f"{n} {where.removesuffix('ExecutionProvider')}" for where, n in sorted(placed.items()))
        yield f"| {model} | {nodes} | {' | '.join(cells)} |"


def _correctness(results: Results) -> Iterable[str]:
    yield "| model | computes in | from Keras | from the CPU provider | allowed | same class | nodes elsewhere | |"
    yield "|---" * 8 + "|"
    for row in results.rows:
        facts = row.facts
        if not facts:
            yield f"| {row.model} | {row.settings['precision']} |" + " |" * 5 + f" {row.note} |"
            continue
        yield (
            f"| {row.model} | {row.settings['precision']} | {facts['from_keras']:.1e} | {facts['from_cpu']:.1e} | "
            f"{facts['allowed']:g} | {facts['same_decision']:.0%} | {len(facts['elsewhere'])} | {row.note} |"
        )


def _training(results: Results) -> Iterable[str]:
    yield "| model | backend | batch | from memory, clips/s | compiled in, s | memory, MiB | " + (
        "with TimeDistributed: times as fast | in bfloat16: times as fast | from the disk cache: times as fast | "
        "from videos: times as fast | waiting, cache and videos | compiled after the first epoch |"
    )
    yield "|---" * 12 + "|"
    ways = (
        Way(time="TimeDistributed"),
        Way(precision="mixed bfloat16"),
        Way(source="disk cache"),
        Way(source="videos"),
    )
    for first in results.rows:
        if first.settings != Way().settings:
            continue
        same = (first.model, first.runner, first.batch)
        beside = [row for row in results.rows if (row.model, row.runner, row.batch) == same]
        name = f"| {first.model} | {first.runner.removeprefix('Keras ')} | {first.batch}"
        if not first.measured:
            yield f"{name} | {first.status}: {first.note} |" + " |" * 8
            continue
        others = [next((row for row in beside if row.settings == way.settings), None) for way in ways]
        waits = ", ".join(f"{row.facts['data_wait']:.0%}" for row in others[2:] if row is not None and row.measured)
        facts = first.facts
        cells = [
            f"{first.clips_per_second:.2f}{mark(first)}",
            f"{facts['compile_seconds']:.0f}",
            f"{facts.get('gpu_memory_mib') or facts['peak_memory_mib']:.0f}",
            *(_speed(row, first) for row in others),
            waits,
            str(max(row.facts.get("compilations", 0) for row in (first, *others) if row is not None)),
        ]
        yield f"{name} | {' | '.join(cells)} |"


def _accuracy(results: Results) -> Iterable[str]:
    yield "| model | backend | precision | right (top-1) | 95 % interval | test clips | trained in, s |"
    yield "|---" * 7 + "|"
    for row in results.rows:
        name = f"| {row.model} | {row.runner.removeprefix('Keras ')} | {row.settings['precision']}"
        if not row.measured:
            yield f"{name} | {row.status}: {row.note} | | | |"
            continue
        facts = row.facts
        low, high = facts["interval"]
        figures = (f"{facts['top1']:.1%}", f"{low:.1%} to {high:.1%}", str(facts["clips"]), f"{facts['seconds']:.0f}")
        yield f"{name} | {' | '.join(figures)} |"


def _speed(row: Row | None, first: Row) -> str:
    if row is None:
        return ""
    if not row.measured:
        return row.status
    return _times(row, first)


def _times(row: Row, other: Row) -> str:
    """With its interval, where there are turns enough for one."""
    ratio = times_as_fast(row, other)
    alone = " (alone)" if "alone" in row.note + other.note else ""
    if min(len(row.turns), len(other.turns)) < FEWEST:
        return f"{ratio.value:.2f}{alone}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}){alone}"


def mark(row: Row) -> str:
    """A star where throughput is not settled, too few turns could tell, or nobody took turns with it."""
    unsettled = row.round_seconds.width >= SETTLED or len(row.turns) < FEWEST
    return "*" if unsettled or "alone" in row.note else ""


def _pipeline(results: Results) -> Iterable[str]:
    heads = ("overlapped, clips/s", "times as fast as one after the other", "decoding alone", "inference alone")
    yield f"| model | files | {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|"
    for row in results.rows:
        if row.settings["step"] != "overlapped" or not row.measured:
            continue
        others = {
            step: next((r for r in results.select(model=row.model, settings={**row.settings, "step": step})), None)
            for step in ("one after the other", "decoding alone", "inference alone")
        }
        apart, *alone = (other if other is not None and other.measured else None for other in others.values())
        rates = [f"{row.clips_per_second:.1f}{mark(row)}", _times(row, apart) if apart else ""]
        rates += [f"{other.clips_per_second:.1f}" if other else "" for other in alone]
        yield f"| {row.model} | {row.batch} | {' | '.join(rates)} |"
