"""Files of hosts that boot a system of their own, as docker hosts and VM hosts do."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from localcloud.hosts.spec import HostSpec


def to_tar(files: Mapping[str, str]) -> bytes:
    """Return a tar of files, to be unpacked at the root of a host; root owns them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, text in files.items():
            content = text.encode()
            member = tarfile.TarInfo(path)
            # sudo ignores files that others may write.
            member.size, member.mode = len(content), 0o440 if "sudoers" in path else 0o644
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def login_user(spec: HostSpec, *groups: str) -> dict[str, object]:
    """Return cloud-init's description of the login user of an AMI.

    :param groups: of the user, besides those of every AMI.
    """
    return {
        "name": spec.user,
        "lock_passwd": True,
        "shell": "/bin/bash",
        "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
        "groups": ["adm", "sudo", *groups],
    }
