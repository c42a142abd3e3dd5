"""Cloud phase and top height of whole VIIRS granules, learnt from CALIPSO, on one machine or on many.

    python granule_job.py --data data/granules --out outputs
    python granule_job.py --data s3://bucket/granules --out outputs --scheduler tls://10.0.0.5:8786

Exit codes: 0 done; 1 the cluster failed; 2 input or arguments that cannot be used (one line says which file and what);
130 interrupted.
"""

from __future__ import annotations

import sys

from granules import granule_figure, granule_report, pipeline
from granules.pipeline import Options
from retrieval import cli
from retrieval.cli import positive_number, whole_number

JOB = cli.CommandLineJob(
    pipeline.run,
    granule_figure.draw_figure,
    granule_report.write_metrics,
    granule_report.summary_lines,
    remedy="--nthreads 1 needs less",
)


def parse_arguments(words: list[str] | None = None) -> Options:
    """The command line as options; leaves with exit code 2 when it makes no sense."""
    parser = cli.Parser("granule_job.py", __doc__)
    parser.add_locations("granules and tracks: folder or s3://bucket/prefix")
    parser.add_argument(
        "--indexed", action="store_true", help="take matches from index files that lie with the granules"
    )
    parser.add_number("--km", positive_number, 5.0, "farthest a pixel may lie from its profile")
    parser.add_number("--minutes", positive_number, 15.0, "longest time between both looks")
    parser.add_number("--folds", whole_number(2, 1000), 4, "parts of the granules; each is held out once")
    parser.add_number("--trees", whole_number(1, 10_000), 40, "trees per forest")
    parser.add_number("--depth", whole_number(0, 1000), 16, "largest depth of a tree, 0: no limit")
    parser.add_number("--seed", whole_number(0, 2**32 - 1), 1, "of the trees and of the bootstrap")
    parser.add_argument(
        "--maps",
        type=whole_number(0, 10**6),
        default=-1,
        metavar="N",
        help="granules to map, the first ones (default: all)",
    )
    return Options(**vars(parser.parse_args(words)))


def main(words: list[str] | None = None) -> int:
    """Collocate, train, judge, map, write all results; the exit code."""
    return cli.main(JOB, parse_arguments(words))


if __name__ == "__main__":
    sys.exit(main())
