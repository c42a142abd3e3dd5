"""Peak memory of the client with many hosts, and the CPU time of ``stratus --help`` and of reading the settings.

    scripts/bench client [--hosts 32]

Hosts are real SSH servers of the embedded cloud; the client launches, installs, runs a job on all of them, fetches and
terminates in a process of its own, whose peak resident memory is read from the kernel.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
[cluster]
name = bench
[aws]
region = us-west-2
endpoint_url = ${AWS_ENDPOINT_URL}
ssh_from = 127.0.0.1/32
[ssh]
port = ${REHEARSAL_SSH_PORT}
[job]
run = job
"""
JOB = f"""
[job]
python = {sys.executable}
system_packages = yes
multi = mkdir outputs && head -c 100000 /dev/urandom > outputs/bytes && seq 1000
"""
FLOW = """
import os, sys, resource
from pathlib import Path
from orchestrator.config import settings
from orchestrator.session import Session
folder, count = Path(sys.argv[1]), int(sys.argv[2])
config = settings.load(folder / "config.ini", os.environ)
lines = []
with Session(config, home=folder / "home", runs=folder / "runs") as session:
    try:
        launched = session.cluster.launch(session.cluster.plan(count))
        installed = session.jobs.install()
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        record = session.jobs.fetch(run.run_id)
    finally:
        ended = session.cluster.terminate()
assert not launched.failed and not installed.failed and not record.failed and not ended.remaining
assert len(record.outputs) == count, record.outputs
assert len(lines) == 1000 * count, len(lines)
print(f"launch {launched.seconds:.1f} s, install {installed.seconds:.1f} s, {len(lines)} lines followed")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def memory(hosts: int) -> int:
    """Return the client's peak resident memory in MB (MiB) for a whole flow over this many hosts."""
    import localcloud

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "job").mkdir()
        (folder / "config.ini").write_text(CONFIG)
        (folder / "job/job.ini").write_text(JOB)
        env = os.environ | localcloud.up(folder / "cloud", pending=1.0, boot=0.5)
        try:
            command = [sys.executable, "-c", FLOW, scratch, str(hosts)]
            answer = subprocess.run(
                command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=600
            )
        finally:
            localcloud.down(folder / "cloud")
    *lines, peak = answer.stdout.splitlines()
    print(*lines, sep="\n")
    return int(peak)


def help_seconds(rounds: int = 5) -> float:
    """Return the CPU seconds, user and system, of the quickest ``stratus --help``."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, ROOT / "run_interface.py", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(rounds))


SETTINGS = """
import pathlib, sys, time
start = time.process_time()
from orchestrator.config import settings
imported = time.process_time()
path = pathlib.Path(sys.argv[1]) / "config.ini"
path.write_text(settings.template())
begin = time.process_time()
settings.load(path, {}, files=False)
print(imported - start, time.process_time() - begin)
"""


def settings_seconds(rounds: int = 20) -> tuple[float, float]:
    """Return the CPU seconds of importing what reads a config file, and of reading one; the quickest of each."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-S", "-c", SETTINGS, folder]
        runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(rounds)]
    times = [[float(number) for number in run.stdout.split()] for run in runs]
    return min(pair[0] for pair in times), min(pair[1] for pair in times)


def main() -> int:
    """Print the figures; 1 if one is over its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=32)
    hosts = parser.parse_args().hosts
    peak, seconds, (imported, read) = memory(hosts), help_seconds(), settings_seconds()
    print(f"client peak memory with {hosts} hosts: {peak} MB (bar: 250 MB)")
    print(f"stratus --help: {seconds:.3f} s of CPU (bar: 0.25 s)")
    print(f"settings: {imported:.3f} s of CPU to import (bar: 0.03 s), {read:.4f} s to read a file (bar: 0.01 s)")
    return 0 if peak < 250 and seconds < 0.25 and imported < 0.03 and read < 0.01 else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
