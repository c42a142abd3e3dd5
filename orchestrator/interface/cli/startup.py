"""Ctrl-C without a traceback while the program starts and ends; its first import, so itself with few."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from orchestrator.core.interrupts import can_handle_interrupts

GC_THRESHOLDS = 50_000, 20, 10

INTERRUPTED = 130
"""As a shell reports death by Ctrl-C: 128 + SIGINT (2)."""


def run_program(program: Callable[[], int]) -> int:
    """Run a program and return its exit code; Ctrl-C outside of its own handling ends it with one line.

    Before `raise_on_interrupt`, and after the program, Ctrl-C ends the process at once: an exception in the middle of
    an import, or of the interpreter's last steps, would be a traceback.
    """
    _exit_on_interrupt()
    _open_standard_streams()
    # A full collection takes 0.15 s of CPU with boto3's descriptions in memory, and finds little: a session makes few
    # cycles. With CPython's thresholds one comes with every few verbs, and dozens of small ones with every import.
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        return program()
    except KeyboardInterrupt:
        _report()
        return INTERRUPTED
    finally:
        _exit_on_interrupt()


def _open_standard_streams() -> None:
    """Open what the caller has closed (``>&-``): the next file opened would get its number, and the output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number, which is this one: those below it are open by now.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


def raise_on_interrupt() -> None:
    """Make Ctrl-C raise KeyboardInterrupt from here on."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_on_interrupt() -> None:
    if can_handle_interrupts():
        signal.signal(signal.SIGINT, _exit)


def _exit(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
    _report()
    os._exit(INTERRUPTED)


def _report() -> None:
    # Not print: the interrupted code may be in the middle of writing to the same stream.
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
