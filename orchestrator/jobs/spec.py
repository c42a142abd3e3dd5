"""What a job is: a folder with a ``job.ini``, or another .ini file there, as a frozen record; or all its mistakes."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from orchestrator.config import ini, schema
from orchestrator.config import reference as config_reference
from orchestrator.config.schema import (
    FREE_FORM,
    SettingsReader,
    boolean,
    choice,
    command,
    integer,
    number,
    option,
    text,
    text_lines,
)

FRAMEWORKS = ("command", "dask", "horovod", "torchrun", "hostfile", "mpi", "mxnet")
RUNTIMES = ("venv", "docker")


@dataclass(frozen=True)
class JobOptions:
    """What runs, in what environment, on what data."""

    framework: str = option("command", choice(*FRAMEWORKS), "what brings the VMs together; see docs/jobs.md.")
    runtime: str = option("venv", choice(*RUNTIMES), "venv: a virtual environment; docker: a container.")
    image: str = option("", text(), "docker: image to pull, best by digest; empty: built from the folder's Dockerfile.")
    requirements: str = option("", text(), "venv: file of Python packages, in pip's format.")
    python: str = option("python3", text(), "venv: interpreter on the VM that the environment is made with.")
    system_packages: bool = option(False, boolean(), "venv: let the job see the packages that this interpreter has.")
    data: tuple[str, ...] = option((), text_lines(), "folder or s3:// prefix -> name in the job's working folder.")
    sample: str = option("", text(), "hint: command that makes data to try the job on, in its folder on your computer.")
    single: str = option("", command(), "shell command of a run on one VM.")
    multi: str = option("", command(), "shell command of a run on many VMs, without the framework's launcher.")
    outputs: tuple[str, ...] = option(
        ("outputs",), text_lines(), "folders, below the working folder, that are fetched."
    )


@dataclass(frozen=True)
class ResourceOptions:
    """How a distributed run is laid out."""

    workers_per_host: int = option(1, integer(1, 256), "dask: worker processes on each VM.")
    threads_per_worker: int = option(0, integer(0, 1024), "dask: threads of each; 0: the VM's cores, shared out.")
    memory_per_worker: str = option("", text(), "dask: such as 4GiB; empty: the VM's memory, shared out.")
    slots_per_host: int = option(
        0, integer(0, 256), "horovod, torchrun, mpi: processes on each VM; 0: as many as GPUs."
    )
    min_hosts: int = option(
        0, integer(0, 10_000), "horovod: goes on while so many VMs are left; 0: ends with the first."
    )
    wait: float = option(120.0, number(0, 3600, "s"), "how long to wait for all workers.")


TABLES: schema.Tables = {"job": JobOptions, "resources": ResourceOptions, "env": FREE_FORM}


@dataclass(frozen=True)
class DataItem:
    """Input of a job.

    :param source: ``s3://bucket/prefix``, or a folder or file relative to the job's folder.
    :param dest: its name in the job's working folder.
    """

    source: str
    name: str

    @property
    def is_s3(self) -> bool:
        """Whether the VMs fetch it themselves."""
        return self.source.startswith("s3://")


@dataclass(frozen=True)
class JobSpec:
    """A job as its ``job.ini`` describes it; see the tables above for the meaning of each field.

    :param recipe: digest of what goes into an image that is built, besides the folder: arguments, certificates.
    """

    name: str
    folder: Path
    options: JobOptions
    resources: ResourceOptions
    data: tuple[DataItem, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""

    @property
    def framework(self) -> str:
        """One of :data:`FRAMEWORKS`."""
        return self.options.framework

    @property
    def runtime(self) -> str:
        """``venv`` or ``docker``."""
        return self.options.runtime

    @property
    def code_path(self) -> str:
        """Where the job's own files lie on a host, below ``~/stratus``."""
        return f"jobs/{self.name}"

    @property
    def built_image(self) -> str:
        """Name of the image that is built from the folder's Dockerfile; it changes when what goes in changes."""
        names = dict.fromkeys(
            ("Dockerfile", self.options.requirements, *dockerfile_sources(self.folder / "Dockerfile"))
        )
        made_of = (self.folder / name for name in names if name)
        content = [path.read_bytes() for path in made_of if path.is_file()]
        digest = hashlib.sha256(b"\0".join([*content, self.recipe.encode()]))
        return f"stratus/{self.name}:{digest.hexdigest()[:12]}"

    @property
    def requirements_text(self) -> str:
        """The requirements file's text; empty without one."""
        return (
            (self.folder / self.options.requirements).read_text(encoding="utf-8") if self.options.requirements else ""
        )

    @property
    def excluded_names(self) -> tuple[str, ...]:
        """Names at the top of the folder that are not code: data goes its own way, outputs stay where they are."""
        local = [item.source for item in self.data if not item.is_s3]
        return tuple(PurePosixPath(name).parts[0] for name in (*local, *self.options.outputs))

    def remote_path(self, item: DataItem) -> str:
        """Return where a data item lies on a host, below ``~/stratus``."""
        return f"data/{self.name}/{item.name}"


def dockerfile_sources(dockerfile: Path) -> list[str]:
    """Return the files that a Dockerfile copies by name; a folder is the job's code, which every run brings anew."""
    lines = dockerfile.read_text(encoding="utf-8").splitlines() if dockerfile.is_file() else []
    words = [line.split()[1:-1] for line in lines if re.match(r"\s*(COPY|ADD)\s", line)]
    return sorted({word.lstrip("/") for line in words for word in line if not word.startswith("--")})


def load(path: Path, env: Mapping[str, str], *, runtime: str = "") -> JobSpec:
    """Read a job.

    :param place: its folder, which holds a ``job.ini``; or another .ini file in such a folder.
    :param env: where ``${VAR}`` in the file comes from.
    :param runtime: ``venv`` or ``docker``, whatever the file says; empty: as it says.
    :raises ConfigError: with every mistake in the file.
    """
    path = path if path.suffix == ".ini" else path / "job.ini"
    folder = path.parent
    reading = SettingsReader(ini.read(path, env, schema.layout(TABLES)), TABLES)
    if not reading.document.values:
        # What is not there, or cannot be read, has no other mistakes.
        reading.raise_problems("Nothing was run.")
    table, resources = reading.read_section("job", JobOptions), reading.read_section("resources", ResourceOptions)
    table = replace(table, runtime=runtime or table.runtime)
    data = _data_items(reading, table, folder)
    variables = _environment(reading)
    _check(reading, table, folder)
    _check_framework(reading, table, resources)
    reading.raise_problems("Nothing was run.")
    return JobSpec(_job_name(path), folder, table, resources, data, variables)


def reference() -> str:
    """Return the tables of all settings, in Markdown."""
    return config_reference.sections(TABLES)


def _job_name(path: Path) -> str:
    """Return a name that is good as a folder and as a part of an image's name."""
    words = path.resolve().parent.name + ("" if path.name == "job.ini" else f"_{path.stem}")
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in words.lower())


def _environment(reading: SettingsReader) -> dict[str, str]:
    """Return the section [env]; the names of variables keep their case, unlike all other names."""
    found = {}
    for (section, name), value in reading.document.values.items():
        if section == "env":
            typed = value.label.partition("] ")[2]
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", typed) or typed.startswith("STRATUS_"):
                reading.add_problem(
                    section, name, "cannot be the name of a variable here: letters, digits and _, not STRATUS_"
                )
            found[typed] = value.text
    return found


def _data_items(reading: SettingsReader, table: JobOptions, folder: Path) -> tuple[DataItem, ...]:
    items = []
    for line in table.data:
        source, arrow, dest = (part.strip() for part in line.partition("->"))
        dest = dest or PurePosixPath(source.rstrip("/")).name
        if not arrow and source.startswith("s3://"):
            reading.add_problem("job", "data", f"{line!r} names no folder: write {line} -> data")
        elif not _is_inside(dest):
            reading.add_problem("job", "data", f"{line!r} leads out of the working folder")
        elif not source.startswith("s3://") and not (folder / source).exists():
            missing = _missing_data(folder, source, table.sample)
            reading.add_problem("job", "data", missing if len(table.data) == 1 else f"{line!r} {missing}")
        items.append(DataItem(source, dest))
    return tuple(items)


def _missing_data(folder: Path, source: str, sample: str) -> str:
    there = f"has nothing at {folder / source}"
    return f"{there}; to make some: cd {shlex.quote(str(folder))} && {sample}" if sample else there


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _check(reading: SettingsReader, table: JobOptions, folder: Path) -> None:
    """Complain about values that do not fit each other or the folder."""
    if not (table.single or table.multi):
        reading.add_problem("job", "single", "is missing, and so is multi: the job has no command")
    if table.requirements and not (folder / table.requirements).is_file():
        reading.add_problem("job", "requirements", f"does not exist in {folder}")
    if table.runtime == "docker" and not table.image and not (folder / "Dockerfile").is_file():
        reading.add_problem("job", "image", f"is empty, and there is no Dockerfile in {folder}")
    for name in table.outputs:
        if not _is_inside(name):
            reading.add_problem("job", "outputs", f"{name!r} leads out of the working folder")


def _check_framework(reading: SettingsReader, table: JobOptions, resources: ResourceOptions) -> None:
    """Complain about what a framework cannot do."""
    if table.framework in ("horovod", "hostfile", "mpi", "mxnet") and table.single and not table.multi:
        reading.add_problem("job", "multi", f"is missing: framework = {table.framework} is for many VMs")
    if resources.min_hosts and table.framework != "horovod":
        reading.add_problem("resources", "min_hosts", f"is for framework = horovod, and this is {table.framework}")
