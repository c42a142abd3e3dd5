"""Hosts that pass a large upload on to each other: it is sent once, and no failure or lie of one spoils another's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.install.upload import scan
from tests.support.fan_out_hosts import LOW, FanOut, Receiver, content

BIG = 6_000_001


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with files of all kinds; none of them can be compressed."""
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "big").write_bytes(os.urandom(BIG))
    (folder / "copy").write_bytes((folder / "big").read_bytes())
    (folder / "exact").write_bytes(os.urandom(2 << 20))
    (folder / "empty").touch()
    (folder / "link").symlink_to("big")
    for number in range(20):
        (folder / f"deep/{number}").write_bytes(os.urandom(number * 500))
    return folder


def size_of(folder: Path) -> int:
    """Return the bytes of all contents, equal ones once."""
    return sum(map(len, set(content(folder).values())))


def fan_out(folder: Path, source: Path, link_bytes_per_s: float = 0) -> FanOut:
    """Return hosts that get a folder."""
    (folder / "hosts").mkdir(exist_ok=True)
    options = replace(LOW, link_bytes_per_s=link_bytes_per_s)
    return FanOut(folder / "hosts", scan("job.data", source, "data"), options)


def test_five_hosts_get_what_this_computer_sends_once(tmp_path: Path, source: Path) -> None:
    """Others get a list, digests and certificates from it only."""
    with fan_out(tmp_path, source) as tree:
        hosts = [tree.host(f"ml-{number}") for number in range(5)]
        statuses = tree.send(*hosts)

    assert set(statuses.values()) == {0}
    assert all(content(host.dest) == content(source) for host in hosts)
    assert size_of(source) < hosts[0].sent < size_of(source) + 10_000
    assert max(host.sent for host in hosts[1:]) < 10_000
    assert not tree.events


def test_no_key_stays_on_a_host(tmp_path: Path, source: Path) -> None:
    """Nor is it on a command line."""
    with fan_out(tmp_path, source) as tree:
        host = tree.host("ml-0")
        tree.send(host, tree.host("ml-1"))
        assert host.is_serving()
        stored = b"".join(content(host.folder).values())

    assert b"PRIVATE KEY-----\nM" not in stored


def interrupt(host: Receiver, after_bytes: int) -> None:
    """Kill a host once it has received so much."""

    def kill(line: str) -> None:
        if line.startswith("@@have") and int(line.split()[2]) >= after_bytes:
            host.kill()

    host.on_line = kill


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_host_that_is_killed_on_the_way_costs_only_itself(tmp_path: Path, source: Path, number: int) -> None:
    """The first one, and one that passes data on; those that got it from there go on elsewhere with what is missing."""
    with fan_out(tmp_path, source, link_bytes_per_s=8e6) as tree:
        hosts = [tree.host(f"ml-{number}") for number in range(5)]
        interrupt(hosts[number], 3_000_000)
        statuses = tree.send(*hosts)

    assert [name for name, status in statuses.items() if status] == [f"ml-{number}"]
    assert all(content(host.dest) == content(source) for host in hosts if host is not hosts[number])
    # What only the first host had is sent again, and nothing else.
    again = 0 if number else hosts[0].sent
    assert sum(host.sent for host in hosts) < size_of(source) + again + 60_000
    assert any(f"from ml-{number} any more" in event.text for event in tree.events)


@pytest.mark.slow
def test_an_interrupted_upload_goes_on_with_what_is_missing(tmp_path: Path, source: Path) -> None:
    """Of a large file, too: complete pieces are kept."""
    with fan_out(tmp_path, source, link_bytes_per_s=4e6) as tree:
        first = tree.host("ml-0")
        interrupt(first, 3_000_000)
        assert tree.send(first)["ml-0"] != 0
        again = tree.host("ml-0")
        assert tree.send(again, tree.host("ml-1")) == {"ml-0": 0, "ml-1": 0}

    assert content(again.dest) == content(source)
    assert again.sent < size_of(source) - 2_000_000


def test_of_a_file_that_has_grown_only_the_end_is_sent(tmp_path: Path, source: Path) -> None:
    with fan_out(tmp_path, source) as tree:
        tree.send(tree.host("ml-0"))
    with (source / "big").open("ab") as file:
        file.write(os.urandom(2_000_000))
    (source / "copy").unlink()
    with fan_out(tmp_path, source) as tree:
        again = tree.host("ml-0")
        tree.send(again)

    assert content(again.dest) == content(source)
    assert again.sent < 4_000_000


@pytest.mark.slow
def test_of_a_large_file_that_has_changed_in_one_place_one_piece_is_sent(tmp_path: Path) -> None:
    """A few pieces tell that the rest is worth reading; a file with other bytes all over is sent as a whole."""
    large = tmp_path / "source/large"
    large.parent.mkdir()
    large.write_bytes(os.urandom(20 << 20))
    sent = []
    for change in (b"", b"one line", os.urandom(20 << 20)):
        with large.open("r+b") as file:
            file.seek(0 if len(change) > 8 else 7 << 20)
            file.write(change)
        with fan_out(tmp_path, large.parent) as tree:
            host = tree.host("ml-0")
            assert tree.send(host) == {"ml-0": 0}
        assert content(host.dest) == content(large.parent)
        sent.append(round(host.sent / (1 << 20)))

    assert sent == [20, 1, 20]


def test_wrong_data_of_a_lying_host_is_refused(tmp_path: Path, source: Path) -> None:
    """The one that it sends them to goes elsewhere, and passes on none of it."""
    with fan_out(tmp_path, source) as tree:
        hosts = [tree.host(f"ml-{number}") for number in range(4)]
        hosts[0].lie()
        statuses = tree.send(*hosts)

    assert set(statuses.values()) == {0}
    assert all(content(host.dest) == content(source) for host in hosts)
    texts = [event.text for event in tree.events]
    assert "ml-1 does not get job.data from ml-0 any more: its data has a wrong checksum" in texts


def test_a_file_that_changes_during_the_upload_is_an_error(tmp_path: Path, source: Path) -> None:
    """Of a small file the digest is that of the list."""
    with fan_out(tmp_path, source) as tree:
        host = tree.host("ml-0")
        (source / "deep/19").write_bytes(os.urandom(19 * 500))
        statuses = tree.send(host)

    assert statuses == {"ml-0": 1}
    assert host.lines[-1] == "deep/19 has changed on the client since the upload began; upload it again"
