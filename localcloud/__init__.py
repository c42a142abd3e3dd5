"""An EC2-compatible cloud on this machine, with real SSH hosts: rehearse free, run for real later.

    env = localcloud.up()       # the variables that point AWS libraries at it
    localcloud.scenario(path)   # something goes wrong (docs/scenarios.md)
    localcloud.calls()          # what it was asked
    localcloud.down()           # ends everything it started

It is reached over the wire only. Importing this package imports nothing heavy; the work is done by a daemon.
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
    """Start the cloud unless it is up already, wait until it answers, and return its environment.

    Process hosts read nothing of the user's own, but folders that LOCALCLOUD_READABLE names (joined as in PATH).

    :param home: its folder; by default that of ``LOCALCLOUD_HOME``, or one in the user's data folder.
    :param real_times: take as long as EC2 does (17 s pending, 4 s boot) instead of about a second.
    :param pending: seconds from launch to running.
    :param boot: seconds from running to an open SSH port.
    :param bound_to: a process id; the cloud ends soon after that process, whatever became of it.
    :param hosts: what its machines are: ``process``, or ``docker`` for containers with room for an engine of their own
        (their image is built the first time, which takes minutes); by default what LOCALCLOUD_HOSTS_KIND says, or
        process.
    :param scenario: what is to go wrong (as for :func:`scenario`); a cloud that is up already plays it from now on.
    :param tell: called with a line about what takes minutes, before it begins.
    :raises LocalCloudError: it did not come up within 30 s, this is not Linux, no Docker engine answers (for docker
        hosts), one with hosts of another kind is up, or the scenario cannot be read.
    """
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon

    day = control_client.read_scenario(scenario)
    times = {"real_times": real_times, "pending": pending, "boot": boot}
    options = daemon.CloudOptions(**times, bound_to=bound_to, hosts=daemon.resolve_host_kind(hosts))  # type: ignore[arg-type]
    environment = daemon.up(find_home(home), options, tell)
    if scenario is not None:
        control_client.play(environment["AWS_ENDPOINT_URL"], day)
    return environment


def down(home: Path | str | None = None) -> bool:
    """End the cloud, every machine and every process of it.

    :param home: as for :func:`up`.
    :returns: False when none was up.
    :raises LocalCloudError: something would not end.
    """
    from localcloud.core.home import find_home
    from localcloud.server import daemon

    return daemon.down(find_home(home))


def running(home: Path | str | None = None) -> bool:
    """Whether a cloud is up in ``home`` (as for :func:`up`)."""
    from localcloud.core.home import find_home
    from localcloud.server import daemon

    return daemon.running(find_home(home)) is not None


def scenario(source: Scenario | Path | str | None, home: Path | str | None = None) -> None:
    """Play a scenario on the cloud that is up, from its beginning; times count from now.

    :param source: a file, the text of one (with at least one line break), a scenario, or None for fair weather.
    :param home: as for :func:`up`.
    :raises ScenarioError: with every mistake in it, as ``file:line: what``.
    :raises LocalCloudError: no cloud is up.
    """
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon

    day = control_client.read_scenario(source)
    control_client.play(daemon.environment(find_home(home))["AWS_ENDPOINT_URL"], day)


def calls(home: Path | str | None = None) -> list[CallRecord]:
    """The API calls that the cloud has seen, at most the last 100,000: when, what, and with which outcome.

    :param home: as for :func:`up`.
    :returns: ``(time, action, outcome)`` each: seconds since the cloud came up; the action as AWS names it (a request
        line for S3); and ``ok``, the error's code, or ``dropped``.
    :raises LocalCloudError: no cloud is up.
    """
    from localcloud.core.home import find_home
    from localcloud.server import control_client, daemon

    return control_client.calls(daemon.environment(find_home(home))["AWS_ENDPOINT_URL"])
