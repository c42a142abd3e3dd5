"""EBS volumes of each VM besides its root disk, and its local NVMe disks: the lines of ``[volumes]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.config import aws_catalog, ini
from orchestrator.config.disks import mount_points

MAX_VOLUMES = 11
"""Device names that EC2 recommends for data volumes, /dev/sdf to /dev/sdp:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html"""

_ID = r"(vol|snap)-([0-9a-f]{8}|[0-9a-f]{17})"
_OPTIONS = ("keep", *aws_catalog.VOLUME_TYPES)


@dataclass(frozen=True)
class Volume:
    """One volume of each VM.

    :param mount_point: ``/data``, or ``~/data`` below the home of the login user.
    :param size: GiB; 0 for that of its snapshot.
    :param type: EBS volume type.
    :param iops: 0 is the default of the type.
    :param throughput: MiB/s; 0 is the default of the type.
    :param snapshot: that it is created from; empty for none.
    :param id: of an existing volume; empty to create one.
    :param keep: True if it is kept when its VM is terminated.
    :param is_local: True for the local NVMe disks of the VM, which come with its type and are lost when it stops.
    :param text: the line as it was written.
    """

    name: str
    mount_point: str
    size: int = 0
    type: str = "gp3"
    iops: int = 0
    throughput: int = 0
    snapshot: str = ""
    id: str = ""
    keep: bool = False
    is_local: bool = False
    text: str = ""


def parse(name: str, text: str) -> Volume:
    """Return the volume of a line ``name = 500 GiB at /data, io2, 10000 IOPS, keep``.

    :raises ValueError: with a message that continues ``[volumes] name = 'text'``.
    """
    if not re.fullmatch(mount_points.NAME_PATTERN, name):
        raise ValueError(f"has a name that is not {mount_points.NAME_SHAPE}")
    source, mount_point, options = mount_points.split_line(text)
    values: dict[str, object] = {"name": name, "mount_point": mount_point, "text": text, **_source(source)}
    for option in options:
        key, value = _option(option)
        if values.get(key):
            raise ValueError(f"says twice what its {key} is: {option!r}")
        values[key] = value
    return _checked(Volume(**values))  # type: ignore[arg-type]


def _source(text: str) -> dict[str, object]:
    if text.lower() == "local":
        return {"is_local": True}
    if match := re.fullmatch(_ID, text):
        return {"id" if match[1] == "vol" else "snapshot": text}
    if text.startswith(("vol-", "snap-")):
        raise ValueError(f"has {text!r}, which is not {text.partition('-')[0]}- and 8 or 17 hexadecimal digits")
    size = mount_points.size_gib(text)
    if size is None and re.fullmatch(r"[-+]?[0-9.,]+\s*[KMGTP]?i?B?", text, re.IGNORECASE):
        raise ValueError(f"has the size {text!r}: a whole number with its unit, such as 500 GiB or 2 TiB")
    if size is None:
        raise ValueError("needs a size (500 GiB at ...), snap-..., vol-... or local before the mount point")
    return {"size": size}


def _option(text: str) -> tuple[str, object]:
    if text == "keep":
        return "keep", True
    if text in aws_catalog.VOLUME_TYPES:
        return "type", text
    if match := re.fullmatch(r"([0-9]{1,6}) IOPS", text, re.IGNORECASE):
        return "iops", int(match[1])
    if match := re.fullmatch(r"([0-9]{1,5}) MiB/s", text, re.IGNORECASE):
        return "throughput", int(match[1])
    if match := re.fullmatch(r"from (snap-\S+)", text):
        if not re.fullmatch(_ID, match[1]):
            raise ValueError(f"has {match[1]!r}, which is not snap- and 8 or 17 hexadecimal digits")
        return "snapshot", match[1]
    hint = ini.suggest(text, _OPTIONS)
    raise ValueError(f"has {text!r}: a type (gp3), 3000 IOPS, 250 MiB/s, from snap-... or keep.{hint}")


def _checked(volume: Volume) -> Volume:
    """Return a volume whose options fit together.

    :raises ValueError: they do not.
    """
    # Without the options that define it, nothing else may differ from an empty volume.
    if (volume.is_local or volume.id) and volume != Volume(
        volume.name, volume.mount_point, id=volume.id, is_local=volume.is_local, text=volume.text
    ):
        raise ValueError("takes no options: " + ("local disks come with the type" if volume.is_local else "it exists"))
    if volume.is_local or volume.id:
        return volume
    limits = aws_catalog.VOLUME_TYPES[volume.type]
    low, high = limits.size_gib
    if (volume.size or not volume.snapshot) and not low <= volume.size <= high:
        raise ValueError(f"has a size that is out of range: {low} to {high} GiB for {volume.type}")
    if volume.throughput and volume.type != "gp3":
        raise ValueError(f"has a throughput, which cannot be set for {volume.type}")
    _check_iops(volume, limits)
    return volume


def _check_iops(volume: Volume, limits: aws_catalog.VolumeLimits) -> None:
    if not limits.iops:
        if volume.iops:
            raise ValueError(f"has IOPS, which cannot be set for {volume.type}")
        return
    low, high = limits.iops
    # A snapshot's size is known to AWS only, which checks the ratio then.
    highest = min(high, max(limits.default_iops, limits.iops_per_gib * volume.size)) if volume.size else high
    if not volume.iops and not limits.default_iops:
        raise ValueError(f"needs IOPS for {volume.type}: {low} to {highest}")
    if volume.iops and not low <= volume.iops <= highest:
        raise ValueError(f"has IOPS out of range: {low} to {highest} at {volume.size} GiB")
    low, high = aws_catalog.GP3_THROUGHPUT
    if volume.throughput and not low <= volume.throughput <= high:
        raise ValueError(f"has a throughput out of range: {low} to {high} MiB/s")
    needed = int(volume.throughput / aws_catalog.GP3_THROUGHPUT_PER_IOPS)
    if (volume.iops or limits.default_iops) < needed:
        raise ValueError(f"needs {needed} IOPS or more for {volume.throughput} MiB/s")
