"""Specification of a job: a folder with a ``job.ini``, or another .ini file in it, as a frozen record."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from orchestrator.config import ini, schema
from orchestrator.config import reference as config_reference
from orchestrator.config.access import Access
from orchestrator.config.disks.file_systems import FileSystem
from orchestrator.config.schema import (
    FREE_FORM,
    SettingsReader,
    ValueType,
    boolean,
    choice,
    command,
    commands,
    number,
    option,
    text,
    text_lines,
)
from orchestrator.core import text_file
from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.managed import options as managed_options
from orchestrator.jobs.managed.options import NO_TRAINING, ServeOptions, TrainingSpec
from orchestrator.jobs.storage.checkpoints import BUCKET_RULE, Checkpoints, read_checkpoints
from orchestrator.jobs.storage.data_items import DataItem, is_inside, read_data, relative_source
from orchestrator.jobs.tasks import ResourceOptions

RUNTIMES = ("venv", "docker")
# A name cannot begin with a dash: it would be an option of apt-get.
PACKAGES = r"[A-Za-z0-9][A-Za-z0-9+.:=~_-]*(\s+[A-Za-z0-9][A-Za-z0-9+.:=~_-]*)*"


def framework_name() -> ValueType:
    """Return the type of a framework's name; those that are registered when a file is read are allowed."""
    # Not choice() itself, which would keep the frameworks known when this module was imported.
    return ValueType(
        choice(*registry.frameworks()).description,
        lambda name: choice(*registry.frameworks()).parse(registry.living(name)),
    )


@dataclass(frozen=True)
class JobOptions:
    """Commands of the job, their environment and data."""

    framework: str = option("command", framework_name(), "starts the command on several VMs; see docs/jobs.md.")
    runtime: str = option("venv", choice(*RUNTIMES), "venv: a virtual environment; docker: a container.")
    image: str = option(
        "", text(), "docker: image to pull, preferably by digest; empty: built from the folder's Dockerfile."
    )
    requirements: str = option("", text(), "venv: requirements file for pip.")
    python: str = option("python3", text(), "venv: interpreter on the VM that the environment is created with.")
    environment: str = option(
        "", text(), "venv: conda environment file, such as environment.yml, instead of python; see [install] conda."
    )
    apt_packages: str = option(
        "", text(PACKAGES, "names of packages, separated by blanks"), "venv: packages of the VM's system (apt or dnf)."
    )
    setup: str = option(
        "", commands(), "venv: shell commands on each VM before requirements; again when their text changes."
    )
    system_packages: bool = option(False, boolean(), "venv: the job can import this interpreter's packages, too.")
    data: tuple[str, ...] = option(
        (), text_lines(), "folder, s3:// prefix or fs-...:/folder -> name in the working directory; see docs/data.md."
    )
    sample: str = option("", text(), "command that creates sample data on your computer; the verb SampleData runs it.")
    sample_requirements: str = option("", text(), "requirements file of `sample`; empty: `requirements`.")
    single: str = option("", command(), "shell command for a run on one VM.")
    multi: str = option("", command(), "shell command for a run on several VMs, without the framework's launcher.")
    outputs: tuple[str, ...] = option(("outputs",), text_lines(), "folders and files that are fetched.")
    checkpoints: str = option(
        "", text(), "folder -> s3://bucket/prefix: saved there while the job runs, restored before it starts."
    )
    checkpoint_minutes: float = option(10.0, number(0, 1440, "minutes"), "time between two saves of checkpoints.")
    results: str = option(
        "",
        text(r"s3://[a-z0-9.-]{3,63}(/\S*)?", f"s3://bucket/folder; {BUCKET_RULE}"),
        "S3 folder for outputs, from the VMs.",
    )
    max_hours: float = option(0.0, number(0, 8760, "hours", or_equal=True), "ends a run after this time; 0: no limit.")
    notify: str = option("", command(), "shell command on the first VM at the end: STRATUS_RUN, STRATUS_STATE.")
    exclude: tuple[str, ...] = option((), text_lines(), "names in the folder, or patterns, that are not uploaded.")


TABLES: schema.Tables = {
    **{"job": JobOptions, "resources": ResourceOptions, "env": FREE_FORM},
    **managed_options.TABLES,
}


@dataclass(frozen=True)
class JobSpec:
    """A job as its ``job.ini`` describes it; see the tables above for the meaning of each option.

    :param named: the job as it was named by the user, for hints.
    :param packages: Python packages that it needs besides those of its requirements file.
    :param allowed_files: names or patterns of files that are uploaded although they look like credentials.
    :param withheld_files: of this computer, that are not uploaded: the config file in use, and a password's.
    :param file: name of its .ini file in the folder; empty for a script.
    :param build_digest: digest of what goes into an image that is built, besides the folder: arguments, certificates.
    """

    name: str
    folder: Path
    options: JobOptions
    resources: ResourceOptions
    data: tuple[DataItem, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    build_digest: str = ""
    named: str = ""
    packages: tuple[str, ...] = ()
    allowed_files: tuple[str, ...] = ()
    withheld_files: tuple[Path, ...] = ()
    serve: ServeOptions = field(default_factory=ServeOptions)
    training: TrainingSpec = NO_TRAINING
    checkpoints: Checkpoints | None = None
    file: str = ""

    @property
    def training_checkpoints(self) -> str:
        """Folder that SageMaker keeps in S3; empty without one."""
        return self.training.options.checkpoints or (self.checkpoints.folder if self.checkpoints else "")

    @property
    def uses_s3_on_hosts(self) -> bool:
        """True if scripts on the VMs need boto3."""
        return self.checkpoints is not None or any(item.is_s3 for item in self.data)

    @property
    def framework(self) -> str:
        """Name of a registered framework."""
        return self.options.framework

    @property
    def runtime(self) -> str:
        """``venv`` or ``docker``."""
        return self.options.runtime

    @property
    def code_path(self) -> str:
        """Folder of the job's own files on a host, below ``~/stratus``."""
        return f"jobs/{self.name}"

    @property
    def image(self) -> str:
        """Container image that tasks run in, pulled or built; empty for a virtual environment."""
        if self.runtime != "docker":
            return ""
        return self.options.image or self.built_image

    @property
    def built_image(self) -> str:
        """Name of the image that is built from the folder's Dockerfile; its tag follows from the build's input."""
        names = dict.fromkeys(
            ("Dockerfile", self.options.requirements, *dockerfile_sources(self.folder / "Dockerfile"))
        )
        paths = (self.folder / name for name in names if name)
        content = [path.read_bytes() for path in paths if path.is_file()]
        # Separated, so that moving a line from one file to another changes the digest.
        digest = hashlib.sha256(b"\0".join([*content, self.build_digest.encode()]))
        return f"stratus/{self.name}:{digest.hexdigest()[:12]}"

    @property
    def requirements_text(self) -> str:
        """Text of the requirements file, and the packages besides; empty without any."""
        path = self.options.requirements
        text = text_file.read(self.folder / path) if path else ""
        return "\n".join([text, *self.packages, ""]) if self.packages else text

    @property
    def excluded_names(self) -> tuple[str, ...]:
        """Names and patterns in the folder that are not code: data is uploaded separately, outputs are not at all."""
        local_data = [relative_source(self.folder, item.source) for item in self.data if item.is_local]
        outputs = (str(PurePosixPath(name)) for name in self.options.outputs)
        checkpoints = [self.checkpoints.folder] if self.checkpoints else []
        return (*local_data, *outputs, *checkpoints, *self.options.exclude)

    def remote_path(self, item: DataItem) -> str:
        """Return the path of a data item on a host, below ``~/stratus``: another one for each source."""
        return f"data/{self.name}/{self.data_id(item)}"

    def data_id(self, item: DataItem) -> str:
        """Return an id of a data item's source and name."""
        # Folders of the same name, such as first_job of two projects, have jobs of the same name but not the same data.
        source = os.path.normpath(self.folder.resolve() / item.source) if item.is_local else item.source
        return hashlib.sha256(os.fsencode(f"{source}{item.id_text}")).hexdigest()[:12]

    @property
    def data_links(self) -> tuple[str, ...]:
        """Arguments of ``start.sh`` that link the data into a run's working directory.

        :raises UsageError: the VMs do not have a file system.
        """
        for item in self.data:
            item.check_mounted()
        items = [item for item in self.data if not item.is_staged_at_start]
        paths = [item.mounted_path if item.is_file_system else self.remote_path(item) for item in items]
        return tuple(f"{path}={item.name}" for path, item in zip(paths, items, strict=True))

    def mounted(self, file_systems: Sequence[FileSystem]) -> JobSpec:
        """Return the job with the names that the file systems of its data have on the VMs.

        :param file_systems: ``[file_systems]`` of the settings.
        """
        names = {shared.id: shared.name for shared in file_systems if shared.id}
        data = [replace(item, mount_name=names.get(item.file_system[0], "")) for item in self.data]
        return replace(self, data=tuple(data))

    @property
    def staged_data(self) -> bytes:
        """File for ``stage.py`` with the data that is prepared when a run starts; empty without any."""
        items = [
            {"url": item.source, "name": item.name, "path": self.remote_path(item), "mode": item.mode}
            | {"shard": item.is_sharded, "flags": item.flags}
            for item in self.data
            if item.is_staged_at_start
        ]
        return json.dumps(items).encode() if items else b""


def dockerfile_sources(dockerfile: Path) -> list[str]:
    """Return the paths that a Dockerfile copies; folders among them are code, which every run brings anew."""
    # COPY [--flags] SOURCE... DESTINATION. The JSON form and heredocs are not read: their files do not rename an image.
    lines = text_file.read(dockerfile).splitlines() if dockerfile.is_file() else []
    arguments = [line.split()[1:-1] for line in lines if re.match(r"\s*(COPY|ADD)\s", line)]
    return sorted({word.lstrip("/") for sources in arguments for word in sources if not word.startswith("--")})


def load(
    path: Path,
    env: Mapping[str, str],
    *,
    runtime: str = "",
    access: Access | None = None,
    needs_data: bool = True,
) -> JobSpec:
    """Read a job.

    :param path: its folder, which holds a ``job.ini``; or another .ini file in such a folder.
    :param env: variables that ``${VAR}`` in the file refers to.
    :param runtime: ``venv`` or ``docker``, overriding the file; empty: as in the file.
    :param access: what it may read besides its folder; None: nothing.
    :param needs_data: False if local data need not exist.
    :raises ConfigError: with every mistake in the file.
    """
    file = path if path.suffix == ".ini" else path / "job.ini"
    folder = file.parent
    access = access or Access()
    document = ini.read(file, env, schema.layout(TABLES), refuse=access.refuse_variable)
    reader = SettingsReader(document, TABLES)
    if not reader.document.values:
        # A file that is missing or unreadable would only add "is missing" for every required option.
        reader.raise_problems("Nothing was run.")
    options, resources = reader.read_section("job", JobOptions), reader.read_section("resources", ResourceOptions)
    serve = reader.read_section("serve", ServeOptions)
    # Before the checks: each runtime needs other files.
    options = replace(options, runtime=runtime or options.runtime)
    _check_access(reader, options, folder, access)
    data = read_data(reader, options.data, options.sample, folder, needs_data=needs_data)
    checkpoints = read_checkpoints(
        reader, options.checkpoints, options.checkpoint_minutes, [item.name for item in data]
    )
    environment = _environment(reader)
    _check_job(reader, options, folder)
    _check_framework(reader, options, resources)
    training = managed_options.read(reader)
    reader.raise_problems("Nothing was run.")
    job = JobSpec(job_name(file), folder, options, resources, data, environment, named=str(path), serve=serve)
    return replace(job, training=training, checkpoints=checkpoints, file=file.name)


def read_options(file: Path, env: Mapping[str, str]) -> JobOptions:
    """Read the section [job] of a file; what it names need not exist.

    :raises ConfigError: the section has mistakes.
    """
    reader = SettingsReader(ini.read(file, env, schema.layout(TABLES)), TABLES)
    options = reader.read_section("job", JobOptions)
    reader.raise_problems("Nothing was created.")
    return options


def reference() -> str:
    """Return the tables of all settings, in Markdown."""
    return config_reference.sections(TABLES)


IMAGE_NAME = re.compile(r"[a-z0-9]+((_|__|-+)[a-z0-9]+)*")
"""A part of an image's name: https://github.com/distribution/reference/blob/main/reference.go; dots are left out."""

MAX_NAME = 60


def job_name(file: Path) -> str:
    """Return a name that is valid as a folder and as a part of an image's name."""
    # Lower case, as Docker requires of an image's name.
    name = file.resolve().parent.name + ("" if file.name == "job.ini" else f"_{file.stem}")
    plain = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name.lower())
    if len(plain) <= MAX_NAME and IMAGE_NAME.fullmatch(plain):
        return plain
    # Letters without their accents, where they have any.
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(letter))
    letters = re.findall(r"[a-z0-9]+", bare)
    # With a digest: names that differ in other letters only must not share a folder on the hosts.
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:6]
    return "_".join(["_".join(letters)[:MAX_NAME].strip("_") or "job", digest])


def _environment(reader: SettingsReader) -> dict[str, str]:
    """Return the section [env]; names of variables keep their case, unlike all other names."""
    variables = {}
    for (section, name), value in reader.document.values.items():
        if section == "env":
            variable = value.label.partition("] ")[2]
            # The host sources a file of assignments: any other name could run a command there.
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable) or variable.startswith("STRATUS_"):
                reader.add_problem(
                    section,
                    name,
                    "is not a valid variable name: letters, digits and _, and not STRATUS_...",
                )
            variables[variable] = value.text
    return variables


def _check_access(reader: SettingsReader, options: JobOptions, folder: Path, access: Access) -> None:
    """Report files of this computer that the job must not carry to its VMs, and paths that are none."""
    sources = [("data", line.partition("->")[0].strip()) for line in options.data]
    files = [("requirements", options.requirements), ("environment", options.environment)]
    for name, source in [*sources, *files]:
        if not source or source.startswith("s3://") or (name == "data" and DataItem(source, "").is_file_system):
            continue
        try:
            (folder / source).stat()
            reason = access.refuse_path(folder, folder / source)
        except (FileNotFoundError, NotADirectoryError):
            # Reported with advice on sample data, unless it names another place.
            reason = access.refuse_path(folder, folder / source)
        # A name of 400 characters, a loop of links, a NUL byte.
        except (OSError, ValueError, RuntimeError) as error:
            reason = f"{source[:60]!r}: {getattr(error, 'strerror', '') or error}"
        if reason:
            reader.add_problem("job", name, reason)
            # The checks that follow would only stumble over the same path.
            reader.raise_problems("Nothing was run.")


def _check_job(reader: SettingsReader, options: JobOptions, folder: Path) -> None:
    """Report values that do not fit each other or the folder."""
    if not (options.single or options.multi):
        reader.add_problem("job", "single", "is missing, and multi, too: the job has no command")
    for name, file in (("requirements", options.requirements), ("environment", options.environment)):
        if file and not (folder / file).is_file():
            reader.add_problem("job", name, f"does not exist in {folder}")
    if options.runtime == "docker" and not options.image and not (folder / "Dockerfile").is_file():
        reader.add_problem("job", "image", f"is empty, and there is no Dockerfile in {folder}")
    for name in options.outputs:
        if not is_inside(name):
            reader.add_problem("job", "outputs", f"{name!r} is outside the working directory")


def _check_framework(reader: SettingsReader, options: JobOptions, resources: ResourceOptions) -> None:
    """Report what a framework does not support."""
    framework = registry.find(options.framework)
    if framework.needs_multi and options.single and not options.multi:
        reader.add_problem("job", "multi", f"is missing: framework = {framework.name} is for several VMs")
    if resources.min_hosts and not framework.is_elastic:
        elastic = registry.names_with(lambda record: record.is_elastic)
        reader.add_problem("resources", "min_hosts", f"needs framework = {elastic}; this job has {framework.name}")
