"""A server of `clipzoo serve` in a process of its own, and a client that can break off in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.commands import HANG, ROOT, wait_for

JSON = {"Content-Type": "application/json"}


class Server:
    """One that runs.

    Attributes:
        process: its own; the workers are in its group.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=HANG)

    def ask(
        self,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        path: str = "/predict",
        method: str = "POST",
    ) -> tuple[int, Any]:
        """Status, and what the JSON says, or the text."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=False)
            return said(connection)
        finally:
            connection.close()

    def ask_for(self, path: object) -> tuple[int, Any]:
        """The same of a file under the root."""
        return self.ask(json.dumps({"path": str(path)}), headers=JSON)

    def get(self, path: str) -> str:
        return str(self.ask(path=path, method="GET")[1])

    def metric(self, name: str) -> float:
        """A value of /metrics; 0 where it is not there yet."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    @contextmanager
    def held(self, video: bytes, count: int) -> Iterator[list[HTTPConnection]]:
        """Uploads that are in hand, and of which the last byte is missing: `finish` sends it."""
        before, connections = self.metric("clipzoo_in_hand"), [self.connect() for _ in range(count)]
        try:
            for connection in connections:
                connection.putrequest("POST", "/predict")
                connection.putheader("Content-Length", str(len(video)))
                connection.endheaders(video[:-1])
            wait_for(lambda: self.metric("clipzoo_in_hand") == before + count)
            yield connections
        finally:
            for connection in connections:
                connection.close()

    def stop(self, *, group: bool = False) -> int:
        """Ends it by SIGTERM, to it alone or to all of its processes; the exit status."""
        if self.process.poll() is None:
            (os.killpg if group else os.kill)(self.process.pid, signal.SIGTERM)
        return self.process.wait(HANG)

    def alone(self) -> bool:
        """Whether none of its processes is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


def said(connection: HTTPConnection) -> tuple[int, Any]:
    """Status, and what the JSON says, or the text, of the answer that is due."""
    response = connection.getresponse()
    text = response.read().decode()
    return response.status, json.loads(text) if response.getheader("content-type") == "application/json" else text


def finish(connection: HTTPConnection, video: bytes) -> tuple[int, Any]:
    """Sends the last byte of a held upload, and waits for the answer."""
    connection.send(video[-1:])
    return said(connection)


@contextmanager
def serving(model: Path, *options: object) -> Iterator[Server]:
    """A server of a file at a free port of the loopback."""
    with tempfile.TemporaryDirectory() as folder:
        log, spools = Path(folder) / "log", Path(folder) / "tmp"
        spools.mkdir()
        command = [sys.executable, "-m", "clipzoo", "serve", str(model), "--port", "0", *map(str, options)]
        environment = {**os.environ, "COLUMNS": "400", "TMPDIR": str(spools)}
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, env=environment, cwd=ROOT, start_new_session=True
            )
        try:
            found = wait_for(
                lambda: re.search(r"answers at http://127\.0\.0\.1:(\d+)/predict", log.read_text()) or process.poll()
            )
            assert isinstance(found, re.Match), log.read_text()
            yield Server(process, int(found[1]), log)
            assert process.poll() is not None or list(spools.glob("clipzoo-*")), "it has a spool while it runs"
            status = Server(process, 0, log).stop()
            left = list(spools.glob("[!.]*"))  # ONNX Runtime leaves a `.ses`
            killed = status == -signal.SIGKILL
            assert killed or (status == 0 and not left), (status, left, log.read_text())
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(HANG)
