"""Jobs: what job.ini says, and the commands it becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core.errors import ConfigError, UsageError
from orchestrator.core.host import Host
from orchestrator.jobs import build
from orchestrator.jobs import spec as jobs_spec
from tests.support.paths import ROOT

NOW = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)

DASK = """
[job]
framework = dask
requirements = requirements.txt
data =
    scenes -> data
    s3://bucket/more -> more
single = python go.py
multi = python go.py --scheduler $SCHEDULER
[resources]
threads_per_worker = 3
[env]
LEVEL = 9
"""


def host(number: int) -> Host:
    return Host(f"ml-{number}", f"203.0.113.{number}", f"10.0.0.{number}", 22, "ubuntu", Path("key"), "", f"i-{number}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder with everything its job.ini names."""
    place = tmp_path / "My Job"
    (place / "scenes").mkdir(parents=True)
    (place / "requirements.txt").write_text("dask\n")
    (place / "job.ini").write_text(DASK)
    return place


def test_a_job_is_read_with_its_data_and_environment(folder: Path) -> None:
    """Names become safe for folders and images; the lines of data are taken apart."""
    spec = jobs_spec.load(folder, {})

    assert spec.name == "my_job"
    assert [(item.source, item.name, item.is_s3) for item in spec.data] == [
        ("scenes", "data", False),
        ("s3://bucket/more", "more", True),
    ]
    assert spec.excluded_names == ("scenes", "outputs")
    assert spec.env == {"LEVEL": "9"}


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("framework = dask", "framework = dsak", "Did you mean dask?"),
        ("requirements = requirements.txt", "requirements = req.txt", "does not exist"),
        ("    scenes -> data", "    scenes -> ../../etc", "leads out of the working folder"),
        ("    scenes -> data", "    nowhere -> data", "'nowhere -> data' has nothing at"),
        ("    scenes -> data", "    nowhere -> data\nsample = python make.py", "My Job' && python make.py"),
        ("    s3://bucket/more -> more", "    s3://bucket/more", "names no folder"),
        ("threads_per_worker = 3", "threads_per_worker = many", "is not a whole number"),
        ("[env]", "runtime = docker\n[env]", "It belongs under [job]"),
        ("LEVEL = 9", "LEV;touch x = 9", "cannot be the name of a variable"),
        ("LEVEL = 9", "STRATUS_RUN = 9", "cannot be the name of a variable"),
    ],
)
def test_a_mistake_in_job_ini_names_its_line(folder: Path, line: str, instead: str, words: str) -> None:
    """Every mistake stands with file and line, and with words that help."""
    (folder / "job.ini").write_text(DASK.replace(line, instead))

    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(folder, {})

    assert words in str(caught.value)
    assert f"{folder / 'job.ini'}:" in str(caught.value)


def test_one_vm_runs_one_task_without_a_cluster(folder: Path) -> None:
    """Dask on one VM is the job's own affair."""
    job = build.build(jobs_spec.load(folder, {}), [host(0), host(1)], run_id="r-1", multi=False, now=NOW)

    assert [(task.host, task.role, task.command) for task in job.tasks] == [("ml-0", "main", "python go.py")]
    assert job.files == {"hostfile": b"10.0.0.0\n"}


def test_dask_on_many_vms_has_a_scheduler_workers_and_tls(folder: Path) -> None:
    """Everything listens on private addresses, and nothing speaks without a certificate."""
    job = build.build(jobs_spec.load(folder, {}), [host(0), host(1)], run_id="r-1", multi=True, now=NOW)
    scheduler, first, second, main = job.tasks

    assert [(task.host, task.role) for task in job.tasks] == [
        ("ml-0", "scheduler"),
        ("ml-0", "worker"),
        ("ml-1", "worker"),
        ("ml-0", "main"),
    ]
    assert "--host 10.0.0.0" in scheduler.command
    assert "--protocol tls" in scheduler.command
    assert "--host 10.0.0.1" in second.command
    assert "--nthreads 3" in first.command
    assert main.env["SCHEDULER"].startswith("tls://10.0.0.0:")
    assert main.env["SCHEDULER"] in second.command
    assert main.env["STRATUS_WORKERS"] == "ml-0,ml-1"
    assert set(job.files) == {"tls/ca.pem", "tls/cert.pem", "tls/key.pem", "bin/command.sh", "hostfile"}
    assert job.files["bin/command.sh"] == b"python go.py --scheduler $SCHEDULER\n"
    assert "203.0.113" not in " ".join(task.command for task in job.tasks)


def test_two_runs_never_share_their_certificates(folder: Path) -> None:
    """The key of one run opens nothing in the next."""
    spec = jobs_spec.load(folder, {})
    first, second = (build.build(spec, [host(0)], run_id=run, multi=True, now=NOW) for run in ("r-1", "r-2"))

    assert first.files["tls/key.pem"] != second.files["tls/key.pem"]
    assert first.files["tls/ca.pem"] != second.files["tls/ca.pem"]


def test_a_command_on_many_vms_knows_its_rank(folder: Path) -> None:
    """Each host runs the command and knows who else does."""
    text = DASK.replace("framework = dask", "framework = command")
    (folder / "job.ini").write_text(text)
    job = build.build(jobs_spec.load(folder, {}), [host(0), host(1), host(2)], run_id="r-1", multi=True, now=NOW)

    assert [task.env["STRATUS_RANK"] for task in job.tasks] == ["0", "1", "2"]
    assert {task.env["STRATUS_SIZE"] for task in job.tasks} == {"3"}
    assert {task.env["STRATUS_HOSTS"] for task in job.tasks} == {"10.0.0.0,10.0.0.1,10.0.0.2"}
    assert job.main_hosts == ("ml-0", "ml-1", "ml-2")


def test_the_summary_is_one_line_of_json_without_secrets(folder: Path) -> None:
    """It lies on every host for any shell that comes later."""
    job = build.build(jobs_spec.load(folder, {}), [host(0), host(1)], run_id="r-1", multi=True, now=NOW)
    facts = json.loads(job.manifest)

    assert "\n" not in job.manifest
    assert "PRIVATE" not in job.manifest
    assert facts["roles"] == {"ml-0": ["scheduler", "worker", "main"], "ml-1": ["worker"]}


def test_a_job_without_that_command_says_so(folder: Path) -> None:
    """A job may be for one VM only."""
    (folder / "job.ini").write_text(DASK.replace("multi = python go.py --scheduler $SCHEDULER\n", ""))

    with pytest.raises(UsageError, match="names no command for multi"):
        build.build(jobs_spec.load(folder, {}), [host(0)], run_id="r-1", multi=True, now=NOW)


def test_no_host_is_a_usage_error(folder: Path) -> None:
    """And the next verb to type is in it."""
    with pytest.raises(UsageError, match="no host is up"):
        build.build(jobs_spec.load(folder, {}), [], run_id="r-1", multi=True, now=NOW)


def test_a_job_may_be_another_ini_file_of_the_folder(folder: Path) -> None:
    """It has a name of its own, so neither environment nor code gets in the other's way."""
    (folder / "small.ini").write_text(DASK.replace("LEVEL = 9", "LEVEL = 1"))
    small, usual = jobs_spec.load(folder / "small.ini", {}), jobs_spec.load(folder, {})

    assert (small.name, usual.name) == ("my_job_small", "my_job")
    assert (small.folder, small.env["LEVEL"]) == (folder, "1")


@pytest.mark.parametrize("name", ["job.ini", "other.ini"])
def test_a_file_that_is_not_there_is_one_mistake(tmp_path: Path, name: str) -> None:
    """What it would say does not matter any more."""
    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(tmp_path / name if name != "job.ini" else tmp_path, {})

    assert [str(tmp_path / name) in str(problem) for problem in caught.value.problems] == [True]


def test_the_runtime_can_be_asked_for_from_outside(folder: Path) -> None:
    """And what it needs is checked as if the file said it."""
    (folder / "Dockerfile").write_text("FROM scratch\n")

    assert jobs_spec.load(folder, {}, runtime="docker").runtime == "docker"
    (folder / "Dockerfile").unlink()
    with pytest.raises(ConfigError, match="no Dockerfile"):
        jobs_spec.load(folder, {}, runtime="docker")


def test_the_page_of_job_ini_is_up_to_date() -> None:
    """Else: scripts/docs-tables."""
    page = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")
    assert jobs_spec.reference() in page


def simple(folder: Path, framework: str, more: str = "") -> jobs_spec.JobSpec:
    """A job with one command for one VM and for many."""
    text = f"[job]\nframework = {framework}\nsingle = python go.py\nmulti = python go.py\n[resources]\nwait = 9\n{more}"
    (folder / "job.ini").write_text(text)
    return jobs_spec.load(folder, {})


@pytest.mark.parametrize(
    ("framework", "text", "words"),
    [
        ("horovod", "single = go\n", "[job] multi is missing: framework = horovod is for many VMs"),
        ("mpi", "single = go\n", "framework = mpi is for many VMs"),
        ("torchrun", "multi = go\n[resources]\nmin_hosts = 2\n", "min_hosts = '2' is for framework = horovod"),
        ("horovod", "multi = go\n[resources]\nslots_per_host = -1\n", "slots_per_host"),
    ],
)
def test_what_a_framework_cannot_do_is_one_line(folder: Path, framework: str, text: str, words: str) -> None:
    """With the file and the line."""
    (folder / "job.ini").write_text(f"[job]\nframework = {framework}\n{text}")

    with pytest.raises(ConfigError) as caught:
        jobs_spec.load(folder, {})
    assert len(caught.value.problems) == 1
    assert words in str(caught.value)
    assert f"{folder / 'job.ini'}:" in str(caught.value)


def test_an_elastic_job_needs_its_least_number_of_hosts(folder: Path) -> None:
    """Before anything begins; on one VM it is no matter."""
    spec = simple(folder, "horovod", "min_hosts = 3\n")

    with pytest.raises(UsageError, match="min_hosts = 3, and 2 VMs are up"):
        build.build(spec, [host(0), host(1)], run_id="r-1", multi=True, now=NOW)
    assert build.build(spec, [host(0)], run_id="r-1", multi=False, now=NOW).main_hosts == ("ml-0",)


@pytest.mark.parametrize("framework", ["horovod", "mpi"])
def test_a_meshed_job_has_an_agent_on_each_host_and_a_main_task_on_the_first(folder: Path, framework: str) -> None:
    """The members are named in order; keys are the run's own, and in no command and no variable."""
    spec = simple(folder, framework)
    first, second = (build.build(spec, [host(0), host(1)], run_id=run, multi=True, now=NOW) for run in ("r-1", "r-2"))

    assert [(task.host, task.role) for task in first.tasks] == [("ml-0", "mesh"), ("ml-1", "mesh"), ("ml-0", "main")]
    assert first.files["mesh/members"] == b"ml-0 10.0.0.0\nml-1 10.0.0.1\n"
    assert first.files["bin/command.sh"] == b"python go.py\n"
    assert first.files["mesh/key.pem"] != second.files["mesh/key.pem"]
    said = " ".join(str((task.command, task.env)) for task in first.tasks) + first.manifest
    assert "PRIVATE" not in said
    assert {task.env["STRATUS_WAIT"] for task in first.tasks} == {"9"}
    assert not {"AWS_SECRET_ACCESS_KEY", "STRATUS_MIN_HOSTS"} & first.tasks[-1].env.keys()


def test_torchrun_meets_at_the_first_hosts_private_address(folder: Path) -> None:
    """Every host has a main task; two runs have ports of their own."""
    spec = simple(folder, "torchrun", "slots_per_host = 4\n")
    many = build.build(spec, [host(0), host(1)], run_id="r-1", multi=True, now=NOW)
    other = build.build(spec, [host(0), host(1)], run_id="r-2", multi=True, now=NOW)
    (alone,) = build.build(spec, [host(0), host(1)], run_id="r-1", multi=False, now=NOW).tasks

    assert many.main_hosts == ("ml-0", "ml-1")
    mains = [task for task in (*many.tasks, *other.tasks) if task.role == "main"]
    assert {task.env["MASTER_ADDR"] for task in mains} == {"10.0.0.0"}
    assert len({task.env["MASTER_PORT"] for task in mains}) == 2
    assert {task.env["STRATUS_SLOTS"] for task in many.tasks} == {"4"}
    assert "MASTER_ADDR" not in alone.env


def test_mxnet_has_one_scheduler_and_a_server_and_a_worker_on_each_host(folder: Path) -> None:
    """Its workers are the main tasks."""
    job = build.build(simple(folder, "mxnet"), [host(0), host(1)], run_id="r-1", multi=True, now=NOW)
    tasks = [task for task in job.tasks if "DMLC_ROLE" in task.env]
    roles = [(task.host, task.env["DMLC_ROLE"], task.role) for task in tasks]

    assert roles == [
        ("ml-0", "scheduler", "scheduler"),
        ("ml-0", "server", "server"),
        ("ml-0", "worker", "main"),
        ("ml-1", "server", "server"),
        ("ml-1", "worker", "main"),
    ]
    assert {task.env["DMLC_PS_ROOT_URI"] for task in tasks} == {"10.0.0.0"}
    assert [task.env["DMLC_NODE_HOST"] for task in tasks] == ["10.0.0.0"] * 3 + ["10.0.0.1"] * 2
    assert {(task.env["DMLC_NUM_SERVER"], task.env["DMLC_NUM_WORKER"]) for task in tasks} == {("2", "2")}
    assert job.dashboard_port == 0


def test_all_hosts_stand_in_a_file_whatever_the_framework(folder: Path) -> None:
    """One private address on each line."""
    for framework in jobs_spec.FRAMEWORKS:
        job = build.build(simple(folder, framework), [host(0), host(1)], run_id="r-1", multi=True, now=NOW)
        assert job.files["hostfile"] == b"10.0.0.0\n10.0.0.1\n"


@pytest.mark.parametrize("framework", ["torchrun", "mxnet"])
def test_a_job_with_a_main_task_on_every_host_is_guarded(folder: Path, framework: str) -> None:
    """By agents on the hosts themselves, also where the job is in containers; one host alone needs none."""
    (folder / "Dockerfile").write_text("FROM scratch\n")
    simple(folder, framework)
    spec = jobs_spec.load(folder, {}, runtime="docker")
    two, one = (
        build.build(spec, [host(n) for n in range(count)], run_id="r-1", multi=True, now=NOW) for count in (2, 1)
    )
    guards = [task for task in two.tasks if task.role in ("mesh", "guard")]

    assert [(task.host, task.role) for task in guards] == [("ml-0", "mesh"), ("ml-1", "mesh"), ("ml-0", "guard")]
    assert all("STRATUS_IMAGE" not in task.env for task in guards)
    assert all("STRATUS_IMAGE" in task.env for task in two.tasks if task not in guards)
    taken = {task.env.get("MASTER_PORT", task.env.get("DMLC_PS_ROOT_PORT")) for task in two.tasks}
    assert two.files["mesh/port"].decode().strip() not in taken
    assert not {task.role for task in one.tasks} & {"mesh", "guard"}
