"""Runs of the domain adaptation job as users start them: plain, under horovodrun, under torchrun; with a deadline."""

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

from tests.support.paths import ROOT

JOB = ROOT / "examples" / "domain_adaptation"
PACKAGES = ("torch", "horovod", "PIL", "matplotlib", "psutil")
BIN = Path(sys.executable).parent
DEADLINE = 300.0  # for one whole run, on a machine with other load
#: Ranks connect over loopback; the launcher's cache of hosts would be shared with other runs.
HOROVOD = ("--gloo", "--network-interfaces", "lo", "--disable-cache")
LAUNCHERS: dict[str, tuple[str, ...]] = {
    "none": (sys.executable,),
    "horovod": (str(BIN / "horovodrun"), "-np", "2", "-H", "localhost:2", *HOROVOD, sys.executable),
    "ddp": (str(BIN / "torchrun"), "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
}


def environment() -> dict[str, str]:
    """Return the environment of this process without a launcher's variables, and with one thread per rank."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HOROVOD", "TORCHELASTIC"))}
    threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"}
    return inherited | threads | {"PATH": f"{BIN}{os.pathsep}{inherited.get('PATH', '')}"}


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the one line with which train.py refuses its arguments, in this process."""
    import train

    try:
        code = train.main(list(args))
    except SystemExit as error:
        code = int(error.code or 0)
    lines = capsys.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1), lines
    return lines[0]


def train_here(data: Path, out: Path, *args: str) -> dict[str, Any]:
    """Train in this process, on small batches of images; return the metrics."""
    import train

    small = ["--global-batch", "16", "--threads", "1", "--log-every", "1000000"]
    assert train.main(["--data", str(data), "--out", str(out), *small, *args]) == 0
    return read_metrics(out)


def launch(backend: str, script: Path, *args: str) -> str:
    """Run a script under a launcher to its end; return its output. Fails the test if the script fails."""
    process = subprocess.Popen(
        [*LAUNCHERS[backend], str(script), *args],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=DEADLINE)
    finally:
        # A killed launcher leaves its ranks behind; they are in its process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output[-4000:]
    return output


def train_with(backend: str, data: Path, out: Path, args: Sequence[str] = ()) -> dict[str, Any]:
    """Run train.py under a launcher; return its metrics."""
    launch(backend, JOB / "train.py", "--data", str(data), "--out", str(out), "--threads", "1", *args)
    return read_metrics(out)


def read_metrics(out: Path) -> dict[str, Any]:
    """Return the content of metrics.json."""
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def wait_until(condition: Callable[[], Any], description: str) -> Any:
    """Wait until ``condition`` returns a true value, and return that value."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE:.0f} s: {description}")
