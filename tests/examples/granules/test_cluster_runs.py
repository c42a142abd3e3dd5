"""The same result on one worker, on two, after a lost worker, and from S3; each granule has a model of its own fold.

Dask schedulers and workers are processes of their own with TLS; S3 is a real server on loopback.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from granules import evaluation, pipeline
from granules.pipeline import GranulesResult, Options

from tests.support.aws.s3_server import s3_server
from tests.support.examples.dask_cluster import DEADLINE, Cluster
from tests.support.examples.example_data import CLOUD_RETRIEVAL, granule_hashes


@pytest.fixture(name="cluster")
def start_cluster(tmp_path: Path, granule_folder: Path) -> Iterator[Cluster]:
    """A cluster without workers."""
    started = Cluster(tmp_path, granule_folder)
    with started.processes:
        yield started


@pytest.mark.slow
def test_one_worker_two_workers_and_a_worker_killed_halfway_give_the_bits_of_a_local_run(
    cluster: Cluster, quick_options: Options, local_result: GranulesResult, tmp_path: Path
) -> None:
    cluster.start_worker("ml-0")
    one = cluster.run(pipeline, quick_options, tmp_path / "one")
    killed = cluster.start_worker("ml-1")
    cluster.wait_for_workers(2)
    two = cluster.run(pipeline, quick_options, tmp_path / "two")

    def kill_once_trees_are_trained(line: str) -> None:
        if line.startswith("trees") and killed.poll() is None:
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait(DEADLINE)

    one_lost = cluster.run(pipeline, quick_options, tmp_path / "one_lost", kill_once_trees_are_trained)

    assert killed.poll() == -signal.SIGKILL
    assert (one.client.workers, two.client.workers, one_lost.client.workers) == (1, 2, 2)
    assert granule_hashes(one) == granule_hashes(two) == granule_hashes(one_lost) == granule_hashes(local_result)
    assert evaluation.compute_scores(one.counts, 1) == evaluation.compute_scores(local_result.counts, 1)
    for name in ("one", "two", "one_lost"):
        written = {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*.*")}
        assert written == {str(p.relative_to(quick_options.out)) for p in quick_options.out.rglob("*.*")} - {
            "metrics.json",
            "granules.png",
            "granules.pdf",
        }


STAGE_ONE = """
import sys
from retrieval import scenes
try:
    with scenes.local_copy("s3://orbits/2013", sys.argv[1]) as path:
        print(path.stat().st_size)
    print(path.parent.exists())
except scenes.SceneError as error:
    print(error)
"""


@pytest.mark.slow
def test_granules_on_s3_are_staged_and_removed_with_the_result_of_local_granules(
    local_result: GranulesResult, granule_folder: Path, tmp_path: Path
) -> None:
    args = ["--out", "outputs", "--folds", "2", "--trees", "8", "--maps", "2", "--data"]
    command = [sys.executable, str(CLOUD_RETRIEVAL / "granule_job.py"), *args]
    with s3_server("orbits", "2013", granule_folder, tmp_path / "scratch") as env:

        def run_job(url: str, *before: str, **other: str) -> subprocess.CompletedProcess[str]:
            """Run the job with granules of a bucket."""
            words = [*before, *command, url]
            return subprocess.run(words, cwd=tmp_path, env=env | other, capture_output=True, text=True, check=False)

        done = run_job("s3://orbits/2013")
        assert (done.returncode, done.stderr) == (0, "")
        file = next(path for path in granule_folder.iterdir() if path.name.startswith("VNP03MOD"))
        script = [sys.executable, "-c", STAGE_ONE]
        path = {"PYTHONPATH": str(CLOUD_RETRIEVAL)}
        present, absent = (
            subprocess.run([*script, name], env=env | path, capture_output=True, text=True, check=True)
            for name in (file.name, "VNP02MOD.nc")
        )
        no_keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
        no_keys |= {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null"}
        failed = {
            "s3://elsewhere/x: the bucket does not exist (NoSuchBucket)": run_job("s3://elsewhere/x"),
            "s3://orbits/2013: no AWS credentials found; give the machine a role": run_job(
                "s3://orbits/2013", **no_keys
            ),
            # With a limit of half a kilobyte per file, downloads fail as on a full disk.
            "s3://orbits/2013/VNP02MOD.": run_job("s3://orbits/2013", "sh", "-c", 'ulimit -f 1; exec "$@"', "sh"),
        }

    metrics = json.loads((tmp_path / "outputs" / "metrics.json").read_text())
    assert (metrics["model"]["sha256"], metrics["predictions"]["sha256"]) == granule_hashes(local_result)
    assert not list((tmp_path / "scratch").rglob("cloud_retrieval-*"))
    assert "phase accuracy" in done.stdout
    for message, run in failed.items():
        assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
        assert all(line.startswith(message) for line in run.stderr.splitlines()), run.stderr
        assert run.stderr.count("\n") == (4 if message.endswith(".") else 1)
    assert present.stdout.split() == [str(file.stat().st_size), "False"]
    assert absent.stdout == "s3://orbits/2013/VNP02MOD.nc: the object no longer exists (404)\n"
    assert "cannot write to scratch (File too large)" in run.stderr
