"""Stand-ins for the images of containers: an interpreter with its packages, and the programs train and serve.

An image is this interpreter, unless LOCALCLOUD_IMAGES names another one for its repository. SageMaker runs ``train``
where a request names no entry point, and ``serve`` in endpoints and transform jobs.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from localcloud.core.errors import LocalCloudError

VARIABLE = "LOCALCLOUD_IMAGES"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Images of jobs have these programs, too: what they run comes with the data or the model.
_PROGRAMS = {"train": "/opt/ml/input/data/code/train.sh", "serve": "/opt/ml/model/stratus/serve.sh"}
_FOLDER = "bin"


@dataclass(frozen=True)
class Images:
    """Interpreters that stand for images.

    :param pythons: pattern of a repository's name -> interpreter; the first that matches counts.
    """

    pythons: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read LOCALCLOUD_IMAGES: ``REPOSITORY=INTERPRETER``, separated as in PATH.

        :raises LocalCloudError: an interpreter does not exist.
        """
        pythons = {}
        for entry in filter(None, environ.get(VARIABLE, "").split(os.pathsep)):
            pattern, _, python = entry.partition("=")
            if not os.access(python, os.X_OK):
                raise LocalCloudError(f"{VARIABLE}: {entry} must be REPOSITORY=INTERPRETER, and the interpreter exist")
            pythons[pattern] = Path(python)
        return cls(pythons)

    def python(self, image: str) -> Path:
        """Return the interpreter of an image.

        :param image: ``123456789012.dkr.ecr.us-west-2.amazonaws.com/stratus/job:1``, or with a digest.
        """
        repository = re.sub(r"^[^/]*[.:][^/]*/|(@.*|:[^/]*)$", "", image)
        matching = (path for pattern, path in self.pythons.items() if fnmatch.fnmatchcase(repository, pattern))
        return next(matching, Path(sys.executable))

    @property
    def folders(self) -> set[Path]:
        """Environments of the interpreters, and those that they were created with."""
        # A virtual environment's interpreter is a link into the other one.
        return {path.parents[1] for python in self.pythons.values() for path in (python.absolute(), python.resolve())}


def variables(folder: Path, python: Path) -> dict[str, str]:
    """Return the variables of an image.

    :param folder: the container's.
    """
    return {
        "PATH": f"{folder / _FOLDER}:{python.parent}:{_SYSTEM_PATH}",
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
