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

import pytest

from tests.training import launch

for needed in launch.NEEDED:
    pytest.importorskip(needed, reason="tests of training: scripts/test-training")

import psutil  # noqa: E402
from generators import synthetic_images  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

EPOCHS = 25


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set."""
    folder = tmp_path_factory.mktemp("images")
    synthetic_images.write_domains(folder, seed=2, size=16, share=0.06)
    return folder


@contextlib.contextmanager
def started(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher in a group of its own; whatever is left of it is gone at the end."""
    with log.open("wb") as file:
        run = begin(words, file)
        try:
            yield run
        finally:
            left = [run.pid, *(each.pid for each in family(run))]
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            run.wait(launch.DEADLINE)


def begin(words: list[str], file: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start it, its output to a file."""
    return subprocess.Popen(words, env=launch.environment(), stdout=file, stderr=file, start_new_session=True)


def family(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes below a launcher."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(run.pid).children(recursive=True))
    return []


def ranks(run: subprocess.Popen[bytes]) -> dict[tuple[str, str], psutil.Process]:
    """The job's own processes: host and local rank -> process."""
    found = {}
    for each in family(run):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = each.cmdline()
            if words and Path(words[0]).name.startswith("python") and any(word.endswith("train.py") for word in words):
                env = each.environ()
                if "HOROVOD_RANK" in env and Path(words[1]).name == "train.py":
                    found[env["HOROVOD_HOSTNAME"], env["HOROVOD_LOCAL_RANK"]] = each
    return found


def job(data: Path, out: Path, epochs: int) -> list[str]:
    """The job's command."""
    words = ["--data", str(data), "--out", str(out), "--method", "coral", "--epochs", str(epochs)]
    few = ["--global-batch", "24", "--threads", "1", "--commit-every", "3", "--log-every", "1000000"]
    return [sys.executable, str(launch.JOB / "train.py"), *words, *few]


def test_an_elastic_run_that_loses_a_host_reaches_its_last_epoch(data: Path, tmp_path: Path) -> None:
    discovery, log, out = tmp_path / "hosts.sh", tmp_path / "log", tmp_path / "out"
    # Two names of this machine: two hosts, as far as Horovod knows.
    discovery.write_text("#!/bin/sh\necho localhost:1\necho 127.0.0.1:2\n", encoding="utf-8")
    discovery.chmod(0o755)
    elastic = ["-np", "3", "--min-np", "1", "--max-np", "3", "--host-discovery-script", str(discovery)]
    words = [str(launch.BIN / "horovodrun"), *launch.HOROVOD, "--gloo-timeout-seconds", "10", *elastic]
    with started([*words, *job(data, out, EPOCHS)], log) as run:
        launch.until(lambda: b"epoch 2/" in log.read_bytes() or run.poll() is not None, "the second epoch")
        there = ranks(run)
        assert sorted(there) == [("127.0.0.1", "0"), ("127.0.0.1", "1"), ("localhost", "0")], log.read_text()
        there["localhost", "0"].kill()
        code = run.wait(launch.DEADLINE)

    assert code == 0, log.read_text()[-4000:]
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in found["history"]] == list(range(1, EPOCHS + 1))
    assert (found["history"][0]["ranks"], found["history"][-1]["ranks"]) == (3, 2)
    assert found["ranks_agree"] is True


def test_a_rank_that_joins_has_the_bits_of_the_others(data: Path) -> None:
    script = Path(__file__).with_name("joining.py")
    launch.launched("horovod", script, str(launch.JOB), str(data))


def test_a_run_that_is_not_elastic_ends_with_an_error_when_a_rank_is_lost(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started([*launch.LAUNCHERS["horovod"][:-1], *job(data, tmp_path / "out", 100_000)], log) as run:
        launch.until(lambda: b"epoch 2/" in log.read_bytes() or run.poll() is not None, "the second epoch")
        ranks(run)["localhost", "1"].kill()
        code = run.wait(launch.DEADLINE)

    assert code != 0
    assert not (tmp_path / "out" / "metrics.json").exists()
