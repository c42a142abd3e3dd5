"""The life cycle of a cluster and its jobs: real EC2 calls, real SSH, real processes."""

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

from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.session import Session
from tests.support.localcloud.clients import boto, wait_until
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
    """Ignore the output."""


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards."""
    project = Project(tmp_path, "t" + str(abs(hash(request.node.name)) % 10**6), cloud)
    project.job(BOTH, hello__py=HELLO)
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture(scope="module")
def installed_project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with two running, installed hosts, shared by tests that do not change them."""
    project = Project(tmp_path_factory.mktemp("shared"), "shared", cloud)
    project.job(BOTH, hello__py=HELLO)
    up(project).close()
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def processes(mark: str) -> list[str]:
    """Return the processes with a text in their command lines."""
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if mark in line and "ps -eo" not in line]


def up(project: Project, count: int = 2) -> Session:
    """Return a session with running, installed hosts."""
    session = project.session()
    if not session.cluster.status().instances:
        assert not session.cluster.launch(session.cluster.plan(count)).failed
    assert not session.jobs.install().failed
    return session


def test_the_whole_flow_from_launch_to_terminate(project: Project) -> None:
    """On one VM and on two, with complete records, and nothing left behind."""
    with project.session() as session:
        plan = session.cluster.plan(2)
        launched = session.cluster.launch(plan)
        first, second = session.jobs.install(), session.jobs.install()
        one = session.jobs.start(multi=False)
        session.jobs.follow(one.run_id, on_line=quiet)
        alone = session.jobs.fetch(one.run_id)
        with pytest.raises(UsageError) as other_host:
            session.jobs.logs(one.run_id, host=f"{project.name}-1")
        cancelled = session.jobs.cancel(one.run_id)
        many = session.jobs.start(multi=True)
        lines: list[tuple[str, str]] = []
        session.jobs.follow(many.short_id, on_line=lambda host, line: lines.append((host, line)))
        together = session.jobs.fetch()
        ended = session.cluster.terminate()
        after = session.cluster.status()

    # Afterwards, and for a host that the run did not use, one line.
    with project.session() as session, pytest.raises(UsageError, match=r"the VMs of run .* are terminated") as gone:
        session.jobs.fetch(one.short_id)
    assert str(gone.value.fix) == f"fetched before: {alone.folder}/"
    assert f"did not run on {project.name}-1" in str(other_host.value)
    assert (cancelled.ended_as, set(cancelled.left.values())) == ("done", {0})
    assert [host.name for host in launched.ready] == [f"{project.name}-0", f"{project.name}-1"]
    assert project.calls.count("RunInstances") == 1
    assert (first.changed, second.changed) == (6, 0)
    assert (alone.state, alone.metrics) == ("done", {"rank": 0, "args": ["one"]})
    assert sorted(lines) == [(f"{project.name}-{n}", f"hello from {project.name}-{n}") for n in (0, 1)]
    assert together.outputs == tuple(f"outputs/{project.name}-{n}/metrics.json" for n in (0, 1))
    record = json.loads((together.folder / "record.json").read_text())
    assert {"api", "pending", "boot", "ssh", "install", "job"} <= record["timings"].keys()
    assert record["settings"]["cluster.name"] == project.name
    assert record["versions"]
    assert float(record["cost_usd"]) > 0
    logs = {path.name for path in (together.folder / "logs").iterdir()}
    assert logs == {f"{project.name}-{n}.{kind}.log" for n in (0, 1) for kind in ("install", "main")}
    assert {one.state for one in ended.instances} == {"terminated"}
    assert (ended.group_state, ended.key_state, ended.remaining) == ("gone", "gone", ())
    assert after.instances == ()


@pytest.mark.slow
def test_status_asks_aws_at_most_three_times(installed_project: Project) -> None:
    """A new session asks for its identity, and once for all instances."""
    installed_project.calls.clear()
    with installed_project.session() as fresh:
        status = fresh.cluster.status()

    assert len(installed_project.calls) <= 3
    assert [machine.state for machine in status.up] == ["running", "running"]
    assert status.usd_per_hour is not None
    assert status.expires_at is not None


@pytest.mark.slow
def test_kill_9_of_the_shell_loses_nothing(installed_project: Project) -> None:
    """A new session attaches, gets the log from its start, and fetches the results when the job is done."""
    script = "import pathlib, time\nfor i in range(8):\n    print('tick', i)\n    time.sleep(0.25)\n"
    script += "while not pathlib.Path('go').exists():\n    time.sleep(0.1)\n"
    script += "pathlib.Path('outputs').mkdir()\npathlib.Path('outputs/metrics.json').write_text('{\"ticks\": 8}')\n"
    installed_project.job("single = python slow.py\n", slow__py=script)
    up(installed_project, 1).close()
    shared = installed_project
    program = f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from tests.support.project import Project
        project = Project(Path({str(shared.folder)!r}), {shared.name!r}, {dict(shared.env)!r})
        session = project.session()
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=lambda host, line: print(line, flush=True))
    """
    shell = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert shell.stdout
    assert shell.stdout.readline() == "tick 0\n"
    os.kill(shell.pid, signal.SIGKILL)
    shell.wait()
    seen: list[str] = []
    with installed_project.session() as session:
        run = session.jobs.runs()[-1]
        session.hosts.run_command(f"touch stratus/runs/{run.run_id}/workdir/go")
        session.jobs.follow(run.run_id, on_line=lambda host, line: seen.append(line))
        record = session.jobs.fetch()

    assert run.state == "running"
    assert seen == [f"tick {n}" for n in range(8)]
    assert record.metrics == {"ticks": 8}


def test_piped_output_is_the_jobs_byte_for_byte(
    installed_project: Project, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Carriage returns, CR LF and bytes that are not UTF-8, after the prefix of each line."""
    output = b"caf\xe9\r\n\r10%\r20%\rdone\ntab\t\x1b[31m\xff\xfe\n\n"
    script = f"import os, time\nfor byte in {output!r}:\n    os.write(1, bytes([byte]))\ntime.sleep(0.1)\n"
    installed_project.job("single = python bytes.py\n", bytes__py=script)
    with up(installed_project, 1) as session:
        run = session.jobs.start(multi=False)
        capfdbinary.readouterr()
        session.jobs.follow(run.run_id, on_line=LogPrinter(Console()).listener())
        once = capfdbinary.readouterr().out
        for name, line in session.jobs.logs(run.run_id):
            LogPrinter(Console()).listener()(name, line)

    assert once == b"".join(b"  | " + line + b"\n" for line in output.removesuffix(b"\n").split(b"\n"))
    assert capfdbinary.readouterr().out == once


@pytest.mark.slow
def test_another_computer_sees_and_terminates_the_same_cluster(project: Project) -> None:
    """From tags alone; with a copy of the key it can run jobs there, too, with known host keys."""
    with project.session("laptop") as session:
        session.cluster.launch(session.cluster.plan(2))
        here = session.cluster.status()
    project.copy_key("laptop", "desktop")
    with project.session("desktop") as session:
        there = session.cluster.status()
        installed = session.jobs.install()
    with project.session("without-a-key") as session:
        ended = session.cluster.terminate()

    assert [machine.id for machine in there.instances] == [machine.id for machine in here.instances]
    assert not installed.failed
    assert ended.remaining == ()


def test_a_failed_job_is_reported_with_its_exit_status_and_logs(installed_project: Project) -> None:
    """The error has exit status and last lines; the logs are fetched."""
    installed_project.job("single = python bad.py\n", bad__py="print('about to fail')\nraise SystemExit(3)\n")
    with up(installed_project, 1) as session:
        handle = session.jobs.start(multi=False)
        with pytest.raises(JobFailed) as caught:
            session.jobs.follow(handle.run_id, on_line=quiet)

    assert caught.value.exit_status == 3
    assert caught.value.tail[-1] == "about to fail"
    assert (handle.folder / "logs" / f"{installed_project.name}-0.main.log").read_text() == "about to fail\n"


def test_cancel_leaves_no_process_on_any_host(installed_project: Project) -> None:
    """Including processes in sessions of their own."""
    installed_project.job("multi = setsid sleep 91.5 & sleep 91.5\n")
    with up(installed_project) as session:
        handle = session.jobs.start(multi=True)
        wait_until(lambda: len(processes("sleep 91.5")) >= 4)
        report = session.jobs.cancel(handle.short_id)
        run = session.jobs.runs()[-1]

    assert (set(report.left.values()), report.failed) == ({0}, {})
    assert processes("sleep 91.5") == []
    assert run.state == "cancelled"


@pytest.mark.slow
def test_a_run_that_reaches_its_limit_ends_on_all_hosts_and_says_so(installed_project: Project) -> None:
    """The limit is the job's own; the VMs stay up. Its notice is given on the first host alone."""
    project = installed_project
    project.job("max_hours = 0.0005\nnotify = echo $STRATUS_STATE\nmulti = echo here; setsid sleep 94.5\n")
    with up(project) as session:
        handle = session.jobs.start(multi=True)
        with pytest.raises(JobFailed, match=r"reached \[job\] max_hours") as caught:
            session.jobs.follow(handle.run_id, on_line=quiet)
        run = session.jobs.runs()[-1]
        notices = session.hosts.run_command(f"cat stratus/runs/{run.run_id}/log/notify.log")

    assert (caught.value.state, caught.value.run_id, run.state) == ("timeout", run.run_id, "timeout")
    assert processes("sleep 94.5") == []
    assert next(host.lines for host in notices.hosts) == ("timeout",)
    assert notices.hosts[1].lines != ("timeout",)


@pytest.mark.slow
def test_an_experiment_leaves_other_hosts_and_their_job_alone(installed_project: Project) -> None:
    """It runs on the host that it launched only; the job on the others, and they themselves, continue."""
    project = installed_project
    project.job("multi = touch here; sleep 300\nsingle = python hello.py one\n", hello__py=HELLO)
    with up(project) as session:
        handle = session.jobs.start(multi=True)
        record, ended = session.experiment(multi=False, count=1)
        states = {run.run_id: (run.state, run.hosts) for run in session.jobs.runs()}
        status = session.cluster.status()
        session.jobs.cancel(handle.run_id)

    names = (f"{project.name}-0", f"{project.name}-1")
    assert (record.state, record.hosts) == ("done", (f"{project.name}-2",))
    assert [result.name for result in ended.instances] == [f"{project.name}-2"]
    assert (ended.untouched, ended.remaining) == (names, ())
    assert states[handle.run_id] == ("running", names)
    assert [instance.state for instance in status.instances] == ["running", "running"]


def test_a_dead_host_does_not_affect_the_outcome_of_the_others(project: Project) -> None:
    """The error names the dead host; the other one is installed."""
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(2))
        victim = session.inventory.hosts()[1]
        instance = session.cluster.status().instances[1].id
        boto(project.env, "ec2").stop_instances(InstanceIds=[instance])
        session.context.ssh.disconnect(victim)
        outcome = session.jobs.install([f"{project.name}-0"])
        with pytest.raises(UsageError, match="not up"):
            session.jobs.install([f"{project.name}-1"])

    assert (outcome.failed, [host.host for host in outcome.hosts]) == ({}, [f"{project.name}-0"])


@pytest.mark.slow
def test_stop_keeps_the_disks_and_start_brings_the_same_hosts_back(project: Project) -> None:
    """Installed software is still there; nothing is installed twice."""
    with up(project) as session:
        before = session.cluster.status()
        stopped = session.cluster.stop()
        started = session.cluster.start()
        again = session.jobs.install()
        after = session.cluster.status()

    assert {one.state for one in stopped} == {"stopped"}
    assert {(one.state, one.error) for one in started} == {("running", "")}
    assert [one.expires_at for one in started] == [machine.expires_at for machine in after.instances]
    assert not any(one.is_unchanged for one in (*stopped, *started))
    assert again.changed == 0
    assert [machine.id for machine in after.instances] == [machine.id for machine in before.instances]


@pytest.mark.slow
def test_hosts_fetch_data_from_s3_with_their_role(installed_project: Project) -> None:
    """Without the user's credentials; a second install compares with S3 and fetches nothing."""
    s3 = boto(installed_project.env, "s3")
    s3.create_bucket(Bucket=installed_project.name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for number in range(3):
        s3.put_object(Bucket=installed_project.name, Key=f"scenes/deep/{number}.txt", Body=b"x" * number)
    script = "import os, pathlib\nprint(sorted(p.name for p in pathlib.Path('in').rglob('*.txt')))\n"
    script += "print([n for n in os.environ if n in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY')])\n"
    installed_project.job(
        f"data = s3://{installed_project.name}/scenes -> in\nsingle = python show.py\n", show__py=script
    )
    seen: list[str] = []
    with up(installed_project, 1) as session:
        again = session.jobs.install()
        s3.put_object(Bucket=installed_project.name, Key="scenes/3.txt", Body=b"new")
        newer = session.jobs.install()
        session.jobs.follow(session.jobs.start(multi=False).run_id, on_line=lambda host, line: seen.append(line))

    assert (again.changed, newer.changed) == (0, len(newer.hosts))
    assert seen == ["['0.txt', '1.txt', '2.txt', '3.txt']", "[]"]


@pytest.mark.slow
def test_edited_code_runs_without_another_install(installed_project: Project) -> None:
    """Every run starts with the current local code."""
    installed_project.job(BOTH, hello__py=HELLO)
    with up(installed_project, 1) as session:
        (installed_project.folder / "job/hello.py").write_text("print('edited')\n")
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


@pytest.mark.slow
def test_dask_runs_over_both_hosts_with_tls(installed_project: Project) -> None:
    """Scheduler on the first host, a worker on each; all of them exit with the job."""
    installed_project.job("framework = dask\nmulti = python d.py $SCHEDULER\n", d__py=DASK)
    with up(installed_project) as session:
        handle = session.jobs.start(multi=True)
        lines: list[str] = []
        session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
        record = session.jobs.fetch(handle.run_id)
        wait_until(lambda: not processes(handle.run_id))

    assert record.metrics == {"hosts": [f"{installed_project.name}-0", f"{installed_project.name}-1"]}
    assert any(line.startswith("at tls://") for line in lines)
    assert {path.name for path in (record.folder / "logs").glob("*worker*")} == {
        f"{installed_project.name}-0.worker.log",
        f"{installed_project.name}-1.worker.log",
    }
    assert processes(handle.run_id) == []


@pytest.mark.slow
def test_the_dashboard_opens_through_a_tunnel(installed_project: Project) -> None:
    """While the run is active; it listens on private addresses only."""
    from urllib.request import urlopen

    installed_project.job("framework = dask\nmulti = python d.py $SCHEDULER wait\n", d__py=DASK)
    with up(installed_project) as session:
        handle = session.jobs.start(multi=True)
        wait_until(lambda: session.jobs.fetch(handle.run_id).metrics, seconds=60)
        page = session.jobs.dashboard(handle.run_id)
        with urlopen(page.url, timeout=10) as answer:
            body = answer.read().decode()
        page.close()
        report = session.jobs.cancel(handle.run_id)

    assert "Dask" in body
    assert set(report.left.values()) == {0}
