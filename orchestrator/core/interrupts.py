"""Deferred Ctrl-C: the first one waits until a request that creates resources can be recorded or rolled back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class DeferredInterrupt:
    """State of Ctrl-C: ``pending`` after the first, ``repeated`` after the second."""

    def __init__(self) -> None:
        self.pending = self.repeated = False

    def raise_if_pending(self) -> None:
        """Raise the pending Ctrl-C, at a point where it is safe.

        :raises KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self.pending:
            raise KeyboardInterrupt


@contextmanager
def defer_first_interrupt(on_interrupt: Callable[[], None] = lambda: None) -> Iterator[DeferredInterrupt]:
    """Defer the first Ctrl-C to `DeferredInterrupt.raise_if_pending`; the second takes effect at once.

    Has no effect in a thread that gets no signals, and in a program that handles Ctrl-C itself.

    :param on_interrupt: called, in a thread of its own, on the first Ctrl-C.
    """
    interrupt = DeferredInterrupt()
    if not can_handle_interrupts():
        yield interrupt
        return

    def handler(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
        if interrupt.pending:
            interrupt.repeated = True
            raise KeyboardInterrupt
        interrupt.pending = True
        # The handler runs in the interrupted thread, which may hold the lock that showing the message needs.
        threading.Thread(target=on_interrupt, name="interrupted", daemon=True).start()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def can_handle_interrupts() -> bool:
    """Return True if this thread gets Ctrl-C, and the program leaves it to Python."""
    # Python runs signal handlers in the main thread only; another handler (IPython, a debugger) keeps its own.
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
