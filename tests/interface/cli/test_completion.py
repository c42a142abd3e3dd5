"""Completion scripts for bash, zsh and fish."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.interface.cli import completion
from orchestrator.interface.cli.commands import commands
from orchestrator.interface.verbs.registry import default_registry

COMMANDS = commands(default_registry(), "stratus")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_one_that_its_shell_can_read(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(completion.script(shell, COMMANDS))
    if shutil.which(shell) is None:
        assert "terminate" in script.read_text()
        return
    assert subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, timeout=20).stderr == ""


def completed(folder: Path, *typed: str) -> set[str]:
    script = folder / "stratus.bash"
    script.write_text(completion.script("bash", COMMANDS))
    line = " ".join(f"'{word}'" for word in typed)
    ask = f'source {script}; COMP_WORDS=({line}); COMP_CWORD={len(typed) - 1}; _stratus; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], cwd=folder, capture_output=True, text=True, timeout=20)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ter"], {"terminate"}),
        (["--config", "x.ini", "run", "--m"], {"--multi"}),
        (["config", "ch"], {"check"}),
        (["recover", ""], {"finish", "terminate", "-h", "--help", "--output"}),
        (["killall", "--o"], {"--output"}),
        (["--output", ""], {"text", "json"}),
        (["--l"], {"--local"}),
        (["killa"], {"killall"}),
        (["inst"], {"install", "instance-role", "instance-types"}),
        (["instances"], {"instances"}),
        (["run", "--job", "ex"], {"examples"}),
    ],
)
def test_bash_completes_verbs_their_options_words_and_folders(
    tmp_path: Path, typed: list[str], offered: set[str]
) -> None:
    (tmp_path / "examples").mkdir()

    assert completed(tmp_path, "stratus", *typed) == offered
