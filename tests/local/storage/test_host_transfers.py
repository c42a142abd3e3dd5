"""Files and folders to a VM and back: real SSH hosts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import StratusError
from orchestrator.core.events import Event
from orchestrator.install.sending import HostTransfers
from orchestrator.interface.progress import latest
from orchestrator.interface.render import registry
from orchestrator.session import Session
from tests.support.project import Project

MIB = 1 << 20


def _sent(report: HostTransfers) -> None:
    for error in report.failed.values():
        raise error


@pytest.fixture(scope="module")
def lab(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    lab = Project(tmp_path_factory.mktemp("send"), "send", cloud)
    lab.job("single = true\n")
    return lab


@pytest.fixture(scope="module")
def session(lab: Project) -> Iterator[Session]:
    with lab.session() as opened:
        opened.cluster.launch(opened.cluster.plan(3))
        yield opened
        assert opened.cluster.terminate().remaining == ()


@pytest.mark.slow
def test_a_file_and_a_folder_go_to_a_vm_and_come_back(session: Session, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    folder = tmp_path / "folder"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "sub dir/b'c").write_bytes(b"text")
    (tmp_path / "a file's").write_bytes(data)
    hosts = session.hosts

    (sent,) = hosts.send(tmp_path / "a file's", ["send-0"], "in/x y/").transfers
    assert sent.total_bytes == len(data)
    assert [transfer.host for transfer in hosts.send(folder).transfers] == ["send-0"]
    received = hosts.receive("in/x y/a file's", tmp_path / "back", "send-0")
    hosts.receive("folder", tmp_path / "back")

    assert received.total_bytes == len(data)
    assert (tmp_path / "back/a file's").read_bytes() == data
    assert (tmp_path / "back/sub dir/b'c").read_bytes() == b"text"
    assert hosts.run_command("ls -A in/'x y'").hosts[0].lines == ("a file's",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda hosts, folder: hosts.send(folder / "none"), "no such file or folder"),
        (lambda hosts, folder: hosts.send(folder / "pipe"), "pipe: a named pipe: only files and folders are sent"),
        (lambda hosts, _: hosts.send(Path("/dev/zero")), "/dev/zero: a device: only files and folders are sent"),
        (lambda hosts, folder: hosts.send(folder / "broken"), "a link that leads nowhere: gone does not exist"),
        (lambda hosts, folder: _sent(hosts.send(folder / "a", [], "/proc/none/a")), "could not write /proc/none: "),
        (lambda hosts, folder: hosts.send(folder / "a", ["send-7"]), "send-7"),
        (lambda hosts, folder: hosts.receive("none", folder), "none"),
    ],
)
def test_bad_input(session: Session, tmp_path: Path, call: object, line: str) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "broken").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    assert callable(call)
    with pytest.raises(StratusError) as caught:
        call(session.hosts, tmp_path)
    assert line in str(caught.value.lines()[0])


@pytest.mark.slow
def test_several_vms_get_a_file_and_pass_it_on(session: Session, tmp_path: Path) -> None:
    data = os.urandom(24 * MIB)
    (tmp_path / "big").write_bytes(data)
    report = session.hosts.send(tmp_path / "big", ["all"], "in/big")
    after = session.hosts.run_command("sha256sum <in/big; ls -A stratus/received").hosts

    assert sorted(transfer.host for transfer in report.transfers) == ["send-0", "send-1", "send-2"]
    assert [host.lines for host in after] == [(f"{hashlib.sha256(data).hexdigest()}  -",)] * 3


@pytest.mark.slow
def test_what_is_not_sent_of_a_folder_is_named_once_and_empty_folders_arrive(
    session: Session, lab: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    (folder / "empty/deep").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "link").symlink_to("empty")
    (folder / "broken").symlink_to("gone")
    os.mkfifo(folder / "empty/pipe")
    lab.events.clear()
    report = session.hosts.send(folder, ["all"])
    (found,) = session.hosts.run_command("find mixed | sort", names=["send-0"]).hosts
    warnings = [event for event in lab.events if event.state == "warning"]

    assert list(found.lines) == ["mixed", "mixed/a", "mixed/empty", "mixed/empty/deep"]
    assert [set(transfer.left_out) for transfer in report.transfers] == [{"link", "broken", "empty/pipe"}] * 3
    assert len(warnings) == 1
    assert warnings[0].text.startswith("not sent, as links to folders or to nothing and special files are not: ")


@pytest.mark.slow
def test_the_reason_of_a_place_that_cannot_be_written_is_told_once_for_each_vm(
    session: Session, lab: Project, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("a")
    lab.events.clear()
    report = session.hosts.send(tmp_path / "a", ["all"], "/proc/none/a")
    shown = [*map(str, registry.lines(report, REAL_CLOCK.now())), *map(told, lab.events)]

    assert sum("could not write /proc/none" in line for line in shown) == 3
    assert not report.is_repeatable
    assert all("name a place that the login may write" in str(error) for error in report.failed.values())


def told(event: Event) -> str:
    return latest(event, many=False)
