"""The command line: ``stratus VERB``, the verbs of the shell as commands, with exit codes that scripts can rely on.

    0  ok                          3    the cloud refused
    1  the job or a host failed    4    something is, or may be, left running: it is listed
    2  usage or config             130  Ctrl-C

Nothing heavy is imported before a verb needs it: ``--help`` and completion answer at once.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence

from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import advice_of
from orchestrator.interface.cli.dispatch import INTERRUPTED
from orchestrator.interface.cli.invocation import Invocation, Setup
from orchestrator.interface.console import Console

BROKEN_PIPE = 141

_DEFAULT = Setup()


def main(argv: Sequence[str] | None = None, setup: Setup = _DEFAULT) -> int:
    """Carry out a command line and return its exit code; the one place where errors become exit codes."""
    argv = list(sys.argv[1:] if argv is None else argv)
    console = Console(document=_wants_document(argv))
    invocation = Invocation(argv, setup, console)
    try:
        return invocation.carry_out()
    except BrokenPipeError:
        # The reader went away (``| head``); nothing more can be said, not even while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt as interrupt:
        console.complain(str(interrupt) or " ".join(["Interrupted.", *map(str, advice_of(interrupt))]))
        return INTERRUPTED
    except StratusError as error:
        return invocation.failed(error)
    except Exception as error:
        return invocation.failed(invocation.bug(error))
    finally:
        invocation.close()


def verb_at(argv: Sequence[str]) -> int:
    """Return where in a command line the verb stands; its length when there is none."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in ("--config", "--output", "-c") else 1
    return min(at, len(argv))


def _wants_document(argv: Sequence[str]) -> bool:
    """Tell from the bare words whether stdout is for one JSON document: usage errors must know, too."""
    return "--output=json" in argv or ("--output", "json") in itertools.pairwise(argv)
