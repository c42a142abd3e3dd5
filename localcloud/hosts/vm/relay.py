"""Relay of one connection of a VM to the cloud, started by QEMU: ``relay.py SOURCE TARGET PORT``.

Standard input is a socket to the VM. Connections come from an address that tells the cloud which VM asks.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

_CHUNK_BYTES = 65536


def main() -> None:
    """Connect to the target from the source address, and copy in both directions until both have ended."""
    source, target, port = sys.argv[1:]
    vm = socket.socket(fileno=0)
    cloud = socket.create_connection((target, int(port)), source_address=(source, 0))
    upward = threading.Thread(target=_copy, args=[vm, cloud], daemon=True)
    upward.start()
    _copy(cloud, vm)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
