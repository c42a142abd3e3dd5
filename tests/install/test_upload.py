"""Uploads of folders to hosts."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.install.upload import Upload, list_files, measure, scan, stream_tar


def unpack(upload: Upload) -> dict[str, bytes]:
    """Return the files of an upload, read as the host's script reads it: length, bytes, length, bytes, 0."""
    data, archive_bytes = b"".join(stream_tar(upload)), b""
    while True:
        line, _, data = data.partition(b"\n")
        if (size := int(line)) == 0:
            assert data == b""
            break
        archive_bytes, data = archive_bytes + data[:size], data[size:]
    with tarfile.open(fileobj=io.BytesIO(archive_bytes), mode="r:gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def test_a_folder_arrives_with_every_byte(tmp_path: Path) -> None:
    """Small files, empty ones, and one far larger than a chunk."""
    content = {"a.py": b"print(1)\n", "deep/er/b": b"", "big.bin": os.urandom(3_500_001)}
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)

    assert unpack(scan("p", tmp_path, "x")) == content


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 2000), max_size=8))
def test_any_sizes_make_a_readable_archive(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("sizes")
    content = {f"f{number}": os.urandom(size) for number, size in enumerate(sizes)}
    for name, data in content.items():
        (folder / name).write_bytes(data)

    assert unpack(scan("p", folder, "x")) == content


def test_a_single_file_can_be_uploaded(tmp_path: Path) -> None:
    """Under its own name."""
    (tmp_path / "scene.h5").write_bytes(b"data")

    assert unpack(scan("p", tmp_path / "scene.h5", "x")) == {"scene.h5": b"data"}


def test_caches_and_excluded_names_are_not_uploaded(tmp_path: Path) -> None:
    """Excluded names apply to the top of the folder only."""
    for name in ("run.py", "__pycache__/run.pyc", "data/scene.h5", "outputs/old.json", "sub/data/included"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert sorted(unpack(scan("p", tmp_path, "x", excluded=("data", "outputs")))) == ["run.py", "sub/data/included"]


def test_the_digest_depends_on_content_and_not_on_time(tmp_path: Path) -> None:
    """A touched file is unchanged, an edited one of the same size is not."""
    file = tmp_path / "a"
    file.write_text("one")
    before = scan("p", tmp_path, "x").digest
    os.utime(file, (1, 1))
    touched = scan("p", tmp_path, "x").digest
    file.write_text("two")

    assert touched == before
    assert scan("p", tmp_path, "x").digest != before


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """Not an empty upload."""
    with pytest.raises(FileNotFoundError):
        scan("p", tmp_path / "nowhere", "x")


def test_environments_caches_and_patterns_are_not_uploaded(tmp_path: Path) -> None:
    """Whatever an environment is called; a pattern applies at any depth."""
    for name in (
        "run.py",
        "env3/pyvenv.cfg",
        "env3/lib/x.py",
        ".git/HEAD",
        "node_modules/m.js",
        "a/big.ckpt",
        "a/b.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert [name for _, name in list_files(tmp_path, ("*.ckpt",))] == ["run.py", "a/b.py"]


def test_the_size_of_an_upload_is_known_without_reading_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "run.py").write_text("12345")
    with (tmp_path / "data/huge").open("wb") as file:
        file.truncate(10 << 30)

    size = measure(tmp_path)
    assert (size.files, size.total_bytes, dict(size.by_name)) == (2, (10 << 30) + 5, {"run.py": 5, "data": 10 << 30})
