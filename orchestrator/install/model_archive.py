"""model.tar.gz of a run: its outputs, the job's code, and the inference server.

outputs/   what the run wrote, as it was fetched; ``load(folder)`` of predict.py gets this folder
code/      the job's folder, with predict.py or the server of ``[serve] command``
stratus/   serve.py and what it needs
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.install import upload
from orchestrator.jobs.managed.options import PREDICTOR
from orchestrator.jobs.spec import JobSpec

SCRIPTS = ("serve.sh", "serve.py", "serve_formats.py")
MAX_BYTES = 20 << 30
"""Size of what is packed: SageMaker's own limits begin at the disk of the smallest instances, 30 GiB."""


@dataclass(frozen=True)
class ModelArchive:
    """A packed model.

    :param digest: SHA-256 of its file, in hexadecimal.
    """

    path: Path
    digest: str
    size_bytes: int


def check(spec: JobSpec, run_folder: Path) -> None:
    """Check that a run can be served.

    :param run_folder: of the run on this computer.
    :raises UsageError: the job has no predict.py and no server of its own, or the run has no outputs here.
    """
    if not spec.serve.command and not (spec.folder / PREDICTOR).is_file():
        advice = "write predict.py with load(folder) and predict(model, data), or set [serve] command in job.ini"
        raise UsageError(f"{spec.folder} has no {PREDICTOR}, and its job.ini no [serve] command", fix=advice)
    if not any(_outputs(spec, run_folder)):
        matching = f" that match {', '.join(spec.serve.outputs)}" if spec.serve.outputs else ""
        fix = NextStep("FetchResults", run_folder.name) + "  fetches what the run wrote"
        raise UsageError(f"{run_folder / 'outputs'} has no files{matching}: there is no model to serve", fix=fix)


def pack(spec: JobSpec, run_folder: Path, file: Path) -> ModelArchive:
    """Write the archive of a run to a file; the same content has the same digest.

    :raises UsageError: the run cannot be served, or its files are larger than ``MAX_BYTES``.
    """
    check(spec, run_folder)
    members = dict(_members(spec, run_folder))
    if (total := sum(path.stat().st_size for path in members.values())) > MAX_BYTES:
        fix = "[serve] outputs in job.ini names the files that predictions need"
        raise UsageError(f"{run_folder / 'outputs'} and the code have {total >> 30} GiB: too much to serve", fix=fix)
    # No names and times of this computer's files: the archive of the same run is uploaded once.
    with (
        file.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for name, path in members.items():
            _add_file(tar, name, path)
        for name, data in _scripts(spec, run_folder).items():
            tar.addfile(_entry(name, len(data)), io.BytesIO(data))
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return ModelArchive(file, digest, file.stat().st_size)


def _members(spec: JobSpec, run_folder: Path) -> Iterator[tuple[str, Path]]:
    code = upload.scan(
        "code", spec.folder, "", excluded=spec.excluded_names, allowed=spec.allowed_files, withheld=spec.withheld_files
    )
    # A link could lead to any file of this computer.
    yield from ((f"code/{file.name}", file.path) for file in code.files if not file.link)
    yield from ((f"outputs/{name}", path) for path, name in _outputs(spec, run_folder))


def _outputs(spec: JobSpec, run_folder: Path) -> Iterator[tuple[Path, str]]:
    folder, patterns = run_folder / "outputs", spec.serve.outputs
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if (
            path.is_file()
            and not path.is_symlink()
            and (not patterns or any(_matches(name, pattern) for pattern in patterns))
        ):
            yield path, name


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern.rstrip('/')}/")


def _scripts(spec: JobSpec, run_folder: Path) -> dict[str, bytes]:
    facts = {"command": spec.serve.command, "job": spec.name, "run": run_folder.name}
    return remote_scripts.scripts(SCRIPTS, folder="stratus/") | {"stratus/serve.json": json.dumps(facts).encode()}


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    with path.open("rb") as content:
        tar.addfile(_entry(name, path.stat().st_size, path.stat().st_mode & 0o111), content)


def _entry(name: str, size_bytes: int, execute_bits: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o644 | execute_bits
    return info
