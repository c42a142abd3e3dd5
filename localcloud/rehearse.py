"""``stratus rehearse scenario.ini``: a bad day, played against somebody's own config, from launch to terminate.

The config is taken as it is, except for what can exist in a real account only (credentials, networks, groups, keys):
the cloud of the rehearsal has its own. Nothing of the real account is asked or needed.
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

# What a config may name that is somebody's in AWS; section and option, as configparser writes them.
REAL_ONLY = {
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

# A dry run that would have been allowed is answered with an error, too.
ANSWERED_OUTCOMES = ("ok", "DryRunOperation")

CommandRunner = Callable[[Sequence[str]], int]
"""Carries out a command line of the tool under rehearsal and returns its exit code."""


@dataclass(frozen=True)
class Rehearsal:
    """What is played.

    :param scenario: file of the bad day.
    :param config: the user's own config file.
    :param options: words for the experiment that is played: ``--multi``, ``-n 2``.
    """

    scenario: Path
    config: Path
    options: tuple[str, ...] = ()


def parse(argv: Sequence[str], config: Path) -> Rehearsal:
    """Read the words after ``rehearse``.

    :param config: the config file when none was named.
    """
    parser = argparse.ArgumentParser(
        prog="stratus rehearse",
        description="Play a bad day against your config: launch, install, run, fetch, terminate.",
    )
    parser.add_argument("scenario", type=Path, help="a scenario.ini; docs/scenarios.md says what it can hold")
    parser.add_argument("--multi", action="store_true", help="run the job on all VMs")
    parser.add_argument("-n", type=int, metavar="N", help="how many VMs; default: the config's count")
    words = parser.parse_args(argv)
    options = (["--multi"] if words.multi else []) + (["-n", str(words.n)] if words.n else [])
    return Rehearsal(words.scenario, config, tuple(options))


def play(rehearsal: Rehearsal, run: CommandRunner) -> Iterator[str]:
    """Play the day on a cloud of its own, which is gone afterwards; yield the lines of the report.

    :param run: carries out a command line in this process, whose environment leads to the rehearsal's cloud alone.
    :raises LocalCloudError: the scenario cannot be read, the config cannot, or the cloud does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch:
        home = Path(scratch) / "cloud"
        environment = localcloud.up(home, scenario=rehearsal.scenario, bound_to=os.getpid())
        try:
            config = adapt_config(rehearsal.config, Path(scratch), environment)
            with environment_variables({**environment, "STRATUS_HOME": str(Path(scratch) / "stratus")}):
                code = run(["--config", str(config), "experiment", "--yes", *rehearsal.options])
            yield from report(home, code)
        finally:
            localcloud.down(home)


def adapt_config(config: Path, folder: Path, environment: Mapping[str, str]) -> Path:
    """Write the user's config as it has to be for the rehearsal, and return the new file.

    :raises LocalCloudError: it cannot be read.
    """
    reader = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#", ";"))
    try:
        reader.read_string(config.read_text(encoding="utf-8-sig"), str(config))
    except (OSError, ValueError, configparser.Error) as error:
        raise LocalCloudError(f"{config}: {str(error).splitlines()[0]}") from error
    for section, names in REAL_ONLY.items():
        for name in names:
            if reader.has_section(section):
                reader.remove_option(section, name)
    own = {
        "aws": {"endpoint_url": environment["AWS_ENDPOINT_URL"], "ssh_from": "127.0.0.1/32", "label": "rehearsal"},
        "ssh": {"port": environment["REHEARSAL_SSH_PORT"]},
    }
    for section, values in own.items():
        if not reader.has_section(section):
            reader.add_section(section)
        reader[section].update(values)
    if reader.has_option("aws", "instance_profile"):
        reader["aws"]["instance_profile"] = "rehearsal"
    _anchor(reader, config)
    new = folder / config.name
    with new.open("w", encoding="utf-8") as file:
        reader.write(file)
    return new


def _anchor(reader: configparser.ConfigParser, config: Path) -> None:
    """Make the job's folder absolute: relative ones start beside the config, or above a folder named config."""
    parent = config.absolute().parent
    base = parent.parent if parent.name == "config" else parent
    run = reader.get("job", "run", fallback="")
    if run and (base / run).exists():
        reader["job"]["run"] = str(base / run)


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def report(home: Path, code: int) -> Iterator[str]:
    """Yield what the cloud saw: what it refused, what is left, and how the tool ended."""
    seen = localcloud.calls(home)
    refused = Counter((one.action, one.outcome) for one in seen if one.outcome not in ANSWERED_OUTCOMES)
    yield ""
    yield f"The rehearsal: {len(seen)} calls to AWS, {sum(refused.values())} of them not answered with a yes."
    for (action, outcome), count in sorted(refused.items()):
        yield f"  {action}: {outcome}" + (f"   {count} times" if count > 1 else "")
    from localcloud.core.home import find_home
    from localcloud.server import daemon

    left = [
        one
        for one in daemon.status(find_home(home))["instances"]
        if one["state"] not in ("terminated", "shutting-down")
    ]
    yield f"  exit code {code}; {len(left)} instances left" + (
        ": they are the cloud's, and gone with it" if left else ""
    )
