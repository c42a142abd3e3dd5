"""Files of a run in a training container: unpacked, linked, moved; and the addresses in them. Standard library only."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

RESOLVE_S = 300.0
FAILURE_CHARS = 1024


class RunError(Exception):
    """The run cannot be started, or its environment cannot be installed."""


def resolve(names: Iterable[str]) -> dict[str, str]:
    """Return name -> IPv4 address; names may become known some seconds after the start.

    :raises RunError: one does not in time.
    """
    addresses: dict[str, str] = {}
    deadline = time.monotonic() + RESOLVE_S
    for name in names:
        while name not in addresses:
            try:
                addresses[name] = socket.gethostbyname(name)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RunError(f"the name {name} is not known after {RESOLVE_S:.0f} s: {error}") from error
                time.sleep(0.2)
    return addresses


def replace_placeholders(folder: Path, addresses: dict[str, str]) -> None:
    """Put the hosts' addresses in the place of the placeholders that the run was planned with."""
    if not addresses:
        return
    # Not inside a longer address: 240.0.0.1 begins 240.0.0.10.
    listed = "|".join(map(re.escape, addresses))
    pattern = re.compile(rf"(?<![0-9.])(?:{listed})(?![0-9])")
    for path in [folder / "hostfile", *folder.glob("mesh/members"), *folder.glob("task/*")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            text = pattern.sub(lambda match: addresses[match[0]], text)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")


def set_variable(folder: Path, name: str, value: str) -> None:
    """Replace the value of a variable that the run was planned with; a tuning job chooses another one."""
    for path in folder.glob("task/*.env"):
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
        changed = [f"{name}={shlex.quote(value)}\n" if line.startswith(f"{name}=") else line for line in lines]
        path.write_text("".join(changed), encoding="utf-8", errors="surrogateescape")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the run; this program's own sender packed it."""
    with tarfile.open(archive) as content:
        # From Python 3.14 on the default refuses links to absolute paths, which a job's folder may contain.
        content.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        content.extractall(folder)


def move_content(source: Path, target: Path) -> None:
    """Move the content of a folder into another one; what exists there is replaced."""
    target.mkdir(parents=True, exist_ok=True)
    for path in list(source.iterdir()):
        place = target / path.name
        if place.is_dir() and not place.is_symlink() and path.is_dir() and not path.is_symlink():
            move_content(path, place)
            continue
        if place.is_symlink() or place.is_file():
            place.unlink()
        shutil.move(str(path), str(place))


def link(source: Path, target: Path) -> None:
    """Link a channel into the working directory."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.is_symlink() or target.exists():
        target.unlink()
    target.symlink_to(source)


def fail(ml: Path, text: str) -> None:
    """Write the reason of a failure, as far as SageMaker takes it."""
    (ml / "output").mkdir(parents=True, exist_ok=True)
    (ml / "output/failure").write_text(text[:FAILURE_CHARS], errors="replace")
