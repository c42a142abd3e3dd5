"""Move what was received to its place, file by file, each complete under its name; run by steps/place.sh.

    python3 place.py check|apply RECEIVED TARGET file|folder

Files of the same name are replaced, others stay. Of a file that was received, TARGET is the path, or the folder if that
exists or ends in a slash. BUNDLE/folders names further folders, each ended by a zero byte: those without a file.
"""

import errno
import os
import shutil
import sys


def move(source: str, target: str) -> None:
    """Move a file; onto another disk by a copy."""
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    try:
        os.replace(source, target)
    except OSError:
        # Under another name until it is complete.
        part = f"{target}.part"
        shutil.copy2(source, part, follow_symlinks=False)
        os.replace(part, target)
        os.unlink(source)


def bare_folders() -> "list[str]":
    """Return the names of folders that have no file."""
    try:
        with open(os.path.join(os.environ["STRATUS_BUNDLE"], "folders"), "rb") as file:
            return [os.fsdecode(name) for name in file.read().split(b"\0")[:-1]]
    except (KeyError, FileNotFoundError):
        return []


def main(mode: str, received: str, target: str, kind: str) -> int:
    """Check or apply; return the exit status."""
    if mode == "check":
        return int(os.path.lexists(received))
    try:
        for folder, _, names in os.walk(received):
            for name in names:
                path = os.path.join(folder, name)
                if kind == "folder":
                    place = os.path.join(target, os.path.relpath(path, received))
                else:
                    place = os.path.join(target, name) if target.endswith("/") or os.path.isdir(target) else target
                move(path, place)
        if kind == "folder":
            os.makedirs(target, exist_ok=True)
            for name in bare_folders():
                os.makedirs(os.path.join(target, name), exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            print("@@fix make room on this VM's disk, and send it again")
        else:
            print(
                "@@fix name a place that the login may write: a path without a slash at its start is in its home folder"
            )
        print(f"could not write {error.filename2 or error.filename or target}: {error.strerror}")
        # Of a send to a place that cannot be written, nothing would ever remove it.
        shutil.rmtree(received, ignore_errors=True)
        return 1
    shutil.rmtree(received)
    return 0


if __name__ == "__main__":
    os.chdir(os.path.expanduser("~"))
    sys.exit(main(*sys.argv[1:5]))
