"""Rotation of a host key where only root may read the public key, and where no SSH server runs between connections."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from orchestrator.core import remote_scripts

# Keys lie in a folder that exists only while a command runs as root.
_SUDO = """#!/bin/sh
[ "$1" != -n ] || shift
mv {folder}/hidden {folder}/keys
"$@"
status=$?
mv {folder}/keys {folder}/hidden
exit $status
"""


def test_a_key_that_only_root_may_read_is_replaced(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    boot = generate(hidden / "key")
    commands = {"sshd": f"#!/bin/sh\necho hostkey {tmp_path}/keys/key\n", "sudo": _SUDO.format(folder=tmp_path)}

    answer = rotate(tmp_path, commands, "stage", boot)

    (draft,) = hidden.glob("key.stratus-*.pub")
    assert answer == f"@@staged {' '.join(draft.read_text().split()[:2])}\n"


def test_a_server_that_systemd_starts_for_each_connection_need_not_be_reloaded(tmp_path: Path) -> None:
    """As ssh.socket of Debian 11 does (Accept=yes): it has no service and no pid file."""
    key = tmp_path / "keys/key"
    boot, new = generate(key), generate(key.with_name("key.stratus-1"))
    # "systemctl is-active --quiet UNIT..." has exit status 3 if none is active.
    systemctl = '#!/bin/sh\ncase "$*" in "is-active --quiet ssh.socket"*) exit 0 ;; *) exit 3 ;; esac\n'
    sshd = f"#!/bin/sh\necho hostkey {key}\necho pidfile {tmp_path}/none\n"

    answer = rotate(tmp_path, {"sshd": sshd, "systemctl": systemctl}, "adopt", boot, new)

    assert answer == f"@@current {new}\n"


def generate(path: Path) -> str:
    """Generate a host key; return its public part."""
    path.parent.mkdir(exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


def rotate(tmp_path: Path, commands: Mapping[str, str], *arguments: str) -> str:
    """Run the script with other programs, name -> text; return its output."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in commands.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    return subprocess.run(
        ["sh", "-s", *arguments],
        input=remote_scripts.text("rotate.sh"),
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
