"""`clipzoo watch`: a camera, a file or an address, answered live."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.cli import ProviderOption, Verify
from loaders.errors import ClipzooError
from loaders.terminal import text_console

if TYPE_CHECKING:
    from export.prediction import Prediction

app = typer.Typer()


@app.command()
def watch(
    model: Annotated[Path, typer.Argument(help="The .onnx file; one of `export --stream` computes each frame once.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="0|FILE|URL", help="Number of a camera; a video, played in real time; or an address (rtsp://...)."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A video with the answers on its frames, .mp4 or .avi.")
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(help="Seconds between answers; half a clip, or each kept frame of a streaming file, if left out."),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds of a clip, for samplings that take a whole one; 2 if left out.")
    ] = None,
    provider: ProviderOption = "cpu",
    verify: Verify = True,
) -> None:
    """Answer a camera, a video or an address live; frames are dropped rather than late. Ctrl-C ends it."""
    from export.watching import said
    from export.watching import watch as watch_source

    console = text_console()
    with console.status("opening the source") if console.is_terminal else nullcontext() as status, _ctrl_c() as begun:
        before = ""

        def show(answer: Prediction) -> None:
            nonlocal before
            line = f"{answer.end:8.1f} s  {said(answer)}"
            if status is None:
                console.print(line)
                return
            status.update(line)
            if answer.label != before:
                console.print(line)
            before = answer.label

        watched = watch_source(
            model, source, out=out, show=show, begun=begun, hop=hop, window=window, provider=provider, verify=verify
        )
    for line in watched.lines():
        console.print(line)
    if out is not None:
        console.print(f"wrote {out}")
    if watched.ended:
        raise ClipzooError(f"{watched.source}: {watched.ended}; see that it is still there, and watch it again")


@contextmanager
def _ctrl_c() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Has the first Ctrl-C call what it is given, so that all that is begun is finished; the second interrupts."""
    here = threading.current_thread() is threading.main_thread()  # signals are the main thread's
    before = signal.getsignal(signal.SIGINT)

    def begun(stop: Callable[[], None]) -> None:
        def stopped(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            stop()

        if here:
            signal.signal(signal.SIGINT, stopped)

    try:
        yield begun
    finally:
        if here:
            signal.signal(signal.SIGINT, before)
