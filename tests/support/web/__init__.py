"""The page of `clipzoo web` under test: its modules in Node.js, and the page in a headless browser."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest

from export.web.runtime import FILES
from tests.support.commands import HANG, ROOT

HERE = Path(__file__).parent
SITE = ROOT / "export" / "web" / "site"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # there is no network
)  # fmt: skip

Call = tuple[str, str, Sequence[Any]]  # module, function, arguments


def in_node(calls: Iterable[Call]) -> list[Any]:
    """Calls functions of the page's modules. Bytes go there as Uint8Array, `$blob` as Blob, `$map` as Map.

    Returns:
        Their values; an Exception with its message where one threw.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("the page's modules are tested with Node.js (node), which is not installed")

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = value.tobytes()
        return {"$bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    def given(value: Any) -> Any:
        if isinstance(value, Mapping):
            if "$blob" in value:
                return {"$blob": base64.b64encode(value["$blob"]).decode()}
            return {key: given(each) for key, each in value.items()}
        return [given(each) for each in value] if isinstance(value, list | tuple) else plain(value)

    asked = [{"module": module, "name": name, "args": given(list(args))} for module, name, args in calls]
    done = subprocess.run(
        [node, str(HERE / "call.mjs")], input=json.dumps({"site": SITE.as_uri(), "calls": asked}),
        capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def found(value: dict[str, Any]) -> Any:
        return base64.b64decode(value["$bytes"]) if set(value) == {"$bytes"} else value

    answers = json.loads(done.stdout, object_hook=found)
    return [ValueError(each["error"]) if "error" in each else each.get("value") for each in answers]


def fake_runtime(folder: Path, *, lacking: Sequence[str] = ()) -> Path:
    """A folder that looks like the package of ONNX Runtime Web."""
    (folder / "dist").mkdir(parents=True)
    for name in set(FILES) - set(lacking):
        (folder / "dist" / name).write_text(name)
    return folder


def in_browser(
    page: Path, jobs: Sequence[Mapping[str, Any]], files: Mapping[str, Path | bytes], *, provider: str | None = "wasm"
) -> dict[str, Any]:
    """Opens a page in a headless browser and has it do what `check.js` knows.

    Args:
        page: the folder that `clipzoo web` wrote.
        jobs: `kind` and `file` of each.
        files: name in the address -> what lies there.
        provider: that is asked for.

    Returns:
        `where` it computed, whether the page was `isolated`, and `answers`, one a job.
    """
    if CHROMIUM is None:
        pytest.skip("pages are tested in Chromium, which is not installed")
    own = {name: HERE / name for name in ("check.html", "check.js")}
    task = json.dumps({"jobs": list(jobs), "provider": provider}).encode()
    with (
        _serving(page, {**own, **files, "jobs.json": task}) as (address, answers),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,  # what the browser leaves may still be written
    ):
        browser = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={home}", f"{address}/check.html"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            found: dict[str, Any] = answers.get(timeout=HANG)
        finally:
            browser.terminate()
            browser.wait(timeout=HANG)
    assert "error" not in found, found["error"]
    return found


@contextmanager
def _serving(page: Path, files: Mapping[str, Path | bytes]) -> Iterator[tuple[str, Queue[dict[str, Any]]]]:
    """A plain static server of the folder, with some files more, which takes answers."""
    answers: Queue[dict[str, Any]] = Queue()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            held = files.get(self.path.partition("?")[0].lstrip("/"))
            if held is None:
                return super().do_GET()
            body = held if isinstance(held, bytes) else held.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(self.path))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(page)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answers
    finally:
        server.shutdown()
        server.server_close()
