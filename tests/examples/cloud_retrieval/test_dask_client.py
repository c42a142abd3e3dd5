"""Runs on Dask clusters: the same result everywhere, lost workers, missing data, results with bounded concurrency.

Schedulers and workers are processes of their own, each in its own folder; all connections use TLS.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
import retrieve
from retrieval import dask_client, pipeline
from retrieval.pipeline import Options
from retrieval.scenes import SceneError

from tests.support.examples.dask_cluster import DEADLINE, Cluster
from tests.support.examples.example_data import CLOUD_RETRIEVAL, ignore_log, scene_hashes


@pytest.fixture(name="cluster")
def start_cluster(tmp_path: Path, scene_folder: Path) -> Iterator[Cluster]:
    """A cluster without workers."""
    started = Cluster(tmp_path, scene_folder)
    with started.processes:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "killed_at"),
    [({"model": "trees", "trees": 16, "rows": 6000}, "trees"), ({"fast": False, "rows": 1500}, "stage 2")],
)
def test_one_worker_two_workers_and_a_worker_killed_halfway_give_the_bits_of_a_local_run(
    cluster: Cluster, quick_options: Options, tmp_path: Path, changes: dict[str, Any], killed_at: str
) -> None:
    options = dataclasses.replace(quick_options, **changes)
    local_result = pipeline.run(dataclasses.replace(options, out=tmp_path / "local"), ignore_log)
    cluster.start_worker("ml-0")
    one = cluster.run(pipeline, options, tmp_path / "one")
    killed = cluster.start_worker("ml-1")
    cluster.wait_for_workers(2)
    two = cluster.run(pipeline, options, tmp_path / "two")

    def kill_halfway(line: str) -> None:
        if line.startswith(killed_at) and killed.poll() is None:
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait(DEADLINE)

    one_lost = cluster.run(pipeline, options, tmp_path / "one_lost", kill_halfway)

    assert (one.client.workers, two.client.workers, killed.returncode) == (1, 2, -signal.SIGKILL)
    assert scene_hashes(one) == scene_hashes(two) == scene_hashes(one_lost) == scene_hashes(local_result)
    assert one.scores.as_dict() == two.scores.as_dict() == one_lost.scores.as_dict() == local_result.scores.as_dict()


@pytest.mark.slow
def test_a_worker_without_the_data_is_named_with_its_path_in_one_line(
    cluster: Cluster, quick_options: Options, tmp_path: Path
) -> None:
    cluster.start_worker("ml-7")
    (tmp_path / "host-1" / "data").unlink()

    with pytest.raises(SceneError) as caught:
        cluster.run(pipeline, quick_options, tmp_path / "out")

    lines = str(caught.value).splitlines()
    assert lines[0] == f"ml-7 (127.0.0.1): {tmp_path}/host-1/data/synthetic_00001.hdf5: no such file"
    assert len(lines) == 4


DIES_ONCE = """
import os
from pathlib import Path
from retrieval import worker
leftovers = [str(path) for path in Path("scratch").rglob("cloud_retrieval-*")]
with worker.scratch_folder() as folder:
    (folder / "granule").touch()
    if not Path("died").exists():
        Path("died").write_text(str(folder.resolve()))
        os._exit(9)
Path("leftovers").write_text(repr(leftovers))
"""


@pytest.mark.slow
def test_scratch_of_a_worker_that_was_killed_is_removed_when_the_next_one_starts(cluster: Cluster) -> None:
    args = ("--scheduler-file", str(cluster.scheduler_file), "--nthreads", "1", "--local-directory", "scratch")
    cluster.start("worker", *args)

    with cluster.as_client(), dask_client.connect(cluster.address) as client:
        client.submit(exec, DIES_ONCE).result(DEADLINE)

    host = cluster.home / "host-1"
    folder = Path((host / "died").read_text())
    assert host / "scratch" in folder.parents
    assert (host / "leftovers").read_text() == "[]"
    assert not folder.exists()


def test_an_unreachable_scheduler_is_one_line_and_exit_code_1(
    scene_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        status = retrieve.main(["--data", str(scene_folder), "--out", str(tmp_path), "--scheduler", address])

    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith(f"{address}: no Dask scheduler at this address")
    assert error.count("\n") == 1


def test_newer_code_replaces_older_on_a_worker_that_outlives_a_run(tmp_path: Path) -> None:
    package = tmp_path / "src" / "retrieval"
    package.mkdir(parents=True)
    shutil.copy(CLOUD_RETRIEVAL / "retrieval" / "__init__.py", package)
    for version in (1, 2):
        (package / "forest.py").write_text(f"VERSION = {version}\n")
        (tmp_path / str(version)).mkdir()
        dask_client.build_zip(package, tmp_path / str(version))
    script = (
        "import sys; from distributed.utils import import_file\n"
        "for zip in sys.argv[1:]:\n    import_file(zip); from retrieval import forest; print(forest.VERSION)"
    )
    zips = [str(next((tmp_path / version).iterdir())) for version in "12"]

    process = subprocess.run([sys.executable, "-c", script, *zips], cwd=tmp_path, capture_output=True, check=True)

    assert process.stdout.split() == [b"1", b"2"]


def test_results_do_not_accumulate_when_they_are_consumed_slowly() -> None:
    started: list[int] = []
    with dask_client.connect("") as client:
        consumed = 0
        for number, result in client.stream(record_start, range(30), started, window=4):
            consumed += 1
            assert len(started) < consumed + 4
            assert result == number * 2

    assert consumed == 30


def record_start(number: int, started: list[int]) -> int:
    """Record that the task has started; workers are threads of this process."""
    started.append(number)
    return number * 2
