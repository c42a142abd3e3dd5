"""The life cycle against the embedded cloud: real EC2 calls, real SSH, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import HostsFailed, JobFailed, StratusError, UsageError
from orchestrator.session import Session
from tests.support.embedded_cloud import boto, wait_until
from tests.support.paths import ROOT
from tests.support.project import Project

HELLO = """
import json, os, pathlib, sys
print("hello from", os.environ["STRATUS_HOST"])
pathlib.Path("outputs").mkdir()
facts = {"rank": int(os.environ["STRATUS_RANK"]), "args": sys.argv[1:]}
pathlib.Path("outputs/metrics.json").write_text(json.dumps(facts))
"""
BOTH = "single = python hello.py one\nmulti = python hello.py many\n"


def quiet(host: str, line: str) -> None:
    """Nobody watches."""


@pytest.fixture
def lab(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A lab whose cluster is gone afterwards, whatever the test did."""
    made = Project(tmp_path, "t" + str(abs(hash(request.node.name)) % 10**6), cloud)
    made.job(BOTH, hello__py=HELLO)
    yield made
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture(scope="module")
def desk(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A lab with two hosts that are up and installed, for tests that leave them so."""
    made = Project(tmp_path_factory.mktemp("desk"), "desk", cloud)
    made.job(BOTH, hello__py=HELLO)
    up(made).close()
    yield made
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def processes(mark: str) -> list[str]:
    """List the processes that carry a mark on their command line."""
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if mark in line and "ps -eo" not in line]


def up(lab: Project, count: int = 2) -> Session:
    """Return a session whose hosts are up and installed."""
    session = lab.session()
    if not session.cluster.status().instances:
        assert not session.cluster.launch(session.cluster.plan(count)).failed
    assert not session.jobs.install().failed
    return session


def test_the_whole_flow_from_launch_to_terminate(lab: Project) -> None:
    """On one VM and on two, with a record that tells all, and nothing left."""
    with lab.session() as session:
        plan = session.cluster.plan(2)
        launched = session.cluster.launch(plan)
        first, second = session.jobs.install(), session.jobs.install()
        one = session.jobs.start(multi=False)
        session.jobs.follow(one.run_id, on_line=quiet)
        alone = session.jobs.fetch(one.run_id)
        many = session.jobs.start(multi=True)
        lines: list[tuple[str, str]] = []
        session.jobs.follow(many.short_id, on_line=lambda host, line: lines.append((host, line)))
        together = session.jobs.fetch()
        ended = session.cluster.terminate()
        after = session.cluster.status()

    assert [host.name for host in launched.ready] == [f"{lab.name}-0", f"{lab.name}-1"]
    assert lab.calls.count("RunInstances") == 1
    assert (first.changed, second.changed) == (6, 0)
    assert (alone.state, alone.metrics) == ("done", {"rank": 0, "args": ["one"]})
    assert sorted(lines) == [(f"{lab.name}-{n}", f"hello from {lab.name}-{n}") for n in (0, 1)]
    assert together.outputs == tuple(f"outputs/{lab.name}-{n}/metrics.json" for n in (0, 1))
    record = json.loads((together.folder / "record.json").read_text())
    assert {"api", "pending", "boot", "ssh", "install", "job"} <= record["timings"].keys()
    assert record["settings"]["cluster.name"] == lab.name
    assert record["versions"]
    assert float(record["cost_usd"]) > 0
    logs = {path.name for path in (together.folder / "logs").iterdir()}
    assert logs == {f"{lab.name}-{n}.{kind}.log" for n in (0, 1) for kind in ("install", "main")}
    assert {one.state for one in ended.instances} == {"terminated"}
    assert (ended.group_state, ended.key_state, ended.remaining) == ("gone", "gone", ())
    assert after.instances == ()


def test_status_asks_aws_at_most_three_times(desk: Project) -> None:
    """A fresh session asks who it is, and once for all machines."""
    desk.calls.clear()
    with desk.session() as fresh:
        status = fresh.cluster.status()

    assert len(desk.calls) <= 3
    assert [machine.state for machine in status.up] == ["running", "running"]
    assert status.usd_per_hour is not None
    assert status.expires_at is not None


def test_kill_9_of_the_shell_loses_nothing(desk: Project) -> None:
    """A new session attaches, sees the log from its start, the job finishes, its results come."""
    script = "import pathlib, time\nfor i in range(8):\n    print('tick', i)\n    time.sleep(0.25)\n"
    script += "while not pathlib.Path('go').exists():\n    time.sleep(0.1)\n"
    script += "pathlib.Path('outputs').mkdir()\npathlib.Path('outputs/metrics.json').write_text('{\"ticks\": 8}')\n"
    desk.job("single = python slow.py\n", slow__py=script)
    up(desk, 1).close()
    program = f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from tests.support.cluster_lab import Lab
        lab = Lab(Path({str(desk.folder)!r}), {desk.name!r}, {dict(desk.env)!r})
        session = lab.session()
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=lambda host, line: print(line, flush=True))
    """
    shell = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert shell.stdout
    assert shell.stdout.readline() == "tick 0\n"
    os.kill(shell.pid, signal.SIGKILL)
    shell.wait()
    seen: list[str] = []
    with desk.session() as session:
        run = session.jobs.runs()[-1]
        session.hosts.run_command(f"touch stratus/runs/{run.run_id}/workdir/go")
        session.jobs.follow(run.run_id, on_line=lambda host, line: seen.append(line))
        record = session.jobs.fetch()

    assert run.state == "running"
    assert seen == [f"tick {n}" for n in range(8)]
    assert record.metrics == {"ticks": 8}


@pytest.mark.slow
def test_another_computer_sees_the_same_cluster_and_can_end_it(lab: Project) -> None:
    """From tags alone; with the key it can work there, too, on pinned host keys."""
    with lab.session("laptop") as session:
        session.cluster.launch(session.cluster.plan(2))
        here = session.cluster.status()
    lab.copy_key("laptop", "desktop")
    with lab.session("desktop") as session:
        there = session.cluster.status()
        installed = session.jobs.install()
    with lab.session("without-a-key") as session:
        ended = session.cluster.terminate()

    assert [machine.id for machine in there.instances] == [machine.id for machine in here.instances]
    assert not installed.failed
    assert ended.remaining == ()


def test_a_failing_job_says_how_and_brings_its_logs(desk: Project) -> None:
    """Exit status and last lines are in the error, the logs are on the laptop."""
    desk.job("single = python bad.py\n", bad__py="print('about to fail')\nraise SystemExit(3)\n")
    with up(desk, 1) as session:
        handle = session.jobs.start(multi=False)
        with pytest.raises(JobFailed) as caught:
            session.jobs.follow(handle.run_id, on_line=quiet)

    assert caught.value.exit_status == 3
    assert caught.value.tail[-1] == "about to fail"
    assert (handle.folder / "logs" / f"{desk.name}-0.main.log").read_text() == "about to fail\n"


def test_cancel_leaves_no_process_on_any_host(desk: Project) -> None:
    """Strays in sessions of their own included."""
    desk.job("multi = setsid sleep 91.5 & sleep 91.5\n")
    with up(desk) as session:
        handle = session.jobs.start(multi=True)
        wait_until(lambda: len(processes("sleep 91.5")) >= 4)
        report = session.jobs.cancel(handle.short_id)
        run = session.jobs.runs()[-1]

    assert (set(report.left.values()), report.failed) == ({0}, {})
    assert processes("sleep 91.5") == []
    assert run.state == "cancelled"


def test_an_experiment_that_fails_leaves_nothing_up(lab: Project) -> None:
    """Whatever the step: here packages that do not exist."""
    lab.job("requirements = r.txt\n" + BOTH, r__txt="no-such-package-as-this-one==99\n", hello__py=HELLO)
    with lab.session() as session:
        with pytest.raises(HostsFailed, match="requirements failed"):
            session.experiment(multi=True, count=2)
        status = session.cluster.status()

    assert status.instances == ()


@pytest.mark.slow
def test_an_experiment_returns_its_record_and_what_it_ended(lab: Project) -> None:
    """Launch to terminate in one call."""
    with lab.session() as session:
        record, ended = session.experiment(multi=True, count=2)

    assert record.state == "done"
    assert ended.remaining == ()
    assert record.timings["install"] > 0


def test_one_dead_host_does_not_take_the_others_outcome(lab: Project) -> None:
    """Its error names it; the other one is installed."""
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(2))
        victim = session.inventory.hosts()[1]
        instance = session.cluster.status().instances[1].id
        boto(lab.env, "ec2").stop_instances(InstanceIds=[instance])
        session.context.ssh.disconnect(victim)
        outcome = session.jobs.install([f"{lab.name}-0"])
        with pytest.raises(UsageError, match="not up"):
            session.jobs.install([f"{lab.name}-1"])

    assert (outcome.failed, [host.host for host in outcome.hosts]) == ({}, [f"{lab.name}-0"])


@pytest.mark.slow
def test_stop_keeps_the_disk_and_start_brings_the_same_hosts(lab: Project) -> None:
    """What was installed is there again; nothing is installed twice."""
    with up(lab) as session:
        before = session.cluster.status()
        stopped = session.cluster.stop()
        started = session.cluster.start()
        again = session.jobs.install()
        after = session.cluster.status()

    assert {one.state for one in stopped} == {"stopped"}
    assert {(one.state, one.error) for one in started} == {("running", "")}
    assert again.changed == 0
    assert [machine.id for machine in after.instances] == [machine.id for machine in before.instances]


def test_a_run_before_any_install_says_what_to_type(lab: Project) -> None:
    """And starts nothing."""
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        with pytest.raises(StratusError, match=r"InstallDeps\(\)"):
            session.jobs.start(multi=False)
        assert session.jobs.runs() == []


@pytest.mark.slow
def test_data_on_s3_is_fetched_by_the_hosts_with_their_role(desk: Project) -> None:
    """No key of ours is there; a second install asks S3 and fetches nothing."""
    s3 = boto(desk.env, "s3")
    s3.create_bucket(Bucket=desk.name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for number in range(3):
        s3.put_object(Bucket=desk.name, Key=f"scenes/deep/{number}.txt", Body=b"x" * number)
    script = "import os, pathlib\nprint(sorted(p.name for p in pathlib.Path('in').rglob('*.txt')))\n"
    script += "print([n for n in os.environ if n in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY')])\n"
    desk.job(f"data = s3://{desk.name}/scenes -> in\nsingle = python show.py\n", show__py=script)
    seen: list[str] = []
    with up(desk, 1) as session:
        again = session.jobs.install()
        s3.put_object(Bucket=desk.name, Key="scenes/3.txt", Body=b"new")
        newer = session.jobs.install()
        session.jobs.follow(session.jobs.start(multi=False).run_id, on_line=lambda host, line: seen.append(line))

    assert (again.changed, newer.changed) == (0, len(newer.hosts))
    assert seen == ["['0.txt', '1.txt', '2.txt', '3.txt']", "[]"]


def test_edited_code_runs_without_another_install(desk: Project) -> None:
    """Every run begins with the code as it is on the laptop."""
    desk.job(BOTH, hello__py=HELLO)
    with up(desk, 1) as session:
        (desk.folder / "job/hello.py").write_text("print('edited')\n")
        seen: list[str] = []
        session.jobs.follow(session.jobs.start(multi=False).run_id, on_line=lambda host, line: seen.append(line))

    assert seen == ["edited"]


DASK = """
import json, os, pathlib, sys
from distributed import Client

def where(number):
    return os.environ["STRATUS_HOST"]

if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        print("at", sys.argv[1])
        workers = [info["name"] for info in client.scheduler_info()["workers"].values()]
        hosts = set(client.gather([client.submit(where, n, workers=name) for n, name in enumerate(workers)]))
    pathlib.Path("outputs").mkdir()
    pathlib.Path("outputs/metrics.json").write_text(json.dumps({"hosts": sorted(hosts)}))
    if "wait" in sys.argv:
        open("waiting", "w").close()
        import time
        time.sleep(60)
"""


def test_dask_runs_over_both_hosts_with_tls(desk: Project) -> None:
    """Scheduler on the first host, a worker on each; all of it ends with the job."""
    desk.job("framework = dask\nmulti = python d.py $SCHEDULER\n", d__py=DASK)
    with up(desk) as session:
        handle = session.jobs.start(multi=True)
        lines: list[str] = []
        session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
        record = session.jobs.fetch(handle.run_id)
        wait_until(lambda: not processes(handle.run_id))

    assert record.metrics == {"hosts": [f"{desk.name}-0", f"{desk.name}-1"]}
    assert any(line.startswith("at tls://") for line in lines)
    assert {path.name for path in (record.folder / "logs").glob("*worker*")} == {
        f"{desk.name}-0.worker.log",
        f"{desk.name}-1.worker.log",
    }
    assert processes(handle.run_id) == []


@pytest.mark.slow
def test_the_dashboard_opens_through_a_tunnel(desk: Project) -> None:
    """While the run is on; nothing of it listens beyond the cluster's private addresses."""
    from urllib.request import urlopen

    desk.job("framework = dask\nmulti = python d.py $SCHEDULER wait\n", d__py=DASK)
    with up(desk) as session:
        handle = session.jobs.start(multi=True)
        wait_until(lambda: session.jobs.fetch(handle.run_id).metrics, seconds=60)
        page = session.jobs.dashboard(handle.run_id)
        with urlopen(page.url, timeout=10) as answer:
            body = answer.read().decode()
        page.close()
        report = session.jobs.cancel(handle.run_id)

    assert "Dask" in body
    assert set(report.left.values()) == {0}
