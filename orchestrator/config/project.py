"""A project to start from: a config file, and a small job with its data that runs as it is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import settings

FIRST_JOB = Path(__file__).parent / "first_job"


@dataclass(frozen=True)
class NewProject:
    """A config file that was written, and its job.

    :param job: folder of the job.
    :param is_job_kept: True if the folder existed already, and stays as it is.
    """

    job: Path
    is_job_kept: bool


def write(path: Path) -> NewProject:
    """Write a config file and the folder of its job.

    :param path: of the config file; the job's folder is where its relative paths start.
    :raises FileExistsError: the config file exists. A job's folder that exists stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Exclusive: between a check and the writing another process could create it.
    with path.open("x", encoding="utf-8") as file:
        file.write(settings.template({("job", "run"): FIRST_JOB.name}))
    job = settings.base_folder(path) / FIRST_JOB.name
    is_kept = job.exists()
    if not is_kept:
        # Not shutil.copy2, as in copytree by default: an installation may be read-only, and its files old.
        shutil.copytree(FIRST_JOB, job, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__"))
    return NewProject(job, is_kept)
