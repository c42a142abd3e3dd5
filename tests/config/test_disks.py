"""Volumes, shared file systems and open ports in config.ini: one line for each, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import settings
from orchestrator.config.disks.file_systems import FileSystem
from orchestrator.config.disks.volumes import Volume
from orchestrator.core.errors import ConfigError
from tests.support.config_files import HERE, load

SNAPSHOT = "snap-0123456789abcdef0"
VOLUME = "vol-0123456789abcdef0"
SHARED = "fs-0123456789abcdef0"


@pytest.mark.parametrize(
    ("line", "volume"),
    [
        ("500 GiB at /data", Volume("x", "/data", 500)),
        ("2 TiB at /data/, io2, 10000 IOPS", Volume("x", "/data", 2048, "io2", 10000)),
        ("500GiB at ~/data, gp3, 500 MiB/s, keep", Volume("x", "~/data", 500, throughput=500, keep=True)),
        (f"100 GiB at /data, from {SNAPSHOT}", Volume("x", "/data", 100, snapshot=SNAPSHOT)),
        (f"{SNAPSHOT} at /data, keep", Volume("x", "/data", snapshot=SNAPSHOT, keep=True)),
        (f"{VOLUME} at /data", Volume("x", "/data", id=VOLUME)),
        ("local at /scratch", Volume("x", "/scratch", is_local=True)),
    ],
)
def test_a_line_describes_a_volume(project: Path, line: str, volume: Volume) -> None:
    (read,) = load(project, f"[volumes]\nx = {line}\n").volumes

    assert read == Volume(**{**vars(volume), "text": line})


@pytest.mark.parametrize(
    ("line", "shared"),
    [
        ("efs at /shared", FileSystem("x", "efs", "/shared")),
        ("efs at /shared, keep", FileSystem("x", "efs", "/shared", keep=True)),
        (f"efs {SHARED} at /lab, read-only", FileSystem("x", "efs", "/lab", SHARED, read_only=True)),
        ("lustre 1200 GiB at /fast", FileSystem("x", "lustre", "/fast", size=1200)),
        (f"lustre {SHARED} at /fast", FileSystem("x", "lustre", "/fast", SHARED)),
    ],
)
def test_a_line_describes_a_shared_file_system(project: Path, line: str, shared: FileSystem) -> None:
    (read,) = load(project, f"[file_systems]\nx = {line}\n").file_systems

    assert read == FileSystem(**{**vars(shared), "text": line})


MISTAKES = {
    # lines below the header: what is said of the last of them
    "volumes": {
        "x = 500 GiB": "needs a mount point: write ... at /data",
        "x = at /data": "needs a size (500 GiB at ...), snap-..., vol-... or local before the mount point",
        "x = 500 at /data": "has the size '500': a whole number with its unit, such as 500 GiB or 2 TiB",
        "x = 1.5 TiB at /data": "has the size '1.5 TiB': a whole number with its unit",
        "x = vol-123 at /data": "has 'vol-123', which is not vol- and 8 or 17 hexadecimal digits",
        "x = 5 GiB at /": "mounts at /, a folder of the system",
        "x = 5 GiB at /home/ubuntu": "mounts at /home/ubuntu, a folder of the system",
        "x = 5 GiB at /home/ubuntu/.ssh": "mounts at /home/ubuntu/.ssh, a folder of SSH",
        "x = 5 GiB at /my data": "mounts at '/my data', which is not an absolute path (/data)",
        "x = 0 GiB at /data": "has a size that is out of range: 1 to 65536 GiB for gp3",
        "x = 20 TiB at /data, st1": "has a size that is out of range: 125 to 16384 GiB for st1",
        "x = 5 GiB at data": "mounts at 'data', which is not an absolute path (/data) or one below the home (~/data)",
        "x = 5 GiB at /a/../etc": "mounts at '/a/../etc', which is not an absolute path (/data) or one below the home",
        "x = 5 GiB at /etc/x": "mounts at /etc/x, a folder of the system: choose another, such as /data",
        "x = 5 GiB at /home": "mounts at /home, a folder of the system: choose another, such as /data",
        "x = 5 GiB at ~/stratus/x": "mounts at ~/stratus/x, a folder of Stratus: choose another, such as ~/data",
        "x = 5 GiB at /data, gp33": "has 'gp33': a type (gp3), 3000 IOPS, 250 MiB/s, from snap-... or keep. "
        "Did you mean gp3?",
        "x = 5 GiB at /data, gp2, gp3": "says twice what its type is: 'gp3'",
        "x = 5 GiB at /data, from snap-1": "has 'snap-1', which is not snap- and 8 or 17 hexadecimal digits",
        "x = 5 GiB at /data, gp2, 3000 IOPS": "has IOPS, which cannot be set for gp2",
        "x = 5 GiB at /data, io2": "needs IOPS for io2: 100 to 5000",
        "x = 5 GiB at /data, 2000 IOPS": "has IOPS out of range: 3000 to 3000 at 5 GiB",
        "x = 5 GiB at /data, io2, 100 IOPS, 250 MiB/s": "has a throughput, which cannot be set for io2",
        "x = 5 GiB at /data, 1000 MiB/s": "needs 4000 IOPS or more for 1000 MiB/s",
        "x = local at /data, keep": "takes no options: local disks come with the type",
        f"x = {VOLUME} at /data, keep": "takes no options: it exists",
        "My_Data = 5 GiB at /data": "has a name that is not a lower-case letter, then up to 30",
        "y = 5 GiB at /data\nx = 5 GiB at /data": "mounts at /data, as y does",
        "y = 5 GiB at /data\nx = 5 GiB at /data/x": "mounts at /data/x, and y at /data: one must not be in the other",
        "y = local at /a\nx = local at /b": "is a second line for local disks: one takes them all",
    },
    "file_systems": {
        "x = nfs at /data": "begins with neither efs nor lustre: efs at /shared, or efs fs-... at /shared.",
        "x = efs 500 GiB at /data": "has '500 GiB' before the mount point: EFS takes no size",
        "x = efs fs-12 at /data": "has 'fs-12', which is not fs- and 8 or 17 hexadecimal digits",
        "x = lustre at /data": "needs its size: lustre 1200 GiB at /fast",
        "x = lustre 1300 GiB at /data": "has a size that FSx for Lustre does not have: 1200 GiB, or a multiple of 2400",
        "x = efs at /data, kept": "has 'kept': keep or read-only. Did you mean keep?",
        f"x = efs {SHARED} at /data, keep": "is an existing file system, which is always kept: leave out keep",
        "x = efs at /data, read-only": "would be made empty: read-only is for an existing one (fs-...)",
        "y = efs at /data\nx = efs at /data": "mounts at /data, as y does",
    },
    "aws": {
        "open_ports = 8888": "contains '8888': write 8888 from me, https from anywhere, or 8000-8010 from 10.1.0.0/16",
        "open_ports = 8888 from my-laptop": "has 'my-laptop', which is neither me, anywhere nor a network",
        "open_ports = 99999 from me": "has '99999', which is not a port or a range of them (1 to 65535)",
        "open_ports = 90-80 from me": "has '90-80', which is not a port or a range of them (1 to 65535)",
        "open_ports = htps from me": "has 'htps', which is not a port: a number, first-last, or http, https, jupyter.",
        "open_ports = 443 from 10.0.0.1/8": "contains '10.0.0.1/8', which is not an IPv4 network",
        "open_ports = 20-30 from me": "contains the SSH port 22: that is ssh_from",
        "security_group_id = sg-01234567\nopen_ports = 80 from me": "cannot be done: the group named by "
        "security_group_id is not changed; open them in that group",
    },
}


@pytest.mark.parametrize(
    ("section", "lines", "words"), [(each, *item) for each, items in MISTAKES.items() for item in items.items()]
)
def test_a_mistake_is_reported_with_its_line(project: Path, section: str, lines: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(project, f"[{section}]\n{lines}\n")

    (problem,) = caught.value.problems
    assert problem.line == 2 + lines.count("\n")
    assert words in str(problem.message)


def test_twelve_volumes_are_one_too_many(project: Path) -> None:
    lines = "".join(f"v{number} = 5 GiB at /data/{number}\n" for number in range(12))

    with pytest.raises(ConfigError, match="is one too many: a VM has room for 11 of them"):
        load(project, f"[volumes]\n{lines}")


def test_an_existing_volume_is_for_one_vm(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"is one volume, for one VM: \[cluster\] count is 2"):
        load(project, f"[cluster]\ncount = 2\n[volumes]\nx = {VOLUME} at /data\n")


def test_a_mistake_in_a_volume_does_not_keep_vms_running(project: Path) -> None:
    path = project / "config" / "config.ini"
    path.write_text("[volumes]\ndata = nonsense\n[file_systems]\nshared = nonsense\n", encoding="utf-8")

    loaded = settings.load(path, HERE, only_ending=True)

    assert (loaded.volumes, loaded.file_systems) == ((), ())
