"""Create synthetic pairs of VIIRS granules and CALIPSO tracks for trying out the job, in the layout of the real files.

    python make_granules.py --granules 8 --out data/granules                  # 400 x 400 pixels each: 1 s and 6 MB
    python make_granules.py --granules 8 --lines 3232 --pixels 3200 --out ... # full size: 25 s and 250 MB
    python make_granules.py --granules 16 --night --five-km --quality-flags --out data/granules

The physics and its sources are documented in simulation/synthetic_atmosphere.py and simulation/radiative_transfer.py.
Every file is marked as synthetic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from simulation.granule_extras import Extras, write_pairs
from simulation.synthetic_granules import GranuleSize


def parse_arguments(args: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="make_granules.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; created if missing")
    for name, default, text in (
        ("granules", 8, "number of pairs (default: 8)"),
        ("lines", 400, "a multiple of 16 (default: 400; full: 3232)"),
        ("pixels", 400, "pixels per line, centered on the track (default: 400; full: 3200)"),
        ("profiles", 0, "profiles of the track (default: 1.2 times the lines)"),
        ("seed", 1, "(default: 1)"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=text)
    for name, text in (
        ("night", "every second pair at night"),
        ("five-km", "with the 5 km product: thin cirrus, optical depth, snow and ice"),
        ("quality-flags", "with quality flags, and scans without calibration, pointing or time"),
    ):
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args(args)


def is_valid(options: argparse.Namespace) -> bool:
    """Return True if granules of this size can be simulated."""
    # VIIRS scans have 16 lines; the geometry needs at least two scans.
    lines_fit = options.lines >= 32 and options.lines % 16 == 0
    return bool(options.granules >= 1 and lines_fit and 32 <= options.pixels <= 3200 and options.seed >= 0)


def main(args: list[str] | None = None) -> int:
    """Create pairs; return the exit code."""
    options = parse_arguments(args)
    if not is_valid(options):
        ranges = "--granules from 1, --lines a multiple of 16 from 32, --pixels 32 to 3200, --seed from 0"
        print(f"make_granules.py: {ranges}", file=sys.stderr)
        return 2
    size = GranuleSize(options.lines, options.pixels, options.profiles or options.lines * 6 // 5)
    extras = Extras(options.night, options.five_km, options.quality_flags)
    paths = write_pairs(options.out, extras, count=options.granules, size=size, seed=options.seed)
    for number, path in enumerate(paths, 1):
        print(f"{number}/{options.granules}  {path.name}  {size.lines} x {size.pixels}, synthetic", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
