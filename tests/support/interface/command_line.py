"""``stratus`` as a program of its own, on the session of tests/support/interface/fake_session.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

FAKE = "tests.support.interface.fake_session"


def make_workplace(folder: Path) -> Path:
    """Make a working directory with a config file and a job."""
    (folder / "config").mkdir()
    (folder / "config/config.ini").write_text("[cluster]\ncount = 2\n[job]\nrun = job\n")
    (folder / "job").mkdir()
    (folder / "job/job.ini").write_text("[job]\nsingle = true\n")
    return folder


def have_two_vms(folder: Path) -> None:
    """Have the fake session begin with two VMs that are up."""
    (folder / "home").mkdir()
    (folder / "home/vms.json").write_text('{"ml-0": "running", "ml-1": "running"}')


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of the program."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return keep | {"PYTHONPATH": str(ROOT), "STRATUS_HOME": str(folder / "home"), "TERM": "dumb"} | more


def run_stratus(
    folder: Path, *arguments: str, bad: str = "", stdin: str = "", encoding: str = "utf-8", module: str = FAKE
) -> subprocess.CompletedProcess[str]:
    """Run ``stratus`` to its end.

    :param bad: what goes wrong; see tests/support/interface/fake_session.py.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment(folder, PAPER=bad, PYTHONIOENCODING=encoding),
        input=stdin.encode(),
        capture_output=True,
        timeout=60,
    )
    # Not text=True: that would turn a carriage return of a job into a line break.
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)
