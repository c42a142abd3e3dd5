"""Create synthetic images for trying out the job: three domains of 31 classes in the folder layout of Office-31.

    python synthesize.py --out data

The images are described in generators/synthetic_images.py. A file beside them marks them as synthetic.
"""

from __future__ import annotations

import sys

from generators.synthetic_images import main

if __name__ == "__main__":
    sys.exit(main())
