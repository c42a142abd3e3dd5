"""Cloud mask, optical thickness and effective radius from reflectances of scenes, on one machine or on a Dask cluster.

    python retrieve.py --data data --out outputs
    python retrieve.py --data data --out outputs --scheduler tls://10.0.0.5:8786

Exit codes: 0 done; 1 the cluster failed; 2 unusable input or arguments (one line names the file and the problem); 130
interrupted.
"""

from __future__ import annotations

import sys

from retrieval import cli, pipeline, scene_figure, scene_report
from retrieval.cli import whole_number
from retrieval.pipeline import Options

MANY = 10**9
# More blocks reduce the memory of a task, which is proportional to the pixels of a block.
JOB = cli.CommandLineJob(
    pipeline.run,
    scene_figure.draw_figure,
    scene_report.write_metrics,
    scene_report.summary_lines,
    remedy="--blocks 8 needs less",
)


def row_count(text: str) -> int:
    """Parse a number of training pixels; 0 stands for the default of the model."""
    return 0 if text == "0" else whole_number(10, MANY)(text)


def parse_arguments(args: list[str] | None = None) -> Options:
    """Parse the command line; exits with code 2 on invalid arguments."""
    parser = cli.Parser("retrieve.py", __doc__)
    parser.add_locations("scenes to train on: folder, file or s3://bucket/prefix")
    parser.add_argument(
        "--held-out", default="", metavar="WHERE", help="test scenes; default: tiles inside the scenes of --data"
    )
    parser.add_argument(
        "--match", default="*", metavar="PATTERN", help="use only scene files whose name matches (default: *)"
    )
    parser.add_argument(
        "--model",
        choices=("boosting", "trees"),
        default="boosting",
        help="gradient boosting, or extremely randomized trees (default: boosting)",
    )
    parser.add_argument("--fast", action="store_true", help="boosting in one stage, at a quarter of the cost")
    parser.add_number("--trees", whole_number(1, 10_000), 60, "trees per forest, for --model trees")
    parser.add_number("--depth", whole_number(0, 1000), 16, "maximum depth of a tree, 0: no limit, for --model trees")
    rows = "maximum number of training pixels, all scenes together, 0: 200,000, or 24,000 with --fast or trees"
    parser.add_number("--rows", row_count, 0, rows)
    blocks = "blocks of rows per scene, 0: blocks of 65,536 pixels; more blocks need less memory"
    parser.add_number("--blocks", whole_number(0, MANY), 0, blocks)
    # scikit-learn takes seeds of 32 bits.
    parser.add_number("--seed", whole_number(0, 2**32 - 1), 1, "seed of the sample and the trees")
    parser.add_number(
        "--neighbourhood", whole_number(1, 15, odd_only=True), 3, "width of the square of pixels that features use"
    )
    parser.add_number("--fold", whole_number(0, 3), 0, "set of test tiles when no scenes are held out")
    buffer = "pixels left out around test tiles, at least twice the reach of the features"
    parser.add_number("--buffer", whole_number(0, 1000), 0, buffer)
    return Options(**vars(parser.parse_args(args)))


def main(args: list[str] | None = None) -> int:
    """Train, evaluate and write all results; return the exit code."""
    return cli.main(JOB, parse_arguments(args))


if __name__ == "__main__":
    sys.exit(main())
