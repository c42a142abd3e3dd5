"""Create synthetic columns for trying out sensors.ini: granules as observed by a lidar and a radiometer.

    python make_columns.py --out data/columns

The columns are described in generators/synthetic_columns.py. A file beside them marks them as synthetic.
"""

from __future__ import annotations

import sys

from generators.synthetic_columns import main

if __name__ == "__main__":
    sys.exit(main())
