"""Goes on with a training that was stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loaders.cache import Cache
from loaders.check import number
from zoo.backend import versions
from zoo.checkpoint import read_clips, read_state
from zoo.learning import learn
from zoo.run import Run

if TYPE_CHECKING:
    import keras

    from zoo.devices import Devices


def resume(
    run: str | Path,
    *,
    videos: str | Path | None = None,
    cache: Literal["memory"] | str | Path | Cache | None = None,
    workers: int = 2,
    checkpoint_minutes: float = 10.0,
    devices: Devices | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    say: Callable[[str], object] = lambda line: None,
) -> Run:
    """Goes on with a training that was stopped, from the step of its last checkpoint.

    On the same machine, backend and versions it ends with the weights that it would have had without the stop, to the
    bit where the backend is that exact, as it is on a CPU. On another backend, random draws of dropout differ.

    Args:
        run: its folder; clips, model and recipe are those of its checkpoint.
        videos: the folder where the clips lie now, where that is another one.
        cache: as of `train`; that of before, where it was a folder or `memory`, if left out.
        workers: as of `train`.
        checkpoint_minutes: as of `train`.
        devices: as of `train`; another number than before, and other hosts, give the same to rounding.
        callbacks: more of them; they begin anew.
        say: as of `train`.

    Raises:
        ClipzooError: no run, or a finished one; a checkpoint that is damaged or of another version; a clip is gone or
            another file; and as `train`.
        VideoError: a clip cannot be read.
    """
    from zoo.devices import spread_over
    from zoo.hosts import host_rank
    from zoo.run_lock import run_lock

    number("checkpoint_minutes", checkpoint_minutes, least=0)
    there = Run(Path(run))
    read_state(there)  # before the folder is claimed, which would make it
    with spread_over(devices) as over, run_lock(there.folder, again=True) if host_rank()[0] == 0 else nullcontext():
        import keras

        from zoo.saving import load_keras

        state = read_state(there)
        index, packed = read_clips(there, state, videos)
        network = load_keras(there.checkpoint)
        backend, record = keras.config.backend(), state.record
        say(f"clips: {len(index)} of {index.kind.count(len(index.labels))}, as before")
        if backend != record["backend"]:
            say(f"note: begun on {record['backend']}, goes on on {backend}: figures will differ in the last digits")
        say(f"model: {network.name}; goes on at {state.place}")
        if over is not None:
            say(over.line)
        again: dict[str, Any] = {"epoch": state.epoch, "batch": state.batch, "backend": backend, "versions": versions()}
        again |= {"devices": over.devices, "hosts": over.hosts} if over is not None else {}
        record |= {"videos": str(index.root.resolve()), "resumed": [*record.get("resumed", ()), again]}
        kept = cache if cache is not None else state.cache
        return learn(
            there, network, index, state, packed, callbacks, say,
            cache=kept, workers=workers, minutes=checkpoint_minutes,
        )  # fmt: skip
