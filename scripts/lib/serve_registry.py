"""Serve a container registry for the running embedded cloud, whose ECR issues its password, until stdin ends.

.venv/bin/python scripts/lib/serve_registry.py FOLDER IMAGE=NAME:TAG...

Pushes each IMAGE of this computer's engine under NAME:TAG, and prints its name on docker hosts, one per line, then an
empty line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(folder: str, *images: str) -> None:
    """Push the images, print their names, and serve."""
    from localcloud.server.registry import Registry

    with Registry(Path(folder), os.environ, login=True) as registry:
        for image in images:
            print(registry.push(*image.split("=", 1)))
        print(flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
