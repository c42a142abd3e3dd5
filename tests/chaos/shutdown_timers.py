"""Shutdown timers of simulated VMs: computed by the VMs' own boot script, with the files that it keeps over reboots."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from localcloud.hosts import user_data
from localcloud.hosts.simulated import BootInfo
from orchestrator.aws.launch.time_limits import EXPIRE_SCRIPT, STATE_FOLDER

_NOW = 1_000_000_000
_FAKE_COMMANDS = {
    "shutdown": "#!/bin/sh\n",
    "date": f'#!/bin/sh\n[ "$1" = -r ] && exec /bin/date "$@"\necho {_NOW}\n',
    **dict.fromkeys(("setsid", "systemctl", "systemd-run"), "#!/bin/sh\n"),
}


@dataclass(frozen=True)
class _Disk:
    """Files of one VM that its boot script reads.

    :param until_s: seconds from now to the end; None before the first boot.
    :param off_s: seconds since the VM was last up.
    :param is_graced: True if the script has granted the minutes after a start.
    """

    script: bytes
    limits: bytes
    used_minutes: int
    until_s: int | None = None
    off_s: int = 0
    is_graced: bool = False


@dataclass
class ShutdownTimers:
    """Timers of the VMs of one cloud."""

    _disks: dict[str, _Disk] = field(default_factory=dict)
    _ends: dict[str, float] = field(default_factory=dict)

    def at_boot(self, boot: BootInfo) -> int | None:
        """Return the minutes from this boot until the VM shuts down; None for never."""
        files = {file.path: file.content for file in user_data.parse(boot.user_data).files}
        script = files.get(EXPIRE_SCRIPT.lstrip("/"))
        if script is None:
            return None
        new = _Disk(script, files[f"{STATE_FOLDER}/limits".lstrip("/")], 0)
        disk = replace(
            self._disks.get(boot.instance_id, new),
            # Each boot is charged two minutes, and idle.sh counts the minute that has begun.
            used_minutes=int(boot.uptime_s // 60) + 3 * (boot.number - 1),
            off_s=int(boot.off_s),
        )
        return int(self._run(boot.instance_id, disk, boot.booted_s, ()) // 60)

    def extend(self, instance_id: str, now_s: float, limits: Sequence[str]) -> float:
        """Set a timer anew as extend.sh does; return the seconds from now until the VM shuts down.

        :param limits: arguments of extend.sh: minutes, budget, idle minutes.
        """
        return float(self._run(instance_id, self._disks[instance_id], now_s, tuple(limits)))

    def _run(self, instance_id: str, disk: _Disk, now_s: float, limits: tuple[str, ...]) -> int:
        end = self._ends.get(instance_id)
        disk = replace(disk, until_s=None if end is None else round(end - now_s))
        self._disks[instance_id] = disk = _run_script(disk, limits)
        assert disk.until_s is not None
        self._ends[instance_id] = now_s + disk.until_s
        return max(0, disk.until_s)


@lru_cache(maxsize=1024)
def _run_script(disk: _Disk, limits: tuple[str, ...]) -> _Disk:
    """Run the boot script on the files of a VM; return them as they are afterwards."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        root = Path(folder)
        state = root / STATE_FOLDER.lstrip("/")
        _write(root, disk)
        command = ["sh", str(root / EXPIRE_SCRIPT.lstrip("/")), *limits]
        environment = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
        # idle.sh shuts down then; the shutdown that is scheduled comes later, in case that it was killed.
        epoch = next(int(line.split()[1]) for line in output.splitlines() if line.startswith("@@until"))
        is_graced = (state / "graced").exists()
        return replace(disk, limits=(state / "limits").read_bytes(), until_s=epoch - _NOW, is_graced=is_graced)


def _write(root: Path, disk: _Disk) -> None:
    files = {
        EXPIRE_SCRIPT: disk.script,
        f"{STATE_FOLDER}/limits": disk.limits,
        f"{STATE_FOLDER}/used": f"{disk.used_minutes}\n".encode(),
        **{f"/bin/{name}": text.encode() for name, text in _FAKE_COMMANDS.items()},
    }
    if disk.until_s is not None:
        files[f"{STATE_FOLDER}/until"] = f"{_NOW + disk.until_s}\n".encode()
        files[f"{STATE_FOLDER}/seen"] = b""
    if disk.is_graced:
        files[f"{STATE_FOLDER}/graced"] = b""
    for path, content in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o755)
    if disk.until_s is not None:
        os.utime(root / STATE_FOLDER.lstrip("/") / "seen", (_NOW - disk.off_s, _NOW - disk.off_s))
