"""API calls and SSH round trips per verb: facts are requested once, and handed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.interface.cli.invocation import Setup
from orchestrator.interface.cli.main import main
from orchestrator.jobs.records.waterfall import PHASES
from orchestrator.session import Session
from tests.support.docker.install_watch import ChannelCounter
from tests.support.imports import imported_by, rooms
from tests.support.localcloud.iam_enforcement import as_user
from tests.support.project import Project

pytestmark = pytest.mark.local

HOSTS = 2
WRITE = 'mkdir outputs && echo "$STRATUS_RANK" | tee outputs/rank'


@dataclass
class Measured:
    """A session whose API calls and SSH channels are counted.

    :param launch: those of the launch.
    """

    project: Project
    session: Session
    channels: ChannelCounter
    launch: tuple[dict[str, int], list[int]] = ({}, [])

    def reset(self) -> None:
        """Begin to count."""
        self.project.calls.clear()
        self.channels.hosts.clear()

    @property
    def api_calls(self) -> dict[str, int]:
        """API calls since the last reset."""
        return dict(Counter(self.project.calls))

    @property
    def channels_per_host(self) -> list[int]:
        """SSH channels since the last reset, in the order of the hosts."""
        by_host = Counter(self.channels.hosts)
        return [by_host[name] for name in sorted(by_host)]


@pytest.fixture(scope="module")
def measured(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Two installed hosts, and a session that has resolved its caller identity."""
    project = Project(tmp_path_factory.mktemp("counts"), "counts", cloud)
    project.job(f"single = {WRITE}\nmulti = {WRITE}\n")
    channels = ChannelCounter()
    with project.session(connect=channels.connect) as session:
        measured = Measured(project, session, channels)
        plan = session.cluster.plan(HOSTS)
        measured.reset()
        assert not session.cluster.launch(plan).failed
        measured.launch = measured.api_calls, measured.channels_per_host
        assert not session.jobs.install().failed
        yield measured
        assert session.cluster.terminate().remaining == ()


def run_to_its_end(measured: Measured) -> str:
    """Run the job on both hosts; return the run's id."""
    handle = measured.session.jobs.start(multi=True, follow=True)
    measured.session.jobs.follow(handle.run_id, on_line=lambda host, line: None)
    return handle.run_id


@pytest.mark.slow
def test_a_launch_takes_two_round_trips_per_host_and_one_tag_each(measured: Measured) -> None:
    """SSH: generate a host key, which is the first command, and put it in force; its tag is in between."""
    api_calls, channels_per_host = measured.launch

    assert channels_per_host == [2] * HOSTS
    # One more removes the launch's key from the tags of all hosts.
    assert api_calls["CreateTags"] == HOSTS + 1
    assert api_calls["RunInstances"] == 1


def test_an_install_that_changes_nothing_is_one_round_trip(measured: Measured) -> None:
    measured.reset()
    assert measured.session.jobs.install().changed == 0

    assert measured.api_calls == {"DescribeInstances": 1}
    assert measured.channels_per_host == [1] * HOSTS


def test_status_makes_two_api_calls_at_most(measured: Measured) -> None:
    measured.session.cluster.status()
    measured.reset()
    measured.session.cluster.status()

    assert measured.api_calls["DescribeInstances"] == 1
    assert sum(measured.api_calls.values()) <= 2
    assert measured.channels_per_host == []


def test_a_run_resolves_its_hosts_once(measured: Measured) -> None:
    """SSH: upload of the code, start and output in one."""
    measured.reset()
    run_to_its_end(measured)

    assert measured.api_calls == {"DescribeInstances": 1}
    assert measured.channels_per_host == [1] * HOSTS


def test_a_detached_run_is_one_round_trip_and_its_output_another(measured: Measured) -> None:
    measured.reset()
    handle = measured.session.jobs.start(multi=True)
    assert measured.channels_per_host == [1] * HOSTS

    lines: list[str] = []
    measured.session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
    assert sorted(lines) == ["0", "1"]
    assert measured.channels_per_host == [2] * HOSTS
    assert measured.api_calls == {"DescribeInstances": 1}


def test_a_fetch_resolves_the_run_once(measured: Measured) -> None:
    """SSH: the list of runs; and logs, outputs and versions in one."""
    run_id = run_to_its_end(measured)
    measured.reset()
    record = measured.session.jobs.fetch(run_id)

    assert len(record.outputs) == HOSTS
    assert measured.api_calls == {"DescribeInstances": 1}
    assert measured.channels_per_host == [2] * HOSTS
    # Each phase of each host was recorded on the way.
    phases = [list(host.seconds) for host in measured.session.waterfalls.waterfall(run_id).hosts]
    assert phases == [list(PHASES)] * HOSTS


def test_logs_resolve_the_run_once(measured: Measured) -> None:
    """SSH: the list of runs, and one log."""
    run_id = run_to_its_end(measured)
    measured.reset()
    lines = list(measured.session.jobs.logs(run_id))

    assert len(lines) == HOSTS
    assert measured.api_calls == {"DescribeInstances": 1}
    assert measured.channels_per_host == [2] * HOSTS


def test_a_cancel_resolves_the_run_once(measured: Measured) -> None:
    """SSH: the list of runs, and the cancel."""
    run_id = run_to_its_end(measured)
    measured.reset()
    report = measured.session.jobs.cancel(run_id)

    assert set(report.left.values()) == {0}
    assert measured.api_calls == {"DescribeInstances": 1}
    assert measured.channels_per_host == [2] * HOSTS


def test_a_command_right_after_another_makes_no_call_unless_something_was_changed(measured: Measured) -> None:
    hosts, clients = measured.session.hosts, measured.session.context.clients
    hosts.run_command("true")
    measured.reset()
    hosts.run_command("true")
    assert measured.api_calls == {}
    assert measured.channels_per_host == [1] * HOSTS

    instances = measured.session.inventory.instances()
    clients.ec2.create_tags(Resources=[instances[0].id], Tags=[{"Key": "note", "Value": "changed"}])
    measured.reset()
    hosts.run_command("true")
    assert measured.api_calls == {"DescribeInstances": 1}


def test_a_command_on_hosts_imports_what_it_uses(measured: Measured) -> None:
    project = measured.project
    env = {**as_user(project.env), "STRATUS_HOME": str(project.folder / "laptop")}
    modules = imported_by(project.folder, "--config", str(project.config), "exec", "true", env=env)

    services = {name for name in modules if name.startswith("orchestrator.services.")}
    assert services == {"orchestrator.services.hosts"}
    assert not rooms(modules) & {"jobs", "install", "experiment"}
    assert not {"boto3", "s3transfer", "fabric", "invoke.context", "asyncio", "rich", "IPython"} & modules


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "api_calls", "channels_per_host"),
    [
        (["run", "--multi"], 1, [1] * HOSTS),
        (["logs"], 1, [2] * HOSTS),
        (["cancel"], 1, [2] * HOSTS),
        (["fetch"], 1, [2] * HOSTS),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_the_command_line_adds_no_call(
    measured: Measured, verb: list[str], api_calls: int, channels_per_host: list[int]
) -> None:
    """The identity of the caller is one more call, as every command is a new session."""

    def open_session(*_: Any, **__: Any) -> Session:
        return measured.project.session(connect=measured.channels.connect)

    run_to_its_end(measured)
    measured.reset()
    exit_code = main(["--config", str(measured.project.config), *verb], Setup(session_factory=open_session))

    assert exit_code == 0
    calls = measured.api_calls
    assert calls.pop("GetCallerIdentity", 1) == 1
    assert calls == {"DescribeInstances": api_calls}
    assert measured.channels_per_host == channels_per_host
