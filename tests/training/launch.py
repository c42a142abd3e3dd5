"""Runs the job as its users do: plain, under horovodrun, under torchrun; each call has a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

JOB = Path(__file__).parents[2] / "examples" / "domain_adaptation"
NEEDED = ("torch", "horovod", "PIL", "matplotlib", "psutil")
BIN = Path(sys.executable).parent
DEADLINE = 300.0  # for one whole run, on a machine that does other things too
#: Ranks meet on loopback; the launcher's cache of hosts is no concern of a test.
HOROVOD = ("--gloo", "--network-interfaces", "lo", "--disable-cache")
LAUNCHERS: dict[str, tuple[str, ...]] = {
    "none": (sys.executable,),
    "horovod": (str(BIN / "horovodrun"), "-np", "2", "-H", "localhost:2", *HOROVOD, sys.executable),
    "ddp": (str(BIN / "torchrun"), "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
}


def environment() -> dict[str, str]:
    """This process's, without what a launcher around it may have set; one thread per rank."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOROVOD", "TORCHELASTIC"))}
    threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"}
    return kept | threads | {"PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}"}


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which train.py refuses, in this process."""
    import train

    try:
        code = train.main(list(words))
    except SystemExit as ended:
        code = int(ended.code or 0)
    lines = capsys.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1), lines
    return lines[0]


def launched(backend: str, script: Path, *words: str) -> str:
    """Run a script to its end; what it said. Fails the test when it fails."""
    run = subprocess.Popen(
        [*LAUNCHERS[backend], str(script), *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = run.communicate(timeout=DEADLINE)
    finally:
        # A launcher that is killed leaves its ranks behind; they are in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, said[-4000:]
    return said


def train(backend: str, data: Path, out: Path, words: Sequence[str] = ()) -> dict[str, Any]:
    """Run train.py; its metrics."""
    launched(backend, JOB / "train.py", "--data", str(data), "--out", str(out), "--threads", "1", *words)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


def until(fact: Callable[[], Any], what: str) -> Any:
    """Wait for ``fact`` to be true, with a deadline."""
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        if found := fact():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE:.0f} s: {what}")
