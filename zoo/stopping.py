"""Ctrl-C and SIGTERM end a training once its state is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stops() -> Iterator[list[int]]:
    """Has Ctrl-C and SIGTERM put their number into the list that it yields, so that a training ends when its state is
    saved. A second one of either ends it at once. In another thread than the main one there are no signals.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise stopped(number)
        asked.append(number)

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    mine = threading.current_thread() is threading.main_thread()
    # Who has a handler of their own knows better.
    before = {number: how for number, how in usual.items() if mine and signal.getsignal(number) == how}
    try:
        for number in before:
            signal.signal(number, ask)
        yield asked
    finally:
        for number, how in before.items():
            signal.signal(number, how)


def stopped(number: int) -> BaseException:
    """What a signal ends a program with: exit status 130, or 143."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
