"""Commands in scripts/: names, help and syntax."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COMMANDS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())
SHELL_FILES = [*COMMANDS, *sorted((ROOT / "scripts/lib").glob("*.sh")), ROOT / ".ci/run"]


def test_commands_are_executable_and_have_no_extension() -> None:
    assert [path.name for path in COMMANDS if path.suffix or "_" in path.name or not os.access(path, os.X_OK)] == []


@pytest.mark.parametrize("command", ["scripts/demo", "scripts/test", "python3 run_interface.py --local"])
def test_readme_shows_the_commands_that_a_newcomer_types(command: str) -> None:
    assert re.search(rf"(?m)^    {re.escape(command)}(  |$)", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.name)
def test_a_command_explains_itself_without_doing_anything(command: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [command, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env={"PATH": os.defpath},
    )

    assert done.stdout.strip()
    assert done.stderr == ""


@pytest.mark.parametrize("file", SHELL_FILES, ids=lambda path: path.name)
def test_shell_syntax(file: Path) -> None:
    subprocess.run(["sh", "-n", file], check=True, timeout=20)
