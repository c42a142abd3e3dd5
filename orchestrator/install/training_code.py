"""Code channel of a training job: everything that its containers need to run a job as VMs run it."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.install import upload
from orchestrator.install.upload import Upload
from orchestrator.jobs import results, runner
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.spec import JobSpec

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings

SCRIPTS = ("training_host.sh", "training_host.py", "training_files.py", "training_environment.py")
TRAIN = "train.sh"
ARCHIVE = "run.tar.gz"

# Class E, which no network uses (RFC 1112): the containers put the real addresses in their place.
_PLACEHOLDERS = 240 << 24


@dataclass(frozen=True)
class CodeChannel:
    """Files of the channel `code`.

    :param left_out: files of the job's folder that look like credentials, and stay on this computer.
    """

    files: Mapping[str, bytes]
    left_out: tuple[str, ...]


def placeholder_hosts(count: int) -> list[Host]:
    """Return the hosts that a training job is planned with: names as in SageMaker, placeholders for addresses."""
    return [_host(f"algo-{number}", _PLACEHOLDERS + number) for number in range(1, count + 1)]


def _host(name: str, number: int) -> Host:
    address = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    return Host(name, address, address, port=0, user="", key_file=Path(), host_key="", identity=name)


def in_container(job: JobSpec) -> JobSpec:
    """Return a job as its containers run it: the image is around it, not started by it.

    :raises UsageError: its environment cannot be made in a container.
    """
    if job.runtime == "venv" and job.options.environment:
        raise UsageError(
            f"environment = {job.options.environment}: conda environments are not made in training containers",
            where=str(job.folder),
            fix="use requirements, or runtime = docker with an image that has the packages",
        )
    # Channels bring the data.
    return replace(job, options=replace(job.options, runtime="venv"), data=())


def scan(job: JobSpec) -> Upload:
    """Return the files of a job's folder that travel, by the rules of an upload to a VM."""
    return upload.scan(
        "code",
        job.folder,
        job.code_path,
        excluded=job.excluded_names,
        allowed=job.allowed_files,
        withheld=job.withheld_files,
    )


def pack(job: JobSpec, plan: JobPlan, links: Mapping[str, str], options: InstallSettings) -> CodeChannel:
    """Return the channel of a run.

    :param job: with its own runtime: a container needs no requirements.
    :param plan: of the run on `placeholder_hosts`.
    :param links: channel -> name in the working directory.
    """
    code = scan(job)
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz", compresslevel=6) as archive:
        for file in code.files:
            archive.add(file.path, f"workdir/{file.name}", recursive=False)
        for name, data in _run_files(plan):
            _add(archive, name, data)
        _add(archive, "run.json", json.dumps(_facts(job, plan, links, options), sort_keys=True).encode())
    scripts = {name: remote_scripts.text(f"sagemaker/{name}").encode() for name in SCRIPTS}
    # Tuning takes no command: `train` of the image runs the script of this name.
    scripts[TRAIN] = scripts[SCRIPTS[0]]
    return CodeChannel({**scripts, ARCHIVE: body.getvalue()}, code.left_out)


def _run_files(plan: JobPlan) -> Iterator[tuple[str, bytes]]:
    files = runner.files_of_run(plan)
    yield from files.shared.items()
    for host, own in files.own.items():
        for name, data in own.items():
            yield f"own/{host}/{name}", data


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o700 if name.startswith("bin/") else 0o600
    archive.addfile(info, io.BytesIO(data))


def _facts(job: JobSpec, plan: JobPlan, links: Mapping[str, str], options: InstallSettings) -> dict[str, object]:
    facts: dict[str, object] = {
        "run": plan.run_id,
        "job": job.name,
        "hosts": {host.name: host.private_address for host in placeholder_hosts(len(plan.hosts))},
        "links": dict(links),
        "outputs": results.local_names(job.options.outputs),
        "checkpoints": job.training_checkpoints,
    }
    if job.runtime == "venv":
        facts["requirements"], facts["setup"] = job.requirements_text, job.options.setup
        facts["python"], facts["system_packages"] = job.options.python, job.options.system_packages
        facts["apt_packages"] = job.options.apt_packages
        facts["pip_options"] = shlex.split(options.pip_options)
    return facts
