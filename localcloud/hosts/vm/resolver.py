"""Answer to one connection of a VM to its DNS server, started by QEMU: ``resolver.py TARGETS``.

Standard input is a socket to the VM, which asks over TCP. Names of EFS are those of the mount targets in the folder
TARGETS, any other name is what this computer resolves it to. As on AWS, the server's address is 169.254.169.253.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
from pathlib import Path

_EFS = re.compile(r"(?:[a-z0-9-]+\.)?(fs-[0-9a-f]+)\.efs\.[a-z0-9-]+\.amazonaws\.com")
_HEADER_BYTES, _TTL_S = 12, 5
_A, _IN = 1, 1
_OK, _NO_SUCH_NAME = 0x8180, 0x8183


def main() -> None:
    """Answer questions until the VM closes the connection."""
    vm = socket.socket(fileno=0)
    with vm.makefile("rwb") as stream:
        while len(head := stream.read(2)) == 2:
            answer = respond(stream.read(*struct.unpack("!H", head)), Path(sys.argv[1]))
            stream.write(struct.pack("!H", len(answer)) + answer)
            stream.flush()


def respond(question: bytes, targets: Path) -> bytes:
    """Return the answer to a question about one name; there are addresses of version 4 only.

    :param targets: folder with a file for each address of a mount target, which contains the id of the file system.
    """
    end, labels = _HEADER_BYTES, []
    while length := question[end]:
        labels.append(question[end + 1 : end + 1 + length].decode("ascii", "replace"))
        end += 1 + length
    kind = struct.unpack("!H", question[end + 1 : end + 3])[0]
    addresses = _addresses(".".join(labels).lower(), targets)
    records = b"".join(
        struct.pack("!HHHIH", 0xC000 + _HEADER_BYTES, _A, _IN, _TTL_S, 4) + socket.inet_aton(address)
        for address in (addresses if kind == _A else ())
    )
    flags = _OK if addresses else _NO_SUCH_NAME
    header = struct.pack("!HHHHHH", *struct.unpack("!H", question[:2]), flags, 1, len(records) // 16, 0, 0)
    return header + question[_HEADER_BYTES : end + 5] + records


def _addresses(name: str, targets: Path) -> list[str]:
    if match := _EFS.fullmatch(name):
        files = sorted(targets.iterdir()) if targets.is_dir() else []
        return [file.name for file in files if file.read_text().strip() == match[1]][:1]
    try:
        return sorted({str(item[4][0]) for item in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []


if __name__ == "__main__":
    main()
