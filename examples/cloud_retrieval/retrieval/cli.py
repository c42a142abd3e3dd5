"""What both jobs' command lines share: words that are checked, and errors that are one line with an exit code."""

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
    """Says what is wrong with the arguments in one line."""

    def __init__(self, prog: str, manual: str | None) -> None:
        """Begin with the first line of the script's manual."""
        super().__init__(prog=prog, description=(manual or "").partition("\n")[0])

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (--help tells all options)\n")

    def add_locations(self, data: str) -> None:
        """Add the options that say where things are; ``data``: what is looked for in --data."""
        self.add_argument("--data", required=True, metavar="WHERE", help=data)
        self.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for results; made if need be")
        self.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster; without: this machine")

    def add_number(self, name: str, check: Check, default: float, meaning: str) -> None:
        """Add an option that takes a number."""
        self.add_argument(name, type=check, default=default, metavar="N", help=f"{meaning} (default: {default:g})")


def whole_number(low: int, high: int, *, odd: bool = False) -> Callable[[str], int]:
    """A checker for whole numbers from ``low`` to ``high``."""

    def number(text: str) -> int:
        kind = "an odd number" if odd else "a whole number"
        if not text.isdecimal() or not low <= int(text) <= high or (odd and int(text) % 2 == 0):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind} from {low} to {high}")
        return int(text)

    return number


def positive_number(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0.0 or math.isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


@dataclass(frozen=True)
class CommandLineJob:
    """What a job consists of: ``run`` takes options and somebody to tell, and gives what the others write and show.

    ``remedy``: what can be done about too little memory.
    """

    run: Callable[[Any, Callable[[str], None]], Any]
    draw: Callable[[Any], None]
    write: Callable[[Any], None]
    table: Callable[[Any], list[str]]
    remedy: str

    def execute(self, options: Any) -> None:
        """Run it and leave all its results."""
        outcome = self.run(options, lambda line: print(line, flush=True))
        self.draw(outcome)
        self.write(outcome)
        print("\n".join(self.table(outcome)), flush=True)


def main(job: CommandLineJob, options: Any) -> int:
    """Finish a job; the exit code."""
    # Dask logs each lost connection, some with a traceback; what matters comes back as an exception.
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
