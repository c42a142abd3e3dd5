"""Docker engine of this computer, through its command line."""

from __future__ import annotations

import shutil
import subprocess

from localcloud.core.errors import LocalCloudError

_TIMEOUT_S = 120.0


class EngineError(LocalCloudError):
    """The engine is missing, or a command of it failed."""


def docker(*argv: str, stdin: bytes | None = None, timeout_s: float = _TIMEOUT_S) -> str:
    """Run ``docker ARGV`` and return its output.

    :raises EngineError: it failed, with its last line, or took longer than ``timeout_s``.
    """
    try:
        process = subprocess.run(
            ["docker", *argv], input=stdin or b"", capture_output=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as error:
        raise EngineError(_absent()) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"docker {argv[0]}: no answer within {timeout_s:.0f} s") from error
    if process.returncode:
        output = process.stderr.decode(errors="replace").strip() or process.stdout.decode(errors="replace").strip()
        raise EngineError(f"docker {argv[0]}: {_last_line(output) or f'exit code {process.returncode}'}")
    return process.stdout.decode(errors="replace").strip()


def docker_output(*argv: str) -> bytes:
    """Return stdout and stderr of ``docker ARGV`` in their order; empty if it fails."""
    try:
        process = subprocess.run(
            ["docker", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return process.stdout if process.returncode == 0 else b""


def check() -> None:
    """Check that an engine answers, and that this user may use it.

    :raises EngineError: with a fix.
    """
    if not shutil.which("docker"):
        raise EngineError(_absent())
    try:
        docker("info", "--format", "{{.ServerVersion}}", timeout_s=20)
    except EngineError as error:
        message = str(error)
        # The engine's messages have no codes.
        if "permission denied" in message.lower():
            fix = "this user may not use the Docker engine: sudo usermod -aG docker $USER, then log in again"
        elif "cannot connect" in message.lower():
            fix = "no Docker engine answers: sudo systemctl start docker"
        else:
            fix = message
        raise EngineError(f"docker hosts need a Docker engine on this computer; {fix}") from error


def _absent() -> str:
    return "docker hosts need a Docker engine on this computer; docker is not installed: sudo apt install docker.io"


def _last_line(text: str) -> str:
    return text.splitlines()[-1] if text else ""
