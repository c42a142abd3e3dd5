"""Ctrl-C while the program starts: one line and exit code 130, whichever way it was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HOOK = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""
"""Ctrl-C at the moment at which a module is imported first."""

SCRIPT = "import sys\nfrom run_interface import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
"""The command ``stratus``, as pip generates it."""

ENTRIES = {
    "stratus": ["stratus"],
    "run_interface.py": [str(ROOT / "run_interface.py")],
    "python -m": ["-m", "orchestrator"],
    "rehearse": [str(ROOT / "run_interface.py"), "rehearse", "calm.ini"],
}


@pytest.mark.parametrize("module", ["orchestrator.interface.cli.main", "orchestrator.interface.cli.commands"])
@pytest.mark.parametrize("entry", [*ENTRIES])
def test_ctrl_c_during_imports_is_one_line(entry: str, module: str, tmp_path: Path) -> None:
    done = start_with_ctrl_c_at(module, ENTRIES[entry], tmp_path)

    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "Interrupted.")


@pytest.mark.parametrize("module", ["orchestrator.interface.workspace", "botocore.session"])
def test_ctrl_c_during_the_imports_of_a_verb_is_one_line(module: str, tmp_path: Path) -> None:
    done = start_with_ctrl_c_at(module, [*ENTRIES["python -m"], "--config", "config.ini", "status"], tmp_path)

    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "Interrupted.")


def start_with_ctrl_c_at(module: str, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder of its own, interrupted when it imports a module."""
    (folder / "sitecustomize.py").write_text(HOOK.format(module=module))
    (folder / "stratus").write_text(SCRIPT)
    (folder / "config.ini").write_text("[cluster]\nname = ml\n")
    (folder / "calm.ini").write_text("[scenario]\n")
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "STRATUS_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
