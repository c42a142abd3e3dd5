"""``stratus rehearse scenario.ini``: run an experiment with the user's config on an embedded cloud with faults.

No call is made to a real account.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import localcloud

# Outcomes of calls that succeeded; a dry run that would have been allowed is answered with an error code, too.
ANSWERED_OUTCOMES = ("ok", "DryRunOperation")

CommandRunner = Callable[[Sequence[str]], int]
"""Runs a command line of the tool under rehearsal and returns its exit code."""


@dataclass(frozen=True)
class Rehearsal:
    """Arguments of a rehearsal.

    :param scenario: file of the scenario.
    :param options: arguments of the experiment: ``--multi``, ``-n 2``.
    """

    scenario: Path
    options: tuple[str, ...] = ()


def parse(argv: Sequence[str]) -> Rehearsal:
    """Return the rehearsal that the arguments after ``rehearse`` describe."""
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
    return Rehearsal(args.scenario, tuple(options))


def play(rehearsal: Rehearsal, run: CommandRunner) -> Iterator[str]:
    """Run the experiment on an embedded cloud of its own, which is removed afterwards; yield the lines of the report.

    :param run: runs a command line in this process, whose environment points to this cloud.
    :raises LocalCloudError: the scenario cannot be read, or the cloud does not start.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch:
        home = Path(scratch) / "cloud"
        environment = localcloud.up(home, scenario=rehearsal.scenario, bound_to=os.getpid())
        try:
            # A journal of its own, so that the rehearsal leaves no trace among the user's launches.
            with environment_variables({**environment, "STRATUS_HOME": str(Path(scratch) / "stratus")}):
                code = run(["experiment", "--yes", *rehearsal.options])
            yield from report(home, code)
        finally:
            localcloud.down(home)


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
    """Yield the report: number of calls, those that failed, faults without effect, remaining instances, exit code."""
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon

    calls = localcloud.calls(home)
    failures = Counter((call.action, call.outcome) for call in calls if call.outcome not in ANSWERED_OUTCOMES)
    yield ""
    yield f"Rehearsal: {len(calls)} AWS calls, {sum(failures.values())} refused or lost"
    for (action, outcome), count in sorted(failures.items()):
        yield f"  {action}: {outcome}" + (f"   {count} times" if count > 1 else "")
    for title, kind in control_client.unused_faults(daemon.environment(find_home(home))["AWS_ENDPOINT_URL"]):
        yield f"  [{title}] {kind}: had no effect (see its where and when)"
    instances = daemon.status(find_home(home))["instances"]
    count = sum(instance["state"] not in ("terminated", "shutting-down") for instance in instances)
    yield f"  exit code {code}; {count} VMs left" + (" (removed with the embedded cloud)" if count else "")
