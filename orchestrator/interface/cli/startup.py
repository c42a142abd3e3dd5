"""Ctrl-C and ending signals while the program starts and ends, without a traceback; its first import."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from orchestrator.core import interrupts

GC_THRESHOLDS = 200_000, 20, 10


def run_program(program: Callable[[], int]) -> int:
    """Run a program and return its exit code; an interruption outside of its own handling ends it with one line.

    Before `raise_on_interrupt`, and after the program, Ctrl-C or an ending signal ends the process at once: an
    exception in the middle of an import, or of the interpreter's last steps, would be a traceback.
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
        return interrupts.exit_code()
    finally:
        _exit_on_interrupt()
        # As the interpreter ends it collects garbage once more, for 0.07 s of CPU with boto3 and paramiko in memory.
        gc.freeze()


def _open_standard_streams() -> None:
    """Open what the caller has closed (``>&-``): the next file opened would get its number, and the output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number, which is this one: those below it are open by now.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


def raise_on_interrupt() -> None:
    """Make Ctrl-C and ending signals raise KeyboardInterrupt from here on."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in interrupts.ENDING_SIGNALS:
        if signal.getsignal(signum) is _exit:
            signal.signal(signum, interrupts.on_ending_signal)


def _exit_on_interrupt() -> None:
    if interrupts.can_handle_interrupts():
        signal.signal(signal.SIGINT, _exit)
    for signum in interrupts.ENDING_SIGNALS:
        # Not one that is ignored: nohup wants the program to go on.
        if signal.getsignal(signum) in (signal.SIG_DFL, interrupts.on_ending_signal):
            signal.signal(signum, _exit)


def _exit(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
    _report()
    os._exit(128 + signum)


def _report() -> None:
    # Not print: the interrupted code may be in the middle of writing to the same stream.
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
