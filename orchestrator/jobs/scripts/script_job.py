"""A script or a command as a job: its folder is uploaded, its requirements.txt installed, its outputs/ fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs import spec
from orchestrator.jobs.spec import DataItem, JobOptions, JobSpec
from orchestrator.jobs.tasks import ResourceOptions

REQUIREMENTS = "requirements.txt"
EXCLUDED = ("runs", ".env", "*.pem")
"""Never uploaded with a script: fetched results, and what usually holds secrets."""

HEADER = """\
# {name}: a job of its own. All settings: docs/jobs.md
"""


@dataclass(frozen=True)
class ScriptJob:
    """A script or a command without a ``job.ini``.

    :param text: as it was typed, for hints.
    :param folder: what is uploaded; the command's working directory.
    :param command: shell command, on one VM or on each of several.
    :param data: as in ``job.ini``.
    :param outputs: folders that are fetched.
    """

    text: str
    folder: Path
    command: str
    data: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("outputs",)

    @property
    def requirements(self) -> str:
        """Name of the requirements file; empty without one."""
        return REQUIREMENTS if (self.folder / REQUIREMENTS).is_file() else ""

    @property
    def excluded(self) -> tuple[str, ...]:
        """Names and patterns that are not uploaded."""
        return tuple(name for name in EXCLUDED if name not in self.outputs)

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
            data=self.data,
            single=self.command,
            multi=self.command,
            outputs=self.outputs,
            exclude=self.excluded,
        )
        items = tuple(self._data_item(line) for line in self.data)
        for name in self.outputs:
            if not spec.is_inside(name):
                raise UsageError(f"outputs: {name!r} is outside the folder", where=self.text)
        name = spec.job_name(self.folder / "job.ini")
        return JobSpec(name, self.folder, options, ResourceOptions(), items, named=self.text)

    def _data_item(self, line: str) -> DataItem:
        item, problem = spec.parse_data(line, self.folder)
        if problem:
            raise UsageError(f"data: {problem}", where=self.text)
        return item

    def job_file(self) -> str:
        """Return the ``job.ini`` that stands for it.

        :raises UsageError: a value cannot be written there.
        """
        values = {
            "requirements": self.requirements,
            "single": self.command,
            "multi": self.command,
            "data": _lines(self.data),
            "outputs": _lines(self.outputs),
            "exclude": _lines(self.excluded),
        }
        for option in ("data", "outputs"):
            if re.search(r"(^|\s)[#;]|\$\{", values[option]):
                raise UsageError(f"{option}: #, ; and ${{ have a meaning in job.ini: rename it", where=self.text)
        settings = [f"{option} = {value}".rstrip() for option, value in values.items() if value]
        return HEADER.format(name=spec.job_name(self.folder / "job.ini")) + "\n".join(["[job]", *settings, ""])


def _lines(values: tuple[str, ...]) -> str:
    """Return values as an option takes them: one alone on its line, several on indented ones."""
    return values[0] if len(values) == 1 else "".join(f"\n    {value}" for value in values)
