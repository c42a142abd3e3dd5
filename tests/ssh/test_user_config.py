"""The Include line in the user's own SSH config: one line at the top, on request, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.ssh import user_config

TARGET = Path("/home/me/.local/share/stratus/ssh/config")
OWN = b"Host work\n    User me  # caf\xe9\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir()
    path = tmp_path / ".ssh/config"
    path.write_bytes(OWN)
    path.chmod(0o644)
    return path


def test_the_line_is_added_at_the_top_once_and_removed_again(config: Path) -> None:
    assert user_config.include(config, TARGET)
    assert not user_config.include(config, TARGET)

    mark, line, blank, rest = config.read_bytes().split(b"\n", 3)
    assert (mark[:1], line, blank, rest) == (b"#", f'Include "{TARGET}"'.encode(), b"", OWN)
    assert config.stat().st_mode & 0o777 == 0o644
    assert user_config.is_included(config, TARGET)

    assert user_config.exclude(config, TARGET)
    assert not user_config.exclude(config, TARGET)
    assert config.read_bytes() == OWN


def test_a_missing_file_is_created_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / ".ssh/config"
    user_config.include(path, TARGET)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_link_stays_a_link(config: Path, tmp_path: Path) -> None:
    dotfile = tmp_path / "dotfiles"
    config.rename(dotfile)
    config.symlink_to(dotfile)
    user_config.include(config, TARGET)

    assert config.is_symlink()
    assert dotfile.read_bytes().endswith(OWN)


def test_a_line_that_was_moved_is_removed_without_its_neighbors(config: Path) -> None:
    config.write_bytes(OWN + f'Include "{TARGET}"\nHost other\n'.encode())
    user_config.exclude(config, TARGET)

    assert config.read_bytes() == OWN + b"Host other\n"


@pytest.mark.parametrize("path", ['/a"b', "/a*", "/a%h", "/a\nHost x", "/${HOME}"])
def test_a_path_that_openssh_would_read_otherwise_is_refused(config: Path, path: str) -> None:
    with pytest.raises(UsageError, match="cannot be included"):
        user_config.include(config, Path(path))
    assert not user_config.is_included(config, Path(path))
    assert config.read_bytes() == OWN


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.mkdir()

    with pytest.raises(UsageError, match="cannot be read"):
        user_config.include(path, TARGET)


@pytest.mark.parametrize(
    "own",
    [
        b"Host a # x\xe2\x80\xa8y\n",
        b"Host a\r\n  User b\r\n",
        b"# a\x0cb\n",
        b"# a\rb\n",
        b"Host \xff\n\n",
        b"Host a",
        b"",
    ],
)
def test_lines_of_the_user_stay_as_they_are_whatever_is_in_them(config: Path, own: bytes) -> None:
    config.write_bytes(own)

    assert user_config.include(config, TARGET)
    assert config.read_bytes().endswith(own)
    assert user_config.exclude(config, TARGET)
    assert config.read_bytes() == own
