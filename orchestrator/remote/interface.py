"""Print the network interface of an address; runs on the VM.

    python interface.py 10.0.0.5

By default, launchers take the first interface that they find, which may be Docker's bridge.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B  # netdevice(7)


def interface_of(address: str) -> str:
    """Return the interface that has an IPv4 address, otherwise one whose network contains it.

    :raises LookupError: there is none.
    """
    target = _number(socket.inet_aton(address))
    same_network = ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                own, mask = (_query(sock, request, name) for request in (SIOCGIFADDR, SIOCGIFNETMASK))
            except OSError:  # it has no IPv4 address
                continue
            if own == target:
                return name
            # Behind NAT, no interface has the address itself.
            if own & mask == target & mask:
                same_network = name
    if not same_network:
        raise LookupError(f"no network interface of this host has the address {address}")
    return same_network


def _query(sock: socket.socket, request: int, name: str) -> int:
    answer = fcntl.ioctl(sock.fileno(), request, struct.pack("256s", name.encode()[:15]))
    return _number(answer[20:24])


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


if __name__ == "__main__":
    try:
        print(interface_of(sys.argv[1]))
    except LookupError as error:
        sys.exit(str(error))
