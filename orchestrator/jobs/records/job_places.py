"""Place of the job of a recorded run on this computer: its folder, and its .ini file there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.jobs import spec
from orchestrator.jobs.managed.options import PREDICTOR
from orchestrator.jobs.scripts.script_job import JobSource, ScriptJob
from orchestrator.jobs.storage.data_items import as_typed

if TYPE_CHECKING:
    from orchestrator.jobs.spec import JobSpec

FOLDER, FILE = "job_folder", "job_file"


def facts(job: JobSpec) -> Mapping[str, str]:
    """Return what the record of a run has about the place of its job."""
    return {FOLDER: os.path.abspath(job.folder), FILE: job.file}


def recorded(record: Mapping[str, Any], name: str) -> JobSource | None:
    """Return the job of a run by its record; None if that has no place, or the job is no longer there.

    :param name: of the job.
    """
    folder, file = record.get(FOLDER), record.get(FILE)
    # A user may edit the record.
    if not isinstance(folder, str) or not isinstance(file, str) or not Path(folder).is_dir():
        return None
    path = Path(folder)
    if Path(file).name != file or spec.job_name(path / (file or "job.ini")) != name:
        return None
    return _job_in(path, file) if not file or (path / file).is_file() else None


def nearby(name: str) -> JobSource | None:
    """Return the only job of a name in the working directory, or two levels below; None for none, or several."""
    jobs = [job for folder in _folders(Path.cwd()) if (job := _named(folder, name)) is not None]
    return jobs[0] if len(jobs) == 1 else None


def text(job: JobSource) -> str:
    """Return a job as it is typed."""
    return job.text if isinstance(job, ScriptJob) else str(job)


def _folders(top: Path) -> Iterator[Path]:
    for pattern in ("", "*", "*/*"):
        yield from (path for path in (sorted(top.glob(pattern)) if pattern else [top]) if path.is_dir())


def _named(folder: Path, name: str) -> JobSource | None:
    if spec.job_name(folder / "job.ini") != name:
        return None
    if (folder / "job.ini").is_file():
        return _job_in(folder, "job.ini")
    return _job_in(folder, "") if (folder / PREDICTOR).is_file() else None


def _job_in(folder: Path, file: str) -> JobSource:
    path = Path(as_typed(folder))
    if file:
        return path if file == "job.ini" else path / file
    return ScriptJob(str(path / PREDICTOR), path, f"python {PREDICTOR}")
