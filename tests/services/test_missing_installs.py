"""Runs of jobs that are not installed, or have changed since."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import HostsFailed
from orchestrator.core.events import Event
from orchestrator.services.jobs import JobService
from tests.support.docker.install_watch import ChannelCounter
from tests.support.jobs.own_machines import Desktop, desktop, machines, write_job
from tests.support.script_host import processes

__all__ = ["desktop", "machines"]

ONE = ["ml-2"]
SINGLE = "cat data/a.txt; python -c 'print(6 * 7)'"


@dataclass(frozen=True)
class Watched:
    """A service whose announcements and channels are recorded, and the folder of a job besides that of the settings."""

    jobs: JobService
    other: Path
    events: list[Event]
    channels: ChannelCounter

    def run(self) -> list[str]:
        """Run the other job on one host; return its output."""
        handle = self.jobs.start(multi=False, folder=self.other, names=ONE, follow=True)
        lines: list[str] = []
        self.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
        return lines

    def said(self) -> list[str]:
        """Return the announcements since the last call, and forget them."""
        texts = [event.text for event in self.events if event.phase == "install" and not event.host]
        self.events.clear()
        return texts


@pytest.fixture
def watched(desktop: Desktop, tmp_path: Path) -> Iterator[Watched]:
    other = tmp_path / "other"
    write_job(other, single=f"{SINGLE}\nrequirements = requirements.txt\ndata = in -> data")
    (other / "in").mkdir()
    (other / "in/a.txt").write_text("input\n")
    (other / "requirements.txt").write_text("# none\n")
    events: list[Event] = []
    channels = ChannelCounter()
    context = desktop.service.context
    with channels.connect(context.settings.ssh, REAL_CLOCK) as ssh:
        recorded = dataclasses.replace(context, ssh=ssh, on_event=events.append)
        yield Watched(JobService(desktop.source, recorded), other, events, channels)


@pytest.mark.slow
def test_a_run_installs_what_its_job_lacks(watched: Watched) -> None:
    """Announced before; again when the requirements have changed; nothing otherwise."""
    assert watched.run() == ["input", "42"]
    assert watched.said() == [
        "python, requirements, data of other on ml-2 first: not installed, or changed since",
        "other installed on ml-2",
    ]

    watched.channels.hosts.clear()
    assert watched.run() == ["input", "42"]
    assert watched.said() == []
    # Code and checks, start and output in one.
    assert len(watched.channels.hosts) == 1

    (watched.other / "requirements.txt").write_text("# still none\n")
    assert watched.run() == ["input", "42"]
    assert watched.said() == [
        "requirements of other on ml-2 first: not installed, or changed since",
        "other installed on ml-2",
    ]


@pytest.mark.slow
def test_a_run_uses_its_own_jobs_data_as_it_is_now(watched: Watched, tmp_path: Path) -> None:
    """Announced after a change; a job of the same name in another folder has data of its own."""
    first, second = (dataclasses.replace(watched, other=tmp_path / folder / "train") for folder in "AB")
    for job, text in ((first, "of A\n"), (second, "of B\n")):
        job.other.parent.mkdir()
        write_job(job.other, single="cat data/a.txt\ndata = in -> data")
        (job.other / "in").mkdir(exist_ok=True)
        (job.other / "in/a.txt").write_text(text)
    assert (first.run(), second.run()) == (["of A"], ["of B"])
    assert watched.said() == [
        "python, data of train on ml-2 first: not installed, or changed since",
        "train installed on ml-2",
        "data of train on ml-2 first: not installed, or changed since",
        "train installed on ml-2",
    ]

    (first.other / "in/a.txt").write_text("new\n")
    assert first.run() == ["new"]
    assert watched.said()[0] == "data of train on ml-2 first: not installed, or changed since"
    watched.channels.hosts.clear()
    assert (first.run(), second.run()) == (["new"], ["of B"])
    assert watched.said() == []
    assert len(watched.channels.hosts) == 2


@pytest.mark.slow
def test_no_host_starts_before_all_have_what_the_job_needs(watched: Watched) -> None:
    """A host that has everything waits, without a process there, while another one installs."""
    assert not watched.jobs.install(ONE, folder=watched.other).failed
    write_job(watched.other, multi="env | grep -c -e ^STRATUS_BUNDLE -e ^TMPDIR || true")
    handle = watched.jobs.start(multi=True, folder=watched.other, names=["ml-1", "ml-2"], follow=True)
    lines: dict[str, list[str]] = {"ml-1": [], "ml-2": []}
    watched.jobs.follow(handle.run_id, on_line=lambda host, line: lines[host].append(line))

    assert watched.said()[0].startswith("python")
    assert lines == {"ml-1": ["0"], "ml-2": ["0"]}
    assert len({run.run_id for run in watched.jobs.runs() if run.run_id >= handle.run_id}) == 1
    assert processes(" run.sh") + processes("/run.sh") == []


@pytest.mark.slow
def test_output_continues_where_the_connection_of_the_start_was_lost(watched: Watched) -> None:
    write_job(watched.other, single="echo first; while ! [ -e go ]; do sleep 0.1; done; echo last")
    assert not watched.jobs.install(ONE, folder=watched.other).failed
    handle = watched.jobs.start(multi=False, folder=watched.other, names=ONE, follow=True)
    lines: list[str] = []

    def lose_connection(_host: str, line: str) -> None:
        lines.append(line)
        if line == "first":
            watched.jobs.ssh.disconnect_all()
            (host,) = watched.jobs.source.hosts(ONE)
            watched.jobs.ssh.run(host, f"touch stratus/runs/{handle.run_id}/workdir/go")

    result = watched.jobs.follow(handle.run_id, on_line=lose_connection)

    assert lines == ["first", "last"]
    assert result.seconds > 0


def test_a_job_that_cannot_be_installed_is_not_started(watched: Watched) -> None:
    """The hint names the job that was run."""
    (watched.other / "requirements.txt").write_text("./no-such-folder\n")
    runs = len(watched.jobs.runs())
    with pytest.raises(HostsFailed, match="other could not be installed on 1 of 1 VMs") as caught:
        watched.run()

    assert str(caught.value.fix) == (f'InstallDeps(job="{watched.other}") tries again; completed steps are kept')
    assert "requirements failed" in str(caught.value.errors["ml-2"])
    assert len(watched.jobs.runs()) == runs


def test_another_job_is_installed_by_its_folder(watched: Watched) -> None:
    report = watched.jobs.install(ONE, folder=watched.other)

    assert (report.failed, report.job) == ({}, str(watched.other))
    assert [step.name for step in report.hosts[0].steps] == ["code", "python", "requirements", "data"]
    assert watched.run() == ["input", "42"]
    assert watched.said() == []


@pytest.mark.slow
def test_a_second_run_on_a_host_is_announced_as_sharing_it(watched: Watched, tmp_path: Path) -> None:
    write_job(tmp_path / "long", single="exec sleep 600")
    first = watched.jobs.start(multi=False, folder=tmp_path / "long", names=ONE)
    assert [event for event in watched.events if event.phase == "note"] == []
    try:
        watched.run()
    finally:
        watched.jobs.cancel(first.run_id)

    (notice,) = [event.text for event in watched.events if event.phase == "note"]
    assert notice == f"{first.run_id} still runs on ml-2, too: they share cores, memory and GPUs"
    watched.events.clear()
    # Canceled runs and those that have ended share nothing.
    watched.run()
    assert [event for event in watched.events if event.phase == "note"] == []


def test_credentials_in_a_jobs_folder_and_data_never_reach_a_vm_and_are_named(watched: Watched) -> None:
    write_job(watched.other, single="ls -A . data/\ndata = in -> data")
    for name in (".aws/credentials", ".env", "in/.ssh/id_ed25519"):
        (watched.other / name).parent.mkdir(exist_ok=True)
        (watched.other / name).write_text("secret")

    listed = watched.run()
    assert {"a.txt", "requirements.txt"} <= set(listed)
    assert {".aws", ".env", ".ssh"} & set(listed) == set()
    warnings = [event.text for event in watched.events if event.state == "warning"]
    assert [text.partition("credential: ")[2].partition(";")[0] for text in warnings] == [".aws, .env", ".ssh"]
