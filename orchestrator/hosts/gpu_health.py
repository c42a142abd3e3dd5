"""Health of a host's NVIDIA GPUs: their number, memory errors, and errors that the driver has logged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.hosts.commands import marked_lines, script_error

if TYPE_CHECKING:
    from orchestrator.core.host import Host
    from orchestrator.ssh import SshClient

TIMEOUT_S = 60.0
"""nvidia-smi takes up to some seconds for its first answer after a boot."""

HARDWARE_XIDS = {
    48: "double bit ECC error",
    62: "internal micro-controller halt",
    64: "memory that cannot be remapped",
    74: "NVLink error",
    79: "fallen off the bus",
    94: "contained memory error",
    95: "uncontained memory error",
    119: "GSP timeout",
    120: "GSP error",
}
"""Codes of the driver that no program causes: https://docs.nvidia.com/deploy/xid-errors/index.html"""

_MAX_LINE = 120
_UNPRINTABLE = re.compile(r"[^ -~]")
_GPU = re.compile(r"(\d{1,3}), *(\d{1,9}|\[?[A-Za-z/ ]{1,30}\]?)(?:, *([ -~]{1,60}))?")
_XID = re.compile(r"(\d{1,4}) ([0-9A-Fa-f:.]{1,20})")


@dataclass(frozen=True)
class GpuState:
    """One GPU as nvidia-smi lists it.

    :param memory_errors: uncorrected ones (ECC) since the driver was loaded; None where the GPU does not count them.
    """

    index: int
    name: str
    memory_errors: int | None


@dataclass(frozen=True)
class HostGpus:
    """GPUs of one host.

    :param type: instance type.
    :param expected: number of NVIDIA GPUs that the type has.
    :param has_driver: True if nvidia-smi is there.
    :param problems: what is wrong with them, one line each.
    """

    host: str
    type: str
    expected: int
    has_driver: bool
    gpus: tuple[GpuState, ...]
    problems: tuple[str, ...]


def check(ssh: SshClient, host: Host, count: int) -> None:
    """Check the GPUs of a host; one without a driver is not checked.

    :param count: number of GPUs that its instance type has.
    :raises HostError: one is missing or broken; another VM of the type has others.
    """
    result = ssh.run(host, remote_scripts.inline_command("gpu_check.sh"), timeout_s=TIMEOUT_S)
    if problem := next(findings(result.stdout, count), ""):
        raise HostError(f"bad GPU: {problem}", where=host.name)


def query(ssh: SshClient, host: Host, instance_type: str, count: int) -> HostGpus:
    """Return the state of a host's GPUs.

    :param count: number of NVIDIA GPUs that its instance type has.
    :raises HostError: the host does not answer.
    """
    result = ssh.run(host, remote_scripts.inline_command("gpu_check.sh"), timeout_s=TIMEOUT_S)
    output = result.stdout
    is_without = "@@no-driver" in output.splitlines()
    problems = tuple(dict.fromkeys(findings(output, count)))
    gpus = tuple(_gpus(output))
    if not (is_without or problems or gpus):
        raise script_error(result, "it does not report its GPUs")
    return HostGpus(host.name, instance_type, count, not is_without, gpus, problems)


def findings(output: str, count: int) -> Iterator[str]:
    """Yield what is wrong with the GPUs of a host.

    :param output: of ``gpu_check.sh``, which the host may have forged.
    :param count: number of GPUs that its instance type has.
    """
    for line in marked_lines(output, "@@broken"):
        yield _UNPRINTABLE.sub("?", line[:_MAX_LINE])
    gpus = list(_gpus(output))
    if gpus and len(gpus) < count:
        yield f"nvidia-smi lists {len(gpus)} of {count}"
    for gpu in gpus:
        if gpu.memory_errors:
            yield f"GPU {gpu.index} has {gpu.memory_errors} uncorrected memory errors (ECC)"
    for line in marked_lines(output, "@@xid"):
        if (match := _XID.fullmatch(line.strip())) and int(match[1]) in HARDWARE_XIDS:
            yield f"Xid {match[1]} of GPU {match[2]}: {HARDWARE_XIDS[int(match[1])]}"


def _gpus(output: str) -> Iterator[GpuState]:
    for line in marked_lines(output, "@@gpu"):
        if match := _GPU.fullmatch(line.strip()):
            # [N/A] where the GPU has no ECC, or it is turned off.
            errors = int(match[2]) if match[2].isdigit() else None
            yield GpuState(int(match[1]), match[3] or "", errors)
