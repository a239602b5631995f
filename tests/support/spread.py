"""Trains one small model on several virtual devices in turn, in a process that has four: `python -m
tests.support.spread CLIPS OUT 1 2`. `stop:2:4` is a training that is stopped on 2 devices and goes on on 4.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from benchmarks.devices import virtual_devices

DEVICES = 4


def main(clips: str, out: str, *wanted: str) -> None:
    virtual_devices(DEVICES)
    import keras

    import zoo
    from loaders import index_folder
    from tests.support.stripes import registered

    index = index_folder(clips)
    draws = int(os.environ.get("DRAWS", "0"))
    recipe = zoo.Recipe(
        epochs=2, batch=7, seed=1, learning_rate=0.01, class_weights=True, draws=draws,
        train_from="head" if draws else "all",
    )  # fmt: skip

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            if batch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    cache = "memory" if draws else None
    with registered() as name:
        for each in wanted:
            folder, options = Path(out) / each, {"dropout": 0.0}
            if not each.startswith("stop:"):
                zoo.train(index, name, recipe, out=folder, options=options, devices=int(each), cache=cache)
                continue
            before, after = map(int, each.split(":")[1:])
            try:
                zoo.train(index, name, recipe, out=folder, options=options, devices=before, callbacks=[Stop()])
            except SystemExit as stopped:
                assert stopped.code == 143
            zoo.resume(folder, devices=after)


if __name__ == "__main__":
    main(*sys.argv[1:])
