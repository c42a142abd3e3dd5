"""Connections to the SSH port of hosts."""

from __future__ import annotations

import socket


def knock(address: str, *, seconds: float = 1.0) -> str:
    """Return the outcome of a connection to the SSH port."""
    try:
        with socket.create_connection((address, 22022), timeout=seconds) as link:
            return "ssh" if link.recv(4) == b"SSH-" else "closed"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "closed"
    except TimeoutError as error:
        # A silent port times out in recv, a dropped connection in connect, before ``link`` is assigned.
        return "silent" if "link" in locals() else str(error) and "dropped"
