"""Runs of several tasks when a task fails or a host is lost: the others end, or an elastic run continues."""

from __future__ import annotations

import re
import subprocess
import threading

import pytest

from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.session import Session
from tests.support.jobs.framework_jobs import (
    FAIL_OR_SLEEP,
    SLEEP_EVERYWHERE,
    TRAINING,
    count_sleeping,
    needs_horovod,
    on_each_host,
    terminate_behind_its_back,
    three_hosts,
    two_hosts,
    write_job,
)
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project

__all__ = ["three_hosts", "two_hosts"]


@pytest.mark.slow
def test_a_lost_host_ends_a_run_over_the_mesh_on_all_others(three_hosts: Project) -> None:
    """The log names the lost host, the exit status is 1, and the run ends although no shell follows it."""
    write_job(three_hosts, "framework = mpi\nmulti = sh go.sh\n", go__sh=SLEEP_EVERYWHERE)
    with three_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: count_sleeping() == 3)
        terminate_behind_its_back(three_hosts, session, "lose-2")
        wait_until(lambda: session.jobs.runs()[-1].state == "failed", seconds=30)
        with pytest.raises(JobFailed) as caught:
            session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        wait_until(lambda: count_sleeping() == 0)
        # A task removes the keys of the mesh after it has reported its exit.
        wait_until(lambda: on_each_host(session, f"ls stratus/runs/{run.run_id}/mesh 2>/dev/null") == ["", ""])

    assert caught.value.exit_status == 1
    assert "stratus: lost lose-2" in "\n".join(caught.value.tail)


ELASTIC = """
import os, sys, time, torch, horovod.torch as hvd
hvd.init()
model = torch.nn.Linear(4, 1)
optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.01), model.named_parameters())
state = hvd.elastic.TorchState(model, optimizer, epoch=0, together=0)

@hvd.elastic.run
def train(state):
    while state.epoch < int(sys.argv[1]) or state.together < 3:
        optimizer.zero_grad()
        model(torch.ones(8, 4)).sum().backward()
        optimizer.step()
        time.sleep(0.3)
        state.epoch += 1
        state.together += state.epoch > int(sys.argv[1]) and hvd.size() >= int(sys.argv[2])
        print(os.environ["STRATUS_HOST"], "epoch", state.epoch, "of", hvd.size(), flush=True)
        state.commit()

train(state)
"""


class EpochLog:
    """The output of an elastic run, as it arrives."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _: str, line: str) -> None:
        self.lines.append(re.sub(r"^rank \d+: ", "", line))

    def epochs(self, size: int) -> list[int]:
        """Return the epochs that this many processes ran."""
        words = [line.split() for line in self.lines if " epoch " in line]
        return sorted({int(word[2]) for word in words if word[4] == str(size)})


def follow_in_thread(session: Session, run_id: str) -> tuple[EpochLog, threading.Thread]:
    """Follow a run while the test goes on."""
    progress = EpochLog()
    thread = threading.Thread(target=lambda: session.jobs.follow(run_id, on_line=progress))
    thread.start()
    return progress, thread


@needs_horovod
@pytest.mark.slow
def test_an_elastic_run_continues_without_a_killed_worker(three_hosts: Project) -> None:
    """One of three processes is killed: all epochs are run, from the last commit on."""
    text = "framework = horovod\nmulti = python go.py 30 2\n[resources]\nmin_hosts = 2\n"
    write_job(three_hosts, text, TRAINING, go__py=ELASTIC)
    with three_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        progress, thread = follow_in_thread(session, run.run_id)
        wait_until(lambda: len(progress.epochs(3)) > 3, seconds=180)
        (host,) = session.inventory.hosts(["lose-2"])
        assert session.context.ssh.run(host, "pkill -KILL -f '^python go.py 30 2'").ok
        thread.join(120)
        state = session.jobs.runs()[-1].state

    assert state == "done"
    assert {*range(1, 31)} <= {*progress.epochs(3), *progress.epochs(2)}


@needs_horovod
@pytest.mark.slow
def test_a_new_host_replaces_a_lost_one_in_an_elastic_run(three_hosts: Project) -> None:
    """Without a restart; what the new host lacks is installed; Runs() lists it."""
    text = "framework = horovod\nmulti = python go.py 30 3\n[resources]\nmin_hosts = 1\n"
    write_job(three_hosts, text, TRAINING, go__py=ELASTIC)
    with three_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        progress, thread = follow_in_thread(session, run.run_id)
        with pytest.raises(UsageError, match="every VM that is up already takes part"):
            session.jobs.add_hosts(run.run_id)
        wait_until(lambda: len(progress.epochs(3)) > 2, seconds=180)
        terminate_behind_its_back(three_hosts, session, "lose-2")
        wait_until(lambda: len(progress.epochs(2)) > 2, seconds=180)
        assert not session.cluster.launch(session.cluster.plan(1)).failed
        joined = session.jobs.add_hosts(run.run_id)
        extended = session.jobs.runs()[-1]
        thread.join(150)
        finished = session.jobs.runs()[-1]

    assert len(joined.joined) == 1
    assert set(joined.joined) <= set(extended.hosts)
    assert finished.state == "done"
    assert max(progress.epochs(3)) > max(progress.epochs(2))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_failed_main_task_ends_those_on_the_other_hosts(two_hosts: Project, rank: int) -> None:
    """However early it fails; each log names the host of the failed task."""
    write_job(two_hosts, f"framework = mxnet\nmulti = sh go.sh {rank}\n", go__sh=FAIL_OR_SLEEP)
    lines: list[tuple[str, str]] = []
    with two_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        with pytest.raises(JobFailed):
            session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append((host, line)))
        wait_until(lambda: count_sleeping() == 0)
        wait_until(lambda: on_each_host(session, f"ls stratus/runs/{run.run_id}/mesh 2>/dev/null") == ["", ""])
        state = session.jobs.runs()[-1].state

    assert state == "failed"
    assert (f"fw-{1 - rank}", f"stratus: the task on fw-{rank} ended with 3") in lines


@pytest.mark.slow
def test_a_lost_host_ends_the_main_tasks_on_the_others(three_hosts: Project) -> None:
    """Even if their library would wait forever."""
    write_job(three_hosts, "framework = mxnet\nmulti = sh go.sh none\n", go__sh=FAIL_OR_SLEEP)
    with three_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: count_sleeping() == 3)
        log = f"stratus/runs/{run.run_id}/log"
        wait_until(lambda: "3 VMs" in on_each_host(session, f"cat {log}/guard.log 2>/dev/null")[0])
        terminate_behind_its_back(three_hosts, session, "lose-2")
        wait_until(lambda: count_sleeping() == 0, seconds=30)
        output = on_each_host(session, f"cat {log}/main.log")

    assert ["stratus: lost lose-2" in line for line in output] == [True, True]


ENDLESS = """
import time, torch, horovod.torch as hvd
hvd.init()
while True:
    hvd.allreduce(torch.ones(1))
    print("step", flush=True)
    time.sleep(0.3)
"""


@needs_horovod
@pytest.mark.slow
def test_horovod_without_elasticity_ends_when_a_host_is_lost(three_hosts: Project) -> None:
    """On all hosts, with exit status 1 and the name of the lost host."""
    write_job(three_hosts, "framework = horovod\nmulti = python forever.py\n", TRAINING, forever__py=ENDLESS)
    with three_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: any("step" in line for _, line in session.jobs.logs(run.run_id)), seconds=180)
        terminate_behind_its_back(three_hosts, session, "lose-1")
        wait_until(lambda: session.jobs.runs()[-1].state == "failed", seconds=30)
        with pytest.raises(JobFailed) as caught:
            session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        log = on_each_host(session, f"cat stratus/runs/{run.run_id}/log/main.log 2>/dev/null")[0]
        remains = ["pgrep", "--full", "python.* forever.py$"]
        wait_until(lambda: not subprocess.run(remains, capture_output=True, check=False).stdout)

    assert caught.value.exit_status == 1
    assert "stratus: lost lose-1" in log
