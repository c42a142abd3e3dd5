"""A container registry for the rehearsal cloud that is up, with a login that its ECR gives out, until its input ends.

.venv/bin/python scripts/lib/serve_registry.py FOLDER IMAGE=NAME:TAG...

Pushes each IMAGE of this computer's engine under NAME:TAG, prints what docker hosts call it, one a line, then an empty
line; then it serves.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(folder: str, *images: str) -> None:
    """Push, print, serve."""
    from localcloud.server.registry import Registry

    with Registry(Path(folder), os.environ, login=True) as registry:
        for each in images:
            print(registry.push(*each.split("=", 1)))
        print(flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
