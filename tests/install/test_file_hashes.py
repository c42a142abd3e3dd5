"""Digests of local files that are kept between calls."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from orchestrator.install import file_hashes
from orchestrator.install.file_hashes import FileHashes

SIZE_BYTES = 2 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is large enough."""
    path = tmp_path / "source/weights"
    path.parent.mkdir()
    path.write_bytes(b"1" * SIZE_BYTES)
    return path


def digest(path: Path, folder: Path | None) -> str:
    """Return the digest as an upload asks for it."""
    with FileHashes(path.parent, folder) as hashes:
        return hashes.digest(path, os.lstat(path))


def age(folder: Path, *, digest: str = "") -> None:
    """Make kept digests older than the margin, and replace them."""
    for path in folder.iterdir():
        document = json.loads(path.read_text())
        path.write_text(json.dumps({name: [*facts[:-1], digest or facts[-1]] for name, facts in document.items()}))
        later = path.stat().st_mtime + 10
        os.utime(path, (later, later))


def test_a_kept_digest_saves_reading_the_file(file: Path, tmp_path: Path) -> None:
    assert digest(file, tmp_path / "hashes") == hashlib.sha256(b"1" * SIZE_BYTES).hexdigest()
    age(tmp_path / "hashes", digest="kept")

    assert digest(file, tmp_path / "hashes") == "kept"


def test_a_change_is_noticed_although_size_and_time_are_as_before(file: Path, tmp_path: Path) -> None:
    """Programs can set the time of change back, but not ctime."""
    status = file.stat()
    digest(file, tmp_path / "hashes")
    age(tmp_path / "hashes")
    file.write_bytes(b"2" * SIZE_BYTES)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert digest(file, tmp_path / "hashes") == hashlib.sha256(b"2" * SIZE_BYTES).hexdigest()


def test_a_digest_kept_at_the_time_of_the_change_is_not_trusted(file: Path, tmp_path: Path) -> None:
    """A second change at that moment would have the same time stamp."""
    right = digest(file, tmp_path / "hashes")
    (path,) = (tmp_path / "hashes").iterdir()
    path.write_text(path.read_text().replace(right, "kept"))

    assert digest(file, tmp_path / "hashes") == right


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', "{damaged"])
def test_damaged_files_and_folders_are_no_error(file: Path, tmp_path: Path, text: str) -> None:
    right = digest(file, tmp_path / "hashes")
    for path in (tmp_path / "hashes").iterdir():
        path.write_text(text)
    (tmp_path / "occupied").write_text("")

    assert digest(file, tmp_path / "hashes") == digest(file, tmp_path / "occupied") == digest(file, None) == right


def test_digests_of_old_sources_are_dropped(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hashes"
    folder.mkdir()
    for number in range(file_hashes.MAX_SOURCES + 5):
        (folder / f"{number}.json").write_text("{}")
        os.utime(folder / f"{number}.json", (number, number))
    digest(file, folder)

    assert len(list(folder.iterdir())) == file_hashes.MAX_SOURCES
    assert not (folder / "0.json").exists()
