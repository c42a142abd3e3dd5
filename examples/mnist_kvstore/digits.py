"""Write the digits bundled with scikit-learn (1,797 real ones, 8 x 8 pixels, from 43 writers) in MNIST's file format.

    python digits.py --out data

Every fifth digit is a test digit. The files have the names of https://yann.lecun.com/exdb/mnist/, so MNIST's own files
can be used instead. Nothing is written if all files exist.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import idx
import numpy as np

TEST_STRIDE = 5


def load_arrays() -> dict[str, np.ndarray]:
    """Return file name -> images (n, 8, 8) or labels (n,), bytes; intensities scaled from 0..16 to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    is_test = np.arange(len(labels)) % TEST_STRIDE == 0
    return {
        idx.TRAIN_IMAGES: images[~is_test],
        idx.TRAIN_LABELS: labels[~is_test],
        idx.TEST_IMAGES: images[is_test],
        idx.TEST_LABELS: labels[is_test],
    }


def main(out: Path) -> None:
    """Write the files, unless all of them exist."""
    out.mkdir(parents=True, exist_ok=True)
    # This runs before each training; existing files, such as MNIST's own, are kept.
    if all((out / name).exists() for name in idx.FILE_NAMES):
        return
    for name, values in load_arrays().items():
        with gzip.open(out / name, "wb") as file:
            file.write(idx.pack(values))
    print(f"digits written to {out}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; created if missing")
    main(parser.parse_args().out)
