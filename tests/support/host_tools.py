"""A host whose tools (apt, docker, sudo) are scripts of a test; all others are this computer's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.paths import REMOTE
from tests.support.script_host import ScriptHost

SUDO = 'while case "$1" in -*) true ;; *) false ;; esac; do shift; done\nexec "$@"\n'


ENGINE = """case "$*" in
*version*) echo amd64 ;;
*info*) echo / ;;
"""


MIB = 1024


@dataclass(frozen=True)
class HostWithTools(ScriptHost):
    """A host with stand-ins for some tools.

    :param extra_env: more variables of the login.
    """

    extra_env: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """Environment of a login, with the stand-ins first on PATH."""
        return super().env | {"PATH": f"{self.home}/tools:{os.environ['PATH']}"} | self.extra_env

    def tool(self, name: str, text: str) -> None:
        """Add a stand-in, a shell script."""
        path = self.home / "tools" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)


@pytest.fixture
def host(tmp_path: Path) -> HostWithTools:
    """A host where sudo works."""
    (tmp_path / "home").mkdir()
    host = HostWithTools(tmp_path / "home")
    host.tool("sudo", SUDO)
    host.tool("cloud-init", "exit 0\n")
    return host


def without(host: HostWithTools, *names: str) -> HostWithTools:
    """Return the host without some programs of this computer."""
    folder = host.home / "system"
    folder.mkdir(exist_ok=True)
    for path in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in path.iterdir() if path.is_dir() else ():
            if not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return HostWithTools(host.home, {"PATH": f"{host.home}/tools:{folder}"})


def run_step(host: HostWithTools, name: str, *args: str, stdin: str = "") -> tuple[int, list[str]]:
    """Run the script of a step; return its exit status and output."""
    bundle = host.home / "bundle"
    shutil.copytree(REMOTE, bundle, dirs_exist_ok=True)
    env = host.env | {"STRATUS_BUNDLE": str(bundle), "STRATUS_ROOT": str(host.home / "stratus")}
    command = ["sh", str(bundle / "steps" / name), *args]
    done = subprocess.run(command, env=env, input=stdin, cwd=host.home, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()


def fix_of(lines: list[str]) -> str:
    """Return the advice in a step's output; empty without any."""
    return next((line.removeprefix("@@fix ") for line in lines if line.startswith("@@fix ")), "")


def fake_disk(host: HostWithTools, *, total: int, free: int) -> None:
    """Let df report a disk of this size and free space, MiB."""
    line = f"/dev/root {total * MIB} {(total - free) * MIB} {free * MIB} 90% /"
    host.tool("df", f'echo "Filesystem 1024-blocks Used Available Capacity Mounted"\necho "{line}"\n')


def image_manifest(megabytes: int, architecture: str = "amd64") -> str:
    """Return the output of docker manifest inspect for an image with one layer."""
    return (
        f'{{"Ref": "x"\n"architecture": "{architecture}"\n"layers": [\n"size": {megabytes * 1_000_000},\n'
        '"digest": "sha256:0123456789abcdef"'
    )


def fake_engine(host: HostWithTools, cases: str) -> None:
    """Add a docker without the image.

    :param cases: more answers, as cases of a shell script.
    """
    host.tool("docker", f"{ENGINE}*'image inspect'*) exit 1 ;;\n{cases}esac\n")
