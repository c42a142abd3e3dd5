"""A large file to S3 and back, with the connection cut and the process killed on the way, beside boto3.

    scripts/bench data [--mb 2000]

The embedded cloud answers. Each way: the first process loses its connection for good in the middle, the second is
killed, the third completes. Bars: checksums equal, the third sends less than the whole, memory of the client below
200 MB and of the embedded cloud below 500 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

CLIENT_BAR_MB, CLOUD_BAR_MB = 200, 500
CONFIG = "[cluster]\nname = bench\n[aws]\nregion = us-west-2\nendpoint_url = ${BENCH_URL}\n[job]\nrun = job\n"
OURS = """
import os, resource, sys
from pathlib import Path
from orchestrator.config import settings
from orchestrator.core.errors import StratusError
from orchestrator.session import Session
folder, action = Path(sys.argv[1]), sys.argv[2]
config = settings.load(folder / "config.ini", os.environ)
name = "whole.bin" if "whole" in action else "a.bin"
with Session(config, home=folder / "home", runs=folder / "runs") as session:
    try:
        if "up" in action:
            report = session.storage.upload(folder / "a.bin", f"s3://bench/{name}")
        else:
            report = session.storage.download(f"s3://bench/{name}", folder / f"down-{name}")
        print(report.sent_bytes)
    except StratusError as error:
        print(-1, error.lines()[0])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
BOTO3 = """
import os, sys, boto3
folder, action = sys.argv[1], sys.argv[2]
s3 = boto3.client("s3", endpoint_url=os.environ["BENCH_URL"], region_name="us-west-2")
if "up" in action:
    s3.upload_file(folder + "/a.bin", "bench", "boto.bin")
else:
    s3.download_file("bench", "boto.bin", folder + "/boto.bin")
"""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def cloud(folder: Path) -> Iterator[Mapping[str, str]]:
    """Yield the environment of an embedded cloud with a bucket."""
    import boto3

    import localcloud

    env = os.environ | localcloud.up(folder / "cloud")
    try:
        keys = {name.lower(): env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        s3: Any = boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], region_name="us-west-2", **keys)
        s3.create_bucket(Bucket="bench", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        yield env
    finally:
        localcloud.down(folder / "cloud")


def run(code: str, folder: Path, url: str, action: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process of the transfer."""
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), action],
        cwd=ROOT,
        env={**env, "BENCH_URL": url},
        stdout=subprocess.PIPE,
        text=True,
    )


def resumed(folder: Path, size: int, action: str, env: Mapping[str, str]) -> tuple[int, int]:
    """Cut one transfer, kill the next, complete it with a third; return bytes of the third, and its memory in MB."""
    from tests.support.tcp_forwarder import forwarding

    # More than half in any case: an unsigned endpoint reads the body once for its signature, and sends it once.
    with forwarding(env["AWS_ENDPOINT_URL"], cut_after=size // 3, refuse=100_000) as line:
        answer, _ = run(OURS, folder, line.url, action, env).communicate(timeout=900)
        print(f"{action}, cut: {answer.splitlines()[0]}")
    with forwarding(env["AWS_ENDPOINT_URL"], cut_after=size * 10) as line:
        process = run(OURS, folder, line.url, action, env)
        while line.passed < size // 3 and process.poll() is None:
            time.sleep(0.05)
        process.kill()
        process.communicate(timeout=60)
    answer, _ = run(OURS, folder, env["AWS_ENDPOINT_URL"], action, env).communicate(timeout=900)
    sent, peak = answer.split()
    return int(sent), int(peak)


def seconds(code: str, folder: Path, action: str, env: Mapping[str, str]) -> float:
    """Return how long a whole transfer takes."""
    began = time.monotonic()
    run(code, folder, env["AWS_ENDPOINT_URL"], action, env).communicate(timeout=900)
    return time.monotonic() - began


def cloud_peak_mb(folder: Path) -> int:
    """Return the largest memory of the embedded cloud's process so far."""
    pid = json.loads((folder / "cloud/cloud.json").read_text())["pid"]
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) // 1024 if match else 0


def measure(folder: Path, size: int) -> bool:
    """Carry out the transfers, print what they took, and return whether all bars were met."""
    (folder / "config.ini").write_text(CONFIG)
    (folder / "job").mkdir()
    (folder / "job/job.ini").write_text("[job]\nsingle = true\n")
    block = os.urandom(1 << 20)
    with (folder / "a.bin").open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])
    with cloud(folder) as env:
        up, down = (resumed(folder, size, action, env) for action in ("up", "down"))
        is_equal = digest(folder / "a.bin") == digest(folder / "down-a.bin")
        (folder / "down-a.bin").unlink()
        times = [seconds(code, folder, f"whole-{way}", env) for way in ("up", "down") for code in (OURS, BOTO3)]
        peak = cloud_peak_mb(folder)
    client_peak = max(up[1], down[1])
    moved = f"{up[0] / 1e6:.0f} MB sent, {down[0] / 1e6:.0f} MB fetched"
    print(f"third call, of {size / 1e6:.0f} MB: {moved}; equal: {is_equal}")
    print(f"memory: client {client_peak} MB (bar {CLIENT_BAR_MB}), embedded cloud {peak} MB (bar {CLOUD_BAR_MB})")
    for way, ours_s, boto3_s in (("upload", *times[:2]), ("download", *times[2:])):
        print(f"whole {way}: {ours_s:.1f} s, boto3 {boto3_s:.1f} s, ratio {ours_s / boto3_s:.2f}")
    is_less = 0 <= up[0] < size and 0 <= down[0] < size
    return is_equal and is_less and client_peak < CLIENT_BAR_MB and peak < CLOUD_BAR_MB


def main() -> int:
    """Measure; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=2000, help="size of the file (default: 2000)")
    with tempfile.TemporaryDirectory() as scratch:
        return 0 if measure(Path(scratch), parser.parse_args().mb * 1_000_000 >> 20 << 20) else 1


if __name__ == "__main__":
    sys.exit(main())
