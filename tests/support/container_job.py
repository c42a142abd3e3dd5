"""A job whose runtime is docker."""

from __future__ import annotations

from pathlib import Path

DOCKERFILE = "FROM x\nCOPY need.txt extra.txt /job/\nCOPY . .\n"


def write_container_job(folder: Path, text: str = "", **files: str) -> Path:
    """Write the job's folder.

    :param text: more lines of its section [job].
    :param files: content by name, ``__`` for a dot.
    """
    folder.mkdir(exist_ok=True)
    (folder / "job.ini").write_text(f"[job]\nruntime = docker\nsingle = true\n{text}")
    for name, content in ({"Dockerfile": DOCKERFILE} | files).items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder
