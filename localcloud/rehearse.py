"""``stratus rehearse scenario.ini``: run an experiment with the user's config on an embedded cloud with faults.

The config is used as it is, except for what exists in a real account only (credentials, networks, groups, keys): the
embedded cloud has its own. No call is made to the real account.
"""

from __future__ import annotations

import argparse
import configparser
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import localcloud
from localcloud.core.errors import LocalCloudError

# Options that name resources of a real account, by section; ``summary`` is in configs of the original project.
ACCOUNT_OPTIONS = {
    "aws": (
        "profile",
        "endpoint_url",
        "vpc_id",
        "subnet_id",
        "security_group_id",
        "key_name",
        "label",
        "banner",
        "note",
    ),
    "ssh": ("private_key", "address", "user"),
    "summary": ("your_key_path", "your_key_name", "access_key", "secret_key"),
}

# Outcomes of calls that succeeded; a dry run that would have been allowed is answered with an error code, too.
ANSWERED_OUTCOMES = ("ok", "DryRunOperation")

CommandRunner = Callable[[Sequence[str]], int]
"""Runs a command line of the tool under rehearsal and returns its exit code."""


@dataclass(frozen=True)
class Rehearsal:
    """Arguments of a rehearsal.

    :param scenario: file of the scenario.
    :param config: the user's config file.
    :param options: arguments of the experiment: ``--multi``, ``-n 2``.
    """

    scenario: Path
    config: Path
    options: tuple[str, ...] = ()


def parse(argv: Sequence[str], config: Path) -> Rehearsal:
    """Return the rehearsal that the arguments after ``rehearse`` describe.

    :param config: the config file.
    """
    parser = argparse.ArgumentParser(
        prog="stratus rehearse",
        description="Rehearse an experiment with your config and injected faults: launch, install, run, fetch, "
        "terminate.",
    )
    parser.add_argument("scenario", type=Path, help="a scenario file; see docs/scenarios.md")
    parser.add_argument("--multi", action="store_true", help="run the job on all VMs")
    parser.add_argument("-n", type=int, metavar="N", help="number of VMs; default: the config's count")
    args = parser.parse_args(argv)
    options = (["--multi"] if args.multi else []) + (["-n", str(args.n)] if args.n else [])
    return Rehearsal(args.scenario, config, tuple(options))


def play(rehearsal: Rehearsal, run: CommandRunner) -> Iterator[str]:
    """Run the experiment on an embedded cloud of its own, which is removed afterwards; yield the lines of the report.

    :param run: runs a command line in this process, whose environment points to this cloud.
    :raises LocalCloudError: scenario or config cannot be read, or the cloud does not start.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch:
        home = Path(scratch) / "cloud"
        environment = localcloud.up(home, scenario=rehearsal.scenario, bound_to=os.getpid())
        try:
            config = adapt_config(rehearsal.config, Path(scratch), environment)
            # A journal of its own, so that the rehearsal leaves no trace among the user's launches.
            with environment_variables({**environment, "STRATUS_HOME": str(Path(scratch) / "stratus")}):
                code = run(["--config", str(config), "experiment", "--yes", *rehearsal.options])
            yield from report(home, code)
        finally:
            localcloud.down(home)


def adapt_config(config: Path, folder: Path, environment: Mapping[str, str]) -> Path:
    """Write a copy of the user's config that fits the embedded cloud, and return it.

    :raises LocalCloudError: the config cannot be read.
    """
    reader = _read(config)
    for section, names in ACCOUNT_OPTIONS.items():
        for name in names:
            if reader.has_section(section):
                reader.remove_option(section, name)
    replacements = {
        "aws": {"endpoint_url": environment["AWS_ENDPOINT_URL"], "ssh_from": "127.0.0.1/32", "label": "rehearsal"},
        "ssh": {"port": environment["REHEARSAL_SSH_PORT"]},
    }
    for section, values in replacements.items():
        if not reader.has_section(section):
            reader.add_section(section)
        reader[section].update(values)
    if reader.has_option("aws", "instance_profile"):
        # The only profile of the embedded account.
        reader["aws"]["instance_profile"] = "rehearsal"
    _make_job_folder_absolute(reader, config)
    adapted = folder / config.name
    with adapted.open("w", encoding="utf-8") as file:
        reader.write(file)
    return adapted


def _read(config: Path) -> configparser.ConfigParser:
    # Not strict: configs of the original project repeat options.
    reader = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#", ";"))
    try:
        reader.read_string(config.read_text(encoding="utf-8-sig"), str(config))
    except (OSError, ValueError, configparser.Error) as error:
        raise LocalCloudError(f"{config}: {str(error).splitlines()[0]}") from error
    return reader


def _make_job_folder_absolute(reader: configparser.ConfigParser, config: Path) -> None:
    """Resolve the job's folder, which is relative to the config's folder, or to the parent of one named config."""
    parent = config.absolute().parent
    base = parent.parent if parent.name == "config" else parent
    run = reader.get("job", "run", fallback="")
    if run and (base / run).exists():
        reader["job"]["run"] = str(base / run)


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def report(home: Path, code: int) -> Iterator[str]:
    """Yield the report: number of calls, those that failed, remaining instances, and the tool's exit code."""
    from localcloud.core.home import find_home
    from localcloud.server import daemon

    calls = localcloud.calls(home)
    failures = Counter((call.action, call.outcome) for call in calls if call.outcome not in ANSWERED_OUTCOMES)
    yield ""
    yield f"Rehearsal: {len(calls)} AWS calls, {sum(failures.values())} refused or lost"
    for (action, outcome), count in sorted(failures.items()):
        yield f"  {action}: {outcome}" + (f"   {count} times" if count > 1 else "")
    instances = daemon.status(find_home(home))["instances"]
    count = sum(instance["state"] not in ("terminated", "shutting-down") for instance in instances)
    yield f"  exit code {code}; {count} VMs left" + (" (removed with the embedded cloud)" if count else "")
