"""Ctrl-C, and the signals that request the end of the process; deferred where resources are being created or deleted.

SIGTERM (a canceled CI job) and SIGHUP (a closed terminal) interrupt as Ctrl-C does, once: what is cleaned up then goes
on, whatever other signals of these two arrive. Programs install the handler (`on_ending_signal`); a library does not.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

# Windows has no SIGHUP.
ENDING_SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__)
"""Signals that request the end of the process."""


@dataclass
class _EndingState:
    """State of this process: signals are delivered to all of it.

    :param signum: the first ending signal that arrived; 0 for none.
    :param is_shielded: True while none interrupts.
    :param is_skippable: True while a second one interrupts as well.
    :param callback: called in the place of an interruption.
    """

    signum: int = 0
    is_shielded: bool = False
    is_skippable: bool = False
    callback: Callable[[], None] | None = None


_ending = _EndingState()


def on_ending_signal(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
    """Handle an ending signal: interrupt as Ctrl-C does.

    :raises KeyboardInterrupt: the first one, where none is waited for.
    """
    is_first = _note_ending(signum)
    if _ending.callback is not None:
        _ending.callback()
    # A closed terminal sends SIGHUP more than once: by the kernel, and by the shell.
    elif not _ending.is_shielded and (is_first or (_ending.is_skippable and signum == signal.SIGTERM)):
        raise KeyboardInterrupt


def ending_signal() -> str:
    """Return the name of the signal that requested the end of this process; empty for none."""
    return signal.Signals(_ending.signum).name if _ending.signum else ""


def skipping_signal() -> str:
    """Return what interrupts a block of `ending_signals_skip` that an interruption has begun."""
    return "a second SIGTERM" if _ending.signum == signal.SIGTERM else "Ctrl-C again"


def exit_code() -> int:
    """Return the exit code of an interrupted process, as a shell reports death by a signal: 128 + its number."""
    return 128 + (_ending.signum or signal.SIGINT)


@contextmanager
def ending_signals_wait() -> Iterator[None]:
    """Let no ending signal interrupt the block, which ends by itself soon; Ctrl-C does."""
    before, _ending.is_shielded = _ending.is_shielded, True
    try:
        yield
    finally:
        _ending.is_shielded = before


@contextmanager
def ending_signals_skip() -> Iterator[None]:
    """Let a second SIGTERM interrupt the block, as a second Ctrl-C does: what it skips can be done without."""
    before, _ending.is_skippable = _ending.is_skippable, True
    try:
        yield
    finally:
        _ending.is_skippable = before


@contextmanager
def ending_signals_call(callback: Callable[[], None]) -> Iterator[None]:
    """Have ending signals call a function in the place of an interruption."""
    before, _ending.callback = _ending.callback, callback
    try:
        yield
    finally:
        _ending.callback = before


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

    An ending signal is deferred in the same way; a second one has no effect. Has no effect in a thread that gets no
    signals, and on signals that the program handles itself.

    :param on_interrupt: called, in a thread of its own, on the first Ctrl-C.
    """
    interrupt = DeferredInterrupt()

    def handler(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
        if signum in ENDING_SIGNALS:
            _note_ending(signum)
        if interrupt.pending and signum in ENDING_SIGNALS:
            return
        if interrupt.pending:
            interrupt.repeated = True
            raise KeyboardInterrupt
        interrupt.pending = True
        # The handler runs in the interrupted thread, which may hold the lock that showing the message needs.
        threading.Thread(target=on_interrupt, name="interrupted", daemon=True).start()

    before = {signum: signal.getsignal(signum) for signum in _deferrable_signals()}
    for signum in before:
        signal.signal(signum, handler)
    try:
        yield interrupt
    finally:
        for signum, own in before.items():
            signal.signal(signum, own)


def can_handle_interrupts() -> bool:
    """Return True if this thread gets Ctrl-C, and the program leaves it to Python."""
    # Another handler (IPython, a debugger) keeps its own.
    return _gets_signals() and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _gets_signals() -> bool:
    # Python runs signal handlers in the main thread only.
    return threading.current_thread() is threading.main_thread()


def _deferrable_signals() -> list[signal.Signals]:
    interrupts = [signal.SIGINT] if can_handle_interrupts() else []
    endings = [signum for signum in ENDING_SIGNALS if signal.getsignal(signum) is on_ending_signal]
    return [*interrupts, *endings] if _gets_signals() else []


def _note_ending(signum: int) -> bool:
    """Note an ending signal, and return True if it is the first."""
    is_first = not _ending.signum
    _ending.signum = _ending.signum or signum
    _leave_closed_terminal()
    return is_first


def _leave_closed_terminal() -> None:
    """Send the output to a closed terminal nowhere: an error of each line would stop what is cleaned up."""
    for descriptor in (1, 2):
        with suppress(OSError):
            # A terminal that is closed is still a device, but answers as a terminal no more.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), descriptor)
