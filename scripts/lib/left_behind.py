"""Count the processes that a run left behind, and the ports they listen on.   python scripts/lib/left_behind.py FOLDER

A process belongs to the run when FOLDER occurs in its environment or command line. Exits 1 when there is one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

LISTENING = "0A"


def processes(folder: str) -> Iterator[Path]:
    """Yield the /proc folders of the processes that name a folder, this one excepted."""
    mark = os.fsencode(folder)
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            content = (proc / "environ").read_bytes() + (proc / "cmdline").read_bytes()
        except OSError:  # it has exited, or belongs to another user
            continue
        if mark in content and int(proc.name) not in (os.getpid(), os.getppid()):
            yield proc


def sockets(proc: Path) -> set[str]:
    """Return the inodes of a process's sockets."""
    inodes = set()
    for entry in (proc / "fd").glob("*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes


def listening() -> set[str]:
    """Return the inodes of all listening TCP sockets."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == LISTENING}


def main() -> int:
    """Print the numbers of processes and ports; 1 if a process is left."""
    left = list(processes(sys.argv[1]))
    ports = listening() & {inode for proc in left for inode in sockets(proc)}
    print(f"{len(left)} processes and {len(ports)} listening ports left behind")
    for proc in left:
        print(f"  {proc.name} {(proc / 'cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')[:100]}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
