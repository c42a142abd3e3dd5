"""Jobs that rewrite what their host keeps of them, and hosts that lie: nothing reaches this computer's other files."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.errors import HostsFailed, JobFailed, UsageError
from orchestrator.hosts import commands
from orchestrator.services.jobs import JobService
from tests.support.jobs.own_machines import SLEEP_S, Desktop, desktop, is_sleeping, machines, write_job
from tests.support.localcloud.clients import wait_until
from tests.support.ssh.ssh_lab import Lab

__all__ = ["desktop", "machines"]

ONE = ["ml-0"]
TWO = ["ml-0", "ml-1"]


def everything(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_to_the_end(desktop: Desktop, command: str) -> str:
    """Run a job on the first machine to its end, and return the run's id."""
    write_job(desktop.job, single=command)
    desktop.service.install(ONE)
    handle = desktop.service.start(multi=False, names=ONE)
    desktop.service.follow(handle.run_id, on_line=lambda host, line: None)
    return handle.run_id


def rewrite_record(machines: Lab, run_id: str, **changes: object) -> None:
    """Change facts of a run's job.json on its host, as its job may."""
    path = machines.homes[0] / "stratus/runs" / run_id / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes) + "\n")


@pytest.fixture
def laptop(desktop: Desktop) -> Path:
    """The folder that stands for this computer, with files that must stay as they are."""
    folder = desktop.job.parent
    (folder / ".ssh").mkdir()
    (folder / ".ssh" / "authorized_keys").write_text("mine\n")
    (folder / ".bashrc").write_text("mine\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"run": "{laptop}"},
        {"run": "../"},
        {"outputs": ["x/.."]},
        {"outputs": ["x/..", "y/../.."]},
        {"outputs": ["../../../../{laptop}"]},
        {"outputs": ["{laptop}"]},
        {"roles": {"../../x": ["main"]}},
    ],
)
def test_a_job_cannot_write_outside_its_folder_by_rewriting_its_record(
    desktop: Desktop, machines: Lab, laptop: Path, changes: Mapping[str, object]
) -> None:
    evil = "mkdir -p x/.ssh; echo evil | tee x/.bashrc x/.ssh/authorized_keys .bashrc authorized_keys"
    older = run_to_the_end(desktop, "mkdir outputs; echo good >outputs/good")
    run_id = run_to_the_end(desktop, evil)
    rewrite_record(machines, run_id, **json.loads(json.dumps(changes).replace("{laptop}", str(laptop))))
    before = everything(laptop)

    # Without an id: the newest run that is what it claims to be.
    record = desktop.service.fetch()

    assert record.run_id == older
    with pytest.raises(UsageError, match=f"no run {run_id!r} here"):
        desktop.service.fetch(run_id)
    after = everything(laptop)
    new = {name for name in after if after[name] != before.get(name)}
    assert all(name.startswith(f"runs/{older}/") for name in new)
    assert not before.keys() - after.keys()


def test_one_damaged_run_is_one_line_and_all_others_are_listed_fetched_and_canceled(
    desktop: Desktop, machines: Lab
) -> None:
    damaged = run_to_the_end(desktop, "true")
    run_id = run_to_the_end(desktop, "mkdir outputs; echo good >outputs/good; echo line")
    folder = machines.homes[0] / "stratus/runs"
    (folder / damaged / "job.json").write_text("{half")
    (folder / run_id / "state" / "main.ended").write_bytes(b"\0\xff soon\n\n")

    listed = {run.run_id: run.state for run in desktop.service.runs()}

    assert listed[run_id] == "done"
    assert damaged not in listed
    assert desktop.service.fetch(run_id).outputs == ("outputs/good",)
    assert list(desktop.service.logs(run_id)) == [("ml-0", "line")]
    assert desktop.service.cancel(run_id).left == {"ml-0": 0}
    warnings = [event.text for event in desktop.events if event.state == "warning"]
    assert f"ml-0: run {damaged} is left out: job.json is damaged: no JSON" in warnings
    assert f"ml-0: run {run_id}: main: its file of end is damaged" in warnings


def test_half_a_metrics_file_does_not_replace_the_jobs_own_error(desktop: Desktop) -> None:
    write_job(
        desktop.job, single="mkdir outputs; printf '{\"loss\": 0.' >outputs/metrics.json; echo out of luck; exit 3"
    )
    desktop.service.install(ONE)
    handle = desktop.service.start(multi=False, names=ONE)

    with pytest.raises(JobFailed, match=r"failed \(exit 3\)"):
        desktop.service.follow(handle.run_id, on_line=lambda host, line: None)

    record = desktop.service.fetch(handle.run_id)
    assert (record.state, record.metrics) == ("failed", {})
    assert record.problems == ("outputs/metrics.json is damaged: no JSON",)


def test_every_line_of_a_job_is_in_its_log_whatever_it_begins_with(desktop: Desktop) -> None:
    printed = ["@@exit ", "@@exit 3", "@@beat", "@@spot 12:00", "@@", "last"]
    script = "".join(f"echo '{line}'; " for line in printed)
    write_job(desktop.job, single=f"{script} exit 0")
    desktop.service.install(ONE)
    handle = desktop.service.start(multi=False, names=ONE)
    lines: list[str] = []

    result = desktop.service.follow(handle.run_id, on_line=lambda host, line: lines.append(line))

    assert (lines, result.run_id) == (printed, handle.run_id)
    assert [line for _, line in desktop.service.logs(handle.run_id)] == printed
    assert [line for _, line in desktop.service.logs(handle.run_id, follow=True)] == printed


def test_a_folder_among_the_logs_is_fetched_again_and_again(desktop: Desktop) -> None:
    run_id = run_to_the_end(desktop, 'mkdir "$STRATUS_FOLDER/log/sub"; echo x >"$STRATUS_FOLDER/log/sub/file"')

    for _ in range(3):
        folder = desktop.service.fetch(run_id).folder

    assert (folder / "logs/ml-0.sub/file").read_text() == "x\n"


def test_a_file_that_becomes_a_folder_is_fetched_again(desktop: Desktop, machines: Lab) -> None:
    """And the reverse, with what comes after it."""
    run_id = run_to_the_end(desktop, "mkdir -p outputs/ck; echo 1 >outputs/ck/a; echo r | tee outputs/b >outputs/zz")
    outputs = machines.homes[0] / "stratus/runs" / run_id / "workdir/outputs"
    desktop.service.fetch(run_id)
    shutil.rmtree(outputs / "ck")
    (outputs / "ck").write_text("2")
    (outputs / "b").unlink()
    (outputs / "b").mkdir()
    (outputs / "b/c").write_text("3")
    (outputs / "zz").write_text("final")

    record = desktop.service.fetch(run_id)

    assert record.failed == {}
    assert everything(record.folder / "outputs") == {"ck": b"2", "b/c": b"3", "zz": b"final"}


def test_a_fetch_stops_at_the_limit_of_the_settings_and_says_so(desktop: Desktop) -> None:
    run_id = run_to_the_end(desktop, "mkdir outputs; head -c 3000000 /dev/zero >outputs/bomb; echo small >outputs/a")
    limited = desktop.with_settings("max_fetch_gib = 0.001\n")

    record = limited.fetch(run_id)

    error = record.failed["ml-0"]
    assert str(error).startswith("ml-0: stopped at 0.001 GiB, the limit of a fetch\n")
    assert "[job] max_fetch_gib = 0.001" in str(error)
    assert not (record.folder / "outputs/bomb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("has_record", [True, False], ids=["this computer", "another computer"])
def test_a_host_that_has_a_run_is_cancelled_and_fetched_whatever_another_lists(
    desktop: Desktop, machines: Lab, tmp_path: Path, has_record: bool
) -> None:
    write_job(desktop.job, multi=f'mkdir outputs; echo "$STRATUS_HOST" >outputs/name; sleep {SLEEP_S}')
    desktop.service.install(TWO)
    run_id = desktop.service.start(multi=True, names=TWO).run_id
    homes = machines.homes[:2]
    wait_until(lambda: all((home / "stratus/runs" / run_id / "workdir/outputs/name").exists() for home in homes))
    rewrite_record(machines, run_id, roles={"ml-0": ["main"]}, outputs=[])
    context = desktop.service.context if has_record else replace(desktop.service.context, runs_folder=tmp_path / "new")
    jobs = JobService(desktop.source, context)

    hosts = {run.run_id: run.hosts for run in jobs.runs()}[run_id]
    report, record = jobs.cancel(run_id), jobs.fetch(run_id)

    assert hosts == record.hosts == ("ml-0", "ml-1")
    assert (report.left, report.failed) == ({"ml-0": 0, "ml-1": 0}, {})
    assert not is_sleeping()
    assert record.outputs == ("outputs/ml-0/name", "outputs/ml-1/name")
    warnings = [event.text for event in desktop.events if event.state == "warning"]
    assert any(text.startswith(f"run {run_id}: job.json on ml-0") for text in warnings)


@pytest.mark.parametrize("has_record", [True, False], ids=["this computer", "another computer"])
def test_another_instance_cannot_replace_a_fetched_run(desktop: Desktop, machines: Lab, has_record: bool) -> None:
    """A job on another VM makes a folder of the run's name there, with outputs and times of its own."""
    run_id = run_to_the_end(desktop, "mkdir outputs; echo good >outputs/good")
    if not has_record:
        shutil.rmtree(desktop.service.context.runs_folder / run_id)
    record = desktop.service.fetch(run_id)
    claimed = shutil.copytree(machines.homes[0] / "stratus/runs" / run_id, machines.homes[1] / "stratus/runs" / run_id)
    (claimed / "workdir/outputs/good").write_text("evil")
    (claimed / "job.json").write_text((claimed / "job.json").read_text().replace("ml-0", "ml-1"))
    (claimed / "state/main.started").write_text("2198-01-01T00:00:00Z\n")
    before = everything(record.folder)
    other = desktop.with_machines(1)

    with pytest.raises(UsageError, match=f"run {run_id} is left out: by the record of this computer") as refused:
        other.fetch(run_id)
    for verb in (JobService.cancel, JobService.fetch):
        with contextlib.suppress(UsageError):
            assert verb(other).run_id != run_id
    both = desktop.service.fetch(run_id)

    assert refused.value.where == "ml-1"
    assert both.hosts == ("ml-0",)
    changed = {name for name, content in everything(record.folder).items() if before[name] != content}
    # They have the time of the fetch.
    assert changed <= {"record.json", "waterfall.json"}
    shutil.rmtree(claimed)


@contextlib.contextmanager
def replaced_sh(machines: Lab, script: str) -> Iterator[None]:
    """Have the first machine run a script in place of sh, with which every remote script begins."""
    (machines.homes[0] / "bin").mkdir(exist_ok=True)
    path = machines.homes[0] / "bin" / "sh"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    try:
        yield
    finally:
        path.unlink()


def test_a_host_that_answers_without_end_is_one_error(desktop: Desktop, machines: Lab) -> None:
    run_to_the_end(desktop, "true")
    with replaced_sh(machines, "exec yes '@@job x'"):
        with pytest.raises(HostsFailed, match="ml-0: more than 16 MiB of output"):
            desktop.with_machines(0).runs()

        # The others are listed, and the line on this one is kept.
        desktop.with_machines(0, 1).runs()
    warnings = [event.text for event in desktop.events if event.state == "warning"]
    assert "ml-0: its runs are unknown: more than 16 MiB of output" in warnings


@pytest.mark.slow
def test_an_install_that_prints_without_end_fills_no_disk(desktop: Desktop, machines: Lab, tmp_path: Path) -> None:
    write_job(desktop.job)
    with replaced_sh(machines, "exec yes $(head -c 60000 /dev/zero | tr '\\0' x)"):
        failed = desktop.service.install(ONE).failed

    assert "more than 64 MiB of output" in str(failed["ml-0"])
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.log")) <= 64 << 20


def test_of_a_commands_long_lines_the_last_ones_are_kept(desktop: Desktop) -> None:
    line = "head -c 60000 /dev/zero | tr '\\0' x; echo"
    command = f"for i in $(seq 200); do {line}; done; echo last"

    report = commands.run(
        desktop.service.context.ssh, desktop.source.hosts(ONE), command, on_line=lambda host, line: None, timeout_s=60
    )

    (output,) = report.hosts
    assert output.lines[-1] == "last"
    assert 3 << 20 < sum(map(len, output.lines)) <= 4 << 20


@pytest.mark.slow
def test_the_config_in_use_and_the_password_of_the_registry_stay_on_this_computer(desktop: Desktop) -> None:
    """A script beside the config brings the folder of both."""
    folder = desktop.job.parent
    write_job(folder, single="ls -A . && mkdir outputs")
    (folder / "registry.txt").write_text("password")
    service = desktop.with_settings(
        "[install]\nregistry = registry.example.org\nregistry_user = ada\nregistry_password_env = ./registry.txt\n"
    )
    handle = service.start(multi=False, folder=folder, names=["ml-2"])
    lines: list[str] = []
    service.follow(handle.run_id, on_line=lambda host, line: lines.append(line))

    assert "job.ini" in lines
    assert not {"config.ini", "registry.txt"} & set(lines)
