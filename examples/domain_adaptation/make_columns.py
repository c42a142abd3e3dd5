"""Synthetic columns to try sensors.ini on: granules as a lidar and a radiometer see them.

    python make_columns.py --out data/columns

What they are is said in generators/synthetic_columns.py. A file beside them says that they are synthetic.
"""

from __future__ import annotations

import sys

from generators.synthetic_columns import main

if __name__ == "__main__":
    sys.exit(main())
