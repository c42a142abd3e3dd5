"""Machine images of process hosts: copies of a host's folder, from which the disks of later hosts are made."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from localcloud.core.home import Home
from localcloud.hosts.interface import HostError
from localcloud.hosts.spec import HostLayout, HostSpec

_ORIGIN = "origin"
_MAX_REWRITTEN_BYTES = 4 << 20
_COPY_DEADLINE_S = 300.0
# /run is in memory, and the console and the GPUs are not on the disk.
_NOT_ON_DISK = ("run", "console.log", "etc/gpu-faults")


class ProcessImages:
    """Images of a cloud with process hosts."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def save(self, instance_id: str, image_id: str) -> None:
        """Copy the disk of an instance as it is now.

        :raises HostError: it cannot be copied.
        """
        source, image = self._home.host_folder(instance_id), image_folder(self._home.folder, image_id)
        image.mkdir(parents=True)
        (image / _ORIGIN).write_text(str(source))
        _copy(source, image / "disk")
        for name in _NOT_ON_DISK:
            _remove(image / "disk" / name)

    def remove(self, image_id: str) -> None:
        """Remove an image, if it is there."""
        shutil.rmtree(image_folder(self._home.folder, image_id), ignore_errors=True)


def image_folder(home: Path, image_id: str) -> Path:
    """Return the folder of an image."""
    return home / "images" / image_id


def seed(spec: HostSpec, home: Path) -> None:
    """Fill the disk of a host that boots for the first time with its image; nothing without one.

    :param home: folder of the cloud.
    """
    image = image_folder(home, spec.image_id)
    layout = HostLayout(spec.folder, spec.user)
    if not spec.image_id or not image.is_dir() or layout.home.exists():
        return
    _copy(image / "disk", spec.folder)
    # cloud-init keeps the state of each instance apart; here there is one folder for it.
    _remove(layout.cloud / "instance")
    _rewrite(spec.folder, (image / _ORIGIN).read_text(), str(spec.folder))


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    # Not shutil: it would wait for ever at a named pipe. Blocks are shared where the file system can.
    command = ["cp", "-a", "--reflink=auto", f"{source}/.", str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_COPY_DEADLINE_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise HostError(f"{source.name} cannot be copied: {error}") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _rewrite(folder: Path, old: str, new: str) -> None:
    """Replace the old disk's path in files and links: on a VM, which has its own root, paths stay what they are."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                _rewrite_one(path, old, new)


def _rewrite_one(path: Path, old: str, new: str) -> None:
    if path.is_symlink():
        target = os.readlink(path)
        if old in target:
            path.unlink()
            path.symlink_to(target.replace(old, new))
        return
    # Ids are of one length: compiled files stay valid.
    if not path.is_file() or len(old) != len(new) or path.stat().st_size > _MAX_REWRITTEN_BYTES:
        return
    content = path.read_bytes()
    if old.encode() in content:
        times = path.stat()
        path.write_bytes(content.replace(old.encode(), new.encode()))
        # Of compiled Python, whose source has that time.
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
