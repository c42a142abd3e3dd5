"""Mountpoint for S3, as stage.py calls it: a stand-in records the call, as this kernel may have no FUSE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REMOTE

RECORDS = """#!/bin/sh
[ "$3" = denied/ ] && { echo "Error: Failed to create S3 client"; exit 1; }
echo "$@" >"$HOME/call"
"""


@pytest.mark.parametrize(
    ("url", "flags", "call"),
    [
        ("s3://lab/scenes/", [], "--read-only --prefix scenes/ lab"),
        ("s3://lab", ["--public"], "--read-only --no-sign-request lab"),
        ("s3://lab/a", ["--requester-pays"], "--read-only --prefix a/ --requester-pays lab"),
    ],
)
def test_a_prefix_is_mounted_for_reading_and_linked(tmp_path: Path, url: str, flags: list[str], call: str) -> None:
    result, folder = stage(tmp_path, url, flags)

    place = tmp_path / "stratus/data/job/1"
    assert result.stdout == f"data: {url} mounted\n"
    assert (tmp_path / "call").read_text() == f"{call} {place}\n"
    assert (folder / "workdir/deep/in").readlink() == place


def test_a_mount_that_is_refused_is_one_line(tmp_path: Path) -> None:
    result, folder = stage(tmp_path, "s3://lab/denied", [])

    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == "data: s3://lab/denied: mount-s3 failed: Error: Failed to create S3 client\n"
    assert not (folder / "state/inputs").exists()


def stage(home: Path, url: str, flags: list[str]) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Prepare the data of a run, and return the result and the run's folder."""
    folder = home / "stratus/runs/r"
    for name in ("workdir", "state"):
        (folder / name).mkdir(parents=True)
    item = {"url": url, "name": "deep/in", "path": "data/job/1", "mode": "mount", "shard": False, "flags": flags}
    (folder / "inputs").write_text(json.dumps([item]))
    program = home / "bin/mount-s3"
    program.parent.mkdir()
    program.write_text(RECORDS)
    program.chmod(0o700)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, str(REMOTE / "stage.py"), "run", str(folder)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False), folder
