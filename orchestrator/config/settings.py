"""Settings: the content of ``config/config.ini`` as one frozen record.

:func:`load` reads a file and reports all of its mistakes at once; :mod:`orchestrator.config.options` declares the
options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

from orchestrator.config import checks, ending, ini, legacy, schema
from orchestrator.config.options import (
    LINES,
    TABLES,
    AwsSettings,
    ClusterSettings,
    DiskSettings,
    InstallSettings,
    JobSettings,
    SageMakerSettings,
    Settings,
    SshSettings,
    VmSettings,
)
from orchestrator.config.schema import Secret, SettingsReader, format_value
from orchestrator.core.next_step import NextStep

__all__ = [
    "TABLES",
    "AwsSettings",
    "ClusterSettings",
    "DiskSettings",
    "InstallSettings",
    "JobSettings",
    "SageMakerSettings",
    "Secret",
    "Settings",
    "SshSettings",
    "VmSettings",
    "base_folder",
    "load",
    "reference",
    "template",
    "to_rows",
]


def load(path: Path, env: Mapping[str, str], *, files: bool = True, only_ending: bool = False) -> Settings:
    """Read a config file.

    Paths in it may begin with ``~`` and become absolute; relative ones start at the folder above ``config/``, or at the
    file's own folder when that is not called ``config``.

    :param env: environment that ``${VAR}`` and ``~`` are looked up in.
    :param files: True if the files that it names (key, CA bundle, job) must exist; terminating VMs needs none of them.
    :param only_ending: True if the settings serve to end VMs only: a mistake that does not concern it counts as unset.
    :raises ConfigError: with every mistake of the file, each with its line.
    """
    layout = schema.layout(TABLES, NextStep("Config", "init") + "  writes a commented one to start from.")
    document, old = legacy.translate(ini.read(path, env, layout))
    reader = SettingsReader(document, TABLES)
    reader.warnings += old.warnings
    reader.problems += old.problems
    settings = Settings(
        path=path,
        cluster=checks.replace_retired(reader, reader.read_section("cluster", ClusterSettings)),
        aws=replace(
            reader.read_section("aws", AwsSettings), legacy_access_key=old.access_key, legacy_secret_key=old.secret_key
        ),
        ssh=reader.read_section("ssh", SshSettings),
        disk=reader.read_section("disk", DiskSettings),
        vms=reader.read_section("vms", VmSettings),
        install=reader.read_section("install", InstallSettings),
        job=reader.read_section("job", JobSettings),
        sagemaker=reader.read_section("sagemaker", SageMakerSettings),
        volumes=reader.read_lines("volumes", LINES["volumes"]),
        file_systems=reader.read_lines("file_systems", LINES["file_systems"]),
    )
    checks.check(reader, settings)
    settings = _absolute(settings, path, env)
    if files:
        # Now that all paths are absolute.
        checks.check_files(reader, settings)
    if only_ending:
        known = [(section, name) for section, names in layout.known_options.items() for name in names]
        known += [key for key in document.values if key[0] in LINES]
        reader.problems = ending.needed_by_ending(document, reader.problems, known)
    # Verbs that need no files launch nothing.
    reader.raise_problems(ending.EXPLANATION if only_ending else "Nothing was launched or changed." if files else "")
    origins = {key: f"{path.name}:{value.line}" for key, value in document.values.items()} | old.origins(path.name)
    return replace(settings, warnings=tuple(sorted(reader.warnings, key=lambda warning: warning.line)), origins=origins)


def base_folder(path: Path) -> Path:
    """Return the folder that relative paths in a config file start from."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "config" else folder


def _absolute(settings: Settings, path: Path, env: Mapping[str, str]) -> Settings:
    base, password_location = base_folder(path), settings.install.registry_password_env

    def absolute(typed_path: str) -> str:
        return str(schema.resolve_path(typed_path, base, env)) if typed_path else ""

    return replace(
        settings,
        ssh=replace(
            settings.ssh,
            private_key=absolute(settings.ssh.private_key),
            via_key=absolute(settings.ssh.via_key),
            via_known_hosts=absolute(settings.ssh.via_known_hosts),
        ),
        install=replace(
            settings.install,
            ca_bundle=absolute(settings.install.ca_bundle),
            registry_password_env=absolute(password_location) if "/" in password_location else password_location,
        ),
        job=replace(settings.job, run=checks.job_folder(absolute(settings.job.run), settings.job.run)),
    )


def to_rows(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Return (section, option, value, origin) for every option; the origin is ``config.ini:14`` or ``default``.

    Secrets are masked.
    """
    return list(_rows(settings))


def _rows(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    for section in TABLES:
        record = getattr(settings, section)
        if section in LINES:
            for item in record:
                yield section, item.name, item.text, settings.origins.get((section, item.name), "default")
            continue
        for field in fields(record):
            value = getattr(record, field.name)
            # Legacy keys are no options: they are listed only when a file sets them.
            if "option" in field.metadata or isinstance(value, Secret):
                yield section, field.name, format_value(value), settings.origins.get((section, field.name), "default")


def template(values: Mapping[tuple[str, str], str] | None = None) -> str:
    """Return a commented config file to start from.

    :param values: (section, option) -> the text to set it to.
    """
    # Imported on use: loading settings does not need it.
    from orchestrator.config import reference

    return reference.template(TABLES, values or {}, LINES)


def reference() -> str:
    """Return the page ``docs/reference/config.md``, as ``stratus config reference`` prints it."""
    from orchestrator.config import reference

    return reference.page(TABLES, LINES)
