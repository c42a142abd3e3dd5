"""Sample data: a job's own command in an environment of its own, and nothing half-made."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.jobs import sample_data

JOB = "[job]\nsingle = true\ndata = data -> data\nsample = {sample}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    path.mkdir()
    return path


def create(folder: Path, sample: str) -> list[str]:
    """Run a sample command in an environment without packages; return its output."""
    (folder / "job.ini").write_text(JOB.format(sample=sample))
    lines: list[str] = []
    environments = folder.parent / "environments"
    sample_data.create(sample_data.load(folder, {}), environments, lines.append)
    return lines


def test_the_command_runs_in_the_jobs_folder_with_a_python_of_its_own(folder: Path) -> None:
    prints_prefix = 'mkdir data && python -c "import sys; print(sys.prefix)" | tee data/prefix'
    first, *lines = create(folder, prints_prefix)

    assert first.startswith("creating an environment for it (once): ")
    assert (folder / "data/prefix").read_text().splitlines() == lines
    assert Path(lines[0]).parent == folder.parent / "environments"

    (folder / "data/prefix").unlink()
    (folder / "data").rmdir()
    assert create(folder, prints_prefix) == lines


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("mkdir data && echo half > data/half && exit 3", "exit status 3"),
        ("mkdir data", "has not created"),
    ],
)
def test_what_a_failed_command_has_written_is_removed(folder: Path, sample: str, message: str) -> None:
    with pytest.raises(StratusError, match=message):
        create(folder, sample)
    assert not (folder / "data").exists()


def test_data_that_existed_before_stays_when_the_command_fails(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/own").write_text("measured")
    with pytest.raises(StratusError):
        create(folder, "echo more > data/more; exit 1")
    assert (folder / "data/own").read_text() == "measured"


def test_a_job_without_a_command_for_it(folder: Path) -> None:
    (folder / "job.ini").write_text("[job]\nsingle = true\n")
    with pytest.raises(UsageError, match="no command that creates sample data"):
        sample_data.load(folder, {})
