"""Ranks that are killed or join late: an elastic run goes on, another one ends and says so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil  # type: ignore[import-untyped]
import pytest

from tests.support.examples.training_runs import BIN, DEADLINE, HOROVOD, JOB, LAUNCHERS, environment, launch, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

EPOCHS = 25


@contextlib.contextmanager
def launcher(args: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher in a group of its own; it and its processes are killed at the end."""
    with log.open("wb") as file:
        run = start(args, file)
        try:
            yield run
        finally:
            pids = [run.pid, *(process.pid for process in family(run))]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            run.wait(DEADLINE)


def start(args: list[str], file: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a launcher with its output in a file."""
    return subprocess.Popen(args, env=environment(), stdout=file, stderr=file, start_new_session=True)


def family(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return all processes below a launcher."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(run.pid).children(recursive=True))
    return []


def ranks(run: subprocess.Popen[bytes]) -> dict[tuple[str, str], psutil.Process]:
    """Return the job's own processes by host and local rank."""
    found = {}
    for process in family(run):
        with contextlib.suppress(psutil.NoSuchProcess):
            args = process.cmdline()
            if args and Path(args[0]).name.startswith("python") and any(word.endswith("train.py") for word in args):
                env = process.environ()
                if "HOROVOD_RANK" in env and Path(args[1]).name == "train.py":
                    found[env["HOROVOD_HOSTNAME"], env["HOROVOD_LOCAL_RANK"]] = process
    return found


def job(image_folder: Path, out: Path, epochs: int) -> list[str]:
    """Return the command of the job."""
    args = ["--data", str(image_folder), "--out", str(out), "--method", "coral", "--epochs", str(epochs)]
    few = ["--global-batch", "24", "--threads", "1", "--commit-every", "3", "--log-every", "1000000"]
    return [sys.executable, str(JOB / "train.py"), *args, *few]


def test_an_elastic_run_that_loses_a_host_reaches_its_last_epoch(image_folder: Path, tmp_path: Path) -> None:
    discovery, log, out = tmp_path / "hosts.sh", tmp_path / "log", tmp_path / "out"
    # Two names of this machine count as two hosts for Horovod.
    discovery.write_text("#!/bin/sh\necho localhost:1\necho 127.0.0.1:2\n", encoding="utf-8")
    discovery.chmod(0o755)
    elastic = ["-np", "3", "--min-np", "1", "--max-np", "3", "--host-discovery-script", str(discovery)]
    args = [str(BIN / "horovodrun"), *HOROVOD, "--gloo-timeout-seconds", "10", *elastic]
    with launcher([*args, *job(image_folder, out, EPOCHS)], log) as run:
        wait_until(lambda: b"epoch 2/" in log.read_bytes() or run.poll() is not None, "the second epoch")
        there = ranks(run)
        assert sorted(there) == [("127.0.0.1", "0"), ("127.0.0.1", "1"), ("localhost", "0")], log.read_text()
        there["localhost", "0"].kill()
        code = run.wait(DEADLINE)

    assert code == 0, log.read_text()[-4000:]
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in found["history"]] == list(range(1, EPOCHS + 1))
    assert (found["history"][0]["ranks"], found["history"][-1]["ranks"]) == (3, 2)
    assert found["ranks_agree"] is True


def test_a_rank_that_joins_has_the_bits_of_the_others(image_folder: Path) -> None:
    script = Path(__file__).with_name("run_late_join.py")
    launch("horovod", script, str(JOB), str(image_folder))


def test_a_run_that_is_not_elastic_ends_with_an_error_when_a_rank_is_lost(image_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launcher([*LAUNCHERS["horovod"][:-1], *job(image_folder, tmp_path / "out", 100_000)], log) as run:
        wait_until(lambda: b"epoch 2/" in log.read_bytes() or run.poll() is not None, "the second epoch")
        ranks(run)["localhost", "1"].kill()
        code = run.wait(DEADLINE)

    assert code != 0
    assert not (tmp_path / "out" / "metrics.json").exists()
