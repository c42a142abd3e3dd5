"""Cloud phase and top height of whole VIIRS granules, trained on CALIPSO, on one machine or on a Dask cluster.

    python granule_job.py --data data/granules --out outputs
    python granule_job.py --data s3://bucket/granules --out outputs --scheduler tls://10.0.0.5:8786

Exit codes: 0 done; 1 the cluster failed; 2 unusable input or arguments (one line names the file and the problem); 130
interrupted.
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


def parse_arguments(args: list[str] | None = None) -> Options:
    """Parse the command line; exits with code 2 on invalid arguments."""
    parser = cli.Parser("granule_job.py", __doc__)
    parser.add_locations("granules and tracks: folder or s3://bucket/prefix")
    parser.add_argument(
        "--indexed", action="store_true", help="use matches from index files beside the granules, where available"
    )
    parser.add_number("--km", positive_number, 5.0, "maximum distance between pixel and profile (km)")
    parser.add_number("--minutes", positive_number, 15.0, "maximum time between both observations (minutes)")
    parser.add_number("--folds", whole_number(2, 1000), 4, "folds of granules; each is held out once")
    parser.add_number("--trees", whole_number(1, 10_000), 40, "trees per forest")
    parser.add_number("--depth", whole_number(0, 1000), 16, "maximum depth of a tree, 0: no limit")
    parser.add_number("--seed", whole_number(0, 2**32 - 1), 1, "seed of the trees and of the bootstrap")
    parser.add_argument(
        "--maps",
        type=whole_number(0, 10**6),
        default=-1,
        metavar="N",
        help="map the first N granules (default: all)",
    )
    return Options(**vars(parser.parse_args(args)))


def main(args: list[str] | None = None) -> int:
    """Collocate, train, evaluate, map, write all results; return the exit code."""
    return cli.main(JOB, parse_arguments(args))


if __name__ == "__main__":
    sys.exit(main())
