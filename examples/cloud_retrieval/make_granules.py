"""Synthetic pairs of VIIRS granules and CALIPSO tracks to try the job on, in the layout of the real files.

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


def main(words: list[str] | None = None) -> int:
    """Make pairs; the exit code."""
    parser = argparse.ArgumentParser(prog="make_granules.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files; made if need be")
    parser.add_argument("--granules", type=int, default=8, metavar="N", help="how many pairs (default: 8)")
    parser.add_argument(
        "--lines", type=int, default=400, metavar="N", help="a multiple of 16 (default: 400; full: 3232)"
    )
    parser.add_argument(
        "--pixels", type=int, default=400, metavar="N", help="around the track (default: 400; full: 3200)"
    )
    parser.add_argument(
        "--profiles", type=int, default=0, metavar="N", help="of the track (default: lines and a fifth)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    chosen = parser.parse_args(words)
    if (
        chosen.granules < 1
        or chosen.lines < 32
        or chosen.lines % 16
        or not 32 <= chosen.pixels <= 3200
        or chosen.seed < 0
    ):
        print(
            "make_granules.py: --granules from 1, --lines a multiple of 16 from 32, --pixels 32 to 3200, --seed from 0",
            file=sys.stderr,
        )
        return 2
    size = GranuleSize(chosen.lines, chosen.pixels, chosen.profiles or chosen.lines * 6 // 5)
    for number, path in enumerate(write_pairs(chosen.out, count=chosen.granules, size=size, seed=chosen.seed), 1):
        print(f"{number}/{chosen.granules}  {path.name}  {size.lines} x {size.pixels}, synthetic", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
