"""A script or a command as a job: its folder is uploaded, its requirements.txt installed, its outputs/ fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs import spec
from orchestrator.jobs.spec import JobOptions, JobSpec
from orchestrator.jobs.tasks import ResourceOptions

REQUIREMENTS = "requirements.txt"
OUTPUTS = ("outputs",)
EXCLUDED = ("runs",)
"""Never uploaded with a script: fetched results."""


@dataclass(frozen=True)
class ScriptJob:
    """A script or a command without a ``job.ini``.

    :param text: as it was typed, for hints.
    :param folder: what is uploaded; the command's working directory.
    :param command: shell command, on one VM or on each of several.
    :param packages: Python packages that it needs besides those of ``requirements.txt``.
    """

    text: str
    folder: Path
    command: str
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the job: the folder's, as with a ``job.ini`` there."""
        return spec.job_name(self.folder / "job.ini")

    @property
    def requirements(self) -> str:
        """Name of the requirements file; empty without one."""
        return REQUIREMENTS if (self.folder / REQUIREMENTS).is_file() else ""

    def spec(self, *, runtime: str = "") -> JobSpec:
        """Return it as a job.

        :param runtime: ``docker`` to run it in a container; ``venv`` or empty for a virtual environment.
        :raises UsageError: it needs something that does not exist.
        """
        if runtime == "docker" and not (self.folder / "Dockerfile").is_file():
            fix = NextStep("Job", "init", self.text) + "  writes a job.ini, where image names a container"
            raise UsageError("[job] runtime = docker, and no Dockerfile beside it", where=self.text, fix=fix)
        options = JobOptions(
            runtime=runtime or "venv",
            requirements=self.requirements,
            single=self.command,
            multi=self.command,
            outputs=OUTPUTS,
            exclude=EXCLUDED,
        )
        return JobSpec(self.name, self.folder, options, ResourceOptions(), named=self.text, packages=self.packages)

    def job_file(self) -> str:
        """Return the ``job.ini`` that stands for it."""
        requirements = f"requirements = {self.requirements}\n" if self.requirements else ""
        excluded = "".join(f"    {name}\n" for name in EXCLUDED)
        packages = f"setup = python -m pip install {' '.join(self.packages)}\n" if self.packages else ""
        commands = f"single = {self.command}\nmulti = {self.command}\n"
        header = f"# {self.name}: every setting is in docs/jobs.md\n[job]\n"
        return f"{header}{requirements}{packages}{commands}outputs = {OUTPUTS[0]}\nexclude =\n{excluded}"


JobSource = Path | ScriptJob
"""A job: its folder or .ini file, or a script."""
