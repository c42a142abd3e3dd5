"""Folders that come from hosts and go to them: whole, in one stream, and never outside the folder that was meant."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import HostError
from orchestrator.ssh import SshClient
from orchestrator.ssh.tar_stream import LimitReached, UnpackBudget
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


def pax(**records: str) -> dict[str, Any]:
    """Return the facts of a member with extended headers."""
    return {"pax_headers": records}


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


def test_a_folder_here_is_replaced_without_following_its_links(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    outside, local = tmp_path / "outside", tmp_path / "local"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (local / "file").mkdir(parents=True)
    (local / "file" / "door").symlink_to(outside)
    (local / "kept").mkdir()
    (local / "kept" / "a").write_text("a")
    (local / "way").write_text("old")
    hostile.answers(
        member("file"),
        member("kept", b"", type=tarfile.SYMTYPE, linkname="kept/a"),
        member("way/without/a folder"),
        member("last", b"last"),
    )
    left_out: dict[str, str] = {}

    ssh_client.fetch(lab.host(1), "out", local, on_skipped=left_out.__setitem__)

    assert content(outside) == {"mine": b"mine"}
    assert content(local) == {"file": b"evil", "kept/a": b"a", "way/without/a folder": b"evil", "last": b"last"}
    assert left_out == {"kept": "a link to kept/a"}


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


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (
            UnpackBudget(max_bytes=1 << 20, advice="raise it"),
            r"^ml-1: stopped at 0\.000977 GiB, the limit of a fetch\n",
        ),
        (UnpackBudget(max_files=2, advice="raise it"), r"^ml-1: stopped after 2 files, the limit of a fetch\n"),
    ],
)
def test_an_archive_bomb_ends_at_the_limit_and_what_came_before_stays(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path, budget: UnpackBudget, reason: str
) -> None:
    hostile.answers(member("a", b"a"), member("b", b"b"), member("bomb", bytes(64 << 20)))

    with pytest.raises(LimitReached, match=reason) as caught:
        ssh_client.fetch(lab.host(1), "out", tmp_path, budget=budget)

    assert content(tmp_path) == {"a": b"a", "b": b"b"}
    assert str(caught.value).endswith("\n  raise it")


def test_a_sparse_file_counts_with_the_size_that_it_takes_here(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    sparse = pax(**{"GNU.sparse.size": str(1 << 50), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,4"})
    hostile.answers(member("sparse", **sparse))

    with pytest.raises(LimitReached):
        ssh_client.fetch(lab.host(1), "out", tmp_path, budget=UnpackBudget(max_bytes=1 << 20))

    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    "hostile_member",
    [
        member("long header", **pax(comment="x" * (8 << 20))),
        member("n" * (8 << 20)),
        member("unknown type", bytes(8 << 20), type=b"Z"),
    ],
    ids=["extended header", "long name", "unknown type"],
)
def test_headers_of_any_length_fill_no_memory(
    lab: Lab,
    ssh_client: SshClient,
    hostile: HostileTar,
    tmp_path: Path,
    hostile_member: tuple[tarfile.TarInfo, bytes],
) -> None:
    hostile.answers(member("good", b"good"), hostile_member, member("later"))

    with pytest.raises(HostError, match=r"^ml-1: (could not fetch out: |cannot write )"):
        ssh_client.fetch(lab.host(1), "out", tmp_path)

    assert content(tmp_path) == {"good": b"good"}


@pytest.mark.parametrize(
    "facts",
    [
        {"mtime": 1e300},
        pax(mtime="nan"),
        pax(mtime="-1e18"),
        {"mode": 0o7777},
        {"uname": "\x1b[2J"},
    ],
)
def test_odd_facts_of_a_file_do_not_matter(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path, facts: dict[str, object]
) -> None:
    hostile.answers(member("file", b"data", **facts), member("next", b"next"))

    ssh_client.fetch(lab.host(1), "out", tmp_path)

    assert content(tmp_path) == {"file": b"data", "next": b"next"}
    assert (tmp_path / "file").stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("is_first", [True, False])
def test_a_field_that_is_no_number_is_a_damaged_archive(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path, is_first: bool
) -> None:
    damaged = member("sparse", **pax(**{"GNU.sparse.map": "", "GNU.sparse.size": "x"}))
    hostile.answers(*[damaged, member("file")] if is_first else [member("file"), damaged])

    with pytest.raises(HostError, match=r"^ml-1: could not fetch out"):
        ssh_client.fetch(lab.host(1), "out", tmp_path)


def test_a_tree_is_at_most_64_folders_deep(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    hostile.answers(member("d/" * 2000 + "file"))

    with pytest.raises(HostError, match="more than 64 folders deep"):
        ssh_client.fetch(lab.host(1), "out", tmp_path)


def test_a_long_chain_of_links_ends(lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path) -> None:
    links = [member(str(n), b"", type=tarfile.SYMTYPE, linkname=str(n + 1)) for n in range(500)]
    hostile.answers(*links, member("500", b"end"))
    left_out: dict[str, str] = {}

    ssh_client.fetch(lab.host(1), "out", tmp_path, on_skipped=left_out.__setitem__)

    assert len(content(tmp_path)) + len(left_out) == 501
    assert left_out


def test_data_without_end_after_an_archive_is_not_read_to_its_end(
    lab: Lab, ssh_client: SshClient, hostile: HostileTar, tmp_path: Path
) -> None:
    hostile.answers(member("good", b"good"))
    (hostile.home / "bin" / "tar").write_text("#!/bin/sh\ncat ~/answer\nexec cat /dev/zero\n")

    with pytest.raises(HostError, match=r"^ml-1: refused to unpack: data without end after the archive"):
        ssh_client.fetch(lab.host(1), "out", tmp_path)

    assert content(tmp_path) == {"good": b"good"}


def test_a_host_without_end_leaves_the_others_their_parts_of_the_limit() -> None:
    greedy, modest = UnpackBudget(1000, 20).split(2)
    greedy.take_bytes(250)
    greedy.take_bytes(500)
    with pytest.raises(LimitReached, match="the limit of a fetch"):
        greedy.take_bytes(1)
    for _ in range(15):
        greedy.take_file()
    with pytest.raises(LimitReached):
        greedy.take_file()

    modest.take_bytes(250)
    for _ in range(5):
        modest.take_file()
    with pytest.raises(LimitReached):
        modest.take_file()
    # All of it, where there is one host.
    (only,) = UnpackBudget(1000, 20).split(1)
    only.take_bytes(1000)
