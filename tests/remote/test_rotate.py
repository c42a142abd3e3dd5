"""Rotation of a host key where only root may read the public key."""

from __future__ import annotations

import os
import subprocess
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
    hidden, bin_folder = tmp_path / "hidden", tmp_path / "bin"
    hidden.mkdir()
    bin_folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hidden / "key"], check=True)
    commands = {"sshd": f"#!/bin/sh\necho hostkey {tmp_path}/keys/key\n", "sudo": _SUDO.format(folder=tmp_path)}
    for name, text in commands.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    boot = " ".join((hidden / "key.pub").read_text().split()[:2])

    answer = subprocess.run(
        ["sh", "-s", "stage", boot],
        input=remote_scripts.text("rotate.sh"),
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    (draft,) = hidden.glob("key.stratus-*.pub")
    assert answer.stdout == f"@@staged {' '.join(draft.read_text().split()[:2])}\n"
