"""The Docker engine of this computer, by its command line: what it is asked, and what it says when it refuses."""

from __future__ import annotations

import shutil
import subprocess

from localcloud.core.errors import LocalCloudError

_TIMEOUT_S = 120.0


class EngineError(LocalCloudError):
    """The engine is not there, or does not do what it is asked."""


def docker(*argv: str, stdin: bytes | None = None, timeout_s: float = _TIMEOUT_S) -> str:
    """Run ``docker ARGV`` and return what it prints.

    :raises EngineError: it failed, with its last line, or took longer than ``deadline_s``.
    """
    try:
        done = subprocess.run(
            ["docker", *argv], input=stdin or b"", capture_output=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise EngineError(_absent()) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"docker {argv[0]}: no answer within {timeout_s:.0f} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        raise EngineError(f"docker {argv[0]}: {_last_line(said) or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace").strip()


def docker_output(*argv: str) -> bytes:
    """What ``docker ARGV`` prints on both of its streams, in their order; empty when it fails."""
    try:
        done = subprocess.run(
            ["docker", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def check() -> None:
    """See that an engine answers this user, and can start containers on this very computer.

    :raises EngineError: with what to do about it.
    """
    if not shutil.which("docker"):
        raise EngineError(_absent())
    try:
        docker("info", "--format", "{{.ServerVersion}}", timeout_s=20)
    except EngineError as error:
        said = str(error)
        if "permission denied" in said.lower():
            fix = "this user may not use the engine: sudo usermod -aG docker $USER, then log in again"
        elif "cannot connect" in said.lower():
            fix = "no engine answers: sudo systemctl start docker"
        else:
            fix = said
        raise EngineError(f"docker hosts need a Docker engine on this computer; {fix}") from error


def _absent() -> str:
    return "docker hosts need a Docker engine on this computer; docker is not installed: sudo apt install docker.io"


def _last_line(text: str) -> str:
    return text.splitlines()[-1] if text else ""
