"""Frameworks over several hosts, with real processes: torchrun, Horovod, MPI's mesh, MXNet.

Those that need PyTorch take it from .venv-training (scripts/training-env makes it), which the hosts share.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.session import Session
from tests.support.embedded_cloud import boto, wait_until
from tests.support.paths import ROOT
from tests.support.project import Project

TRAINING = Path(os.environ.get("STRATUS_TRAINING_PYTHON", ROOT / ".venv-training/bin/python"))
MXNET = Path(os.environ.get("STRATUS_MXNET_PYTHON", ROOT / ".venv-mxnet/bin/python"))
needs_mxnet = pytest.mark.skipif(not MXNET.exists(), reason="no .venv-mxnet: scripts/mxnet-env makes it")
needs_torch = pytest.mark.skipif(not TRAINING.exists(), reason="no .venv-training: scripts/training-env makes it")

WHO = "echo $STRATUS_RANK/$STRATUS_SIZE $STRATUS_SLOTS $(cat $STRATUS_HOSTFILE)\n"

THROUGH = """
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


def has_horovod() -> bool:
    """Whether the training environment has it."""
    ask = [TRAINING, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('horovod'))"]
    return TRAINING.exists() and subprocess.run(ask, check=False).returncode == 0


needs_horovod = pytest.mark.skipif(not has_horovod(), reason="no Horovod: scripts/training-env builds it")


@pytest.fixture(scope="module")
def desk(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts that are up, for all tests here."""
    made = Project(tmp_path_factory.mktemp("desk"), "fw", cloud)
    made.job("single = true\n")
    with made.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
    yield made
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture
def three(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """Three hosts of one's own, for tests that lose some."""
    made = Project(tmp_path, "lose", cloud)
    made.job("single = true\n")
    with made.session() as session:
        assert not session.cluster.launch(session.cluster.plan(3)).failed
    yield made
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def lose(lab: Project, session: Session, name: str) -> None:
    """End a machine behind everybody's back, with all that runs on it."""
    (host,) = session.inventory.hosts([name])
    boto(lab.env, "ec2").terminate_instances(InstanceIds=[host.identity])


def everywhere(session: Session, command: str) -> list[str]:
    """What a command says on each host that is up."""
    return [session.context.ssh.run(host, command).stdout.strip() for host in session.inventory.hosts()]


def ran(desk: Project, *, multi: bool = True) -> list[tuple[str, str]]:
    """Install and run the desk's job; what it said, as (host, line)."""
    lines: list[tuple[str, str]] = []
    with desk.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=multi)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append((host, line)))
    return lines


def job(desk: Project, text: str, python: Path | None = None, **files: str) -> None:
    """Write the desk's job, for another interpreter when one is given."""
    folder = desk.job(text, **files)
    if python:
        given = (folder / "job.ini").read_text().splitlines()
        (folder / "job.ini").write_text("\n".join(["[job]", f"python = {python}", *given[2:]]) + "\n")


def test_a_hostfile_job_knows_all_hosts(desk: Project) -> None:
    """The command runs on each of them, with a file of all addresses and the number of slots."""
    job(desk, "framework = hostfile\nmulti = sh go.sh\n", go__sh=WHO)
    lines = ran(desk)

    addresses = lines[0][1].split()[2:]
    assert len(set(addresses)) == 2
    assert sorted(lines) == [(f"fw-{n}", f"{n}/2 1 {' '.join(addresses)}") for n in (0, 1)]


@needs_torch
@pytest.mark.slow
def test_torchrun_reduces_over_both_hosts_and_over_slots_of_one(desk: Project) -> None:
    """Ranks are counted over all hosts; on one VM the same command fills its slots."""
    both = "framework = torchrun\nmulti = python all.py\nsingle = python all.py\n[resources]\nslots_per_host = 2\n"
    job(desk, both, TRAINING, all__py=ALLREDUCE)
    many, one = ran(desk), ran(desk, multi=False)

    assert sorted(line for _, line in many if line.startswith("fw")) == [
        "fw-0 0 4 10.0",
        "fw-0 1 4 10.0",
        "fw-1 2 4 10.0",
        "fw-1 3 4 10.0",
    ]
    assert sorted(line for _, line in one if line.startswith("fw")) == ["fw-0 0 2 3.0", "fw-0 1 2 3.0"]


def test_a_mesh_starts_commands_on_every_host_and_brings_their_ends_back(desk: Project) -> None:
    """Through a program called ssh, with OpenSSH's options, and the exit status of what it ran."""
    job(desk, "framework = mpi\nmulti = sh go.sh\n", go__sh=THROUGH)
    lines = ran(desk)

    assert ("fw-0", "mesh: 2 hosts") in [(host, line[:13]) for host, line in lines]
    assert [line for host, line in lines if not line.startswith("mesh:")] == [
        "fw-0 in workdir: a b",
        "ended 0",
        "fw-1 in workdir: a b",
        "ended 7",
    ]


STAY = """
for address in $(cat "$STRATUS_HOSTFILE"); do ssh $address 'echo there; exec sleep 97.5' & done
wait
"""
# The number of processes of this computer's that sleep for us, whatever machine they are on.
ASLEEP = ["pgrep", "--count", "--full", "^sleep 97.5"]


def asleep() -> int:
    """How many of the mesh's commands are running."""
    return int(subprocess.run(ASLEEP, capture_output=True, text=True, check=False).stdout)


def test_cancel_of_a_meshed_run_leaves_no_process_and_no_key(desk: Project) -> None:
    """On any host, whoever started what."""
    job(desk, "framework = mpi\nmulti = sh go.sh\n", go__sh=STAY)
    with desk.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: asleep() == 2)
        keys = everywhere(session, f"ls stratus/runs/{run.run_id}/mesh/key.pem")
        report = session.jobs.cancel(run.run_id)
        left = everywhere(session, f"ls stratus/runs/{run.run_id}/mesh 2>/dev/null")

    assert keys == [f"stratus/runs/{run.run_id}/mesh/key.pem"] * 2
    assert set(report.left.values()) == {0}
    assert asleep() == 0
    assert left == ["", ""]


@pytest.mark.slow
def test_a_lost_machine_ends_a_meshed_run_on_all_others(three: Project) -> None:
    """It is named, the exit status is 1, and nobody had to watch for it to end."""
    job(three, "framework = mpi\nmulti = sh go.sh\n", go__sh=STAY)
    with three.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: asleep() == 3)
        lose(three, session, "lose-2")
        wait_until(lambda: session.jobs.runs()[-1].state == "failed", seconds=30)
        with pytest.raises(JobFailed) as caught:
            session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        wait_until(lambda: asleep() == 0)
        left = everywhere(session, f"ls stratus/runs/{run.run_id}/mesh 2>/dev/null")

    assert caught.value.exit_status == 1
    assert "mesh: lost lose-2" in "\n".join(caught.value.tail)
    assert left == ["", ""]


@needs_horovod
@pytest.mark.slow
def test_horovod_reduces_over_both_hosts_and_shows_no_secret(desk: Project) -> None:
    """Each process has its own host's environment, the job's among it, and none of it is on any command line."""
    text = "framework = horovod\nmulti = python all.py\nsingle = python all.py\n[resources]\nslots_per_host = 2\n"
    job(desk, text + '[env]\nLEVEL = it\'s "nine"\n', TRAINING, all__py=HOROVOD)
    many, one = ran(desk), ran(desk, multi=False)

    marks = ["", *(f"rank {n}: " for n in range(1, 4))]
    said = sorted(line for _, line in many if "level" in line)
    assert said == [f'{marks[n]}fw-{n // 2} {n} 4 10.0 level it\'s "nine" seen none' for n in range(4)]
    said = sorted(line for _, line in one if "level" in line)
    assert said == [f'{marks[n]}fw-0 {n} 2 3.0 level it\'s "nine" seen none' for n in range(2)]


@needs_horovod
@pytest.mark.slow
def test_the_job_between_two_sensors_ends_alike_on_one_host_and_on_two(desk: Project) -> None:
    """The shipped example with its own job file, in an environment that is there already."""
    folder = desk.folder / "job"
    shutil.rmtree(folder)
    shutil.copytree(ROOT / "examples/domain_adaptation", folder)
    text = (folder / "sensors.ini").read_text().replace("epochs 15", "epochs 2")
    text = text.replace("runtime = docker", "runtime = venv")
    prepared = f"python = {TRAINING}\nsystem_packages = yes"
    (folder / "job.ini").write_text(text.replace("requirements = requirements.txt", prepared))
    made = ["make_columns.py", "--out", "data/columns", "--granules", "20", "--columns", "60"]
    subprocess.run([TRAINING, *made], cwd=folder, check=True, timeout=120)
    found = []
    with desk.session() as session:
        assert not session.jobs.install().failed
        for multi in (False, True):
            run = session.jobs.start(multi=multi)
            session.jobs.follow(run.run_id, on_line=lambda host, line: None)
            record = session.jobs.fetch(run.run_id)
            outputs = record.folder / "outputs"
            found.append(json.loads(next(outputs.rglob("metrics.json")).read_text()))

    one, two = found
    assert (one["run"]["size"], two["run"]["size"]) == (1, 2)
    # One process and two differ by rounding, which may turn a column over.
    assert one["final"]["target_accuracy"] == pytest.approx(two["final"]["target_accuracy"], abs=0.02)
    assert "synthetic" in one["headline"]


@needs_mxnet
@pytest.mark.slow
def test_mxnet_on_two_hosts_ends_with_the_same_weights_on_both(desk: Project) -> None:
    """The shipped example, its servers and scheduler gone with it."""
    shutil.rmtree(desk.folder / "job")
    shutil.copytree(ROOT / "examples/mnist_kvstore", desk.folder / "job")
    ini = desk.folder / "job/job.ini"
    prepared = f"python = {MXNET}\nsystem_packages = yes"
    ini.write_text(ini.read_text().replace("requirements = requirements.txt", prepared))
    with desk.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        record = session.jobs.fetch(run.run_id)
        states = session.jobs.runs()[-1]
        helpers = everywhere(session, f"cd stratus/runs/{run.run_id}/state; cat s*.rc")

    found = [json.loads((record.folder / f"outputs/fw-{n}/metrics.json").read_text()) for n in (0, 1)]
    assert [one["run"]["rank"] for one in found] in ([0, 1], [1, 0])
    assert [one["run"]["workers"] for one in found] == [2, 2]
    assert len({one["weights_sha256"] for one in found}) == 1
    assert min(one["accuracy"] for one in found) > 0.95
    assert (states.state, helpers) == ("done", ["0\n0", "0"])


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


class Heard:
    """The lines of a run, while they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _: str, line: str) -> None:
        self.lines.append(re.sub(r"^rank \d+: ", "", line))

    def epochs(self, size: int) -> list[int]:
        """The epochs that were run by so many."""
        words = [line.split() for line in self.lines if " epoch " in line]
        return sorted({int(word[2]) for word in words if word[4] == str(size)})


def watched(lab: Project, session: Session, run: str) -> tuple[Heard, threading.Thread]:
    """Follow a run beside the test."""
    heard = Heard()
    thread = threading.Thread(target=lambda: session.jobs.follow(run, on_line=heard))
    thread.start()
    return heard, thread


@needs_horovod
@pytest.mark.slow
def test_an_elastic_run_survives_a_lost_worker_and_ends_well(three: Project) -> None:
    """One of three processes is killed: all epochs that were asked for are run, from the last commit on."""
    text = "framework = horovod\nmulti = python go.py 30 2\n[resources]\nmin_hosts = 2\n"
    job(three, text, TRAINING, go__py=ELASTIC)
    with three.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        heard, thread = watched(three, session, run.run_id)
        wait_until(lambda: len(heard.epochs(3)) > 3, seconds=180)
        (host,) = session.inventory.hosts(["lose-2"])
        assert session.context.ssh.run(host, "pkill -KILL -f '^python go.py 30 2'").ok
        thread.join(120)
        state = session.jobs.runs()[-1].state

    assert state == "done"
    assert {*range(1, 31)} <= {*heard.epochs(3), *heard.epochs(2)}


@needs_horovod
@pytest.mark.slow
def test_a_new_machine_joins_an_elastic_run_in_the_place_of_a_lost_one(three: Project) -> None:
    """Without starting it again; the run knows its new host, whoever asks."""
    text = "framework = horovod\nmulti = python go.py 30 3\n[resources]\nmin_hosts = 1\n"
    job(three, text, TRAINING, go__py=ELASTIC)
    with three.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        heard, thread = watched(three, session, run.run_id)
        with pytest.raises(UsageError, match="every host that is up takes part"):
            session.jobs.add_hosts(run.run_id)
        wait_until(lambda: len(heard.epochs(3)) > 2, seconds=180)
        lose(three, session, "lose-2")
        wait_until(lambda: len(heard.epochs(2)) > 2, seconds=180)
        assert not session.cluster.launch(session.cluster.plan(1)).failed
        not_yet = session.jobs.add_hosts(run.run_id)
        assert not session.jobs.install().failed
        joined = session.jobs.add_hosts(run.run_id)
        found = session.jobs.runs()[-1]
        thread.join(150)
        ended = session.jobs.runs()[-1]

    assert [str(error) for error in not_yet.failed.values()] != []
    assert not_yet.joined == ()
    assert len(joined.joined) == 1
    assert set(joined.joined) <= set(found.hosts)
    assert ended.state == "done"
    assert max(heard.epochs(3)) > max(heard.epochs(2))


# No MXNet in it: what guards the tasks does not look into them.
GUARDED = """
echo "there $$"
[ "$STRATUS_RANK" != "$1" ] || exit 3
exec sleep 97.5
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_main_task_that_fails_ends_those_on_the_other_hosts(desk: Project, rank: int) -> None:
    """However soon it fails; the log of each says whose fault it was."""
    job(desk, f"framework = mxnet\nmulti = sh go.sh {rank}\n", go__sh=GUARDED)
    lines: list[tuple[str, str]] = []
    with desk.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        with pytest.raises(JobFailed):
            session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append((host, line)))
        wait_until(lambda: asleep() == 0)
        wait_until(lambda: everywhere(session, f"ls stratus/runs/{run.run_id}/mesh 2>/dev/null") == ["", ""])
        state = session.jobs.runs()[-1].state

    assert state == "failed"
    assert (f"fw-{1 - rank}", f"mesh: the task on fw-{rank} ended with 3") in lines


@pytest.mark.slow
def test_a_lost_machine_ends_the_main_tasks_on_the_others(three: Project) -> None:
    """Also where their own library would wait for ever."""
    job(three, "framework = mxnet\nmulti = sh go.sh none\n", go__sh=GUARDED)
    with three.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: asleep() == 3)
        log = f"stratus/runs/{run.run_id}/log"
        wait_until(lambda: "3 hosts" in everywhere(session, f"cat {log}/guard.log 2>/dev/null")[0])
        lose(three, session, "lose-2")
        wait_until(lambda: asleep() == 0, seconds=30)
        said = everywhere(session, f"cat {log}/main.log")

    assert ["mesh: lost lose-2" in line for line in said] == [True, True]


@pytest.mark.skipif(not shutil.which("mpirun"), reason="no mpirun here (apt install openmpi-bin; CI does)")
def test_mpirun_reaches_both_hosts_through_the_mesh(desk: Project) -> None:
    """A real Open MPI, which takes its ranks from the hosts in their order."""
    allowed = "OMPI_ALLOW_RUN_AS_ROOT = 1\nOMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1\n"
    go = """mpirun --host "$STRATUS_HOST_SLOTS" -wdir / sh -c 'echo rank $OMPI_COMM_WORLD_RANK on $STRATUS_HOST'\n"""
    job(desk, f"framework = mpi\nmulti = sh go.sh\n[env]\n{allowed}", go__sh=go)

    said = sorted(line for _, line in ran(desk) if line.startswith("rank"))
    assert said == ["rank 0 on fw-0", "rank 1 on fw-1"]


def test_cancel_of_guarded_tasks_is_no_failure(desk: Project) -> None:
    """Those who would tell the others of a failure are silent about it, and gone."""
    job(desk, "framework = mxnet\nmulti = sh go.sh none\n", go__sh=GUARDED)
    with desk.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: asleep() == 2)
        report = session.jobs.cancel(run.run_id)
        state = session.jobs.runs()[-1].state

    assert set(report.left.values()) == {0}
    assert (asleep(), state) == (0, "cancelled")


FOR_EVER = """
import time, torch, horovod.torch as hvd
hvd.init()
while True:
    hvd.allreduce(torch.ones(1))
    print("step", flush=True)
    time.sleep(0.3)
"""


@needs_horovod
@pytest.mark.slow
def test_horovod_without_elasticity_ends_when_a_machine_is_lost(three: Project) -> None:
    """On all hosts, with exit status 1 and the machine's name."""
    job(three, "framework = horovod\nmulti = python forever.py\n", TRAINING, forever__py=FOR_EVER)
    with three.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: any("step" in line for _, line in session.jobs.logs(run.run_id)), seconds=180)
        lose(three, session, "lose-1")
        wait_until(lambda: session.jobs.runs()[-1].state == "failed", seconds=30)
        with pytest.raises(JobFailed) as caught:
            session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        log = everywhere(session, f"cat stratus/runs/{run.run_id}/log/main.log 2>/dev/null")[0]
        left = ["pgrep", "--full", "python.* forever.py$"]
        wait_until(lambda: not subprocess.run(left, capture_output=True, check=False).stdout)

    assert caught.value.exit_status == 1
    assert "mesh: lost lose-1" in log
