"""Room on hosts' disks: reports, what is kept of them, warnings, and the commands of hosts that report it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.hosts import disk_room
from orchestrator.hosts.disk_room import DiskRoom, FullDisk, FullDisks
from orchestrator.hosts.usage import parse
from orchestrator.jobs.host_output import LogReader
from tests.support.script_host import ScriptHost

NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)
HOST = Host("ml-0", "", "", 22, "u", Path(), "", "i-1")
UP = [("ml-0", "i-1")]
MIB = 1 << 20


@pytest.mark.parametrize(
    ("report", "room"),
    [
        ("93 1024 /data", DiskRoom("/data", 93, MIB)),
        ("93 1024", None),
        ("", None),
        ("-1 1024 /data", None),
        ("93 1024 data", None),
        ("93 1024 /a b", None),
        ("93 1024 /\x1b[2J", None),
        (f"93 {'9' * 99} /data", None),
    ],
)
def test_a_report_is_percentage_room_and_mount_point_or_nothing(report: str, room: DiskRoom | None) -> None:
    assert disk_room.parse(report) == room


def test_full_disks_are_kept_until_their_host_reports_room_again(tmp_path: Path) -> None:
    full_disks = FullDisks(lambda: tmp_path, lambda: NOW)
    root, data = DiskRoom("/", 95, 9 * MIB), DiskRoom("/data", 90, 8 * MIB)

    full_disks.note(HOST, [DiskRoom("/", 89, MIB)])
    assert full_disks.of(UP) == ()
    full_disks.note(HOST, [root])
    full_disks.note(HOST, [data])
    assert full_disks.of(UP) == (FullDisk("ml-0", root, NOW), FullDisk("ml-0", data, NOW))
    assert full_disks.of([("ml-0", "i-2")]) == ()
    full_disks.note(HOST, [DiskRoom("/", 20, MIB), data], is_complete=True)
    assert [disk.room for disk in full_disks.of(UP)] == [data]
    full_disks.note(HOST, [], is_complete=True)
    assert full_disks.of(UP) == ()


@pytest.mark.parametrize(
    "text", ["[", '{"i-1": 3}', '{"i-1": {"at": "x"}}', '{"i-1": {"at": "2026-11-22", "disks": [1]}}']
)
def test_a_damaged_file_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / disk_room.FILE).write_text(text)
    full_disks = FullDisks(lambda: tmp_path, lambda: NOW)

    assert full_disks.of(UP) == ()
    full_disks.note(HOST, [DiskRoom("/", 95, MIB)])
    assert len(full_disks.of(UP)) == 1


def test_a_disk_is_warned_of_once_and_again_when_almost_nothing_is_left(tmp_path: Path) -> None:
    events = list[Event]()
    warn = FullDisks(lambda: tmp_path, lambda: NOW).warn(events.append)
    for percent in (91, 92, 97, 99):
        warn(HOST, DiskRoom("/", percent, 5_000_000_000))
    warn(HOST, DiskRoom("/data", 90, 1_000_000_000))

    assert [event.text for event in events] == [
        "ml-0: / is 91% full, 5.0 GB free: delete files there, or raise [disk] size for the next launch",
        "ml-0: / is 97% full, 5.0 GB free: delete files there, or raise [disk] size for the next launch",
        "ml-0: /data is 90% full, 1.0 GB free: delete files there, or raise its size in [volumes] for the next launch",
    ]


@pytest.fixture
def full_mount(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte, with almost nothing free."""
    point = tmp_path / "data"
    point.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", point], capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    try:
        (point / "file").write_bytes(bytes(MIB * 15 // 16))
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


@pytest.mark.slow
def test_hosts_report_a_full_volume_beside_what_they_are_asked_for(tmp_path: Path, full_mount: Path) -> None:
    (tmp_path / "home/stratus/state").mkdir(parents=True)
    host = ScriptHost(tmp_path / "home")
    (host.home / "stratus/state/mounts").write_text(f"{full_mount}\n")
    rooms = list[DiskRoom]()
    reader = LogReader("@@m4rk", on_disk=rooms.append)

    usage = parse("ml-0", host.run(remote_scripts.inline_command("gpus.sh")))
    # The first heartbeat comes after five seconds.
    host.start("r1", main="printf begin; sleep 6; echo end")
    output = host.run(remote_scripts.inline_command("follow.sh", "r1", "main", "0", "@@m4rk"))
    lines = [line for text in output.splitlines() if (line := reader.feed(text)) is not None]

    assert [(room.mount, room.percent) for room in usage.disks if room.mount == str(full_mount)] == [
        (str(full_mount), 94)
    ]
    assert [room.percent for room in rooms if room.mount == str(full_mount)] == [94]
    assert lines == ["beginend"]
