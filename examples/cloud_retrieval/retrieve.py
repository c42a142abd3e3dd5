"""Cloud mask, optical thickness and effective radius from scenes of reflectances, on one machine or on many.

    python retrieve.py --data data --out outputs
    python retrieve.py --data data --out outputs --scheduler tls://10.0.0.5:8786

Exit codes: 0 done; 1 the cluster failed; 2 input or arguments that cannot be used (one line says which file and what);
130 interrupted.
"""

from __future__ import annotations

import sys

from retrieval import cli, pipeline, scene_figure, scene_report
from retrieval.cli import whole_number
from retrieval.pipeline import Options

MANY = 10**9
JOB = cli.CommandLineJob(
    pipeline.run,
    scene_figure.draw_figure,
    scene_report.write_metrics,
    scene_report.summary_lines,
    remedy="--blocks 8 needs less",
)


def parse_arguments(words: list[str] | None = None) -> Options:
    """The command line as options; leaves with exit code 2 when it makes no sense."""
    parser = cli.Parser("retrieve.py", __doc__)
    parser.add_locations("scenes to train on: folder, file or s3://bucket/prefix")
    parser.add_argument(
        "--held-out", default="", metavar="WHERE", help="scenes to judge on; without: tiles inside --data"
    )
    parser.add_argument(
        "--match", default="*", metavar="PATTERN", help="take scene files of this name only (default: *)"
    )
    parser.add_number("--trees", whole_number(1, 10_000), 60, "trees per forest")
    parser.add_number("--depth", whole_number(0, 1000), 16, "largest depth of a tree, 0: no limit")
    parser.add_number("--rows", whole_number(10, MANY), 24_000, "training pixels of all scenes together, at most")
    blocks = "blocks of rows a scene is cut into, 0: of 65,536 pixels; more need less memory"
    parser.add_number("--blocks", whole_number(0, MANY), 0, blocks)
    parser.add_number("--seed", whole_number(0, 2**32 - 1), 1, "of the sample and the trees")
    parser.add_number("--neighbourhood", whole_number(1, 15, odd=True), 3, "pixels across the square that features see")
    parser.add_number("--fold", whole_number(0, 3), 0, "which tiles are judged when none are held out")
    buffer = "pixels left out around judged tiles, at least twice the features' reach"
    parser.add_number("--buffer", whole_number(0, 1000), 0, buffer)
    return Options(**vars(parser.parse_args(words)))


def main(words: list[str] | None = None) -> int:
    """Train, judge, write all results; the exit code."""
    return cli.main(JOB, parse_arguments(words))


if __name__ == "__main__":
    sys.exit(main())
