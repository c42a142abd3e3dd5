"""Sandbox of a process host: Landlock rules for a process and everything it starts, without root.

Landlock (Linux 5.13 and later) is an allow-list of file hierarchies that a process imposes on itself and cannot remove;
see https://docs.kernel.org/userspace-api/landlock.html. Newer kernels have more rights: those that the running kernel
lacks are left out, and :class:`Confinement` tells what holds. Landlock never covers mode bits and owners of the user's
files (chmod), connecting to sockets in the file system, and the network.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_CAPSET = {"x86_64": 126, "aarch64": 91}

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_READ = READ_FILE | READ_DIR
_WRITE = WRITE_FILE | _MAKE_AND_REMOVE | REFER | TRUNCATE

_SCOPE_ABSTRACT_SOCKETS = 1 << 0
_SCOPE_SIGNALS = 1 << 1
_SCOPE_ABI = 6

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm")

# chown, dac_override, dac_read_search, fowner, fsetid, net_bind_service (capabilities(7)): required by tar and a low
# SSH port when the user is root; none of them reaches beyond the files that the rules allow.
_KEPT_CAPABILITIES = sum(1 << bit for bit in (0, 1, 2, 3, 4, 10))


@dataclass(frozen=True)
class Rules:
    """Paths that a host may use, each with everything below it.

    :param readable: for reading.
    :param executable: for reading and running programs.
    :param writable: for everything.
    """

    readable: tuple[Path, ...]
    executable: tuple[Path, ...]
    writable: tuple[Path, ...]


@dataclass(frozen=True)
class Confinement:
    """Extent to which the running kernel confines a host.

    :param abi: version of Landlock; 0 if there is none.
    """

    abi: int

    @property
    def protects_files(self) -> bool:
        """True if files outside the rules are protected."""
        return self.abi >= 1

    @property
    def protects_processes(self) -> bool:
        """True if processes outside the host are protected from its signals."""
        return self.abi >= _SCOPE_ABI

    def __str__(self) -> str:
        if not self.protects_files:
            return "NOT confined: this kernel has no Landlock; programs on this host can change all of your files"
        if not self.protects_processes:
            return f"confined by Landlock ABI {self.abi}: files, but not signals to your other processes"
        return f"confined by Landlock ABI {self.abi}: files and signals"


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def landlock_abi() -> int:
    """Return the version of Landlock of the running kernel; 0 if it is missing or disabled."""
    libc = _libc()
    if not hasattr(libc, "prctl"):
        return 0
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def handled_rights(abi: int) -> int:
    """Return the file rights that a ruleset of this ABI governs."""
    rights = EXECUTE | WRITE_FILE | _READ | _MAKE_AND_REMOVE
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        rights |= right if abi >= since else 0
    return rights


def confine(rules: Rules, *, newest: int = 7) -> Confinement:
    """Restrict this process permanently, and drop root's capabilities.

    :param newest: highest version of Landlock to use, even if the kernel has a newer one.
    :returns: what holds from now on.
    :raises OSError: the kernel has Landlock and refuses this use of it.
    """
    libc = _libc()
    # Also without Landlock: root's capabilities reach beyond file permissions.
    _drop_capabilities(libc)
    abi = min(landlock_abi(), newest)
    # The caller reports it on the console; the host runs all the same.
    if abi < 1:
        return Confinement(0)
    ruleset = _create(libc, abi)
    try:
        _allow_all(libc, ruleset, rules, handled_rights(abi))
        _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0))))
        _check(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    return Confinement(abi)


def _create(libc: ctypes.CDLL, abi: int) -> int:
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if abi >= _SCOPE_ABI else 0
    attr = _RulesetAttr(handled_rights(abi), 0, scoped)
    # Older kernels accept only their own, shorter version of the struct.
    size = 24 if abi >= _SCOPE_ABI else 8
    return _check(libc.syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0)))


def _allow_all(libc: ctypes.CDLL, ruleset: int, rules: Rules, handled: int) -> None:
    devices = [Path("/dev", name) for name in _DEVICES]
    grants: tuple[tuple[Iterable[Path], int], ...] = (
        (rules.readable, _READ),
        (rules.executable, _READ | EXECUTE),
        (rules.writable, _READ | EXECUTE | _WRITE),
        (devices, _READ | _WRITE | IOCTL_DEV),
    )
    for paths, rights in grants:
        for path in paths:
            # A path that does not exist or cannot be opened needs no rule.
            with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
                _allow(libc, ruleset, path, rights & handled)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    # O_PATH works without permission to read the file.
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            # The kernel refuses directory rights on a file with EINVAL.
            rights &= _FILE_RIGHTS
        attr = _PathBeneathAttr(rights, beneath)
        arguments = ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), ctypes.byref(attr), ctypes.c_uint32(0)
        _check(libc.syscall(_ADD_RULE, *arguments))
    finally:
        os.close(beneath)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Drop capabilities if the user is root: no reboot(2), no kernel modules, no access to other processes."""
    number = _CAPSET.get(os.uname().machine)
    if os.geteuid() != 0 or number is None:
        return
    for capability in range(64):
        if not _KEPT_CAPABILITIES >> capability & 1:
            # Fails for capabilities that the kernel lacks or the process has lost already.
            libc.prctl(_PR_CAPBSET_DROP, *(ctypes.c_ulong(value) for value in (capability, 0, 0, 0)))
    version_3, mask = 0x20080522, _KEPT_CAPABILITIES & _own_capabilities()
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
    libc.syscall(number, ctypes.byref(header), ctypes.byref(data))


def _own_capabilities() -> int:
    """Return the capabilities of this process: root in a container often has fewer than the set to keep."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
