"""The files of the MXNet example; its training runs in tests/local/test_frameworks.py."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "examples/mnist_kvstore"))
import digits
import idx


@pytest.mark.parametrize("shape", [(5,), (3, 8, 8), (0, 2)])
def test_what_is_written_is_read_back(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx.pack(values)))

    assert np.array_equal(idx.read(tmp_path, "x.gz"), values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"\0\0\x09\1"), "no IDX file of bytes"),
        (gzip.compress(idx.pack(np.zeros(4, np.uint8))[:-1]), "3 bytes, and its head says (4,)"),
        (gzip.compress(b"\0\0\x08\3\0"), "its head is cut off"),
        (gzip.compress(bytes(999))[:-9], "ended before"),
    ],
    # The packed bytes tell when they were packed; a test's name must not.
    ids=["no gzip", "no numbers", "too few", "no head", "cut off"],
)
def test_a_broken_file_is_named_with_what_is_wrong(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(content)

    with pytest.raises(ValueError, match=r"x\.gz") as caught:
        idx.read(tmp_path, "x.gz")
    assert words in str(caught.value)


def test_the_digits_are_written_once_and_no_test_digit_is_trained_on(tmp_path: Path) -> None:
    digits.main(tmp_path)
    before = (tmp_path / idx.TRAIN_LABELS).stat().st_mtime_ns
    digits.main(tmp_path)
    train, test = idx.read(tmp_path, idx.TRAIN_IMAGES), idx.read(tmp_path, idx.TEST_IMAGES)

    assert (tmp_path / idx.TRAIN_LABELS).stat().st_mtime_ns == before
    assert (train.shape, test.shape) == ((1437, 8, 8), (360, 8, 8))
    assert int(train.max()) == 255
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
