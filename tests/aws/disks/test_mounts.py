"""Mounts in the tags of an instance: read as they were written, and nothing else is."""

from __future__ import annotations

import pytest

from orchestrator.aws.disks import mounts
from orchestrator.aws.disks.mounts import EFS, KEEP, LOCAL, LUSTRE, READ_ONLY, VOLUME, Mount

MOUNTS = (
    Mount("data", VOLUME, "sdf", "/data", (KEEP,)),
    Mount("old", VOLUME, "sdg", "~/old", (), "vol-0123abcd"),
    Mount("scratch", LOCAL, "", "/scratch"),
    Mount("lab", EFS, "fs-0123abcd", "/lab", (READ_ONLY,)),
    Mount("fast", LUSTRE, "fs-0123abcd/fsx", "/fast"),
)


def test_what_tags_say_is_read_as_it_was_written() -> None:
    assert sorted(mounts.from_response({}, mounts.tags(MOUNTS)).mounts, key=str) == sorted(MOUNTS, key=str)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lab x,suid", "efs fs-0123abcd /lab"),
        ("lab\n/dev/sda1 /x ext4 suid 0 0", "efs fs-0123abcd /lab"),
        ("lab", "efs fs-0123abcd /etc"),
        ("lab", "efs fs-0123abcd /lab/../etc"),
        ("lab", "efs fs-0123abcd /lab;reboot"),
        ("lab", "efs evil.example.org:/ /lab"),
        ("lab", "volume sdf,vol-1 /data"),
        ("lab", "volume $(reboot) /data"),
        ("lab", "lustre fs-0123abcd/fsx,suid /data"),
        ("lab", "nfs host:/ /data"),
        ("lab", "efs"),
        ("", "efs fs-0123abcd /lab"),
    ],
)
def test_a_tag_of_another_form_mounts_nothing(name: str, text: str) -> None:
    assert mounts.from_response({}, {mounts.TAG_PREFIX + name: text}).mounts == ()
