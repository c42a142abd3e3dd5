"""Files and folders to a VM and back: real SSH hosts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import StratusError
from orchestrator.install.sending import HostTransfers
from orchestrator.session import Session
from tests.support.project import Project

MIB = 1 << 20


def _sent(report: HostTransfers) -> None:
    for error in report.failed.values():
        raise error


@pytest.fixture(scope="module")
def session(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    lab = Project(tmp_path_factory.mktemp("send"), "send", cloud)
    lab.job("single = true\n")
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
        (lambda hosts, folder: _sent(hosts.send(folder / "a", [], "/proc/none/a")), "could not write /proc/none: "),
        (lambda hosts, folder: hosts.send(folder / "a", ["send-7"]), "send-7"),
        (lambda hosts, folder: hosts.receive("none", folder), "none"),
    ],
)
def test_bad_input(session: Session, tmp_path: Path, call: object, line: str) -> None:
    (tmp_path / "a").write_text("a")
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
