"""Unpacking of tar streams that a host may have made up: exact bounds, modes, times, links and budgets."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from orchestrator.config.settings import JobSettings
from orchestrator.core.errors import HostError
from orchestrator.ssh.tar_stream import (
    BLOCK_BYTES,
    MAX_DEPTH,
    MAX_LINK_CHAIN,
    MAX_REST_BYTES,
    ChunkReader,
    LimitReached,
    UnpackBudget,
    make_folder,
    pack,
    unpack,
)

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **facts: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info, data


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    return member(name, type=kind, linkname=target)


def archive_of(*members: Member) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


class Unpacked:
    """Outcome of unpacking members into a folder."""

    def __init__(self, folder: Path, *members: Member, budget: UnpackBudget | None = None) -> None:
        self.folder = folder
        self.skipped: dict[str, str] = {}
        self.size = unpack(
            ChunkReader([archive_of(*members)]), folder, self.skipped.__setitem__, budget or UnpackBudget()
        )

    @property
    def files(self) -> dict[str, bytes]:
        """Content of each file."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def test_the_size_of_all_files_is_returned(tmp_path: Path) -> None:
    unpacked = Unpacked(tmp_path, member("a", b"12"), member("d", type=tarfile.DIRTYPE), member("d/b", b"345"))

    assert unpacked.size == 5
    assert unpacked.files == {"a": b"12", "d/b": b"345"}
    assert unpacked.skipped == {}


def test_of_a_mode_the_execute_bit_is_kept_and_of_the_times_that_of_the_last_change(tmp_path: Path) -> None:
    Unpacked(tmp_path, member("x", mode=0o4777, mtime=1000), member("y", mode=0o667, mtime=2000))

    states = [(tmp_path / name).stat() for name in "xy"]
    assert [(state.st_mode & 0o7777, state.st_mtime, state.st_atime) for state in states] == [
        (0o755, 1000, 1000),
        (0o644, 2000, 2000),
    ]


@pytest.mark.parametrize("name", ["/x", "../x", "a/../../x", "a/..", ".."])
def test_a_name_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostError, match="refused to unpack"):
        Unpacked(tmp_path, member(name, b"evil"))
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_dots_that_stays_inside_is_normalized(tmp_path: Path) -> None:
    assert Unpacked(tmp_path, member("./a/./..b", b"1"), member("c..", b"2")).files == {"a/..b": b"1", "c..": b"2"}


def test_folders_are_as_deep_as_the_limit_and_no_deeper(tmp_path: Path) -> None:
    Unpacked(tmp_path, member("d/" * MAX_DEPTH + "x", b"1"))
    with pytest.raises(HostError, match=f"more than {MAX_DEPTH} folders deep"):
        Unpacked(tmp_path, member("d/" * (MAX_DEPTH + 1) + "x", b"1"))


def test_as_many_files_as_the_limit_are_unpacked_and_no_more(tmp_path: Path) -> None:
    members = [member(name, b"1") for name in "abc"]

    assert Unpacked(tmp_path, *members, budget=UnpackBudget(max_files=3)).size == 3
    with pytest.raises(LimitReached, match="stopped after 2 files") as caught:
        Unpacked(tmp_path, *members, budget=UnpackBudget(max_files=2, advice="raise it"))
    assert caught.value.fix == "raise it"


def test_as_many_bytes_as_the_limit_are_unpacked_and_half_a_file_is_not_kept(tmp_path: Path) -> None:
    members = member("a", b"123"), member("b", b"4567")

    assert Unpacked(tmp_path, *members, budget=UnpackBudget(max_bytes=7)).size == 7
    (tmp_path / "b").unlink()
    with pytest.raises(LimitReached, match=r"stopped at 5\.59e-09 GiB") as caught:
        Unpacked(tmp_path, *members, budget=UnpackBudget(max_bytes=6, advice="raise it"))
    assert caught.value.fix == "raise it"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_hosts_share_a_budget(tmp_path: Path) -> None:
    budget = UnpackBudget(max_bytes=5, max_files=3)
    Unpacked(tmp_path, member("a", b"123"), budget=budget)

    with pytest.raises(LimitReached):
        Unpacked(tmp_path, member("b", b"456"), budget=budget)


def test_links_to_files_inside_become_those_files_however_they_are_chained(tmp_path: Path) -> None:
    unpacked = Unpacked(
        tmp_path,
        link("d/last", "middle"),
        link("d/middle", "../first"),
        link("hard", "d/data", tarfile.LNKTYPE),
        link("first", "d/data"),
        member("d/data", b"1"),
    )

    assert unpacked.files == dict.fromkeys(("d/data", "d/last", "d/middle", "first", "hard"), b"1")
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert unpacked.skipped == {}


def test_a_chain_of_links_is_followed_as_far_as_the_limit(tmp_path: Path) -> None:
    chain = [link(f"{number:02}", f"{number - 1:02}") for number in range(1, MAX_LINK_CHAIN + 2)]
    unpacked = Unpacked(tmp_path, member("00", b"1"), *chain)

    assert len(unpacked.files) == MAX_LINK_CHAIN + 1
    assert unpacked.skipped == {f"{MAX_LINK_CHAIN + 1:02}": f"a link to {MAX_LINK_CHAIN:02}"}


def test_links_elsewhere_and_devices_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "in").mkdir()
    unpacked = Unpacked(
        tmp_path / "in",
        link("a", "../outside"),
        link("b", str(tmp_path / "outside")),
        link("c", "none"),
        link("d", ""),
        member("e", type=tarfile.FIFOTYPE),
    )

    assert unpacked.files == {}
    assert unpacked.skipped.keys() == set("abcde")
    assert unpacked.skipped["a"] == "a link to ../outside"
    assert unpacked.skipped["e"] == "neither a file nor a folder"


def test_nothing_is_written_through_links_that_lie_in_the_folder(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    inside.mkdir()
    (outside / "file").write_text("old")
    (inside / "file").symlink_to(outside / "file")
    (inside / "folder").symlink_to(outside)
    assert Unpacked(inside, member("file", b"new")).files == {"file": b"new"}
    with pytest.raises(HostError, match="a local link leads outside the folder"):
        Unpacked(inside, member("folder/file", b"new"))
    unpacked = Unpacked(inside, member("data", b"new"), link("folder/file", "../data"), link("folder/more", "../data"))

    assert unpacked.skipped.keys() == {"folder/file", "folder/more"}
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "old"}


def test_nothing_is_written_through_a_hard_link_that_lies_in_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "outside").write_text("old")
    (inside / "file").hardlink_to(tmp_path / "outside")

    assert Unpacked(inside, member("file", b"new")).files == {"file": b"new"}
    assert (tmp_path / "outside").read_text() == "old"


def test_folders_above_folders_files_and_links_are_made(tmp_path: Path) -> None:
    unpacked = Unpacked(
        tmp_path, member("a/b/c", type=tarfile.DIRTYPE), member("d/e/f", b"1"), link("g/h/i", "../../d/e/f")
    )

    assert (tmp_path / "a/b/c").is_dir()
    assert unpacked.files == {"d/e/f": b"1", "g/h/i": b"1"}


def test_a_folder_replaces_a_link_and_nothing_above_the_destination_is_replaced(tmp_path: Path) -> None:
    outside, inside, file = tmp_path / "outside", tmp_path / "inside", tmp_path / "file"
    outside.mkdir()
    inside.mkdir()
    (inside / "d").symlink_to(outside)
    (inside / "e").symlink_to("nothing")
    file.write_bytes(b"1")

    unpacked = Unpacked(inside, member("d", type=tarfile.DIRTYPE), member("d/f", b"1"), member("e/f", b"2"))
    assert unpacked.files == {"d/f": b"1", "e/f": b"2"}
    assert list(outside.iterdir()) == []
    with pytest.raises(OSError, match="file"):
        make_folder(file / "top/folder", file / "top")
    assert file.read_bytes() == b"1"


def test_a_link_to_a_folder_on_the_way_stays_and_one_to_a_file_or_to_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "file").touch()
    for name, target in (("outputs", "disk"), ("logs", "file"), ("state", "nothing")):
        (tmp_path / name).symlink_to(target)
        make_folder(tmp_path / name / "sub", tmp_path)

    assert (tmp_path / "disk/sub").is_dir()
    assert [(tmp_path / name).is_symlink() for name in ("outputs", "logs", "state")] == [True, False, False]


def test_lines_between_archives_have_sixteen_bytes_at_most() -> None:
    source = ChunkReader([b"d\n\n0", b"1\n", b"x" * 20])

    assert [source.read_line() for _ in range(5)] == [b"d", b"", b"01", b"x" * 16, b"xxxx"]
    source.push_back(b"ab")
    source.push_back(b"12")
    assert (source.read(3), source.read(3), source.read_line()) == (b"12a", b"b", b"")


def test_hosts_make_a_folder_at_the_same_time(tmp_path: Path) -> None:
    hosts = 4
    for number in range(50):
        top, barrier = tmp_path / str(number), Barrier(hosts)
        top.mkdir()

        def make(top: Path = top, barrier: Barrier = barrier) -> None:
            barrier.wait()
            make_folder(top / "outputs/deep/er", top)

        with ThreadPoolExecutor(hosts) as pool:
            for result in [pool.submit(make) for _ in range(hosts)]:
                result.result()


def test_a_link_replaces_a_file_and_takes_no_further_space(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    unpacked = Unpacked(tmp_path, member("a", b"123"), link("b", "a"), budget=UnpackBudget(max_bytes=3))

    assert unpacked.files == {"a": b"123", "b": b"123"}
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_a_link_to_a_name_that_is_too_long_is_skipped(tmp_path: Path) -> None:
    assert Unpacked(tmp_path, link("a", "x" * 300)).skipped == {"a": f"a link to {'x' * 300}"}


def test_headers_may_be_as_long_as_three_mib_and_not_five(tmp_path: Path) -> None:
    assert Unpacked(tmp_path, member("a", b"1", pax_headers={"comment": "x" * (3 << 20)})).size == 1
    with pytest.raises(tarfile.ReadError, match="a header without end"):
        Unpacked(tmp_path, member("a", b"1", pax_headers={"comment": "x" * (5 << 20)}))


def test_a_stream_may_arrive_byte_by_byte(tmp_path: Path) -> None:
    data = archive_of(member("a", b"123"))
    chunks = [data[number : number + 1] for number in range(len(data))]

    assert unpack(ChunkReader(chunks), tmp_path, lambda name, reason: None, UnpackBudget()) == 3


def test_bytes_that_are_not_compressed_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(tarfile.ReadError, match="damaged"):
        unpack(ChunkReader([b"no archive"]), tmp_path, lambda name, reason: None, UnpackBudget())


def test_files_and_hard_links_are_replaced_when_they_come_again(tmp_path: Path) -> None:
    for content in (b"1", b"23", b"23"):
        unpacked = Unpacked(tmp_path, member("a", content), link("b", "a", tarfile.LNKTYPE), link("a", "a"))
        assert unpacked.files == {"a": content, "b": content}


def test_what_follows_an_archive_is_read_up_to_a_limit() -> None:
    block = b"x" * BLOCK_BYTES
    blocks = MAX_REST_BYTES // BLOCK_BYTES

    assert ChunkReader([b"", block] * blocks).skip_rest() is True
    assert ChunkReader([block] * (blocks + 2)).skip_rest() is False


def test_chunks_are_read_in_pieces_of_any_size() -> None:
    reader = ChunkReader([b"abc", b"", b"de"])

    assert [reader.read(2), reader.read(2), reader.read(9), reader.read(1)] == [b"ab", b"c", b"de", b""]
    assert reader.received == 5


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "bytes"])
def test_an_incomplete_or_damaged_stream_is_an_error(tmp_path: Path, damage: str) -> None:
    whole = archive_of(member("a", os.urandom(100_000)))
    data = {"empty": b"", "cut": whole[:-5000], "other": b"no archive", "bytes": gzip.compress(b"x" * 2000)}[damage]

    with pytest.raises(tarfile.ReadError):
        unpack(ChunkReader([data]), tmp_path, lambda name, reason: None, UnpackBudget())


def test_a_folder_is_unpacked_as_it_was_packed_and_an_error_of_packing_is_raised(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "empty").mkdir(parents=True)
    target.mkdir()
    (source / "file").write_bytes(b"1" * 200_000)
    unpack(ChunkReader(pack(source)), target, lambda name, reason: None, UnpackBudget())

    assert (target / "file").read_bytes() == b"1" * 200_000
    assert (target / "empty").is_dir()
    # Often: its thread may end before or after the reader sees the end of the data.
    for _ in range(100):
        with pytest.raises(OSError, match="none"):
            list(pack(tmp_path / "none"))


def test_the_budget_without_settings_is_that_of_the_settings() -> None:
    budget, options = UnpackBudget(), JobSettings()

    assert (budget.max_bytes, budget.max_files) == (options.max_fetch_gib * (1 << 30), options.max_fetch_files)


def test_the_parts_of_a_budget_are_whole_bytes_and_files() -> None:
    parts = UnpackBudget(1005, 23).split(3)

    assert [(part.max_bytes, part.max_files) for part in parts] == [(167, 3)] * 3
    for _ in range(3 + 11):
        parts[0].take_file()
    with pytest.raises(LimitReached, match="stopped after 11 files"):
        parts[0].take_file()


def test_where_there_are_no_hard_links_a_link_becomes_a_copy_that_counts(tmp_path: Path) -> None:
    def refuse(source: Path, path: Path) -> None:
        raise OSError

    data = archive_of(member("a", b"123", mode=0o755, mtime=1000), link("b", "a"))
    for max_bytes in (6, 5):
        folder = tmp_path / str(max_bytes)
        folder.mkdir()
        arguments = ChunkReader([data]), folder, lambda name, reason: None, UnpackBudget(max_bytes=max_bytes)
        if max_bytes == 5:
            with pytest.raises(LimitReached):
                unpack(*arguments, link=refuse)
        else:
            assert unpack(*arguments, link=refuse) == 3

    copy, original = tmp_path / "6" / "b", tmp_path / "6" / "a"
    assert not copy.samefile(original)
    assert (copy.read_bytes(), copy.stat().st_mode, copy.stat().st_mtime) == (b"123", original.stat().st_mode, 1000)
    assert not (tmp_path / "5" / "b").exists()
