"""Jobs: what job.ini says, and the commands it becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import jobfile, jobs
from orchestrator.errors import ConfigError, UsageError
from orchestrator.hosts import Host

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
    spec = jobfile.load(folder, {})

    assert spec.name == "my_job"
    assert [(item.source, item.dest, item.is_s3) for item in spec.data] == [
        ("scenes", "data", False),
        ("s3://bucket/more", "more", True),
    ]
    assert spec.left_behind == ("scenes", "outputs")
    assert spec.env == {"LEVEL": "9"}


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("framework = dask", "framework = dsak", "Did you mean dask?"),
        ("requirements = requirements.txt", "requirements = req.txt", "does not exist"),
        ("    scenes -> data", "    scenes -> ../../etc", "leads out of the working folder"),
        ("    scenes -> data", "    nowhere -> data", "nothing at"),
        ("    s3://bucket/more -> more", "    s3://bucket/more", "names no folder"),
        ("threads_per_worker = 3", "threads_per_worker = many", "is no whole number"),
        ("[env]", "runtime = docker\n[env]", "It belongs under [job]"),
        ("LEVEL = 9", "LEV;touch x = 9", "cannot be the name of a variable"),
        ("LEVEL = 9", "STRATUS_RUN = 9", "cannot be the name of a variable"),
    ],
)
def test_a_mistake_in_job_ini_names_its_line(folder: Path, line: str, instead: str, words: str) -> None:
    """Every mistake stands with file and line, and with words that help."""
    (folder / "job.ini").write_text(DASK.replace(line, instead))

    with pytest.raises(ConfigError) as caught:
        jobfile.load(folder, {})

    assert words in str(caught.value)
    assert f"{folder / 'job.ini'}:" in str(caught.value)


def test_one_vm_runs_one_task_without_a_cluster(folder: Path) -> None:
    """Dask on one VM is the job's own affair."""
    job = jobs.build(jobfile.load(folder, {}), [host(0), host(1)], run="r-1", multi=False)

    assert [(task.host, task.role, task.command) for task in job.tasks] == [("ml-0", "main", "python go.py")]
    assert job.files == {"hostfile": b"10.0.0.0\n"}


def test_dask_on_many_vms_has_a_scheduler_workers_and_tls(folder: Path) -> None:
    """Everything listens on private addresses, and nothing speaks without a certificate."""
    job = jobs.build(jobfile.load(folder, {}), [host(0), host(1)], run="r-1", multi=True)
    scheduler, first, second, main = job.tasks

    assert [(task.host, task.role) for task in job.tasks] == [
        ("ml-0", "scheduler"), ("ml-0", "worker"), ("ml-1", "worker"), ("ml-0", "main"),
    ]  # fmt: skip
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
    spec = jobfile.load(folder, {})
    first, second = (jobs.build(spec, [host(0)], run=run, multi=True) for run in ("r-1", "r-2"))

    assert first.files["tls/key.pem"] != second.files["tls/key.pem"]
    assert first.files["tls/ca.pem"] != second.files["tls/ca.pem"]


def test_a_command_on_many_vms_knows_its_rank(folder: Path) -> None:
    """Each host runs the command and knows who else does."""
    text = DASK.replace("framework = dask", "framework = command")
    (folder / "job.ini").write_text(text)
    job = jobs.build(jobfile.load(folder, {}), [host(0), host(1), host(2)], run="r-1", multi=True)

    assert [task.env["STRATUS_RANK"] for task in job.tasks] == ["0", "1", "2"]
    assert {task.env["STRATUS_SIZE"] for task in job.tasks} == {"3"}
    assert {task.env["STRATUS_HOSTS"] for task in job.tasks} == {"10.0.0.0,10.0.0.1,10.0.0.2"}
    assert job.mains == ("ml-0", "ml-1", "ml-2")


def test_the_summary_is_one_line_of_json_without_secrets(folder: Path) -> None:
    """It lies on every host for any shell that comes later."""
    job = jobs.build(jobfile.load(folder, {}), [host(0), host(1)], run="r-1", multi=True)
    facts = json.loads(job.summary)

    assert "\n" not in job.summary
    assert "PRIVATE" not in job.summary
    assert facts["roles"] == {"ml-0": ["scheduler", "worker", "main"], "ml-1": ["worker"]}


def test_a_job_without_that_command_says_so(folder: Path) -> None:
    """A job may be for one VM only."""
    (folder / "job.ini").write_text(DASK.replace("multi = python go.py --scheduler $SCHEDULER\n", ""))

    with pytest.raises(UsageError, match="names no command for multi"):
        jobs.build(jobfile.load(folder, {}), [host(0)], run="r-1", multi=True)


def test_no_host_is_a_usage_error(folder: Path) -> None:
    """And the next verb to type is in it."""
    with pytest.raises(UsageError, match="no host is up"):
        jobs.build(jobfile.load(folder, {}), [], run="r-1", multi=True)
