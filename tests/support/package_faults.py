"""Faults of packages: a cluster whose VMs have one of them each, and the outcome of an install on each VM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.project import Project
from tests.support.waiting import wait_until

FAULTS = (
    (make_fault("no-route", where="host 0"), "no way to the package mirror", "[aws] subnet_id has a route"),
    (make_fault("no-dns", where="host 1"), "this VM cannot resolve names (DNS)", "enableDnsSupport"),
    (make_fault("disk-nearly-full", free=1, where="host 2"), "the disk is full: ", "set [disk] size = "),
)
"""Fault, the line of its VM, and the advice."""

PASSING = (
    make_fault("apt-locked", seconds=0, where="host 3"),
    make_fault("clock-behind", seconds=0, where="host 3"),
    make_fault("needrestart", where="host 3"),
)
"""Faults that an install waits for, or prevents; the test ends them."""

LOCKED = "another apt runs here (unattended-upgr, pid "
BEHIND = "the clock of this VM is behind, and NTP has not set it yet: waiting"


def play(env: Mapping[str, str]) -> None:
    """Load the faults."""
    faults = (*(fault for fault, _, _ in FAULTS), *PASSING)
    localcloud.scenario(Scenario(0, faults), env["LOCALCLOUD_HOME"])


def check_install(project: Project, package: str, *, ends: Sequence[str]) -> None:
    """Launch four VMs and check the install of a job that needs a package of the distribution.

    :param ends: commands that end apt's lock, and set the clock.
    """
    job = project.job("single = true\n") / "job.ini"
    job.write_text(f"[job]\napt_packages = {package}\nsingle = true\n")
    with project.session() as session, ThreadPoolExecutor(1) as executor:
        assert not session.cluster.launch(session.cluster.plan(4)).failed
        install = executor.submit(session.jobs.install)
        _end_faults(project, ends)
        report: Any = install.result()

    assert set(report.failed) == {f"{project.name}-{number}" for number in range(3)}, report.failed
    for number, (_, line, advice) in enumerate(FAULTS):
        error = report.failed[f"{project.name}-{number}"]
        message = str(error)
        assert message.startswith(f"{project.name}-{number}: packages failed: {line}"), message
        assert f"so that {package} cannot be installed" in message or f"{package} did not fit" in message
        assert advice in str(error.fix)


def _end_faults(project: Project, commands: Sequence[str]) -> None:
    host = f"{project.name}-3"
    for text, command in zip((LOCKED, BEHIND), commands, strict=True):
        wait_until(partial(_is_reported, project, host, text), timeout_s=120)
        with project.session() as session:
            report = session.hosts.run_command(command, names=[host])
        assert [output.exit_status for output in report.hosts] == [0], report


def _is_reported(project: Project, host: str, text: str) -> bool:
    return any(event.host == host and event.text.startswith(text) for event in [*project.events])
