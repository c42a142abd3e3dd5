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


def replace(folder: Path, *, digest: str = "", later_s: float = 0) -> None:
    """Replace the kept digests, and the moment at which the files were read."""
    for path in folder.glob("*.json"):
        document = json.loads(path.read_text())
        for facts in document.values():
            facts[-2:] = [facts[-2] + int(later_s * 1e9), digest or facts[-1]]
        path.write_text(json.dumps(document))


def test_a_kept_digest_saves_reading_the_file(file: Path, tmp_path: Path) -> None:
    assert digest(file, tmp_path / "hashes") == hashlib.sha256(b"1" * SIZE_BYTES).hexdigest()
    replace(tmp_path / "hashes", digest="kept", later_s=60)

    assert digest(file, tmp_path / "hashes") == "kept"


def test_a_change_is_noticed_although_size_and_time_are_as_before(file: Path, tmp_path: Path) -> None:
    """Programs can set the time of change back, but not ctime."""
    status = file.stat()
    digest(file, tmp_path / "hashes")
    file.write_bytes(b"2" * SIZE_BYTES)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert digest(file, tmp_path / "hashes") == hashlib.sha256(b"2" * SIZE_BYTES).hexdigest()


def test_a_file_read_at_the_moment_of_its_change_is_read_again(file: Path, tmp_path: Path) -> None:
    """A second change at that moment would have the same time stamp."""
    right = digest(file, tmp_path / "hashes")
    replace(tmp_path / "hashes", digest="kept", later_s=-60)

    assert digest(file, tmp_path / "hashes") == right
    replace(tmp_path / "hashes", digest="kept", later_s=60)
    assert digest(file, tmp_path / "hashes") == "kept"


def test_whole_seconds_are_no_exact_time() -> None:
    """A file system that counts seconds gives all changes within one the same time stamp."""
    second = 1_000_000_000

    assert file_hashes.is_settled(7 * second + 1, 7 * second + 2)
    assert not file_hashes.is_settled(7 * second + 1, 7 * second + 1)
    assert not file_hashes.is_settled(7 * second, 9 * second)
    assert file_hashes.is_settled(7 * second, 9 * second + 1)


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', "{damaged"])
def test_damaged_files_and_folders_are_no_error(file: Path, tmp_path: Path, text: str) -> None:
    right = digest(file, tmp_path / "hashes")
    for path in (tmp_path / "hashes").glob("*.json"):
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

    assert len(list(folder.glob("*.json"))) == file_hashes.MAX_SOURCES
    assert not (folder / "0.json").exists()
