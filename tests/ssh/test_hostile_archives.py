"""Archives that a hostile host sends: nothing is written outside the folder that was meant, and limits hold."""

from __future__ import annotations

import io
import os
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
