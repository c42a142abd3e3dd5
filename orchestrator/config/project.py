"""A project to start from: a config file, and a small job with its data that runs as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.config import settings

FIRST_JOB = Path(__file__).parent / "first_job"


def write(path: Path) -> Path:
    """Write a config file and the folder of its job; return the folder.

    :param path: of the config file; the job's folder is where its relative paths start.
    :raises FileExistsError: the config file exists. A job's folder that exists stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Exclusive: between a check and the writing another process could create it.
    with path.open("x", encoding="utf-8") as file:
        file.write(settings.template({("job", "run"): FIRST_JOB.name}))
    job = settings.base_folder(path) / FIRST_JOB.name
    if not job.exists():
        # Not shutil.copy2, as in copytree by default: an installation may be read-only, and its files old.
        shutil.copytree(FIRST_JOB, job, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__"))
    return job
