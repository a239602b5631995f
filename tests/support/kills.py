"""Kills a training with SIGKILL again and again, goes on each time, and compares with one that nothing stopped.

    python -m tests.support.kills --kills 20 --workers 2

Kills come in a step, in a validation and while a checkpoint is written, in turn. The final weights must be those of the
training that nothing stopped, to the bit; with `--drop-optimizer` the optimizer's state is lost on purpose, and they
must not. Exit status 0: so it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

PHASES = ("step", "validation", "checkpoint")


def child(clips: Path, out: Path, workers: int, drop: bool, epochs: int) -> None:
    """Trains, or goes on, and says on stdout what it does, so that the parent can kill it there."""
    import keras

    import loaders
    import zoo
    from zoo.checkpoint import State
    from zoo.training import Restore

    class Says(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            print("step", flush=True)

        def on_test_batch_begin(self, batch: int, logs: object = None) -> None:
            print("validation", flush=True)

    write, put = State.write, Restore._put

    def writes(self: State, file: Path, packed: bytes) -> None:
        print("checkpoint", flush=True)
        write(self, file, packed)

    def puts(self: Restore, variables: list[keras.Variable], name: str) -> None:
        if not (drop and name == "optimizer"):
            put(self, variables, name)

    with patch.object(State, "write", writes), patch.object(Restore, "_put", puts):
        if zoo.Run(out).checkpoint.exists():
            zoo.resume(out, workers=workers, checkpoint_minutes=0, callbacks=[Says()])
            return
        zoo.train(
            loaders.index_folder(clips).split(seed=0), "convnet_gru", zoo.Recipe(epochs=epochs, batch=8), out=out,
            options={"frames": 4, "size": 16, "width": 0.125}, workers=workers, checkpoint_minutes=0,
            callbacks=[Says()], overwrite=True,
        )  # fmt: skip


def run(*arguments: object, kill: tuple[str, int] | None = None) -> bool:
    """Runs a child; kills it when it says `kill`'s phase for that time. Whether it was killed."""
    command = [sys.executable, "-m", "tests.support.kills", "child", *map(str, arguments)]
    left = kill[1] if kill else 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if kill and line.strip() == kill[0]:
                left -= 1
                if left == 0:
                    process.kill()
                    return True
        said = process.stderr.read()
    if process.returncode:
        raise SystemExit(f"a child ended with {process.returncode}: {said[-2000:]}")
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--drop-optimizer", action="store_true")
    parser.add_argument("--json", type=Path, help="add what was found to this file, a line of JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        import loaders

        clips, whole, killed = (Path(folder) / name for name in ("clips", "whole", "killed"))
        loaders.draw_motion_clips(clips, clips=48, frames=8, seed=5)
        epochs = max(8, given.kills)  # a validation's kill may cost an epoch
        run(clips, whole, given.workers, False, epochs)
        hit: Counter[str] = Counter()
        for number in range(given.kills):
            # The third of its kind: in every life a step or two is taken, so that training gets on.
            phase = PHASES[number % len(PHASES)]
            if run(clips, killed, given.workers, given.drop_optimizer, epochs, kill=(phase, 1 + number % 3)):
                hit[phase] += 1
        run(clips, killed, given.workers, given.drop_optimizer, epochs)
        import zoo

        pairs = zip(*(zoo.load_model(zoo.Run(run).last).get_weights() for run in (whole, killed)), strict=True)
        same = all((one == other).all() for one, other in pairs)
    print(f"killed {dict(hit)}; the weights are {'the same to the bit' if same else 'others'}")
    if given.json:
        from zoo.backend import versions

        found = {
            "when": f"{datetime.now(UTC):%Y-%m-%d}", "backend": os.environ.get("KERAS_BACKEND", ""), "kills": dict(hit),
            "workers": given.workers, "optimizer_dropped": given.drop_optimizer, "same_to_the_bit": same,
            "versions": versions(),
        }  # fmt: skip
        given.json.parent.mkdir(parents=True, exist_ok=True)
        with given.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    sys.exit(same == given.drop_optimizer or any(not hit[phase] for phase in PHASES[: given.kills]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        _, _, videos, folder, threads, dropped, wanted = sys.argv
        child(Path(videos), Path(folder), int(threads), dropped == "True", int(wanted))
    else:
        main()
