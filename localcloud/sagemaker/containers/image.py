"""Stand-in for the images of all containers: this interpreter with its packages, and the programs train and serve.

SageMaker runs ``train`` where a request names no entry point, and ``serve`` in endpoints and transform jobs.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Images of jobs have these programs, too: what they run comes with the data or the model.
_PROGRAMS = {"train": "/opt/ml/input/data/code/train.sh", "serve": "/opt/ml/model/stratus/serve.sh"}
_FOLDER = "bin"


def variables(folder: Path) -> dict[str, str]:
    """Return the variables of an image.

    :param folder: the container's.
    """
    return {
        "PATH": f"{folder / _FOLDER}:{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def unpack(folder: Path, ml: str) -> None:
    """Write the image's programs and its home folder.

    :param ml: path of /opt/ml as the container sees it.
    """
    for name in (_FOLDER, "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, script in _PROGRAMS.items():
        program = folder / _FOLDER / name
        program.write_text(f'#!/bin/sh\nexec sh {script.replace("/opt/ml", ml)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
