"""Frameworks on two hosts, with real processes: torchrun, Horovod, MPI, MXNet."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.jobs.framework_jobs import (
    FAIL_OR_SLEEP,
    MXNET,
    SLEEP_EVERYWHERE,
    TRAINING,
    count_sleeping,
    needs_horovod,
    needs_mxnet,
    needs_torch,
    on_each_host,
    run_job,
    two_hosts,
    write_job,
)
from tests.support.localcloud.clients import wait_until
from tests.support.paths import ROOT
from tests.support.project import Project

__all__ = ["two_hosts"]

PRINT_ROLE = "echo $STRATUS_RANK/$STRATUS_SIZE $STRATUS_SLOTS $(cat $STRATUS_HOSTFILE)\n"

SSH_TO_ALL = """
status=0
for address in $(cat "$STRATUS_HOSTFILE"); do
    ssh -o StrictHostKeyChecking=no $address -p 1 -i key \
        'cd /nowhere >/dev/null 2>&1; echo "$STRATUS_HOST in $(basename $PWD): a b"; exit '$status
    echo "ended $?"
    status=7
done
"""

ALLREDUCE = """
import json, os, pathlib, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
# Two processes share one log: a line in one piece.
line = f"{os.environ['STRATUS_HOST']} {dist.get_rank()} {dist.get_world_size()} {total.item()}"
os.write(1, f"{line}\\n".encode())
dist.destroy_process_group()
"""

# Every process reports what it sees on the command lines of this computer that a run must not show.
HOROVOD = """
import os, pathlib, torch, horovod.torch as hvd
hvd.init()
total = hvd.allreduce(torch.tensor([hvd.rank() + 1.0]), op=hvd.Sum)
def words(path):
    try:
        return path.read_bytes().decode(errors="replace").replace("\\0", " ")
    except OSError:
        return ""
ours = [text for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if "HOROVOD_" in (text := words(path))]
assert ours
seen = [name for name in ("AWS_", "LEVEL=", "nine") if any(name in text for text in ours)]
print(os.environ["STRATUS_HOST"], hvd.rank(), hvd.size(), total.item(), "level", os.environ["LEVEL"],
      "seen", *(seen or ["none"]), flush=True)
"""


@pytest.mark.slow
def test_a_hostfile_job_knows_all_hosts(two_hosts: Project) -> None:
    """The command runs on each host, with a file of all addresses and the number of slots."""
    write_job(two_hosts, "framework = hostfile\nmulti = sh go.sh\n", go__sh=PRINT_ROLE)
    lines = run_job(two_hosts)

    addresses = lines[0][1].split()[2:]
    assert len(set(addresses)) == 2
    assert sorted(lines) == [(f"fw-{n}", f"{n}/2 1 {' '.join(addresses)}") for n in (0, 1)]


@needs_torch
@pytest.mark.slow
def test_torchrun_reduces_over_both_hosts_and_over_slots_of_one(two_hosts: Project) -> None:
    """Ranks are counted over all hosts; on one VM the same command fills its slots."""
    both = "framework = torchrun\nmulti = python all.py\nsingle = python all.py\n[resources]\nslots_per_host = 2\n"
    write_job(two_hosts, both, TRAINING, all__py=ALLREDUCE)
    many, one = run_job(two_hosts), run_job(two_hosts, multi=False)

    assert sorted(line for _, line in many if line.startswith("fw")) == [
        "fw-0 0 4 10.0",
        "fw-0 1 4 10.0",
        "fw-1 2 4 10.0",
        "fw-1 3 4 10.0",
    ]
    assert sorted(line for _, line in one if line.startswith("fw")) == ["fw-0 0 2 3.0", "fw-0 1 2 3.0"]


@pytest.mark.slow
def test_a_mesh_starts_commands_on_every_host_and_brings_their_ends_back(two_hosts: Project) -> None:
    """Through a program called ssh, with OpenSSH's options, and the exit status of what it ran."""
    write_job(two_hosts, "framework = mpi\nmulti = sh go.sh\n", go__sh=SSH_TO_ALL)
    lines = run_job(two_hosts)

    assert ("fw-0", "stratus: 2 VMs") in [(host, line[:14]) for host, line in lines]
    assert [line for host, line in lines if not line.startswith("stratus:")] == [
        "fw-0 in workdir: a b",
        "ended 0",
        "fw-1 in workdir: a b",
        "ended 7",
    ]


@pytest.mark.slow
def test_canceling_a_run_over_the_mesh_leaves_no_process_and_no_key(two_hosts: Project) -> None:
    """On all hosts, whichever of them started a process."""
    write_job(two_hosts, "framework = mpi\nmulti = sh go.sh\n", go__sh=SLEEP_EVERYWHERE)
    with two_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: count_sleeping() == 2)
        keys = on_each_host(session, f"ls stratus/runs/{run.run_id}/mesh/key.pem")
        report = session.jobs.cancel(run.run_id)
        remains = on_each_host(session, f"ls stratus/runs/{run.run_id}/mesh 2>/dev/null")

    assert keys == [f"stratus/runs/{run.run_id}/mesh/key.pem"] * 2
    assert set(report.left.values()) == {0}
    assert count_sleeping() == 0
    assert remains == ["", ""]


@needs_horovod
@pytest.mark.slow
def test_horovod_reduces_over_both_hosts_and_shows_no_secret(two_hosts: Project) -> None:
    """Each process has its own host's environment, the job's among it, and none of it is on any command line."""
    text = "framework = horovod\nmulti = python all.py\nsingle = python all.py\n[resources]\nslots_per_host = 2\n"
    write_job(two_hosts, text + '[env]\nLEVEL = it\'s "nine"\n', TRAINING, all__py=HOROVOD)
    many, one = run_job(two_hosts), run_job(two_hosts, multi=False)

    marks = ["", *(f"rank {n}: " for n in range(1, 4))]
    output = sorted(line for _, line in many if "level" in line)
    assert output == [f'{marks[n]}fw-{n // 2} {n} 4 10.0 level it\'s "nine" seen none' for n in range(4)]
    output = sorted(line for _, line in one if "level" in line)
    assert output == [f'{marks[n]}fw-0 {n} 2 3.0 level it\'s "nine" seen none' for n in range(2)]


@needs_mxnet
@pytest.mark.slow
def test_mxnet_on_two_hosts_ends_with_the_same_weights_on_both(two_hosts: Project) -> None:
    """The shipped example, its servers and scheduler gone with it."""
    shutil.rmtree(two_hosts.folder / "job")
    shutil.copytree(ROOT / "examples/mnist_kvstore", two_hosts.folder / "job")
    ini = two_hosts.folder / "job/job.ini"
    prepared = f"python = {MXNET}\nsystem_packages = yes"
    ini.write_text(ini.read_text().replace("requirements = requirements.txt", prepared))
    with two_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        record = session.jobs.fetch(run.run_id)
        states = session.jobs.runs()[-1]
        helpers = on_each_host(session, f"cd stratus/runs/{run.run_id}/state; cat s*.rc | grep .")

    extended = [json.loads((record.folder / f"outputs/fw-{n}/metrics.json").read_text()) for n in (0, 1)]
    assert [one["run"]["rank"] for one in extended] in ([0, 1], [1, 0])
    assert [one["run"]["workers"] for one in extended] == [2, 2]
    assert len({one["weights_sha256"] for one in extended}) == 1
    assert min(one["accuracy"] for one in extended) > 0.95
    assert (states.state, helpers) == ("done", ["0\n0", "0"])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mpirun"), reason="no mpirun here (apt install openmpi-bin; CI does)")
def test_mpirun_reaches_both_hosts_through_the_mesh(two_hosts: Project) -> None:
    """With Open MPI, which numbers ranks in the order of the hosts."""
    allowed = "OMPI_ALLOW_RUN_AS_ROOT = 1\nOMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1\n"
    go = """mpirun --host "$STRATUS_HOST_SLOTS" -wdir / sh -c 'echo rank $OMPI_COMM_WORLD_RANK on $STRATUS_HOST'\n"""
    write_job(two_hosts, f"framework = mpi\nmulti = sh go.sh\n[env]\n{allowed}", go__sh=go)

    output = sorted(line for _, line in run_job(two_hosts) if line.startswith("rank"))
    assert output == ["rank 0 on fw-0", "rank 1 on fw-1"]


@pytest.mark.slow
def test_canceling_supervised_tasks_is_not_a_failure(two_hosts: Project) -> None:
    """The supervisors of the tasks do not report a failure, and exit."""
    write_job(two_hosts, "framework = mxnet\nmulti = sh go.sh none\n", go__sh=FAIL_OR_SLEEP)
    with two_hosts.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: count_sleeping() == 2)
        report = session.jobs.cancel(run.run_id)
        state = session.jobs.runs()[-1].state

    assert set(report.left.values()) == {0}
    assert (count_sleeping(), state) == (0, "cancelled")
