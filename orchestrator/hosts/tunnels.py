"""Open tunnels to web pages and other services on hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dashboard:
    """An open tunnel to a web page of the cluster.

    :param url: address for a browser on this computer.
    :param close: closes the tunnel.
    """

    url: str
    close: Callable[[], None]


@dataclass(frozen=True)
class PortTunnel:
    """An open tunnel to a port of a host.

    :param remote_port: the port on the host's loopback address.
    :param address: loopback address of this computer.
    :param port: the port on this computer that leads there.
    :param close: closes the tunnel.
    """

    host: str
    remote_port: int
    address: str
    port: int
    close: Callable[[], None] = field(repr=False)
