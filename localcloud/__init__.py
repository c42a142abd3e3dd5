"""An EC2-compatible cloud on this machine, with real SSH hosts: rehearse free, run for real later.

    env = localcloud.up()       # the variables that point AWS libraries at it
    localcloud.down()           # ends everything it started

It is reached over the wire only. Importing this package imports nothing heavy; the work is done by a daemon.
"""

from __future__ import annotations

from pathlib import Path

from localcloud.errors import LocalCloudError

__all__ = ["LocalCloudError", "down", "running", "up"]


def up(
    home: Path | str | None = None,
    *,
    real_times: bool = False,
    pending: float | None = None,
    boot: float | None = None,
    bound_to: int | None = None,
) -> dict[str, str]:
    """Start the cloud unless it is up already, wait until it answers, and return its environment.

    :param home: its folder; by default that of ``LOCALCLOUD_HOME``, or one in the user's data folder.
    :param real_times: take as long as EC2 does (17 s pending, 4 s boot) instead of about a second.
    :param pending: seconds from launch to running.
    :param boot: seconds from running to an open SSH port.
    :param bound_to: a process id; the cloud ends soon after that process, whatever became of it.
    :raises LocalCloudError: it did not come up within 30 s, or this is not Linux.
    """
    from localcloud import daemon
    from localcloud.home import find

    options = daemon.Options(real_times=real_times, pending=pending, boot=boot, bound_to=bound_to)
    return daemon.up(find(home), options)


def down(home: Path | str | None = None) -> bool:
    """End the cloud, every machine and every process of it.

    :param home: as for :func:`up`.
    :returns: False when none was up.
    :raises LocalCloudError: something would not end.
    """
    from localcloud import daemon
    from localcloud.home import find

    return daemon.down(find(home))


def running(home: Path | str | None = None) -> bool:
    """Whether a cloud is up in ``home`` (as for :func:`up`)."""
    from localcloud import daemon
    from localcloud.home import find

    return daemon.running(find(home)) is not None
