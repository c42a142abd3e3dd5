"""The file format of MNIST (IDX): four bytes for type and number of dimensions, the sizes, then the data as bytes.

It is described at https://yann.lecun.com/exdb/mnist/; all numbers are big-endian.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
FILE_NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

_UNSIGNED_BYTE = 8


def pack(values: np.ndarray) -> bytes:
    """Return an array of bytes, of any shape, as the content of a file."""
    header = struct.pack(f">HBB{values.ndim}I", 0, _UNSIGNED_BYTE, values.ndim, *values.shape)
    return header + np.ascontiguousarray(values, np.uint8).tobytes()


def unpack(content: bytes) -> np.ndarray:
    """Return the array in the content of a file.

    :raises ValueError: if the content is not an IDX file of bytes.
    """
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise ValueError("not an IDX file of bytes")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError("truncated header")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != int(np.prod(shape)):
        raise ValueError(f"{len(content) - start} bytes of data, but the header says {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read(folder: Path, name: str) -> np.ndarray:
    """Read one of the four files.

    :raises ValueError: naming the file and the problem.
    """
    path = folder / name
    try:
        with gzip.open(path, "rb") as file:
            return unpack(file.read())
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
