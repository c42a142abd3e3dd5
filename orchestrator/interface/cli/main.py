"""The command line: ``stratus VERB``, the verbs of the shell as commands, with exit codes that scripts can rely on.

    0  ok                          3    the cloud refused
    1  the job or a host failed    4    something is, or may be, left running: it is listed
    2  usage or config             130  Ctrl-C; 143 SIGTERM, 129 SIGHUP, which clean up in the same way

Nothing heavy is imported before a verb needs it: ``--help`` and completion answer at once.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from orchestrator.core import interrupts
from orchestrator.core.errors import LeftRunning, StratusError
from orchestrator.interface.cli import startup
from orchestrator.interface.cli.invocation import Invocation, Setup
from orchestrator.interface.console import Console
from orchestrator.interface.verbs.interaction import Interrupted

BROKEN_PIPE = 141
"""As a shell reports death by a signal: 128 + SIGPIPE (13)."""


def main(argv: Sequence[str] | None = None, setup: Setup | None = None) -> int:
    """Carry out a command line and return its exit code; the one place where errors become exit codes."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Decided before parsing: what the parser itself reports has to go to the right stream already.
    console = Console(document=_wants_document(argv))
    invocation = Invocation(argv, setup or Setup(), console)
    try:
        startup.raise_on_interrupt()
        return _exit_code(invocation.run())
    except BrokenPipeError:
        # The reader is gone: ``| head``.
        with suppress(OSError):
            invocation.report_closed_output()
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        console.print_error(Interrupted.after(interrupt).lines)
        return interrupts.exit_code()
    except StratusError as error:
        return _exit_code(invocation.fail(error))
    except Exception as error:
        return _exit_code(invocation.fail(invocation.report_bug(error)))
    finally:
        invocation.close()
        _discard_unwritten()


def _exit_code(code: int) -> int:
    """Return an exit code, or that of the signal that ended the program; what is left running counts more."""
    return interrupts.exit_code() if interrupts.ending_signal() and code != LeftRunning.exit_code else code


def _discard_unwritten() -> None:
    """Drop what could not be written to stdout: Python tries again when it exits, and prints an error of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wants_document(argv: Sequence[str]) -> bool:
    """Return True if the bare words ask for a JSON document: usage errors, too, are reported as one."""
    return "--output=json" in argv or ("--output", "json") in itertools.pairwise(argv)
