"""Content of an upload in chunks, compressed once for all hosts."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.install.parcel import CHUNK_BYTES, Parcel, compress
from orchestrator.install.upload import scan

EVERY = base64.b64encode(b"\xff" * 100).decode()


def received(parcel: Parcel, bitmap: str = EVERY) -> bytes:
    """Return the contents as a host reads them."""
    content = b""
    for _, frame in parcel.frames(parcel.requested(bitmap), REAL_CLOCK):
        line, _, data = frame.partition(b"\n")
        length, form = line.split()
        assert int(length) == len(data)
        content += zlib.decompress(data) if form == b"zlib" else data
    return content


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 2000) | st.integers(200_000, 1_300_000), max_size=6))
def test_any_sizes_arrive_in_the_order_of_the_list(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """Compressible or not; equal contents once."""
    folder = tmp_path_factory.mktemp("sizes")
    for number, size in enumerate(sizes):
        (folder / f"f{number}").write_bytes(os.urandom(size) if number % 2 else bytes([number]) * size)
        (folder / f"f{number}-copy").write_bytes((folder / f"f{number}").read_bytes())
    upload = scan("p", folder, "x")
    unique = {file.digest: file.path.read_bytes() for file in upload.files}

    assert received(Parcel(upload, folder.parent)) == b"".join(unique.values())


def test_only_requested_files_are_sent(tmp_path: Path) -> None:
    """The lowest bit of the first byte is the first file; numbers that no file has are ignored."""
    for number in range(12):
        (tmp_path / f"f{number:02}").write_bytes(b"%d" % number)
    parcel = Parcel(scan("p", tmp_path, "x"), tmp_path)

    assert received(parcel, base64.b64encode(bytes([0b10, 0xFF])).decode()) == b"1891011"


def test_chunks_are_compressed_once_and_bounded(tmp_path: Path) -> None:
    """A second host gets the same bytes, although the file has changed since."""
    (tmp_path / "table").write_bytes(b"1,2,3\n" * 500_000)
    parcel = Parcel(scan("p", tmp_path, "x"), tmp_path)
    first = [frame for _, frame in parcel.frames(parcel.requested(EVERY), REAL_CLOCK)]
    (tmp_path / "table").write_bytes(b"4,5,6\n" * 500_000)

    assert [frame for _, frame in parcel.frames(parcel.requested(EVERY), REAL_CLOCK)] == first
    assert max(chunk.size_bytes for chunk in parcel.requested(EVERY)) == CHUNK_BYTES
    assert os.listdir(tmp_path) == ["table"]


def test_what_is_dense_already_is_not_compressed() -> None:
    assert compress(os.urandom(100_000)) == b""
    assert len(compress(b"a line of text\n" * 10_000)) < 20_000


@pytest.mark.parametrize(("mb_per_s", "is_slow"), [(5, True), (1000, False)])
def test_a_connection_faster_than_compression_gets_the_rest_as_it_is(
    tmp_path: Path, mb_per_s: float, is_slow: bool
) -> None:
    """Which of the two is faster shows once the buffers of the connection are full."""
    now, compression_s = 0.0, CHUNK_BYTES / 50e6

    def monotonic() -> float:
        nonlocal now
        now += compression_s
        return now

    (tmp_path / "hex").write_bytes(b"".join(os.urandom(CHUNK_BYTES // 2).hex().encode() for _ in range(24)))
    parcel = Parcel(scan("p", tmp_path, "x"), tmp_path)
    forms = []
    for _, frame in parcel.frames(parcel.requested(EVERY), Clock(monotonic=monotonic)):
        # The next reading is the end of the time in which this frame was sent.
        now += len(frame) / (mb_per_s * 1e6) - compression_s
        forms.append(frame.partition(b"\n")[0].split()[1])

    assert len(forms) == 24
    assert forms[:5] == [b"zlib"] * 5
    assert forms[-10:] == [b"zlib" if is_slow else b"raw"] * 10


def test_without_room_for_the_temporary_file_chunks_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"1,2,3\n" * 1000)
    parcel = Parcel(scan("p", tmp_path, "x"), tmp_path / "missing")

    assert received(parcel) == b"1,2,3\n" * 1000


@pytest.mark.parametrize("bitmap", ["", "!", "AAA", "é" * 8, "A" * 5])
def test_a_request_in_another_format_is_an_error_or_empty(tmp_path: Path, bitmap: str) -> None:
    (tmp_path / "a").write_text("a")
    parcel = Parcel(scan("p", tmp_path, "x"), tmp_path)
    if not bitmap:
        assert parcel.requested(bitmap) == []
        return
    with pytest.raises(ValueError):  # noqa: PT011 - of base64, whose texts differ between versions
        parcel.requested(bitmap)
