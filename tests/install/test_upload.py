"""Parcels: folders that travel to hosts."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.install.upload import Upload, scan, stream_tar


def unpacked(goods: Upload) -> dict[str, bytes]:
    """Read a parcel's stream as the host's script does: length, bytes, length, bytes, 0."""
    data, whole = b"".join(stream_tar(goods)), b""
    while True:
        line, _, data = data.partition(b"\n")
        if (size := int(line)) == 0:
            assert data == b""
            break
        whole, data = whole + data[:size], data[size:]
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def test_a_folder_arrives_with_every_byte(tmp_path: Path) -> None:
    """Small files, empty ones, and one far larger than a chunk come out as they went in."""
    content = {"a.py": b"print(1)\n", "deep/er/b": b"", "big.bin": os.urandom(3_500_001)}
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)

    assert unpacked(scan("p", tmp_path, "x")) == content


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 2000), max_size=8))
def test_any_sizes_make_a_readable_archive(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """Padding is right for every size."""
    folder = tmp_path_factory.mktemp("sizes")
    content = {f"f{number}": os.urandom(size) for number, size in enumerate(sizes)}
    for name, data in content.items():
        (folder / name).write_bytes(data)

    assert unpacked(scan("p", folder, "x")) == content


def test_a_single_file_is_a_parcel_too(tmp_path: Path) -> None:
    """It arrives under its own name."""
    (tmp_path / "scene.h5").write_bytes(b"data")

    assert unpacked(scan("p", tmp_path / "scene.h5", "x")) == {"scene.h5": b"data"}


def test_caches_and_what_is_named_stay_behind(tmp_path: Path) -> None:
    """Bytecode never travels; data and outputs go their own way."""
    for name in ("run.py", "__pycache__/run.pyc", "data/scene.h5", "outputs/old.json", "sub/data/kept"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert sorted(unpacked(scan("p", tmp_path, "x", excluded=("data", "outputs")))) == ["run.py", "sub/data/kept"]


def test_the_digest_follows_content_and_not_the_clock(tmp_path: Path) -> None:
    """A touched file is the same, an edited one of the same size is not."""
    file = tmp_path / "a"
    file.write_text("one")
    before = scan("p", tmp_path, "x").digest
    os.utime(file, (1, 1))
    touched = scan("p", tmp_path, "x").digest
    file.write_text("two")

    assert touched == before
    assert scan("p", tmp_path, "x").digest != before


def test_nothing_there_is_said(tmp_path: Path) -> None:
    """A folder that does not exist is an error, not an empty parcel."""
    with pytest.raises(FileNotFoundError):
        scan("p", tmp_path / "nowhere", "x")
