"""Ctrl-C while something is made that costs money: the first one waits until what was begun can be told or undone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class DeferredInterrupt:
    """What has come of Ctrl-C so far: ``pressed`` once, or ``again``."""

    def __init__(self) -> None:
        self.pending = self.repeated = False

    def raise_if_pending(self) -> None:
        """Give way to a Ctrl-C that has come: here is a good place.

        :raises KeyboardInterrupt: it has.
        """
        if self.pending:
            raise KeyboardInterrupt


@contextmanager
def defer_first_interrupt(on_interrupt: Callable[[], None] = lambda: None) -> Iterator[DeferredInterrupt]:
    """Have the first Ctrl-C wait for `Shield.check`; the second takes effect at once, wherever we are.

    A thread that gets no signals, and a program that handles Ctrl-C in its own way, are left as they are.

    :param tell: called, in a thread of its own, when the first has come.
    """
    shield = DeferredInterrupt()
    if not _ours_to_take():
        yield shield
        return

    def handler(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a handler is called with
        if shield.pending:
            shield.repeated = True
            raise KeyboardInterrupt
        shield.pending = True
        # Whoever shows this may hold a lock right now, in the very thread that the signal interrupts.
        threading.Thread(target=on_interrupt, name="interrupted", daemon=True).start()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield shield
    finally:
        signal.signal(signal.SIGINT, before)


def _ours_to_take() -> bool:
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
