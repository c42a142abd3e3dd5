"""What an install brings: every file that the packages need, and one version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from tests.support.paths import ROOT


def ask(*words: str) -> str:
    done = subprocess.run([sys.executable, "setup.py", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_version_is_said_in_one_place() -> None:
    assert ask("--version") == orchestrator.__version__


@pytest.mark.parametrize("package", ["orchestrator", "localcloud"])
def test_every_file_of_a_package_is_installed(package: str, tmp_path: Path) -> None:
    ask("-q", "build_py", "--build-lib", str(tmp_path))

    def files(top: Path) -> set[str]:
        found = (path.relative_to(top) for path in (top / package).rglob("*") if path.is_file())
        return {str(path) for path in found if "__pycache__" not in path.parts}

    assert files(tmp_path) == files(ROOT)
    assert (tmp_path / "run_interface.py").is_file()


def test_scripts_stay_executable_when_installed(tmp_path: Path) -> None:
    ask("-q", "build_py", "--build-lib", str(tmp_path))

    scripts = [path for path in ROOT.glob("localcloud/machine/bin/*") if path.stat().st_mode & 0o100]
    assert all((tmp_path / path.relative_to(ROOT)).stat().st_mode & 0o100 for path in scripts)
