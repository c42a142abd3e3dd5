"""Folders that come from hosts and go to them: whole, in one stream."""

from __future__ import annotations

import os
import socket
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


def test_a_folder_here_is_replaced_by_a_file_and_a_file_by_a_folder(
    lab: Lab, ssh_client: SshClient, tmp_path: Path
) -> None:
    out = lab.homes[0] / "changed"
    (out / "from").mkdir(parents=True)
    (out / "from" / "a").write_text("here")
    (out / "file").write_text("file")
    (out / "link").symlink_to("zz")
    (out / "up").symlink_to("from/a")
    (out / "zz").write_text("last")
    for name in ("file/deep", "link", "up/from"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "old").write_text("old")
    (tmp_path / "from").write_text("old")

    ssh_client.fetch(lab.host(), "changed", tmp_path)

    assert content(tmp_path) == {"from/a": b"here", "file": b"file", "link": b"last", "up": b"here", "zz": b"last"}


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
    os.mkfifo(out / "pipe")
    # By its descriptor: the path of a socket may have 107 characters only.
    folder = os.open(out, os.O_RDONLY)
    left_out: dict[str, str] = {}

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{folder}/some server")
        os.close(folder)
        ssh_client.fetch(lab.host(), "linked", tmp_path, on_skipped=left_out.__setitem__)

    names = ["best.ckpt", "last.ckpt", "steps/9.ckpt", "steps/hard.ckpt", "steps/up.ckpt"]
    assert content(tmp_path) == dict.fromkeys(names, b"weights")
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert sorted(left_out) == ["data", "loop", "passwd", "pipe", "some server"]
    assert (left_out["data"], left_out["some server"]) == ("a link to /etc", "a socket")


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
