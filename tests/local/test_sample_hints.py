"""The hints for missing data of the examples, typed as they are printed, in an environment without their packages."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

JOBS = (
    "cloud_retrieval",
    "cloud_retrieval/granules.ini",
    "domain_adaptation",
    "domain_adaptation/sensors.ini",
)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_the_hint_for_missing_data_creates_it(job: str, tmp_path: Path) -> None:
    """It installs the packages of the example's generators with pip."""
    ignored = shutil.ignore_patterns("data", "outputs", "__pycache__")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=ignored)
    (tmp_path / "config.ini").write_text(f"[job]\nrun = examples/{job}\nruntime = venv\n")
    env = {**os.environ, "STRATUS_HOME": str(tmp_path / "home")}

    def stratus(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "run_interface.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500, check=False)

    # The folder that an interrupted command may have left does not pass for data.
    (tmp_path / "examples" / job.partition("/")[0] / "data/granules").mkdir(parents=True)
    checked = stratus("config", "check")
    assert checked.returncode == 2
    _, _, hint = checked.stderr.splitlines()[0].partition("to create sample data: ")
    done = stratus(*shlex.split(hint)[2:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert stratus("config", "check").returncode == 0
