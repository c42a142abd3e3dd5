"""Create synthetic pairs of VIIRS granules and CALIPSO tracks for trying out the job, in the layout of the real files.

    python make_granules.py --granules 8 --out data/granules                  # 400 x 400 pixels each: 1 s and 6 MB
    python make_granules.py --granules 8 --lines 3232 --pixels 3200 --out ... # full size: 25 s and 250 MB

The physics and its sources are documented in simulation/synthetic_atmosphere.py and simulation/radiative_transfer.py.
Every file is marked as synthetic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from simulation.synthetic_granules import GranuleSize, write_pairs


def main(args: list[str] | None = None) -> int:
    """Create pairs; return the exit code."""
    parser = argparse.ArgumentParser(prog="make_granules.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files; created if missing"
    )
    parser.add_argument("--granules", type=int, default=8, metavar="N", help="number of pairs (default: 8)")
    parser.add_argument(
        "--lines", type=int, default=400, metavar="N", help="a multiple of 16 (default: 400; full: 3232)"
    )
    parser.add_argument(
        "--pixels",
        type=int,
        default=400,
        metavar="N",
        help="pixels per line, centered on the track (default: 400; full: 3200)",
    )
    parser.add_argument(
        "--profiles", type=int, default=0, metavar="N", help="profiles of the track (default: 1.2 times the lines)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    options = parser.parse_args(args)
    if (
        options.granules < 1
        or options.lines < 32
        or options.lines % 16
        or not 32 <= options.pixels <= 3200
        or options.seed < 0
    ):
        print(
            "make_granules.py: --granules from 1, --lines a multiple of 16 from 32, --pixels 32 to 3200, --seed from 0",
            file=sys.stderr,
        )
        return 2
    size = GranuleSize(options.lines, options.pixels, options.profiles or options.lines * 6 // 5)
    for number, path in enumerate(write_pairs(options.out, count=options.granules, size=size, seed=options.seed), 1):
        print(f"{number}/{options.granules}  {path.name}  {size.lines} x {size.pixels}, synthetic", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
