"""Image of VMs: kernel, initrd and disk, built from packages once, and again when the recipe changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcloud.hosts.interface import HostError

RECIPE = Path(__file__).with_name("rootfs")
_ROOT = Path(__file__).resolve().parents[3]
_SUITE = "bookworm"
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_BUILD_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class VmImage:
    """Files from which VMs boot."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """Kernel of the distribution."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Modules for the disk and the network, and the program that mounts the disk."""
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        """Root file system, which no VM changes: each has an overlay of its own."""
        return self.folder / "disk.img"

    @property
    def _boot_time(self) -> Path:
        return self.folder / "boot-seconds"

    def note_boot(self, boot_s: float) -> None:
        """Keep the seconds from the start of a VM to its open SSH port, if this user may write there."""
        with contextlib.suppress(OSError):
            self._boot_time.write_text(f"{boot_s:.0f}\n")

    @property
    def last_boot_s(self) -> int | None:
        """Seconds that the last VM took from its start to its open SSH port; None before the first one."""
        try:
            return int(self._boot_time.read_text())
        except (OSError, ValueError):
            return None

    @property
    def exists(self) -> bool:
        """True if it has been built."""
        return self.disk.is_file()


def find() -> VmImage:
    """Return the image for the current recipe; it may not exist yet."""
    digest = hashlib.sha256(_SUITE.encode())
    inputs = [*sorted(path for path in RECIPE.iterdir() if path.is_file()), _SOURCES, _CERTIFICATES]
    for path in inputs:
        digest.update(path.name.encode() + (path.read_bytes() if path.is_file() else b""))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return VmImage(cache / "stratus" / f"vm-{digest.hexdigest()[:12]}")


def ensure(report: Callable[[str], None], user_id: int = os.geteuid()) -> VmImage:
    """Build the image unless it exists, and return it.

    :param report: called with a line of progress before it is built.
    :param user_id: of this process; root installs packages.
    :raises HostError: it cannot be built, with a fix or the last lines of the build.
    """
    image = find()
    if not image.exists:
        if not shutil.which("mmdebstrap"):
            raise HostError("the image of VMs is built by mmdebstrap: sudo apt-get install mmdebstrap")
        if user_id != 0:
            raise HostError(f"the image of VMs is built by root, once: {_root_command(image)}")
        report("building the image of VMs from Debian's packages (once, two to five minutes)")
        image.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=image.folder.parent, prefix="vm-build-") as work:
            complete = Path(work, "image")
            complete.mkdir()
            _build(complete)
            # Last, so that an interrupted build leaves no image.
            complete.rename(image.folder)
    return image


def _root_command(image: VmImage) -> str:
    cache = shlex.quote(str(image.folder.parents[1]))
    return (
        f"cd {shlex.quote(str(_ROOT))} && sudo env XDG_CACHE_HOME={cache} {sys.executable} -m localcloud.hosts.vm.image"
    )


def _build(work: Path) -> None:
    packages = ",".join((RECIPE / "packages").read_text().split())
    argv = [
        "mmdebstrap",
        "--variant=essential",
        "--format=null",
        f"--include={packages}",
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",
        f'--customize-hook=sh {shlex.quote(str(RECIPE / "customize"))} "$1" {shlex.quote(str(work))}',
        _SUITE,
        "-",
        *([str(_SOURCES)] if _SOURCES.is_file() and _SUITE in _SOURCES.read_text() else []),
    ]
    try:
        process = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"the image of VMs was not built within {_BUILD_TIMEOUT_S:.0f} s") from error
    if process.returncode:
        lines = [line for line in process.stderr.strip().splitlines() if not line.startswith("I: ")]
        # The last line is mmdebstrap's own; the cause is above it.
        raise HostError(f"the image of VMs cannot be built: {'; '.join(lines[-3:]) or 'no message'}")


if __name__ == "__main__":
    print(ensure(print).folder)
