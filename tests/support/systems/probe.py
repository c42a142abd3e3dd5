"""Command that tells whether systemd runs in a container: exit status 0, or 1 with its last message.

``python -m tests.support.systems.probe IMAGE``
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

from tests.support.systems.system_vm import OPTIONS, docker

TIMEOUT_S = 90.0
POLL_S = 0.5
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def why_not(image: str) -> str:
    """Return the reason why systemd does not run; empty if it does."""
    try:
        # With a terminal, which is the console on which systemd reports why it stops.
        container = docker("run", "--detach", "--tty", *OPTIONS, image)
    except AssertionError as error:
        return str(error).strip().splitlines()[-1]
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if answers(container):
                return ""
            if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
                break
            time.sleep(POLL_S)
        return last_message(container)
    finally:
        docker("rm", "--force", "--volumes", container)


def answers(container: str) -> bool:
    """Return whether systemd answers there."""
    command = ["docker", "exec", container, "systemctl", "show", "--property", "Version"]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S).returncode == 0


def last_message(container: str) -> str:
    """Return the last line of the console."""
    lines = [ESCAPES.sub("", line).strip() for line in docker("logs", container).splitlines()]
    return next((line for line in reversed(lines) if line), "no message")


if __name__ == "__main__":
    if reason := why_not(sys.argv[1]):
        sys.exit(
            f"the Docker engine of this computer cannot run the systemd of {sys.argv[1]} in a container ({reason})"
        )
