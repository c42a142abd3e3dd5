"""Hostile login: banners without end, and never an outcome."""

from __future__ import annotations

import asyncio

import asyncssh

_BANNER = "x" * 30_000
_PAUSE_S = 0.01
"""Between banners: a connection holds what its client has not read yet, without a limit."""


async def send_banners(connection: asyncssh.SSHServerConnection) -> bool:
    """Send banners to a client that logs in, as long as it stays; never let it in."""
    while not connection.is_closed():
        connection.send_auth_banner(_BANNER)
        await asyncio.sleep(_PAUSE_S)
    return True
