"""The workspace: settings follow the file, and the session follows the settings."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConfigError, UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.verbs import config as verbs
from orchestrator.interface.workspace import Workspace, find_config


class Session:
    """Records when it is closed."""

    opened: ClassVar[list[Session]] = []

    def __init__(self, settings: Any, **options: Any) -> None:
        self.settings = settings
        self.options = options
        self.is_closed = False
        self.opened.append(self)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def config(tmp_path: Path) -> Path:
    Session.opened.clear()
    (tmp_path / "job").mkdir()
    (tmp_path / "job/job.ini").write_text("[job]\nsingle = true\n")
    path = tmp_path / "config.ini"
    write(path, 2)
    return path


def write(path: Path, count: int | str) -> None:
    path.write_text(f"[cluster]\ncount = {count}\n[job]\nrun = {path.parent / 'job'}\n")


def workspace(config: Path) -> Workspace:
    return Workspace(config, Console(), REAL_CLOCK, session_factory=Session, home=config.parent)  # type: ignore[arg-type]


def test_a_changed_file_is_read_again_and_opens_a_new_session(config: Path) -> None:
    space = workspace(config)
    first = space.session()
    closed: list[str] = []
    space.close_later(lambda: closed.append("tunnel"))
    assert space.session() is first

    write(config, 345)
    assert space.session() is not first
    assert space.settings().cluster.count == 345
    assert (closed, Session.opened[0].is_closed) == (["tunnel"], True)


def test_a_file_that_changes_nothing_keeps_the_session(config: Path) -> None:
    space = workspace(config)
    first = space.session()
    config.write_text(config.read_text() + "\n\n")

    assert space.session() is first


def test_mistakes_leave_the_earlier_settings(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = workspace(config)
    space.settings()
    write(config, "many")

    assert space.settings().cluster.count == 2
    assert capsys.readouterr().err.endswith("1 mistake. The earlier settings stay.\n")
    assert space.settings().cluster.count == 2
    assert capsys.readouterr().err == ""


def test_mistakes_at_the_first_reading_are_an_error(config: Path) -> None:
    write(config, "many")

    with pytest.raises(ConfigError):
        workspace(config).settings()


def test_another_file_is_used_only_when_it_is_valid(config: Path, tmp_path: Path) -> None:
    space, other = workspace(config), tmp_path / "other.ini"
    write(other, "many")
    with pytest.raises(ConfigError):
        space.use_config(other)
    assert (space.config, space.settings().cluster.count) == (config, 2)

    write(other, 7)
    space.use_config(other)
    assert (space.config, space.settings().cluster.count) == (other, 7)


def test_the_config_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no config file here") as caught:
        find_config(tmp_path)
    assert str(caught.value.fix).startswith('Config("init")  writes one')

    (tmp_path / "config.ini").touch()
    assert find_config(tmp_path) == tmp_path / "config.ini"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.ini").touch()
    assert find_config(tmp_path) == tmp_path / "config/config.ini"


def test_a_bug_is_one_line_and_a_private_file(config: Path) -> None:
    error = workspace(config).report_bug(KeyError("x"))

    assert str(error) == f"KeyError: 'x' (a bug in Stratus)\n  traceback: {config.parent / 'last-error.txt'}"
    assert (config.parent / "last-error.txt").stat().st_mode & 0o077 == 0


def test_a_full_disk_of_this_computer_is_no_bug(config: Path) -> None:
    error = workspace(config).report_bug(OSError(errno.ENOSPC, "No space left on device", "runs/x/record.json"))

    assert str(error) == "runs/x/record.json: No space left on device on this computer"
    assert not (config.parent / "last-error.txt").exists()


def test_warnings_are_printed_once_until_they_change_and_at_every_check(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[aws]\nsweep = all\n" + config.read_text())
    workspace(config).settings()
    assert "sweep: is now called terminate_regions" in capsys.readouterr().err

    config.write_text("# a line above\n" + config.read_text())
    workspace(config).settings()
    assert capsys.readouterr().err == ""

    space = workspace(config)
    verbs.check(space)
    verbs.check(space)
    shown = capsys.readouterr()
    assert shown.err.count("is now called") == 1
    assert "config.ini:3:" in shown.err


def test_a_check_that_finds_mistakes_ends_with_their_number(config: Path) -> None:
    write(config, "many")
    with pytest.raises(ConfigError) as caught:
        verbs.check(workspace(config))
    assert str(caught.value).splitlines()[-1] == "1 mistake."


def test_hints_of_config_are_python_at_the_prompt(config: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean check") as caught:
        verbs.config(workspace(config), "chek")
    assert str(caught.value.fix).split("  ")[:2] == ['Config("check")', 'Config("init")']
    with pytest.raises(UsageError, match="no such file"):
        verbs.config(workspace(config), use=str(tmp_path / "other.ini"))


def test_settings_of_a_file_with_mistakes_end_vms_and_serve_nothing_else(config: Path) -> None:
    write(config, "many")
    opened = workspace(config)

    opened.session(files=False, only_ending=True)
    for options in ({}, {"files": False}):
        with pytest.raises(ConfigError, match="1 mistake"):
            opened.session(**options)
    opened.session(files=False, only_ending=True)
    assert len(Session.opened) == 1
    write(config, 3)
    assert opened.settings().cluster.count == 3
    write(config, "many")
    assert opened.settings(files=False, only_ending=True).cluster.count == 3
