"""Tunnels to web pages on hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Dashboard:
    """An open tunnel to a web page of the cluster.

    :param url: to open in a browser on this computer.
    :param close: ends the tunnel.
    """

    url: str
    close: Callable[[], None]
