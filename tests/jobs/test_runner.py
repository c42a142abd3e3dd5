"""The start of a run on hosts that wait for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import HostsFailed
from orchestrator.core.host import Host
from orchestrator.jobs import build, runner, spec
from orchestrator.ssh import CommandResult
from orchestrator.ssh.line_stream import LineStreams

HOSTS = [Host(name, "10.0.0.1", "10.0.0.1", 22, "u", Path(), "", "") for name in ("ml-0", "ml-1")]
STARTED = ("@@started main", "@@start 0")


class Stream:
    """Output of ``run.sh`` on a host.

    :ivar orders: what was sent to it.
    """

    def __init__(self, *lines: str, endless: bool = False) -> None:
        self.lines, self.endless = lines, endless
        self.orders: list[bytes] = []
        self.closed = False

    def send(self, data: bytes) -> None:
        self.orders.append(data)

    def read(self, on_line: Callable[[str], None], *, until: Callable[[str], bool], **_: Any) -> bool:
        for line in self.lines:
            on_line(line)
            if until(line):
                return True
        while self.endless:
            on_line("x" * 60_000)
        return False

    def exit_status(self) -> int:
        return 73

    def close(self) -> None:
        self.closed = True


class Ssh:
    """SSH client that cancels runs.

    :ivar cancelled: hosts.
    """

    clock = REAL_CLOCK

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def run(self, host: Host, command: str, **_: Any) -> CommandResult:
        self.cancelled.append(host.name)
        return CommandResult(host.name, command, "@@left 0\n", "", 0, 0.1)


@pytest.fixture
def plan(tmp_path: Path) -> build.JobPlan:
    (tmp_path / "job.ini").write_text("[job]\nmulti = true\n")
    job = spec.load(tmp_path, {})
    return build.build(job, HOSTS, run_id="20261120-141203-k3x", multi=True, now=datetime(2026, 11, 20, tzinfo=UTC))


def start(plan: build.JobPlan, *outputs: Stream, follow: bool = True) -> tuple[runner.StartedRun, Ssh]:
    ssh: Any = Ssh()
    streams = LineStreams()
    for host, output in zip(HOSTS, outputs, strict=True):
        stream: Any = output
        streams.add(host.name, stream)
    try:
        return runner.start(ssh, HOSTS, plan, streams, follow=follow), ssh
    except HostsFailed as error:
        error.args = (*error.args, ssh.cancelled)
        raise


def test_every_host_is_told_to_start_and_to_send_its_output(plan: build.JobPlan) -> None:
    outputs = Stream(*STARTED), Stream("@@busy 20261120-141203-aaa", *STARTED)
    started, ssh = start(plan, *outputs)

    marks = [log.reader.mark for log in started.logs.values()]
    assert [output.orders for output in outputs] == [[f"follow {mark}\n".encode()] for mark in marks]
    assert [output.closed for output in outputs] == [False, False]
    assert started.busy == {"ml-1": ("20261120-141203-aaa",)}
    assert ssh.cancelled == []


def test_a_detached_run_leaves_no_connection_open(plan: build.JobPlan) -> None:
    outputs = Stream(*STARTED), Stream(*STARTED)
    started, _ = start(plan, *outputs, follow=False)

    assert [(output.orders, output.closed) for output in outputs] == [([b"go\n"], True)] * 2
    assert started.logs == {}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (Stream("cp: no space left", "@@start 73"), "cp: no space left"),
        (Stream("@@missing data x", "@@start 0"), "no data x here yet"),
        (Stream("@@start 0"), "exit 1|could not start"),
        (Stream("@@started main"), "could not start"),
        (Stream(endless=True), "more output than a start has"),
        (Stream(*["y"] * 2000), "more output than a start has"),
    ],
    ids=["no space", "missing", "no task", "cut off", "endless", "many lines"],
)
def test_a_run_that_does_not_start_on_every_host_is_cancelled_on_all(
    plan: build.JobPlan, output: Stream, message: str
) -> None:
    good = Stream(*STARTED)
    with pytest.raises(HostsFailed, match="did not start on 1 of 2 VMs") as caught:
        start(plan, good, output)

    assert sorted(caught.value.args[-1]) == ["ml-0", "ml-1"]
    assert caught.match("did not start")
    assert (good.closed, output.closed) == (True, True)
    assert re.search(message, str(caught.value.errors["ml-1"]))
