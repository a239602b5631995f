"""Conversions in clean processes that need not import TensorFlow first: forks of one process that has.

`python -m export.trace` and its like spend most of their time importing. A server imports the libraries once, none of
clipzoo's own modules, and forks for each conversion: a fresh process with its own environment, as the real one is.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.support.commands import HANG, ROOT

LIBRARIES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "cv2")


class Forks:
    """The server, started with the first conversion."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="clipzoo-forks-")
        self._server: subprocess.Popen[bytes] | None = None

    def run(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`subprocess.run` that forks where a module of `export` is started with the libraries as they are."""

        def run(command: Any, **options: Any) -> Any:
            environment = options.get("env") or os.environ
            if not _is_conversion(command, environment):
                return real(command, **options)
            return self._fork(command[3:], environment)

        return run

    def close(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._folder.cleanup()

    def _fork(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        address = str(Path(self._folder.name, "socket"))
        if self._server is None:
            self._server = _start(address, environment)
        with socket.socket(socket.AF_UNIX) as client, tempfile.TemporaryDirectory() as folder:
            client.settimeout(HANG)
            client.connect(address)
            request = {"command": list(command), "environment": dict(environment), "cwd": str(Path.cwd()), "to": folder}
            client.sendall(json.dumps(request).encode() + b"\n")
            status = int(client.makefile().readline())
            out, err = (Path(folder, name).read_text(errors="replace") for name in ("out", "err"))
        return subprocess.CompletedProcess(list(command), status, out, err)


def _is_conversion(command: Any, environment: Mapping[str, str]) -> bool:
    paths = {str(Path(path).resolve()) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path}
    given = list(command) if isinstance(command, list | tuple) else []
    return given[1:3] == ["-P", "-m"] and str(given[3]).startswith("export.") and paths <= {str(ROOT)}


def _start(address: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.forks", address]
    server = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "the libraries of a conversion cannot be imported"
    return server


def serve(address: str) -> None:
    """Forks for each request, until whoever started this process ends."""
    for name in LIBRARIES:
        import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                request = json.loads(connection.makefile().readline())
                child = os.fork()
                if not child:
                    _convert(request)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with suppress(OSError):  # a test that was ended
                    connection.sendall(f"{status}\n".encode())


def _convert(request: Mapping[str, Any]) -> NoReturn:
    """What `python -m MODULE ARGUMENTS` does, in this fork."""
    module, *arguments = request["command"]
    open_for_ever, _ = os.pipe()  # a conversion ends when its stdin does
    os.dup2(open_for_ever, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(request["to"], name), os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # TMPDIR may be another one
    os.chdir(request["cwd"])
    sys.argv = [module, *arguments]
    sys.path = [str(ROOT), *(path for path in sys.path if path not in ("", str(ROOT)))]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
