"""Write scikit-learn's bundled digits (1,797 real ones, 8 x 8 pixels, from 43 writers) as files of MNIST's kind.

    python digits.py --out data

Every fifth digit is for testing. The files are those of https://yann.lecun.com/exdb/mnist/, so MNIST's own can lie in
their place. Nothing is written when they are there already.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import idx
import numpy as np

TEST_STRIDE = 5


def load_arrays() -> dict[str, np.ndarray]:
    """Return file name -> images (n, 8, 8) or labels (n,), bytes; intensities stretched from 0..16 to 0..255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)
    labels = found.target.astype(np.uint8)
    test = np.arange(len(labels)) % TEST_STRIDE == 0
    return {
        idx.TRAIN_IMAGES: images[~test],
        idx.TRAIN_LABELS: labels[~test],
        idx.TEST_IMAGES: images[test],
        idx.TEST_LABELS: labels[test],
    }


def main(out: Path) -> None:
    """Write the files that are missing."""
    out.mkdir(parents=True, exist_ok=True)
    if all((out / name).exists() for name in idx.FILE_NAMES):
        return
    for name, values in load_arrays().items():
        with gzip.open(out / name, "wb") as file:
            file.write(idx.pack(values))
    print(f"digits written to {out}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder; made if need be")
    main(parser.parse_args().out)
