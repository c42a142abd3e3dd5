"""The settings: what ``config/config.ini`` says, as one frozen record.

:func:`load` reads a file and names every mistake in it at once; :mod:`orchestrator.config.options` says what there is
to set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

from orchestrator.config import checks, ini, legacy, schema
from orchestrator.config.options import (
    TABLES,
    AwsSettings,
    ClusterSettings,
    DiskSettings,
    InstallSettings,
    JobSettings,
    Settings,
    SshSettings,
)
from orchestrator.config.schema import Secret, SettingsReader, format_value

__all__ = [
    "TABLES",
    "AwsSettings",
    "ClusterSettings",
    "DiskSettings",
    "InstallSettings",
    "JobSettings",
    "Secret",
    "Settings",
    "SshSettings",
    "base_folder",
    "load",
    "reference",
    "template",
    "to_rows",
]


def load(path: Path, env: Mapping[str, str], *, files: bool = True) -> Settings:
    """Read a config file.

    Paths in it may begin with ``~`` and become absolute; relative ones start at the folder above ``config/``, or at the
    file's own folder when that is not called ``config``.

    :param env: where ``${VAR}`` and ``~`` come from.
    :param files: whether the files that it names (key, CA bundle, job) must exist. Ending VMs needs none of them.
    :raises ConfigError: with every mistake of the file, each with its line.
    """
    layout = schema.layout(TABLES, "`stratus config init` writes a commented one to start from.")
    document, old = legacy.translate(ini.read(path, env, layout))
    reading = SettingsReader(document, TABLES)
    reading.warnings += old.warnings
    reading.problems += old.problems
    settings = Settings(
        path=path,
        cluster=checks.replace_retired_type(reading, reading.read_section("cluster", ClusterSettings)),
        aws=replace(
            reading.read_section("aws", AwsSettings), legacy_access_key=old.access_key, legacy_secret_key=old.secret_key
        ),
        ssh=reading.read_section("ssh", SshSettings),
        disk=reading.read_section("disk", DiskSettings),
        install=reading.read_section("install", InstallSettings),
        job=reading.read_section("job", JobSettings),
    )
    checks.check(reading, settings)
    settings = _absolute(settings, path, env)
    if files:
        checks.check_files(reading, settings)
    reading.raise_problems()
    origins = {key: f"{path.name}:{value.line}" for key, value in document.values.items()} | old.origins(path.name)
    return replace(settings, warnings=tuple(sorted(reading.warnings, key=lambda each: each.line)), origins=origins)


def base_folder(path: Path) -> Path:
    """Return the folder that relative paths in a config file start from."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "config" else folder


def _absolute(settings: Settings, path: Path, env: Mapping[str, str]) -> Settings:
    base, place = base_folder(path), settings.install.registry_password_env

    def absolute(given: str) -> str:
        return str(schema.resolve_path(given, base, env)) if given else ""

    return replace(
        settings,
        ssh=replace(settings.ssh, private_key=absolute(settings.ssh.private_key)),
        install=replace(
            settings.install,
            ca_bundle=absolute(settings.install.ca_bundle),
            registry_password_env=absolute(place) if "/" in place else place,
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
        for each in fields(record):
            value = getattr(record, each.name)
            if "option" in each.metadata or value is not None:
                yield section, each.name, format_value(value), settings.origins.get((section, each.name), "default")


def template(values: Mapping[tuple[str, str], str] | None = None) -> str:
    """Return a commented config file to start from.

    :param values: (section, option) -> the text to set it to.
    """
    from orchestrator.config import reference

    return reference.template(TABLES, values or {})


def reference() -> str:
    """Return the page ``docs/reference/config.md``; ``stratus config reference`` prints it anew."""
    from orchestrator.config import reference

    return reference.page(TABLES)
