"""A server answers as the Classifier does, keeps its limits, opens nothing that it should not, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pytest
from onnx import helper

from export import Classifier, Prediction, ServeOptions
from export.intake import Intake, Metrics, RefusedError
from export.serving import ClipAPI, _AsManyAsWait
from loaders import ClipSpec, VideoError, read_clip
from loaders.motion_jpeg import write_motion_jpeg
from loaders.opening import trust_no_file
from loaders.packets import lasts_longer
from tests.support.commands import ROOT, invoke, refused, wait_for
from tests.support.onnx_files import turned, write_model
from tests.support.serving import JSON, Server, finish, said, serving
from tests.support.storm import MOST_BYTES, MOST_SECONDS, lost_at_stop, make_files, storm

QUEUE = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root, with what lies in it and beside it; see `make_files`."""
    folder = tmp_path_factory.mktemp("served") / "files"
    make_files(folder)
    (folder / "root" / "large.avi").write_bytes(bytes(MOST_BYTES + 1))
    os.mkfifo(folder / "root" / "pipe.avi")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "levels.onnx", sealed=True)


@pytest.fixture(scope="module")
def server(model: Path, files: Path) -> Iterator[Server]:
    limits = ("--max-bytes", MOST_BYTES, "--max-seconds", MOST_SECONDS, "--queue", QUEUE, "--timeout", 300)
    with serving(model, "--root", files / "root", "--workers", 1, *limits) as one:
        yield one


def expect(answer: tuple[int, Any], prediction: Prediction) -> None:
    status, found = answer
    assert status == 200, answer
    assert (found["label"], found["labels"]) == (prediction.label, list(prediction.labels))
    assert found["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)
    assert found["probability"] == pytest.approx(prediction.probability, abs=1e-6)
    assert set(found["seconds"]) == {"queue", "read", "compute"} and min(found["seconds"].values()) >= 0


def refuses(answer: tuple[int, Any], status: int, *words: str) -> None:
    """One sentence, which tells nothing of where the server keeps its files."""
    assert answer[0] == status, answer
    assert set(answer[1]) == {"error"}
    for word in words:
        assert word in answer[1]["error"], answer
    for secret in ("served", "clipzoo-serve", "/tmp", "/proc", "Traceback"):
        assert secret not in answer[1]["error"].replace("that is served", ""), answer


def test_answers_are_those_of_the_classifier(server: Server, model: Path, files: Path) -> None:
    classifier = Classifier(model)
    for name in ("good/0.avi", "good/1.avi", "inside.avi"):  # the last is a link to a file under the root
        video = files / "root" / name
        content = video.read_bytes()
        expect(server.ask(content), classifier.predict(video))
        expect(
            server.ask(iter([content[:99], content[99:]])), classifier.predict(video)
        )  # of a length that is not said
        expect(server.ask_for(name), classifier.predict(video))
    assert server.get("/health") == "ok"
    assert server.metric("clipzoo_clips_total") == 9 == server.metric('clipzoo_requests_total{status="200"}')
    for what in ("queue", "read", "compute"):
        assert server.metric(f"clipzoo_{what}_seconds_count") == 9
        assert server.metric(f"clipzoo_{what}_seconds_sum") > 0
    assert server.metric("clipzoo_batch_clips_sum") == 9  # one after the other: batches of one
    wait_for(lambda: server.metric("clipzoo_in_hand") == 0)


def test_what_is_no_video_is_said(server: Server, files: Path) -> None:
    video = (files / "root" / "good" / "0.avi").read_bytes()
    refuses(server.ask(b"this is no video"), 422, "upload: is not a video")
    refuses(server.ask(video[:400]), 422, "upload: ")
    refuses(server.ask_for("broken.avi"), 422, "broken.avi: is not a video")
    refuses(server.ask_for("list.m3u8"), 422, "list.m3u8: is not a video")  # it names a video that there is
    refuses(server.ask((files / "root" / "list.m3u8").read_bytes()), 422)
    refuses(server.ask(b""), 400, "the body is empty")
    refuses(server.ask(video, headers={"Content-Type": "multipart/form-data; boundary=x"}), 415, "--data-binary")
    for body in (b"{", b"[1]", b'{"path": 3}', b'{"path": "a", "file": "b"}', b"\xff", b"[" * 9000):
        refuses(server.ask(body, headers=JSON), 400, '{"path": "folder/video.mp4"}')
    refuses(server.ask(video, path="/predict%0A"), 404)  # routers take a line end for none
    refuses(server.ask(video, path="/health"), 404)
    refuses(server.ask(video, method="PUT"), 405)
    refuses(server.ask(b"", path="/nothing", method="GET"), 404, "POST a video to /predict")
    refuses(server.ask(b"", method="GET"), 405, "POST a video to /predict")
    assert server.ask_for("good/1.avi")[0] == 200


def test_bytes_and_seconds_have_limits(server: Server, files: Path) -> None:
    refuses(server.ask(bytes(MOST_BYTES + 1)), 413, str(MOST_BYTES))
    refuses(server.ask(iter([bytes(MOST_BYTES), b"1"])), 413, str(MOST_BYTES))  # of a length that is not said
    refuses(server.ask_for("large.avi"), 413, str(MOST_BYTES))
    refuses(server.ask(b" " * 20_000, headers=JSON), 413, "16384")
    refuses(server.ask_for("long.avi"), 413, "long.avi: the video is longer than 2 s")
    refuses(server.ask((files / "root" / "long.avi").read_bytes()), 413, "upload: ")
    connection = server.connect()  # nothing of it is awaited
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", "9" * 15)
    connection.endheaders()
    refuses(said(connection), 413)
    connection.close()


def test_nothing_outside_the_root_is_read(server: Server, files: Path) -> None:
    secret = files / "outside" / "secret.avi"
    outside = ["../outside/secret.avi", "good/../../outside/secret.avi", str(secret), "out.avi", "out/secret.avi",
               "../nothing.avi", "/nothing.avi", "out/nothing.avi", "/proc/self/environ"]  # fmt: skip
    told = {name: server.ask_for(name) for name in outside}
    for answer in told.values():
        refuses(answer, 403)
    assert told["out/secret.avi"] == told["out/nothing.avi"]  # whether there is one is not told
    nowhere = [
        "nothing.avi", "good", "", "pipe.avi", "good/0.avi/x", "a" * 5000, "nu\0ll", "\ud800", "http://127.0.0.1/v.avi",
        f"concat:{secret}", f"file:{secret}", f"file://{secret}", f"subfile,,start,0,end,0,,:{secret}",
    ]  # fmt: skip
    for name in nowhere:
        refuses(server.ask_for(name), 404, "there is no video file")


def test_a_link_that_is_made_meanwhile_leads_nowhere(files: Path, tmp_path: Path) -> None:
    root = files / "root"
    intake = Intake(None, options=ServeOptions(root=root), spool=tmp_path, metrics=Metrics())  # type: ignore[arg-type]
    os.close(intake._open("inside.avi"))
    for late in ("out.avi", "out/secret.avi"):  # it was a file, or a folder, when it was looked at
        with patch.object(intake, "_within", return_value=root / late), pytest.raises(RefusedError) as error:
            intake._open(late)
        assert error.value.status == 404


def test_a_full_queue_is_said(server: Server, model: Path, files: Path) -> None:
    path = files / "root" / "good" / "2.avi"
    video, prediction = path.read_bytes(), Classifier(model).predict(path)
    with server.held(video, QUEUE) as held:
        refuses(server.ask(video), 429, f"{QUEUE} requests in hand")
        refuses(server.ask_for("good/2.avi"), 429)
        assert server.get("/health") == "ok"
        expect(finish(held[0], video), prediction)
        wait_for(lambda: server.metric("clipzoo_in_hand") == QUEUE - 1)
        expect(server.ask_for("good/2.avi"), prediction)
        held[1].close()  # broken off
        wait_for(lambda: server.metric("clipzoo_in_hand") == QUEUE - 2)
        assert server.metric('clipzoo_requests_total{status="499"}') == 1
        for connection in held[2:]:
            expect(finish(connection, video), prediction)
    wait_for(lambda: server.metric("clipzoo_in_hand") == 0)


def test_what_is_in_hand_is_answered_at_a_stop(server: Server, model: Path, files: Path) -> None:
    """The last one: it stops the server, by a signal to all of its processes."""
    good = [files / "root" / "good" / "3.avi"]
    assert lost_at_stop(server, good, {good[0]: Classifier(model).predict(good[0]).probabilities}, QUEUE) == 0
    wait_for(server.alone)
    with pytest.raises(ConnectionRefusedError):
        server.get("/health")
    assert "Traceback" not in server.log.read_text()


def test_mistakes_are_said_before_anything_is_served(model: Path, tmp_path: Path) -> None:
    for damaged in turned(model, tmp_path / "damaged.onnx", count=20):
        refused(invoke("serve", damaged), "damaged.onnx")
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:300])
    refused(invoke("serve", tmp_path / "cut.onnx"), "cut.onnx")
    refused(invoke("serve", write_model(tmp_path / "s.onnx", metadata=False)), "without clipzoo's metadata")
    refused(invoke("serve", tmp_path / "none.onnx"), "no such file")
    roots = helper.make_node("Sqrt", ["normal_logits"], ["logits"])  # of a negative number
    refused(invoke("serve", write_model(tmp_path / "nan.onnx", nodes=[roots])), "nan.onnx is no finite number")
    refused(invoke("serve", model, "--root", model), "is no folder")
    refused(invoke("serve", model, "--batch", 0), "batch (0)")
    refused(invoke("serve", model, "--queue", 0), "queue (0)")
    refused(invoke("serve", model, "--timeout", 0), "timeout (0.0)")
    refused(invoke("serve", model, "--max-seconds", "nan"), "max_seconds (nan)")
    refused(invoke("serve", model, "--port", 70000), "port (70000)")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(invoke("serve", model, "--port", port), f"port {port} (Address already in use)", "--port")
    refused(invoke("serve", model, "--host", "nowhere.invalid"), "cannot listen at nowhere.invalid")


def test_a_playlist_is_followed_by_nobody_who_trusts_no_file(files: Path) -> None:
    playlist, spec = files / "root" / "list.m3u8", ClipSpec(frames=2, height=8, width=8)
    assert read_clip(playlist, spec).shape == spec.shape  # FFmpeg alone reads what it names
    with patch.dict(os.environ):
        trust_no_file()
        with pytest.raises(VideoError, match="not a video"):
            read_clip(playlist, spec)
        assert read_clip(files / "root" / "inside.avi", spec).shape == spec.shape


def test_seconds_are_those_of_the_frames(files: Path) -> None:
    video = files / "root" / "good" / "0.avi"  # 8 frames, 15 a second
    assert lasts_longer(video, 7.5 / 15) and not lasts_longer(video, 8 / 15)
    content = bytearray(video.read_bytes())
    place = content.index(b"avih") + 24  # its header's count of frames
    assert content[place : place + 4] == (8).to_bytes(4, "little")
    content[place : place + 4] = (1).to_bytes(4, "little")
    lying = files / "lying.avi"
    lying.write_bytes(content)
    assert lasts_longer(lying, 7.5 / 15)


def test_a_clip_without_an_answer_costs_no_other(files: Path, tmp_path: Path) -> None:
    nodes = [  # log(x^2 - 1/16): no number for a clip that is nearly gray
        helper.make_node("Mul", ["normal_logits", "normal_logits"], ["squares"]),
        helper.make_node("Add", ["squares", "signs"], ["differences"]),
        helper.make_node("Log", ["differences"], ["logits"]),
    ]
    odd, good = write_model(tmp_path / "odd.onnx", nodes=nodes), files / "root" / "good"
    write_motion_jpeg(tmp_path / "gray.avi", (np.full((48, 48, 3), 128, np.uint8) for _ in range(4)), 15)
    for name, path in (("first", good / "0.avi"), ("broken", files / "root" / "broken.avi"), ("last", good / "1.avi"),
                       ("long", files / "root" / "long.avi")):  # fmt: skip
        (tmp_path / name).symlink_to(path)
    write_motion_jpeg(tmp_path / "wide.avi", (np.zeros((48, 96, 3), np.uint8) for _ in range(4)), 15)
    api = ClipAPI(odd, tmp_path, ServeOptions(max_seconds=MOST_SECONDS, max_pixels=48 * 64))
    api._threads, api._classifier = 2, Classifier(odd)
    names = ("first", "broken", "gray.avi", "long", "last", "wide.avi")
    found = api._answers([{"file": name, "name": name, "at": time.monotonic()} for name in names])
    assert [each.get("status") for each in found] == [None, 422, 500, 413, None, 413]
    assert (
        found[5]["error"] == "wide.avi: the video's frames have 4,608 pixels, more than 3,072, the limit of this server"
    )
    assert found[2]["error"] == "gray.avi: the model gives no finite answer for it"
    for place, name in ((0, "0.avi"), (4, "1.avi")):
        prediction = Classifier(odd).predict(good / name)
        assert found[place]["answer"]["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)
        assert found[place]["batch"] == 3


def test_a_batch_is_what_waits() -> None:
    class Api:
        max_batch_size, batch_timeout, request_timeout, stream = 3, 0, 60, False

    queue: Queue[Any] = Queue()
    for uid in "abcd":
        queue.put((0, uid, time.monotonic(), uid.upper()))
    queue.put((0, "late", time.monotonic() - 61, "LATE"))
    loop = _AsManyAsWait()
    assert loop.get_batch_requests(Api(), queue, None) == ([(0, "a", "A"), (0, "b", "B"), (0, "c", "C")], [])
    assert loop.get_batch_requests(Api(), queue, None) == ([(0, "d", "D")], [(0, "late")])


def test_what_no_worker_answers_is_given_up(files: Path, tmp_path: Path) -> None:
    video = (files / "root" / "good" / "0.avi").read_bytes()

    def of(status: int | None) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert b"file" in (await receive())["body"] and len(list(tmp_path.iterdir())) == 1
            if status is None:
                await asyncio.Event().wait()
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

        return app

    async def ask(status: int | None) -> tuple[int, dict[str, str], int, int]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": video, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        intake = Intake(of(status), options=ServeOptions(timeout=0.05), spool=tmp_path, metrics=Metrics())
        await intake({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)
        at_once = intake._in_hand
        while intake._in_hand:
            await asyncio.sleep(0.01)
        return sent[0]["status"], json.loads(sent[1]["body"]), at_once, len(list(tmp_path.iterdir()))

    for status, said_of_it, words, in_hand in (
        (None, 408, "within 0.05 s", 1), (504, 408, "within 0.05 s", 0), (500, 500, "ended", 0), (401, 401, "key", 0),
    ):  # fmt: skip
        found, said, at_once, files_left = asyncio.run(ask(status))
        refuses((found, said), said_of_it, words)
        assert (at_once, files_left) == (in_hand, 0), status


@pytest.mark.slow
def test_a_storm(model: Path, files: Path) -> None:
    good = sorted((files / "root" / "good").iterdir())
    expected = {path: Classifier(model).predict(path).probabilities for path in good}
    limits = ("--max-bytes", MOST_BYTES, "--max-seconds", MOST_SECONDS, "--queue", 64, "--timeout", 300)
    with serving(model, "--root", files / "root", *limits) as one:
        done = storm(one, good, expected, clients=32, requests=2000)
        assert done.wrong == [] and sum(map(sum, (c.values() for c in done.statuses.values()))) == 2000
        assert all(done.statuses.values())  # each kind was there
        wait_for(lambda: one.metric("clipzoo_in_hand") == 0)
        assert one.metric("clipzoo_batch_clips_sum") > one.metric("clipzoo_batch_clips_count")
        assert lost_at_stop(one, good, expected, 32) == 0
        wait_for(one.alone)
        assert "Traceback" not in one.log.read_text()


@pytest.mark.slow
def test_a_slow_client_and_a_dead_worker_cost_no_other(model: Path, files: Path) -> None:
    path = files / "root" / "good" / "0.avi"
    video, prediction = path.read_bytes(), Classifier(model).predict(path)
    with serving(model, "--workers", 1, "--timeout", 20) as one:
        workers = [each for each in psutil.Process(one.process.pid).children() if "spawn_main" in str(each.cmdline())]
        (worker,) = [each for each in workers if "resource_tracker" not in str(each.cmdline())]
        with one.held(video, 1) as held:
            os.kill(worker.pid, signal.SIGKILL)
            wait_for(lambda: not psutil.pid_exists(worker.pid) or worker.status() == psutil.STATUS_ZOMBIE)
            wait_for(lambda: one.ask(video)[0] == 200)  # another was started
            refuses(said(held[0]), 408, "within 20 s")
        refuses(one.ask_for("good/0.avi"), 403, "--root")
        expect(one.ask(video), prediction)
        wait_for(lambda: one.get("/health") == "ok")
        one.process.kill()
        one.process.wait()
        wait_for(one.alone)  # nothing stays behind


@pytest.mark.slow
def test_a_batch_that_hangs_ends_its_worker() -> None:
    code = """
import time
from pathlib import Path
from export.serve_options import ServeOptions
from export.serving import ClipAPI
api = ClipAPI(Path("m.onnx"), Path("."), ServeOptions(timeout=0.2))
api._answers = lambda jobs: time.sleep(600)
api.predict([])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -signal.SIGALRM
