"""One training on several hosts, by JAX's own distributed runtime: who is there, and what happens if one is gone."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from loaders.check import number
from loaders.errors import ClipzooError

WAIT = "CLIPZOO_HOSTS_WAIT"  # seconds
_ASIDE = "CLIPZOO_HOSTS_ASIDE"  # where a training under `watched` puts what the runtime writes
_JOINED = "all hosts joined\n"
# What JAX raises in the middle of a step when a peer is gone: the connection's words, from Gloo and NCCL.
_GONE = re.compile(r"gloo|nccl|peer|coordination|deadline_exceeded|unavailable|connection", re.IGNORECASE)


class LostHostError(ClipzooError):
    """Another host of the training is gone."""


@dataclass(frozen=True)
class Hosts:
    """The hosts of a training.

    Attributes:
        address: `NAME:PORT` at which host 0 listens.
        count: how many there are, >= 1.
        number: of this one, from 0.
    """

    address: str
    count: int
    number: int

    @staticmethod
    def parse(text: str) -> Hosts:
        """From `NAME:PORT,COUNT,NUMBER`.

        Raises:
            ClipzooError: it is not like that, or the number is not below the count.
        """
        found = re.fullmatch(r"([^,\s]+:\d{1,5}),(\d+),(\d+)", text.strip())
        if found is None:
            raise ClipzooError(
                f"--hosts {text!r}: must be NAME:PORT,COUNT,NUMBER, such as node0:29500,2,1 for the second of two "
                "hosts, of which the first listens at node0:29500"
            )
        hosts = Hosts(found[1], int(found[2]), int(found[3]))
        if not hosts.count:
            raise ClipzooError(f"--hosts {text!r}: the count of hosts (0) must be at least 1")
        if not hosts.number < hosts.count:
            raise ClipzooError(f"--hosts {text!r}: the number ({hosts.number}) must be 0 to {hosts.count - 1}")
        return hosts

    @property
    def late(self) -> str:
        """What to say where not all of them came."""
        return (
            f"not all of {self.count} hosts came within {_seconds():g} seconds (this is host {self.number}, and host 0 "
            f"listens at {self.address}): start the same command on each, with the numbers 0 to {self.count - 1} in "
            f"--hosts, and see that the port can be reached; {WAIT}=SECONDS waits longer"
        )

    @property
    def lost(self) -> str:
        """What to say where one of them is gone."""
        return (
            f"another of the {self.count} hosts is gone, and host {self.number} cannot go on without it: look at what "
            "the others say, then start all of them again with --resume RUN"
        )


def refuse(backend: str) -> None:
    """Raises ClipzooError on a backend that Keras cannot train several hosts with."""
    if backend != "jax":
        raise ClipzooError(
            f"several hosts need JAX, and the backend is {backend}: Keras 3 does not train with TensorFlow's "
            "MultiWorkerMirroredStrategy (keras#20585); set KERAS_BACKEND=jax on every host"
        )


def join(hosts: Hosts) -> None:
    """Waits for the others, by `keras.distribution.initialize`; from then on, `zoo.train` runs on all of them.

    Call it before anything is computed. Where another host is gone or never comes, JAX's runtime may end this process
    with a message of its own; `clipzoo train --hosts` says a sentence then, because another process watches it.

    Raises:
        ClipzooError: not JAX, a backend that has computed already, or hosts that do not come.
    """
    import keras

    refuse(keras.config.backend())
    import jax

    if jax.distributed.is_initialized():
        raise ClipzooError("the hosts were joined already; a program joins them once")
    # Keras does not pass JAX's timeouts on.
    heard = int(max(1, min(100, _seconds())))
    patient = partial(
        jax.distributed.initialize, initialization_timeout=int(max(1, _seconds())), heartbeat_timeout_seconds=heard
    )
    try:
        with patch("jax.distributed.initialize", patient):
            keras.distribution.initialize(hosts.address, hosts.count, hosts.number)
    except RuntimeError as error:
        if "must be called before" in str(error):
            raise ClipzooError("JAX has computed already: join the hosts before anything else of Keras") from None
        raise ClipzooError(hosts.late) from None
    if _ASIDE in os.environ:
        with Path(os.environ[_ASIDE]).open("a", encoding="utf-8") as aside:
            aside.write(_JOINED)


def host_rank() -> tuple[int, int]:
    """The number of this host, and how many there are; (0, 1) where none were joined."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()


def said_of(error: Exception) -> Exception:
    """A sentence, where an error is that another host is gone."""
    host, hosts = host_rank()
    if hosts == 1 or isinstance(error, ClipzooError) or not _GONE.search(str(error)):
        return error
    return LostHostError(Hosts("", hosts, host).lost)


def require_alike(what: Mapping[str, Any]) -> None:
    """Raises ClipzooError on every host where they do not all train on the same clips by the same recipe.

    Args:
        what: name -> anything whose text is the same on hosts that are alike.
    """
    import numpy as np
    from jax.experimental import multihost_utils

    digests = [hashlib.sha256(str(value).encode("utf-8", "replace")).digest()[:4] for value in what.values()]
    mine = np.frombuffer(b"".join(digests), np.uint32)
    for host, row in enumerate(np.asarray(multihost_utils.process_allgather(mine))):
        for name, same in zip(what, row == np.asarray(multihost_utils.broadcast_one_to_all(mine)), strict=True):
            if not same:
                raise ClipzooError(
                    f"host {host} has other {name} than host 0: give all hosts the same files and options"
                )


def is_watched() -> bool:
    """Whether this process is the one that `watched` started."""
    return _ASIDE in os.environ


def watched(hosts: Hosts, arguments: list[str]) -> int:
    """Runs `clipzoo ARGUMENTS` in a process of its own, and says in a sentence what JAX's runtime ends it with.

    When a host is gone, the runtime aborts the process from a thread of its own, past Python: nothing inside can say
    anything then.

    Returns:
        The exit status.

    Raises:
        ClipzooError: not all hosts came, or one is gone.
    """
    with tempfile.TemporaryDirectory(prefix="clipzoo-hosts-") as folder:
        aside = Path(folder) / "stderr"
        aside.touch()
        command = [sys.executable, "-c", "from zoo.hosts import main; main()", *arguments]
        # A session of its own: else Ctrl-C would reach it twice, and the second one ends a training at once.
        started = subprocess.Popen(command, env={**os.environ, _ASIDE: str(aside)}, start_new_session=True)
        pass_on: Callable[[int, object], None] = lambda number, frame: started.send_signal(number)  # noqa: E731
        before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = started.wait()
        finally:
            for number, how in before.items():
                signal.signal(number, how)
        if status == -signal.SIGABRT:
            joined = _JOINED in aside.read_text(encoding="utf-8", errors="replace")
            raise LostHostError(hosts.lost if joined else hosts.late)
        if status < 0:
            raise ClipzooError(f"host {hosts.number}: the training was ended by signal {-status}")
        return status


def main() -> None:
    """The process that `watched` starts: the command, whose C++ parts write aside and whose end waits for nobody."""
    sys.stdout, sys.stderr = (os.fdopen(os.dup(stream), "w", buffering=1) for stream in (1, 2))
    aside = os.open(os.environ[_ASIDE], os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(aside, stream)
    from clipzoo import main as clipzoo

    try:
        clipzoo()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        if code:  # else JAX would wait for the others at its end, which wait for this one
            os._exit(code)
        raise


def _seconds() -> float:
    """How long to wait for the others."""
    asked = os.environ.get(WAIT, "300")
    try:
        seconds = float(asked)
    except ValueError:
        raise ClipzooError(f"{WAIT} ({asked!r}) must be a number of seconds") from None
    number(WAIT, seconds, least=1)
    return seconds
