"""The files of the MXNet example; its training runs in tests/local/jobs/test_frameworks.py."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "examples/mnist_kvstore"))
import digits
import idx


@pytest.mark.parametrize("shape", [(5,), (3, 8, 8), (0, 2)])
def test_files_are_read_as_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx.pack(values)))

    assert np.array_equal(idx.read(tmp_path, "x.gz"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"\0\0\x09\1"), "not an IDX file of bytes"),
        (gzip.compress(idx.pack(np.zeros(4, np.uint8))[:-1]), "3 bytes of data, but the header says (4,)"),
        (gzip.compress(b"\0\0\x08\3\0"), "truncated header"),
        (gzip.compress(bytes(999))[:-9], "ended before"),
    ],
    # gzip stores the time of compression, which must not become part of the test's name.
    ids=["no gzip", "no numbers", "too few", "no header", "truncated"],
)
def test_a_broken_file_is_reported_with_its_problem(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(content)

    with pytest.raises(ValueError, match=r"x\.gz") as caught:
        idx.read(tmp_path, "x.gz")
    assert message in str(caught.value)


def test_the_digits_are_written_once_and_no_test_digit_is_used_for_training(tmp_path: Path) -> None:
    digits.main(tmp_path)
    before = (tmp_path / idx.TRAIN_LABELS).stat().st_mtime_ns
    digits.main(tmp_path)
    train, test = idx.read(tmp_path, idx.TRAIN_IMAGES), idx.read(tmp_path, idx.TEST_IMAGES)

    assert (tmp_path / idx.TRAIN_LABELS).stat().st_mtime_ns == before
    assert (train.shape, test.shape) == ((1437, 8, 8), (360, 8, 8))
    assert int(train.max()) == 255
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
