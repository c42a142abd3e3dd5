"""Pages whose address holds a secret, in a browser that is a program of the test."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from orchestrator.interface import browser
from tests.support.waiting import wait_until

URL = "http://192.0.2.1:8888/lab?token=c0ffee&x=<b>"


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which the user's browser writes what it is called with."""
    program, file = tmp_path / "browser", tmp_path / "arguments"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$*" >"{file}.new" && mv "{file}.new" "{file}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    return file


def test_the_browser_gets_a_file_that_only_this_user_reads_instead_of_the_address(arguments: Path) -> None:
    file = browser.open_page(URL, "JupyterLab on ml-0")
    wait_until(arguments.exists)

    assert file is not None
    assert arguments.read_text() == file.as_uri()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "url=http://192.0.2.1:8888/lab?token=c0ffee&amp;x=&lt;b&gt;" in file.read_text()


@pytest.mark.parametrize(("name", "value"), [("SSH_CONNECTION", "192.0.2.9 1 192.0.2.1 22"), ("DISPLAY", "")])
def test_without_windows_nothing_is_opened(
    arguments: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv(name, value)

    assert browser.open_page(URL, "JupyterLab on ml-0") is None
    assert not arguments.exists()
