"""Kinds of hosts that a cloud can have. A new kind is a package in ``localcloud.hosts`` and one entry here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home
from localcloud.hosts.interface import HostSite

DEFAULT_KIND = "process"

Report = Callable[[str], None]
"""Called with a line of progress before something that takes minutes."""


@dataclass(frozen=True)
class HostKind:
    """One kind of hosts.

    :param prepare: checks requirements and builds what takes longer than the daemon's start may, in the caller's
        process.
    :param open: claims addresses and returns the hosts, in the daemon; what it adds to the stack runs when the cloud
        ends.
    :param close: removes what a daemon that was killed left behind.
    :param start_timeout_s: longest start of a daemon with such hosts.
    """

    prepare: Callable[[Report], None]
    open: Callable[[Home, ExitStack], HostSite]
    close: Callable[[Home], None]
    start_timeout_s: float = 30.0


HostKinds = Mapping[str, HostKind]
"""Kinds of hosts by name."""


def resolve(requested: str | None, kinds: HostKinds) -> str:
    """Return the name of the requested kind, else the one that LOCALCLOUD_HOSTS_KIND names, else the default.

    :raises LocalCloudError: there is no kind of that name.
    """
    name = requested or os.environ.get("LOCALCLOUD_HOSTS_KIND") or DEFAULT_KIND
    if name not in kinds:
        source = "" if requested else " (LOCALCLOUD_HOSTS_KIND)"
        raise LocalCloudError(f"unknown kind of hosts {name!r}{source}: use {' or '.join(kinds)}")
    return name


# The packages of hosts are imported when they are needed: the command line must not wait for SSH servers to load.


def _prepare_nothing(_: Report) -> None:
    """Process hosts need nothing but Python."""


def _open_process_hosts(home: Home, resources: ExitStack) -> HostSite:
    from localcloud.hosts.process import site

    return site.open_site(home, resources)


def _close_process_hosts(home: Home) -> None:
    from localcloud.hosts.process import site

    site.close_site(home)


def _prepare_docker_hosts(report: Report) -> None:
    from localcloud.hosts.docker import site

    site.prepare(report)


def _open_docker_hosts(home: Home, resources: ExitStack) -> HostSite:
    from localcloud.hosts.docker import site

    return site.open_site(home, resources)


def _close_docker_hosts(home: Home) -> None:
    from localcloud.hosts.docker import site

    site.close_site(home)


def _prepare_vms(report: Report) -> None:
    from localcloud.hosts.vm import site

    site.prepare(report)


def _open_vms(home: Home, resources: ExitStack) -> HostSite:
    from localcloud.hosts.vm import site

    return site.open_site(home, resources)


def _close_vms(_: Home) -> None:
    """VMs end with the daemon, however it ends."""


KINDS: HostKinds = {
    "process": HostKind(_prepare_nothing, _open_process_hosts, _close_process_hosts),
    # The engine is called several times before the daemon answers, and may be busy.
    "docker": HostKind(_prepare_docker_hosts, _open_docker_hosts, _close_docker_hosts, start_timeout_s=180.0),
    # The daemon tries KVM, too.
    "vm": HostKind(_prepare_vms, _open_vms, _close_vms, start_timeout_s=60.0),
}
