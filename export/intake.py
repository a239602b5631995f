"""What a server lets in, before LitServe: uploads, and files under one folder, within limits; an ASGI middleware."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from export.serve_options import ServeOptions
from loaders.printable import printable_name

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


PREDICT = "/predict"
_READ = ("/health", "/metrics")  # what is read, not sent to; whatever else LitServe has stays inside
_JSON_BYTES = 2**14
_GONE = 499  # the client broke off: the status that nginx logs, which nobody receives
_NO_FILE = "there is no video file of this name in the folder that is served"


class RefusedError(Exception):
    """A request that gets no answer; the sentence says why, and nothing of the server's own files."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Metrics:
    """What a server counts, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self.registry, "namespace": "clipzoo"}
        self.requests = Counter("requests", "Requests to /predict, by status; 499: broken off.", ["status"], **named)
        self.clips = Counter("clips", "Clips that were classified.", **named)
        self.in_hand = Gauge("in_hand", "Requests that are being received, wait, or are computed.", **named)
        self.batch = Histogram("batch_clips", "Clips in the batch of each.", buckets=[2**n for n in range(8)], **named)
        self.seconds = {
            what: Histogram(f"{what}_seconds", text, **named)
            for what, text in (
                ("queue", "From a whole request to the start of its batch."),
                ("read", "Decoding of the batch of each clip."),
                ("compute", "The network's, of the batch of each clip."),
            )
        }

    def answered(self, seconds: Mapping[str, float], batch: int) -> None:
        """Counts a clip."""
        self.clips.inc()
        self.batch.observe(batch)
        for what, took in seconds.items():
            self.seconds[what].observe(took)


class Intake:
    """Takes `POST /predict`: the bytes of a video, or `{"path": ...}` under the root; health and metrics go on.

    A request becomes a file name in the spool, a private folder, and nothing else of it reaches the workers. An upload
    is written there as it comes; a file under the root is opened here, and a link to the open file lies there, so that
    what is read is what was checked.

    Args:
        app: what comes behind.
        options: the limits, and the root.
        spool: the private folder.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, options: ServeOptions, spool: Path, metrics: Metrics) -> None:
        self._app, self._options, self._spool, self._metrics = app, options, spool, metrics
        self._root = options.root.resolve() if options.root else None
        self._in_hand = 0
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself keeps none alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] in ("GET", "HEAD") and scope["path"] in _READ):
            await self._app(scope, receive, send)
            return
        try:
            status, said = 200, await self._answer(scope, receive)
        except RefusedError as refusal:
            status, said = refusal.status, {"error": refusal.sentence}
        self._metrics.requests.labels(str(status)).inc()
        if status == _GONE:
            return
        body = json.dumps(said).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 429:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        """The answer; raises RefusedError. What is in hand is so until it is computed, though nobody waits any more."""
        if scope["path"] != PREDICT:
            raise RefusedError(404, f"there is nothing here; POST a video to {PREDICT}")
        if scope["method"] != "POST":
            raise RefusedError(405, f"POST a video to {PREDICT}")
        if self._in_hand >= self._options.queue:
            raise RefusedError(
                429, f"the server has {self._in_hand} requests in hand and takes no more; try again later"
            )
        with ExitStack() as stack:
            self._count(1)
            stack.callback(self._count, -1)
            try:
                async with asyncio.timeout(self._options.timeout):
                    job = await self._take(scope, receive, stack)
                    task = asyncio.create_task(self._compute(scope, job))
                    self._tasks.add(task)
                    held = stack.pop_all()
                    task.add_done_callback(lambda done: self._end(done, held))
                    return await asyncio.shield(task)
            except TimeoutError:
                raise RefusedError(
                    408, f"no answer within {self._options.timeout:g} s, the limit of this server"
                ) from None
            except OSError as error:  # of the spool: those of the root were answered
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                raise RefusedError(
                    507 if full else 500, "the server cannot store the upload; try again later"
                ) from None

    def _end(self, task: asyncio.Task[Any], held: ExitStack) -> None:
        held.close()
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, though nobody waits for it any more

    def _count(self, step: int) -> None:
        self._in_hand += step
        self._metrics.in_hand.set(self._in_hand)

    async def _take(self, scope: Scope, receive: Receive, stack: ExitStack) -> dict[str, Any]:
        """Has the video of a request lie in the spool, and says what a worker must know; `stack` undoes it."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("multipart/"):
            raise RefusedError(415, "send the video itself as the body, not a form: curl --data-binary @video.mp4")
        place = self._spool / uuid4().hex
        stack.callback(place.unlink, missing_ok=True)
        if kind == "application/json":
            parts = [part async for part in _body(headers, receive, _JSON_BYTES, "the JSON")]
            name = _path_of(b"".join(parts))
            file = self._open(name)
            stack.callback(os.close, file)
            through = Path(f"/proc/{os.getpid()}/fd/{file}")  # the open file, whatever becomes of its name
            place.symlink_to(through if through.exists() else self._within(name))
        else:
            name, size = "upload", 0
            with place.open("xb") as written:
                async for part in _body(headers, receive, self._options.max_bytes, "the video"):
                    size += written.write(part)
            if size == 0:
                raise RefusedError(
                    400, 'the body is empty: send the bytes of a video, or {"path": ...} as application/json'
                )
        return {"file": place.name, "name": printable_name(name), "at": time.monotonic()}

    def _within(self, name: str) -> Path:
        """The path of a file under the root, its links followed; raises RefusedError for what is elsewhere."""
        if self._root is None:
            raise RefusedError(403, "this server takes uploads alone: it was started without --root")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:  # where such a name leads would tell of what is outside
            raise RefusedError(403, "a path is relative to the folder that is served, and has no '..'")
        try:
            real = (self._root / path).resolve()
        except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a null character, no UTF-8
            raise RefusedError(404, _NO_FILE) from None
        if not real.is_relative_to(self._root):
            raise RefusedError(403, "this path leads out of the folder that is served")
        return real

    def _open(self, name: str) -> int:
        """A descriptor of a regular file under the root; raises RefusedError.

        Links were followed to find out where it lies. It is opened step by step from the root, and no step is a link,
        so that one that is made meanwhile leads nowhere.
        """
        real, root = self._within(name), self._root
        assert root is not None
        try:
            with ExitStack() as opened:
                step = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
                for part in real.relative_to(root).parts:
                    opened.callback(os.close, step)
                    step = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=step)
        except OSError:
            raise RefusedError(404, _NO_FILE) from None
        found = os.fstat(step)
        if not stat.S_ISREG(found.st_mode):
            os.close(step)
            raise RefusedError(404, _NO_FILE)
        if found.st_size > self._options.max_bytes:
            os.close(step)
            raise RefusedError(413, _too_large("the video", self._options.max_bytes))
        return step

    async def _compute(self, scope: Scope, job: Mapping[str, Any]) -> dict[str, Any]:
        """What the workers say of a job; raises RefusedError."""
        body, sent = json.dumps(job).encode(), list[Any]()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        key = [
            (name, value) for name, value in scope["headers"] if name == b"x-api-key"
        ]  # LitServe's own, if it is set
        headers = [(b"content-type", b"application/json"), *key]
        # As long as it may wait, and then be computed: what a worker takes with it when it ends is never answered.
        async with asyncio.timeout(2 * self._options.timeout + 1):
            await self._app({**scope, "headers": headers, "query_string": b""}, receive, send)
        status = next(message["status"] for message in sent if message["type"] == "http.response.start")
        if status == 504:  # it waited too long: LitServe left it out
            raise TimeoutError
        if status == 401:
            raise RefusedError(401, "this server wants its key as X-API-Key")
        if status != 200:
            raise RefusedError(500, "the process that had this video in hand ended; send it once more, alone")
        said = json.loads(b"".join(message.get("body", b"") for message in sent))
        if "error" in said:
            raise RefusedError(said["status"], said["error"])
        answer: dict[str, Any] = said["answer"]
        self._metrics.answered(answer["seconds"], said["batch"])
        return answer


def _path_of(body: bytes) -> str:
    """The path that a JSON body asks for; raises RefusedError."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, 'the body is no JSON; send {"path": "folder/video.mp4"}') from None
    if not isinstance(asked, dict) or set(asked) != {"path"} or not isinstance(asked["path"], str):
        raise RefusedError(400, 'the JSON must be {"path": "folder/video.mp4"} and nothing else')
    return asked["path"]


async def _body(headers: Mapping[bytes, str], receive: Receive, most: int, what: str) -> AsyncIterator[bytes]:
    """The parts of a body; raises RefusedError as soon as there are too many bytes, whatever the header claims."""
    declared = headers.get(b"content-length", "")
    if declared.isdigit() and int(declared[:20]) > most:
        raise RefusedError(413, _too_large(what, most))
    more, size = True, 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(_GONE, "broken off")
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > most:
            raise RefusedError(413, _too_large(what, most))
        yield part


def _too_large(what: str, most: int) -> str:
    return f"{what} has more than {most} bytes, the limit of this server"
