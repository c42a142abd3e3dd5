"""Cloud mask, optical thickness and effective radius from scenes of reflectances, on one machine or on many.

    python retrieve.py --data data --out outputs
    python retrieve.py --data data --out outputs --scheduler tls://10.0.0.5:8786

Exit codes: 0 done; 1 the cluster failed; 2 input or arguments that cannot be used (one line says which file and what);
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from retrieval.pipeline import Options, run
from retrieval.scenes import SceneError


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"retrieve.py: {message} (--help tells all options)\n")


def whole(low: int, high: int, *, odd: bool = False) -> Callable[[str], int]:
    """A checker for whole numbers from ``low`` to ``high``."""

    def number(text: str) -> int:
        kind = "an odd number" if odd else "a whole number"
        if not text.isdecimal() or not low <= int(text) <= high or (odd and int(text) % 2 == 0):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind} from {low} to {high}")
        return int(text)

    return number


def arguments(words: list[str] | None = None) -> Options:
    """The command line as options; leaves with exit code 2 when it makes no sense."""
    many = 10**9
    parser = Parser(prog="retrieve.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", required=True, metavar="WHERE", help="scenes to train on: folder, file or s3://bucket/prefix"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for results; made if need be")
    parser.add_argument(
        "--held-out", default="", metavar="WHERE", help="scenes to judge on; without: tiles inside --data"
    )
    parser.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster; without: this machine")
    parser.add_argument(
        "--match", default="*", metavar="PATTERN", help="take scene files of this name only (default: *)"
    )
    numbers = [
        ("--trees", whole(1, 10_000), 60, "trees per forest"),
        ("--depth", whole(0, 1000), 16, "largest depth of a tree, 0: no limit"),
        ("--rows", whole(10, many), 24_000, "training pixels of all scenes together, at most"),
        (
            "--blocks",
            whole(0, many),
            0,
            "blocks of rows a scene is cut into, 0: of 65,536 pixels; more need less memory",
        ),
        ("--seed", whole(0, 2**32 - 1), 1, "of the sample and the trees"),
        ("--neighbourhood", whole(1, 15, odd=True), 3, "pixels across the square that features see"),
        ("--fold", whole(0, 3), 0, "which tiles are judged when none are held out"),
        ("--buffer", whole(0, 1000), 0, "pixels left out around judged tiles, at least twice the features' reach"),
    ]
    for name, check, default, meaning in numbers:
        parser.add_argument(name, type=check, default=default, metavar="N", help=f"{meaning} (default: {default})")
    return Options(**vars(parser.parse_args(words)))


def main(words: list[str] | None = None) -> int:
    """Run the job; the exit code."""
    options = arguments(words)
    from retrieval.cluster import TROUBLE, told

    # Dask logs each lost connection, some with a traceback; what matters comes back as an exception.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        finish(options)
    except SceneError as error:
        print(error, file=sys.stderr)
        return 2
    except TROUBLE as error:
        print(told(error, options.scheduler), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def finish(options: Options) -> None:
    """Train, judge, write all results."""
    from retrieval import figure, report

    outcome = run(options, lambda line: print(line, flush=True))
    figure.draw(outcome)
    report.write(outcome)
    print("\n".join(report.table(outcome)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
