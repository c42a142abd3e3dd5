"""Cloud phase and top height of whole VIIRS granules, learnt from CALIPSO, on one machine or on many.

    python granule_job.py --data data/granules --out outputs
    python granule_job.py --data s3://bucket/granules --out outputs --scheduler tls://10.0.0.5:8786

Exit codes: 0 done; 1 the cluster failed; 2 input or arguments that cannot be used (one line says which file and what);
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path

from granules.pipeline import Options, run
from retrieval.scenes import SceneError
from retrieve import Parser, whole


def amount(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0.0 or math.isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def arguments(words: list[str] | None = None) -> Options:
    """The command line as options; leaves with exit code 2 when it makes no sense."""
    parser = Parser(prog="granule_job.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", required=True, metavar="WHERE", help="granules and tracks: folder or s3://bucket/prefix"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for results; made if need be")
    parser.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster; without: this machine")
    parser.add_argument(
        "--indexed", action="store_true", help="take matches from index files that lie with the granules"
    )
    numbers: list[tuple[str, Callable[[str], float], float, str]] = [
        ("--km", amount, 5.0, "farthest a pixel may lie from its profile"),
        ("--minutes", amount, 15.0, "longest time between both looks"),
        ("--folds", whole(2, 1000), 4, "parts of the granules; each is held out once"),
        ("--trees", whole(1, 10_000), 40, "trees per forest"),
        ("--depth", whole(0, 1000), 16, "largest depth of a tree, 0: no limit"),
        ("--seed", whole(0, 2**32 - 1), 1, "of the trees and of the bootstrap"),
    ]
    for name, check, default, meaning in numbers:
        parser.add_argument(name, type=check, default=default, metavar="N", help=f"{meaning} (default: {default:g})")
    parser.add_argument(
        "--maps", type=whole(0, 10**6), default=-1, metavar="N", help="granules to map, the first ones (default: all)"
    )
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
        print(told(error, options.scheduler, remedy="--nthreads 1 needs less"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def finish(options: Options) -> None:
    """Collocate, train, judge, map, write all results."""
    from granules import figure, report

    outcome = run(options, lambda line: print(line, flush=True))
    figure.draw(outcome)
    report.write(outcome)
    print("\n".join(report.table(outcome)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
