"""The project that ``stratus config init`` writes: valid as it is, and never over what exists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config import project, settings
from orchestrator.jobs import spec


def test_the_project_is_valid_and_its_job_runs_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "config/config.ini"
    job = project.write(config).job

    loaded = settings.load(config, {})
    assert (Path(loaded.job.run), loaded.warnings) == (job, ())
    command = spec.load(job, {}).options.single
    env = {**os.environ, "STRATUS_RANK": "1", "STRATUS_SIZE": "2", "PATH": f"{Path(sys.executable).parent}:/bin"}
    done = subprocess.run(command, shell=True, cwd=job, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("rows 1, 6, ... held out")
    assert json.loads((job / "outputs/metrics.json").read_text())["slope"] == pytest.approx(1.7, abs=0.1)


def test_nothing_that_exists_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "first_job").mkdir()
    (tmp_path / "first_job/train.py").write_text("print('mine')\n")
    assert project.write(tmp_path / "config.ini").is_job_kept
    assert [path.name for path in (tmp_path / "first_job").iterdir()] == ["train.py"]

    (tmp_path / "config.ini").write_text("[cluster]\ncount = 3\n")
    with pytest.raises(FileExistsError):
        project.write(tmp_path / "config.ini")
    assert settings.load(tmp_path / "config.ini", {}).cluster.count == 3
