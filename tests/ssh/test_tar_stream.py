"""Folders that come from hosts and go to them: whole, in one stream, and never outside the folder that was meant."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import HostError
from orchestrator.ssh import SshClient
from tests.support.ssh.ssh_lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("files"), hosts=2, first=120)
    yield lab
    lab.stop()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def member(name: str, data: bytes = b"evil", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info, data


class HostileTar:
    """Lets a host answer ``tar`` with whatever it likes."""

    def __init__(self, lab: Lab) -> None:
        self.home = lab.homes[1]
        (self.home / "bin").mkdir(exist_ok=True)
        (self.home / "out").mkdir(exist_ok=True)
        self.status = 0

    def answers(self, *members: tuple[tarfile.TarInfo, bytes]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))
        self.answers_raw(packed.getvalue())

    def answers_raw(self, data: bytes, status: int = 0) -> None:
        (self.home / "answer").write_bytes(data)
        script = self.home / "bin" / "tar"
        script.write_text(f"#!/bin/sh\ncat ~/answer\necho 'tar: it broke' >&2\nexit {status}\n")
        script.chmod(0o755)


@pytest.fixture
def hostile(lab: Lab) -> Iterator[HostileTar]:
    tar = HostileTar(lab)
    yield tar
    (tar.home / "bin" / "tar").unlink(missing_ok=True)


def test_a_thousand_small_files_come_whole(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    out = lab.homes[0] / "outputs"
    for number in range(1000):
        path = out / f"folder {number % 10}" / f"file {number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {number}\n")

    fetched = ssh_client.fetch(lab.host(), "outputs", tmp_path / "deep" / "local", timeout_s=60)

    assert content(tmp_path / "deep" / "local") == content(out)
    assert fetched == sum(len(data) for data in content(out).values())


def test_large_files_modes_and_odd_names_survive(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    out = lab.homes[0] / "it's -an $(odd) folder"
    out.mkdir()
    (out / "big").write_bytes(os.urandom(5_000_000))
    (out / "run me").write_text("#!/bin/sh\n")
    (out / "run me").chmod(0o755)
    (out / "new\nline").write_text("x")
    (out / "empty").mkdir()

    ssh_client.fetch(lab.host(), str(out), tmp_path, timeout_s=60)

    assert content(tmp_path) == content(out)
    assert os.access(tmp_path / "run me", os.X_OK)
    assert (tmp_path / "empty").is_dir()


def test_files_here_are_replaced_and_others_stay(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    (lab.homes[0] / "twice").mkdir()
    (lab.homes[0] / "twice" / "log").write_text("new")
    (tmp_path / "log").write_text("old and longer")
    (tmp_path / "mine").write_text("mine")

    ssh_client.fetch(lab.host(), "twice", tmp_path)

    assert content(tmp_path) == {"log": b"new", "mine": b"mine"}


def test_nothing_there_is_said_so(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"^ml-0: nothing at no/such: no such folder$"):
        ssh_client.fetch(lab.host(), "no/such", tmp_path / "local")


def test_links_to_files_inside_become_files_and_others_are_left_out(
    lab: Lab, ssh_client: SshClient, tmp_path: Path
) -> None:
    out = lab.homes[0] / "linked"
    (out / "steps").mkdir(parents=True)
    (out / "steps" / "9.ckpt").write_text("weights")
    (out / "best.ckpt").symlink_to("last.ckpt")
    (out / "last.ckpt").symlink_to("steps/9.ckpt")
    (out / "steps" / "up.ckpt").symlink_to("../last.ckpt")
    os.link(out / "steps" / "9.ckpt", out / "steps" / "hard.ckpt")
    (out / "data").symlink_to("/etc")
    (out / "passwd").symlink_to("../../../../../../../etc/passwd")
    (out / "loop").symlink_to("loop")
    left_out: dict[str, str] = {}

    ssh_client.fetch(lab.host(), "linked", tmp_path, on_skipped=left_out.__setitem__)

    names = ["best.ckpt", "last.ckpt", "steps/9.ckpt", "steps/hard.ckpt", "steps/up.ckpt"]
    assert content(tmp_path) == dict.fromkeys(names, b"weights")
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert sorted(left_out) == ["data", "loop", "passwd"]
    assert left_out["data"] == "a link to /etc"


@pytest.mark.parametrize("name", ["/tmp/stratus-evil", "../evil", "a/../../evil", "..", "a/../b"])
def test_names_that_lead_outside_are_refused(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path, name: str
) -> None:
    hostile.answers(member("good", b"good"), member(name))

    with pytest.raises(HostError, match="points outside"):
        ssh_client.fetch(lab.host(1), "out", tmp_path / "local")

    assert content(tmp_path) == {"local/good": b"good"}
    assert not Path("/tmp/stratus-evil").exists()


def test_nothing_is_written_through_a_link_of_the_same_archive(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    hostile.answers(
        member("door", b"", type=tarfile.SYMTYPE, linkname=str(outside)),
        member("door/evil"),
        member("file", b"", type=tarfile.SYMTYPE, linkname=str(outside / "mine")),
        member("file"),
        member("hard", b"", type=tarfile.LNKTYPE, linkname="../outside/mine"),
        member("fifo", b"", type=tarfile.FIFOTYPE),
        member("device", b"", type=tarfile.CHRTYPE),
    )
    left_out: dict[str, str] = {}

    ssh_client.fetch(lab.host(1), "out", tmp_path / "local", on_skipped=left_out.__setitem__)

    assert content(outside) == {"mine": b"mine"}
    assert content(tmp_path / "local") == {"door/evil": b"evil", "file": b"evil"}
    assert {"hard", "fifo", "device"} <= set(left_out)


def test_nothing_is_written_through_a_link_that_lies_here(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    outside, local = tmp_path / "outside", tmp_path / "local"
    outside.mkdir()
    local.mkdir()
    (outside / "mine").write_text("mine")
    (local / "log").symlink_to(outside / "mine")
    (local / "folder").symlink_to(outside)

    hostile.answers(member("log"))
    ssh_client.fetch(lab.host(1), "out", local)
    hostile.answers(member("a", b"a"), member("folder/late", b"", type=tarfile.SYMTYPE, linkname="../a"))
    ssh_client.fetch(lab.host(1), "out", local)
    hostile.answers(member("folder/evil"))
    with pytest.raises(HostError, match="refused to unpack"):
        ssh_client.fetch(lab.host(1), "out", local)

    assert content(outside) == {"mine": b"mine"}
    assert (local / "log").read_text() == "evil"


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_an_archive_that_breaks_off_is_no_success(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path, cut: int
) -> None:
    hostile.answers(member("big", os.urandom(10_000)))
    whole = (hostile.home / "answer").read_bytes()
    hostile.answers_raw(whole[:cut], status=2)

    with pytest.raises(HostError, match="could not fetch out: tar: it broke"):
        ssh_client.fetch(lab.host(1), "out", tmp_path / "local")


def test_an_archive_that_breaks_off_without_a_word_is_no_success_either(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    hostile.answers(member("big", os.urandom(100_000)))
    hostile.answers_raw((hostile.home / "answer").read_bytes()[:50_000])

    with pytest.raises(HostError, match="could not fetch out"):
        ssh_client.fetch(lab.host(1), "out", tmp_path / "local")


def test_a_place_here_that_cannot_be_written_is_named(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    (lab.homes[0] / "some").mkdir()
    (lab.homes[0] / "some" / "file").write_text("x")
    (tmp_path / "local").write_text("I am a file")

    with pytest.raises(HostError, match=f"cannot write {tmp_path / 'local'}"):
        ssh_client.fetch(lab.host(), "some", tmp_path / "local")


def test_folders_and_bytes_go_up_whole(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    (tmp_path / "sub folder").mkdir()
    (tmp_path / "sub folder" / "a").write_bytes(os.urandom(1_000_000))
    (tmp_path / "b").write_text("b")

    ssh_client.send(lab.host(), tmp_path, "up/to here")
    ssh_client.send(lab.host(), b"\0\xff" * 1000, "up/to here/-bytes")

    assert content(lab.homes[0] / "up" / "to here") == content(tmp_path) | {"-bytes": b"\0\xff" * 1000}


def test_an_upload_to_where_nothing_can_be_written_says_why(lab: Lab, ssh_client: SshClient) -> None:
    (lab.homes[0] / "plain").write_text("a file")

    with pytest.raises(HostError, match="could not write plain/x: "):
        ssh_client.send(lab.host(), b"data", "plain/x")
