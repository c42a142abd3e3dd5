"""Open tunnels to web pages on hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Dashboard:
    """An open tunnel to a web page of the cluster.

    :param url: address for a browser on this computer.
    :param close: closes the tunnel.
    """

    url: str
    close: Callable[[], None]
