"""Command line shared by both jobs: argument checks, and errors as one line with an exit code."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from retrieval.dask_client import CLUSTER_ERRORS, error_text
from retrieval.scenes import SceneError

Check = Callable[[str], Any]


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line."""

    def __init__(self, prog: str, docstring: str | None) -> None:
        """Use the first line of the script's docstring as the description."""
        super().__init__(prog=prog, description=(docstring or "").partition("\n")[0])

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")

    def add_locations(self, data: str) -> None:
        """Add --data, --out and --scheduler; ``data`` is the help text of --data."""
        self.add_argument("--data", required=True, metavar="WHERE", help=data)
        self.add_argument(
            "--out", required=True, type=Path, metavar="DIR", help="folder for results; created if missing"
        )
        self.add_argument("--scheduler", default="", metavar="ADDRESS", help="Dask scheduler; default: this machine")

    def add_number(self, name: str, check: Check, default: float, help_text: str) -> None:
        """Add an option that takes a number."""
        self.add_argument(name, type=check, default=default, metavar="N", help=f"{help_text} (default: {default:g})")


def whole_number(low: int, high: int, *, odd_only: bool = False) -> Callable[[str], int]:
    """Return a parser of integers from ``low`` to ``high``."""

    def number(text: str) -> int:
        kind = "an odd number" if odd_only else "a whole number"
        # isdecimal rejects signs and underscores, which int() would accept.
        if not text.isdecimal() or not low <= int(text) <= high or (odd_only and int(text) % 2 == 0):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind} from {low} to {high}")
        return int(text)

    return number


def positive_number(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0.0 or math.isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


@dataclass(frozen=True)
class CommandLineJob:
    """The steps of a job.

    ``run`` takes options and a log function, and returns the result that ``draw``, ``write`` and ``table`` take.
    ``remedy`` is advice against running out of memory.
    """

    run: Callable[[Any, Callable[[str], None]], Any]
    draw: Callable[[Any], None]
    write: Callable[[Any], None]
    table: Callable[[Any], list[str]]
    remedy: str

    def execute(self, options: Any) -> None:
        """Run the job and write all its results."""
        outcome = self.run(options, lambda line: print(line, flush=True))
        self.draw(outcome)
        self.write(outcome)
        print("\n".join(self.table(outcome)), flush=True)


def main(job: CommandLineJob, options: Any) -> int:
    """Run a job and return the exit code."""
    # Dask logs each lost connection, some with a traceback; the relevant errors are raised as exceptions anyway.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        job.execute(options)
    except SceneError as error:
        print(error, file=sys.stderr)
        return 2
    except CLUSTER_ERRORS as error:
        print(error_text(error, options.scheduler, remedy=job.remedy), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
