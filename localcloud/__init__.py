"""Embedded cloud: an EC2-compatible API on this computer, with real SSH hosts, to rehearse runs without cost.

    env = localcloud.up()       # the variables that point AWS libraries at it
    localcloud.scenario(path)   # inject faults (docs/scenarios.md)
    localcloud.calls()          # the API calls so far
    localcloud.down()           # stops everything it started

It is reached over the wire only. Importing this package loads little; a daemon does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.core.errors import LocalCloudError

if TYPE_CHECKING:
    from localcloud.fault_injection.api_calls import CallRecord
    from localcloud.scenarios.scenario import Scenario

__all__ = ["LocalCloudError", "calls", "down", "running", "scenario", "up"]


def up(
    home: Path | str | None = None,
    *,
    real_times: bool = False,
    pending: float | None = None,
    boot: float | None = None,
    bound_to: int | None = None,
    hosts: str | None = None,
    scenario: Scenario | Path | str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Start the cloud unless it is running, wait until it answers, and return its environment.

    Process hosts cannot read the user's files, except for the folders in LOCALCLOUD_READABLE (separated as in PATH).

    :param home: its folder; by default LOCALCLOUD_HOME, or one in the user's data folder.
    :param real_times: take as long as EC2 does (17 s pending, 4 s boot) instead of about a second.
    :param pending: seconds from launch to running.
    :param boot: seconds from running to an open SSH port.
    :param bound_to: a process id; the cloud stops soon after that process has ended for any reason.
    :param hosts: kind of the hosts: ``process``, ``docker`` for containers that can run a Docker engine, or ``vm`` for
        VMs in QEMU (an image is built the first time, in minutes); by default LOCALCLOUD_HOSTS_KIND, or process.
    :param scenario: faults to inject (as for :func:`scenario`), also into a cloud that is running already.
    :param tell: called with a line of progress before something that takes minutes.
    :raises LocalCloudError: it did not start within 30 s, this is not Linux, no Docker engine answers (for docker
        hosts), QEMU is missing (for VMs), a cloud with other hosts is running, or the scenario cannot be read.
    """
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon, host_kinds

    faults = control_client.read_scenario(scenario)
    kind = host_kinds.resolve(hosts, host_kinds.KINDS)
    options = daemon.CloudOptions(real_times=real_times, pending=pending, boot=boot, bound_to=bound_to, hosts=kind)
    environment = daemon.up(find_home(home), options, tell)
    if scenario is not None:
        control_client.play(environment["AWS_ENDPOINT_URL"], faults)
    return environment


def down(home: Path | str | None = None) -> bool:
    """Stop the cloud with all of its hosts and processes.

    :param home: as for :func:`up`.
    :returns: False if no cloud was running.
    :raises LocalCloudError: a process could not be stopped.
    """
    from localcloud.core.home import find_home
    from localcloud.server import daemon

    return daemon.down(find_home(home))


def running(home: Path | str | None = None) -> bool:
    """Return whether a cloud is running in ``home`` (as for :func:`up`)."""
    from localcloud.core.home import find_home
    from localcloud.server import daemon

    return daemon.running(find_home(home)) is not None


def scenario(source: Scenario | Path | str | None, home: Path | str | None = None) -> None:
    """Start a scenario on the running cloud; its times count from now.

    :param source: a file, the text of one (with at least one line break), a scenario, or None for no faults.
    :param home: as for :func:`up`.
    :raises ScenarioError: with every mistake in it, as ``file:line: message``.
    :raises LocalCloudError: no cloud is running.
    """
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon

    faults = control_client.read_scenario(source)
    control_client.play(daemon.environment(find_home(home))["AWS_ENDPOINT_URL"], faults)


def calls(home: Path | str | None = None) -> list[CallRecord]:
    """Return the API calls that the cloud received, at most the last 100,000.

    :param home: as for :func:`up`.
    :returns: records of ``(time, action, outcome)``: seconds since the cloud started; AWS's name of the action (a
        request line for S3); and ``ok``, the error's code, or ``dropped``.
    :raises LocalCloudError: no cloud is running.
    """
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon

    return control_client.calls(daemon.environment(find_home(home))["AWS_ENDPOINT_URL"])
