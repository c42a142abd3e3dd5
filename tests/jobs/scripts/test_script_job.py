"""Scripts as jobs, and the job.ini that stands for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs import spec
from orchestrator.jobs.scripts.script_job import ScriptJob


def script(folder: Path, command: str = "python train.py") -> ScriptJob:
    """Return a script in a folder that has requirements."""
    (folder / "train.py").touch()
    (folder / "requirements.txt").write_text("numpy\n")
    return ScriptJob("train.py", folder, command)


@pytest.mark.parametrize(
    "command",
    ["python train.py", "python 'my script.py' --x=1 # ; ${STRATUS_HOST} $HOME \"a b\"", "sh -c 'echo = [x]'"],
)
def test_the_job_file_stands_for_the_same_job(tmp_path: Path, command: str) -> None:
    job = script(tmp_path, command)
    (tmp_path / "job.ini").write_text(job.job_file())

    assert spec.load(tmp_path, {}) == replace(job.spec(), named=str(tmp_path), file="job.ini")


def test_requirements_beside_it_are_taken_and_secrets_and_results_are_not_uploaded(tmp_path: Path) -> None:
    job = script(tmp_path).spec()

    assert job.requirements_text == "numpy\n"
    assert set(job.excluded_names) == {"outputs", "runs"}
    assert job.name == spec.job_name(tmp_path / "job.ini")


def test_a_container_needs_a_dockerfile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Dockerfile"):
        script(tmp_path).spec(runtime="docker")
