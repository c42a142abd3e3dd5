"""Commands on the hosts of the embedded cloud, over SSH."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncssh

from tests.support.localcloud.clients import wait_until


def output_on_host(
    instance: Mapping[str, Any], key: asyncssh.SSHKey, command: str, *, user: str = "ubuntu", port: int = 22022
) -> str:
    """Return the output of a command on a host, once its SSH server accepts the login."""

    async def run() -> str:
        address = instance["PublicIpAddress"]
        async with asyncssh.connect(address, port, username=user, client_keys=[key], known_hosts=None) as connection:
            return str((await connection.run(command, timeout=20)).stdout)

    def try_once() -> str | None:
        try:
            # An empty output must count as a success of the wait.
            return asyncio.run(run()) + " "
        except (OSError, asyncssh.DisconnectError):
            # Not up yet, or shutting down.
            return None

    return str(wait_until(try_once)).strip()
