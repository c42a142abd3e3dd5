"""Spot reclaim: the job gets a signal, and its results are fetched before the instance is terminated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.capacity import pools
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import JobFailed
from tests.support.localcloud.clients import boto, wait_until
from tests.support.project import Project

# It saves what it has when it is told to end, as any job on spot machines should.
SAVES = """
import pathlib, signal, sys, time
def told(*_):
    pathlib.Path("outputs/metrics.json").write_text('{"saved": 1}')
    print("saved", flush=True)
    sys.exit(3)
pathlib.Path("outputs").mkdir()
signal.signal(signal.SIGTERM, told)
print("at work", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


@pytest.fixture
def lab(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A lab on the spot market."""
    made = Project(tmp_path, "spot", cloud)
    made.job("single = python saves.py\nmulti = python saves.py\n", saves__py=SAVES)
    made.config.write_text(made.config.read_text().replace("count = 2", "count = 1\nmarket = spot"))
    yield made
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.mark.slow
def test_a_spot_notice_reaches_the_job_and_results_are_fetched_before_the_reclaim(
    lab: Project, cloud: dict[str, str]
) -> None:
    lines: list[str] = []
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        run = session.jobs.start(multi=False)

        def heard(_: str, line: str) -> None:
            lines.append(line)
            if line == "at work":
                notice = make_fault("spot-interruption", when="0.1 s after running", notice=20)
                localcloud.scenario(Scenario(1, (notice,)), cloud["LOCALCLOUD_HOME"])

        with pytest.raises(JobFailed, match="reclaimed the spot instance") as caught:
            session.jobs.follow(run.run_id, on_line=heard)
        pool = pools.CapacityMemory(session.context.home / "pools.json", session.context.cluster_id, REAL_CLOCK)
        first = session.cluster.plan(1).pools[0]

    assert caught.value.exit_status == 3
    assert lines[-1] == "saved"
    assert any(line.startswith("AWS reclaims this spot instance at 20") for line in lines)
    assert (session.jobs.context.runs_folder / run.run_id / "outputs/metrics.json").read_text() == '{"saved": 1}'
    assert pool.recent_refusal(first) == "Server.SpotInstanceTermination"


@pytest.mark.slow
def test_no_spot_watcher_runs_on_demand(cloud: dict[str, str], tmp_path: Path) -> None:
    lab = Project(tmp_path, "plain", cloud)
    lab.job("single = python -c 'print(1)'\n")
    said: Callable[[str, str], None] = lambda host, line: None  # noqa: E731
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=said)
        host = session.inventory.hosts()[0]
        watching = session.context.ssh.run(host, "pgrep -f 'bin/[s]pot.sh' || echo none").stdout
        assert session.cluster.terminate().remaining == ()

    assert watching.split()[-1] == "none"


@pytest.mark.slow
def test_results_of_an_interrupted_run_that_is_not_followed_are_fetched_from_the_bucket(
    lab: Project, cloud: dict[str, str]
) -> None:
    s3 = boto(cloud, "s3")
    s3.create_bucket(Bucket="spot-results", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    lab.job("single = python saves.py\nresults = s3://spot-results/runs\n", saves__py=SAVES)
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        run = session.jobs.start(multi=False)
        wait_until(lambda: any("at work" in line for _, line in session.jobs.logs(run.run_id)))
        notice = make_fault("spot-interruption", when="0.1 s after running", notice=20)
        localcloud.scenario(Scenario(1, (notice,)), cloud["LOCALCLOUD_HOME"])
        wait_until(lambda: s3.list_objects_v2(Bucket="spot-results")["KeyCount"])
        wait_until(lambda: not session.cluster.status().instances)

    # From another computer, too, which has no record of the run.
    for computer in ("laptop", "office"):
        with lab.session(computer) as session:
            fetched = session.jobs.fetch(run.short_id)
            folder = session.jobs.context.runs_folder / run.run_id
        assert (folder / "outputs/metrics.json").read_text() == '{"saved": 1}'
        assert "saved" in (folder / "logs/spot-0.main.log").read_text()
        assert (fetched.state, fetched.outputs) == ("failed", ("outputs/metrics.json",))
        assert not list(folder.glob("**/.bucket"))
