"""Environment of a run in a training container: system packages, an interpreter, requirements, the job's setup.

As on a VM, with one difference: packages of the image's own Python count as installed. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from training_files import RunError

# What job.ini has without a word on python: the image's own.
IMAGE_PYTHON = ("python3", "python")
_PATHS = (
    "import sysconfig; print(*dict.fromkeys(sysconfig.get_path(name) for name in ('purelib', 'platlib')), sep='\\n')"
)


class Environment:
    """Packages that the job needs besides those of the image.

    :param root: folder in which a virtual environment is made if one is needed.
    :param folder: of the run.
    :param run: its facts in run.json.
    :param variables: environment of its commands.
    :ivar venv: the virtual environment; it does not exist if the image suffices.
    """

    def __init__(self, root: Path, folder: Path, run: dict[str, Any], variables: dict[str, str]) -> None:
        self.folder, self.run, self.variables = folder, run, variables
        self.venv = root / "venv"

    def install(self) -> None:
        """Install everything.

        :raises RunError: a step failed; its output was printed.
        """
        shutil.rmtree(self.venv, ignore_errors=True)
        if packages := self.run.get("apt_packages", ""):
            self.install_packages("apt_packages", packages)
        python = self.interpreter()
        requirements, setup = self.run.get("requirements", "").strip(), self.run.get("setup", "")
        is_image_python = prefix(python) == sys.prefix
        if is_image_python and not requirements and not setup:
            return
        self.make_venv(python, shared=is_image_python or self.run.get("system_packages", False))
        if requirements:
            self.install_requirements(requirements)
        if setup:
            file = self.folder / "setup.sh"
            file.write_text(setup + "\n")
            self.step("setup", ["sh", "-ex", str(file)])

    def interpreter(self) -> str:
        """Return the interpreter that job.ini names, which is installed if the image's distribution has it.

        :raises RunError: there is none.
        """
        name = self.run.get("python") or IMAGE_PYTHON[0]
        if name in IMAGE_PYTHON:
            return sys.executable
        if re.fullmatch(r"python3\.\d+", name) and not self.which(name):
            try:
                self.install_packages(name, f"{name} {name}-venv")
            except (RunError, OSError) as error:
                print_line(str(error))
        path = self.which(name)
        if path is None:
            raise RunError(f"no {name} in the image: remove python from job.ini, or use an image that has it")
        return path

    def which(self, name: str) -> str | None:
        """Return the path of a program; None if the container has no such program."""
        return shutil.which(name, path=self.variables.get("PATH", os.defpath))

    def install_packages(self, name: str, packages: str) -> None:
        """Install packages of the image's distribution.

        :param name: of the step.
        :raises RunError: they cannot be installed.
        """
        self.step(
            name, ["sh", "-c", f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages}"]
        )

    def make_venv(self, python: str, *, shared: bool) -> None:
        """Make a virtual environment.

        :param shared: packages of ``python`` can be imported, too.
        """
        # pip's installation takes most of the time of creating an environment: shared packages include it.
        with_pip = ["--without-pip"] if shared and subprocess.run([python, "-c", "import pip"]).returncode == 0 else []
        subprocess.run([python, "-m", "venv", "--clear", *with_pip, str(self.venv)], check=True)
        if shared:
            # If the interpreter is itself in an environment, --system-site-packages would share its base's packages.
            site = Path(output([str(self.venv / "bin/python"), "-c", _PATHS]).splitlines()[0])
            (site / "stratus-shared.pth").write_text(output([python, "-c", _PATHS]))

    def install_requirements(self, text: str) -> None:
        """Install the job's requirements with pip."""
        file = self.folder / "requirements.txt"
        file.write_text(text + "\n")
        pip = ["-m", "pip", "--disable-pip-version-check", "install", "--no-input", "--progress-bar", "off", "--quiet"]
        command = [str(self.venv / "bin/python"), *pip, *self.run.get("pip_options", []), "-r", str(file)]
        self.step("requirements", command)

    def step(self, name: str, command: list[str]) -> None:
        """Run one step of the install; its output is printed if it fails.

        :raises RunError: it failed.
        """
        began = time.monotonic()
        path = f"{self.venv / 'bin'}{os.pathsep}{self.variables.get('PATH', os.defpath)}"
        result = subprocess.run(
            command,
            cwd=self.folder / "workdir",
            env={**self.variables, "PATH": path, "VIRTUAL_ENV": str(self.venv)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if result.returncode:
            text = result.stdout.decode(errors="replace")
            print(text, flush=True)
            raise RunError(f"{name} could not be installed: {''.join(text.strip().splitlines()[-1:])}")
        print_line(f"{name} installed in {time.monotonic() - began:.1f} s")

    def versions(self) -> bytes:
        """Return the packages that the job could import, as pip freeze prints them."""
        listing = (
            "from importlib.metadata import distributions as all_of; "
            "print(*sorted({f'{item.name}=={item.version}' for item in all_of()}), sep='\\n')"
        )
        python = self.venv / "bin/python"
        command = [str(python) if python.exists() else sys.executable, "-c", listing]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30).stdout


def print_line(text: str) -> None:
    """Write a line to the job's log."""
    print(f"stratus: {text}", flush=True)


def output(command: list[str]) -> str:
    """Return the output of a command."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


def prefix(python: str) -> str:
    """Return the folder of an interpreter's environment."""
    return sys.prefix if python == sys.executable else output([python, "-c", "import sys; print(sys.prefix)"]).strip()
