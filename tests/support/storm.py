"""A server under load: `python -m tests.support.storm`. Exit status 1 if an answer is wrong, missing or not refused."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from export import Classifier
from loaders import draw_motion_clips
from loaders.terminal import bar, text_console
from tests.support.onnx_files import write_model
from tests.support.serving import JSON, Server, finish, serving

MOST_BYTES, MOST_SECONDS = 300_000, 2
BROKEN_OFF = 0  # in the place of a status
# What clients send, how often, and what must come back.
KINDS: Mapping[str, tuple[int, int]] = {
    "upload": (50, 200), "path": (20, 200), "chunked upload": (4, 200), "garbage": (5, 422), "empty": (2, 400),
    "too many bytes": (3, 413), "too many bytes, chunked": (3, 413), "too long": (2, 413), "outside": (3, 403),
    "link out": (2, 403), "playlist": (2, 422), "no JSON": (1, 400), "broken off": (3, BROKEN_OFF),
    "broken off at its end": (3, BROKEN_OFF),
}  # fmt: skip


def make_files(folder: Path) -> list[Path]:
    """Draws videos into `folder/root`, and what no client shall see into `folder/outside`; gives the good ones."""
    root, outside = folder / "root", folder / "outside"
    outside.mkdir(parents=True)
    good = draw_motion_clips(folder / "drawn", clips=18, frames=8, seed=5).paths
    (root / "good").mkdir(parents=True)
    for number, path in enumerate(good):
        path.rename(root / "good" / f"{number}.avi")
    long = draw_motion_clips(folder / "long", clips=6, frames=100, seed=1).paths[0]
    long.rename(root / "long.avi")
    secret = outside / "secret.avi"
    secret.write_bytes((root / "good" / "0.avi").read_bytes())
    (root / "inside.avi").symlink_to(Path("good") / "0.avi")
    (root / "out.avi").symlink_to(secret)
    (root / "out").symlink_to(outside)
    (root / "broken.avi").write_bytes(b"this is no video")
    (root / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n")
    return sorted((root / "good").iterdir(), key=lambda path: int(path.stem))


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What came of it.

    Attributes:
        statuses: how often which status came, by kind.
        wrong: what should not have come, in words.
        seconds: of all of it.
    """

    statuses: Mapping[str, Counter[int]]
    wrong: list[str]
    seconds: float


def storm(
    server: Server,
    good: list[Path],
    expected: Mapping[Path, Mapping[str, float]],
    *,
    clients: int = 32,
    requests: int = 2000,
    seed: int = 0,
    kinds: Mapping[str, tuple[int, int]] = KINDS,
    advance: Callable[[], object] = lambda: None,
) -> Storm:
    """Sends requests of all kinds, each by a connection of its own, and holds what comes back against what must.

    Args:
        server: with `MOST_BYTES` and `MOST_SECONDS` as its limits, and room for twice the clients.
        good: the videos, under the server's root.
        expected: probabilities of each.
        clients: at once.
        requests: in all.
        seed: of what is sent.
        kinds: what is sent, how often, and the status that must come.
        advance: called after each.
    """
    root, sizes = good[0].parents[1], {path: path.read_bytes() for path in good}
    weights = np.array([weight for weight, _ in kinds.values()], float)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(list(kinds), requests, p=weights / weights.sum()).tolist()
    videos = [good[place] for place in rng.integers(len(good), size=requests)]
    noise = rng.bytes(20_000)

    def send(kind: str, path: Path) -> tuple[int, Any]:
        video = sizes[path]
        match kind:
            case "upload":
                return server.ask(video)
            case "path":
                return server.ask_for(path.relative_to(root))
            case "chunked upload":
                return server.ask(iter([video[:1000], video[1000:]]))
            case "garbage":
                return server.ask(noise if len(video) % 2 else video[:40] + noise)
            case "empty":
                return server.ask(b"")
            case "too many bytes":
                return server.ask(bytes(MOST_BYTES + 1))
            case "too many bytes, chunked":
                return server.ask(iter([bytes(50_000)] * (MOST_BYTES // 50_000 + 1)))
            case "too long":
                return server.ask_for("long.avi")
            case "outside":
                return server.ask_for("../outside/secret.avi")
            case "link out":
                return server.ask_for("out.avi")
            case "playlist":
                return server.ask_for("list.m3u8")
            case "no JSON":
                return server.ask(b"{", headers=JSON)
        connection = server.connect()  # it breaks off, a byte before the end or just behind it
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(video)))
        connection.endheaders(video[:-1] if kind == "broken off" else video)
        connection.close()
        return BROKEN_OFF, {}

    statuses: dict[str, Counter[int]] = {kind: Counter() for kind in kinds}
    wrong: list[str] = []

    def one(kind: str, path: Path) -> None:
        try:
            status, said = send(kind, path)
        except Exception as error:
            wrong.append(f"{kind}, {path.name}: {error!r}")
            return
        finally:
            advance()
        statuses[kind][status] += 1
        if status != kinds[kind][1]:
            wrong.append(f"{kind}, {path.name}: {status} {said}")
        elif status == 200:
            found = said["probabilities"]
            if max(abs(found[label] - p) for label, p in expected[path].items()) > 1e-6:
                wrong.append(f"{kind}, {path.name}: {found} where the Classifier says {expected[path]}")

    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, drawn, videos))
    return Storm(statuses=statuses, wrong=wrong, seconds=time.monotonic() - begun)


def lost_at_stop(server: Server, good: list[Path], expected: Mapping[Path, Mapping[str, float]], count: int) -> int:
    """Stops a server, all of its processes at once, with uploads in hand; how many of them get no right answer."""
    path, right = good[0], 0
    video = path.read_bytes()
    with server.held(video, count) as held:
        os.killpg(server.process.pid, 15)
        with ThreadPoolExecutor(count) as pool:
            for status, said in pool.map(lambda connection: finish(connection, video), held):
                right += status == 200 and all(
                    abs(said["probabilities"][k] - p) < 1e-6 for k, p in expected[path].items()
                )
    assert server.stop() == 0
    return count - right


def main(
    model: Annotated[Path | None, typer.Option(help="The .onnx file; one made by hand if left out.")] = None,
    clients: Annotated[int, typer.Option(min=1)] = 32,
    requests: Annotated[int, typer.Option(min=1)] = 2000,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Ask a server by many clients, some of them rude; then measure it beside the Classifier, and stop it."""
    console, stderr = text_console(), text_console(stderr=True)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        good = make_files(folder / "files")
        model = model or write_model(folder / "levels.onnx", sealed=True)
        classifier = Classifier(model)
        expected = {path: classifier.predict(path).probabilities for path in good}
        options = ("--root", folder / "files" / "root", "--max-bytes", MOST_BYTES, "--max-seconds", MOST_SECONDS)
        with serving(model, *options, "--workers", workers, "--queue", 2 * clients, "--timeout", 300) as server:
            with bar(stderr, "asking", requests) as advance:
                done = storm(
                    server, good, expected, clients=clients, requests=requests, seed=seed, advance=advance
                )  # fmt: skip
            for kind, counts in done.statuses.items():
                found = ", ".join(f"{status or 'broken off'}: {count}" for status, count in sorted(counts.items()))
                console.print(f"{kind:24} {found}")
            console.print(f"{requests} requests by {clients} clients in {done.seconds:.1f} s: {len(done.wrong)} wrong")
            for wrong in done.wrong:
                console.print(f"wrong: {wrong}")
            batch = server.metric("clipzoo_batch_clips_sum") / max(1.0, server.metric("clipzoo_batch_clips_count"))
            only = {"upload": KINDS["upload"]}
            fast = storm(server, good, expected, clients=clients, requests=requests // 2, seed=seed, kinds=only)
            begun = time.monotonic()
            files = [good[n % len(good)] for n in range(requests // 2)]
            classifier.predict(files, batch_size=8, workers=2)
            alone = time.monotonic() - begun
            console.print(
                f"uploads alone: {requests // 2 / fast.seconds:.0f} clips/s, in batches of {batch:.1f}; Classifier: "
                f"{len(files) / alone:.0f} clips/s in batches of 8"
            )
            lost = lost_at_stop(server, good, expected, clients)
            console.print(f"stopped with {clients} uploads in hand: {lost} lost")
    raise typer.Exit(1 if done.wrong or fast.wrong or lost else 0)


if __name__ == "__main__":
    typer.run(main)
