"""Files of hosts that boot a system of their own, as docker hosts and VM hosts do."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from localcloud.hosts.spec import HostSpec

_FAULTS = Path(__file__).with_name("system_faults")
_FAULTS_UNIT = "host-package-faults.service"


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


def package_faults(spec: HostSpec) -> dict[str, str]:
    """Return the files with which a host brings about its faults of packages at every boot; none without any."""
    if not spec.package_faults:
        return {}
    return {
        **{f"etc/localcloud/{name}": (_FAULTS / name).read_text() for name in ("inject", "unattended-upgrade")},
        "etc/localcloud/package-faults": "".join(fault + "\n" for fault in spec.package_faults),
        f"etc/systemd/system/{_FAULTS_UNIT}": (_FAULTS / _FAULTS_UNIT).read_text(),
        "etc/systemd/system/ssh.service.d/50-package-faults.conf": f"[Unit]\nWants={_FAULTS_UNIT}\n",
    }


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
