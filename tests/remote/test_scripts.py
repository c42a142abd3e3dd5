"""Scripts of the VMs: installation steps, and the life of a run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.install.upload import scan
from tests.support.script_host import TIMEOUT_S, ScriptHost, processes, states
from tests.support.waiting import wait_until


@pytest.fixture
def vm(tmp_path: Path) -> ScriptHost:
    """A host without anything installed."""
    (tmp_path / "home").mkdir()
    return ScriptHost(tmp_path / "home")


def test_an_install_reports_a_vm_whose_shutdown_timer_the_boot_did_not_arm(tmp_path: Path) -> None:
    """A VM that is not from a launch has none, and a moment that is past counts as none."""
    home = tmp_path / "home/ubuntu"
    home.mkdir(parents=True)
    vm = ScriptHost(home)
    foreign = vm.install([])[1]
    script = tmp_path / "var/lib/cloud/scripts/per-boot/stratus-expire"
    script.parent.mkdir(parents=True)
    script.touch()
    (tmp_path / "var/lib/stratus").mkdir()
    outputs = [vm.install([])[1]]
    for until in (1_000_000_000, 4_000_000_000):
        (tmp_path / "var/lib/stratus/until").write_text(f"{until}\n")
        outputs.append(vm.install([])[1])

    assert "@@timer missing" not in foreign
    assert [output.count("@@timer missing") for output in outputs] == [1, 1, 0]


@pytest.mark.slow
def test_a_job_may_open_as_many_files_as_the_hard_limit_allows(tmp_path: Path) -> None:
    """A login may open 1024, which is too few for hundreds of Dask workers."""
    login = ScriptHost(tmp_path, shell=("sh", "-c", 'ulimit -Sn 256; eval "$0"'))
    login.start("r1", main="ulimit -n")
    hard = login.run("ulimit -Hn").strip()

    assert ("524288" if hard == "unlimited" else str(min(int(hard), 524288))) in login.follow("r1")


def test_a_second_install_changes_nothing_and_requests_no_upload(vm: ScriptHost, tmp_path: Path) -> None:
    """Every step checks before it acts; the upload is sent once."""
    job = tmp_path / "job"
    job.mkdir()
    (job / "run.py").write_bytes(b"print('hi')\n" + os.urandom(0))
    (job / "big").write_bytes(os.urandom(2_500_000))
    upload = scan("job.code", job, "jobs/job")
    plan = [
        ["python", "python.sh", "job", sys.executable, "no"],
        ["requirements", "requirements.sh", "job", "digest-1", "requirements.txt"],
        ["code", "parcel.sh", upload.name, upload.digest, upload.remote_path],
    ]
    first = vm.install(plan, upload, **{"requirements.txt": b""})
    second = vm.install(plan, upload, **{"requirements.txt": b""})

    assert (first[0], states(first[1])) == (0, ["python done", "requirements done", "code done"])
    assert (second[0], states(second[1])) == (0, ["python unchanged", "requirements unchanged", "code unchanged"])
    assert "@@want job.code" not in second[1]
    assert (vm.home / "stratus/jobs/job/big").read_bytes() == (job / "big").read_bytes()
    assert not list((vm.home / "stratus").glob(".bundle*"))


def test_a_failing_step_ends_the_install_and_its_output_is_kept(vm: ScriptHost) -> None:
    """Later steps do not run."""
    plan = [["python", "python.sh", "job", "no-such-python", "no"], ["engine", "engine.sh"]]
    status, lines = vm.install(plan)

    assert status == 1
    assert states(lines) == ["python failed"]
    assert "no no-such-python on this VM: set python in job.ini" in lines


def test_a_shared_environment_sees_the_packages_of_its_interpreter(vm: ScriptHost) -> None:
    """Also when that interpreter is itself one of a virtual environment."""
    status, lines = vm.install([["python", "python.sh", "job", sys.executable, "yes"]])
    python = vm.home / "stratus/venvs/job/bin/python"

    assert status == 0, lines
    assert subprocess.run([python, "-c", "import pytest"], check=False).returncode == 0


def test_a_broken_transfer_leaves_the_old_folder(vm: ScriptHost, tmp_path: Path) -> None:
    """A partial upload is discarded, and requested again the next time."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job/a").write_text("1")
    old = scan("p", tmp_path / "job", "jobs/job")
    vm.install([["code", "parcel.sh", "p", old.digest, "jobs/job"]], old)
    (tmp_path / "job/a").write_text("2")
    new = scan("p", tmp_path / "job", "jobs/job")
    plan = [["code", "parcel.sh", "p", new.digest, "jobs/job"]]
    text = shlex.join(plan[0]) + "\n"
    envelope = remote_scripts.bundle(remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS) | {"plan": text.encode()})
    cut = subprocess.run(
        ["sh", "-c", remote_scripts.bundle_command("install.sh")],
        input=envelope + b"9999\nhalf",
        env=vm.env,
        capture_output=True,
        timeout=TIMEOUT_S,
    )

    assert cut.returncode == 1
    assert (vm.home / "stratus/jobs/job/a").read_text() == "1"
    assert states(vm.install(plan, new)[1]) == ["code done"]
    assert (vm.home / "stratus/jobs/job/a").read_text() == "2"


def test_hostile_arguments_are_not_executed(vm: ScriptHost, tmp_path: Path) -> None:
    """Nothing in a plan is ever run as a command."""
    evil = f"x; touch {tmp_path}/owned; $(touch {tmp_path}/owned) `touch {tmp_path}/owned` ' \" #"
    vm.install([["python", "python.sh", "job", evil, "no"]])

    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
def test_a_task_outlives_its_parent_and_its_log_can_be_followed_from_any_line(vm: ScriptHost) -> None:
    """The log is complete from any line, and the exit status is returned."""
    output = vm.start("r1", main="for i in 1 2 3; do echo line $i; sleep 0.2; done; exit 7")

    assert output == "@@started main\n"
    assert vm.follow("r1") == ["line 1", "line 2", "line 3", "@@ exit 7"]
    assert vm.follow("r1", seen=2) == ["line 3", "@@ exit 7"]
    assert vm.exit_statuses("r1") == {"main": "7"}


@pytest.mark.slow
def test_helpers_end_with_the_main_task(vm: ScriptHost) -> None:
    """Also one that started a session of its own."""
    vm.start("r2", main="sleep 0.5", worker="setsid sleep 71.25 & sleep 71.25")

    assert vm.follow("r2") == ["@@ exit 0"]
    wait_until(lambda: not processes("sleep 71.25"))
    assert vm.exit_statuses("r2") == {"main": "0", "worker": "cancelled"}


def test_start_and_end_come_with_the_exit_and_whatever_a_job_wrote_there_is_one_word(vm: ScriptHost) -> None:
    vm.start("r8", main="true", worker="sleep 60")
    follow = remote_scripts.inline_command("follow.sh", "r8", "main", "0", "@@")
    first = [line.split()[2:] for line in vm.run(follow).splitlines() if line.startswith("@@ times ")]
    state = vm.home / "stratus/runs/r8/state"
    assert first == [
        [min((state / f"{role}.started").read_text().strip() for role in ("main", "worker")), *first[0][1:]]
    ]
    assert first[0][1] == (state / "main.ended").read_text().strip()

    (state / "main.ended").write_text("2026; $(id)\n@@ exit 9\n")
    (state / "main.started").write_bytes(b"\0" * 100_000)
    (state / "worker.started").unlink()
    assert vm.run(follow).splitlines()[-2:] == ["@@ times - 2026id", "@@ exit 0"]


@pytest.mark.slow
def test_cancel_kills_a_process_that_ignores_term_in_its_own_session(vm: ScriptHost) -> None:
    """A process that ignores TERM in a session of its own is found by its environment and killed."""
    vm.start("r3", main="setsid sh -c 'trap \"\" TERM; sleep 72.5; sleep 72.5' & sleep 72.5")
    wait_until(lambda: len(processes("sleep 72.5")) >= 3)

    assert vm.cancel("r3") == "@@left 0\n"
    assert processes("sleep 72.5") == []
    assert vm.follow("r3") == ["@@ exit cancelled"]


@pytest.mark.parametrize(
    ("status", "running", "recorded"), [(3, ["main"], "cancelled"), (3, [], "3"), (0, ["main"], "0")]
)
def test_a_task_that_fails_while_its_run_is_cancelled(
    vm: ScriptHost, status: int, running: list[str], recorded: str
) -> None:
    """The cancel on another host may end it first; a task that ended before the request keeps its status."""
    vm.start("run-9", main=f"exit {status}")
    wait_until(lambda: vm.exit_statuses("run-9")["main"] == str(status))

    assert vm.cancel("run-9", *running) == "@@left 0\n"
    assert vm.exit_statuses("run-9") == {"main": recorded}


@pytest.mark.slow
def test_cancel_touches_no_other_run(vm: ScriptHost) -> None:
    """Two runs on one host do not affect each other."""
    vm.start("r4", main="sleep 73.5")
    vm.start("r5", main="sleep 74.5")
    wait_until(lambda: bool(processes("sleep 73.5") and processes("sleep 74.5")))
    vm.cancel("r4")

    assert processes("sleep 73.5") == []
    assert vm.exit_statuses("r5") == {"main": "-"}
    vm.cancel("r5")


@pytest.mark.slow
def test_a_task_killed_with_its_wrapper_is_lost_not_done(vm: ScriptHost) -> None:
    """A missing exit status is a failure."""
    vm.start("r6", main="sleep 75.5")
    pid = vm.home / "stratus/runs/r6/state/main.pid"
    wait_until(lambda: pid.exists() and bool(pid.read_text().strip()) and bool(processes("sleep 75.5")))
    subprocess.run(["pkill", "-KILL", "-s", pid.read_text().strip()], check=True)

    assert vm.follow("r6") == ["@@ exit lost"]


def test_starting_the_same_run_twice_starts_it_once(vm: ScriptHost) -> None:
    """A retry after a lost response is harmless."""
    vm.start("r7", main="echo once")

    assert vm.start("r7", main="echo once") == "@@exists\n"
    assert vm.follow("r7") == ["once", "@@ exit 0"]


def test_a_run_without_installation_reports_what_is_missing(vm: ScriptHost) -> None:
    """Before anything is staged."""
    content = {"run/job.json": b"{}"} | remote_scripts.scripts(("start.sh",))
    words = ("r8", "jobs/job", "job", "venv")

    assert (
        vm.run(remote_scripts.bundle_command("start.sh", *words), remote_scripts.bundle(content))
        == "@@missing packages of job\n"
    )
    assert not (vm.home / "stratus/runs").exists()


@pytest.mark.slow
def test_a_run_ends_at_its_limit_of_time_and_says_so(vm: ScriptHost) -> None:
    """With everything that it started; its last line names the limit, and the user's command is run."""
    vm.start(
        "run-7",
        {"limit": "1\n", "notify": 'echo "$STRATUS_RUN is $STRATUS_STATE" >"$HOME/notified"\n'},
        main="setsid sleep 73.25 & sleep 73.25",
    )

    assert vm.follow("run-7")[-2:] == ["The run reached [job] max_hours and is ended", "@@ exit timeout"]
    wait_until(lambda: (vm.home / "notified").exists() and not processes("sleep 73.25"))
    assert (vm.home / "notified").read_text() == "run-7 is timeout\n"
    assert vm.exit_statuses("run-7") == {"main": "timeout"}


def test_a_run_within_its_limit_is_left_alone_and_nothing_waits_for_it(vm: ScriptHost) -> None:
    """The watch ends with the run; the user's command gets its state, and its output is kept."""
    vm.start("run-8", {"limit": "7325\n", "notify": "echo now $STRATUS_STATE\n"}, main="exit 3")
    log = vm.home / "stratus/runs/run-8/log/notify.log"

    assert vm.follow("run-8") == ["@@ exit 3"]
    wait_until(lambda: log.exists() and log.read_text() == "now failed\n")
    wait_until(lambda: not processes("run-8 7325"))


def test_a_full_disk_loses_no_exit_status_and_is_told(vm: ScriptHost) -> None:
    """The room for the outcome is taken before the job begins."""
    folder = vm.home / "stratus"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        vm.start("full", main="head -c 9000000 /dev/zero >fill; exit 3")
        lines = vm.follow("full")
        assert vm.exit_statuses("full") == {"main": "3"}
        assert (folder / "runs/full/state/main.ended").read_text().startswith("20")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

    assert lines[-2:] == ["@@ full", "@@ exit 3"]
