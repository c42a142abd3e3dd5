"""Synthetic images to try the job on: three domains of 31 classes in the folder layout of Office-31.

    python synthesize.py --out data

What they are is said in generators/synthetic_images.py. A file beside them says that they are synthetic.
"""

from __future__ import annotations

import sys

from generators.synthetic_images import main

if __name__ == "__main__":
    sys.exit(main())
