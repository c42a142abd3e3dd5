"""Name the network interface that an address lives on; run on the VM.

    python interface.py 10.0.0.5

Launchers take the first interface that they find when they are not told, and that may be Docker's bridge.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B  # netdevice(7)


def interface_of(address: str) -> str:
    """Return the interface whose network holds an IPv4 address, the one with that very address first.

    :raises LookupError: there is none.
    """
    wanted = _number(socket.inet_aton(address))
    near = ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                own, mask = (_ask(asking, what, name) for what in (SIOCGIFADDR, SIOCGIFNETMASK))
            except OSError:  # it has no IPv4 address
                continue
            if own == wanted:
                return name
            if own & mask == wanted & mask:
                near = name
    if not near:
        raise LookupError(f"no network interface of this machine has the address {address}")
    return near


def _ask(asking: socket.socket, what: int, name: str) -> int:
    answer = fcntl.ioctl(asking.fileno(), what, struct.pack("256s", name.encode()[:15]))
    return _number(answer[20:24])


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


if __name__ == "__main__":
    try:
        print(interface_of(sys.argv[1]))
    except LookupError as error:
        sys.exit(str(error))
